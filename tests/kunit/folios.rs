// SPDX-License-Identifier: GPL-2.0

//! A request (R1), the free path (R3, R14), what counts as idle (R4), and as busy (R6).
//!
//! Rules: R1, R3, R4, R6, R14.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_folio)]
mod tests {
    use super::*;
    use crate::{
        ffi::bindings::{
            self,
            page_field, //
        },
        folio::{
            self,
            Left,
            State, //
        },
        fsdax::{
            Data,
            OnBusy, //
        },
        kunit::{
            context::{
                in_hardirq,
                in_softirq, //
            },
            fixture::{
                pages,
                FakeFile,
                Layout,
                TestPgmap,
                PMD, //
            },
            probe::{
                published,
                Event,
                Events,
                Wakes, //
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
            After,
            Kind,
            Walk, //
        },
        pgmap::Order, //
    };

    const ORDERS: [u32; 2] = [0, Order::PMD_ORDER];

    #[test]
    fn r4_a_folio_of_somebody_else_is_idle() -> Result {
        let pgmap = TestPgmap::with(Layout::Generic)?;
        let count = pgmap.count(0);

        check!(count > 0);
        check!(matches!(pgmap.folio(0).look(), State::Idle));
        check_eq!(pgmap.count(0), count);
        Ok(())
    }

    #[test]
    fn r3_last_reference_dropped_in_hardirq() -> Result {
        let pgmap = TestPgmap::new()?;
        let before = pgmap.snapshot()?;

        for order in ORDERS {
            let folio = pgmap.request(0, order)?;
            in_hardirq(move || drop(folio))?;
            check!(pgmap.is_idle(0));
            check_eq!(pgmap.active(), 0);
            before.check_same(&pgmap.snapshot()?)?;
        }
        Ok(())
    }

    #[test]
    fn r3_last_reference_dropped_in_softirq() -> Result {
        let pgmap = TestPgmap::new()?;
        let before = pgmap.snapshot()?;

        for order in ORDERS {
            let folio = pgmap.request(0, order)?;
            in_softirq(move || drop(folio))?;
            check!(pgmap.is_idle(0));
            check_eq!(pgmap.active(), 0);
            before.check_same(&pgmap.snapshot()?)?;
        }
        Ok(())
    }

    #[test]
    fn r3_last_reference_dropped_under_the_i_pages_lock() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in [Order::Pte, Order::Pmd] {
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(file.break_now(pages(0, 0)), Err(ERESTARTSYS));
            let walk = Walk::new(file.mapping(), pages(0, 0));
            drop(pin);
            drop(walk);
            check!(pgmap.is_idle(0));
            check_eq!(pgmap.active(), 0);
            check_eq!(file.break_now(pages(0, 0)), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r6_an_entry_that_was_zapped_meanwhile_is_still_busy() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in [Order::Pte, Order::Pmd] {
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(file.break_now(pages(0, 0)), Err(ERESTARTSYS));
            // As a break finds it that let the lock go before it zaps.
            let mut walk = Walk::new(file.mapping(), pages(0, 0));
            let left = walk.next().map(|at| at.zap(|_| After::Removed));
            drop(walk);
            check_eq!(left, Some(Left::Busy));
            drop(pin);
            let mut walk = Walk::new(file.mapping(), pages(0, 0));
            let left = walk.next().map(|at| at.zap(|_| After::Removed));
            drop(walk);
            check_eq!(left, Some(Left::Idle));
            check_eq!(file.break_now(pages(0, 0)), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r3_free_resets_what_files_left() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;
        let before = pgmap.snapshot()?;

        for order in [Order::Pte, Order::Pmd] {
            // Owned, and zapped while pinned.
            file.insert(3 * PMD, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(file.break_now(pages(0, 9 * PMD)), Err(ERESTARTSYS));
            drop(pin);
            before.check_same(&pgmap.snapshot()?)?;
            check_eq!(file.break_now(pages(0, 9 * PMD)), Ok(()));
            // Shared.
            file.share(5 * PMD, 0, order)?;
            other.share(7 * PMD, 0, order)?;
            check_eq!(file.break_now(pages(0, 9 * PMD)), Ok(()));
            check_eq!(other.break_now(pages(0, 9 * PMD)), Ok(()));
            before.check_same(&pgmap.snapshot()?)?;
        }
        Ok(())
    }

    #[test]
    fn r1_code_of_an_earlier_file_is_forgotten() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in [Order::Pte, Order::Pmd] {
            file.insert(0, 0, order)?;
            map_code(&pgmap);
            check_eq!(file.break_now(pages(0, PMD - 1)), Ok(()));
            file.insert(0, 0, order)?;
            check_eq!(forget_code(&pgmap), !bindings::RUST_FSDAX_SYNCS_CODE);
            // Of the same file it is still known.
            map_code(&pgmap);
            let pin = pgmap.pin(0)?;
            check_eq!(file.break_now(pages(0, PMD - 1)), Err(ERESTARTSYS));
            file.insert(0, 0, order)?;
            drop(pin);
            check!(forget_code(&pgmap));
            check_eq!(file.break_now(pages(0, PMD - 1)), Ok(()));
        }
        Ok(())
    }

    /// An executable mapping of the first page.
    fn map_code(pgmap: &TestPgmap) {
        // SAFETY: The memmap stays as long as the pgmap is mapped.
        unsafe { bindings::rust_fsdax_kunit_map_code(pgmap.page(0)) }
    }

    /// Whether the next one would do nothing, which it would not do again.
    fn forget_code(pgmap: &TestPgmap) -> bool {
        // SAFETY: The memmap stays as long as the pgmap is mapped.
        unsafe { bindings::rust_fsdax_kunit_forget_code(pgmap.page(0)) }
    }

    #[test]
    fn r3_pages_of_a_large_folio_can_be_requested_again() -> Result {
        let pgmap = TestPgmap::new()?;
        let before = pgmap.snapshot()?;

        for _ in 0..2 {
            let large = pgmap.request(0, Order::PMD_ORDER)?;
            check_eq!(large.order(), Order::PMD_ORDER);
            drop(large);
            before.check_same(&pgmap.snapshot()?)?;

            let mut small = KVVec::with_capacity(PMD, GFP_KERNEL)?;
            for offset in 0..PMD {
                let folio = pgmap.request(offset, 0)?;
                check_eq!((folio.order(), folio.count()), (0, 1));
                small.push(folio, GFP_KERNEL)?;
            }
            check_eq!(pgmap.active(), PMD as isize);
            drop(small);
            before.check_same(&pgmap.snapshot()?)?;
        }
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r3_folios_are_requested_and_freed_once() -> Result {
        let pgmap = TestPgmap::new()?;
        let events = Events::start()?;

        for order in ORDERS {
            let folio = pgmap.request(0, order)?;
            let pin = pgmap.pin(0)?;
            drop(folio);
            check_eq!(events.take(Event::Request), 1);
            check_eq!(events.take(Event::Free), 0);
            drop(pin);
            check_eq!(events.take(Event::Free), 1);
        }
        Ok(())
    }

    /// A folio at count 0 whose free path has not run yet, as another CPU sees it.
    struct Draining<'a> {
        pgmap: &'a TestPgmap,
        done: bool,
    }

    impl<'a> Draining<'a> {
        /// The folio at offset 0, which has one reference left that nobody puts.
        fn new(pgmap: &'a TestPgmap) -> Result<Self> {
            let page = pgmap.page(0);
            // SAFETY: The folio is active.
            if !unsafe { bindings::rust_fsdax_folio_ref_freeze(page.cast(), 1) } {
                return Err(EINVAL);
            }
            Ok(Self { pgmap, done: false })
        }

        fn free(&mut self) {
            if !self.done {
                self.done = true;
                // SAFETY: The count was frozen at 0 by `new`, and this is the first call.
                unsafe { folio::free(self.pgmap.page(0).cast(), self.pgmap.raw()) }
            }
        }
    }

    impl Drop for Draining<'_> {
        fn drop(&mut self) {
            self.free();
        }
    }

    #[test]
    fn r4_count_0_with_the_mark_is_not_idle() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in ORDERS {
            pgmap.request(0, order)?.into_raw();
            let mut draining = Draining::new(&pgmap)?;
            check_eq!(pgmap.count(0), 0);
            check!(matches!(pgmap.folio(0).look(), State::Draining));
            check!(!pgmap.folio(0).is_free());
            for order in ORDERS {
                check_eq!(pgmap.request(0, order).err(), Some(EBUSY));
            }
            check_eq!(pgmap.active(), 1);
            draining.free();
            check!(pgmap.is_idle(0));
            check!(pgmap.folio(0).is_free());
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r4_who_waits_is_woken_when_a_folio_is_idle() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in [Order::Pte, Order::Pmd] {
            let wakes = Wakes::of(pgmap.folio(0));
            let folio = pgmap.request(0, order.get())?;
            check_eq!(wakes.take(), (0, 0));
            // Whoever is woken before looks once more, and sleeps for ever.
            drop(folio);
            check_eq!(wakes.take(), (1, 0));
            file.insert(0, 0, order)?;
            wakes.take();
            check_eq!(file.break_now(pages(0, PMD - 1)), Ok(()));
            check_eq!(wakes.take(), (1, 0));
        }
        Ok(())
    }

    #[test]
    fn r1_a_count_comes_after_the_file_and_before_the_mark() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        // Whoever has a reference finds the entry; what had the mark first would look as if it were
        // on its way to idle, and who waits for that is not woken.
        for (index, order) in [(5 * PMD, Order::Pmd), (3, Order::Pte)] {
            file.insert(index, 0, order)?;
            check_eq!(published(), (file.mapping().address(), index, 1));
            check_eq!(file.break_now(pages(0, 6 * PMD)), Ok(()));
            check!(pgmap.is_idle(0));
        }
        Ok(())
    }

    #[test]
    fn r14_a_removal_is_woken_for_what_no_file_has() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let wakes = Wakes::at(pgmap.raw());

        for order in [Order::Pte, Order::Pmd] {
            drop(pgmap.request(0, order.get())?);
            check_eq!(wakes.take(), (1, 0));
            // The entry names the folio to it, which is what it sleeps on then.
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(file.break_now(pages(0, PMD - 1)), Err(ERESTARTSYS));
            drop(pin);
            check_eq!(wakes.take(), (0, 0));
            check_eq!(file.break_now(pages(0, PMD - 1)), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r4_a_break_waits_for_the_free_path() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let calls = Counter::new()?;

        file.insert(0, 0, Order::Pte)?;
        pgmap.pin(0)?.into_raw();
        check_eq!(file.break_now(pages(0, 0)), Err(ERESTARTSYS));
        let mut draining = Draining::new(&pgmap)?;
        // Count 0, but the free path still writes.
        check_eq!(file.break_now(pages(0, 0)), Err(ERESTARTSYS));
        check_eq!(file.kind(0), Some(Kind::Zapped));

        let (sleeper, calls_of_sleeper) = (file.clone(), calls.clone());
        let thread = Thread::spawn(move || {
            let sleep = || {
                calls_of_sleeper.add();
                give_way();
            };
            sleeper.break_with(pages(0, 0), Data::Discard, OnBusy::Sleep(&sleep))
        })?;
        let woken_and_asleep_again = |times: usize| -> Result {
            wait_until(|| calls.get() >= times && thread.sleeps(false))
        };
        woken_and_asleep_again(1)?;
        for times in 2..6 {
            // A wake-up that is too early, or meant for somebody else.
            pgmap.folio(0).wait_address().wake();
            woken_and_asleep_again(times)?;
            check!(!thread.is_done());
            check_eq!(file.kind(0), Some(Kind::Zapped));
        }
        draining.free();
        check_eq!(thread.join()?, Ok(()));
        check!(pgmap.is_idle(0));
        check_eq!(file.kind(0), None);
        Ok(())
    }

    #[test]
    fn r4_a_fault_waits_for_the_free_path() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in [Order::Pte, Order::Pmd] {
            pgmap.request(0, order.get())?.into_raw();
            let mut draining = Draining::new(&pgmap)?;
            let faulting = file.clone();
            let thread = Thread::spawn(move || faulting.insert(0, 0, order))?;
            wait_until(|| thread.sleeps(true))?;
            for _ in 0..4 {
                pgmap.folio(0).wait_address().wake();
                nap();
                check!(!thread.is_done());
            }
            draining.free();
            check_eq!(thread.join()?, Ok(()));
            check_eq!(file.kind(0), Some(Kind::Tracked));
            check_eq!((pgmap.count(0), pgmap.active()), (1, 1));
            check_eq!(file.break_now(pages(0, PMD - 1)), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r4_a_foreign_page_is_not_free() -> Result {
        let pgmap = TestPgmap::new()?;
        let count = page_field::refcount(pgmap.page(5));

        // SAFETY: The page is free, so that we may play somebody who uses it without us.
        unsafe { count.write_volatile(1) };
        let small = pgmap.request(5, 0).err();
        let large = pgmap.request(0, Order::PMD_ORDER).err();
        // SAFETY: The memmap stays, and the page is free.
        unsafe { count.write_volatile(0) };
        check_eq!((small, large), (Some(EBUSY), Some(EBUSY)));
        check_eq!(pgmap.active(), 0);
        Ok(())
    }
}
