// SPDX-License-Identifier: GPL-2.0

//! Holes that write(2) fills: the pages that show them go.
//!
//! Takes the place of `invalidate_inode_pages2_range()` in `dax_iomap_iter()` of `fs/dax.c`.
//!
//! Rules: R9.

use crate::{
    mapping::{
        Kind,
        Mapping,
        Range,
        Walk, //
    }, //
};

/// Makes sure that no page table shows the zero page in `range`, where data is going to be.
///
/// For write(2), whose blocks are there by now, so that no fault finds a hole any more. A block
/// that was not there when it was read need not be new now: ext4 zeroes and converts all of a
/// short unwritten extent when a part of it is written. Process context, may sleep.
pub(crate) fn unmap_holes(mapping: Mapping<'_>, range: Range) {
    if mapping.is_empty() {
        return;
    }
    let mut holes: Option<Range> = None;
    let mut walk = Walk::new(mapping, range);

    // It waits for entries that are locked, maybe by a fault that found a hole before there was a
    // block.
    while let Some(at) = walk.next() {
        if at.entry().kind() == Kind::Zero {
            // All of a large one, which goes even if only a part of it is written.
            let Range { first, last } = at.range();
            let first = holes.map_or(first, |holes| holes.first);
            holes = Some(Range { first, last });
        }
    }
    drop(walk);
    if let Some(holes) = holes {
        // A fault of one of them finds the block by now, unmaps the zero page, and makes the entry
        // a tracked one: none that is left is mapped again.
        mapping.unmap(holes);
        remove_holes(mapping, range);
    }
}

/// Removes the entries for holes in `range`, which are not mapped and where there are blocks.
fn remove_holes(mapping: Mapping<'_>, range: Range) {
    let mut walk = Walk::new(mapping, range);

    while let Some(at) = walk.next() {
        if at.entry().kind() == Kind::Zero {
            at.remove();
        }
    }
}
