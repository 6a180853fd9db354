// SPDX-License-Identifier: GPL-2.0

//! Large folios of which a file tracks single pages, while another one has all of it (R24).
//!
//! Rules: R2, R11, R24.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_parts)]
mod tests {
    use kernel::sync::Arc;

    use super::*;
    use crate::{
        folio::Association,
        fsdax::{
            busy_pfn,
            insert,
            make_way,
            revoke,
            wait_briefly,
            Data,
            InsertError, //
        },
        kunit::{
            breaking::Breaking,
            fixture::{
                pages,
                FakeFile,
                FakeSuper,
                TestPgmap,
                PMD, //
            },
            probe::Stop,
            thread::{
                give_way,
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

    /// As many files as one large folio has at most.
    const MOST: usize = 124;
    /// Long enough for what needs no wait.
    const MS: u32 = 10_000;

    fn association(pgmap: &TestPgmap) -> Result<Association> {
        let folio = pgmap.pin(0)?;
        let association = folio.lock().association();
        Ok(association)
    }

    fn zapped(file: &FakeFile) -> Association {
        Association::Owned {
            entry: file.mapping().entry_id(0),
            zapped: true,
        }
    }

    /// A file that has all of the first large folio, and one that has its pages 3 and 4.
    fn whole_and_parts(pgmap: &Arc<TestPgmap>) -> Result<[Arc<FakeFile>; 2]> {
        let (whole, parts) = (FakeFile::new(pgmap)?, FakeFile::new(pgmap)?);

        whole.share(0, 0, Order::Pmd)?;
        parts.share(3, 3, Order::Pte)?;
        parts.share(4, 4, Order::Pte)?;
        Ok([whole, parts])
    }

    #[test]
    fn r24_a_page_of_a_large_folio_is_shared() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;

        check_eq!((pgmap.count(0), pgmap.count(3), pgmap.active()), (3, 0, 1));
        check_eq!(association(&pgmap)?, Association::Shared(3));
        check_eq!(parts.kind(3), Some(Kind::Tracked));
        check_eq!(parts.break_now(pages(3, 3)), Ok(()));
        check_eq!((pgmap.count(0), parts.kind(4)), (2, Some(Kind::Tracked)));
        check_eq!(parts.break_now(Range::ALL), Ok(()));
        check_eq!(association(&pgmap)?, Association::Shared(1));
        check_eq!(whole.break_now(Range::ALL), Ok(()));
        check_eq!((pgmap.count(0), pgmap.active()), (0, 0));
        Ok(())
    }

    #[test]
    fn r24_files_need_not_agree_on_where_a_folio_starts() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;

        // Further behind, and so far in front that the folio would start before the file.
        for (index, offset) in [(PMD + 7, 3), (0, 100), (PMD - 1, 0), (PMD, PMD - 1)] {
            parts.share(index, offset, Order::Pte)?;
        }
        check_eq!(association(&pgmap)?, Association::Shared(7));
        let breaking = Breaking::start(&whole, Range::ALL, Data::Discard)?;
        check_eq!(breaking.join()?, Ok(()));
        check!(whole.mapping().is_empty() && parts.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r24_a_file_may_have_parts_of_its_own_folio() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.share(0, 0, Order::Pmd)?;
        file.share(PMD, 0, Order::Pte)?;
        file.share(2 * PMD, 0, Order::Pmd)?;
        check_eq!(association(&pgmap)?, Association::Shared(3));
        let breaking = Breaking::start(&file, Range::ALL, Data::Discard)?;
        check_eq!(breaking.join()?, Ok(()));
        check!(file.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r24_what_is_not_shared_has_no_parts() -> Result {
        let pgmap = TestPgmap::new()?;
        let (whole, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);

        whole.insert(0, 0, Order::Pmd)?;
        for offset in [0, 1, PMD - 1] {
            check_eq!(other.insert(0, offset, Order::Pte), Err(EBUSY));
        }
        check!(other.mapping().is_empty());
        check_eq!((pgmap.count(0), pgmap.active()), (1, 1));
        Ok(())
    }

    #[test]
    fn r24_only_one_side_is_split() -> Result {
        let pgmap = TestPgmap::new()?;
        let (whole, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);

        whole.share(0, 0, Order::Pmd)?;
        other.share(0, 0, Order::Pmd)?;
        // What a store to a page of one does.
        check_eq!(other.break_now(Range::ALL), Ok(()));
        for page in (0..PMD).filter(|page| *page != 9) {
            other.share(page, page, Order::Pte)?;
        }
        check_eq!(whole.kind(0), Some(Kind::Tracked));
        check_eq!(pgmap.count(0), PMD as i32);
        check_eq!(other.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.count(0), 1);
        Ok(())
    }

    #[test]
    fn r11_the_last_whole_entry_waits_for_all_pins() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;
        let pin = pgmap.pin(0)?;

        // Pinned by whomever: not the business of who has a part, whose block has another user.
        check_eq!(parts.break_now(pages(3, 3)), Ok(()));
        check_eq!(whole.break_now(Range::ALL), Err(ERESTARTSYS));
        check_eq!((whole.kind(0), parts.kind(4)), (Some(Kind::Zapped), None));
        check_eq!(association(&pgmap)?, zapped(&whole));
        let breaking = Breaking::start(&whole, Range::ALL, Data::Discard)?;
        breaking.wait_asleep(1)?;
        check!(breaking.goes_on());
        drop(pin);
        check_eq!(breaking.join()?, Ok(()));
        check!(whole.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        parts.share(3, 3, Order::Pte)?;
        check_eq!((pgmap.count(0), pgmap.count(3)), (0, 1));
        Ok(())
    }

    /// To go on may be what drops the pin.
    #[test]
    fn r7_who_has_parts_goes_on_while_the_whole_entry_waits() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;
        let pin = pgmap.pin(0)?;

        let breaking = Breaking::start(&whole, Range::ALL, Data::Discard)?;
        breaking.wait_asleep(1)?;
        check!(parts.mapping().is_empty());
        for page in [3, 4] {
            parts.share(page, page, Order::Pte)?;
        }
        check_eq!(association(&pgmap)?, Association::Shared(2));
        // And has it given back after a while.
        wait_until(|| parts.mapping().is_empty())?;
        check!(breaking.goes_on());
        parts.share(3, 3, Order::Pte)?;
        drop(pin);
        check_eq!(breaking.join()?, Ok(()));
        check!(whole.mapping().is_empty() && parts.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r11_parts_alone_have_no_break_refused() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;

        check_eq!(whole.break_now(Range::ALL), Ok(()));
        check!(whole.mapping().is_empty() && parts.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r11_a_whole_entry_does_not_wait_where_there_is_another() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;
        let pin = pgmap.pin(0)?;

        other.share(PMD, 0, Order::Pmd)?;
        check_eq!(whole.break_now(Range::ALL), Ok(()));
        check!(whole.mapping().is_empty());
        check_eq!(parts.count(Range::ALL, Kind::Tracked), 2);
        check_eq!(parts.break_now(Range::ALL), Ok(()));
        check_eq!(other.break_now(Range::ALL), Err(ERESTARTSYS));
        drop(pin);
        check_eq!(other.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r11_parts_that_go_by_themselves_leave_the_pins_to_the_zapped_entry() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;
        let pin = pgmap.pin(0)?;

        check!(revoke(whole.mapping(), pgmap.pgmap()));
        check_eq!(association(&pgmap)?, Association::Shared(2));
        check_eq!(parts.break_now(Range::ALL), Ok(()));
        check_eq!(association(&pgmap)?, zapped(&whole));
        check_eq!(whole.break_now(Range::ALL), Err(ERESTARTSYS));
        drop(pin);
        check_eq!(whole.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r7_a_zapped_entry_for_all_is_revived_beside_parts() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;

        // Its block is its own, or has other users.
        for may_share in [false, true] {
            check!(revoke(whole.mapping(), pgmap.pgmap()));
            check_eq!(association(&pgmap)?, Association::Shared(2));
            if may_share {
                whole.share(0, 0, Order::Pmd)?;
            } else {
                whole.insert(0, 0, Order::Pmd)?;
            }
            check_eq!(association(&pgmap)?, Association::Shared(3));
        }
        parts.share(5, 5, Order::Pte)?;
        check_eq!(pgmap.count(0), 4);
        check_eq!(parts.break_now(Range::ALL), Ok(()));
        check_eq!(whole.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r11_another_file_takes_all_over_from_a_zapped_entry() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;
        let pin = pgmap.pin(0)?;

        let breaking = Breaking::start(&whole, Range::ALL, Data::Discard)?;
        breaking.wait_asleep(1)?;
        other.share(PMD, 0, Order::Pmd)?;
        check_eq!(breaking.join()?, Ok(()));
        check!(whole.mapping().is_empty());
        parts.share(3, 3, Order::Pte)?;
        drop(pin);
        let breaking = Breaking::start(&other, Range::ALL, Data::Discard)?;
        check_eq!(breaking.join()?, Ok(()));
        check!(parts.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r17_a_store_has_parts_given_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;

        check!(revoke(whole.mapping(), pgmap.pgmap()));
        let entry = whole.entry(0).ok_or(ENOENT)?;
        check_eq!(wait_briefly(whole.mapping(), 0, entry, MS), Ok(()));
        check!(parts.mapping().is_empty());
        check_eq!(whole.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r24_all_who_share_a_folio_make_way() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;

        check_eq!(other.insert(0, 7, Order::Pte), Err(EBUSY));
        check_eq!(
            make_way(other.mapping(), 0, pgmap.pfn(7), false, MS),
            Ok(())
        );
        check!(whole.mapping().is_empty() && parts.mapping().is_empty());
        other.insert(0, 7, Order::Pte)?;
        check_eq!((pgmap.count(7), pgmap.active()), (1, 1));
        Ok(())
    }

    #[test]
    fn r24_who_needs_a_page_of_a_shared_folio_waits_for_its_pins() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;
        let pfn = pgmap.pfn(7);

        let pin = pgmap.pin(0)?;
        let waiting = other.clone();
        let thread = Thread::spawn(move || make_way(waiting.mapping(), 0, pfn, false, MS))?;
        wait_until(|| thread.sleeps_killably())?;
        check!(whole.kind(0) != Some(Kind::Tracked) && parts.kind(3) != Some(Kind::Tracked));
        check!(thread.goes_on());
        drop(pin);
        check_eq!(thread.join()?, Ok(()));
        check_eq!(pgmap.active(), 0);
        other.insert(0, 7, Order::Pte)
    }

    #[test]
    fn r24_a_folio_has_so_many_files_and_no_more() -> Result {
        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let free = pgmap.snapshot()?;
        let mut files = KVec::new();

        for i in 0..MOST {
            let file = FakeFile::on(&sb, &pgmap)?;
            match i % 2 {
                0 => file.share(0, 0, Order::Pmd)?,
                _ => file.share(i, i, Order::Pte)?,
            }
            files.push(file, GFP_KERNEL)?;
        }
        check_eq!(association(&pgmap)?, Association::Shared(MOST));
        let late = FakeFile::on(&sb, &pgmap)?;
        check_eq!(late.share(0, 0, Order::Pmd), Err(EBUSY));
        check_eq!(late.share(0, 9, Order::Pte), Err(EBUSY));
        check_eq!(association(&pgmap)?, Association::Shared(MOST));
        // Who has a place in the list keeps it. Room is made by one who has parts.
        check_eq!(files[1].share(2, 2, Order::Pte), Ok(()));
        check_eq!(make_way(late.mapping(), 0, pgmap.pfn(9), true, MS), Ok(()));
        check_eq!(make_way(late.mapping(), 0, pgmap.pfn(9), true, MS), Ok(()));
        check_eq!(association(&pgmap)?, Association::Shared(MOST - 1));
        check_eq!(late.share(0, 0, Order::Pmd), Ok(()));
        let whole = files
            .iter()
            .filter(|file| file.kind(0) == Some(Kind::Tracked));
        check_eq!(whole.count(), MOST / 2);
        for file in &files {
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        check_eq!(association(&pgmap)?, Association::Shared(1));
        check_eq!(late.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.active(), 0);
        // And nothing of it is left in the pages.
        free.check_same(&pgmap.snapshot()?)
    }

    #[test]
    fn r14_a_removal_finds_whole_entries_and_parts() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;

        check!(revoke(whole.mapping(), pgmap.pgmap()));
        check_eq!((whole.kind(0), pgmap.count(0)), (Some(Kind::Zapped), 2));
        check!(revoke(parts.mapping(), pgmap.pgmap()));
        check_eq!((pgmap.count(0), pgmap.active()), (0, 0));
        check_eq!(whole.break_now(Range::ALL), Ok(()));
        check_eq!(parts.break_now(Range::ALL), Ok(()));
        Ok(())
    }

    #[test]
    fn r2_a_private_word_of_somebody_else_is_no_list() -> Result {
        let pgmap = TestPgmap::new()?;
        let folio = pgmap.request(0, Order::PMD_ORDER)?;

        // SAFETY: The folio is of no file, and the test's alone.
        unsafe { folio.as_folio().page().own() }.set_private(usize::MAX);
        drop(folio);
        check_eq!(pgmap.active(), 0);
        check!(pgmap.is_idle(0));
        Ok(())
    }

    /// One file has all of a folio, one single pages of it, and one now this and then that.
    #[test]
    fn r24_whole_entries_and_parts_race() -> Result {
        const ROUNDS: usize = 300;

        let pgmap = TestPgmap::new()?;
        let ready = Counter::new()?;
        let run = |orders: [Order; 2]| -> Result<Thread<Result<usize>>> {
            let (file, ready) = (FakeFile::new(&pgmap)?, ready.clone());
            Thread::spawn(move || -> Result<usize> {
                let mut got = 0;
                ready.add();
                while ready.get() < 3 {
                    give_way();
                }
                for round in 0..ROUNDS {
                    let order = orders[round % 2];
                    let page = if order == Order::Pte { round % PMD } else { 0 };
                    // A folio of another order may be in the way for a moment.
                    match file.share(page, page, order) {
                        Ok(()) => got += 1,
                        Err(e) if e == EBUSY => {}
                        Err(e) => return Err(e),
                    }
                    give_way();
                    Breaking::start(&file, Range::ALL, Data::Discard)?.join()??;
                    check!(file.mapping().is_empty());
                }
                Ok(got)
            })
        };
        let threads = [
            run([Order::Pmd, Order::Pmd])?,
            run([Order::Pte, Order::Pte])?,
            run([Order::Pte, Order::Pmd])?,
        ];
        for thread in threads {
            let got = thread.join()??;
            pr_info!("# {} of {} entries\n", got, ROUNDS);
            check!(got > 0);
        }
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r11_another_file_takes_the_place_of_a_zapped_entry_beside_parts() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;

        check!(revoke(whole.mapping(), pgmap.pgmap()));
        check_eq!(association(&pgmap)?, Association::Shared(2));
        other.share(PMD, 0, Order::Pmd)?;
        check_eq!(association(&pgmap)?, Association::Shared(3));
        let pin = pgmap.pin(0)?;
        check_eq!(whole.break_now(Range::ALL), Ok(()));
        check_eq!(parts.break_now(Range::ALL), Ok(()));
        // The pins are its business now.
        check_eq!(other.break_now(Range::ALL), Err(ERESTARTSYS));
        drop(pin);
        check_eq!(other.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r24_nobody_has_a_new_part_while_parts_are_given_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let [whole, parts] = whole_and_parts(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;

        check!(revoke(whole.mapping(), pgmap.pgmap()));
        check_eq!(parts.break_now(pages(4, 4)), Ok(()));
        let entry = whole.entry(0).ok_or(ENOENT)?;
        let locked = parts.mapping().lock_entry(3).ok_or(ENOENT)?;
        let waiting = whole.clone();
        let thread = Thread::spawn(move || wait_briefly(waiting.mapping(), 0, entry, MS))?;
        // For the lock of the only part.
        wait_until(|| thread.sleeps(true))?;
        check_eq!(other.share(9, 9, Order::Pte), Err(EBUSY));
        check!(thread.goes_on());
        drop(locked);
        check_eq!(thread.join()?, Ok(()));
        check!(parts.mapping().is_empty());
        other.share(9, 9, Order::Pte)?;
        check_eq!((pgmap.count(9), pgmap.active()), (1, 1));
        Ok(())
    }

    #[test]
    fn r24_a_page_where_a_large_folio_was_is_not_given_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let (whole, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);

        whole.insert(0, 0, Order::Pmd)?;
        check!(revoke(whole.mapping(), pgmap.pgmap()));
        other.insert(0, 0, Order::Pte)?;
        let entry = whole.entry(0).ok_or(ENOENT)?;
        check_eq!(wait_briefly(whole.mapping(), 0, entry, MS), Ok(()));
        check_eq!((other.kind(0), pgmap.count(0)), (Some(Kind::Tracked), 1));
        check_eq!(whole.break_now(Range::ALL), Ok(()));
        Ok(())
    }

    #[test]
    fn r24_who_loses_a_race_for_a_page_looks_again() -> Result {
        let pgmap = TestPgmap::new()?;
        let (whole, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);

        other.insert(3, 3, Order::Pte)?;
        // It stays, zapped, so that its page is looked at before it is requested.
        check_eq!(busy_pfn(other.mapping(), Range::ALL), None);
        let stop = Stop::next_request();
        let (file, pfn) = (other.clone(), pgmap.pfn(3));
        let thread = Thread::spawn(move || {
            LockedEntry::grab(file.mapping(), 3, Order::Pte)
                .map(|mut locked| insert(&mut locked, pfn, false))
        })?;
        stop.wait()?;
        whole.insert(0, 0, Order::Pmd)?;
        drop(stop);
        // The other file has to make way; nobody but a file has the page.
        check_eq!(thread.join()?, Ok(Err(InsertError::OtherOrder)));
        check_eq!(whole.break_now(Range::ALL), Ok(()));
        other.insert(3, 3, Order::Pte)?;
        check_eq!((pgmap.count(3), pgmap.active()), (1, 1));
        Ok(())
    }
}
