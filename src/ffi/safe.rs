// SPDX-License-Identifier: GPL-2.0

//! Functions of C that are right for any argument, declared as safe ones.
//!
//! Rules: none, these compute, read a word that is always there, or sleep.

use super::bindings;

use kernel::ffi::{
    c_int,
    c_long,
    c_uint,
    c_ulong,
    c_void, //
};

macro_rules! safe_functions {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
        // SAFETY: The declarations are those of the headers, which is checked below. None of these
        // functions dereferences an argument: they compute from numbers, look numbers up, read words
        // of the kernel or of the module that are always there, or let the task sleep. Where a task
        // must not sleep, debug kernels say so, and nothing else is wrong. `pfn_to_page()` and
        // `page_to_pfn()` compute, since device memory needs `CONFIG_SPARSEMEM_VMEMMAP`; a reference to
        // a pgmap or to the module that is taken and not put is never missed.
        // Clippy does not know that such a block promises something.
        #[allow(
            clashing_extern_declarations,
            clippy::unnecessary_safety_comment,
            improper_ctypes
        )]
        unsafe extern "C" {
            $(pub(crate) safe fn $name($($arg: $ty),*) $(-> $ret)?;)*
        }

        const _: () = {
            $(let _: unsafe extern "C" fn($($ty),*) $(-> $ret)? = bindings::$name;)*
        };
    };
}

safe_functions! {
    fn __var_waitqueue(address: *mut c_void) -> *mut bindings::wait_queue_head;
    fn dax_read_lock() -> c_int;
    fn get_dev_pagemap(pfn: c_ulong) -> *mut bindings::dev_pagemap;
    fn rust_fsdax_bind_param() -> bool;
    fn rust_fsdax_cond_resched();
    fn rust_fsdax_irqs_disabled() -> bool;
    fn rust_fsdax_jiffies() -> c_ulong;
    fn rust_fsdax_jiffies_to_msecs(jiffies: c_ulong) -> c_uint;
    fn rust_fsdax_kernel_has_series() -> bool;
    fn rust_fsdax_module_get() -> bool;
    fn rust_fsdax_page_to_pfn(page: *mut bindings::page) -> c_ulong;
    fn rust_fsdax_pfn_to_page(pfn: c_ulong) -> *mut bindings::page;
    fn rust_fsdax_pfn_to_virt(pfn: c_ulong) -> *mut c_void;
    fn rust_fsdax_ratelimit() -> bool;
    fn rust_fsdax_tryget_dev_pagemap(pfn: c_ulong) -> *mut bindings::dev_pagemap;
    fn rust_fsdax_vmf_error(error: c_int) -> bindings::vm_fault_t;
    fn rust_fsdax_zero_pfn(address: c_ulong) -> c_ulong;
    fn schedule();
    fn schedule_timeout(jiffies: c_long) -> c_long;
    fn synchronize_rcu();
}

/// The `struct page` of a pfn, if it has one: an address, of which nothing is known.
#[inline(always)]
pub(crate) fn pfn_to_page(pfn: usize) -> *mut bindings::page {
    rust_fsdax_pfn_to_page(pfn)
}

/// The pfn of a `struct page`: a number, computed from the address.
#[inline(always)]
pub(crate) fn page_to_pfn(page: *mut bindings::page) -> usize {
    rust_fsdax_page_to_pfn(page)
}
