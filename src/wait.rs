// SPDX-License-Identifier: GPL-2.0

//! Sleeping on an address: the `wait_var_event()` family for Rust.
//!
//! The address is a key only and never dereferenced, so that it may outlive what it points to.
//!
//! Rules: R4, R12.

use core::mem::MaybeUninit;

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

use crate::{
    bindings,
    inject::{
        self,
        Point, //
    }, //
};

/// The number of tasks in [`on`]. Most of the time nobody waits, and nobody needs to be looked for.
///
/// Raised, with a full barrier, before a task checks what it waits for: either it sees the change
/// of whoever wakes, or that one sees it here.
static WAITERS: Atomic<i32> = Atomic::new(0);

/// An address to sleep on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(usize);

impl Address {
    /// The address of what `ptr` points to.
    pub(crate) fn of<T>(ptr: *const T) -> Self {
        Self(ptr as usize)
    }

    /// An address that stands for `index` in what `ptr` points to.
    ///
    /// Not unique, which costs a wake-up at worst. A multiple of 8 that is spread over the wait
    /// queues, since these are hashed by the whole word.
    pub(crate) fn of_index<T>(ptr: *const T, index: usize) -> Self {
        Self((ptr as usize).wrapping_add(index.wrapping_mul(8)))
    }

    /// Wakes all who sleep on this address.
    ///
    /// The caller's change must be visible before, either by a full barrier or because waiters
    /// queue under a lock that the caller took for the change. Any context.
    pub(crate) fn wake(self) {
        if WAITERS.load(Relaxed) != 0 {
            // SAFETY: The address is only compared.
            unsafe { bindings::wake_up_var(self.0 as *mut c_void) }
        }
    }
}

/// How a task sleeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Until woken or a signal is pending.
    Interruptible,
    /// Until woken or a fatal signal is pending.
    Killable,
    /// Until woken.
    Uninterruptible,
}

/// A queued waiter, see [`on`].
pub(crate) struct Wait {
    head: *mut bindings::wait_queue_head,
    entry: *mut bindings::wait_queue_entry,
}

impl Wait {
    /// Queues the task, if it is not, and sets its state, with a full barrier.
    ///
    /// What the task waits for must be checked after this and before it sleeps.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS` if a signal is pending that ends such a sleep.
    pub(crate) fn prepare(&mut self, task: Task) -> Result {
        let state = match task {
            Task::Interruptible => bindings::TASK_INTERRUPTIBLE,
            Task::Killable => bindings::TASK_WAKEKILL | bindings::TASK_UNINTERRUPTIBLE,
            Task::Uninterruptible => bindings::TASK_UNINTERRUPTIBLE,
        };
        if task != Task::Uninterruptible && inject::fails(Point::Wait) {
            return Err(EINTR);
        }
        // SAFETY: Both pointers are valid while `on` runs.
        let ret = unsafe { bindings::prepare_to_wait_event(self.head, self.entry, state as c_int) };
        to_result(ret as c_int)
    }
}

/// Calls `f` with a waiter for `address`, which is dequeued afterwards.
///
/// Process context, may sleep.
pub(crate) fn on<R>(address: Address, f: impl FnOnce(&mut Wait) -> R) -> R {
    WAITERS.fetch_add(1, Full);
    let mut entry = MaybeUninit::<bindings::wait_bit_queue_entry>::uninit();
    let var = address.0 as *mut c_void;

    // SAFETY: `entry` does not move until `finish_wait` below, and is initialized here.
    unsafe { bindings::init_wait_var_entry(entry.as_mut_ptr(), var, 0) };
    let mut wait = Wait {
        // SAFETY: Any address may be hashed.
        head: unsafe { bindings::__var_waitqueue(var) },
        // SAFETY: `entry` is initialized; this computes an address.
        entry: unsafe { &raw mut (*entry.as_mut_ptr()).wq_entry },
    };
    let ret = f(&mut wait);
    // SAFETY: Both pointers are valid; this dequeues the entry if it is queued.
    unsafe { bindings::finish_wait(wait.head, wait.entry) };
    WAITERS.fetch_sub(1, Relaxed);
    ret
}

/// Sleeps until woken, after [`Wait::prepare`].
pub(crate) fn sleep() {
    // SAFETY: Process context, as `on` requires.
    unsafe { bindings::schedule() }
}

/// Sleeps until woken or `seconds` passed, after [`Wait::prepare`]. Returns whether they did.
pub(crate) fn sleep_seconds(seconds: u32) -> bool {
    sleep_ms(seconds.saturating_mul(1000))
}

/// Sleeps until woken or `ms` milliseconds passed, after [`Wait::prepare`]. Returns whether they
/// did.
pub(crate) fn sleep_ms(ms: u32) -> bool {
    let jiffies = kernel::time::msecs_to_jiffies(ms);
    // SAFETY: Process context, as `on` requires.
    unsafe { bindings::schedule_timeout(jiffies as isize) == 0 }
}
