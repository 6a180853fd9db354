// SPDX-License-Identifier: GPL-2.0

//! Which entries track a folio, and the lock of that.
//!
//! Rules: R5, R11, R13.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref, //
};

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

use super::state::{
    owner_mark,
    shape_mark,
    Folio,
    FolioRef,
    State, //
};
use crate::{
    ffi::{
        bindings,
        sched::{
            jiffies,
            jiffies_to_ms, //
        },
        sleep, //
    },
    pgmap::{
        Order,
        OwnPage,
        Page,
        PgmapRef, //
    }, //
};

/// Which entry it is: that at a page offset of a file.
///
/// # Invariants
///
/// `mapping` is the address of a mapping with a host, and was valid when the value was made. Where
/// an entry has a reference to a folio, it stays; where an association names it, it is freed a grace
/// period after that changed, at the earliest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EntryId {
    mapping: usize,
    index: usize,
}

impl EntryId {
    /// Names an entry.
    ///
    /// # Safety
    ///
    /// `mapping` is valid and has a host, and is not freed before the entry is removed, if there is
    /// one, and a grace period has passed.
    #[inline(always)]
    pub(crate) unsafe fn new(mapping: *mut bindings::address_space, index: usize) -> Self {
        // INVARIANT: What the caller promises.
        Self {
            mapping: mapping as usize,
            index,
        }
    }

    /// The mapping, see the type invariant for how long it is valid.
    pub(crate) fn mapping(self) -> *mut bindings::address_space {
        self.mapping as *mut _
    }

    /// The page offset.
    pub(crate) fn index(self) -> usize {
        self.index
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
        let _lock = FolioLock::new(self.pfn());
        // One look, since the free path takes no lock.
        let owner = self.page().owner();

        page.is_tail() && owner != owner_mark() && owner != shape_mark()
    }
}

/// An active folio that is locked: its association does not change.
///
/// Irqs are off, and nothing may be done that needs another lock.
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
        // the fields that its lock protects, which `self` holds.
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
                // INVARIANT: Such an association is made of an `EntryId` only.
                entry: EntryId { mapping, index },
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
                (entry.mapping, entry.index, private)
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

    /// Adds `entry` to those that track the folio. Follows `dax_associate_entry()`.
    fn add(&self, entry: EntryId, may_share: bool) -> Result<(), Refused> {
        let ours = Association::Owned {
            entry,
            zapped: false,
        };
        let to = match self.association() {
            Association::None => return Err(Refused::NotShared),
            Association::Owned { entry: e, .. } if e == entry => ours,
            _ if !may_share => return Err(Refused::NotShared),
            _ if self.has(HELD) => return Err(Refused::Held),
            // The zapped entry does not count; its waiter need not wait any longer, since the
            // block is ours too.
            Association::Owned { zapped: true, .. } => ours,
            Association::Owned { zapped: false, .. } => Association::Shared(2),
            Association::Shared(share) => Association::Shared(share + 1),
        };
        self.set(to);
        Ok(())
    }

    /// Takes `entry` off those that track the folio. Follows `dax_disassociate_entry()`.
    ///
    /// Returns whether others still do. If not, the folio stays associated with the entry, as a
    /// zapped one.
    fn take_off(&self, entry: EntryId) -> bool {
        match self.association() {
            Association::Shared(share) if share > 1 => {
                self.set(Association::Shared(share - 1));
                true
            }
            _ => {
                let zapped = true;
                self.set(Association::Owned { entry, zapped });
                false
            }
        }
    }
}

/// Why [`LockedFolio::add`] refuses.
enum Refused {
    NotShared,
    Held,
}

/// Why [`FolioRef::claim`] refuses.
pub(crate) enum NoClaim {
    /// The folio belongs to somebody else.
    NotShared,
    /// It may be shared as soon as memory failure is done with it, see [`FolioRef::wait_unheld`].
    Held(FolioRef),
}

impl FolioRef {
    /// Locks the folio, until the guard is dropped. Any context but NMI.
    pub(crate) fn lock(&self) -> LockedFolio<'_> {
        LockedFolio {
            folio: self,
            _lock: FolioLock::new(self.pfn()),
        }
    }

    /// Associates the folio with `entry`, which is to track it.
    ///
    /// # Errors
    ///
    /// - [`NoClaim::NotShared`] if another entry tracks or tracked it and `may_share` is false, or
    ///   if it was requested for no entry at all.
    /// - [`NoClaim::Held`] if it has to be tried again later.
    pub(crate) fn claim(self, entry: EntryId, may_share: bool) -> Result<Claim, NoClaim> {
        let added = self.lock().add(entry, may_share);

        match added {
            // INVARIANT: Just associated.
            Ok(()) => Ok(Claim {
                pfn: self.pfn(),
                folio: ManuallyDrop::new(self),
                entry,
            }),
            Err(Refused::NotShared) => Err(NoClaim::NotShared),
            Err(Refused::Held) => Err(NoClaim::Held(self)),
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

/// What is left of a folio when an entry lost its reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// Nothing, or no business of this entry: the slot may go.
    Idle,
    /// Pins, or page table entries that mmu_gather has yet to drop.
    Busy,
}

/// The reference of an entry to its folio: what makes an entry a tracked one, and what is left when
/// it is zapped.
///
/// | value                     | who has the reference                                   |
/// |---------------------------|---------------------------------------------------------|
/// | a `Claim`                 | the task, on behalf of the entry                        |
/// | none, the entry is tracked | the entry in `i_pages`: a `Claim` went into it          |
/// | none, the entry is zapped | nobody: the `Claim` came out of it and was released     |
///
/// # Invariants
///
/// `entry` is among those that are associated with the folio, as a tracked one, and `pfn` is the
/// first one of the folio.
pub(crate) struct Claim {
    folio: ManuallyDrop<FolioRef>,
    entry: EntryId,
    pfn: usize,
}

impl Claim {
    /// The claim of the entry that a folio was requested for.
    ///
    /// # Safety
    ///
    /// The folio is associated with `entry`, and starts at `pfn`.
    #[inline(always)]
    pub(super) unsafe fn new(folio: FolioRef, entry: EntryId, pfn: usize) -> Self {
        // INVARIANT: What the caller promises.
        Self {
            folio: ManuallyDrop::new(folio),
            entry,
            pfn,
        }
    }

    /// Takes the claim out of a tracked entry for the folio at `pfn`.
    ///
    /// # Safety
    ///
    /// `entry` is tracked and names `pfn`, and the caller makes it something else before anybody
    /// else can look.
    #[inline(always)]
    pub(crate) unsafe fn from_entry(pfn: usize, entry: EntryId) -> Self {
        Self {
            // SAFETY: A tracked entry has a reference, which it gives up.
            folio: ManuallyDrop::new(unsafe { FolioRef::from_pfn(pfn) }),
            // INVARIANT: An entry became tracked by `into_entry`.
            entry,
            pfn,
        }
    }

    /// Puts the claim into the entry that it is of, which the caller is about to make a tracked one.
    pub(crate) fn into_entry(self) {
        core::mem::forget(self);
    }

    /// The entry that it is of.
    pub(crate) fn entry(&self) -> EntryId {
        self.entry
    }

    /// The first pfn of the folio.
    pub(crate) fn pfn(&self) -> usize {
        self.pfn
    }

    /// The folio.
    pub(crate) fn folio(&self) -> &FolioRef {
        &self.folio
    }

    /// Drops the reference.
    #[inline(always)]
    pub(crate) fn release(self) -> Left {
        let entry = self.entry;
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so that this is the only time.
        let folio = unsafe { ManuallyDrop::take(&mut this.folio) };
        let folio = match folio.free_if_last() {
            Ok(()) => return Left::Idle,
            Err(folio) => folio,
        };
        if folio.lock().take_off(entry) {
            // The block belongs to other files too, and their entries keep track of the pins.
            return Left::Idle;
        }
        match folio.free_if_last() {
            Ok(()) => Left::Idle,
            Err(_) => Left::Busy,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.folio.lock().take_off(self.entry);
        // SAFETY: It is not used again.
        unsafe { ManuallyDrop::drop(&mut self.folio) };
    }
}

/// The folio of a tracked entry, borrowed with something that keeps the entry tracked.
pub(crate) struct LentFolio<'a>(ManuallyDrop<FolioRef>, PhantomData<&'a ()>);

impl LentFolio<'_> {
    /// Borrows it.
    ///
    /// # Safety
    ///
    /// A tracked entry names `pfn`, and remains as it is during `'a`.
    pub(crate) unsafe fn of_entry(pfn: usize) -> Self {
        // SAFETY: The reference of the entry, which is never dropped here.
        let folio = unsafe { FolioRef::from_pfn(pfn) };
        Self(ManuallyDrop::new(folio), PhantomData)
    }
}

impl Deref for LentFolio<'_> {
    type Target = FolioRef;

    fn deref(&self) -> &FolioRef {
        &self.0
    }
}

/// Whether pins keep the folio at `pfn` busy on behalf of the zapped `entry` that names it.
///
/// Any context.
pub(crate) fn is_busy(pfn: usize, entry: EntryId) -> bool {
    let Some(pgmap) = PgmapRef::dying_or_live(pfn) else {
        return false;
    };
    match Folio::of(&pgmap).look() {
        State::Idle => false,
        State::Draining => true,
        // Idle and requested by another file since, or that file tracks it now.
        State::Active(folio) => folio.lock().is_owned_by(entry),
    }
}
