// SPDX-License-Identifier: GPL-2.0

//! What the filesystem says of a part of a file, for a fault.
//!
//! Counterpart of the loops of `iomap_iter()` in `dax_iomap_pte_fault()` and
//! `dax_iomap_pmd_fault()` ([`Iomaps`]), and of `dax_iomap_pgoff()`, of `fs/dax.c`.
//!
//! Rules: R17, R24.

use core::marker::PhantomData;

use kernel::prelude::*;

use super::file::Mapping;
use crate::{
    ffi::{
        bindings,
        inject::{
            self,
            Point, //
        },
        warn::warn_on_once,
        PAGE_SHIFT, //
    },
    pgmap::{
        DaxDevice,
        DeviceMemory,
        DevicePiece,
        DeviceReadGuard,
        Order, //
    }, //
};

/// How a filesystem says where a file is.
///
/// # Invariants
///
/// The pointer is to a table of a filesystem that is valid during `'a`.
#[derive(Clone, Copy)]
pub(crate) struct IomapOps<'a>(*const bindings::iomap_ops, PhantomData<&'a ()>);

impl IomapOps<'_> {
    /// Borrows a C table.
    ///
    /// # Safety
    ///
    /// `ops` is valid during `'a`, and is that of the filesystem whose files it is used for.
    pub(crate) unsafe fn from_raw(ops: *const bindings::iomap_ops) -> Self {
        // INVARIANT: What the caller promises.
        Self(ops, PhantomData)
    }
}

/// The extents of a part of a file, one after the other.
///
/// Each is ended, and so is the one that it is at when it is dropped: the filesystem's `iomap_end`
/// follows on `iomap_begin`. It goes on behind what was [done](Extent::done), and ends where nothing
/// was.
///
/// # Invariants
///
/// `iter` is initialized, and driven by `iomap_iter()` with `ops` only.
pub(crate) struct Iomaps<'a> {
    iter: bindings::iomap_iter,
    ops: IomapOps<'a>,
    order: Order,
    /// What ended the iteration: an errno, or 0.
    error: i32,
    ended: bool,
}

impl<'a> Iomaps<'a> {
    /// For the fault of `order` at `index`, which is aligned; of a store if `write`.
    #[inline(always)]
    pub(crate) fn new(
        mapping: Mapping<'a>,
        index: usize,
        order: Order,
        write: bool,
        ops: IomapOps<'a>,
    ) -> Self {
        // INVARIANT: Initialized here, where it stays: it is large.
        let mut iomaps = Self {
            // SAFETY: All of its fields may be 0, as the designated initializers of C have it.
            iter: unsafe { core::mem::zeroed() },
            ops,
            order,
            error: 0,
            ended: false,
        };
        iomaps.iter.inode = mapping.host();
        iomaps.iter.pos = (index as i64) << PAGE_SHIFT;
        iomaps.iter.len = (order.pages() << PAGE_SHIFT) as u64;
        iomaps.iter.flags = bindings::IOMAP_DAX | bindings::IOMAP_FAULT;
        if write {
            iomaps.iter.flags |= bindings::IOMAP_WRITE;
        }
        iomaps
    }

    /// Has the filesystem asked for so many pages from the index on, of which one order is needed.
    #[inline(always)]
    pub(crate) fn look_ahead(&mut self, pages: usize) {
        self.iter.len = (pages << PAGE_SHIFT) as u64;
    }

    /// Ends the extent that it is at, and asks the filesystem for the next one.
    ///
    /// `None` at the end. An extent that is shorter than the order ends the iteration: for a page
    /// that is an error of the filesystem. May sleep.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Extent<'_>> {
        if self.ended {
            return None;
        }
        // Only the first round has nothing to end.
        if self.iter.iomap.length == 0 && inject::fails(Point::Begin) {
            self.ended = true;
            self.error = EIO.to_errno();
            return None;
        }
        while self.go_on() {
            // SAFETY: By the type invariant `iter` is initialized.
            let length = unsafe { bindings::rust_fsdax_iomap_length(&self.iter) };
            if length >= (self.order.pages() << PAGE_SHIFT) as u64 {
                // INVARIANT: Just asked for, and long enough.
                return Some(Extent {
                    iter: &mut self.iter,
                    order: self.order,
                    filled: false,
                });
            }
            if self.order == Order::Pte {
                // A corrupt filesystem.
                warn_on_once!(true);
                self.iter.status = EIO.to_errno();
            }
            // The iteration ends, since nothing was consumed.
        }
        None
    }

    #[inline(always)]
    fn go_on(&mut self) -> bool {
        // SAFETY: By the type invariant `iter` is initialized, and by that of `IomapOps` the table is
        // the filesystem's.
        let more = unsafe { bindings::rust_fsdax_iomap_iter(&mut self.iter, self.ops.0) };
        if more <= 0 {
            self.ended = true;
            self.error = more;
        }
        more > 0
    }

    /// The errno that the iteration ended with, or 0.
    pub(crate) fn error(&self) -> i32 {
        self.error
    }
}

impl Drop for Iomaps<'_> {
    fn drop(&mut self) {
        // What was begun is ended: the next extent is not done, so that there is no other one.
        while !self.ended && self.iter.iomap.length != 0 && self.go_on() {}
    }
}

/// What is at a place in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Block {
    /// Nothing that can be read: a hole, or a block that was not written yet.
    Hole,
    /// A block.
    Mapped,
    /// Something that a fault cannot be served from.
    Other,
}

/// One extent, of which as much as was asked for can be used.
///
/// # Invariants
///
/// `iter` is that of an [`Iomaps`], and at this extent, which is not shorter than `order` there.
pub(crate) struct Extent<'i> {
    iter: &'i mut bindings::iomap_iter,
    order: Order,
    /// Whether a copy has what the old block has.
    filled: bool,
}

impl Extent<'_> {
    /// What is there.
    pub(crate) fn block(&self) -> Block {
        match u32::from(self.iter.iomap.type_) {
            bindings::IOMAP_HOLE | bindings::IOMAP_UNWRITTEN => Block::Hole,
            bindings::IOMAP_MAPPED => Block::Mapped,
            _ => Block::Other,
        }
    }

    fn has(&self, flag: u32) -> bool {
        u32::from(self.iter.iomap.flags) & flag != 0
    }

    /// Whether other files have the block, too.
    pub(crate) fn is_shared(&self) -> bool {
        self.has(bindings::IOMAP_F_SHARED)
    }

    /// Whether the filesystem has yet to write down that the block is there.
    pub(crate) fn is_dirty(&self) -> bool {
        self.has(bindings::IOMAP_F_DIRTY)
    }

    /// Whether the block was made for this fault.
    pub(crate) fn is_new(&self) -> bool {
        self.has(bindings::IOMAP_F_NEW)
    }

    /// Whether the block is one for a copy of a shared one, which it replaces.
    pub(crate) fn is_copy(&self) -> bool {
        self.is_shared() && self.iter.flags & bindings::IOMAP_WRITE != 0
    }

    /// The memory of the block, or for a copy that of the new one, with what the old one has.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: the device has less than the order in one piece, or not aligned.
    /// - `EIO`, or what the device says.
    ///
    /// Follows `dax_iomap_direct_access()`.
    #[inline(always)]
    pub(crate) fn memory<'g>(&mut self, device: &'g DeviceReadGuard) -> Result<DeviceMemory<'g>> {
        let memory = access(&self.iter.iomap, self.iter.pos, self.order, device)?;
        // Not twice: somebody may have mapped it, and stored to it.
        if self.is_copy() && !self.filled {
            self.copy_to(&memory, device).map_err(mem_to_blk)?;
            self.filled = true;
        }
        Ok(memory)
    }

    /// Fills a new block with what the file has so far, and flushes it.
    ///
    /// The filesystem may make it a part of the file on the medium before anybody calls `fsync()`:
    /// what was on the medium until then must be there still.
    ///
    /// Follows `dax_iomap_copy_around()` for whole pages.
    #[cold]
    #[inline(never)]
    fn copy_to(&self, memory: &DeviceMemory<'_>, device: &DeviceReadGuard) -> Result {
        for page in 0..self.order.pages() {
            let source = match u32::from(self.iter.srcmap.type_) {
                bindings::IOMAP_MAPPED => {
                    // The old blocks need not be where a larger page could be.
                    let pos = self.iter.pos + ((page << PAGE_SHIFT) as i64);
                    Some(access(&self.iter.srcmap, pos, Order::Pte, device)?)
                }
                // A hole, as long as the extent: nothing is shared but the right to allocate a copy.
                // XFS has the copy end where what it found of the file does.
                _ => None,
            };
            // SAFETY: The filesystem has just allocated the blocks for this copy, and makes them a
            // part of the file when the iteration ends; the memory has as many as the order.
            unsafe { memory.fill(page, source.as_ref()) }?;
        }
        Ok(())
    }

    /// How many pages it has, as far as it was asked for.
    pub(super) fn pages(&self) -> usize {
        // SAFETY: By the type invariant `iter` is initialized.
        let length = unsafe { bindings::rust_fsdax_iomap_length(&raw const *self.iter) };
        (length >> PAGE_SHIFT) as usize
    }

    /// The memory of as many of `pages` as the device has in one piece.
    ///
    /// # Errors
    ///
    /// What the device says.
    pub(crate) fn piece<'g>(
        &self,
        device: &'g DeviceReadGuard,
        pages: usize,
    ) -> Result<DevicePiece<'g>> {
        let iomap = &self.iter.iomap;
        // SAFETY: The filesystem holds the device of its iomap.
        let from = unsafe { DaxDevice::from_raw(iomap.dax_dev) };
        from.piece(device, page_of(iomap, self.iter.pos), pages)
    }

    /// Consumes the order that was needed, and no more of what was asked for.
    #[inline(always)]
    pub(crate) fn done(self) {
        let length = (self.order.pages() << PAGE_SHIFT) as u64;
        self.iter.len = length;
        // SAFETY: By the type invariant the iteration is at this extent.
        self.iter.status = unsafe { bindings::rust_fsdax_iomap_iter_advance(self.iter, length) };
    }
}

/// The memory of `order` that `iomap` has at `pos`.
#[inline(always)]
fn access<'g>(
    iomap: &bindings::iomap,
    pos: i64,
    order: Order,
    device: &'g DeviceReadGuard,
) -> Result<DeviceMemory<'g>> {
    let pgoff = page_of(iomap, pos);

    // SAFETY: The filesystem holds the device of its iomap.
    unsafe { DaxDevice::from_raw(iomap.dax_dev) }.access(device, pgoff, order)
}

/// The page offset of the device that `iomap` has at `pos`.
#[inline(always)]
fn page_of(iomap: &bindings::iomap, pos: i64) -> usize {
    let byte = iomap
        .addr
        .wrapping_add(pos.wrapping_sub(iomap.offset) as u64);

    (byte >> PAGE_SHIFT) as usize
}

/// Bad memory is `EIO` to whoever reads a file, though not to whoever maps it.
///
/// Follows `dax_mem2blk_err()`.
fn mem_to_blk(e: Error) -> Error {
    if e.to_errno() == -(bindings::EHWPOISON as i32) {
        EIO
    } else {
        e
    }
}
