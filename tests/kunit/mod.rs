// SPDX-License-Identifier: GPL-2.0

//! KUnit suites. They run on a real pgmap over the reserved memory that the module parameters
//! `kunit_base` and `kunit_size` name.
//!
//! A test holds what it uses in values whose `Drop` gives it back, and returns an error instead of
//! panicking, since a failed `assert!` of KUnit skips `Drop`. What `Drop` cannot give back it
//! leaks and fails the test. Tests are named after the rules of `Documentation/design.rst`.

/// Fails the test, after saying where and what, unless `$cond` is true.
macro_rules! check {
    ($cond:expr) => {
        if !$cond {
            kernel::pr_err!(
                "# {}:{}: not true: {}\n",
                file!(),
                line!(),
                stringify!($cond)
            );
            return Err(kernel::error::code::EINVAL);
        }
    };
}

/// Fails the test, after saying where and what, unless both values are equal.
macro_rules! check_eq {
    ($left:expr, $right:expr) => {
        match (&$left, &$right) {
            (left, right) => {
                if *left != *right {
                    kernel::pr_err!(
                        "# {}:{}: {} is {:x?}, not {:x?}\n",
                        file!(),
                        line!(),
                        stringify!($left),
                        left,
                        right
                    );
                    return Err(kernel::error::code::EINVAL);
                }
            }
        }
    };
}

pub(crate) mod probe;

mod breaking;
mod context;
mod faulting;
mod fixture;
mod thread;
mod unmapping;

mod api;
mod around;
mod breaks;
mod cost;
mod counters;
mod device;
mod dirty;
mod entries;
mod evict;
mod failure;
mod faults;
mod folios;
mod holes;
mod iomaps;
mod marks;
mod observe;
mod parts;
mod percpu;
mod pgmaps;
mod puds;
mod removal;
mod replace;
mod requests;
mod shapes;
mod shared;
mod skips;
mod syncs;
mod turns;
mod walks;
