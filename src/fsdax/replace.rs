// SPDX-License-Identifier: GPL-2.0

//! Blocks that are going to be replaced in their file, and the wait for who pins them.
//!
//! Takes the place of the replacement in `dax_insert_entry()` of `fs/dax.c`, which does not wait.
//!
//! Rules: R9, R17.

use kernel::prelude::*;

use super::{
    layout_break::REVIVED_MS,
    zap::zap_locked, //
};
use crate::{
    ffi::{
        sleep,
        trace, //
    },
    folio::{
        is_busy,
        Folio,
        Left,
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
        Mapping,
        Mark, //
    },
    pgmap::PgmapRef, //
};

/// Makes `locked` an empty entry, because its block is going to be replaced in the file.
///
/// What is dirty is written back first: the block may live on in another file. If somebody has
/// the folio pinned whom no entry of another file would wait for, the entry stays, zapped and
/// unmapped, and the block must not be replaced yet: it could be freed, and used again, under the
/// pin. Process context, may sleep.
#[cold]
#[inline(never)]
pub(crate) fn give_up(locked: &mut LockedEntry<'_>) -> Left {
    if locked.with_marks(|marks| marks.is_dirty()) {
        locked.flush_now();
    }
    locked.mapping().unmap(locked.range());
    let left = zap_locked(locked);
    if left == Left::Idle {
        if locked.entry().kind() != Kind::Empty {
            trace::remove(|| locked.event());
        }
        locked.set_empty(|marks| marks.clear(Mark::Busy));
    }
    left
}

/// For how many milliseconds in a row a store does not ask the filesystem again whether the block
/// that it waits to replace is still shared.
const ASK_AGAIN_MS: u32 = 1000;

/// Notes that a store waits to replace the block of an entry that [`give_up`] left busy.
pub(crate) fn set_replaced(locked: &LockedEntry<'_>) {
    if let Some(pgmap) = PgmapRef::dying_or_live(locked.entry().pfn()) {
        if let State::Active(folio) = Folio::of(&pgmap).look() {
            folio.lock().set_replaced(locked.id());
        }
    }
}

/// Whether a store has to wait before the block of this entry may be replaced: it was given up,
/// and the pins that kept it are still there.
///
/// The filesystem need not be asked for a block, and allocate one, just to find that out. That
/// the block is not shared any more nobody tells us; so the answer is no for `ms` milliseconds of
/// each second, the time that the wait after a yes lasts at most.
pub(crate) fn is_replaced_later(locked: &LockedEntry<'_>, ms: u32) -> bool {
    if locked.entry().kind() != Kind::Zapped {
        return false;
    }
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
