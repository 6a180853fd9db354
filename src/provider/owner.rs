// SPDX-License-Identifier: GPL-2.0

//! The owner of FS_DAX folios (`struct fsdax_folio_ops`). Its table is in `csrc/owner.c`.
//!
//! Rules: R1, R2, R14, R15, R19.

use kernel::{
    error::to_result,
    ffi::{
        c_uint,
        c_ulong, //
    },
    prelude::*, //
};

use crate::{
    ffi::bindings,
    folio,
    fsdax,
    pgmap::Pgmap, //
};

/// Frees the folio whose count just reached 0: `fsdax_folio_ops.folio_free`.
///
/// # Safety
///
/// As [`folio::free`].
#[no_mangle]
pub(crate) unsafe extern "C" fn rust_fsdax_folio_free(
    folio: *mut bindings::folio,
    pgmap: *mut bindings::dev_pagemap,
) {
    // SAFETY: mm/memremap.c has just dropped the last reference to the folio, which has the mark.
    unsafe { folio::free(folio, pgmap) }
}

/// Lets go of all folios of a pgmap that is being unmapped: `fsdax_folio_ops.pgmap_dying`.
///
/// # Safety
///
/// `pgmap` is initialized and stays during the call. It gives out no references any more.
#[no_mangle]
pub(crate) unsafe extern "C" fn rust_fsdax_pgmap_dying(pgmap: *mut bindings::dev_pagemap) {
    // SAFETY: `memunmap_pages()` waits for all references after this call.
    fsdax::pgmap_dying(unsafe { Pgmap::from_raw(pgmap) })
}

/// Activates a free folio: `fsdax_folio_ops.folio_request`, for `pgmap_request_folio()`.
///
/// # Safety
///
/// `pgmap` stays mapped during the call, which is inside `rcu_read_lock()`: the last reference to this
/// module may be put here.
#[no_mangle]
pub(crate) unsafe extern "C" fn rust_fsdax_folio_request(
    pgmap: *mut bindings::dev_pagemap,
    offset: c_ulong,
    order: c_uint,
) -> *mut bindings::folio {
    // SAFETY: The caller promises that it stays mapped.
    let pgmap = unsafe { Pgmap::from_raw(pgmap) };
    match folio::request_folio(pgmap, offset, order) {
        Ok(folio) => folio.into_raw(),
        Err(e) => e.to_ptr(),
    }
}

/// The ownership of FS_DAX folios, for as long as it lives.
///
/// # Invariants
///
/// The table is registered.
pub(crate) struct Owner(());

impl Owner {
    /// Becomes the owner. `EBUSY` if there is one. May sleep.
    pub(crate) fn register() -> Result<Self> {
        // SAFETY: The table is constant, and unregistered before the module goes.
        to_result(unsafe {
            bindings::rust_fsdax_register_folio_ops(&raw const bindings::rust_fsdax_folio_ops)
        })?;
        // INVARIANT: Just registered.
        Ok(Self(()))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is registered. No mount is bound, so that no entry
        // tracks a folio, and a folio that no entry tracks has a `ModuleRef`: none is active, or
        // the module would not be unloaded.
        unsafe {
            bindings::rust_fsdax_unregister_folio_ops(&raw const bindings::rust_fsdax_folio_ops)
        }
    }
}
