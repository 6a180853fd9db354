// SPDX-License-Identifier: GPL-2.0

//! A case that cannot run says so, and is not counted as passed.
//!
//! Rules: none, the suites rest on it.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_skips)]
mod tests {
    use super::*;
    use crate::{
        ffi::bindings,
        kunit::probe::skip, //
    };

    #[test]
    fn a_case_is_skipped_with_a_reason() -> Result {
        // SAFETY: There is a current task.
        let test = unsafe { (*kernel::current!().as_ptr()).kunit_test };
        check!(!test.is_null());
        // SAFETY: The test that the task runs is valid meanwhile, and nobody else changes this.
        let before = unsafe { (*test).status };

        skip(c"there is no such thing");
        // SAFETY: The test is valid meanwhile, and nobody else changes this.
        let after = unsafe { core::mem::replace(&mut (*test).status, before) };
        // SAFETY: The test is valid meanwhile.
        let comment = unsafe { &raw const (*test).status_comment };
        // SAFETY: KUnit has written a C string there.
        let reason = unsafe { CStr::from_char_ptr(comment.cast()) };
        let same = reason.to_bytes() == b"there is no such thing";
        // No comment of this case.
        // SAFETY: The test is valid meanwhile, and nobody else changes this.
        unsafe { (*test).status_comment[0] = 0 };
        check!(same);
        check_eq!(after, bindings::kunit_status_KUNIT_SKIPPED);
        Ok(())
    }
}
