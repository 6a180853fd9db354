// SPDX-License-Identifier: GPL-2.0

//! Stores to a mapping with `MAP_SYNC`, which go on when the file was synced.
//!
//! Rules: R7, R9.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_sync)]
mod tests {
    use kernel::sync::Arc;

    use super::*;
    use crate::{
        ffi::{
            bindings::PAGE_SIZE,
            vm_fault, //
        },
        kunit::{
            faulting::{
                Extent,
                Faulted, //
            },
            fixture::{
                pages,
                TestPgmap,
                PMD, //
            }, //
        },
        mapping::{
            sleeping,
            Kind,
            Mark, //
        },
        pgmap::Order, //
    };

    /// A file whose page at `index` has been stored to, but for the sync.
    fn stored(pgmap: &Arc<TestPgmap>, index: usize, sync_error: i32) -> Result<Arc<Faulted>> {
        let extent = Extent {
            sync_error,
            ..Extent::default()
        };
        let faulted = Faulted::new(pgmap, extent)?;

        check_eq!(
            faulted.fault(index, Order::Pte, true)?,
            (vm_fault::NEEDDSYNC, 0)
        );
        check_eq!(faulted.file.kind(index), Some(Kind::Tracked));
        check!(!is_known_dirty(&faulted, index));
        Ok(faulted)
    }

    fn is_known_dirty(faulted: &Faulted, index: usize) -> bool {
        faulted.file.has(index, Mark::Dirty) || faulted.file.is_dirty()
    }

    /// The first and the last byte of so many pages.
    fn bytes(first: usize, count: usize) -> (i64, i64) {
        let at = |page: usize| (page * PAGE_SIZE) as i64;
        (at(first), at(first + count) - 1)
    }

    #[test]
    fn r9_a_store_is_marked_and_known_to_writeback() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = stored(&pgmap, 3, 0)?;

        // All is well but that it cannot be mapped.
        check_eq!(
            faulted.finish(3, Order::Pte, pgmap.pfn(3))?,
            vm_fault::SIGBUS
        );
        check_eq!(faulted.synced(), bytes(3, 1));
        check!(faulted.file.has(3, Mark::Dirty));
        check!(faulted.file.is_dirty());
        check!(!faulted.file.has(3, Mark::Busy));
        Ok(())
    }

    #[test]
    fn r7_a_store_is_marked_for_a_break_that_sleeps() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = stored(&pgmap, 3, 0)?;

        sleeping(faulted.file.mapping(), || {
            faulted.finish(3, Order::Pte, pgmap.pfn(3))
        })?;
        check!(faulted.file.has(3, Mark::Busy));
        Ok(())
    }

    #[test]
    fn r9_a_store_to_a_part_marks_the_whole() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = Faulted::new(&pgmap, Extent::default())?;
        faulted.file.insert(0, 0, Order::Pmd)?;

        // Another page than that of the fault.
        check_eq!(
            faulted.finish(7, Order::Pte, pgmap.pfn(8))?,
            vm_fault::NOPAGE
        );
        check!(!is_known_dirty(&faulted, 0));
        check_eq!(
            faulted.finish(7, Order::Pte, pgmap.pfn(7))?,
            vm_fault::SIGBUS
        );
        check!(faulted.file.has(0, Mark::Dirty));
        Ok(())
    }

    #[test]
    fn r9_nothing_is_marked_if_the_sync_fails() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = stored(&pgmap, 3, EIO.to_errno())?;

        check_eq!(
            faulted.finish(3, Order::Pte, pgmap.pfn(3))?,
            vm_fault::SIGBUS
        );
        check!(!is_known_dirty(&faulted, 3));
        Ok(())
    }

    #[test]
    fn r7_what_changed_during_the_sync_is_faulted_again() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = stored(&pgmap, 3, 0)?;
        let pfn = pgmap.pfn(3);

        // Another block.
        check_eq!(faulted.finish(3, Order::Pte, pfn + 1)?, vm_fault::NOPAGE);
        check!(!is_known_dirty(&faulted, 3));
        // Zapped.
        let pin = pgmap.pin(3)?;
        check_eq!(faulted.file.break_now(pages(3, 3)), Err(ERESTARTSYS));
        check_eq!(faulted.finish(3, Order::Pte, pfn)?, vm_fault::NOPAGE);
        check!(!is_known_dirty(&faulted, 3));
        drop(pin);
        // Removed.
        check_eq!(faulted.file.break_now(pages(3, 3)), Ok(()));
        check_eq!(faulted.finish(3, Order::Pte, pfn)?, vm_fault::NOPAGE);
        check!(faulted.file.mapping().is_empty());
        check!(!faulted.file.is_dirty());
        Ok(())
    }

    #[test]
    fn r7_a_folio_is_not_mapped_where_pages_are() -> Result {
        let pgmap = TestPgmap::new()?;
        let faulted = stored(&pgmap, 0, 0)?;

        check_eq!(
            faulted.finish(5, Order::Pmd, pgmap.pfn(0))?,
            vm_fault::NOPAGE
        );
        check_eq!(faulted.synced(), bytes(0, PMD));
        check!(!is_known_dirty(&faulted, 0));
        Ok(())
    }
}
