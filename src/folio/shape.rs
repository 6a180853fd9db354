// SPDX-License-Identifier: GPL-2.0

//! The shape of a folio: one page, or a head with its tails.
//!
//! Rules: R1, R3.

use super::state::{
    owner_mark,
    Folio, //
};
use crate::{
    ffi::{
        bindings,
        compat::{
            smp_mb,
            smp_wmb, //
        }, //
    },
    pgmap::Order, //
};

/// The number of pages that `struct folio` lies over. Of the others `prep_compound_page()` writes
/// no more than the mapping, the head and the private word, which it sets to 0.
const FOLIO_PAGES: usize = 4;

/// How many pages [`Folio::are_free`] looks at before it decides.
const PAGES_AT_ONCE: usize = 8;

// Else a large entry would not be what a PMD maps, and a folio lock not cover a folio.
kernel::static_assert!(bindings::RUST_FSDAX_PMD_ORDER == Order::PMD_ORDER);

impl Folio<'_> {
    /// Whether this page is free: part of no active or draining folio, and of no file.
    #[cfg(RUST_FSDAX_KUNIT)]
    pub(crate) fn is_free(self) -> bool {
        // SAFETY: The folio of one page is this one, which is in its own memmap.
        unsafe { self.are_free(Order::Pte) }
    }

    /// Whether all pages of a folio of `order` are free that would start here.
    ///
    /// # Safety
    ///
    /// They are in one range of a pgmap.
    #[inline(always)]
    pub(super) unsafe fn are_free(self, order: Order) -> bool {
        let free = !self.page().is_head()
            && match order {
                // SAFETY: One page, this one.
                Order::Pte => unsafe { self.are_unused::<1>(0) },
                // SAFETY: The caller promises that all pages of the order are in one range.
                Order::Pmd => unsafe { self.are_all_unused() },
            };
        // Whoever sees a page free sees what the free path has reset, and writes after it.
        smp_mb();
        free
    }

    /// Whether all pages of a PMD are unused that begins here.
    ///
    /// # Safety
    ///
    /// They are in one range of a pgmap.
    #[inline(never)]
    unsafe fn are_all_unused(self) -> bool {
        (0..Order::Pmd.pages())
            .step_by(PAGES_AT_ONCE)
            // SAFETY: The caller promises that all pages of the PMD are in one range.
            .all(|i| unsafe { self.are_unused::<PAGES_AT_ONCE>(i) })
    }

    /// Whether `N` pages from the `first` behind this on are neither in use nor draining, nor tails.
    ///
    /// This is all there is to see of a free page but the flag of a head, whose tails are seen.
    ///
    /// # Safety
    ///
    /// They are in one range of a pgmap.
    #[inline(always)]
    unsafe fn are_unused<const N: usize>(self, first: usize) -> bool {
        // Without a branch for each page.
        let (mut counts, mut words, mut heads, mut ours) = (0, 0, 0, false);

        for i in first..first + N {
            // SAFETY: The caller promises that these pages are in the range.
            let page = unsafe { self.page().behind(i) };
            // A page that is not free may change under us.
            counts |= page.count();
            words |= page.mapping();
            heads |= page.pgmap_word();
            ours |= page.owner_unordered() == owner_mark();
        }
        // A tail page has a count of 0 and no mark, but belongs to its head.
        counts == 0 && words == 0 && heads & 1 == 0 && !ours
    }

    /// Makes a large folio of free pages.
    ///
    /// # Safety
    ///
    /// All pages of the folio are free and the caller's alone.
    pub(super) unsafe fn make_large(self, order: Order) {
        // SAFETY: The caller promises that nobody else looks at the pages.
        unsafe { bindings::rust_fsdax_prep_compound_page(self.page().as_raw(), order.get()) };
    }

    /// Makes pages of a large folio.
    ///
    /// # Safety
    ///
    /// The folio is draining, has `nr` pages, which are more than one, and `pgmap` is its pgmap.
    pub(super) unsafe fn make_small(self, nr: usize, pgmap: *mut bindings::dev_pagemap) {
        // SAFETY: The caller promises that the folio is draining.
        unsafe { bindings::rust_fsdax_reset_head(self.page().as_raw().cast()) };
        for i in 1..nr {
            // SAFETY: The caller promises that the folio has so many pages.
            let page = unsafe { self.page().behind(i) };
            // SAFETY: The fields of all pages of a draining folio are those of the free path.
            let page = unsafe { page.own() };
            if i < FOLIO_PAGES {
                page.clear_owner();
                page.set_index(0);
                page.set_private(0);
            }
            page.set_mapping(0);
        }
        // A tail page is free as soon as it points to the pgmap instead of its head.
        smp_wmb();
        for i in 1..nr {
            // SAFETY: The caller promises that the folio has so many pages.
            let page = unsafe { self.page().behind(i) };
            // SAFETY: The fields of all pages of a draining folio are those of the free path.
            unsafe { page.own() }.set_pgmap(pgmap);
        }
    }
}
