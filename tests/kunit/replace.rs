// SPDX-License-Identifier: GPL-2.0

//! Entries whose block is replaced by a copy (R17).

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_replace)]
mod tests {
    use kernel::sync::Arc;

    use super::*;
    use crate::{
        folio::{
            FolioRef,
            Left, //
        },
        fsdax::{
            self,
            Data,
            InsertError, //
        },
        kunit::{
            breaking::Breaking,
            context::in_hardirq,
            fixture::{
                FakeFile,
                Layout,
                TestPgmap,
                PMD, //
            },
            probe::{
                Event,
                Events, //
            },
            thread::{
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
            Range, //
        },
        pgmap::Order, //
    };

    const BOTH: [Order; 2] = [Order::Pte, Order::Pmd];

    fn lock(file: &FakeFile, index: usize) -> Result<LockedEntry<'_>> {
        file.mapping().lock_entry(index).ok_or(ENOENT)
    }

    /// Gives the entry at `index` up. Returns how that ends, and what the entry is then.
    fn give_up(file: &FakeFile, index: usize) -> Result<(Left, Kind)> {
        let mut locked = lock(file, index)?;
        let left = fsdax::give_up(&mut locked);
        Ok((left, locked.entry().kind()))
    }

    const GONE: (Left, Kind) = (Left::Idle, Kind::Empty);
    const PINNED: (Left, Kind) = (Left::Busy, Kind::Zapped);

    #[test]
    fn r17_an_entry_that_nobody_pins_goes() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            file.insert(0, 0, order)?;
            let mut locked = lock(&file, 0)?;
            check_eq!(fsdax::give_up(&mut locked), Left::Idle);
            check_eq!(locked.entry(), Entry::empty(order));
            check!(!locked.with_marks(|marks| marks.has(Mark::Busy)));
            check!(pgmap.is_idle(0));
            check_eq!(pgmap.active(), 0);
            drop(locked);
            check!(file.mapping().is_empty());
        }
        Ok(())
    }

    #[test]
    fn r17_the_copy_takes_its_place() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;

        for order in BOTH {
            file.insert(0, 0, order)?;
            let mut locked = lock(&file, 0)?;
            check_eq!(
                fsdax::insert(&mut locked, pgmap.pfn(PMD), false),
                Err(InsertError::Mismatch)
            );
            check_eq!(fsdax::give_up(&mut locked), Left::Idle);
            check_eq!(fsdax::insert(&mut locked, pgmap.pfn(PMD), false), Ok(true));
            drop(locked);
            let entry = file.entry(0).ok_or(ENOENT)?;
            check_eq!((entry.kind(), entry.pfn()), (Kind::Tracked, pgmap.pfn(PMD)));
            check!(pgmap.is_idle(0));
            check_eq!((pgmap.count(PMD), pgmap.active()), (1, 1));
            check_eq!(events.take(Event::Zap), 1);
            check_eq!(events.take(Event::Remove), 1);
            check_eq!(events.take(Event::Insert), 2);
            check_eq!(events.take(Event::Revive), 0);
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check_eq!(events.take(Event::Zap), 1);
            check_eq!(events.take(Event::Remove), 1);
        }
        Ok(())
    }

    #[test]
    fn r17_an_entry_that_somebody_pins_stays() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            for _ in 0..3 {
                check_eq!(give_up(&file, 0)?, PINNED);
                check_eq!((pgmap.count(0), pgmap.active()), (1, 1));
                check!(file.has(0, Mark::Busy));
                let mut locked = lock(&file, 0)?;
                check_eq!(
                    fsdax::insert(&mut locked, pgmap.pfn(PMD), false),
                    Err(InsertError::Mismatch)
                );
            }
            // What pins it may fault once more, to get done.
            file.insert(0, 0, order)?;
            check_eq!((pgmap.count(0), pgmap.active()), (2, 1));
            check_eq!(give_up(&file, 0)?, PINNED);
            drop(pin);
            check_eq!(give_up(&file, 0)?, GONE);
            check!(file.mapping().is_empty());
            check!(pgmap.is_idle(0));
        }
        Ok(())
    }

    #[test]
    fn r17_a_break_finds_what_could_not_be_replaced() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let file = FakeFile::new(&pgmap)?;
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(give_up(&file, 0)?, PINNED);
            check_eq!(file.break_now(Range::ALL), Err(ERESTARTSYS));
            let breaking = Breaking::start(&file, Range::ALL, Data::Discard)?;
            breaking.wait_asleep(1)?;
            // Nor does another attempt take it from the break.
            check_eq!(give_up(&file, 0)?, PINNED);
            check!(breaking.goes_on());
            drop(pin);
            check_eq!(breaking.join()?, Ok(()));
            check!(file.mapping().is_empty());
        }
        Ok(())
    }

    #[test]
    fn r17_a_zapped_entry_goes_unless_somebody_pins_it() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            file.insert(0, 0, order)?;
            check_eq!(fsdax::busy_pfn(file.mapping(), Range::ALL), None);
            check_eq!(file.kind(0), Some(Kind::Zapped));
            check_eq!(give_up(&file, 0)?, GONE);
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(file.break_now(Range::ALL), Err(ERESTARTSYS));
            check_eq!(give_up(&file, 0)?, PINNED);
            drop(pin);
            check_eq!(give_up(&file, 0)?, GONE);
            check!(file.mapping().is_empty());
        }
        Ok(())
    }

    #[test]
    fn r17_what_names_no_block_goes() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let folio = pgmap.request(0, 0)?;
        let events = Events::start()?;

        for order in BOTH {
            file.insert_hole(0, pgmap.pfn(0), order)?;
            check_eq!(give_up(&file, 0)?, GONE);
            let mut locked = LockedEntry::grab(file.mapping(), 0, order).map_err(|_| EEXIST)?;
            check_eq!(fsdax::give_up(&mut locked), Left::Idle);
            check_eq!(locked.entry(), Entry::empty(order));
            drop(locked);
            check!(file.mapping().is_empty());
        }
        check_eq!(events.take(Event::Zap), 0);
        check_eq!(events.take(Event::Free), 0);
        check_eq!(folio.count(), 1);
        Ok(())
    }

    #[test]
    fn r17_dirty_data_is_written_back_first() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;

        for order in BOTH {
            for mark in [None, Some(Mark::Dirty), Some(Mark::ToWrite)] {
                for pinned in [false, true] {
                    for zapped in [false, true] {
                        file.insert(0, 0, order)?;
                        if let Some(mark) = mark {
                            file.mark(0, mark)?;
                        }
                        let pin = if pinned { Some(pgmap.pin(0)?) } else { None };
                        if zapped {
                            fsdax::busy_pfn(file.mapping(), Range::ALL);
                        }
                        events.take(Event::Writeback);
                        let expected = if pinned { PINNED } else { GONE };
                        check_eq!(give_up(&file, 0)?, expected);
                        check_eq!(events.take(Event::Writeback), usize::from(mark.is_some()));
                        if pinned {
                            check!(!file.has(0, Mark::Dirty) && !file.has(0, Mark::ToWrite));
                        }
                        drop(pin);
                        check_eq!(file.break_now(Range::ALL), Ok(()));
                        check_eq!(events.take(Event::Writeback), 0);
                    }
                }
            }
        }
        check_eq!(file.writeback_error(), 0);
        Ok(())
    }

    #[test]
    fn r17_dirty_data_of_a_shared_block_is_written_back_first() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);
        let events = Events::start()?;

        file.share(0, 0, Order::Pte)?;
        file.mark(0, Mark::Dirty)?;
        other.share(0, 0, Order::Pte)?;
        check_eq!(give_up(&file, 0)?, GONE);
        check_eq!(events.take(Event::Writeback), 1);
        Ok(())
    }

    #[test]
    fn r17_an_entry_is_unmapped_before_it_is_zapped() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let file = FakeFile::new(&pgmap)?;
            file.insert(0, 0, order)?;
            let replaced = file.clone();
            let (left, waited) = at_unmap(
                &file,
                move || give_up(&replaced, 0),
                || {
                    let entry = file.entry(0).ok_or(ENOENT)?;
                    check_eq!(entry.kind(), Kind::Tracked);
                    check!(entry.is_locked());
                    Ok(())
                },
            )?;
            check_eq!(left?, GONE);
            check!(waited);
        }
        Ok(())
    }

    #[test]
    fn r17_no_wait_for_a_block_that_another_file_tracks() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let (file, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);
            file.share(0, 0, order)?;
            other.share(PMD, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(give_up(&file, 0)?, GONE);
            check!(file.mapping().is_empty());
            check_eq!((other.kind(PMD), pgmap.count(0)), (Some(Kind::Tracked), 2));
            // It is the last one now.
            check_eq!(give_up(&other, PMD)?, PINNED);
            drop(pin);
            check_eq!(give_up(&other, PMD)?, GONE);
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r17_another_file_takes_the_wait_over() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let (file, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);
            file.share(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(give_up(&file, 0)?, PINNED);
            other.share(PMD, 0, order)?;
            check_eq!(give_up(&file, 0)?, GONE);
            check_eq!((other.kind(PMD), pgmap.count(0)), (Some(Kind::Tracked), 2));
            check_eq!(other.break_now(Range::ALL), Err(ERESTARTSYS));
            drop(pin);
            check_eq!(other.break_now(Range::ALL), Ok(()));
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r17_a_clone_that_was_broken_does_not_wait() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let (file, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);
            // The clone had an entry, and has none any more: only ours leads to the pin.
            file.share(0, 0, order)?;
            other.share(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(other.break_now(Range::ALL), Ok(()));
            check_eq!(give_up(&file, 0)?, PINNED);
            drop(pin);
            check_eq!(give_up(&file, 0)?, GONE);
        }
        Ok(())
    }

    /// Longer than a test waits for a thread.
    const LONG_MS: u32 = 3_600_000;

    /// A file with an entry of `order` that could not be given up.
    fn pinned_file(
        pgmap: &Arc<TestPgmap>,
        order: Order,
    ) -> Result<(Arc<FakeFile>, Entry, FolioRef)> {
        let file = FakeFile::new(pgmap)?;
        file.share(0, 0, order)?;
        let pin = pgmap.pin(0)?;
        check_eq!(give_up(&file, 0)?, PINNED);
        let entry = file.entry(0).ok_or(ENOENT)?;
        Ok((file, entry, pin))
    }

    fn wait(file: &Arc<FakeFile>, entry: Entry, ms: u32) -> Result<Thread<Result>> {
        let file = file.clone();
        Thread::spawn(move || fsdax::wait_briefly(file.mapping(), 0, entry, ms))
    }

    #[test]
    fn r17_a_wait_ends_with_the_pin() -> Result {
        let pgmap = TestPgmap::new()?;
        let events = Events::start()?;

        for order in BOTH {
            let (file, entry, pin) = pinned_file(&pgmap, order)?;
            let thread = wait(&file, entry, LONG_MS)?;
            wait_until(|| thread.sleeps_killably())?;
            check!(thread.goes_on());
            check_eq!(events.take(Event::WaitBegin), 1);
            check_eq!(events.take(Event::WaitEnd), 0);
            in_hardirq(move || drop(pin))?;
            check_eq!(thread.join()?, Ok(()));
            check_eq!(events.take(Event::WaitEnd), 1);
            check_eq!(give_up(&file, 0)?, GONE);
        }
        Ok(())
    }

    #[test]
    fn r17_a_wait_is_bounded() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let (file, entry, pin) = pinned_file(&pgmap, order)?;
            check_eq!(wait(&file, entry, 5)?.join()?, Ok(()));
            check_eq!(give_up(&file, 0)?, PINNED);
            drop(pin);
        }
        Ok(())
    }

    #[test]
    fn r17_a_wait_ends_when_the_pinned_page_is_faulted_in() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let (file, entry, pin) = pinned_file(&pgmap, order)?;
            let thread = wait(&file, entry, LONG_MS)?;
            wait_until(|| thread.sleeps_killably())?;
            file.insert(0, 0, order)?;
            check_eq!(thread.join()?, Ok(()));
            check_eq!(file.kind(0), Some(Kind::Tracked));
            drop(pin);
        }
        Ok(())
    }

    #[test]
    fn r17_a_wait_ends_when_another_file_tracks_the_block() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let (file, entry, pin) = pinned_file(&pgmap, order)?;
            let other = FakeFile::new(&pgmap)?;
            let thread = wait(&file, entry, LONG_MS)?;
            wait_until(|| thread.sleeps_killably())?;
            other.share(PMD, 0, order)?;
            check_eq!(thread.join()?, Ok(()));
            check_eq!(give_up(&file, 0)?, GONE);
            drop(pin);
        }
        Ok(())
    }

    #[test]
    fn r17_there_is_no_wait_without_a_pin() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let (file, entry, pin) = pinned_file(&pgmap, order)?;
            drop(pin);
            // Idle, but not looked at since.
            check_eq!(wait(&file, entry, LONG_MS)?.join()?, Ok(()));
            check_eq!(give_up(&file, 0)?, GONE);
            // Gone.
            check_eq!(wait(&file, entry, LONG_MS)?.join()?, Ok(()));
            // Tracked.
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(wait(&file, entry, LONG_MS)?.join()?, Ok(()));
            drop(pin);
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r17_only_a_fatal_signal_ends_a_wait() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let (file, entry, pin) = pinned_file(&pgmap, order)?;
            let waiting = file.clone();
            let thread = Thread::spawn(move || {
                // It may end this one, and lets none begin.
                fsdax::wait_briefly(waiting.mapping(), 0, entry, LONG_MS)?;
                fsdax::wait_briefly(waiting.mapping(), 0, entry, LONG_MS)
            })?;
            wait_until(|| thread.sleeps_killably())?;
            thread.interrupt();
            check!(thread.goes_on());
            wait_until(|| thread.sleeps_killably())?;
            thread.kill();
            check_eq!(thread.join()?, Err(ERESTARTSYS));
            // The pin has not ended.
            check_eq!(give_up(&file, 0)?, PINNED);
            drop(pin);
        }
        Ok(())
    }

    #[test]
    fn r17_a_wait_keeps_the_memmap() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, entry, pin) = pinned_file(&pgmap, Order::Pte)?;
        let before = pgmap.active();
        let thread = wait(&file, entry, LONG_MS)?;

        wait_until(|| thread.sleeps_killably())?;
        // One for the folio, and one for the waiter.
        check_eq!((before, pgmap.active()), (1, 2));
        drop(pin);
        check_eq!(thread.join()?, Ok(()));
        check_eq!(pgmap.active(), 0);
        Ok(())
    }
}
