// SPDX-License-Identifier: GPL-2.0

//! Walks over the entries of a file.
//!
//! A walk waits for entries that are locked, and lets irqs and other tasks in once per [`BATCH`]
//! pages: none of its users can forget either.
//!
//! Counterpart of the loops of `xas_for_each()` in `fs/dax.c`, with
//! `wait_entry_unlocked_exclusive()` and the pause after `XA_CHECK_SCHED` entries in them.
//!
//! Rules: R5, R8, R10.

use core::ops::Deref;

use super::{
    entry::{
        Entry,
        Kind, //
    },
    file::{
        Mapping,
        Range, //
    },
    locked::LockedEntry,
    pages::{
        Mark,
        Marks,
        Pages,
        BATCH, //
    }, //
};
use crate::{
    ffi::{
        trace,
        warn::warn_on_once, //
    },
    folio::{
        is_busy,
        Claim,
        EntryId,
        Left,
        LentFolio, //
    },
    pgmap::Order, //
};

/// A walk over the entries in a range of a file, in the order of their page offsets.
///
/// The i_pages lock is held but where it says so. Process context, may sleep.
pub(crate) struct Walk<'m> {
    pages: Pages<'m>,
    range: Range,
    mark: Option<Mark>,
    /// Pages of entries since the i_pages lock was let go.
    scanned: usize,
    /// Where to go on behind the last entry: `None` if that was the end of the file.
    behind: Option<usize>,
}

impl<'m> Walk<'m> {
    /// Over all entries in `range`.
    pub(crate) fn new(mapping: Mapping<'m>, range: Range) -> Self {
        Self {
            pages: Pages::lock(mapping, range.first, Order::Pte),
            range,
            mark: None,
            scanned: 0,
            behind: Some(range.first),
        }
    }

    /// Over those with `mark`.
    pub(crate) fn marked(mapping: Mapping<'m>, range: Range, mark: Mark) -> Self {
        Self {
            mark: Some(mark),
            ..Self::new(mapping, range)
        }
    }

    /// Has the next move let irqs and other tasks in.
    #[cfg(RUST_FSDAX_KUNIT)]
    pub(crate) fn breathe(&mut self) {
        self.scanned = BATCH;
    }

    /// Moves to the next entry, and waits until nobody holds its lock.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<At<'_, 'm>> {
        let entry = loop {
            let entry = self.find()?;
            if !entry.is_locked() {
                break entry;
            }
            // Found again afterwards, if it is still there.
            self.pages.wait_unlocked(entry);
        };
        self.pass(entry);
        // INVARIANT: Just found, and not locked.
        Some(At(Seen { walk: self, entry }))
    }

    /// Moves to the next entry, locked or not.
    pub(crate) fn next_seen(&mut self) -> Option<Seen<'_, 'm>> {
        let entry = self.find()?;
        self.pass(entry);
        Some(Seen { walk: self, entry })
    }

    #[inline(always)]
    fn find(&mut self) -> Option<Entry> {
        let next = self.behind.filter(|next| *next <= self.range.last)?;
        if self.scanned >= BATCH {
            self.scanned = 0;
            self.pages.breathe(next);
        }
        match self.mark {
            None => self.pages.find(self.range.last),
            Some(mark) => self.pages.find_marked(self.range.last, mark),
        }
    }

    #[inline(always)]
    fn pass(&mut self, entry: Entry) {
        let index = self.pages.index();

        // Most entries are of one page.
        if entry.order() == Order::Pte {
            self.scanned += 1;
            self.behind = index.checked_add(1);
            return;
        }
        self.scanned += entry.order().pages();
        self.behind = Range::of_entry(index, entry.order()).last.checked_add(1);
    }
}

/// An entry that a [`Walk`] is at, locked or not. It does not change while this is there.
///
/// # Invariants
///
/// The walk holds the i_pages lock, and `entry` is at its position.
pub(crate) struct Seen<'w, 'm> {
    walk: &'w mut Walk<'m>,
    entry: Entry,
}

impl<'m> Seen<'_, 'm> {
    /// The entry.
    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// The file.
    pub(crate) fn mapping(&self) -> Mapping<'m> {
        self.walk.pages.mapping()
    }

    /// Its first page offset.
    pub(crate) fn index(&self) -> usize {
        self.entry.first(self.walk.pages.index())
    }

    /// Its name.
    pub(crate) fn id(&self) -> EntryId {
        self.mapping().entry_id(self.index())
    }

    /// The pages that it stands for.
    pub(crate) fn range(&self) -> Range {
        Range::of_entry(self.walk.pages.index(), self.entry.order())
    }

    /// Whether only a part of it is in the range of the walk.
    pub(crate) fn is_partial(&self) -> bool {
        // A page that was found is in the range.
        self.entry.order() != Order::Pte && !self.walk.range.contains(self.range())
    }

    /// What an event says of it.
    pub(crate) fn event(&self) -> trace::Entry {
        self.mapping().event(self.index(), self.entry)
    }

    /// Its marks.
    pub(crate) fn marks(&mut self) -> Marks<'_, 'm> {
        self.walk.pages.marks()
    }

    /// The folio, if the entry is tracked.
    pub(crate) fn folio(&self) -> Option<LentFolio<'_>> {
        // SAFETY: By the type invariant the i_pages lock is held while `self` is borrowed, and what
        // changes a tracked entry holds it.
        (self.entry.kind() == Kind::Tracked)
            .then(|| unsafe { LentFolio::of_entry(self.entry.pfn()) })
    }
}

/// What becomes of a slot whose entry lost its reference, see [`At::zap`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// It stays, zapped.
    Zapped,
    /// It goes, with its marks.
    Removed,
}

/// An entry that a [`Walk`] is at, and whose lock nobody holds.
///
/// # Invariants
///
/// Those of [`Seen`], and the entry is not locked.
pub(crate) struct At<'w, 'm>(Seen<'w, 'm>);

impl<'w, 'm> At<'w, 'm> {
    /// Drops the reference of a tracked entry, and does with the slot what `if_idle` says, if that is
    /// what is left of the folio. A busy one keeps it, zapped, with the mark [`Mark::Busy`]. Any other
    /// entry is [looked at again](Self::look_again): somebody else may have zapped it, and left it busy.
    ///
    /// Nobody can look in between. Follows `dax_disassociate_entry()`.
    #[inline(always)]
    pub(crate) fn zap(mut self, if_idle: impl FnOnce(&mut Marks<'_, 'm>) -> After) -> Left {
        if self.entry().kind() != Kind::Tracked {
            return self.look_again();
        }
        let Self(mut seen) = self;
        let (entry, id) = (seen.entry, seen.id());
        trace::zap(|| seen.event());
        // SAFETY: The entry, whose pfn and order these are, is tracked, and by the type invariant not locked.
        // The i_pages lock is held until the slot says something else below.
        let left = unsafe { Claim::from_entry(entry.pfn(), id, entry.order()) }.release();
        if left == Left::Busy {
            trace::break_busy(|| seen.event());
        } else if if_idle(&mut seen.marks()) == After::Removed {
            trace::remove(|| seen.event());
            // SAFETY: By the type invariant it is not locked; its reference was the claim.
            unsafe { seen.walk.pages.remove(entry) };
            return left;
        }
        let pages = &mut seen.walk.pages;
        // SAFETY: By the type invariant it is not locked; its reference was the claim.
        unsafe { pages.replace(entry, entry.zapped()) };
        if left == Left::Busy {
            pages.marks().set(Mark::Busy);
        } else {
            pages.marks().clear(Mark::Busy);
        }
        left
    }

    /// Whether a folio is busy that the zapped entry names. Takes the place of `dax_busy_page()`.
    ///
    /// If not, the mark [`Mark::Busy`] goes, whatever the entry is.
    pub(crate) fn look_again(&mut self) -> Left {
        if !self.marks().has(Mark::Busy) {
            return Left::Idle;
        }
        if self.entry().kind() == Kind::Zapped && is_busy(self.entry().pfn(), self.id()) {
            return Left::Busy;
        }
        self.marks().clear(Mark::Busy);
        Left::Idle
    }

    /// Removes the entry, with its marks.
    ///
    /// One that has a reference loses it first. What is busy stays: see [`Self::look_again`]. Follows
    /// the end of `__dax_invalidate_entry()`.
    pub(crate) fn remove(mut self) {
        if self.entry().kind() == Kind::Tracked {
            warn_on_once!(true);
            self.zap(|_| After::Removed);
            return;
        }
        // Marks of what cannot be busy go with it.
        let busy = self.entry().kind() == Kind::Zapped && self.look_again() == Left::Busy;
        if !warn_on_once!(busy) {
            trace::remove(|| self.event());
            // SAFETY: By the type invariant it is not locked, and it is not tracked.
            unsafe { self.0.walk.pages.remove(self.0.entry) };
        }
    }

    /// Its marks.
    pub(crate) fn marks(&mut self) -> Marks<'_, 'm> {
        self.0.marks()
    }

    /// Locks the entry, and drops the i_pages lock while `f` has it.
    ///
    /// Then the same page offset is looked at once more. `None` if there is no entry, or one that is
    /// locked: the walk goes on with that.
    pub(crate) fn while_locked(self, f: impl FnOnce(LockedEntry<'m>)) -> Option<Self> {
        let Seen { walk, entry } = self.0;
        // SAFETY: By the type invariant it is at the position, and not locked.
        let locked = unsafe { walk.pages.lock_entry(entry) }.guard();

        walk.pages.unlocked(|| f(locked));
        match walk.pages.load().filter(|entry| !entry.is_locked()) {
            Some(entry) => {
                walk.pass(entry);
                Some(Self(Seen { walk, entry }))
            }
            None => {
                walk.again();
                None
            }
        }
    }

    /// Has the walk go on with what is at this page offset then.
    pub(crate) fn again(self) {
        self.0.walk.again();
    }

    /// Locks the entry and drops the i_pages lock while `f` has it, and unlocks it after `marks`
    /// changed its marks, under the i_pages lock. Follows `dax_writeback_one()`.
    #[inline(always)]
    pub(super) fn with_locked<R>(
        self,
        f: impl FnOnce(&LockedEntry<'m>) -> R,
        marks: impl FnOnce(&mut Marks<'_, 'm>),
    ) -> R {
        let Seen { walk, entry } = self.0;
        // SAFETY: By the type invariant it is at the position, and not locked.
        let (mut here, ret) = unsafe { walk.pages.lock_entry(entry) }.lend(f);

        marks(&mut here.marks());
        here.unlock();
        ret
    }
}

impl Walk<'_> {
    fn again(&mut self) {
        self.behind = Some(self.pages.index());
        self.pages.restart();
    }
}

impl<'w, 'm> Deref for At<'w, 'm> {
    type Target = Seen<'w, 'm>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
