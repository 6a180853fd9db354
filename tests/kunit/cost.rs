// SPDX-License-Identifier: GPL-2.0

//! What a layout break costs (R8), and for how long it keeps others out (R10).
//!
//! Rules: R8, R10.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_cost)]
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
                Layout,
                TestPgmap,
                PMD, //
            },
            probe::{
                Event,
                Events,
                Work, //
            }, //
        },
        mapping::{
            Kind,
            Mark,
            Range,
            BATCH, //
        },
        pgmap::{
            DaxDevice,
            Order, //
        }, //
    };

    /// Breaks `entries` pages, of which each `nth` is pinned; a call of the callback drops one pin,
    /// in the order of the file. Returns the work, the number of calls, and that of pins.
    fn work_of_break(entries: usize, nth: usize) -> Result<(Work, usize, usize)> {
        let pgmap = TestPgmap::with(Layout::One(entries.div_ceil(PMD)))?;
        let file = FakeFile::new(&pgmap)?;
        file.insert_pages(entries)?;
        let pins = Pins::of(&file, (0..entries).step_by(nth))?;
        let calls = Cell::new(0);
        let callback = || {
            calls.set(calls.get() + 1);
            pins.drop_next();
        };
        let range = pages(0, entries - 1);
        let (broken, work) =
            Work::of(|| file.break_with(range, Data::Discard, OnBusy::Sleep(&callback)));
        check_eq!(broken, Ok(()));
        check!(file.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok((work, calls.get(), entries.div_ceil(nth)))
    }

    #[test]
    fn r8_one_call_of_the_callback_per_busy_folio() -> Result {
        for (entries, nth) in [(1, 1), (64, 8), (64, 1), (600, 100)] {
            let (_, calls, busy) = work_of_break(entries, nth)?;
            check_eq!(calls, busy);
        }
        Ok(())
    }

    #[test]
    fn r8_work_is_linear_in_entries_and_busy_folios() -> Result {
        // Zap, and remove; then a few looks at each busy one.
        for (entries, nth) in [(256, 32), (1024, 128), (256, 1), (1024, 1), (2048, 1)] {
            let (work, _, busy) = work_of_break(entries, nth)?;
            pr_info!("# {} entries, {} busy: {:?}\n", entries, busy, work);
            check!(work.visits <= 3 * entries + 12 * busy + 12);
            check!(work.holds <= 12 * busy + 12);
        }
        Ok(())
    }

    #[test]
    fn r8_work_does_not_depend_on_the_rest_of_the_file() -> Result {
        let pgmap = TestPgmap::with(Layout::One(4))?;
        let file = FakeFile::new(&pgmap)?;
        file.insert_pages(4 * PMD)?;
        let pins = Pins::of(&file, [0, 700, 701, 4 * PMD - 1].into_iter())?;
        let callback = || pins.drop_all();

        let (broken, work) =
            Work::of(|| file.break_with(pages(700, 701), Data::Discard, OnBusy::Sleep(&callback)));
        check_eq!(broken, Ok(()));
        check!(work.visits <= 40 && work.holds <= 40);
        check_eq!(file.count(Range::ALL, Kind::Tracked), 4 * PMD - 2);
        Ok(())
    }

    #[test]
    fn r8_what_is_outside_of_the_range_is_left_alone() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        file.insert_pages(48)?;
        let pins = Pins::of(&file, [0, 15, 16, 31, 32, 47].into_iter())?;
        let events = Events::start()?;

        check_eq!(file.break_now(pages(16, 31)), Err(ERESTARTSYS));
        check_eq!(events.take(Event::Zap), 16);
        check_eq!(events.take(Event::Remove), 0);
        pins.drop_all();
        check_eq!(file.break_now(pages(16, 31)), Ok(()));
        check_eq!(events.take(Event::Zap), 0);
        check_eq!(events.take(Event::Remove), 16);
        check_eq!(file.count(pages(0, 15), Kind::Tracked), 16);
        check_eq!(file.count(pages(32, 47), Kind::Tracked), 16);
        for i in 0..16 {
            check_eq!((pgmap.count(i), pgmap.count(32 + i)), (1, 1));
        }
        Ok(())
    }

    #[test]
    fn r8_waits_are_one_per_busy_folio() -> Result {
        let events = Events::start()?;
        let (_, _, busy) = work_of_break(256, 16)?;

        check_eq!(events.take(Event::WaitBegin), busy);
        check_eq!(events.take(Event::WaitEnd), busy);
        check_eq!(events.take(Event::Zap), 256);
        check_eq!(events.take(Event::Remove), 256);
        Ok(())
    }

    /// More than fits into three holds of the lock.
    const MANY: usize = 3 * BATCH + 100;

    fn check_holds(what: &str, work: Work) -> Result {
        pr_info!("# {}: {:?}\n", what, work);
        check!(work.visits >= MANY);
        check!(work.longest <= BATCH + 1);
        Ok(())
    }

    #[test]
    fn r10_no_lock_hold_is_longer_than_a_batch() -> Result {
        let pgmap = TestPgmap::with(Layout::One(MANY.div_ceil(PMD)))?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_pages(MANY)?;
        for i in 0..MANY {
            file.mark(i, Mark::Dirty)?;
        }
        let ((), work) = Work::of(|| fsdax::clear_dirty_range(file.mapping(), Range::ALL));
        check_holds("clear dirty", work)?;

        let (busy, work) = Work::of(|| fsdax::busy_pfn(file.mapping(), Range::ALL));
        check_eq!(busy, None);
        check_holds("look for a busy page", work)?;
        check_eq!(file.count(Range::ALL, Kind::Zapped), MANY);

        let (broken, work) = Work::of(|| file.break_now(Range::ALL));
        check_eq!(broken, Ok(()));
        check_holds("break zapped entries", work)?;
        check!(file.mapping().is_empty());
        Ok(())
    }

    #[test]
    fn r10_no_lock_hold_of_an_fsync_is_longer_than_a_batch() -> Result {
        let pgmap = TestPgmap::with(Layout::One(MANY.div_ceil(PMD)))?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;
        // Plays the DAX device: all that is read of it is a flag, which says that it has no cache.
        let mut device = KBox::<[u64; 512]>::zeroed(GFP_KERNEL)?;
        // SAFETY: It stays until it was written back.
        let device = unsafe { DaxDevice::from_raw((&raw mut *device).cast()) };

        file.insert_pages(MANY)?;
        for i in 0..MANY {
            file.mark(i, Mark::Dirty)?;
        }
        let (written, work) = Work::of(|| fsdax::write_back(file.mapping(), device, Range::ALL));
        check_eq!(written, Ok(()));
        check_holds("write back", work)?;
        check_eq!(events.take(Event::Writeback), MANY);
        for i in 0..MANY {
            check!(!file.has(i, Mark::Dirty) && !file.has(i, Mark::ToWrite));
        }
        Ok(())
    }

    #[test]
    fn r10_no_lock_hold_of_a_sleeping_break_is_longer_than_a_batch() -> Result {
        let pgmap = TestPgmap::with(Layout::One(MANY.div_ceil(PMD)))?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_pages(MANY)?;
        let pins = Pins::of(&file, 0..MANY)?;
        let (broken, work) = Work::of(|| file.break_now(Range::ALL));
        check_eq!(broken, Err(ERESTARTSYS));
        check_holds("refuse a break", work)?;
        // All at once: what is busy for one entry is not for the next ones.
        let callback = || pins.drop_all();
        let (broken, work) =
            Work::of(|| file.break_with(Range::ALL, Data::Discard, OnBusy::Sleep(&callback)));
        check_eq!(broken, Ok(()));
        check_holds("break entries that were busy", work)?;
        Ok(())
    }

    #[test]
    fn r10_no_lock_hold_while_dirty_data_is_kept_is_longer_than_a_batch() -> Result {
        let pgmap = TestPgmap::with(Layout::One(MANY.div_ceil(PMD)))?;
        let file = FakeFile::new(&pgmap)?;

        for i in 0..MANY {
            file.insert(i, i, Order::Pte)?;
            if i % 64 == 0 {
                file.mark(i, Mark::Dirty)?;
            }
        }
        let (broken, work) = Work::of(|| file.break_with(Range::ALL, Data::Keep, OnBusy::Fail));
        check_eq!(broken, Ok(()));
        check_holds("break and keep", work)?;
        Ok(())
    }
}
