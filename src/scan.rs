// SPDX-License-Identifier: GPL-2.0

//! Looks at the entries of all files of a bound superblock, for debugfs.
//!
//! No inode is referenced. Now and then such a reference would be the last one: the reader would
//! evict the inode, and wait for the pins that it came to look at; and unmounting does not expect
//! foreign references. The list of inodes is locked instead, while a batch of entries is looked
//! at; inodes without entries are passed over, as whoever walks that list does. Afterwards the
//! place is looked for again from the start of the list, which is where new inodes are added.
//!
//! An inode that is being evicted is in no list. If that waits, it is found among the waiters.
//!
//! Rules: R10, R12.

use core::ptr::NonNull;

use kernel::sync::Arc;

use crate::{
    bindings,
    entry::Entry,
    mapping::{
        Mapping,
        Mark,
        Pages, //
    },
    removal::{
        Bound,
        Inodes, //
    },
    waiters, //
};

/// Which entries a scan looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// All.
    All,
    /// Those with this mark.
    Marked(Mark),
}

/// How far a scan has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the first inode.
    Start,
    /// At the inode with this address and number.
    Inode(usize, usize),
    /// Behind the inodes in the list, at what is being evicted from this address on.
    Evicted(usize),
    /// At the end.
    End,
}

/// A scan of a superblock.
pub(crate) struct Scan {
    bound: Arc<Bound>,
    which: Which,
    dev: u32,
    place: Place,
    /// Where to go on in the file.
    index: usize,
    /// How many inodes are behind us.
    passed: usize,
}

impl Scan {
    /// A scan of a superblock. `None` if it is not bound any more. May sleep.
    pub(crate) fn new(bound: Arc<Bound>, which: Which) -> Option<Self> {
        // SAFETY: `with` keeps the superblock.
        let dev = bound.with(|sb| unsafe { (*sb.as_ptr()).s_dev })?;
        Some(Self {
            bound,
            which,
            dev,
            place: Place::Start,
            index: 0,
            passed: 0,
        })
    }

    /// Calls `f` for the next entries, of which there are at most `count`, under the i_pages lock.
    ///
    /// Returns whether there may be more. Entries that come, go or move meanwhile may be left out
    /// or seen twice. May sleep, but does not wait for anybody who waits for a folio.
    pub(crate) fn batch(&mut self, count: usize, f: impl FnMut(&mut Pages<'_, '_>, Entry)) -> bool {
        match self.place {
            Place::End => {}
            Place::Evicted(address) => self.evicted(address, count, f),
            Place::Start | Place::Inode(..) => {
                let bound = self.bound.clone();
                if bound.with(|sb| self.inodes(sb, count, f)).is_none() {
                    // Unmounted.
                    self.place = Place::End;
                }
            }
        }
        self.place != Place::End
    }

    fn inodes(
        &mut self,
        sb: NonNull<bindings::super_block>,
        mut count: usize,
        mut f: impl FnMut(&mut Pages<'_, '_>, Entry),
    ) {
        // SAFETY: The caller keeps the superblock.
        let inodes = unsafe { Inodes::lock(sb) };
        let mut at = self.find(&inodes);

        while let Some(inode) = at {
            if let Some(mapping) = inodes.dax_file(inode) {
                if !self.entries(mapping, &mut count, &mut f) {
                    let (_, ino) = mapping.id();
                    self.place = Place::Inode(inode.as_ptr() as usize, ino);
                    return;
                }
            }
            self.index = 0;
            self.passed += 1;
            at = inodes.next(Some(inode));
        }
        self.place = Place::Evicted(0);
    }

    /// The inode to go on with.
    fn find(&mut self, inodes: &Inodes) -> Option<NonNull<bindings::inode>> {
        let mut at = inodes.next(None);
        let Place::Inode(address, ino) = self.place else {
            return at;
        };
        while let Some(inode) = at {
            // SAFETY: An inode in the list is valid.
            let number = unsafe { (*inode.as_ptr()).i_ino } as usize;
            if inode.as_ptr() as usize == address && number == ino {
                return at;
            }
            at = inodes.next(at);
        }
        // It was evicted. The one behind it is about there.
        self.index = 0;
        at = inodes.next(None);
        for _ in 0..self.passed {
            at = inodes.next(Some(at?));
        }
        at
    }

    fn evicted(
        &mut self,
        address: usize,
        mut count: usize,
        mut f: impl FnMut(&mut Pages<'_, '_>, Entry),
    ) {
        let next = waiters::with_evicted(self.dev, address, |mapping| {
            if mapping.address() != address {
                self.index = 0;
            }
            if self.entries(mapping, &mut count, &mut f) {
                mapping.address() + 1
            } else {
                mapping.address()
            }
        });
        self.place = next.map_or(Place::End, Place::Evicted);
    }

    /// Calls `f` for at most `count` entries of `mapping` from `self.index` on.
    ///
    /// Returns whether these were all. A file without entries counts as one.
    fn entries(
        &mut self,
        mapping: Mapping<'_>,
        count: &mut usize,
        f: &mut impl FnMut(&mut Pages<'_, '_>, Entry),
    ) -> bool {
        let mut cursor = mapping.at(self.index);
        let mut pages = cursor.lock();

        loop {
            let Some(left) = count.checked_sub(1) else {
                return false;
            };
            *count = left;
            let found = match self.which {
                Which::All => pages.find(usize::MAX),
                Which::Marked(mark) => pages.find_marked(usize::MAX, mark),
            };
            let Some(entry) = found else {
                return true;
            };
            f(&mut pages, entry);
            let first = entry.order().align(pages.index());
            match first.checked_add(entry.order().pages()) {
                Some(next) => self.index = next,
                None => return true,
            }
        }
    }
}
