// SPDX-License-Identifier: GPL-2.0

//! Writeback of the entries of a bound superblock.
//!
//! Counterpart of `dax_writeback_mapping_range()` and `dax_writeback_one()` of `fs/dax.c`.
//!
//! Rules: R9.

use kernel::{
    ffi::c_ulong,
    prelude::*, //
};

use crate::{
    bindings,
    entry::{
        Entry,
        Kind, //
    },
    mapping::{
        LockedEntry,
        Mapping,
        Mark,
        Pages,
        BATCH, //
    },
    pgmap::PgmapRef,
    trace, //
};

/// Flushes what `wbc` asks for: the entries in its byte range that are dirty now.
///
/// # Errors
///
/// `EIO`: the device is gone, or an entry without data was marked dirty.
///
/// Process context, may sleep.
pub(crate) fn mapping_range(
    mapping: Mapping<'_>,
    dax_dev: *mut bindings::dax_device,
    wbc: &bindings::writeback_control,
) -> Result {
    let first = (wbc.range_start >> bindings::PAGE_SHIFT) as usize;
    let last = (wbc.range_end >> bindings::PAGE_SHIFT) as usize;

    // SAFETY: The mapping is valid.
    unsafe { bindings::tag_pages_for_writeback(mapping.as_raw(), first, last) };

    let mut cursor = mapping.at(first);
    let mut pages = cursor.lock();
    let mut scanned = 0;
    while let Some(entry) = pages.find_marked(last, Mark::ToWrite) {
        if entry.is_locked() {
            // Found again with the mark, unless another fsync() has done it.
            pages.wait_unlocked(entry);
            continue;
        }
        if !entry.is_mapped() {
            crate::warn::warn_on_once!(true);
            pages.clear(Mark::ToWrite);
            mapping.set_error(EIO);
            return Err(EIO);
        }
        let locked = pages.lock_entry(entry);
        // Another fsync() of the same entry finds it locked, and waits for this one.
        pages.clear(Mark::ToWrite);
        let done = pages.unlocked_at(&locked, || {
            write_back(&locked, |address, bytes| {
                // SAFETY: The caller's device, and memory that `write_back` keeps.
                unsafe { bindings::dax_flush(dax_dev, address, bytes) }
            })
        });
        clean(&mut pages);
        pages.unlock_entry(locked);
        if let Err(e) = done {
            mapping.set_error(e);
            return Err(e);
        }
        scanned += 1;
        if scanned % BATCH == 0 {
            pages.breathe();
        }
    }
    Ok(())
}

/// Flushes one entry at once, wherever its device is, before it is removed.
///
/// For a break, which does not know the `struct dax_device`: flushes what `dax_flush()` may find
/// unnecessary. An error is kept for the next `fsync()`.
pub(crate) fn flush_now(locked: &LockedEntry<'_>) {
    let done = write_back(locked, |address, bytes| {
        // SAFETY: Memory that `write_back` keeps.
        unsafe { bindings::arch_wb_cache_pmem(address, bytes) }
    });
    locked.with_marks(clean);
    if let Err(e) = done {
        locked.mapping().set_error(e);
    }
}

/// Clears what says that the entry at the position has to be written back.
fn clean(pages: &mut Pages<'_, '_>) {
    pages.clear(Mark::Dirty);
    pages.clear(Mark::ToWrite);
}

/// Write-protects and flushes an entry, which is to be cleaned afterwards.
///
/// It is locked, so that no fault makes it writable and dirty before its marks are cleared.
fn write_back(
    locked: &LockedEntry<'_>,
    flush: impl FnOnce(*mut kernel::ffi::c_void, usize),
) -> Result {
    let entry: Entry = locked.entry();
    let pages = entry.order().pages();
    let mapping = locked.mapping();

    // A tracked entry keeps its memory itself, a zapped one does not.
    let kept = match entry.kind() {
        Kind::Tracked => None,
        _ => PgmapRef::dying_or_live(entry.pfn()),
    };
    if entry.kind() == Kind::Tracked || kept.is_some() {
        // SAFETY: The mapping is valid, and the entry is locked.
        unsafe {
            bindings::rust_fsdax_entry_mkclean(
                mapping.as_raw(),
                locked.index(),
                entry.pfn() as c_ulong,
                pages as c_ulong,
            )
        };
        // SAFETY: The memory is mapped by the kernel as long as its pgmap exists.
        let address = unsafe { bindings::rust_fsdax_pfn_to_virt(entry.pfn()) };
        flush(address, pages << bindings::PAGE_SHIFT);
        trace::writeback(mapping, locked.index(), entry);
        // SAFETY: The mapping has a host.
        unsafe {
            bindings::rust_fsdax_trace_writeback_one(mapping.host(), locked.index(), pages);
        }
        Ok(())
    } else {
        Err(EIO)
    }
}
