// SPDX-License-Identifier: GPL-2.0

//! Entries that go, or become clean, without a break.
//!
//! Counterpart of `dax_delete_mapping_range()`, `dax_delete_mapping_entry()`,
//! `dax_invalidate_mapping_entry_sync()`, `__dax_invalidate_entry()` and `__dax_clear_dirty_range()` of
//! `fs/dax.c`.
//!
//! Rules: R6, R9, R12.

use super::layout_break::{
    break_layouts,
    remove_settled,
    wait_for,
    Data,
    OnBusy, //
};
use crate::{
    ffi::warn::warn_on_once,
    folio::Left,
    mapping::{
        Kind,
        LockedEntry,
        Mapping,
        Range,
        Walk, //
    }, //
};

/// Removes the entries in `range`, which the caller knows to be idle.
///
/// Most often that is what a break left for the filesystem to decide on ([`Data::Decide`]): it is
/// mapped nowhere and holds nothing. Anything else has its layout broken. Entries that are busy
/// after all stay, zapped, and are warned about. Process context, may sleep. Follows
/// `dax_delete_mapping_range()`.
pub(crate) fn delete_range(mapping: Mapping<'_>, range: Range) {
    if remove_settled(mapping, range) == Left::Idle {
        return;
    }
    let busy = break_layouts(mapping, range, Data::Discard, OnBusy::Fail).is_err();
    warn_on_once!(busy);
}

/// How [`invalidate_entry`] ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Removed {
    /// The entry is gone.
    Yes,
    /// There was none.
    Absent,
    /// It is dirty.
    Dirty,
    /// Its folio is busy; it was zapped and stays until a break or removal finds it idle.
    Busy,
}

/// Removes the entry at `index`, unless its folio is busy, or it is dirty and `data` is kept.
///
/// It is unmapped first: were it removed first, a fault could come in between and find a stale
/// page table entry. That is not done where nothing maps it, since callers remove the entries of a
/// range one by one. Process context, may sleep. Follows `__dax_invalidate_entry()`.
pub(crate) fn invalidate_entry(mapping: Mapping<'_>, index: usize, data: Data) -> Removed {
    let Some(locked) = mapping.lock_entry(index) else {
        return Removed::Absent;
    };
    let dirty = locked.with_marks(|marks| marks.is_dirty());
    if dirty && data == Data::Keep {
        return Removed::Dirty;
    }
    if may_be_mapped(&locked) {
        mapping.unmap(locked.range());
    }
    match locked.remove() {
        Left::Busy => Removed::Busy,
        Left::Idle => Removed::Yes,
    }
}

/// Whether any page table entry may show what `locked` names.
///
/// No fault maps it while it is locked, and what copies or moves page table entries does not make
/// the first one.
fn may_be_mapped(locked: &LockedEntry<'_>) -> bool {
    match locked.folio() {
        Some(folio) => folio.mapcount() != 0,
        // A removal zaps before it unmaps, and zero pages are not counted.
        None => locked.entry().kind() != Kind::Empty,
    }
}

/// Removes the entry at `index` in any case, waiting until its folio is idle.
///
/// Returns whether there was one. Process context, may sleep. Follows
/// `dax_delete_mapping_entry()`.
pub(crate) fn delete_entry(mapping: Mapping<'_>, index: usize) -> bool {
    loop {
        match invalidate_entry(mapping, index, Data::Discard) {
            Removed::Yes => return true,
            Removed::Busy => {
                if let Some(entry) = mapping.look(index).filter(|e| e.kind() == Kind::Zapped) {
                    let range = Range::of_entry(index, entry.order());
                    // Cannot fail without a signal to interrupt it.
                    let _ = wait_for(mapping, range, range.first, entry, &OnBusy::Delete);
                }
            }
            Removed::Absent | Removed::Dirty => return false,
        }
    }
}

/// Clears the dirty marks in `range`, whose data is about to be replaced.
///
/// Process context, may sleep. Follows `__dax_clear_dirty_range()`.
pub(crate) fn clear_dirty_range(mapping: Mapping<'_>, range: Range) {
    let mut walk = Walk::new(mapping, range);

    while let Some(mut at) = walk.next() {
        // The rest of an entry that is only partly in the range has data that was not replaced.
        if !at.is_partial() {
            at.marks().clean();
        }
    }
}
