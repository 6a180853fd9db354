// SPDX-License-Identifier: GPL-2.0

//! Folios that several files track (R11).

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_shared)]
mod tests {
    use kernel::sync::Arc;

    use super::*;
    use crate::{
        folio::{
            Association,
            Left, //
        },
        fsdax::Data,
        kunit::{
            breaking::Breaking,
            fixture::{
                pages,
                FakeFile,
                TestPgmap,
                PMD, //
            },
            probe::{
                Event,
                Events, //
            },
            thread::{
                give_way,
                wait_until,
                Counter,
                Thread, //
            }, //
        },
        mapping::{
            Kind,
            Range, //
        },
        pgmap::Order, //
    };

    const BOTH: [Order; 2] = [Order::Pte, Order::Pmd];

    fn association(pgmap: &TestPgmap) -> Result<Association> {
        let folio = pgmap.pin(0)?;
        let association = folio.lock().association();
        Ok(association)
    }

    fn owned(file: &FakeFile, index: usize, zapped: bool) -> Association {
        Association::Owned {
            entry: file.mapping().entry_id(index),
            zapped,
        }
    }

    #[test]
    fn r11_each_file_has_one_reference() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let files = [
                FakeFile::new(&pgmap)?,
                FakeFile::new(&pgmap)?,
                FakeFile::new(&pgmap)?,
            ];
            let indexes = [0, 3 * PMD, 5 * PMD];
            for (i, file) in files.iter().enumerate() {
                file.share(indexes[i], 0, order)?;
                check_eq!((pgmap.count(0), pgmap.active()), (i as i32 + 1, 1));
                check_eq!(
                    association(&pgmap)?,
                    match i {
                        0 => owned(file, 0, false),
                        _ => Association::Shared(i + 1),
                    }
                );
            }
            for (i, file) in files.iter().enumerate().take(2) {
                check_eq!(file.break_now(Range::ALL), Ok(()));
                check_eq!((pgmap.count(0), pgmap.active()), (2 - i as i32, 1));
                check_eq!(association(&pgmap)?, Association::Shared(2 - i));
            }
            check_eq!(files[2].kind(5 * PMD), Some(Kind::Tracked));
            check_eq!(files[2].break_now(Range::ALL), Ok(()));
            check_eq!((pgmap.count(0), pgmap.active()), (0, 0));
        }
        Ok(())
    }

    #[test]
    fn r11_events_say_who_has_a_folio() -> Result {
        let pgmap = TestPgmap::new()?;
        let events = Events::start()?;

        for order in BOTH {
            let (file, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);
            file.share(0, 0, order)?;
            check_eq!(
                (events.take(Event::Request), events.take(Event::Join)),
                (1, 0)
            );
            other.share(PMD, 0, order)?;
            check_eq!(
                (events.take(Event::Join), events.sharing()),
                (1, (2, false))
            );
            let pin = pgmap.pin(0)?;
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check_eq!(
                (events.take(Event::Leave), events.sharing()),
                (1, (1, false))
            );
            check_eq!(other.break_now(Range::ALL), Err(ERESTARTSYS));
            check_eq!(
                (events.take(Event::Leave), events.sharing()),
                (1, (0, true))
            );
            // It has the block, so that the other one need not wait.
            file.share(0, 0, order)?;
            check_eq!(
                (events.take(Event::Join), events.sharing()),
                (1, (1, false))
            );
            drop(pin);
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check_eq!(
                (events.take(Event::Leave), events.take(Event::Free)),
                (0, 1)
            );
            check_eq!(other.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r24_events_say_who_waits_for_parts() -> Result {
        let pgmap = TestPgmap::new()?;
        let (whole, part) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);
        let events = Events::start()?;

        whole.share(0, 0, Order::Pmd)?;
        part.share(3, 3, Order::Pte)?;
        check_eq!(
            (events.take(Event::Join), events.sharing()),
            (1, (2, false))
        );
        let pin = pgmap.pin(0)?;
        let mut locked = whole.mapping().lock_entry(0).ok_or(ENOENT)?;
        check_eq!(locked.zap(), Left::Busy);
        drop(locked);
        check_eq!(
            (events.take(Event::Leave), events.sharing()),
            (1, (1, true))
        );
        check_eq!(part.break_now(Range::ALL), Ok(()));
        check_eq!(
            (events.take(Event::Leave), events.sharing()),
            (1, (0, true))
        );
        drop(pin);
        check_eq!((events.take(Event::Free), pgmap.active()), (1, 0));
        Ok(())
    }

    #[test]
    fn r11_one_file_may_share_with_itself() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.share(0, 0, Order::Pte)?;
        file.share(7, 0, Order::Pte)?;
        check_eq!(association(&pgmap)?, Association::Shared(2));
        check_eq!(file.break_now(pages(0, 0)), Ok(()));
        check_eq!((file.kind(7), pgmap.count(0)), (Some(Kind::Tracked), 1));
        check_eq!(file.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r11_a_block_is_not_shared_by_accident() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        check_eq!(other.insert(0, 0, Order::Pte), Err(EBUSY));
        check_eq!(file.insert(1, 0, Order::Pte), Err(EBUSY));
        check_eq!(association(&pgmap)?, owned(&file, 0, false));
        check_eq!((pgmap.count(0), pgmap.active()), (1, 1));
        check!(other.mapping().is_empty());
        Ok(())
    }

    #[test]
    fn r11_a_break_waits_only_if_no_other_file_tracks() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let file = FakeFile::new(&pgmap)?;
            let other = FakeFile::new(&pgmap)?;
            file.share(0, 0, order)?;
            other.share(PMD, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check!(file.mapping().is_empty());
            check_eq!((other.kind(PMD), pgmap.count(0)), (Some(Kind::Tracked), 2));
            check_eq!(other.break_now(Range::ALL), Err(ERESTARTSYS));
            check_eq!(association(&pgmap)?, owned(&other, PMD, true));
            let breaking = Breaking::start(&other, Range::ALL, Data::Discard)?;
            breaking.wait_asleep(1)?;
            check!(breaking.goes_on());
            drop(pin);
            check_eq!(breaking.join()?, Ok(()));
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r11_another_file_takes_a_zapped_folio_over() -> Result {
        let pgmap = TestPgmap::new()?;

        for order in BOTH {
            let file = FakeFile::new(&pgmap)?;
            let other = FakeFile::new(&pgmap)?;
            file.share(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            let breaking = Breaking::start(&file, Range::ALL, Data::Discard)?;
            breaking.wait_asleep(1)?;
            // The block has another user now, whose break waits for the pin.
            other.share(PMD, 0, order)?;
            check_eq!(breaking.join()?, Ok(()));
            check!(file.mapping().is_empty());
            check_eq!(association(&pgmap)?, owned(&other, PMD, false));
            check_eq!((pgmap.count(0), pgmap.active()), (2, 1));
            check_eq!(other.break_now(Range::ALL), Err(ERESTARTSYS));
            drop(pin);
            check_eq!(other.break_now(Range::ALL), Ok(()));
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r11_a_zapped_entry_does_not_mind_a_stranger_in_its_block() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        check_eq!(file.break_now(Range::ALL), Err(ERESTARTSYS));
        drop(pin);
        // Idle, and used by another file, although our entry still names it.
        other.insert(4, 0, Order::Pte)?;
        check_eq!(file.break_now(Range::ALL), Ok(()));
        check_eq!((other.kind(4), pgmap.count(0)), (Some(Kind::Tracked), 1));
        check_eq!(association(&pgmap)?, owned(&other, 4, false));
        Ok(())
    }

    /// On one CPU this shows nothing: the other file waits for the CPU then.
    #[test]
    fn r11_an_association_changes_under_the_lock_of_the_folio() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);
        let (ready, go) = (Counter::new()?, Counter::new()?);

        file.share(0, 0, Order::Pte)?;
        let folio = pgmap.pin(0)?;
        let (sharing, ready_of_other, go_of_main) = (other.clone(), ready.clone(), go.clone());
        let thread = Thread::spawn(move || {
            ready_of_other.add();
            while go_of_main.get() == 0 {
                give_way();
            }
            let shared = sharing.share(0, 0, Order::Pte);
            (shared, sharing.break_now(Range::ALL))
        })?;
        wait_until(|| ready.get() == 1)?;
        let lock = folio.lock();
        go.add();
        // Long enough for the other file to come, were it not for the lock.
        let unchanged = (0..300_000).all(|_| {
            // An acquiring load, so that the association is read again and again.
            go.get() == 1 && lock.association() == owned(&file, 0, false)
        });
        drop(lock);
        check_eq!(thread.join()?, (Ok(()), Ok(())));
        check!(unchanged);
        Ok(())
    }

    /// Lets two files insert entries for one block at once, and break them, again and again.
    fn race(order: Order) -> Result {
        const ROUNDS: usize = 300;

        let pgmap = TestPgmap::new()?;
        let (arrived, left) = (Counter::new()?, Counter::new()?);
        let meet = |counter: &Counter, round: usize| {
            counter.add();
            while counter.get() < 2 * (round + 1) {
                give_way();
            }
        };
        let run = |file: Arc<FakeFile>| {
            let (arrived, left) = (arrived.clone(), left.clone());
            Thread::spawn(move || -> Result {
                let mut result = Ok(());
                for round in 0..ROUNDS {
                    meet(&arrived, round);
                    let shared = file.share(0, 0, order);
                    if round % 2 == 0 {
                        meet(&left, round);
                    } else {
                        left.add();
                    }
                    let broken = file.break_now(Range::ALL);
                    // Refused for a moment, if the other one looks at the folio.
                    if shared.is_err() || broken.is_err_and(|e| e != ERESTARTSYS) {
                        pr_err!("# round {}: {:?}, {:?}\n", round, shared, broken);
                        result = Err(EINVAL);
                    }
                }
                result
            })
        };
        let files = [FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?];
        let threads = [run(files[0].clone())?, run(files[1].clone())?];
        for thread in threads {
            check_eq!(thread.join()?, Ok(()));
        }
        for file in files {
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        check_eq!((pgmap.count(0), pgmap.active()), (0, 0));
        Ok(())
    }

    #[test]
    fn r11_files_race_for_a_shared_page() -> Result {
        race(Order::Pte)
    }

    #[test]
    fn r11_files_race_for_a_shared_large_folio() -> Result {
        race(Order::Pmd)
    }
}
