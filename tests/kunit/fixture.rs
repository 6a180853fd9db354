// SPDX-License-Identifier: GPL-2.0

//! What the suites run on: pgmaps over reserved memory, DAX devices, superblocks and files without a
//! filesystem.
//!
//! Rules: none, the suites run on it.

use kernel::{
    prelude::*,
    sync::LockClassKey, //
};

use crate::{
    ffi::bindings,
    mapping::Range,
    pgmap::Order, //
};

mod dax;
mod driver;
mod file;
mod pgmap;
mod superblock;

pub(super) use self::{
    dax::{
        Backing,
        DaxDevice,
        Handle, //
    },
    file::FakeFile,
    pgmap::{
        Layout,
        RawPgmap,
        Snapshot,
        TestPgmap, //
    },
    superblock::{
        FakeSuper,
        Mounted, //
    }, //
};

/// Pages of a 2 MiB folio.
pub(super) const PMD: usize = Order::Pmd.pages();

/// Fails the running test: for `Drop`, which cannot return an error.
pub(super) fn fail_test(why: &str) {
    pr_err!("# {}\n", why);
    // SAFETY: There is a current task.
    let test = unsafe { (*kernel::current!().as_ptr()).kunit_test };
    if !test.is_null() {
        // SAFETY: The test that the task runs is valid meanwhile.
        unsafe { (*test).status = bindings::kunit_status_KUNIT_FAILURE };
    }
}

/// The pages `first..=last`.
pub(super) const fn pages(first: usize, last: usize) -> Range {
    Range { first, last }
}

/// # Safety
///
/// `lock` is valid, and nobody uses it yet.
unsafe fn init_lock(lock: *mut bindings::spinlock_t, class: Pin<&'static LockClassKey>) {
    // SAFETY: The caller promises that nobody uses it yet.
    unsafe { bindings::__spin_lock_init(lock, c"rust_fsdax_kunit".as_char_ptr(), class.as_ptr()) }
}
