// SPDX-License-Identifier: GPL-2.0

//! Folios of 1 GiB: how free memory becomes one, and folios of 2 MiB again.
//!
//! A folio lock covers 2 MiB, and 1 GiB has 262,144 pages: too many to look at and to write while irqs
//! are off. So free memory is *claimed* first, each 2 MiB under their own lock: the head gets the mark
//! of the owner, and keeps its count of 0. In that state the free path has a folio, *draining*: requests
//! find the memory busy, nobody gets a reference, and whoever waits sleeps until the mark goes. What is
//! claimed is rewritten with no lock held and irqs on.
//!
//! fs/dax.c has no counterpart: it knows no folios of 1 GiB.
//!
//! Rules: R1, R4, R10, R18, R20.

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
        compat::smp_wmb, //
    },
    pgmap::{
        Order,
        Pgmap, //
    }, //
};

/// How many folios of 2 MiB have the memory of one of 1 GiB.
const PIECES: usize = Order::Pud.pages() / Order::Pmd.pages();

// Else the mark of a free shape could be that of an owner.
kernel::static_assert!(core::mem::align_of::<bindings::fsdax_folio_ops>() > 2);

/// The first free folios of 2 MiB of 1 GiB of memory, claimed. They are let go of when dropped.
///
/// # Invariants
///
/// All pages of the 1 GiB from `first` on are in one range of a pgmap whose shapes are not fixed. The
/// first `nr` of its pieces are folios of 2 MiB with the mark of the owner and a count of 0, and
/// the mark is that of this value.
struct Pieces<'p> {
    first: Folio<'p>,
    nr: usize,
}

impl<'p> Pieces<'p> {
    /// Claims all of the 1 GiB from `first` on. `None` if some of it is not free.
    ///
    /// # Safety
    ///
    /// All pages are in one range of `pgmap`, whose shapes are not fixed.
    unsafe fn claim(first: Folio<'p>, pgmap: &Pgmap) -> Option<Self> {
        // INVARIANT: None is claimed yet, and the rest is what the caller promises.
        let mut pieces = Self { first, nr: 0 };

        while pieces.nr < PIECES {
            let piece = pieces.get(pieces.nr);
            let lock = FolioLock::new(piece.pfn());
            // SAFETY: By the type invariant its pages are in one range, and this is the lock.
            if !unsafe { piece.take_shape(Order::Pmd, pgmap, &lock) } {
                return None;
            }
            // SAFETY: The piece is free, and the lock keeps other requests out.
            unsafe { piece.page().own() }.publish_owner(owner_mark());
            // INVARIANT: Just marked.
            pieces.nr += 1;
        }
        Some(pieces)
    }

    /// The piece with this number, below [`PIECES`].
    fn get(&self, n: usize) -> Folio<'p> {
        let pages = n % PIECES * Order::Pmd.pages();
        // SAFETY: By the type invariant all of the 1 GiB is in one range.
        Folio::at(unsafe { self.first.page().behind(pages) })
    }

    /// Makes one free folio of all of them.
    fn join(self) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::rebuild();
        for n in 0..self.nr {
            // SAFETY: By the type invariant it is claimed.
            unsafe { forget_head(self.get(n)) };
        }
        // SAFETY: By the type invariant all of it is claimed.
        unsafe { make_large(self.first, Order::Pud) };
        // All pages lead to the first head by now, which stays claimed until the others are not.
        for n in 1..self.nr {
            // SAFETY: By the type invariant it is claimed; it is a tail now.
            unsafe { publish(self.get(n), 0) };
        }
        // SAFETY: By the type invariant it is claimed.
        unsafe { publish(self.first, pud_shape_mark()) };
        core::mem::forget(self);
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        for n in 0..self.nr {
            // SAFETY: By the type invariant it is claimed.
            unsafe { publish(self.get(n), shape_mark()) };
        }
    }
}

/// A free folio of 1 GiB, claimed.
///
/// # Invariants
///
/// It has the mark of the owner and a count of 0, the mark is that of this value, and its shape is
/// not fixed.
struct Whole<'p>(Folio<'p>);

impl<'p> Whole<'p> {
    /// Claims `folio`, of a pgmap whose shapes are not fixed, if it is free and has 1 GiB.
    fn claim(folio: Folio<'p>) -> Option<Self> {
        let _lock = FolioLock::new(folio.pfn());
        if !folio.is_pud_shape() || !folio.is_as_left() {
            return None;
        }
        // SAFETY: The folio is free, and the lock keeps other requests out.
        unsafe { folio.page().own() }.publish_owner(owner_mark());
        // INVARIANT: Just marked, and the mark before said what it is.
        Some(Self(folio))
    }

    /// Makes free folios of 2 MiB of it.
    ///
    /// The first one is done last, since all other pages lead to its head until they are done.
    fn split(self) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::rebuild();
        let pgmap = self.0.page().pgmap_word() as *mut bindings::dev_pagemap;

        for n in (1..PIECES).rev() {
            // SAFETY: By the type invariant the folio has so many pages, all in one range.
            let piece = Folio::at(unsafe { self.0.page().behind(n * Order::Pmd.pages()) });
            // SAFETY: By the type invariant nobody else has the folio that this is a tail of.
            let page = unsafe { piece.page().own() };
            page.set_index(0);
            page.set_private(0);
            page.set_mapping(0);
            // Whoever comes from one of its tails is to find it claimed, and not foreign.
            page.publish_owner(owner_mark());
            // Memory failure takes a page that points to the pgmap for a folio, and believes its mapping.
            smp_wmb();
            page.set_pgmap(pgmap);
            smp_wmb();
            // SAFETY: A part of the folio, which is claimed by the type invariant.
            unsafe { make_large(piece, Order::Pmd) };
            // SAFETY: Marked above.
            unsafe { publish(piece, shape_mark()) };
        }
        // SAFETY: By the type invariant it is claimed.
        unsafe { forget_head(self.0) };
        // SAFETY: By the type invariant it is claimed.
        unsafe { make_large(self.0, Order::Pmd) };
        // SAFETY: By the type invariant it is claimed.
        unsafe { publish(self.0, shape_mark()) };
    }
}

/// Has the head of a large folio forget that it was one: its tails are still tails.
///
/// # Safety
///
/// The folio is claimed by the caller.
unsafe fn forget_head(head: Folio<'_>) {
    // SAFETY: The caller promises that the folio is free, and nobody else's.
    unsafe { bindings::rust_fsdax_reset_head(head.page().as_raw().cast()) };
    for i in 1..FOLIO_PAGES {
        // SAFETY: A large folio has more pages than that, all in one range.
        let tail = unsafe { head.page().behind(i) };
        // SAFETY: The caller promises that nobody else has them.
        let tail = unsafe { tail.own() };
        tail.clear_owner();
        tail.set_index(0);
        tail.set_private(0);
    }
}

/// Writes the pages of a folio of `order`.
///
/// # Safety
///
/// All of it is in one range of a pgmap, and claimed by the caller.
unsafe fn make_large(head: Folio<'_>, order: Order) {
    // SAFETY: The caller promises that nobody else looks at the pages but to see where the head is.
    unsafe { bindings::rust_fsdax_prep_compound_page(head.page().as_raw(), order.get()) };
}

/// Lets go of what was claimed, with another word in the place of the mark, and wakes who waits for
/// that.
///
/// # Safety
///
/// It is claimed by the caller, and was made what `word` says.
unsafe fn publish(head: Folio<'_>, word: usize) {
    let waiters = head.wait_address();
    // SAFETY: The caller promises that nobody else has it.
    unsafe { head.page().own() }.retire_owner(word);
    waiters.wake();
}

impl Folio<'_> {
    /// Gives free memory another shape for a request of `order` from here on, which did not find what it
    /// needs and is to look again. Returns whether there was something to do.
    ///
    /// For 1 GiB that is to make one folio of it; for less, to take the free folio of 1 GiB apart that
    /// is around it. Takes milliseconds, with no lock held. As [`super::request()`].
    ///
    /// # Safety
    ///
    /// All pages of the folio that is asked for are in one range of `pgmap`.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn make_room(self, order: Order, pgmap: &Pgmap) -> bool {
        match order {
            _ if pgmap.is_fixed() => false,
            Order::Pud if !bindings::RUST_FSDAX_HAS_PUD => false,
            // SAFETY: The caller promises that they are in one range; the shapes are not fixed.
            Order::Pud => unsafe { Pieces::claim(self, pgmap) }
                .map(Pieces::join)
                .is_some(),
            Order::Pte | Order::Pmd => self.whole().split_pud(),
        }
    }

    /// Makes folios of 2 MiB of this one, of a pgmap whose shapes are not fixed, if it is free and has
    /// 1 GiB. Returns whether it is.
    pub(super) fn split_pud(self) -> bool {
        Whole::claim(self).map(Whole::split).is_some()
    }
}
