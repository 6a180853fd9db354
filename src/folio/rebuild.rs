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
        compat::smp_wmb,
        safe, //
    },
    pgmap::{
        Order,
        OwnPage,
        Pgmap, //
    }, //
};

/// How many folios of 2 MiB have the memory of one of 1 GiB.
const PIECES: usize = Order::Pud.pages() / Order::Pmd.pages();

// Else the mark of a free shape could be that of an owner.
kernel::static_assert!(core::mem::align_of::<bindings::fsdax_folio_ops>() > 2);

/// 1 GiB of memory.
///
/// # Invariants
///
/// All its pages are in one range of a pgmap whose shapes are not fixed.
#[derive(Clone, Copy)]
struct Gib<'p>(Folio<'p>);

impl<'p> Gib<'p> {
    /// The piece with this number, below [`PIECES`].
    fn piece(self, n: usize) -> Folio<'p> {
        let pages = n % PIECES * Order::Pmd.pages();
        // SAFETY: By the type invariant all of it is in one range.
        Folio::at(unsafe { self.0.page().behind(pages) })
    }
}

/// Memory of 2 MiB that is claimed: a free folio, or what is about to become one.
///
/// # Invariants
///
/// Its first page has the mark of the owner and a count of 0, and the mark is that of this value, of which
/// there is one. All its pages are in one range of a pgmap whose shapes are not fixed, and nobody else
/// writes to them, or looks at them but to see where the head is.
struct Claimed<'p>(Folio<'p>);

/// What claimed memory has become.
enum Now {
    /// A free folio of 2 MiB.
    Pmd,
    /// One of 1 GiB.
    Pud,
    /// A part of one.
    Part,
}

impl<'p> Claimed<'p> {
    /// Claims memory.
    ///
    /// # Safety
    ///
    /// It is free, or part of something that the caller has claimed. All pages from `folio` on are in
    /// one range of a pgmap whose shapes are not fixed, and other requests are kept out until the mark
    /// is there.
    unsafe fn mark(folio: Folio<'p>) -> Self {
        // SAFETY: The caller promises that nobody else has it.
        unsafe { folio.page().own() }.publish_owner(owner_mark());
        // INVARIANT: Just marked; the rest is what the caller promises.
        Self(folio)
    }

    fn own(&self) -> OwnPage<'p> {
        // SAFETY: By the type invariant nobody else writes to it.
        unsafe { self.0.page().own() }
    }

    /// Has the head of a large folio forget that it was one: its tails are still tails.
    fn forget_head(&self) {
        // SAFETY: By the type invariant the folio is free, and nobody else's.
        unsafe { bindings::rust_fsdax_reset_head(self.0.page().as_raw().cast()) };
        for i in 1..FOLIO_PAGES {
            // SAFETY: By the type invariant there are more pages than that, all in one range.
            let tail = unsafe { self.0.page().behind(i) };
            // SAFETY: By the type invariant nobody else has them.
            let tail = unsafe { tail.own() };
            tail.clear_owner();
            tail.set_index(0);
            tail.set_private(0);
        }
    }

    /// Has a tail of a folio of 1 GiB be none any more.
    fn forget_tail(&self, pgmap: *mut bindings::dev_pagemap) {
        let page = self.own();

        page.set_index(0);
        page.set_private(0);
        page.set_mapping(0);
        // Memory failure takes a page that points to the pgmap for a folio, and believes its mapping.
        smp_wmb();
        page.set_pgmap(pgmap);
        smp_wmb();
    }

    /// Writes the pages of a folio of 2 MiB.
    fn make_pmd(&self) {
        // SAFETY: By the type invariant nobody else looks at the pages but to see where the head is.
        unsafe {
            bindings::rust_fsdax_prep_compound_page(self.0.page().as_raw(), Order::PMD_ORDER)
        };
    }

    /// Lets go of it, which was made what `now` says, and wakes who waits for that.
    fn publish(self, now: Now) {
        let waiters = self.0.wait_address();
        self.own().retire_owner(match now {
            Now::Pmd => shape_mark(),
            Now::Pud => pud_shape_mark(),
            Now::Part => 0,
        });
        waiters.wake();
    }
}

/// The first free folios of 2 MiB of 1 GiB of memory, claimed. They are let go of when dropped.
///
/// # Invariants
///
/// The first `nr` pieces are free folios of 2 MiB and claimed, by this value.
struct Pieces<'p> {
    gib: Gib<'p>,
    nr: usize,
}

impl<'p> Pieces<'p> {
    /// Claims all of the 1 GiB from `first` on. `None` if some of it is not free.
    ///
    /// # Safety
    ///
    /// All pages are in one range of `pgmap`, whose shapes are not fixed.
    unsafe fn claim(first: Folio<'p>, pgmap: &Pgmap) -> Option<Self> {
        // INVARIANT: What the caller promises.
        let gib = Gib(first);
        // INVARIANT: None is claimed yet.
        let mut pieces = Self { gib, nr: 0 };

        while pieces.nr < PIECES {
            let piece = gib.piece(pieces.nr);
            let lock = FolioLock::new(piece.pfn());
            // SAFETY: By the type invariant its pages are in one range, and this is the lock.
            if !unsafe { piece.take_shape(Order::Pmd, pgmap, &lock) } {
                return None;
            }
            // SAFETY: The piece is free, and the lock keeps other requests out.
            let Claimed(_) = unsafe { Claimed::mark(piece) };
            // INVARIANT: Just claimed.
            pieces.nr += 1;
        }
        Some(pieces)
    }

    /// Takes the last piece out.
    fn pop(&mut self) -> Option<Claimed<'p>> {
        self.nr = self.nr.checked_sub(1)?;
        // INVARIANT: By the type invariant it was claimed by `self`, and is not any more.
        Some(Claimed(self.gib.piece(self.nr)))
    }

    /// Makes one free folio of all of them.
    fn join(mut self) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::rebuild_gib();
        for n in 0..self.nr {
            // INVARIANT: By the type invariant it is claimed, by `self`, which has it again afterwards.
            Claimed(self.gib.piece(n)).forget_head();
        }
        let first = self.gib.piece(0).page().as_raw();
        // SAFETY: By the type invariant all of it is claimed.
        unsafe { bindings::rust_fsdax_prep_compound_page(first, Order::PUD_ORDER) };
        // All pages lead to the first head by now, which stays claimed until the others are not.
        while let Some(piece) = self.pop() {
            piece.publish(match self.nr {
                0 => Now::Pud,
                _ => Now::Part,
            });
        }
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        while let Some(piece) = self.pop() {
            piece.publish(Now::Pmd);
        }
    }
}

/// A free folio of 1 GiB, claimed.
///
/// # Invariants
///
/// All of it is one free folio, whose first piece is claimed by this value.
struct Whole<'p>(Gib<'p>, Claimed<'p>);

impl<'p> Whole<'p> {
    /// Claims `folio`, of a pgmap whose shapes are not fixed, if it is free and has 1 GiB.
    fn claim(folio: Folio<'p>) -> Option<Self> {
        let _lock = FolioLock::new(folio.pfn());
        if !folio.is_pud_shape() || !folio.is_as_left() {
            return None;
        }
        // SAFETY: The folio is free, and the lock keeps other requests out.
        let first = unsafe { Claimed::mark(folio) };
        // INVARIANT: The mark before said what it is, and a folio is all in one range.
        Some(Self(Gib(folio), first))
    }

    /// Makes free folios of 2 MiB of it.
    ///
    /// The first one is done last, since all other pages lead to its head until they are done.
    fn split(self) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::rebuild_gib();
        let Self(gib, first) = self;
        let pgmap = first.0.page().pgmap_word() as *mut bindings::dev_pagemap;

        for n in (1..PIECES).rev() {
            let piece = gib.piece(n);
            let lock = FolioLock::new(piece.pfn());
            // Whoever comes from one of its tails is to find it claimed, and not foreign; and who has
            // the lock and saw that it is a tail, without a mark, finds that so until he lets go.
            // SAFETY: A part of the folio, which is claimed, and as large as that.
            let piece = unsafe { Claimed::mark(piece) };
            drop(lock);
            piece.forget_tail(pgmap);
            piece.make_pmd();
            piece.publish(Now::Pmd);
        }
        first.forget_head();
        first.make_pmd();
        first.publish(Now::Pmd);
    }
}

/// What [`Folio::make_room`] has done.
pub(super) enum Room {
    /// The memory has the shape that is needed, unless somebody else was faster.
    Made,
    /// Nothing, since somebody else gives the memory another shape, or frees it.
    Rebuilt,
    /// Nothing.
    AsBefore,
}

impl Folio<'_> {
    /// Gives free memory another shape for a request of `order` from here on, which did not find what it
    /// needs and is to look again.
    ///
    /// For 1 GiB that is to make one folio of it; for less, to take the free folio of 1 GiB apart that
    /// is around it. Takes milliseconds, with no lock held, and is not done where irqs are off: the
    /// memory is as good as in use then. As [`super::request()`].
    ///
    /// # Safety
    ///
    /// All pages of the folio that is asked for are in one range of `pgmap`.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn make_room(self, order: Order, pgmap: &Pgmap) -> Room {
        if pgmap.is_fixed() || safe::rust_fsdax_irqs_disabled() {
            return Room::AsBefore;
        }
        let whole = self.whole();
        let made = match order {
            Order::Pud if !bindings::RUST_FSDAX_HAS_PUD => false,
            // SAFETY: The caller promises that they are in one range; the shapes are not fixed.
            Order::Pud => unsafe { Pieces::claim(self, pgmap) }
                .map(Pieces::join)
                .is_some(),
            Order::Pte | Order::Pmd => whole.split_pud(),
        };
        match made {
            true => Room::Made,
            false if whole.is_draining() => Room::Rebuilt,
            false => Room::AsBefore,
        }
    }

    /// Makes folios of 2 MiB of this one, of a pgmap whose shapes are not fixed, if it is free and has
    /// 1 GiB. Returns whether it is.
    fn split_pud(self) -> bool {
        Whole::claim(self).map(Whole::split).is_some()
    }

    /// [`Self::split_pud`], or waits until somebody else has done that. May sleep.
    pub(super) fn no_pud(self) {
        while !self.split_pud() {
            let whole = self.whole();
            if !whole.is_draining() {
                break;
            }
            whole.wait_drained();
        }
    }

    /// Whether the free path writes to this folio, or somebody who gives it another shape. Any context.
    fn is_draining(self) -> bool {
        self.is_ours() && self.page().count() == 0
    }
}
