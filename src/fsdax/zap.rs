// SPDX-License-Identifier: GPL-2.0

//! Taking the reference from an entry, whose slot stays until its folio is idle.
//!
//! Rules: R5, R6.

use crate::{
    ffi::trace,
    folio::{
        is_busy,
        Left, //
    },
    mapping::{
        After,
        At,
        Kind,
        LockedEntry,
        Mark, //
    }, //
};

/// What becomes of a slot that says nothing any more: its folio is idle, and it is not dirty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spent {
    /// It stays, with a zapped entry.
    Stays,
    /// It is removed at once, which saves a visit.
    Goes,
}

/// Zaps an entry, if it is tracked: its reference goes, the slot stays unless it is spent.
pub(super) fn zap(at: At<'_, '_>, spent: Spent) -> Left {
    let mut left = Left::Idle;

    at.zap(|seen, claim| {
        trace::zap(|| seen.event());
        left = claim.release();
        if left == Left::Busy {
            trace::break_busy(|| seen.event());
            After::Zapped(true)
        } else if spent == Spent::Stays || seen.marks().is_dirty() {
            After::Zapped(false)
        } else {
            trace::remove(|| seen.event());
            After::Removed
        }
    });
    left
}

/// Drops the reference of an entry that is not mapped. Returns whether its folio is busy.
pub(super) fn zap_locked(locked: &mut LockedEntry<'_>) -> Left {
    let pfn = locked.entry().pfn();

    let busy = match locked.entry().kind() {
        Kind::Tracked => release(locked) == Left::Busy && is_busy(pfn, locked.id()),
        Kind::Zapped => is_busy(pfn, locked.id()),
        Kind::Zero | Kind::Empty => false,
    };
    if busy {
        Left::Busy
    } else {
        Left::Idle
    }
}

/// Drops the reference of an entry, if it is tracked.
pub(super) fn release(locked: &mut LockedEntry<'_>) -> Left {
    let event = (locked.mapping(), locked.index(), locked.entry());
    let Some(claim) = locked.zap(|marks| marks.set(Mark::Busy)) else {
        return Left::Idle;
    };
    trace::zap(|| event.0.event(event.1, event.2));
    claim.release()
}
