// SPDX-License-Identifier: GPL-2.0

//! Sleeping on an address: the `wait_var_event()` family for Rust.
//!
//! The address is a key only and never dereferenced, so that it may outlive what it points to.
//!
//! Rules: R4, R12.

use core::{
    marker::PhantomData,
    mem::MaybeUninit, //
};

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    ptr::project,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

use super::{
    bindings,
    inject::{
        self,
        Point, //
    },
    safe, //
};

/// The number of tasks in [`on`]. Most of the time nobody waits, and nobody needs to be looked for.
///
/// Raised, with a full barrier, before a task checks what it waits for: either it sees the change
/// of whoever wakes, or that one sees it here.
static QUEUED: Atomic<i32> = Atomic::new(0);

/// What to sleep on: an address, and an index in what is there.
///
/// Who sleeps on one is not woken for another one: those that [`on_turn`] would lose a wake-up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    base: usize,
    index: usize,
}

/// What a key of ours has for the number of a bit: other users of the queues have bits, or -1.
const NO_BIT: c_int = -2;

impl Address {
    /// The address of what `ptr` points to.
    pub(crate) fn of<T>(ptr: *const T) -> Self {
        Self::of_index(ptr, 0)
    }

    /// `index` in what `ptr` points to.
    pub(crate) fn of_index<T>(ptr: *const T, index: usize) -> Self {
        Self {
            base: ptr as usize,
            index,
        }
    }

    /// The queue that it shares with others.
    fn queue(self) -> *mut bindings::wait_queue_head {
        // A multiple of 8 that is spread, since the whole word is hashed.
        let spread = self.base.wrapping_add(self.index.wrapping_mul(8));
        safe::__var_waitqueue(spread as *mut c_void)
    }

    fn key(self) -> bindings::wait_bit_key {
        bindings::wait_bit_key {
            flags: self.base as *mut usize,
            bit_nr: NO_BIT,
            timeout: self.index,
        }
    }

    /// Wakes all who sleep on this address, but only the first of those that [`on_turn`].
    ///
    /// The caller's change must be visible before, either by a full barrier or because waiters
    /// queue under a lock that the caller took for the change. Any context.
    pub(crate) fn wake(self) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::wake(self.base);
        if QUEUED.load(Relaxed) != 0 {
            // SAFETY: The queue is static, and its entries take such keys.
            unsafe { bindings::rust_fsdax_wake(self.queue(), self.key()) };
        }
    }
}

/// Makes two lifetimes of a type two types.
type Invariant<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

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
///
/// # Invariants
///
/// Both pointers are valid during `'s`, which is of this one alone: none is put in the place of another.
pub(crate) struct Sleeper<'s> {
    head: *mut bindings::wait_queue_head,
    entry: *mut bindings::wait_queue_entry,
    _own: Invariant<'s>,
}

impl Sleeper<'_> {
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
        // SAFETY: By the type invariant both pointers are valid.
        let ret = unsafe { bindings::prepare_to_wait_event(self.head, self.entry, state as c_int) };
        to_result(ret as c_int)
    }
}

/// Calls `f` with a waiter for `address`, which is dequeued afterwards.
///
/// Process context, may sleep.
pub(crate) fn on<R>(address: Address, f: impl FnOnce(&mut Sleeper<'_>) -> R) -> R {
    queue_on(address, 0, f)
}

/// [`on`], for something that one task can have at a time: a wake-up is for the first in the queue
/// alone.
///
/// Whoever is woken must see to it that the next one is, if there may be one: by taking what it
/// waited for, so that it is given back some day, or else at once.
pub(crate) fn on_turn<R>(address: Address, f: impl FnOnce(&mut Sleeper<'_>) -> R) -> R {
    queue_on(address, bindings::WQ_FLAG_EXCLUSIVE, f)
}

fn queue_on<R>(address: Address, flags: u32, f: impl FnOnce(&mut Sleeper<'_>) -> R) -> R {
    QUEUED.fetch_add(1, Full);
    let mut entry = MaybeUninit::<bindings::wait_bit_queue_entry>::uninit();
    let entry = entry.as_mut_ptr();

    // SAFETY: It does not move until `finish_wait` below.
    unsafe { bindings::rust_fsdax_wait_init(entry, address.key(), flags) };
    // INVARIANT: The queue is static, and the entry is dequeued below.
    let mut sleeper = Sleeper {
        head: address.queue(),
        entry: project!(mut entry, .wq_entry),
        _own: PhantomData,
    };
    let ret = f(&mut sleeper);
    // SAFETY: Both pointers are valid; this dequeues the entry if it is queued.
    unsafe { bindings::finish_wait(sleeper.head, sleeper.entry) };
    QUEUED.fetch_sub(1, Relaxed);
    ret
}

/// Sleeps until woken, after [`Sleeper::prepare`].
pub(crate) fn schedule() {
    safe::schedule()
}

/// Sleeps until woken or `seconds` passed, after [`Sleeper::prepare`]. Returns whether they did.
pub(crate) fn for_seconds(seconds: u32) -> bool {
    for_ms(seconds.saturating_mul(1000))
}

/// Sleeps until woken or `ms` milliseconds passed, after [`Sleeper::prepare`]. Returns whether they
/// did.
pub(crate) fn for_ms(ms: u32) -> bool {
    let jiffies = kernel::time::msecs_to_jiffies(ms);
    safe::schedule_timeout(jiffies as isize) == 0
}

/// A timer that wakes the task which [`with_alarm`] runs in.
///
/// # Invariants
///
/// `raw` is initialized during `'a`, which is of this one alone, as that of [`Sleeper`].
pub(crate) struct Alarm<'a> {
    raw: *mut bindings::rust_fsdax_alarm,
    set: bool,
    _own: Invariant<'a>,
}

impl Alarm<'_> {
    /// Sets the alarm to ring in `ms` milliseconds, unless it is set. Any context.
    pub(crate) fn set(&mut self, ms: u32) {
        if !core::mem::replace(&mut self.set, true) {
            // SAFETY: By the type invariant it is initialized.
            unsafe { bindings::rust_fsdax_alarm_set(self.raw, ms) }
        }
    }

    /// Whether it rang. Checked after [`Sleeper::prepare`], or the task may sleep through it.
    pub(crate) fn rang(&self) -> bool {
        // SAFETY: By the type invariant it is initialized.
        let rang = self.set && unsafe { bindings::rust_fsdax_alarm_rang(self.raw) };
        #[cfg(RUST_FSDAX_KUNIT)]
        if rang {
            crate::kunit::probe::ring();
        }
        rang
    }
}

/// Calls `f` with an alarm, which does not ring any more afterwards. Process context, may sleep.
pub(crate) fn with_alarm<R>(f: impl FnOnce(&mut Alarm<'_>) -> R) -> R {
    let mut raw = MaybeUninit::<bindings::rust_fsdax_alarm>::uninit();
    let raw = raw.as_mut_ptr();

    // SAFETY: It does not move, and is deleted below.
    unsafe { bindings::rust_fsdax_alarm_init(raw) };
    // INVARIANT: Just initialized, and deleted below.
    let ret = f(&mut Alarm {
        raw,
        set: false,
        _own: PhantomData,
    });
    // SAFETY: Initialized above.
    unsafe { bindings::rust_fsdax_alarm_delete(raw) };
    ret
}
