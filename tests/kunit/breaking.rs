// SPDX-License-Identifier: GPL-2.0

//! Layout breaks that sleep.

use core::cell::Cell;

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    fixture::FakeFile,
    thread::{
        give_way,
        wait_until,
        Counter,
        Thread, //
    }, //
};
use crate::{
    folio::FolioRef,
    fsdax::{
        Data,
        OnBusy, //
    },
    mapping::Range, //
};

/// A break in a thread of its own. Its callback sleeps, and counts.
pub(super) struct Breaking {
    calls: Arc<Counter>,
    thread: Thread<Result>,
}

impl Breaking {
    /// Starts a break that a signal can interrupt.
    pub(super) fn start(file: &Arc<FakeFile>, range: Range, data: Data) -> Result<Self> {
        let calls = Counter::new()?;
        let (file, counter) = (file.clone(), calls.clone());
        let thread = Thread::spawn(move || {
            let sleep = || {
                counter.add();
                give_way();
            };
            file.break_with(range, data, OnBusy::Sleep(&sleep))
        })?;
        Ok(Self { calls, thread })
    }

    /// Starts an eviction.
    pub(super) fn evict(file: &Arc<FakeFile>) -> Result<Self> {
        let evicted = file.clone();
        let thread =
            Thread::spawn(move || evicted.break_with(Range::ALL, Data::Discard, OnBusy::Evict))?;
        Ok(Self {
            calls: Counter::new()?,
            thread,
        })
    }

    /// Waits until the callback has been called `times` times, and sleeps.
    pub(super) fn wait_asleep(&self, times: usize) -> Result {
        wait_until(|| self.calls.get() >= times && self.thread.sleeps(false))
    }

    /// Waits until an eviction sleeps.
    pub(super) fn wait_evict_asleep(&self) -> Result {
        wait_until(|| self.thread.sleeps(true))
    }

    /// How often the callback was called.
    pub(super) fn calls(&self) -> usize {
        self.calls.get()
    }

    /// Whether the break goes on, although it has had the time to end.
    pub(super) fn goes_on(&self) -> bool {
        self.thread.goes_on()
    }

    /// Sends a signal.
    pub(super) fn interrupt(&self) {
        self.thread.interrupt();
    }

    /// What the break returned.
    pub(super) fn join(self) -> Result<Result> {
        self.thread.join()
    }
}

/// Pins that the callback of a break drops one by one, in the order of their addition.
pub(super) struct Pins {
    pins: KVVec<Cell<Option<FolioRef>>>,
    dropped: Cell<usize>,
}

impl Pins {
    /// Pins the pages at each of `offsets`.
    pub(super) fn of(file: &FakeFile, offsets: impl Iterator<Item = usize>) -> Result<Self> {
        let mut pins = KVVec::new();
        for offset in offsets {
            pins.push(Cell::new(Some(file.pgmap().pin(offset)?)), GFP_KERNEL)?;
        }
        Ok(Self {
            pins,
            dropped: Cell::new(0),
        })
    }

    /// Drops the next pin.
    pub(super) fn drop_next(&self) {
        if let Some(pin) = self.pins.get(self.dropped.get()) {
            drop(pin.take());
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// Drops all pins.
    pub(super) fn drop_all(&self) {
        for _ in 0..self.pins.len() {
            self.drop_next();
        }
    }
}
