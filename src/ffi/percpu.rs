// SPDX-License-Identifier: GPL-2.0

//! Words that each CPU has for itself.
//!
//! The `kernel` crate has no per-CPU memory yet.
//!
//! Rules: R23.

use core::ptr::NonNull;

use kernel::prelude::*;

use super::{
    bindings,
    inject::{
        self,
        Point, //
    }, //
};

/// So many counters, each of them a word of every CPU.
///
/// # Invariants
///
/// `.0` is per-CPU memory for `N` words, which is ours to free.
pub(crate) struct PerCpu<const N: usize>(NonNull<u64>);

// SAFETY: Per-CPU memory belongs to no thread.
unsafe impl<const N: usize> Send for PerCpu<N> {}
// SAFETY: A CPU adds to its own word by one instruction, or as `this_cpu_inc()` does; sums read words.
unsafe impl<const N: usize> Sync for PerCpu<N> {}

impl<const N: usize> PerCpu<N> {
    /// Counters that are 0. `ENOMEM` if there is no memory. May sleep.
    pub(crate) fn new() -> Result<Self> {
        let words = if inject::fails(Point::PerCpu) {
            core::ptr::null_mut()
        } else {
            // SAFETY: It is an allocation, for which any number will do.
            unsafe { bindings::rust_fsdax_percpu_alloc(N as u32) }
        };
        // INVARIANT: Just allocated.
        NonNull::new(words).map(Self).ok_or(ENOMEM)
    }

    /// What all CPUs have counted together. What is counted meanwhile may be missed. Any context.
    pub(crate) fn sum(&self, i: usize) -> u64 {
        if i >= N {
            return 0;
        }
        // SAFETY: By the type invariant there is such a word.
        unsafe { bindings::rust_fsdax_percpu_sum(self.as_ptr(), i) }
    }

    /// The memory, for [`inc`].
    pub(crate) fn as_ptr(&self) -> *mut u64 {
        self.0.as_ptr()
    }
}

impl<const N: usize> Drop for PerCpu<N> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is ours to free.
        unsafe { bindings::rust_fsdax_percpu_free(self.as_ptr()) }
    }
}

/// Adds 1 to word `i` of this CPU, as `this_cpu_inc()` does. Any context.
///
/// # Safety
///
/// `words` is what a [`PerCpu`] that stays during the call has with [`PerCpu::as_ptr`], and `i` is below
/// the number of its counters.
#[inline(always)]
pub(crate) unsafe fn inc(words: *mut u64, i: usize) {
    #[cfg(all(CONFIG_X86_64, CONFIG_SMP))]
    // SAFETY: The caller promises such a word. With the base of the CPU in `gs`, it is that of the CPU
    // that runs the instruction, which no interrupt divides.
    unsafe {
        core::arch::asm!(
            "inc qword ptr gs:[{words} + 8 * {i}]",
            words = in(reg) words,
            i = in(reg) i,
            options(nostack),
        )
    };
    #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP)))]
    // SAFETY: The caller promises such a word.
    unsafe {
        bindings::rust_fsdax_percpu_inc(words, i)
    };
}
