// SPDX-License-Identifier: GPL-2.0

//! The entry lock of memory failure.
//!
//! Counterpart of `dax_lock_folio()` and `dax_unlock_folio()` of `fs/dax.c`.

use kernel::sync::{
    atomic::{
        Acquire,
        Atomic, //
    },
    rcu, //
};

use crate::{
    bindings::{
        self,
        page_field, //
    },
    mapping::{
        LockedEntry,
        Mapping, //
    },
    wait, //
};

/// Locks the entry that `folio` belongs to, tracked or zapped.
///
/// Returns a cookie for [`unlock_folio`], or 0 if the folio belongs to no file or to several.
/// Process context, may sleep.
///
/// # Safety
///
/// The memmap of `folio` stays, which a pgmap reference of the caller sees to.
pub(crate) unsafe fn lock_folio(folio: *mut bindings::folio) -> bindings::dax_entry_t {
    let page: *mut bindings::page = folio.cast();

    loop {
        // Inodes are freed after a grace period, so that `mapping` stays readable.
        let rcu = rcu::read_lock();
        // SAFETY: By the requirement of this function.
        let association = unsafe { Atomic::from_ptr(page_field::mapping(page)) };
        let raw = association.load(Acquire);
        if raw.is_null() {
            return 0;
        }
        // SAFETY: Not freed before the end of the RCU read-side critical section.
        let mapping = unsafe { Mapping::from_raw(raw) };
        // SAFETY: By the requirement of this function.
        let index = unsafe { *page_field::index(page) };
        let mut cursor = mapping.at(index);
        let mut pages = cursor.lock();
        // An entry is removed under the lock only after its folio lost the mapping: as long as
        // the folio has it, the entry is there and the inode is not evicted.
        if association.load(Acquire) != raw {
            continue;
        }
        let Some(entry) = pages.load() else {
            return 0;
        };
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
        if !entry.is_mapped() {
            return 0;
        }
        let locked: LockedEntry<'_> = pages.lock_entry(entry);
        return locked.into_cookie();
    }
}

/// Unlocks what [`lock_folio`] locked.
///
/// # Safety
///
/// `cookie` comes from [`lock_folio`] of the same folio. The locked entry keeps the inode, and,
/// since it is neither revived nor removed meanwhile, the association of the folio.
pub(crate) unsafe fn unlock_folio(folio: *mut bindings::folio, cookie: bindings::dax_entry_t) {
    let page: *mut bindings::page = folio.cast();
    // SAFETY: By the requirements of this function.
    let (mapping, index) = unsafe {
        (
            Mapping::from_raw(*page_field::mapping(page)),
            *page_field::index(page),
        )
    };
    // SAFETY: By the requirements of this function.
    drop(unsafe { LockedEntry::from_cookie(mapping, index, cookie) });
}
