// SPDX-License-Identifier: GPL-2.0

//! How the faults of a superblock ended.
//!
//! Each CPU counts for itself: a fault writes nothing that a fault on another CPU writes too. It finds
//! the counters of its superblock in a table that only mounts and unmounts write.
//!
//! fs/dax.c has no counterpart.
//!
//! Rules: R23.

use kernel::{
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use super::vmf::Fault;
use crate::{
    ffi::{
        bindings,
        percpu::{
            self,
            PerCpu, //
        },
        vm_fault::VmFault, //
    },
    pgmap::Order, //
};

/// How a fault is served with a folio or a zero page.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// A block is mapped for loads.
    Read,
    /// A block is mapped for stores.
    Write,
    /// A zero page is mapped.
    Hole,
    /// The file is to be synced first, for a mapping with `MAP_SYNC`. How it ends then is counted
    /// once more.
    Sync,
}

const WAYS: [&str; Way::Sync as usize + 1] = ["read", "write", "hole", "sync"];

/// Why a fault falls back to a smaller order.
#[derive(Clone, Copy)]
pub(crate) enum Reason {
    /// The mapping or the file ends in the middle, they are not aligned to each other, or a private
    /// copy is to be made.
    Fit,
    /// The extent is smaller, or its memory is not aligned; for 1 GiB also that it is a hole, or not
    /// written yet.
    Extent,
    /// There are entries of pages that are in use.
    Entries,
    /// The block is shared, maybe with who is served by fs/dax.c.
    Shared,
    /// The memory is in use by folios of another order.
    OtherOrder,
    /// There is no huge zero page, or no memory for an entry of 1 GiB.
    NoMemory,
    /// The device does not give the memory.
    Device,
    /// The filesystem does not say where the block is.
    Filesystem,
}

const REASONS: [&str; Reason::Filesystem as usize + 1] = [
    "fit",
    "extent",
    "entries",
    "shared",
    "other_order",
    "no_memory",
    "device",
    "filesystem",
];

/// The orders of faults, the smallest first.
const ORDERS: [Order; 3] = [Order::Pte, Order::Pmd, Order::Pud];

/// The place of an order in [`ORDERS`].
const fn rank(order: Order) -> usize {
    match order {
        Order::Pte => 0,
        Order::Pmd => 1,
        Order::Pud => 2,
    }
}

/// How a fault ended.
///
/// # Invariants
///
/// It is the number of a counter, below [`Ended::COUNT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ended(usize);

// All orders are served, and all but the first may fall back.
const SERVED: usize = ORDERS.len() * WAYS.len();
const FELL_BACK: usize = (ORDERS.len() - 1) * REASONS.len();

// INVARIANT: `COUNT` has room for what is served, for what fell back, and for the four others.
impl Ended {
    /// A private copy is mapped.
    pub(crate) const COPY: Self = Self(SERVED + FELL_BACK);
    /// It is to be taken again, since something was in the way.
    pub(crate) const RETRIED: Self = Self(Self::COPY.0 + 1);
    /// With `VM_FAULT_SIGBUS` or `VM_FAULT_OOM`.
    pub(crate) const FAILED: Self = Self(Self::RETRIED.0 + 1);
    /// No fault: a page that one of [`Way::Read`] mapped besides its own.
    pub(crate) const AROUND: Self = Self(Self::FAILED.0 + 1);
    /// How many counters there are.
    pub(crate) const COUNT: usize = Self::AROUND.0 + 1;

    /// Served by `order`.
    #[inline(always)]
    pub(crate) const fn served(way: Way, order: Order) -> Self {
        Self(rank(order) * WAYS.len() + way as usize)
    }

    /// Not served by `order`, but by a smaller one; a page has failed.
    pub(crate) const fn fell_back(order: Order, reason: Reason) -> Self {
        match rank(order) {
            0 => Self::FAILED,
            rank => Self(SERVED + (rank - 1) * REASONS.len() + reason as usize),
        }
    }

    /// All of them, in the order in which they are shown.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

/// The name of a column: `read.9`, `fallback.fit.9`, `failed`.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |what: usize, of: &[&'static str], first: usize| {
            let order = ORDERS.get(first + what / of.len()).map_or(0, |o| o.get());
            (of.get(what % of.len()).copied().unwrap_or(""), order)
        };
        match *self {
            Self::COPY => f.write_str("copy"),
            Self::RETRIED => f.write_str("retried"),
            Self::FAILED => f.write_str("failed"),
            Self::AROUND => f.write_str("around"),
            Self(i) if i < SERVED => {
                let (way, order) = name(i, &WAYS, 0);
                f.write_fmt(fmt!("{}.{}", way, order))
            }
            Self(i) => {
                let (reason, order) = name(i - SERVED, &REASONS, 1);
                f.write_fmt(fmt!("fallback.{}.{}", reason, order))
            }
        }
    }
}

/// The result of a fault that is counted.
///
/// [`Fault::count`] makes it, so that what hands out one has not forgotten to count.
#[must_use]
#[derive(Clone, Copy)]
pub(crate) struct Counted(VmFault);

impl Counted {
    /// The result.
    pub(crate) fn ret(self) -> VmFault {
        self.0
    }
}

/// The counters of a superblock.
pub(super) struct Counters(PerCpu<{ Ended::COUNT }>);

impl Counters {
    /// Counters that are 0. `ENOMEM` if there is no memory. May sleep.
    pub(super) fn new() -> Result<Self> {
        Ok(Self(PerCpu::new()?))
    }

    /// How many faults have ended like that.
    pub(super) fn sum(&self, ended: Ended) -> u64 {
        self.0.sum(ended.0)
    }
}

/// So many superblocks are counted for at once, since a byte of the device number says where in the
/// table one is, or from where on.
const SLOTS: usize = 1 << u8::BITS;

/// A cache line is shared with nobody who writes.
#[repr(align(64))]
struct Column([Atomic<usize>; SLOTS]);

impl Column {
    const fn new() -> Self {
        Self([const { Atomic::new(0) }; SLOTS])
    }

    /// As `READ_ONCE()`, and unlike [`Atomic::load`] without a call.
    #[inline(always)]
    fn read(&self, slot: usize) -> usize {
        let word = self.0[slot].as_ptr();
        // SAFETY: A word of the column, which is written as a whole.
        unsafe { word.read_volatile() }
    }

    fn write(&self, slot: usize, value: usize) {
        self.0[slot].store(value, Relaxed);
    }

    /// The first slot with this value, from `home` on.
    fn find(&self, value: usize, home: usize) -> Option<usize> {
        (0..SLOTS)
            .map(|i| (home + i) % SLOTS)
            .find(|slot| self.read(*slot) == value)
    }
}

/// The addresses of the superblocks that are bound, or 0.
static SUPERBLOCKS: Column = Column::new();
/// Where their counters are. Written while no fault looks for them: a fault finds its own
/// superblock, which is bound before its first one and unbound after its last one.
static COUNTERS: Column = Column::new();

/// The slot where the search for a superblock begins.
///
/// # Safety
///
/// `sb` is valid.
#[inline(always)]
unsafe fn home(sb: *mut bindings::super_block) -> usize {
    // SAFETY: The caller promises a valid superblock; this is constant.
    let dev = unsafe { (*sb).s_dev };
    usize::from(dev as u8)
}

/// The slot that has the superblock at `address`, from `home` on.
#[cold]
#[inline(never)]
fn elsewhere(address: usize, home: usize) -> Option<usize> {
    SUPERBLOCKS.find(address, home)
}

/// Has the faults of a superblock counted, unless 256 others are bound.
///
/// # Safety
///
/// `sb` is valid, no file of it is in use yet, and the caller excludes other calls of this and of
/// [`withdraw`], which comes before the counters go, and after the last file.
pub(super) unsafe fn publish(sb: *mut bindings::super_block, counters: &Counters) {
    // SAFETY: The caller promises a valid superblock.
    if let Some(slot) = SUPERBLOCKS.find(0, unsafe { home(sb) }) {
        COUNTERS.write(slot, counters.0.as_ptr() as usize);
        SUPERBLOCKS.write(slot, sb as usize);
    }
}

/// Ends that, when no file of the superblock is in use any more.
///
/// The caller excludes other calls of this and of [`publish`].
pub(super) fn withdraw(counters: &Counters) {
    if let Some(slot) = COUNTERS.find(counters.0.as_ptr() as usize, 0) {
        SUPERBLOCKS.write(slot, 0);
        COUNTERS.write(slot, 0);
    }
}

impl Fault<'_> {
    /// Counts the fault, which ends with `ret`. Any context.
    #[inline(always)]
    pub(crate) fn count(self, ended: Ended, ret: VmFault) -> Counted {
        self.count_times(ended, 1);
        Counted(ret)
    }

    /// Counts so many pages as mapped besides that of the fault, which is counted by itself. Any context.
    pub(super) fn count_around(self, pages: usize) {
        self.count_times(Ended::AROUND, pages);
    }

    #[inline(always)]
    fn count_times(self, ended: Ended, times: usize) {
        let sb = self.mapping().superblock();
        // SAFETY: By the invariant of `Mapping` the superblock is valid.
        let mut slot = unsafe { home(sb) };

        if SUPERBLOCKS.read(slot) != sb as usize {
            match elsewhere(sb as usize, slot) {
                Some(found) => slot = found,
                None => return,
            }
        }
        for _ in 0..times {
            // SAFETY: By the invariant of `Fault` the file is not evicted, so that its superblock stays
            // bound, and has its counters. By that of `Ended` there is such a counter.
            unsafe { percpu::inc(COUNTERS.read(slot) as *mut u64, ended.0) }
        }
    }

    /// [`Self::count`] of a fault that does not map anything.
    #[cold]
    #[inline(never)]
    pub(crate) fn count_unmapped(self, ended: Ended, ret: VmFault) -> Counted {
        self.count(ended, ret)
    }
}
