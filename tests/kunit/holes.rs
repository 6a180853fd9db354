// SPDX-License-Identifier: GPL-2.0

//! Holes that were read, where `write(2)` is about to put data.
//!
//! Rules: R10.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_holes)]
mod tests {
    use super::*;
    use crate::{
        fsdax,
        kunit::{
            fixture::{
                pages,
                FakeFile,
                Layout,
                TestPgmap,
                PMD, //
            },
            probe::{
                take_unmaps,
                Event,
                Events,
                Work, //
            },
            thread::{
                give_way,
                wait_until,
                Thread, //
            },
            unmapping::at_unmap, //
        },
        mapping::{
            Entry,
            Kind,
            LockedEntry,
            Mark,
            Range,
            BATCH, //
        },
        pgmap::Order,
        provider, //
    };

    const BOTH: [Order; 2] = [Order::Pte, Order::Pmd];

    #[test]
    fn holes_go_in_the_range_and_nowhere_else() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;

        for order in BOTH {
            let n = order.pages();
            for i in 0..8 {
                file.insert_hole(i * n, pgmap.pfn(0), order)?;
            }
            fsdax::unmap_holes(file.mapping(), pages(2 * n, 5 * n - 1));
            for i in 0..8 {
                let kind = (!(2..5).contains(&i)).then_some(Kind::Zero);
                check_eq!(file.kind(i * n), kind);
            }
            check_eq!(events.take(Event::Remove), 3);
            fsdax::unmap_holes(file.mapping(), Range::ALL);
            check!(file.mapping().is_empty());
            check_eq!(events.take(Event::Remove), 5);
        }
        Ok(())
    }

    #[test]
    fn a_large_hole_goes_if_a_page_of_it_is_written() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for page in [0, 1, 77, PMD - 1] {
            for i in 0..3 {
                file.insert_hole(i * PMD, pgmap.pfn(0), Order::Pmd)?;
            }
            fsdax::unmap_holes(file.mapping(), pages(PMD + page, PMD + page));
            check_eq!(file.kind(PMD), None);
            check_eq!(file.count(Range::ALL, Kind::Zero), 2);
        }
        Ok(())
    }

    #[test]
    fn whatever_is_no_hole_stays() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            // In every other place, and a hole behind each.
            let (tracked, zapped) = (0, 2 * order.pages());
            file.insert(tracked, 0, order)?;
            file.insert(zapped, PMD, order)?;
            let pin = pgmap.pin(PMD)?;
            check_eq!(
                fsdax::busy_pfn(file.mapping(), pages(zapped, zapped)),
                Some(pgmap.pfn(PMD))
            );
            for index in [tracked, zapped] {
                file.mark(index, Mark::Dirty)?;
                file.insert_hole(index + order.pages(), pgmap.pfn(0), order)?;
            }
            let events = Events::start()?;
            fsdax::unmap_holes(file.mapping(), Range::ALL);
            check_eq!(events.take(Event::Remove), 2);
            check_eq!(events.take(Event::Zap), 0);
            check_eq!(events.take(Event::Writeback), 0);
            check_eq!(file.kind(tracked), Some(Kind::Tracked));
            check_eq!(file.kind(zapped), Some(Kind::Zapped));
            check_eq!(file.count_all(Range::ALL), 2);
            check_eq!((pgmap.count(0), pgmap.count(PMD)), (1, 1));
            for index in [tracked, zapped] {
                check!(file.has(index, Mark::Dirty));
            }
            check!(file.has(zapped, Mark::Busy));
            drop(pin);
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn a_hole_is_unmapped_before_it_goes() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let file = FakeFile::new(&pgmap)?;
            file.insert_hole(0, pgmap.pfn(0), order)?;
            let written = file.clone();
            let ((), waited) = at_unmap(
                &file,
                move || fsdax::unmap_holes(written.mapping(), Range::ALL),
                || {
                    check_eq!(file.kind(0), Some(Kind::Zero));
                    Ok(())
                },
            )?;
            check!(waited);
            check!(file.mapping().is_empty());
        }
        Ok(())
    }

    #[test]
    fn r23_all_holes_are_unmapped_at_once() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            let n = order.pages();
            for i in 0..8 {
                file.insert_hole(i * n, pgmap.pfn(0), order)?;
            }
            // A large one goes as a whole.
            take_unmaps();
            fsdax::unmap_holes(file.mapping(), pages(1, 7 * n));
            check_eq!(take_unmaps(), 1);
            let left = if order == Order::Pte { 1 } else { 0 };
            check_eq!(file.count(Range::ALL, Kind::Zero), left);
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn nothing_is_unmapped_where_there_is_no_hole() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            file.insert(0, 0, order)?;
            file.insert_hole(PMD, pgmap.pfn(0), order)?;
            let written = file.clone();
            let ((), waited) = at_unmap(
                &file,
                move || fsdax::unmap_holes(written.mapping(), pages(0, PMD - 1)),
                || Ok(()),
            )?;
            check!(!waited);
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    /// Whoever has the lock of the entry, which is locked while a write looks for holes, makes it
    /// `then`; it is `left` when the write goes on.
    fn check_locked(
        order: Order,
        hole_before: bool,
        then: impl FnOnce(&TestPgmap, &mut LockedEntry<'_>) -> Result,
        left: Option<Kind>,
    ) -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        if hole_before {
            file.insert_hole(0, pgmap.pfn(0), order)?;
        }
        let mut locked = LockedEntry::grab(file.mapping(), 0, order).map_err(|_| EEXIST)?;
        let written = file.clone();
        let thread = Thread::spawn(move || fsdax::unmap_holes(written.mapping(), Range::ALL))?;
        let waits = wait_until(|| thread.is_done() || thread.sleeps(true));
        let goes_on = thread.goes_on();
        let done = then(&pgmap, &mut locked);
        drop(locked);
        thread.join()?;
        waits?;
        done?;
        check!(goes_on);
        check_eq!(file.kind(0), left);
        Ok(())
    }

    #[test]
    fn an_entry_lock_is_waited_for() -> Result {
        for order in BOTH {
            check_locked(order, true, |_, _| Ok(()), None)?;
            // A fault that found a hole before there was a block.
            check_locked(
                order,
                false,
                |pgmap, locked| {
                    let zero = Entry::zero(pgmap.pfn(0), order).ok_or(EINVAL)?;
                    check!(locked.set_hole(zero, |_| ()));
                    Ok(())
                },
                None,
            )?;
            // One that found the block.
            check_locked(
                order,
                true,
                |pgmap, locked| {
                    fsdax::insert(locked, pgmap.pfn(0), false)?;
                    Ok(())
                },
                Some(Kind::Tracked),
            )?;
            // One that failed.
            check_locked(order, false, |_, _| Ok(()), None)?;
        }
        Ok(())
    }

    #[test]
    fn a_write_and_read_faults_race_for_a_hole() -> Result {
        const ROUNDS: usize = 500;

        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let file = FakeFile::new(&pgmap)?;
            let (read, pfn) = (file.clone(), pgmap.pfn(0));
            let thread = Thread::spawn(move || -> Result {
                for _ in 0..ROUNDS {
                    read.insert_hole(0, pfn, order)?;
                    read.insert_hole(PMD, pfn, order)?;
                }
                Ok(())
            })?;
            while !thread.is_done() {
                fsdax::unmap_holes(file.mapping(), Range::ALL);
                give_way();
            }
            check_eq!(thread.join()?, Ok(()));
            fsdax::unmap_holes(file.mapping(), Range::ALL);
            check!(file.mapping().is_empty());
        }
        Ok(())
    }

    #[test]
    fn the_provider_takes_pages_the_last_one_included() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let unmap_holes = provider::ops::table().unmap_holes.ok_or(EINVAL)?;

        for index in 0..8 {
            file.insert_hole(index, pgmap.pfn(0), Order::Pte)?;
        }
        // SAFETY: The file stays.
        unsafe { unmap_holes(file.mapping().as_raw(), 3, 5) };
        check_eq!(file.count(pages(3, 5), Kind::Zero), 0);
        check_eq!(file.count(Range::ALL, Kind::Zero), 5);
        Ok(())
    }

    #[test]
    fn r10_no_lock_hold_of_a_write_is_longer_than_a_batch() -> Result {
        const MANY: usize = 3 * BATCH + 100;

        let pgmap = TestPgmap::with(Layout::One(MANY.div_ceil(PMD)))?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_pages(MANY)?;
        let ((), work) = Work::of(|| fsdax::unmap_holes(file.mapping(), Range::ALL));
        check!(work.visits >= MANY && work.visits <= MANY + 8);
        check!(work.longest <= BATCH + 1);
        check_eq!(file.count(Range::ALL, Kind::Tracked), MANY);
        Ok(())
    }
}
