// SPDX-License-Identifier: GPL-2.0

//! The breaks that sleep, which faults of their file find out (`csrc/breaks.c`).
//!
//! fs/dax.c has no counterpart: a break looks from the start of its range again after each wait.
//!
//! Rules: R8, R23.

use core::mem::MaybeUninit;

use super::{
    file::Mapping,
    pages::{
        Mark,
        Marks, //
    }, //
};
use crate::ffi::bindings;

/// The lists of sleeping breaks, as long as it lives.
///
/// # Invariants
///
/// They are initialized.
pub(crate) struct SleepingBreaks(());

impl SleepingBreaks {
    /// Prepares the lists.
    ///
    /// # Safety
    ///
    /// Nobody uses a file by this module before this returns.
    pub(crate) unsafe fn init() -> Self {
        // SAFETY: The caller promises that nobody uses what this writes.
        unsafe { bindings::rust_fsdax_breaks_init() };
        // INVARIANT: Just initialized.
        Self(())
    }
}

/// Calls `f`, in which a break of `mapping` sleeps. Until it returns, [`is_breaking`] is true.
///
/// Nothing is allocated: an eviction must not wait for memory here. May sleep.
pub(crate) fn sleeping<R>(mapping: Mapping<'_>, f: impl FnOnce() -> R) -> R {
    let mut sleeper = MaybeUninit::<bindings::rust_fsdax_sleeper>::uninit();
    let sleeper = sleeper.as_mut_ptr();

    // SAFETY: It does not move, and leaves the list below before it goes; by the invariant of
    // `Mapping` that is valid.
    unsafe { bindings::rust_fsdax_sleeper_add(sleeper, mapping.as_raw()) };
    let ret = f();
    // SAFETY: Added above.
    unsafe { bindings::rust_fsdax_sleeper_del(sleeper) };
    ret
}

/// Whether a break of the file of an entry sleeps, or is about to.
///
/// One that begins waits for the i_pages lock that whoever has `marks` holds. While no break of any
/// file with the same hash sleeps, this costs a look. Any context.
pub(crate) fn is_breaking(marks: &Marks<'_, '_>) -> bool {
    // SAFETY: By the invariant of `Mapping` it is valid, and `marks` come with the i_pages lock.
    unsafe { bindings::rust_fsdax_is_breaking(marks.mapping().as_raw()) }
}

impl Marks<'_, '_> {
    /// Marks the entry for a break of the file that sleeps, if there is one.
    ///
    /// If there is none, a mark from when the entry was zapped has no meaning any more.
    #[inline(always)]
    pub(crate) fn mark_for_break(&mut self) {
        if is_breaking(self) {
            self.set(Mark::Busy);
        } else {
            self.clear(Mark::Busy);
        }
    }
}
