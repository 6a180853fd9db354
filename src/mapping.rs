// SPDX-License-Identifier: GPL-2.0

//! Files and their entries: `mapping->i_pages`, its marks, and the lock of an entry.
//!
//! Counterpart of `grab_mapping_entry()`, `get_next_unlocked_entry()`, `dax_lock_entry()` and
//! `dax_unlock_entry()` of `fs/dax.c`. An entry owns its reference by type: [`LockedEntry::track`]
//! takes a [`Claim`](crate::folio::Claim) in, and what zaps an entry gives one out. Nothing outside
//! of this floor can store an entry otherwise.
//!
//! What a fault is handled with is here too: the `struct vm_fault`, and the iomaps of its
//! filesystem.

mod around;
mod breaks;
mod counters;
mod entry;
mod file;
mod flush;
mod iomap;
mod locked;
mod pages;
mod scan;
mod superblock;
mod vmf;
mod walk;

pub(crate) mod waiters;

pub(crate) use around::{
    Around,
    Window, //
};
pub(crate) use breaks::{
    is_breaking,
    sleeping,
    SleepingBreaks, //
};
pub(crate) use counters::{
    Counted,
    Ended,
    Reason,
    Way, //
};
pub(crate) use entry::{
    Entry,
    Kind, //
};
pub(crate) use file::{
    Mapping,
    Range, //
};
pub(crate) use flush::Flusher;
pub(crate) use iomap::{
    Block,
    Extent,
    IomapOps,
    Iomaps, //
};
pub(crate) use locked::{
    file_of,
    with_entry_of,
    with_sharer_of,
    GrabError,
    LockedEntry, //
};
pub(crate) use pages::{
    Mark,
    BATCH, //
};
pub(crate) use scan::{
    Scan,
    Which, //
};
pub(crate) use superblock::{
    all_bound,
    bind,
    for_each_bound,
    unbind,
    Evictions,
    FileWalk,
    NoWalk, //
};
pub(crate) use vmf::{
    CowFault,
    Fault, //
};
pub(crate) use walk::{
    After,
    At,
    Seen,
    Walk, //
};
