// SPDX-License-Identifier: GPL-2.0

//! Entries that a file gives up, and asks the filesystem for the block again when it needs it.
//!
//! fs/dax.c has no counterpart.
//!
//! Rules: R7, R9, R17, R24.

use crate::{
    folio::{
        Folio,
        Left,
        State,
        Which, //
    },
    mapping::{
        with_sharer_of,
        Entry,
        LockedEntry,
        Mapping, //
    },
    pgmap::Order, //
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
    locked.set_empty()
}

/// How many entries others give up at most before somebody else gets a chance.
const MOST: usize = 1024;

/// Has the files that have single pages of a large folio give these up, of which the zapped `entry` at
/// `index` had all, and waits until it is idle.
///
/// Nobody gets a new one meanwhile, and everybody afterwards: to finish what they do may be what drops
/// the pins. Whoever waits looks again at some time.
///
/// The caller holds no entry lock: this takes those of other files. It may hold the filesystem's lock
/// of its own file, for which no holder of an entry lock waits. Process context, may sleep.
pub(super) fn give_back_parts(mapping: Mapping<'_>, index: usize, entry: Entry, folio: Folio<'_>) {
    let id = mapping.entry_id(index);
    let set_closed = |closed| match folio.look() {
        State::Active(folio) => folio.lock().set_closed(id, closed),
        State::Draining | State::Idle => false,
    };

    if entry.order() == Order::Pte || !set_closed(true) {
        return;
    }
    give_back(folio, Which::PartsBeside(id));
    set_closed(false);
    folio.wait_address().wake();
}

/// Has files that share a large folio give it up. They may take it again at once.
///
/// Returns whether that is all that was to be done. As [`give_back_parts`].
pub(super) fn give_back(folio: Folio<'_>, which: Which) -> bool {
    (0..MOST).any(|_| with_sharer_of(folio, which, |mut locked| give_up(&mut locked)).is_none())
}
