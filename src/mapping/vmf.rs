// SPDX-License-Identifier: GPL-2.0

//! `struct vm_fault`: what a fault asks for, and what it may map.
//!
//! Counterpart of `copy_cow_page_dax()` ([`CowFault::copy`]) and `dax_fault_check_fallback()`, and
//! of the calls of `vmf_insert_*()` ([`Fault::map`]), of `fs/dax.c`.
//!
//! Rules: R7, R14, R17.

use core::marker::PhantomData;

use kernel::ptr::project;

use super::{
    entry::{
        Entry,
        Kind, //
    },
    file::Mapping,
    locked::LockedEntry, //
};
use crate::{
    ffi::{
        bindings,
        inject::{
            self,
            Point, //
        },
        safe::{
            self,
            page_to_pfn,
            pfn_to_page, //
        },
        vm_fault::{
            self,
            VmFault, //
        },
        warn::warn_on_once,
        PAGE_SHIFT, //
    },
    pgmap::{
        DeviceMemory,
        Order, //
    }, //
};

/// The `struct vm_fault` of a fault that is being handled.
///
/// # Invariants
///
/// `.0` is valid and stays so during `'a`, and its vma has a file, whose mapping cannot be evicted
/// meanwhile. The filesystem's lock that keeps breaks out is held.
#[derive(Clone, Copy)]
pub(crate) struct Fault<'a>(*mut bindings::vm_fault, PhantomData<&'a ()>);

/// The zero page, or the huge zero page, as an entry.
///
/// # Invariants
///
/// It is of kind [`Kind::Zero`], and the kernel keeps its page for the mm of the fault.
#[derive(Clone, Copy)]
pub(crate) struct ZeroPage(Entry);

impl ZeroPage {
    /// The entry for a hole that is mapped by it.
    pub(crate) fn entry(self) -> Entry {
        self.0
    }
}

impl<'a> Fault<'a> {
    /// Borrows a C object.
    ///
    /// # Safety
    ///
    /// `vmf` is as the type invariant says.
    pub(crate) unsafe fn from_raw(vmf: *mut bindings::vm_fault) -> Self {
        // INVARIANT: What the caller promises.
        Self(vmf, PhantomData)
    }

    /// The C object.
    pub(super) fn as_raw(self) -> *mut bindings::vm_fault {
        self.0
    }

    /// What the fault is about, which is constant.
    #[inline(always)]
    fn about(self) -> bindings::vm_fault__bindgen_ty_1 {
        // SAFETY: By the type invariant the fault is valid.
        unsafe { (*self.0).__bindgen_anon_1 }
    }

    fn vma(self) -> *mut bindings::vm_area_struct {
        self.about().vma
    }

    fn file(self) -> *mut bindings::file {
        // SAFETY: By the type invariant the vma has a file.
        unsafe { (*self.vma()).vm_file }
    }

    /// The file, as its mapping.
    pub(crate) fn mapping(self) -> Mapping<'a> {
        // SAFETY: By the type invariant the file is valid.
        let mapping = unsafe { (*self.file()).f_mapping };
        // SAFETY: By the type invariant it cannot be evicted during `'a`.
        unsafe { Mapping::from_raw(mapping) }
    }

    /// The page offset in the file.
    pub(crate) fn index(self) -> usize {
        self.about().pgoff
    }

    /// The entry that the fault is about, of an order.
    pub(crate) fn index_of(self, order: Order) -> usize {
        order.align(self.index())
    }

    fn has_cow_page(self) -> bool {
        // SAFETY: By the type invariant the fault is valid; this is constant.
        unsafe { !(*self.0).cow_page.is_null() }
    }

    /// The fault as one that wants a private copy, if it is.
    pub(crate) fn cow(self) -> Option<CowFault<'a>> {
        // INVARIANT: Just looked at.
        self.has_cow_page().then_some(CowFault(self))
    }

    fn wants_write(self) -> bool {
        // SAFETY: By the type invariant the fault is valid; the flags are constant.
        let flags = unsafe { (*self.0).flags };
        flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0
    }

    /// Whether the file is going to be written, rather than a private copy.
    pub(crate) fn is_write(self) -> bool {
        self.wants_write() && !self.has_cow_page()
    }

    fn vm_flags(self) -> usize {
        let flags = project!(self.vma(), .__bindgen_anon_2.vm_flags);
        // SAFETY: By the type invariant the vma is valid; its flags stay while it is locked.
        unsafe { *flags }
    }

    /// Whether the mapping was made with `MAP_SYNC`.
    pub(crate) fn is_sync(self) -> bool {
        self.vm_flags() & bindings::RUST_FSDAX_VM_SYNC != 0
    }

    /// Whether somebody mapped a huge page here.
    pub(crate) fn pmd_is_huge(self) -> bool {
        // SAFETY: By the type invariant the fault is valid, and has a PMD.
        unsafe { bindings::rust_fsdax_vmf_pmd_huge(self.0) }
    }

    /// Whether somebody mapped pages here.
    pub(crate) fn pmd_is_table(self) -> bool {
        // SAFETY: By the type invariant the fault is valid, and has a PMD.
        unsafe { bindings::rust_fsdax_vmf_pmd_table(self.0) }
    }

    /// Whether the fault of `order` is about a part of what `locked` stands for.
    #[inline(always)]
    pub(super) fn is_about(self, locked: &LockedEntry<'_>, order: Order) -> bool {
        let offset = self.index_of(order).wrapping_sub(locked.index());

        locked.mapping().address() == self.mapping().address()
            && offset < locked.entry().order().pages()
            && order.pages() <= locked.entry().order().pages()
    }

    /// Maps the page, or in a PMD fault the folio, that the tracked entry `locked` has.
    ///
    /// An entry of another file, or one that does not track what the fault is about, is not mapped:
    /// `VM_FAULT_SIGBUS`.
    #[inline(always)]
    pub(crate) fn map(self, locked: &LockedEntry<'_>, order: Order, write: bool) -> VmFault {
        let entry = locked.entry();
        let fits = entry.kind() == Kind::Tracked
            && self.is_about(locked, order)
            && (order == Order::Pte || order == entry.order());

        if warn_on_once!(!fits) {
            return vm_fault::SIGBUS;
        }
        let point = match order {
            Order::Pte => Point::MapPage,
            Order::Pmd | Order::Pud => Point::MapHuge,
        };
        if inject::fails(point) {
            return vm_fault::OOM;
        }
        let pfn = entry.pfn() + (self.index_of(order) - locked.index());
        // SAFETY: The tracked entry keeps the folio while it is locked, and the fault is in it.
        unsafe { self.insert(pfn, order, write) }
    }

    /// Maps the zero page for a read of a hole, which the entry `locked` says it is.
    pub(crate) fn map_hole(self, locked: &LockedEntry<'_>, zero: ZeroPage) -> VmFault {
        let order = zero.entry().order();
        let fits = locked.entry() == zero.entry() && self.is_about(locked, order);

        if warn_on_once!(!fits) {
            return vm_fault::SIGBUS;
        }
        let point = match order {
            Order::Pte => Point::MapPage,
            Order::Pmd | Order::Pud => Point::MapHuge,
        };
        let ret = if inject::fails(point) {
            vm_fault::OOM
        } else {
            // SAFETY: By the invariant of `ZeroPage` the page stays.
            unsafe { self.insert(zero.entry().pfn(), order, false) }
        };
        match order {
            Order::Pte => {
                let host = self.mapping().host();
                // SAFETY: By the type invariant fault and inode are valid.
                unsafe { bindings::rust_fsdax_trace_load_hole(host, self.0, ret) }
            }
            Order::Pmd if ret == vm_fault::NOPAGE => self.trace_huge_hole(Some(zero)),
            Order::Pmd | Order::Pud => {}
        }
        ret
    }

    /// # Safety
    ///
    /// The page at `pfn`, or the folio of `order`, stays during the call.
    #[inline(always)]
    unsafe fn insert(self, pfn: usize, order: Order, write: bool) -> VmFault {
        let page = pfn_to_page(pfn);
        match order {
            // SAFETY: By the type invariant the fault is valid, and the caller keeps the page.
            Order::Pte => unsafe { bindings::vmf_insert_page_mkwrite(self.0, page, write) },
            // SAFETY: By the type invariant the fault is valid, and the caller keeps the folio.
            Order::Pmd => unsafe { bindings::vmf_insert_folio_pmd(self.0, page.cast(), write) },
            // SAFETY: By the type invariant the fault is valid, and the caller keeps the folio.
            Order::Pud => unsafe {
                bindings::rust_fsdax_insert_folio_pud(self.0, page.cast(), write)
            },
        }
    }

    /// The page of this order for holes. `None` if there is no memory for one.
    pub(crate) fn zero_page(self, order: Order) -> Option<ZeroPage> {
        let pfn = match order {
            Order::Pte => safe::rust_fsdax_zero_pfn(self.about().address),
            Order::Pmd => {
                let folio = match inject::fails(Point::HugeZero) {
                    true => core::ptr::null_mut(),
                    // SAFETY: By the type invariant the fault is valid, and has an mm.
                    false => unsafe { bindings::rust_fsdax_huge_zero_folio(self.0) },
                };
                if folio.is_null() {
                    self.trace_huge_hole(None);
                    return None;
                }
                page_to_pfn(folio.cast())
            }
            // There is none.
            Order::Pud => return None,
        };
        // INVARIANT: The zero page stays for ever, and the huge one for the mm.
        Entry::zero(pfn, order).map(ZeroPage)
    }

    fn trace_huge_hole(self, zero: Option<ZeroPage>) {
        let host = self.mapping().host();
        let (folio, value) = match zero {
            Some(zero) => (pfn_to_page(zero.0.pfn()).cast(), zero.0.value()),
            None => (core::ptr::null_mut(), 0),
        };
        // SAFETY: By the type invariant fault and inode are valid.
        unsafe { bindings::rust_fsdax_trace_pmd_load_hole(host, self.0, folio, value) }
    }

    /// Tells tracepoints how a fault of a file that was synced ends, and gives the result back.
    pub(crate) fn trace_mkwrite(self, has_entry: bool, ret: VmFault) -> VmFault {
        let host = self.mapping().host();
        // SAFETY: By the type invariant fault and inode are valid.
        unsafe { bindings::rust_fsdax_trace_insert_pfn_mkwrite(host, self.0, has_entry, ret) };
        ret
    }

    /// Counts the fault as one that had the filesystem make a block.
    pub(crate) fn count_major(self) {
        // SAFETY: By the type invariant the fault is valid, and has an mm.
        unsafe { bindings::rust_fsdax_count_major_fault(self.0) }
    }

    /// Syncs the part of the file that the fault of `order` is about. Returns whether that went
    /// well. May sleep.
    pub(crate) fn sync(self, order: Order) -> bool {
        let start = (self.index_of(order) as i64) << PAGE_SHIFT;
        let end = start + (order.pages() << PAGE_SHIFT) as i64 - 1;

        if inject::fails(Point::Sync) {
            return false;
        }
        // SAFETY: By the type invariant the file is valid.
        unsafe { bindings::vfs_fsync_range(self.file(), start, end, 1) == 0 }
    }

    /// Whether a PMD fault cannot be served by a PMD, whatever the file has, of which `last_page` is
    /// the last page.
    ///
    /// Follows `dax_fault_check_fallback()`.
    pub(crate) fn pmd_does_not_fit(self, last_page: usize) -> bool {
        let pmd_size = Order::Pmd.pages() << PAGE_SHIFT;
        let start = self.about().address & !(pmd_size - 1);
        let in_pmd = |page: usize| page & (Order::Pmd.pages() - 1);
        let bounds = project!(self.vma(), .__bindgen_anon_1.__bindgen_anon_1);
        // SAFETY: By the type invariant the vma is valid; its bounds stay while it is locked.
        let bounds = unsafe { bounds.read() };
        let (vm_start, vm_end) = (bounds.vm_start, bounds.vm_end);
        let private = self.vm_flags() & bindings::RUST_FSDAX_VM_SHARED == 0;

        // The page table and the file must agree on what a PMD is,
        in_pmd(self.index()) != in_pmd(self.about().address >> PAGE_SHIFT)
            // a private copy is one page,
            || (self.wants_write() && private)
            // and a PMD must end neither outside of the vma nor of the file.
            || start < vm_start
            || vm_end - start < pmd_size
            || self.index_of(Order::Pmd) + (Order::Pmd.pages() - 1) > last_page
    }
}

impl Fault<'_> {
    /// Whether a PUD fault cannot be served by a PUD, whatever the file has, of which `last_page` is the
    /// last page.
    ///
    /// Takes the place of `dax_fault_check_fallback()`, of which `fs/dax.c` has one for PMDs only.
    pub(crate) fn pud_does_not_fit(self, last_page: usize) -> bool {
        // SAFETY: By the type invariant the fault is valid, and its vma locked.
        let fits = unsafe { bindings::rust_fsdax_vmf_pud_fits(self.0) };

        !bindings::RUST_FSDAX_HAS_PUD
            || !fits
            || self.index_of(Order::Pud) + (Order::Pud.pages() - 1) > last_page
    }
}

/// A fault that wants a private copy.
///
/// # Invariants
///
/// It has a page for the copy, which nobody has mapped yet.
pub(crate) struct CowFault<'a>(Fault<'a>);

impl<'a> CowFault<'a> {
    /// Fills the copy of a hole.
    pub(crate) fn clear(self) -> FilledCopy<'a> {
        // SAFETY: By the type invariant there is a page.
        unsafe { bindings::rust_fsdax_clear_cow_page(self.0 .0) };
        self.filled()
    }

    /// Fills the copy of a block.
    pub(crate) fn copy(self, memory: &DeviceMemory<'_>) -> FilledCopy<'a> {
        // SAFETY: By the type invariant there is a page, and by that of `memory` one to read.
        unsafe { bindings::rust_fsdax_copy_cow_page(self.0 .0, memory.kaddr()) };
        self.filled()
    }

    fn filled(self) -> FilledCopy<'a> {
        // SAFETY: By the type invariant there is a page, which was just filled.
        unsafe { bindings::rust_fsdax_set_cow_uptodate(self.0 .0) };
        // INVARIANT: Just filled.
        FilledCopy(self.0)
    }
}

/// A fault whose private copy can be mapped.
///
/// # Invariants
///
/// It has a page, which is filled.
pub(crate) struct FilledCopy<'a>(Fault<'a>);

impl FilledCopy<'_> {
    /// Maps the copy.
    pub(crate) fn finish(self) -> VmFault {
        if inject::fails(Point::Finish) {
            return vm_fault::OOM;
        }
        // SAFETY: By the invariant of `Fault` it is valid, and by that of `self` filled.
        match unsafe { bindings::rust_fsdax_finish_fault(self.0 .0) } {
            0 => vm_fault::DONE_COW,
            ret => ret,
        }
    }
}
