// SPDX-License-Identifier: GPL-2.0

//! The reference of an entry to its folio.
//!
//! Counterpart of `dax_folio_put()` ([`Claim::release`]) and `dax_busy_page()` ([`is_busy`]) of
//! `fs/dax.c`. [`FolioRef::claim`] takes the place of the sharing in `dax_associate_entry()`.
//!
//! Rules: R2, R5, R11.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref, //
};

use super::{
    association::{
        Place,
        Refused, //
    },
    entry_id::{
        EntryId,
        LockedId, //
    },
    state::{
        Folio,
        FolioRef,
        State, //
    }, //
};
use crate::pgmap::{
    Order,
    PgmapRef, //
};

/// Why [`FolioRef::claim`] refuses.
pub(crate) enum NoClaim {
    /// The folio belongs to somebody else.
    NotShared,
    /// There has to be a folio of the order of the entry, or a place among the sharers of this one: it
    /// has too many, or is having its parts given back.
    Apart,
    /// It may be shared as soon as memory failure is done with it, see [`FolioRef::wait_unheld`].
    Held(FolioRef),
}

impl FolioRef {
    /// Associates the folio with `entry` of `order`, which is to track the page at `pfn` or all of it.
    ///
    /// # Errors
    ///
    /// - [`NoClaim::NotShared`] if another entry tracks or tracked it and `may_share` is false, or
    ///   if it was requested for no entry at all.
    /// - [`NoClaim::Apart`] if the folio has not `pfn`, or is smaller than `order`, or cannot be shared
    ///   that way.
    /// - [`NoClaim::Held`] if it has to be tried again later.
    pub(crate) fn claim(
        self,
        entry: &LockedId<'_>,
        pfn: usize,
        order: Order,
        may_share: bool,
    ) -> Result<Claim, NoClaim> {
        let entry = entry.id();
        let whole = self.order() == order.get();
        // What has 1 GiB is one file's, by one entry.
        let may_share = may_share && self.order() != Order::PUD_ORDER;
        let inside = if whole {
            pfn == self.pfn()
        } else {
            order == Order::Pte
                && self.order() == Order::PMD_ORDER
                && Order::Pmd.align(pfn) == self.pfn()
        };
        if !inside {
            return Err(NoClaim::Apart);
        }
        let place = Place {
            entry,
            start: entry.before(pfn - self.pfn()),
            whole,
        };
        let added = self.lock().add(place, may_share);

        match added {
            // INVARIANT: Just associated, and by `inside` the entry is for all of the folio, at its pfn and
            // of its order, or for a page of it.
            Ok(()) => Ok(Claim {
                pfn,
                folio: ManuallyDrop::new(self),
                entry,
                order,
            }),
            Err(Refused::NotShared) if whole => Err(NoClaim::NotShared),
            Err(Refused::NotShared | Refused::Apart) => Err(NoClaim::Apart),
            Err(Refused::Held) => Err(NoClaim::Held(self)),
        }
    }
}

/// What is left of a folio when an entry lost its reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// Nothing, or no business of this entry: the slot may go.
    Idle,
    /// Pins, or page table entries that mmu_gather has yet to drop.
    Busy,
}

/// The reference of an entry to its folio: what makes an entry a tracked one, and what is left when
/// it is zapped.
///
/// | value                     | who has the reference                                   |
/// |---------------------------|---------------------------------------------------------|
/// | a `Claim`                 | the task, on behalf of the entry                        |
/// | none, the entry is tracked | the entry in `i_pages`: a `Claim` went into it          |
/// | none, the entry is zapped | nobody: the `Claim` came out of it and was released     |
///
/// # Invariants
///
/// `entry` is among those that are associated with the folio, as a tracked one, and `pfn` is where it
/// begins: the first one of the folio, unless the entry is for a part of it. `order` is that of the entry:
/// the folio's, or [`Order::Pte`] for a part.
pub(crate) struct Claim {
    folio: ManuallyDrop<FolioRef>,
    entry: EntryId,
    pfn: usize,
    order: Order,
}

impl Claim {
    /// The claim of the entry that a folio was requested for.
    ///
    /// # Safety
    ///
    /// The folio is associated with `entry`, starts at `pfn` and has `order`.
    #[inline(always)]
    pub(super) unsafe fn new(folio: FolioRef, entry: EntryId, pfn: usize, order: Order) -> Self {
        // INVARIANT: What the caller promises.
        Self {
            folio: ManuallyDrop::new(folio),
            entry,
            pfn,
            order,
        }
    }

    /// Takes the claim out of a tracked entry for the folio or the part of one at `pfn`.
    ///
    /// # Safety
    ///
    /// `entry` is tracked, or was until now, has `order` and names `pfn`. It is locked or the i_pages lock is
    /// held, and the caller makes it something else before it lets go of that.
    #[inline(always)]
    pub(crate) unsafe fn from_entry(pfn: usize, entry: EntryId, order: Order) -> Self {
        Self {
            // SAFETY: A tracked entry has a reference, which it gives up.
            folio: ManuallyDrop::new(unsafe { FolioRef::from_pfn(pfn) }),
            // INVARIANT: An entry became tracked by `into_entry`, which left a claim of its order in it.
            entry,
            pfn,
            order,
        }
    }

    /// Leaves the claim in the entry that it is of.
    ///
    /// # Safety
    ///
    /// That is a tracked one of the same order which names the pfn, and has no other claim in it.
    pub(crate) unsafe fn into_entry(self) {
        core::mem::forget(self);
    }

    /// The first pfn of the entry.
    pub(crate) fn pfn(&self) -> usize {
        self.pfn
    }

    /// Whether it is for `entry`, of `order`.
    #[inline(always)]
    pub(crate) fn is_for(&self, entry: EntryId, order: Order) -> bool {
        self.entry == entry && self.order == order
    }

    /// Where the folio begins in the file, or would.
    fn start(&self) -> EntryId {
        self.entry.before(self.pfn - self.folio.pfn())
    }

    /// The folio.
    pub(crate) fn folio(&self) -> &FolioRef {
        &self.folio
    }

    /// Drops the reference.
    #[inline(always)]
    pub(crate) fn release(self) -> Left {
        let (entry, start) = (self.entry, self.start());
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so that this is the only time.
        let folio = unsafe { ManuallyDrop::take(&mut this.folio) };
        let folio = match folio.free_if_last() {
            Ok(()) => return Left::Idle,
            Err(folio) => folio,
        };
        if folio.lock().take_off(entry, start) {
            // The block belongs to other files too, and their entries keep track of the pins.
            return Left::Idle;
        }
        match folio.free_if_last() {
            Ok(()) => Left::Idle,
            Err(_) => Left::Busy,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.folio.lock().take_off(self.entry, self.start());
        // SAFETY: It is not used again.
        unsafe { ManuallyDrop::drop(&mut self.folio) };
    }
}

/// The folio of a tracked entry, borrowed with something that keeps the entry tracked.
///
/// # Invariants
///
/// The reference is that of the entry, which has it during `'a`.
pub(crate) struct LentFolio<'a>(ManuallyDrop<FolioRef>, PhantomData<&'a ()>);

impl LentFolio<'_> {
    /// Borrows it.
    ///
    /// # Safety
    ///
    /// A tracked entry names `pfn`, and remains as it is during `'a`.
    pub(crate) unsafe fn of_entry(pfn: usize) -> Self {
        // SAFETY: The reference of the entry, which is never dropped here.
        let folio = unsafe { FolioRef::from_pfn(pfn) };
        // INVARIANT: What the caller promises.
        Self(ManuallyDrop::new(folio), PhantomData)
    }
}

impl Deref for LentFolio<'_> {
    type Target = FolioRef;

    fn deref(&self) -> &FolioRef {
        &self.0
    }
}

/// Whether pins keep the folio at `pfn` busy on behalf of the zapped `entry` that names it.
///
/// Any context.
pub(crate) fn is_busy(pfn: usize, entry: EntryId) -> bool {
    let Some(pgmap) = PgmapRef::dying_or_live(pfn) else {
        return false;
    };
    match Folio::of(&pgmap).look() {
        State::Idle => false,
        State::Draining => true,
        // Idle and requested by another file since, or that file tracks it now.
        State::Active(folio) => folio.lock().is_zapped_by(entry),
    }
}
