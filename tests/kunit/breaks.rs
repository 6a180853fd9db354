// SPDX-License-Identifier: GPL-2.0

//! Layout breaks: what they promise (R6), and the faults that come in while they sleep (R7).

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_break)]
mod tests {
    use core::cell::Cell;

    use super::*;
    use crate::{
        fsdax::{
            self,
            Data,
            OnBusy, //
        },
        kunit::{
            breaking::{
                Breaking,
                Pins, //
            },
            context::in_hardirq,
            fixture::{
                pages,
                FakeFile,
                Layout,
                TestPgmap,
                PMD, //
            },
            probe::{
                take_rings,
                take_unmaps,
                Event,
                Events,
                Wakes, //
            },
            thread::{
                give_way,
                wait_until,
                Counter,
                Thread, //
            }, //
        },
        mapping::{
            Entry,
            Kind,
            LockedEntry,
            Mark,
            Range, //
        },
        pgmap::Order, //
    };

    const BOTH: [Order; 2] = [Order::Pte, Order::Pmd];

    #[test]
    fn r6_byte_ranges_become_page_ranges() {
        let end = usize::MAX;

        assert_eq!(Range::from_bytes(0, 0), Some(pages(0, 0)));
        assert_eq!(Range::from_bytes(4095, 4096), Some(pages(0, 1)));
        assert_eq!(Range::from_bytes(4096, 8191), Some(pages(1, 1)));
        assert_eq!(Range::from_bytes(0, i64::MAX), Some(Range::ALL));
        assert_eq!(Range::from_bytes(8192, i64::MAX), Some(pages(2, end)));
        assert_eq!(Range::from_bytes(8192, -1), Some(pages(2, end)));
        assert_eq!(Range::from_bytes(8192, 4095), None);
        assert_eq!(Range::from_bytes(-1, 4095), None);
        assert_eq!(Range::of_entry(700, Order::Pmd), pages(512, 1023));
        assert_eq!(Range::of_entry(700, Order::Pte), pages(700, 700));
    }

    #[test]
    fn r6_a_break_removes_its_range_and_nothing_else() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_pages(32)?;
        check_eq!(file.break_now(pages(8, 15)), Ok(()));
        check_eq!(file.count_all(pages(8, 15)), 0);
        check_eq!(file.count(Range::ALL, Kind::Tracked), 24);
        for i in 0..32 {
            check_eq!(pgmap.is_idle(i), (8..16).contains(&i));
        }
        check_eq!(pgmap.active(), 24);
        check_eq!(file.break_now(pages(20, usize::MAX)), Ok(()));
        check_eq!(file.count_all(Range::ALL), 12);
        Ok(())
    }

    /// 16 pages, of which 5 and 9 are pinned, and 2, 5 and 7 have something to flush.
    fn pinned_file(file: &FakeFile) -> Result<Pins> {
        file.insert_pages(16)?;
        file.mark(2, Mark::Dirty)?;
        file.mark(5, Mark::Dirty)?;
        file.mark(7, Mark::ToWrite)?;
        Pins::of(file, [5, 9].into_iter())
    }

    /// `slots` of them are there, among them all that are pinned or have something to flush.
    fn check_nothing_lost(file: &FakeFile, slots: usize) -> Result {
        check_eq!(file.count(pages(0, 15), Kind::Zapped), slots);
        check_eq!(file.count(pages(9, 9), Kind::Zapped), 1);
        for i in 0..16 {
            check_eq!(file.has(i, Mark::Dirty), i == 2 || i == 5);
            check_eq!(file.has(i, Mark::ToWrite), i == 7);
        }
        Ok(())
    }

    #[test]
    fn r6_a_refused_break_loses_nothing() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let pins = pinned_file(&file)?;

        for pinned in [2, 1] {
            for _ in 0..2 {
                // Each break finds the same busy folios.
                check_eq!(file.break_now(pages(0, 15)), Err(ERESTARTSYS));
                check_nothing_lost(&file, 16)?;
                check_eq!(pgmap.active(), pinned);
            }
            check_eq!(file.break_now(pages(9, 9)), Err(ERESTARTSYS));
            pins.drop_next();
        }
        check_eq!(file.break_now(pages(0, 15)), Ok(()));
        check!(file.mapping().is_empty());
        Ok(())
    }

    #[test]
    fn r6_a_removal_waits_for_who_locked_an_entry() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let pins = pinned_file(&file)?;

        let breaking = Breaking::start(&file, pages(0, 15), Data::Discard)?;
        breaking.wait_asleep(1)?;
        let locked = file.mapping().lock_entry(2).ok_or(ENOENT)?;
        pins.drop_all();
        // It sleeps so for the entry.
        breaking.wait_evict_asleep()?;
        check!(breaking.goes_on());
        drop(locked);
        check_eq!(breaking.join()?, Ok(()));
        check!(file.mapping().is_empty());
        Ok(())
    }

    #[test]
    fn r7_a_hole_that_is_read_while_a_break_sleeps_goes() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let pins = pinned_file(&file)?;

        let breaking = Breaking::start(&file, pages(0, 31), Data::Discard)?;
        breaking.wait_asleep(1)?;
        // As the fault marks it.
        file.insert_hole(20, pgmap.pfn(20), Order::Pte)?;
        file.mark(20, Mark::Busy)?;
        pins.drop_all();
        check_eq!(breaking.join()?, Ok(()));
        check!(file.mapping().is_empty());
        Ok(())
    }

    #[test]
    fn r6_an_interrupted_break_loses_nothing() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let pins = pinned_file(&file)?;

        for _ in 0..2 {
            let breaking = Breaking::start(&file, pages(0, 15), Data::Discard)?;
            breaking.wait_asleep(1)?;
            breaking.interrupt();
            check_eq!(breaking.join()?, Err(ERESTARTSYS));
            check_nothing_lost(&file, 4)?;
        }
        let breaking = Breaking::start(&file, pages(0, 15), Data::Discard)?;
        breaking.wait_asleep(1)?;
        pins.drop_next();
        breaking.wait_asleep(2)?;
        breaking.interrupt();
        check_eq!(breaking.join()?, Err(ERESTARTSYS));
        check_nothing_lost(&file, 4)?;
        check_eq!(pgmap.active(), 1);
        pins.drop_all();
        check_eq!(file.break_now(pages(0, 15)), Ok(()));
        Ok(())
    }

    #[test]
    fn r6_a_break_waits_for_each_pin() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;

        for order in BOTH {
            let file = FakeFile::new(&pgmap)?;
            file.insert(0, 0, order)?;
            file.insert(PMD, PMD, order)?;
            let [first, second, third] = [pgmap.pin(0)?, pgmap.pin(PMD)?, pgmap.pin(PMD)?];
            let breaking = Breaking::start(&file, Range::ALL, Data::Discard)?;
            breaking.wait_asleep(1)?;
            drop(second);
            check!(breaking.goes_on());
            drop(first);
            breaking.wait_asleep(2)?;
            check!(breaking.goes_on());
            check_eq!(file.count_all(Range::ALL), 2);
            // The last one goes as a DMA ends.
            in_hardirq(move || drop(third))?;
            check_eq!(breaking.join()?, Ok(()));
            check!(file.mapping().is_empty());
            check!(pgmap.is_idle(0) && pgmap.is_idle(PMD));
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r6_two_breaks_of_one_range_both_end() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let pins = pinned_file(&file)?;
        let first = Breaking::start(&file, pages(0, 9), Data::Discard)?;
        let second = Breaking::start(&file, pages(5, 15), Data::Discard)?;

        first.wait_asleep(1)?;
        second.wait_asleep(1)?;
        pins.drop_all();
        check_eq!(first.join()?, Ok(()));
        check_eq!(second.join()?, Ok(()));
        check!(file.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r6_a_break_ends_when_another_one_has_removed_what_it_waits_for() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            let (asleep, removed) = (Counter::new()?, Counter::new()?);
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            let (waiting, sleeps, ends) = (file.clone(), asleep.clone(), removed.clone());
            let thread = Thread::spawn(move || {
                // Until the other one is done, whoever wakes it.
                let sleep = || {
                    sleeps.add();
                    let _ = wait_until(|| ends.get() > 0);
                };
                waiting.break_with(Range::ALL, Data::Discard, OnBusy::Sleep(&sleep))
            })?;
            let slept = wait_until(|| asleep.get() > 0);
            drop(pin);
            let broken = file.break_now(Range::ALL);
            let empty = file.mapping().is_empty();
            removed.add();
            check_eq!(thread.join()?, Ok(()));
            check_eq!((slept, broken, empty), (Ok(()), Ok(()), true));
            check_eq!((asleep.get(), pgmap.active()), (1, 0));
        }
        Ok(())
    }

    #[test]
    fn r7_a_fault_revives_a_zapped_entry() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(file.break_now(pages(0, 0)), Err(ERESTARTSYS));
            check_eq!((file.kind(0), pgmap.count(0)), (Some(Kind::Zapped), 1));
            file.insert(0, 0, order)?;
            check_eq!((file.kind(0), pgmap.count(0)), (Some(Kind::Tracked), 2));
            check_eq!(pgmap.active(), 1);
            drop(pin);
            check_eq!((file.kind(0), pgmap.count(0)), (Some(Kind::Tracked), 1));
            check_eq!(file.break_now(pages(0, 0)), Ok(()));
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r7_a_fault_revives_an_idle_zapped_entry() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        check_eq!(fsdax::busy_pfn(file.mapping(), Range::ALL), None);
        check_eq!((file.kind(0), pgmap.active()), (Some(Kind::Zapped), 0));
        file.insert(0, 0, Order::Pte)?;
        check_eq!((file.kind(0), pgmap.count(0)), (Some(Kind::Tracked), 1));
        check_eq!(pgmap.active(), 1);
        Ok(())
    }

    #[test]
    fn r7_a_revival_wakes_the_break_which_zaps_again() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            let breaking = Breaking::start(&file, pages(0, PMD - 1), Data::Discard)?;
            let zapped = || (file.kind(0), pgmap.count(0)) == (Some(Kind::Zapped), 1);
            for _ in 1..4 {
                breaking.wait_asleep(1)?;
                wait_until(zapped)?;
                file.insert(0, 0, order)?;
            }
            wait_until(zapped)?;
            drop(pin);
            check_eq!(breaking.join()?, Ok(()));
            check!(file.mapping().is_empty());
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r7_what_faults_insert_meanwhile_is_removed_too() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let calls = Cell::new(0);

        file.insert(4, 4, Order::Pte)?;
        let pins = Pins::of(&file, [4].into_iter())?;
        let callback = || {
            calls.set(calls.get() + 1);
            if calls.get() == 1 {
                for index in [0, 3, 7, 8] {
                    let _ = file.insert(index, index, Order::Pte);
                }
                let _ = file.insert_hole(5, pgmap.pfn(100), Order::Pte);
            } else {
                pins.drop_all();
            }
        };
        let range = pages(2, 7);
        let broken = file.break_with(range, Data::Discard, OnBusy::Sleep(&callback));
        check_eq!(broken, Ok(()));
        check_eq!(file.count_all(range), 0);
        check_eq!(file.count(Range::ALL, Kind::Tracked), 2);
        check!(pgmap.is_idle(3) && pgmap.is_idle(7));
        check_eq!(pgmap.active(), 2);
        Ok(())
    }

    #[test]
    fn r7_refaults_do_not_starve_a_break_whose_pin_has_ended() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let file = FakeFile::new(&pgmap)?;
            let calls = Cell::new(0);
            file.insert(0, 0, order)?;
            let pins = Pins::of(&file, [0].into_iter())?;
            let callback = || {
                calls.set(calls.get() + 1);
                if calls.get() < 100 {
                    let _ = file.insert(0, 0, order);
                } else {
                    // Or a break that fails this test would go on for ever.
                    let _ = file.break_now(Range::ALL);
                }
                if calls.get() == 3 {
                    pins.drop_all();
                }
                give_way();
            };
            let broken = file.break_with(Range::ALL, Data::Discard, OnBusy::Sleep(&callback));
            check_eq!(broken, Ok(()));
            check!(calls.get() < 10);
            check!(file.mapping().is_empty());
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r23_a_waiting_break_zaps_no_faster_than_its_alarm() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let file = FakeFile::new(&pgmap)?;
            let calls = Cell::new(0);
            file.insert(0, 0, order)?;
            let pins = Pins::of(&file, [0].into_iter())?;
            let events = Events::start()?;
            take_rings();
            // Somebody touches the page whenever it can be.
            let callback = || {
                calls.set(calls.get() + 1);
                let _ = file.insert(0, 0, order);
                if calls.get() == 1000 {
                    pins.drop_all();
                }
            };
            let broken = file.break_with(Range::ALL, Data::Discard, OnBusy::Sleep(&callback));
            let (zaps, rings) = (events.take(Event::Zap), take_rings());
            check_eq!(broken, Ok(()));
            check!(calls.get() >= 1000);
            // The first one, and one when the alarm rang.
            check!(rings >= 1);
            check_eq!(zaps, 1 + rings);
            check_eq!(events.take(Event::Revive), rings);
            // It was one wait.
            check_eq!(events.take(Event::WaitBegin), 1);
            check!(file.mapping().is_empty());
        }
        Ok(())
    }

    #[test]
    fn r7_a_refused_break_leaves_a_revival_tracked() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        let breaking = Breaking::start(&file, pages(0, 0), Data::Discard)?;
        breaking.wait_asleep(1)?;
        breaking.interrupt();
        check_eq!(breaking.join()?, Err(ERESTARTSYS));
        file.insert(0, 0, Order::Pte)?;
        drop(pin);
        check_eq!((file.kind(0), pgmap.count(0)), (Some(Kind::Tracked), 1));
        Ok(())
    }

    #[test]
    fn r6_a_hole_that_is_mapped_while_a_break_sleeps_is_unmapped() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        let breaking = Breaking::start(&file, pages(0, 7), Data::Discard)?;
        breaking.wait_asleep(1)?;
        let mut locked = LockedEntry::grab(file.mapping(), 3, Order::Pte).map_err(|_| EINVAL)?;
        let zero = Entry::zero(pgmap.pfn(9), Order::Pte).ok_or(EINVAL)?;
        check!(locked.set_hole(zero, |marks| marks.mark_for_break()));
        drop(locked);
        take_unmaps();
        drop(pin);
        check_eq!(breaking.join()?, Ok(()));
        check_eq!(take_unmaps(), 1);
        check!(file.mapping().is_empty());
        Ok(())
    }

    /// Only those who wait because nobody may have new parts are woken when that is over.
    #[test]
    fn a_break_wakes_nobody_who_waits_for_a_folio_of_one_file() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pmd)?;
        let pin = pgmap.pin(0)?;
        let wakes = Wakes::of(pgmap.folio(0));
        check_eq!(file.break_now(Range::ALL), Err(ERESTARTSYS));
        check_eq!(wakes.take(), (0, 0));
        drop(pin);
        Ok(())
    }
}
