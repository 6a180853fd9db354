// SPDX-License-Identifier: GPL-2.0

//! Page faults on DAX files of a bound superblock.
//!
//! Counterpart of `dax_iomap_pte_fault()`, `dax_fault_iter()`, `dax_load_hole()`,
//! `dax_fault_cow_page()` and `dax_insert_pfn_mkwrite()` of `fs/dax.c`. Two things differ. The
//! entry holds a reference to the folio, so that mapping it needs no temporary one. And the entry
//! lock is a guard, so that it cannot be leaked or used after unlock.

use core::marker::PhantomData;

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::{
    bindings::{
        self,
        fault,
        vm_fault_t, //
    },
    entry::{
        Entry,
        Kind,
        Order, //
    },
    fsdax::{
        self,
        InsertError, //
    },
    mapping::{
        GrabError,
        LockedEntry,
        Mapping,
        Mark, //
    },
};

/// The `struct vm_fault` of a fault that is being handled.
///
/// # Invariants
///
/// `.0` is valid and stays so during `'a`, and its vma has a file, whose mapping cannot be evicted
/// meanwhile. The filesystem's lock that keeps breaks out is held.
#[derive(Clone, Copy)]
pub(crate) struct Fault<'a>(*mut bindings::vm_fault, PhantomData<&'a ()>);

impl<'a> Fault<'a> {
    /// # Safety
    ///
    /// As the type invariant.
    pub(crate) unsafe fn from_raw(vmf: *mut bindings::vm_fault) -> Self {
        // INVARIANT: By the requirement of this function.
        Self(vmf, PhantomData)
    }

    fn vma(self) -> *mut bindings::vm_area_struct {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).__bindgen_anon_1.vma }
    }

    fn file(self) -> *mut bindings::file {
        // SAFETY: By the type invariant.
        unsafe { (*self.vma()).vm_file }
    }

    fn mapping(self) -> Mapping<'a> {
        // SAFETY: By the type invariant.
        unsafe { Mapping::from_raw((*self.file()).f_mapping) }
    }

    fn index(self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).__bindgen_anon_1.pgoff }
    }

    fn is_cow(self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { !(*self.0).cow_page.is_null() }
    }

    /// Whether the file is going to be written, rather than a private copy.
    fn is_write(self) -> bool {
        // SAFETY: By the type invariant.
        let flags = unsafe { (*self.0).flags };
        flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0 && !self.is_cow()
    }

    fn is_sync(self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::rust_fsdax_vma_sync(self.vma()) }
    }

    /// Maps the page at `pfn`, which a tracked entry or the kernel keeps.
    fn map(self, pfn: usize, write: bool) -> vm_fault_t {
        // SAFETY: By the type invariant, and the page stays.
        unsafe {
            let page = bindings::rust_fsdax_pfn_to_page(pfn);
            bindings::vmf_insert_page_mkwrite(self.0, page, write)
        }
    }
}

fn from_errno(e: Error) -> vm_fault_t {
    // SAFETY: Any errno may be translated.
    unsafe { bindings::rust_fsdax_vmf_error(e.to_errno()) }
}

/// Inside `dax_read_lock()`: the DAX device does not go away.
struct DaxReadGuard(i32);

impl DaxReadGuard {
    fn new() -> Self {
        // SAFETY: Unlocked in `drop`.
        Self(unsafe { bindings::dax_read_lock() })
    }

    /// The pfn and the kernel address of the page that `iomap` has at `pos`.
    ///
    /// Follows `dax_iomap_direct_access()`.
    fn direct_access(
        &self,
        iomap: &bindings::iomap,
        pos: i64,
    ) -> Result<(usize, *mut kernel::ffi::c_void)> {
        let byte = iomap
            .addr
            .wrapping_add(pos.wrapping_sub(iomap.offset) as u64);
        let pgoff = (byte >> bindings::PAGE_SHIFT) as usize;
        let mut kaddr = core::ptr::null_mut();
        let mut pfn = 0;

        // SAFETY: The filesystem holds the device, and the read lock is held.
        let length = unsafe {
            bindings::dax_direct_access(
                iomap.dax_dev,
                pgoff,
                1,
                bindings::dax_access_mode_DAX_ACCESS,
                &mut kaddr,
                &mut pfn,
            )
        };
        if length < 0 {
            to_result(length as i32)?;
        }
        if length < 1 {
            return Err(EINVAL);
        }
        if kaddr.is_null() {
            return Err(EFAULT);
        }
        Ok((pfn, kaddr))
    }
}

impl Drop for DaxReadGuard {
    fn drop(&mut self) {
        // SAFETY: Locked in `new`.
        unsafe { bindings::dax_read_unlock(self.0) }
    }
}

/// How one iomap serves a fault.
enum Served {
    /// Done, with this result for the caller of the fault.
    Done(vm_fault_t),
    /// The file must be synced before the page at this pfn may be mapped: `MAP_SYNC`.
    NeedsSync(usize),
}

/// Handles a fault: maps a page of the file, the zero page, or a private copy.
///
/// `pfnp` receives the pfn when `VM_FAULT_NEEDDSYNC` is returned, `iomap_errp` the errno of the
/// iteration; either may be null. Process context, may sleep. Follows `dax_iomap_fault()`.
///
/// # Safety
///
/// `pfnp` and `iomap_errp` are null or valid, and `ops` is what the filesystem passed.
pub(crate) unsafe fn iomap_fault(
    vmf: Fault<'_>,
    order: u32,
    pfnp: *mut usize,
    iomap_errp: *mut i32,
    ops: *const bindings::iomap_ops,
) -> vm_fault_t {
    match Order::new(order) {
        // SAFETY: By the requirements of this function.
        Some(Order::Pte) => unsafe { pte_fault(vmf, pfnp, iomap_errp, ops) },
        // Mapped by PTEs.
        _ => fault::FALLBACK,
    }
}

/// # Safety
///
/// As [`iomap_fault`].
unsafe fn pte_fault(
    vmf: Fault<'_>,
    pfnp: *mut usize,
    iomap_errp: *mut i32,
    ops: *const bindings::iomap_ops,
) -> vm_fault_t {
    let mapping = vmf.mapping();
    let mut flags = bindings::IOMAP_DAX | bindings::IOMAP_FAULT;
    let mut ret: vm_fault_t = 0;

    // The filesystem's lock keeps truncate out, so that this is a reliable test.
    let pos = match i64::try_from(vmf.index()) {
        Ok(index) if index < mapping.size().div_ceil_page() => index << bindings::PAGE_SHIFT,
        _ => return fault::SIGBUS,
    };
    if vmf.is_write() {
        flags |= bindings::IOMAP_WRITE;
    }

    let mut locked = match LockedEntry::grab(mapping, vmf.index(), Order::Pte) {
        Ok(locked) => locked,
        Err(GrabError::NoMemory) => return fault::OOM,
        Err(GrabError::Conflict) => return fault::FALLBACK,
        Err(GrabError::Io) => return fault::SIGBUS,
    };
    // SAFETY: By the type invariant of `Fault`.
    if unsafe { bindings::rust_fsdax_vmf_pmd_huge(vmf.0) } {
        // Somebody mapped a huge page meanwhile; retry with that.
        return fault::NOPAGE;
    }

    // SAFETY: All of its fields may be 0, as the designated initializers of C have it.
    let mut iter: bindings::iomap_iter = unsafe { core::mem::zeroed() };
    iter.inode = mapping.host();
    iter.pos = pos;
    iter.len = bindings::PAGE_SIZE as u64;
    iter.flags = flags;

    let error = loop {
        // SAFETY: `iter` is initialized and stays in place; `ops` is the filesystem's.
        let more = unsafe { bindings::rust_fsdax_iomap_iter(&mut iter, ops) };
        if more <= 0 {
            break more;
        }
        // SAFETY: `iter` is valid.
        if unsafe { bindings::rust_fsdax_iomap_length(&mut iter) } < bindings::PAGE_SIZE as u64 {
            // A corrupt filesystem.
            kernel::warn_on!(true);
            iter.status = EIO.to_errno();
            continue;
        }
        ret = match serve(vmf, &iter, &mut locked) {
            Served::Done(ret) => ret,
            Served::NeedsSync(_) if pfnp.is_null() => {
                kernel::warn_on!(true);
                fault::SIGBUS
            }
            Served::NeedsSync(pfn) => {
                // SAFETY: Not null, so that it is valid by the requirements of this function.
                unsafe { *pfnp = pfn };
                fault::NEEDDSYNC
            }
        };
        if ret != fault::SIGBUS && u32::from(iter.iomap.flags) & bindings::IOMAP_F_NEW != 0 {
            // SAFETY: By the type invariant of `Fault`.
            unsafe { bindings::rust_fsdax_count_major_fault(vmf.0) };
            ret |= fault::MAJOR;
        }
        if ret & fault::ERROR == 0 {
            // SAFETY: `iter` is valid.
            iter.status = unsafe {
                bindings::rust_fsdax_iomap_iter_advance(&mut iter, bindings::PAGE_SIZE as u64)
            };
        }
    };
    if !iomap_errp.is_null() {
        // SAFETY: By the requirements of this function.
        unsafe { *iomap_errp = error };
    }
    if ret == 0 && error != 0 {
        ret = from_errno(Error::from_errno(error));
    }
    ret
}

/// Number of pages that a file of some bytes has.
trait DivCeilPage {
    fn div_ceil_page(self) -> Self;
}

impl DivCeilPage for i64 {
    fn div_ceil_page(self) -> Self {
        (self >> bindings::PAGE_SHIFT) + i64::from(self & (bindings::PAGE_SIZE as i64 - 1) != 0)
    }
}

/// Serves the fault from the iomap that `iter` is at. Follows `dax_fault_iter()`.
fn serve(vmf: Fault<'_>, iter: &bindings::iomap_iter, locked: &mut LockedEntry<'_>) -> Served {
    let iomap = &iter.iomap;
    let kind = u32::from(iomap.type_);
    let is_hole = kind == bindings::IOMAP_HOLE || kind == bindings::IOMAP_UNWRITTEN;
    let write = vmf.is_write();

    if vmf.is_cow() {
        return Served::Done(private_copy(vmf, iomap, iter.pos, is_hole));
    }
    if !write && is_hole {
        return Served::Done(load_hole(vmf, locked));
    }
    if kind != bindings::IOMAP_MAPPED {
        kernel::warn_on!(true);
        return Served::Done(fault::SIGBUS);
    }

    let shared = u32::from(iomap.flags) & bindings::IOMAP_F_SHARED != 0;
    if shared && write {
        // Copy on write of a shared extent replaces the entry, which no filesystem that can be
        // bound asks for yet.
        return Served::Done(fault::SIGBUS);
    }
    let sync = write && vmf.is_sync() && u32::from(iomap.flags) & bindings::IOMAP_F_DIRTY != 0;
    let dirty = write && !sync;
    let old = locked.entry();

    let fresh = {
        let device = DaxReadGuard::new();
        match device.direct_access(iomap, iter.pos) {
            Err(e) => Err(from_errno(e)),
            // The request takes its pgmap reference before the device may go.
            Ok((pfn, _)) => insert(locked, pfn, shared).map(|fresh| (fresh, pfn)),
        }
    };
    let (fresh, pfn) = match fresh {
        Ok(fresh) => fresh,
        Err(ret) => return Served::Done(ret),
    };
    if dirty {
        // Before the page is mapped: whoever stores to it and calls fsync() finds the mark. And
        // before the inode is marked: background writeback sees at least one of the two.
        locked.with_marks(|pages| pages.set(Mark::Dirty));
        locked.mapping().mark_inode_dirty();
    }
    if sync {
        return Served::NeedsSync(pfn);
    }

    let ret = vmf.map(pfn, write);
    if ret != fault::NOPAGE && fresh {
        if dirty && old.kind() != Kind::Zapped {
            locked.with_marks(|pages| pages.clear(Mark::Dirty));
        }
        fsdax::undo_insert(locked, old);
    }
    Served::Done(ret)
}

fn insert(locked: &mut LockedEntry<'_>, pfn: usize, shared: bool) -> Result<bool, vm_fault_t> {
    fsdax::insert(locked, pfn, shared).map_err(|e| {
        // Nobody else may use a block of this file, and it changes only when its entry is gone.
        kernel::warn_on!(e != InsertError::Dying);
        fault::SIGBUS
    })
}

/// Maps the zero page for a read of a hole. Follows `dax_load_hole()`.
fn load_hole(vmf: Fault<'_>, locked: &mut LockedEntry<'_>) -> vm_fault_t {
    // SAFETY: Any address.
    let pfn = unsafe { bindings::rust_fsdax_zero_pfn((*vmf.0).__bindgen_anon_1.address) };
    let Some(zero) = Entry::zero(pfn, Order::Pte) else {
        return fault::SIGBUS;
    };

    if locked.entry().is_mapped() {
        // The file has a block here as long as there is an entry for it.
        kernel::warn_on!(true);
        return fault::SIGBUS;
    }
    locked.set(zero, fsdax::mark_for_break);
    vmf.map(pfn, false)
}

/// Fills and maps the private copy of a page. Follows `dax_fault_cow_page()`.
fn private_copy(vmf: Fault<'_>, iomap: &bindings::iomap, pos: i64, is_hole: bool) -> vm_fault_t {
    if is_hole {
        // SAFETY: This is a CoW fault, which has a page of its own.
        unsafe { bindings::rust_fsdax_clear_cow_page(vmf.0) };
    } else if u32::from(iomap.type_) == bindings::IOMAP_MAPPED {
        let device = DaxReadGuard::new();
        match device.direct_access(iomap, pos) {
            // SAFETY: This is a CoW fault, and the device keeps the page at `kaddr`.
            Ok((_, kaddr)) => unsafe { bindings::rust_fsdax_copy_cow_page(vmf.0, kaddr) },
            Err(e) => return from_errno(e),
        }
    } else {
        kernel::warn_on!(true);
        return fault::SIGBUS;
    }
    // SAFETY: This is a CoW fault; the page was just filled.
    unsafe { bindings::rust_fsdax_set_cow_uptodate(vmf.0) };
    // SAFETY: By the type invariant of `Fault`.
    match unsafe { bindings::rust_fsdax_finish_fault(vmf.0) } {
        0 => fault::DONE_COW,
        ret => ret,
    }
}

/// Syncs the file and maps the page of a `MAP_SYNC` write fault.
///
/// The entry kept the folio since the fault; whether it still names `pfn` is checked before it is
/// mapped. Process context, may sleep. Follows `dax_finish_sync_fault()`.
pub(crate) fn finish_sync_fault(vmf: Fault<'_>, order: u32, pfn: usize) -> vm_fault_t {
    let Some(order @ Order::Pte) = Order::new(order) else {
        return fault::FALLBACK;
    };
    let start = (vmf.index() as i64) << bindings::PAGE_SHIFT;
    let end = start + (order.pages() << bindings::PAGE_SHIFT) as i64 - 1;

    // SAFETY: By the type invariant of `Fault`.
    if unsafe { bindings::vfs_fsync_range(vmf.file(), start, end, 1) } != 0 {
        return fault::SIGBUS;
    }
    let Some(locked) = vmf.mapping().lock_entry(vmf.index()) else {
        return fault::NOPAGE;
    };
    if Some(locked.entry()) != Entry::tracked(pfn, order) {
        // Split, zapped or removed since: the fault is taken again.
        return fault::NOPAGE;
    }
    locked.with_marks(|pages| {
        pages.set(Mark::Dirty);
        fsdax::mark_for_break(pages);
    });
    locked.mapping().mark_inode_dirty();
    vmf.map(pfn, true)
}
