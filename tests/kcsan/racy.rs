// SPDX-License-Identifier: GPL-2.0

//! Data races on purpose, and pairs of accesses that are none: what KCSAN has to say of Rust.
//!
//! Two tasks call one function of a pair each, again and again, while the module is loaded.
//! `scripts/fsdaxlib/kcsan.py` has the pairs that must be reported. A function does something after
//! its access, so that it is no tail call, and its name is in the report.

use core::{
    cell::UnsafeCell,
    hint::black_box, //
};

use kernel::{
    bindings,
    error::from_err_ptr,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    str::CStrExt,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    }, //
};

module! {
    type: Racy,
    name: "racy",
    authors: ["rust_fsdax developers"],
    description: "Data races on purpose",
    license: "GPL",
}

/// Calls of each function of a pair.
const ROUNDS: u64 = 8_000;

/// The word that all race for.
struct Word(UnsafeCell<u64>);

// SAFETY: None: that two tasks race for it is what is to be seen. It is a word of the machine.
unsafe impl Sync for Word {}

static WORD: Word = Word(UnsafeCell::new(0));
/// How often the thread of a pair has called its function.
static CALLS: Atomic<u64> = Atomic::new(0);

fn word() -> *mut u64 {
    WORD.0.get()
}

fn atomic() -> &'static Atomic<u64> {
    // SAFETY: It is aligned and always there.
    unsafe { Atomic::from_ptr(word()) }
}

#[inline(never)]
fn plain_read() {
    // SAFETY: It is always there; that others write it is the mistake that is planted.
    black_box(unsafe { word().read() });
}

#[inline(never)]
fn plain_write() {
    // SAFETY: As in `plain_read()`.
    unsafe { word().write(CALLS.load(Relaxed)) };
    black_box(());
}

#[inline(never)]
fn plain_add() {
    // SAFETY: As in `plain_read()`.
    let word = unsafe { &mut *word() };
    *word = word.wrapping_add(1);
    black_box(());
}

#[inline(never)]
fn volatile_read() {
    // SAFETY: It is always there, and read as a whole.
    black_box(unsafe { word().read_volatile() });
}

#[inline(never)]
fn volatile_write() {
    // SAFETY: It is always there, and written as a whole.
    unsafe { word().write_volatile(CALLS.load(Relaxed)) };
    black_box(());
}

#[inline(never)]
fn atomic_read() {
    black_box(atomic().load(Acquire));
}

#[inline(never)]
fn atomic_write() {
    atomic().store(CALLS.load(Relaxed), Release);
    black_box(());
}

kernel::sync::global_lock! {
    // SAFETY: Initialized in module initializer before first use.
    unsafe(uninit) static LOCKED: SpinLock<u64> = 0;
}

#[inline(never)]
fn locked_add() {
    let mut word = LOCKED.lock();
    *word = word.wrapping_add(1);
}

/// What the loading task does, and what the thread does meanwhile.
const PAIRS: &[(fn(), fn())] = &[
    (plain_read, plain_write),
    (plain_read, volatile_write),
    (plain_read, atomic_write),
    (plain_add, plain_write),
    // Races that a kernel with KCSAN_REPORT_VALUE_CHANGE_ONLY does not report: the one who writes is
    // the one who watches, and sees no other value.
    (volatile_read, plain_write),
    (atomic_read, plain_write),
    // No races.
    (volatile_read, volatile_write),
    (volatile_read, atomic_write),
    (atomic_read, volatile_write),
    (atomic_read, atomic_write),
    (locked_add, locked_add),
];

/// # Safety
///
/// `pair` is one of [`PAIRS`].
unsafe extern "C" fn thread(pair: *mut c_void) -> c_int {
    // SAFETY: The caller promises a pair, and all of them are constants.
    let (_, second) = unsafe { &*pair.cast::<(fn(), fn())>() };
    // SAFETY: A thread asks whether it should stop.
    while !unsafe { bindings::kthread_should_stop() } {
        second();
        CALLS.fetch_add(1, Relaxed);
    }
    0
}

fn race(pair: &'static (fn(), fn())) -> Result {
    CALLS.store(0, Relaxed);
    // SAFETY: `thread` gets a pair; the format has no arguments.
    let task = from_err_ptr(unsafe {
        bindings::kthread_create_on_node(
            Some(thread),
            core::ptr::from_ref(pair).cast_mut().cast(),
            -1,
            c"racy".as_char_ptr(),
        )
    })?;
    // SAFETY: The thread is not woken up yet, so that it is there.
    unsafe { bindings::wake_up_process(task) };
    let mut rounds = 0;
    while rounds < ROUNDS || CALLS.load(Relaxed) < ROUNDS {
        (pair.0)();
        rounds += 1;
    }
    // SAFETY: The thread goes on until it is told to stop.
    unsafe { bindings::kthread_stop(task) };
    Ok(())
}

/// Loading it is all.
struct Racy;

impl kernel::Module for Racy {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: It is not used yet.
        unsafe { LOCKED.init() };
        PAIRS.iter().try_for_each(race)?;
        Ok(Self)
    }
}
