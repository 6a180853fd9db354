// SPDX-License-Identifier: GPL-2.0

//! The entry lock of memory failure.
//!
//! Counterpart of `dax_lock_folio()` and `dax_unlock_folio()` of `fs/dax.c`.
//!
//! Rules: R13.

use core::marker::PhantomData;

use kernel::sync::{
    atomic::{
        Acquire,
        Relaxed, //
    },
    rcu, //
};

use crate::{
    bindings,
    folio::{
        Folio,
        FolioRef,
        State, //
    },
    mapping::{
        LockedEntry,
        Mapping, //
    },
    wait, //
};

/// Locks the entry that `folio` belongs to, tracked or zapped, and takes a folio reference.
///
/// Without the reference a zapped entry's folio could be freed under the lock, and lose the
/// mapping that [`unlock_folio`] needs.
///
/// Returns a cookie for [`unlock_folio`], or 0 if the folio is idle, or belongs to no file or to
/// several. Process context, may sleep.
///
/// # Safety
///
/// The memmap of `folio` stays, which a pgmap reference of the caller sees to.
pub(crate) unsafe fn lock_folio(folio: *mut bindings::folio) -> bindings::dax_entry_t {
    // SAFETY: By the requirement of this function.
    let folio = unsafe { Folio::from_raw(folio.cast(), PhantomData) };
    let association = folio.mapping();

    loop {
        // Inodes are freed after a grace period, so that `mapping` stays readable.
        let rcu = rcu::read_lock();
        let raw = association.load(Acquire);
        if raw.is_null() {
            return 0;
        }
        // SAFETY: Not freed before the end of the RCU read-side critical section.
        let mapping = unsafe { Mapping::from_raw(raw) };
        let mut cursor = mapping.at(folio.index().load(Acquire));
        let mut pages = cursor.lock();
        let Some(entry) = pages.load() else {
            return 0;
        };
        // An entry is removed under the lock only after its folio lost the mapping: as long as
        // the folio has it, the entry is there and the inode is not evicted.
        if association.load(Acquire) != raw {
            continue;
        }
        if entry.is_locked() {
            // Once the lock is dropped nothing of the mapping may be touched.
            let address = pages.address_of(entry);
            wait::on(address, |wait| {
                let _ = wait.prepare(wait::Task::Uninterruptible);
                drop(pages);
                drop(rcu);
                wait::sleep();
            });
            continue;
        }
        let State::Active(reference) = folio.look() else {
            return 0;
        };
        // The index was read without the lock: compare before the association is kept.
        let index = entry.order().align(pages.index());
        if !entry.is_mapped() || entry.pfn() != folio.pfn() || !reference.hold(mapping, index) {
            drop(pages);
            drop(reference);
            continue;
        }
        let locked = pages.lock_entry(entry);
        reference.into_raw();
        return locked.into_cookie();
    }
}

/// Unlocks what [`lock_folio`] locked, and drops the reference that it took.
///
/// # Safety
///
/// `cookie` comes from [`lock_folio`] of the same folio, which holds its association. The locked
/// entry keeps the inode.
pub(crate) unsafe fn unlock_folio(folio: *mut bindings::folio, cookie: bindings::dax_entry_t) {
    // SAFETY: The reference that `lock_folio` took keeps the memmap.
    let folio = unsafe { Folio::from_raw(folio.cast(), PhantomData) };
    // SAFETY: The association is held, so that this is the mapping of the locked entry.
    let mapping = unsafe { Mapping::from_raw(folio.mapping().load(Relaxed)) };
    let index = folio.index().load(Relaxed);
    // SAFETY: By the requirements of this function.
    drop(unsafe { LockedEntry::from_cookie(mapping, index, cookie) });
    // SAFETY: The reference that `lock_folio` gave to C code.
    unsafe { FolioRef::from_entry(folio.pfn()) }.unhold();
}
