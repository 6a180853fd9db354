// SPDX-License-Identifier: GPL-2.0

//! The bottom floor: what C has and the `kernel` crate has not.
//!
//! Nothing here knows a folio or a file: what tasks sleep on are addresses, and what tracepoints
//! show are numbers.

pub(crate) mod bindings;
pub(crate) mod compat;
pub(crate) mod inject;
pub(crate) mod percpu;
pub(crate) mod safe;
pub(crate) mod sched;
pub(crate) mod sleep;
pub(crate) mod trace;
pub(crate) mod vm_fault;
pub(crate) mod warn;

/// Pages in so many bytes are those shifted right by this.
pub(crate) const PAGE_SHIFT: u32 = bindings::PAGE_SHIFT;
