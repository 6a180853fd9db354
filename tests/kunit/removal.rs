// SPDX-License-Identifier: GPL-2.0

//! Files whose device goes away (R14).
//!
//! Rules: R10, R14, R22.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_removal)]
mod tests {
    use kernel::{
        ffi::c_int,
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            Arc, //
        }, //
    };

    use super::*;
    use crate::{
        ffi::bindings,
        folio::Left,
        fsdax::{
            self,
            Data,
            InsertError,
            Removed, //
        },
        kunit::{
            breaking::Breaking,
            context::in_hardirq,
            fixture::{
                pages,
                FakeFile,
                FakeSuper,
                Layout,
                Mounted,
                TestPgmap,
                PMD, //
            },
            probe::{
                self,
                Event,
                Events,
                Work, //
            },
            thread::{
                wait_until,
                Thread, //
            },
            unmapping::at_unmap, //
        },
        mapping::{
            self,
            waiters::{
                self,
                What, //
            },
            Kind,
            LockedEntry,
            Mark,
            Range,
            Scan,
            Which,
            BATCH, //
        },
        pgmap::{
            DaxDevice,
            Order, //
        }, //
    };

    const BOTH: [Order; 2] = [Order::Pte, Order::Pmd];

    /// A superblock that removals visit, with one file.
    fn mounted_file(pgmap: &Arc<TestPgmap>) -> Result<(Mounted, Arc<FakeFile>)> {
        let sb = FakeSuper::new()?;
        let mounted = sb.mount()?;
        Ok((mounted, FakeFile::on(&sb, pgmap)?))
    }

    /// Tracks the block at `offset` of `pgmap` in a file that has others, too.
    fn insert(
        file: &FakeFile,
        index: usize,
        pgmap: &TestPgmap,
        offset: usize,
        order: Order,
    ) -> Result {
        fsdax::insert_at(file.mapping(), index, pgmap.pfn(offset), order, false)
    }

    /// Starts to unmap `pgmap`, and waits until that waits for something.
    fn unmap_and_wait(pgmap: &TestPgmap) -> Result<Thread<()>> {
        let unmap = pgmap.unmap()?;

        wait_until(|| !pgmap.is_live() && unmap.sleeps(true))?;
        check!(unmap.goes_on());
        Ok(unmap)
    }

    #[test]
    fn r14_entries_are_zapped_and_no_fault_revives_them() -> Result {
        for order in BOTH {
            let pgmap = TestPgmap::with(Layout::One(3))?;
            let (_mounted, file) = mounted_file(&pgmap)?;
            file.insert(0, 0, order)?;
            file.insert(PMD, PMD, order)?;
            let pin = pgmap.pin(0)?;
            let unmap = unmap_and_wait(&pgmap)?;
            check_eq!(file.count(Range::ALL, Kind::Zapped), 2);
            check_eq!(pgmap.count(0), 1);
            check!(pgmap.is_idle(PMD));
            check_eq!(file.insert(0, 0, order), Err(ENXIO));
            check_eq!(file.insert(PMD, PMD, order), Err(ENXIO));
            check_eq!(file.insert(2 * PMD, 2 * PMD, order), Err(ENXIO));
            check_eq!(pgmap.request(2 * PMD, order.get()).err(), Some(ENXIO));
            check_eq!(file.count_all(Range::ALL), 2);
            check_eq!(file.count(Range::ALL, Kind::Zapped), 2);
            drop(pin);
            unmap.join()?;
            check_eq!(file.count(Range::ALL, Kind::Zapped), 2);
            check_eq!(file.insert(0, 0, order), Err(ENXIO));
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check!(file.mapping().is_empty());
        }
        Ok(())
    }

    #[test]
    fn r14_entries_of_all_ranges_are_zapped() -> Result {
        let pgmap = TestPgmap::with(Layout::Two)?;
        let (_mounted, file) = mounted_file(&pgmap)?;
        let second = pgmap.first_pfn_of(1) - pgmap.first_pfn_of(0);

        file.insert(0, 0, Order::Pmd)?;
        file.insert(PMD, second, Order::Pmd)?;
        for (i, page) in [0, 1, PMD - 1].into_iter().enumerate() {
            file.insert(2 * PMD + i, second + PMD + page, Order::Pte)?;
        }
        pgmap.unmap()?.join()?;
        check_eq!(file.count(Range::ALL, Kind::Zapped), 5);
        check_eq!(file.count_all(Range::ALL), 5);
        Ok(())
    }

    #[test]
    fn r14_entries_of_other_devices_stay() -> Result {
        for order in BOTH {
            let (stays, goes) = (TestPgmap::with(Layout::One(2))?, TestPgmap::new()?);
            let (_mounted, file) = mounted_file(&stays)?;
            file.insert(0, 0, order)?;
            file.mark(0, Mark::Dirty)?;
            file.insert_hole(PMD, goes.pfn(0), order)?;
            insert(&file, 2 * PMD, &goes, 0, order)?;
            file.insert(3 * PMD, PMD, order)?;
            let pin = stays.pin(PMD)?;
            let pinned = pages(3 * PMD, 4 * PMD - 1);
            check_eq!(file.break_now(pinned), Err(ERESTARTSYS));
            goes.unmap()?.join()?;
            check_eq!(file.kind(0), Some(Kind::Tracked));
            check!(file.has(0, Mark::Dirty));
            check_eq!(file.kind(PMD), Some(Kind::Zero));
            check_eq!(file.kind(2 * PMD), Some(Kind::Zapped));
            check_eq!((stays.count(0), stays.count(PMD)), (1, 1));
            check_eq!(stays.active(), 2);
            // Nor does it lose its pins, or the right to faults.
            check_eq!(file.break_now(pinned), Err(ERESTARTSYS));
            file.insert(3 * PMD, PMD, order)?;
            drop(pin);
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check!(file.mapping().is_empty());
            check_eq!(stays.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r14_revoke_zaps_what_is_of_the_pgmap() -> Result {
        let (pgmap, other) = (TestPgmap::new()?, TestPgmap::new()?);
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;

        check!(!fsdax::revoke(file.mapping(), pgmap.pgmap()));
        for order in BOTH {
            file.insert_hole(PMD, pgmap.pfn(0), order)?;
            check!(!fsdax::revoke(file.mapping(), pgmap.pgmap()));
            file.insert(0, 0, order)?;
            file.mark(0, Mark::Dirty)?;
            file.mark(0, Mark::ToWrite)?;
            check!(!fsdax::revoke(file.mapping(), other.pgmap()));
            check_eq!(file.kind(0), Some(Kind::Tracked));
            check_eq!(events.take(Event::Zap), 0);
            for zapped in [1, 0] {
                check!(fsdax::revoke(file.mapping(), pgmap.pgmap()));
                check_eq!(file.kind(0), Some(Kind::Zapped));
                check_eq!(events.take(Event::Zap), zapped);
            }
            // The data may be lost, but not in silence.
            check!(file.has(0, Mark::Dirty) && file.has(0, Mark::ToWrite));
            check_eq!(events.take(Event::Writeback), 0);
            check_eq!(pgmap.active(), 0);
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r14_a_file_is_unmapped_after_its_entries_were_zapped() -> Result {
        let (pgmap, other) = (TestPgmap::new()?, TestPgmap::new()?);

        for order in BOTH {
            let file = FakeFile::new(&pgmap)?;
            file.insert(0, 0, order)?;
            for (dying, has) in [(&other, false), (&pgmap, true)] {
                let (revoked, dying) = (file.clone(), dying.clone());
                let (any, waited) = at_unmap(
                    &file,
                    move || fsdax::revoke(revoked.mapping(), dying.pgmap()),
                    || {
                        // A fault that comes now maps nothing.
                        check_eq!(file.kind(0), Some(Kind::Zapped));
                        Ok(())
                    },
                )?;
                check_eq!((any, waited), (has, has));
            }
        }
        Ok(())
    }

    #[test]
    fn r14_the_memmap_stays_until_the_file_is_unmapped() -> Result {
        for order in BOTH {
            let pgmap = TestPgmap::new()?;
            let (_mounted, file) = mounted_file(&pgmap)?;
            file.insert(0, 0, order)?;
            let dying = pgmap.clone();
            let (unmapped, waited) = at_unmap(
                &file,
                move || dying.unmap().and_then(Thread::join),
                || Ok(()),
            )?;
            check!(waited);
            unmapped?;
        }
        Ok(())
    }

    /// A fault of `order` has the entry locked when the device begins to go.
    fn race_with_fault(order: Order, inserted: bool) -> Result {
        let pgmap = TestPgmap::new()?;
        let (_mounted, file) = mounted_file(&pgmap)?;
        let mut locked = LockedEntry::grab(file.mapping(), 0, order).map_err(|_| EEXIST)?;

        if inserted {
            fsdax::insert(&mut locked, pgmap.pfn(0), false)?;
        }
        let unmap = unmap_and_wait(&pgmap)?;
        let kind = if inserted { Kind::Tracked } else { Kind::Empty };
        check_eq!(file.kind(0), Some(kind));
        if !inserted {
            check_eq!(
                fsdax::insert(&mut locked, pgmap.pfn(0), false),
                Err(InsertError::Dying)
            );
        }
        drop(locked);
        unmap.join()?;
        check_eq!(file.kind(0), inserted.then_some(Kind::Zapped));
        Ok(())
    }

    #[test]
    fn r14_a_fault_under_way_is_waited_for() -> Result {
        for order in BOTH {
            race_with_fault(order, true)?;
            race_with_fault(order, false)?;
        }
        Ok(())
    }

    #[test]
    fn r14_faults_race_with_the_removal() -> Result {
        for round in 0..16 {
            let order = BOTH[round % 2];
            let pgmap = TestPgmap::new()?;
            let (_mounted, file) = mounted_file(&pgmap)?;
            let faulting = file.clone();
            let thread = Thread::spawn(move || loop {
                for _ in 0..3 {
                    if let Err(e) = faulting.insert(0, 0, order) {
                        return e;
                    }
                }
                // Refused if somebody looks at the folio.
                let _ = faulting.break_now(Range::ALL);
            })?;
            wait_until(|| file.count_all(Range::ALL) != 0 || thread.is_done())?;
            let unmapped = pgmap.unmap().and_then(Thread::join);
            check_eq!(thread.join()?, ENXIO);
            unmapped?;
            check_eq!(file.count(Range::ALL, Kind::Tracked), 0);
        }
        Ok(())
    }

    #[test]
    fn r14_only_pins_are_waited_for() -> Result {
        for order in BOTH {
            let pgmap = TestPgmap::with(Layout::One(2))?;
            let (_mounted, file) = mounted_file(&pgmap)?;
            file.insert(0, 0, order)?;
            file.insert(PMD, PMD, order)?;
            let [first, second, third] = [pgmap.pin(0)?, pgmap.pin(PMD)?, pgmap.pin(PMD)?];
            let unmap = unmap_and_wait(&pgmap)?;
            for pin in [second, first] {
                drop(pin);
                check!(unmap.goes_on());
            }
            // The last one goes as a DMA ends.
            in_hardirq(move || drop(third))?;
            unmap.join()?;
        }
        Ok(())
    }

    /// For which pfn a removal waits, as debugfs shows it.
    fn waits_for() -> Result<Option<usize>> {
        let mut some = KVec::with_capacity(64, GFP_KERNEL)?;
        waiters::next(0, &mut some);
        let removal = some.iter().find(|waiter| waiter.what == What::Removal);
        Ok(removal.map(|waiter| waiter.pfn))
    }

    #[test]
    fn r14_who_reads_debugfs_sees_what_is_waited_for() -> Result {
        for order in BOTH {
            let pgmap = TestPgmap::with(Layout::One(2))?;
            let (_mounted, file) = mounted_file(&pgmap)?;
            file.insert(0, PMD, order)?;
            let pin = pgmap.pin(PMD)?;
            let folio = pgmap.request(0, order.get())?;
            let unmap = unmap_and_wait(&pgmap)?;
            wait_until(|| waits_for() == Ok(Some(pgmap.pfn(PMD))))?;
            unmap.interrupt();
            unmap.kill();
            check!(unmap.goes_on());
            drop(pin);
            // What no entry names comes last, with the first pfn of all.
            wait_until(|| waits_for() == Ok(Some(pgmap.pfn(0))))?;
            check!(unmap.goes_on());
            in_hardirq(move || drop(folio))?;
            unmap.join()?;
            check_eq!(waits_for(), Ok(None));
        }
        Ok(())
    }

    #[test]
    fn r14_no_page_is_looked_at_that_no_entry_names() -> Result {
        let pgmap = TestPgmap::with(Layout::One(8))?;
        let (_mounted, file) = mounted_file(&pgmap)?;

        file.insert(0, 0, Order::Pmd)?;
        for i in 0..4 {
            file.insert(PMD + i, PMD + i, Order::Pte)?;
        }
        let pin = pgmap.pin(PMD)?;
        probe::looks();
        let unmap = unmap_and_wait(&pgmap)?;
        drop(pin);
        unmap.join()?;
        check!(probe::looks() <= 16);
        Ok(())
    }

    /// Runs `f` while an umount of `sb` is under way, which waits for something.
    fn during_umount<R>(sb: &Arc<FakeSuper>, f: impl FnOnce() -> Result<R>) -> Result<R> {
        let umount = sb.lock_umount();
        let ret = f();
        drop(umount);
        ret
    }

    #[test]
    fn r22_an_umount_of_others_is_not_waited_for() -> Result {
        let (stays, goes) = (TestPgmap::new()?, TestPgmap::new()?);
        let sb = FakeSuper::new()?;
        let _umounting = sb.mount()?;
        let other = FakeFile::on(&sb, &stays)?;
        let (_mounted, file) = mounted_file(&goes)?;

        other.insert(0, 0, Order::Pte)?;
        file.insert(0, 0, Order::Pte)?;
        let pin = stays.pin(0)?;
        let (unmap, ended) = during_umount(&sb, || {
            let unmap = goes.unmap()?;
            let ended = wait_until(|| unmap.is_done());
            Ok((unmap, ended))
        })?;
        unmap.join()?;
        ended?;
        check_eq!(file.kind(0), Some(Kind::Zapped));
        check_eq!(other.kind(0), Some(Kind::Tracked));
        drop(pin);
        Ok(())
    }

    #[test]
    fn r22_a_superblock_that_was_locked_is_searched_later() -> Result {
        for pinned in [false, true] {
            let pgmap = TestPgmap::new()?;
            let sb = FakeSuper::new()?;
            let _mounted = sb.mount()?;
            let file = FakeFile::on(&sb, &pgmap)?;
            let (_free, other) = mounted_file(&pgmap)?;

            file.insert(0, 0, Order::Pte)?;
            other.insert(0, 1, Order::Pte)?;
            let pin = if pinned { Some(pgmap.pin(1)?) } else { None };
            let (unmap, seen) = during_umount(&sb, || {
                let unmap = unmap_and_wait(&pgmap)?;
                Ok((unmap, (file.kind(0), other.kind(0))))
            })?;
            // Also while a pin of another file is waited for.
            let zapped = wait_until(|| file.kind(0) == Some(Kind::Zapped));
            drop(pin);
            unmap.join()?;
            zapped?;
            check_eq!(seen, (Some(Kind::Tracked), Some(Kind::Zapped)));
        }
        Ok(())
    }

    #[test]
    fn r22_evictions_let_go_of_what_they_evict() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let _mounted = sb.mount()?;
        let file = FakeFile::on(&sb, &pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        sb.set_active(false);
        let unmap = unmap_and_wait(&pgmap)?;
        check_eq!(file.kind(0), Some(Kind::Tracked));
        check_eq!(file.break_now(Range::ALL), Ok(()));
        unmap.join()
    }

    #[test]
    fn r22_debugfs_does_not_wait_for_a_removal() -> Result {
        let pgmap = TestPgmap::new()?;
        let (_mounted, file) = mounted_file(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        let locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        let unmap = unmap_and_wait(&pgmap)?;
        let reader = Thread::spawn(|| -> Result<usize> {
            let mut seen = 0;
            for bound in mapping::all_bound()? {
                let mut scan = Scan::new(bound, Which::All).ok_or(ENOENT)?;
                while scan.batch(BATCH, |_| seen += 1) {}
            }
            Ok(seen)
        })?;
        let ended = wait_until(|| reader.is_done());
        drop(locked);
        unmap.join()?;
        let seen = reader.join()?;
        ended?;
        check_eq!(seen, Ok(1));
        Ok(())
    }

    #[test]
    fn r14_a_break_that_sleeps_ends_with_the_pin() -> Result {
        for order in BOTH {
            let pgmap = TestPgmap::new()?;
            let (_mounted, file) = mounted_file(&pgmap)?;
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            let breaking = Breaking::start(&file, Range::ALL, Data::Discard)?;
            breaking.wait_asleep(1)?;
            let unmap = unmap_and_wait(&pgmap)?;
            check_eq!(file.insert(0, 0, order), Err(ENXIO));
            check!(breaking.goes_on());
            drop(pin);
            check_eq!(breaking.join()?, Ok(()));
            check!(file.mapping().is_empty());
            unmap.join()?;
        }
        Ok(())
    }

    #[test]
    fn r14_a_wait_for_a_dying_pgmap_ends_with_the_pin() -> Result {
        for order in BOTH {
            let pgmap = TestPgmap::new()?;
            let (_mounted, file) = mounted_file(&pgmap)?;
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            let unmap = unmap_and_wait(&pgmap)?;
            check_eq!(file.break_now(Range::ALL), Err(ERESTARTSYS));
            let breaking = Breaking::evict(&file)?;
            breaking.wait_evict_asleep()?;
            check!(breaking.goes_on());
            drop(pin);
            check_eq!(breaking.join()?, Ok(()));
            check!(file.mapping().is_empty());
            unmap.join()?;
        }
        Ok(())
    }

    /// Calls `f` with a file that has an entry of `order` whose pgmap and memmap are gone.
    fn with_orphan(order: Order, dirty: bool, f: impl FnOnce(&Arc<FakeFile>) -> Result) -> Result {
        let pgmap = TestPgmap::new()?;
        let (_mounted, file) = mounted_file(&pgmap)?;

        file.insert(0, 0, order)?;
        if dirty {
            file.mark(0, Mark::Dirty)?;
        }
        pgmap.unmap()?.join()?;
        check_eq!(file.kind(0), Some(Kind::Zapped));
        check_eq!(file.has(0, Mark::Dirty), dirty);
        f(&file)
    }

    #[test]
    fn r14_what_is_left_can_be_removed_in_every_way() -> Result {
        for order in BOTH {
            for dirty in [false, true] {
                with_orphan(order, dirty, |file| {
                    check_eq!(file.break_now(pages(0, 0)), Ok(()));
                    check!(file.mapping().is_empty());
                    Ok(())
                })?;
                with_orphan(order, dirty, |file| {
                    check_eq!(Breaking::evict(file)?.join()?, Ok(()));
                    check!(file.mapping().is_empty());
                    Ok(())
                })?;
                with_orphan(order, dirty, |file| {
                    let breaking = Breaking::start(file, Range::ALL, Data::Keep)?;
                    check_eq!(breaking.join()?, Ok(()));
                    check!(file.mapping().is_empty());
                    Ok(())
                })?;
                with_orphan(order, dirty, |file| {
                    let removed = fsdax::invalidate_entry(file.mapping(), 0, Data::Discard);
                    check_eq!(removed, Removed::Yes);
                    Ok(())
                })?;
                with_orphan(order, dirty, |file| {
                    check!(fsdax::delete_entry(file.mapping(), 0));
                    Ok(())
                })?;
                with_orphan(order, dirty, |file| {
                    let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
                    check_eq!(fsdax::give_up(&mut locked), Left::Idle);
                    check_eq!(locked.entry().kind(), Kind::Empty);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    #[test]
    fn r14_nobody_waits_for_what_is_left() -> Result {
        for order in BOTH {
            with_orphan(order, false, |file| {
                let entry = file.entry(0).ok_or(ENOENT)?;
                check_eq!(fsdax::busy_pfn(file.mapping(), Range::ALL), None);
                let waiting = file.clone();
                let thread = Thread::spawn(move || {
                    fsdax::wait_briefly(waiting.mapping(), 0, entry, 3_600_000)
                })?;
                check_eq!(thread.join()?, Ok(()));
                check_eq!(file.kind(0), Some(Kind::Zapped));
                check_eq!(file.insert(0, 0, order), Err(ENXIO));
                Ok(())
            })?;
        }
        Ok(())
    }

    #[test]
    fn r14_lost_data_is_reported() -> Result {
        for order in BOTH {
            with_orphan(order, true, |file| {
                // SAFETY: Nothing is flushed, since the memory is gone.
                let device = unsafe { DaxDevice::from_raw(core::ptr::null_mut()) };
                let written = fsdax::write_back(file.mapping(), device, Range::ALL);
                check_eq!(written, Err(EIO));
                check!(file.writeback_error() != 0);
                check!(!file.has(0, Mark::Dirty) && !file.has(0, Mark::ToWrite));
                Ok(())
            })?;
            with_orphan(order, true, |file| {
                let broken = file.break_with(Range::ALL, Data::Keep, fsdax::OnBusy::Fail);
                check_eq!(broken, Ok(()));
                check!(file.writeback_error() != 0);
                Ok(())
            })?;
            with_orphan(order, true, |file| {
                let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
                check_eq!(fsdax::give_up(&mut locked), Left::Idle);
                drop(locked);
                check!(file.writeback_error() != 0);
                Ok(())
            })?;
            // What is dropped anyway is no loss.
            with_orphan(order, true, |file| {
                check_eq!(file.break_now(Range::ALL), Ok(()));
                check_eq!(file.writeback_error(), 0);
                Ok(())
            })?;
        }
        Ok(())
    }

    #[test]
    fn r14_data_is_written_back_while_the_memory_is_there() -> Result {
        for order in BOTH {
            let pgmap = TestPgmap::new()?;
            let (_mounted, file) = mounted_file(&pgmap)?;
            file.insert(0, 0, order)?;
            file.mark(0, Mark::Dirty)?;
            let pin = pgmap.pin(0)?;
            let unmap = unmap_and_wait(&pgmap)?;
            let events = Events::start()?;
            let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
            check_eq!(fsdax::give_up(&mut locked), Left::Busy);
            drop(locked);
            check_eq!(events.take(Event::Writeback), 1);
            check_eq!(file.writeback_error(), 0);
            drop(events);
            drop(pin);
            unmap.join()?;
        }
        Ok(())
    }

    #[test]
    fn r14_every_file_of_every_superblock_is_searched() -> Result {
        const FILES: usize = 5;

        let pgmap = TestPgmap::new()?;
        let mut mounts = KVec::new();
        let mut files = KVec::new();
        for i in 0..3 {
            let sb = FakeSuper::new()?;
            mounts.push(sb.mount()?, GFP_KERNEL)?;
            for j in 0..FILES {
                let file = FakeFile::on(&sb, &pgmap)?;
                // The first and the last one have none.
                if j % 2 != 0 {
                    file.insert(j, i * FILES + j, Order::Pte)?;
                }
                files.push(file, GFP_KERNEL)?;
            }
        }
        pgmap.unmap()?.join()?;
        for (n, file) in files.iter().enumerate() {
            let j = n % FILES;
            check_eq!(file.kind(j), (j % 2 != 0).then_some(Kind::Zapped));
            check_eq!(file.references(), 1);
        }
        Ok(())
    }

    #[test]
    fn r14_an_inode_is_held_while_its_file_is_searched() -> Result {
        let pgmap = TestPgmap::new()?;
        let (_mounted, file) = mounted_file(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        let locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        let unmap = unmap_and_wait(&pgmap)?;
        check_eq!(file.references(), 2);
        drop(locked);
        unmap.join()?;
        check_eq!(file.references(), 1);
        Ok(())
    }

    /// In how many calls, and in which task the last one, it was asked whether to drop an inode.
    static ASKED: [Atomic<i32>; 2] = [const { Atomic::new(0) }; 2];

    /// Drops an inode, but when asked again.
    ///
    /// # Safety
    ///
    /// The caller is `iput()`, with a valid inode. Nothing here depends on it.
    unsafe extern "C" fn drop_inode(_: *mut bindings::inode) -> c_int {
        ASKED[1].store(kernel::current!().pid(), Relaxed);
        c_int::from(ASKED[0].fetch_add(1, Relaxed) == 0)
    }

    struct Methods(bindings::super_operations);

    // SAFETY: The table holds pointers to functions.
    unsafe impl Sync for Methods {}

    static METHODS: Methods = Methods(bindings::super_operations {
        drop_inode: Some(drop_inode),
        ..pin_init::zeroed()
    });

    #[test]
    fn r22_the_last_reference_to_an_inode_is_dropped_without_locks() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let _mounted = sb.mount()?;
        let file = FakeFile::on(&sb, &pgmap)?;

        sb.set_methods(&METHODS.0);
        ASKED[0].store(0, Relaxed);
        // In a node of the xarray: an inode that is not shrinkable goes to no list of unused ones.
        file.insert(1000, 0, Order::Pte)?;
        let locked = file.mapping().lock_entry(1000).ok_or(ENOENT)?;
        let unmap = unmap_and_wait(&pgmap)?;
        check_eq!(file.references(), 2);
        let removing = unmap.pid();
        // The file is unlinked and closed meanwhile.
        file.set_references(1);
        drop(locked);
        let ended = unmap.join();
        let asked = wait_until(|| ASKED[0].load(Relaxed) == 2 && sb.active() == 1);
        let references = file.references();
        file.set_references(1);
        ended?;
        asked?;
        check_eq!(references, 0);
        check_eq!(file.kind(1000), Some(Kind::Zapped));
        // Not in the task that removes the device, nor in this one.
        check!(![removing, kernel::current!().pid()].contains(&ASKED[1].load(Relaxed)));
        Ok(())
    }

    #[test]
    fn r22_an_inode_that_stays_cached_is_let_go_of_at_once() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let _mounted = sb.mount()?;
        let file = FakeFile::on(&sb, &pgmap)?;

        sb.set_methods(&METHODS.0);
        ASKED[0].store(1, Relaxed);
        // As above.
        file.insert(1000, 0, Order::Pte)?;
        let locked = file.mapping().lock_entry(1000).ok_or(ENOENT)?;
        let unmap = unmap_and_wait(&pgmap)?;
        let removing = unmap.pid();
        // The file is closed meanwhile.
        file.set_references(1);
        drop(locked);
        let ended = unmap.join();
        let references = file.references();
        file.set_references(1);
        ended?;
        check_eq!((references, sb.active()), (0, 1));
        check_eq!(file.kind(1000), Some(Kind::Zapped));
        check_eq!(ASKED[1].load(Relaxed), removing);
        Ok(())
    }

    /// Removes the device of a file that the search leaves out, as `leave` makes it do.
    fn leave_out(leave: impl Fn(&FakeFile, bool)) -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let _mounted = sb.mount()?;
        let before = FakeFile::on(&sb, &pgmap)?;
        let file = FakeFile::on(&sb, &pgmap)?;
        let after = FakeFile::on(&sb, &pgmap)?;

        before.insert(0, 1, Order::Pte)?;
        file.insert(0, 0, Order::Pte)?;
        after.insert(0, 2, Order::Pte)?;
        leave(&file, true);
        let unmap = unmap_and_wait(&pgmap);
        leave(&file, false);
        let unmap = unmap?;
        check_eq!(file.kind(0), Some(Kind::Tracked));
        check_eq!(before.kind(0), Some(Kind::Zapped));
        check_eq!(after.kind(0), Some(Kind::Zapped));
        // As its eviction does.
        check_eq!(file.break_now(Range::ALL), Ok(()));
        unmap.join()?;
        check_eq!(file.references(), 1);
        Ok(())
    }

    #[test]
    fn r14_an_inode_that_is_evicted_is_left_out() -> Result {
        leave_out(FakeFile::set_evicted)
    }

    #[test]
    fn r14_other_files_are_left_out() -> Result {
        leave_out(|file, out| file.set_dax(!out))
    }

    #[test]
    fn r14_a_superblock_that_is_not_bound_is_left_alone() -> Result {
        let pgmap = TestPgmap::new()?;
        let (mounted, file) = mounted_file(&pgmap)?;
        let sb = FakeSuper::new()?;
        let never_bound = FakeFile::on(&sb, &pgmap)?;

        mapping::unbind(sb.raw());
        file.insert(0, 0, Order::Pte)?;
        never_bound.insert(0, 1, Order::Pte)?;
        drop(mounted);
        let unmap = unmap_and_wait(&pgmap)?;
        for file in [file, never_bound] {
            check_eq!(file.kind(0), Some(Kind::Tracked));
            check!(unmap.goes_on());
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        unmap.join()
    }

    #[test]
    fn r14_a_superblock_may_be_bound_again() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;

        drop(sb.mount()?);
        let _mounted = sb.mount()?;
        let file = FakeFile::on(&sb, &pgmap)?;
        file.insert(0, 0, Order::Pmd)?;
        pgmap.unmap()?.join()?;
        check_eq!(file.kind(0), Some(Kind::Zapped));
        Ok(())
    }

    /// Some superblocks with a file each, of which each has one page of `pgmap`.
    fn mount_three(pgmap: &Arc<TestPgmap>) -> Result<(KVec<Mounted>, KVec<Arc<FakeFile>>)> {
        let (mut mounts, mut files) = (KVec::new(), KVec::new());

        for i in 0..3 {
            let (mounted, file) = mounted_file(pgmap)?;
            file.insert(0, i, Order::Pte)?;
            mounts.push(mounted, GFP_KERNEL)?;
            files.push(file, GFP_KERNEL)?;
        }
        Ok((mounts, files))
    }

    #[test]
    fn r14_a_superblock_stays_while_it_is_searched() -> Result {
        for at in 0..3 {
            let pgmap = TestPgmap::new()?;
            let (mut mounts, files) = mount_three(&pgmap)?;
            let locked = files[at].mapping().lock_entry(0).ok_or(ENOENT)?;
            let unmap = unmap_and_wait(&pgmap)?;
            let mounted = mounts.remove(at).map_err(|_| EINVAL)?;
            let unbind = Thread::spawn(move || drop(mounted))?;
            let waits = wait_until(|| unbind.is_done() || unbind.sleeps(true));
            let goes_on = unbind.goes_on();
            drop(locked);
            unbind.join()?;
            // None is left out because the list changed.
            unmap.join()?;
            waits?;
            check!(goes_on);
            for file in &files {
                check_eq!(file.kind(0), Some(Kind::Zapped));
            }
        }
        Ok(())
    }

    #[test]
    fn r14_others_mount_and_unmount_while_one_is_searched() -> Result {
        for at in 0..3 {
            for gone in (0..3).filter(|gone| *gone != at) {
                let pgmap = TestPgmap::new()?;
                let (mut mounts, files) = mount_three(&pgmap)?;
                let locked = files[at].mapping().lock_entry(0).ok_or(ENOENT)?;
                let unmap = unmap_and_wait(&pgmap)?;
                let mounted = mounts.remove(gone).map_err(|_| EINVAL)?;
                let evicted = files[gone].clone();
                let others = Thread::spawn(move || -> Result<Mounted> {
                    evicted.break_now(Range::ALL)?;
                    drop(mounted);
                    FakeSuper::new()?.mount()
                })?;
                let waits = wait_until(|| others.is_done());
                drop(locked);
                let mounted = others.join()?;
                unmap.join()?;
                waits?;
                mounted?;
                for (i, file) in files.iter().enumerate() {
                    check_eq!(file.kind(0), (i != gone).then_some(Kind::Zapped));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn r14_all_files_let_a_shared_folio_go() -> Result {
        for order in BOTH {
            let pgmap = TestPgmap::new()?;
            let (_mounted, file) = mounted_file(&pgmap)?;
            let (_other_mounted, other) = mounted_file(&pgmap)?;
            file.share(0, 0, order)?;
            other.share(PMD, 0, order)?;
            let pin = pgmap.pin(0)?;
            let unmap = unmap_and_wait(&pgmap)?;
            check_eq!(file.kind(0), Some(Kind::Zapped));
            check_eq!(other.kind(PMD), Some(Kind::Zapped));
            check_eq!(pgmap.count(0), 1);
            drop(pin);
            unmap.join()?;
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check_eq!(other.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r14_a_device_that_comes_back_is_another_one() -> Result {
        for order in BOTH {
            let pgmap = TestPgmap::new()?;
            let (_mounted, file) = mounted_file(&pgmap)?;
            let other = FakeFile::new(&pgmap)?;
            file.insert(0, 0, order)?;
            pgmap.unmap()?.join()?;
            pgmap.map_again()?;
            other.insert(PMD, 0, order)?;
            let pin = pgmap.pin(0)?;
            // The entry still names the pfn, and has no business with who uses it now.
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check!(file.mapping().is_empty());
            check_eq!((other.kind(PMD), pgmap.count(0)), (Some(Kind::Tracked), 2));
            drop(pin);
        }
        Ok(())
    }

    #[test]
    fn r10_no_hold_of_the_list_of_inodes_is_longer_than_a_batch() -> Result {
        const MANY: usize = 2 * BATCH + 100;

        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let _mounted = sb.mount()?;
        let mut files = KVVec::new();
        // The first one added is the last one in the list.
        let file = FakeFile::on(&sb, &pgmap)?;
        file.insert(0, 0, Order::Pte)?;
        for _ in 0..MANY {
            files.push(FakeFile::on(&sb, &pgmap)?, GFP_KERNEL)?;
        }
        probe::longest_hold_of_inodes();
        pgmap.unmap()?.join()?;
        let longest = probe::longest_hold_of_inodes();
        check!((BATCH..=BATCH + 1).contains(&longest));
        check_eq!(file.kind(0), Some(Kind::Zapped));
        check!(files.iter().all(|file| file.references() == 1));
        Ok(())
    }

    #[test]
    fn r10_no_lock_hold_of_a_removal_is_longer_than_a_batch() -> Result {
        const MANY: usize = 3 * BATCH + 100;

        let pgmap = TestPgmap::with(Layout::One(MANY.div_ceil(PMD)))?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_pages(MANY)?;
        let (any, work) = Work::of(|| fsdax::revoke(file.mapping(), pgmap.pgmap()));
        check!(any);
        check!(work.visits >= MANY && work.visits <= MANY + 8);
        check!(work.longest <= BATCH + 1);
        check_eq!(file.count(Range::ALL, Kind::Zapped), MANY);
        Ok(())
    }
}
