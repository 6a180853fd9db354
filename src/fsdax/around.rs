// SPDX-License-Identifier: GPL-2.0

//! Mapping what lies behind the page of a read fault, for who reads one page after the other.
//!
//! A fault of 4 KiB costs the same whether the page behind it will be read or not: nearly all of it is
//! what mm/ and the filesystem do to get there. So a read fault that follows on two others maps up to
//! 64 KiB, in the extent that the filesystem has named anyway. What is not free at once is left to a
//! fault of its own.
//!
//! fs/dax.c has no counterpart. For files with a page cache that is `filemap_map_pages()`.
//!
//! Rules: R1, R5, R6, R10, R24.

use crate::{
    folio::{
        request_as_is,
        Claim,
        LockedId, //
    },
    mapping::{
        Around,
        Block,
        Extent,
        Fault,
        LockedEntry,
        Window, //
    },
    pgmap::{
        DevicePiece,
        DeviceReadGuard,
        Order, //
    }, //
};

/// Maps those pages of `window` that lie in `extent`, behind the page of the fault, which is mapped, and
/// that `locked` tracks.
///
/// Neither waits for anything, nor fails: what cannot be mapped is left out. Blocks that are shared are
/// left to faults of their own, which find out who else has them.
#[inline(never)]
pub(super) fn map_around(
    vmf: Fault<'_>,
    extent: &Extent<'_>,
    locked: &LockedEntry<'_>,
    window: Window,
) {
    let window = extent.around(window);
    if window.is_empty() || extent.block() != Block::Mapped || extent.is_shared() {
        return;
    }
    let device = DeviceReadGuard::new();
    // The device knows of bad blocks that it did not know of when a large entry was made.
    let Ok(piece) = extent.piece(&device, window.pages()) else {
        return;
    };
    let window = window.up_to(piece.pages());
    let around = match locked.entry().order() {
        Order::Pte => Around::track(locked, window, |n, entry| claim(&piece, n, entry)),
        Order::Pmd | Order::Pud => Around::inside(locked, vmf.index(), window),
    };
    drop(device);
    vmf.map_around(&around);
}

/// Claims page `n` of `piece` for an entry, if it is free.
#[inline(always)]
fn claim(piece: &DevicePiece<'_>, n: usize, entry: &LockedId<'_>) -> Option<Claim> {
    let pgmap = piece.reference(n).ok()?;

    request_as_is(pgmap, entry).ok()
}
