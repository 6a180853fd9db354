// SPDX-License-Identifier: GPL-2.0

//! The orders of folios and entries, as plain Rust.

/// Order of the memory of a folio, or of what an entry stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Order {
    /// One page.
    Pte = 0,
    /// What one PMD maps.
    Pmd = 9,
    /// What one PUD maps.
    Pud = 18,
}

impl Order {
    /// Page order of a PMD, on all architectures that fsdax supports with 4 KiB pages.
    pub(crate) const PMD_ORDER: u32 = Self::Pmd.get();

    /// Page order of a PUD, on the same ones.
    pub(crate) const PUD_ORDER: u32 = Self::Pud.get();

    /// The order with this number, if fsdax supports it.
    pub(crate) const fn new(order: u32) -> Option<Self> {
        match order {
            0 => Some(Self::Pte),
            Self::PMD_ORDER => Some(Self::Pmd),
            Self::PUD_ORDER => Some(Self::Pud),
            _ => None,
        }
    }

    /// The number of this order.
    pub(crate) const fn get(self) -> u32 {
        self as u32
    }

    /// Number of pages.
    pub(crate) const fn pages(self) -> usize {
        1 << self.get()
    }

    /// First page offset of the naturally aligned range of this order around `index`.
    pub(crate) const fn align(self, index: usize) -> usize {
        index & !(self.pages() - 1)
    }
}
