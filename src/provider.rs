// SPDX-License-Identifier: GPL-2.0

//! What C calls: the provider's ops table, the owner of folios, the exported functions, debugfs.
//!
//! Thin: a C pointer becomes a borrow, a function of the floors below is called, and its result
//! becomes an errno or a `VM_FAULT_*` code.

pub(crate) mod debugfs;
mod exports;
pub(crate) mod ops;
pub(crate) mod owner;

pub(crate) use debugfs::Files;
pub(crate) use ops::{
    kernel_has_series,
    Provider, //
};
pub(crate) use owner::Owner;
