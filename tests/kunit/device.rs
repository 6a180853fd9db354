// SPDX-License-Identifier: GPL-2.0

//! DAX devices that end while somebody uses them.
//!
//! Rules: none, a defect of the kernel (D37).

use kernel::{
    ffi::c_long,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc, //
    }, //
};

use super::{
    fixture::{
        Backing,
        DaxDevice,
        Handle, //
    },
    thread::{
        wait_until,
        Thread, //
    }, //
};
use crate::ffi::bindings;

/// Looks for what it works with when the end of its device has begun.
struct Late {
    asked: Atomic<bool>,
}

impl Backing for Late {
    fn access(&self, device: &Handle, _offset: usize) -> Result<(usize, usize)> {
        let private = device.private();

        self.asked.store(true, Release);
        wait_until(|| !device.alive())?;
        if device.private() != private {
            return Err(EFAULT);
        }
        Ok((0, 1))
    }
}

#[kunit_tests(rust_fsdax_device)]
mod suite {
    use super::*;

    /// D37: a method that was called in time works, though the device dies at the same moment.
    #[test]
    fn d37_access_beside_the_end() -> Result {
        let backing = Arc::new(
            Late {
                asked: Atomic::new(false),
            },
            GFP_KERNEL,
        )?;
        let device = Arc::new(DaxDevice::new(backing)?, GFP_KERNEL)?;
        let killer = {
            let device = device.clone();
            Thread::spawn(move || -> Result {
                wait_until(|| device.backing().asked.load(Acquire))?;
                device.kill();
                Ok(())
            })?
        };

        check_eq!(device.first(), 1);
        killer.join()??;
        check_eq!(device.first(), -(bindings::ENXIO as c_long));
        Ok(())
    }
}
