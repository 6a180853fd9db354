// SPDX-License-Identifier: GPL-2.0

//! What other modules may call: the functions of `include/linux/fsdax_entry.h` and `linux/pgmap.h`, and the provider.
//!
//! Rules: R1, R6, R12, R16.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_api)]
mod tests {
    use kernel::{
        error::{
            from_err_ptr,
            to_result, //
        },
        ffi::{
            c_int,
            c_uint,
            c_ulong, //
        },
        sync::atomic::{
            Atomic,
            Relaxed, //
        },
    };

    use super::*;
    use crate::{
        ffi::bindings,
        folio::FolioRef,
        kunit::{
            fixture::{
                FakeFile,
                Layout,
                TestPgmap,
                PMD, //
            },
            thread::{
                wait_until,
                Thread, //
            }, //
        },
        mapping::{
            Kind,
            Mark,
            Range, //
        },
        pgmap::Order,
        provider, //
    };

    #[test]
    fn there_is_one_owner_and_one_provider() -> Result {
        check_eq!(provider::Owner::register().err(), Some(EBUSY));
        let again = provider::Provider::register();
        check_eq!(again.err(), Some(EBUSY));
        Ok(())
    }

    type Callback = Option<unsafe extern "C" fn(*mut bindings::inode)>;

    // As the structures of the kernel are for bindgen's own declarations.
    #[allow(improper_ctypes)]
    extern "C" {
        fn pgmap_request_folio(
            pgmap: *mut bindings::dev_pagemap,
            offset: c_ulong,
            order: c_uint,
        ) -> *mut bindings::folio;
        fn fsdax_break(
            inode: *mut bindings::inode,
            start: bindings::loff_t,
            end: bindings::loff_t,
            callback: Callback,
        ) -> c_int;
        fn fsdax_break_final(inode: *mut bindings::inode);
        fn fsdax_insert_entry(
            mapping: *mut bindings::address_space,
            index: c_ulong,
            pfn: c_ulong,
            order: c_uint,
        ) -> c_int;
        fn fsdax_delete_entry(mapping: *mut bindings::address_space, index: c_ulong) -> c_int;
    }

    fn request(pgmap: &TestPgmap, offset: usize, order: u32) -> Result<*mut bindings::folio> {
        // SAFETY: The pgmap is mapped.
        from_err_ptr(unsafe { pgmap_request_folio(pgmap.raw(), offset, order) })
    }

    /// A folio that C code requested.
    struct CFolio(*mut bindings::folio);

    impl Drop for CFolio {
        fn drop(&mut self) {
            // SAFETY: The reference of the request.
            unsafe { bindings::rust_fsdax_folio_put(self.0) }
        }
    }

    fn break_bytes(file: &FakeFile, start: i64, end: i64, callback: Callback) -> Result {
        // SAFETY: The file stays.
        to_result(unsafe { fsdax_break(file.inode(), start, end, callback) })
    }

    fn insert(file: &FakeFile, index: usize, pfn: usize, order: u32) -> Result {
        // SAFETY: The file stays.
        to_result(unsafe { fsdax_insert_entry(file.mapping().as_raw(), index, pfn, order) })
    }

    fn delete(file: &FakeFile, index: usize) -> Result {
        // SAFETY: The file stays.
        to_result(unsafe { fsdax_delete_entry(file.mapping().as_raw(), index) })
    }

    #[test]
    fn r1_request_folio_returns_errors_as_pointers() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;

        check_eq!(request(&pgmap, 0, 1), Err(EINVAL));
        check_eq!(request(&pgmap, 1, Order::PMD_ORDER), Err(EINVAL));
        check_eq!(request(&pgmap, 2 * PMD, 0), Err(ERANGE));
        let folio = CFolio(request(&pgmap, PMD, Order::PMD_ORDER)?);
        check_eq!(folio.0, pgmap.page(PMD).cast());
        check_eq!(request(&pgmap, PMD + 1, 0), Err(EBUSY));
        check_eq!((pgmap.count(PMD), pgmap.active()), (1, 1));
        drop(folio);
        check_eq!((pgmap.count(PMD), pgmap.active()), (0, 0));

        let folio = CFolio(request(&pgmap, 0, 0)?);
        let unmap = pgmap.unmap()?;
        wait_until(|| !pgmap.is_live())?;
        check_eq!(request(&pgmap, 1, 0), Err(ENXIO));
        drop(folio);
        unmap.join()
    }

    static CALLS: Atomic<usize> = Atomic::new(0);
    static CALLED_WITH: Atomic<usize> = Atomic::new(0);
    /// A pin that the callback drops.
    static PINNED: Atomic<usize> = Atomic::new(0);

    /// # Safety
    ///
    /// `PINNED` is null or a reference that nobody else puts.
    unsafe extern "C" fn unpin(inode: *mut bindings::inode) {
        CALLS.fetch_add(1, Relaxed);
        CALLED_WITH.store(inode as usize, Relaxed);
        let folio = PINNED.xchg(0, Relaxed) as *mut bindings::folio;
        if !folio.is_null() {
            // SAFETY: Whoever pinned it left the reference here.
            unsafe { bindings::rust_fsdax_folio_put(folio) }
        }
    }

    #[test]
    fn r6_break_layouts_calls_back_or_refuses() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_pages(8)?;
        let pin: FolioRef = pgmap.pin(3)?;
        check_eq!(break_bytes(&file, 0, i64::MAX, None), Err(ERESTARTSYS));
        check_eq!(file.count_all(Range::ALL), 8);
        check_eq!(break_bytes(&file, 3 << 12, 2 << 12, None), Ok(()));
        check_eq!(break_bytes(&file, 4 << 12, (6 << 12) - 1, None), Ok(()));
        check_eq!(file.count_all(Range::ALL), 6);

        CALLS.store(0, Relaxed);
        PINNED.store(pin.into_raw() as usize, Relaxed);
        check_eq!(break_bytes(&file, 0, i64::MAX, Some(unpin)), Ok(()));
        check_eq!(CALLS.load(Relaxed), 1);
        check_eq!(CALLED_WITH.load(Relaxed), file.inode() as usize);
        check!(file.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r6_break_layouts_leaves_other_inodes_alone() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        // SAFETY: The file is ours.
        unsafe { (*file.inode()).i_flags &= !bindings::S_DAX };
        let broken = break_bytes(&file, 0, i64::MAX, None);
        // SAFETY: The file is ours.
        unsafe { fsdax_break_final(file.inode()) };
        // SAFETY: The file is ours.
        unsafe { (*file.inode()).i_flags |= bindings::S_DAX };
        check_eq!(broken, Ok(()));
        check_eq!(file.kind(0), Some(Kind::Tracked));
        Ok(())
    }

    #[test]
    fn r16_files_of_another_provider_are_refused() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pte)?;
        file.set_bound(false);
        let broken = break_bytes(&file, 0, i64::MAX, None);
        let (inserted, deleted) = (insert(&file, 1, pgmap.pfn(1), 0), delete(&file, 0));
        // SAFETY: The file stays.
        unsafe { fsdax_break_final(file.inode()) };
        file.set_bound(true);

        let refused = Err(Error::from_errno(-(bindings::EOPNOTSUPP as c_int)));
        check_eq!(broken, refused);
        check_eq!(inserted, refused);
        check_eq!(deleted, refused);
        check_eq!(file.count(Range::ALL, Kind::Tracked), 1);
        Ok(())
    }

    #[test]
    fn r12_break_layouts_final_waits_whatever_comes() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pmd)?;
        let pin = pgmap.pin(0)?;
        let evicted = file.clone();
        // SAFETY: The file stays.
        let thread = Thread::spawn(move || unsafe { fsdax_break_final(evicted.inode()) })?;
        wait_until(|| thread.sleeps(true))?;
        thread.interrupt();
        for _ in 0..4 {
            wait_until(|| thread.sleeps(true))?;
            check!(!thread.is_done());
        }
        drop(pin);
        thread.join()?;
        check!(file.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn insert_entry_says_why_not() -> Result {
        let pgmap = TestPgmap::with(Layout::One(2))?;
        let file = FakeFile::new(&pgmap)?;
        let pfn = pgmap.pfn(0);

        check_eq!(insert(&file, 0, pfn, 1), Err(EINVAL));
        check_eq!(insert(&file, 1, pfn, Order::PMD_ORDER), Err(EINVAL));
        check_eq!(insert(&file, 0, pfn + 1, Order::PMD_ORDER), Err(EINVAL));
        // There is no device at page 1.
        check_eq!(insert(&file, 0, 1, 0), Err(ENXIO));
        check!(file.mapping().is_empty());

        check_eq!(insert(&file, 0, pfn, 0), Ok(()));
        check_eq!(insert(&file, 0, pfn, 0), Ok(()));
        check_eq!(insert(&file, 0, pfn + 1, 0), Err(EEXIST));
        check_eq!(insert(&file, 1, pfn, 0), Err(EBUSY));
        check_eq!(insert(&file, PMD, pfn + PMD, Order::PMD_ORDER), Ok(()));
        check_eq!(file.count(Range::ALL, Kind::Tracked), 2);
        check_eq!(pgmap.active(), 2);
        Ok(())
    }

    #[test]
    fn insert_entry_does_not_take_a_requested_folio() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let folio = CFolio(request(&pgmap, 0, 0)?);

        check_eq!(insert(&file, 0, pgmap.pfn(0), 0), Err(EBUSY));
        check!(file.mapping().is_empty());
        check_eq!(pgmap.count(0), 1);
        drop(folio);
        check_eq!(insert(&file, 0, pgmap.pfn(0), 0), Ok(()));
        Ok(())
    }

    #[test]
    fn delete_entry_says_why_not() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        check_eq!(delete(&file, 0), Err(ENOENT));
        for order in [0, Order::PMD_ORDER] {
            insert(&file, 0, pgmap.pfn(0), order)?;
            file.mark(0, Mark::Dirty)?;
            let pin = pgmap.pin(0)?;
            check_eq!(delete(&file, 0), Err(EBUSY));
            check_eq!(file.kind(0), Some(Kind::Zapped));
            check!(file.has(0, Mark::Dirty));
            drop(pin);
            check_eq!(delete(&file, 0), Ok(()));
            check_eq!(delete(&file, 0), Err(ENOENT));
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn the_provider_answers_as_fs_dax_does() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let ops = provider::ops::table();
        let mapping = file.mapping().as_raw();
        let (delete, invalidate, busy) = (
            ops.delete_mapping_entry.ok_or(EINVAL)?,
            ops.invalidate_mapping_entry_sync.ok_or(EINVAL)?,
            ops.layout_busy_page_range.ok_or(EINVAL)?,
        );
        // SAFETY: The file stays.
        let delete = |index| unsafe { delete(mapping, index) };
        // SAFETY: The file stays.
        let invalidate = |index| unsafe { invalidate(mapping, index) };
        // SAFETY: The file stays.
        let busy = |start, end| unsafe { busy(mapping, start, end) };

        check_eq!((delete(0), invalidate(0)), (0, 0));
        file.insert_pages(4)?;
        check_eq!((delete(0), invalidate(1)), (1, 1));
        file.mark(2, Mark::Dirty)?;
        check_eq!((invalidate(2), delete(2)), (0, 1));
        check!(busy(0, i64::MAX).is_null());
        file.insert(3, 3, Order::Pte)?;
        let pin = pgmap.pin(3)?;
        check_eq!(busy(0, i64::MAX), pgmap.page(3));
        check!(busy(0, (3 << 12) - 1).is_null());
        check_eq!(invalidate(3), 0);
        drop(pin);
        check_eq!(invalidate(3), 1);
        check!(file.mapping().is_empty());
        Ok(())
    }

    #[test]
    fn the_provider_answers_for_ranges() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let ops = provider::ops::table();
        let mapping = file.mapping().as_raw();
        let (delete, clear_dirty) = (
            ops.delete_mapping_range.ok_or(EINVAL)?,
            ops.clear_dirty_range.ok_or(EINVAL)?,
        );

        file.insert_pages(8)?;
        for i in 0..8 {
            file.mark(i, Mark::Dirty)?;
            file.mark(i, Mark::ToWrite)?;
        }
        // SAFETY: The file stays.
        unsafe { clear_dirty(mapping, 2, 5) };
        for i in 0..8 {
            let outside = !(2..=5).contains(&i);
            check_eq!(file.has(i, Mark::Dirty), outside);
            check_eq!(file.has(i, Mark::ToWrite), outside);
        }
        // SAFETY: The file stays. Bytes, the last one included.
        unsafe { delete(mapping, 3 << 12, (5 << 12) - 1) };
        check_eq!(file.count_all(Range::ALL), 6);
        check!(file.kind(3).is_none() && file.kind(4).is_none());
        // SAFETY: The file stays. No range.
        unsafe { delete(mapping, 8 << 12, (6 << 12) - 1) };
        check_eq!(file.count_all(Range::ALL), 6);
        // SAFETY: The file stays.
        unsafe { delete(mapping, 0, i64::MAX) };
        check!(file.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }
}
