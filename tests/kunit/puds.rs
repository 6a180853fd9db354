// SPDX-License-Identifier: GPL-2.0

//! Folios and entries of 1 GiB.
//!
//! Rules: R20.

use kernel::{
    prelude::*,
    sync::Arc, //
};

#[kunit_tests(rust_fsdax_pud)]
mod tests {
    use super::*;
    use crate::{
        folio::{
            self,
            Busy,
            Left, //
        },
        fsdax::{
            self,
            Data,
            OnBusy, //
        },
        kunit::{
            fixture::{
                pages,
                FakeFile,
                Layout,
                Snapshot,
                TestPgmap,
                PMD, //
            },
            probe::{
                skip,
                take_rebuilds,
                Stop,
                HAS_PUD, //
            },
            thread::{
                wait_until,
                Thread, //
            }, //
        },
        mapping::{
            Kind,
            LockedEntry,
            Mark,
            Range, //
        },
        pgmap::{
            Order,
            PgmapRef, //
        }, //
    };

    const HUGE: u32 = Order::PUD_ORDER;
    const LARGE: u32 = Order::PMD_ORDER;
    const PUD: usize = Order::Pud.pages();
    /// In the first and the last folio of 2 MiB, and in between.
    const SOME: [usize; 6] = [0, 1, PMD - 1, PMD, 7 * PMD + 5, PUD - 1];

    /// Skips the test where no memory is made one folio of 1 GiB.
    macro_rules! need_puds {
        () => {
            if !HAS_PUD {
                skip(c"the kernel has no huge puds");
                return Ok(());
            }
        };
    }

    fn gib() -> Result<Arc<TestPgmap>> {
        TestPgmap::with(Layout::Gib)
    }

    #[test]
    fn r20_a_request_takes_the_shape_as_it_is() -> Result {
        need_puds!();
        let pgmap = gib()?;

        check_eq!(pgmap.request(PMD, HUGE).err(), Some(EINVAL));
        drop(pgmap.request(0, HUGE)?);
        take_rebuilds();
        for _ in 0..3 {
            let folio = pgmap.request(0, HUGE)?;
            check_eq!((folio.order(), folio.count()), (HUGE, 1));
            for offset in SOME {
                check!(!pgmap.folio(offset).is_free());
                check_eq!(pgmap.request(offset, 0).err(), Some(EBUSY));
            }
            check_eq!(pgmap.request(0, LARGE).err(), Some(EBUSY));
            check_eq!(pgmap.request(7 * PMD, LARGE).err(), Some(EBUSY));
            check_eq!(pgmap.request(0, HUGE).err(), Some(EBUSY));
            check_eq!(pgmap.active(), 1);
            drop(folio);
            for offset in SOME {
                check!(pgmap.folio(offset).is_free() && pgmap.is_idle(offset));
            }
        }
        check_eq!(take_rebuilds(), 0);
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r20_smaller_folios_take_it_apart() -> Result {
        need_puds!();
        for (offset, order) in [(0, 0), (7 * PMD + 5, 0), (0, LARGE), (7 * PMD, LARGE)] {
            let pgmap = gib()?;
            let fresh = [pgmap.snapshot_of_slot(0)?, pgmap.snapshot_of_slot(7)?];
            drop(pgmap.request(0, HUGE)?);
            let folio = pgmap.request(offset, order)?;
            check_eq!((folio.order(), folio.count()), (order, 1));
            check_eq!(pgmap.request(0, HUGE).err(), Some(EBUSY));
            let rest = pgmap.request(8 * PMD, LARGE)?;
            check_eq!(rest.pfn(), pgmap.pfn(8 * PMD));
            drop((folio, rest));
            drop(pgmap.request(0, HUGE)?);
            folio::dissolve(pgmap.pgmap());
            fresh[0].check_same(&pgmap.snapshot_of_slot(0)?)?;
            fresh[1].check_same(&pgmap.snapshot_of_slot(7)?)?;
            take_rebuilds();
            drop(pgmap.request(PUD - 1, 0)?);
            check_eq!(take_rebuilds(), 0);
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r20_one_page_in_use_is_enough() -> Result {
        need_puds!();
        let pgmap = gib()?;

        for offset in SOME {
            let page = pgmap.request(offset, 0)?;
            check_eq!(pgmap.request(0, HUGE).err(), Some(EBUSY));
            check_eq!((page.order(), page.count()), (0, 1));
            // What was looked at before is free again.
            for other in SOME.into_iter().filter(|other| *other != offset) {
                check!(pgmap.folio(other).is_free());
                drop(pgmap.request(other, 0)?);
            }
            drop(page);
        }
        drop(pgmap.request(0, HUGE)?);
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r20_requests_of_all_orders_race() -> Result {
        need_puds!();
        const ROUNDS: usize = 24;
        let pgmap = gib()?;
        let race = |offset: usize, order: u32| {
            let pgmap = pgmap.clone();
            Thread::spawn(move || {
                for _ in 0..ROUNDS {
                    match pgmap.request(offset, order) {
                        Ok(folio) if folio.order() == order => {}
                        Ok(_) => return Err(EINVAL),
                        // All the others may be in the way, each time.
                        Err(e) if e == EBUSY => {}
                        Err(e) => return Err(e),
                    }
                }
                Ok(())
            })
        };
        let threads = [
            race(0, HUGE)?,
            race(0, HUGE)?,
            race(7 * PMD, LARGE)?,
            race(5, 0)?,
        ];
        for _ in 0..4 {
            folio::dissolve(pgmap.pgmap());
        }
        for thread in threads {
            thread.join()??;
        }
        for order in [HUGE, LARGE, 0, HUGE] {
            check_eq!(pgmap.request(0, order)?.order(), order);
        }
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    /// Why a request for a file fails.
    fn refused(pgmap: &Arc<TestPgmap>, offset: usize, order: Order) -> Result<Busy> {
        let file = FakeFile::new(pgmap)?;
        let locked = LockedEntry::grab(file.mapping(), offset, order)?;
        let live = PgmapRef::live(pgmap.pfn(offset), order)?;
        folio::request(live, &locked.locked_id())
            .err()
            .ok_or(EEXIST)
    }

    #[test]
    fn r20_a_kernel_without_puds_has_smaller_folios() -> Result {
        let pgmap = gib()?;
        let file = FakeFile::new(&pgmap)?;
        let (asked, inserted) = if HAS_PUD {
            (None, Ok(()))
        } else {
            (Some(EINVAL), Err(EBUSY))
        };

        check_eq!(pgmap.request(0, HUGE).err(), asked);
        check_eq!(file.insert(0, 0, Order::Pud), inserted);
        check_eq!(pgmap.active(), usize::from(HAS_PUD) as isize);
        check_eq!(file.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.active(), 0);
        drop((pgmap.request(PMD, LARGE)?, pgmap.request(0, 0)?));
        Ok(())
    }

    #[test]
    fn r20_memory_in_use_is_not_waited_for() -> Result {
        let pgmap = gib()?;
        let page = pgmap.request(9 * PMD + 3, 0)?;

        check_eq!(refused(&pgmap, 9 * PMD + 3, Order::Pte)?, Busy::InUse);
        check_eq!(refused(&pgmap, 9 * PMD, Order::Pmd)?, Busy::InUse);
        check_eq!(refused(&pgmap, 0, Order::Pud)?, Busy::InUse);
        drop(page);
        Ok(())
    }

    #[test]
    fn r20_a_fault_waits_for_who_takes_1_gib_apart() -> Result {
        need_puds!();
        const PAGE: usize = 7 * PMD + 5;

        for (index, order) in [(PAGE, Order::Pte), (8 * PMD, Order::Pmd)] {
            let pgmap = gib()?;
            let file = FakeFile::new(&pgmap)?;
            let hole = pgmap.pfn(PMD);

            // The entry is there, so that the memory is looked at first.
            file.insert_hole(index, hole, order)?;
            drop(pgmap.request(0, HUGE)?);
            let stop = Stop::next();
            let other = pgmap.clone();
            let first = Thread::spawn(move || other.request(3, 0).map(drop))?;
            stop.wait()?;
            // What has looked before that began is told so.
            for offset in [0, 3, 9 * PMD] {
                check_eq!(refused(&pgmap, offset, Order::Pte)?, Busy::Rebuilt);
            }
            check_eq!(refused(&pgmap, 9 * PMD, Order::Pmd)?, Busy::Rebuilt);
            let fault = Thread::spawn(move || file.insert(index, index, order))?;
            check!(fault.goes_on());
            drop(stop);
            check_eq!(first.join()?, Ok(()));
            // The file went with the thread.
            check_eq!(fault.join()?, Ok(()));
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r18_r20_fs_dax_gets_no_memory_that_is_being_rebuilt() -> Result {
        need_puds!();
        let pgmap = gib()?;

        drop(pgmap.request(0, HUGE)?);
        let stop = Stop::next();
        let other = pgmap.clone();
        let first = Thread::spawn(move || other.request(3, 0).map(drop))?;
        stop.wait()?;
        let other = pgmap.clone();
        let bind = Thread::spawn(move || folio::dissolve(other.pgmap()))?;
        check!(bind.goes_on());
        drop(stop);
        check_eq!(first.join()?, Ok(()));
        bind.join()?;
        take_rebuilds();
        for offset in SOME {
            drop(pgmap.request(offset, 0)?);
        }
        check_eq!(take_rebuilds(), 0);
        Ok(())
    }

    #[test]
    fn r20_a_file_has_an_entry_of_1_gib() -> Result {
        need_puds!();
        let pgmap = gib()?;
        let file = FakeFile::new(&pgmap)?;

        for index in [0, PUD] {
            file.insert(index, 0, Order::Pud)?;
            for offset in SOME {
                check_eq!(file.kind(index + offset), Some(Kind::Tracked));
            }
            check_eq!(file.count_all(Range::ALL), 1);
            check_eq!(pgmap.count(0), 1);
            // Another order does not get it.
            check_eq!(file.insert(index + 5, 5, Order::Pte), Err(EEXIST));
            check_eq!(file.insert(index, 0, Order::Pmd), Err(EEXIST));
            let pin = pgmap.pin(0)?;
            let all = pages(index, index + PUD - 1);
            check_eq!(file.break_now(all), Err(ERESTARTSYS));
            check_eq!(file.kind(index + PMD), Some(Kind::Zapped));
            // It is revived, and zapped again.
            file.insert(index, 0, Order::Pud)?;
            check_eq!(file.kind(index + PMD), Some(Kind::Tracked));
            check_eq!(file.break_now(all), Err(ERESTARTSYS));
            drop(pin);
            check_eq!(file.break_now(all), Ok(()));
            check_eq!(file.count_all(Range::ALL), 0);
            check!(pgmap.is_idle(0));
        }
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r20_any_smaller_entry_is_in_the_way() -> Result {
        need_puds!();
        let pgmap = gib()?;
        let file = FakeFile::new(&pgmap)?;

        for (offset, order) in [(0, Order::Pmd), (PUD - 1, Order::Pte), (PMD, Order::Pmd)] {
            file.insert(offset, offset, order)?;
            check_eq!(file.insert(0, 0, Order::Pud), Err(EEXIST));
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        file.insert(0, 0, Order::Pud)?;
        check_eq!(file.break_now(Range::ALL), Ok(()));
        Ok(())
    }

    /// The entries that are left of 1 GiB of which 2 MiB are gone.
    fn check_rest(file: &FakeFile, hole: usize, kind: Kind) -> Result {
        check_eq!(file.count_all(Range::ALL), PUD / PMD - 1);
        for offset in SOME {
            match file.entry(offset) {
                None => check!(Order::Pmd.align(offset) == hole),
                Some(entry) => {
                    check_eq!((entry.kind(), entry.order()), (kind, Order::Pmd));
                    check_eq!(entry.pfn(), file.pgmap().pfn(Order::Pmd.align(offset)));
                    check!(file.has(offset, Mark::Dirty) && !file.has(offset, Mark::Busy));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn r20_the_rest_of_a_dirty_entry_stays_dirty() -> Result {
        need_puds!();
        for hole in [0, PMD, 9 * PMD, PUD - PMD] {
            let pgmap = gib()?;
            let file = FakeFile::new(&pgmap)?;

            file.insert(0, 0, Order::Pud)?;
            file.mark(0, Mark::Dirty)?;
            let range = pages(hole, hole + PMD - 1);
            check_eq!(
                file.break_with(range, Data::Discard, OnBusy::Delete),
                Ok(())
            );
            check_rest(&file, hole, Kind::Zapped)?;
            check_eq!(pgmap.active(), 0);
            // The memory is found in the size of the entry.
            let next = if hole == 7 * PMD { 0 } else { 7 * PMD };
            file.insert(next, next, Order::Pmd)?;
            check_eq!(file.kind(next), Some(Kind::Tracked));
            check!(file.has(next, Mark::Dirty));
            check_eq!(pgmap.active(), 1);
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check_eq!(file.count_all(Range::ALL), 0);
        }
        Ok(())
    }

    #[test]
    fn r20_who_waits_for_an_entry_that_is_split_is_woken() -> Result {
        need_puds!();
        const PAGE: usize = 7 * PMD + 5;
        let pgmap = gib()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pud)?;
        file.mark(0, Mark::Dirty)?;
        let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        check_eq!(locked.zap(), Left::Idle);
        let waiting = file.clone();
        let thread = Thread::spawn(move || {
            let locked = waiting.mapping().lock_entry(PAGE);
            locked.map(|locked| (locked.index(), locked.entry().order()))
        })?;
        wait_until(|| thread.sleeps(true))?;
        check!(locked.split().is_ok());
        check_eq!(thread.join(), Ok(Some((7 * PMD, Order::Pmd))));
        check_eq!(file.break_now(Range::ALL), Ok(()));
        Ok(())
    }

    #[test]
    fn r20_a_clean_entry_just_goes() -> Result {
        need_puds!();
        let pgmap = gib()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pud)?;
        check_eq!(
            file.break_with(pages(5, 5), Data::Discard, OnBusy::Delete),
            Ok(())
        );
        check_eq!(file.count_all(Range::ALL), 0);
        Ok(())
    }

    #[test]
    fn r20_a_pinned_entry_is_split_when_the_pin_is_gone() -> Result {
        need_puds!();
        let pgmap = gib()?;
        let file = FakeFile::new(&pgmap)?;
        let range = pages(PMD, 2 * PMD - 1);

        file.insert(0, 0, Order::Pud)?;
        file.mark(0, Mark::Dirty)?;
        let pin = pgmap.pin(0)?;
        check_eq!(file.break_now(range), Err(ERESTARTSYS));
        check_eq!(file.entry(0).map(|e| e.order()), Some(Order::Pud));
        check!(file.has(0, Mark::Dirty));
        drop(pin);
        check_eq!(
            file.break_with(range, Data::Discard, OnBusy::Delete),
            Ok(())
        );
        check_rest(&file, PMD, Kind::Zapped)?;
        check_eq!(file.break_now(Range::ALL), Ok(()));
        Ok(())
    }

    #[test]
    fn r20_r24_no_other_file_has_a_part() -> Result {
        need_puds!();
        let pgmap = gib()?;
        let file = FakeFile::new(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;

        file.share(0, 0, Order::Pud)?;
        check_eq!(other.share(0, 0, Order::Pud), Err(EBUSY));
        check_eq!(other.share(0, PMD, Order::Pmd), Err(EBUSY));
        check_eq!(other.share(5, PMD + 7, Order::Pte), Err(EBUSY));
        check_eq!(pgmap.count(0), 1);
        // It makes way for a page of it.
        let pfn = pgmap.pfn(PMD + 7);
        check_eq!(fsdax::make_way(other.mapping(), 5, pfn, true, 1), Ok(()));
        check_eq!(file.count_all(Range::ALL), 0);
        other.share(5, PMD + 7, Order::Pte)?;
        check_eq!(file.share(0, 0, Order::Pud), Err(EBUSY));
        check_eq!(other.break_now(Range::ALL), Ok(()));
        Ok(())
    }

    #[test]
    fn r20_a_removal_lets_go_of_it() -> Result {
        need_puds!();
        let pgmap = gib()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pud)?;
        check!(fsdax::revoke(file.mapping(), pgmap.pgmap()));
        check_eq!(file.kind(PUD - 1), Some(Kind::Zapped));
        check_eq!(pgmap.active(), 0);
        check_eq!(file.break_now(Range::ALL), Ok(()));
        Ok(())
    }

    /// The tails of a DAX device, of which most share one `struct page` with others.
    fn snapshots(pgmap: &TestPgmap) -> Result<[Snapshot; 3]> {
        Ok([
            pgmap.snapshot_of_slot(1)?,
            pgmap.snapshot_of_slot(7)?,
            pgmap.snapshot_of_slot(PUD / PMD - 1)?,
        ])
    }

    #[test]
    fn r20_a_fixed_shape_is_never_rebuilt() -> Result {
        need_puds!();
        let pgmap = TestPgmap::with(Layout::FixedGib)?;
        let fresh = snapshots(&pgmap)?;
        let file = FakeFile::new(&pgmap)?;

        take_rebuilds();
        for _ in 0..3 {
            for (offset, order) in [(0, 0), (PUD - 1, 0), (0, LARGE), (7 * PMD, LARGE)] {
                check_eq!(pgmap.request(offset, order).err(), Some(EINVAL));
            }
            check_eq!(pgmap.request(PMD, HUGE).err(), Some(EINVAL));
            let folio = pgmap.request(0, HUGE)?;
            check_eq!((folio.order(), folio.count()), (HUGE, 1));
            check_eq!(pgmap.request(0, HUGE).err(), Some(EBUSY));
            check_eq!(file.insert(0, 0, Order::Pud), Err(EBUSY));
            check_eq!(pgmap.active(), 1);
            drop(folio);
            check!(pgmap.is_idle(0));
            check_eq!(pgmap.active(), 0);

            file.insert(0, 0, Order::Pud)?;
            let pin = pgmap.pin(0)?;
            check!(fsdax::revoke(file.mapping(), pgmap.pgmap()));
            check_eq!((pin.count(), pgmap.active()), (1, 1));
            file.insert(0, 0, Order::Pud)?;
            check_eq!((pin.count(), pgmap.active()), (2, 1));
            drop(pin);
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check!(pgmap.is_idle(0));
            check_eq!(pgmap.active(), 0);
            folio::dissolve(pgmap.pgmap());
        }
        check_eq!(take_rebuilds(), 0);
        for (before, after) in fresh.iter().zip(snapshots(&pgmap)?.iter()) {
            before.check_same(after)?;
        }
        Ok(())
    }

    #[test]
    fn r20_a_fixed_shape_is_not_shared() -> Result {
        let pgmap = TestPgmap::with(Layout::FixedGib)?;
        let fresh = snapshots(&pgmap)?;
        let file = FakeFile::new(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;

        file.share(0, 0, Order::Pud)?;
        check_eq!(other.share(0, 0, Order::Pud), Err(EBUSY));
        check_eq!(other.share(0, PMD, Order::Pmd), Err(ERANGE));
        check_eq!(other.share(5, PMD + 7, Order::Pte), Err(ERANGE));
        check_eq!(pgmap.count(0), 1);
        check_eq!(file.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.active(), 0);
        for (before, after) in fresh.iter().zip(snapshots(&pgmap)?.iter()) {
            before.check_same(after)?;
        }
        Ok(())
    }
}
