// SPDX-License-Identifier: GPL-2.0

//! A position in `i_pages`, and the marks of the entry there.
//!
//! Whoever waits for an entry lock queues under the i_pages lock, where it saw the entry locked.
//! Whoever unlocks an entry takes the i_pages lock to do so, and wakes after it let that go. No
//! wake-up is lost and no barrier is needed: a waiter either had the i_pages lock before, so that
//! it is in the queue when the other one has it, or has it later, and sees the entry unlocked.
//!
//! Those that want the lock wait in turn, and one of them is woken: the next one is when that one
//! unlocks. A turn that finds the entry gone, or another one, is passed on when [`Pages`] is
//! dropped. Those that walk wait until the entry may be looked at, and are woken with it.
//!
//! Counterpart of `dax_entry_waitqueue()` (`address_of`), `dax_wake_entry()` (`wake`),
//! `wait_entry_unlocked()` and `put_unlocked_entry()` (`give_back`) of `fs/dax.c`.
//!
//! Rules: R8, R9, R10, R13.

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    ffi::c_void,
    prelude::*,
    ptr::project,
    types::NotThreadSafe, //
};

use super::{
    entry::Entry,
    file::Mapping, //
};
use crate::{
    ffi::{
        bindings,
        inject::{
            self,
            Point, //
        },
        sched,
        sleep,
        warn::warn_on_once, //
    },
    pgmap::Order, //
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

/// How many pages are handled in one hold of the i_pages lock, with irqs off.
///
/// A quarter of `XA_CHECK_SCHED`: half a million instructions, and taking the lock again costs two
/// hundred.
pub(crate) const BATCH: usize = 1024;

/// `XAS_RESTART`: look the position up again.
const XAS_RESTART: usize = 3;

/// Where in `i_pages` a locked entry is, so that it need not be looked up again.
///
/// # Invariants
///
/// `node` is `XAS_RESTART`, or the node in which the entry is at `offset`, for as long as it is
/// locked. Nobody removes the entry meanwhile, and a node stays as long as it has an entry: but
/// for that of page offset 0 alone, which `xas_shrink()` moves to the head.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    node: *mut bindings::xa_node,
    offset: u8,
}

impl Slot {
    pub(super) const UNKNOWN: Self = Self {
        node: XAS_RESTART as *mut _,
        offset: 0,
    };
}

/// A position in `i_pages`, whose lock is held.
///
/// # Invariants
///
/// `xas` is a valid position in `i_pages` of `mapping`, whose lock is held, and irqs are off.
pub(super) struct Pages<'m> {
    xas: bindings::xa_state,
    mapping: Mapping<'m>,
    /// The entry lock that it is our turn to take. If we do not, the next one is woken.
    turn: Option<sleep::Address>,
    /// An entry lock that was released, whose waiters are woken when the i_pages lock is.
    unlocked: Option<sleep::Address>,
    _not_send: NotThreadSafe,
}

impl<'m> Pages<'m> {
    /// Takes the i_pages lock, for an entry of `order` around `index`.
    #[inline(always)]
    pub(super) fn lock(mapping: Mapping<'m>, index: usize, order: Order) -> Self {
        // SAFETY: It is looked up.
        unsafe { Self::lock_at(mapping, index, order, Slot::UNKNOWN) }
    }

    /// The same at the slot of a locked entry.
    ///
    /// # Safety
    ///
    /// `slot` is that of an entry at `index` which stays locked as long as the position is used there,
    /// or [`Slot::UNKNOWN`].
    #[inline(always)]
    pub(super) unsafe fn lock_at(
        mapping: Mapping<'m>,
        index: usize,
        order: Order,
        slot: Slot,
    ) -> Self {
        let chunk = bindings::RUST_FSDAX_XA_CHUNK_SHIFT;
        let order_bits = order.get();
        // As XA_STATE_ORDER().
        let xas = bindings::xa_state {
            xa: mapping.i_pages(),
            xa_index: order.align(index),
            xa_shift: (order_bits - order_bits % chunk) as u8,
            xa_sibs: ((1u32 << (order_bits % chunk)) - 1) as u8,
            xa_node: slot.node,
            xa_offset: slot.offset,
            ..Default::default()
        };
        let mut pages = Self {
            xas,
            mapping,
            turn: None,
            unlocked: None,
            _not_send: NotThreadSafe,
        };
        // INVARIANT: Taken before anybody gets it.
        pages.take_again();
        pages
    }

    /// The file.
    pub(super) fn mapping(&self) -> Mapping<'m> {
        self.mapping
    }

    /// The page offset of the position.
    pub(super) fn index(&self) -> usize {
        self.xas.xa_index
    }

    /// Where the position is, as long as the entry at it is locked.
    pub(super) fn slot(&self) -> Slot {
        Slot {
            node: self.xas.xa_node,
            offset: self.xas.xa_offset,
        }
    }

    /// Goes to the slot of a locked entry.
    ///
    /// # Safety
    ///
    /// As [`Self::lock_at`], for the page offset of the position.
    pub(super) unsafe fn go_to(&mut self, slot: Slot) {
        self.xas.xa_node = slot.node;
        self.xas.xa_offset = slot.offset;
        self.look_up();
    }

    fn entry(raw: *mut c_void) -> Option<Entry> {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::visit();
        let raw = raw as usize;
        // As xa_is_value() and xa_to_value(). A DAX file has no other entries.
        if raw & 1 == 0 {
            warn_on_once!(raw != 0);
            return None;
        }
        let entry = Entry::from_value(raw >> 1);
        warn_on_once!(entry.is_none());
        entry
    }

    /// The entry at the position.
    pub(super) fn load(&mut self) -> Option<Entry> {
        // SAFETY: By the type invariant the lock is held.
        Self::entry(unsafe { bindings::xas_load(&mut self.xas) })
    }

    /// Moves to the next page offset, from one that was looked up. The entry there, if there is one.
    #[inline(always)]
    pub(super) fn step(&mut self) -> Option<Entry> {
        // SAFETY: By the type invariant the lock is held.
        Self::entry(unsafe { bindings::rust_fsdax_xas_next(&mut self.xas) })
    }

    /// Moves to the next entry, up to page offset `last`.
    pub(super) fn find(&mut self, last: usize) -> Option<Entry> {
        loop {
            // SAFETY: By the type invariant the lock is held.
            let raw = unsafe { bindings::rust_fsdax_xas_next_entry(&mut self.xas, last) };
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
    pub(super) fn find_marked(&mut self, last: usize, mark: Mark) -> Option<Entry> {
        // SAFETY: By the type invariant the lock is held.
        let raw = unsafe { bindings::rust_fsdax_xas_next_marked(&mut self.xas, last, mark.raw()) };
        Self::entry(raw)
    }

    /// The first entry that is in the range of the position.
    pub(super) fn find_conflict(&mut self) -> Option<Entry> {
        // SAFETY: By the type invariant the lock is held.
        Self::entry(unsafe { bindings::xas_find_conflict(&mut self.xas) })
    }

    /// Looks the position up, unless it is known.
    #[inline(always)]
    pub(super) fn look_up(&mut self) {
        if self.xas.xa_node as usize == XAS_RESTART {
            self.load();
        }
    }

    /// Looks the position up again; the next find may return the same entry.
    pub(super) fn restart(&mut self) {
        self.xas.xa_node = XAS_RESTART as *mut _;
    }

    /// As xa_mk_value().
    fn raw(entry: Entry) -> *mut c_void {
        (entry.value() << 1 | 1) as *mut c_void
    }

    /// Replaces `old` at the position, which was just loaded or found, or is the slot of a locked
    /// entry. Marks stay.
    ///
    /// # Safety
    ///
    /// Whoever has the lock of `old` is the caller, or nobody has it, and the caller has the guard of
    /// `new` from here on if that is locked. The caller owns the reference that `new` has and `old` has
    /// not, and gives it up; or takes over the one that `old` has and `new` has not.
    #[inline(always)]
    pub(super) unsafe fn replace(&mut self, old: Entry, new: Entry) {
        // SAFETY: By the type invariant the lock is held. It needs no memory, since a value is there.
        let was = unsafe { bindings::rust_fsdax_xas_replace(&mut self.xas, Self::raw(new)) };
        warn_on_once!(was != Self::raw(old));
    }

    /// Stores an empty entry of `order`, locked, where there is none. Returns it as if it were not
    /// locked.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, see [`Self::allocate`], or another error of the xarray.
    ///
    /// # Safety
    ///
    /// That there is no entry in all of the position, which is of `order`, was found under this hold of the
    /// i_pages lock.
    pub(super) unsafe fn insert_locked(&mut self, order: Order) -> Result<Entry> {
        if inject::fails(Point::Store) {
            return Err(EIO);
        }
        let entry = Entry::empty(order);
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::xas_store(&mut self.xas, Self::raw(entry.locked())) };
        self.error()?;
        self.count(order.pages() as isize);
        Ok(entry)
    }

    /// Allocates what a failed [`Self::insert_locked`] needs, with the i_pages lock dropped meanwhile: the
    /// position is to be looked up again. Returns whether there is memory. May sleep.
    pub(super) fn allocate(&mut self) -> bool {
        let (xas, gfp) = (&raw mut self.xas, self.mapping.gfp());
        // SAFETY: By the type invariant the position is valid, and the lock is not held meanwhile.
        self.unlocked(|| unsafe { bindings::xas_nomem(xas, gfp) })
    }

    /// Makes a slot for each 2 MiB of that of the locked entry `old`, which has 1 GiB and begins at the
    /// position, and `new` in each of them, with its number from 0 on. All have the marks of the old one.
    /// As many stores as pages are handled in one hold of the lock.
    ///
    /// `split` is used up. The position is the same afterwards.
    ///
    /// # Safety
    ///
    /// Neither `old` nor what `new` gives has a reference, and the caller has the guard of `old`, which
    /// goes.
    pub(super) unsafe fn split(
        &mut self,
        split: Split,
        old: Entry,
        new: impl Fn(usize) -> Option<Entry>,
    ) {
        let first = self.index();
        // SAFETY: By the type invariant the lock is held, and by that of `Split` the slot is as it was
        // when it was allocated, since the entry is locked.
        unsafe { bindings::rust_fsdax_split_do(split.0.as_ptr(), Self::raw(old)) };
        for n in 0..Order::Pud.pages() / Order::Pmd.pages() {
            self.xas.xa_index = first + n * Order::Pmd.pages();
            self.restart();
            self.look_up();
            if let Some(new) = new(n) {
                // SAFETY: The caller promises that it has the lock of `old`, and that there are no references.
                unsafe { self.replace(old, new) };
            }
        }
        self.xas.xa_index = first;
        self.restart();
    }

    fn error(&self) -> Result {
        let node = self.xas.xa_node as usize;
        // As xas_error(): an internal entry in `xa_node` holds a negative errno.
        if node & 3 == 2 && node as isize >> 2 < 0 {
            return kernel::error::to_result((node as isize >> 2) as i32);
        }
        Ok(())
    }

    /// Removes `entry` from the position, where it was just loaded or found, with its marks.
    ///
    /// # Safety
    ///
    /// Whoever has its lock is the caller, or nobody has it; and the caller takes over the reference
    /// that it has, if it is tracked.
    pub(super) unsafe fn remove(&mut self, entry: Entry) {
        // SAFETY: By the type invariant the lock is held. No memory is needed to remove.
        let was = unsafe { bindings::xas_store(&mut self.xas, core::ptr::null_mut()) };
        warn_on_once!(was != Self::raw(entry));
        self.count(-(entry.order().pages() as isize));
    }

    /// Counts pages of entries that came, or went.
    fn count(&mut self, pages: isize) {
        let count = project!(mut self.mapping.as_raw(), .nrpages);
        // SAFETY: By the invariant of `Mapping` it is valid, and by that of `self` the lock held
        // without which nobody writes this.
        let was = unsafe { count.read() };
        // SAFETY: It is valid, and the lock held, by the same invariants. `fsync()` and others look at
        // it without the lock, so that there is no reference to it, and it is written as a whole.
        unsafe { count.write_volatile(was.wrapping_add_signed(pages)) };
    }

    /// The marks of the entry at the position.
    #[inline(always)]
    pub(super) fn marks(&mut self) -> Marks<'_, 'm> {
        Marks(self)
    }

    /// Where to sleep until the lock of `entry` at the position is free.
    #[inline(always)]
    pub(super) fn address_of(&self, entry: Entry) -> sleep::Address {
        sleep::Address::of_index(self.xas.xa, entry.first(self.index()))
    }

    /// Sleeps until the lock of `entry`, seen locked at the position, may be free.
    ///
    /// The i_pages lock is dropped meanwhile: everything may have changed. The next load or find
    /// starts at the same page offset.
    pub(super) fn wait_unlocked(&mut self, entry: Entry) {
        sleep::on(self.address_of(entry), |sleeper| {
            let _ = sleeper.prepare(sleep::Task::Uninterruptible);
            self.unlocked(sleep::schedule);
        });
    }

    /// [`Self::wait_unlocked`] in turn, to lock the entry.
    pub(super) fn wait_turn(&mut self, entry: Entry) {
        let address = self.address_of(entry);
        // Whoever was faster wakes the next one for a turn that is for this lock.
        let lost = self.turn.take().filter(|turn| *turn != address);

        sleep::on_turn(address, |sleeper| {
            let _ = sleeper.prepare(sleep::Task::Uninterruptible);
            self.unlocked(|| {
                if let Some(turn) = lost {
                    turn.wake();
                }
                sleep::schedule();
            });
        });
        self.turn = Some(address);
    }

    /// The lock of `entry` at the position was taken: the next one is woken when it is unlocked.
    #[inline(always)]
    pub(super) fn took(&mut self, entry: Entry) {
        if self.turn == Some(self.address_of(entry)) {
            self.turn = None;
        }
    }

    /// Has those woken who wait for the lock of `entry` at the position, which was just released.
    ///
    /// That is when the i_pages lock is dropped: irqs are off, and whoever is woken wants it.
    #[inline(always)]
    pub(super) fn wake(&mut self, entry: Entry) {
        let address = self.address_of(entry);
        if let Some(earlier) = self.unlocked.replace(address) {
            earlier.wake();
        }
    }

    /// Drops the i_pages lock, and wakes who waits for an entry that was unlocked under it.
    ///
    /// # Safety
    ///
    /// The lock is taken again before `self` is used otherwise, or `self` is never used again.
    #[inline(always)]
    unsafe fn release(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::rust_fsdax_xa_unlock_irq(self.xas.xa) };
        if let Some(address) = self.unlocked.take() {
            address.wake();
        }
    }

    /// Takes the i_pages lock, first or after [`Self::release`].
    #[inline(always)]
    fn take_again(&mut self) {
        // SAFETY: By the invariant of `Mapping` the xarray is valid.
        unsafe { bindings::rust_fsdax_xa_lock_irq(self.xas.xa) };
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::hold();
    }

    /// Lets irqs and other tasks in; goes on at page offset `next`. Process context, may sleep.
    pub(super) fn breathe(&mut self, next: usize) {
        self.xas.xa_index = next;
        self.unlocked(sched::cond_resched);
    }

    /// Drops the i_pages lock while `f` runs. The position is looked up again afterwards.
    #[inline(always)]
    pub(super) fn unlocked<R>(&mut self, f: impl FnOnce() -> R) -> R {
        // SAFETY: The lock is taken again below.
        unsafe { self.release() };
        let ret = f();
        self.take_again();
        self.restart();
        ret
    }
}

impl Pages<'_> {
    /// Passes the turn on, and frees what was allocated, when the lock was let go.
    #[cold]
    fn give_back(&mut self) {
        if let Some(turn) = self.turn {
            turn.wake();
        }
        if !self.xas.xa_alloc.is_null() {
            self.restart();
            // SAFETY: The position is valid and the lock is not held. Without an error to repair,
            // this frees what was allocated and not used.
            unsafe { bindings::xas_nomem(&mut self.xas, 0) };
        }
    }
}

impl Pages<'_> {
    /// Lets the lock go where no entry was waited for or inserted, so that there is nothing else to
    /// give back.
    #[inline(always)]
    pub(super) fn close(self) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `self` goes.
        unsafe { this.release() };
    }
}

/// What it takes to split the slot of a locked entry of 1 GiB.
///
/// # Invariants
///
/// It was allocated for the slot that the entry has, and still is of that.
pub(super) struct Split(NonNull<bindings::rust_fsdax_split>);

impl Split {
    /// Allocates it for the entry `old` at `index` of `mapping`, which the caller has locked and keeps so.
    /// `None` without memory. May sleep.
    pub(super) fn allocate(mapping: Mapping<'_>, index: usize, old: Entry) -> Option<Self> {
        if inject::fails(Point::Store) {
            return None;
        }
        let (xa, gfp) = (mapping.i_pages(), mapping.gfp());
        // SAFETY: By the invariant of `Mapping` the xarray is valid. This only keeps the rest.
        let split = unsafe { bindings::rust_fsdax_split_alloc(xa, index, Pages::raw(old), gfp) };
        // INVARIANT: Just allocated.
        NonNull::new(split).map(Self)
    }
}

impl Drop for Split {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it was allocated, and nobody else frees it.
        unsafe { bindings::rust_fsdax_split_free(self.0.as_ptr()) }
    }
}

impl Drop for Pages<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: `self` goes.
        unsafe { self.release() };
        if self.turn.is_some() || !self.xas.xa_alloc.is_null() {
            self.give_back();
        }
    }
}

/// The marks of an entry, under the i_pages lock.
pub(crate) struct Marks<'p, 'm>(&'p mut Pages<'m>);

impl<'m> Marks<'_, 'm> {
    /// The file.
    pub(super) fn mapping(&self) -> Mapping<'m> {
        self.0.mapping
    }

    /// Whether the entry has `mark`.
    pub(crate) fn has(&mut self, mark: Mark) -> bool {
        // SAFETY: By the invariant of `Pages` the lock is held.
        unsafe { bindings::rust_fsdax_xas_has_mark(&mut self.0.xas, mark.raw()) }
    }

    /// Whether it has data that is not written back.
    pub(crate) fn is_dirty(&mut self) -> bool {
        // SAFETY: By the invariant of `Pages` the lock is held.
        unsafe { bindings::rust_fsdax_xas_is_dirty(&mut self.0.xas) }
    }

    /// Sets `mark`.
    pub(crate) fn set(&mut self, mark: Mark) {
        // SAFETY: By the invariant of `Pages` the lock is held.
        unsafe { bindings::xas_set_mark(&self.0.xas, mark.raw()) }
    }

    /// Clears `mark`.
    pub(crate) fn clear(&mut self, mark: Mark) {
        // SAFETY: By the invariant of `Pages` the lock is held.
        unsafe { bindings::rust_fsdax_xas_clear_mark(&mut self.0.xas, mark.raw()) }
    }

    /// Clears what says that the entry has to be written back.
    pub(crate) fn clean(&mut self) {
        self.clear(Mark::Dirty);
        self.clear(Mark::ToWrite);
    }
}
