// SPDX-License-Identifier: GPL-2.0

//! The name of an entry, as folios know it.
//!
//! fs/dax.c has no counterpart: there it is `folio->mapping` and `folio->index`.
//!
//! Rules: R5, R11.

use core::marker::PhantomData;

use crate::ffi::bindings;

/// Which entry it is: that at a page offset of a file.
///
/// # Invariants
///
/// `mapping` is the address of a mapping with a host, and was valid when the value was made. Where
/// an entry has a reference to a folio, it stays; where an association names it, it is freed a grace
/// period after that changed, at the earliest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EntryId {
    mapping: usize,
    index: usize,
}

impl EntryId {
    /// Names an entry.
    ///
    /// # Safety
    ///
    /// `mapping` is valid and has a host, and is not freed before the entry is removed, if there is
    /// one, and a grace period has passed.
    #[inline(always)]
    pub(crate) unsafe fn new(mapping: *mut bindings::address_space, index: usize) -> Self {
        // INVARIANT: What the caller promises.
        Self {
            mapping: mapping as usize,
            index,
        }
    }

    /// Takes back the words of [`Self::mapping`] and [`Self::index`].
    ///
    /// # Safety
    ///
    /// They are of a value that was made by [`Self::new`], or of one that [`Self::before`] gave.
    pub(super) unsafe fn from_words(mapping: usize, index: usize) -> Self {
        // INVARIANT: What the caller promises.
        Self { mapping, index }
    }

    /// The name of an entry so many pages before this one, at a page offset that wraps around.
    pub(super) fn before(self, pages: usize) -> Self {
        // INVARIANT: The mapping is the same.
        Self {
            index: self.index.wrapping_sub(pages),
            ..self
        }
    }

    /// The mapping, see the type invariant for how long it is valid.
    pub(crate) fn mapping(self) -> *mut bindings::address_space {
        self.mapping as *mut _
    }

    /// Whether it is of the mapping at this address.
    pub(super) fn is_of(self, mapping: usize) -> bool {
        self.mapping == mapping
    }

    /// The page offset.
    pub(crate) fn index(self) -> usize {
        self.index
    }
}

/// The name of an entry that is locked during `'l`: nobody else gives it a folio or takes its own.
///
/// # Invariants
///
/// What [`Self::new`] was promised.
pub(crate) struct LockedId<'l>(EntryId, PhantomData<&'l ()>);

impl LockedId<'_> {
    /// Says that an entry is locked.
    ///
    /// # Safety
    ///
    /// The lock of the entry is held during `'l`, on behalf of the caller.
    pub(crate) unsafe fn new(entry: EntryId) -> Self {
        // INVARIANT: What the caller promises.
        Self(entry, PhantomData)
    }

    /// The name.
    pub(crate) fn id(&self) -> EntryId {
        self.0
    }
}
