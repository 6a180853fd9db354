// SPDX-License-Identifier: GPL-2.0

//! Threads whose results are waited for, but not for ever.
//!
//! Rules: none, the suites run on it.

use core::cell::UnsafeCell;

use kernel::{
    error::from_err_ptr,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    ptr::project,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc, //
    },
    task::Task, //
};

use crate::ffi::bindings;

/// Tries of [`wait_until`], each at least a tick long. Only a test that fails comes near.
const TRIES: usize = 4000;

/// Sleeps for a tick or two.
pub(super) fn nap() {
    // SAFETY: Tests run in process context.
    unsafe { bindings::msleep(1) }
}

/// Lets other tasks run.
pub(super) fn give_way() {
    // SAFETY: Tests run in process context, with the task running.
    unsafe { bindings::schedule() }
}

/// Sleeps until `condition` is true. `ETIMEDOUT` if it seems that it will never be.
pub(super) fn wait_until(mut condition: impl FnMut() -> bool) -> Result {
    for _ in 0..TRIES {
        if condition() {
            return Ok(());
        }
        nap();
    }
    pr_err!("# gave up waiting\n");
    Err(ETIMEDOUT)
}

/// A counter that threads share.
pub(super) struct Counter(Atomic<usize>);

impl Counter {
    /// 0.
    pub(super) fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(Self(Atomic::new(0)), GFP_KERNEL)?)
    }

    /// Adds 1 and returns the sum.
    pub(super) fn add(&self) -> usize {
        self.0.fetch_add(1, Release) + 1
    }

    /// Subtracts 1.
    pub(super) fn sub(&self) {
        self.0.fetch_sub(1, Release);
    }

    /// The count.
    pub(super) fn get(&self) -> usize {
        self.0.load(Acquire)
    }
}

struct Shared<T> {
    done: Atomic<bool>,
    result: UnsafeCell<Option<T>>,
}

// SAFETY: The thread alone writes `result`, before it sets `done`; it is read afterwards.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: The thread alone writes `result`, before it sets `done`; it is read afterwards.
unsafe impl<T: Send> Sync for Shared<T> {}

struct Job<T, F> {
    f: F,
    shared: Arc<Shared<T>>,
}

/// A running thread. It is joined when dropped.
pub(super) struct Thread<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    task: ARef<Task>,
    joined: bool,
}

impl<T: Send + 'static> Thread<T> {
    /// Runs `f` in a thread that SIGINT can interrupt, and SIGKILL kill.
    ///
    /// `f` owns what it uses, so that a thread that never ends breaks nothing.
    pub(super) fn spawn<F: FnOnce() -> T + Send + 'static>(f: F) -> Result<Self> {
        let shared = Arc::new(
            Shared {
                done: Atomic::new(false),
                result: UnsafeCell::new(None),
            },
            GFP_KERNEL,
        )?;
        let job = KBox::new(
            Job {
                f,
                shared: shared.clone(),
            },
            GFP_KERNEL,
        )?;
        let data = KBox::into_raw(job);
        // SAFETY: `main` takes over `data`; the format has no arguments.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(main::<T, F>),
                data.cast(),
                -1,
                c"rust_fsdax_kunit".as_char_ptr(),
            )
        })
        .inspect_err(|_| {
            // SAFETY: There is no thread that took it over.
            drop(unsafe { KBox::from_raw(data) })
        })?;
        // SAFETY: A thread that was just created and not woken up is valid.
        let task: ARef<Task> = unsafe { &*task.cast::<Task>() }.into();
        let thread = Self {
            shared,
            task,
            joined: false,
        };
        // SAFETY: The reference keeps the task.
        unsafe { bindings::wake_up_process(thread.raw()) };
        Ok(thread)
    }

    fn raw(&self) -> *mut bindings::task_struct {
        self.task.as_ptr()
    }

    fn state(&self) -> u32 {
        // SAFETY: The reference keeps the task.
        unsafe { project!(self.raw(), .__state).read_volatile() }
    }

    /// Its number.
    pub(super) fn pid(&self) -> i32 {
        self.task.pid()
    }

    /// Whether `f` returned.
    pub(super) fn is_done(&self) -> bool {
        self.shared.done.load(Acquire)
    }

    /// Whether the thread sleeps, or is about to, and `uninterruptible` at that.
    pub(super) fn sleeps(&self, uninterruptible: bool) -> bool {
        self.state()
            == if uninterruptible {
                bindings::TASK_UNINTERRUPTIBLE
            } else {
                bindings::TASK_INTERRUPTIBLE
            }
    }

    /// Whether the thread sleeps, or is about to, so that only a fatal signal ends it.
    pub(super) fn sleeps_killably(&self) -> bool {
        self.state() == bindings::TASK_WAKEKILL | bindings::TASK_UNINTERRUPTIBLE
    }

    /// Whether the thread goes on, although it has had the time to end.
    pub(super) fn goes_on(&self) -> bool {
        for _ in 0..8 {
            nap();
        }
        !self.is_done()
    }

    /// Sends SIGINT.
    pub(super) fn interrupt(&self) {
        self.send(bindings::SIGINT);
    }

    /// Sends SIGKILL. The thread goes on, but no killable sleep of it.
    pub(super) fn kill(&self) {
        self.send(bindings::SIGKILL);
    }

    fn send(&self, signal: u32) {
        // SAFETY: The reference keeps the task.
        unsafe { bindings::send_sig(signal as c_int, self.raw(), 1) };
    }

    /// Waits for the result. `ETIMEDOUT` if the thread seems to hang: it is left alone then.
    pub(super) fn join(mut self) -> Result<T> {
        self.wait()?;
        // SAFETY: The thread wrote it before `done`, and is gone.
        unsafe { &mut *self.shared.result.get() }
            .take()
            .ok_or(EINVAL)
    }

    fn wait(&mut self) -> Result {
        if self.joined {
            return Ok(());
        }
        self.joined = true;
        wait_until(|| self.is_done())?;
        // The code of the thread is in this module: wait until it has left it.
        // SAFETY: The reference keeps the task.
        unsafe { bindings::kthread_stop(self.raw()) };
        Ok(())
    }
}

impl<T: Send + 'static> Drop for Thread<T> {
    fn drop(&mut self) {
        if self.wait().is_err() {
            super::fixture::fail_test("a thread does not end");
        }
    }
}

/// # Safety
///
/// `data` is a box with a [`Job`] of the same types, which this takes over.
unsafe extern "C" fn main<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
    data: *mut c_void,
) -> c_int {
    // SAFETY: The caller promises that it is such a job, given up by whoever started the thread.
    let job = unsafe { KBox::from_raw(data.cast::<Job<T, F>>()) };
    let job = KBox::into_inner(job);

    // As allow_signal(): 2 stands for a handler in the kernel.
    // SAFETY: The value is only compared.
    let handler = unsafe { core::mem::transmute::<usize, bindings::__sighandler_t>(2) };
    for signal in [bindings::SIGINT, bindings::SIGKILL] {
        // SAFETY: A thread may change its own handlers.
        unsafe { bindings::kernel_sigaction(signal as c_int, handler) };
    }

    let result = (job.f)();
    // SAFETY: Nobody reads it before `done`.
    unsafe { *job.shared.result.get() = Some(result) };
    job.shared.done.store(true, Release);
    0
}
