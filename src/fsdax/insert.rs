// SPDX-License-Identifier: GPL-2.0

//! Making an entry a tracked one.
//!
//! Counterpart of `dax_insert_entry()` of `fs/dax.c`. What else that does is elsewhere: the inode is
//! marked dirty in `fault.rs`, zero pages become entries in [`LockedEntry::set_hole`], and a block that
//! is replaced goes in `give_up.rs`.
//!
//! Rules: R1, R5, R7, R11.

use kernel::prelude::*;

use crate::{
    ffi::{
        inject::{
            self,
            Point, //
        },
        trace,
        warn::warn_on_once, //
    },
    folio::{
        self,
        Busy,
        Claim,
        Folio,
        LockedId,
        NoClaim,
        State, //
    },
    mapping::{
        Entry,
        Kind,
        LockedEntry,
        Mapping,
        Mark, //
    },
    pgmap::{
        Order,
        PgmapRef, //
    }, //
};

/// Why [`insert`] fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InsertError {
    /// The device is going away.
    Dying,
    /// A page of the folio is in use elsewhere.
    Busy,
    /// A page of the folio is in use as part of a folio of another order.
    OtherOrder,
    /// The entry names another block.
    Mismatch,
    /// The pages are not all part of one range of FS_DAX memory.
    Range,
}

impl From<InsertError> for Error {
    fn from(e: InsertError) -> Self {
        match e {
            InsertError::Dying => ENXIO,
            InsertError::Busy | InsertError::OtherOrder => EBUSY,
            InsertError::Mismatch => EEXIST,
            InsertError::Range => ERANGE,
        }
    }
}

/// Makes `locked` a tracked entry for the folio at `pfn`, of the order of the entry.
///
/// Returns whether it was not tracked before. `may_share` allows that entries of other files
/// track the same folio. A zero page is unmapped first. Process context, may sleep.
///
/// Follows `dax_insert_entry()`; a zapped entry is *revived*: the folio may still be pinned, and
/// a multi-page direct I/O may need this page to finish and drop the pins that a break waits for.
///
/// # Errors
///
/// See [`InsertError`]; the entry is unchanged then.
pub(crate) fn insert(
    locked: &mut LockedEntry<'_>,
    pfn: usize,
    may_share: bool,
) -> Result<bool, InsertError> {
    let order = locked.entry().order();
    insert_live(locked, pfn, may_share, false, &ByPfn { pfn, order })
}

/// What finds the pgmap of a folio that is to be requested, and takes a reference to it.
pub(super) trait Live {
    /// The reference, for a folio that starts where the entry says. Any context.
    ///
    /// # Errors
    ///
    /// As [`PgmapRef::live`].
    fn live(&self) -> Result<PgmapRef>;
}

/// The look-up of a pfn that somebody else names.
struct ByPfn {
    pfn: usize,
    order: Order,
}

impl Live for ByPfn {
    fn live(&self) -> Result<PgmapRef> {
        PgmapRef::live(self.pfn, self.order)
    }
}

/// [`insert`] of a folio whose pgmap `from` finds. If it is `dirty`, the entry is marked so, under
/// the same hold of the i_pages lock that makes it tracked.
#[inline(always)]
pub(super) fn insert_live(
    locked: &mut LockedEntry<'_>,
    pfn: usize,
    may_share: bool,
    dirty: bool,
    from: &impl Live,
) -> Result<bool, InsertError> {
    let old = locked.entry();

    if old.is_mapped() && old.pfn() != pfn {
        return Err(InsertError::Mismatch);
    }
    if old.kind() == Kind::Tracked {
        if dirty {
            locked.with_marks(|marks| marks.set(Mark::Dirty));
        }
        return Ok(false);
    }
    if old.as_tracked(pfn).is_none() {
        return Err(InsertError::Mismatch);
    }
    if old.kind() == Kind::Zero {
        locked.mapping().unmap(locked.range());
    }

    let claim = activate(locked, may_share, from)?;
    let address = claim.folio().as_folio().wait_address();
    if warn_on_once!(!locked.track(claim, dirty)) {
        return Err(InsertError::Mismatch);
    }
    if old.kind() == Kind::Zapped {
        trace::revive(|| locked.event());
    } else {
        trace::insert(|| locked.event());
    }
    // A break that sleeps until the folio is idle has to zap the entry again, and the entry of
    // another file that was zapped need not wait any more. They check under the i_pages lock that
    // `track` took, or the folio lock.
    if old.kind() == Kind::Zapped || may_share {
        address.wake();
    }
    Ok(true)
}

/// After so many races for a folio that others won, it is taken to be part of another one.
const LOST_RACES: u32 = 64;
/// A large one, whose pages are all looked at each time, after fewer.
const LOST_LARGE_RACES: u32 = 2;

/// Claims the folio that `from` takes a pgmap for, for the entry. Takes the place of
/// `dax_associate_entry()` in `dax_insert_entry()`.
#[inline(always)]
fn activate(
    locked: &LockedEntry<'_>,
    may_share: bool,
    from: &impl Live,
) -> Result<Claim, InsertError> {
    let (entry, id) = (locked.entry(), locked.locked_id());

    if entry.kind() == Kind::Empty {
        // Most likely free; if not, `join` finds out why.
        if let Ok(pgmap) = from.live() {
            if !inject::fails(Point::Request) {
                if let Ok(claim) = folio::request(pgmap, &id) {
                    return Ok(claim);
                }
            }
        }
    }
    join(&id, entry.order(), may_share, from)
}

/// [`activate`] for a folio that is in use, or was a moment ago: in `dax_associate_entry()` that of a
/// shared block.
#[cold]
#[inline(never)]
fn join(
    entry: &LockedId<'_>,
    order: Order,
    may_share: bool,
    from: &dyn Live,
) -> Result<Claim, InsertError> {
    let mut lost = 0;
    let most = match order {
        Order::Pte => LOST_RACES,
        Order::Pmd | Order::Pud => LOST_LARGE_RACES,
    };
    let may_look_again = may_share || order == Order::Pte;

    loop {
        let pgmap = from.live().map_err(|e| {
            if e == ERANGE {
                InsertError::Range
            } else {
                InsertError::Dying
            }
        })?;
        let page = Folio::of(&pgmap);
        // A page of a large folio has neither count nor mark of its own.
        let folio = if page.is_tail() { page.whole() } else { page };
        match folio.look() {
            State::Draining => folio.wait_drained(),
            // Somebody else's, or what was ours became free, or another one, just now.
            State::Idle if page.is_tail() => return Err(InsertError::OtherOrder),
            State::Idle => match request(pgmap, entry) {
                Ok(claim) => return Ok(claim),
                // It may be free when that has been done, for which the next look waits.
                Err(Busy::Rebuilt) => {}
                // Another file requested it first, and can be joined now, unless it has let it go
                // again; or a page of it is in use as part of another folio, and stays so. A page that
                // is not shared may just have become part of a large folio.
                Err(Busy::InUse) if may_look_again && lost < most => lost += 1,
                Err(Busy::InUse) => return Err(InsertError::Busy),
            },
            State::Active(folio) => match folio.claim(entry, pgmap.pfn(), order, may_share) {
                Ok(claim) => return Ok(claim),
                Err(NoClaim::Held(folio)) => folio.wait_unheld(),
                Err(NoClaim::NotShared) => return Err(InsertError::Busy),
                Err(NoClaim::Apart) => return Err(InsertError::OtherOrder),
            },
        }
    }
}

/// [`folio::request`] after a look that found the folio idle.
fn request(pgmap: PgmapRef, entry: &LockedId<'_>) -> Result<Claim, Busy> {
    #[cfg(RUST_FSDAX_KUNIT)]
    crate::kunit::probe::request();
    folio::request(pgmap, entry)
}

/// Inserts a tracked entry for `pfn` at `index`, as a fault does, without mapping it.
///
/// # Errors
///
/// - `ENOMEM`: no memory for the xarray.
/// - `EEXIST`: there is an entry for another pfn, or of another order.
/// - `EBUSY`, `ENXIO`, `ERANGE`: as [`insert`].
///
/// Process context, may sleep. The filesystem's lock keeps breaks out. For other modules: fs/dax.c
/// has no counterpart.
pub(crate) fn insert_at(
    mapping: Mapping<'_>,
    index: usize,
    pfn: usize,
    order: Order,
    may_share: bool,
) -> Result {
    let mut locked = LockedEntry::grab(mapping, index, order)?;
    if locked.entry().order() != order {
        return Err(EEXIST);
    }
    insert(&mut locked, pfn, may_share)?;
    Ok(())
}

/// Undoes an [`insert`] that made `locked` tracked, where `old` was before.
///
/// A zapped entry is zapped again; any other becomes an empty one, which is removed when it is
/// unlocked, unless somebody got hold of the folio meanwhile: then it stays, zapped. fs/dax.c has no
/// counterpart: there the entry stays if it could not be mapped.
#[cold]
#[inline(never)]
pub(crate) fn undo_insert(locked: &mut LockedEntry<'_>, old: Entry) {
    if locked.entry().kind() != Kind::Tracked {
        return;
    }
    if old.kind() == Kind::Zapped {
        locked.zap();
    } else {
        locked.set_empty();
    }
}
