// SPDX-License-Identifier: GPL-2.0

//! Making way for a page that is in use as part of a large folio.
//!
//! A fault may make a large folio of an extent of which a page is shared later, and whoever gets
//! that page then finds it in use. XFS keeps faults out while it shares blocks, by a patch of the
//! series; this does not rely on it. fs/dax.c has no counterpart: there the page is initialized once
//! more, as if it were free.
//!
//! The entry of the other file goes. It names nothing that its file does not know: what is dirty
//! is written back, and the next fault of that file asks the filesystem for the block again, and
//! hears that it is shared now.
//!
//! Rules: R7, R17, R24.

use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use super::replace::give_up;
use crate::{
    ffi::sleep,
    folio::{
        Association,
        EntryId,
        Folio,
        FolioRef,
        Left,
        State, //
    },
    mapping::{
        waiters::{
            self,
            What, //
        },
        with_entry_of,
        Mapping, //
    },
    pgmap::{
        Order,
        PgmapRef, //
    }, //
};

/// Has the page at `pfn`, which a fault at `index` of `mapping` needs, given back by the large
/// folio around it, if there is one.
///
/// The entry that tracks the folio is written back, unmapped and removed. If pins keep the folio
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
pub(crate) fn make_way(mapping: Mapping<'_>, index: usize, pfn: usize, ms: u32) -> Result {
    let head = Order::Pmd.align(pfn);
    let pgmap = match PgmapRef::live(head, Order::Pmd) {
        // The fault finds out.
        Err(e) if e == ENXIO => return Ok(()),
        found => found?,
    };
    let folio = Folio::of(&pgmap);
    let association = match folio.look() {
        State::Active(large) if large.order() == Order::Pmd.get() => large.lock().association(),
        _ => return wait_gone(folio, &pgmap, pfn),
    };

    match association {
        // Requested by another module, for no file.
        Association::None => return Err(EBUSY),
        // All these files track it, and which they are is not known. None does so for long where
        // blocks become shared, since their next faults find that they are.
        Association::Shared(_) => {}
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
    waiters::during(What::Fault, Some(mapping), index, head, || {
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
