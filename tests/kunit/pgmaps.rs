// SPDX-License-Identifier: GPL-2.0

//! Requests of folios (R1) and the references to their pgmap (R2).
//!
//! Rules: R1, R2.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_pgmap)]
mod tests {
    use kernel::sync::Arc;

    use super::*;
    use crate::{
        ffi::bindings,
        folio::{
            Folio,
            FolioRef,
            State, //
        },
        kunit::{
            context::in_hardirq,
            fixture::{
                FakeFile,
                Layout,
                RawPgmap,
                TestPgmap,
                PMD, //
            },
            thread::{
                give_way,
                wait_until,
                Counter,
                Thread, //
            }, //
        },
        mapping::Range,
        pgmap::{
            Order,
            Pgmap,
            PgmapRef, //
        }, //
    };

    fn error_of(pgmap: &TestPgmap, offset: usize, order: u32) -> Option<Error> {
        pgmap.request(offset, order).err()
    }

    #[test]
    fn r1_unsupported_order_is_einval() -> Result {
        let pgmap = TestPgmap::new()?;
        let before = pgmap.snapshot()?;

        for order in [1, 2, 3, 8, 10, 18, 19, 31, 32, 63, 64, u32::MAX] {
            check_eq!(error_of(&pgmap, 0, order), Some(EINVAL));
        }
        before.check_same(&pgmap.snapshot()?)?;
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r1_misaligned_is_einval() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let before = pgmap.snapshot()?;

        for offset in [1, 2, 256, PMD - 1, PMD + 1] {
            check_eq!(error_of(&pgmap, offset, Order::PMD_ORDER), Some(EINVAL));
        }
        before.check_same(&pgmap.snapshot()?)?;
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r1_past_the_end_is_erange() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let end = pgmap.pages();

        for offset in [end, end + 1, end + PMD, usize::MAX, usize::MAX - PMD + 1] {
            check_eq!(error_of(&pgmap, offset, 0), Some(ERANGE));
            check_eq!(error_of(&pgmap, offset, Order::PMD_ORDER), Some(ERANGE));
        }
        drop(pgmap.request(end - 1, 0)?);
        drop(pgmap.request(end - PMD, Order::PMD_ORDER)?);
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    /// No real pgmap has such ranges: memremap_pages() aligns them.
    #[test]
    fn r1_crossing_a_range_is_erange() -> Result {
        let mut raw = KBox::<RawPgmap>::zeroed(GFP_KERNEL)?;
        let page = |pfn: usize| pfn << bindings::PAGE_SHIFT;

        raw.pgmap.type_ = bindings::memory_type_MEMORY_DEVICE_FS_DAX;
        // The second range even begins where the first one ends.
        raw.set_ranges(&[(page(16 * PMD), PMD + 100), (page(17 * PMD + 100), PMD)]);
        let raw: *mut RawPgmap = &mut *raw;
        // SAFETY: `pfn_at` looks only at what is filled in.
        let pgmap = unsafe { Pgmap::from_raw(raw.cast()) };

        check_eq!(pgmap.pfn_at(0, Order::Pmd), Ok(16 * PMD));
        check_eq!(pgmap.pfn_at(PMD, Order::Pmd), Err(ERANGE));
        check_eq!(pgmap.pfn_at(2 * PMD, Order::Pmd), Err(ERANGE));
        check_eq!(pgmap.pfn_at(PMD + 99, Order::Pte), Ok(17 * PMD + 99));
        check_eq!(pgmap.pfn_at(PMD + 100, Order::Pte), Ok(17 * PMD + 100));
        check_eq!(pgmap.pfn_at(2 * PMD + 99, Order::Pte), Ok(18 * PMD + 99));
        check_eq!(pgmap.pfn_at(2 * PMD + 100, Order::Pte), Err(ERANGE));
        Ok(())
    }

    #[test]
    fn r1_offsets_count_over_the_ranges() -> Result {
        let pgmap = TestPgmap::with(Layout::Two)?;

        check_eq!(pgmap.request(0, 0)?.pfn(), pgmap.first_pfn_of(0));
        check_eq!(
            pgmap.request(PMD - 1, 0)?.pfn(),
            pgmap.first_pfn_of(0) + PMD - 1
        );
        check_eq!(pgmap.request(PMD, 0)?.pfn(), pgmap.first_pfn_of(1));
        let last = pgmap.request(2 * PMD, Order::PMD_ORDER)?;
        check_eq!(last.pfn(), pgmap.first_pfn_of(1) + PMD);
        check_eq!(pgmap.active(), 1);
        drop(last);
        check_eq!(error_of(&pgmap, 3 * PMD, 0), Some(ERANGE));
        check_eq!(pgmap.active(), 0);
        check_eq!(pgmap.pgmap().first_pfn(), pgmap.first_pfn_of(0));
        check_eq!(
            pgmap.pgmap().last_pfn(),
            pgmap.first_pfn_of(1) + 2 * PMD - 1
        );
        Ok(())
    }

    #[test]
    fn r1_altmap_head_is_out_of_reach() -> Result {
        // The memmap of the section takes 512 pages of `free`, aligned.
        let (reserve, free) = (2, 2 * PMD + 6);
        let pgmap = TestPgmap::with(Layout::Altmap { reserve, free })?;
        let first = pgmap.first_pfn_of(0);
        let end = pgmap.pages();

        check_eq!(first % PMD, 8);
        for offset in 0..end {
            let pfn = pgmap.pgmap().pfn_at(offset, Order::Pte)?;
            check_eq!(pfn, first + offset);
        }
        check_eq!(pgmap.request(0, 0)?.pfn(), first);
        check_eq!(error_of(&pgmap, end, 0), Some(ERANGE));
        // Not 0 is aligned, but what makes the pfn so.
        check_eq!(error_of(&pgmap, 0, Order::PMD_ORDER), Some(EINVAL));
        let large = pgmap.request(PMD - 8, Order::PMD_ORDER)?;
        check_eq!(large.pfn(), first + PMD - 8);
        check_eq!(pgmap.active(), 1);
        Ok(())
    }

    #[test]
    fn r1_other_type_is_einval() -> Result {
        let pgmap = TestPgmap::with(Layout::Generic)?;

        check_eq!(error_of(&pgmap, 0, 0), Some(EINVAL));
        check_eq!(error_of(&pgmap, 0, Order::PMD_ORDER), Some(EINVAL));
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r1_dying_pgmap_is_enxio() -> Result {
        let pgmap = TestPgmap::new()?;
        let folio = pgmap.request(0, 0)?;
        let unmap = pgmap.unmap()?;

        wait_until(|| !pgmap.is_live())?;
        for offset in 0..4 {
            check_eq!(error_of(&pgmap, 1 + offset, 0), Some(ENXIO));
        }
        drop(folio);
        unmap.join()
    }

    #[test]
    fn r1_busy_head_is_ebusy() -> Result {
        let pgmap = TestPgmap::new()?;
        let folio = pgmap.request(0, 0)?;
        let before = pgmap.snapshot()?;

        check_eq!(error_of(&pgmap, 0, 0), Some(EBUSY));
        check_eq!(error_of(&pgmap, 0, Order::PMD_ORDER), Some(EBUSY));
        before.check_same(&pgmap.snapshot()?)?;
        check_eq!(folio.count(), 1);
        check_eq!(pgmap.active(), 1);
        Ok(())
    }

    #[test]
    fn r1_busy_tail_is_ebusy() -> Result {
        let pgmap = TestPgmap::new()?;

        for offset in [1, 2, 3, 255, PMD - 1] {
            let folio = pgmap.request(offset, 0)?;
            let before = pgmap.snapshot()?;
            check_eq!(error_of(&pgmap, 0, Order::PMD_ORDER), Some(EBUSY));
            before.check_same(&pgmap.snapshot()?)?;
            check_eq!(folio.order(), 0);
            check_eq!(pgmap.active(), 1);
        }
        drop(pgmap.request(0, Order::PMD_ORDER)?);
        Ok(())
    }

    #[test]
    fn r1_page_of_an_active_large_folio_is_ebusy() -> Result {
        let pgmap = TestPgmap::new()?;
        let large = pgmap.request(0, Order::PMD_ORDER)?;
        let before = pgmap.snapshot()?;

        for offset in 0..PMD {
            check_eq!(error_of(&pgmap, offset, 0), Some(EBUSY));
        }
        check_eq!(error_of(&pgmap, 0, Order::PMD_ORDER), Some(EBUSY));
        before.check_same(&pgmap.snapshot()?)?;
        check_eq!(large.count(), 1);
        check_eq!(pgmap.active(), 1);
        Ok(())
    }

    /// Two threads meet again and again, and then request at once.
    fn race(orders: [u32; 2]) -> Result {
        const ROUNDS: usize = 500;

        let pgmap = TestPgmap::new()?;
        let (arrived, won, lost, left) = (
            Counter::new()?,
            Counter::new()?,
            Counter::new()?,
            Counter::new()?,
        );
        let meet = |counter: &Counter, round: usize| {
            counter.add();
            while counter.get() < 2 * (round + 1) {
                give_way();
            }
        };
        let run = |order: u32| {
            let (pgmap, arrived, won, lost, left) = (
                pgmap.clone(),
                arrived.clone(),
                won.clone(),
                lost.clone(),
                left.clone(),
            );
            Thread::spawn(move || -> Result {
                let mut result = Ok(());
                for round in 0..ROUNDS {
                    meet(&arrived, round);
                    let folio = pgmap.request(0, order);
                    match &folio {
                        Ok(_) => won.add(),
                        Err(_) => lost.add(),
                    };
                    // Keeps the folio until both have tried, whatever happens.
                    meet(&left, round);
                    if won.get() != round + 1 || lost.get() != round + 1 {
                        result = Err(EINVAL);
                    }
                    if folio.is_err_and(|e| e != EBUSY) {
                        result = Err(EINVAL);
                    }
                }
                result
            })
        };
        let threads = [run(orders[0])?, run(orders[1])?];
        for thread in threads {
            check_eq!(thread.join()?, Ok(()));
        }
        check_eq!(won.get(), ROUNDS);
        check_eq!(lost.get(), ROUNDS);
        check_eq!(pgmap.active(), 0);
        drop(pgmap.request(0, Order::PMD_ORDER)?);
        Ok(())
    }

    #[test]
    fn r1_one_of_two_racing_requests_wins() -> Result {
        race([0, 0])?;
        race([Order::PMD_ORDER, Order::PMD_ORDER])
    }

    #[test]
    fn r1_requests_of_two_orders_race() -> Result {
        race([0, Order::PMD_ORDER])
    }

    #[test]
    fn r1_a_request_races_with_the_free_path() -> Result {
        const ROUNDS: usize = 500;

        let pgmap = TestPgmap::new()?;
        let holders = Counter::new()?;
        let run = |order: u32| {
            let (pgmap, holders) = (pgmap.clone(), holders.clone());
            Thread::spawn(move || -> Result {
                for _ in 0..ROUNDS {
                    let folio = loop {
                        match pgmap.request(0, order) {
                            Err(e) if e == EBUSY => give_way(),
                            other => break other?,
                        }
                    };
                    check_eq!(holders.add(), 1);
                    check_eq!(folio.order(), order);
                    check_eq!(folio.count(), 1);
                    holders.sub();
                }
                Ok(())
            })
        };
        let threads = [run(0)?, run(Order::PMD_ORDER)?];
        for thread in threads {
            check_eq!(thread.join()?, Ok(()));
        }
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r2_an_active_folio_has_one_reference() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;

        check_eq!(pgmap.active(), 0);
        let small = pgmap.request(0, 0)?;
        check_eq!(pgmap.active(), 1);
        let large = pgmap.request(PMD, Order::PMD_ORDER)?;
        check_eq!(pgmap.active(), 2);
        let pins = [pgmap.pin(0)?, pgmap.pin(PMD)?];
        check_eq!(pgmap.active(), 2);
        drop(small);
        check_eq!(pgmap.active(), 2);
        drop(large);
        check_eq!(pgmap.active(), 2);
        let [small, large] = pins;
        drop(small);
        check_eq!(pgmap.active(), 1);
        drop(large);
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r2_a_refused_request_keeps_no_reference() -> Result {
        let pgmap = TestPgmap::new()?;
        let folio = pgmap.request(7, 0)?;

        for (offset, order) in [(7, 0), (0, 9), (1, 9), (PMD, 0), (0, 1)] {
            check!(pgmap.request(offset, order).is_err());
            check_eq!(pgmap.active(), 1);
        }
        drop(folio);
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    fn unmap_waits(order: u32) -> Result {
        let pgmap = TestPgmap::new()?;
        let folio = pgmap.request(0, order)?;
        let pin = pgmap.pin(0)?;
        let unmap = pgmap.unmap()?;

        wait_until(|| !pgmap.is_live())?;
        check!(unmap.goes_on());
        drop(folio);
        check!(unmap.goes_on());
        // Somebody who is nobody's friend: the last reference, a bare folio_put().
        let raw = pin.into_raw();
        // SAFETY: The reference that `pin` had.
        unsafe { bindings::rust_fsdax_folio_put(raw) };
        unmap.join()
    }

    #[test]
    fn r2_unmap_waits_for_the_last_reference() -> Result {
        unmap_waits(0)
    }

    #[test]
    fn r2_unmap_waits_for_the_last_reference_to_a_large_folio() -> Result {
        unmap_waits(Order::PMD_ORDER)
    }

    /// Whoever looks at a folio that may have become idle, as waiters do.
    #[test]
    fn r2_unmap_waits_for_a_reference_without_a_folio() -> Result {
        let pgmap = TestPgmap::new()?;
        let pfn = pgmap.pfn(0);
        let live = PgmapRef::live(pfn, Order::Pte)?;
        check_eq!(pgmap.active(), 1);
        let unmap = pgmap.unmap()?;

        wait_until(|| !pgmap.is_live())?;
        check_eq!(PgmapRef::live(pfn, Order::Pte).err(), Some(ENXIO));
        let dying = PgmapRef::dying_or_live(pfn).ok_or(ENOENT)?;
        drop(live);
        check!(unmap.goes_on());
        check!(matches!(Folio::of(&dying).look(), State::Idle));
        drop(dying);
        unmap.join()?;
        check!(PgmapRef::dying_or_live(pfn).is_none());
        Ok(())
    }

    #[test]
    fn r2_references_of_other_threads_count() -> Result {
        let pgmap: Arc<TestPgmap> = TestPgmap::new()?;
        let folio: FolioRef = pgmap.request(0, 0)?;
        let other = pgmap.clone();
        let thread = Thread::spawn(move || match other.folio(0).look() {
            State::Active(pin) => Some(pin),
            _ => None,
        })?;
        let pin = thread.join()?.ok_or(EINVAL)?;

        drop(folio);
        check_eq!(pgmap.active(), 1);
        check_eq!(pgmap.count(0), 1);
        drop(pin);
        check_eq!(pgmap.active(), 0);
        check_eq!(pgmap.count(0), 0);
        Ok(())
    }

    /// What a folio that no entry tracks adds to them: what is built in cannot be unloaded.
    const KEPT: i32 = cfg!(MODULE) as i32;

    /// How many references to this module there are.
    #[cfg(MODULE)]
    fn module_references() -> i32 {
        // SAFETY: The module stays while its code runs.
        unsafe { bindings::module_refcount(crate::ffi::compat::this_module().as_ptr()) }
    }

    #[cfg(not(MODULE))]
    fn module_references() -> i32 {
        0
    }

    #[test]
    fn r15_a_folio_that_no_entry_tracks_keeps_the_module() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in [Order::Pte, Order::Pmd] {
            let before = module_references();
            let folio = pgmap.request(0, order.get())?;
            check_eq!(module_references(), before + KEPT);
            let pin = pgmap.pin(0)?;
            drop(folio);
            // The client that requested it is gone, and a pipe has it.
            check_eq!(module_references(), before + KEPT);
            check_eq!(error_of(&pgmap, 0, order.get()), Some(EBUSY));
            check_eq!(module_references(), before + KEPT);
            in_hardirq(move || drop(pin))?;
            check_eq!(module_references(), before);
            check!(pgmap.is_idle(0));
            // No reference is lost by what fails.
            check_eq!(error_of(&pgmap, pgmap.pages(), order.get()), Some(ERANGE));
            check_eq!(module_references(), before);
        }
        Ok(())
    }

    #[test]
    fn r15_a_folio_that_an_entry_tracks_does_not_keep_the_module() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let before = module_references();

        for order in [Order::Pte, Order::Pmd] {
            file.insert(0, 0, order)?;
            check_eq!(module_references(), before);
            let pin = pgmap.pin(0)?;
            check_eq!(file.break_now(Range::ALL), Err(ERESTARTSYS));
            check_eq!(module_references(), before);
            // Freed by whoever pins it, and then by its entry.
            drop(pin);
            check!(pgmap.is_idle(0));
            check_eq!(module_references(), before);
            file.insert(0, 0, order)?;
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check_eq!(module_references(), before);
        }
        Ok(())
    }

    #[test]
    fn a_page_of_other_memory_is_not_found() -> Result {
        let pgmap = TestPgmap::with(Layout::Two)?;
        let large = PgmapRef::live(pgmap.pfn(0), Order::Pmd)?;

        for pfn in [pgmap.pfn(0), pgmap.pfn(PMD - 1), pgmap.first_pfn_of(1)] {
            check!(pgmap.pgmap().page(pfn).is_some());
        }
        // Before the first range, and in the gap.
        for pfn in [pgmap.pfn(0) - 1, pgmap.pfn(PMD)] {
            check!(pgmap.pgmap().page(pfn).is_none());
        }
        check!(large.page_at(pgmap.pfn(PMD - 1)).is_some());
        check!(large.page_at(pgmap.pfn(PMD)).is_none());
        Ok(())
    }
}
