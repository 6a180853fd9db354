// SPDX-License-Identifier: GPL-2.0

//! A filesystem that has one extent per file, and page faults that nobody's page tables have a place
//! for.
//!
//! Rules: none, the suites run on it.

use core::mem::MaybeUninit;

use kernel::{
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

use super::fixture::{
    Backing,
    DaxDevice,
    FakeFile,
    Handle,
    TestPgmap,
    PMD, //
};
use crate::{
    ffi::{
        bindings::{
            self,
            vm_fault_t, //
        },
        safe,
        vm_fault, //
    },
    fsdax,
    mapping::{
        Fault,
        IomapOps,
        Iomaps, //
    },
    pgmap::Order, //
};

/// A block of which nothing can be read, for a pgmap of one slot.
pub(super) const BAD: usize = PMD - 1;
/// One that the device gives no access to, for want of memory.
pub(super) const NO_MEMORY: usize = PMD - 3;
/// One that the kernel has not mapped.
pub(super) const NOT_MAPPED: usize = PMD - 5;

impl Backing for TestPgmap {
    fn access(&self, _device: &Handle, offset: usize) -> Result<(usize, usize)> {
        match offset {
            BAD => Err(Error::from_errno(-(bindings::EHWPOISON as c_int))),
            NO_MEMORY => Err(ENOMEM),
            _ => Ok((self.pfn(offset), self.pages() - offset)),
        }
    }

    fn address(&self, pfn: usize) -> *mut c_void {
        if pfn == self.pfn(NOT_MAPPED) {
            core::ptr::null_mut()
        } else {
            safe::rust_fsdax_pfn_to_virt(pfn)
        }
    }
}

/// What the filesystem says of a file: all of it lies at one place of the device.
#[derive(Clone, Copy, Default)]
pub(super) struct Extent {
    /// The block of page offset 0.
    pub(super) block: usize,
    /// Whether other files have it too.
    pub(super) shared: bool,
    /// Whether the filesystem made it for the fault.
    pub(super) new: bool,
    /// With `shared`, where the data of a store has been so far.
    pub(super) source: Option<usize>,
    /// An errno to fail with instead.
    pub(super) error: i32,
    /// How many pages it has, if it is not large.
    pub(super) pages: Option<usize>,
    /// What there is, if it is no block: `IOMAP_HOLE`, for example.
    pub(super) of_type: Option<u32>,
    /// An errno that `fsync()` fails with.
    pub(super) sync_error: i32,
}

/// A file that can be faulted in.
pub(super) struct Faulted {
    pub(super) file: Arc<FakeFile>,
    extent: Extent,
    asked: Atomic<usize>,
    ended: Atomic<usize>,
    /// What the filesystem was asked for last: place and number of bytes, and flags.
    begun: [Atomic<i64>; 3],
    /// How many bytes of it were used.
    used: Atomic<i64>,
    /// The first and the last byte that `fsync()` was called for last.
    synced: [Atomic<i64>; 2],
    device: DaxDevice<TestPgmap>,
}

struct Iomap(bindings::iomap_ops);

// SAFETY: The table holds pointers to functions, which are constant.
unsafe impl Sync for Iomap {}

static IOMAP: Iomap = Iomap(bindings::iomap_ops {
    iomap_begin: Some(iomap_begin),
    iomap_end: Some(iomap_end),
    // SAFETY: All other fields may be 0, as the designated initializers of C have it.
    ..unsafe { core::mem::zeroed() }
});

struct Files(bindings::file_operations);

// SAFETY: The table holds a pointer to a function, which is constant.
unsafe impl Sync for Files {}

/// What a filesystem has whose files share blocks by what it does.
static FILES: Files = Files(bindings::file_operations {
    remap_file_range: Some(remap_file_range),
    // SAFETY: All other fields may be 0, as the designated initializers of C have it.
    ..unsafe { core::mem::zeroed() }
});

/// # Safety
///
/// None: it is there, and nobody calls it.
unsafe extern "C" fn remap_file_range(
    _from: *mut bindings::file,
    _from_pos: bindings::loff_t,
    _to: *mut bindings::file,
    _to_pos: bindings::loff_t,
    _length: bindings::loff_t,
    _flags: c_uint,
) -> bindings::loff_t {
    0
}

/// What a file has that is open.
static OPEN: Files = Files(bindings::file_operations {
    fsync: Some(fsync),
    // SAFETY: All other fields may be 0, as the designated initializers of C have it.
    ..unsafe { core::mem::zeroed() }
});

/// # Safety
///
/// `file` has a mapping, whose inode has a [`Faulted`] as its private data.
unsafe extern "C" fn fsync(
    file: *mut bindings::file,
    start: bindings::loff_t,
    end: bindings::loff_t,
    _datasync: c_int,
) -> c_int {
    // SAFETY: The caller promises a file.
    let mapping = unsafe { (*file).f_mapping };
    // SAFETY: The caller promises that there is one.
    let host = unsafe { (*mapping).host };
    // SAFETY: The caller promises that the mapping has an inode.
    let private = unsafe { (*host).i_private };
    // SAFETY: The caller promises that this is its private data.
    let faulted = unsafe { &*private.cast::<Faulted>() };

    faulted.synced[0].store(start, Relaxed);
    faulted.synced[1].store(end, Relaxed);
    faulted.extent.sync_error
}

/// # Safety
///
/// The private data of `inode` is a [`Faulted`], and `iomap` and `srcmap` are valid.
unsafe extern "C" fn iomap_begin(
    inode: *mut bindings::inode,
    pos: bindings::loff_t,
    length: bindings::loff_t,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: The caller promises an inode.
    let private = unsafe { (*inode).i_private };
    // SAFETY: The caller promises that this is its private data.
    let faulted = unsafe { &*private.cast::<Faulted>() };
    let extent = &faulted.extent;

    faulted.asked.fetch_add(1, Relaxed);
    for (kept, word) in faulted.begun.iter().zip([pos, length, flags.into()]) {
        kept.store(word, Relaxed);
    }
    if extent.error != 0 {
        return extent.error;
    }
    let at = |block: usize| bindings::iomap {
        addr: (block << bindings::PAGE_SHIFT) as u64,
        offset: 0,
        length: extent
            .pages
            .map_or(1 << 40, |n| (n << bindings::PAGE_SHIFT) as u64),
        type_: extent.of_type.unwrap_or(bindings::IOMAP_MAPPED) as u16,
        flags: match (extent.shared, extent.new) {
            (true, _) => bindings::IOMAP_F_SHARED as u16,
            (false, false) => bindings::IOMAP_F_DIRTY as u16,
            (false, true) => (bindings::IOMAP_F_DIRTY | bindings::IOMAP_F_NEW) as u16,
        },
        dax_dev: faulted.device.as_raw(),
        // SAFETY: All other fields may be 0.
        ..unsafe { core::mem::zeroed() }
    };
    // SAFETY: The caller promises that it may be written.
    unsafe { iomap.write(at(extent.block)) };
    if let Some(source) = extent.source {
        // SAFETY: The caller promises that it may be written.
        unsafe { srcmap.write(at(source)) };
    }
    0
}

/// # Safety
///
/// The private data of `inode` is a [`Faulted`].
unsafe extern "C" fn iomap_end(
    inode: *mut bindings::inode,
    _pos: bindings::loff_t,
    _length: bindings::loff_t,
    written: isize,
    _flags: c_uint,
    _iomap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: The caller promises an inode.
    let private = unsafe { (*inode).i_private };
    // SAFETY: The caller promises that this is its private data.
    let faulted = unsafe { &*private.cast::<Faulted>() };

    faulted.ended.fetch_add(1, Relaxed);
    faulted.used.store(written as i64, Relaxed);
    0
}

/// `VM_SYNC`: a store to a file that is not synced ends before it maps anything.
pub(super) const VM_SYNC: usize = 1 << 23;
/// `VM_SHARED`.
const VM_SHARED: usize = 1 << 3;
/// `VM_READ`, `VM_MAYSHARE` and `VM_SOFTDIRTY`: what 1 GiB may be mapped for.
const VM_ANY: usize = 1 << 0 | 1 << 7 | 1 << 27;

/// What a fault is about.
#[derive(Clone, Copy)]
pub(super) struct About {
    /// The page offset.
    pub(super) index: usize,
    /// Where it is mapped.
    pub(super) address: usize,
    /// First and last address of the vma, the latter excluded.
    pub(super) bounds: (usize, usize),
    pub(super) vm_flags: usize,
    pub(super) write: bool,
    /// Whether a private copy is wanted.
    pub(super) copy: bool,
}

impl About {
    /// A fault at the address that is like the page offset.
    pub(super) fn new(index: usize, order: Order, write: bool) -> Self {
        Self {
            index,
            address: index << bindings::PAGE_SHIFT,
            // A page would be outside of the vma, and is not mapped.
            bounds: match order {
                Order::Pte => (0, 0),
                Order::Pmd | Order::Pud => (0, usize::MAX),
            },
            vm_flags: match order {
                Order::Pte | Order::Pmd => VM_SYNC | VM_SHARED,
                Order::Pud => VM_SYNC | VM_SHARED | VM_ANY,
            },
            write,
            copy: false,
        }
    }
}

impl Faulted {
    pub(super) fn new(pgmap: &Arc<TestPgmap>, extent: Extent) -> Result<Arc<Self>> {
        let this = Arc::new(
            Self {
                file: FakeFile::new(pgmap)?,
                extent,
                asked: Atomic::new(0),
                ended: Atomic::new(0),
                begun: [const { Atomic::new(0) }; 3],
                used: Atomic::new(0),
                synced: [const { Atomic::new(0) }; 2],
                device: DaxDevice::new(pgmap.clone())?,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The inode is ours.
        unsafe { (*this.file.inode()).i_private = Arc::as_ptr(&this).cast_mut().cast() };
        Ok(this)
    }

    /// Has the filesystem clone files.
    pub(super) fn can_clone(&self) {
        // SAFETY: The inode is ours.
        let methods = unsafe { &raw mut (*self.file.inode()).__bindgen_anon_3.i_fop };
        // SAFETY: Nobody looks at it meanwhile; the table is constant.
        unsafe { methods.write(&raw const FILES.0) };
    }

    /// How often the filesystem was asked.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    /// How often it was told that what it was asked for is done.
    pub(super) fn ended(&self) -> usize {
        self.ended.load(Relaxed)
    }

    /// What it was asked for last: the first byte, how many, and with which flags.
    pub(super) fn begun(&self) -> (i64, i64, u32) {
        let [pos, length, flags] = &self.begun;
        (
            pos.load(Relaxed),
            length.load(Relaxed),
            flags.load(Relaxed) as u32,
        )
    }

    /// How many bytes of it were used.
    pub(super) fn used(&self) -> i64 {
        self.used.load(Relaxed)
    }

    /// Calls `f` with what the filesystem says of `pages` pages from `index` on, of which a load needs one.
    pub(super) fn with_extents<R>(
        &self,
        index: usize,
        pages: usize,
        f: impl FnOnce(&mut Iomaps<'_>) -> R,
    ) -> R {
        // SAFETY: The table is constant, and that of all these files.
        let ops = unsafe { IomapOps::from_raw(&raw const IOMAP.0) };
        let mut extents = Iomaps::new(self.file.mapping(), index, Order::Pte, false, ops);

        extents.look_ahead(pages);
        f(&mut extents)
    }

    /// Handles a store to a private mapping, which wants a copy of a page. The filesystem has to fail, or the
    /// device: there is no page for the copy.
    pub(super) fn fail_to_copy(&self, index: usize) -> Result<vm_fault_t> {
        let block = self.extent.block + index;
        check!(self.extent.error != 0 || [BAD, NO_MEMORY, NOT_MAPPED].contains(&block));
        // SAFETY: The table is constant, and that of all these files.
        let ops = unsafe { IomapOps::from_raw(&raw const IOMAP.0) };
        let about = About::new(index, Order::Pte, true);
        let about = About {
            copy: true,
            ..about
        };
        self.with_any(about, |fault| fsdax::iomap_fault(fault, 0, true, ops).ret)
    }

    /// Handles a store that a page of 2 MiB would be mapped for. Returns its result.
    pub(super) fn store_huge(&self, about: About) -> Result<vm_fault_t> {
        // SAFETY: The table is constant, and that of all these files.
        let ops = unsafe { IomapOps::from_raw(&raw const IOMAP.0) };
        self.with_any(about, |fault| {
            fsdax::iomap_fault(fault, Order::PMD_ORDER, true, ops).ret
        })
    }

    /// Handles a fault. Returns its result, and the error that the filesystem gets to see.
    ///
    /// A load is never mapped: if all else is well that ends in `VM_FAULT_SIGBUS`, with the entry
    /// taken back. A store ends in `VM_FAULT_NEEDDSYNC`, with the entry in its place.
    pub(super) fn fault(
        &self,
        index: usize,
        order: Order,
        write: bool,
    ) -> Result<(vm_fault_t, i32)> {
        // SAFETY: The table is constant, and that of all these files.
        let ops = unsafe { IomapOps::from_raw(&raw const IOMAP.0) };
        self.with_fault(index, order, write, |fault| {
            let outcome = fsdax::iomap_fault(fault, order.get(), true, ops);
            (outcome.ret, outcome.error.unwrap_or(0))
        })
    }

    /// Handles a store for an order that is none of those that the kernel asks for. Returns its result.
    pub(super) fn fault_of(&self, index: usize, order: u32) -> Result<vm_fault_t> {
        // SAFETY: The table is constant, and that of all these files.
        let ops = unsafe { IomapOps::from_raw(&raw const IOMAP.0) };
        self.with_fault(index, Order::Pte, true, |fault| {
            fsdax::iomap_fault(fault, order, true, ops).ret
        })
    }

    /// Goes on with a store that has to be synced, and is to map the page at `pfn`. Returns the result.
    ///
    /// A page is never mapped: if all else is well that ends in `VM_FAULT_SIGBUS`.
    pub(super) fn finish(&self, index: usize, order: Order, pfn: usize) -> Result<vm_fault_t> {
        self.with_fault(index, order, true, |fault| {
            fsdax::finish_sync_fault(fault, order.get(), pfn)
        })
    }

    /// The first and the last byte that were synced last.
    pub(super) fn synced(&self) -> (i64, i64) {
        (self.synced[0].load(Relaxed), self.synced[1].load(Relaxed))
    }

    /// Calls `f` with a fault.
    pub(super) fn with_fault<R>(
        &self,
        index: usize,
        order: Order,
        write: bool,
        f: impl FnOnce(Fault<'_>) -> R,
    ) -> Result<R> {
        self.with_any(About::new(index, order, write), f)
    }

    fn with_any<R>(&self, about: About, f: impl FnOnce(Fault<'_>) -> R) -> Result<R> {
        let mut pmd = KBox::<bindings::pmd_t>::zeroed(GFP_KERNEL)?;
        let mut pud = KBox::<bindings::pud_t>::zeroed(GFP_KERNEL)?;
        let mut file = KBox::<bindings::file>::zeroed(GFP_KERNEL)?;
        let mut mm = KBox::<MaybeUninit<bindings::mm_struct>>::zeroed(GFP_KERNEL)?;
        let mut vma = KBox::<bindings::vm_area_struct>::zeroed(GFP_KERNEL)?;
        let mut vmf = KBox::<bindings::vm_fault>::zeroed(GFP_KERNEL)?;

        file.f_mapping = self.file.mapping().as_raw();
        file.f_op = &raw const OPEN.0;
        // One without an owner, whose faults count for no cgroup.
        vma.vm_mm = mm.as_mut_ptr();
        vma.vm_file = &raw mut *file;
        vma.__bindgen_anon_2.vm_flags = about.vm_flags;
        let (vm_start, vm_end) = about.bounds;
        vma.__bindgen_anon_1.__bindgen_anon_1 =
            bindings::vm_area_struct__bindgen_ty_1__bindgen_ty_1 { vm_start, vm_end };
        vmf.__bindgen_anon_1 = bindings::vm_fault__bindgen_ty_1 {
            vma: &raw mut *vma,
            gfp_mask: bindings::GFP_KERNEL,
            pgoff: about.index,
            address: about.address,
            real_address: about.address,
        };
        vmf.pmd = &raw mut *pmd;
        vmf.pud = &raw mut *pud;
        if about.copy {
            vmf.cow_page = core::ptr::dangling_mut();
        }
        if about.write {
            vmf.flags = bindings::fault_flag_FAULT_FLAG_WRITE;
        }
        // SAFETY: The vma has a file, whose mapping stays, and nobody breaks it meanwhile but in
        // ways that faults cope with.
        let fault = unsafe { Fault::from_raw(&raw mut *vmf) };
        Ok(f(fault))
    }

    /// [`Self::fault`] until it need not be taken again. Returns its result, and the times it took.
    pub(super) fn fault_on(&self, index: usize, write: bool) -> Result<(vm_fault_t, usize)> {
        let mut taken = 0;

        loop {
            let (ret, _) = self.fault(index, Order::Pte, write)?;
            taken += 1;
            if ret != vm_fault::NOPAGE {
                return Ok((ret, taken));
            }
        }
    }
}
