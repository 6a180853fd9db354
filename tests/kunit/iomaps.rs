// SPDX-License-Identifier: GPL-2.0

//! What faults ask the filesystem for, and what they tell it afterwards.
//!
//! Rules: none, the filesystem allocates, journals and takes back by what it is told.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_iomap)]
mod tests {
    use super::*;
    use crate::{
        ffi::{
            bindings::{
                self,
                PAGE_SIZE, //
            },
            vm_fault, //
        },
        kunit::{
            faulting::{
                About,
                Extent,
                Faulted,
                VM_SYNC, //
            },
            fixture::{
                TestPgmap,
                PMD, //
            }, //
        },
        mapping::{
            Block,
            Kind,
            Range, //
        },
        pgmap::{
            DeviceReadGuard,
            Order, //
        }, //
    };

    const PAGE: i64 = PAGE_SIZE as i64;
    const LOAD: u32 = bindings::IOMAP_DAX | bindings::IOMAP_FAULT;
    const STORE: u32 = LOAD | bindings::IOMAP_WRITE;

    #[test]
    fn a_fault_that_made_a_block_is_a_major_one_unless_it_fails() -> Result {
        let pgmap = TestPgmap::new()?;
        let extent = Extent {
            new: true,
            ..Extent::default()
        };
        let faulted = Faulted::new(&pgmap, extent)?;

        // It cannot be mapped.
        check_eq!(faulted.fault(3, Order::Pte, false)?, (vm_fault::SIGBUS, 0));
        check_eq!(
            faulted.fault(5, Order::Pte, true)?,
            (vm_fault::NEEDDSYNC | vm_fault::MAJOR, 0)
        );
        check_eq!(faulted.file.break_now(Range::ALL), Ok(()));
        // Nobody counts these.
        let ret = faulted.fault(0, Order::Pmd, true)?;
        check_eq!(ret, (vm_fault::NEEDDSYNC, 0));
        Ok(())
    }

    #[test]
    fn what_a_fault_asks_for_is_ended_once() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = Faulted::new(&pgmap, Extent::default())?;
        let asked = || (faulted.asked(), faulted.ended());

        // It cannot be mapped.
        check_eq!(faulted.fault(3, Order::Pte, false)?, (vm_fault::SIGBUS, 0));
        check_eq!(asked(), (1, 1));
        let ret = faulted.fault(5, Order::Pte, true)?;
        check_eq!(ret, (vm_fault::NEEDDSYNC, 0));
        check_eq!(asked(), (2, 2));
        Ok(())
    }

    #[test]
    fn a_fault_asks_for_its_pages_and_says_what_it_used() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = Faulted::new(&pgmap, Extent::default())?;

        // It cannot be mapped, and uses nothing.
        check_eq!(faulted.fault(3, Order::Pte, false)?, (vm_fault::SIGBUS, 0));
        check_eq!(faulted.begun(), (3 * PAGE, PAGE, LOAD));
        check_eq!(faulted.used(), 0);

        check_eq!(
            faulted.fault(5, Order::Pte, true)?,
            (vm_fault::NEEDDSYNC, 0)
        );
        check_eq!(faulted.begun(), (5 * PAGE, PAGE, STORE));
        check_eq!(faulted.used(), PAGE);
        Ok(())
    }

    #[test]
    fn a_huge_fault_asks_for_all_of_it() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = Faulted::new(&pgmap, Extent::default())?;

        check_eq!(
            faulted.fault(5, Order::Pmd, true)?,
            (vm_fault::NEEDDSYNC, 0)
        );
        check_eq!(faulted.begun(), (0, PMD as i64 * PAGE, STORE));
        check_eq!(faulted.used(), PMD as i64 * PAGE);
        Ok(())
    }

    #[test]
    fn a_huge_fault_falls_back_unless_vma_and_file_have_all_of_it() -> Result {
        const SIZE: usize = PMD * PAGE_SIZE;

        let pgmap = TestPgmap::new()?;
        let faulted = Faulted::new(&pgmap, Extent::default())?;
        let fits = About {
            address: 4 * SIZE + 5 * PAGE_SIZE,
            bounds: (4 * SIZE, 5 * SIZE),
            ..About::new(5, Order::Pmd, true)
        };
        let end = 5 * SIZE - PAGE_SIZE;
        let wrong = [
            About {
                address: fits.address + PAGE_SIZE,
                ..fits
            },
            About {
                vm_flags: VM_SYNC,
                ..fits
            },
            About {
                bounds: (4 * SIZE + PAGE_SIZE, 5 * SIZE + PAGE_SIZE),
                ..fits
            },
            About {
                bounds: (4 * SIZE, end),
                ..fits
            },
        ];

        faulted.file.set_pages(PMD as i64);
        for about in wrong {
            check_eq!(faulted.store_huge(about)?, vm_fault::FALLBACK);
        }
        check_eq!(faulted.asked(), 0);
        check!(faulted.file.mapping().is_empty());
        check_eq!(faulted.store_huge(fits)?, vm_fault::NEEDDSYNC);
        check_eq!(faulted.file.break_now(Range::ALL), Ok(()));
        faulted.file.set_pages(PMD as i64 - 1);
        check_eq!(faulted.store_huge(fits)?, vm_fault::FALLBACK);
        check_eq!(faulted.asked(), 1);
        Ok(())
    }

    #[test]
    fn the_last_page_may_be_a_part_of_one() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = Faulted::new(&pgmap, Extent::default())?;

        for (bytes, pages) in [(3 * PAGE + 1, 4), (4 * PAGE - 1, 4), (4 * PAGE, 4), (1, 1)] {
            faulted.file.set_bytes(bytes);
            let asked = faulted.asked();
            check_eq!(
                faulted.fault(pages - 1, Order::Pte, true)?,
                (vm_fault::NEEDDSYNC, 0)
            );
            check_eq!(faulted.asked(), asked + 1);
            // What is behind it is not asked for.
            check_eq!(
                faulted.fault(pages, Order::Pte, true)?,
                (vm_fault::SIGBUS, 0)
            );
            check_eq!(faulted.asked(), asked + 1);
            check!(faulted.file.kind(pages).is_none());
        }
        Ok(())
    }

    #[test]
    fn what_has_ended_is_not_asked_for_again() -> Result {
        let pgmap = TestPgmap::new()?;
        let error = EIO.to_errno();

        for extent in [
            Extent::default(),
            Extent {
                error,
                ..Extent::default()
            },
        ] {
            let faulted = Faulted::new(&pgmap, extent)?;
            faulted.with_extents(3, 1, |extents| {
                if extent.error == 0 {
                    // Nothing is done with it.
                    check!(extents.next().is_some());
                }
                for _ in 0..2 {
                    check!(extents.next().is_none());
                    check_eq!((faulted.asked(), extents.error()), (1, extent.error));
                }
                Ok(())
            })?;
            check_eq!(faulted.asked(), 1);
        }
        Ok(())
    }

    #[test]
    fn there_is_a_block_a_hole_or_nothing_for_a_fault() -> Result {
        let pgmap = TestPgmap::new()?;

        for (of_type, block) in [
            (bindings::IOMAP_HOLE, Block::Hole),
            (bindings::IOMAP_UNWRITTEN, Block::Hole),
            (bindings::IOMAP_MAPPED, Block::Mapped),
            (bindings::IOMAP_DELALLOC, Block::Other),
            (bindings::IOMAP_INLINE, Block::Other),
        ] {
            let extent = Extent {
                of_type: Some(of_type),
                ..Extent::default()
            };
            let faulted = Faulted::new(&pgmap, extent)?;
            let found =
                faulted.with_extents(3, 1, |extents| extents.next().map(|extent| extent.block()));
            check_eq!(found, Some(block));
        }
        Ok(())
    }

    #[test]
    fn r21_a_reference_is_one_for_what_the_device_gave() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = Faulted::new(&pgmap, Extent::default())?;
        let guard = DeviceReadGuard::new();

        faulted.with_extents(0, 4, |extents| {
            let mut extent = extents.next().ok_or(ENOENT)?;
            let piece = extent.piece(&guard, 3)?;
            check_eq!(piece.pages(), 3);
            check_eq!(piece.reference(2)?.pfn(), pgmap.pfn(2));
            for n in [3, PMD] {
                check_eq!(piece.reference(n).err(), Some(ERANGE));
            }
            let memory = extent.memory(&guard)?;
            let whole = memory.reference(pgmap.pfn(0), Order::Pmd)?;
            check_eq!((whole.pfn(), whole.order()), (pgmap.pfn(0), Order::Pmd));
            // Neither aligned nor all of the device's, and one that is behind it.
            for pfn in [pgmap.pfn(1), pgmap.pfn(PMD)] {
                check_eq!(memory.reference(pfn, Order::Pmd).err(), Some(ERANGE));
            }
            Ok(())
        })?;
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    /// Faults that follow in the neighbourhood find a node.
    #[test]
    fn a_copy_that_fails_leaves_the_entry_that_it_has_locked() -> Result {
        let pgmap = TestPgmap::new()?;
        let extent = Extent {
            error: EIO.to_errno(),
            ..Extent::default()
        };
        let faulted = Faulted::new(&pgmap, extent)?;

        check_eq!(faulted.fail_to_copy(3)?, vm_fault::SIGBUS);
        check_eq!(faulted.file.kind(3), Some(Kind::Empty));
        Ok(())
    }
}
