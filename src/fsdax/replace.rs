// SPDX-License-Identifier: GPL-2.0

//! Blocks that are going to be replaced in their file, and the wait for who pins them.
//!
//! Takes the place of the replacement in `dax_insert_entry()` of `fs/dax.c`, which does not wait.
//!
//! Rules: R9, R17.

use kernel::prelude::*;

use super::{
    give_up::give_back_parts,
    layout_break::REVIVED_MS, //
};
use crate::{
    ffi::{
        sleep,
        trace, //
    },
    folio::{
        is_busy,
        EntryId,
        Folio,
        State, //
    },
    mapping::{
        waiters::{
            self,
            What, //
        },
        Entry,
        Kind,
        LockedEntry,
        Mapping, //
    },
    pgmap::PgmapRef, //
};

/// For how many milliseconds in a row a store does not ask the filesystem again whether the block
/// that it waits to replace is still shared.
const ASK_AGAIN_MS: u32 = 1000;

/// Notes that a store waits to replace the block of an entry that [`super::give_up::give_up`] left
/// busy.
pub(crate) fn set_replaced(locked: &LockedEntry<'_>) {
    if let Some(pgmap) = PgmapRef::dying_or_live(locked.entry().pfn()) {
        note_replaced(&pgmap, locked.id());
    }
}

fn note_replaced(pgmap: &PgmapRef, entry: EntryId) {
    if let State::Active(folio) = Folio::of(pgmap).look() {
        folio.lock().set_replaced(entry);
    }
}

/// Whether a store has to wait before the block of this entry may be replaced: it was given up,
/// and the pins that kept it are still there.
///
/// The filesystem need not be asked for a block, and allocate one, just to find that out. That
/// the block is not shared any more nobody tells us; so the answer is no for `ms` milliseconds of
/// each second, the time that the wait after a yes lasts at most.
#[inline(always)]
pub(crate) fn is_replaced_later(locked: &LockedEntry<'_>, ms: u32) -> bool {
    locked.entry().kind() == Kind::Zapped && is_busy_until_replaced(locked, ms)
}

/// [`is_replaced_later`] of a zapped entry.
#[cold]
#[inline(never)]
fn is_busy_until_replaced(locked: &LockedEntry<'_>, ms: u32) -> bool {
    let Some(pgmap) = PgmapRef::dying_or_live(locked.entry().pfn()) else {
        return false;
    };
    match Folio::of(&pgmap).look() {
        State::Active(folio) => folio
            .lock()
            .replaced_ms(locked.id())
            .is_some_and(|age| age % ASK_AGAIN_MS >= ms),
        State::Draining | State::Idle => false,
    }
}

/// Sleeps until the folio of the zapped `entry` at `index` is not busy, or `ms` milliseconds
/// passed.
///
/// If a fault revives the entry, this ends [`REVIVED_MS`] later: a task that touches the page over
/// and over would have the caller zap it, and ask the filesystem, over and over.
///
/// # Errors
///
/// `ERESTARTSYS`: a fatal signal was pending when the wait began, or ended it.
pub(crate) fn wait_briefly(mapping: Mapping<'_>, index: usize, entry: Entry, ms: u32) -> Result {
    let Some(pgmap) = PgmapRef::dying_or_live(entry.pfn()) else {
        return Ok(());
    };
    let address = Folio::of(&pgmap).wait_address();

    give_back_parts(mapping, index, entry, Folio::of(&pgmap));
    note_replaced(&pgmap, mapping.entry_id(index));
    trace::wait_begin(|| mapping.event(index, entry));
    let ret = waiters::during(What::Fault, Some(mapping), index, entry.pfn(), || {
        sleep::on(address, |sleeper| {
            sleeper.prepare(sleep::Task::Killable)?;
            let same = mapping.look(index) == Some(entry);
            if same && is_busy(entry.pfn(), mapping.entry_id(index)) {
                sleep::for_ms(ms);
            }
            sleeper.prepare(sleep::Task::Killable)?;
            if mapping
                .look(index)
                .is_some_and(|e| e != entry && e.zapped() == entry)
            {
                sleep::for_ms(REVIVED_MS);
            }
            Ok(())
        })
    });
    trace::wait_end(|| mapping.event(index, entry));
    ret
}
