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

    /// What a fault of a page that stores nothing may map in a file whose last page is `last`, if it
    /// follows on others: see `csrc/around.c`. Process context.
    #[inline(always)]
    pub(crate) fn of(vmf: Fault<'_>, last: usize) -> Option<Self> {
        // SAFETY: By the invariant of `Fault` it is valid, and its vma locked.
        let around = unsafe { bindings::rust_fsdax_vmf_around(vmf.as_raw()) };
        if around == 0 {
            return None;
        }
        // The filesystem's lock keeps the file from becoming shorter.
        let window = Self(around).up_to(last.checked_sub(vmf.index())? + 1);
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
/// `of` is a tracked entry of one page, at `index`. So is, for each `n` in `window`, that of the page `n` pages
/// behind it, in the same node; it tracks the page that is `n` pages behind that of `of`, and its lock is
/// ours. Or `of` is a large one, and has all of these pages itself, counted from `index` on.
pub(crate) struct Around<'l, 'm> {
    of: &'l LockedEntry<'m>,
    index: usize,
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
        Self { of, index, window }
    }

    /// Locks the entries of `window` that are tracked or can be: what `claim` claims, by its number.
    ///
    /// Left out is what is locked, names another page, or is a hole or zapped, as is all if a break of
    /// the file sleeps, which then need not look at these again. Nothing is waited for. `claim` is called
    /// with the i_pages lock held, at most once for each page.
    ///
    /// The filesystem named these blocks before their entries were locked, while a fault of their own would
    /// have it the other way round. The caller holds the filesystem's lock shared, and that is enough as
    /// long as nobody removes a tracked entry of one page without holding it exclusively: who replaces a
    /// block under the shared lock, as a store to a shared one, leaves the entry locked or tracked for
    /// the new one, which is another page than that of `claim`.
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
            index: of.index(),
            window: Window::NONE,
        };

        if entry.kind() != Kind::Tracked || entry.order() != Order::Pte {
            return around;
        }
        // A node has all of its slots.
        let slots = 1 << bindings::RUST_FSDAX_XA_CHUNK_SHIFT;
        let window = window.up_to(slots - of.index() % slots);
        of.with_pages(|pages| {
            if is_breaking(&pages.marks()) {
                return;
            }
            for n in 1..window.pages() {
                let there = pages.step();
                if !window.has(n) {
                    continue;
                }
                match track_one(pages, there, entry.pfn() + n, |id| claim(n, id)) {
                    Ok(true) => {
                        // INVARIANT: It was left locked just now.
                        around.window.add(n);
                    }
                    Ok(false) => {}
                    // There is no memory for another entry.
                    Err(_) => break,
                }
            }
        });
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
fn track_one<'p, 'm>(
    pages: &'p mut Pages<'m>,
    there: Option<Entry>,
    pfn: usize,
    claim: impl FnOnce(&LockedId<'_>) -> Option<Claim>,
) -> Result<bool> {
    // SAFETY: `there` is what was just found at the position, and is not locked where it is used.
    let lock = |pages: &'p mut Pages<'m>, entry| unsafe { pages.lock_entry(entry) };
    let mut here = match there {
        // SAFETY: The position is of one page, and nothing was found there just now.
        None => unsafe { pages.insert(Order::Pte) }?,
        Some(entry) if entry.is_locked() || entry.order() != Order::Pte => return Ok(false),
        Some(entry) if entry.kind() == Kind::Tracked => {
            let right = entry.pfn() == pfn;
            if right {
                lock(pages, entry).leave_locked();
            }
            return Ok(right);
        }
        Some(entry) if entry.kind() == Kind::Empty => lock(pages, entry),
        Some(_) => return Ok(false),
    };
    let claim = claim(&here.locked_id()).filter(|claim| claim.pfn() == pfn);
    let tracked = claim.is_some_and(|claim| here.track(claim, false).is_ok());
    if tracked {
        trace::insert(|| here.event());
        here.leave_locked();
    } else {
        here.done();
    }
    Ok(tracked)
}

impl Drop for Around<'_, '_> {
    /// Unlocks the entries, under one hold of the i_pages lock.
    fn drop(&mut self) {
        if self.window.is_empty() || self.of.entry().order() != Order::Pte {
            return;
        }
        self.of.with_pages(|pages| {
            for n in 1..self.window.pages() {
                let there = pages.step().filter(|_| self.window.has(n));
                if let Some(entry) = there {
                    // SAFETY: By the type invariant its lock is ours, and goes with `self`.
                    unsafe { pages.left_locked(entry) }.unlock();
                }
            }
        });
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

        let wrong = !self.is_about(of, Order::Pte) || self.index() != around.index;
        if window.is_empty() || warn_on_once!(wrong) {
            return;
        }
        let page = pfn_to_page(of.entry().pfn() + (around.index - of.index()));
        // SAFETY: By the invariant of `Fault` it is valid. By that of `Around` all these pages are tracked
        // by entries that are locked, which keep them, and follow on that of the fault as its bits are
        // counted. What is not in the vma and in the page table of the fault is left out.
        let mapped = unsafe { bindings::rust_fsdax_map_around(self.as_raw(), page, window.0) };
        self.count_around(mapped as usize);
    }
}
