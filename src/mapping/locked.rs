// SPDX-License-Identifier: GPL-2.0

//! The lock of an entry.
//!
//! Counterpart of `dax_lock_entry()`, `dax_unlock_entry()`, `grab_mapping_entry()`
//! ([`LockedEntry::grab`]), `get_next_unlocked_entry()` ([`Mapping::lock_entry`]), and of the loop
//! of `dax_lock_folio()` ([`with_entry_of`]), of `fs/dax.c`.
//!
//! Rules: R5, R13.

use kernel::{
    prelude::*,
    sync::rcu, //
};

use super::{
    entry::{
        Entry,
        Kind, //
    },
    file::{
        Mapping,
        Range, //
    },
    pages::{
        Mark,
        Marks,
        Pages,
        Slot,
        Split, //
    }, //
};
use crate::{
    ffi::{
        bindings,
        sleep,
        trace,
        warn::warn_on_once, //
    },
    folio::{
        is_busy,
        Association,
        Claim,
        EntryId,
        Folio,
        FolioRef,
        Left,
        LentFolio,
        LockedId,
        State,
        Which, //
    },
    pgmap::Order, //
};

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

impl From<GrabError> for Error {
    fn from(e: GrabError) -> Self {
        match e {
            GrabError::Conflict => EEXIST,
            GrabError::NoMemory => ENOMEM,
            GrabError::Io => EIO,
        }
    }
}

/// An entry whose lock we hold. It is unlocked when the guard is dropped.
///
/// While it is locked nobody else changes or removes it, or the references that it stands for.
///
/// # Invariants
///
/// `i_pages` has `entry.locked()` at `index`, which is aligned to the order of `entry`, and `slot` is
/// where that is, or [`Slot::UNKNOWN`]. Whoever evicts the inode waits for it.
pub(crate) struct LockedEntry<'m> {
    mapping: Mapping<'m>,
    index: usize,
    entry: Entry,
    slot: Slot,
}

/// An entry whose lock we hold, at a position, under the i_pages lock.
///
/// [`Self::guard`] makes it one that is locked without that. What becomes neither a guard nor unlocked
/// stays locked: see [`Self::leave_locked`].
///
/// # Invariants
///
/// `i_pages` has `entry.locked()` at the page offset of `pages`, which was found there, or is to be looked
/// up. There is no other guard of it that is used again.
#[must_use]
pub(super) struct Here<'p, 'm> {
    pages: &'p mut Pages<'m>,
    entry: Entry,
}

impl<'m> Pages<'m> {
    /// Locks `entry`.
    ///
    /// # Safety
    ///
    /// It was loaded or found at the position under this hold of the i_pages lock, and is not locked.
    #[inline(always)]
    pub(super) unsafe fn lock_entry(&mut self, entry: Entry) -> Here<'_, 'm> {
        // SAFETY: The caller promises that it is there, and not locked. It keeps its reference, and what
        // is returned is the guard.
        unsafe { self.replace(entry, entry.locked()) };
        self.took(entry);
        // INVARIANT: Just stored, by us.
        Here { pages: self, entry }
    }

    /// Inserts an empty entry of `order`, locked, where there is none.
    ///
    /// # Errors
    ///
    /// As [`Self::insert_locked`].
    ///
    /// # Safety
    ///
    /// As [`Self::insert_locked`].
    #[inline(always)]
    pub(super) unsafe fn insert(&mut self, order: Order) -> Result<Here<'_, 'm>> {
        // SAFETY: What the caller promises.
        let entry = unsafe { self.insert_locked(order) }?;

        self.took(entry);
        // INVARIANT: Just stored, by us.
        Ok(Here { pages: self, entry })
    }

    /// The locked entry at the position, which has `entry`, whose lock is known to be ours.
    ///
    /// # Safety
    ///
    /// It is locked by the caller, was left so by [`Here::leave_locked`], and is this once.
    pub(super) unsafe fn left_locked(&mut self, entry: Entry) -> Here<'_, 'm> {
        // INVARIANT: The caller promises it.
        Here {
            pages: self,
            entry: entry.unlocked(),
        }
    }
}

impl<'m> Here<'_, 'm> {
    fn index(&self) -> usize {
        self.entry.first(self.pages.index())
    }

    fn id(&self) -> EntryId {
        self.pages.mapping().entry_id(self.index())
    }

    /// Its name, as a proof that it is locked.
    pub(super) fn locked_id(&self) -> LockedId<'_> {
        // SAFETY: By the type invariant it is locked, and `self` is borrowed.
        unsafe { LockedId::new(self.id()) }
    }

    /// What an event says of it.
    pub(super) fn event(&self) -> trace::Entry {
        self.pages.mapping().event(self.index(), self.entry)
    }

    /// Its marks.
    pub(super) fn marks(&mut self) -> Marks<'_, 'm> {
        self.pages.marks()
    }

    /// The guard that needs no i_pages lock, and is dropped without that.
    #[inline(always)]
    pub(super) fn guard(self) -> LockedEntry<'m> {
        let index = self.index();

        // INVARIANT: By that of `self`, which goes. See `Slot` for page offset 0.
        LockedEntry {
            mapping: self.pages.mapping(),
            index,
            entry: self.entry,
            slot: if index == 0 {
                Slot::UNKNOWN
            } else {
                self.pages.slot()
            },
        }
    }

    /// Drops the i_pages lock while `f` has the guard.
    #[inline(always)]
    pub(super) fn lend<R>(self, f: impl FnOnce(&LockedEntry<'m>) -> R) -> (Self, R) {
        let Self { pages, entry } = self;
        let locked = Here::guard(Here { pages, entry });
        let ret = pages.unlocked(|| f(&locked));
        // SAFETY: By the invariant of `LockedEntry` it is locked, and this is where it is.
        unsafe { pages.go_to(locked.slot) };
        core::mem::forget(locked);
        // INVARIANT: The guard, which `f` could not change, is gone.
        (Self { pages, entry }, ret)
    }

    /// [`LockedEntry::track`], without a mark for a break. Gives a claim back that does not fit.
    #[inline(always)]
    pub(super) fn track(&mut self, claim: Claim, dirty: bool) -> Result<(), Claim> {
        let pfn = claim.pfn();
        let fits = claim.is_for(self.id(), self.entry.order())
            && self.entry.kind() != Kind::Tracked
            && (!self.entry.is_mapped() || self.entry.pfn() == pfn);

        match self.entry.as_tracked(pfn) {
            Some(tracked) if fits => {
                // The entry is visible as tracked from here on.
                // SAFETY: By the type invariant the lock is ours, and the reference is that of the claim.
                unsafe { self.pages.replace(self.entry.locked(), tracked.locked()) };
                // INVARIANT: Just stored.
                self.entry = tracked;
                // SAFETY: It just became a tracked one, of this claim as was seen above.
                unsafe { claim.into_entry() };
                if dirty {
                    self.marks().set(Mark::Dirty);
                }
                Ok(())
            }
            _ => Err(claim),
        }
    }

    /// Leaves it locked, for who knows of it in another way: [`Around`](super::Around).
    pub(super) fn leave_locked(self) {}

    /// Unlocks it.
    #[inline(always)]
    pub(super) fn unlock(self) {
        // SAFETY: By the type invariant the lock is ours, and goes. The entry keeps its reference.
        unsafe { self.pages.replace(self.entry.locked(), self.entry) };
        self.pages.wake(self.entry);
    }

    /// Removes it, which must have no reference, with its marks.
    #[inline(always)]
    fn remove(self) {
        if warn_on_once!(self.entry.kind() == Kind::Tracked) {
            return self.unlock();
        }
        // SAFETY: By the type invariant the lock is ours, and the entry has no reference.
        unsafe { self.pages.remove(self.entry.locked()) };
        // Of the order that waiters saw; the position is where the entry starts.
        self.pages.wake(self.entry);
    }

    /// Unlocks it; an empty one has done its work, and is removed.
    #[inline(always)]
    pub(super) fn done(self) {
        if self.entry.kind() == Kind::Empty {
            self.remove()
        } else {
            self.unlock()
        }
    }
}

impl<'m> Mapping<'m> {
    /// Waits until nobody holds the lock of the entry at `index`, and takes it.
    ///
    /// `None` if there is no entry. May sleep.
    pub(crate) fn lock_entry(self, index: usize) -> Option<LockedEntry<'m>> {
        let mut pages = Pages::lock(self, index, Order::Pte);
        loop {
            let entry = pages.load()?;
            if !entry.is_locked() {
                // SAFETY: Just loaded, and not locked.
                return Some(unsafe { pages.lock_entry(entry) }.guard());
            }
            pages.wait_turn(entry);
        }
    }

    /// The entry at `index`, as if it were unlocked. It may change at once.
    pub(crate) fn look(self, index: usize) -> Option<Entry> {
        let mut pages = Pages::lock(self, index, Order::Pte);
        pages.load().map(Entry::unlocked)
    }
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
        let mut pages = Pages::lock(mapping, index, order);
        loop {
            // Whatever covers a page is found by looking there.
            let found = match order {
                Order::Pte => pages.load(),
                Order::Pmd | Order::Pud => pages.find_conflict(),
            };
            match found {
                // As many as there may be, of whatever kind, smaller ones do it, too.
                Some(entry) if order == Order::Pud && entry.order() != order => {
                    return Err(GrabError::Conflict);
                }
                Some(entry) if entry.order().pages() < order.pages() => {
                    pages.unlocked(|| Self::remove_empty(mapping, index, order))?;
                    continue;
                }
                Some(entry) if entry.is_locked() => {
                    pages.wait_turn(entry);
                    continue;
                }
                Some(entry) if entry.order() != order && !entry.is_mapped() => {
                    // SAFETY: Just found, and not locked, as was seen above.
                    let big = unsafe { pages.lock_entry(entry) }.guard();
                    pages.unlocked(|| Self::remove_big(big));
                    continue;
                }
                Some(entry) => {
                    // SAFETY: Just found, and not locked, as was seen above.
                    return Ok(unsafe { pages.lock_entry(entry) }.guard());
                }
                None => {}
            }
            // SAFETY: The position is of `order`, and there was nothing in it just now.
            match unsafe { pages.insert(order) }.map(Here::guard) {
                Ok(locked) => return Ok(locked),
                Err(e) if e != ENOMEM => return Err(GrabError::Io),
                Err(_) if pages.allocate() => {}
                Err(_) => return Err(GrabError::NoMemory),
            }
        }
    }

    /// Makes room for an entry of `order` where smaller ones are, if these are empty.
    #[cold]
    fn remove_empty(mapping: Mapping<'m>, index: usize, order: Order) -> Result<(), GrabError> {
        let range = Range::of_entry(index, order);
        let mut pages = Pages::lock(mapping, range.first, Order::Pte);

        while let Some(entry) = pages.find(range.last) {
            if entry.is_locked() || entry.kind() != Kind::Empty {
                return Err(GrabError::Conflict);
            }
            // SAFETY: It is not locked, and empty: it has no reference.
            unsafe { pages.remove(entry) };
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

    /// The file, which the lock keeps.
    pub(crate) fn mapping(&self) -> Mapping<'_> {
        self.mapping
    }

    /// Its first page offset.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Its name.
    pub(crate) fn id(&self) -> EntryId {
        self.mapping.entry_id(self.index)
    }

    /// The same as a proof that it is locked.
    pub(crate) fn locked_id(&self) -> LockedId<'_> {
        // SAFETY: By the type invariant it is locked, and `self` is borrowed.
        unsafe { LockedId::new(self.id()) }
    }

    /// The pages that it stands for.
    pub(crate) fn range(&self) -> Range {
        Range::of_entry(self.index, self.entry.order())
    }

    /// What an event says of it.
    pub(crate) fn event(&self) -> trace::Entry {
        self.mapping.event(self.index, self.entry)
    }

    /// The folio, if the entry is tracked.
    pub(crate) fn folio(&self) -> Option<LentFolio<'_>> {
        // SAFETY: By the type invariant the entry is locked, and only `self` can change it, which is
        // borrowed.
        (self.entry.kind() == Kind::Tracked)
            .then(|| unsafe { LentFolio::of_entry(self.entry.pfn()) })
    }

    /// The position of the entry, which is to be [looked up](Pages::look_up) unless it is stored at first.
    #[inline(always)]
    fn pages(&self) -> Pages<'m> {
        // SAFETY: By the type invariant it is locked, and the slot is where it is, or unknown.
        unsafe { Pages::lock_at(self.mapping, self.index, Order::Pte, self.slot) }
    }

    /// Calls `f` with the position of the entry, and the i_pages lock held.
    #[inline(always)]
    pub(super) fn with_pages<R>(&self, f: impl FnOnce(&mut Pages<'m>) -> R) -> R {
        let mut pages = self.pages();
        pages.look_up();
        f(&mut pages)
    }

    /// Replaces the entry by one of the same order that is not tracked, keeping it locked, and lets `f`
    /// change its marks under the same hold of the i_pages lock. The caller takes over the reference of
    /// one that was tracked.
    #[inline(always)]
    fn set(&mut self, entry: Entry, f: impl FnOnce(&mut Marks<'_, 'm>)) {
        if warn_on_once!(entry.order() != self.entry.order() || entry.kind() == Kind::Tracked) {
            return;
        }
        let mut pages = self.pages();
        pages.look_up();
        if entry != self.entry {
            // SAFETY: `self` is the guard, before and afterwards, and the new one has no reference.
            unsafe { pages.replace(self.entry.locked(), entry.locked()) };
            // INVARIANT: Just stored.
            self.entry = entry;
        }
        f(&mut pages.marks());
        pages.close();
    }

    /// Makes it a tracked entry for the folio of `claim`, `dirty` or as it was, and marked for a break
    /// of the file that sleeps, under one hold of the i_pages lock.
    ///
    /// Returns whether it is: the claim is dropped if it is not of this entry, of another order, or of
    /// another block than the one that the entry names; or if the entry is tracked.
    #[inline(always)]
    pub(crate) fn track(&mut self, claim: Claim, dirty: bool) -> bool {
        let mut pages = self.pages();
        pages.look_up();
        // INVARIANT: The position is that of the entry, which only `self` can change.
        let mut here = Here {
            pages: &mut pages,
            entry: self.entry,
        };
        let tracked = here.track(claim, dirty);
        // INVARIANT: What is stored now.
        self.entry = here.entry;
        if tracked.is_ok() {
            pages.marks().mark_for_break();
        }
        pages.close();
        // One that does not fit is released without the i_pages lock.
        tracked.is_ok()
    }

    /// Drops the reference of the entry, if it is tracked: it is zapped then.
    ///
    /// Returns whether pins, which nobody else waits for, keep the folio busy that it names. One that was
    /// tracked has [`Mark::Busy`] in any case.
    pub(crate) fn zap(&mut self) -> Left {
        let was = self.entry;
        let busy = match was.kind() {
            Kind::Tracked => {
                self.set(was.zapped(), |marks| marks.set(Mark::Busy));
                trace::zap(|| self.mapping.event(self.index, was));
                // SAFETY: The entry, of that order, was tracked and named the pfn until now. It is
                // locked, so that nobody else gives it another reference.
                let claim = unsafe { Claim::from_entry(was.pfn(), self.id(), was.order()) };
                claim.release() == Left::Busy && is_busy(was.pfn(), self.id())
            }
            Kind::Zapped => is_busy(was.pfn(), self.id()),
            Kind::Zero | Kind::Empty => false,
        };
        if busy {
            Left::Busy
        } else {
            Left::Idle
        }
    }

    /// [Zaps](Self::zap) the entry and makes it an empty one, which is removed when it is unlocked.
    ///
    /// If the folio is busy the entry stays, zapped.
    pub(crate) fn set_empty(&mut self) -> Left {
        let left = self.zap();
        if left == Left::Idle {
            if self.entry.kind() != Kind::Empty {
                trace::remove(|| self.event());
            }
            self.set(Entry::empty(self.entry.order()), |marks| {
                marks.clear(Mark::Busy)
            });
        }
        left
    }

    /// Makes 2 MiB entries of a zapped one of 1 GiB whose folio is idle, with the marks that it has, and
    /// unlocks them.
    ///
    /// Nothing is written back, and nobody finds a dirty page without its mark meanwhile. Gives the
    /// entry back if it is another one, or without memory. May sleep.
    pub(crate) fn split(self) -> Result<(), Self> {
        let (mapping, entry) = (self.mapping, self.entry);

        if (entry.kind(), entry.order()) != (Kind::Zapped, Order::Pud)
            || is_busy(entry.pfn(), self.id())
        {
            return Err(self);
        }
        let Some(split) = Split::allocate(mapping, self.index, entry.locked()) else {
            return Err(self);
        };
        let mut pages = Pages::lock(mapping, self.index, Order::Pte);
        pages.load();
        // It is about to be none of those that a break has to look at.
        pages.marks().clear(Mark::Busy);
        trace::split(|| self.event());
        let piece = |n| {
            let pfn = entry.pfn() + n * Order::Pmd.pages();
            Entry::tracked(pfn, Order::Pmd).map(Entry::zapped)
        };
        // SAFETY: Zapped entries have none, and `self` is the guard, which is forgotten below.
        unsafe { pages.split(split, entry.locked(), piece) };
        pages.wake(entry);
        drop(pages);
        // The lock went with the entry.
        core::mem::forget(self);
        Ok(())
    }

    /// Makes it an entry for a hole, `zero`, and lets `f` change its marks. Returns whether that
    /// could be: it must name no block, and have the order of `zero`.
    pub(crate) fn set_hole(&mut self, zero: Entry, f: impl FnOnce(&mut Marks<'_, 'm>)) -> bool {
        let fits = zero.kind() == Kind::Zero && zero.order() == self.entry.order();
        if !fits || self.entry.is_mapped() {
            return false;
        }
        self.set(zero.unlocked(), f);
        true
    }

    /// Changes the marks of the entry under the i_pages lock.
    #[inline(always)]
    pub(crate) fn with_marks<R>(&self, f: impl FnOnce(&mut Marks<'_, 'm>) -> R) -> R {
        let mut pages = self.pages();
        pages.look_up();
        let ret = f(&mut pages.marks());
        pages.close();
        ret
    }

    /// Unlocks the entry, and leaves it there even if it is empty.
    ///
    /// For faults that need only the lock: those that follow in the neighbourhood find a node.
    pub(crate) fn unlock(self) {
        // SAFETY: It is forgotten.
        unsafe { self.finish(|here| here.unlock()) };
        core::mem::forget(self);
    }

    /// [Zaps](Self::zap) the entry and removes it, with its marks.
    ///
    /// If the folio is busy the entry stays, zapped, and is unlocked.
    pub(crate) fn remove(mut self) -> Left {
        let left = self.zap();
        if left == Left::Idle {
            trace::remove(|| self.event());
            // SAFETY: It is forgotten.
            unsafe { self.finish(|here| here.remove()) };
            core::mem::forget(self);
        }
        left
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
        // INVARIANT: The caller promises that the entry is still locked.
        Some(Self {
            mapping,
            index: entry.order().align(index),
            entry,
            slot: Slot::UNKNOWN,
        })
    }

    /// The same for as long as the entry is locked, whatever `'m` is.
    fn detach<'n>(self) -> LockedEntry<'n> {
        // SAFETY: By the type invariant whoever evicts the inode waits for the lock.
        let mapping = unsafe { Mapping::from_raw(self.mapping.as_raw()) };
        let (index, entry, slot) = (self.index, self.entry, self.slot);
        core::mem::forget(self);
        // INVARIANT: As for `self`.
        LockedEntry {
            mapping,
            index,
            entry,
            slot,
        }
    }

    /// Has `how` unlock or remove the entry.
    ///
    /// # Safety
    ///
    /// The guard is not used afterwards.
    #[inline(always)]
    unsafe fn finish(&self, how: impl FnOnce(Here<'_, 'm>)) {
        let mut pages = self.pages();
        // INVARIANT: The position is that of the entry. The caller promises that `self` is not used again.
        how(Here {
            pages: &mut pages,
            entry: self.entry,
        });
        pages.close();
    }
}

impl Drop for LockedEntry<'_> {
    fn drop(&mut self) {
        // An empty entry has done its work when it is unlocked.
        // SAFETY: It goes.
        unsafe { self.finish(|here| here.done()) };
    }
}

/// Locks the entry that `folio` belongs to, tracked or zapped, and calls `f` with it and with what
/// `keep` made of a reference to the folio.
///
/// `None` if the folio is idle, or belongs to no file or to several. `keep` gives the reference back
/// if it does not belong to that entry alone. The locked entry keeps the inode. Process context,
/// may sleep.
pub(crate) fn with_entry_of<K, R>(
    folio: Folio<'_>,
    keep: impl Fn(FolioRef, EntryId) -> Result<K, FolioRef>,
    f: impl for<'l> FnOnce(LockedEntry<'l>, K) -> R,
) -> Option<R> {
    loop {
        let State::Active(reference) = folio.look() else {
            return None;
        };
        // Inodes are freed after a grace period, so that the mapping stays readable.
        let rcu = rcu::read_lock();
        // Both of one moment: an index that is not that of the mapping would find no entry, or a
        // wrong one.
        let association = reference.lock().association();
        let Association::Owned { entry: id, .. } = association else {
            return None;
        };
        // SAFETY: By the invariant of `EntryId` it is not freed before the end of the RCU read-side
        // critical section in which the association was read.
        let mapping = unsafe { Mapping::from_raw(id.mapping()) };
        let mut pages = Pages::lock(mapping, id.index(), Order::Pte);
        let Some(entry) = pages.load() else {
            // It was removed, after the folio had lost the mapping: see whose it is now.
            continue;
        };
        if entry.is_locked() {
            // Once the lock is dropped nothing of the mapping may be touched. Nor may whoever
            // holds the entry find the folio busy because of us.
            sleep::on(pages.address_of(entry), |sleeper| {
                let _ = sleeper.prepare(sleep::Task::Uninterruptible);
                drop(pages);
                drop(rcu);
                drop(reference);
                sleep::schedule();
            });
            continue;
        }
        // An entry is removed under the lock only after its folio lost the mapping: if the folio
        // still has it, the entry is the right one and the inode is not evicted.
        if !entry.is_mapped() || entry.pfn() != folio.pfn() {
            continue;
        }
        if let Ok(kept) = keep(reference, id) {
            // SAFETY: Just loaded, and not locked, as was seen above.
            let locked = unsafe { pages.lock_entry(entry) }.guard().detach();
            drop(pages);
            drop(rcu);
            return Some(f(locked, kept));
        }
    }
}

/// Locks an entry of one of the files that share the large `folio`, and calls `f` with it.
///
/// `None` if there is none, or no longer: see [`Which`]. The locked entry keeps the inode. Process
/// context, may sleep.
pub(crate) fn with_sharer_of<R>(
    folio: Folio<'_>,
    which: Which,
    f: impl for<'l> FnOnce(LockedEntry<'l>) -> R,
) -> Option<R> {
    loop {
        let State::Active(reference) = folio.look() else {
            return None;
        };
        // Inodes are freed after a grace period, so that the mapping stays readable.
        let rcu = rcu::read_lock();
        let start = reference.lock().sharer(which)?.start;
        // SAFETY: By the invariant of `EntryId` it is not freed before the end of the RCU read-side
        // critical section in which it was found as a sharer.
        let mapping = unsafe { Mapping::from_raw(start.mapping()) };
        let range = Range::of_folio(start.index(), Order::Pmd);
        let mut pages = Pages::lock(mapping, range.first, Order::Pte);
        let mut locked = None;
        let found = core::iter::from_fn(|| {
            let entry = pages.find(range.last)?;
            if entry.is_locked() && locked.is_none() {
                locked = Some(pages.address_of(entry));
            }
            Some(entry)
        })
        .find(|entry| {
            entry.kind() == Kind::Tracked
                && !entry.is_locked()
                && (entry.order() == Order::Pte || which.is_whole_too())
                && Order::Pmd.align(entry.pfn()) == folio.pfn()
        });
        match (found, locked) {
            (Some(entry), _) => {
                // A tracked entry that names the folio is one that its file has, which is hence not
                // evicted.
                // SAFETY: It is the last one that was found, and not locked.
                let locked = unsafe { pages.lock_entry(entry) }.guard().detach();
                drop(pages);
                drop(rcu);
                drop(reference);
                return Some(f(locked));
            }
            // What is locked may become one, or was one. As in `with_entry_of`.
            (None, Some(address)) => sleep::on(address, |sleeper| {
                let _ = sleeper.prepare(sleep::Task::Uninterruptible);
                drop(pages);
                drop(rcu);
                drop(reference);
                sleep::schedule();
            }),
            // It has let go of it since.
            (None, None) => {}
        }
    }
}

/// Device, inode number and page offset of the only entry that `folio` belongs to, for messages.
pub(crate) fn file_of(folio: &FolioRef) -> Option<((u32, usize), usize)> {
    let _rcu = rcu::read_lock();
    let association = folio.lock().association();
    let Association::Owned { entry, .. } = association else {
        return None;
    };
    // SAFETY: By the invariant of `EntryId` it is not freed before the end of the RCU read-side
    // critical section in which the association was read.
    let mapping = unsafe { Mapping::from_raw(entry.mapping()) };
    Some((mapping.id(), entry.index()))
}
