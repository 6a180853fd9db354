// SPDX-License-Identifier: GPL-2.0

//! Device memory of all types by its offset: `linux/pgmap.h`, of the series.
//!
//! Rules: R1, R19.

use core::mem::MaybeUninit;

use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    prelude::*, //
};

use super::{
    fixture::{
        Layout,
        TestPgmap,
        PMD, //
    },
    thread::wait_until, //
};
use crate::{
    ffi::bindings,
    pgmap::Order, //
};

// As the structures of the kernel are for bindgen's own declarations.
#[allow(improper_ctypes)]
extern "C" {
    fn pgmap_request_folio(
        pgmap: *mut bindings::dev_pagemap,
        offset: c_ulong,
        order: c_uint,
    ) -> *mut bindings::folio;
    fn pgmap_alloc_folios(
        pgmap: *mut bindings::dev_pagemap,
        offset: c_ulong,
        nr: c_ulong,
        folios: *mut *mut bindings::folio,
    ) -> c_int;
    fn pgmap_offset(folio: *const bindings::folio) -> c_ulong;
}

const LARGE: u32 = Order::PMD_ORDER;
const PAGES: usize = 2 * PMD;
/// What a driver has, and its largest order.
const TYPES: [(Layout, u32); 2] = [(Layout::Coherent, 0), (Layout::Private, LARGE)];

fn unsupported() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

/// A folio of somebody who uses it, and unlocks it at the end if it is a driver's.
struct Used(*mut bindings::folio);

// SAFETY: A folio may be used and put by any thread.
unsafe impl Send for Used {}

impl Used {
    fn offset(&self) -> usize {
        // SAFETY: `self` has a reference.
        unsafe { pgmap_offset(self.0) }
    }

    fn order(&self) -> u32 {
        // SAFETY: `self` has a reference.
        unsafe { bindings::rust_fsdax_folio_order(self.0) }
    }

    fn locked(&self) -> bool {
        // SAFETY: `self` has a reference, and the flags are one word.
        let flags = unsafe { self.0.cast::<usize>().read_volatile() };
        flags & 1 << bindings::pageflags_PG_locked != 0
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        if self.locked() {
            // SAFETY: The request locked it for `self`.
            unsafe { bindings::folio_unlock(self.0) };
        }
        // SAFETY: `self` has a reference.
        unsafe { bindings::rust_fsdax_folio_put(self.0) }
    }
}

fn request(pgmap: &TestPgmap, offset: usize, order: u32) -> Result<Used> {
    // SAFETY: The pgmap stays as long as `pgmap`, and is dying or mapped: its memmap is looked at only
    // if it gives out references.
    from_err_ptr(unsafe { pgmap_request_folio(pgmap.raw(), offset, order) }).map(Used)
}

fn error_of(pgmap: &TestPgmap, offset: usize, order: u32) -> Option<Error> {
    request(pgmap, offset, order).err()
}

fn alloc(pgmap: &TestPgmap, offset: usize, nr: usize) -> Result<KVec<Used>> {
    let room = pgmap.pages();
    let mut found = KVec::<*mut bindings::folio>::with_capacity(room, GFP_KERNEL)?;
    let mut folios = KVec::with_capacity(room, GFP_KERNEL)?;
    let room: &mut [MaybeUninit<_>] = found.spare_capacity_mut();
    // SAFETY: The pgmap stays as long as `pgmap`, and there is room for all of its pages.
    let got = unsafe { pgmap_alloc_folios(pgmap.raw(), offset, nr, room.as_mut_ptr().cast()) };

    to_result(got)?;
    for folio in room.iter().take(got as usize) {
        // SAFETY: The function has written that many.
        folios.push(Used(unsafe { folio.assume_init() }), GFP_KERNEL)?;
    }
    Ok(folios)
}

#[kunit_tests(rust_fsdax_request)]
mod tests {
    use super::*;

    #[test]
    fn r19_folios_of_a_driver_are_locked_and_count_pages() -> Result {
        for (layout, largest) in TYPES {
            let pgmap = TestPgmap::with(layout)?;

            for (offset, order) in [(0, 0), (PAGES - 1, 0), (PMD, largest)] {
                let (before, pages) = (pgmap.freed().pages(), 1 << order);
                let folio = request(&pgmap, offset, order)?;

                check!(folio.locked());
                check_eq!((folio.offset(), folio.order()), (offset, order));
                check_eq!((pgmap.count(offset), pgmap.active()), (1, pages as isize));
                drop(folio);
                check_eq!((pgmap.count(offset), pgmap.active()), (0, 0));
                check_eq!(pgmap.freed().last(), offset);
                check_eq!(pgmap.freed().pages() - before, pages);
            }
        }
        Ok(())
    }

    #[test]
    fn r19_folios_of_fsdax_are_the_owners() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;

        for order in [0, LARGE] {
            let folio = request(&pgmap, PMD, order)?;
            check!(!folio.locked());
            check_eq!((folio.offset(), folio.order()), (PMD, order));
            check_eq!((pgmap.count(PMD), pgmap.active()), (1, 1));
            drop(folio);
            check_eq!((pgmap.count(PMD), pgmap.active()), (0, 0));
        }
        Ok(())
    }

    #[test]
    fn r19_offsets_count_over_ranges() -> Result {
        let pgmap = TestPgmap::with(Layout::Two)?;

        for offset in [0, PMD - 1, PMD, 3 * PMD - 1] {
            check_eq!(request(&pgmap, offset, 0)?.offset(), offset);
        }
        // They are of the same memory.
        drop(pgmap);
        let (reserve, free) = (3, 2 * PMD);
        let pgmap = TestPgmap::with(Layout::Altmap { reserve, free })?;
        check_eq!(request(&pgmap, 0, 0)?.offset(), 0);
        drop(pgmap);

        // By C code, which drivers get.
        let pgmap = TestPgmap::with(Layout::CoherentTwo)?;
        for offset in [0, PMD - 1, PMD, 3 * PMD - 1] {
            let folio = request(&pgmap, offset, 0)?;
            check_eq!(folio.offset(), offset);
            drop(folio);
            check_eq!(pgmap.freed().last(), offset);
        }
        check_eq!(error_of(&pgmap, 3 * PMD, 0), Some(ERANGE));
        check_eq!(alloc(&pgmap, PMD - 1, 2).err(), Some(ERANGE));
        Ok(())
    }

    #[test]
    fn r1_errors_of_all_types() -> Result {
        for layout in [Layout::One(2), Layout::Coherent, Layout::Private] {
            let pgmap = TestPgmap::with(layout)?;
            let largest = if matches!(layout, Layout::Coherent) {
                0
            } else {
                LARGE
            };

            for order in [1, 3, LARGE - 1, LARGE + 1, 64, u32::MAX] {
                check_eq!(error_of(&pgmap, 0, order), Some(EINVAL));
            }
            check_eq!(error_of(&pgmap, 1, LARGE), Some(EINVAL));
            check_eq!(error_of(&pgmap, PAGES, 0), Some(ERANGE));
            check_eq!(error_of(&pgmap, usize::MAX, 0), Some(ERANGE));
            check_eq!(error_of(&pgmap, PAGES, largest), Some(ERANGE));
            check_eq!(pgmap.active(), 0);

            let folio = request(&pgmap, PMD, largest)?;
            check_eq!(error_of(&pgmap, PMD, largest), Some(EBUSY));
            check_eq!(error_of(&pgmap, PMD, 0), Some(EBUSY));
            check_eq!(
                error_of(&pgmap, PAGES - 1, 0),
                (largest > 0).then_some(EBUSY)
            );
            let page = request(&pgmap, 5, 0)?;
            check_eq!(error_of(&pgmap, 5, 0), Some(EBUSY));
            if largest > 0 {
                check_eq!(error_of(&pgmap, 0, largest), Some(EBUSY));
            }
            drop(page);
            let unmap = pgmap.unmap()?;
            wait_until(|| !pgmap.is_live())?;
            check_eq!(error_of(&pgmap, 0, 0), Some(ENXIO));
            check_eq!(error_of(&pgmap, 0, largest), Some(ENXIO));
            check_eq!(alloc(&pgmap, 0, 3).err(), Some(ENXIO));
            drop(folio);
            unmap.join()?;
        }
        Ok(())
    }

    #[test]
    fn r19_a_type_that_nobody_serves_is_refused() -> Result {
        let pgmap = TestPgmap::with(Layout::Generic)?;
        let count = pgmap.count(0);

        check_eq!(error_of(&pgmap, 0, 0), Some(unsupported()));
        check_eq!(alloc(&pgmap, 0, 1).err(), Some(unsupported()));
        check_eq!(pgmap.count(0), count);
        Ok(())
    }

    /// What a page was part of before does not matter.
    #[test]
    fn r19_orders_follow_each_other_in_any_way() -> Result {
        let pgmap = TestPgmap::with(Layout::Private)?;

        for _ in 0..2 {
            drop(request(&pgmap, 0, LARGE)?);
            for offset in [0, 1, 2, 100, PMD - 1] {
                let page = request(&pgmap, offset, 0)?;
                check_eq!((page.offset(), page.order()), (offset, 0));
                // The page beside it is free, though both were of one folio.
                drop(request(&pgmap, offset ^ 1, 0)?);
                check_eq!(error_of(&pgmap, 0, LARGE), Some(EBUSY));
                drop(page);
                let folio = request(&pgmap, 0, LARGE)?;
                check_eq!(folio.order(), LARGE);
                check_eq!(error_of(&pgmap, offset, 0), Some(EBUSY));
            }
        }
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r19_a_range_is_as_few_folios_as_can_be() -> Result {
        for (layout, largest) in TYPES {
            let pgmap = TestPgmap::with(layout)?;

            for (offset, nr) in [
                (0, 1),
                (0, PAGES),
                (3, 1),
                (3, PMD - 3),
                (1, PAGES - 2),
                (1, PAGES - 1),
                (PMD - 1, 2),
                (PMD, PMD),
            ] {
                let folios = alloc(&pgmap, offset, nr)?;
                let mut next = offset;

                for folio in folios.iter() {
                    let large = largest > 0 && next % PMD == 0 && offset + nr - next >= PMD;

                    check_eq!(folio.offset(), next);
                    check_eq!(folio.order(), if large { largest } else { 0 });
                    check!(folio.locked());
                    next += 1 << folio.order();
                }
                check_eq!(next, offset + nr);
                check_eq!(pgmap.active(), nr as isize);
                drop(folios);
                check_eq!(pgmap.active(), 0);
            }
        }
        Ok(())
    }

    #[test]
    fn r19_a_range_of_fsdax_is_large_where_it_can_be() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let folios = alloc(&pgmap, PMD - 2, PMD + 2)?;

        check_eq!(folios.len(), 3);
        check_eq!(folios[2].order(), LARGE);
        check_eq!(pgmap.active(), 3);
        Ok(())
    }

    #[test]
    fn r19_a_range_is_had_in_whole_or_not_at_all() -> Result {
        for layout in [Layout::One(2), Layout::Coherent, Layout::Private] {
            let pgmap = TestPgmap::with(layout)?;

            check_eq!(alloc(&pgmap, 0, 0).err(), Some(EINVAL));
            check_eq!(alloc(&pgmap, 0, usize::MAX).err(), Some(EINVAL));
            check_eq!(alloc(&pgmap, 1, PAGES).err(), Some(ERANGE));
            check_eq!(alloc(&pgmap, usize::MAX, 2).err(), Some(ERANGE));
            for busy in [0, 7, PMD - 1, PMD, PAGES - 1] {
                let freed = pgmap.freed().pages();
                let page = request(&pgmap, busy, 0)?;
                let before = pgmap.active();

                check_eq!(alloc(&pgmap, 0, PAGES).err(), Some(EBUSY));
                check_eq!(pgmap.active(), before);
                // The driver never saw what it did not get.
                check_eq!(pgmap.freed().pages(), freed);
                drop(page);
            }
            check_eq!(alloc(&pgmap, 0, PAGES)?.is_empty(), false);
        }
        Ok(())
    }
}
