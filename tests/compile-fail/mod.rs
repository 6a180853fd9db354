// SPDX-License-Identifier: GPL-2.0

//! Wrong programs, which the types of this module refuse (R21).
//!
//! `scripts/check compile_fail` compiles them as a part of the module: each line with a mark
//! `//~ CODE` must have this error, and no other line may have one.

use crate::{
    folio::{
        self,
        Claim,
        EntryId,
        FolioRef, //
    },
    mapping::{
        After,
        Iomaps,
        LockedEntry,
        Mapping,
        Walk, //
    },
    pgmap::{
        DaxDevice,
        DeviceMemory,
        DeviceReadGuard,
        Order,
        PgmapRef, //
    }, //
};

/// The association is read under the lock of the folio, and of no other one.
fn association_without_the_lock(folio: &FolioRef, other: &FolioRef) {
    let _lock = other.lock();
    let _ = folio.association(); //~ E0599
}

/// A lock does not outlive the reference that keeps what it protects.
fn lock_of_a_folio_that_was_dropped(folio: FolioRef, entry: EntryId) {
    let lock = folio.lock();
    drop(folio); //~ E0505
    let _ = lock.is_owned_by(entry);
}

/// One reference makes one entry a tracked one.
fn one_reference_for_two_entries(
    one: &mut LockedEntry<'_>,
    other: &mut LockedEntry<'_>,
    claim: Claim,
) {
    let _ = one.track(claim, false);
    let _ = other.track(claim, false); //~ E0382
}

/// A reference of another kind makes none: no entry of a file gets a folio that was not associated.
fn entry_for_a_folio_that_was_not_claimed(locked: &mut LockedEntry<'_>, folio: FolioRef) {
    let _ = locked.track(folio, false); //~ E0308
}

/// A folio of a pgmap that may be dying is looked at, and not requested.
fn request_from_a_dying_pgmap(locked: &LockedEntry<'_>) {
    if let Some(pgmap) = PgmapRef::dying_or_live(locked.entry().pfn()) {
        let _ = folio::request(pgmap, &locked.locked_id()); //~ E0308
    }
}

/// A folio is requested for an entry that is locked.
fn request_without_the_lock(pgmap: PgmapRef, entry: EntryId) {
    let _ = folio::request(pgmap, &entry); //~ E0308
}

/// The reference that a folio of an entry is lent by stays with the entry while it is lent.
fn zap_while_the_folio_is_lent(locked: &mut LockedEntry<'_>) {
    let folio = locked.folio();
    let _ = locked.zap(); //~ E0502
    let _ = folio.map(|folio| folio.count());
}

/// An entry that a walk went past is not changed any more: somebody else may have it.
fn entry_of_a_walk_that_went_on(mapping: Mapping<'_>, walk: &mut Walk<'_>) {
    let _ = mapping;
    let Some(at) = walk.next() else {
        return;
    };
    let _ = walk.next(); //~ E0499
    at.zap(|_| After::Removed);
}

/// An entry that may be locked by somebody else is not zapped.
fn zap_of_a_locked_entry(walk: &mut Walk<'_>) {
    if let Some(seen) = walk.next_seen() {
        seen.zap(|_| After::Removed); //~ E0599
    }
}

/// An entry cannot be unlocked twice.
fn unlock_twice(locked: LockedEntry<'_>) {
    locked.unlock();
    locked.remove(); //~ E0382
}

/// An extent is done before the filesystem is asked for the next one.
fn extent_after_its_end(iomaps: &mut Iomaps<'_>) {
    let Some(extent) = iomaps.next() else {
        return;
    };
    let _ = iomaps.next(); //~ E0499
    extent.done();
}

/// Memory of a device is not used when the device may have gone.
fn memory_without_the_read_lock(device: DaxDevice<'_>) -> Option<usize> {
    let memory: DeviceMemory<'_> = device
        .access(&DeviceReadGuard::new(), 0, Order::Pte) //~ E0716
        .ok()?;
    Some(memory.pfn())
}
