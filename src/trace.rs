// SPDX-License-Identifier: GPL-2.0

//! Tracepoints (`csrc/events.h`): one safe function for each.
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
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    entry::{
        Entry,
        Order, //
    },
    folio::Folio,
    mapping::{
        LockedEntry,
        Mapping,
        Range, //
    },
    pgmap::Pgmap, //
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
    rust_fsdax_insert(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_zap(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_revive(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
    rust_fsdax_remove(dev: c_uint, ino: c_ulong, index: c_ulong, pfn: c_ulong, order: c_uint);
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

fn entry_args(
    mapping: Mapping<'_>,
    index: usize,
    entry: Entry,
) -> (c_uint, c_ulong, c_ulong, c_ulong, c_uint) {
    let (dev, ino) = mapping.id();
    (dev, ino, index, entry.pfn(), entry.order().get())
}

/// A folio became active.
pub(crate) fn request(pfn: usize, order: Order) {
    rust_fsdax_request(|| (pfn, order.get(), 1));
}

/// The count of a folio reached 0.
pub(crate) fn free(folio: Folio<'_>, order: u32) {
    rust_fsdax_free(|| (folio.pfn(), order, 0));
}

/// An entry became tracked that named no block before.
pub(crate) fn insert(locked: &LockedEntry<'_>) {
    rust_fsdax_insert(|| entry_args(locked.mapping(), locked.index(), locked.entry()));
}

/// A zapped entry became tracked again.
pub(crate) fn revive(locked: &LockedEntry<'_>) {
    rust_fsdax_revive(|| entry_args(locked.mapping(), locked.index(), locked.entry()));
}

/// A tracked entry loses its reference.
pub(crate) fn zap(mapping: Mapping<'_>, index: usize, entry: Entry) {
    rust_fsdax_zap(|| entry_args(mapping, index, entry));
}

/// An entry without a reference is removed.
pub(crate) fn remove(mapping: Mapping<'_>, index: usize, entry: Entry) {
    rust_fsdax_remove(|| entry_args(mapping, index, entry));
}

/// An entry was flushed.
pub(crate) fn writeback(mapping: Mapping<'_>, index: usize, entry: Entry) {
    rust_fsdax_writeback(|| entry_args(mapping, index, entry));
}

/// A break begins to wait for the folio of a zapped entry.
pub(crate) fn wait_begin(mapping: Mapping<'_>, index: usize, entry: Entry) {
    rust_fsdax_wait_begin(|| entry_args(mapping, index, entry));
}

/// The wait ended: the folio is idle, the entry is gone, or a signal came in.
pub(crate) fn wait_end(mapping: Mapping<'_>, index: usize, entry: Entry) {
    rust_fsdax_wait_end(|| entry_args(mapping, index, entry));
}

/// A break begins.
pub(crate) fn break_begin(mapping: Mapping<'_>, range: Range) {
    rust_fsdax_break_begin(|| {
        let (dev, ino) = mapping.id();
        (dev, ino, range.first, range.last)
    });
}

/// An entry lost its reference, and its folio is still busy.
pub(crate) fn break_busy(mapping: Mapping<'_>, index: usize, entry: Entry) {
    rust_fsdax_break_busy(|| entry_args(mapping, index, entry));
}

/// A break has removed all entries of its range, or failed: what is busy or dirty is there.
pub(crate) fn break_end(mapping: Mapping<'_>, range: Range, ret: &Result) {
    rust_fsdax_break_end(|| {
        let (dev, ino) = mapping.id();
        let error = ret.as_ref().err().map_or(0, |e| e.to_errno());
        (dev, ino, range.first, range.last, error)
    });
}

fn pfn_range(pgmap: &Pgmap) -> (c_ulong, c_ulong) {
    (pgmap.first_pfn(), pgmap.last_pfn())
}

/// A pgmap is being unmapped.
pub(crate) fn removal_begin(pgmap: &Pgmap) {
    rust_fsdax_removal_begin(|| pfn_range(pgmap));
}

fn removal_args(
    pgmap: &Pgmap,
    files: usize,
    begun: Instant<Monotonic>,
) -> (c_ulong, c_ulong, c_ulong, c_ulong) {
    let (first, last) = pfn_range(pgmap);
    let ms = usize::try_from(begun.elapsed().as_millis()).unwrap_or(0);

    (first, last, files, ms)
}

/// This many files had pages of the pgmap, and have them no more: only pins are left.
pub(crate) fn removal_revoked(pgmap: &Pgmap, files: usize, begun: Instant<Monotonic>) {
    rust_fsdax_removal_revoked(|| removal_args(pgmap, files, begun));
}

/// Nobody uses a page of the pgmap any more.
pub(crate) fn removal_end(pgmap: &Pgmap, files: usize, begun: Instant<Monotonic>) {
    rust_fsdax_removal_end(|| removal_args(pgmap, files, begun));
}
