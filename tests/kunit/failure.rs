// SPDX-License-Identifier: GPL-2.0

//! The entry lock of memory failure (R13).
//!
//! Rules: R13.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_failure)]
mod tests {
    use kernel::sync::Arc;

    use super::*;
    use crate::{
        ffi::bindings::{
            self,
            page_field, //
        },
        folio::FolioRef,
        kunit::{
            fixture::{
                pages,
                FakeFile,
                TestPgmap,
                PMD, //
            },
            thread::{
                give_way,
                nap,
                wait_until,
                Counter,
                Thread, //
            }, //
        },
        mapping::{
            Entry,
            Kind,
            Range, //
        },
        pgmap::Order,
        provider, //
    };

    const BOTH: [Order; 2] = [Order::Pte, Order::Pmd];

    /// What `dax_lock_folio()` does with the folio at offset 0.
    struct FolioEntryLock<'a> {
        pgmap: &'a TestPgmap,
        cookie: bindings::dax_entry_t,
    }

    impl<'a> FolioEntryLock<'a> {
        fn new(pgmap: &'a TestPgmap) -> Option<Self> {
            let lock = provider::ops::table().lock_folio?;
            // SAFETY: The memmap stays as long as `pgmap`.
            let cookie = unsafe { lock(pgmap.page(0).cast()) };
            (cookie != 0).then(|| Self { pgmap, cookie })
        }
    }

    impl Drop for FolioEntryLock<'_> {
        fn drop(&mut self) {
            if let Some(unlock) = provider::ops::table().unlock_folio {
                // SAFETY: The cookie is that of `lock_folio`.
                unsafe { unlock(self.pgmap.page(0).cast(), self.cookie) }
            }
        }
    }

    fn mapping_of(pgmap: &TestPgmap) -> *mut bindings::address_space {
        // SAFETY: The memmap stays as long as `pgmap`.
        unsafe { page_field::mapping(pgmap.page(0)).read_volatile() }
    }

    fn is_locked(file: &FakeFile, index: usize) -> bool {
        file.entry(index).is_some_and(Entry::is_locked)
    }

    /// A tracked entry at PMD for offset 0, or a zapped and pinned one.
    fn file_with(pgmap: &Arc<TestPgmap>, order: Order, zapped: bool) -> Result<Fixture> {
        let file = FakeFile::new(pgmap)?;
        file.insert(PMD, 0, order)?;
        let mut pin = None;
        if zapped {
            pin = Some(pgmap.pin(0)?);
            check_eq!(file.break_now(Range::ALL), Err(ERESTARTSYS));
        }
        Ok((file, pin))
    }

    type Fixture = (Arc<FakeFile>, Option<FolioRef>);

    #[test]
    fn r13_tracked_and_zapped_entries_can_be_locked() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            for zapped in [false, true] {
                let (file, pin) = file_with(&pgmap, order, zapped)?;
                let before = file.entry(PMD);
                let count = pgmap.count(0);
                let lock = FolioEntryLock::new(&pgmap).ok_or(ENOENT)?;
                check!(is_locked(&file, PMD));
                drop(lock);
                check!(!is_locked(&file, PMD));
                check_eq!(file.entry(PMD), before);
                check_eq!((pgmap.count(0), pgmap.active()), (count, 1));
                drop(pin);
                check_eq!(file.break_now(Range::ALL), Ok(()));
                check_eq!(pgmap.active(), 0);
            }
        }
        Ok(())
    }

    #[test]
    fn r13_a_removed_entry_leaves_no_mapping() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            for zapped in [false, true] {
                let (file, pin) = file_with(&pgmap, order, zapped)?;
                check_eq!(mapping_of(&pgmap), file.mapping().as_raw());
                drop(pin);
                check_eq!(file.break_now(Range::ALL), Ok(()));
                check!(mapping_of(&pgmap).is_null());
                check!(FolioEntryLock::new(&pgmap).is_none());
            }
        }
        Ok(())
    }

    #[test]
    fn r13_a_folio_without_a_file_of_its_own_has_no_entry() -> Result {
        let pgmap = TestPgmap::new()?;

        check!(FolioEntryLock::new(&pgmap).is_none());
        let folio = pgmap.request(0, 0)?;
        check!(FolioEntryLock::new(&pgmap).is_none());
        drop(folio);
        let (file, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);
        file.share(0, 0, Order::Pte)?;
        other.share(0, 0, Order::Pte)?;
        check!(FolioEntryLock::new(&pgmap).is_none());
        check_eq!(pgmap.count(0), 2);
        Ok(())
    }

    #[test]
    fn r13_a_locked_entry_is_not_removed() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            for zapped in [false, true] {
                let (file, pin) = file_with(&pgmap, order, zapped)?;
                let lock = FolioEntryLock::new(&pgmap).ok_or(ENOENT)?;
                // DMA may end meanwhile.
                drop(pin);
                let broken = file.clone();
                let thread = Thread::spawn(move || broken.break_now(Range::ALL))?;
                wait_until(|| thread.sleeps(true))?;
                for _ in 0..4 {
                    nap();
                    check!(!thread.is_done());
                    check_eq!(mapping_of(&pgmap), file.mapping().as_raw());
                }
                drop(lock);
                let broken = thread.join()?;
                check!(broken == Ok(()) || broken == Err(ERESTARTSYS));
                check_eq!(file.break_now(Range::ALL), Ok(()));
                check!(file.mapping().is_empty());
                check_eq!(pgmap.active(), 0);
            }
        }
        Ok(())
    }

    #[test]
    fn r13_an_entry_lock_is_waited_for() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, _) = file_with(&pgmap, Order::Pte, false)?;
        let locked = file.mapping().lock_entry(PMD).ok_or(ENOENT)?;
        let failing = pgmap.clone();
        let thread = Thread::spawn(move || FolioEntryLock::new(&failing).is_some())?;

        wait_until(|| thread.sleeps(true))?;
        check!(!thread.is_done());
        drop(locked);
        check!(thread.join()?);
        check!(!is_locked(&file, PMD));
        Ok(())
    }

    #[test]
    fn r13_a_lock_survives_that_the_folio_gets_shared() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);

        file.share(0, 0, Order::Pte)?;
        let lock = FolioEntryLock::new(&pgmap).ok_or(ENOENT)?;
        let sharing = other.clone();
        let thread = Thread::spawn(move || sharing.share(0, 0, Order::Pte))?;
        wait_until(|| thread.is_done() || thread.sleeps(true))?;
        drop(lock);
        check_eq!(thread.join()?, Ok(()));
        check!(!is_locked(&file, 0));
        check_eq!(pgmap.count(0), 2);
        Ok(())
    }

    #[test]
    fn r13_the_sub_page_is_the_one_asked_for() -> Result {
        let pgmap = TestPgmap::new()?;
        let ops = provider::ops::table();
        let (lock, unlock) = (
            ops.lock_mapping_entry.ok_or(EINVAL)?,
            ops.unlock_mapping_entry.ok_or(EINVAL)?,
        );

        for zapped in [false, true] {
            let (file, pin) = file_with(&pgmap, Order::Pmd, zapped)?;
            let mapping = file.mapping().as_raw();
            for sub in [0, 1, 77, PMD - 1] {
                let mut page = core::ptr::null_mut();
                // SAFETY: The file stays.
                let cookie = unsafe { lock(mapping, PMD + sub, &mut page) };
                let locked = is_locked(&file, PMD);
                // SAFETY: The cookie is that of `lock`.
                unsafe { unlock(mapping, PMD + sub, cookie) };
                check!(locked);
                check_eq!(page, pgmap.page(sub));
                check!(!is_locked(&file, PMD));
            }
            drop(pin);
        }
        Ok(())
    }

    #[test]
    fn r13_what_has_no_page_is_no_error() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let ops = provider::ops::table();
        let (lock, unlock) = (
            ops.lock_mapping_entry.ok_or(EINVAL)?,
            ops.unlock_mapping_entry.ok_or(EINVAL)?,
        );
        let mapping = file.mapping().as_raw();

        file.insert_hole(0, pgmap.pfn(0), Order::Pte)?;
        for index in [0, 1] {
            let mut page = core::ptr::null_mut();
            // SAFETY: The file stays.
            let cookie = unsafe { lock(mapping, index, &mut page) };
            check_eq!(cookie, usize::MAX);
            check!(page.is_null());
            // SAFETY: The cookie is that of `lock`.
            unsafe { unlock(mapping, index, cookie) };
        }
        check_eq!(file.kind(0), Some(Kind::Zero));
        check!(!is_locked(&file, 0));
        check_eq!(file.break_now(pages(0, 0)), Ok(()));
        Ok(())
    }

    /// On one CPU this shows nothing: the failure waits for the CPU then.
    #[test]
    fn r13_an_association_that_changes_is_looked_at_again() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, _) = file_with(&pgmap, Order::Pte, false)?;
        let (ready, go) = (Counter::new()?, Counter::new()?);
        let (failing, ready_of_other, go_of_main) = (pgmap.clone(), ready.clone(), go.clone());
        let folio = pgmap.pin(0)?;
        let thread = Thread::spawn(move || {
            ready_of_other.add();
            while go_of_main.get() == 0 {
                give_way();
            }
            FolioEntryLock::new(&failing).is_some()
        })?;

        wait_until(|| ready.get() == 1)?;
        // As far as `LockedFolio::set` comes with one of the two words.
        let lock = folio.lock();
        // SAFETY: The folio is active, and its lock held.
        let page = unsafe { folio.as_folio().page().own() };
        page.set_index(7);
        go.add();
        // Long enough for the other one to come, were it not for the lock.
        let all = (0..300_000).all(|_| go.get() == 1);
        page.set_index(PMD);
        drop(lock);
        check!(thread.join()?);
        check!(all && !is_locked(&file, PMD));
        Ok(())
    }

    #[test]
    fn r13_a_locked_mapping_entry_keeps_its_folio() -> Result {
        let pgmap = TestPgmap::new()?;
        let ops = provider::ops::table();
        let (lock, unlock) = (
            ops.lock_mapping_entry.ok_or(EINVAL)?,
            ops.unlock_mapping_entry.ok_or(EINVAL)?,
        );

        for order in BOTH {
            let (file, pin) = file_with(&pgmap, order, true)?;
            let mapping = file.mapping().as_raw();
            let mut page = core::ptr::null_mut();
            // SAFETY: The file stays.
            let cookie = unsafe { lock(mapping, PMD, &mut page) };
            // DMA ends, and the page is marked afterwards.
            drop(pin);
            let (kept, idle) = (pgmap.count(0), pgmap.is_idle(0));
            // SAFETY: The cookie is that of `lock`.
            unsafe { unlock(mapping, PMD, cookie) };
            check_eq!((kept, idle), (1, false));
            check!(pgmap.is_idle(0) && !is_locked(&file, PMD));

            // Nobody is to be told of a failure of an idle folio.
            let mut page = core::ptr::null_mut();
            // SAFETY: The file stays.
            let cookie = unsafe { lock(mapping, PMD, &mut page) };
            // SAFETY: The cookie is that of `lock`.
            unsafe { unlock(mapping, PMD, cookie) };
            check!(page.is_null() && !is_locked(&file, PMD));
            check_eq!((cookie, pgmap.active()), (usize::MAX, 0));
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }
}
