// SPDX-License-Identifier: GPL-2.0

//! What an entry in `mapping->i_pages` says, as plain Rust.
//!
//! Nothing here knows the kernel: the file is also built and tested on the host
//! (`tests/host/entry.rs`). Counterpart of the `DAX_*` bits and predicates at the top of
//! `fs/dax.c`, with one more bit: [`Kind::Zapped`]. An xarray value entry carries it, so the top bit
//! of the word is not available.
//!
//! ```text
//!  62         6   5    4      3     2     1      0
//! +------------+-----+------+-----+----+-----+------+
//! |    pfn     | pud |zapped|empty|zero| pmd |locked|
//! +------------+-----+------+-----+----+-----+------+
//! ```
//!
//! Rules: R5.

use crate::pgmap::Order;

const LOCKED: usize = 1 << 0;
const PMD: usize = 1 << 1;
const ZERO: usize = 1 << 2;
const EMPTY: usize = 1 << 3;
const ZAPPED: usize = 1 << 4;
const PUD: usize = 1 << 5;
const PFN_SHIFT: u32 = 6;
/// Bits of a value entry.
const VALUE_BITS: u32 = usize::BITS - 1;

/// The bits below the pfn.
const BITS: usize = (1 << PFN_SHIFT) - 1;
/// A bit for each value of these that there can be: every entry that is loaded is looked up here.
const VALID: u64 = {
    let (mut valid, mut bits) = (0, 0);

    while bits <= BITS {
        if (bits & (ZERO | EMPTY | ZAPPED)).count_ones() <= 1 && bits & (PMD | PUD) != PMD | PUD {
            valid |= 1 << bits;
        }
        bits += 1;
    }
    valid
};

/// What an entry names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A pfn, and one reference to its folio.
    Tracked,
    /// A pfn, without a reference: only pins may keep the folio busy.
    Zapped,
    /// The zero page: a hole that was read.
    Zero,
    /// Nothing: it exists to be locked.
    Empty,
}

/// An unlocked or locked entry, as the number that its xarray value entry holds.
///
/// # Invariants
///
/// At most one of `ZERO`, `EMPTY` and `ZAPPED` is set, at most one of `PMD` and `PUD`, and the number
/// fits into an xarray value.
///
/// | kind    | folio references that the entry holds | pfn of         |
/// |---------|---------------------------------------|----------------|
/// | tracked | 1                                     | the file block |
/// | zapped  | 0                                     | the file block |
/// | zero    | 0                                     | the zero page  |
/// | empty   | 0                                     | nothing (0)    |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry(usize);

impl Entry {
    /// An entry that names `pfn`, or `None` if `pfn` does not fit or is not aligned to `order`.
    pub(crate) const fn tracked(pfn: usize, order: Order) -> Option<Self> {
        Self::with_pfn(pfn, order, 0)
    }

    /// An entry for a hole, mapped by the zero page or the huge zero page at `pfn`.
    pub(crate) const fn zero(pfn: usize, order: Order) -> Option<Self> {
        Self::with_pfn(pfn, order, ZERO)
    }

    /// An entry that names nothing.
    pub(crate) const fn empty(order: Order) -> Self {
        // INVARIANT: Of the three kinds only `EMPTY` is set.
        Self(EMPTY | Self::order_bits(order))
    }

    const fn with_pfn(pfn: usize, order: Order, kind: usize) -> Option<Self> {
        if pfn >> (VALUE_BITS - PFN_SHIFT) != 0 || order.align(pfn) != pfn {
            return None;
        }
        // INVARIANT: `kind` is 0 or one bit, and `pfn` was just checked.
        Some(Self(pfn << PFN_SHIFT | kind | Self::order_bits(order)))
    }

    /// The same, of the order of this entry.
    #[inline(always)]
    pub(crate) const fn as_tracked(self, pfn: usize) -> Option<Self> {
        let order_bits = self.0 & (PMD | PUD);

        // An entry of one page, as most are, takes any.
        if pfn >> (VALUE_BITS - PFN_SHIFT) != 0
            || (order_bits != 0 && self.order().align(pfn) != pfn)
        {
            return None;
        }
        // INVARIANT: Tracked is none of the three kinds that have a bit, and `pfn` was just checked.
        Some(Self(pfn << PFN_SHIFT | order_bits))
    }

    const fn order_bits(order: Order) -> usize {
        match order {
            Order::Pte => 0,
            Order::Pmd => PMD,
            Order::Pud => PUD,
        }
    }

    /// The entry that an xarray value holds, or `None` if no [`Entry`] looks like that.
    pub(crate) const fn from_value(value: usize) -> Option<Self> {
        if value >> VALUE_BITS != 0 || VALID >> (value & BITS) & 1 == 0 {
            return None;
        }
        // INVARIANT: Just checked.
        Some(Self(value))
    }

    /// The number to store in an xarray value.
    pub(crate) const fn value(self) -> usize {
        self.0
    }

    /// What the entry names.
    pub(crate) const fn kind(self) -> Kind {
        match self.0 & (ZERO | EMPTY | ZAPPED) {
            0 => Kind::Tracked,
            ZAPPED => Kind::Zapped,
            ZERO => Kind::Zero,
            _ => Kind::Empty,
        }
    }

    /// Whether the entry names a file block: it is tracked or zapped.
    pub(crate) const fn is_mapped(self) -> bool {
        self.0 & (ZERO | EMPTY) == 0
    }

    /// The first pfn that the entry names.
    pub(crate) const fn pfn(self) -> usize {
        self.0 >> PFN_SHIFT
    }

    /// The order of the entry.
    pub(crate) const fn order(self) -> Order {
        match self.0 & (PMD | PUD) {
            0 => Order::Pte,
            PMD => Order::Pmd,
            _ => Order::Pud,
        }
    }

    /// The first page offset of the entry, which is found at `index`.
    #[inline(always)]
    pub(crate) const fn first(self, index: usize) -> usize {
        // Most entries are of one page.
        if self.0 & (PMD | PUD) == 0 {
            return index;
        }
        self.order().align(index)
    }

    /// Whether somebody holds the entry lock.
    pub(crate) const fn is_locked(self) -> bool {
        self.0 & LOCKED != 0
    }

    /// The same entry, locked.
    pub(crate) const fn locked(self) -> Self {
        // INVARIANT: The lock bit is independent of the kind.
        Self(self.0 | LOCKED)
    }

    /// The same entry, unlocked.
    pub(crate) const fn unlocked(self) -> Self {
        // INVARIANT: The lock bit is independent of the kind.
        Self(self.0 & !LOCKED)
    }

    /// The same entry without its reference; zero and empty entries have none and stay.
    pub(crate) const fn zapped(self) -> Self {
        if self.is_mapped() {
            // INVARIANT: Neither `ZERO` nor `EMPTY` is set.
            Self(self.0 | ZAPPED)
        } else {
            self
        }
    }
}
