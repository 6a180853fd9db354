// SPDX-License-Identifier: GPL-2.0

//! Each fault is counted once, as what it was, for its superblock.
//!
//! What faults map, and that there is no huge zero page, is counted in guests: here no page table has a
//! place for a page.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_counters)]
mod tests {
    use kernel::sync::Arc;

    use super::*;
    use crate::{
        ffi::{
            bindings::{
                self,
                vm_fault_t, //
            },
            vm_fault, //
        },
        kunit::{
            faulting::{
                Extent,
                Faulted,
                BAD, //
            },
            fixture::{
                FakeFile,
                FakeSuper,
                Layout,
                Mounted,
                TestPgmap, //
            },
            probe::{
                skip,
                HAS_PUD, //
            },
            thread::Thread, //
        },
        mapping::{
            self,
            Ended,
            Kind,
            Range,
            Reason,
            Way, //
        },
        pgmap::Order, //
    };

    type Counts = [u64; Ended::COUNT];

    /// How the faults of a bound superblock have ended.
    fn counts(sb: &FakeSuper) -> Result<Counts> {
        let mut counts = [0; Ended::COUNT];
        let bound = mapping::all_bound()?
            .into_iter()
            .find(|bound| bound.is(sb.raw()))
            .ok_or(ENOENT)?;

        for (count, ended) in counts.iter_mut().zip(Ended::all()) {
            *count = bound.faults(ended);
        }
        Ok(counts)
    }

    /// That many of each, and none of the others.
    fn only(all: &[(Ended, u64)]) -> Counts {
        let mut counts = [0; Ended::COUNT];

        for (count, ended) in counts.iter_mut().zip(Ended::all()) {
            *count = all
                .iter()
                .filter(|one| one.0 == ended)
                .map(|one| one.1)
                .sum();
        }
        counts
    }

    /// A file that can be faulted in, on a superblock that is bound.
    fn faulted(pgmap: &Arc<TestPgmap>, extent: Extent) -> Result<(Arc<Faulted>, Mounted)> {
        let file = Faulted::new(pgmap, extent)?;
        let mounted = file.file.superblock().mount()?;
        Ok((file, mounted))
    }

    /// Checks that a PMD fault of page 0 falls back, and why.
    fn check_falls_back(file: &Faulted, write: bool, reason: Reason) -> Result {
        check_falls_back_from(Order::Pmd, file, write, reason)
    }

    fn check_falls_back_from(order: Order, file: &Faulted, write: bool, reason: Reason) -> Result {
        let before = counts(file.file.superblock())?;
        let mut wanted = only(&[(Ended::fell_back(order, reason), 1)]);

        check_eq!(file.fault(0, order, write)?, (vm_fault::FALLBACK, 0));
        for (count, before) in wanted.iter_mut().zip(before) {
            *count += before;
        }
        check_eq!(counts(file.file.superblock())?, wanted);
        Ok(())
    }

    /// Counts a fault of a file that ended like that.
    fn count(file: &Faulted, ended: Ended) -> Result<vm_fault_t> {
        file.with_fault(0, Order::Pte, false, |fault| fault.count(ended, 7).ret())
    }

    #[test]
    fn each_way_has_a_counter_of_its_own() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, _mounted) = faulted(&pgmap, Extent::default())?;

        check_eq!(counts(file.file.superblock())?, only(&[]));
        for (i, ended) in Ended::all().enumerate() {
            for _ in 0..=i {
                check_eq!(count(&file, ended)?, 7);
            }
        }
        for (i, count) in counts(file.file.superblock())?.iter().enumerate() {
            check_eq!(*count, i as u64 + 1);
        }
        Ok(())
    }

    #[test]
    fn a_superblock_that_is_mounted_again_begins_anew() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = Faulted::new(&pgmap, Extent::default())?;
        let sb = file.file.superblock();

        for _ in 0..3 {
            let mounted = sb.mount()?;
            check_eq!(counts(sb)?, only(&[]));
            count(&file, Ended::COPY)?;
            check_eq!(counts(sb)?, only(&[(Ended::COPY, 1)]));
            drop(mounted);
            // Nothing, which must not be that of another one either.
            count(&file, Ended::COPY)?;
        }
        Ok(())
    }

    #[test]
    fn superblocks_with_like_numbers_are_counted_apart() -> Result {
        let pgmap = TestPgmap::new()?;
        let mut all = KVec::new();

        // All have the same device number.
        for _ in 0..5 {
            all.push(faulted(&pgmap, Extent::default())?, GFP_KERNEL)?;
        }
        // The one in whose place the search for others began.
        drop(all.remove(0));
        for (i, (file, _)) in all.iter().enumerate() {
            for _ in 0..=i {
                count(file, Ended::RETRIED)?;
            }
        }
        for (i, (file, _)) in all.iter().enumerate() {
            let wanted = only(&[(Ended::RETRIED, i as u64 + 1)]);
            check_eq!(counts(file.file.superblock())?, wanted);
        }
        Ok(())
    }

    #[test]
    fn so_many_superblocks_are_counted_and_no_more() -> Result {
        let pgmap = TestPgmap::new()?;
        let mut all = KVec::new();

        for i in 0..=256 {
            all.push(faulted(&pgmap, Extent::default())?, GFP_KERNEL)?;
            let (file, _) = &all[i];
            count(file, Ended::FAILED)?;
            let wanted = only(&[(Ended::FAILED, u64::from(i < 256))]);
            check_eq!(counts(file.file.superblock())?, wanted);
        }
        // There is a place again.
        drop(all.remove(100));
        let (file, _mounted) = faulted(&pgmap, Extent::default())?;
        count(&file, Ended::FAILED)?;
        check_eq!(counts(file.file.superblock())?, only(&[(Ended::FAILED, 1)]));
        Ok(())
    }

    #[test]
    fn r23_what_threads_count_at_once_is_counted() -> Result {
        const TIMES: u64 = 20_000;

        let pgmap = TestPgmap::new()?;
        let (file, _mounted) = faulted(&pgmap, Extent::default())?;
        let mut threads = KVec::new();
        for _ in 0..3 {
            let file = file.clone();
            let thread = Thread::spawn(move || {
                file.with_fault(0, Order::Pte, false, |fault| {
                    for _ in 0..TIMES {
                        let _ = fault.count(Ended::COPY, 0);
                    }
                })
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        for thread in threads {
            thread.join()??;
        }
        check_eq!(
            counts(file.file.superblock())?,
            only(&[(Ended::COPY, 3 * TIMES)])
        );
        Ok(())
    }

    #[test]
    fn a_fault_that_does_not_fit_falls_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, _mounted) = faulted(&pgmap, Extent::default())?;

        file.file.set_pages(511);
        check_falls_back(&file, false, Reason::Fit)?;
        file.file.set_pages(512);
        check_eq!(file.fault(0, Order::Pmd, true)?, (vm_fault::NEEDDSYNC, 0));
        Ok(())
    }

    #[test]
    fn r20_a_fault_of_1_gib_says_why_it_falls_back() -> Result {
        const PUD: usize = Order::Pud.pages();

        if !HAS_PUD {
            skip(c"the kernel has no huge puds");
            return Ok(());
        }
        let pgmap = TestPgmap::with(Layout::Gib)?;
        let extent = Extent::default();
        let (file, mounted) = faulted(&pgmap, extent)?;
        let never = file.with_fault(0, Order::Pud, true, |fault| {
            fault.pud_does_not_fit(usize::MAX)
        })?;
        if never {
            skip(c"the CPU has no pages of 1 GiB");
            return Ok(());
        }
        file.file.set_pages(PUD as i64 - 1);
        check_falls_back_from(Order::Pud, &file, true, Reason::Fit)?;
        file.file.set_pages(PUD as i64);
        file.file.insert(7, 7, Order::Pte)?;
        check_falls_back_from(Order::Pud, &file, true, Reason::Entries)?;
        check_eq!(file.asked(), 0);
        drop(mounted);

        for (extent, reason) in [
            (
                Extent {
                    shared: true,
                    ..extent
                },
                Reason::Shared,
            ),
            (
                Extent {
                    of_type: Some(bindings::IOMAP_HOLE),
                    ..extent
                },
                Reason::Extent,
            ),
            (
                Extent {
                    pages: Some(PUD - 1),
                    ..extent
                },
                Reason::Extent,
            ),
            (Extent { block: 1, ..extent }, Reason::Extent),
            (
                Extent {
                    error: EIO.to_errno(),
                    ..extent
                },
                Reason::Filesystem,
            ),
        ] {
            for write in [false, true] {
                let (file, _mounted) = faulted(&pgmap, extent)?;
                check_falls_back_from(Order::Pud, &file, write, reason)?;
                check_eq!((file.asked(), file.used()), (1, 0));
                check!(file.file.mapping().is_empty());
            }
        }
        Ok(())
    }

    #[test]
    fn r20_a_fault_of_1_gib_is_counted_once() -> Result {
        if !HAS_PUD {
            skip(c"the kernel has no huge puds");
            return Ok(());
        }
        let pgmap = TestPgmap::with(Layout::Gib)?;
        let (file, _mounted) = faulted(&pgmap, Extent::default())?;
        let bytes = (Order::Pud.pages() * bindings::PAGE_SIZE) as i64;

        let (ret, _) = file.fault(5, Order::Pud, true)?;
        if ret == vm_fault::FALLBACK {
            skip(c"the CPU has no pages of 1 GiB");
            return Ok(());
        }
        check_eq!(ret, vm_fault::NEEDDSYNC);
        check_eq!(
            counts(file.file.superblock())?,
            only(&[(Ended::served(Way::Sync, Order::Pud), 1)])
        );
        // Whatever a store needs the filesystem has had before: there is no hole in it, nor anything shared.
        let flags = bindings::IOMAP_DAX | bindings::IOMAP_FAULT;
        check_eq!(file.begun(), (0, bytes, flags));
        check_eq!(file.used(), bytes);
        let entry = file.file.entry(5).ok_or(ENOENT)?;
        check_eq!((entry.kind(), entry.order()), (Kind::Tracked, Order::Pud));
        Ok(())
    }

    #[test]
    fn a_small_extent_and_one_that_is_not_aligned_fall_back() -> Result {
        let pgmap = TestPgmap::new()?;

        for (block, pages) in [(0, Some(511)), (1, None)] {
            let extent = Extent {
                block,
                pages,
                ..Extent::default()
            };
            let (file, _mounted) = faulted(&pgmap, extent)?;
            check_falls_back(&file, true, Reason::Extent)?;
        }
        Ok(())
    }

    #[test]
    fn entries_of_pages_have_a_fault_fall_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, _mounted) = faulted(&pgmap, Extent::default())?;

        file.file.insert(3, 3, Order::Pte)?;
        check_falls_back(&file, true, Reason::Entries)?;
        check_falls_back(&file, false, Reason::Entries)
    }

    #[test]
    fn a_copy_and_a_block_that_others_share_fall_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let extent = Extent {
            shared: true,
            ..Extent::default()
        };
        let (file, _mounted) = faulted(&pgmap, extent)?;

        check_falls_back(&file, true, Reason::Shared)?;
        // No filesystem clones files here.
        check_falls_back(&file, false, Reason::Shared)
    }

    #[test]
    fn memory_that_is_in_use_by_pages_has_a_fault_fall_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let other = FakeFile::new(&pgmap)?;
        let (file, _mounted) = faulted(&pgmap, Extent::default())?;

        for used in [0, 7] {
            other.insert(used, used, Order::Pte)?;
            check_falls_back(&file, true, Reason::OtherOrder)?;
            check_eq!(other.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn a_device_that_does_not_give_its_memory_has_a_fault_fall_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let extent = Extent {
            block: BAD,
            ..Extent::default()
        };
        let (file, _mounted) = faulted(&pgmap, extent)?;

        check_falls_back(&file, true, Reason::Device)?;
        // A page finds out.
        file.fault(0, Order::Pte, true)?;
        let wanted = only(&[
            (Ended::fell_back(Order::Pmd, Reason::Device), 1),
            (Ended::FAILED, 1),
        ]);
        check_eq!(counts(file.file.superblock())?, wanted);
        Ok(())
    }

    #[test]
    fn a_filesystem_that_fails_has_a_fault_fall_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let error = -(bindings::ENOSPC as i32);
        let extent = Extent {
            error,
            ..Extent::default()
        };
        let (file, _mounted) = faulted(&pgmap, extent)?;

        check_falls_back(&file, true, Reason::Filesystem)?;
        check_eq!(file.fault(0, Order::Pte, true)?, (vm_fault::SIGBUS, error));
        let failed = Ended::all().position(|ended| ended == Ended::FAILED);
        let failed = failed.ok_or(ENOENT)?;
        check_eq!(counts(file.file.superblock())?[failed], 1);
        Ok(())
    }

    #[test]
    fn a_sync_and_what_fails_are_counted() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, _mounted) = faulted(&pgmap, Extent::default())?;
        let (small, large) = (
            Ended::served(Way::Sync, Order::Pte),
            Ended::served(Way::Sync, Order::Pmd),
        );

        check_eq!(file.fault(0, Order::Pmd, true)?.0, vm_fault::NEEDDSYNC);
        check_eq!(counts(file.file.superblock())?, only(&[(large, 1)]));
        check_eq!(file.file.break_now(Range::ALL), Ok(()));
        check_eq!(file.fault(3, Order::Pte, true)?.0, vm_fault::NEEDDSYNC);
        check_eq!(
            counts(file.file.superblock())?,
            only(&[(large, 1), (small, 1)])
        );
        // A load that cannot be mapped, and one behind the end.
        check_eq!(file.fault(4, Order::Pte, false)?.0, vm_fault::SIGBUS);
        file.file.set_pages(4);
        check_eq!(file.fault(4, Order::Pte, false)?.0, vm_fault::SIGBUS);
        check_eq!(
            counts(file.file.superblock())?,
            only(&[(large, 1), (small, 1), (Ended::FAILED, 2)])
        );
        Ok(())
    }

    #[test]
    fn a_fault_that_makes_others_give_way_is_taken_again() -> Result {
        let pgmap = TestPgmap::new()?;
        let source = FakeFile::new(&pgmap)?;
        let (file, _mounted) = faulted(&pgmap, Extent::default())?;

        source.insert(0, 0, Order::Pmd)?;
        check_eq!(file.fault(7, Order::Pte, true)?, (vm_fault::NOPAGE, 0));
        check_eq!(
            counts(file.file.superblock())?,
            only(&[(Ended::RETRIED, 1)])
        );
        Ok(())
    }
}
