// SPDX-License-Identifier: GPL-2.0

//! What the `kernel` crate calls differently in the supported series of Linux.
//!
//! Kbuild sets `LINUX_7_2` and so on. What differs in C asks for the same names where it is.

use kernel::prelude::*;

#[cfg(LINUX_7_2)]
pub(crate) use kernel::sync::barrier::{
    smp_mb,
    smp_wmb, //
};

/// A full memory barrier. Any context.
#[cfg(not(LINUX_7_2))]
#[inline(always)]
pub(crate) fn smp_mb() {
    kernel::sync::barrier::smp_mb(kernel::sync::barrier::Full);
}

/// A barrier between writes. Any context.
#[cfg(not(LINUX_7_2))]
#[inline(always)]
pub(crate) fn smp_wmb() {
    kernel::sync::barrier::smp_mb(kernel::sync::barrier::Write);
}

/// This module, as C's `THIS_MODULE`. Any context.
#[cfg(LINUX_7_2)]
pub(crate) const fn this_module() -> &'static ThisModule {
    &crate::THIS_MODULE
}

/// This module, as C's `THIS_MODULE`. Any context.
#[cfg(not(LINUX_7_2))]
pub(crate) const fn this_module() -> &'static ThisModule {
    kernel::module::this_module::<crate::RustFsdax>()
}
