// SPDX-License-Identifier: GPL-2.0

//! Pages of DAX devices, which are mapped without a filesystem.
//!
//! Counterpart of `dax_set_mapping()` of `drivers/dax/device.c`, which says of each page that is
//! mapped whose it is, and takes no reference. Here the device is a file like others: the entry at a
//! page offset tracks the folio there. Nothing is ever written back, and no block changes, so that
//! there are no breaks: an entry is let go of when nobody maps its folio any more, and when the
//! device goes away.
//!
//! Rules: R1, R2, R7, R14.

use super::{
    insert::{
        insert,
        undo_insert, //
    },
    zap::{
        zap,
        Spent, //
    }, //
};
use crate::{
    ffi::vm_fault::{
        self,
        VmFault, //
    },
    folio::Left,
    mapping::{
        Fault,
        GrabError,
        Kind,
        LockedEntry,
        Mapping,
        Range,
        Walk, //
    },
    pgmap::Order, //
};

/// Handles a fault of a device by the folio at `pfn`.
///
/// Process context, may sleep. Follows `__dev_dax_pte_fault()`, `__dev_dax_pmd_fault()` and
/// `__dev_dax_pud_fault()`, which have found the pfn.
pub(crate) fn device_fault(vmf: Fault<'_>, order: u32, pfn: usize) -> VmFault {
    let Some(order) = Order::new(order) else {
        return vm_fault::FALLBACK;
    };
    let mut locked = match LockedEntry::grab(vmf.mapping(), vmf.index(), order) {
        Ok(locked) => locked,
        Err(GrabError::NoMemory) => return vm_fault::OOM,
        // All entries have the order of the device's alignment.
        Err(GrabError::Conflict | GrabError::Io) => return vm_fault::SIGBUS,
    };
    match order {
        Order::Pte if vmf.pmd_is_huge() => return vm_fault::NOPAGE,
        Order::Pmd if vmf.pmd_is_table() => return VmFault::default(),
        // Whoever maps a PUD looks at what is there itself.
        Order::Pte | Order::Pmd | Order::Pud => {}
    }
    let old = locked.entry();
    let fresh = match insert(&mut locked, pfn, false) {
        Ok(fresh) => fresh,
        Err(_) => return vm_fault::SIGBUS,
    };
    let ret = vmf.map(&locked, order, vmf.is_write());
    if ret != vm_fault::NOPAGE && fresh {
        undo_insert(&mut locked, old);
    }
    ret
}

/// Lets go of what nobody maps any more in a range of a device that is mapped once less.
///
/// Who still pins a page keeps its folio active until then. Process context, may sleep.
pub(crate) fn device_unmapped(mapping: Mapping<'_>, range: Range) {
    let mut walk = Walk::new(mapping, range);

    // A fault maps with its entry locked, for which this waits; a fork copies what is mapped.
    while let Some(mut at) = walk.next() {
        match at.entry().kind() {
            Kind::Tracked => {
                if at.folio().is_some_and(|folio| folio.mapcount() == 0) {
                    zap(at, Spent::Goes);
                }
            }
            // Somebody had it pinned when nobody mapped it any more.
            Kind::Zapped if at.look_again() == Left::Idle => at.remove(),
            Kind::Zapped | Kind::Zero | Kind::Empty => {}
        }
    }
}
