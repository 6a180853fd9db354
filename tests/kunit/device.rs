// SPDX-License-Identifier: GPL-2.0

//! DAX devices that end while somebody uses them.
//!
//! Rules: none, a defect of the kernel (D37).

use kernel::{
    error::from_err_ptr,
    ffi::{
        c_int,
        c_long,
        c_ulong,
        c_void, //
    },
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

use super::thread::{
    wait_until,
    Thread, //
};
use crate::ffi::bindings;

/// What the methods of the device work with.
struct Private {
    asked: Atomic<bool>,
}

struct Operations(bindings::dax_operations);

// SAFETY: The table holds pointers to functions, which are constant.
unsafe impl Sync for Operations {}

static OPERATIONS: Operations = Operations(bindings::dax_operations {
    direct_access: Some(direct_access),
    zero_page_range: Some(zero_page_range),
    recovery_write: None,
});

/// Looks for what it works with when the end of the device has begun.
///
/// # Safety
///
/// `dax` is a [`Device`].
unsafe extern "C" fn direct_access(
    dax: *mut bindings::dax_device,
    _pgoff: c_ulong,
    _pages: c_long,
    _mode: bindings::dax_access_mode,
    _kaddr: *mut *mut c_void,
    _pfn: *mut c_ulong,
) -> c_long {
    // SAFETY: The caller promises a device.
    let private = unsafe { bindings::dax_get_private(dax) };
    // SAFETY: The caller promises that this is its private data.
    unsafe { &*private.cast::<Private>() }
        .asked
        .store(true, Release);
    // SAFETY: The caller promises a device.
    if wait_until(|| !unsafe { bindings::dax_alive(dax) }).is_err() {
        return -(bindings::EBUSY as c_long);
    }
    // SAFETY: The caller promises a device.
    if unsafe { bindings::dax_get_private(dax) } == private {
        1
    } else {
        -(bindings::EFAULT as c_long)
    }
}

/// # Safety
///
/// None, it does nothing.
unsafe extern "C" fn zero_page_range(_: *mut bindings::dax_device, _: c_ulong, _: usize) -> c_int {
    -(bindings::EOPNOTSUPP as c_int)
}

/// A DAX device.
struct Device {
    dax: *mut bindings::dax_device,
    private: Arc<Private>,
}

// SAFETY: A DAX device may be used by any thread.
unsafe impl Send for Device {}
// SAFETY: A DAX device may be used by any thread.
unsafe impl Sync for Device {}

impl Device {
    fn new() -> Result<Arc<Self>> {
        let private = Arc::new(
            Private {
                asked: Atomic::new(false),
            },
            GFP_KERNEL,
        )?;
        let raw = Arc::as_ptr(&private).cast_mut().cast();
        // SAFETY: The table is constant, and the data stays as long as the device.
        let dax = from_err_ptr(unsafe { bindings::alloc_dax(raw, &raw const OPERATIONS.0) })?;
        Ok(Arc::new(Self { dax, private }, GFP_KERNEL)?)
    }

    /// The first page of it.
    fn access(&self) -> c_long {
        // SAFETY: Unlocked below.
        let id = unsafe { bindings::dax_read_lock() };
        // SAFETY: The device is valid; what is not asked for may be null.
        let pages = unsafe {
            bindings::dax_direct_access(
                self.dax,
                0,
                1,
                bindings::dax_access_mode_DAX_ACCESS,
                core::ptr::null_mut(),
                core::ptr::null_mut(),
            )
        };
        // SAFETY: Locked above.
        unsafe { bindings::dax_read_unlock(id) };
        pages
    }

    fn kill(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::kill_dax(self.dax) };
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
        // SAFETY: Allocated in `new`, and used by nobody any more.
        unsafe { bindings::put_dax(self.dax) };
    }
}

#[kunit_tests(rust_fsdax_device)]
mod suite {
    use super::*;

    /// D37: a method that was called in time works, though the device dies at the same moment.
    #[test]
    fn d37_access_beside_the_end() -> Result {
        let device = Device::new()?;
        let killer = {
            let device = device.clone();
            Thread::spawn(move || -> Result {
                wait_until(|| device.private.asked.load(Acquire))?;
                device.kill();
                Ok(())
            })?
        };

        check_eq!(device.access(), 1);
        killer.join()??;
        check_eq!(device.access(), -(bindings::ENXIO as c_long));
        Ok(())
    }
}
