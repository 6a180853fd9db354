// SPDX-License-Identifier: GPL-2.0

//! Entries of 1 GiB that become smaller.
//!
//! fs/dax.c has no counterpart: it has none of that size.
//!
//! Rules: R7, R9, R20, R24.

use crate::{
    folio::Left,
    mapping::LockedEntry, //
};

/// Has an entry of 1 GiB become smaller ones, since a fault wants to map a PMD of it. The fault is to be
/// taken again then. If somebody has it pinned, it stays, and single pages are mapped.
#[cold]
#[inline(never)]
pub(super) fn make_smaller(mut locked: LockedEntry<'_>) -> Left {
    // Else it would be unmapped for whoever maps all of it, each time.
    if locked.folio().is_some_and(|folio| folio.pins() > 0) {
        return Left::Busy;
    }
    locked.mapping().unmap(locked.range());
    let left = locked.zap();
    if left == Left::Idle {
        split(locked);
    }
    left
}

/// Makes 2 MiB entries of a zapped one of 1 GiB whose folio is idle, or none if it is clean.
///
/// It is written back if there is no memory for that.
pub(super) fn split(locked: LockedEntry<'_>) {
    let left = if locked.with_marks(|marks| marks.is_dirty()) {
        locked.split()
    } else {
        Err(locked)
    };
    if let Err(mut locked) = left {
        if locked.with_marks(|marks| marks.is_dirty()) {
            locked.flush_now();
        }
        // It goes when it is unlocked, unless it is busy after all.
        locked.set_empty();
    }
}
