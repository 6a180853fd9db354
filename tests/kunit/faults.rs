// SPDX-License-Identifier: GPL-2.0

//! Page faults, but for what they change in page tables.
//!
//! Rules: R17, R24.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_faults)]
mod tests {
    use kernel::{
        sync::Arc,
        time::{
            Instant,
            Monotonic, //
        }, //
    };

    use super::*;
    use crate::{
        ffi::{
            bindings::{
                self,
                PAGE_SIZE, //
            },
            safe,
            vm_fault, //
        },
        folio::Left,
        fsdax,
        kunit::{
            faulting::{
                Extent,
                Faulted,
                BAD,
                NOT_MAPPED,
                NO_MEMORY, //
            },
            fixture::{
                pages,
                FakeFile,
                TestPgmap, //
            },
            probe::{
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
            Kind,
            Mark,
            Range, //
        },
        pgmap::Order, //
    };

    /// How many milliseconds have passed. How often something happens is compared with that, since
    /// a guest may be slow.
    fn passed_ms(since: Instant<Monotonic>) -> usize {
        usize::try_from(since.elapsed().as_millis()).unwrap_or(0)
    }

    /// A file that has all blocks of the memory, as others have too.
    fn clone_of_all(pgmap: &Arc<TestPgmap>) -> Result<Arc<Faulted>> {
        let extent = Extent {
            shared: true,
            ..Extent::default()
        };
        Faulted::new(pgmap, extent)
    }

    /// A file whose blocks nobody else is to have.
    fn owner_of_all(pgmap: &Arc<TestPgmap>) -> Result<Arc<Faulted>> {
        Faulted::new(pgmap, Extent::default())
    }

    #[test]
    fn r24_a_page_that_became_shared_is_one_of_the_large_folio() -> Result {
        let pgmap = TestPgmap::new()?;
        let events = Events::start()?;

        for index in [0, 7, 510] {
            let source = FakeFile::new(&pgmap)?;
            let clone = clone_of_all(&pgmap)?;
            source.insert(0, 0, Order::Pmd)?;
            // It gets it, and cannot be mapped.
            check_eq!(
                clone.fault(index, Order::Pte, false)?,
                (vm_fault::SIGBUS, 0)
            );
            check_eq!(events.take(Event::Insert), 2);
            check_eq!((source.kind(0), pgmap.count(0)), (Some(Kind::Tracked), 1));
            check!(clone.file.mapping().is_empty());
        }
        Ok(())
    }

    #[test]
    fn r24_a_large_folio_makes_way_for_a_page_of_another_file() -> Result {
        let pgmap = TestPgmap::new()?;
        let events = Events::start()?;

        for index in [0, 7, 510] {
            let source = FakeFile::new(&pgmap)?;
            let clone = owner_of_all(&pgmap)?;
            source.insert(0, 0, Order::Pmd)?;
            source.mark(0, Mark::Dirty)?;
            check_eq!(
                clone.fault(index, Order::Pte, false)?,
                (vm_fault::NOPAGE, 0)
            );
            check!(source.mapping().is_empty());
            check!(clone.file.mapping().is_empty());
            check_eq!(events.take(Event::Writeback), 1);
            check_eq!(events.take(Event::Insert), 1);
            check_eq!((pgmap.is_idle(0), pgmap.active()), (true, 0));
            // It gets it now, and cannot be mapped.
            check_eq!(
                clone.fault(index, Order::Pte, false)?,
                (vm_fault::SIGBUS, 0)
            );
            check_eq!(events.take(Event::Insert), 1);
        }
        Ok(())
    }

    #[test]
    fn r24_a_large_folio_that_is_pinned_is_waited_for() -> Result {
        let pgmap = TestPgmap::new()?;
        let source = FakeFile::new(&pgmap)?;
        let clone = owner_of_all(&pgmap)?;

        source.insert(0, 0, Order::Pmd)?;
        let pin = pgmap.pin(0)?;
        let begun = Instant::<Monotonic>::now();
        let waiting = clone.clone();
        let thread = Thread::spawn(move || waiting.fault_on(7, false))?;
        wait_until(|| thread.sleeps_killably())?;
        check_eq!(source.kind(0), Some(Kind::Zapped));
        check!(clone.file.mapping().is_empty());
        // Whoever uses the source goes on, and does not have the fault do so.
        source.insert(0, 0, Order::Pmd)?;
        check!(thread.goes_on());
        drop(pin);
        let (ret, taken) = thread.join()??;
        check_eq!(ret, vm_fault::SIGBUS);
        // Ten in a second, and one more to find out that it is gone.
        check!(taken <= 3 + passed_ms(begun) / 80);
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r24_a_fatal_signal_ends_the_wait_for_a_large_folio() -> Result {
        let pgmap = TestPgmap::new()?;
        let source = FakeFile::new(&pgmap)?;
        let clone = owner_of_all(&pgmap)?;

        source.insert(0, 0, Order::Pmd)?;
        let pin = pgmap.pin(0)?;
        let waiting = clone.clone();
        let thread = Thread::spawn(move || waiting.fault_on(7, false))?;
        wait_until(|| thread.sleeps_killably())?;
        thread.interrupt();
        check!(thread.goes_on());
        wait_until(|| thread.sleeps_killably())?;
        thread.kill();
        check_eq!(thread.join()??.0, vm_fault::SIGBUS);
        check_eq!(source.break_now(Range::ALL), Err(ERESTARTSYS));
        drop(pin);
        check_eq!(source.break_now(Range::ALL), Ok(()));
        Ok(())
    }

    #[test]
    fn r24_what_is_left_of_a_large_folio_does_not_forbid_its_pages() -> Result {
        let pgmap = TestPgmap::new()?;
        let events = Events::start()?;

        // The page that the other file tracks is the head of the large folio, or is not.
        for other in [0, 7] {
            let source = clone_of_all(&pgmap)?;
            let clone = FakeFile::new(&pgmap)?;
            source.file.insert(0, 0, Order::Pmd)?;
            check_eq!(fsdax::busy_pfn(source.file.mapping(), Range::ALL), None);
            check_eq!(source.file.kind(0), Some(Kind::Zapped));
            clone.share(other, other, Order::Pte)?;
            events.take(Event::Insert);
            check_eq!(source.fault(9, Order::Pte, false)?, (vm_fault::NOPAGE, 0));
            check!(source.file.mapping().is_empty());
            source.fault(9, Order::Pte, false)?;
            check_eq!(events.take(Event::Insert), 1);
            check_eq!(clone.kind(other), Some(Kind::Tracked));
        }
        Ok(())
    }

    #[test]
    fn r24_what_no_file_tracks_does_not_make_way() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);
        let make_way = |offset| fsdax::make_way(file.mapping(), 0, pgmap.pfn(offset), false, 5);

        // There is nothing, or a page.
        check_eq!((make_way(0), make_way(7)), (Ok(()), Ok(())));
        file.insert(0, 0, Order::Pte)?;
        check_eq!((make_way(0), make_way(7)), (Ok(()), Ok(())));
        check_eq!(file.kind(0), Some(Kind::Tracked));
        check_eq!(file.break_now(Range::ALL), Ok(()));
        // A large folio that some module has requested.
        let folio = pgmap.request(0, Order::PMD_ORDER)?;
        check_eq!((make_way(0), make_way(7)), (Err(EBUSY), Err(EBUSY)));
        drop(folio);
        // One that several files track, or that one does which is left of several.
        for left in [2, 1] {
            file.share(0, 0, Order::Pmd)?;
            other.share(0, 0, Order::Pmd)?;
            if left == 1 {
                check_eq!(other.break_now(Range::ALL), Ok(()));
            }
            check_eq!(pgmap.count(0), left);
            check_eq!(make_way(7), Ok(()));
            check!(file.mapping().is_empty() && other.mapping().is_empty());
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn a_pmd_fault_does_not_tell_why_it_falls_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let error = -(bindings::ENOSPC as i32);
        let full = Faulted::new(
            &pgmap,
            Extent {
                error,
                ..Extent::default()
            },
        )?;

        check_eq!(full.fault(0, Order::Pmd, true)?, (vm_fault::FALLBACK, 0));
        check_eq!(full.fault(0, Order::Pte, true)?, (vm_fault::SIGBUS, error));
        Ok(())
    }

    #[test]
    fn a_superblock_does_not_share_blocks_because_of_what_it_is() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = Faulted::new(&pgmap, Extent::default())?;

        // SAFETY: The superblock is that of the test.
        let sb = unsafe { (*file.file.inode()).i_sb };
        // The number of erofs.
        // SAFETY: The superblock is ours, too.
        unsafe { (*sb).s_magic = 0xe0f5_e1e2 };
        check_eq!(file.fault(5, Order::Pmd, true)?, (vm_fault::NEEDDSYNC, 0));
        check_eq!(file.file.kind(0), Some(Kind::Tracked));
        Ok(())
    }

    /// A file whose store to page 0, in block 0, makes a copy of block 0 in block 100.
    fn copying(pgmap: &Arc<TestPgmap>, source: usize) -> Result<Arc<Faulted>> {
        let extent = Extent {
            block: 100,
            shared: true,
            source: Some(source),
            ..Extent::default()
        };
        let file = Faulted::new(pgmap, extent)?;
        file.file.share(0, 0, Order::Pte)?;
        Ok(file)
    }

    #[test]
    fn r17_a_store_that_waits_does_not_ask_for_a_block_each_time() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = copying(&pgmap, 0)?;
        let pin = pgmap.pin(0)?;
        let begun = Instant::<Monotonic>::now();
        let storing = file.clone();
        let thread = Thread::spawn(move || storing.fault_on(0, true))?;

        wait_until(|| thread.sleeps_killably())?;
        while passed_ms(begun) < 800 {
            nap();
        }
        check!(!thread.is_done());
        let asked = file.asked();
        // Once a second, or twice.
        check!(asked <= 3 + 2 * (passed_ms(begun) / 1000));
        drop(pin);
        let (ret, taken) = thread.join()??;
        check_eq!(ret, vm_fault::NEEDDSYNC);
        check!(taken <= 3 + passed_ms(begun) / 80);
        check!(pgmap.is_idle(0));
        check_eq!(file.file.entry(0).map(|e| e.pfn()), Some(pgmap.pfn(100)));
        Ok(())
    }

    #[test]
    fn r23_a_store_that_waits_asks_no_faster_because_others_use_the_page() -> Result {
        const TIMES: usize = 20;

        let pgmap = TestPgmap::new()?;
        let file = copying(&pgmap, 0)?;
        let pin = pgmap.pin(0)?;
        let begun = Instant::<Monotonic>::now();
        let storing = file.clone();
        let thread = Thread::spawn(move || storing.fault_on(0, true))?;

        for _ in 0..TIMES {
            wait_until(|| file.file.kind(0) == Some(Kind::Zapped) && thread.sleeps_killably())?;
            file.file.share(0, 0, Order::Pte)?;
        }
        let asked = file.asked();
        check!(asked <= 3 + passed_ms(begun) / 20);
        drop(pin);
        check_eq!(thread.join()??.0, vm_fault::NEEDDSYNC);
        check!(pgmap.is_idle(0));
        Ok(())
    }

    #[test]
    fn r17_a_store_that_waits_notices_that_the_block_is_not_shared_any_more() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = Faulted::new(&pgmap, Extent::default())?;

        file.file.share(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        let mut locked = file.file.mapping().lock_entry(0).ok_or(ENOENT)?;
        check_eq!(fsdax::give_up(&mut locked), Left::Busy);
        fsdax::set_replaced(&locked);
        drop(locked);
        let storing = file.clone();
        let thread = Thread::spawn(move || storing.fault_on(0, true))?;
        // The pin is still there.
        check_eq!(thread.join()??.0, vm_fault::NEEDDSYNC);
        check_eq!(file.file.kind(0), Some(Kind::Tracked));
        drop(pin);
        Ok(())
    }

    #[test]
    fn r17_what_a_store_waits_for_is_forgotten_when_the_page_is_used() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.share(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        check!(!fsdax::is_replaced_later(&locked, 0));
        check_eq!(fsdax::give_up(&mut locked), Left::Busy);
        check!(!fsdax::is_replaced_later(&locked, 0));
        fsdax::set_replaced(&locked);
        check!(fsdax::is_replaced_later(&locked, 0));
        drop(locked);
        file.share(0, 0, Order::Pte)?;
        let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        check!(!fsdax::is_replaced_later(&locked, 0));
        check_eq!(fsdax::give_up(&mut locked), Left::Busy);
        check!(!fsdax::is_replaced_later(&locked, 0));
        drop((locked, pin));
        Ok(())
    }

    #[test]
    fn r17_a_store_does_not_wait_for_what_another_file_replaces() -> Result {
        let pgmap = TestPgmap::new()?;
        let (file, other) = (FakeFile::new(&pgmap)?, FakeFile::new(&pgmap)?);
        let zap = |file: &FakeFile, replaced| -> Result {
            let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
            check_eq!(fsdax::give_up(&mut locked), Left::Busy);
            if replaced {
                fsdax::set_replaced(&locked);
            }
            check_eq!(fsdax::is_replaced_later(&locked, 0), replaced);
            Ok(())
        };

        file.share(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        zap(&file, false)?;
        other.share(0, 0, Order::Pte)?;
        zap(&other, true)?;
        let locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        check!(!fsdax::is_replaced_later(&locked, 0));
        fsdax::set_replaced(&locked);
        check!(!fsdax::is_replaced_later(&locked, 0));
        drop((locked, pin));
        Ok(())
    }

    /// A file that shares all blocks of the memory as one, of which a store makes a copy at `block`.
    fn copying_2m(pgmap: &Arc<TestPgmap>, block: usize) -> Result<Arc<Faulted>> {
        let extent = Extent {
            block,
            shared: true,
            source: Some(0),
            ..Extent::default()
        };
        let file = Faulted::new(pgmap, extent)?;
        file.can_clone();
        file.file.share(0, 0, Order::Pmd)?;
        Ok(file)
    }

    #[test]
    fn r24_a_copy_of_2m_falls_back_where_there_is_no_room_for_it() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = copying_2m(&pgmap, 100)?;

        check_eq!(file.fault(0, Order::Pmd, true)?, (vm_fault::FALLBACK, 0));
        check!(file.file.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r24_a_copy_of_2m_is_one_of_its_last_page_too() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = copying_2m(&pgmap, 0)?;

        // That is `BAD`: the store may need another page only.
        check_eq!(file.fault(0, Order::Pmd, true)?, (vm_fault::FALLBACK, 0));
        Ok(())
    }

    #[test]
    fn r17_a_copy_of_2m_waits_for_pins() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = copying_2m(&pgmap, 100)?;
        let pin = pgmap.pin(0)?;

        for _ in 0..2 {
            check_eq!(file.fault(0, Order::Pmd, true)?, (vm_fault::NOPAGE, 0));
            check_eq!(file.file.kind(0), Some(Kind::Zapped));
        }
        drop(pin);
        check!(pgmap.is_idle(0));
        check_eq!(file.fault(0, Order::Pmd, true)?, (vm_fault::FALLBACK, 0));
        check!(file.file.mapping().is_empty());
        Ok(())
    }

    #[test]
    fn a_copy_of_bad_memory_is_an_io_error() -> Result {
        let pgmap = TestPgmap::new()?;

        for (block, ret) in [
            (BAD, vm_fault::SIGBUS),
            (NO_MEMORY, vm_fault::OOM),
            (NOT_MAPPED, vm_fault::SIGBUS),
        ] {
            let file = copying(&pgmap, block)?;
            check_eq!(file.fault(0, Order::Pte, true)?.0, ret);
            check!(file.file.mapping().is_empty());
            check_eq!((pgmap.active(), file.used()), (0, 0));
        }
        Ok(())
    }

    #[test]
    fn a_copy_of_a_hole_is_zeroes() -> Result {
        const NEW: usize = 100;

        let pgmap = TestPgmap::new()?;
        let extent = Extent {
            block: NEW,
            shared: true,
            ..Extent::default()
        };
        let file = Faulted::new(&pgmap, extent)?;
        let page = safe::rust_fsdax_pfn_to_virt(pgmap.pfn(NEW)).cast::<u8>();

        // SAFETY: The kernel has the memory mapped, and no other test uses it meanwhile.
        unsafe { page.write_bytes(0xff, PAGE_SIZE) };
        check_eq!(file.fault(0, Order::Pte, true)?.0, vm_fault::NEEDDSYNC);
        // SAFETY: The kernel has the memory mapped, and nobody stores to it any more.
        let data = unsafe { core::slice::from_raw_parts(page, PAGE_SIZE) };
        check!(data.iter().all(|byte| *byte == 0));
        check_eq!(file.file.entry(0).map(|e| e.pfn()), Some(pgmap.pfn(NEW)));
        Ok(())
    }

    #[test]
    fn a_private_copy_of_what_cannot_be_read_is_not_made() -> Result {
        let pgmap = TestPgmap::new()?;

        for (block, ret) in [
            (BAD, bindings::vm_fault_reason_VM_FAULT_HWPOISON),
            (NO_MEMORY, vm_fault::OOM),
            (NOT_MAPPED, vm_fault::SIGBUS),
        ] {
            let extent = Extent {
                block,
                ..Extent::default()
            };
            let file = Faulted::new(&pgmap, extent)?;
            check_eq!(file.fail_to_copy(0)?, ret);
            check_eq!((file.asked(), file.used()), (1, 0));
            check_eq!((file.file.kind(0), pgmap.active()), (Some(Kind::Empty), 0));
        }
        Ok(())
    }

    #[test]
    fn a_fault_of_an_order_that_no_page_has_falls_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = owner_of_all(&pgmap)?;

        for order in [1, 5, Order::PMD_ORDER + 1] {
            check_eq!(file.fault_of(3, order)?, vm_fault::FALLBACK);
            check_eq!(file.asked(), 0);
            check!(file.file.mapping().is_empty());
            let finished = file.with_fault(3, Order::Pte, true, |fault| {
                fsdax::finish_sync_fault(fault, order, pgmap.pfn(3))
            })?;
            check_eq!(finished, vm_fault::FALLBACK);
            check_eq!(file.synced(), (0, 0));
        }
        Ok(())
    }

    #[test]
    fn r20_no_page_of_zeroes_has_1_gib() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = owner_of_all(&pgmap)?;
        let zero = |order: Order| {
            file.with_fault(0, order, false, |fault| {
                fault.zero_page(order).map(|zero| zero.entry())
            })
        };

        let page = zero(Order::Pte)?.ok_or(ENOENT)?;
        check_eq!((page.kind(), page.order()), (Kind::Zero, Order::Pte));
        check_eq!(zero(Order::Pud)?, None);
        Ok(())
    }

    #[test]
    fn r1_a_fault_of_a_device_leaves_nothing_that_is_not_mapped() -> Result {
        let pgmap = TestPgmap::new()?;
        let device = owner_of_all(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;
        let fault = |index: usize, order: Order, named: u32| {
            device.with_fault(index, order, false, |fault| {
                fsdax::device_fault(fault, named, pgmap.pfn(index))
            })
        };

        // There are no such pages.
        check_eq!(fault(0, Order::Pte, 5)?, vm_fault::FALLBACK);
        // It gets the page, and cannot be mapped.
        check_eq!(fault(0, Order::Pte, 0)?, vm_fault::SIGBUS);
        check!(device.file.mapping().is_empty());
        check_eq!((pgmap.is_idle(0), pgmap.active()), (true, 0));
        // The page is somebody else's.
        other.insert(3, 3, Order::Pte)?;
        check_eq!(fault(3, Order::Pte, 0)?, vm_fault::SIGBUS);
        check!(device.file.mapping().is_empty());
        // A page of the device is in the way.
        device.file.insert(0, 0, Order::Pte)?;
        check_eq!(fault(0, Order::Pmd, Order::PMD_ORDER)?, vm_fault::SIGBUS);
        check_eq!(device.file.kind(0), Some(Kind::Tracked));
        Ok(())
    }

    #[test]
    fn r7_a_pinned_page_of_a_device_goes_when_it_is_unmapped_again() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        for _ in 0..2 {
            fsdax::device_unmapped(file.mapping(), pages(0, 0));
            check_eq!(file.kind(0), Some(Kind::Zapped));
        }
        drop(pin);
        fsdax::device_unmapped(file.mapping(), pages(0, 0));
        check!(file.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }
}
