// SPDX-License-Identifier: GPL-2.0

//! What is done with the entries of files: each file here is one thing to do.
//!
//! Nothing here is `unsafe` or names C: the floors below see to it that what is written here cannot
//! lose a reference, a lock or a folio (`scripts/unsafe-audit`, R21).

mod around;
mod device;
mod fault;
mod give_up;
mod holes;
mod insert;
mod invalidate;
mod layout_break;
mod make_way;
mod memory_failure;
mod pud;
mod removal;
mod replace;
mod writeback;
mod zap;

pub(crate) use device::{
    device_fault,
    device_unmapped, //
};
pub(crate) use fault::{
    finish_sync_fault,
    iomap_fault, //
};
pub(crate) use holes::unmap_holes;
pub(crate) use insert::insert_at;
pub(crate) use invalidate::{
    clear_dirty_range,
    delete_entry,
    delete_range,
    invalidate_entry,
    Removed, //
};
pub(crate) use layout_break::{
    break_layouts,
    busy_pfn,
    Data,
    OnBusy, //
};
pub(crate) use memory_failure::{
    lock_folio,
    lock_mapping_entry,
    LockedFolioEntry,
    LockedMappingEntry, //
};
pub(crate) use removal::pgmap_dying;
pub(crate) use writeback::write_back;

#[cfg(RUST_FSDAX_KUNIT)]
pub(crate) use {
    give_up::give_up,
    insert::{
        insert,
        undo_insert,
        InsertError, //
    },
    make_way::make_way,
    removal::revoke,
    replace::{
        is_replaced_later,
        set_replaced,
        wait_briefly, //
    }, //
};
