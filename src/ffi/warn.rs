// SPDX-License-Identifier: GPL-2.0
//! `warn_on_once!`, which the kernel crate of 7.2 lacks.

/// Warns if the condition is true, the first time that it is at this place; gives it back.
///
/// As `WARN_ON_ONCE()` of `include/asm-generic/bug.h`: the trap looks after the "once" itself,
/// by a flag in the bug table (`__report_bug()` of `lib/bug.c`). Any context.
macro_rules! warn_on_once {
    ($cond:expr) => {{
        let cond = $cond;

        if cond {
            const ONCE: u32 = kernel::bindings::BUGFLAG_ONCE
                | kernel::bug::bugflag_taint(kernel::bindings::TAINT_WARN);

            kernel::warn_flags!(file!(), ONCE);
        }
        cond
    }};
}

pub(crate) use warn_on_once;
