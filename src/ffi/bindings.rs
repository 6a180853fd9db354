// SPDX-License-Identifier: GPL-2.0

//! Raw bindings: the one place that names C types and fields.
//!
//! Only files that `scripts/unsafe-audit` lists may use it: those that wrap what is here.

#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]
mod generated {
    include!(concat!(
        env!("RUST_FSDAX_OBJ"),
        "/rust/bindings_generated.rs"
    ));
}

pub(crate) use generated::*;
pub(crate) use kernel::bindings::*;
// The kernel crate knows these only as incomplete types.
pub(crate) use generated::{
    dax_device,
    dax_provider_ops,
    iomap_ops, //
};

use kernel::ffi::c_void;

/// Addresses of the fields of `struct page`, whose unions have no names in the bindings.
pub(crate) mod page_field {
    use super::*;
    use kernel::ptr::project;

    pub(crate) fn flags(page: *mut page) -> *mut usize {
        project!(mut page, .flags.f)
    }

    pub(crate) fn zone_device_data(page: *mut page) -> *mut *mut c_void {
        project!(mut page, .__bindgen_anon_1.__bindgen_anon_4.zone_device_data)
    }

    pub(crate) fn pgmap(page: *mut page) -> *mut *mut c_void {
        project!(mut page, .__bindgen_anon_1.__bindgen_anon_4._unused_pgmap_compound_info)
    }

    pub(crate) fn mapping(page: *mut page) -> *mut *mut address_space {
        project!(mut page, .__bindgen_anon_1.__bindgen_anon_1.mapping)
    }

    /// `folio->index` and `folio->share` are one word.
    pub(crate) fn index(page: *mut page) -> *mut usize {
        project!(mut page, .__bindgen_anon_1.__bindgen_anon_1.__bindgen_anon_2.share)
    }

    pub(crate) fn private(page: *mut page) -> *mut usize {
        project!(mut page, .__bindgen_anon_1.__bindgen_anon_1.private)
    }

    pub(crate) fn refcount(page: *mut page) -> *mut i32 {
        project!(mut page, ._refcount.counter)
    }
}
