// SPDX-License-Identifier: GPL-2.0

//! `struct dev_pagemap`: which pfns it has.
//!
//! Rules: R1, R14.

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    ptr::project,
    types::Opaque, //
};

use super::{
    order::Order,
    page::Page, //
};
use crate::ffi::{
    bindings,
    sleep,
    PAGE_SHIFT, //
};

/// A `struct dev_pagemap` that cannot go away while it is borrowed.
///
/// | `pgmap->ref`  | meaning                                                             |
/// |---------------|---------------------------------------------------------------------|
/// | live, n > 0   | folios may be requested                                             |
/// | dying, n > 0  | `memunmap_pages()` waits for n holders; active folios are among them |
/// | 0             | no folio is active, the memmap may go at any time                   |
///
/// # Invariants
///
/// A borrowed one is initialized, and is neither unmapped nor freed: its memmap stays, and its type
/// and ranges are constant.
#[repr(transparent)]
pub(crate) struct Pgmap(Opaque<bindings::dev_pagemap>);

impl Pgmap {
    /// Borrows a C pgmap.
    ///
    /// # Safety
    ///
    /// `pgmap` points to an initialized pgmap that is not unmapped or freed during `'a`.
    pub(crate) unsafe fn from_raw<'a>(pgmap: *mut bindings::dev_pagemap) -> &'a Self {
        // SAFETY: `Pgmap` is transparent over `dev_pagemap`, and the caller promises that this is
        // one which stays.
        // INVARIANT: What the caller promises.
        unsafe { &*pgmap.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::dev_pagemap {
        self.0.get()
    }

    /// Whether its folios are the owner's, if they may have `order`.
    fn has_folios_of(&self, order: Order) -> bool {
        // SAFETY: By the type invariant the pgmap is initialized, and this is constant.
        let owned = unsafe { bindings::rust_fsdax_pgmap_is_owned(self.as_raw()) };
        owned && (!self.is_fixed() || self.fixed_order() == order.get() as usize)
    }

    /// The order that all its folios have for good, or 0.
    fn fixed_order(&self) -> usize {
        // SAFETY: By the type invariant the pgmap is initialized, and this is constant.
        unsafe { (*self.as_raw()).vmemmap_shift }
    }

    /// Whether its folios have the shape that they were mapped with: tails share their memory, and
    /// cannot be made pages.
    pub(crate) fn is_fixed(&self) -> bool {
        self.fixed_order() != 0
    }

    /// The pfns of each range, without the head that an altmap reserves.
    ///
    /// Follows `pfn_first()` and `pfn_end()` of `mm/memremap.c`.
    fn ranges(&self) -> impl Iterator<Item = core::ops::Range<usize>> + '_ {
        let raw = self.as_raw();
        // SAFETY: By the type invariant the pgmap is initialized and this is constant.
        let nr = unsafe { (*raw).nr_range };
        // SAFETY: By the type invariant the pgmap is initialized, and its altmap with it.
        let head = unsafe { bindings::rust_fsdax_pgmap_head(raw) };
        // `range` is the first element of the flexible array `ranges`.
        let first: *const bindings::range = project!(raw, .__bindgen_anon_1).cast();
        // SAFETY: By the type invariant the array has `nr` elements, which are constant and stay
        // while `self` is borrowed.
        let ranges =
            unsafe { core::slice::from_raw_parts(first, usize::try_from(nr).unwrap_or(0)) };
        ranges.iter().enumerate().map(move |(i, range)| {
            let skip = if i == 0 { head } else { 0 };
            let first = (range.start as usize >> PAGE_SHIFT) + skip;
            first..(range.end as usize + 1) >> PAGE_SHIFT
        })
    }

    /// The pfn of the folio of `order` at `offset`.
    ///
    /// `offset` counts pages over all ranges, without the head of the first range that an altmap
    /// reserves.
    ///
    /// # Errors
    ///
    /// - `ERANGE`: `offset` is behind the last range, or the folio would cross the end of one.
    /// - `EINVAL`: the folio would not be naturally aligned, or the pgmap has none of that order,
    ///   or is of another type.
    ///
    /// Any context.
    pub(crate) fn pfn_at(&self, offset: usize, order: Order) -> Result<usize> {
        if !self.has_folios_of(order) {
            return Err(EINVAL);
        }
        let mut left = offset;

        for pfns in self.ranges() {
            let (first, len) = (pfns.start, pfns.len());
            if left < len {
                let pfn = first + left;
                if order.align(pfn) != pfn {
                    return Err(EINVAL);
                }
                if len - left < order.pages() {
                    return Err(ERANGE);
                }
                return Ok(pfn);
            }
            left -= len;
        }
        Err(ERANGE)
    }

    /// The lowest pfn of its first range that can be part of a folio.
    pub(crate) fn first_pfn(&self) -> usize {
        self.ranges().next().map_or(0, |pfns| pfns.start)
    }

    /// The highest pfn of its last range.
    pub(crate) fn last_pfn(&self) -> usize {
        self.ranges()
            .last()
            .map_or(0, |pfns| pfns.end.saturating_sub(1))
    }

    /// How many references to a dying pgmap there are beyond those of its pages: active folios, and
    /// whoever looks at one.
    ///
    /// `None` for a live one, and for a moment after it was killed. Any context.
    pub(crate) fn held(&self) -> Option<usize> {
        // SAFETY: By the type invariant the pgmap is initialized, and so is its count.
        let count = unsafe { bindings::rust_fsdax_pgmap_count(self.as_raw()) };
        // SAFETY: By the type invariant the pgmap is initialized and this is constant.
        let shift = unsafe { (*self.as_raw()).vmemmap_shift };
        // As `memremap_pages()` counts them.
        let pages: usize = self.ranges().map(|pfns| pfns.len() >> shift).sum();

        usize::try_from(count).ok()?.checked_sub(pages)
    }

    /// Address to sleep on until a folio of another module is let go.
    pub(crate) fn wait_address(&self) -> sleep::Address {
        sleep::Address::of(self.as_raw())
    }

    /// Whether `pfn` is one of them.
    pub(crate) fn has(&self, pfn: usize) -> bool {
        self.ranges().any(|pfns| pfns.contains(&pfn))
    }

    /// The page at `pfn`, if it is one of them.
    pub(crate) fn page(&self, pfn: usize) -> Option<Page<'_>> {
        if !self.has(pfn) {
            return None;
        }
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::look();
        // SAFETY: The pgmap has the pfn, so that it has a memmap, which stays by the type invariant:
        // `memunmap_pages()` frees it last.
        Some(unsafe { Page::from_pfn(pfn) })
    }

    /// The first page of each folio of `order` that there can be.
    pub(crate) fn pages_of(&self, order: Order) -> impl Iterator<Item = Page<'_>> {
        self.ranges().flat_map(move |pfns| {
            let first = order.align(pfns.start + order.pages() - 1);
            (first..(pfns.end + 1).saturating_sub(order.pages()))
                .step_by(order.pages())
                // SAFETY: It is in a range of the pgmap, so that it has a memmap, which stays by the
                // type invariant.
                .map(|pfn| unsafe { Page::from_pfn(pfn) })
        })
    }

    /// Notes that free memory of it may be in large folios from now on, as long as it is mapped. Any
    /// context.
    pub(crate) fn set_shaped(&self) {
        let flags = project!(mut self.as_raw(), .flags);
        // SAFETY: By the type invariant the pgmap stays. Nothing else changes its flags before
        // `memunmap_pages()` has waited for all references, and who writes them here at the same
        // time writes the same.
        let was = unsafe { flags.read_volatile() };
        if was & bindings::RUST_FSDAX_PGMAP_SHAPED == 0 {
            // SAFETY: As long as nothing else changes them, which it says above, this sets one bit.
            unsafe { flags.write_volatile(was | bindings::RUST_FSDAX_PGMAP_SHAPED) };
        }
    }

    /// Calls `f` for each pgmap that [`Self::set_shaped`] was called for and that gives out
    /// references. It may be more than once for the same. Process context, may sleep if `f` does.
    pub(crate) fn for_each_shaped(mut f: impl FnMut(&Pgmap)) {
        let mut pfn = 0;
        let mut next = || {
            // SAFETY: `pfn` is a place for a number, and all else is looked at under RCU.
            NonNull::new(unsafe { bindings::rust_fsdax_next_dev_pagemap(&mut pfn) })
        };

        while let Some(pgmap) = next() {
            // SAFETY: `next_dev_pagemap()` took a reference, which is put below, to a pgmap of which
            // somebody has had a folio: it was initialized before.
            f(unsafe { Self::from_raw(pgmap.as_ptr()) });
            // SAFETY: `next_dev_pagemap()` took the reference, and `f` has returned.
            unsafe { bindings::rust_fsdax_pgmap_put(pgmap.as_ptr()) };
        }
    }

    /// Whether the pages of a folio of `order` at `pfn` are FS_DAX memory of one range, aligned.
    // Out of line, since most faults do not need it.
    #[inline(never)]
    pub(super) fn contains(&self, pfn: usize, order: Order) -> bool {
        self.has_folios_of(order)
            && order.align(pfn) == pfn
            && self
                .ranges()
                .any(|pfns| pfns.contains(&pfn) && order.pages() <= pfns.end - pfn)
    }
}
