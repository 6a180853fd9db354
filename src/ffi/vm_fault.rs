// SPDX-License-Identifier: GPL-2.0

//! Results of page faults.
//!
//! Rules: none, these are numbers.

use super::bindings::*;

use kernel::prelude::*;

/// `vm_fault_t`: a set of the codes below.
pub(crate) type VmFault = vm_fault_t;

pub(crate) const OOM: VmFault = vm_fault_reason_VM_FAULT_OOM;
pub(crate) const SIGBUS: VmFault = vm_fault_reason_VM_FAULT_SIGBUS;
pub(crate) const MAJOR: VmFault = vm_fault_reason_VM_FAULT_MAJOR;
pub(crate) const NOPAGE: VmFault = vm_fault_reason_VM_FAULT_NOPAGE;
pub(crate) const FALLBACK: VmFault = vm_fault_reason_VM_FAULT_FALLBACK;
pub(crate) const DONE_COW: VmFault = vm_fault_reason_VM_FAULT_DONE_COW;
pub(crate) const NEEDDSYNC: VmFault = vm_fault_reason_VM_FAULT_NEEDDSYNC;
/// `VM_FAULT_ERROR`, a macro that bindgen cannot evaluate.
pub(crate) const ERROR: VmFault = OOM
    | SIGBUS
    | vm_fault_reason_VM_FAULT_SIGSEGV
    | vm_fault_reason_VM_FAULT_HWPOISON
    | vm_fault_reason_VM_FAULT_HWPOISON_LARGE
    | FALLBACK;

/// The result of a fault that failed with `e`. Follows `vmf_error()`.
pub(crate) fn from_errno(e: Error) -> VmFault {
    super::safe::rust_fsdax_vmf_error(e.to_errno())
}
