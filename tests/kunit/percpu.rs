// SPDX-License-Identifier: GPL-2.0

//! Words that each CPU has for itself.
//!
//! Rules: R23.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_percpu)]
mod tests {
    use super::*;
    use crate::ffi::{
        bindings,
        percpu::{
            self,
            PerCpu, //
        }, //
    };

    /// Counts in the way of the CPU, where it has one, or in that of C.
    fn inc(words: &PerCpu<3>, i: usize, in_c: bool) {
        if in_c {
            // SAFETY: All callers, below, count one of the three words.
            unsafe { bindings::rust_fsdax_percpu_inc(words.as_ptr(), i) };
        } else {
            // SAFETY: All callers, below, count one of the three words.
            unsafe { percpu::inc(words.as_ptr(), i) };
        }
    }

    #[test]
    fn each_word_is_counted_apart_in_both_ways() -> Result {
        let words = PerCpu::<3>::new()?;
        let mut wanted = [0; 3];

        for in_c in [false, true] {
            for (i, wanted) in wanted.iter_mut().enumerate() {
                for _ in 0..=i {
                    inc(&words, i, in_c);
                    *wanted += 1;
                }
            }
            check_eq!([words.sum(0), words.sum(1), words.sum(2)], wanted);
        }
        Ok(())
    }

    #[test]
    fn there_is_nothing_behind_the_last_word() -> Result {
        let words = PerCpu::<3>::new()?;

        inc(&words, 2, false);
        check_eq!(
            [words.sum(2), words.sum(3), words.sum(usize::MAX)],
            [1, 0, 0]
        );
        Ok(())
    }
}
