// SPDX-License-Identifier: GPL-2.0

//! Those who wait for the lock of an entry: one of them is woken at a time, and none is forgotten.
//!
//! Rules: R10, R23.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_turn)]
mod tests {
    use super::*;
    use crate::{
        kunit::{
            fixture::{
                FakeFile,
                TestPgmap, //
            },
            probe::Work,
            thread::{
                give_way,
                nap,
                wait_until,
                Counter,
                Thread, //
            }, //
        },
        mapping::{
            Kind,
            LockedEntry,
            Range, //
        },
        pgmap::Order, //
    };

    const WAITERS: usize = 16;

    /// Has threads wait for the lock of the entry at 0, each of which does `f` then, and lets them.
    /// Returns what that costs.
    fn let_all(
        file: &kernel::sync::Arc<FakeFile>,
        f: fn(&FakeFile, usize) -> bool,
        unlock: fn(LockedEntry<'_>),
    ) -> Result<Work> {
        let locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        let mut threads = KVec::with_capacity(WAITERS, GFP_KERNEL)?;
        for i in 0..WAITERS {
            let waiting = file.clone();
            let thread = Thread::spawn(move || f(&waiting, i))?;
            threads.push(thread, GFP_KERNEL)?;
        }
        for thread in &threads {
            wait_until(|| thread.sleeps(true))?;
        }
        let (done, work) = Work::of(|| {
            unlock(locked);
            threads
                .into_iter()
                .try_fold(true, |all, thread| thread.join().map(|done| all && done))
        });
        check_eq!(done, Ok(true));
        Ok(work)
    }

    #[test]
    fn an_unlock_wakes_one_of_many() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        let take = |file: &FakeFile, _| {
            let locked = file.mapping().lock_entry(0);
            // All others would look meanwhile, and see it locked.
            nap();
            locked.is_some()
        };
        let work = let_all(&file, take, |locked| drop(locked))?;
        pr_info!("# {} waiters: {:?}\n", WAITERS, work);
        // Each one looks, and unlocks.
        check!(work.holds <= 2 * WAITERS + 2);
        Ok(())
    }

    #[test]
    fn a_turn_is_passed_on_when_the_entry_is_gone() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_hole(0, pgmap.pfn(0), Order::Pmd)?;
        let gone = |file: &FakeFile, i| file.mapping().lock_entry(i).is_none();
        let_all(&file, gone, |locked| _ = locked.remove())?;
        check!(file.mapping().is_empty());
        Ok(())
    }

    #[test]
    fn a_turn_is_passed_on_by_who_makes_another_entry() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_hole(0, pgmap.pfn(0), Order::Pmd)?;
        // Each waits for the large one, and has one of its own then.
        let insert = |file: &FakeFile, i| file.insert(i + 1, i + 1, Order::Pte).is_ok();
        let_all(&file, insert, |locked| _ = locked.remove())?;
        check_eq!(file.count(Range::ALL, Kind::Tracked), WAITERS);
        Ok(())
    }

    #[test]
    fn a_turn_is_passed_on_by_who_waits_for_another_entry() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let go = Counter::new()?;

        file.insert_hole(0, pgmap.pfn(0), Order::Pmd)?;
        let large = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        let keep = || {
            let (file, go) = (file.clone(), go.clone());
            Thread::spawn(move || {
                let locked = LockedEntry::grab(file.mapping(), 1, Order::Pte);
                while go.get() == 0 {
                    give_way();
                }
                locked.is_ok()
            })
        };
        let first = keep()?;
        wait_until(|| first.sleeps(true))?;
        let second = keep()?;
        wait_until(|| second.sleeps(true))?;
        let waiting = file.clone();
        let last = Thread::spawn(move || waiting.mapping().lock_entry(2).is_none())?;
        wait_until(|| last.sleeps(true))?;
        let _ = large.remove();
        // The first one has an entry of its own then, for which the second one waits.
        let gone = last.join();
        go.add();
        check_eq!(gone, Ok(true));
        check_eq!(first.join(), Ok(true));
        check_eq!(second.join(), Ok(true));
        Ok(())
    }

    #[test]
    fn locks_of_entries_that_come_and_go_are_all_had() -> Result {
        const ROUNDS: usize = 2000;

        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let mut threads = KVec::with_capacity(4, GFP_KERNEL)?;

        for i in 0..4 {
            let shared = file.clone();
            let thread = Thread::spawn(move || {
                for round in 0..ROUNDS {
                    let order = match (round / 7 + i) % 3 {
                        0 => Order::Pmd,
                        _ => Order::Pte,
                    };
                    if let Ok(locked) = LockedEntry::grab(shared.mapping(), round % 5, order) {
                        match (round + i) % 3 {
                            0 => _ = locked.remove(),
                            1 => locked.unlock(),
                            _ => drop(locked),
                        }
                    }
                    if let Some(locked) = shared.mapping().lock_entry((round + i) % 5) {
                        locked.unlock();
                    }
                }
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        for thread in threads {
            thread.join()?;
        }
        Ok(())
    }
}
