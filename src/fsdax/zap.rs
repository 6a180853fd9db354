// SPDX-License-Identifier: GPL-2.0

//! Taking the reference from an entry, whose slot stays until its folio is idle.
//!
//! fs/dax.c has no counterpart: what is nearest is `dax_disassociate_entry()`, after which the slot
//! is cleared or used again in any case.
//!
//! Rules: R5, R6.

use crate::{
    folio::Left,
    mapping::{
        After,
        At, //
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
#[inline(always)]
pub(super) fn zap(at: At<'_, '_>, spent: Spent) -> Left {
    at.zap(|marks| {
        if spent == Spent::Stays || marks.is_dirty() {
            After::Zapped
        } else {
            After::Removed
        }
    })
}
