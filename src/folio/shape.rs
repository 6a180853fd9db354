// SPDX-License-Identifier: GPL-2.0

//! The shape of a folio: one page, or a head with its tails.
//!
//! Free memory keeps the shape that it was used in last. A request of the same order takes it as it
//! is; one of another order rebuilds it, and sees before that all pages concerned are free. Whoever
//! is not us expects single pages: [`dissolve`] is called before fs/dax.c gets the memory, for the
//! pgmaps that are marked as such ([`Pgmap::set_shaped`]).
//!
//! No word is kept anywhere but in the `struct page`s: a free large folio is known by the mark of
//! its head ([`super::Folio`] has the table), and its tails lead to the head.
//!
//! Counterpart of `dax_folio_init()` ([`Folio::take_shape`]) and of the split in
//! `dax_folio_reset_order()` ([`dissolve`]) of `fs/dax.c`.
//!
//! Rules: R1, R3, R18.

use super::{
    association::FolioLock,
    state::{
        owner_mark,
        pud_shape_mark,
        shape_mark,
        Folio,
        FOLIO_PAGES, //
    }, //
};
use crate::{
    ffi::{
        bindings,
        compat::{
            smp_mb,
            smp_wmb, //
        },
        sched,
        warn::warn_on_once, //
    },
    pgmap::{
        Order,
        Pgmap, //
    }, //
};

/// How many pages [`Folio::are_free`] looks at before it decides.
const PAGES_AT_ONCE: usize = 8;

// Else a large entry would not be what a PMD maps, and a folio lock not cover a folio.
kernel::static_assert!(bindings::RUST_FSDAX_PMD_ORDER == Order::PMD_ORDER);
kernel::static_assert!(bindings::RUST_FSDAX_PUD_ORDER == Order::PUD_ORDER);

/// How many large folios [`dissolve`] looks at before it lets others run.
const SHAPES_AT_ONCE: usize = 512;

/// Makes single pages of all free memory of a pgmap, as fs/dax.c expects it, which has none whose
/// shape is fixed.
///
/// Looks at one `struct page` for each PMD of memory. Process context, may sleep.
pub(crate) fn dissolve(pgmap: &Pgmap) {
    if pgmap.is_fixed() {
        return;
    }
    for (i, page) in pgmap.pages_of(Order::Pmd).enumerate() {
        let folio = Folio::at(page);
        folio.no_pud();
        if folio.is_shape() {
            let lock = FolioLock::new(folio.pfn());
            folio.dissolve(&lock);
        }
        if i % SHAPES_AT_ONCE == SHAPES_AT_ONCE - 1 {
            sched::cond_resched();
        }
    }
}

/// Free memory that keeps its shape, as long as this lives.
pub(crate) struct Shapes(());

impl Shapes {
    /// From here on it may.
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl Drop for Shapes {
    /// The module is being unloaded: nobody requests folios any more, none is active, and each
    /// superblock that is mounted meanwhile has [`dissolve`] called itself. May sleep.
    fn drop(&mut self) {
        Pgmap::for_each_shaped(dissolve);
    }
}

impl Folio<'_> {
    /// Whether this page is free: part of no active or draining folio, and of no file.
    #[cfg(RUST_FSDAX_KUNIT)]
    pub(crate) fn is_free(self) -> bool {
        let head = Folio::at(self.page().head());
        // SAFETY: The folio of one page is this one, which is in its own memmap.
        head.is_any_shape() || unsafe { self.are_free(Order::Pte) }
    }

    /// Whether this page is free, and a single one: for as long as the caller holds the folio lock, if it does.
    #[inline(always)]
    pub(super) fn is_free_page(self) -> bool {
        // SAFETY: The folio of one page is this one, which is in its own memmap.
        unsafe { self.are_free(Order::Pte) }
    }

    /// Gives free memory from here on the shape of a folio of `order`. Returns whether it is free.
    ///
    /// Costs nothing per page if it has that shape. Where 1 GiB is rebuilt, or taken apart, that is the
    /// work of [`Self::make_room`], and the answer is no until then.
    ///
    /// # Safety
    ///
    /// All pages of the folio are in one range of `pgmap`, and `lock` is that of this folio.
    #[inline(always)]
    pub(super) unsafe fn take_shape(self, order: Order, pgmap: &Pgmap, lock: &FolioLock) -> bool {
        match order {
            Order::Pte => {
                // SAFETY: One page, this one.
                let free = unsafe { self.are_free(order) };
                free || self.take_apart(lock)
            }
            Order::Pmd if self.is_shape() => self.is_as_left(),
            Order::Pmd if pgmap.is_fixed() => self.is_unused_head(),
            Order::Pmd => {
                // SAFETY: The caller promises that all pages are in one range.
                let free = unsafe { self.are_free(order) };
                if free {
                    pgmap.set_shaped();
                    // SAFETY: All pages are free, and the lock keeps other requests out.
                    unsafe { self.make_large(order) };
                }
                free
            }
            Order::Pud if self.is_pud_shape() => self.is_as_left(),
            // What is not there yet is made before it is asked for again: see `make_room`.
            Order::Pud => pgmap.is_fixed() && self.is_unused_head(),
        }
    }

    /// Whether this head of a shape that is fixed is free, of which nobody has had a folio yet.
    #[cold]
    #[inline(never)]
    fn is_unused_head(self) -> bool {
        let page = self.page();
        page.is_head() && page.count() == 0 && page.mapping() == 0 && !self.is_ours()
    }

    /// Whether this is still what the free path has left, given the mark. Nobody else clears that
    /// word, so that it would stay if fs/dax.c got the memory nevertheless.
    #[inline(always)]
    pub(super) fn is_as_left(self) -> bool {
        let page = self.page();
        !warn_on_once!(!page.is_head() || page.count() != 0 || page.mapping() != 0)
    }

    /// Makes single pages of the free large folio around this page. Returns whether there is one.
    #[cold]
    #[inline(never)]
    fn take_apart(self, lock: &FolioLock) -> bool {
        let whole = Folio::at(self.page().head());
        // One of 1 GiB that was taken apart just now begins elsewhere.
        lock.covers(whole.pfn()) && whole.dissolve(lock)
    }

    /// Makes single pages of this large folio if it is free. Returns whether it is.
    ///
    /// `lock` is that of the folio.
    fn dissolve(self, lock: &FolioLock) -> bool {
        if !self.is_shape() || warn_on_once!(!lock.covers(self.pfn())) || !self.is_as_left() {
            return false;
        }
        let pgmap = self.page().pgmap_word() as *mut bindings::dev_pagemap;
        // SAFETY: A free large folio is nobody's but whose who has its lock. One of ours is as large
        // as a PMD, and the word of its head has the pgmap.
        unsafe { self.make_small(Order::Pmd.pages(), pgmap) };
        // SAFETY: As long as the mark is there nobody else writes to the folio.
        unsafe { self.page().own() }.retire_owner(0);
        true
    }

    /// Whether all pages of a folio of `order` are free that would start here, and single ones.
    ///
    /// # Safety
    ///
    /// They are in one range of a pgmap.
    #[inline(always)]
    unsafe fn are_free(self, order: Order) -> bool {
        let free = !self.page().is_head()
            && match order {
                // SAFETY: One page, this one.
                Order::Pte => unsafe { self.are_unused::<1>(0) },
                // SAFETY: The caller promises that all pages of the order are in one range.
                Order::Pmd => unsafe { self.are_all_unused() },
                // Too many, see `make_room`.
                Order::Pud => false,
            };
        // Whoever sees a page free sees what the free path has reset, and writes after it.
        smp_mb();
        // Who rebuilds 1 GiB has no lock. A page that is the head of a piece, and was no tail above, has
        // a mark by now, or is a tail; the others are tails all the time. What is a tail without a mark
        // here stays one: a piece is marked under our lock before it is made of that.
        free && (order != Order::Pte || !self.is_marked())
    }

    /// Whether this page is the head of a large folio that is ours, free or not, or is a tail.
    #[inline(always)]
    fn is_marked(self) -> bool {
        let marks = [owner_mark(), shape_mark(), pud_shape_mark()];
        marks.contains(&self.page().owner_unordered()) || self.page().is_tail()
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
    unsafe fn make_large(self, order: Order) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::rebuild();
        // SAFETY: The caller promises that nobody else looks at the pages.
        unsafe { bindings::rust_fsdax_prep_compound_page(self.page().as_raw(), order.get()) };
    }

    /// Makes pages of a large folio.
    ///
    /// # Safety
    ///
    /// The folio is free and the caller's alone, has `nr` pages, which are more than one, and
    /// `pgmap` is its pgmap.
    unsafe fn make_small(self, nr: usize, pgmap: *mut bindings::dev_pagemap) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::rebuild();
        // SAFETY: The caller promises that nobody else looks at the folio.
        unsafe { bindings::rust_fsdax_reset_head(self.page().as_raw().cast()) };
        for i in 1..nr {
            // SAFETY: The caller promises that the folio has so many pages.
            let page = unsafe { self.page().behind(i) };
            // SAFETY: The caller promises that all pages of the folio are its own.
            let page = unsafe { page.own() };
            if i < FOLIO_PAGES {
                page.clear_owner();
                page.set_index(0);
                page.set_private(0);
            }
            page.set_mapping(0);
        }
        // Whoever requests one of these pages takes the folio lock first. Memory failure does not:
        // it takes a page that points to the pgmap for a folio, and believes its mapping.
        smp_wmb();
        for i in 1..nr {
            // SAFETY: The caller promises that the folio has so many pages.
            let page = unsafe { self.page().behind(i) };
            // SAFETY: The caller promises that all pages of the folio are its own.
            unsafe { page.own() }.set_pgmap(pgmap);
        }
    }
}
