// SPDX-License-Identifier: GPL-2.0

//! Running a function where it may not sleep.
//!
//! Rules: R3.

use kernel::prelude::*;

use crate::ffi::bindings;

#[repr(C)]
struct HardirqJob<F> {
    work: bindings::irq_work,
    f: Option<F>,
}

/// # Safety
///
/// `work` is the first field of a [`HardirqJob`] that nobody else uses.
unsafe extern "C" fn run_hardirq<F: FnOnce() + Send>(work: *mut bindings::irq_work) {
    // SAFETY: The caller promises that it is in such a job, which is nobody else's.
    let job = unsafe { &mut *work.cast::<HardirqJob<F>>() };
    if let Some(f) = job.f.take() {
        f();
    }
}

/// Runs `f` in a hardirq, and waits for it.
///
/// As the handlers of drivers, not as those that stay in hardirq with PREEMPT_RT: a spinlock may
/// be taken.
pub(super) fn in_hardirq<F: FnOnce() + Send>(f: F) -> Result {
    let mut job = HardirqJob {
        work: bindings::irq_work {
            func: Some(run_hardirq::<F>),
            ..Default::default()
        },
        f: Some(f),
    };
    let work = (&raw mut job).cast::<bindings::irq_work>();
    // SAFETY: `job` stays until the work is done.
    let queued = unsafe { bindings::irq_work_queue(work) };
    // SAFETY: `job` stays until the work is done, which this waits for.
    unsafe { bindings::irq_work_sync(work) };
    // SAFETY: The work is done, so that `job` is ours again.
    let ran = unsafe { (*work.cast::<HardirqJob<F>>()).f.is_none() };
    if queued && ran {
        Ok(())
    } else {
        Err(EIO)
    }
}

#[repr(C)]
struct SoftirqJob<F> {
    head: bindings::callback_head,
    f: Option<F>,
}

/// # Safety
///
/// `head` is the first field of a [`SoftirqJob`] that nobody else uses.
unsafe extern "C" fn run_softirq<F: FnOnce() + Send>(head: *mut bindings::callback_head) {
    // SAFETY: The caller promises that it is in such a job, which is nobody else's.
    let job = unsafe { &mut *head.cast::<SoftirqJob<F>>() };
    if let Some(f) = job.f.take() {
        f();
    }
}

/// Runs `f` in a softirq, as an RCU callback, and waits for it.
pub(super) fn in_softirq<F: FnOnce() + Send>(f: F) -> Result {
    // On the heap, as RCU wants it.
    let mut job = KBox::new(
        SoftirqJob {
            head: Default::default(),
            f: Some(f),
        },
        GFP_KERNEL,
    )?;
    let head = (&raw mut *job).cast::<bindings::callback_head>();
    // SAFETY: `job` stays until the callback has run.
    unsafe { bindings::call_rcu(head, Some(run_softirq::<F>)) };
    // SAFETY: Tests may sleep; this waits for the callback.
    unsafe { bindings::rcu_barrier() };
    // SAFETY: The callback has run, so that `job` is ours again.
    if unsafe { (*head.cast::<SoftirqJob<F>>()).f.is_none() } {
        Ok(())
    } else {
        Err(EIO)
    }
}
