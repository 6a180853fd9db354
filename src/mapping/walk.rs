// SPDX-License-Identifier: GPL-2.0

//! Walks over the entries of a file.
//!
//! A walk waits for entries that are locked, and lets irqs and other tasks in once per [`BATCH`]
//! pages: none of its users can forget either.
//!
//! Rules: R5, R8, R10.

use core::ops::{
    Deref,
    DerefMut, //
};

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
        Claim,
        EntryId,
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
        self.scanned += entry.order().pages();
        let range = Range::of_entry(self.pages.index(), entry.order());
        self.behind = range.last.checked_add(1);
    }
}

/// An entry that a [`Walk`] is at, locked or not. It does not change while this is there.
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
        self.entry.order().align(self.walk.pages.index())
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
        // SAFETY: The i_pages lock is held while `self` is borrowed, and what changes a tracked
        // entry holds it.
        (self.entry.kind() == Kind::Tracked)
            .then(|| unsafe { LentFolio::of_entry(self.entry.pfn()) })
    }
}

/// What becomes of a slot whose entry lost its reference, see [`At::zap`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// It stays, zapped, and gets the mark [`Mark::Busy`] or loses it.
    Zapped(bool),
    /// It goes, with its marks.
    Removed,
}

/// An entry that a [`Walk`] is at, and whose lock nobody holds.
pub(crate) struct At<'w, 'm>(Seen<'w, 'm>);

impl<'w, 'm> At<'w, 'm> {
    /// Takes the reference out of a tracked entry, and does with the slot what `f` says.
    ///
    /// Nobody can look in between. `f` is not called if the entry is not tracked.
    #[inline(always)]
    pub(crate) fn zap(self, f: impl FnOnce(&mut Seen<'_, 'm>, Claim) -> After) {
        let Self(mut seen) = self;
        let (entry, id) = (seen.entry, seen.id());
        if entry.kind() != Kind::Tracked {
            return;
        }
        // SAFETY: The entry is tracked and not locked, and the i_pages lock is held until the slot
        // says something else below.
        let claim = unsafe { Claim::from_entry(entry.pfn(), id) };
        let after = f(&mut seen, claim);
        let pages = &mut seen.walk.pages;
        match after {
            After::Removed => pages.remove(entry),
            After::Zapped(busy) => {
                pages.replace(entry, entry.zapped());
                if busy {
                    pages.marks().set(Mark::Busy);
                } else {
                    pages.marks().clear(Mark::Busy);
                }
            }
        }
    }

    /// Removes the entry, with its marks. A reference that it has is dropped.
    pub(crate) fn remove(self) {
        if self.0.entry.kind() == Kind::Tracked {
            warn_on_once!(true);
            self.zap(|_, claim| {
                drop(claim);
                After::Removed
            });
        } else {
            self.0.walk.pages.remove(self.0.entry);
        }
    }

    /// Locks the entry, and drops the i_pages lock while `f` has it.
    ///
    /// Then the same page offset is looked at once more. `None` if there is no entry, or one that is
    /// locked: the walk goes on with that.
    pub(crate) fn while_locked(self, f: impl FnOnce(LockedEntry<'m>)) -> Option<Self> {
        let Seen { walk, entry } = self.0;
        let locked = walk.pages.lock_entry(entry);

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
    /// changed its marks, under the i_pages lock.
    #[inline(always)]
    pub(super) fn with_locked<R>(
        self,
        f: impl FnOnce(&LockedEntry<'m>) -> R,
        marks: impl FnOnce(&mut Marks<'_, 'm>),
    ) -> R {
        let Seen { walk, entry } = self.0;
        let pages = &mut walk.pages;
        let locked = pages.lock_entry(entry);

        let ret = pages.unlocked_at(&locked, || f(&locked));
        marks(&mut pages.marks());
        pages.unlock_entry(locked);
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

impl DerefMut for At<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
