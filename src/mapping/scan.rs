// SPDX-License-Identifier: GPL-2.0

//! Looks at the entries of all files of a bound superblock, for debugfs and for removals.
//!
//! A [`FileWalk`] keeps the place. It holds an inode, but never waits for its eviction, and so for the
//! pins that the reader came to look at. Where there can be no walk, because `s_umount` is taken,
//! most often by an umount, only what is being evicted is seen: such an inode is in no list. If
//! its eviction waits, it is found among the waiters.
//!
//! fs/dax.c has no counterpart.
//!
//! Rules: R10, R12, R22.

use kernel::sync::Arc;

use super::{
    file::{
        Mapping,
        Range, //
    },
    pages::Mark,
    superblock::{
        Bound,
        FileWalk, //
    },
    waiters,
    walk::{
        Seen,
        Walk, //
    }, //
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
enum Place {
    /// At the inode in the list that the walk is at.
    Listed(FileWalk),
    /// Behind the inodes in the list, at what is being evicted from this address on.
    Evicted(usize),
    /// At the end.
    End,
}

/// A scan of a superblock, which is not unmounted before the scan is at what is being evicted.
pub(crate) struct Scan {
    which: Which,
    dev: u32,
    place: Place,
    /// Where to go on in the file.
    index: usize,
}

impl Scan {
    /// A scan of a superblock. `None` if it is not bound any more. May sleep.
    pub(crate) fn new(bound: Arc<Bound>, which: Which) -> Option<Self> {
        let dev = bound.describe(|about| about.dev)?;
        let place = match FileWalk::start(&bound) {
            Ok(walk) => Place::Listed(walk),
            Err(_) => Place::Evicted(0),
        };
        Some(Self {
            which,
            dev,
            place,
            index: 0,
        })
    }

    /// Calls `f` for the next entries, of which there are at most `count`, under the i_pages lock.
    ///
    /// Returns whether there may be more. Entries that come, go or move meanwhile may be left out
    /// or seen twice. May sleep, but does not wait for anybody who waits for a folio.
    pub(crate) fn batch(&mut self, mut count: usize, mut f: impl FnMut(&mut Seen<'_, '_>)) -> bool {
        let which = self.which;

        while let Place::Listed(walk) = &mut self.place {
            if let Some(mapping) = walk.file() {
                if !entries(which, mapping, &mut self.index, &mut count, &mut f) {
                    return true;
                }
            }
            self.index = 0;
            if !walk.step() {
                self.place = Place::Evicted(0);
            } else if walk.file().is_none() {
                // A batch of other inodes.
                return true;
            }
        }
        if let Place::Evicted(address) = self.place {
            let index = &mut self.index;
            let next = waiters::with_evicted(self.dev, address, |mapping| {
                if mapping.address() != address {
                    *index = 0;
                }
                if entries(which, mapping, index, &mut count, &mut f) {
                    mapping.address() + 1
                } else {
                    mapping.address()
                }
            });
            self.place = next.map_or(Place::End, Place::Evicted);
        }
        !matches!(self.place, Place::End)
    }
}

/// Calls `f` for at most `count` entries of `mapping` from `index` on.
///
/// Returns whether these were all. A file without entries counts as one.
fn entries(
    which: Which,
    mapping: Mapping<'_>,
    index: &mut usize,
    count: &mut usize,
    f: &mut impl FnMut(&mut Seen<'_, '_>),
) -> bool {
    let range = Range {
        first: *index,
        ..Range::ALL
    };
    let mut walk = match which {
        Which::All => Walk::new(mapping, range),
        Which::Marked(mark) => Walk::marked(mapping, range, mark),
    };

    loop {
        let Some(left) = count.checked_sub(1) else {
            return false;
        };
        *count = left;
        let Some(mut seen) = walk.next_seen() else {
            return true;
        };
        f(&mut seen);
        match seen.range().last.checked_add(1) {
            Some(next) => *index = next,
            None => return true,
        }
    }
}
