// SPDX-License-Identifier: GPL-2.0

//! Which entries a read fault tracks besides its own, and how it leaves them.
//!
//! What is mapped is seen in guests: here no page table has a place for a page.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_around)]
mod tests {
    use super::*;
    use crate::{
        folio::request_as_is,
        kunit::{
            fixture::{
                FakeFile,
                TestPgmap,
                PMD, //
            },
            probe::{
                Event,
                Events,
                Work, //
            },
            thread::{
                wait_until,
                Thread, //
            }, //
        },
        mapping::{
            sleeping,
            Around,
            Kind,
            LockedEntry,
            Range,
            Window, //
        },
        pgmap::{
            Order,
            PgmapRef, //
        }, //
    };

    const MOST: usize = 16;

    /// Tracks what is around the entry at `index`, which is tracked, and calls `f` meanwhile.
    fn around<R>(
        file: &FakeFile,
        index: usize,
        window: Window,
        f: impl FnOnce(&Around<'_, '_>) -> R,
    ) -> Result<R> {
        let locked = file.mapping().lock_entry(index).ok_or(ENOENT)?;
        let pfn = locked.entry().pfn();
        let around = Around::track(&locked, window, |n, id| {
            let pgmap = PgmapRef::live(pfn + n, Order::Pte).ok()?;
            request_as_is(pgmap, id).ok()
        });
        Ok(f(&around))
    }

    /// [`around`] of as many as there may be. Returns which.
    fn tracked(file: &FakeFile, index: usize) -> Result<Window> {
        around(file, index, Window::all(MOST), |around| around.window())
    }

    fn is_locked(file: &FakeFile, index: usize) -> bool {
        file.entry(index).is_some_and(|entry| entry.is_locked())
    }

    #[test]
    fn a_window_is_counted_from_the_page_of_the_fault() -> Result {
        check!(Window::NONE.is_empty());
        check_eq!(Window::NONE.pages(), 1);
        check_eq!(Window::all(1), Window::NONE);
        check_eq!(Window::all(0), Window::NONE);
        for n in 2..=MOST {
            check!(!Window::all(n).is_empty());
            check_eq!(Window::all(n).pages(), n);
            check_eq!(Window::all(n).without(n - 1), Window::all(n - 1));
        }
        check_eq!(Window::all(MOST + 1), Window::all(MOST));
        check_eq!(Window::all(MOST).up_to(usize::MAX), Window::all(MOST));
        check_eq!(Window::all(MOST).up_to(3).without(1).pages(), 3);
        Ok(())
    }

    #[test]
    fn r5_what_is_free_is_tracked_and_locked_meanwhile() -> Result {
        let pgmap = TestPgmap::new()?;

        // At 0 there is no node for them yet.
        for first in [0, 1, 16] {
            let file = FakeFile::new(&pgmap)?;
            file.insert(first, first, Order::Pte)?;
            let window = Window::all(MOST).without(4);
            let seen = around(&file, first, window, |around| {
                check_eq!(around.window(), window);
                for i in first + 1..first + MOST {
                    check_eq!(is_locked(&file, i), i != first + 4);
                }
                Ok(())
            })?;
            check_eq!(seen, Ok(()));
            for i in first..first + MOST {
                check!(!is_locked(&file, i));
                let wanted = (i != first + 4).then_some(Kind::Tracked);
                check_eq!(file.kind(i), wanted);
                check_eq!(pgmap.count(i), i32::from(wanted.is_some()));
                check_eq!(file.entry(i).map(|e| e.pfn()), wanted.map(|_| pgmap.pfn(i)));
            }
            check_eq!(pgmap.active(), MOST as isize - 1);
            check_eq!(file.kind(first + MOST), None);
            check_eq!(file.break_now(Range::ALL), Ok(()));
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r10_all_are_tracked_by_two_holds() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(1, 1, Order::Pte)?;
        file.insert(2, 2, Order::Pte)?;
        let locked = file.mapping().lock_entry(1).ok_or(ENOENT)?;
        let (window, work) = Work::of(|| {
            Around::track(&locked, Window::all(MOST), |n, id| {
                let pgmap = PgmapRef::live(pgmap.pfn(1 + n), Order::Pte).ok()?;
                request_as_is(pgmap, id).ok()
            })
            .window()
        });
        drop(locked);
        check_eq!(window, Window::all(MOST));
        check_eq!(work.holds, 2);
        check!(work.longest <= MOST);
        Ok(())
    }

    #[test]
    fn what_cannot_be_had_at_once_is_left_out() -> Result {
        let pgmap = TestPgmap::new()?;
        let other = FakeFile::new(&pgmap)?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(1, 1, Order::Pte)?;
        // Another block, and a hole.
        file.insert(3, 40, Order::Pte)?;
        file.insert_hole(4, pgmap.pfn(50), Order::Pte)?;
        // Zapped and busy.
        file.insert(5, 5, Order::Pte)?;
        let pin = pgmap.pin(5)?;
        check_eq!(
            file.break_now(Range { first: 5, last: 5 }),
            Err(ERESTARTSYS)
        );
        // Locked.
        let locked = LockedEntry::grab(file.mapping(), 6, Order::Pte).map_err(|_| EEXIST)?;
        // Another file's.
        other.insert(7, 7, Order::Pte)?;
        // Nothing but the lock was needed.
        LockedEntry::grab(file.mapping(), 9, Order::Pte)
            .map_err(|_| EEXIST)?
            .unlock();
        check_eq!(file.kind(9), Some(Kind::Empty));
        // Tracked.
        file.insert(10, 10, Order::Pte)?;

        let mut wanted = Window::all(MOST);
        for index in 3..=7 {
            wanted = wanted.without(index - 1);
        }
        check_eq!(tracked(&file, 1), Ok(wanted));
        check_eq!(file.entry(3).map(|e| e.pfn()), Some(pgmap.pfn(40)));
        check_eq!(file.kind(4), Some(Kind::Zero));
        check_eq!(file.kind(5), Some(Kind::Zapped));
        check_eq!(locked.entry().kind(), Kind::Empty);
        check_eq!(file.kind(7), None);
        check_eq!(
            (file.kind(9), file.kind(10)),
            (Some(Kind::Tracked), Some(Kind::Tracked))
        );
        check_eq!((pgmap.count(5), pgmap.count(7), pgmap.count(10)), (1, 1, 1));
        drop(locked);
        check_eq!(file.kind(6), None);
        drop(pin);
        check_eq!(file.break_now(Range::ALL), Ok(()));
        check_eq!(other.break_now(Range::ALL), Ok(()));
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r18_memory_of_another_shape_is_left_as_it_is() -> Result {
        let pgmap = TestPgmap::new()?;
        let large = FakeFile::new(&pgmap)?;
        let file = FakeFile::new(&pgmap)?;

        // The shape that it keeps while it is free.
        large.insert(0, 0, Order::Pmd)?;
        check_eq!(large.break_now(Range::ALL), Ok(()));
        let before = pgmap.snapshot_of_shapes()?;
        let mut locked = LockedEntry::grab(file.mapping(), 1, Order::Pte).map_err(|_| EEXIST)?;
        let claim = PgmapRef::live(pgmap.pfn(2), Order::Pte)
            .map(|page| request_as_is(page, &locked.locked_id()).is_ok())?;
        check!(!claim);
        pgmap.snapshot_of_shapes()?.check_same(&before)?;
        check_eq!(pgmap.active(), 0);
        locked.set_empty();
        Ok(())
    }

    #[test]
    fn it_ends_where_a_node_does() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for (first, pages) in [(60, 4), (63, 1), (64, MOST), (49, 15)] {
            file.insert(first, first, Order::Pte)?;
            check_eq!(tracked(&file, first), Ok(Window::all(pages)));
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r7_nothing_is_tracked_while_a_break_sleeps() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(1, 1, Order::Pte)?;
        file.insert(2, 2, Order::Pte)?;
        let window = sleeping(file.mapping(), || tracked(&file, 1));
        check_eq!(window, Ok(Window::NONE));
        check_eq!(file.kind(3), None);
        check_eq!(tracked(&file, 1), Ok(Window::all(MOST)));
        Ok(())
    }

    #[test]
    fn who_waits_for_a_neighbour_is_woken() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(1, 1, Order::Pte)?;
        let waiting = file.clone();
        let thread = around(&file, 1, Window::all(MOST), |_| {
            let thread = Thread::spawn(move || waiting.insert(5, 5, Order::Pte))?;
            wait_until(|| thread.sleeps(true))?;
            Ok::<_, Error>(thread)
        })??;
        check_eq!(thread.join(), Ok(Ok(())));
        check_eq!(pgmap.count(5), 1);
        Ok(())
    }

    #[test]
    fn a_large_entry_has_its_pages_itself() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pmd)?;
        let locked = file.mapping().lock_entry(7).ok_or(ENOENT)?;
        let inside = |index| Around::inside(&locked, index, Window::all(MOST)).window();
        check_eq!(inside(7), Window::all(MOST));
        check_eq!(inside(PMD - 3), Window::all(3));
        check_eq!(inside(PMD), Window::NONE);
        // Its entries are no others'.
        let window = Around::track(&locked, Window::all(MOST), |_, _| None).window();
        check_eq!(window, Window::NONE);
        Ok(())
    }

    #[test]
    fn events_tell_of_each_page() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(1, 1, Order::Pte)?;
        file.insert(4, 4, Order::Pte)?;
        let events = Events::start()?;
        check_eq!(tracked(&file, 1), Ok(Window::all(MOST)));
        check_eq!(events.take(Event::Request), MOST - 2);
        check_eq!(events.take(Event::Insert), MOST - 2);
        Ok(())
    }
}
