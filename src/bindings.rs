// SPDX-License-Identifier: GPL-2.0

//! Raw bindings: the one place that names C types and fields.
//!
//! The generated part may not be used directly outside of the modules that wrap it (`pgmap`,
//! `folio`, `mapping`, `fault`, `writeback`, `provider`).

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

/// `VM_FAULT_*` results as `vm_fault_t`.
pub(crate) mod fault {
    use super::*;

    pub(crate) const OOM: vm_fault_t = vm_fault_reason_VM_FAULT_OOM;
    pub(crate) const SIGBUS: vm_fault_t = vm_fault_reason_VM_FAULT_SIGBUS;
    pub(crate) const MAJOR: vm_fault_t = vm_fault_reason_VM_FAULT_MAJOR;
    pub(crate) const NOPAGE: vm_fault_t = vm_fault_reason_VM_FAULT_NOPAGE;
    pub(crate) const FALLBACK: vm_fault_t = vm_fault_reason_VM_FAULT_FALLBACK;
    pub(crate) const DONE_COW: vm_fault_t = vm_fault_reason_VM_FAULT_DONE_COW;
    pub(crate) const NEEDDSYNC: vm_fault_t = vm_fault_reason_VM_FAULT_NEEDDSYNC;
    /// `VM_FAULT_ERROR`, a macro that bindgen cannot evaluate.
    pub(crate) const ERROR: vm_fault_t = OOM
        | SIGBUS
        | vm_fault_reason_VM_FAULT_SIGSEGV
        | vm_fault_reason_VM_FAULT_HWPOISON
        | vm_fault_reason_VM_FAULT_HWPOISON_LARGE
        | FALLBACK;
}

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
