// SPDX-License-Identifier: GPL-2.0

//! 1 -> 0: the free path.
//!
//! Counterpart of `free_zone_device_folio()` of `mm/memremap.c`. What it clears is what
//! `dax_folio_reset_order()` of `fs/dax.c` does.
//!
//! Rules: R2, R3, R4, R15.

use super::{
    association::forget_sharers,
    request::ModuleRef,
    state::{
        pud_shape_mark,
        shape_mark,
        Folio,
        FolioRef, //
    }, //
};
use crate::{
    ffi::{
        bindings,
        sleep,
        trace, //
    },
    pgmap::{
        self,
        Order,
        Page, //
    }, //
};

/// Frees a folio whose count just reached 0, whoever had it.
///
/// Any context, irqs off included: it neither sleeps nor allocates nor takes the i_pages lock.
///
/// # Safety
///
/// `folio` has our mark, a count of 0 that the caller has brought about, and the pgmap `pgmap`,
/// a reference to which it keeps. Neither is used by the caller afterwards.
pub(crate) unsafe fn free(folio: *mut bindings::folio, pgmap: *mut bindings::dev_pagemap) {
    // SAFETY: The pgmap reference keeps the memmap.
    let page = unsafe { Page::from_raw(folio.cast()) };
    // SAFETY: The caller promises that the folio is draining, and `drain` has yet to come.
    let module = unsafe { ModuleRef::of_folio(page) };
    // SAFETY: The caller promises that the folio is draining and has this pgmap.
    unsafe { drain(Folio::at(page), pgmap) };
    if module.is_some() {
        // A removal waits for the count, and has no other folio to sleep on. The pgmap may be gone,
        // and is only compared; that the count was put is a full barrier while the pgmap is dying.
        sleep::Address::of(pgmap).wake();
    }
    // mm/memremap.c calls this inside `rcu_read_lock()`, and waits for a grace period when the
    // owner is unregistered: if `module` is the last reference, this code still stays until it has
    // returned.
}

/// Makes a draining folio idle.
///
/// Resets what made it part of a file, publishes "idle", wakes the waiters, and puts the pgmap
/// reference, in this order. A large folio keeps its shape: what else it has of its time in use,
/// counts of mappings and pins, has gone back to what it was with the last of these.
///
/// # Safety
///
/// The folio is draining, on behalf of the caller alone, and `pgmap` is its pgmap. Neither is used
/// afterwards.
unsafe fn drain(folio: Folio<'_>, pgmap: *mut bindings::dev_pagemap) {
    // SAFETY: The folio is draining, so that its order is constant.
    let order = unsafe { bindings::rust_fsdax_folio_order(folio.page().as_raw().cast()) };
    trace::free(|| folio.pfn(), order);

    if order != 0 {
        // SAFETY: The folio is draining and large, and its association is reset below.
        unsafe { forget_sharers(folio) };
    }
    // SAFETY: The folio is draining, so that its fields are ours.
    let page = unsafe { folio.page().own() };
    // As `dax_lock_folio()` reads this and the next.
    page.set_mapping(0);
    page.set_index(0);
    page.set_private(0);

    let mark = match order {
        0 => 0,
        Order::PMD_ORDER => shape_mark(),
        _ => pud_shape_mark(),
    };
    let waiters = folio.wait_address();
    // Fully ordered: whoever sees the folio idle sees the reset, and whoever queued before it saw
    // the folio idle is woken below. The folio may be requested again from here on.
    page.retire_owner(mark);
    waiters.wake();
    // SAFETY: The reference that came with the request; the last access to the pgmap.
    unsafe { pgmap::put(pgmap) }
}

impl FolioRef {
    /// Frees the folio of an entry at once if this is the only reference; gives the reference back
    /// if not.
    ///
    /// The folio is idle when this returns `Ok`.
    pub(super) fn free_if_last(self) -> Result<(), Self> {
        let page = self.freeze_if_last()?;
        // SAFETY: The pgmap reference of the folio keeps the memmap until `drain` puts it.
        let page = unsafe { Page::from_raw(page.as_ptr()) };
        let pgmap = page.pgmap_word() as *mut bindings::dev_pagemap;
        // SAFETY: The folio is at 0 now, by us; the word of a head page has its pgmap.
        unsafe { drain(Folio::at(page), pgmap) };
        Ok(())
    }
}
