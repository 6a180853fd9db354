// SPDX-License-Identifier: GPL-2.0

//! Which entries track a folio, and the lock of that.
//!
//! Counterpart of `dax_folio_is_shared()`, `dax_folio_make_shared()`, `dax_associate_entry()` and
//! of the share count in `dax_folio_put()` of `fs/dax.c`.
//!
//! Rules: R5, R11, R13.

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

use super::{
    entry_id::EntryId,
    sharers::{
        Share,
        Sharer,
        Sharers, //
    },
    state::{
        owner_mark,
        pud_shape_mark,
        shape_mark,
        Folio,
        FolioRef, //
    }, //
};
use crate::{
    ffi::{
        bindings,
        sched::{
            jiffies,
            jiffies_to_ms, //
        },
        sleep,
        trace,
        warn::warn_on_once, //
    },
    pgmap::{
        Order,
        OwnPage,
        Page,
        Pgmap, //
    }, //
};

/// Which entries name an active folio.
///
/// | `mapping` | `index`/`share` | `private`     | association                                |
/// |-----------|-----------------|---------------|--------------------------------------------|
/// | null      | 0               | 0             | [`Association::None`]: just requested       |
/// | M         | index in M      | 0             | `Owned`: tracked by one entry, that of M    |
/// | M         | index in M      | [`ZAPPED`], t | `Owned`, and that entry was zapped at t     |
/// | null      | n > 0           | 0, l          | `Shared`: tracked by n entries              |
///
/// A large folio that is shared has a list of l files that do so ([`super::sharers`]), so that they can
/// be found. An entry for a single page of it may be one of the n, while another one has all of it.
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
    /// By one entry.
    Owned {
        /// Which.
        entry: EntryId,
        /// Whether it lost its reference.
        zapped: bool,
    },
    /// By this many entries of any files.
    Shared(usize),
}

/// Flag in `folio->private`: the only entry of the folio was zapped.
const ZAPPED: usize = 1 << 0;
/// Flag in `folio->private`: the association may not change, see [`HeldFolio`].
const HELD: usize = 1 << 1;
/// Flag in `folio->private`: the only entry of the folio was given up, see
/// [`LockedFolio::set_replaced`].
const REPLACED: usize = 1 << 2;
/// With [`ZAPPED`], the bits of `folio->private` from here on say when, in jiffies.
const TIME_SHIFT: u32 = 3;
/// While the folio is shared, they say how long its list of sharers is.
const LIST_SHIFT: u32 = TIME_SHIFT;

/// An entry, and where in a folio it begins.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) entry: EntryId,
    /// Where the folio begins in that file, or would.
    pub(super) start: EntryId,
    /// Whether the entry names all of the folio.
    pub(super) whole: bool,
}

/// The memory of the folio locks, as long as it lives.
///
/// # Invariants
///
/// It is there.
pub(crate) struct Locks(());

impl Locks {
    /// Prepares them. `ENOMEM` without memory. May sleep.
    ///
    /// # Safety
    ///
    /// No folio is used before this returns, nor after the result is dropped, and there is no other
    /// one.
    pub(crate) unsafe fn init() -> Result<Self> {
        // SAFETY: The caller promises that nobody uses what this writes.
        kernel::error::to_result(unsafe { bindings::rust_fsdax_folio_locks_init() })?;
        // INVARIANT: Just initialized.
        Ok(Self(()))
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        // SAFETY: The caller of `init` promises that nobody uses them any more.
        unsafe { bindings::rust_fsdax_folio_locks_exit() }
    }
}

/// The lock for the association of the folio around a pfn, for requests of it, and for its shape.
///
/// Irqs are off while it is held, and it nests in the i_pages lock. See `csrc/folio_lock.c`.
///
/// # Invariants
///
/// The lock of `pfn` is held, and `flags` is what releases it.
pub(super) struct FolioLock {
    pfn: usize,
    flags: usize,
    _not_send: NotThreadSafe,
}

impl FolioLock {
    /// Takes the lock of `pfn`.
    #[inline(always)]
    pub(super) fn new(pfn: usize) -> Self {
        // INVARIANT: Just taken.
        Self {
            pfn,
            // SAFETY: Folios are used between `Locks::init` and its drop only. The lock is released
            // in `drop`, on the same CPU since irqs stay off.
            flags: unsafe { bindings::rust_fsdax_folio_lock(pfn) },
            _not_send: NotThreadSafe,
        }
    }

    /// Whether it is the lock of the folio around another pfn, too.
    pub(super) fn covers(&self, pfn: usize) -> bool {
        Order::Pmd.align(self.pfn) == Order::Pmd.align(pfn)
    }
}

impl Drop for FolioLock {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is held.
        unsafe { bindings::rust_fsdax_folio_unlock(self.pfn, self.flags) }
    }
}

impl Folio<'_> {
    /// Whether `page`, which is behind this one, is part of a large folio that is not ours, while
    /// nobody requests a folio around it.
    pub(crate) fn is_foreign_at(self, page: Page<'_>) -> bool {
        // Requests are kept out, so that a tail whose head is neither ours nor a free shape belongs
        // to somebody else.
        let _lock = FolioLock::new(page.pfn());
        let head = page.head();
        // One look, since the free path takes no lock.
        let owner = head.owner();
        let ours = [owner_mark(), shape_mark(), pud_shape_mark()];

        // While 1 GiB is rebuilt, which takes no lock, pages are led to another head before this one
        // loses its mark.
        page.is_tail() && page.head() == head && !ours.contains(&owner)
    }
}

/// Forgets who shared a large folio, which is about to be free.
///
/// # Safety
///
/// `folio` is large, draining, and the caller's alone; its association is still there.
pub(super) unsafe fn forget_sharers(folio: Folio<'_>) {
    let page = folio.page();
    // Whoever requested the folio for no entry has the private word.
    let len = match (page.mapping(), page.index()) {
        (0, share) if share > 0 => page.private() >> LIST_SHIFT,
        _ => 0,
    };

    if len > 0 {
        // SAFETY: The folio is the caller's. It is shared, which `len` says, and which no folio of a
        // shape that is fixed becomes.
        unsafe { Sharers::of(folio, len) }.clear();
    }
}

/// An active folio that is locked: its association does not change.
///
/// Irqs are off, and nothing may be done that needs another lock.
///
/// # Invariants
///
/// `_lock` is that of `folio`.
pub(crate) struct LockedFolio<'f> {
    folio: &'f FolioRef,
    _lock: FolioLock,
}

impl LockedFolio<'_> {
    fn page(&self) -> Page<'_> {
        self.folio.as_folio().page()
    }

    fn own(&self) -> OwnPage<'_> {
        // SAFETY: By the invariant of `FolioRef` the folio is active, and what is written here are
        // the fields that its lock protects, which `self` holds by its invariant.
        unsafe { self.page().own() }
    }

    fn has(&self, flag: usize) -> bool {
        self.page().private() & flag != 0
    }

    /// Reads the association.
    pub(crate) fn association(&self) -> Association {
        let (mapping, index) = (self.page().mapping(), self.page().index());

        match (mapping, index) {
            (0, 0) => Association::None,
            (0, share) => Association::Shared(share),
            (mapping, index) => Association::Owned {
                // SAFETY: Such an association is made of an `EntryId` only.
                entry: unsafe { EntryId::from_words(mapping, index) },
                zapped: self.has(ZAPPED),
            },
        }
    }

    /// Writes the association.
    fn set(&self, to: Association) {
        let (mapping, index, private) = match to {
            Association::None => (0, 0, 0),
            Association::Owned { entry, zapped } => {
                let zapped_at = ZAPPED | jiffies() << TIME_SHIFT;
                let private = if zapped { zapped_at } else { 0 };
                (entry.mapping() as usize, entry.index(), private)
            }
            Association::Shared(share) => (0, share, 0),
        };
        let held = self.page().private() & HELD;
        // `dax_lock_folio()` reads mapping and index without the lock, and checks again under the
        // i_pages lock.
        self.own().set_index(index);
        self.own().set_private(private | held);
        self.own().publish_mapping(mapping);
    }

    /// Whether the folio belongs to `entry` alone.
    pub(crate) fn is_owned_by(&self, entry: EntryId) -> bool {
        matches!(self.association(), Association::Owned { entry: e, .. } if e == entry)
    }

    /// How many milliseconds ago its only entry was zapped.
    pub(crate) fn zapped_ms(&self) -> Option<u32> {
        if !self.has(ZAPPED) {
            return None;
        }
        // The upper bits of the time are lost, so that the difference has as many less.
        let since = self.page().private() >> TIME_SHIFT;
        let age = jiffies().wrapping_sub(since) & (usize::MAX >> TIME_SHIFT);
        Some(jiffies_to_ms(age))
    }

    /// Notes that the block is going to be replaced in the file whose zapped `entry` is the only
    /// one, until any entry tracks the folio again.
    pub(crate) fn set_replaced(&self, entry: EntryId) {
        if self.is_owned_by(entry) {
            self.own().set_private(self.page().private() | REPLACED);
        }
    }

    /// How many milliseconds ago `entry` was zapped, if [`Self::set_replaced`] was called since and
    /// no entry tracked the folio afterwards.
    pub(crate) fn replaced_ms(&self, entry: EntryId) -> Option<u32> {
        if self.is_owned_by(entry) && self.has(REPLACED) {
            self.zapped_ms()
        } else {
            None
        }
    }

    /// Whether pins of the folio are the business of `entry`, which is a zapped one.
    pub(crate) fn is_zapped_by(&self, entry: EntryId) -> bool {
        match self.association() {
            Association::Shared(_) if self.is_large() => {
                let found = self.sharers().find(entry);
                found.is_some_and(|(_, share)| share.is_zapped())
            }
            Association::Owned { entry: e, .. } => e == entry,
            _ => false,
        }
    }

    fn is_large(&self) -> bool {
        self.page().is_head()
    }

    /// The files that share the folio, which is large.
    fn sharers(&self) -> Sharers<'_> {
        let len = match self.association() {
            Association::Shared(_) => self.page().private() >> LIST_SHIFT,
            _ => 0,
        };
        // SAFETY: The folio is active by the invariant of `FolioRef`, and `self` is its lock. That it
        // is large, and that its shape is not fixed, is seen before it becomes shared.
        unsafe { Sharers::of(self.folio.as_folio(), len) }
    }

    /// A file that shares the large folio, and is to let go of it.
    pub(crate) fn sharer(&self, which: Which) -> Option<Sharer> {
        if !self.is_large() {
            return None;
        }
        let sharers = self.sharers();
        let find = |wanted: &dyn Fn(&Sharer) -> bool| {
            let mut all = sharers.iter().map(|(_, sharer)| sharer);
            all.find(wanted)
        };
        let parts = |sharer: &Sharer| matches!(sharer.share, Share::Parts(_));
        let whole = |sharer: &Sharer| sharer.share == Share::Whole;
        match which {
            Which::PartsBeside(entry) => {
                let (_, share) = sharers.find(entry)?;
                find(&parts).filter(|_| share.is_zapped())
            }
            // Somebody is at it.
            Which::One(_) | Which::All if sharers.any(|share| share == Share::Closed) => None,
            Which::One(mapping) => find(&|sharer| parts(sharer) && sharer.start.is_of(mapping))
                .or_else(|| find(&parts))
                .or_else(|| find(&whole)),
            // Parts first: whoever has the last entry for all would wait for them.
            Which::All => find(&parts).or_else(|| find(&whole)),
        }
    }

    /// Has the folio, which `entry` had all of before it was zapped, let nobody have new parts, or
    /// let them. Returns whether it is one that others may have parts of.
    pub(crate) fn set_closed(&self, entry: EntryId, closed: bool) -> bool {
        if !self.is_large() {
            return false;
        }
        let mut sharers = self.sharers();
        match sharers.find(entry) {
            Some((n, share)) if share.is_zapped() => {
                sharers.set(n, if closed { Share::Closed } else { Share::Zapped });
                true
            }
            _ => false,
        }
    }

    /// Whether other files have parts of the folio, which `entry` had all of before it was zapped.
    pub(crate) fn has_parts_beside(&self, entry: EntryId) -> bool {
        self.sharer(Which::PartsBeside(entry)).is_some()
    }

    /// Notes that `share` entries track the large folio, those of the sharers.
    fn set_shared(&self, share: usize, sharers: &Sharers<'_>) {
        self.set(Association::Shared(share));
        self.own()
            .set_private(self.page().private() | sharers.len() << LIST_SHIFT);
    }

    /// What an event says of the folio: first pfn, order, how many entries track it, and whether one that
    /// was zapped waits for the pins.
    fn event(&self) -> trace::Sharing {
        let (entries, waits) = match self.association() {
            Association::None => (0, false),
            Association::Owned { zapped, .. } => (usize::from(!zapped), zapped),
            Association::Shared(share) => {
                let waits = self.is_large() && self.sharers().any(Share::is_zapped);
                (share, waits)
            }
        };
        (self.folio.pfn(), self.folio.order(), entries, waits)
    }

    /// Adds an entry to those that track the folio. Follows `dax_associate_entry()`.
    pub(super) fn add(&self, place: Place, may_share: bool) -> Result<(), Refused> {
        self.add_quietly(place, may_share)?;
        trace::join(|| self.event());
        Ok(())
    }

    fn add_quietly(&self, place: Place, may_share: bool) -> Result<(), Refused> {
        let ours = Association::Owned {
            entry: place.entry,
            zapped: false,
        };
        let to = match self.association() {
            Association::None => return Err(Refused::NotShared),
            // It has a claim already.
            Association::Owned { entry, zapped } if entry == place.entry && !zapped => {
                warn_on_once!(true);
                return Err(Refused::NotShared);
            }
            Association::Owned { entry, .. } if entry == place.entry && place.whole => ours,
            // It is revived.
            Association::Shared(share) if place.whole && self.is_zapped_by(place.entry) => {
                return self.add_sharer(share, None, place);
            }
            _ if !may_share => return Err(Refused::NotShared),
            _ if self.has(HELD) => return Err(Refused::Held),
            // The zapped entry does not count; its waiter need not wait any longer, since the
            // block is ours too.
            Association::Owned { zapped: true, .. } if place.whole => ours,
            Association::Owned { entry, zapped } if self.is_large() => {
                let (share, how) = match zapped {
                    true => (0, Share::Zapped),
                    false => (1, Share::Whole),
                };
                return self.add_sharer(share, Some((entry, how)), place);
            }
            Association::Owned { .. } => Association::Shared(2),
            Association::Shared(share) if self.is_large() => {
                return self.add_sharer(share, None, place);
            }
            Association::Shared(share) => Association::Shared(share + 1),
        };
        self.set(to);
        Ok(())
    }

    /// [`Self::add`] to a large folio that `share` entries track: that of `owner`, if it is no zapped
    /// one, or those of the sharers.
    #[cold]
    #[inline(never)]
    fn add_sharer(
        &self,
        share: usize,
        owner: Option<(EntryId, Share)>,
        place: Place,
    ) -> Result<(), Refused> {
        let pgmap = self.page().pgmap_word() as *mut bindings::dev_pagemap;
        // SAFETY: The word of a head page has its pgmap, which an active folio keeps.
        if unsafe { Pgmap::from_raw(pgmap) }.is_fixed() {
            // Its tail pages are not its own.
            return Err(Refused::NotShared);
        }
        let mut sharers = self.sharers();
        // Whoever has parts relies on one who has all of it, or had until it was zapped, and waits for
        // all pins.
        if !place.whole && sharers.any(|share| share == Share::Closed) {
            return Err(Refused::Apart);
        }
        if let Some((owner, how)) = owner {
            sharers.push(owner, how);
        }
        match (sharers.find(place.start), place.whole) {
            (Some((n, Share::Zapped | Share::Closed)), true) => sharers.set(n, Share::Whole),
            (Some((n, Share::Parts(parts))), false) => sharers.set(n, Share::Parts(parts + 1)),
            (None, whole) => {
                // As in `add`: its waiter need not wait any longer.
                let zapped = sharers.iter().find(|(_, s)| s.share.is_zapped());
                if let Some((n, _)) = zapped.filter(|_| whole) {
                    sharers.remove(n);
                }
                let new = if whole { Share::Whole } else { Share::Parts(1) };
                if !sharers.push(place.start, new) {
                    return Err(Refused::Apart);
                }
            }
            // Entries of a file do not overlap.
            _ => {
                warn_on_once!(true);
                if owner.is_some() {
                    sharers.clear();
                }
                return Err(Refused::Apart);
            }
        }
        self.set_shared(share + 1, &sharers);
        Ok(())
    }

    /// Takes an entry off those that track the folio. Follows `dax_disassociate_entry()`.
    ///
    /// Returns whether others wait for the pins. If not, the folio stays associated with the entry, as
    /// a zapped one.
    pub(super) fn take_off(&self, entry: EntryId, start: EntryId) -> bool {
        let others = self.take_off_quietly(entry, start);
        trace::leave(|| self.event());
        others
    }

    fn take_off_quietly(&self, entry: EntryId, start: EntryId) -> bool {
        match self.association() {
            Association::Shared(share) if self.is_large() => {
                return self.take_off_sharer(share, entry, start);
            }
            Association::Shared(share) if share > 1 => {
                self.set(Association::Shared(share - 1));
                return true;
            }
            _ => {}
        }
        let zapped = true;
        self.set(Association::Owned { entry, zapped });
        false
    }

    /// [`Self::take_off`] of a large folio that `share` entries track, those of the sharers.
    #[cold]
    #[inline(never)]
    fn take_off_sharer(&self, share: usize, entry: EntryId, start: EntryId) -> bool {
        let mut sharers = self.sharers();
        let zapped = true;

        match sharers.find(start) {
            Some((n, Share::Parts(parts))) => {
                if parts > 1 {
                    sharers.set(n, Share::Parts(parts - 1));
                } else {
                    sharers.remove(n);
                }
                if share > 1 {
                    self.set_shared(share - 1, &sharers);
                } else {
                    // One is left, which waits for the pins.
                    warn_on_once!(sharers.len() != 1);
                    let entry = sharers.get(0).start;
                    sharers.clear();
                    self.set(Association::Owned { entry, zapped });
                }
                true
            }
            Some((n, Share::Whole)) if share > 1 => {
                sharers.set(n, Share::Zapped);
                let others = sharers.has_whole();
                if others {
                    sharers.remove(n);
                }
                self.set_shared(share - 1, &sharers);
                others
            }
            found => {
                warn_on_once!(found.is_none());
                sharers.clear();
                self.set(Association::Owned { entry, zapped });
                false
            }
        }
    }
}

/// Which files [`LockedFolio::sharer`] finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// One that has an entry that is tracked.
    All,
    /// One that has parts, as long as this entry is one for all of the folio, was zapped, and waits.
    PartsBeside(EntryId),
    /// One that is to make room for another one: that of the mapping at this address if it has parts,
    /// else one that has parts, else any.
    One(usize),
}

impl Which {
    /// Whether entries for all of a folio are looked for, too.
    pub(crate) fn is_whole_too(self) -> bool {
        !matches!(self, Self::PartsBeside(_))
    }
}

/// Why [`LockedFolio::add`] refuses.
pub(super) enum Refused {
    NotShared,
    Held,
    Apart,
}

impl FolioRef {
    /// Locks the folio, until the guard is dropped. Any context but NMI.
    pub(crate) fn lock(&self) -> LockedFolio<'_> {
        // INVARIANT: Just taken.
        LockedFolio {
            folio: self,
            _lock: FolioLock::new(self.pfn()),
        }
    }

    /// Keeps the folio associated with `entry` as long as the result is there.
    ///
    /// Gives the reference back if the folio does not belong to that entry alone. The caller holds
    /// the entry lock, or the i_pages lock and takes it.
    pub(crate) fn hold(self, entry: EntryId) -> Result<HeldFolio, Self> {
        let lock = self.lock();

        if !lock.is_owned_by(entry) {
            drop(lock);
            return Err(self);
        }
        // Whoever has the lock of the entry holds its folio once.
        warn_on_once!(lock.has(HELD));
        lock.own().set_private(lock.page().private() | HELD);
        drop(lock);
        // INVARIANT: Just set.
        Ok(HeldFolio(self))
    }

    /// Sleeps until nobody holds the association. Uninterruptible, as for an entry lock.
    pub(crate) fn wait_unheld(&self) {
        sleep::on(self.as_folio().wait_address(), |sleeper| loop {
            let _ = sleeper.prepare(sleep::Task::Uninterruptible);
            if !self.lock().has(HELD) {
                break;
            }
            sleep::schedule();
        })
    }
}

/// A folio that keeps its association for memory failure, until this is dropped.
///
/// # Invariants
///
/// [`HELD`] is set, for this value.
pub(crate) struct HeldFolio(FolioRef);

impl HeldFolio {
    /// Gives it to C code.
    pub(crate) fn into_raw(self) -> *mut bindings::folio {
        let folio = self.0.raw();
        core::mem::forget(self);
        folio
    }

    /// Takes back what [`Self::into_raw`] gave.
    ///
    /// # Safety
    ///
    /// `folio` comes from there, once.
    pub(crate) unsafe fn from_raw(folio: *mut bindings::folio) -> Self {
        // SAFETY: The reference that `into_raw` kept.
        // INVARIANT: `into_raw` kept the flag, too.
        Self(unsafe { FolioRef::from_raw(folio) })
    }

    /// The entry that it belongs to.
    pub(crate) fn entry(&self) -> Option<EntryId> {
        match self.0.lock().association() {
            Association::Owned { entry, .. } => Some(entry),
            _ => None,
        }
    }
}

impl Drop for HeldFolio {
    /// Wakes those who wait for that.
    fn drop(&mut self) {
        let lock = self.0.lock();
        lock.own().set_private(lock.page().private() & !HELD);
        drop(lock);
        // Waiters check under the folio lock after they queued.
        self.0.as_folio().wait_address().wake();
    }
}
