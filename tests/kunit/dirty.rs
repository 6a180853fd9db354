// SPDX-License-Identifier: GPL-2.0

//! Dirty marks are never lost (R9).
//!
//! Rules: R9.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_dirty)]
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
            breaking::Pins,
            fixture::{
                pages,
                FakeFile,
                TestPgmap,
                PMD, //
            },
            probe::{
                Event,
                Events,
                Stop, //
            },
            thread::Thread, //
        },
        mapping::{
            Kind,
            Mark,
            Range,
            Walk, //
        },
        pgmap::{
            DaxDevice,
            Order, //
        }, //
    };

    const MARKS: [Mark; 2] = [Mark::Dirty, Mark::ToWrite];

    #[test]
    fn r9_marks_outside_of_the_range_survive() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for mark in MARKS {
            file.insert_pages(32)?;
            for i in 0..32 {
                file.mark(i, mark)?;
            }
            check_eq!(file.break_now(pages(8, 15)), Ok(()));
            fsdax::clear_dirty_range(file.mapping(), pages(20, 23));
            for i in 0..32 {
                let dirty = !(8..16).contains(&i) && !(20..24).contains(&i);
                check_eq!(file.has(i, mark), dirty);
            }
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r9_a_dirty_large_entry_is_flushed_when_a_part_goes() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;

        for mark in MARKS {
            for range in [pages(0, 9), pages(10, 10), pages(PMD - 1, 2 * PMD)] {
                file.insert(0, 0, Order::Pmd)?;
                file.mark(0, mark)?;
                check_eq!(file.break_now(range), Ok(()));
                check_eq!(file.kind(0), None);
                check_eq!(events.take(Event::Writeback), 1);
            }
        }
        Ok(())
    }

    #[test]
    fn r9_only_what_lives_on_is_flushed() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;

        for order in [Order::Pte, Order::Pmd] {
            for (data, dirty, flushed) in [
                (Data::Discard, true, 0),
                (Data::Discard, false, 0),
                (Data::Keep, true, 1),
                (Data::Keep, false, 0),
            ] {
                file.insert(0, 0, order)?;
                if dirty {
                    file.mark(0, Mark::Dirty)?;
                }
                let broken = file.break_with(pages(0, PMD - 1), data, OnBusy::Fail);
                check_eq!(broken, Ok(()));
                check_eq!(file.kind(0), None);
                check_eq!(events.take(Event::Writeback), flushed);
            }
        }
        // A clean one of which a part goes.
        file.insert(0, 0, Order::Pmd)?;
        check_eq!(file.break_now(pages(1, 1)), Ok(()));
        check_eq!(events.take(Event::Writeback), 0);
        Ok(())
    }

    #[test]
    fn r9_what_a_filesystem_decides_on_later_stays_dirty() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;

        for order in [Order::Pte, Order::Pmd] {
            let range = pages(0, PMD - 1);
            for dirty in [false, true] {
                file.insert(0, 0, order)?;
                if dirty {
                    file.mark(0, Mark::Dirty)?;
                }
                check_eq!(file.break_with(range, Data::Decide, OnBusy::Fail), Ok(()));
                check_eq!(events.take(Event::Writeback), 0);
                // It holds nothing: the block may be freed, and somebody else may use it.
                check!(pgmap.is_idle(0));
                check_eq!(pgmap.active(), 0);
                check_eq!(file.kind(0), dirty.then_some(Kind::Zapped));
            }
            check!(file.has(0, Mark::Dirty));

            // The blocks were not freed: a fault finds the page, and writeback the data.
            file.insert(0, 0, order)?;
            check_eq!(file.kind(0), Some(Kind::Tracked));
            check_eq!(file.break_with(range, Data::Keep, OnBusy::Fail), Ok(()));
            check_eq!(events.take(Event::Writeback), 1);
            check_eq!(file.kind(0), None);

            // They were freed.
            file.insert(0, 0, order)?;
            file.mark(0, Mark::Dirty)?;
            check_eq!(file.break_with(range, Data::Decide, OnBusy::Fail), Ok(()));
            check_eq!(file.break_now(range), Ok(()));
            check_eq!(file.kind(0), None);
            check_eq!(events.take(Event::Writeback), 0);
        }
        Ok(())
    }

    #[test]
    fn r9_a_part_of_an_entry_is_flushed_whoever_decides() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;

        file.insert(0, 0, Order::Pmd)?;
        file.mark(0, Mark::Dirty)?;
        check_eq!(
            file.break_with(pages(1, 9), Data::Decide, OnBusy::Fail),
            Ok(())
        );
        check_eq!(events.take(Event::Writeback), 1);
        check_eq!(file.kind(0), None);
        Ok(())
    }

    #[test]
    fn r9_a_refused_break_of_a_part_flushes_or_keeps_the_mark() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;

        file.insert(0, 0, Order::Pmd)?;
        file.mark(0, Mark::Dirty)?;
        let pin = pgmap.pin(0)?;
        check_eq!(file.break_now(pages(1, 1)), Err(ERESTARTSYS));
        let flushed = events.take(Event::Writeback) == 1;
        check!(flushed != file.has(0, Mark::Dirty));
        drop(pin);
        Ok(())
    }

    #[test]
    fn r9_an_entry_that_was_zapped_before_is_flushed_when_a_part_goes() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;

        file.insert(0, 0, Order::Pmd)?;
        file.mark(0, Mark::Dirty)?;
        let pin = pgmap.pin(0)?;
        // A truncation that is given up, and a hole that is punched instead.
        check_eq!(file.break_now(Range::ALL), Err(ERESTARTSYS));
        check!(file.has(0, Mark::Dirty));
        drop(pin);
        check_eq!(file.break_now(pages(1, 1)), Ok(()));
        check_eq!(file.kind(0), None);
        check_eq!(events.take(Event::Writeback), 1);
        Ok(())
    }

    #[test]
    fn r9_an_entry_that_gets_dirty_while_a_break_sleeps_is_flushed() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;
        let calls = Cell::new(0);

        file.insert(0, 0, Order::Pmd)?;
        let pins = Pins::of(&file, [0].into_iter())?;
        let callback = || {
            calls.set(calls.get() + 1);
            if calls.get() == 1 {
                // A write fault: its data is next to the hole.
                let _ = file.insert(0, 0, Order::Pmd);
                let _ = file.mark(0, Mark::Dirty);
            } else {
                pins.drop_all();
            }
        };
        let broken = file.break_with(pages(7, 7), Data::Discard, OnBusy::Sleep(&callback));
        check_eq!(broken, Ok(()));
        check_eq!(file.kind(0), None);
        check_eq!(events.take(Event::Writeback), 1);
        Ok(())
    }

    #[test]
    fn r9_writes_to_a_part_leave_the_rest_dirty() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pmd)?;
        for mark in MARKS {
            file.mark(0, mark)?;
            fsdax::clear_dirty_range(file.mapping(), pages(3, 5));
            check!(file.has(0, mark));
        }
        fsdax::clear_dirty_range(file.mapping(), pages(0, PMD - 1));
        check!(!file.has(0, Mark::Dirty) && !file.has(0, Mark::ToWrite));
        check_eq!(file.kind(0), Some(Kind::Tracked));
        Ok(())
    }

    #[test]
    fn r9_a_dirty_entry_is_not_invalidated() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for mark in MARKS {
            file.insert(0, 0, Order::Pmd)?;
            file.mark(0, mark)?;
            let removed = fsdax::invalidate_entry(file.mapping(), 5, Data::Keep);
            check_eq!(removed, fsdax::Removed::Dirty);
            check!(file.has(0, mark));
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r9_what_has_no_block_cannot_be_flushed() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in [Order::Pte, Order::Pmd] {
            let file = FakeFile::new(&pgmap)?;
            file.insert_hole(0, pgmap.pfn(0), order)?;
            file.mark(0, Mark::Dirty)?;
            file.mapping().lock_entry(0).ok_or(ENOENT)?.flush_now();
            // As for data that is lost.
            check!(file.writeback_error() != 0);
            check!(!file.has(0, Mark::Dirty));
            check_eq!((file.kind(0), pgmap.active()), (Some(Kind::Zero), 0));
        }
        Ok(())
    }

    /// Writes a file back, as fsync() does.
    fn fsync(file: &FakeFile) -> Result {
        // Plays the DAX device: all that is read of it is a flag, which says that it has no cache.
        let mut device = KBox::<[u64; 512]>::zeroed(GFP_KERNEL)?;
        // SAFETY: It stays until the file was written back.
        let device = unsafe { DaxDevice::from_raw((&raw mut *device).cast()) };

        fsdax::write_back(file.mapping(), device, Range::ALL)
    }

    #[test]
    fn r9_an_fsync_waits_for_what_another_one_flushes() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in [Order::Pte, Order::Pmd] {
            file.insert(0, 0, order)?;
            file.mark(0, Mark::Dirty)?;
            let stop = Stop::next_flush();
            let other = file.clone();
            let first = Thread::spawn(move || fsync(&other))?;
            stop.wait()?;
            // Whoever has set this before, and looks now, has to find it.
            let found = Walk::marked(file.mapping(), Range::ALL, Mark::ToWrite)
                .next_seen()
                .is_some();
            check!(found);
            let other = file.clone();
            let second = Thread::spawn(move || fsync(&other))?;
            check!(second.goes_on());
            drop(stop);
            check_eq!(first.join()?, Ok(()));
            check_eq!(second.join()?, Ok(()));
            check!(!file.has(0, Mark::Dirty) && !file.has(0, Mark::ToWrite));
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }
}
