// SPDX-License-Identifier: GPL-2.0

//! What a read fault maps besides its own page.
//!
//! fs/dax.c has no counterpart: a fault maps what it is about. For files with a page cache that is
//! `do_fault_around()` and `filemap_map_pages()`.
//!
//! Rules: R5, R6, R10, R21.

use kernel::prelude::*;

use super::{
    breaks::is_breaking,
    entry::{
        Entry,
        Kind, //
    },
    iomap::Extent,
    locked::LockedEntry,
    pages::Pages,
    vmf::Fault, //
};
use crate::{
    ffi::{
        bindings,
        safe::pfn_to_page,
        trace,
        warn::warn_on_once, //
    },
    folio::{
        Claim,
        LockedId, //
    },
    pgmap::Order, //
};

/// So many pages are mapped by a fault at most, with its own: 64 KiB.
pub(crate) const MOST: usize = bindings::RUST_FSDAX_AROUND_PAGES as usize;

/// Pages behind that of a fault, as a bit for each, counted from that of the fault on.
///
/// Bit 0, of the page of the fault, is never set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window(u32);

impl Window {
    /// No page.
    pub(crate) const NONE: Self = Self(0);

    /// What a fault of `order` that stores nothing may map in a file whose last page is `last`, if it
    /// follows on others: see `csrc/around.c`. Process context.
    #[inline(always)]
    pub(crate) fn of(vmf: Fault<'_>, order: Order, last: usize) -> Option<Self> {
        if order != Order::Pte {
            return None;
        }
        // SAFETY: By the invariant of `Fault` it is valid, and its vma locked.
        let around = unsafe { bindings::rust_fsdax_vmf_around(vmf.as_raw()) };
        if around == 0 {
            return None;
        }
        // The filesystem's lock keeps the file from becoming shorter.
        let window = Self(around).up_to(last - vmf.index() + 1);
        (!window.is_empty()).then_some(window)
    }

    /// These of them that are among so many pages from that of the fault on.
    pub(crate) fn up_to(self, pages: usize) -> Self {
        Self(self.0 & !1 & ((1u64 << pages.min(MOST)) - 1) as u32)
    }

    /// All that are among so many.
    #[cfg(RUST_FSDAX_KUNIT)]
    pub(crate) fn all(pages: usize) -> Self {
        Self(u32::MAX).up_to(pages)
    }

    /// The same without one of them.
    #[cfg(RUST_FSDAX_KUNIT)]
    pub(crate) fn without(self, n: usize) -> Self {
        Self(self.0 & !(1 << n))
    }

    /// Whether there is one.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many pages there are up to the last one, with that of the fault.
    pub(crate) fn pages(self) -> usize {
        (u32::BITS - (self.0 | 1).leading_zeros()) as usize
    }

    /// Whether it has a page.
    fn has(self, n: usize) -> bool {
        self.0 >> n & 1 != 0
    }

    /// Takes a page in.
    fn add(&mut self, n: usize) {
        self.0 |= 1 << n;
    }
}

/// Pages behind that of a fault which are tracked, and stay so until this is dropped.
///
/// Their entries are locked, so that nobody has looked whether they are mapped before they are. What
/// becomes of them then is as if each of them had faulted.
///
/// # Invariants
///
/// `of` is a tracked entry of one page. So is, for each `n` in `window`, that of the page `n` pages behind
/// it, in the same node; it tracks the page that is `n` pages behind that of `of`, and its lock is ours. Or
/// `of` is a large one, and has all of these pages itself.
pub(crate) struct Around<'l, 'm> {
    of: &'l LockedEntry<'m>,
    window: Window,
}

#[cfg(RUST_FSDAX_KUNIT)]
impl Around<'_, '_> {
    /// Which they are.
    pub(crate) fn window(&self) -> Window {
        self.window
    }
}

impl<'l, 'm> Around<'l, 'm> {
    /// Those of `window` that the entry of the fault at `index` has itself, if it is a large one.
    pub(crate) fn inside(of: &'l LockedEntry<'m>, index: usize, window: Window) -> Self {
        let (entry, range) = (of.entry(), of.range());
        let fits = entry.kind() == Kind::Tracked
            && entry.order() != Order::Pte
            && (range.first..=range.last).contains(&index);
        let window = match fits {
            true => window.up_to(range.last - index + 1),
            false => Window::NONE,
        };
        // INVARIANT: These are in the entry.
        Self { of, window }
    }

    /// Locks the entries of `window` that are tracked or can be: what `claim` claims, by its number.
    ///
    /// Left out is what is locked, names another page, or is a hole or zapped, as is all if a break of
    /// the file sleeps, which then need not look at these again. Nothing is waited for. `claim` is called
    /// with the i_pages lock held, at most once for each page.
    #[inline(always)]
    pub(crate) fn track(
        of: &'l LockedEntry<'m>,
        window: Window,
        claim: impl Fn(usize, &LockedId<'_>) -> Option<Claim>,
    ) -> Self {
        let entry = of.entry();
        // INVARIANT: There is none in it yet.
        let mut around = Self {
            of,
            window: Window::NONE,
        };

        if entry.kind() != Kind::Tracked || entry.order() != Order::Pte {
            return around;
        }
        // A node has all of its slots.
        let slots = 1 << bindings::RUST_FSDAX_XA_CHUNK_SHIFT;
        let window = window.up_to(slots - of.index() % slots);
        let mut pages = of.pages();
        pages.look_up();
        if is_breaking(&pages.marks()) {
            return around;
        }
        for n in 1..window.pages() {
            let there = pages.step();
            if !window.has(n) {
                continue;
            }
            match track_one(&mut pages, there, entry.pfn() + n, |id| claim(n, id)) {
                Ok(true) => {
                    // INVARIANT: It was left locked just now.
                    around.window.add(n);
                }
                Ok(false) => {}
                // There is no memory for another entry.
                Err(_) => break,
            }
        }
        around
    }
}

/// Has the entry at the position, which is `there`, track `pfn`, and leaves it locked. Returns whether it
/// does: see [`Around::track`].
///
/// # Errors
///
/// As [`Pages::insert_locked`].
#[inline(always)]
fn track_one(
    pages: &mut Pages<'_>,
    there: Option<Entry>,
    pfn: usize,
    claim: impl FnOnce(&LockedId<'_>) -> Option<Claim>,
) -> Result<bool> {
    let mut locked = match there {
        None => {
            let entry = pages.insert_locked(Order::Pte)?;
            pages.locked(entry)
        }
        Some(entry) if entry.is_locked() || entry.order() != Order::Pte => return Ok(false),
        Some(entry) if entry.kind() == Kind::Tracked => {
            if entry.pfn() == pfn {
                pages.lock_entry(entry).leave_locked();
            }
            return Ok(entry.pfn() == pfn);
        }
        Some(entry) if entry.kind() == Kind::Empty => pages.lock_entry(entry),
        Some(_) => return Ok(false),
    };
    let claim = claim(&locked.locked_id()).filter(|claim| claim.pfn() == pfn);
    if claim.is_some_and(|claim| locked.track_at(pages, claim, false)) {
        trace::insert(|| locked.event());
        locked.leave_locked();
        Ok(true)
    } else {
        pages.drop_entry(locked);
        Ok(false)
    }
}

impl Drop for Around<'_, '_> {
    /// Unlocks the entries, under one hold of the i_pages lock.
    fn drop(&mut self) {
        if self.window.is_empty() || self.of.entry().order() != Order::Pte {
            return;
        }
        let mut pages = self.of.pages();
        pages.look_up();
        for n in 1..self.window.pages() {
            // By the type invariant the lock is ours.
            let there = pages.step().filter(|_| self.window.has(n));
            if let Some(entry) = there {
                let locked = pages.locked(entry.unlocked());
                pages.unlock_entry(locked);
            }
        }
        pages.close();
    }
}

impl Extent<'_> {
    /// Those of `window` that it has.
    pub(crate) fn around(&self, window: Window) -> Window {
        window.up_to(self.pages())
    }
}

impl Fault<'_> {
    /// Maps what `around` has behind the page of the fault, which is mapped, where nothing is mapped yet, and
    /// counts it.
    pub(crate) fn map_around(self, around: &Around<'_, '_>) {
        let (of, window) = (around.of, around.window);

        if window.is_empty() || warn_on_once!(!self.is_about(of, Order::Pte)) {
            return;
        }
        let pfn = of.entry().pfn() + (self.index() - of.index());
        // SAFETY: By the invariant of `Fault` it is valid. By that of `Around` all these pages are tracked
        // by entries that are locked, which keep them.
        let mapped =
            unsafe { bindings::rust_fsdax_map_around(self.as_raw(), pfn_to_page(pfn), window.0) };
        self.count_around(mapped as usize);
    }
}
