// SPDX-License-Identifier: GPL-2.0

//! What a folio's count means.
//!
//! Counterpart of `dax_to_folio()` of `fs/dax.c` ([`Folio::of`], [`FolioRef::from_pfn`]), which has
//! no states: a count of 0 is idle there.
//!
//! Rules: R2, R4, R11.

use core::ptr::NonNull;

use crate::{
    ffi::{
        bindings,
        sleep, //
    },
    pgmap::{
        Page,
        PgmapRef, //
    }, //
};

/// What `page->zone_device_data` of an owned folio holds: the address of the owner's methods.
#[inline(always)]
pub(super) fn owner_mark() -> usize {
    (&raw const bindings::rust_fsdax_folio_ops) as usize
}

/// What it holds while a large folio is free that was ours, and keeps its shape: no address of
/// methods.
#[inline(always)]
pub(super) fn shape_mark() -> usize {
    owner_mark() | 1
}

/// The same for a folio of 1 GiB.
#[inline(always)]
pub(super) fn pud_shape_mark() -> usize {
    owner_mark() | 2
}

/// The number of pages that `struct folio` lies over. Of the others `prep_compound_page()` writes
/// no more than the mapping, the head and the private word, which it sets to 0. [`super::sharers`]
/// resets what it writes.
pub(super) const FOLIO_PAGES: usize = 4;

/// A folio whose count may be 0, borrowed with something that keeps its memmap.
///
/// Two words say what state it is in, the reference count and the owner mark in
/// `page->zone_device_data` of the head page:
///
/// | owner mark | count | state    | who may touch the other fields of `struct folio`           |
/// |------------|-------|----------|-----------------------------------------------------------|
/// | shape      | 0     | free     | [`super::request()`], [`super::dissolve`]: folio lock      |
/// | not ours   | 0     | free     | [`super::request()`], under the folio lock                 |
/// | not ours   | n > 0 | foreign  | fs/dax.c or a driver                                       |
/// | ours       | n > 0 | active   | whoever holds a reference; mapping, index: folio lock too  |
/// | ours       | 0     | draining | the free path only, or who rebuilds 1 GiB of memory        |
///
/// The mark of a shape says whether it is one of 2 MiB or of 1 GiB.
///
/// A count of n is made of one for each entry that tracks the folio or a part of it, one per page
/// table entry, and the pins (GUP, pipes, DMA). *Idle* are the two states "free": the free path
/// has finished. A count of 0 alone is not idle. On its way up a folio looks foreign for a moment,
/// when a request has set the count and not yet the mark.
#[derive(Clone, Copy)]
pub(crate) struct Folio<'p>(Page<'p>);

/// What [`Folio::look`] finds.
pub(crate) enum State {
    /// Free, as far as we are concerned: the free path has finished.
    Idle,
    /// The count is 0, and the free path still writes to the folio.
    Draining,
    /// In use; the reference keeps it so.
    Active(FolioRef),
}

impl<'p> Folio<'p> {
    /// The folio that starts at a page, if one does.
    pub(crate) fn at(page: Page<'p>) -> Self {
        Self(page)
    }

    /// The folio that a reference to its pgmap was taken for.
    pub(crate) fn of(pgmap: &'p PgmapRef) -> Self {
        Self(pgmap.page())
    }

    /// Its first page.
    pub(crate) fn page(self) -> Page<'p> {
        self.0
    }

    /// The first pfn of the folio.
    pub(crate) fn pfn(self) -> usize {
        self.0.pfn()
    }

    /// The folio that this page is part of, if it is one of several.
    ///
    /// Which that is may change at any time, unless there is a reference to it.
    pub(crate) fn whole(self) -> Self {
        Self(self.0.head())
    }

    /// Whether this page is part of the folio of another page before it, which is not free. Any
    /// context.
    ///
    /// As the count and the mark of such a page are not those of the folio, it looks idle.
    pub(crate) fn is_tail(self) -> bool {
        // Once more, as it may have been taken apart before the second look.
        self.0.is_tail() && !Folio::at(self.0.head()).is_any_shape() && self.0.is_tail()
    }

    /// Whether this is a free folio of 2 MiB that was ours: see [`Folio`]. Any context.
    ///
    /// Whoever finds that sees what the free path has reset.
    #[inline(always)]
    pub(super) fn is_shape(self) -> bool {
        self.0.owner() == shape_mark()
    }

    /// The same for one of 1 GiB.
    pub(super) fn is_pud_shape(self) -> bool {
        self.0.owner() == pud_shape_mark()
    }

    /// The same for one of any size that is large. One look, since that changes.
    pub(super) fn is_any_shape(self) -> bool {
        let owner = self.0.owner();
        owner == shape_mark() || owner == pud_shape_mark()
    }

    /// Whether the folio is active or draining, and not foreign: see [`Folio`]. Any context.
    pub(crate) fn is_ours(self) -> bool {
        self.0.owner() == owner_mark()
    }

    /// What state the folio is in. Any context.
    ///
    /// The reference in [`State::Active`] may be the last one by the time it is dropped.
    pub(crate) fn look(self) -> State {
        let raw: *mut bindings::folio = self.0.as_raw().cast();

        // SAFETY: By the invariant of `Page` the memmap stays; a count of 0 is not raised.
        if unsafe { bindings::rust_fsdax_folio_try_get(raw) } {
            if self.is_ours() {
                // INVARIANT: The reference was just taken, and the folio is ours.
                return State::Active(FolioRef(NonNull::from(self)));
            }
            // SAFETY: The reference that was just taken.
            unsafe { bindings::rust_fsdax_folio_put(raw) };
            return State::Idle;
        }
        if self.is_ours() {
            State::Draining
        } else {
            State::Idle
        }
    }

    /// Address to sleep on until the folio is idle, or an entry that names it was revived.
    pub(crate) fn wait_address(self) -> sleep::Address {
        sleep::Address::of(self.0.as_raw())
    }

    /// Sleeps until the free path has finished, if it is running. Uninterruptible but short: the
    /// free path neither sleeps nor waits.
    pub(crate) fn wait_drained(self) {
        sleep::on(self.wait_address(), |sleeper| loop {
            let _ = sleeper.prepare(sleep::Task::Uninterruptible);
            if !matches!(self.look(), State::Draining) {
                break;
            }
            sleep::schedule();
        })
    }
}

impl From<Folio<'_>> for NonNull<bindings::page> {
    fn from(folio: Folio<'_>) -> Self {
        // SAFETY: By the invariant of `Page` it points into a memmap.
        unsafe { Self::new_unchecked(folio.0.as_raw()) }
    }
}

/// One reference to an active folio.
///
/// | references | meaning                                                          |
/// |------------|------------------------------------------------------------------|
/// | 1          | ours alone: the folio is idle as soon as it is dropped           |
/// | n          | entries, page table entries and pins have the others: see [`Folio`] |
///
/// # Invariants
///
/// `.0` is the head page of an active folio, and one count of it is ours. Hence the folio, its
/// order, its pgmap and its memmap stay.
pub(crate) struct FolioRef(NonNull<bindings::page>);

// SAFETY: A reference is a count, which belongs to no thread.
unsafe impl Send for FolioRef {}

impl FolioRef {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// The folio at `page` is active, and the caller owns a reference to it, which it gives up.
    pub(crate) unsafe fn from_page(page: Page<'_>) -> Self {
        // INVARIANT: What the caller promises.
        Self(NonNull::from(Folio::at(page)))
    }

    /// Takes over the reference to the folio that has the page at a pfn.
    ///
    /// # Safety
    ///
    /// It is active, and the caller owns a reference to it, which it gives up.
    #[inline(always)]
    pub(crate) unsafe fn from_pfn(pfn: usize) -> Self {
        // SAFETY: The reference that the caller gives up keeps the memmap.
        let page = unsafe { Page::from_pfn(pfn) };
        // SAFETY: The caller gives it up, and what is active keeps its shape.
        unsafe { Self::from_page(page.head()) }
    }

    /// Takes back what [`Self::into_raw`] gave.
    ///
    /// # Safety
    ///
    /// `folio` comes from there, once.
    pub(crate) unsafe fn from_raw(folio: *mut bindings::folio) -> Self {
        // SAFETY: The reference that the caller gives back keeps the memmap.
        let page = unsafe { Page::from_raw(folio.cast()) };
        // SAFETY: The caller promises that there is this reference.
        unsafe { Self::from_page(page) }
    }

    /// Gives the reference to C code, or to an entry.
    pub(crate) fn into_raw(self) -> *mut bindings::folio {
        let folio = self.raw();
        core::mem::forget(self);
        folio
    }

    pub(super) fn raw(&self) -> *mut bindings::folio {
        self.0.as_ptr().cast()
    }

    /// The folio, while the reference keeps it.
    pub(crate) fn as_folio(&self) -> Folio<'_> {
        // SAFETY: By the type invariant the memmap stays while `self` does.
        Folio::at(unsafe { Page::from_raw(self.0.as_ptr()) })
    }

    /// First pfn of the folio.
    pub(crate) fn pfn(&self) -> usize {
        self.as_folio().pfn()
    }

    /// Order of the folio.
    pub(crate) fn order(&self) -> u32 {
        // SAFETY: By the type invariant the folio is active, and its order constant.
        unsafe { bindings::rust_fsdax_folio_order(self.raw()) }
    }

    /// The reference count, which others may change at any time.
    pub(crate) fn count(&self) -> i32 {
        self.as_folio().page().count()
    }

    /// The number of page table entries that map the folio, for messages.
    pub(crate) fn mapcount(&self) -> i32 {
        // SAFETY: By the type invariant the folio stays.
        unsafe { bindings::rust_fsdax_folio_mapcount(self.raw()) }
    }

    /// The number of pins that count as such (`pin_user_pages()`), for messages.
    ///
    /// Those of `get_user_pages()`, of pipes for instance, are plain references.
    pub(crate) fn gup_pins(&self) -> u32 {
        // SAFETY: By the type invariant the folio stays.
        unsafe { bindings::rust_fsdax_folio_pins(self.raw()) }
    }

    /// How many pins there are, at most, besides `self` and the page table entries: for messages.
    pub(crate) fn pins(&self) -> i32 {
        self.count() - 1 - self.mapcount()
    }

    /// Takes the count from 1 to 0. Gives the reference back if it is not the only one.
    ///
    /// The folio is draining when this returns `Ok`, and for its free path alone to touch.
    pub(super) fn freeze_if_last(self) -> Result<NonNull<bindings::page>, Self> {
        // SAFETY: By the type invariant the folio stays.
        if !unsafe { bindings::rust_fsdax_folio_ref_freeze(self.raw(), 1) } {
            return Err(self);
        }
        let page = self.0;
        core::mem::forget(self);
        Ok(page)
    }
}

impl Drop for FolioRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to put.
        unsafe { bindings::rust_fsdax_folio_put(self.raw()) }
    }
}
