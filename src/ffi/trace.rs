// SPDX-License-Identifier: GPL-2.0

//! Tracepoints (`csrc/events.h`): one safe function for each, of numbers.
//!
//! The macro of the kernel crate knows only the kernel's own tracepoints, so that modules need
//! one of their own.
//!
//! Rules: R12.

use kernel::{
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    prelude::*, //
};

macro_rules! declare_events {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {$(
        kernel::macros::paste! {
            #[allow(improper_ctypes)]
            mod [<$name _symbols>] {
                use super::*;

                extern "C" {
                    pub(super) static [<__tracepoint_ $name>]: kernel::bindings::tracepoint;
                    pub(super) fn [<rust_do_trace_ $name>]($($arg: $ty),*);
                }
            }

            #[inline(always)]
            fn $name(args: impl FnOnce() -> ($($ty,)*)) {
                // SAFETY: The key of a tracepoint is static.
                let on = unsafe {
                    kernel::jump_label::static_branch_unlikely!(
                        [<$name _symbols>]::[<__tracepoint_ $name>],
                        kernel::bindings::tracepoint,
                        key
                    )
                };
                if on {
                    let ($($arg,)*) = args();
                    // SAFETY: All arguments are scalars.
                    unsafe { [<$name _symbols>]::[<rust_do_trace_ $name>]($($arg),*) };
                }
            }
        }
    )*}
}

declare_events! {
    rust_fsdax_request(pfn: c_ulong, order: c_uint, refs: c_int);
    rust_fsdax_free(pfn: c_ulong, order: c_uint, refs: c_int);
    rust_fsdax_join(pfn: c_ulong, order: c_uint, entries: c_ulong, waits: c_uint);
    rust_fsdax_leave(pfn: c_ulong, order: c_uint, entries: c_ulong, waits: c_uint);
    rust_fsdax_insert(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_zap(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_revive(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_remove(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_split(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_writeback(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_wait_begin(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_wait_end(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_break_begin(dev: c_uint, ino: c_ulong, first: c_ulong, last: c_ulong);
    rust_fsdax_break_busy(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_break_end(dev: c_uint, ino: c_ulong, first: c_ulong, last: c_ulong, error: c_int);
    rust_fsdax_removal_begin(first: c_ulong, last: c_ulong);
    rust_fsdax_removal_revoked(first: c_ulong, last: c_ulong, files: c_ulong, ms: c_ulong);
    rust_fsdax_removal_end(first: c_ulong, last: c_ulong, files: c_ulong, ms: c_ulong);
}

/// What an event says of an entry: device, inode number, page offset, first pfn, order.
pub(crate) type Entry = (u32, usize, usize, usize, u32);

/// What an event says of who has a folio: its first pfn, its order, how many entries track it, and whether
/// one that does not any more waits for its pins.
pub(crate) type Sharing = (usize, u32, usize, bool);

/// What an event says of a part of a file: device, inode number, first and last page offset.
pub(crate) type Span = (u32, usize, usize, usize);

/// What an event says of a pgmap: its first and last pfn.
pub(crate) type Pfns = (usize, usize);

/// A folio became active. Any context, as all of these: `args` is called if somebody traces.
///
/// Called with the folio lock held, so that who shares the folio does so later.
#[inline(always)]
pub(crate) fn request(pfn: usize, order: u32) {
    rust_fsdax_request(|| (pfn, order, 1));
}

/// The count of the folio that `pfn` tells reached 0.
#[inline(always)]
pub(crate) fn free(pfn: impl FnOnce() -> usize, order: u32) {
    rust_fsdax_free(|| (pfn(), order, 0));
}

/// An entry was added to those that track an active folio. Called with the folio lock held, as
/// [`leave`].
#[inline(always)]
pub(crate) fn join(args: impl FnOnce() -> Sharing) {
    rust_fsdax_join(|| sharing(args()));
}

/// An entry is none of those any more, and there are other references.
#[inline(always)]
pub(crate) fn leave(args: impl FnOnce() -> Sharing) {
    rust_fsdax_leave(|| sharing(args()));
}

fn sharing((pfn, order, entries, waits): Sharing) -> (usize, u32, usize, u32) {
    (pfn, order, entries, u32::from(waits))
}

/// An entry became tracked that named no block before.
#[inline(always)]
pub(crate) fn insert(args: impl FnOnce() -> Entry) {
    rust_fsdax_insert(args);
}

/// A zapped entry became tracked again.
#[inline(always)]
pub(crate) fn revive(args: impl FnOnce() -> Entry) {
    rust_fsdax_revive(args);
}

/// A tracked entry loses its reference.
#[inline(always)]
pub(crate) fn zap(args: impl FnOnce() -> Entry) {
    rust_fsdax_zap(args);
}

/// An entry without a reference is removed.
#[inline(always)]
pub(crate) fn remove(args: impl FnOnce() -> Entry) {
    rust_fsdax_remove(args);
}

/// A zapped entry of 1 GiB becomes 512 smaller ones, zapped as it was.
#[inline(always)]
pub(crate) fn split(args: impl FnOnce() -> Entry) {
    rust_fsdax_split(args);
}

/// An entry was flushed.
#[inline(always)]
pub(crate) fn writeback(args: impl FnOnce() -> Entry) {
    rust_fsdax_writeback(args);
}

/// A break begins to wait for the folio of a zapped entry.
#[inline(always)]
pub(crate) fn wait_begin(args: impl FnOnce() -> Entry) {
    rust_fsdax_wait_begin(args);
}

/// The wait ended: the folio is idle, the entry is gone, or a signal came in.
#[inline(always)]
pub(crate) fn wait_end(args: impl FnOnce() -> Entry) {
    rust_fsdax_wait_end(args);
}

/// A break begins.
#[inline(always)]
pub(crate) fn break_begin(args: impl FnOnce() -> Span) {
    rust_fsdax_break_begin(args);
}

/// An entry lost its reference, and its folio is still busy.
#[inline(always)]
pub(crate) fn break_busy(args: impl FnOnce() -> Entry) {
    rust_fsdax_break_busy(args);
}

/// A break has removed all entries of its range, or failed: what is busy or dirty is there.
#[inline(always)]
pub(crate) fn break_end(args: impl FnOnce() -> Span, ret: &Result) {
    rust_fsdax_break_end(|| {
        let (dev, ino, first, last) = args();
        let error = ret.as_ref().err().map_or(0, |e| e.to_errno());
        (dev, ino, first, last, error)
    });
}

/// A pgmap is being unmapped.
#[inline(always)]
pub(crate) fn removal_begin(args: impl FnOnce() -> Pfns) {
    rust_fsdax_removal_begin(args);
}

/// This many files had pages of the pgmap, and have them no more: only pins are left. `ms` is how
/// long it took.
#[inline(always)]
pub(crate) fn removal_revoked(args: impl FnOnce() -> Pfns, files: usize, ms: usize) {
    rust_fsdax_removal_revoked(|| {
        let (first, last) = args();
        (first, last, files, ms)
    });
}

/// Nobody uses a page of the pgmap any more.
#[inline(always)]
pub(crate) fn removal_end(args: impl FnOnce() -> Pfns, files: usize, ms: usize) {
    rust_fsdax_removal_end(|| {
        let (first, last) = args();
        (first, last, files, ms)
    });
}
