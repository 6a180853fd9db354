// SPDX-License-Identifier: GPL-2.0

//! What the code under test did: entries visited, holds of the i_pages lock, and tracepoints hit.
//!
//! Rules: R8, R10.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    }, //
};

use super::thread::wait_until;
use crate::{
    ffi::bindings,
    folio::Folio,
    pgmap::Page, //
};

static VISITS: Atomic<usize> = Atomic::new(0);
static HOLDS: Atomic<usize> = Atomic::new(0);
static IN_THIS_HOLD: Atomic<usize> = Atomic::new(0);
static LONGEST_HOLD: Atomic<usize> = Atomic::new(0);

/// An entry was looked at. Called by `mapping.rs` with the i_pages lock held.
pub(crate) fn visit() {
    VISITS.fetch_add(1, Relaxed);
    let now = IN_THIS_HOLD.fetch_add(1, Relaxed) + 1;
    if now > LONGEST_HOLD.load(Relaxed) {
        LONGEST_HOLD.store(now, Relaxed);
    }
}

/// The i_pages lock was taken. Called by `mapping.rs` with the i_pages lock held.
pub(crate) fn hold() {
    HOLDS.fetch_add(1, Relaxed);
    IN_THIS_HOLD.store(0, Relaxed);
}

static RINGS: Atomic<usize> = Atomic::new(0);
static UNMAPS: Atomic<usize> = Atomic::new(0);

/// An alarm rang that a task had set for itself. Called by `src/ffi/sleep.rs`.
pub(crate) fn ring() {
    RINGS.fetch_add(1, Relaxed);
}

/// A file was unmapped, or a part of it. Called by `mapping.rs`.
pub(crate) fn unmap() {
    UNMAPS.fetch_add(1, Relaxed);
}

/// How often an alarm rang since the last call.
pub(super) fn take_rings() -> usize {
    RINGS.xchg(0, Relaxed)
}

/// How often a file was unmapped since the last call.
pub(super) fn take_unmaps() -> usize {
    UNMAPS.xchg(0, Relaxed)
}

/// The most inodes that were looked at in one hold of the lock of a list since the last call.
pub(super) fn longest_hold_of_inodes() -> usize {
    // SAFETY: Swaps a word of the module.
    unsafe { bindings::rust_fsdax_take_inodes_passed() as usize }
}

/// Has KUnit report the current test, which returns, as skipped.
pub(super) fn skip(why: &CStr) {
    // SAFETY: It copies the text.
    unsafe { bindings::rust_fsdax_kunit_skip(why.as_char_ptr()) }
}

/// Whether the kernel has huge puds.
pub(super) const HAS_PUD: bool = bindings::RUST_FSDAX_HAS_PUD;

static REBUILDS: Atomic<usize> = Atomic::new(0);

/// Free memory gets another shape. Called by `shape.rs` with the folio lock held.
pub(crate) fn rebuild() {
    REBUILDS.fetch_add(1, Relaxed);
}

/// Whether somebody is to stop in the middle of what takes long, and where, or has stopped.
static STOP: Atomic<usize> = Atomic::new(GO_ON);
const GO_ON: usize = 0;
const AT_REBUILD: usize = 1;
const AT_FLUSH: usize = 2;
const AT_REQUEST: usize = 3;
const STOPPED: usize = 4;

fn stop(here: usize) {
    if STOP.load(Acquire) == here {
        STOP.store(STOPPED, Release);
        let _ = wait_until(|| STOP.load(Acquire) == GO_ON);
    }
}

/// [`rebuild`] of 1 GiB, which is claimed. Called by `rebuild.rs` with no lock held.
pub(crate) fn rebuild_gib() {
    rebuild();
    stop(AT_REBUILD);
}

/// An entry is write-protected, and about to be flushed. Called by `flush.rs` with the entry locked.
pub(crate) fn flush() {
    stop(AT_FLUSH);
}

/// A folio was seen idle, and is about to be requested. Called by `insert.rs` with the entry locked.
pub(crate) fn request() {
    stop(AT_REQUEST);
}

/// Has somebody stop in the middle of something, until the result is dropped.
pub(super) struct Stop(());

impl Stop {
    /// The next one who rebuilds 1 GiB. None is there yet.
    pub(super) fn next() -> Self {
        STOP.store(AT_REBUILD, Release);
        Self(())
    }

    /// The next one who flushes an entry. None is there yet.
    pub(super) fn next_flush() -> Self {
        STOP.store(AT_FLUSH, Release);
        Self(())
    }

    /// The next one who requests what was in use a moment ago. None is there yet.
    pub(super) fn next_request() -> Self {
        STOP.store(AT_REQUEST, Release);
        Self(())
    }

    /// Waits until somebody has stopped.
    pub(super) fn wait(&self) -> Result {
        wait_until(|| STOP.load(Acquire) == STOPPED)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        STOP.store(GO_ON, Release);
    }
}

/// The address whose wake-ups are counted, or 0, and whether it is that of a page.
static WATCHED: Atomic<usize> = Atomic::new(0);
static IS_PAGE: Atomic<bool> = Atomic::new(false);
static WAKES: Atomic<usize> = Atomic::new(0);
static EARLY_WAKES: Atomic<usize> = Atomic::new(0);

/// Those who sleep on an address are about to be woken. Called by `src/ffi/sleep.rs`, in any context.
pub(crate) fn wake(address: usize) {
    if address == 0 || address != WATCHED.load(Acquire) {
        return;
    }
    WAKES.fetch_add(1, Relaxed);
    if !IS_PAGE.load(Relaxed) {
        return;
    }
    // SAFETY: `Wakes` borrows what keeps the memmap of the page, and no other task uses the page.
    let page = unsafe { Page::from_raw(address as *mut _) };
    if Folio::at(page).is_ours() {
        EARLY_WAKES.fetch_add(1, Relaxed);
    }
}

/// Counts how often those are woken who wait for what only this task uses, as long as it lives.
pub(super) struct Wakes<'a>(PhantomData<Folio<'a>>);

impl<'a> Wakes<'a> {
    /// Starts to count those who wait for a folio. One at a time.
    pub(super) fn of(folio: Folio<'a>) -> Self {
        Self::start(folio.page().as_raw() as usize, true)
    }

    /// The same for those who wait for something else, which is never looked at.
    pub(super) fn at<T>(address: *const T) -> Self {
        Self::start(address as usize, false)
    }

    fn start(address: usize, is_page: bool) -> Self {
        let wakes = Self(PhantomData);
        wakes.take();
        IS_PAGE.store(is_page, Relaxed);
        WATCHED.store(address, Release);
        wakes
    }

    /// How often since the last call, and how often of these the folio was not idle yet.
    pub(super) fn take(&self) -> (usize, usize) {
        (WAKES.xchg(0, Relaxed), EARLY_WAKES.xchg(0, Relaxed))
    }
}

impl Drop for Wakes<'_> {
    fn drop(&mut self) {
        WATCHED.store(0, Release);
    }
}

static COUNTED_MAPPING: Atomic<usize> = Atomic::new(0);
static COUNTED_INDEX: Atomic<usize> = Atomic::new(0);
static OWNED_COUNT: Atomic<i32> = Atomic::new(0);

/// A page gets a count. Called by `page.rs`.
pub(crate) fn count(page: Page<'_>) {
    COUNTED_MAPPING.store(page.mapping(), Relaxed);
    COUNTED_INDEX.store(page.index(), Relaxed);
}

/// A page gets the mark of an owner. Called by `page.rs`.
pub(crate) fn own(page: Page<'_>) {
    OWNED_COUNT.store(page.count(), Relaxed);
}

/// What the last page had: the mapping and the index when it got a count, and the count when it got
/// an owner.
pub(super) fn published() -> (usize, usize, i32) {
    (
        COUNTED_MAPPING.load(Relaxed),
        COUNTED_INDEX.load(Relaxed),
        OWNED_COUNT.load(Relaxed),
    )
}

/// How often free memory got another shape since the last call.
pub(super) fn take_rebuilds() -> usize {
    REBUILDS.xchg(0, Relaxed)
}

static LOOKS: Atomic<usize> = Atomic::new(0);

/// A removal is about to look at a page. Called by `pgmap.rs`.
pub(crate) fn look() {
    LOOKS.fetch_add(1, Relaxed);
}

/// How many pages removals have looked at since the last call.
pub(super) fn looks() -> usize {
    LOOKS.xchg(0, Relaxed)
}

/// Work on `i_pages` while [`Work::of`] runs, by all tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Entries looked at; one counts again when it is looked at again.
    pub(super) visits: usize,
    /// Times the i_pages lock was taken.
    pub(super) holds: usize,
    /// Most entries looked at in one hold of it.
    pub(super) longest: usize,
}

impl Work {
    /// Runs `f` and counts its work.
    pub(super) fn of<R>(f: impl FnOnce() -> R) -> (R, Self) {
        for counter in [&VISITS, &HOLDS, &IN_THIS_HOLD, &LONGEST_HOLD] {
            counter.store(0, Relaxed);
        }
        let ret = f();
        let work = Self {
            visits: VISITS.load(Relaxed),
            holds: HOLDS.load(Relaxed),
            longest: LONGEST_HOLD.load(Relaxed),
        };
        (ret, work)
    }
}

/// The tracepoints of this module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Request,
    Free,
    Join,
    Leave,
    Insert,
    Zap,
    Revive,
    Remove,
    Writeback,
    WaitBegin,
    WaitEnd,
}

const EVENTS: usize = 11;
static HITS: [Atomic<usize>; EVENTS] = [const { Atomic::new(0) }; EVENTS];
/// What the last [`Event::Join`] or [`Event::Leave`] said: twice the entries, and 1 if one waits.
static SHARING: Atomic<usize> = Atomic::new(0);

#[allow(improper_ctypes)]
extern "C" {
    static mut __tracepoint_rust_fsdax_request: bindings::tracepoint;
    static mut __tracepoint_rust_fsdax_free: bindings::tracepoint;
    static mut __tracepoint_rust_fsdax_join: bindings::tracepoint;
    static mut __tracepoint_rust_fsdax_leave: bindings::tracepoint;
    static mut __tracepoint_rust_fsdax_insert: bindings::tracepoint;
    static mut __tracepoint_rust_fsdax_zap: bindings::tracepoint;
    static mut __tracepoint_rust_fsdax_revive: bindings::tracepoint;
    static mut __tracepoint_rust_fsdax_remove: bindings::tracepoint;
    static mut __tracepoint_rust_fsdax_writeback: bindings::tracepoint;
    static mut __tracepoint_rust_fsdax_wait_begin: bindings::tracepoint;
    static mut __tracepoint_rust_fsdax_wait_end: bindings::tracepoint;
}

fn tracepoints() -> [*mut bindings::tracepoint; EVENTS] {
    // In the order of `Event`.
    [
        &raw mut __tracepoint_rust_fsdax_request,
        &raw mut __tracepoint_rust_fsdax_free,
        &raw mut __tracepoint_rust_fsdax_join,
        &raw mut __tracepoint_rust_fsdax_leave,
        &raw mut __tracepoint_rust_fsdax_insert,
        &raw mut __tracepoint_rust_fsdax_zap,
        &raw mut __tracepoint_rust_fsdax_revive,
        &raw mut __tracepoint_rust_fsdax_remove,
        &raw mut __tracepoint_rust_fsdax_writeback,
        &raw mut __tracepoint_rust_fsdax_wait_begin,
        &raw mut __tracepoint_rust_fsdax_wait_end,
    ]
}

/// # Safety
///
/// `counter` points to an element of `HITS`.
unsafe fn add(counter: *mut c_void) {
    let counter = counter.cast::<Atomic<usize>>();
    // SAFETY: The caller promises that it points to an element, which is static.
    unsafe { &*counter }.fetch_add(1, Relaxed);
}

/// # Safety
///
/// As [`add`].
unsafe extern "C" fn folio_hit(counter: *mut c_void, _: c_ulong, _: c_uint, _: c_int) {
    // SAFETY: It is registered with an element of `HITS`.
    unsafe { add(counter) };
}

/// # Safety
///
/// As [`add`].
unsafe extern "C" fn sharing_hit(
    counter: *mut c_void,
    _: c_ulong,
    _: c_uint,
    entries: c_ulong,
    waits: c_uint,
) {
    SHARING.store(2 * entries + waits as usize, Relaxed);
    // SAFETY: It is registered with an element of `HITS`.
    unsafe { add(counter) };
}

/// # Safety
///
/// As [`add`].
unsafe extern "C" fn entry_hit(
    counter: *mut c_void,
    _: c_uint,
    _: c_ulong,
    _: c_ulong,
    _: c_ulong,
    _: c_uint,
) {
    // SAFETY: It is registered with an element of `HITS`.
    unsafe { add(counter) };
}

fn probe_of(event: usize) -> (*mut c_void, *mut c_void) {
    let function = if event <= Event::Free as usize {
        folio_hit as *mut c_void
    } else if event <= Event::Leave as usize {
        sharing_hit as *mut c_void
    } else {
        entry_hit as *mut c_void
    };
    let counter = NonNull::from(&HITS[event]).as_ptr();
    (function, counter.cast())
}

/// Counts how often each tracepoint is hit, as long as it lives.
pub(super) struct Events {
    registered: usize,
}

impl Events {
    /// Starts to count. One at a time.
    pub(super) fn start() -> Result<Self> {
        let mut events = Self { registered: 0 };

        for (i, tracepoint) in tracepoints().into_iter().enumerate() {
            let (function, counter) = probe_of(i);
            HITS[i].store(0, Relaxed);
            // SAFETY: The function has the signature of the tracepoint, with the counter first.
            to_result(unsafe {
                bindings::tracepoint_probe_register(tracepoint, function, counter)
            })?;
            events.registered += 1;
        }
        Ok(events)
    }

    /// How often `event` happened since the last call for it.
    pub(super) fn take(&self, event: Event) -> usize {
        HITS[event as usize].xchg(0, Relaxed)
    }

    /// How many entries the last event of those that share a folio said there are, and whether one waits.
    pub(super) fn sharing(&self) -> (usize, bool) {
        let said = SHARING.load(Relaxed);
        (said / 2, said % 2 != 0)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        for (i, tracepoint) in tracepoints().into_iter().take(self.registered).enumerate() {
            let (function, counter) = probe_of(i);
            // SAFETY: Registered with the same arguments in `start`.
            unsafe { bindings::tracepoint_probe_unregister(tracepoint, function, counter) };
        }
        // As tracepoint_synchronize_unregister(): the probes are code of this module.
        let srcu = &raw mut bindings::tracepoint_srcu;
        // SAFETY: May sleep, and the structure is static.
        unsafe { bindings::synchronize_srcu(srcu) };
    }
}
