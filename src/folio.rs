// SPDX-License-Identifier: GPL-2.0

//! What a count, a shape and an association mean, and the ways between them.
//!
//! Counterpart of `dax_folio_init()`, `dax_associate_entry()`, `dax_folio_put()` and
//! `dax_folio_reset_order()` of `fs/dax.c`, and of `zone_device_page_init()` and
//! `free_zone_device_folio()`. [`Folio`] has the table of states, [`Association`] that of files.
//! An entry is known here by its [`EntryId`] only.

mod association;
mod claim;
mod entry_id;
mod free;
mod rebuild;
mod request;
mod shape;
mod sharers;
mod state;

pub(crate) use association::{
    Association,
    HeldFolio,
    Locks,
    Which, //
};
pub(crate) use claim::{
    is_busy,
    Claim,
    Left,
    LentFolio,
    NoClaim, //
};
pub(crate) use entry_id::{
    EntryId,
    LockedId, //
};
pub(crate) use free::free;
pub(crate) use request::{
    request,
    request_as_is,
    request_folio,
    Busy,
    Requests, //
};
pub(crate) use shape::{
    dissolve,
    Shapes, //
};
pub(crate) use state::{
    Folio,
    FolioRef,
    State, //
};
