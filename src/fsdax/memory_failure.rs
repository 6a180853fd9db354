// SPDX-License-Identifier: GPL-2.0

//! The entry lock of memory failure.
//!
//! Counterpart of `dax_lock_folio()`, `dax_lock_mapping_entry()` and what undoes them of
//! `fs/dax.c`.
//!
//! Rules: R13.

use crate::{
    folio::{
        Folio,
        FolioRef,
        HeldFolio,
        State, //
    },
    mapping::{
        with_entry_of,
        Kind,
        LockedEntry,
        Mapping, //
    },
    pgmap::PgmapRef, //
};

/// An entry that was locked by its folio, which keeps its association: dropped, it is unlocked.
pub(crate) struct LockedFolioEntry<'l> {
    /// First, before the lock is given back: whoever waits for it is not to find the folio busy
    /// because of us.
    pub(crate) folio: HeldFolio,
    /// The lock.
    pub(crate) locked: LockedEntry<'l>,
}

/// Locks the entry that `folio` belongs to, tracked or zapped, takes a folio reference, and calls
/// `f` with both.
///
/// Without the reference a zapped entry's folio could be freed under the lock, and lose the
/// mapping that is needed to unlock it.
///
/// `None` if the folio is idle, or belongs to no file or to several. Process context, may sleep.
pub(crate) fn lock_folio<R>(
    folio: Folio<'_>,
    f: impl for<'l> FnOnce(LockedFolioEntry<'l>) -> R,
) -> Option<R> {
    with_entry_of(folio, FolioRef::hold, |locked, folio| {
        f(LockedFolioEntry { folio, locked })
    })
}

/// An entry that was locked by its file, with a folio that is active meanwhile: dropped, it is
/// unlocked.
pub(crate) struct LockedMappingEntry<'m> {
    /// The reference that a zapped entry has not. First, before the lock is given back: whoever
    /// waits for that is to find the folio idle.
    pub(crate) folio: Option<FolioRef>,
    /// The lock.
    pub(crate) locked: LockedEntry<'m>,
}

/// Locks the entry at `index`, and keeps its folio active as long as the result is there.
///
/// The flag of a poisoned page is set under the lock, and the next request of the page changes flags
/// of the same word with no atomic operations.
///
/// `None` if there is no entry with a folio that is in use, so that there is nobody to be told of a
/// failure. Process context, may sleep.
pub(crate) fn lock_mapping_entry(
    mapping: Mapping<'_>,
    index: usize,
) -> Option<LockedMappingEntry<'_>> {
    let locked = mapping.lock_entry(index)?;
    let entry = locked.entry();

    let folio = match entry.kind() {
        // The entry has a reference itself.
        Kind::Tracked => None,
        Kind::Zapped => {
            let pgmap = PgmapRef::dying_or_live(entry.pfn())?;
            match Folio::of(&pgmap).look() {
                State::Active(folio) if folio.order() == entry.order().get() => Some(folio),
                _ => return None,
            }
        }
        Kind::Zero | Kind::Empty => return None,
    };
    Some(LockedMappingEntry { folio, locked })
}
