// SPDX-License-Identifier: GPL-2.0

//! What is true when a file is about to be unmapped.
//!
//! Rules: R6, R14, R17.

use kernel::{
    prelude::*,
    ptr::project,
    sync::Arc,
    types::NotThreadSafe, //
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
use crate::ffi::bindings;

/// Keeps a file mapped, as long as it lives: `i_mmap_rwsem`, held for writing.
struct KeepMapped<'a>(&'a FakeFile, NotThreadSafe);

impl<'a> KeepMapped<'a> {
    fn new(file: &'a FakeFile) -> Self {
        // SAFETY: The file stays.
        unsafe { bindings::down_write(project!(mut file.mapping().as_raw(), .i_mmap_rwsem)) };
        Self(file, NotThreadSafe)
    }
}

impl Drop for KeepMapped<'_> {
    fn drop(&mut self) {
        // SAFETY: Taken in `new`, by the same task.
        unsafe { bindings::up_write(project!(mut self.0.mapping().as_raw(), .i_mmap_rwsem)) };
    }
}

/// Runs `f` in a thread that cannot unmap `file`, and `check` when it waits to do that, if it
/// does; then lets it. Returns what `f` does, and whether it waited.
///
/// Nothing maps the file, so that this shows only the attempt. `check` must not allocate.
pub(super) fn at_unmap<T: Send + 'static>(
    file: &Arc<FakeFile>,
    f: impl FnOnce() -> T + Send + 'static,
    check: impl FnOnce() -> Result,
) -> Result<(T, bool)> {
    let go = Counter::new()?;
    let gone = go.clone();
    // Before the lock is taken, under which no memory may be allocated.
    let thread = Thread::spawn(move || {
        while gone.get() == 0 {
            give_way();
        }
        f()
    })?;

    let keep = KeepMapped::new(file);
    go.add();
    let waits = wait_until(|| thread.is_done() || thread.sleeps(true)).map(|()| thread.goes_on());
    let checked = match waits {
        Ok(true) => check(),
        _ => Ok(()),
    };
    drop(keep);
    let result = thread.join()?;
    checked?;
    Ok((result, waits?))
}
