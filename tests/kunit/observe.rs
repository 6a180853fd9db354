// SPDX-License-Identifier: GPL-2.0

//! What debugfs shows is found, and nothing else.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_observe)]
mod tests {
    use super::*;
    use kernel::sync::Arc;

    use crate::{
        folio::FolioRef,
        fsdax::{
            self,
            Data, //
        },
        kunit::{
            breaking::Breaking,
            fixture::{
                pages,
                FakeFile,
                FakeSuper,
                TestPgmap,
                PMD, //
            },
            thread::{
                nap,
                wait_until,
                Thread, //
            }, //
        },
        mapping::{
            self,
            waiters::{
                self,
                Waiter,
                What, //
            },
            Entry,
            Kind,
            Mark,
            Range,
            Scan,
            Which, //
        },
        pgmap::Order, //
    };

    /// An entry as a scan saw it: inode, page offset, entry.
    type Seen = (usize, usize, Entry);

    fn scan(sb: &FakeSuper, which: Which) -> Result<Option<Scan>> {
        let bound = mapping::all_bound()?
            .into_iter()
            .find(|bound| bound.is(sb.raw()));
        Ok(bound.and_then(|bound| Scan::new(bound, which)))
    }

    /// The entries of the next batch, and whether there may be more.
    fn batch(scan: &mut Scan, count: usize, seen: &mut KVec<Seen>) -> Result<bool> {
        let mut all = KVec::with_capacity(count, GFP_KERNEL)?;
        let more = scan.batch(count, |seen| {
            let (_, ino) = seen.mapping().id();
            let _ = all.push_within_capacity((ino, seen.index(), seen.entry()));
        });
        check!(all.len() <= count);
        for one in all {
            seen.push(one, GFP_KERNEL)?;
        }
        Ok(more)
    }

    /// All entries of a superblock, gathered in batches of `count`.
    fn seen(sb: &FakeSuper, which: Which, count: usize) -> Result<KVec<Seen>> {
        let mut all = KVec::new();
        let mut scan = scan(sb, which)?.ok_or(ENOENT)?;

        while batch(&mut scan, count, &mut all)? {}
        Ok(all)
    }

    fn of_file(all: &[Seen], file: &FakeFile) -> usize {
        let (_, ino) = file.mapping().id();
        all.iter().filter(|seen| seen.0 == ino).count()
    }

    fn all_waiters() -> Result<KVec<Waiter>> {
        let mut some = KVec::with_capacity(1, GFP_KERNEL)?;
        let mut all = KVec::<Waiter>::new();

        loop {
            waiters::next(all.last().map_or(0, |waiter| waiter.id), &mut some);
            match some.pop() {
                Some(waiter) => all.push(waiter, GFP_KERNEL)?,
                None => return Ok(all),
            }
        }
    }

    #[test]
    fn r12_waiters_have_the_names_that_are_documented() -> Result {
        let all = [
            What::Break,
            What::Evict,
            What::Delete,
            What::Fault,
            What::Removal,
        ];
        let names = ["break", "evict", "delete", "fault", "removal"];

        check_eq!(all.map(What::as_str), names);
        Ok(())
    }

    #[test]
    fn r12_a_delete_shows_where_its_entry_begins() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(PMD, 0, Order::Pmd)?;
        let pin = pgmap.pin(0)?;
        let deleting = file.clone();
        let thread = Thread::spawn(move || fsdax::delete_entry(deleting.mapping(), PMD + 7))?;
        wait_until(|| waiters::pid_for(pgmap.pfn(0)).is_some())?;
        let all = all_waiters()?;
        drop(pin);
        check!(thread.join()?);
        let deletes = all.iter().find(|waiter| waiter.what == What::Delete);
        let at = deletes.map(|waiter| (waiter.index, waiter.pfn));
        check_eq!(at, Some((PMD, pgmap.pfn(0))));
        Ok(())
    }

    #[test]
    fn r10_a_scan_ends_at_the_last_page_offset() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let file = FakeFile::on(&sb, &pgmap)?;
        let _mounted = sb.mount()?;
        let mut all = KVec::new();

        file.insert(usize::MAX, 0, Order::Pte)?;
        let mut scan = scan(&sb, Which::All)?.ok_or(ENOENT)?;
        while batch(&mut scan, 16, &mut all)? {}
        check_eq!(all.len(), 1);
        // Once more.
        check!(!batch(&mut scan, 16, &mut all)?);
        check_eq!(all.len(), 1);
        Ok(())
    }

    #[test]
    fn r10_a_scan_sees_every_entry_once() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let files = [
            FakeFile::on(&sb, &pgmap)?,
            FakeFile::on(&sb, &pgmap)?,
            FakeFile::on(&sb, &pgmap)?,
        ];
        check!(scan(&sb, Which::All)?.is_none());
        let _mounted = sb.mount()?;

        check_eq!(seen(&sb, Which::All, 1)?.len(), 0);
        for (i, file) in files.iter().enumerate() {
            for page in 0..100 {
                file.insert(page * 3, i * 100 + page, Order::Pte)?;
            }
        }
        for count in [1, 2, 99, 100, 101, 300, 4096] {
            let all = seen(&sb, Which::All, count)?;
            check_eq!(all.len(), 300);
            for file in &files {
                check_eq!(of_file(&all, file), 100);
            }
            for pair in all.windows(2) {
                if let [a, b] = pair {
                    check!(a.0 != b.0 || a.1 + 3 == b.1);
                }
            }
        }
        files[1].mark(30, Mark::Busy)?;
        files[1].mark(297, Mark::Busy)?;
        let marked = seen(&sb, Which::Marked(Mark::Busy), 1)?;
        check_eq!(marked.len(), 2);
        check_eq!(marked.first().map(|seen| seen.1), Some(30));
        check_eq!(marked.last().map(|seen| seen.1), Some(297));
        // No file stays referenced.
        check!(files.iter().all(|file| file.references() == 1));
        Ok(())
    }

    #[test]
    fn r10_a_large_entry_is_seen_once() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let file = FakeFile::on(&sb, &pgmap)?;
        let _mounted = sb.mount()?;

        file.insert(PMD, 0, Order::Pmd)?;
        for count in [1, 2, 3] {
            let all = seen(&sb, Which::All, count)?;
            check_eq!(all.len(), 1);
            check_eq!(all.first().map(|seen| seen.2.order()), Some(Order::Pmd));
        }
        Ok(())
    }

    #[test]
    fn a_scan_goes_on_when_files_come_and_go() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let mut files = KVec::<Arc<FakeFile>>::new();
        for i in 0..4 {
            let file = FakeFile::on(&sb, &pgmap)?;
            for page in 0..10 {
                file.insert(page, i * 10 + page, Order::Pte)?;
            }
            files.push(file, GFP_KERNEL)?;
        }
        let _mounted = sb.mount()?;
        let mut scan = scan(&sb, Which::All)?.ok_or(ENOENT)?;
        let mut all = KVec::new();

        while all.is_empty() {
            check!(batch(&mut scan, 12, &mut all)?);
        }
        // The one that the scan stopped in stays as long as it does.
        let (ino, _, _) = *all.last().ok_or(ENOENT)?;
        let at = files.iter().position(|file| file.mapping().id().1 == ino);
        let at = at.ok_or(ENOENT)?;
        check_eq!(files[at].references(), 2);
        // Those around it go, and new ones come.
        let at = files.remove(at).map_err(|_| EINVAL)?;
        let first = files.remove(0).map_err(|_| EINVAL)?;
        drop(first);
        let new = FakeFile::on(&sb, &pgmap)?;
        new.insert(0, 100, Order::Pte)?;
        let mut batches = 0;
        while batch(&mut scan, 12, &mut all)? {
            batches += 1;
            check!(batches < 20);
        }
        // The last ones in the list are not left out.
        for file in &files {
            check_eq!(of_file(&all, file), 10);
        }
        check_eq!((of_file(&all, &at), at.references()), (10, 1));
        Ok(())
    }

    #[test]
    fn a_superblock_stays_mounted_until_the_scan_has_seen_its_files() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let file = FakeFile::on(&sb, &pgmap)?;
        let mounted = sb.mount()?;
        let mut all = KVec::new();

        file.insert_pages(8)?;
        let mut scan = scan(&sb, Which::All)?.ok_or(ENOENT)?;
        while all.is_empty() {
            check!(batch(&mut scan, 2, &mut all)?);
        }
        let umount = Thread::spawn(move || drop(mounted))?;
        let goes_on = umount.goes_on();
        while batch(&mut scan, 2, &mut all)? {}
        umount.join()?;
        check!(goes_on);
        check_eq!(all.len(), 8);
        check!(self::scan(&sb, Which::All)?.is_none());
        Ok(())
    }

    /// Whoever has it from the list finds no superblock there any more.
    #[test]
    fn a_superblock_that_is_not_bound_any_more_is_not_looked_at() -> Result {
        let sb = FakeSuper::new()?;
        let mounted = sb.mount()?;
        let all = mapping::all_bound()?;
        let found = || all.iter().filter(|bound| bound.is(sb.raw())).count();

        let before = found();
        drop(mounted);
        check_eq!((before, found()), (1, 0));
        Ok(())
    }

    #[test]
    fn r22_a_scan_does_not_wait_for_an_umount() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let file = FakeFile::on(&sb, &pgmap)?;
        let _mounted = sb.mount()?;

        file.insert_pages(8)?;
        let umount = sb.lock_umount();
        let seen_meanwhile = seen(&sb, Which::All, 3);
        drop(umount);
        check_eq!(seen_meanwhile?.len(), 0);
        check_eq!(seen(&sb, Which::All, 3)?.len(), 8);
        Ok(())
    }

    #[test]
    fn r12_a_scan_finds_what_is_evicted() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let file = FakeFile::on(&sb, &pgmap)?;
        let _mounted = sb.mount()?;

        file.insert_pages(8)?;
        for i in 0..8 {
            // What is clean and idle goes at once.
            file.mark(i, Mark::Dirty)?;
        }
        // The scan must not find it in the list: an eviction takes it off.
        file.set_dax(false);
        let pin = pgmap.pin(3)?;
        check_eq!(seen(&sb, Which::All, 3)?.len(), 0);
        let breaking = Breaking::evict(&file)?;
        breaking.wait_evict_asleep()?;
        for count in [1, 3, 8, 9] {
            let all = seen(&sb, Which::All, count)?;
            check_eq!(all.len(), 8);
            check!(all.iter().all(|seen| seen.2.kind() == Kind::Zapped));
        }
        check_eq!(seen(&sb, Which::Marked(Mark::Busy), 2)?.len(), 1);
        check!(waiters::pid_for(pgmap.pfn(3)).is_some());
        drop(pin);
        check_eq!(breaking.join()?, Ok(()));
        check_eq!(seen(&sb, Which::All, 3)?.len(), 0);
        check_eq!(waiters::pid_for(pgmap.pfn(3)), None);
        Ok(())
    }

    #[test]
    fn waiters_come_and_go() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let before = all_waiters()?.len();

        waiters::during(What::Fault, Some(file.mapping()), 5, 77, || -> Result {
            check_eq!(all_waiters()?.len(), before + 1);
            waiters::during(What::Removal, None, 0, 78, || -> Result {
                let all = all_waiters()?;
                check_eq!(all.len(), before + 2);
                let [.., outer, inner] = all.as_slice() else {
                    return Err(EINVAL);
                };
                check!(outer.id < inner.id);
                check_eq!((outer.what, outer.index, outer.pfn), (What::Fault, 5, 77));
                check_eq!((outer.dev, outer.ino), file.mapping().id());
                check_eq!((inner.what, inner.dev, inner.ino), (What::Removal, 0, 0));
                check_eq!(outer.pid, inner.pid);
                check!(outer.comm[0] != 0);
                check_eq!(waiters::pid_for(78), Some(inner.pid));
                Ok(())
            })?;
            check_eq!(waiters::pid_for(77), Some(kernel::current!().pid()));
            check_eq!(waiters::pid_for(78), None);
            Ok(())
        })?;
        check_eq!(all_waiters()?.len(), before);
        // No eviction is among them, so that no mapping may be looked at.
        check!(waiters::with_evicted(7, 0, |_| ()).is_none());
        Ok(())
    }

    fn age(folio: &FolioRef) -> Option<u32> {
        folio.lock().zapped_ms()
    }

    #[test]
    fn a_zapped_folio_has_an_age() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in [Order::Pte, Order::Pmd] {
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(age(&pin), None);
            check_eq!(file.break_now(pages(0, PMD - 1)), Err(ERESTARTSYS));
            check!(age(&pin).is_some_and(|ms| ms < 10_000));
            nap();
            let mut later = age(&pin);
            while later.is_some_and(|ms| ms < 20) {
                nap();
                later = age(&pin);
            }
            // Memory failure does not disturb it, and a new zap starts it anew.
            check!(pgmap.pin(0)?.hold(file.mapping().entry_id(1)).is_err());
            let held = pgmap.pin(0)?.hold(file.mapping().entry_id(0));
            check!(held.is_ok());
            check!(age(&pin) >= later);
            drop(held);
            check!(age(&pin) >= later);
            file.insert(0, 0, order)?;
            check_eq!(age(&pin), None);
            drop(pin);
            check_eq!(
                file.break_with(Range::ALL, Data::Discard, fsdax::OnBusy::Fail),
                Ok(())
            );
        }
        Ok(())
    }
}
