// SPDX-License-Identifier: GPL-2.0

//! The tasks that wait until a folio is idle, for debugfs and the log.
//!
//! fs/dax.c has no counterpart.
//!
//! Rules: R12.

use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use super::file::Mapping;
use crate::ffi::sched::{
    self,
    COMM_LEN, //
};

/// Why a task waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// It breaks the layout of a file.
    Break,
    /// It evicts an inode.
    Evict,
    /// It deletes an entry.
    Delete,
    /// It faults, and the block is to be replaced.
    Fault,
    /// It removes the device.
    Removal,
}

impl What {
    /// The word for it in debugfs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Break => "break",
            Self::Evict => "evict",
            Self::Delete => "delete",
            Self::Fault => "fault",
            Self::Removal => "removal",
        }
    }
}

/// A task that waits.
#[derive(Clone, Copy)]
pub(crate) struct Waiter {
    /// Ascends in the order in which they began.
    pub(crate) id: u64,
    /// The thread, as the initial namespace numbers it.
    pub(crate) pid: i32,
    /// Its name, filled up with zeroes.
    pub(crate) comm: [u8; COMM_LEN],
    /// Why it waits.
    pub(crate) what: What,
    /// The device of the file.
    pub(crate) dev: u32,
    /// Its inode number, 0 if it waits on behalf of no file.
    pub(crate) ino: usize,
    /// Page offset in it.
    pub(crate) index: usize,
    /// First pfn of the folio.
    pub(crate) pfn: usize,
    /// Since when.
    pub(crate) since: Instant<Monotonic>,
    /// Address of the mapping, 0 if it waits on behalf of no file.
    mapping: usize,
}

/// All of them, in the order of their ids.
///
/// # Invariants
///
/// The mapping of a waiter is valid, or 0, while it is in the list.
struct Waiters {
    last_id: u64,
    list: KVec<Waiter>,
}

kernel::sync::global_lock! {
    // SAFETY: `init` is called by `init()` before anybody waits.
    unsafe(uninit) static WAITERS: Mutex<Waiters> = Waiters {
        last_id: 0,
        list: KVec::new(),
    };
}

/// Prepares the list.
///
/// # Safety
///
/// Nobody uses the list before this returns.
pub(crate) unsafe fn init() {
    // SAFETY: The caller promises that this comes first.
    unsafe { WAITERS.init() }
}

/// Calls `f`, in which this task waits for the folio at `pfn`, of the entry at `index` of
/// `mapping`, and shows it among the waiters meanwhile.
///
/// Without memory it is not shown. Process context, may sleep.
pub(crate) fn during<R>(
    what: What,
    mapping: Option<Mapping<'_>>,
    index: usize,
    pfn: usize,
    f: impl FnOnce() -> R,
) -> R {
    let id = add(what, mapping, index, pfn);
    let ret = f();
    // `f` is over and `mapping` still borrowed, which keeps the type invariant of the list.
    remove(id);
    ret
}

fn add(what: What, mapping: Option<Mapping<'_>>, index: usize, pfn: usize) -> u64 {
    let (dev, ino) = mapping.map_or((0, 0), Mapping::id);
    let mut waiters = WAITERS.lock();
    waiters.last_id += 1;
    let id = waiters.last_id;
    let waiter = Waiter {
        id,
        pid: sched::pid(),
        comm: sched::comm(),
        what,
        dev,
        ino,
        index,
        pfn,
        since: Instant::now(),
        mapping: mapping.map_or(0, Mapping::address),
    };
    // An eviction must not wait for memory here. INVARIANT: `during` borrows the mapping.
    let _ = waiters.list.push(waiter, GFP_NOWAIT);
    id
}

fn remove(id: u64) {
    let mut waiters = WAITERS.lock();

    if let Ok(i) = waiters.list.binary_search_by_key(&id, |waiter| waiter.id) {
        let _ = waiters.list.remove(i);
    }
    if waiters.list.is_empty() {
        // The module may be unloaded now, and would leave the memory of the list behind.
        waiters.list = KVec::new();
    }
}

/// Replaces what `out` has by the waiters behind the one with the id `after`, as many as there is
/// room for without an allocation. May sleep.
pub(crate) fn next(after: u64, out: &mut KVec<Waiter>) {
    let waiters = WAITERS.lock();
    let known = waiters.list.partition_point(|waiter| waiter.id <= after);

    out.clear();
    for waiter in waiters.list.iter().skip(known) {
        if out.push_within_capacity(*waiter).is_err() {
            break;
        }
    }
}

/// A task that waits for the folio at `pfn`. May sleep.
pub(crate) fn pid_for(pfn: usize) -> Option<i32> {
    let waiters = WAITERS.lock();
    let waiter = waiters.list.iter().find(|waiter| waiter.pfn == pfn)?;
    Some(waiter.pid)
}

/// Calls `f` with a file of `dev` that is being evicted and waits: the one with the lowest
/// address from `from` on. May sleep.
///
/// No superblock has such inodes in its list any more.
pub(crate) fn with_evicted<R>(
    dev: u32,
    from: usize,
    f: impl FnOnce(Mapping<'_>) -> R,
) -> Option<R> {
    let waiters = WAITERS.lock();
    let lowest = waiters
        .list
        .iter()
        .filter(|waiter| waiter.what == What::Evict && waiter.dev == dev)
        .map(|waiter| waiter.mapping)
        .filter(|mapping| *mapping >= from.max(1))
        .min()?;
    // SAFETY: By the invariant of `Waiters` the mapping is valid while the list is locked.
    Some(f(unsafe { Mapping::from_raw(lowest as *mut _) }))
}
