// SPDX-License-Identifier: GPL-2.0

//! Which files share a large folio, so that they can be found.
//!
//! The list is in tail pages of the folio, which have no other use for these words: they are 0 in all
//! others, and in a folio that is free.
//!
//! fs/dax.c has no counterpart: it counts who shares a folio, and does not know them.
//!
//! Rules: R11, R24.

use super::{
    entry_id::EntryId,
    state::{
        Folio,
        FOLIO_PAGES, //
    }, //
};
use crate::pgmap::{
    Order,
    OwnPage,
    Page, //
};

/// How many files at most share a large folio. For one more, another one makes room
/// (`src/fsdax/make_way.rs`).
pub(super) const MAX: usize = 124;

kernel::static_assert!(FOLIO_PAGES + MAX <= Order::Pmd.pages());

/// How a file tracks a large folio that it shares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Share {
    /// By one entry for all of it.
    Whole,
    /// By an entry for all of it that was zapped, and waits for the pins: there is no whole one.
    Zapped,
    /// The same, while it has those who have parts give them back: nobody gets a new one.
    Closed,
    /// By so many entries for single pages of it. There is a whole one too, or a zapped one.
    Parts(usize),
}

impl Share {
    /// Whether it is by an entry for all of it that was zapped.
    pub(super) fn is_zapped(self) -> bool {
        matches!(self, Self::Zapped | Self::Closed)
    }
}

/// Codes of [`Share`] in a page: a number of parts, or one of these.
const WHOLE: usize = 1 << 16;
const ZAPPED: usize = WHOLE + 1;
const CLOSED: usize = WHOLE + 2;

/// A file that shares a large folio, and the page offset where the folio starts or would start.
///
/// # Invariants
///
/// `start` names the mapping as [`EntryId`] says, as long as the file tracks the folio. Its index may
/// wrap around below 0 if the file has only parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sharer {
    pub(crate) start: EntryId,
    pub(crate) share: Share,
}

/// The sharers of a large folio: a list of at most [`MAX`] in tail pages.
///
/// | word of a tail page | holds                                               |
/// |---------------------|-----------------------------------------------------|
/// | `zone_device_data`  | the mapping of the file                             |
/// | `index`             | the page offset of the folio in it                  |
/// | `private`           | 1 to 512 parts, [`WHOLE`], [`ZAPPED`] or [`CLOSED`] |
///
/// # Invariants
///
/// `head` is that of a large folio whose shape is not fixed, which is locked or draining. Of its tail
/// pages, the first `len` that `struct folio` does not lie over are the list, and these words of all
/// others are 0.
pub(super) struct Sharers<'f> {
    head: Page<'f>,
    len: usize,
}

impl<'f> Sharers<'f> {
    /// The list of a folio.
    ///
    /// # Safety
    ///
    /// `folio` is large, of a shape that is not fixed, and locked, or draining and the caller's, until
    /// the result is used for the last time. It has so many sharers, which were written by the
    /// functions of this type.
    pub(super) unsafe fn of(folio: Folio<'f>, len: usize) -> Self {
        // INVARIANT: What the caller promises.
        Self {
            head: folio.page(),
            len,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn page(&self, n: usize) -> Page<'f> {
        // SAFETY: By the type invariant the folio has as many pages as a PMD maps, all in one range.
        unsafe { self.head.behind(FOLIO_PAGES + n % MAX) }
    }

    fn own(&self, n: usize) -> OwnPage<'f> {
        // SAFETY: By the type invariant the folio is locked or the caller's, and nobody else writes
        // these words.
        unsafe { self.page(n).own() }
    }

    /// The sharer with this number, which is below [`Self::len`].
    pub(super) fn get(&self, n: usize) -> Sharer {
        let page = self.page(n);
        Sharer {
            // SAFETY: Only the words of an `EntryId` are written there.
            start: unsafe { EntryId::from_words(page.owner_unordered(), page.index()) },
            share: match page.private() {
                WHOLE => Share::Whole,
                ZAPPED => Share::Zapped,
                CLOSED => Share::Closed,
                parts => Share::Parts(parts),
            },
        }
    }

    /// All sharers, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, Sharer)> + '_ {
        (0..self.len).map(|n| (n, self.get(n)))
    }

    /// The file whose page offset `start` is where the folio starts.
    pub(super) fn find(&self, start: EntryId) -> Option<(usize, Share)> {
        self.iter()
            .find(|(_, sharer)| sharer.start == start)
            .map(|(n, sharer)| (n, sharer.share))
    }

    /// Whether a file shares it in a way for which `f` is true.
    pub(super) fn any(&self, f: impl Fn(Share) -> bool) -> bool {
        self.iter().any(|(_, sharer)| f(sharer.share))
    }

    /// Whether a file tracks all of the folio.
    pub(super) fn has_whole(&self) -> bool {
        self.any(|share| share == Share::Whole)
    }

    /// Changes how a file shares it.
    pub(super) fn set(&mut self, n: usize, share: Share) {
        self.own(n).set_private(match share {
            Share::Whole => WHOLE,
            Share::Zapped => ZAPPED,
            Share::Closed => CLOSED,
            Share::Parts(parts) => parts,
        });
    }

    /// Adds a file. Returns whether there is room.
    pub(super) fn push(&mut self, start: EntryId, share: Share) -> bool {
        if self.len == MAX {
            return false;
        }
        self.len += 1;
        self.put(self.len - 1, start, share);
        true
    }

    fn put(&mut self, n: usize, start: EntryId, share: Share) {
        self.own(n).set_tail_word(start.mapping() as usize);
        self.own(n).set_index(start.index());
        self.set(n, share);
    }

    /// Takes a file off. The last one takes its number.
    pub(super) fn remove(&mut self, n: usize) {
        let last = self.len - 1;
        let Sharer { start, share } = self.get(last);

        self.put(n, start, share);
        self.own(last).set_tail_word(0);
        self.own(last).set_index(0);
        self.own(last).set_private(0);
        self.len = last;
    }

    /// Takes all files off.
    pub(super) fn clear(&mut self) {
        while self.len > 0 {
            self.remove(self.len - 1);
        }
    }
}
