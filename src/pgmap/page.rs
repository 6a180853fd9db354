// SPDX-License-Identifier: GPL-2.0

//! `struct page` of device memory: its fields, and who may write them.
//!
//! Rules: R1, R3.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    ffi::c_void,
    sync::atomic::{
        Acquire,
        Atomic,
        AtomicType,
        Full,
        Release, //
    }, //
};

use crate::ffi::{
    bindings::{
        self,
        page_field, //
    },
    safe::{
        page_to_pfn,
        pfn_to_page, //
    }, //
};

/// A page whose memmap stays during `'p`.
///
/// Whoever has one may look at it: its fields are words that change at any time.
///
/// # Invariants
///
/// The pointer is to a page of device memory in a memmap that stays during `'p`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page<'p>(NonNull<bindings::page>, PhantomData<&'p ()>);

impl<'p> Page<'p> {
    /// Borrows a page.
    ///
    /// # Safety
    ///
    /// `page` is one of device memory, in a memmap that stays during `'p`.
    pub(crate) unsafe fn from_raw(page: *mut bindings::page) -> Self {
        // SAFETY: The caller promises that `page` is in a memmap, where nothing is at address 0.
        // INVARIANT: The rest is what the caller promises.
        Self(unsafe { NonNull::new_unchecked(page) }, PhantomData)
    }

    /// Borrows the page with this pfn.
    ///
    /// # Safety
    ///
    /// `pfn` is one of device memory with a memmap that stays during `'p`.
    pub(crate) unsafe fn from_pfn(pfn: usize) -> Self {
        // SAFETY: The caller promises that the pfn has a memmap, and that it stays.
        unsafe { Self::from_raw(pfn_to_page(pfn)) }
    }

    /// The page `n` pages behind this one.
    ///
    /// # Safety
    ///
    /// It is in the same memmap, as are all pages of one range of a pgmap.
    pub(crate) unsafe fn behind(self, n: usize) -> Self {
        // SAFETY: The caller promises that it is there, and the memmap is virtually contiguous.
        let page = unsafe { self.0.add(n) };
        // INVARIANT: In the same memmap, which stays by the type invariant of `self`.
        Self(page, PhantomData)
    }

    /// The C object.
    pub(crate) fn as_raw(self) -> *mut bindings::page {
        self.0.as_ptr()
    }

    /// Its pfn.
    pub(crate) fn pfn(self) -> usize {
        page_to_pfn(self.as_raw())
    }

    /// As READ_ONCE() of a field, which a function of [`page_field`] finds.
    #[inline(always)]
    fn read<T: Copy>(self, field: fn(*mut bindings::page) -> *mut T) -> T {
        // SAFETY: By the type invariant the page is there, and all fields are aligned words for
        // which any value is right.
        unsafe { field(self.as_raw()).read_volatile() }
    }

    #[inline(always)]
    fn atomic<T: AtomicType>(self, field: fn(*mut bindings::page) -> *mut T) -> &'p Atomic<T> {
        // SAFETY: By the type invariant the page is there during `'p`. All accesses that may race
        // with others are atomic or as READ_ONCE() and WRITE_ONCE(), but for those of
        // `prep_compound_page()` to tail pages, which requests exclude.
        unsafe { Atomic::from_ptr(field(self.as_raw())) }
    }

    /// Whether it is the first page of a compound page.
    pub(crate) fn is_head(self) -> bool {
        self.read(page_field::flags) & bindings::RUST_FSDAX_PG_HEAD != 0
    }

    /// Whether memory failure has found it bad.
    pub(crate) fn is_poisoned(self) -> bool {
        self.read(page_field::flags) & bindings::RUST_FSDAX_PG_POISONED != 0
    }

    /// The word that has the pgmap, or, in a tail page, an odd number that leads to the head.
    pub(crate) fn pgmap_word(self) -> usize {
        self.read(page_field::pgmap) as usize
    }

    /// Whether it is a page of a compound page other than the first.
    pub(crate) fn is_tail(self) -> bool {
        self.pgmap_word() & 1 != 0
    }

    /// The first page of the compound page that this is part of, or this one.
    pub(crate) fn head(self) -> Self {
        // SAFETY: By the type invariant the page is there, and this computes from one of its words.
        let head = unsafe { bindings::rust_fsdax_compound_head(self.as_raw()) };
        // SAFETY: A folio is all in one range of its pgmap, so that the head is in the memmap of
        // this page, which stays by the type invariant.
        unsafe { Self::from_raw(head) }
    }

    /// The reference count.
    pub(crate) fn count(self) -> i32 {
        self.read(page_field::refcount)
    }

    /// The address of the mapping.
    pub(crate) fn mapping(self) -> usize {
        self.read(page_field::mapping) as usize
    }

    /// The word that is an index or a share count.
    pub(crate) fn index(self) -> usize {
        self.read(page_field::index)
    }

    /// The private word.
    pub(crate) fn private(self) -> usize {
        self.read(page_field::private)
    }

    /// The word that marks who owns the folio, for a look that comes before others.
    pub(crate) fn owner(self) -> usize {
        self.atomic(page_field::zone_device_data).load(Acquire) as usize
    }

    /// The same word, in no order with other looks; or that of a tail page, which has no owner of its
    /// own, see [`OwnPage::set_tail_word`].
    pub(crate) fn owner_unordered(self) -> usize {
        self.read(page_field::zone_device_data) as usize
    }

    /// The same page for somebody who may write its fields.
    ///
    /// # Safety
    ///
    /// Until the result is used for the last time, nobody else writes those fields that are written
    /// through it: the page is free or draining and the caller's alone, or active, and the folio
    /// lock protects `mapping`, `index` and `private`.
    pub(crate) unsafe fn own(self) -> OwnPage<'p> {
        // INVARIANT: What the caller promises.
        OwnPage(self)
    }
}

/// A page whose fields its holder may write, see [`Page::own`].
///
/// # Invariants
///
/// Nobody else writes the fields that are written.
#[derive(Clone, Copy)]
pub(crate) struct OwnPage<'p>(Page<'p>);

impl OwnPage<'_> {
    /// As WRITE_ONCE() of a field, which a function of [`page_field`] finds.
    #[inline(always)]
    fn write<T>(self, field: fn(*mut bindings::page) -> *mut T, value: T) {
        // SAFETY: By the invariant of `Page` the page is there, and by that of `self` the field is
        // the holder's to write.
        unsafe { field(self.0.as_raw()).write_volatile(value) }
    }

    /// Writes the mapping.
    pub(crate) fn set_mapping(self, mapping: usize) {
        self.write(page_field::mapping, mapping as *mut _);
    }

    /// Writes the mapping after all that was written before.
    pub(crate) fn publish_mapping(self, mapping: usize) {
        let field = self.0.atomic(page_field::mapping);
        field.store(mapping as *mut _, Release);
    }

    /// Writes the word that is an index or a share count.
    pub(crate) fn set_index(self, index: usize) {
        self.write(page_field::index, index);
    }

    /// Writes the private word.
    pub(crate) fn set_private(self, private: usize) {
        self.write(page_field::private, private);
    }

    /// Has the word of a page point to its pgmap.
    pub(crate) fn set_pgmap(self, pgmap: *mut bindings::dev_pagemap) {
        self.write(page_field::pgmap, pgmap.cast());
    }

    /// Takes the mark of an owner away, in no order with other writes.
    pub(crate) fn clear_owner(self) {
        self.write(page_field::zone_device_data, core::ptr::null_mut());
    }

    /// Writes the word of a tail page that has no other use: never a mark of an owner.
    pub(crate) fn set_tail_word(self, word: usize) {
        self.write(page_field::zone_device_data, word as *mut c_void);
    }

    /// Gives the page a count after all that was written before.
    pub(crate) fn publish_count(self, count: i32) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::count(self.0);
        self.0.atomic(page_field::refcount).store(count, Release);
    }

    /// Marks it as that of an owner after all that was written before.
    pub(crate) fn publish_owner(self, owner: usize) {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::own(self.0);
        let field = self.0.atomic(page_field::zone_device_data);
        field.store(owner as *mut c_void, Release);
    }

    /// Puts another word in the place of the mark of the owner, after all before and before all
    /// after it. The page is not the owner's any more.
    pub(crate) fn retire_owner(self, word: usize) {
        let field = self.0.atomic(page_field::zone_device_data);
        field.xchg(word as *mut c_void, Full);
    }
}
