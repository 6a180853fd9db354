// SPDX-License-Identifier: GPL-2.0

//! 0 -> 1: the request of a folio through its pgmap.
//!
//! [`request`] hands the caller's reference to the pgmap over to the folio, and [`super::free()`] puts
//! it; nothing else does either.
//!
//! Rules: R1, R2, R15, R19.

use kernel::{
    ffi::c_int,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use super::{
    association::FolioLock,
    claim::Claim,
    entry_id::LockedId,
    rebuild::Room,
    state::{
        owner_mark,
        Folio,
        FolioRef, //
    }, //
};
use crate::{
    ffi::{
        bindings,
        safe,
        trace, //
    },
    pgmap::{
        Order,
        Page,
        Pgmap,
        PgmapRef, //
    }, //
};

/// Why a folio is not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Busy {
    /// One of the pages that are asked for is part of a folio that is active or not idle yet.
    InUse,
    /// Somebody is giving that memory another shape, or has just done so. It is draining until then.
    Rebuilt,
}

impl From<Busy> for Error {
    fn from(_: Busy) -> Self {
        EBUSY
    }
}

/// Activates the free folio that `pgmap` was taken for: count 0 -> 1, owned by this module.
///
/// The folio takes over `pgmap`, which is put when the folio is freed, and is associated with
/// `entry` before anybody else can find it.
///
/// # Errors
///
/// [`Busy`]: the folio is not there then, but free memory may have another shape.
///
/// Any context in which an irq-safe spinlock can be taken. Takes the place of
/// `zone_device_page_init()`, which neither checks nor fails.
#[inline(always)]
pub(crate) fn request(pgmap: PgmapRef, entry: &LockedId<'_>) -> Result<Claim, Busy> {
    let entry = entry.id();
    let (mapping, index) = (entry.mapping() as usize, entry.index());
    let (pfn, order) = (pgmap.pfn(), pgmap.order());
    let folio = activate(pgmap, mapping, index)?;

    // SAFETY: `activate` has written the association, of a folio with the pfn and order of `pgmap`.
    Ok(unsafe { Claim::new(folio, entry, pfn, order) })
}

#[inline(always)]
fn activate(pgmap: PgmapRef, mapping: usize, index: usize) -> Result<FolioRef, Busy> {
    let (pfn, order) = (pgmap.pfn(), pgmap.order());
    let folio = Folio::of(&pgmap);
    // All requests that could overlap take the same lock. The free path takes none: it makes
    // pages free, which a check here sees late at worst.
    let mut lock = FolioLock::new(pfn);

    // SAFETY: By the invariant of `PgmapRef` all these pages are in one range.
    if !unsafe { folio.take_shape(order, pgmap.as_pgmap(), &lock) } {
        drop(lock);
        lock = take_rebuilt(folio, &pgmap)?;
    }
    // SAFETY: Just found free and in shape, and locked since.
    let active = unsafe { take(folio, &pgmap, lock, mapping, index) };
    pgmap.into_folio();
    Ok(active)
}

/// [`request`] of a page that is free, a single one as it is, and not poisoned. Nothing is rebuilt, so that
/// it may be done with the i_pages lock held.
///
/// # Errors
///
/// [`Busy::InUse`], also where [`request`] would rebuild memory.
#[inline(always)]
pub(crate) fn request_as_is(pgmap: PgmapRef, entry: &LockedId<'_>) -> Result<Claim, Busy> {
    let entry = entry.id();
    let (mapping, index) = (entry.mapping() as usize, entry.index());
    let pfn = pgmap.pfn();
    let folio = Folio::of(&pgmap);
    let lock = FolioLock::new(pfn);
    let single = pgmap.order() == Order::Pte && folio.is_free_page();

    if !single || folio.page().is_poisoned() {
        return Err(Busy::InUse);
    }
    // SAFETY: Just found free, a single page, and locked since.
    let active = unsafe { take(folio, &pgmap, lock, mapping, index) };
    pgmap.into_folio();
    // SAFETY: `take` has written the association, of the single page that it found.
    Ok(unsafe { Claim::new(active, entry, pfn, Order::Pte) })
}

/// Activates a folio. The caller leaves `pgmap`, the reference that it has, to it.
///
/// # Safety
///
/// It was found free, and in the shape that `pgmap` was taken for, since `lock` is held, which is that of the
/// folio.
#[inline(always)]
unsafe fn take(
    folio: Folio<'_>,
    pgmap: &PgmapRef,
    lock: FolioLock,
    mapping: usize,
    index: usize,
) -> FolioRef {
    // SAFETY: The caller promises that the page is free, and the lock keeps other requests out.
    let page = unsafe { folio.page().own() };
    if bindings::RUST_FSDAX_SYNCS_CODE {
        // What the memory has was written since it was free, and is no code that a CPU may have in its
        // instruction cache: who maps it has to see to that anew.
        // SAFETY: The caller's pgmap reference keeps the memmap.
        unsafe { bindings::rust_fsdax_flush_dcache_folio(folio.page().as_raw().cast()) };
    }
    // As `dax_lock_folio()` may read it.
    page.set_index(index);
    page.set_private(0);
    page.publish_mapping(mapping);
    // Whoever gets a reference from now on sees all of the above.
    page.publish_count(1);
    // After the count, so that the folio never looks as if it were draining.
    page.publish_owner(owner_mark());
    // SAFETY: The count of 1 is ours, and the folio active: it has the mark, and keeps `pgmap`.
    let active = unsafe { FolioRef::from_page(folio.page()) };
    // Before somebody else joins it.
    trace::request(pgmap.pfn(), pgmap.order().get());
    drop(lock);
    active
}

/// Takes the shape that `pgmap` was taken for where it has to be made of another one first, which is no
/// work for inside of a lock. Returns the lock of the folio, if it is free.
#[cold]
#[inline(never)]
fn take_rebuilt(folio: Folio<'_>, pgmap: &PgmapRef) -> Result<FolioLock, Busy> {
    let order = pgmap.order();
    // SAFETY: By the invariant of `PgmapRef` all these pages are in one range.
    let room = unsafe { folio.make_room(order, pgmap.as_pgmap()) };
    let lost = match room {
        Room::Made => Busy::Rebuilt,
        Room::Rebuilt => return Err(Busy::Rebuilt),
        Room::AsBefore => Busy::InUse,
    };
    let lock = FolioLock::new(pgmap.pfn());
    // Also if there was nothing to do: the other one may have been ready before that look.
    // SAFETY: By the invariant of `PgmapRef` all these pages are in one range.
    let free = unsafe { folio.take_shape(order, pgmap.as_pgmap(), &lock) };
    free.then_some(lock).ok_or(lost)
}

/// Whether folios may be requested for no entry.
static OPEN: Atomic<bool> = Atomic::new(false);

/// As long as it lives, folios may be requested for no entry.
///
/// Who does so needs no symbol of this module, and may do it while the module is not sure yet to stay.
pub(crate) struct Requests(());

impl Requests {
    /// To be called when nothing can fail any more.
    pub(crate) fn open() -> Self {
        OPEN.store(true, Relaxed);
        Self(())
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        OPEN.store(false, Relaxed);
    }
}

/// A reference to this module, for a folio that no entry tracks.
///
/// An entry is in a file of a bound superblock, which holds a reference to the module. Whoever
/// requests a folio without one may go before the last reference to the folio does, and its free
/// path is code of this module.
///
/// # Invariants
///
/// Owns one reference to the module.
pub(super) struct ModuleRef(());

impl ModuleRef {
    /// `None` if the module is being unloaded. Any context.
    fn get() -> Option<Self> {
        // INVARIANT: The reference was just taken.
        safe::rust_fsdax_module_get().then(|| Self(()))
    }

    /// Leaves the reference to a folio with no association, see [`Self::of_folio`].
    fn into_folio(self) {
        core::mem::forget(self);
    }

    /// Takes over the reference of a folio that is being freed.
    ///
    /// Which is what a folio has that never was of a file, since no file gets one that was
    /// requested for none: [`super::Association::None`] lasts as long as the folio is active.
    ///
    /// # Safety
    ///
    /// `page` is the head of a draining folio, whose association is still there.
    pub(super) unsafe fn of_folio(page: Page<'_>) -> Option<Self> {
        // INVARIANT: `request_folio` left a reference to each such folio.
        // Not `then_some()`, which would make and drop one for any other folio.
        (page.mapping() == 0 && page.index() == 0).then(|| Self(()))
    }
}

impl Drop for ModuleRef {
    /// Any context. The caller sees to it that its code stays until it has returned.
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to put.
        unsafe { bindings::rust_fsdax_module_put() }
    }
}

/// [`request`] at `offset` into `pgmap`, see [`Pgmap::pfn_at`], for no entry.
///
/// The module is not unloaded before the folio is idle again.
///
/// # Errors
///
/// - `EINVAL`, `ERANGE`: as [`Pgmap::pfn_at`], or `order` is not supported.
/// - `ENXIO`: the pgmap is dying.
/// - `EBUSY`: as [`request`].
/// - `EOPNOTSUPP`: the module is being loaded or unloaded.
///
/// As [`request`].
pub(crate) fn request_folio(pgmap: &Pgmap, offset: usize, order: u32) -> Result<FolioRef> {
    let unsupported = Error::from_errno(-(bindings::EOPNOTSUPP as c_int));
    let order = Order::new(order)
        .filter(|order| *order != Order::Pud || bindings::RUST_FSDAX_HAS_PUD)
        .ok_or(EINVAL)?;
    if !OPEN.load(Relaxed) {
        return Err(unsupported);
    }
    let module = ModuleRef::get().ok_or(unsupported)?;

    let folio = activate(PgmapRef::at(pgmap, offset, order)?, 0, 0)?;
    module.into_folio();
    Ok(folio)
}
