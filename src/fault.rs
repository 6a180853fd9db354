// SPDX-License-Identifier: GPL-2.0

//! Page faults on DAX files of a bound superblock.
//!
//! Counterpart of `dax_iomap_pte_fault()`, `dax_iomap_pmd_fault()`, `dax_fault_iter()`,
//! `dax_load_hole()`, `dax_pmd_load_hole()`, `dax_fault_cow_page()` and
//! `dax_insert_pfn_mkwrite()` of `fs/dax.c`. Three things differ. The entry holds a reference to
//! the folio, so that mapping it needs no temporary one. The entry lock is a guard, so that it
//! cannot be leaked or used after unlock. And a shared block is replaced by a copy only when no
//! pin is left that nobody would wait for afterwards.
//!
//! Rules: R7, R9, R14, R17, R24.

use core::marker::PhantomData;

use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*,
    ptr::project, //
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
        InsertError,
        Left, //
    },
    inject::{
        self,
        Point, //
    },
    mapping::{
        GrabError,
        LockedEntry,
        Mapping,
        Mark, //
    },
    pgmap::PgmapRef,
    way, //
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
        // SAFETY: By the type invariant the file is valid.
        let mapping = unsafe { (*self.file()).f_mapping };
        // SAFETY: By the type invariant it cannot be evicted during `'a`.
        unsafe { Mapping::from_raw(mapping) }
    }

    fn index(self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).__bindgen_anon_1.pgoff }
    }

    fn is_cow(self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { !(*self.0).cow_page.is_null() }
    }

    fn address(self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.0).__bindgen_anon_1.address }
    }

    /// The entry that the fault is about, of an order.
    fn index_of(self, order: Order) -> usize {
        order.align(self.index())
    }

    fn wants_write(self) -> bool {
        // SAFETY: By the type invariant.
        let flags = unsafe { (*self.0).flags };
        flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0
    }

    /// Whether the file is going to be written, rather than a private copy.
    fn is_write(self) -> bool {
        self.wants_write() && !self.is_cow()
    }

    fn is_sync(self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::rust_fsdax_vma_sync(self.vma()) }
    }

    fn pmd_is_huge(self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::rust_fsdax_vmf_pmd_huge(self.0) }
    }

    fn pmd_is_table(self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::rust_fsdax_vmf_pmd_table(self.0) }
    }

    /// Maps the page or, in a PMD fault, the folio at `pfn`, which a tracked entry keeps.
    fn map(self, pfn: usize, order: Order, write: bool) -> vm_fault_t {
        let point = match order {
            Order::Pte => Point::MapPage,
            Order::Pmd => Point::MapHuge,
        };
        if inject::fails(point) {
            return fault::OOM;
        }
        // SAFETY: The folio stays, and hence the memmap.
        let page = unsafe { bindings::rust_fsdax_pfn_to_page(pfn) };
        match order {
            // SAFETY: By the type invariant, and the folio stays.
            Order::Pte => unsafe { bindings::vmf_insert_page_mkwrite(self.0, page, write) },
            // SAFETY: As above.
            Order::Pmd => unsafe { bindings::vmf_insert_folio_pmd(self.0, page.cast(), write) },
        }
    }

    /// Whether a PMD fault cannot be served by a PMD, whatever the file has.
    ///
    /// Follows `dax_fault_check_fallback()`.
    fn pmd_does_not_fit(self, last_page: usize) -> bool {
        let pmd_size = Order::Pmd.pages() << bindings::PAGE_SHIFT;
        let start = self.address() & !(pmd_size - 1);
        let in_pmd = |page: usize| page & (Order::Pmd.pages() - 1);
        let bounds = project!(self.vma(), .__bindgen_anon_1.__bindgen_anon_1);
        // SAFETY: By the type invariant the vma is valid; its bounds stay while it is locked.
        let vm_start = unsafe { (*bounds).vm_start };
        // SAFETY: As above.
        let vm_end = unsafe { (*bounds).vm_end };
        // SAFETY: By the type invariant.
        let private = !unsafe { bindings::rust_fsdax_vma_shared(self.vma()) };

        // The page table and the file must agree on what a PMD is,
        in_pmd(self.index()) != in_pmd(self.address() >> bindings::PAGE_SHIFT)
            // a private copy is one page,
            || (self.wants_write() && private)
            // and a PMD must end neither outside of the vma nor of the file.
            || start < vm_start
            || vm_end - start < pmd_size
            || self.index_of(Order::Pmd) + (Order::Pmd.pages() - 1) > last_page
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

    /// The memory of `order` that `iomap` has at `pos`.
    ///
    /// `EINVAL` if the device has less than that in one piece, or not aligned. Follows
    /// `dax_iomap_direct_access()`.
    fn direct_access(
        &self,
        iomap: &bindings::iomap,
        pos: i64,
        order: Order,
    ) -> Result<DeviceMemory<'_>> {
        if inject::fails(Point::Access) {
            return Err(EIO);
        }
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
                order.pages() as isize,
                bindings::dax_access_mode_DAX_ACCESS,
                &mut kaddr,
                &mut pfn,
            )
        };
        match usize::try_from(length) {
            Err(_) => Err(Error::from_errno(length as i32)),
            Ok(pages) if pages < order.pages() || order.align(pfn) != pfn => Err(EINVAL),
            Ok(_) if kaddr.is_null() => Err(EFAULT),
            Ok(_) => Ok(DeviceMemory {
                pfn,
                kaddr,
                _guard: PhantomData,
            }),
        }
    }
}

/// Memory that a DAX device gave access to.
///
/// # Invariants
///
/// `pfn` has a memmap and a pgmap, and they and the mapping at `kaddr` stay while the guard is
/// held: filesystems get only devices with pages (`fs_dax_get_by_bdev()`), and a driver takes the
/// device down (`kill_dax()`, which waits for those inside `dax_read_lock()`) before the pgmap.
struct DeviceMemory<'g> {
    pfn: usize,
    kaddr: *mut c_void,
    _guard: PhantomData<&'g DaxReadGuard>,
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
    /// The block is to be replaced, and somebody has it pinned.
    Pinned,
    /// The page at this pfn is part of a large folio that another file tracks.
    InTheWay(usize),
    /// The entry was in the way and is gone: the fault is to be taken again.
    Retry,
}

/// Why the fault does not get the folio for an entry.
enum Refused {
    /// There is none to be had: this is the result of a PTE fault.
    Fault(vm_fault_t),
    /// A page of it is in use as part of a folio of another order.
    OtherOrder(usize),
}

/// Handles a fault: maps a page of the file, the zero page, or a private copy.
///
/// `pfnp` receives the pfn when `VM_FAULT_NEEDDSYNC` is returned, `iomap_errp` the errno of the
/// iteration of a PTE fault: what makes a PMD fault fall back is no error, and a filesystem that
/// heard of `ENOSPC` would commit its journal and try again. Either may be null. Process context,
/// may sleep. Follows `dax_iomap_fault()`.
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
    let Some(order) = Order::new(order) else {
        return fault::FALLBACK;
    };
    let mapping = vmf.mapping();
    let mut flags = bindings::IOMAP_DAX | bindings::IOMAP_FAULT;

    // The filesystem's lock keeps truncate out, so that this is a reliable test.
    let last = match usize::try_from(mapping.size().div_ceil_page()) {
        Ok(pages) if vmf.index_of(order) < pages => pages - 1,
        _ => return fault::SIGBUS,
    };
    if order == Order::Pmd && vmf.pmd_does_not_fit(last) {
        return fault::FALLBACK;
    }
    if vmf.is_write() {
        flags |= bindings::IOMAP_WRITE;
    }

    let mut locked = match LockedEntry::grab(mapping, vmf.index(), order) {
        Ok(locked) => locked,
        Err(GrabError::NoMemory) => return fault::OOM,
        Err(GrabError::Conflict) => return fault::FALLBACK,
        Err(GrabError::Io) => return fault::SIGBUS,
    };
    match order {
        // Somebody mapped a huge page meanwhile; retry with that.
        Order::Pte if vmf.pmd_is_huge() => return fault::NOPAGE,
        // Or a page of it; retry with a page.
        Order::Pmd if vmf.pmd_is_table() => return 0,
        _ => {}
    }
    if vmf.is_write() && fsdax::is_replaced_later(&locked, WAIT_MS) {
        return wait_to_replace(locked);
    }

    // SAFETY: All of its fields may be 0, as the designated initializers of C have it.
    let mut iter: bindings::iomap_iter = unsafe { core::mem::zeroed() };
    iter.inode = mapping.host();
    iter.pos = (vmf.index_of(order) as i64) << bindings::PAGE_SHIFT;
    iter.len = (order.pages() << bindings::PAGE_SHIFT) as u64;
    iter.flags = flags;

    let mut ret: vm_fault_t = match order {
        Order::Pte => 0,
        Order::Pmd => fault::FALLBACK,
    };
    let (mut pinned, mut in_the_way) = (false, None);
    let error = loop {
        // Only the first round has nothing to end.
        if iter.iomap.length == 0 && inject::fails(Point::Begin) {
            break EIO.to_errno();
        }
        // SAFETY: `iter` is initialized and stays in place; `ops` is the filesystem's.
        let more = unsafe { bindings::rust_fsdax_iomap_iter(&mut iter, ops) };
        if more <= 0 {
            break more;
        }
        let len = (order.pages() << bindings::PAGE_SHIFT) as u64;
        // SAFETY: `iter` is valid.
        if unsafe { bindings::rust_fsdax_iomap_length(&mut iter) } < len {
            if order == Order::Pte {
                // A corrupt filesystem.
                crate::warn::warn_on_once!(true);
                iter.status = EIO.to_errno();
            }
            // The iteration ends, since nothing was consumed.
            continue;
        }
        ret = match serve(vmf, order, &iter, &mut locked) {
            Served::Done(ret) => ret,
            Served::NeedsSync(_) if pfnp.is_null() => {
                crate::warn::warn_on_once!(true);
                fault::SIGBUS
            }
            Served::NeedsSync(pfn) => {
                // SAFETY: Not null, so that it is valid by the requirements of this function.
                unsafe { *pfnp = pfn };
                fault::NEEDDSYNC
            }
            // The iteration ends, since nothing was consumed.
            Served::Pinned => {
                pinned = true;
                continue;
            }
            Served::InTheWay(pfn) => {
                in_the_way = Some(pfn);
                continue;
            }
            Served::Retry => {
                ret = fault::NOPAGE;
                continue;
            }
        };
        if order == Order::Pte
            && ret != fault::SIGBUS
            && u32::from(iter.iomap.flags) & bindings::IOMAP_F_NEW != 0
        {
            // SAFETY: By the type invariant of `Fault`.
            unsafe { bindings::rust_fsdax_count_major_fault(vmf.0) };
            ret |= fault::MAJOR;
        }
        if ret & fault::ERROR == 0 {
            // SAFETY: `iter` is valid.
            iter.status = unsafe { bindings::rust_fsdax_iomap_iter_advance(&mut iter, len) };
        }
    };
    if order == Order::Pte && !iomap_errp.is_null() {
        // SAFETY: By the requirements of this function.
        unsafe { *iomap_errp = error };
    }
    if pinned {
        fsdax::set_replaced(&locked);
        return wait_to_replace(locked);
    }
    if let Some(pfn) = in_the_way {
        // Whoever holds the entry of the other file may need ours.
        drop(locked);
        return make_way(vmf, pfn);
    }
    if vmf.is_cow() {
        locked.unlock();
    }
    if ret == 0 && error != 0 {
        ret = from_errno(Error::from_errno(error));
    }
    ret
}

/// For how long a fault sleeps, with the filesystem's lock, until it is taken again.
///
/// It is woken when the pins are gone. This is for whoever waits for the locks of the fault, and
/// hence for us.
const WAIT_MS: u32 = 100;

/// Gives those a chance who pin the block that a fault is going to replace, and has the fault
/// taken again.
///
/// The locks of the fault go in between: what pins the block may need a fault of the same file
/// to get done, and would wait for a truncate that waits for us.
#[cold]
#[inline(never)]
fn wait_to_replace(locked: LockedEntry<'_>) -> vm_fault_t {
    let (mapping, index, entry) = (locked.mapping(), locked.index(), locked.entry());
    drop(locked);

    match fsdax::wait_briefly(mapping, index, entry, WAIT_MS) {
        Ok(()) => fault::NOPAGE,
        // The task is dying. A fault of the kernel would be taken again for ever.
        Err(_) => fault::SIGBUS,
    }
}

/// Has another file give the page at `pfn` back that it has as part of a large folio, and the fault
/// taken again.
#[cold]
#[inline(never)]
fn make_way(vmf: Fault<'_>, pfn: usize) -> vm_fault_t {
    let made = way::make_way(vmf.mapping(), vmf.index(), pfn, WAIT_MS);

    // Other than a signal: the block belongs to the file, and somebody uses it who is no file.
    crate::warn::warn_on_once!(made.is_err_and(|e| e == EBUSY || e == ERANGE));
    match made {
        Ok(()) => fault::NOPAGE,
        Err(_) => fault::SIGBUS,
    }
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

/// What a PMD fault returns where a PTE fault fails: the latter is going to find out.
fn failure(order: Order, ret: vm_fault_t) -> Served {
    Served::Done(match order {
        Order::Pte => ret,
        Order::Pmd => fault::FALLBACK,
    })
}

/// Serves the fault from the iomap that `iter` is at. Follows `dax_fault_iter()`.
fn serve(
    vmf: Fault<'_>,
    order: Order,
    iter: &bindings::iomap_iter,
    locked: &mut LockedEntry<'_>,
) -> Served {
    let iomap = &iter.iomap;
    let kind = u32::from(iomap.type_);
    let is_hole = kind == bindings::IOMAP_HOLE || kind == bindings::IOMAP_UNWRITTEN;
    let write = vmf.is_write();

    if vmf.is_cow() {
        return Served::Done(private_copy(vmf, iomap, iter.pos, is_hole));
    }
    if !write && is_hole {
        return Served::Done(load_hole(vmf, order, locked));
    }
    let shared = u32::from(iomap.flags) & bindings::IOMAP_F_SHARED != 0;
    let replace = shared && write;
    if kind != bindings::IOMAP_MAPPED && !replace {
        crate::warn::warn_on_once!(true);
        return failure(order, fault::SIGBUS);
    }
    if shared && order == Order::Pmd {
        // The files that share a block need not agree on where a large folio starts.
        return failure(order, fault::FALLBACK);
    }

    // That a copy takes the place of a shared block, the flags do not say yet: the filesystem
    // changes its metadata when the iteration ends.
    let unsynced = replace || u32::from(iomap.flags) & bindings::IOMAP_F_DIRTY != 0;
    let sync = write && vmf.is_sync() && unsynced;
    let dirty = write && !sync;
    if replace {
        match fsdax::give_up(locked) {
            Left::Busy => return Served::Pinned,
            // A copy is one page; there is room for its entry when this one is gone.
            Left::Idle if locked.entry().order() != order => return Served::Retry,
            Left::Idle => {}
        }
    }
    let old = locked.entry();

    let inserted = {
        let device = DaxReadGuard::new();
        device
            .direct_access(iomap, iter.pos, order)
            .map_err(|e| Refused::Fault(from_errno(e)))
            .and_then(|memory| {
                if replace {
                    copy_page(&device, iter, memory.kaddr)
                        .map_err(|e| Refused::Fault(from_errno(e)))?;
                }
                // The request takes its pgmap reference before the device may go. What is
                // replaced by a copy is ours alone.
                let fresh = insert(vmf, locked, &memory, shared && !replace, dirty, order)?;
                Ok((fresh, memory.pfn))
            })
    };
    let (fresh, pfn) = match inserted {
        Ok(inserted) => inserted,
        Err(Refused::Fault(ret)) => return failure(order, ret),
        Err(Refused::OtherOrder(_)) if locked.entry().order() != order => {
            // What is left of a large folio of ours, while another file has pages of it: a page is
            // enough for us too.
            let _ = fsdax::give_up(locked);
            return Served::Retry;
        }
        Err(Refused::OtherOrder(pfn)) => match order {
            Order::Pte => return Served::InTheWay(pfn),
            Order::Pmd => return Served::Done(fault::FALLBACK),
        },
    };
    if dirty {
        // The entry was marked before, so that background writeback sees at least one of the two;
        // and before the page is mapped, so that whoever stores to it and calls fsync() finds it.
        locked.mapping().mark_inode_dirty();
    }
    if sync {
        return Served::NeedsSync(pfn);
    }

    let ret = vmf.map(pfn, order, write);
    if ret != fault::NOPAGE && fresh {
        if dirty && old.kind() != Kind::Zapped {
            locked.with_marks(|pages| pages.clear(Mark::Dirty));
        }
        fsdax::undo_insert(locked, old);
    }
    Served::Done(ret)
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

/// Fills the page at `kaddr` with what the file has so far where `iter` is, and flushes it.
///
/// The filesystem may make it a part of the file on the medium before anybody calls `fsync()`:
/// what was on the medium until then must be there still.
///
/// Follows `dax_iomap_copy_around()` for a whole page.
#[inline(never)]
fn copy_page(device: &DaxReadGuard, iter: &bindings::iomap_iter, kaddr: *mut c_void) -> Result {
    let source = match u32::from(iter.srcmap.type_) {
        bindings::IOMAP_MAPPED => {
            let memory = device
                .direct_access(&iter.srcmap, iter.pos, Order::Pte)
                .map_err(mem_to_blk)?;
            Some(memory.kaddr)
        }
        // A hole: nothing is shared but the right to allocate a copy.
        _ => None,
    };
    if inject::fails(Point::Copy) {
        return Err(EIO);
    }
    // SAFETY: `kaddr` is a page of a block that was just allocated for the copy, and the source
    // is a page of the same device; `device` keeps both.
    to_result(unsafe {
        bindings::rust_fsdax_copy_page_mc(kaddr, source.unwrap_or(core::ptr::null_mut()))
    })?;
    // SAFETY: `device` keeps the device of the page, see above.
    unsafe { bindings::dax_flush(iter.iomap.dax_dev, kaddr, bindings::PAGE_SIZE) };
    Ok(())
}

/// Inserts `memory`, where the fault of `order` is; returns whether it was not tracked.
fn insert(
    vmf: Fault<'_>,
    locked: &mut LockedEntry<'_>,
    memory: &DeviceMemory<'_>,
    shared: bool,
    dirty: bool,
    order: Order,
) -> Result<bool, Refused> {
    let pfn = memory.pfn;
    // A PTE fault may find an entry for the PMD around.
    let first = pfn.wrapping_sub(vmf.index_of(order) - locked.index());
    let whole = locked.entry().order();
    // SAFETY: By the type invariant of `DeviceMemory`.
    let live = move || unsafe { PgmapRef::live_of_page(pfn, first, whole) };

    fsdax::insert_live(locked, first, shared, dirty, live).map_err(|e| {
        // A large folio need not be there because small ones are, nor a small one because a large
        // one is; else nobody may use a block of this file, and it changes only when its entry is
        // gone.
        match e {
            InsertError::OtherOrder => return Refused::OtherOrder(pfn),
            InsertError::Busy if whole == Order::Pmd => return Refused::OtherOrder(pfn),
            InsertError::Dying => {}
            InsertError::Busy | InsertError::Mismatch | InsertError::Range => {
                crate::warn::warn_on_once!(true);
            }
        }
        Refused::Fault(fault::SIGBUS)
    })
}

/// Maps the zero page, or the huge zero page, for a read of a hole.
///
/// Follows `dax_load_hole()` and `dax_pmd_load_hole()`.
#[inline(never)]
fn load_hole(vmf: Fault<'_>, order: Order, locked: &mut LockedEntry<'_>) -> vm_fault_t {
    let host = locked.mapping().host();
    let pfn = match order {
        // SAFETY: Any address.
        Order::Pte => unsafe { bindings::rust_fsdax_zero_pfn(vmf.address()) },
        Order::Pmd => {
            let folio = match inject::fails(Point::HugeZero) {
                true => core::ptr::null_mut(),
                // SAFETY: By the type invariant of `Fault`.
                false => unsafe { bindings::rust_fsdax_huge_zero_folio(vmf.0) },
            };
            if folio.is_null() {
                // SAFETY: As above, and the inode is the file's.
                unsafe {
                    bindings::rust_fsdax_trace_pmd_load_hole(host, vmf.0, folio, 0);
                }
                return fault::FALLBACK;
            }
            // SAFETY: The kernel keeps the folio for this mm.
            unsafe { bindings::rust_fsdax_page_to_pfn(folio.cast()) }
        }
    };
    let Some(zero) = Entry::zero(pfn, order) else {
        return fault::SIGBUS;
    };

    if locked.entry().is_mapped() {
        // The file has a block here as long as there is an entry for it.
        crate::warn::warn_on_once!(true);
        return fault::SIGBUS;
    }
    locked.set(zero, fsdax::mark_for_break);
    let ret = vmf.map(pfn, order, false);
    match order {
        // SAFETY: By the type invariant of `Fault`, and the inode is the file's.
        Order::Pte => unsafe { bindings::rust_fsdax_trace_load_hole(host, vmf.0, ret) },
        Order::Pmd if ret == fault::NOPAGE => {
            // SAFETY: The kernel keeps the huge zero folio for this mm.
            let folio = unsafe { bindings::rust_fsdax_pfn_to_page(pfn) }.cast();
            // SAFETY: As for the other order, and the folio stays.
            unsafe {
                bindings::rust_fsdax_trace_pmd_load_hole(host, vmf.0, folio, zero.value());
            }
        }
        Order::Pmd => {}
    }
    ret
}

/// Fills and maps the private copy of a page. Follows `dax_fault_cow_page()`.
#[inline(never)]
fn private_copy(vmf: Fault<'_>, iomap: &bindings::iomap, pos: i64, is_hole: bool) -> vm_fault_t {
    if is_hole {
        // SAFETY: This is a CoW fault, which has a page of its own.
        unsafe { bindings::rust_fsdax_clear_cow_page(vmf.0) };
    } else if u32::from(iomap.type_) == bindings::IOMAP_MAPPED {
        let device = DaxReadGuard::new();
        match device.direct_access(iomap, pos, Order::Pte) {
            // SAFETY: This is a CoW fault, and the device keeps the page at `kaddr`.
            Ok(memory) => unsafe { bindings::rust_fsdax_copy_cow_page(vmf.0, memory.kaddr) },
            Err(e) => return from_errno(e),
        }
    } else {
        crate::warn::warn_on_once!(true);
        return fault::SIGBUS;
    }
    // SAFETY: This is a CoW fault; the page was just filled.
    unsafe { bindings::rust_fsdax_set_cow_uptodate(vmf.0) };
    if inject::fails(Point::Finish) {
        return fault::OOM;
    }
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
    let Some(order) = Order::new(order) else {
        return fault::FALLBACK;
    };
    let mapping = vmf.mapping();
    let index = vmf.index_of(order);
    let start = (index as i64) << bindings::PAGE_SHIFT;
    let end = start + (order.pages() << bindings::PAGE_SHIFT) as i64 - 1;
    let trace = |has_entry: bool, ret: vm_fault_t| {
        // SAFETY: By the type invariant of `Fault`, and the inode is the file's.
        unsafe {
            bindings::rust_fsdax_trace_insert_pfn_mkwrite(mapping.host(), vmf.0, has_entry, ret);
        }
        ret
    };

    if inject::fails(Point::Sync) {
        return fault::SIGBUS;
    }
    // SAFETY: By the type invariant of `Fault`.
    if unsafe { bindings::vfs_fsync_range(vmf.file(), start, end, 1) } != 0 {
        return fault::SIGBUS;
    }
    let Some(locked) = mapping.lock_entry(index) else {
        return trace(false, fault::NOPAGE);
    };
    let entry = locked.entry();
    let first = pfn.wrapping_sub(index - locked.index());
    if entry.order().pages() < order.pages() || Some(entry) != Entry::tracked(first, entry.order())
    {
        // Split, zapped, replaced or removed since: the fault is taken again.
        return trace(false, fault::NOPAGE);
    }
    locked.with_marks(|pages| {
        pages.set(Mark::Dirty);
        fsdax::mark_for_break(pages);
    });
    mapping.mark_inode_dirty();
    trace(true, vmf.map(pfn, order, true))
}
