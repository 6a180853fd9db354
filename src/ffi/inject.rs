// SPDX-License-Identifier: GPL-2.0

//! Failures on demand, for tests: calls into the kernel that fail too seldom.
//!
//! A wrapper of such a call asks [`fails`] first, and takes the error path if told so, without
//! having called. Which call that is decides the kernel's fault injection
//! (`Documentation/fault-injection/`): `/proc/self/fail-nth`, or `rust_fsdax/fail` in debugfs.
//! `rust_fsdax/points` there counts how often each point was asked, and failed.
//!
//! Allocations have no points, but for those of per-CPU memory. The kernel lets them fail itself.
//!
//! Without `CONFIG_FAULT_INJECTION` a wrapper has no code for this.
//!
//! Rules: none, for tests.

/// Where a failure can be injected, and what it looks like there.
#[derive(Clone, Copy)]
pub(crate) enum Point {
    /// `xas_store()` of a new entry: `EIO`.
    Store,
    /// A reference to a live pgmap: there is none to be had, as if it were dying.
    Live,
    /// The first request of a folio: it is not free, as if it were on its way to idle.
    Request,
    /// `iomap_begin()`: `EIO`.
    Begin,
    /// `dax_direct_access()`: `EIO`.
    Access,
    /// The same for what lies behind the page of a fault, which goes on without: `EIO`.
    Around,
    /// The copy of a shared block: `EIO`, as for bad memory.
    Copy,
    /// `vmf_insert_page_mkwrite()`: no memory.
    MapPage,
    /// `vmf_insert_folio_pmd()`: no memory.
    MapHuge,
    /// `mm_get_huge_zero_folio()`: there is none.
    HugeZero,
    /// `finish_fault()` of a private copy: no memory.
    Finish,
    /// The sync of a file before a page is mapped with `MAP_SYNC`: `EIO`.
    Sync,
    /// A sleep that a signal may interrupt: `EINTR`.
    Wait,
    /// `alloc_percpu()`, which the kernel does not let fail itself: there is no memory.
    PerCpu,
}

/// Whether the call at `point` is to fail. Any context.
#[inline(always)]
pub(crate) fn fails(point: Point) -> bool {
    #[cfg(CONFIG_FAULT_INJECTION)]
    return on::fails(point);
    #[cfg(not(CONFIG_FAULT_INJECTION))]
    {
        let _ = point;
        false
    }
}

#[cfg(CONFIG_FAULT_INJECTION)]
pub(crate) use on::{
    create,
    remove,
    COUNTS, //
};

#[cfg(CONFIG_FAULT_INJECTION)]
mod on {
    use super::super::bindings;
    use super::Point;
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    /// How often a point was asked, and failed.
    pub(crate) struct Count {
        /// The name of the point.
        pub(crate) name: &'static str,
        /// How often it was asked.
        pub(crate) asked: Atomic<usize>,
        /// How often it failed.
        pub(crate) failed: Atomic<usize>,
    }

    const fn count(name: &'static str) -> Count {
        Count {
            name,
            asked: Atomic::new(0),
            failed: Atomic::new(0),
        }
    }

    /// In the order of [`Point`].
    pub(crate) static COUNTS: [Count; Point::PerCpu as usize + 1] = [
        count("store"),
        count("live"),
        count("request"),
        count("begin"),
        count("access"),
        count("around"),
        count("copy"),
        count("map_page"),
        count("map_huge"),
        count("huge_zero"),
        count("finish"),
        count("sync"),
        count("wait"),
        count("percpu"),
    ];

    pub(super) fn fails(point: Point) -> bool {
        let count = &COUNTS[point as usize];
        // SAFETY: The attribute behind it is static, and has no lock that a context could lack.
        let fails = unsafe { bindings::rust_fsdax_should_fail(point as u32) };

        count.asked.fetch_add(1, Relaxed);
        if fails {
            count.failed.fetch_add(1, Relaxed);
        }
        fails
    }

    /// Creates the files of the fault attribute in the directory `dir`. May sleep.
    ///
    /// # Safety
    ///
    /// `dir` is a directory of debugfs, null, or an error.
    pub(crate) unsafe fn create(dir: *mut bindings::dentry) {
        // SAFETY: The caller promises a directory, and debugfs copes with errors.
        unsafe { bindings::rust_fsdax_inject_create(dir) }
    }

    /// Forgets them, when the directory was removed. May sleep.
    pub(crate) fn remove() {
        // SAFETY: What the fault attribute keeps of its directory, or nothing.
        unsafe { bindings::rust_fsdax_inject_remove() }
    }
}
