// SPDX-License-Identifier: GPL-2.0

//! Making way for a page that is in use as part of a large folio.
//!
//! Whoever shares blocks with a large folio has parts of it. A file that does not share them, or one
//! more than can, finds its page in use nevertheless. fs/dax.c has no counterpart: there the page is
//! initialized once more, as if it were free.
//!
//! The entries of the other files go. They name nothing that their files do not know: what is dirty
//! is written back, and the next faults of these files ask the filesystem for the block again.
//!
//! Rules: R7, R17, R24.

use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use super::give_up::{
    give_back,
    give_up, //
};
use crate::{
    ffi::sleep,
    folio::{
        Association,
        EntryId,
        Folio,
        FolioRef,
        Left,
        State,
        Which, //
    },
    mapping::{
        waiters::{
            self,
            What, //
        },
        with_entry_of,
        with_sharer_of,
        Mapping, //
    },
    pgmap::{
        Order,
        PgmapRef, //
    }, //
};

/// Has the page at `pfn`, which a fault at `index` of `mapping` needs, given back by the large
/// folio around it, if there is one, or has room made for it among those who share that, if the block
/// `may_share`.
///
/// The entries that track the folio are written back, unmapped and removed. If pins keep the folio
/// nevertheless, this sleeps until they are gone or `ms` milliseconds passed. In any case it
/// depends on the next fault how it goes on.
///
/// The caller holds no entry lock: this takes that of the other file. It may hold the filesystem's
/// lock of its own file, for which no holder of an entry lock waits. Process context, may sleep.
///
/// # Errors
///
/// - `ERESTARTSYS`: a fatal signal was pending when the wait began.
/// - `EBUSY`: the folio belongs to no file, or not to this module.
/// - `ERANGE`: there can be no large folio around the page.
pub(crate) fn make_way(
    mapping: Mapping<'_>,
    index: usize,
    pfn: usize,
    may_share: bool,
    ms: u32,
) -> Result {
    let head = Order::Pmd.align(pfn);
    let pgmap = match PgmapRef::live(head, Order::Pmd) {
        // The fault finds out.
        Err(e) if e == ENXIO => return Ok(()),
        found => found?,
    };
    let folio = Folio::of(&pgmap).whole();
    let association = match folio.look() {
        State::Active(large) if large.order() != Order::Pte.get() => large.lock().association(),
        _ => return wait_gone(folio, &pgmap, pfn),
    };

    match association {
        // Requested by another module, for no file.
        Association::None => return Err(EBUSY),
        // More files have the block than can share a large folio: one of them makes room.
        Association::Shared(_) if may_share => {
            let which = Which::One(mapping.address());
            if with_sharer_of(folio, which, |mut locked| give_up(&mut locked)).is_some() {
                return Ok(());
            }
        }
        // They have no business here any more.
        Association::Shared(_) => {
            if !give_back(folio, Which::All) {
                return Ok(());
            }
        }
        Association::Owned { .. } => {
            let left = with_entry_of(folio, if_owned, |mut locked, reference| {
                // If the locked entry is tracked it keeps its own one, and `give_up` looks at the
                // rest.
                drop(reference);
                give_up(&mut locked)
            });
            if left != Some(Left::Busy) {
                return Ok(());
            }
        }
    }
    waiters::during(What::Fault, Some(mapping), index, folio.pfn(), || {
        wait_idle(folio, ms)
    })
}

/// Gives the reference back if the folio does not belong to `entry` alone.
fn if_owned(folio: FolioRef, entry: EntryId) -> Result<FolioRef, FolioRef> {
    let owned = folio.lock().is_owned_by(entry);
    if owned {
        Ok(folio)
    } else {
        Err(folio)
    }
}

/// [`make_way`] where no large folio is active: it is gone, or on its way.
fn wait_gone(folio: Folio<'_>, pgmap: &PgmapRef, pfn: usize) -> Result {
    folio.wait_drained();
    // A large folio around `pfn` fits into the memory that `pgmap` was taken for.
    match pgmap.page_at(pfn) {
        Some(page) if folio.is_foreign_at(page) => Err(EBUSY),
        _ => Ok(()),
    }
}

/// Sleeps until `folio` is idle or `ms` milliseconds passed.
///
/// That its entry is revived meanwhile wakes us, but is no reason to unmap it again at once: a task
/// that touches the page over and over would have us do so over and over.
fn wait_idle(folio: Folio<'_>, ms: u32) -> Result {
    let begun = Instant::<Monotonic>::now();

    sleep::on(folio.wait_address(), |sleeper| loop {
        sleeper.prepare(sleep::Task::Killable)?;
        if matches!(folio.look(), State::Idle) {
            return Ok(());
        }
        let passed = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX);
        if passed >= ms || sleep::for_ms(ms - passed) {
            return Ok(());
        }
    })
}
