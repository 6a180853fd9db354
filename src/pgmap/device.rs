// SPDX-License-Identifier: GPL-2.0

//! `struct dax_device`: access to memory of a block, from which a folio is requested.
//!
//! Rules: R2, R17.

use core::marker::PhantomData;

use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*, //
};

use super::{
    order::Order,
    reference::PgmapRef, //
};
use crate::ffi::{
    bindings,
    inject::{
        self,
        Point, //
    },
    safe,
    PAGE_SHIFT, //
};

/// A DAX device that its filesystem holds during `'d`.
///
/// # Invariants
///
/// The pointer is to a device that is not freed during `'d`.
#[derive(Clone, Copy)]
pub(crate) struct DaxDevice<'d>(*mut bindings::dax_device, PhantomData<&'d ()>);

impl DaxDevice<'_> {
    /// Borrows a device.
    ///
    /// # Safety
    ///
    /// `device` is valid during `'d`.
    pub(crate) unsafe fn from_raw(device: *mut bindings::dax_device) -> Self {
        // INVARIANT: What the caller promises.
        Self(device, PhantomData)
    }

    /// Has `bytes` at `address` written back from the CPU caches, if the device needs that.
    ///
    /// # Safety
    ///
    /// They are device memory that is mapped by the kernel and stays so during the call.
    #[inline(always)]
    pub(crate) unsafe fn flush(self, address: *mut c_void, bytes: usize) {
        // SAFETY: By the type invariant the device is valid, and the caller keeps the memory.
        unsafe { bindings::dax_flush(self.0, address, bytes) }
    }

    /// The memory of `order` at the page offset `pgoff` of the device.
    ///
    /// `EINVAL` if the device has less than that in one piece, or not aligned.
    #[inline(always)]
    pub(crate) fn access<'g>(
        self,
        guard: &'g DeviceReadGuard,
        pgoff: usize,
        order: Order,
    ) -> Result<DeviceMemory<'g>> {
        if inject::fails(Point::Access) {
            return Err(EIO);
        }
        let (pages, pfn, kaddr) = self.direct(guard, pgoff, order.pages())?;
        if pages < order.pages() || order.align(pfn) != pfn {
            return Err(EINVAL);
        }
        if kaddr.is_null() {
            return Err(EFAULT);
        }
        // INVARIANT: The device just gave access to it.
        Ok(DeviceMemory {
            device: self.0,
            pfn,
            kaddr,
            _guard: PhantomData,
        })
    }

    /// As many of `pages` at the page offset `pgoff` of the device as it has in one piece.
    ///
    /// # Errors
    ///
    /// `EIO`, or what the device says.
    pub(crate) fn piece<'g>(
        self,
        guard: &'g DeviceReadGuard,
        pgoff: usize,
        pages: usize,
    ) -> Result<DevicePiece<'g>> {
        if inject::fails(Point::Around) {
            return Err(EIO);
        }
        let (got, pfn, _) = self.direct(guard, pgoff, pages)?;
        // INVARIANT: The device just gave access to it.
        Ok(DevicePiece {
            pfn,
            pages: got.min(pages),
            _guard: PhantomData,
        })
    }

    /// Number of pages, first pfn, and where the kernel has it, of up to `pages` at `pgoff`.
    #[inline(always)]
    fn direct(
        self,
        _guard: &DeviceReadGuard,
        pgoff: usize,
        pages: usize,
    ) -> Result<(usize, usize, *mut c_void)> {
        let mut kaddr = core::ptr::null_mut();
        let mut pfn = 0;

        // SAFETY: By the type invariant the device is valid, and the guard is the read lock.
        let length = unsafe {
            bindings::dax_direct_access(
                self.0,
                pgoff,
                pages as isize,
                bindings::dax_access_mode_DAX_ACCESS,
                &mut kaddr,
                &mut pfn,
            )
        };
        match usize::try_from(length) {
            Err(_) => Err(Error::from_errno(length as i32)),
            Ok(length) => Ok((length, pfn, kaddr)),
        }
    }
}

/// Inside `dax_read_lock()`: no DAX device goes away.
///
/// # Invariants
///
/// The read lock is held, and `.0` is what unlocks it.
pub(crate) struct DeviceReadGuard(c_int);

impl DeviceReadGuard {
    /// Takes the lock. May sleep.
    pub(crate) fn new() -> Self {
        // INVARIANT: Just locked; unlocked in `drop`.
        Self(safe::dax_read_lock())
    }
}

impl Drop for DeviceReadGuard {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is locked, and this unlocks it.
        unsafe { bindings::dax_read_unlock(self.0) }
    }
}

/// Single pages that a DAX device gave access to in one piece.
///
/// # Invariants
///
/// Each of the `pages` from `pfn` on has a memmap and a pgmap, which stay while the guard is held: see
/// [`DeviceMemory`].
pub(crate) struct DevicePiece<'g> {
    pfn: usize,
    pages: usize,
    _guard: PhantomData<&'g DeviceReadGuard>,
}

impl DevicePiece<'_> {
    /// How many pages it has.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Takes a pgmap reference for the folio of its page `n`, if it has so many. Any context.
    ///
    /// # Errors
    ///
    /// - `ERANGE`: it has less.
    /// - As [`PgmapRef::live`].
    #[inline(always)]
    pub(crate) fn reference(&self, n: usize) -> Result<PgmapRef> {
        if n >= self.pages {
            return Err(ERANGE);
        }
        let pfn = self.pfn + n;
        // SAFETY: By the type invariant the pfn has a pgmap, which stays while the guard is held.
        unsafe { PgmapRef::live_of_page(pfn, pfn, Order::Pte) }
    }
}

/// Memory that a DAX device gave access to.
///
/// # Invariants
///
/// `device` is valid. `pfn` has a memmap and a pgmap, and they and the mapping at `kaddr` stay while
/// the guard is held: filesystems get only devices with pages (`fs_dax_get_by_bdev()`), and a driver
/// takes the device down (`kill_dax()`, which waits for those inside `dax_read_lock()`) before the
/// pgmap.
pub(crate) struct DeviceMemory<'g> {
    device: *mut bindings::dax_device,
    pfn: usize,
    kaddr: *mut c_void,
    _guard: PhantomData<&'g DeviceReadGuard>,
}

impl DeviceMemory<'_> {
    /// Its first pfn.
    pub(crate) fn pfn(&self) -> usize {
        self.pfn
    }

    /// Where the kernel has its first page.
    pub(crate) fn kaddr(&self) -> *mut c_void {
        self.kaddr
    }

    /// Takes a pgmap reference for the folio of `order` at `pfn`, which is to be in one range with
    /// this memory.
    ///
    /// # Errors
    ///
    /// As [`PgmapRef::live`].
    #[inline(always)]
    pub(crate) fn reference(&self, pfn: usize, order: Order) -> Result<PgmapRef> {
        // SAFETY: By the type invariant the pfn has a pgmap, which stays while the guard is held.
        unsafe { PgmapRef::live_of_page(self.pfn, pfn, order) }
    }

    /// Fills a page, counted from the first, with what the first page of `source` has, or with zeroes, and
    /// flushes it.
    ///
    /// # Errors
    ///
    /// `EIO`: bad memory.
    ///
    /// # Safety
    ///
    /// The page is one of the order that was asked for, and of a block that nobody reads or writes yet.
    pub(crate) unsafe fn fill(&self, page: usize, source: Option<&DeviceMemory<'_>>) -> Result {
        if inject::fails(Point::Copy) {
            return Err(EIO);
        }
        let from = source.map_or(core::ptr::null_mut(), |source| source.kaddr);
        let to = self.kaddr.wrapping_byte_add(page << PAGE_SHIFT);
        // SAFETY: By the type invariant both are pages that the kernel has mapped, and the caller
        // promises that one may be written.
        to_result(unsafe { bindings::rust_fsdax_copy_page_mc(to, from) })?;
        // SAFETY: By the type invariant the device is valid and the page stays.
        unsafe { bindings::dax_flush(self.device, to, 1 << PAGE_SHIFT) };
        Ok(())
    }
}
