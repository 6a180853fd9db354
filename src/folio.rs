// SPDX-License-Identifier: GPL-2.0

//! What a folio's count means, its association with files, and the free path.
//!
//! Counterpart of `dax_folio_init()`, `dax_associate_entry()`, `dax_folio_put()` and
//! `dax_folio_reset_order()` of `fs/dax.c`, and of `free_zone_device_folio()`.
//!
//! Rules: R1, R2, R3, R4, R11, R13.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    ffi::c_void,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    types::NotThreadSafe, //
};

use crate::{
    bindings::{
        self,
        page_field, //
    },
    compat::{
        smp_mb,
        smp_wmb, //
    },
    entry::Order,
    mapping::Mapping,
    pgmap::{
        owner_mark,
        PgmapRef, //
    },
    trace,
    wait, //
};

/// The number of pages that `struct folio` lies over. Of the others `prep_compound_page()` writes
/// no more than the mapping, the head and the private word, which it sets to 0.
const FOLIO_PAGES: usize = 4;

/// How many pages [`Folio::are_free`] looks at before it decides.
const PAGES_AT_ONCE: usize = 8;

/// A folio whose count may be 0, borrowed with something that keeps its memmap.
///
/// Two words say what state it is in, the reference count and the owner mark in
/// `page->zone_device_data` of the head page:
///
/// | owner mark | count | state    | who may touch the other fields of `struct folio`           |
/// |------------|-------|----------|-----------------------------------------------------------|
/// | not ours   | 0     | free     | [`crate::pgmap::request`], under the folio lock            |
/// | not ours   | n > 0 | foreign  | fs/dax.c or a driver                                       |
/// | ours       | n > 0 | active   | whoever holds a reference; mapping, index: folio lock too  |
/// | ours       | 0     | draining | the free path only                                         |
///
/// A count of n is made of one for the entry of each file that tracks the folio, one per page
/// table entry, and the pins (GUP, pipes, DMA). *Idle* is the state "not ours": the free path
/// has finished. A count of 0 alone is not idle.
///
/// # Invariants
///
/// `page` points into a memmap that stays during `'p`.
#[derive(Clone, Copy)]
pub(crate) struct Folio<'p> {
    page: NonNull<bindings::page>,
    _memmap: PhantomData<&'p PgmapRef>,
}

/// What [`Folio::look`] finds.
pub(crate) enum State {
    /// Free, as far as we are concerned: the free path has finished.
    Idle,
    /// The count is 0, and the free path still writes to the folio.
    Draining,
    /// In use; the reference keeps it so.
    Active(FolioRef),
}

impl<'p> Folio<'p> {
    /// # Safety
    ///
    /// `page` points into a memmap that stays during `'p`.
    pub(crate) unsafe fn from_raw(
        page: *mut bindings::page,
        memmap: PhantomData<&'p PgmapRef>,
    ) -> Self {
        Self {
            // SAFETY: A pointer into a memmap is not null.
            // INVARIANT: By the requirement of this function.
            page: unsafe { NonNull::new_unchecked(page) },
            _memmap: memmap,
        }
    }

    fn as_raw(self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    /// The page `n` pages behind this one.
    ///
    /// # Safety
    ///
    /// It is in the same memmap.
    pub(crate) unsafe fn page(self, n: usize) -> Self {
        Self {
            // SAFETY: By the requirement of this function; the memmap is virtually contiguous.
            // INVARIANT: As for `self`.
            page: unsafe { self.page.add(n) },
            _memmap: PhantomData,
        }
    }

    /// The first pfn of the folio, or that of the page.
    pub(crate) fn pfn(self) -> usize {
        // SAFETY: By the type invariant the memmap stays.
        unsafe { bindings::rust_fsdax_page_to_pfn(self.as_raw()) }
    }

    fn owner(&self) -> &Atomic<*mut c_void> {
        // SAFETY: By the type invariant the field is valid. All accesses to it are atomic, but for
        // those of `prep_compound_page()` to the tail pages of a folio that is being activated,
        // which requests exclude.
        unsafe { Atomic::from_ptr(page_field::zone_device_data(self.as_raw())) }
    }

    fn refcount(&self) -> &Atomic<i32> {
        // SAFETY: By the type invariant the field is valid. All accesses to it are atomic.
        unsafe { Atomic::from_ptr(page_field::refcount(self.as_raw())) }
    }

    /// The mapping of the file that the folio belongs to, see [`Association`].
    pub(crate) fn mapping(&self) -> &Atomic<*mut bindings::address_space> {
        // SAFETY: By the type invariant the field is valid. Whoever reads it without the folio lock
        // does so atomically, and so does whoever writes it; plain reads hold the lock.
        unsafe { Atomic::from_ptr(page_field::mapping(self.as_raw())) }
    }

    /// The page offset in that file, or the share count: see [`Association`].
    pub(crate) fn index(&self) -> &Atomic<usize> {
        // SAFETY: As for `mapping`.
        unsafe { Atomic::from_ptr(page_field::index(self.as_raw())) }
    }

    /// Whether this page is part of the folio of another page before it. Any context.
    ///
    /// As the count and the mark of such a page are not those of the folio, it looks idle.
    pub(crate) fn is_tail(self) -> bool {
        // SAFETY: By the type invariant the field is valid. It may change: as READ_ONCE().
        let head = unsafe { page_field::pgmap(self.as_raw()).read_volatile() };
        head as usize & 1 != 0
    }

    /// Whether the folio is active or draining, and not foreign: see [`Folio`]. Any context.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner().load(Acquire) as usize == owner_mark()
    }

    /// Whether this page is free: part of no active or draining folio, and of no file.
    #[cfg(RUST_FSDAX_KUNIT)]
    pub(crate) fn is_free(self) -> bool {
        // SAFETY: It is one page.
        unsafe { self.are_free(Order::Pte) }
    }

    /// Whether all pages of a folio of `order` are free that would start here.
    ///
    /// # Safety
    ///
    /// They are in the same memmap.
    pub(crate) unsafe fn are_free(self, order: Order) -> bool {
        // SAFETY: By the type invariant the field is valid. Flags may change: as READ_ONCE().
        let flags = unsafe { page_field::flags(self.as_raw()).read_volatile() };
        let free = flags & bindings::RUST_FSDAX_PG_HEAD == 0
            && match order {
                // SAFETY: It is one page.
                Order::Pte => unsafe { self.are_unused::<1>() },
                Order::Pmd => (0..order.pages()).step_by(PAGES_AT_ONCE).all(|i| {
                    // SAFETY: By the requirement of this function.
                    let first = unsafe { self.page(i) };
                    // SAFETY: As above.
                    unsafe { first.are_unused::<PAGES_AT_ONCE>() }
                }),
            };
        // Whoever sees a page free sees what the free path has reset, and writes after it.
        smp_mb();
        free
    }

    /// Whether `N` pages from this one on are neither in use nor draining, nor tails.
    ///
    /// This is all there is to see of a free page but the flag of a head, whose tails are seen.
    ///
    /// # Safety
    ///
    /// They are in the same memmap.
    #[inline(always)]
    unsafe fn are_unused<const N: usize>(self) -> bool {
        // Without a branch for each page.
        let (mut counts, mut words, mut heads, mut ours) = (0, 0, 0, false);

        for i in 0..N {
            // SAFETY: By the requirement of this function.
            let page = unsafe { self.page(i) }.as_raw();
            // A page that is not free may change under us, so all of this is as READ_ONCE().
            // SAFETY: The field is valid, since the page is in the memmap.
            counts |= unsafe { page_field::refcount(page).read_volatile() };
            // SAFETY: As above.
            words |= unsafe { page_field::mapping(page).read_volatile() } as usize;
            // SAFETY: As above.
            heads |= unsafe { page_field::pgmap(page).read_volatile() } as usize;
            // SAFETY: As above.
            let owner = unsafe { page_field::zone_device_data(page).read_volatile() };
            ours |= owner as usize == owner_mark();
        }
        // A tail page has a count of 0 and no mark, but belongs to its head.
        counts == 0 && words == 0 && heads & 1 == 0 && !ours
    }

    /// Makes the folio active, with a count of 1 that the caller gets, and tracked by `entry`.
    ///
    /// # Safety
    ///
    /// All pages of the folio are free, which `_lock` preserves, and the caller hands a pgmap
    /// reference over to it.
    pub(crate) unsafe fn activate(
        self,
        order: Order,
        entry: Option<(Mapping<'_>, usize)>,
        _lock: &FolioLock,
    ) -> FolioRef {
        let page = self.as_raw();
        let (mapping, index) = entry.map_or((core::ptr::null_mut(), 0), |(mapping, index)| {
            (mapping.as_raw(), index)
        });

        if order != Order::Pte {
            // SAFETY: The pages are free and ours, so nobody else looks at them.
            unsafe { bindings::rust_fsdax_prep_compound_page(page, order.get()) };
        }
        // SAFETY: The folio is free and ours; the field is valid by the type invariant. As
        // WRITE_ONCE(), since `dax_lock_folio()` may read it.
        unsafe { page_field::index(page).write_volatile(index) };
        // SAFETY: The folio is free and ours; the field is valid by the type invariant.
        unsafe { page_field::private(page).write(0) };
        self.mapping().store(mapping, Release);
        // Whoever gets a reference from now on sees all of the above.
        self.refcount().store(1, Release);
        // After the count, so that the folio never looks as if it were draining.
        self.owner().store(owner_mark() as *mut c_void, Release);
        // INVARIANT: The count of 1 is ours, and the mark and the pgmap reference are there.
        FolioRef(self.page)
    }

    /// Makes the tails of a folio of `nr` pages free.
    ///
    /// # Safety
    ///
    /// The folio is draining and has `nr` pages, and `pgmap` is its pgmap.
    unsafe fn reset_tails(self, nr: usize, pgmap: *mut bindings::dev_pagemap) {
        for i in 1..nr {
            // SAFETY: By the requirement of this function.
            let page = unsafe { self.page(i) }.as_raw();
            if i < FOLIO_PAGES {
                // SAFETY: The folio is draining, so the fields of all its pages are ours to write.
                unsafe { page_field::zone_device_data(page).write_volatile(core::ptr::null_mut()) };
                // SAFETY: As above.
                unsafe { page_field::index(page).write_volatile(0) };
                // SAFETY: As above.
                unsafe { page_field::private(page).write(0) };
            }
            // SAFETY: As above.
            unsafe { page_field::mapping(page).write_volatile(core::ptr::null_mut()) };
        }
        // A tail page is free as soon as it points to the pgmap instead of its head.
        smp_wmb();
        for i in 1..nr {
            // SAFETY: By the requirement of this function.
            let page = unsafe { self.page(i) }.as_raw();
            // SAFETY: As above.
            unsafe { page_field::pgmap(page).write_volatile(pgmap.cast()) };
        }
    }

    /// What state the folio is in. Any context.
    ///
    /// The reference in [`State::Active`] may be the last one by the time it is dropped.
    pub(crate) fn look(self) -> State {
        // SAFETY: By the type invariant the memmap stays; a count of 0 is not raised.
        if unsafe { bindings::rust_fsdax_folio_try_get(self.as_raw().cast()) } {
            if self.is_ours() {
                // INVARIANT: The reference was just taken, and the folio is ours.
                return State::Active(FolioRef(self.page));
            }
            // SAFETY: The reference that was just taken.
            unsafe { bindings::rust_fsdax_folio_put(self.as_raw().cast()) };
            return State::Idle;
        }
        if self.is_ours() {
            State::Draining
        } else {
            State::Idle
        }
    }

    /// Address to sleep on until the folio is idle, or an entry that names it was revived.
    pub(crate) fn wait_address(self) -> wait::Address {
        wait::Address::of(self.as_raw())
    }

    /// Sleeps until the free path has finished, if it is running. Uninterruptible but short: the
    /// free path neither sleeps nor waits.
    pub(crate) fn wait_drained(self) {
        wait::on(self.wait_address(), |wait| loop {
            let _ = wait.prepare(wait::Task::Uninterruptible);
            if !matches!(self.look(), State::Draining) {
                break;
            }
            wait::sleep();
        })
    }
}

/// One reference to an active folio.
///
/// # Invariants
///
/// `.0` is the head page of an active folio (see [`Folio`]), and one count of it is ours. Hence
/// the folio, its order and its pgmap stay.
pub(crate) struct FolioRef(NonNull<bindings::page>);

// SAFETY: A folio reference belongs to no thread.
unsafe impl Send for FolioRef {}

impl FolioRef {
    /// Takes over the reference that a tracked entry holds.
    ///
    /// # Safety
    ///
    /// A tracked entry names `pfn`, and the caller is about to make it a zapped one, or a
    /// forgotten [`FolioRef`] of `pfn` exists.
    pub(crate) unsafe fn from_entry(pfn: usize) -> Self {
        // SAFETY: The reference keeps the pgmap and hence the memmap.
        let page = unsafe { bindings::rust_fsdax_pfn_to_page(pfn) };
        // SAFETY: A pointer into a memmap is not null.
        // INVARIANT: By the requirement of this function there is a reference to take over.
        Self(unsafe { NonNull::new_unchecked(page) })
    }

    /// Hands the reference over to an entry that is about to be tracked.
    pub(crate) fn into_entry(self) {
        core::mem::forget(self);
    }

    /// Gives the reference to C code.
    pub(crate) fn into_raw(self) -> *mut bindings::folio {
        let folio = self.0.as_ptr().cast();
        core::mem::forget(self);
        folio
    }

    /// The folio, while the reference keeps it.
    pub(crate) fn as_folio(&self) -> Folio<'_> {
        // SAFETY: By the type invariant the memmap stays while `self` does.
        unsafe { Folio::from_raw(self.0.as_ptr(), PhantomData) }
    }

    /// First pfn of the folio.
    pub(crate) fn pfn(&self) -> usize {
        self.as_folio().pfn()
    }

    /// Order of the folio.
    pub(crate) fn order(&self) -> u32 {
        // SAFETY: By the type invariant the order is stable.
        unsafe { bindings::rust_fsdax_folio_order(self.0.as_ptr().cast()) }
    }

    /// The reference count, which others may change at any time.
    pub(crate) fn count(&self) -> i32 {
        // SAFETY: By the type invariant the folio stays.
        unsafe { bindings::rust_fsdax_folio_ref_count(self.0.as_ptr().cast()) }
    }

    /// The number of page table entries that map the folio, for messages.
    pub(crate) fn mapcount(&self) -> i32 {
        // SAFETY: By the type invariant the folio stays.
        unsafe { bindings::rust_fsdax_folio_mapcount(self.0.as_ptr().cast()) }
    }

    /// Frees the folio at once if this is the only reference; gives the reference back if not.
    ///
    /// The folio is idle when this returns `Ok`.
    pub(crate) fn free_if_last(self) -> Result<(), Self> {
        let page = self.0.as_ptr();

        // SAFETY: By the type invariant the folio stays.
        if !unsafe { bindings::rust_fsdax_folio_ref_freeze(page.cast(), 1) } {
            return Err(self);
        }
        core::mem::forget(self);
        // SAFETY: The folio is at 0 now, so that its fields are ours.
        let pgmap = unsafe { page_field::pgmap(page).read() };
        // SAFETY: As above; the pgmap stays until `free` puts the reference.
        unsafe { free(page, pgmap.cast()) };
        Ok(())
    }
}

impl Drop for FolioRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to put.
        unsafe { bindings::rust_fsdax_folio_put(self.0.as_ptr().cast()) }
    }
}

/// The free path, 1 -> 0: makes the folio idle.
///
/// Resets what made it part of a file and all compound state, publishes "idle", wakes the
/// waiters, and puts the pgmap reference, in this order.
///
/// Any context, irqs off included: it neither sleeps nor allocates nor takes the i_pages lock.
///
/// # Safety
///
/// `page` is the head page of a folio with our mark whose count just reached 0, and `pgmap` is
/// its pgmap. Neither is used by the caller afterwards.
pub(crate) unsafe fn free(page: *mut bindings::page, pgmap: *mut bindings::dev_pagemap) {
    // SAFETY: `page` is in a memmap that the pgmap reference keeps.
    let folio = unsafe { Folio::from_raw(page, PhantomData) };
    // SAFETY: The folio is draining, so its fields are ours alone.
    let order = unsafe { bindings::rust_fsdax_folio_order(page.cast()) };
    trace::free(folio, order);

    // SAFETY: The folio is draining, so its fields are ours alone to write. As WRITE_ONCE():
    // `dax_lock_folio()` reads this and the next.
    unsafe { page_field::mapping(page).write_volatile(core::ptr::null_mut()) };
    // SAFETY: As above.
    unsafe { page_field::index(page).write_volatile(0) };
    // SAFETY: As above.
    unsafe { page_field::private(page).write(0) };
    if order != 0 {
        // SAFETY: As above.
        unsafe { bindings::rust_fsdax_reset_head(page.cast()) };
        // SAFETY: The folio has `1 << order` pages, and is draining.
        unsafe { folio.reset_tails(1 << order, pgmap) };
    }

    let waiters = folio.wait_address();
    // Fully ordered: whoever sees the folio idle sees the reset, and whoever queued before it saw
    // the folio idle is woken below. The folio may be requested again from here on.
    folio.owner().xchg(core::ptr::null_mut(), Full);
    waiters.wake();
    // SAFETY: The reference that came with the request; the last access to the pgmap.
    unsafe { bindings::rust_fsdax_pgmap_put(pgmap) }
}

// Else a large entry would not be what a PMD maps, and a folio lock not cover a folio.
kernel::static_assert!(bindings::RUST_FSDAX_PMD_ORDER == Order::PMD_ORDER);

/// The memory of the folio locks and of the lists of sleeping breaks, as long as it lives.
///
/// # Invariants
///
/// Both are initialized.
pub(crate) struct Locks(());

impl Locks {
    /// Prepares them. `ENOMEM` without memory. May sleep.
    ///
    /// # Safety
    ///
    /// Called once, before anything else of this module is used; nobody uses a folio or sleeps in
    /// a break any more when it is dropped.
    pub(crate) unsafe fn init() -> Result<Self> {
        // SAFETY: By the requirement of this function.
        kernel::error::to_result(unsafe { bindings::rust_fsdax_locks_init() })?;
        // INVARIANT: Just initialized.
        Ok(Self(()))
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        // SAFETY: By the requirement of `init`, nobody uses them any more.
        unsafe { bindings::rust_fsdax_locks_exit() }
    }
}

/// The lock for the association of the folio around a pfn, and for requests of it.
///
/// Irqs are off while it is held, and it nests in the i_pages lock. See `folio_locks` in
/// `rust/helpers.c`.
pub(crate) struct FolioLock {
    pfn: usize,
    flags: usize,
    _not_send: NotThreadSafe,
}

impl FolioLock {
    /// Takes the lock of `pfn`.
    pub(crate) fn new(pfn: usize) -> Self {
        Self {
            pfn,
            // SAFETY: The lock is released in `drop`, on the same CPU since irqs stay off.
            flags: unsafe { bindings::rust_fsdax_folio_lock(pfn) },
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for FolioLock {
    fn drop(&mut self) {
        // SAFETY: Taken in `new` with the same pfn.
        unsafe { bindings::rust_fsdax_folio_unlock(self.pfn, self.flags) }
    }
}

/// Which entries name an active folio.
///
/// | `mapping` | `index`/`share` | `private`     | association                                |
/// |-----------|-----------------|---------------|--------------------------------------------|
/// | null      | 0               | 0             | [`Association::None`]: just requested       |
/// | M         | index in M      | 0             | `Owned`: tracked by one entry, that of M    |
/// | M         | index in M      | [`ZAPPED`], t | `Owned`, and that entry was zapped at t     |
/// | null      | n > 0           | 0             | `Shared`: tracked by n entries              |
///
/// While memory failure holds the entry of a folio locked, [`HELD`] is set in `private` too: the
/// folio keeps `mapping` and `index` until then. [`REPLACED`] is set with [`ZAPPED`] where a store
/// waits to put a copy in the place of the block.
///
/// `index` and `share` are one word. A zapped entry is not counted in `share`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Association {
    /// By no entry.
    None,
    /// By one entry, the one at this index of the mapping with this address.
    Owned {
        /// Address of the mapping.
        mapping: usize,
        /// Page offset in it.
        index: usize,
        /// Whether the entry lost its reference.
        zapped: bool,
    },
    /// By this many entries of any files.
    Shared(usize),
}

impl Association {
    /// Tracked by the entry at `index` of `mapping` alone.
    pub(crate) fn tracked_by(mapping: Mapping<'_>, index: usize) -> Self {
        Self::Owned {
            mapping: mapping.address(),
            index,
            zapped: false,
        }
    }
}

/// Flag in `folio->private`: the only entry of the folio was zapped.
const ZAPPED: usize = 1 << 0;
/// Flag in `folio->private`: the association may not change, see [`FolioRef::hold`].
const HELD: usize = 1 << 1;
/// Flag in `folio->private`: the only entry of the folio was given up, see
/// [`FolioRef::set_replaced`].
const REPLACED: usize = 1 << 2;
/// With [`ZAPPED`], the bits of `folio->private` from here on say when, in jiffies.
const TIME_SHIFT: u32 = 3;

fn jiffies() -> usize {
    // SAFETY: Any context.
    unsafe { bindings::rust_fsdax_jiffies() }
}

/// Why [`FolioRef::associate`] refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AssociateError {
    /// The folio belongs to somebody else.
    NotShared,
    /// It may be shared as soon as memory failure is done with it.
    Held,
}

impl FolioRef {
    fn private(&self, _lock: &FolioLock) -> usize {
        // SAFETY: The folio is active, and the lock protects the field.
        unsafe { page_field::private(self.0.as_ptr()).read() }
    }

    fn set_private(&self, private: usize, _lock: &FolioLock) {
        // SAFETY: The folio is active, and the lock protects the field.
        unsafe { page_field::private(self.0.as_ptr()).write(private) }
    }

    /// Reads the association.
    pub(crate) fn association(&self, lock: &FolioLock) -> Association {
        let page = self.0.as_ptr();
        // SAFETY: The folio is active, and the lock protects the field.
        let mapping = unsafe { page_field::mapping(page).read() };
        // SAFETY: As above.
        let index = unsafe { page_field::index(page).read() };
        let private = self.private(lock);

        match (mapping.is_null(), index) {
            (true, 0) => Association::None,
            (true, share) => Association::Shared(share),
            (false, index) => Association::Owned {
                mapping: mapping as usize,
                index,
                zapped: private & ZAPPED != 0,
            },
        }
    }

    /// Writes the association.
    pub(crate) fn set_association(&self, to: Association, lock: &FolioLock) {
        let folio = self.as_folio();
        let (mapping, index, private) = match to {
            Association::None => (0, 0, 0),
            Association::Owned {
                mapping,
                index,
                zapped,
            } => {
                let zapped_at = ZAPPED | jiffies() << TIME_SHIFT;
                (mapping, index, if zapped { zapped_at } else { 0 })
            }
            Association::Shared(share) => (0, share, 0),
        };
        // `dax_lock_folio()` reads mapping and index without the lock, and checks again under the
        // i_pages lock.
        folio.index().store(index, Relaxed);
        self.set_private(private | (self.private(lock) & HELD), lock);
        folio.mapping().store(mapping as *mut _, Release);
    }

    /// Adds the entry at `index` of `mapping` to those that track the folio.
    ///
    /// # Errors
    ///
    /// - [`AssociateError::NotShared`] if another entry tracks or tracked it and `may_share` is
    ///   false, or if it was requested for no entry at all.
    /// - [`AssociateError::Held`] if it has to be tried again after [`Self::wait_unheld`].
    ///
    /// Follows `dax_associate_entry()`.
    pub(crate) fn associate(
        &self,
        mapping: Mapping<'_>,
        index: usize,
        may_share: bool,
    ) -> Result<(), AssociateError> {
        let lock = FolioLock::new(self.pfn());
        let ours = Association::tracked_by(mapping, index);
        let to = match self.association(&lock) {
            Association::None => return Err(AssociateError::NotShared),
            Association::Owned {
                mapping: m,
                index: i,
                ..
            } if m == mapping.address() && i == index => ours,
            _ if !may_share => return Err(AssociateError::NotShared),
            _ if self.is_held(&lock) => return Err(AssociateError::Held),
            // The zapped entry does not count; its waiter need not wait any longer, since the
            // block is ours too.
            Association::Owned { zapped: true, .. } => ours,
            Association::Owned { zapped: false, .. } => Association::Shared(2),
            Association::Shared(share) => Association::Shared(share + 1),
        };
        self.set_association(to, &lock);
        Ok(())
    }

    /// Takes the entry at `index` of `mapping` off those that track the folio.
    ///
    /// Returns whether others still do. If not, the folio stays associated with the entry, as a
    /// zapped one.
    ///
    /// Follows `dax_disassociate_entry()`.
    pub(crate) fn disassociate(&self, mapping: Mapping<'_>, index: usize) -> bool {
        let lock = FolioLock::new(self.pfn());

        match self.association(&lock) {
            Association::Shared(share) if share > 1 => {
                self.set_association(Association::Shared(share - 1), &lock);
                true
            }
            _ => {
                let zapped = Association::Owned {
                    mapping: mapping.address(),
                    index,
                    zapped: true,
                };
                self.set_association(zapped, &lock);
                false
            }
        }
    }

    /// How many milliseconds ago its only entry was zapped, for messages.
    pub(crate) fn zapped_ms(&self, lock: &FolioLock) -> Option<u32> {
        let private = self.private(lock);
        if private & ZAPPED == 0 {
            return None;
        }
        // The upper bits of the time are lost, so that the difference has as many less.
        let age = jiffies().wrapping_sub(private >> TIME_SHIFT) & (usize::MAX >> TIME_SHIFT);
        // SAFETY: Computes a number.
        Some(unsafe { bindings::rust_fsdax_jiffies_to_msecs(age) })
    }

    /// Notes that the block is going to be replaced in the file whose zapped entry at `index` of
    /// `mapping` is the only one, until any entry tracks the folio again.
    pub(crate) fn set_replaced(&self, mapping: Mapping<'_>, index: usize) {
        let lock = FolioLock::new(self.pfn());

        if self.is_owned(mapping, index, &lock) {
            self.set_private(self.private(&lock) | REPLACED, &lock);
        }
    }

    /// How many milliseconds ago the entry at `index` of `mapping` was zapped, if
    /// [`Self::set_replaced`] was called since and no entry tracked the folio afterwards.
    pub(crate) fn replaced_ms(&self, mapping: Mapping<'_>, index: usize) -> Option<u32> {
        let lock = FolioLock::new(self.pfn());

        if self.is_owned(mapping, index, &lock) && self.private(&lock) & REPLACED != 0 {
            self.zapped_ms(&lock)
        } else {
            None
        }
    }

    /// The number of pins that count as such (`pin_user_pages()`), for messages.
    ///
    /// Those of `get_user_pages()`, of pipes for instance, are plain references.
    pub(crate) fn gup_pins(&self) -> u32 {
        // SAFETY: By the type invariant the folio stays.
        unsafe { bindings::rust_fsdax_folio_pins(self.0.as_ptr().cast()) }
    }

    fn is_held(&self, lock: &FolioLock) -> bool {
        self.private(lock) & HELD != 0
    }

    /// Keeps the folio associated with the entry at `index` of `mapping` until [`Self::unhold`].
    ///
    /// Returns whether it belongs to that entry alone. The caller holds the entry lock, or the
    /// i_pages lock and takes it.
    pub(crate) fn hold(&self, mapping: Mapping<'_>, index: usize) -> bool {
        let lock = FolioLock::new(self.pfn());
        let owned = self.is_owned(mapping, index, &lock);
        if owned {
            self.set_private(self.private(&lock) | HELD, &lock);
        }
        owned
    }

    /// Ends [`Self::hold`], and wakes those who wait for that.
    pub(crate) fn unhold(&self) {
        let lock = FolioLock::new(self.pfn());
        self.set_private(self.private(&lock) & !HELD, &lock);
        drop(lock);
        // Waiters check under the folio lock after they queued.
        self.as_folio().wait_address().wake();
    }

    /// Sleeps until nobody holds the association. Uninterruptible, as for an entry lock.
    pub(crate) fn wait_unheld(&self) {
        wait::on(self.as_folio().wait_address(), |wait| loop {
            let _ = wait.prepare(wait::Task::Uninterruptible);
            if !self.is_held(&FolioLock::new(self.pfn())) {
                break;
            }
            wait::sleep();
        })
    }

    /// Whether the folio belongs to the entry at `index` of `mapping` alone.
    pub(crate) fn is_owned_by(&self, mapping: Mapping<'_>, index: usize) -> bool {
        self.is_owned(mapping, index, &FolioLock::new(self.pfn()))
    }

    fn is_owned(&self, mapping: Mapping<'_>, index: usize, lock: &FolioLock) -> bool {
        matches!(self.association(lock),
            Association::Owned { mapping: m, index: i, .. }
                if m == mapping.address() && i == index)
    }
}
