// SPDX-License-Identifier: GPL-2.0

//! `mapping->i_pages`: walking it, its marks, and the lock of an entry.
//!
//! Counterpart of `grab_mapping_entry()`, `get_next_unlocked_entry()`, `dax_lock_entry()` and
//! `dax_unlock_entry()` of `fs/dax.c`.
//!
//! Whoever waits for an entry lock queues under the i_pages lock, where it saw the entry locked.
//! Whoever unlocks an entry takes the i_pages lock to do so, and wakes after it let that go. No
//! wake-up is lost and no barrier is needed: a waiter either had the i_pages lock before, so that
//! it is in the queue when the other one has it, or has it later, and sees the entry unlocked.
//!
//! Those that want the lock wait in turn, and one of them is woken: the next one is when that one
//! unlocks. A turn that finds the entry gone, or another one, is passed on, see [`Cursor`]. Those
//! that walk wait until the entry may be looked at, and are woken with it.
//!
//! Rules: R8, R9, R10, R13.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    ffi::c_void,
    prelude::*,
    ptr::project,
    types::NotThreadSafe, //
};

use crate::{
    bindings,
    entry::{
        Entry,
        Kind,
        Order, //
    },
    inject::{
        self,
        Point, //
    },
    wait, //
};

/// Marks of entries in `i_pages`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// Has data that `fsync()` must flush: `PAGECACHE_TAG_DIRTY`.
    Dirty,
    /// A layout break must look at the entry again: it was zapped and is busy, or was inserted or
    /// mapped while a break slept. `PAGECACHE_TAG_WRITEBACK`, which fs/dax.c does not use.
    Busy,
    /// A writeback that started has yet to flush it: `PAGECACHE_TAG_TOWRITE`.
    ToWrite,
}

impl Mark {
    fn raw(self) -> bindings::xa_mark_t {
        match self {
            Self::Dirty => 0,
            Self::Busy => 1,
            Self::ToWrite => 2,
        }
    }
}

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
        let first = usize::try_from(start).ok()? >> bindings::PAGE_SHIFT;
        let last = match usize::try_from(end) {
            Ok(end) if end < i64::MAX as usize => end >> bindings::PAGE_SHIFT,
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

    /// Whether all of `other` is in this range.
    pub(crate) fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// The `struct address_space` of a DAX file that is not evicted during `'a`.
///
/// # Invariants
///
/// `.0` is valid during `'a`, and so is its host.
#[derive(Clone, Copy)]
pub(crate) struct Mapping<'a>(NonNull<bindings::address_space>, PhantomData<&'a ()>);

impl<'a> Mapping<'a> {
    /// # Safety
    ///
    /// `mapping` is valid and has a host, and both stay during `'a`.
    pub(crate) unsafe fn from_raw(mapping: *mut bindings::address_space) -> Self {
        // SAFETY: By the requirement of this function it is not null.
        // INVARIANT: By the requirement of this function.
        Self(unsafe { NonNull::new_unchecked(mapping) }, PhantomData)
    }

    /// The mapping of an inode.
    ///
    /// # Safety
    ///
    /// `inode` is valid, is the host of its mapping, and is not evicted during `'a`.
    pub(crate) unsafe fn of_inode(inode: *mut bindings::inode) -> Self {
        // SAFETY: By the requirement of this function.
        let mapping = unsafe { (*inode).i_mapping };
        // SAFETY: By the requirement of this function.
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

    /// The inode.
    pub(crate) fn host(self) -> *mut bindings::inode {
        // SAFETY: By the type invariant; the host is constant.
        unsafe { (*self.as_raw()).host }
    }

    /// The superblock, which outlives its inodes.
    pub(crate) fn superblock(self) -> *mut bindings::super_block {
        // SAFETY: By the type invariant the host is valid; its superblock is constant.
        unsafe { (*self.host()).i_sb }
    }

    /// Device and inode number, for messages.
    pub(crate) fn id(self) -> (u32, usize) {
        // SAFETY: By the type invariant; the superblock outlives its inodes, and this is constant.
        let dev = unsafe { (*self.superblock()).s_dev };
        // SAFETY: By the type invariant the host is valid; its number is constant.
        let ino = unsafe { (*self.host()).i_ino };
        (dev, ino as usize)
    }

    /// The size of the file in bytes.
    pub(crate) fn size(self) -> i64 {
        // SAFETY: By the type invariant; an aligned 64-bit load, as `i_size_read()` does.
        unsafe { project!(self.host(), .i_size).read_volatile() }
    }

    /// Whether there is no entry at all.
    pub(crate) fn is_empty(self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::rust_fsdax_mapping_empty(self.as_raw()) }
    }

    fn i_pages(self) -> *mut bindings::xarray {
        project!(mut self.as_raw(), .i_pages)
    }

    /// Removes all page table entries that map `range`, private copies excluded. May sleep.
    pub(crate) fn unmap(self, range: Range) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::unmap();
        // A count of 0 means "all that is behind".
        let pages = (range.last - range.first).wrapping_add(1);
        // SAFETY: By the type invariant.
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
        // SAFETY: By the type invariant.
        unsafe { bindings::rust_fsdax_mapping_set_error(self.as_raw(), error.to_errno()) }
    }

    /// A cursor at `index`.
    pub(crate) fn at(self, index: usize) -> Cursor<'a> {
        Cursor::new(self, index, Order::Pte)
    }

    fn lock_address(self, index: usize, order: Order) -> wait::Address {
        wait::Address::of_index(self.i_pages(), order.align(index))
    }

    /// Waits until nobody holds the lock of the entry at `index`, and takes it.
    ///
    /// `None` if there is no entry. May sleep.
    pub(crate) fn lock_entry(self, index: usize) -> Option<LockedEntry<'a>> {
        let mut cursor = self.at(index);
        let mut pages = cursor.lock();
        loop {
            let entry = pages.load()?;
            if !entry.is_locked() {
                return Some(pages.lock_entry(entry));
            }
            pages.wait_turn(entry);
        }
    }
}

/// `struct xa_state`: a position in `i_pages`, whose lock is not held.
pub(crate) struct Cursor<'m> {
    xas: bindings::xa_state,
    mapping: Mapping<'m>,
    /// The entry lock that it is our turn to take. If we do not, the next one is woken.
    turn: Option<wait::Address>,
}

/// `XAS_BOUNDS`: there is nothing behind the position.
const XAS_BOUNDS: usize = 1;
/// `XAS_RESTART`: look the position up again.
const XAS_RESTART: usize = 3;

impl<'m> Cursor<'m> {
    fn new(mapping: Mapping<'m>, index: usize, order: Order) -> Self {
        let chunk = bindings::RUST_FSDAX_XA_CHUNK_SHIFT;
        let order_bits = order.get();
        Self {
            // As XA_STATE_ORDER().
            xas: bindings::xa_state {
                xa: mapping.i_pages(),
                xa_index: order.align(index),
                xa_shift: (order_bits - order_bits % chunk) as u8,
                xa_sibs: ((1u32 << (order_bits % chunk)) - 1) as u8,
                xa_node: XAS_RESTART as *mut _,
                ..Default::default()
            },
            mapping,
            turn: None,
        }
    }

    /// Takes the i_pages lock; irqs are off until the guard is dropped.
    pub(crate) fn lock(&mut self) -> Pages<'_, 'm> {
        // Whatever was looked up before is stale.
        self.lock_at(Slot::UNKNOWN)
    }

    /// Takes the i_pages lock, at the slot of a locked entry.
    fn lock_at(&mut self, slot: Slot) -> Pages<'_, 'm> {
        self.xas.xa_node = slot.node;
        self.xas.xa_offset = slot.offset;
        // SAFETY: The mapping is valid; unlocked when the guard is dropped.
        unsafe { bindings::rust_fsdax_xa_lock_irq(self.xas.xa) };
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::hold();
        Pages {
            cursor: self,
            unlocked: None,
            _not_send: NotThreadSafe,
        }
    }

    /// Allocates what a failed store needs. Returns whether to try again, or the error.
    fn nomem(&mut self) -> Result<bool> {
        // SAFETY: The mapping is valid.
        let gfp = unsafe { (*self.mapping.as_raw()).gfp_mask } & !bindings::__GFP_HIGHMEM;
        // SAFETY: The state is valid and the lock is not held.
        if unsafe { bindings::xas_nomem(&mut self.xas, gfp) } {
            return Ok(true);
        }
        self.error().map(|()| false)
    }

    /// As xas_set_err().
    fn set_error(&mut self, error: Error) {
        self.xas.xa_node = ((error.to_errno() as isize) << 2 | 2) as *mut _;
    }

    fn error(&self) -> Result {
        let node = self.xas.xa_node as usize;
        // As xas_error(): an internal entry in `xa_node` holds a negative errno.
        if node & 3 == 2 && node as isize >> 2 < 0 {
            return kernel::error::to_result((node as isize >> 2) as i32);
        }
        Ok(())
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn {
            turn.wake();
        }
        if !self.xas.xa_alloc.is_null() {
            self.xas.xa_node = XAS_RESTART as *mut _;
            // SAFETY: The state is valid and the lock is not held. Without an error to repair,
            // this frees what was allocated and not used.
            unsafe { bindings::xas_nomem(&mut self.xas, 0) };
        }
    }
}

/// Where in `i_pages` a locked entry is, so that it need not be looked up again.
///
/// # Invariants
///
/// `node` is `XAS_RESTART`, or the node in which the entry is at `offset`, for as long as it is
/// locked. Nobody removes the entry meanwhile, and a node stays as long as it has an entry: but
/// for that of page offset 0 alone, which `xas_shrink()` moves to the head.
#[derive(Clone, Copy)]
struct Slot {
    node: *mut bindings::xa_node,
    offset: u8,
}

impl Slot {
    const UNKNOWN: Self = Self {
        node: XAS_RESTART as *mut _,
        offset: 0,
    };
}

/// A position in `i_pages`, whose lock is held.
///
/// # Invariants
///
/// The i_pages lock is held, irqs are off.
pub(crate) struct Pages<'c, 'm> {
    cursor: &'c mut Cursor<'m>,
    /// An entry lock that was released, whose waiters are woken when the i_pages lock is.
    unlocked: Option<wait::Address>,
    _not_send: NotThreadSafe,
}

/// How many pages are handled in one hold of the i_pages lock, with irqs off.
///
/// A quarter of `XA_CHECK_SCHED`: half a million instructions, and taking the lock again costs two
/// hundred.
pub(crate) const BATCH: usize = 1024;

impl<'m> Pages<'_, 'm> {
    fn xas(&mut self) -> *mut bindings::xa_state {
        &mut self.cursor.xas
    }

    /// The file.
    pub(crate) fn mapping(&self) -> Mapping<'m> {
        self.cursor.mapping
    }

    /// The page offset of the position.
    pub(crate) fn index(&self) -> usize {
        self.cursor.xas.xa_index
    }

    fn entry(raw: *mut c_void) -> Option<Entry> {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::visit();
        let raw = raw as usize;
        // As xa_is_value() and xa_to_value(). A DAX file has no other entries.
        if raw & 1 == 0 {
            crate::warn::warn_on_once!(raw != 0);
            return None;
        }
        let entry = Entry::from_value(raw >> 1);
        crate::warn::warn_on_once!(entry.is_none());
        entry
    }

    /// The entry at the position.
    pub(crate) fn load(&mut self) -> Option<Entry> {
        // SAFETY: By the type invariant the lock is held.
        Self::entry(unsafe { bindings::xas_load(self.xas()) })
    }

    /// Moves to the next entry, up to page offset `last`.
    pub(crate) fn find(&mut self, last: usize) -> Option<Entry> {
        loop {
            // SAFETY: By the type invariant the lock is held.
            let raw = unsafe { bindings::rust_fsdax_xas_next_entry(self.xas(), last) };
            // What is no entry was warned about; do not take it for the end.
            if raw.is_null() {
                return None;
            }
            if let Some(entry) = Self::entry(raw) {
                return Some(entry);
            }
        }
    }

    /// Moves to the next entry with `mark`, up to page offset `last`.
    pub(crate) fn find_marked(&mut self, last: usize, mark: Mark) -> Option<Entry> {
        // xas_find_marked() would begin again at page offset 0.
        if self.cursor.xas.xa_node as usize == XAS_BOUNDS {
            return None;
        }
        // SAFETY: By the type invariant the lock is held.
        let raw = unsafe { bindings::rust_fsdax_xas_next_marked(self.xas(), last, mark.raw()) };
        Self::entry(raw)
    }

    fn find_conflict(&mut self) -> Option<Entry> {
        // SAFETY: By the type invariant the lock is held.
        Self::entry(unsafe { bindings::xas_find_conflict(self.xas()) })
    }

    /// Looks the position up, unless it is known.
    fn look_up(&mut self) {
        if self.cursor.xas.xa_node as usize == XAS_RESTART {
            self.load();
        }
    }

    /// Looks the position up again; the next find may return the same entry.
    pub(crate) fn restart(&mut self) {
        self.cursor.xas.xa_node = XAS_RESTART as *mut _;
    }

    /// As xa_mk_value().
    fn raw(entry: Entry) -> *mut c_void {
        (entry.value() << 1 | 1) as *mut c_void
    }

    /// Replaces `old` at the position, which was just loaded or found, or is the slot of a locked
    /// entry. Marks stay.
    pub(crate) fn replace(&mut self, old: Entry, new: Entry) {
        // SAFETY: By the type invariant the lock is held. No memory is needed to replace.
        let was = unsafe { bindings::rust_fsdax_xas_replace(self.xas(), Self::raw(new)) };
        crate::warn::warn_on_once!(was != Self::raw(old));
    }

    /// Stores `entry` where there is none. Fails for want of memory, see [`Cursor::error`].
    fn insert(&mut self, entry: Entry) {
        if inject::fails(Point::Store) {
            self.cursor.set_error(EIO);
            return;
        }
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::xas_store(self.xas(), Self::raw(entry)) };
    }

    /// Removes `entry` from the position, where it was just loaded or found, with its marks.
    pub(crate) fn remove(&mut self, entry: Entry) {
        // SAFETY: By the type invariant the lock is held. No memory is needed to remove.
        let was = unsafe { bindings::xas_store(self.xas(), core::ptr::null_mut()) };
        crate::warn::warn_on_once!(was != Self::raw(entry));
        let mapping = self.mapping().as_raw();
        // SAFETY: The i_pages lock protects the count.
        unsafe { (*mapping).nrpages -= entry.order().pages() };
    }

    /// Whether the entry at the position has `mark`.
    pub(crate) fn has(&mut self, mark: Mark) -> bool {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::rust_fsdax_xas_has_mark(self.xas(), mark.raw()) }
    }

    /// Whether the entry at the position has data that is not written back.
    pub(crate) fn is_dirty(&mut self) -> bool {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::rust_fsdax_xas_is_dirty(self.xas()) }
    }

    /// Sets `mark` on the entry at the position.
    pub(crate) fn set(&mut self, mark: Mark) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::xas_set_mark(self.xas(), mark.raw()) }
    }

    /// Clears `mark` of the entry at the position.
    pub(crate) fn clear(&mut self, mark: Mark) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::rust_fsdax_xas_clear_mark(self.xas(), mark.raw()) }
    }

    /// Sleeps until the lock of `entry`, seen locked at the position, may be free.
    ///
    /// The i_pages lock is dropped meanwhile: everything may have changed. The next load or find
    /// starts at the same page offset.
    pub(crate) fn wait_unlocked(&mut self, entry: Entry) {
        wait::on(self.address_of(entry), |wait| {
            let _ = wait.prepare(wait::Task::Uninterruptible);
            self.unlocked(wait::sleep);
        });
    }

    /// [`Self::wait_unlocked`] in turn, to lock the entry.
    fn wait_turn(&mut self, entry: Entry) {
        let address = self.address_of(entry);
        // Whoever was faster wakes the next one for a turn that is for this lock.
        let lost = self.cursor.turn.take().filter(|turn| *turn != address);

        wait::on_turn(address, |wait| {
            let _ = wait.prepare(wait::Task::Uninterruptible);
            self.unlocked(|| {
                if let Some(turn) = lost {
                    turn.wake();
                }
                wait::sleep();
            });
        });
        self.cursor.turn = Some(address);
    }

    /// Drops the i_pages lock, and wakes who waits for an entry that was unlocked under it.
    ///
    /// # Safety
    ///
    /// The lock is taken again, or `self` is never used again.
    unsafe fn release(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::rust_fsdax_xa_unlock_irq(self.cursor.xas.xa) };
        if let Some(address) = self.unlocked.take() {
            address.wake();
        }
    }

    /// Takes the i_pages lock after [`Self::release`].
    fn take_again(&mut self) {
        // SAFETY: The mapping is valid.
        unsafe { bindings::rust_fsdax_xa_lock_irq(self.cursor.xas.xa) };
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::hold();
    }

    /// Lets irqs and other tasks in, once per [`BATCH`] entries; goes on behind the entry at the
    /// position. Process context, may sleep.
    pub(crate) fn breathe(&mut self) {
        self.step_over();
        // SAFETY: The lock is taken again below.
        unsafe { self.release() };
        // SAFETY: Process context without locks.
        unsafe { bindings::rust_fsdax_cond_resched() };
        self.take_again();
    }

    /// Moves behind the entry at the position.
    ///
    /// Not by `xas_pause()`: it takes the index for that of the slot. A look-up leaves the index
    /// where it was, maybe in the middle of a large entry, and a pause would go on as far behind
    /// the entry.
    fn step_over(&mut self) {
        let index = self.index();
        // SAFETY: By the type invariant the lock is held.
        let raw = unsafe { bindings::xas_load(self.xas()) } as usize;
        // Not counted as a visit. There is none if it was just removed.
        let order = match Entry::from_value(raw >> 1) {
            Some(entry) if raw & 1 != 0 => entry.order(),
            _ => Order::Pte,
        };
        self.restart();
        match Range::of_entry(index, order).last.checked_add(1) {
            Some(next) => self.cursor.xas.xa_index = next,
            None => self.cursor.xas.xa_node = XAS_BOUNDS as *mut _,
        }
    }

    /// Drops the i_pages lock while `f` runs. The position is looked up again afterwards.
    pub(crate) fn unlocked<R>(&mut self, f: impl FnOnce() -> R) -> R {
        // SAFETY: The lock is taken again below.
        unsafe { self.release() };
        let ret = f();
        self.take_again();
        self.restart();
        ret
    }

    /// Drops the i_pages lock while `f` runs. The position is that of `locked` afterwards.
    pub(crate) fn unlocked_at<R>(&mut self, locked: &LockedEntry<'m>, f: impl FnOnce() -> R) -> R {
        let ret = self.unlocked(f);
        self.cursor.xas.xa_node = locked.slot.node;
        self.cursor.xas.xa_offset = locked.slot.offset;
        self.look_up();
        ret
    }

    /// Unlocks the entry at the position, which [`Self::unlocked_at`] went back to.
    pub(crate) fn unlock_entry(&mut self, locked: LockedEntry<'m>) {
        self.replace(locked.entry.locked(), locked.entry);
        self.wake(locked.entry);
        core::mem::forget(locked);
    }

    /// Locks `entry`, which was just loaded or found at the position and is not locked.
    ///
    /// The i_pages lock must be dropped before the guard is.
    pub(crate) fn lock_entry(&mut self, entry: Entry) -> LockedEntry<'m> {
        self.replace(entry, entry.locked());
        self.locked(entry)
    }

    /// The guard of `entry`, which was just stored, locked, at the position.
    fn locked(&mut self, entry: Entry) -> LockedEntry<'m> {
        let index = entry.order().align(self.index());
        if self.cursor.turn == Some(self.address_of(entry)) {
            // Taken: the next one is woken when this one is unlocked.
            self.cursor.turn = None;
        }
        let xas = &self.cursor.xas;

        // INVARIANT: The caller just stored it.
        LockedEntry {
            mapping: self.mapping(),
            index,
            entry,
            // INVARIANT: See `Slot` for page offset 0.
            slot: if index == 0 {
                Slot::UNKNOWN
            } else {
                Slot {
                    node: xas.xa_node,
                    offset: xas.xa_offset,
                }
            },
        }
    }

    /// Where to sleep until the lock of `entry` at the position is free.
    pub(crate) fn address_of(&self, entry: Entry) -> wait::Address {
        self.mapping().lock_address(self.index(), entry.order())
    }

    /// Has those woken who wait for the lock of `entry` at the position, which was just released.
    ///
    /// That is when the i_pages lock is dropped: irqs are off, and whoever is woken wants it.
    fn wake(&mut self, entry: Entry) {
        let address = self.address_of(entry);
        if let Some(earlier) = self.unlocked.replace(address) {
            earlier.wake();
        }
    }
}

impl Drop for Pages<'_, '_> {
    fn drop(&mut self) {
        // SAFETY: `self` goes.
        unsafe { self.release() }
    }
}

/// Why [`LockedEntry::grab`] fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GrabError {
    /// There are smaller entries in the range.
    Conflict,
    /// No memory for the xarray.
    NoMemory,
    /// Any other error of the xarray.
    Io,
}

/// An entry whose lock we hold. It is unlocked when the guard is dropped.
///
/// While it is locked nobody else changes or removes it, or the references that it stands for.
///
/// # Invariants
///
/// `i_pages` has `entry.locked()` at `index`, which is aligned to the order of `entry`.
pub(crate) struct LockedEntry<'m> {
    mapping: Mapping<'m>,
    index: usize,
    entry: Entry,
    slot: Slot,
}

impl<'m> LockedEntry<'m> {
    /// Locks the entry at `index`; inserts an empty one of `order` if there is none.
    ///
    /// The entry may have a larger order than was asked for, unless that one is a zero or empty
    /// entry, which is removed in favour of a smaller one. Process context, may sleep.
    ///
    /// Follows `grab_mapping_entry()`.
    pub(crate) fn grab(
        mapping: Mapping<'m>,
        index: usize,
        order: Order,
    ) -> Result<Self, GrabError> {
        let mut cursor = Cursor::new(mapping, index, order);
        loop {
            let mut pages = cursor.lock();
            // Whatever covers a page is found by looking there.
            let found = match order {
                Order::Pte => pages.load(),
                Order::Pmd => pages.find_conflict(),
            };
            match found {
                Some(entry) if entry.order().pages() < order.pages() => {
                    drop(pages);
                    Self::remove_empty(mapping, index, order)?;
                    continue;
                }
                Some(entry) if entry.is_locked() => {
                    pages.wait_turn(entry);
                    continue;
                }
                Some(entry) if entry.order() != order && !entry.is_mapped() => {
                    let big = pages.lock_entry(entry);
                    drop(pages);
                    Self::remove_big(big);
                    continue;
                }
                Some(entry) => return Ok(pages.lock_entry(entry)),
                None => {}
            }
            let entry = Entry::empty(order);
            pages.insert(entry.locked());
            if pages.cursor.error().is_ok() {
                // SAFETY: The i_pages lock protects the count.
                unsafe { (*mapping.as_raw()).nrpages += order.pages() };
                return Ok(pages.locked(entry));
            }
            drop(pages);
            match cursor.nomem() {
                Ok(true) => {}
                Err(e) if e == ENOMEM => return Err(GrabError::NoMemory),
                _ => return Err(GrabError::Io),
            }
        }
    }

    /// Makes room for an entry of `order` where smaller ones are, if these are empty.
    #[cold]
    fn remove_empty(mapping: Mapping<'m>, index: usize, order: Order) -> Result<(), GrabError> {
        let range = Range::of_entry(index, order);
        let mut cursor = mapping.at(range.first);
        let mut pages = cursor.lock();

        while let Some(entry) = pages.find(range.last) {
            if entry.is_locked() || entry.kind() != Kind::Empty {
                return Err(GrabError::Conflict);
            }
            pages.remove(entry);
        }
        Ok(())
    }

    /// Makes room for a smaller entry where `big` is, which names no block.
    #[cold]
    fn remove_big(mut big: Self) {
        if big.entry().kind() == Kind::Zero {
            big.mapping.unmap(big.range());
        }
        // Empty, so that it is removed now.
        big.set(Entry::empty(big.entry().order()), |_| ());
    }

    /// The entry, unlocked.
    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// The file.
    pub(crate) fn mapping(&self) -> Mapping<'m> {
        self.mapping
    }

    /// Its first page offset.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The pages that it stands for.
    pub(crate) fn range(&self) -> Range {
        Range::of_entry(self.index, self.entry.order())
    }

    /// Replaces the entry by one of the same order, keeping it locked, and lets `marks` change
    /// its marks under the same hold of the i_pages lock.
    pub(crate) fn set(&mut self, entry: Entry, marks: impl FnOnce(&mut Pages<'_, 'm>)) {
        crate::warn::warn_on_once!(entry.order() != self.entry.order());
        let mut cursor = self.mapping.at(self.index);
        let mut pages = cursor.lock_at(self.slot);
        pages.look_up();
        if entry != self.entry {
            pages.replace(self.entry.locked(), entry.locked());
            // INVARIANT: Just stored.
            self.entry = entry;
        }
        marks(&mut pages);
    }

    /// Changes the marks of the entry under the i_pages lock.
    pub(crate) fn with_marks<R>(&self, f: impl FnOnce(&mut Pages<'_, 'm>) -> R) -> R {
        let mut cursor = self.mapping.at(self.index);
        let mut pages = cursor.lock_at(self.slot);
        pages.look_up();
        f(&mut pages)
    }

    /// Unlocks the entry, and leaves it there even if it is empty.
    ///
    /// For faults that need only the lock: those that follow in the neighbourhood find a node.
    pub(crate) fn unlock(self) {
        self.finish(false);
        core::mem::forget(self);
    }

    /// Removes the entry. It must hold no reference.
    pub(crate) fn remove(self) {
        crate::warn::warn_on_once!(self.entry.kind() == Kind::Tracked);
        self.finish(true);
        core::mem::forget(self);
    }

    /// Keeps the entry locked for C code, see [`Self::from_cookie`].
    pub(crate) fn into_cookie(self) -> bindings::dax_entry_t {
        let cookie = self.entry.value() << 1 | 1;
        core::mem::forget(self);
        cookie
    }

    /// Takes back what [`Self::into_cookie`] gave.
    ///
    /// `None` if `cookie` is none.
    ///
    /// # Safety
    ///
    /// `cookie` comes from `into_cookie` of the entry at `index` of `mapping`, or is a cookie of
    /// fs/dax.c that stands for no entry.
    pub(crate) unsafe fn from_cookie(
        mapping: Mapping<'m>,
        index: usize,
        cookie: bindings::dax_entry_t,
    ) -> Option<Self> {
        if cookie == usize::MAX || cookie & 1 == 0 {
            return None;
        }
        let entry = Entry::from_value(cookie >> 1)?;
        // INVARIANT: By the requirement of this function the entry is still locked.
        Some(Self {
            mapping,
            index: entry.order().align(index),
            entry,
            slot: Slot::UNKNOWN,
        })
    }

    fn finish(&self, remove: bool) {
        let mut cursor = self.mapping.at(self.index);
        let mut pages = cursor.lock_at(self.slot);
        if remove {
            pages.remove(self.entry.locked());
        } else {
            pages.replace(self.entry.locked(), self.entry);
        }
        // Both of the order that waiters saw; the position is where the entry starts.
        pages.wake(self.entry);
    }
}

impl Drop for LockedEntry<'_> {
    fn drop(&mut self) {
        // An empty entry has done its work when it is unlocked.
        self.finish(self.entry.kind() == Kind::Empty);
    }
}
