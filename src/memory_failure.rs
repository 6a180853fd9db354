// SPDX-License-Identifier: GPL-2.0

//! The entry lock of memory failure.
//!
//! Counterpart of `dax_lock_folio()`, `dax_lock_mapping_entry()` and what undoes them of
//! `fs/dax.c`.
//!
//! Rules: R13.

use core::marker::PhantomData;

use kernel::sync::{
    atomic::Relaxed,
    rcu, //
};

use crate::{
    bindings,
    entry::Kind,
    folio::{
        Association,
        Folio,
        FolioLock,
        FolioRef,
        State, //
    },
    mapping::{
        LockedEntry,
        Mapping, //
    },
    pgmap::PgmapRef,
    wait, //
};

/// Locks the entry that `folio` belongs to, tracked or zapped, and takes a folio reference.
///
/// `None` if the folio is idle, or belongs to no file or to several, or if `keep` says that it
/// does not belong to the entry at an index of a mapping alone. The locked entry keeps the inode.
/// Process context, may sleep.
///
/// # Safety
///
/// The memmap of `folio` stays, which a pgmap reference of the caller sees to.
pub(crate) unsafe fn lock_entry_of<'m>(
    folio: Folio<'_>,
    keep: impl Fn(&FolioRef, Mapping<'m>, usize) -> bool,
) -> Option<(LockedEntry<'m>, FolioRef)> {
    loop {
        let State::Active(reference) = folio.look() else {
            return None;
        };
        // Inodes are freed after a grace period, so that `mapping` stays readable.
        let rcu = rcu::read_lock();
        // Both of one moment: an index that is not that of the mapping would find no entry, or a
        // wrong one.
        let association = reference.association(&FolioLock::new(folio.pfn()));
        let Association::Owned { mapping, index, .. } = association else {
            return None;
        };
        // SAFETY: Not freed before the end of the RCU read-side critical section.
        let mapping = unsafe { Mapping::from_raw(mapping as *mut _) };
        let mut cursor = mapping.at(index);
        let mut pages = cursor.lock();
        let Some(entry) = pages.load() else {
            // It was removed, after the folio had lost the mapping: see whose it is now.
            continue;
        };
        if entry.is_locked() {
            // Once the lock is dropped nothing of the mapping may be touched. Nor may whoever
            // holds the entry find the folio busy because of us.
            let address = pages.address_of(entry);
            wait::on(address, |wait| {
                let _ = wait.prepare(wait::Task::Uninterruptible);
                drop(pages);
                drop(rcu);
                drop(reference);
                wait::sleep();
            });
            continue;
        }
        // An entry is removed under the lock only after its folio lost the mapping: if the folio
        // still has it, the entry is the right one and the inode is not evicted.
        if !entry.is_mapped() || entry.pfn() != folio.pfn() || !keep(&reference, mapping, index) {
            continue;
        }
        return Some((pages.lock_entry(entry), reference));
    }
}

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

    // SAFETY: By the requirement of this function.
    match unsafe { lock_entry_of(folio, FolioRef::hold) } {
        Some((locked, reference)) => {
            reference.into_raw();
            locked.into_cookie()
        }
        None => 0,
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
    let locked = unsafe { LockedEntry::from_cookie(mapping, index, cookie) };
    // Before the lock is given back: whoever waits for it is not to find the folio busy because of
    // us.
    // SAFETY: The reference that `lock_folio` gave to C code.
    unsafe { FolioRef::from_entry(folio.pfn()) }.unhold();
    drop(locked);
}

/// Locks the entry at `index`, and keeps its folio active until [`unlock_mapping_entry`].
///
/// The flag of a poisoned page is set under the lock, and the free path changes flags of the same
/// word with no atomic operations.
///
/// Returns the pfn at `index` and a cookie. `None` if there is no entry with a folio that is in
/// use, so that there is nobody to be told of a failure. Process context, may sleep.
pub(crate) fn lock_mapping_entry(
    mapping: Mapping<'_>,
    index: usize,
) -> Option<(usize, bindings::dax_entry_t)> {
    let locked = mapping.lock_entry(index)?;
    let entry = locked.entry();

    match entry.kind() {
        // The entry has a reference itself.
        Kind::Tracked => {}
        Kind::Zapped => {
            let pgmap = PgmapRef::dying_or_live(entry.pfn())?;
            match pgmap.folio().look() {
                State::Active(folio) if folio.order() == entry.order().get() => folio.into_entry(),
                _ => return None,
            }
        }
        Kind::Zero | Kind::Empty => return None,
    }
    let pfn = entry.pfn() + (index - locked.index());
    Some((pfn, locked.into_cookie()))
}

/// Unlocks what [`lock_mapping_entry`] locked, and drops the reference that it took.
///
/// # Safety
///
/// `cookie` comes from [`lock_mapping_entry`] of the same mapping and index, or is one of
/// fs/dax.c that stands for no entry.
pub(crate) unsafe fn unlock_mapping_entry(
    mapping: Mapping<'_>,
    index: usize,
    cookie: bindings::dax_entry_t,
) {
    // SAFETY: By the requirement of this function.
    let Some(locked) = (unsafe { LockedEntry::from_cookie(mapping, index, cookie) }) else {
        return;
    };
    if locked.entry().kind() == Kind::Zapped {
        // Before the lock is given back: whoever waits for it is to find the folio idle.
        // SAFETY: The reference that `lock_mapping_entry` took; a locked entry does not change.
        drop(unsafe { FolioRef::from_entry(locked.entry().pfn()) });
    }
}
