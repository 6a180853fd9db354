// SPDX-License-Identifier: GPL-2.0

//! What happens to the files of bound superblocks when their device goes away.
//!
//! fs/dax.c has no counterpart: there `memunmap_pages()` frees the memmap under whoever maps or
//! pins a page. Here it first calls [`pgmap_dying`], when the pgmap gives out no new references,
//! so that no folio can be requested any more:
//!
//! 1. Each file of each bound superblock is searched for entries that name a pfn of the pgmap.
//!    They are zapped, and the file is unmapped. Entries of other devices that the same
//!    filesystem spans stay. A fault that is under way holds the entry lock, for which the search
//!    waits; one that comes later gets no reference, and hence no folio, and ends in SIGBUS.
//! 2. GUP-fast may have read a page table entry and not taken its reference yet. It does so with
//!    irqs off, so that a grace period is enough.
//! 3. Only pins are left. They are waited for, since each holds the pgmap through its folio, and
//!    the log says which they are if that takes long: entries lead to the folios, and what is
//!    active without an entry is seen in the count of the pgmap. No `struct page` is read but
//!    those that an entry names.
//!
//! A superblock whose `s_umount` is taken is not waited for but tried again, for as long as the
//! pgmap has references: what takes it may be an umount that waits for a pin of another device.
//! If it is one, its evictions let go of all entries, and the count says so.
//!
//! Zapped entries stay in the files until the next break or the eviction, which find that no
//! reference to the pgmap is left and do not look at its memmap.
//!
//! Rules: R14, R15, R22.

use core::cmp::min;

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

use super::zap::{
    zap,
    Spent, //
};
use crate::{
    ffi::{
        safe::synchronize_rcu,
        sched,
        sleep,
        trace, //
    },
    folio::{
        Folio,
        FolioRef,
        State, //
    },
    mapping::{
        file_of,
        for_each_bound,
        waiters::{
            self,
            What, //
        },
        FileWalk,
        Kind,
        Mapping,
        Mark,
        NoWalk,
        Range,
        Scan,
        Walk,
        Which,
        BATCH, //
    },
    pgmap::Pgmap, //
};

/// The number of the last removal.
static LAST: Atomic<u64> = Atomic::new(0);

/// A superblock that could not be searched is tried again after at most this long.
const RETRY_MS: u32 = 100;
/// References that are not waited for by name are looked for after at most this long.
const LOOK_MS: u32 = 100;
/// After so long the log says what is waited for; then after twice as long, and so on.
const SAY_AFTER_MS: u32 = 10_000;

/// The removal of a device.
struct Removal<'p> {
    pgmap: &'p Pgmap,
    /// Not 0.
    id: u64,
    /// How many files had entries.
    files: usize,
    /// Whether it has searched at all.
    begun: bool,
    /// Whether each superblock was searched.
    searched: bool,
    /// When it began to wait for pins.
    waits: Instant<Monotonic>,
    /// The log says more when it has waited so long.
    say_ms: u32,
}

/// Lets go of all folios of `pgmap`, which gives out no references for new ones any more, and
/// waits for those who pin them.
///
/// Process context, sleeps as long as pins last.
pub(crate) fn pgmap_dying(pgmap: &Pgmap) {
    let begun = Instant::now();

    trace::removal_begin(|| pfns(pgmap));
    let mut removal = Removal {
        pgmap,
        id: LAST.fetch_add(1, Relaxed) + 1,
        files: 0,
        begun: false,
        searched: false,
        waits: begun,
        say_ms: SAY_AFTER_MS,
    };
    removal.search();
    trace::removal_revoked(|| pfns(pgmap), removal.files, ms_since(begun));
    removal.waits = Instant::now();
    removal.wait();
    trace::removal_end(|| pfns(pgmap), removal.files, ms_since(begun));
}

fn pfns(pgmap: &Pgmap) -> trace::Pfns {
    (pgmap.first_pfn(), pgmap.last_pfn())
}

fn ms_since(begun: Instant<Monotonic>) -> usize {
    usize::try_from(begun.elapsed().as_millis()).unwrap_or(0)
}

/// Whether the folio at `pfn` is one of `pgmap` that is active or draining.
fn is_in_use(pgmap: &Pgmap, pfn: usize) -> bool {
    pgmap
        .page(pfn)
        .is_some_and(|page| Folio::at(page).is_ours())
}

impl Removal<'_> {
    /// Takes the pages from the files of all superblocks that were not searched yet, as far as
    /// that is possible now. May sleep, but waits for nobody who waits for a folio.
    fn search(&mut self) {
        let mut searched = true;
        // The first time also if there is nothing to unmap: somebody else may have done so since
        // the pgmap is dying.
        let mut any = !self.begun;

        for_each_bound(|bound| {
            if bound.is_searched_by(self.id) {
                return;
            }
            match FileWalk::start(bound) {
                Ok(mut walk) => {
                    while walk.step() {
                        if let Some(mapping) = walk.file() {
                            self.files += usize::from(revoke(mapping, self.pgmap));
                        }
                    }
                }
                // Its evictions do the same, and nobody maps a file that is evicted.
                Err(NoWalk::Gone) => {}
                Err(NoWalk::Locked) => {
                    searched = false;
                    return;
                }
            }
            bound.set_searched_by(self.id);
            any = true;
        });
        if any {
            synchronize_rcu();
        }
        self.begun = true;
        self.searched = searched;
    }

    /// Waits until nothing but its pages holds the pgmap.
    fn wait(&mut self) {
        let mut pinned = KVec::new();
        // Without memory nobody is named, and the count alone is waited for.
        let _ = pinned.reserve(BATCH, GFP_KERNEL);

        while self.pgmap.held() != Some(0) {
            self.find_pinned(&mut pinned);
            for pfn in &pinned {
                if !is_in_use(self.pgmap, *pfn) {
                    continue;
                }
                // One wait, also if it is interrupted by searches.
                waiters::during(What::Removal, None, 0, *pfn, || {
                    while !self.wait_for_pins(*pfn) {
                        self.search();
                    }
                });
            }
            if pinned.is_empty() {
                self.wait_for_rest();
            }
        }
        if !self.searched {
            // An umount has let go of everything first. Its files may have been unmapped just
            // before.
            synchronize_rcu();
        }
    }

    /// Fills `pinned` with folios that only pins keep from being idle, as entries name them.
    fn find_pinned(&self, pinned: &mut KVec<usize>) {
        let pgmap = self.pgmap;

        pinned.clear();
        for_each_bound(|bound| {
            let Some(mut scan) = Scan::new(bound.clone(), Which::Marked(Mark::Busy)) else {
                return;
            };
            while pinned.len() < pinned.capacity()
                && scan.batch(pinned.capacity() - pinned.len(), |seen| {
                    let entry = seen.entry();
                    if entry.kind() != Kind::Zapped || !pgmap.has(entry.pfn()) {
                        return;
                    }
                    if is_in_use(pgmap, entry.pfn()) {
                        // `batch` was asked for no more than there is room for.
                        let _ = pinned.push_within_capacity(entry.pfn());
                    } else {
                        // It stays idle, since the pgmap is dying: none need look again.
                        seen.marks().clear(Mark::Busy);
                    }
                })
            {
                sched::cond_resched();
            }
        });
    }

    /// For how long to sleep at most, before something else is to be done.
    fn patience(&self) -> u32 {
        let waited = u32::try_from(self.waits.elapsed().as_millis()).unwrap_or(u32::MAX);
        let until_said = self.say_ms.saturating_sub(waited).max(1);

        if self.searched {
            until_said
        } else {
            min(until_said, RETRY_MS)
        }
    }

    /// Whether it is time to say in the log what is waited for.
    fn is_long(&mut self) -> bool {
        let long = self.waits.elapsed().as_millis() >= i64::from(self.say_ms);
        if long {
            self.say_ms = self.say_ms.saturating_mul(2);
        }
        long
    }

    /// Waits until the folio at `pfn`, which is in the pgmap, is idle.
    ///
    /// Returns whether it is; if not, there are superblocks to be searched first.
    fn wait_for_pins(&mut self, pfn: usize) -> bool {
        let pgmap = self.pgmap;
        let Some(page) = pgmap.page(pfn) else {
            return true;
        };
        let folio = Folio::at(page);

        sleep::on(folio.wait_address(), |sleeper| loop {
            let _ = sleeper.prepare(sleep::Task::Uninterruptible);
            if !folio.is_ours() {
                return true;
            }
            if !sleep::for_ms(self.patience()) {
                continue;
            }
            if self.is_long() {
                if let State::Active(folio) = folio.look() {
                    say_pinned(&folio);
                }
            }
            if !self.searched {
                return false;
            }
        })
    }

    /// Waits for what no entry names: folios that other modules requested, what evictions have not
    /// come to yet, and whoever only looks at a folio.
    ///
    /// Returns when none is left, or when that takes long, after saying so: there may be names now.
    fn wait_for_rest(&mut self) {
        let pgmap = self.pgmap;
        let mut look_ms = 1;

        waiters::during(What::Removal, None, 0, pgmap.first_pfn(), || {
            while pgmap.held() != Some(0) {
                if self.is_long() {
                    say_held(pgmap);
                    return;
                }
                sleep::on(pgmap.wait_address(), |sleeper| {
                    let _ = sleeper.prepare(sleep::Task::Uninterruptible);
                    // Not all who put a reference wake us.
                    if pgmap.held() != Some(0) {
                        sleep::for_ms(min(look_ms, self.patience()));
                    }
                });
                look_ms = min(2 * look_ms, LOOK_MS);
                if !self.searched {
                    self.search();
                }
            }
        })
    }
}

fn say_held(pgmap: &Pgmap) {
    pr_warn!(
        "removal of a device waits for {} references to the memory from pfn {:#x} on that no file has\n",
        pgmap.held().unwrap_or(0),
        pgmap.first_pfn(),
    );
}

fn say_pinned(folio: &FolioRef) {
    let (mapcount, pins) = (folio.mapcount(), folio.pins());

    match file_of(folio) {
        Some(((dev, ino), index)) => pr_warn!(
            "removal of a device waits for pfn {:#x}: device {}:{}, inode {}, page offset {}: {} page table references, {} pins\n",
            folio.pfn(),
            dev >> 20,
            dev & 0xf_ffff,
            ino,
            index,
            mapcount,
            pins,
        ),
        None => pr_warn!(
            "removal of a device waits for pfn {:#x}: {} page table references, {} pins\n",
            folio.pfn(),
            mapcount,
            pins,
        ),
    }
}

/// Drops the references of all entries that name a pfn of `pgmap`, and unmaps the file if there
/// are any. Returns whether there were.
///
/// For a pgmap that gives out no references any more, so that no fault makes them tracked again.
/// Dirty marks stay; what they stand for may be lost with the device, and writeback says so.
/// Process context, may sleep.
pub(crate) fn revoke(mapping: Mapping<'_>, pgmap: &Pgmap) -> bool {
    let mut walk = Walk::new(mapping, Range::ALL);
    let mut any = false;

    // Who has an entry locked, for which this waits, is a fault that is going to map it, at worst.
    while let Some(at) = walk.next() {
        if at.entry().is_mapped() && pgmap.has(at.entry().pfn()) {
            any = true;
            zap(at, Spent::Stays);
        }
    }
    drop(walk);
    if any {
        mapping.unmap(Range::ALL);
    }
    any
}
