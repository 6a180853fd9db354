// SPDX-License-Identifier: GPL-2.0

//! References to a pgmap.
//!
//! Rules: R1, R2.

use core::{
    ops::Deref,
    ptr::NonNull, //
};

use kernel::prelude::*;

use super::{
    order::Order,
    page::Page,
    ranges::Pgmap, //
};
use crate::ffi::{
    bindings,
    inject::{
        self,
        Point, //
    },
    safe, //
};

/// One reference to the pgmap of a folio.
///
/// # Invariants
///
/// Owns one count of `pgmap->ref`, and the pages of a folio of `order` at `pfn` are in one of its
/// ranges. Hence the pgmap and the memmap of all its pfns stay. Unless it is in a [`LookRef`] it was
/// not dying when the reference was taken.
pub(crate) struct PgmapRef {
    pgmap: NonNull<bindings::dev_pagemap>,
    pfn: usize,
    order: Order,
}

impl PgmapRef {
    /// Takes a reference for the folio of `order` at `pfn`, unless the pgmap is dying.
    ///
    /// # Safety
    ///
    /// The pages of that folio are in one range of `pgmap`.
    #[inline(always)]
    unsafe fn take(pgmap: &Pgmap, pfn: usize, order: Order) -> Option<Self> {
        if inject::fails(Point::Live) {
            return None;
        }
        // SAFETY: By the invariant of `Pgmap` it is initialized.
        if !unsafe { bindings::rust_fsdax_pgmap_tryget_live(pgmap.as_raw()) } {
            return None;
        }
        // INVARIANT: The reference was just taken, and the caller promises the rest.
        NonNull::new(pgmap.as_raw()).map(|pgmap| Self { pgmap, pfn, order })
    }

    /// A reference for the folio of `order` at `offset` into `pgmap`.
    ///
    /// # Errors
    ///
    /// - `EINVAL`, `ERANGE`: as [`Pgmap::pfn_at`].
    /// - `ENXIO`: the pgmap is dying.
    ///
    /// Any context.
    pub(crate) fn at(pgmap: &Pgmap, offset: usize, order: Order) -> Result<Self> {
        let pfn = pgmap.pfn_at(offset, order)?;
        // SAFETY: `pfn_at` found these pages in one range.
        unsafe { Self::take(pgmap, pfn, order) }.ok_or(ENXIO)
    }

    /// The pgmap of `pfn`, to request a folio of `order` from it.
    ///
    /// # Errors
    ///
    /// - `ENXIO`: there is no pgmap, or it is dying.
    /// - `ERANGE`: the pages are not all FS_DAX memory of one range, or not aligned.
    ///
    /// Any context. Follows `get_dev_pagemap()`.
    pub(crate) fn live(pfn: usize, order: Order) -> Result<Self> {
        let pgmap = NonNull::new(safe::get_dev_pagemap(pfn)).ok_or(ENXIO)?;
        // INVARIANT: `get_dev_pagemap` took a reference to the pgmap with this pfn.
        let mut found = Self {
            pgmap,
            pfn,
            order: Order::Pte,
        };
        if !found.as_pgmap().contains(pfn, order) {
            return Err(ERANGE);
        }
        // INVARIANT: Just checked.
        found.order = order;
        Ok(found)
    }

    /// The same for a page that a DAX device gave access to, without a look-up.
    ///
    /// # Errors
    ///
    /// As [`Self::live`].
    ///
    /// # Safety
    ///
    /// `page_pfn` has a memmap and an FS_DAX pgmap, which are not freed during the call.
    #[inline(always)]
    pub(super) unsafe fn live_of_page(page_pfn: usize, pfn: usize, order: Order) -> Result<Self> {
        // SAFETY: The caller promises that the page has a pgmap.
        let raw = unsafe { bindings::rust_fsdax_pfn_pgmap(page_pfn) };
        // SAFETY: The caller promises that it is not freed during the call.
        let pgmap = unsafe { Pgmap::from_raw(raw) };
        // A page is all in one range of its pgmap.
        if (pfn, order) != (page_pfn, Order::Pte) && !pgmap.contains(pfn, order) {
            return Err(ERANGE);
        }
        // SAFETY: Just checked, or the page itself.
        unsafe { Self::take(pgmap, pfn, order) }.ok_or(ENXIO)
    }

    /// The pgmap of `pfn`, to look at a folio that may have become idle.
    ///
    /// Also succeeds while the pgmap is dying. `None` means that no reference to it is left, so
    /// that no folio in it is active. Any context.
    pub(crate) fn dying_or_live(pfn: usize) -> Option<LookRef> {
        // INVARIANT: `tryget_dev_pagemap` took a reference if it found a pgmap with this pfn.
        NonNull::new(safe::rust_fsdax_tryget_dev_pagemap(pfn)).map(|pgmap| {
            LookRef(Self {
                pgmap,
                pfn,
                order: Order::Pte,
            })
        })
    }

    /// The pgmap.
    pub(crate) fn as_pgmap(&self) -> &Pgmap {
        // SAFETY: By the type invariant the pgmap stays while `self` does.
        unsafe { Pgmap::from_raw(self.pgmap.as_ptr()) }
    }

    /// The first pfn of the folio.
    pub(crate) fn pfn(&self) -> usize {
        self.pfn
    }

    /// The order that was asked for.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// The page at the pfn, whose memmap stays while `self` is borrowed.
    pub(crate) fn page(&self) -> Page<'_> {
        // SAFETY: By the type invariant the pfn has a memmap, which stays.
        unsafe { Page::from_pfn(self.pfn) }
    }

    /// The page with this pfn, if it is one of the folio.
    pub(crate) fn page_at(&self, pfn: usize) -> Option<Page<'_>> {
        if self.order.align(pfn) != self.pfn {
            return None;
        }
        // SAFETY: By the type invariant all pages of the folio are in one range.
        Some(unsafe { self.page().behind(pfn - self.pfn) })
    }

    /// Leaves the reference to the folio, whose free path [puts](put) it.
    pub(crate) fn into_folio(self) {
        core::mem::forget(self);
    }
}

impl Drop for PgmapRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to put.
        unsafe { put(self.pgmap.as_ptr()) }
    }
}

/// A reference to the pgmap of a page, which may be dying: to look at a folio, and not to request one.
pub(crate) struct LookRef(PgmapRef);

impl Deref for LookRef {
    type Target = PgmapRef;

    fn deref(&self) -> &PgmapRef {
        &self.0
    }
}

/// Puts a reference to `pgmap`, which may be freed. Any context.
///
/// # Safety
///
/// The caller owns one.
pub(crate) unsafe fn put(pgmap: *mut bindings::dev_pagemap) {
    // SAFETY: The caller owns the reference.
    unsafe { bindings::rust_fsdax_pgmap_put(pgmap) }
}
