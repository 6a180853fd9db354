// SPDX-License-Identifier: GPL-2.0

//! The ops table of a provider (`include/linux/fsdax_provider.h`), and the functions that this
//! module exports to others (`include/linux/pgmap_folio.h`).
//!
//! Thin: a C pointer becomes a borrow, a method is called, and its result becomes an errno or a
//! `VM_FAULT_*` code.
//!
//! Rules: R13, R15, R16.

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    prelude::*,
    ThisModule, //
};

use crate::{
    bindings::{
        self,
        vm_fault_t, //
    },
    entry::Order,
    fault::{
        self,
        Fault, //
    },
    folio::FolioRef,
    fsdax::{
        self,
        Data,
        OnBusy,
        Removed, //
    },
    mapping::{
        Mapping,
        Range, //
    },
    memory_failure,
    pgmap::{
        self,
        Pgmap, //
    },
    superblock,
    writeback, //
};

type Callback = unsafe extern "C" fn(*mut bindings::inode);

fn to_errno(ret: Result) -> c_int {
    match ret {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// The byte range of a caller; `None` if it is empty, so that there is nothing to do.
fn byte_range(start: bindings::loff_t, end: bindings::loff_t) -> Option<Range> {
    Range::from_bytes(start, end)
}

fn is_dax(mapping: Mapping<'_>) -> bool {
    // SAFETY: The host of a mapping is valid.
    unsafe { (*mapping.host()).i_flags & bindings::S_DAX != 0 }
}

/// Whether this module serves the file: another provider's entries look different.
fn serves(mapping: Mapping<'_>) -> Result {
    // SAFETY: The superblock outlives its inodes, of which the host of a mapping is one.
    let provider = unsafe { (*mapping.superblock()).s_dax_provider };
    if core::ptr::eq(provider.cast(), &raw const OPS.0) {
        Ok(())
    } else {
        Err(Error::from_errno(-(bindings::EOPNOTSUPP as c_int)))
    }
}

/// # Safety
///
/// Called through [`OPS`], with the superblock that `dax_bind_provider()` got.
unsafe extern "C" fn bind(sb: *mut bindings::super_block) -> bool {
    // SAFETY: Reads a module parameter.
    if !unsafe { bindings::rust_fsdax_bind_param() } {
        return false;
    }
    // SAFETY: `dax_unbind_provider()` is called before the superblock goes away.
    unsafe { superblock::bind(sb) }.is_ok()
}

/// # Safety
///
/// Called through [`OPS`], with the superblock that `dax_unbind_provider()` got.
unsafe extern "C" fn unbind(sb: *mut bindings::super_block) {
    superblock::unbind(sb)
}

/// # Safety
///
/// Called through [`OPS`], with the mapping of a file that is written, and page offsets.
unsafe extern "C" fn unmap_holes(
    mapping: *mut bindings::address_space,
    first: c_ulong,
    last: c_ulong,
) {
    // SAFETY: The caller writes to the file, which keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    fsdax::unmap_holes(mapping, Range { first, last });
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_iomap_fault()`.
unsafe extern "C" fn iomap_fault(
    vmf: *mut bindings::vm_fault,
    order: c_uint,
    pfnp: *mut c_ulong,
    iomap_errp: *mut c_int,
    ops: *const bindings::iomap_ops,
) -> vm_fault_t {
    // SAFETY: `dax_iomap_fault()` passes on what the filesystem's fault handler got.
    let vmf = unsafe { Fault::from_raw(vmf) };
    // SAFETY: As above.
    unsafe { fault::iomap_fault(vmf, order, pfnp, iomap_errp, ops) }
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_finish_sync_fault()`.
unsafe extern "C" fn finish_sync_fault(
    vmf: *mut bindings::vm_fault,
    order: c_uint,
    pfn: c_ulong,
) -> vm_fault_t {
    // SAFETY: `dax_finish_sync_fault()` passes on what the filesystem's fault handler got.
    fault::finish_sync_fault(unsafe { Fault::from_raw(vmf) }, order, pfn)
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_writeback_mapping_range()`.
unsafe extern "C" fn writeback_mapping_range(
    mapping: *mut bindings::address_space,
    dax_dev: *mut bindings::dax_device,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    // SAFETY: The caller writes the inode back, which keeps it.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    // SAFETY: The caller's, valid during the call.
    to_errno(writeback::mapping_range(mapping, dax_dev, unsafe { &*wbc }))
}

/// # Safety
///
/// `inode` is valid and referenced, and `callback` may be called with it.
unsafe fn break_range(
    inode: *mut bindings::inode,
    start: bindings::loff_t,
    end: bindings::loff_t,
    data: Data,
    callback: Option<Callback>,
) -> c_int {
    // SAFETY: By the requirement of this function.
    let mapping = unsafe { Mapping::of_inode(inode) };
    let Some(range) = byte_range(start, end) else {
        return 0;
    };
    if !is_dax(mapping) {
        return 0;
    }
    match callback {
        None => to_errno(fsdax::break_layouts(mapping, range, data, OnBusy::Fail)),
        Some(callback) => {
            // SAFETY: By the requirement of this function.
            let sleep = || unsafe { callback(inode) };
            to_errno(fsdax::break_layouts(
                mapping,
                range,
                data,
                OnBusy::Sleep(&sleep),
            ))
        }
    }
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_break_layout()`.
unsafe extern "C" fn break_layout(
    inode: *mut bindings::inode,
    start: bindings::loff_t,
    end: bindings::loff_t,
    what: bindings::dax_break,
    callback: Option<Callback>,
) -> c_int {
    let data = match what {
        bindings::dax_break_DAX_BREAK_DISCARD => Data::Discard,
        bindings::dax_break_DAX_BREAK_DECIDE => Data::Decide,
        _ => Data::Keep,
    };
    // SAFETY: `dax_break_layout()` passes on what the filesystem passed.
    unsafe { break_range(inode, start, end, data, callback) }
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_break_layout_final()`.
unsafe extern "C" fn break_layout_final(inode: *mut bindings::inode) {
    // SAFETY: The caller evicts the inode.
    let mapping = unsafe { Mapping::of_inode(inode) };
    if is_dax(mapping) && !mapping.is_empty() {
        // Evictions wait for ever rather than fail.
        let _ = fsdax::break_layouts(mapping, Range::ALL, Data::Discard, OnBusy::Evict);
    }
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_layout_busy_page_range()`.
unsafe extern "C" fn layout_busy_page_range(
    mapping: *mut bindings::address_space,
    start: bindings::loff_t,
    end: bindings::loff_t,
) -> *mut bindings::page {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    match byte_range(start, end).and_then(|range| fsdax::busy_pfn(mapping, range)) {
        // SAFETY: The folio was busy, and the caller's lock keeps the block.
        Some(pfn) => unsafe { bindings::rust_fsdax_pfn_to_page(pfn) },
        None => core::ptr::null_mut(),
    }
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_delete_mapping_range()`.
unsafe extern "C" fn delete_mapping_range(
    mapping: *mut bindings::address_space,
    start: bindings::loff_t,
    end: bindings::loff_t,
) {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    if let Some(range) = byte_range(start, end) {
        fsdax::delete_range(mapping, range);
    }
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_delete_mapping_entry()`.
unsafe extern "C" fn delete_mapping_entry(
    mapping: *mut bindings::address_space,
    index: c_ulong,
) -> c_int {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    c_int::from(fsdax::delete_entry(mapping, index))
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_invalidate_mapping_entry_sync()`.
unsafe extern "C" fn invalidate_mapping_entry_sync(
    mapping: *mut bindings::address_space,
    index: c_ulong,
) -> c_int {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    c_int::from(fsdax::remove_entry(mapping, index, Data::Keep) == Removed::Yes)
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `__dax_clear_dirty_range()`.
unsafe extern "C" fn clear_dirty_range(
    mapping: *mut bindings::address_space,
    first: c_ulong,
    last: c_ulong,
) {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    fsdax::clear_dirty_range(mapping, Range { first, last });
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_lock_folio()`.
unsafe extern "C" fn lock_folio(folio: *mut bindings::folio) -> bindings::dax_entry_t {
    // SAFETY: The caller keeps the memmap of the folio.
    unsafe { memory_failure::lock_folio(folio) }
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_unlock_folio()`.
unsafe extern "C" fn unlock_folio(folio: *mut bindings::folio, cookie: bindings::dax_entry_t) {
    // SAFETY: The cookie comes from `lock_folio`; the locked entry keeps mapping and index.
    unsafe { memory_failure::unlock_folio(folio, cookie) }
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_lock_mapping_entry()`.
unsafe extern "C" fn lock_mapping_entry(
    mapping: *mut bindings::address_space,
    index: c_ulong,
    page: *mut *mut bindings::page,
) -> bindings::dax_entry_t {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    match memory_failure::lock_mapping_entry(mapping, index) {
        Some((pfn, cookie)) => {
            // SAFETY: The folio stays until it is unlocked.
            let poisoned = unsafe { bindings::rust_fsdax_pfn_to_page(pfn) };
            // SAFETY: `page` is the caller's.
            unsafe { *page = poisoned };
            cookie
        }
        // No entry that could be locked, which is no error.
        None => c_ulong::MAX,
    }
}

/// # Safety
///
/// Called through [`OPS`], with the arguments of `dax_unlock_mapping_entry()`.
unsafe extern "C" fn unlock_mapping_entry(
    mapping: *mut bindings::address_space,
    index: c_ulong,
    cookie: bindings::dax_entry_t,
) {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    // SAFETY: The cookie comes from `lock_mapping_entry`.
    unsafe { memory_failure::unlock_mapping_entry(mapping, index, cookie) }
}

/// A C table of functions that is constant and may be used by any thread.
struct Table(bindings::dax_provider_ops);

// SAFETY: The table holds pointers to functions, a module and a string, all of them constant.
unsafe impl Sync for Table {}

/// What the log calls this provider, with its NUL.
static NAME: [u8; 11] = *b"rust_fsdax\0";

static OPS: Table = Table(bindings::dax_provider_ops {
    owner: crate::compat::this_module().as_ptr(),
    name: NAME.as_ptr(),
    bind: Some(bind),
    unbind: Some(unbind),
    unmap_holes: Some(unmap_holes),
    iomap_fault: Some(iomap_fault),
    finish_sync_fault: Some(finish_sync_fault),
    writeback_mapping_range: Some(writeback_mapping_range),
    break_layout: Some(break_layout),
    break_layout_final: Some(break_layout_final),
    layout_busy_page_range: Some(layout_busy_page_range),
    delete_mapping_range: Some(delete_mapping_range),
    delete_mapping_entry: Some(delete_mapping_entry),
    invalidate_mapping_entry_sync: Some(invalidate_mapping_entry_sync),
    clear_dirty_range: Some(clear_dirty_range),
    lock_folio: Some(lock_folio),
    unlock_folio: Some(unlock_folio),
    lock_mapping_entry: Some(lock_mapping_entry),
    unlock_mapping_entry: Some(unlock_mapping_entry),
});

/// The table, for the KUnit suites.
#[cfg(RUST_FSDAX_KUNIT)]
pub(crate) fn ops() -> &'static bindings::dax_provider_ops {
    &OPS.0
}

/// The offer to serve superblocks, for as long as it lives.
///
/// # Invariants
///
/// `OPS` is registered.
pub(crate) struct Provider(());

impl Provider {
    /// Offers to serve superblocks that are mounted from now on. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY`: another provider is registered.
    pub(crate) fn register(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: `OPS` is static, and unregistered before the module goes.
        to_result(unsafe { bindings::rust_fsdax_register_provider(&raw const OPS.0) })?;
        // INVARIANT: Just registered.
        Ok(Self(()))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is registered; no superblock is bound, since each
        // holds a reference to this module.
        unsafe { bindings::rust_fsdax_unregister_provider(&raw const OPS.0) }
    }
}

/// Whether the kernel has what the module needs: the patch series.
pub(crate) fn kernel_has_series() -> bool {
    // SAFETY: Only compares addresses.
    unsafe { bindings::rust_fsdax_kernel_has_series() }
}

/// What csrc/exports.c exports; include/linux/pgmap_folio.h has the documentation.
mod exports {
    use super::*;

    /// See `include/linux/pgmap_folio.h`.
    ///
    /// # Safety
    ///
    /// `pgmap` stays mapped during the call.
    #[no_mangle]
    pub(crate) unsafe extern "C" fn pgmap_request_folio(
        pgmap: *mut bindings::dev_pagemap,
        offset: c_ulong,
        order: c_uint,
    ) -> *mut bindings::folio {
        // SAFETY: By the requirement of this function.
        let pgmap = unsafe { Pgmap::from_raw(pgmap) };
        match pgmap::request_folio(pgmap, offset, order) {
            Ok(folio) => folio.into_raw(),
            Err(e) => e.to_ptr(),
        }
    }

    /// See `include/linux/pgmap_folio.h`.
    ///
    /// # Safety
    ///
    /// The caller owns a reference to `folio`, which [`pgmap_request_folio`] returned.
    #[no_mangle]
    pub(crate) unsafe extern "C" fn pgmap_release_folio(folio: *mut bindings::folio) {
        // SAFETY: By the requirement of this function.
        let pfn = unsafe { bindings::rust_fsdax_page_to_pfn(folio.cast()) };
        // SAFETY: By the requirement of this function; the reference is a forgotten `FolioRef`.
        drop(unsafe { FolioRef::from_entry(pfn) });
    }

    /// See `include/linux/pgmap_folio.h`.
    ///
    /// # Safety
    ///
    /// The caller keeps `inode` and holds the filesystem's lock that `callback` drops.
    #[no_mangle]
    pub(crate) unsafe extern "C" fn dax_break_layouts(
        inode: *mut bindings::inode,
        start: bindings::loff_t,
        end: bindings::loff_t,
        callback: Option<Callback>,
    ) -> c_int {
        // SAFETY: By the requirement of this function.
        if let Err(e) = serves(unsafe { Mapping::of_inode(inode) }) {
            return e.to_errno();
        }
        // SAFETY: By the requirements of this function.
        unsafe { break_range(inode, start, end, Data::Discard, callback) }
    }

    /// See `include/linux/pgmap_folio.h`.
    ///
    /// # Safety
    ///
    /// The caller evicts `inode`.
    #[no_mangle]
    pub(crate) unsafe extern "C" fn dax_break_layouts_final(inode: *mut bindings::inode) {
        // SAFETY: By the requirement of this function.
        if serves(unsafe { Mapping::of_inode(inode) }).is_ok() {
            // SAFETY: By the requirement of this function.
            unsafe { break_layout_final(inode) }
        }
    }

    /// See `include/linux/pgmap_folio.h`.
    ///
    /// # Safety
    ///
    /// The caller keeps the inode of `mapping` and holds the filesystem's lock that keeps breaks
    /// out.
    #[no_mangle]
    pub(crate) unsafe extern "C" fn fsdax_insert_entry(
        mapping: *mut bindings::address_space,
        index: c_ulong,
        pfn: c_ulong,
        order: c_uint,
    ) -> c_int {
        // SAFETY: By the requirement of this function.
        let mapping = unsafe { Mapping::from_raw(mapping) };
        to_errno(serves(mapping).and_then(|()| {
            let order = Order::new(order).ok_or(EINVAL)?;
            if order.align(index) != index || order.align(pfn) != pfn {
                return Err(EINVAL);
            }
            fsdax::insert_entry(mapping, index, pfn, order, false)
        }))
    }

    /// See `include/linux/pgmap_folio.h`.
    ///
    /// # Safety
    ///
    /// As [`fsdax_insert_entry`].
    #[no_mangle]
    pub(crate) unsafe extern "C" fn fsdax_delete_entry(
        mapping: *mut bindings::address_space,
        index: c_ulong,
    ) -> c_int {
        // SAFETY: By the requirement of this function.
        let mapping = unsafe { Mapping::from_raw(mapping) };
        if let Err(e) = serves(mapping) {
            return e.to_errno();
        }
        match fsdax::remove_entry(mapping, index, Data::Discard) {
            Removed::Yes => 0,
            Removed::Absent => ENOENT.to_errno(),
            Removed::Busy | Removed::Dirty => EBUSY.to_errno(),
        }
    }
}
