// SPDX-License-Identifier: GPL-2.0

//! The references that entries hold (R5), their lock, and their life from insertion to removal.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_entry)]
mod tests {
    use super::*;
    use crate::{
        folio,
        fsdax::{
            self,
            Data,
            InsertError,
            Removed, //
        },
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
                Events, //
            },
            thread::{
                nap,
                wait_until,
                Thread, //
            }, //
        },
        mapping::{
            Entry,
            GrabError,
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

    const BOTH: [Order; 2] = [Order::Pte, Order::Pmd];

    #[test]
    fn r5_a_tracked_entry_holds_one_reference() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            file.insert(PMD, 0, order)?;
            let entry = file.entry(PMD).ok_or(ENOENT)?;
            check_eq!(entry.kind(), Kind::Tracked);
            check_eq!((entry.pfn(), entry.order()), (pgmap.pfn(0), order));
            check_eq!((pgmap.count(0), pgmap.active()), (1, 1));
            // A second fault finds it tracked.
            file.insert(PMD, 0, order)?;
            check_eq!((pgmap.count(0), pgmap.active()), (1, 1));
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check_eq!((pgmap.count(0), pgmap.active()), (0, 0));
        }
        Ok(())
    }

    #[test]
    fn r5_a_zapped_entry_holds_none() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            check_eq!(pgmap.count(0), 2);
            for _ in 0..3 {
                check_eq!(file.break_now(pages(0, 0)), Err(ERESTARTSYS));
                check_eq!(file.kind(0), Some(Kind::Zapped));
                // That of the pin.
                check_eq!((pgmap.count(0), pgmap.active()), (1, 1));
            }
            drop(pin);
            check_eq!(file.kind(0), Some(Kind::Zapped));
            check_eq!((pgmap.count(0), pgmap.active()), (0, 0));
            check_eq!(file.break_now(pages(0, 0)), Ok(()));
            check_eq!((pgmap.count(0), pgmap.active()), (0, 0));
        }
        Ok(())
    }

    #[test]
    fn r5_a_zero_entry_is_never_made_a_folio() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let file = FakeFile::new(&pgmap)?;
        let before = pgmap.snapshot()?;

        for order in BOTH {
            // A page of the memory plays the zero page: it must be left alone.
            file.insert_hole(0, pgmap.pfn(0), order)?;
            check_eq!(file.kind(0), Some(Kind::Zero));
            check_eq!(file.break_now(Range::ALL), Ok(()));
            file.insert_hole(0, pgmap.pfn(0), order)?;
            // The hole is filled.
            file.insert(0, PMD, order)?;
            check_eq!(file.kind(0), Some(Kind::Tracked));
            check_eq!((pgmap.count(0), pgmap.count(PMD)), (0, 1));
            check_eq!(pgmap.active(), 1);
            check_eq!(file.break_now(Range::ALL), Ok(()));
            file.insert_hole(0, pgmap.pfn(0), order)?;
            let removed = fsdax::invalidate_entry(file.mapping(), 0, Data::Keep);
            check_eq!(removed, Removed::Yes);
            before.check_same(&pgmap.snapshot()?)?;
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r5_an_empty_entry_goes_when_it_is_unlocked() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            let locked = LockedEntry::grab(file.mapping(), 7, order).map_err(|_| EINVAL)?;
            check_eq!(locked.entry(), Entry::empty(order));
            check_eq!(locked.range(), Range::of_entry(7, order));
            check_eq!(file.kind(7), Some(Kind::Empty));
            drop(locked);
            check!(file.mapping().is_empty());
        }
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn insert_refuses_another_block_or_order() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        check_eq!(file.insert(0, 1, Order::Pte), Err(EEXIST));
        check_eq!(file.insert(0, 0, Order::Pmd), Err(EEXIST));
        file.insert(PMD, PMD, Order::Pmd)?;
        check_eq!(file.insert(PMD + 3, PMD + 3, Order::Pte), Err(EEXIST));
        check_eq!(file.count(Range::ALL, Kind::Tracked), 2);
        check_eq!(pgmap.active(), 2);
        check_eq!((pgmap.count(0), pgmap.count(PMD)), (1, 1));
        Ok(())
    }

    #[test]
    fn insert_refuses_a_busy_block_and_leaves_the_slot_empty() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;

        other.insert(9, 3, Order::Pte)?;
        check_eq!(file.insert(0, 3, Order::Pte), Err(EBUSY));
        check_eq!(file.insert(0, 0, Order::Pmd), Err(EBUSY));
        check!(file.mapping().is_empty());
        check_eq!((pgmap.count(3), pgmap.active()), (1, 1));
        check_eq!(other.kind(9), Some(Kind::Tracked));
        Ok(())
    }

    #[test]
    fn insert_refuses_a_page_of_a_busy_large_folio() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;

        other.insert(0, 0, Order::Pmd)?;
        check_eq!(file.insert(0, 0, Order::Pte), Err(EBUSY));
        check!(file.mapping().is_empty());
        check_eq!((pgmap.count(0), pgmap.active()), (1, 1));
        Ok(())
    }

    #[test]
    fn insert_refuses_pages_that_are_not_fsdax() -> Result {
        let pgmap = TestPgmap::with(Layout::Generic)?;
        let file = FakeFile::new(&pgmap)?;
        let before = pgmap.snapshot()?;

        for order in BOTH {
            check_eq!(file.insert(0, 0, order), Err(ERANGE));
            check!(file.mapping().is_empty());
        }
        before.check_same(&pgmap.snapshot()?)
    }

    #[test]
    fn what_is_no_entry_is_told_apart() -> Result {
        let pfn = 7 * PMD;
        let large = Entry::tracked(pfn, Order::Pmd).ok_or(EINVAL)?;
        let zero = Entry::zero(pfn, Order::Pte).ok_or(EINVAL)?;
        let empty = Entry::empty(Order::Pte);

        check_eq!(Entry::tracked(pfn + 1, Order::Pmd), None);
        check_eq!(Entry::tracked(usize::MAX, Order::Pte), None);
        check_eq!(Entry::from_value(large.value()), Some(large));
        check_eq!(Entry::from_value(zero.value() | empty.value()), None);
        check_eq!(Entry::from_value(large.value() | 1 << 63), None);
        // Nothing to drop.
        check_eq!(zero.zapped(), zero);
        check_eq!(empty.zapped(), empty);
        check_eq!(large.zapped().kind(), Kind::Zapped);
        Ok(())
    }

    #[test]
    fn insert_on_a_dying_device_is_enxio() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let folio = pgmap.request(0, 0)?;
        let unmap = pgmap.unmap()?;

        wait_until(|| !pgmap.is_live())?;
        check_eq!(file.insert(0, 1, Order::Pte), Err(ENXIO));
        check!(file.mapping().is_empty());
        drop(folio);
        unmap.join()
    }

    #[test]
    fn insert_reports_why() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        let again = fsdax::insert(&mut locked, pgmap.pfn(0), false);
        check_eq!(again, Ok(false));
        let other = fsdax::insert(&mut locked, pgmap.pfn(1), false);
        check_eq!(other, Err(InsertError::Mismatch));
        for (why, error) in [
            (GrabError::Conflict, EEXIST),
            (GrabError::NoMemory, ENOMEM),
            (GrabError::Io, EIO),
        ] {
            check_eq!(Error::from(why), error);
        }
        Ok(())
    }

    #[test]
    fn grab_replaces_a_large_hole_by_a_small_entry() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_hole(0, pgmap.pfn(0), Order::Pmd)?;
        take_unmaps();
        file.insert(5, 5, Order::Pte)?;
        check_eq!(take_unmaps(), 1);
        check_eq!(file.kind(5), Some(Kind::Tracked));
        check_eq!(file.count_all(Range::ALL), 1);
        // But not the other way round.
        let grabbed = LockedEntry::grab(file.mapping(), 0, Order::Pmd);
        check_eq!(grabbed.err(), Some(GrabError::Conflict));
        Ok(())
    }

    #[test]
    fn grab_leaves_a_hole_of_the_same_order_as_it_is() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            file.insert_hole(0, pgmap.pfn(0), order)?;
            take_unmaps();
            let locked = LockedEntry::grab(file.mapping(), 0, order).map_err(|_| EINVAL)?;
            check_eq!(locked.entry().kind(), Kind::Zero);
            drop(locked);
            check_eq!(take_unmaps(), 0);
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    /// A lock that nothing was done under may leave an empty entry behind.
    #[test]
    fn grab_of_a_large_entry_removes_empty_small_ones() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let file = FakeFile::new(&pgmap)?;
        let leave_empty = |index| -> Result {
            let locked = LockedEntry::grab(file.mapping(), index, Order::Pte);
            locked.map_err(|_| EINVAL)?.unlock();
            Ok(())
        };

        for index in [0, 3, PMD - 1] {
            leave_empty(index)?;
        }
        check_eq!(file.count(Range::ALL, Kind::Empty), 3);
        file.insert(0, 0, Order::Pmd)?;
        check_eq!(file.count_all(Range::ALL), 1);

        // Those beside something that is in use make no room.
        leave_empty(PMD)?;
        file.insert(PMD + 1, PMD + 1, Order::Pte)?;
        let grabbed = LockedEntry::grab(file.mapping(), PMD, Order::Pmd);
        check_eq!(grabbed.err(), Some(GrabError::Conflict));
        check_eq!(file.kind(PMD + 1), Some(Kind::Tracked));
        check_eq!(file.break_now(Range::ALL), Ok(()));
        check!(file.mapping().is_empty());
        Ok(())
    }

    /// The guard remembers the slot of its entry; whatever else is inserted and removed, the slot
    /// must stay, and the tree shrinks until only page offset 0 is left.
    #[test]
    fn the_tree_may_grow_and_shrink_around_a_locked_entry() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let file = FakeFile::new(&pgmap)?;

        for (index, order) in [
            (0, Order::Pte),
            (5, Order::Pte),
            (0, Order::Pmd),
            (PMD, Order::Pmd),
        ] {
            file.insert(index, index, order)?;
            let locked = file.mapping().lock_entry(index).ok_or(ENOENT)?;
            let others = [index + PMD, index + 64 * PMD, index + 4096 * PMD];
            for other in others {
                let grabbed = LockedEntry::grab(file.mapping(), other, order);
                grabbed.map_err(|_| EINVAL)?.unlock();
            }
            locked.with_marks(|marks| marks.set(Mark::Dirty));
            for other in others {
                let lock = file.mapping().lock_entry(other).ok_or(ENOENT)?;
                lock.remove();
            }
            locked.with_marks(|marks| marks.clear(Mark::Dirty));
            drop(locked);
            check_eq!(file.count_all(Range::ALL), 1);
            check_eq!(file.kind(index), Some(Kind::Tracked));
            check!(!file.has(index, Mark::Dirty));
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn undo_of_a_fresh_insert_removes_it() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            let mut locked = LockedEntry::grab(file.mapping(), 0, order).map_err(|_| EINVAL)?;
            let old = locked.entry();
            check_eq!(fsdax::insert(&mut locked, pgmap.pfn(0), false), Ok(true));
            fsdax::undo_insert(&mut locked, old);
            drop(locked);
            check!(file.mapping().is_empty());
            check!(pgmap.is_idle(0));
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn undo_of_a_pinned_insert_keeps_it_zapped() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let mut locked = LockedEntry::grab(file.mapping(), 0, Order::Pte).map_err(|_| EINVAL)?;
        let old = locked.entry();

        check_eq!(fsdax::insert(&mut locked, pgmap.pfn(0), false), Ok(true));
        let pin = pgmap.pin(0)?;
        fsdax::undo_insert(&mut locked, old);
        drop(locked);
        check_eq!(file.kind(0), Some(Kind::Zapped));
        check_eq!(pgmap.count(0), 1);
        check_eq!(file.break_now(pages(0, 0)), Err(ERESTARTSYS));
        drop(pin);
        check_eq!(file.break_now(pages(0, 0)), Ok(()));
        Ok(())
    }

    #[test]
    fn undo_of_a_revival_zaps_again() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        check_eq!(file.break_now(pages(0, 0)), Err(ERESTARTSYS));
        let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        let old = locked.entry();
        check_eq!(fsdax::insert(&mut locked, pgmap.pfn(0), false), Ok(true));
        check_eq!(pgmap.count(0), 2);
        fsdax::undo_insert(&mut locked, old);
        drop(locked);
        check_eq!(file.kind(0), Some(Kind::Zapped));
        check_eq!(pgmap.count(0), 1);
        drop(pin);
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn invalidate_entry_keeps_what_is_dirty_or_busy() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let remove = |data| fsdax::invalidate_entry(file.mapping(), 0, data);

        check_eq!(remove(Data::Keep), Removed::Absent);
        file.insert(0, 0, Order::Pte)?;
        for mark in [Mark::Dirty, Mark::ToWrite] {
            file.mark(0, mark)?;
            check_eq!(remove(Data::Keep), Removed::Dirty);
            check_eq!(file.kind(0), Some(Kind::Tracked));
            check!(file.has(0, mark));
            fsdax::clear_dirty_range(file.mapping(), pages(0, 0));
            check!(!file.has(0, mark));
        }
        let pin = pgmap.pin(0)?;
        check_eq!(remove(Data::Keep), Removed::Busy);
        check_eq!(file.kind(0), Some(Kind::Zapped));
        check_eq!(remove(Data::Discard), Removed::Busy);
        check_eq!(pgmap.count(0), 1);
        drop(pin);
        check_eq!(remove(Data::Keep), Removed::Yes);
        check_eq!(remove(Data::Keep), Removed::Absent);
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    /// `invalidate_inode_pages2()` removes entry by entry.
    #[test]
    fn invalidate_entry_does_not_unmap_what_nothing_maps() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in BOTH {
            file.insert(0, 0, order)?;
            take_unmaps();
            check_eq!(
                fsdax::invalidate_entry(file.mapping(), 0, Data::Keep),
                Removed::Yes
            );
            check_eq!(take_unmaps(), 0);
            // The zero page does not count who maps it.
            file.insert_hole(0, pgmap.pfn(0), order)?;
            check_eq!(
                fsdax::invalidate_entry(file.mapping(), 0, Data::Keep),
                Removed::Yes
            );
            check_eq!(take_unmaps(), 1);
        }
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn delete_entry_waits_for_the_pin() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        check!(!fsdax::delete_entry(file.mapping(), 0));
        file.insert(0, 0, Order::Pte)?;
        file.mark(0, Mark::Dirty)?;
        let pin = pgmap.pin(0)?;
        let deleting = file.clone();
        let thread = Thread::spawn(move || fsdax::delete_entry(deleting.mapping(), 0))?;
        wait_until(|| file.kind(0) == Some(Kind::Zapped) && thread.sleeps(true))?;
        check!(!thread.is_done());
        drop(pin);
        check!(thread.join()?);
        check!(file.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn delete_range_removes_what_is_idle() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_pages(16)?;
        fsdax::delete_range(file.mapping(), pages(4, 11));
        check_eq!(file.count_all(pages(4, 11)), 0);
        check_eq!(file.count(Range::ALL, Kind::Tracked), 8);
        check_eq!(pgmap.active(), 8);
        Ok(())
    }

    #[test]
    fn busy_pfn_finds_the_first_pinned_page() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_pages(16)?;
        check_eq!(fsdax::busy_pfn(file.mapping(), Range::ALL), None);
        check_eq!(file.count(Range::ALL, Kind::Zapped), 16);
        file.insert_pages(16)?;
        let pins = [pgmap.pin(5)?, pgmap.pin(7)?];
        let busy = |range| fsdax::busy_pfn(file.mapping(), range);
        check_eq!(busy(Range::ALL), Some(pgmap.pfn(5)));
        check_eq!(busy(pages(6, 15)), Some(pgmap.pfn(7)));
        check_eq!(busy(pages(8, 15)), None);
        drop(pins);
        check_eq!(busy(Range::ALL), None);
        Ok(())
    }

    #[test]
    fn an_entry_lock_is_waited_for() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pmd)?;
        file.insert(PMD, 5, Order::Pte).err().ok_or(EINVAL)?;
        // Whoever comes, for whatever page of the entry.
        for waiter in 0..5 {
            let locked = file.mapping().lock_entry(11).ok_or(ENOENT)?;
            let waiting = file.clone();
            let thread = Thread::spawn(move || match waiter {
                0 => waiting.mapping().lock_entry(500).is_some(),
                1 => waiting.insert(0, 0, Order::Pmd).is_ok(),
                2 => LockedEntry::grab(waiting.mapping(), 77, Order::Pte).is_ok(),
                3 => {
                    fsdax::clear_dirty_range(waiting.mapping(), pages(8, 8));
                    true
                }
                _ => waiting.break_now(pages(0, PMD - 1)).is_ok(),
            })?;
            wait_until(|| thread.sleeps(true))?;
            for _ in 0..4 {
                nap();
                check!(!thread.is_done());
            }
            drop(locked);
            check!(thread.join()?);
        }
        check!(file.mapping().is_empty());
        Ok(())
    }

    #[test]
    fn events_tell_the_life_of_an_entry() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let events = Events::start()?;
        let seen = || {
            use Event::*;
            [Insert, Zap, Revive, Remove, Writeback, WaitBegin].map(|event| events.take(event))
        };

        file.insert(0, 0, Order::Pte)?;
        check_eq!(seen(), [1, 0, 0, 0, 0, 0]);
        let pin = pgmap.pin(0)?;
        check_eq!(file.break_now(pages(0, 0)), Err(ERESTARTSYS));
        check_eq!(seen(), [0, 1, 0, 0, 0, 0]);
        file.insert(0, 0, Order::Pte)?;
        check_eq!(seen(), [0, 0, 1, 0, 0, 0]);
        drop(pin);
        check_eq!(file.break_now(pages(0, 0)), Ok(()));
        check_eq!(seen(), [0, 1, 0, 1, 0, 0]);
        Ok(())
    }

    #[test]
    fn undo_leaves_alone_what_tracks_nothing() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_hole(0, pgmap.pfn(7), Order::Pte)?;
        let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        for old in [Entry::empty(Order::Pte), locked.entry()] {
            fsdax::undo_insert(&mut locked, old);
            check_eq!(locked.entry().kind(), Kind::Zero);
        }
        Ok(())
    }

    #[test]
    fn r21_an_entry_takes_no_claim_but_its_own() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;
        let claim_of = |locked: &LockedEntry<'_>, offset, order| {
            let page = PgmapRef::live(pgmap.pfn(offset), order)?;
            folio::request(page, &locked.locked_id()).map_err(|_| EBUSY)
        };
        let claim = |locked: &LockedEntry<'_>, offset| claim_of(locked, offset, Order::Pte);

        // Of another entry, of this file or of another.
        let mut locked = LockedEntry::grab(file.mapping(), 0, Order::Pte)?;
        let beside = LockedEntry::grab(file.mapping(), 1, Order::Pte)?;
        let same = LockedEntry::grab(other.mapping(), 0, Order::Pte)?;
        for one in [&beside, &same] {
            check!(!locked.track(claim(one, 3)?, true));
            check_eq!(locked.entry().kind(), Kind::Empty);
            check!(!locked.with_marks(|marks| marks.has(Mark::Dirty)));
            check_eq!((pgmap.is_idle(3), pgmap.active()), (true, 0));
        }
        // One that tracks a page, or did, takes no other.
        check!(locked.track(claim(&locked, 3)?, false));
        for _ in 0..2 {
            check!(!locked.track(claim(&locked, 4)?, false));
            check_eq!(locked.entry().pfn(), pgmap.pfn(3));
            check!(pgmap.is_idle(4));
            locked.zap();
        }
        check_eq!(pgmap.active(), 0);
        drop((locked, beside));
        // Of a page, where it would be one of 2 MiB, and the other way round.
        for (order, another) in [(Order::Pmd, Order::Pte), (Order::Pte, Order::Pmd)] {
            let mut locked = LockedEntry::grab(other.mapping(), PMD, order)?;
            check!(!locked.track(claim_of(&locked, 0, another)?, false));
            check_eq!(locked.entry(), Entry::empty(order));
            check_eq!((pgmap.is_idle(0), pgmap.active()), (true, 0));
        }
        Ok(())
    }

    /// Under one hold of the i_pages lock: no writeback finds what was stored to clean.
    #[test]
    fn r9_an_entry_is_dirty_when_it_becomes_tracked() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for (index, dirty) in [false, true].into_iter().enumerate() {
            let mut locked = LockedEntry::grab(file.mapping(), index, Order::Pte)?;
            let page = PgmapRef::live(pgmap.pfn(index), Order::Pte)?;
            let claim = folio::request(page, &locked.locked_id()).map_err(|_| EBUSY)?;
            check!(locked.track(claim, dirty));
            check_eq!(locked.with_marks(|marks| marks.has(Mark::Dirty)), dirty);
        }
        Ok(())
    }

    /// Also at page offset 0, where the guard does not know the slot, and nothing is replaced.
    #[test]
    fn r5_a_hole_that_stays_takes_marks() -> Result {
        let pgmap = TestPgmap::new()?;

        for index in [0, 5] {
            let file = FakeFile::new(&pgmap)?;
            file.insert_hole(index, pgmap.pfn(7), Order::Pte)?;
            let mut locked = file.mapping().lock_entry(index).ok_or(ENOENT)?;
            let zero = locked.entry();
            check!(locked.set_hole(zero, |marks| marks.set(Mark::Busy)));
            drop(locked);
            check!(file.has(index, Mark::Busy));
        }
        Ok(())
    }

    /// Whoever has the lock of an empty one is about to use it.
    #[test]
    fn r21_a_large_entry_takes_no_room_from_a_locked_one() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        let small = LockedEntry::grab(file.mapping(), 5, Order::Pte)?;
        let large = LockedEntry::grab(file.mapping(), 0, Order::Pmd);
        check_eq!(large.err(), Some(GrabError::Conflict));
        check_eq!(file.mapping().look(5), Some(small.entry()));
        small.unlock();
        check!(LockedEntry::grab(file.mapping(), 0, Order::Pmd).is_ok());
        Ok(())
    }

    #[test]
    fn an_entry_is_only_made_what_it_can_be() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let zero = |order: Order| Entry::zero(pgmap.pfn(0), order).ok_or(EINVAL);

        for order in BOTH {
            file.insert(0, 0, order)?;
            let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
            // It names a block, and is not one of 1 GiB.
            check!(!locked.set_hole(zero(order)?, |_| ()));
            check!(locked.split().is_err());
            check_eq!(file.kind(0), Some(Kind::Tracked));
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        // No large page begins there.
        check_eq!(file.insert(0, 1, Order::Pmd), Err(EEXIST));
        let mut locked = LockedEntry::grab(file.mapping(), 0, Order::Pte)?;
        check!(!locked.set_hole(zero(Order::Pmd)?, |_| ()));
        check_eq!(locked.entry().kind(), Kind::Empty);
        Ok(())
    }
}
