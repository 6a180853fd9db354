// SPDX-License-Identifier: GPL-2.0

//! A file, as its `struct address_space`, and parts of it.
//!
//! fs/dax.c has no counterpart: it passes a `struct address_space`.
//!
//! Rules: R8, R9, R14.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    prelude::*,
    ptr::project, //
};

use super::entry::Entry;
use crate::{
    ffi::{
        bindings,
        trace,
        PAGE_SHIFT, //
    },
    folio::EntryId,
    pgmap::Order, //
};

/// Page offsets `first..=last` of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    /// First page offset.
    pub(crate) first: usize,
    /// Last page offset, included.
    pub(crate) last: usize,
}

impl Range {
    /// All of a file.
    pub(crate) const ALL: Self = Self {
        first: 0,
        last: usize::MAX,
    };

    /// The pages that the bytes `start..=end` touch; `end` of `i64::MAX` or below 0 stands for the
    /// end of the file, as in fs/dax.c and its callers. `None` if there are none.
    pub(crate) fn from_bytes(start: i64, end: i64) -> Option<Self> {
        let first = usize::try_from(start).ok()? >> PAGE_SHIFT;
        let last = match usize::try_from(end) {
            Ok(end) if end < i64::MAX as usize => end >> PAGE_SHIFT,
            _ => usize::MAX,
        };
        (first <= last).then_some(Self { first, last })
    }

    /// The pages that an entry of `order` at `index` stands for.
    pub(crate) fn of_entry(index: usize, order: Order) -> Self {
        let first = order.align(index);
        Self {
            first,
            last: first + (order.pages() - 1),
        }
    }

    /// The pages of a folio of `order` that starts at `start`, as far as there are such page offsets:
    /// it may wrap around below 0.
    pub(crate) fn of_folio(start: usize, order: Order) -> Self {
        let last = start.wrapping_add(order.pages() - 1);
        Self {
            first: if last < start { 0 } else { start },
            last,
        }
    }

    /// What is in this range and in `other`, where there is something.
    pub(crate) fn intersection(self, other: Self) -> Self {
        Self {
            first: self.first.max(other.first),
            last: self.last.min(other.last),
        }
    }

    /// Whether all of `other` is in this range.
    pub(crate) fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// The `struct address_space` of a DAX file that is not freed during `'a`.
///
/// # Invariants
///
/// `.0` is valid during `'a`, and so are its host and the superblock of that. Where one is made of
/// an association it may be evicted, and has no entry then; else it is not evicted during `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Mapping<'a>(NonNull<bindings::address_space>, PhantomData<&'a ()>);

impl<'a> Mapping<'a> {
    /// Borrows a C mapping.
    ///
    /// # Safety
    ///
    /// `mapping` is valid and has a host, and both stay during `'a`. The memory of the host is freed
    /// after a grace period.
    pub(crate) unsafe fn from_raw(mapping: *mut bindings::address_space) -> Self {
        // SAFETY: The caller promises a valid pointer.
        // INVARIANT: What the caller promises; a superblock outlives its inodes.
        Self(unsafe { NonNull::new_unchecked(mapping) }, PhantomData)
    }

    /// The mapping of an inode.
    ///
    /// # Safety
    ///
    /// `inode` is valid, is the host of its mapping, and is not evicted during `'a`. Its memory is
    /// freed after a grace period.
    pub(crate) unsafe fn of_inode(inode: *mut bindings::inode) -> Self {
        // SAFETY: The caller promises a valid inode, whose mapping is constant.
        let mapping = unsafe { (*inode).i_mapping };
        // SAFETY: The caller promises that the inode is the host, and stays.
        unsafe { Self::from_raw(mapping) }
    }

    /// The C object.
    pub(crate) fn as_raw(self) -> *mut bindings::address_space {
        self.0.as_ptr()
    }

    /// Its address, as an identity.
    pub(crate) fn address(self) -> usize {
        self.as_raw() as usize
    }

    /// Names the entry at `index`.
    #[inline(always)]
    pub(crate) fn entry_id(self, index: usize) -> EntryId {
        // SAFETY: By the type invariant it is valid and has a host. An inode is evicted, and waits
        // until it has no entries, before its memory is freed, after a grace period.
        unsafe { EntryId::new(self.as_raw(), index) }
    }

    /// The inode.
    pub(super) fn host(self) -> *mut bindings::inode {
        // SAFETY: By the type invariant the mapping is valid; its host is constant.
        unsafe { (*self.as_raw()).host }
    }

    /// The superblock.
    pub(super) fn superblock(self) -> *mut bindings::super_block {
        // SAFETY: By the type invariant the host is valid; its superblock is constant.
        unsafe { (*self.host()).i_sb }
    }

    /// Whether it is a DAX file.
    pub(crate) fn is_dax(self) -> bool {
        // SAFETY: By the type invariant the host is valid.
        unsafe { (*self.host()).i_flags & bindings::S_DAX != 0 }
    }

    /// Whether files of this filesystem share blocks because they were cloned, so that all of them are
    /// of one superblock.
    pub(crate) fn can_clone(self) -> bool {
        // SAFETY: By the type invariant the host is valid; its methods are constant.
        unsafe { bindings::rust_fsdax_can_clone(self.host()) }
    }

    /// Who serves it, as an identity.
    pub(crate) fn provider(self) -> usize {
        // SAFETY: By the type invariant the superblock is valid. Its provider is a word, which changes
        // only with that of all DAX devices.
        unsafe { project!(self.superblock(), .s_dax_provider).read_volatile() as usize }
    }

    /// Device and inode number, for messages.
    pub(crate) fn id(self) -> (u32, usize) {
        // SAFETY: By the type invariant the superblock is valid; its number is constant.
        let dev = unsafe { (*self.superblock()).s_dev };
        // SAFETY: By the type invariant the host is valid; its number is constant.
        let ino = unsafe { (*self.host()).i_ino };
        (dev, ino as usize)
    }

    /// What an event says of `entry` at `index`.
    pub(crate) fn event(self, index: usize, entry: Entry) -> trace::Entry {
        let (dev, ino) = self.id();
        (dev, ino, index, entry.pfn(), entry.order().get())
    }

    /// What an event says of a range.
    pub(crate) fn span(self, range: Range) -> trace::Span {
        let (dev, ino) = self.id();
        (dev, ino, range.first, range.last)
    }

    /// The size of the file in bytes.
    pub(crate) fn size(self) -> i64 {
        // SAFETY: By the type invariant the host is valid; an aligned 64-bit load, as
        // `i_size_read()` does.
        unsafe { project!(self.host(), .i_size).read_volatile() }
    }

    /// Whether there is no entry at all.
    pub(crate) fn is_empty(self) -> bool {
        // SAFETY: By the type invariant the mapping is valid.
        unsafe { bindings::rust_fsdax_mapping_empty(self.as_raw()) }
    }

    pub(super) fn i_pages(self) -> *mut bindings::xarray {
        project!(mut self.as_raw(), .i_pages)
    }

    /// How nodes of `i_pages` are allocated.
    pub(super) fn gfp(self) -> bindings::gfp_t {
        // SAFETY: By the type invariant the mapping is valid; this is constant.
        unsafe { (*self.as_raw()).gfp_mask & !bindings::__GFP_HIGHMEM }
    }

    /// Removes all page table entries that map `range`, private copies excluded. May sleep.
    pub(crate) fn unmap(self, range: Range) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::unmap();
        // A count of 0 means "all that is behind".
        let pages = (range.last - range.first).wrapping_add(1);
        // SAFETY: By the type invariant the mapping is valid.
        unsafe { bindings::unmap_mapping_pages(self.as_raw(), range.first, pages, false) }
    }

    /// Tells writeback that the file has dirty pages. May sleep.
    pub(crate) fn mark_inode_dirty(self) {
        let dirty_pages = bindings::inode_state_flags_enum_I_DIRTY_PAGES as i32;
        // SAFETY: By the type invariant the host is valid.
        unsafe { bindings::__mark_inode_dirty(self.host(), dirty_pages) }
    }

    /// Records an error for the next `fsync()`.
    pub(crate) fn set_error(self, error: Error) {
        // SAFETY: By the type invariant the mapping is valid.
        unsafe { bindings::rust_fsdax_mapping_set_error(self.as_raw(), error.to_errno()) }
    }

    /// Marks what is dirty in `range` as what this writeback has to flush.
    pub(crate) fn tag_for_writeback(self, range: Range) {
        // SAFETY: By the type invariant the mapping is valid.
        unsafe { bindings::tag_pages_for_writeback(self.as_raw(), range.first, range.last) }
    }
}
