// SPDX-License-Identifier: GPL-2.0

//! `struct dev_pagemap`: references to it, and the request of folios through it.
//!
//! Counterpart of `mm/memremap.c` for folios that this module owns. There is one pgmap reference
//! per active folio, whatever its order. [`request`] hands the caller's over to the folio, and
//! [`folio::free`] puts it; nothing else does either.
//!
//! Rules: R1, R2, R15.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    prelude::*,
    ptr::project,
    types::Opaque, //
};

use crate::{
    bindings::{
        self,
        page_field, //
    },
    entry::Order,
    folio::{
        self,
        Folio,
        FolioLock,
        FolioRef, //
    },
    inject::{
        self,
        Point, //
    },
    mapping::Mapping,
    removal,
    trace,
    wait, //
};

/// A `struct dev_pagemap` that cannot go away while it is borrowed.
///
/// | `pgmap->ref`  | meaning                                                             |
/// |---------------|---------------------------------------------------------------------|
/// | live, n > 0   | folios may be requested                                             |
/// | dying, n > 0  | `memunmap_pages()` waits for n holders; active folios are among them |
/// | 0             | no folio is active, the memmap may go at any time                   |
#[repr(transparent)]
pub(crate) struct Pgmap(Opaque<bindings::dev_pagemap>);

impl Pgmap {
    /// Borrows a C pgmap.
    ///
    /// # Safety
    ///
    /// `pgmap` points to an initialized pgmap that is not unmapped or freed during `'a`.
    pub(crate) unsafe fn from_raw<'a>(pgmap: *mut bindings::dev_pagemap) -> &'a Self {
        // SAFETY: `Pgmap` is transparent over `dev_pagemap`; validity is the caller's promise.
        unsafe { &*pgmap.cast() }
    }

    fn as_raw(&self) -> *mut bindings::dev_pagemap {
        self.0.get()
    }

    fn is_fs_dax(&self) -> bool {
        // SAFETY: By the type invariant the pgmap is valid; its type is constant.
        unsafe { (*self.as_raw()).type_ == bindings::memory_type_MEMORY_DEVICE_FS_DAX }
    }

    /// The pfns of each range, without the head that an altmap reserves.
    ///
    /// Follows `pfn_first()` and `pfn_end()` of `mm/memremap.c`.
    fn ranges(&self) -> impl Iterator<Item = core::ops::Range<usize>> + '_ {
        let raw = self.as_raw();
        // SAFETY: By the type invariant the pgmap is valid; this is constant.
        let nr = unsafe { (*raw).nr_range };
        // SAFETY: As above.
        let head = unsafe { bindings::rust_fsdax_pgmap_head(raw) };
        // `range` is the first element of the flexible array `ranges`.
        let first: *const bindings::range = project!(raw, .__bindgen_anon_1).cast();
        // SAFETY: The array has `nr` elements, which are constant, and stay as the pgmap does.
        let ranges =
            unsafe { core::slice::from_raw_parts(first, usize::try_from(nr).unwrap_or(0)) };
        ranges.iter().enumerate().map(move |(i, range)| {
            let skip = if i == 0 { head } else { 0 };
            let first = (range.start as usize >> bindings::PAGE_SHIFT) + skip;
            first..(range.end as usize + 1) >> bindings::PAGE_SHIFT
        })
    }

    /// The pfn of the folio of `order` at `offset`.
    ///
    /// `offset` counts pages over all ranges, without the head of the first range that an altmap
    /// reserves.
    ///
    /// # Errors
    ///
    /// - `ERANGE`: `offset` is behind the last range, or the folio would cross the end of one.
    /// - `EINVAL`: the folio would not be naturally aligned, or this is no FS_DAX pgmap.
    ///
    /// Any context.
    pub(crate) fn pfn_at(&self, offset: usize, order: Order) -> Result<usize> {
        if !self.is_fs_dax() {
            return Err(EINVAL);
        }
        let mut left = offset;

        for pfns in self.ranges() {
            let (first, len) = (pfns.start, pfns.len());
            if left < len {
                let pfn = first + left;
                if order.align(pfn) != pfn {
                    return Err(EINVAL);
                }
                if len - left < order.pages() {
                    return Err(ERANGE);
                }
                return Ok(pfn);
            }
            left -= len;
        }
        Err(ERANGE)
    }

    /// The lowest pfn of its first range that can be part of a folio.
    pub(crate) fn first_pfn(&self) -> usize {
        self.ranges().next().map_or(0, |pfns| pfns.start)
    }

    /// The highest pfn of its last range.
    pub(crate) fn last_pfn(&self) -> usize {
        self.ranges()
            .last()
            .map_or(0, |pfns| pfns.end.saturating_sub(1))
    }

    /// How many references to a dying pgmap there are beyond those of its pages: active folios, and
    /// whoever looks at one.
    ///
    /// `None` for a live one, and for a moment after it was killed. Any context.
    pub(crate) fn held(&self) -> Option<usize> {
        // SAFETY: By the type invariant the pgmap is valid.
        let count = unsafe { bindings::rust_fsdax_pgmap_count(self.as_raw()) };
        // SAFETY: As above; this is constant.
        let shift = unsafe { (*self.as_raw()).vmemmap_shift };
        // As `memremap_pages()` counts them.
        let pages: usize = self.ranges().map(|pfns| pfns.len() >> shift).sum();

        usize::try_from(count).ok()?.checked_sub(pages)
    }

    /// Address to sleep on until a folio of another module is let go.
    pub(crate) fn wait_address(&self) -> wait::Address {
        wait::Address::of(self.as_raw())
    }

    /// Whether `pfn` is one of them.
    pub(crate) fn has(&self, pfn: usize) -> bool {
        self.ranges().any(|pfns| pfns.contains(&pfn))
    }

    /// The folio at `pfn`, which the pgmap [has](Self::has).
    ///
    /// The memmap stays while the pgmap does: `memunmap_pages()` frees it last.
    pub(crate) fn folio_at(&self, pfn: usize) -> Folio<'_> {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::look();
        // SAFETY: `pfn` is in the pgmap.
        let page = unsafe { bindings::rust_fsdax_pfn_to_page(pfn) };
        // SAFETY: By the type invariant the memmap stays while `self` is borrowed.
        unsafe { Folio::from_raw(page, PhantomData) }
    }

    /// Whether the pages of a folio of `order` at `pfn` are FS_DAX memory of one range, aligned.
    // Out of line, since most faults do not need it.
    #[inline(never)]
    fn contains(&self, pfn: usize, order: Order) -> bool {
        self.is_fs_dax()
            && order.align(pfn) == pfn
            && self
                .ranges()
                .any(|pfns| pfns.contains(&pfn) && order.pages() <= pfns.end - pfn)
    }

    /// Takes a reference for the folio of `order` at `pfn`, unless the pgmap is dying.
    ///
    /// Any context.
    fn tryget_live(&self, pfn: usize, order: Order) -> Option<PgmapRef> {
        if inject::fails(Point::Live) {
            return None;
        }
        // SAFETY: By the type invariant the pgmap is valid.
        if !unsafe { bindings::rust_fsdax_pgmap_tryget_live(self.as_raw()) } {
            return None;
        }
        // INVARIANT: The reference was just taken, and the caller has checked the pages.
        NonNull::new(self.as_raw()).map(|pgmap| PgmapRef { pgmap, pfn, order })
    }
}

/// One reference to the pgmap of a folio.
///
/// # Invariants
///
/// Owns one count of `pgmap->ref`, and the pages of a folio of `order` at `pfn` are in one of its
/// ranges. Hence the pgmap and the memmap of all its pfns stay.
pub(crate) struct PgmapRef {
    pgmap: NonNull<bindings::dev_pagemap>,
    pfn: usize,
    order: Order,
}

impl PgmapRef {
    /// The pgmap of `pfn`, to request a folio of `order` from it.
    ///
    /// # Errors
    ///
    /// - `ENXIO`: there is no pgmap, or it is dying.
    /// - `ERANGE`: the pages are not all FS_DAX memory of one range, or not aligned.
    ///
    /// Any context. Follows `get_dev_pagemap()`.
    pub(crate) fn live(pfn: usize, order: Order) -> Result<Self> {
        // SAFETY: Any pfn may be looked up.
        let pgmap = unsafe { bindings::get_dev_pagemap(pfn) };
        let pgmap = NonNull::new(pgmap).ok_or(ENXIO)?;
        // INVARIANT: `get_dev_pagemap` took a reference to the pgmap with this pfn.
        let mut found = Self {
            pgmap,
            pfn,
            order: Order::Pte,
        };
        if !found.as_pgmap().contains(pfn, order) {
            return Err(ERANGE);
        }
        // INVARIANT: Just checked.
        found.order = order;
        Ok(found)
    }

    /// The same for a page that a DAX device gave access to, without a look-up.
    ///
    /// # Errors
    ///
    /// As [`Self::live`].
    ///
    /// # Safety
    ///
    /// `page_pfn` has a memmap and an FS_DAX pgmap, which are not freed during the call.
    pub(crate) unsafe fn live_of_page(page_pfn: usize, pfn: usize, order: Order) -> Result<Self> {
        // SAFETY: By the requirement of this function.
        let raw = unsafe { bindings::rust_fsdax_pfn_pgmap(page_pfn) };
        // SAFETY: By the requirement of this function.
        let pgmap = unsafe { Pgmap::from_raw(raw) };
        // A page is all in one range of its pgmap.
        if (pfn, order) != (page_pfn, Order::Pte) && !pgmap.contains(pfn, order) {
            return Err(ERANGE);
        }
        pgmap.tryget_live(pfn, order).ok_or(ENXIO)
    }

    /// The pgmap of `pfn`, to look at a folio that may have become idle.
    ///
    /// Also succeeds while the pgmap is dying. `None` means that no reference to it is left, so
    /// that no folio in it is active. Any context.
    pub(crate) fn dying_or_live(pfn: usize) -> Option<Self> {
        // SAFETY: Any pfn may be looked up.
        let pgmap = unsafe { bindings::rust_fsdax_tryget_dev_pagemap(pfn) };
        // INVARIANT: `tryget_dev_pagemap` took a reference if it found a pgmap with this pfn.
        NonNull::new(pgmap).map(|pgmap| Self {
            pgmap,
            pfn,
            order: Order::Pte,
        })
    }

    fn as_pgmap(&self) -> &Pgmap {
        // SAFETY: By the type invariant the pgmap stays while `self` does.
        unsafe { Pgmap::from_raw(self.pgmap.as_ptr()) }
    }

    /// The folio at the pfn, which may be idle and whose memmap stays while `self` is borrowed.
    pub(crate) fn folio(&self) -> Folio<'_> {
        // SAFETY: By the type invariant the pfn has a memmap.
        let page = unsafe { bindings::rust_fsdax_pfn_to_page(self.pfn) };
        // SAFETY: By the type invariant of `self` the memmap stays.
        unsafe { Folio::from_raw(page, PhantomData) }
    }
}

impl Drop for PgmapRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to put.
        unsafe { bindings::rust_fsdax_pgmap_put(self.pgmap.as_ptr()) }
    }
}

/// One of the pages that are asked for is part of a folio that is active or not idle yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Busy;

impl From<Busy> for Error {
    fn from(_: Busy) -> Self {
        EBUSY
    }
}

/// Activates the free folio that `pgmap` was taken for: count 0 -> 1, owned by this module.
///
/// The folio takes over `pgmap`, which is put when the folio is freed. If it is for the entry at
/// an index of a file, it is associated with that before anybody else can find it.
///
/// # Errors
///
/// [`Busy`]; nothing was changed then.
///
/// Any context in which an irq-safe spinlock can be taken. Takes the place of
/// `zone_device_page_init()`, which neither checks nor fails.
pub(crate) fn request(
    pgmap: PgmapRef,
    entry: Option<(Mapping<'_>, usize)>,
) -> Result<FolioRef, Busy> {
    let order = pgmap.order;
    let head = pgmap.folio();
    // All requests that could overlap take the same lock. The free path takes none: it makes
    // pages free, which a check here sees late at worst.
    let lock = FolioLock::new(pgmap.pfn);

    // SAFETY: By the type invariant of `pgmap` all these pages are in one range of it.
    if !unsafe { head.are_free(order) } {
        return Err(Busy);
    }
    // SAFETY: All pages are free, the lock excludes other requests, and `pgmap` is handed over.
    let folio = unsafe { head.activate(order, entry, &lock) };
    drop(lock);
    trace::request(pgmap.pfn, order);
    let _ = ManuallyDrop::new(pgmap);
    Ok(folio)
}

/// A reference to this module, for a folio that no entry tracks.
///
/// An entry is in a file of a bound superblock, which holds a reference to the module. Whoever
/// requests a folio without one may go before the last reference to the folio does, and its free
/// path is code of this module.
///
/// # Invariants
///
/// Owns one reference to the module.
struct ModuleRef(());

impl ModuleRef {
    /// `None` if the module is being unloaded. Any context.
    fn get() -> Option<Self> {
        // SAFETY: Any context.
        // INVARIANT: The reference was just taken.
        unsafe { bindings::rust_fsdax_module_get() }.then(|| Self(()))
    }

    /// Leaves the reference to a folio with no association, see [`Self::of_folio`].
    fn into_folio(self) {
        core::mem::forget(self);
    }

    /// Takes over the reference of a folio that is being freed.
    ///
    /// Which is what a folio has that never was of a file, since no file gets one that was
    /// requested for none: [`folio::Association::None`] lasts as long as the folio is active.
    ///
    /// # Safety
    ///
    /// As [`folio::free`], which was not called yet.
    unsafe fn of_folio(folio: *mut bindings::folio) -> Option<Self> {
        // SAFETY: By the requirement of this function the folio is draining, so that its fields
        // are ours.
        let mapping = unsafe { page_field::mapping(folio.cast()).read() };
        // SAFETY: As above.
        let index = unsafe { page_field::index(folio.cast()).read() };
        // INVARIANT: `request_folio` left a reference to each such folio.
        // Not `then_some()`, which would make and drop one for any other folio.
        (mapping.is_null() && index == 0).then(|| Self(()))
    }
}

impl Drop for ModuleRef {
    /// Any context. The caller sees to it that its code stays until it has returned.
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to put.
        unsafe { bindings::rust_fsdax_module_put() }
    }
}

/// [`request`] at `offset` into `pgmap`, see [`Pgmap::pfn_at`], for no entry.
///
/// The module is not unloaded before the folio is idle again.
///
/// # Errors
///
/// - `EINVAL`, `ERANGE`: as [`Pgmap::pfn_at`], or `order` is not supported.
/// - `ENXIO`: the pgmap is dying.
/// - `EBUSY`: as [`request`].
/// - `ENODEV`: the module is being unloaded, which cannot be while a caller has its symbols.
///
/// As [`request`].
pub(crate) fn request_folio(pgmap: &Pgmap, offset: usize, order: u32) -> Result<FolioRef> {
    let order = Order::new(order).ok_or(EINVAL)?;
    let pfn = pgmap.pfn_at(offset, order)?;
    let module = ModuleRef::get().ok_or(ENODEV)?;

    let folio = request(pgmap.tryget_live(pfn, order).ok_or(ENXIO)?, None)?;
    module.into_folio();
    Ok(folio)
}

/// Frees the folio whose count just reached 0: `fsdax_folio_ops.folio_free`.
///
/// # Safety
///
/// As [`folio::free`].
pub(crate) unsafe extern "C" fn folio_free(
    folio: *mut bindings::folio,
    pgmap: *mut bindings::dev_pagemap,
) {
    // SAFETY: By the requirements of this function.
    let module = unsafe { ModuleRef::of_folio(folio) };
    // SAFETY: By the requirements of this function.
    unsafe { folio::free(folio.cast(), pgmap) };
    if module.is_some() {
        // A removal waits for the count, and has no other folio to sleep on. The pgmap may be gone,
        // and is only compared; that the count was put is a full barrier while the pgmap is dying.
        wait::Address::of(pgmap).wake();
    }
    // mm/memremap.c calls this inside `rcu_read_lock()`, and waits for a grace period when the
    // owner is unregistered: if `module` is the last reference, this code still stays until it has
    // returned.
}

/// Lets go of all folios of a pgmap that is being unmapped: `fsdax_folio_ops.pgmap_dying`.
///
/// # Safety
///
/// Called by `memunmap_pages()` with its pgmap.
unsafe extern "C" fn pgmap_dying(pgmap: *mut bindings::dev_pagemap) {
    // SAFETY: The pgmap stays until `memunmap_pages()` has waited for all references.
    removal::pgmap_dying(unsafe { Pgmap::from_raw(pgmap) })
}

/// A constant table that any thread may use.
struct FolioOps(bindings::fsdax_folio_ops);

// SAFETY: The table holds pointers to functions and a module, all of them constant.
unsafe impl Sync for FolioOps {}

/// The methods of this owner of FS_DAX folios; its address marks owned folios.
static FOLIO_OPS: FolioOps = FolioOps(bindings::fsdax_folio_ops {
    owner: crate::compat::this_module().as_ptr(),
    folio_free: Some(folio_free),
    pgmap_dying: Some(pgmap_dying),
});

/// What `page->zone_device_data` of an owned folio holds.
pub(crate) fn owner_mark() -> usize {
    (&raw const FOLIO_OPS.0) as usize
}

/// The ownership of FS_DAX folios, for as long as it lives.
///
/// # Invariants
///
/// `FOLIO_OPS` is registered.
pub(crate) struct Owner(());

impl Owner {
    /// Becomes the owner. `EBUSY` if there is one. May sleep.
    pub(crate) fn register() -> Result<Self> {
        // SAFETY: `FOLIO_OPS` is static, and unregistered before the module goes.
        kernel::error::to_result(unsafe {
            bindings::rust_fsdax_register_folio_ops(&raw const FOLIO_OPS.0)
        })?;
        // INVARIANT: Just registered.
        Ok(Self(()))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is registered. No mount is bound, so that no entry
        // tracks a folio, and a folio that no entry tracks has a `ModuleRef`: none is active, or
        // the module would not be unloaded.
        unsafe { bindings::rust_fsdax_unregister_folio_ops(&raw const FOLIO_OPS.0) }
    }
}
