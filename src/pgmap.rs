// SPDX-License-Identifier: GPL-2.0

//! A pgmap, its pages, and references to it.
//!
//! There is one pgmap reference per active folio, whatever its order (R2). What a page says of a
//! folio is the matter of the next floor.

mod device;
mod order;
mod page;
mod ranges;
mod reference;

pub(crate) use device::{
    DaxDevice,
    DeviceMemory,
    DevicePiece,
    DeviceReadGuard, //
};
pub(crate) use order::Order;
pub(crate) use page::{
    OwnPage,
    Page, //
};
pub(crate) use ranges::Pgmap;
pub(crate) use reference::{
    put,
    PgmapRef, //
};
