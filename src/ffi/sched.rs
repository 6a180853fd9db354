// SPDX-License-Identifier: GPL-2.0

//! The current task and the time.
//!
//! Rules: R10, R12.

use super::{
    bindings,
    safe, //
};

/// `TASK_COMM_LEN`
pub(crate) const COMM_LEN: usize = 16;

/// Lets other tasks run if it is time to. Process context without spinlocks; may sleep.
pub(crate) fn cond_resched() {
    safe::rust_fsdax_cond_resched()
}

/// The thread, as the initial namespace numbers it.
pub(crate) fn pid() -> i32 {
    kernel::current!().pid()
}

/// The name of the thread, filled up with zeroes.
pub(crate) fn comm() -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];

    // SAFETY: The array has room for `TASK_COMM_LEN` bytes.
    unsafe { bindings::rust_fsdax_task_comm(comm.as_mut_ptr()) };
    comm
}

/// Whether a message may be logged: ten within ten seconds may.
pub(crate) fn may_log() -> bool {
    safe::rust_fsdax_ratelimit()
}

/// The time in jiffies.
pub(crate) fn jiffies() -> usize {
    safe::rust_fsdax_jiffies()
}

/// Jiffies in milliseconds.
pub(crate) fn jiffies_to_ms(jiffies: usize) -> u32 {
    safe::rust_fsdax_jiffies_to_msecs(jiffies)
}
