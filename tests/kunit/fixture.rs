// SPDX-License-Identifier: GPL-2.0

//! Pgmaps over reserved memory, and files without a filesystem.
//!
//! Rules: none, the suites run on it.

use core::{
    cell::UnsafeCell,
    mem::size_of,
    ptr::NonNull, //
};

use kernel::{
    error::from_err_ptr,
    prelude::*,
    ptr::project,
    static_lock_class,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        LockClassKey, //
    }, //
};

use super::thread::Thread;
use crate::{
    ffi::bindings::{
        self,
        page_field, //
    },
    folio::{
        self,
        Folio,
        FolioRef,
        State, //
    },
    fsdax::{
        self,
        Data,
        OnBusy, //
    },
    mapping::{
        Entry,
        Kind,
        LockedEntry,
        Mapping,
        Mark,
        Range,
        Walk, //
    },
    pgmap::{
        Order,
        Page,
        Pgmap, //
    },
    provider, //
};

/// Pages of a 2 MiB folio.
pub(super) const PMD: usize = Order::Pmd.pages();

/// Fails the running test: for `Drop`, which cannot return an error.
pub(super) fn fail_test(why: &str) {
    pr_err!("# {}\n", why);
    // SAFETY: There is a current task.
    let test = unsafe { (*kernel::current!().as_ptr()).kunit_test };
    if !test.is_null() {
        // SAFETY: The test that the task runs is valid meanwhile.
        unsafe { (*test).status = bindings::kunit_status_KUNIT_FAILURE };
    }
}

/// What memory is given out in: the alignment of `memremap_pages()`, and a PMD.
const SLOT: usize = PMD << bindings::PAGE_SHIFT;
/// A memory section, whose memmap an altmap can hold.
pub(super) const SECTION_SLOTS: usize = 64;

/// A bit for each slot that is mapped. What could not be unmapped stays so.
static USED: Atomic<u64> = Atomic::new(0);

/// Some adjacent slots of the reserved memory.
struct Slots {
    phys: usize,
    mask: u64,
}

impl Slots {
    fn take(count: usize) -> Result<Self> {
        // SAFETY: Reads a module parameter.
        let base = unsafe { bindings::rust_fsdax_kunit_base() };
        // SAFETY: Reads a module parameter.
        let size = unsafe { bindings::rust_fsdax_kunit_size() };
        if base == 0 || base % (SECTION_SLOTS * SLOT) != 0 || size < SECTION_SLOTS * SLOT {
            pr_err!("# give 128 MiB of reserved memory, so aligned, with the parameters kunit_base and kunit_size\n");
            return Err(ENODEV);
        }
        let ones = u64::MAX >> (SECTION_SLOTS - count);
        for first in 0..=SECTION_SLOTS - count {
            let mask = ones << first;
            let used = USED.load(Relaxed);
            if used & mask == 0 && USED.cmpxchg(used, used | mask, Full).is_ok() {
                let phys = base + first * SLOT;
                return Ok(Self { phys, mask });
            }
        }
        pr_err!("# a test that failed before has leaked the memory that this one needs\n");
        Err(EBUSY)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        USED.fetch_sub(self.mask, Full);
    }
}

/// A pgmap with room for two ranges.
#[repr(C)]
pub(super) struct RawPgmap {
    pub(super) pgmap: bindings::dev_pagemap,
    second: bindings::range,
}

// SAFETY: These are C structures, which may be zero; the derive does not know the array in them.
unsafe impl Zeroable for RawPgmap {}

impl RawPgmap {
    /// Sets the ranges, given as first physical address and number of pages.
    pub(super) fn set_ranges(&mut self, ranges: &[(usize, usize)]) {
        self.pgmap.nr_range = ranges.len() as i32;
        // `second` is where the second element of the flexible array is.
        let array = (&raw mut self.pgmap.__bindgen_anon_1).cast::<bindings::range>();
        for (i, (start, pages)) in ranges.iter().take(2).enumerate() {
            let range = bindings::range {
                start: *start as u64,
                end: (start + (pages << bindings::PAGE_SHIFT) - 1) as u64,
            };
            // SAFETY: There is room for two.
            unsafe { array.wrapping_add(i).write(range) };
        }
    }
}

/// Memory that is, or was, mapped. Its slots are free again when nobody has it any more.
struct Memory {
    raw: KBox<UnsafeCell<RawPgmap>>,
    _slots: Slots,
}

// SAFETY: All accesses to the pgmap are by C functions that may be called by any thread.
unsafe impl Send for Memory {}
// SAFETY: All accesses to the pgmap are by C functions that may be called by any thread.
unsafe impl Sync for Memory {}

impl Memory {
    fn raw(&self) -> *mut bindings::dev_pagemap {
        self.raw.get().cast()
    }
}

/// What a [`TestPgmap`] is made of.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// One range of this many slots.
    One(usize),
    /// Two ranges of one and two slots, with a gap.
    Two,
    /// A section whose first pages are reserved, and then free for the memmap.
    Altmap { reserve: usize, free: usize },
    /// One slot of another type than FS_DAX.
    Generic,
}

/// A mapped pgmap. It is unmapped when dropped, which fails the test if it takes too long.
pub(super) struct TestPgmap {
    memory: Arc<Memory>,
    pages: usize,
    /// First pfn of each range, as offsets count.
    first: [usize; 2],
    unmapped: Atomic<bool>,
}

impl TestPgmap {
    /// Maps one slot of memory.
    pub(super) fn new() -> Result<Arc<Self>> {
        Self::with(Layout::One(1))
    }

    /// Maps memory.
    pub(super) fn with(layout: Layout) -> Result<Arc<Self>> {
        let slots = Slots::take(match layout {
            Layout::One(slots) => slots,
            Layout::Two => 4,
            Layout::Altmap { .. } => SECTION_SLOTS,
            Layout::Generic => 1,
        })?;
        let phys = slots.phys;
        let pfn = phys >> bindings::PAGE_SHIFT;
        let mut raw = KBox::<RawPgmap>::zeroed(GFP_KERNEL)?;
        let (mut pages, mut first) = (0, [pfn, 0]);

        raw.pgmap.type_ = bindings::memory_type_MEMORY_DEVICE_FS_DAX;
        match layout {
            Layout::One(slots) => {
                raw.set_ranges(&[(phys, slots * PMD)]);
                pages = slots * PMD;
            }
            Layout::Two => {
                raw.set_ranges(&[(phys, PMD), (phys + 2 * SLOT, 2 * PMD)]);
                pages = 3 * PMD;
                first[1] = pfn + 2 * PMD;
            }
            Layout::Altmap { reserve, free } => {
                let section = SECTION_SLOTS * PMD;
                raw.set_ranges(&[(phys, section)]);
                raw.pgmap.flags = 1 << 0; // PGMAP_ALTMAP_VALID
                raw.pgmap.altmap = bindings::vmem_altmap {
                    base_pfn: pfn,
                    end_pfn: pfn + section - 1,
                    reserve,
                    free,
                    ..Default::default()
                };
                pages = section - reserve - free;
                first[0] += reserve + free;
            }
            Layout::Generic => {
                raw.set_ranges(&[(phys, PMD)]);
                raw.pgmap.type_ = bindings::memory_type_MEMORY_DEVICE_GENERIC;
                pages += PMD;
            }
        }
        let raw = KBox::into_raw(raw).cast::<UnsafeCell<RawPgmap>>();
        let memory = Arc::new(
            Memory {
                // SAFETY: `UnsafeCell` is transparent.
                raw: unsafe { KBox::from_raw(raw) },
                _slots: slots,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The pgmap is filled in, and unmapped before it is freed.
        from_err_ptr(unsafe { bindings::memremap_pages(memory.raw(), -1) })?;
        let this = Self {
            memory,
            pages,
            first,
            unmapped: Atomic::new(false),
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// The C object.
    pub(super) fn raw(&self) -> *mut bindings::dev_pagemap {
        self.memory.raw()
    }

    /// The wrapper under test.
    pub(super) fn pgmap(&self) -> &Pgmap {
        // SAFETY: It stays, at this address, as long as `self` does.
        unsafe { Pgmap::from_raw(self.raw()) }
    }

    /// The number of pages that offsets count.
    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// The first pfn of the range.
    pub(super) fn first_pfn_of(&self, range: usize) -> usize {
        self.first[range]
    }

    /// The pfn at `offset` into the first range.
    pub(super) fn pfn(&self, offset: usize) -> usize {
        self.first[0] + offset
    }

    /// The page at `offset` into the first range.
    pub(super) fn page(&self, offset: usize) -> *mut bindings::page {
        // SAFETY: Computes an address in the memmap.
        unsafe { bindings::rust_fsdax_pfn_to_page(self.pfn(offset)) }
    }

    /// The folio at `offset` into the first range.
    pub(super) fn folio(&self, offset: usize) -> Folio<'_> {
        // SAFETY: The memmap stays until `self` is dropped.
        Folio::at(unsafe { Page::from_raw(self.page(offset)) })
    }

    /// The code under test, from the outermost function that takes a pgmap.
    pub(super) fn request(&self, offset: usize, order: u32) -> Result<FolioRef> {
        folio::request_folio(self.pgmap(), offset, order)
    }

    /// One more reference to the active folio at `offset`, as GUP takes it.
    pub(super) fn pin(&self, offset: usize) -> Result<FolioRef> {
        match self.folio(offset).look() {
            State::Active(folio) => Ok(folio),
            _ => {
                pr_err!("# the folio at {} is not active\n", offset);
                Err(ENOENT)
            }
        }
    }

    /// Whether the folio at `offset` is idle.
    pub(super) fn is_idle(&self, offset: usize) -> bool {
        matches!(self.folio(offset).look(), State::Idle)
    }

    /// The reference count of the page at `offset`.
    pub(super) fn count(&self, offset: usize) -> i32 {
        // SAFETY: The memmap stays until `self` is dropped.
        unsafe { page_field::refcount(self.page(offset)).read_volatile() }
    }

    /// The number of references to the live pgmap beyond those that mapped memory has.
    ///
    /// Exact as long as nobody else takes or puts one meanwhile.
    pub(super) fn active(&self) -> isize {
        // As PERCPU_COUNT_BIAS, and without the two flags of `percpu_count_ptr`.
        let bias = 1usize << (usize::BITS - 1);
        let refs = project!(self.raw(), .ref_);
        // SAFETY: The pgmap is mapped and live, so that the count is one for each CPU.
        let counts = unsafe { (*refs).percpu_count_ptr } & !3;
        // SAFETY: The pgmap is mapped and live, so that the rest of the count is allocated.
        let data = unsafe { (*refs).data };
        // SAFETY: The pgmap is mapped and live, so that the rest of the count is allocated.
        let mut sum = unsafe { project!(data, .count.counter).read_volatile() } as usize;
        for cpu in 0..kernel::cpu::nr_cpu_ids() as usize {
            // The offsets of CPUs that cannot be are those of none.
            // SAFETY: The array is constant and has an element for each CPU.
            let offset = unsafe { bindings::__per_cpu_offset[cpu] };
            let count = counts.wrapping_add(offset) as *const usize;
            // SAFETY: The pgmap is mapped and live, so that this CPU has its count there.
            sum = sum.wrapping_add(unsafe { count.read_volatile() });
        }
        // One for "mapped", and one for each page.
        sum.wrapping_sub(bias) as isize - 1 - self.pages as isize
    }

    /// Whether requests are still accepted.
    pub(super) fn is_live(&self) -> bool {
        // SAFETY: Valid as long as `self`, mapped or not: `memunmap_pages()` frees nothing of this.
        unsafe { bindings::rust_fsdax_pgmap_live(self.raw()) }
    }

    /// Starts `memunmap_pages()` in a thread.
    pub(super) fn unmap(&self) -> Result<Thread<()>> {
        let memory = self.memory.clone();

        // SAFETY: It was mapped in `with`, and is unmapped once.
        let thread = Thread::spawn(move || unsafe { bindings::memunmap_pages(memory.raw()) })?;
        self.unmapped.store(true, Relaxed);
        Ok(thread)
    }

    /// Maps the same memory once more, after it was unmapped.
    pub(super) fn map_again(&self) -> Result {
        // SAFETY: The pgmap is filled in, and unmapped before it is freed.
        from_err_ptr(unsafe { bindings::memremap_pages(self.raw(), -1) })?;
        self.unmapped.store(false, Relaxed);
        Ok(())
    }

    /// A copy of the `struct page`s of the first slot.
    pub(super) fn snapshot(&self) -> Result<Snapshot> {
        let mut words = KVVec::with_capacity(PMD * PAGE_WORDS, GFP_KERNEL)?;

        for offset in 0..PMD {
            for word in 0..PAGE_WORDS {
                let at = self.page(offset).cast::<u64>().wrapping_add(word);
                // SAFETY: The memmap stays until `self` is dropped.
                let value = unsafe { at.read_volatile() };
                words.push(value, GFP_KERNEL)?;
            }
        }
        Ok(Snapshot(words))
    }
}

impl Drop for TestPgmap {
    fn drop(&mut self) {
        if self.unmapped.load(Relaxed) {
            return;
        }
        if self.unmap().and_then(Thread::join).is_err() {
            fail_test("memunmap_pages() waits for a reference that was lost");
        }
    }
}

const PAGE_WORDS: usize = size_of::<bindings::page>() / size_of::<u64>();

/// All words of the `struct page`s of a slot.
pub(super) struct Snapshot(KVVec<u64>);

impl Snapshot {
    /// Checks that `later` is the same.
    pub(super) fn check_same(&self, later: &Self) -> Result {
        for (i, (before, after)) in self.0.iter().zip(later.0.iter()).enumerate() {
            if before != after {
                pr_err!(
                    "# word {} of page {} was {:#x} and is {:#x}\n",
                    i % PAGE_WORDS,
                    i / PAGE_WORDS,
                    before,
                    after
                );
                return Err(EINVAL);
            }
        }
        Ok(())
    }
}

/// `SB_ACTIVE`, which bindgen cannot evaluate.
const SB_ACTIVE: usize = 1 << 30;

/// A superblock without a filesystem, which lists the inodes of its files.
pub(super) struct FakeSuper(NonNull<bindings::super_block>);

// SAFETY: What changes is protected by the lock of its list, or atomic.
unsafe impl Send for FakeSuper {}
// SAFETY: What changes is protected by the lock of its list, or atomic.
unsafe impl Sync for FakeSuper {}

impl FakeSuper {
    /// A superblock without files, which this module serves.
    pub(super) fn new() -> Result<Arc<Self>> {
        let mut sb = KBox::<bindings::super_block>::zeroed(GFP_KERNEL)?;

        // SAFETY: The superblock is ours, and does not move any more.
        unsafe { init_lock(&raw mut sb.s_inode_list_lock, static_lock_class!()) };
        // SAFETY: The superblock is ours, and does not move any more.
        unsafe {
            bindings::__init_rwsem(
                &raw mut sb.s_umount,
                c"rust_fsdax_kunit_umount".as_char_ptr(),
                static_lock_class!().as_ptr(),
            )
        };
        // SAFETY: The superblock is ours, and does not move any more.
        unsafe { init_list(&raw mut sb.s_inodes) };
        sb.s_active.counter = 1;
        sb.s_flags = SB_ACTIVE;
        sb.s_dev = 7;
        let this = Self(NonNull::from(KBox::leak(sb)));
        this.set_bound(true);
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// The C object.
    pub(super) fn raw(&self) -> *mut bindings::super_block {
        self.0.as_ptr()
    }

    /// Whether this module serves it.
    fn set_bound(&self, bound: bool) {
        let ops = if bound {
            core::ptr::from_ref(provider::ops::table()).cast_mut()
        } else {
            core::ptr::null_mut()
        };
        // SAFETY: The superblock is ours.
        unsafe { (*self.raw()).s_dax_provider = ops.cast() };
    }

    /// Gives it the methods of a filesystem.
    pub(super) fn set_methods(&self, methods: &'static bindings::super_operations) {
        // SAFETY: The superblock is ours.
        unsafe { (*self.raw()).s_op = methods };
    }

    /// The number of active references, of which one is ours.
    pub(super) fn active(&self) -> i32 {
        // SAFETY: The superblock is ours.
        unsafe { project!(self.raw(), .s_active.counter).read_volatile() }
    }

    /// Locks `s_umount` as an umount does, until the guard is dropped.
    pub(super) fn lock_umount(self: &Arc<Self>) -> UmountLock {
        // SAFETY: The superblock is ours.
        unsafe { bindings::down_write(&raw mut (*self.raw()).s_umount) };
        UmountLock(self.clone())
    }

    /// Makes it look as if its inodes were being evicted, or as mounted.
    pub(super) fn set_active(&self, active: bool) {
        let flags = if active { SB_ACTIVE } else { 0 };
        // SAFETY: The superblock is ours.
        unsafe { (*self.raw()).s_flags = flags };
    }

    /// Adds it to those that the removal of a device visits, as `dax_bind_provider()` does.
    pub(super) fn mount(self: &Arc<Self>) -> Result<Mounted> {
        let bind = provider::ops::table().bind.ok_or(EINVAL)?;

        self.set_active(true);
        // SAFETY: It is unbound before it goes away.
        if unsafe { bind(self.raw()) } {
            Ok(Mounted(self.clone()))
        } else {
            pr_err!("# no superblock can be bound: the parameter \"bind\" must be Y\n");
            Err(EINVAL)
        }
    }
}

impl Drop for FakeSuper {
    fn drop(&mut self) {
        // SAFETY: It comes from a box, and no file has it any more.
        drop(unsafe { KBox::from_raw(self.raw()) });
    }
}

/// `s_umount` of a superblock, locked for writing.
pub(super) struct UmountLock(Arc<FakeSuper>);

impl Drop for UmountLock {
    fn drop(&mut self) {
        // SAFETY: Locked in `lock_umount`, by this task.
        unsafe { bindings::up_write(&raw mut (*self.0.raw()).s_umount) };
    }
}

/// A superblock that the removal of a device visits, until this is dropped.
pub(super) struct Mounted(Arc<FakeSuper>);

impl Drop for Mounted {
    /// As an umount does, which shuts the superblock down first.
    fn drop(&mut self) {
        let umount = self.0.lock_umount();
        self.0.set_active(false);
        drop(umount);
        if let Some(unbind) = provider::ops::table().unbind {
            // SAFETY: It was bound in `mount`.
            unsafe { unbind(self.0.raw()) };
        }
    }
}

/// # Safety
///
/// `lock` is valid, and nobody uses it yet.
unsafe fn init_lock(lock: *mut bindings::spinlock_t, class: Pin<&'static LockClassKey>) {
    // SAFETY: The caller promises that nobody uses it yet.
    unsafe { bindings::__spin_lock_init(lock, c"rust_fsdax_kunit".as_char_ptr(), class.as_ptr()) }
}

/// # Safety
///
/// `list` is valid, and nobody uses it yet.
unsafe fn init_list(list: *mut bindings::list_head) {
    // SAFETY: The caller promises that nobody uses it yet.
    unsafe {
        list.write(bindings::list_head {
            next: list,
            prev: list,
        })
    }
}

/// A DAX file: an inode with a mapping, which nobody maps. It must have no pinned page when it is
/// dropped.
pub(super) struct FakeFile {
    inode: NonNull<bindings::inode>,
    /// Dropped after the inode.
    sb: Arc<FakeSuper>,
    /// Dropped after the entries.
    pgmap: Arc<TestPgmap>,
}

// SAFETY: All accesses are by functions that lock the mapping.
unsafe impl Send for FakeFile {}
// SAFETY: All accesses are by functions that lock the mapping.
unsafe impl Sync for FakeFile {}

static NEXT_INO: Atomic<u32> = Atomic::new(1);

impl FakeFile {
    /// An empty file, for blocks of `pgmap`, on a superblock of its own.
    pub(super) fn new(pgmap: &Arc<TestPgmap>) -> Result<Arc<Self>> {
        Self::on(&FakeSuper::new()?, pgmap)
    }

    /// An empty file on `sb`, for blocks of `pgmap`.
    pub(super) fn on(sb: &Arc<FakeSuper>, pgmap: &Arc<TestPgmap>) -> Result<Arc<Self>> {
        let mut inode = KBox::<bindings::inode>::zeroed(GFP_KERNEL)?;
        let ino = NEXT_INO.fetch_add(1, Relaxed);
        let raw: *mut bindings::inode = &mut *inode;

        // SAFETY: The inode is ours, and does not move any more.
        unsafe { bindings::inode_init_once(raw) };
        // SAFETY: The inode is ours, and does not move any more.
        unsafe { init_lock(&raw mut inode.i_lock, static_lock_class!()) };
        inode.i_sb = sb.raw();
        inode.i_mapping = &raw mut inode.i_data;
        inode.i_data.host = raw;
        inode.i_data.gfp_mask = bindings::GFP_KERNEL;
        inode.i_flags = bindings::S_DAX;
        inode.i_ino = u64::from(ino);
        inode.i_size = i64::MAX;
        inode.i_count.counter = 1;
        // SAFETY: The inode is complete, and leaves the list before it is freed.
        unsafe { bindings::inode_sb_list_add(raw) };
        let file = Self {
            inode: NonNull::from(KBox::leak(inode)),
            sb: sb.clone(),
            pgmap: pgmap.clone(),
        };
        Ok(Arc::new(file, GFP_KERNEL)?)
    }

    /// Whether this module serves its superblock.
    pub(super) fn set_bound(&self, bound: bool) {
        self.sb.set_bound(bound);
    }

    /// Makes it a DAX file, or another one.
    pub(super) fn set_dax(&self, dax: bool) {
        let flags = if dax { bindings::S_DAX } else { 0 };
        // SAFETY: The file is ours.
        unsafe { (*self.inode()).i_flags = flags };
    }

    /// Makes the inode look as if it were being evicted, or in use.
    pub(super) fn set_evicted(&self, evicted: bool) {
        let (count, state) = if evicted {
            (0, bindings::inode_state_flags_enum_I_FREEING)
        } else {
            (1, 0)
        };
        // SAFETY: The file is ours.
        unsafe { project!(mut self.inode(), .i_state.__state).write_volatile(state) };
        // SAFETY: The file is ours.
        unsafe { project!(mut self.inode(), .i_count.counter).write_volatile(count) };
    }

    /// Sets the number of references to the inode, while nobody else takes or drops one.
    pub(super) fn set_references(&self, count: i32) {
        // SAFETY: The file is ours.
        unsafe { project!(mut self.inode(), .i_count.counter).write_volatile(count) };
    }

    /// The number of references to the inode, of which one is ours.
    pub(super) fn references(&self) -> i32 {
        // SAFETY: The file is ours.
        unsafe { project!(self.inode(), .i_count.counter).read_volatile() }
    }

    /// The error that the next `fsync()` returns, as a sequence of errors: 0 for none.
    pub(super) fn writeback_error(&self) -> u32 {
        // SAFETY: The file is ours.
        unsafe { project!(self.mapping().as_raw(), .wb_err).read_volatile() }
    }

    /// The memory of its blocks.
    pub(super) fn pgmap(&self) -> &TestPgmap {
        &self.pgmap
    }

    /// The C object.
    pub(super) fn inode(&self) -> *mut bindings::inode {
        self.inode.as_ptr()
    }

    /// Its mapping.
    pub(super) fn mapping(&self) -> Mapping<'_> {
        // SAFETY: It has a host, and both stay as long as `self`.
        unsafe { Mapping::of_inode(self.inode()) }
    }

    /// What a fault does: tracks the block at `offset` of the memory.
    pub(super) fn insert(&self, index: usize, offset: usize, order: Order) -> Result {
        fsdax::insert_at(self.mapping(), index, self.pgmap.pfn(offset), order, false)
    }

    /// [`Self::insert`] for a block that other files may have too.
    pub(super) fn share(&self, index: usize, offset: usize, order: Order) -> Result {
        fsdax::insert_at(self.mapping(), index, self.pgmap.pfn(offset), order, true)
    }

    /// Tracks pages `0..count` of the memory at the same page offsets of the file.
    pub(super) fn insert_pages(&self, count: usize) -> Result {
        for i in 0..count {
            self.insert(i, i, Order::Pte)?;
        }
        Ok(())
    }

    /// Inserts an entry for a hole.
    pub(super) fn insert_hole(&self, index: usize, pfn: usize, order: Order) -> Result {
        let mut locked = LockedEntry::grab(self.mapping(), index, order).map_err(|_| EEXIST)?;
        check!(locked.set_hole(Entry::zero(pfn, order).ok_or(EINVAL)?, |_| ()));
        Ok(())
    }

    /// The entry at `index`.
    pub(super) fn entry(&self, index: usize) -> Option<Entry> {
        let mut walk = Walk::new(self.mapping(), pages(index, index));
        let entry = walk.next_seen().map(|seen| seen.entry());
        entry
    }

    /// The kind of the entry at `index`.
    pub(super) fn kind(&self, index: usize) -> Option<Kind> {
        self.entry(index).map(Entry::kind)
    }

    /// How many entries of `kind` `range` has.
    pub(super) fn count(&self, range: Range, kind: Kind) -> usize {
        let mut walk = Walk::new(self.mapping(), range);
        let mut count = 0;

        while let Some(seen) = walk.next_seen() {
            count += usize::from(seen.entry().kind() == kind);
        }
        count
    }

    /// How many entries there are in `range`.
    pub(super) fn count_all(&self, range: Range) -> usize {
        let kinds = [Kind::Tracked, Kind::Zapped, Kind::Zero, Kind::Empty];
        kinds.into_iter().map(|kind| self.count(range, kind)).sum()
    }

    /// Sets a mark of the entry at `index`.
    pub(super) fn mark(&self, index: usize, mark: Mark) -> Result {
        let locked = self.mapping().lock_entry(index).ok_or(ENOENT)?;
        locked.with_marks(|marks| marks.set(mark));
        Ok(())
    }

    /// Whether the entry at `index` has a mark.
    pub(super) fn has(&self, index: usize, mark: Mark) -> bool {
        self.mapping()
            .lock_entry(index)
            .is_some_and(|locked| locked.with_marks(|marks| marks.has(mark)))
    }

    /// Breaks `range` without waiting; its data is discarded.
    pub(super) fn break_now(&self, range: Range) -> Result {
        self.break_with(range, Data::Discard, OnBusy::Fail)
    }

    /// Breaks `range`.
    pub(super) fn break_with(&self, range: Range, data: Data, on_busy: OnBusy<'_>) -> Result {
        fsdax::break_layouts(self.mapping(), range, data, on_busy)
    }
}

impl Drop for FakeFile {
    fn drop(&mut self) {
        let broken = self.break_now(Range::ALL).is_ok();
        // SAFETY: Nobody else has the file.
        let pages = unsafe { (*self.mapping().as_raw()).nrpages };

        if !broken || !self.mapping().is_empty() || pages != 0 {
            fail_test("a file has entries that cannot be removed");
            // What is left of them may be used for ever.
            core::mem::forget((self.sb.clone(), self.pgmap.clone()));
            return;
        }
        let (sb, inode) = (self.sb.raw(), self.inode());
        // SAFETY: The superblock is valid as long as its files are.
        unsafe { bindings::rust_fsdax_list_lock(sb) };
        // SAFETY: `on` added the inode to the list, which is locked.
        let list = unsafe { (*inode).i_sb_list };
        // SAFETY: `on` added the inode to the list, which is locked.
        unsafe { (*list.prev).next = list.next };
        // SAFETY: `on` added the inode to the list, which is locked.
        unsafe { (*list.next).prev = list.prev };
        // SAFETY: Locked above.
        unsafe { bindings::rust_fsdax_list_unlock(sb) };
        // SAFETY: It comes from a box, is in no list, and has no entries.
        drop(unsafe { KBox::from_raw(inode) });
    }
}

/// The pages `first..=last`.
pub(super) const fn pages(first: usize, last: usize) -> Range {
    Range { first, last }
}
