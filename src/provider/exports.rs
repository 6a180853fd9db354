// SPDX-License-Identifier: GPL-2.0

//! What `csrc/exports.c` exports. `include/linux/fsdax_entry.h` has the documentation.
//!
//! Rules: R15, R16.

use kernel::{
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    prelude::*, //
};

use super::ops::{
    self,
    break_range,
    to_errno,
    Callback, //
};
use crate::{
    ffi::bindings,
    fsdax::{
        self,
        Data,
        Removed, //
    },
    mapping::Mapping,
    pgmap::Order, //
};

/// Whether this module serves the file: another provider's entries look different.
fn serves(mapping: Mapping<'_>) -> Result {
    if mapping.provider() == ops::address() {
        Ok(())
    } else {
        Err(Error::from_errno(-(bindings::EOPNOTSUPP as c_int)))
    }
}

/// See `include/linux/fsdax_entry.h`.
///
/// # Safety
///
/// The caller keeps `inode` and holds the filesystem's lock that `callback` drops.
#[no_mangle]
pub(crate) unsafe extern "C" fn fsdax_break(
    inode: *mut bindings::inode,
    start: bindings::loff_t,
    end: bindings::loff_t,
    callback: Option<Callback>,
) -> c_int {
    // SAFETY: The caller keeps the inode.
    if let Err(e) = serves(unsafe { Mapping::of_inode(inode) }) {
        return e.to_errno();
    }
    // SAFETY: The caller keeps the inode, and holds the lock that `callback` drops.
    unsafe { break_range(inode, start, end, Data::Discard, callback) }
}

/// See `include/linux/fsdax_entry.h`.
///
/// # Safety
///
/// `inode` is one that the caller evicts, and valid until this returns.
#[no_mangle]
pub(crate) unsafe extern "C" fn fsdax_break_final(inode: *mut bindings::inode) {
    // SAFETY: The caller evicts the inode, which has not gone yet.
    let mapping = unsafe { Mapping::of_inode(inode) };
    if serves(mapping).is_ok() {
        ops::evict(mapping);
    }
}

/// See `include/linux/fsdax_entry.h`.
///
/// # Safety
///
/// The caller keeps the inode of `mapping` and holds the filesystem's lock that keeps breaks
/// out.
#[no_mangle]
pub(crate) unsafe extern "C" fn fsdax_insert_entry(
    mapping: *mut bindings::address_space,
    index: c_ulong,
    pfn: c_ulong,
    order: c_uint,
) -> c_int {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    to_errno(serves(mapping).and_then(|()| {
        let order = Order::new(order).ok_or(EINVAL)?;
        if order.align(index) != index || order.align(pfn) != pfn {
            return Err(EINVAL);
        }
        fsdax::insert_at(mapping, index, pfn, order, false)
    }))
}

/// See `include/linux/fsdax_entry.h`.
///
/// # Safety
///
/// As [`fsdax_insert_entry`].
#[no_mangle]
pub(crate) unsafe extern "C" fn fsdax_delete_entry(
    mapping: *mut bindings::address_space,
    index: c_ulong,
) -> c_int {
    // SAFETY: The caller keeps the inode.
    let mapping = unsafe { Mapping::from_raw(mapping) };
    if let Err(e) = serves(mapping) {
        return e.to_errno();
    }
    match fsdax::invalidate_entry(mapping, index, Data::Discard) {
        Removed::Yes => 0,
        Removed::Absent => ENOENT.to_errno(),
        Removed::Busy | Removed::Dirty => EBUSY.to_errno(),
    }
}
