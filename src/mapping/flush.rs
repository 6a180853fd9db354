// SPDX-License-Identifier: GPL-2.0

//! Write-protecting and flushing what an entry names.
//!
//! Counterpart of `dax_writeback_one()` of `fs/dax.c`.
//!
//! Rules: R9.

use kernel::{
    ffi::c_void,
    prelude::*, //
};

use super::{
    entry::Kind,
    locked::LockedEntry,
    walk::At, //
};
use crate::{
    ffi::{
        bindings,
        safe,
        sched,
        trace,
        PAGE_SHIFT, //
    },
    pgmap::{
        DaxDevice,
        Order,
        PgmapRef, //
    }, //
};

/// Who flushes.
#[derive(Clone, Copy)]
pub(crate) enum Flusher<'d> {
    /// The device that the memory is of, which may have nothing to do.
    Device(DaxDevice<'d>),
    /// The CPU: for those who do not know the device.
    Cpu,
}

impl Flusher<'_> {
    /// # Safety
    ///
    /// As [`DaxDevice::flush`].
    #[inline(always)]
    unsafe fn flush(self, address: *mut c_void, bytes: usize) {
        match self {
            // SAFETY: The caller keeps the memory.
            Self::Device(device) => unsafe { device.flush(address, bytes) },
            // SAFETY: The caller keeps the memory.
            Self::Cpu => unsafe { bindings::arch_wb_cache_pmem(address, bytes) },
        }
    }
}

impl LockedEntry<'_> {
    /// Write-protects and flushes the entry, which is to be cleaned afterwards.
    ///
    /// It is locked, so that no fault makes it writable and dirty before its marks are cleared.
    ///
    /// # Errors
    ///
    /// `EIO`: the device is gone, or there is no block.
    #[inline(always)]
    fn write_back(&self, flusher: Flusher<'_>) -> Result {
        let (mapping, entry) = (self.mapping(), self.entry());
        let pages = entry.order().pages();

        // A tracked entry keeps its memory itself, a zapped one does not.
        let _kept = match entry.kind() {
            Kind::Tracked => None,
            Kind::Zapped => Some(PgmapRef::dying_or_live(entry.pfn()).ok_or(EIO)?),
            Kind::Zero | Kind::Empty => return Err(EIO),
        };
        if entry.order() == Order::Pud {
            // What write-protects page table entries does not see a huge PUD.
            mapping.unmap(self.range());
        } else {
            let (raw, index, pfn) = (mapping.as_raw(), self.index(), entry.pfn());
            // SAFETY: By the invariant of `Mapping` it is valid, and the entry is locked.
            unsafe { bindings::rust_fsdax_entry_mkclean(raw, index, pfn, pages) };
        }
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::flush();
        // A PMD of memory at most at a time.
        let most = pages.min(Order::Pmd.pages());
        for pfn in (entry.pfn()..entry.pfn() + pages).step_by(most) {
            let address = safe::rust_fsdax_pfn_to_virt(pfn);
            // SAFETY: The kernel has the memory mapped as long as its pgmap exists, which the entry
            // or `_kept` keep.
            unsafe { flusher.flush(address, most << PAGE_SHIFT) };
            if entry.order() == Order::Pud {
                sched::cond_resched();
            }
        }
        trace::writeback(|| self.event());
        // SAFETY: By the invariant of `Mapping` the host is valid.
        unsafe { bindings::rust_fsdax_trace_writeback_one(mapping.host(), self.index(), pages) };
        Ok(())
    }

    /// Flushes the entry at once, wherever its device is, before it is removed.
    ///
    /// For a break, which does not know the device: flushes what that may find unnecessary. An error
    /// is kept for the next `fsync()`.
    pub(crate) fn flush_now(&self) {
        let done = self.write_back(Flusher::Cpu);
        self.with_marks(|marks| marks.clean());
        if let Err(e) = done {
            self.mapping().set_error(e);
        }
    }
}

impl At<'_, '_> {
    /// Flushes the entry, which has the mark [`Mark::ToWrite`], and cleans it.
    ///
    /// # Errors
    ///
    /// `EIO`: the device is gone.
    pub(crate) fn flush(self, flusher: Flusher<'_>) -> Result {
        // Another fsync() that wants the entry flushed finds it by the mark, and locked, and waits: the
        // mark goes when that is done, and not before.
        self.with_locked(|locked| locked.write_back(flusher), |marks| marks.clean())
    }
}
