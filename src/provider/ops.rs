// SPDX-License-Identifier: GPL-2.0

//! The ops table of a provider (`include/linux/fsdax_provider.h`).
//!
//! The patch series calls these functions as it would those of fs/dax.c with the same names, with
//! what the filesystem has passed: that is why their pointers are valid, and why an inode stays.
//!
//! Rules: R13, R15, R16.

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    prelude::*, //
};

use crate::{
    ffi::{
        bindings::{
            self,
            vm_fault_t, //
        },
        compat,
        safe::{
            self,
            pfn_to_page, //
        },
        PAGE_SHIFT, //
    },
    folio::{
        self,
        Folio,
        FolioRef,
        HeldFolio, //
    },
    fsdax::{
        self,
        Data,
        LockedFolioEntry,
        LockedMappingEntry,
        OnBusy,
        Removed, //
    },
    mapping::{
        self,
        Fault,
        IomapOps,
        Kind,
        LockedEntry,
        Mapping,
        Range, //
    },
    pgmap::{
        DaxDevice,
        Page,
        Pgmap, //
    }, //
};

pub(super) type Callback = unsafe extern "C" fn(*mut bindings::inode);

pub(super) fn to_errno(ret: Result) -> c_int {
    match ret {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// The byte range of a caller; `None` if it is empty, so that there is nothing to do.
fn byte_range(start: bindings::loff_t, end: bindings::loff_t) -> Option<Range> {
    Range::from_bytes(start, end)
}

/// # Safety
///
/// `sb` is being mounted: no DAX inode of it is set up yet. If this returns true, it stays until
/// [`unbind`] is called with it, when no inode is left.
unsafe extern "C" fn bind(sb: *mut bindings::super_block, eligible: bool) -> bool {
    let wanted = eligible && safe::rust_fsdax_bind_param();
    // SAFETY: The caller promises that `unbind` is called before the superblock goes away, and that
    // no file of it is used before this returns, nor after that.
    let bound = wanted && unsafe { mapping::bind(sb) }.is_ok();
    if !bound {
        // fs/dax.c gets the memory, of which some may have been ours. It is not known here which.
        Pgmap::for_each_shaped(folio::dissolve);
    }
    bound
}

/// # Safety
///
/// `sb` has no inodes any more.
unsafe extern "C" fn unbind(sb: *mut bindings::super_block) {
    mapping::unbind(sb)
}

/// Methods that take a mapping, as a borrow, and numbers.
macro_rules! methods_of_mapping {
    ($(fn $name:ident($mapping:ident, $($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block)*) => {$(
        /// # Safety
        ///
        /// The mapping is that of an inode that stays during the call.
        unsafe extern "C" fn $name(
            mapping: *mut bindings::address_space,
            $($arg: $ty),*
        ) $(-> $ret)? {
            // SAFETY: The caller keeps the inode.
            let $mapping = unsafe { Mapping::from_raw(mapping) };
            $body
        }
    )*};
}

methods_of_mapping! {
    fn unmap_holes(mapping, first: c_ulong, last: c_ulong) {
        fsdax::unmap_holes(mapping, Range { first, last });
    }

    fn layout_busy_page_range(mapping, start: bindings::loff_t, end: bindings::loff_t) -> *mut bindings::page {
        match byte_range(start, end).and_then(|range| fsdax::busy_pfn(mapping, range)) {
            // The caller's lock keeps the block, and hence its pgmap.
            Some(pfn) => pfn_to_page(pfn),
            None => core::ptr::null_mut(),
        }
    }

    fn delete_mapping_range(mapping, start: bindings::loff_t, end: bindings::loff_t) {
        // Nothing, as in dax_break_layout_range(): a punch of no whole page, which may end before
        // the first one, and must not be taken for all of the file.
        if end < start {
            return;
        }
        if let Some(range) = byte_range(start, end) {
            fsdax::delete_range(mapping, range);
        }
    }

    fn delete_mapping_entry(mapping, index: c_ulong) -> c_int {
        c_int::from(fsdax::delete_entry(mapping, index))
    }

    fn invalidate_mapping_entry_sync(mapping, index: c_ulong) -> c_int {
        c_int::from(fsdax::invalidate_entry(mapping, index, Data::Keep) == Removed::Yes)
    }

    fn device_unmapped(mapping, first: c_ulong, last: c_ulong) {
        fsdax::device_unmapped(mapping, Range { first, last });
    }

    fn clear_dirty_range(mapping, first: c_ulong, last: c_ulong) {
        fsdax::clear_dirty_range(mapping, Range { first, last });
    }
}

/// # Safety
///
/// `vmf` is that of a fault of a file whose filesystem keeps breaks out, and `ops` a table of that
/// filesystem. `pfnp` and `iomap_errp` are null or may be written.
unsafe extern "C" fn iomap_fault(
    vmf: *mut bindings::vm_fault,
    order: c_uint,
    pfnp: *mut c_ulong,
    iomap_errp: *mut c_int,
    ops: *const bindings::iomap_ops,
) -> vm_fault_t {
    // SAFETY: The caller promises a fault that is being handled.
    let vmf = unsafe { Fault::from_raw(vmf) };
    // SAFETY: The caller promises that it is the filesystem's.
    let ops = unsafe { IomapOps::from_raw(ops) };
    let outcome = fsdax::iomap_fault(vmf, order, !pfnp.is_null(), ops);

    if let Some(pfn) = outcome.pfn {
        // SAFETY: Not null, or `can_sync` had been false; hence it may be written.
        unsafe { *pfnp = pfn };
    }
    if let Some(error) = outcome.error.filter(|_| !iomap_errp.is_null()) {
        // SAFETY: Not null, so that the caller promises that it may be written.
        unsafe { *iomap_errp = error };
    }
    outcome.ret
}

/// # Safety
///
/// `vmf` is that of a fault of a device that is not going away, and has no breaks.
unsafe extern "C" fn device_fault(
    vmf: *mut bindings::vm_fault,
    order: c_uint,
    pfn: c_ulong,
) -> vm_fault_t {
    // SAFETY: The caller promises a fault that is being handled.
    fsdax::device_fault(unsafe { Fault::from_raw(vmf) }, order, pfn)
}

/// # Safety
///
/// `vmf` is that of a fault of a file whose filesystem keeps breaks out.
unsafe extern "C" fn finish_sync_fault(
    vmf: *mut bindings::vm_fault,
    order: c_uint,
    pfn: c_ulong,
) -> vm_fault_t {
    // SAFETY: The caller promises a fault that is being handled.
    fsdax::finish_sync_fault(unsafe { Fault::from_raw(vmf) }, order, pfn)
}

/// # Safety
///
/// `mapping` is that of an inode that stays during the call, `dax_dev` its device, and `wbc` can be
/// read.
unsafe extern "C" fn writeback_mapping_range(
    mapping: *mut bindings::address_space,
    dax_dev: *mut bindings::dax_device,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    // SAFETY: The caller keeps the device of the file.
    let device = unsafe { DaxDevice::from_raw(dax_dev) };
    // SAFETY: The caller promises that it can be read.
    let wbc = unsafe { &*wbc };
    let range = Range {
        first: (wbc.range_start >> PAGE_SHIFT) as usize,
        last: (wbc.range_end >> PAGE_SHIFT) as usize,
    };
    to_errno(fsdax::write_back(mapping, device, range))
}

/// # Safety
///
/// `inode` stays during the call, and `callback` may be called with it.
pub(super) unsafe fn break_range(
    inode: *mut bindings::inode,
    start: bindings::loff_t,
    end: bindings::loff_t,
    data: Data,
    callback: Option<Callback>,
) -> c_int {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::of_inode(inode) };
    let Some(range) = byte_range(start, end) else {
        return 0;
    };
    if !mapping.is_dax() {
        return 0;
    }
    match callback {
        None => to_errno(fsdax::break_layouts(mapping, range, data, OnBusy::Fail)),
        Some(callback) => {
            // SAFETY: The caller promises that it may be called.
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
/// `inode` stays during the call, and `callback` may be called with it.
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
    // SAFETY: The caller keeps the inode, and lets `callback` be called.
    unsafe { break_range(inode, start, end, data, callback) }
}

/// # Safety
///
/// `inode` is being evicted, and stays during the call.
unsafe extern "C" fn break_layout_final(inode: *mut bindings::inode) {
    // SAFETY: The caller evicts the inode, which has not gone yet.
    evict(unsafe { Mapping::of_inode(inode) });
}

/// Breaks the layout of a file that is being evicted.
pub(super) fn evict(mapping: Mapping<'_>) {
    if mapping.is_dax() && !mapping.is_empty() {
        // Evictions wait for ever rather than fail.
        let _ = fsdax::break_layouts(mapping, Range::ALL, Data::Discard, OnBusy::Evict);
    }
}

/// # Safety
///
/// `folio` is one of device memory, and its memmap stays during the call.
unsafe extern "C" fn lock_folio(folio: *mut bindings::folio) -> bindings::dax_entry_t {
    // SAFETY: The caller keeps the memmap of the folio.
    let page = unsafe { Page::from_raw(folio.cast()) };
    fsdax::lock_folio(Folio::at(page), |entry| {
        // C code keeps both until `unlock_folio`.
        let LockedFolioEntry { folio, locked } = entry;
        folio.into_raw();
        locked.into_cookie()
    })
    .unwrap_or(0)
}

/// # Safety
///
/// `cookie` is what [`lock_folio`] returned for `folio`, and not 0.
unsafe extern "C" fn unlock_folio(folio: *mut bindings::folio, cookie: bindings::dax_entry_t) {
    // SAFETY: `lock_folio` left the reference and the hold.
    let folio = unsafe { HeldFolio::from_raw(folio) };
    let Some(entry) = folio.entry() else {
        return;
    };
    // SAFETY: The association is held, so that this is the mapping of the locked entry, and the
    // locked entry keeps the inode.
    let mapping = unsafe { Mapping::from_raw(entry.mapping()) };
    // SAFETY: The caller promises the cookie of this entry.
    if let Some(locked) = unsafe { LockedEntry::from_cookie(mapping, entry.index(), cookie) } {
        drop(LockedFolioEntry { folio, locked });
    }
}

/// # Safety
///
/// `mapping` is that of an inode that stays until the entry is unlocked, and `page` may be written.
unsafe extern "C" fn lock_mapping_entry(
    mapping: *mut bindings::address_space,
    index: c_ulong,
    page: *mut *mut bindings::page,
) -> bindings::dax_entry_t {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    let Some(entry) = fsdax::lock_mapping_entry(mapping, index) else {
        // No entry that could be locked, which is no error.
        return c_ulong::MAX;
    };
    let pfn = entry.locked.entry().pfn() + (index - entry.locked.index());
    // SAFETY: The caller promises that it may be written. The folio stays until it is unlocked.
    unsafe { *page = pfn_to_page(pfn) };
    // C code keeps both until `unlock_mapping_entry`.
    if let Some(folio) = entry.folio {
        folio.into_raw();
    }
    entry.locked.into_cookie()
}

/// # Safety
///
/// `cookie` is what [`lock_mapping_entry`] returned for `mapping` and `index`, whose inode stays
/// during the call.
unsafe extern "C" fn unlock_mapping_entry(
    mapping: *mut bindings::address_space,
    index: c_ulong,
    cookie: bindings::dax_entry_t,
) {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    // SAFETY: The caller promises the cookie of this entry, or one that is none.
    let Some(locked) = (unsafe { LockedEntry::from_cookie(mapping, index, cookie) }) else {
        return;
    };
    let folio = (locked.entry().kind() == Kind::Zapped).then(|| {
        // SAFETY: `lock_mapping_entry` left it; a locked entry does not change.
        unsafe { FolioRef::from_pfn(locked.entry().pfn()) }
    });
    drop(LockedMappingEntry { folio, locked });
}

/// A C table of functions that is constant and may be used by any thread.
struct Table(bindings::dax_provider_ops);

// SAFETY: It holds pointers to functions, a module and a string, all of them constant.
unsafe impl Sync for Table {}

/// What the log calls this provider, with its NUL.
static NAME: [u8; 11] = *b"rust_fsdax\0";

static OPS: Table = Table(bindings::dax_provider_ops {
    owner: compat::this_module().as_ptr(),
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
    device_fault: Some(device_fault),
    device_unmapped: Some(device_unmapped),
});

/// The table, for the KUnit suites.
#[cfg(RUST_FSDAX_KUNIT)]
pub(crate) fn table() -> &'static bindings::dax_provider_ops {
    &OPS.0
}

/// The address of the table, which a superblock has that is bound.
pub(super) fn address() -> usize {
    (&raw const OPS.0) as usize
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
    pub(crate) fn register() -> Result<Self> {
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
    safe::rust_fsdax_kernel_has_series()
}
