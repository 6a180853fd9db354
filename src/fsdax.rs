// SPDX-License-Identifier: GPL-2.0

//! Insertion, zapping, revival and removal of entries, and the layout break.
//!
//! Counterpart of `dax_insert_entry()`, `dax_layout_busy_page_range()`,
//! `dax_delete_mapping_range()`, `dax_break_layout()` and `dax_break_layout_final()` of
//! `fs/dax.c`.
//!
//! A break works in three steps, each of which visits an entry once:
//!
//! 1. Unmap the range and *zap* its entries: mark them zapped and drop their references. What is
//!    not idle then gets [`Mark::Busy`].
//! 2. *Settle* the marked entries one by one: wait until the folio is idle. While we sleep the
//!    filesystem's lock is dropped and faults come in; what they insert or revive is marked too,
//!    so that nothing has to be looked for from the start of the range again.
//! 3. When no entry is marked any more, nobody uses a page of the range and nobody can get at one
//!    before the filesystem drops its lock. Only now are the entries, with their dirty marks,
//!    removed: had the wait been interrupted, nothing would have been lost. What is idle and clean
//!    when it is zapped says nothing, and goes at once, unless the caller does not wait.
//!
//! Rules: R5, R6, R7, R8, R9, R12, R14, R17.

use core::mem::ManuallyDrop;

use kernel::prelude::*;

use crate::{
    bindings,
    entry::{
        Entry,
        Kind,
        Order, //
    },
    folio::{
        AssociateError,
        FolioRef,
        State, //
    },
    inject::{
        self,
        Point, //
    },
    mapping::{
        GrabError,
        LockedEntry,
        Mapping,
        Mark,
        Pages,
        Range,
        BATCH, //
    },
    pgmap::{
        self,
        Pgmap,
        PgmapRef, //
    },
    trace,
    wait,
    waiters::{
        self,
        What, //
    },
    writeback, //
};

/// Calls `f`, in which a break of `mapping` sleeps and lets faults in.
///
/// What they insert or map meanwhile gets [`Mark::Busy`], see [`mark_for_break`], and loses it
/// when no break of the file sleeps any more, however `f` ends. May sleep.
fn while_sleeping<R>(mapping: Mapping<'_>, f: impl FnOnce() -> R) -> R {
    let ret = waiters::sleeping(mapping, f);
    clear_marks(mapping);
    ret
}

/// Clears [`Mark::Busy`] of what faults marked in vain, all over the file, unless a break sleeps
/// that may need it. What is zapped keeps it: that says something about the entry.
fn clear_marks(mapping: Mapping<'_>) {
    let mut cursor = mapping.at(0);
    let mut pages = cursor.lock();
    let mut scanned = 0;

    while let Some(entry) = pages.find_marked(usize::MAX, Mark::Busy) {
        // Another one may begin whenever this lets the lock go, and clears the rest.
        if waiters::is_breaking(&pages) {
            return;
        }
        if entry.kind() != Kind::Zapped {
            pages.clear(Mark::Busy);
        }
        breathe(&mut pages, &mut scanned, entry);
    }
}

/// Lets irqs and other tasks in once per batch of pages.
fn breathe(pages: &mut Pages<'_, '_>, scanned: &mut usize, entry: Entry) {
    *scanned += entry.order().pages();
    if *scanned >= BATCH {
        *scanned = 0;
        pages.breathe();
    }
}

/// Marks the entry at the position for a break of the file that sleeps, if there is one.
///
/// If there is none, a mark from when the entry was zapped has no meaning any more.
pub(crate) fn mark_for_break(pages: &mut Pages<'_, '_>) {
    if waiters::is_breaking(pages) {
        pages.set(Mark::Busy);
    } else {
        pages.clear(Mark::Busy);
    }
}

/// Why [`insert`] fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InsertError {
    /// The device is going away.
    Dying,
    /// A page of the folio is in use elsewhere.
    Busy,
    /// A page of the folio is in use as part of a folio of another order.
    OtherOrder,
    /// The entry names another block.
    Mismatch,
    /// The pages are not all part of one range of FS_DAX memory.
    Range,
}

impl From<InsertError> for Error {
    fn from(e: InsertError) -> Self {
        match e {
            InsertError::Dying => ENXIO,
            InsertError::Busy | InsertError::OtherOrder => EBUSY,
            InsertError::Mismatch => EEXIST,
            InsertError::Range => ERANGE,
        }
    }
}

/// Makes `locked` a tracked entry for the folio at `pfn`, of the order of the entry.
///
/// Returns whether it was not tracked before. `may_share` allows that entries of other files
/// track the same folio. A zero page is unmapped first. Process context, may sleep.
///
/// Follows `dax_insert_entry()`; a zapped entry is *revived*: the folio may still be pinned, and
/// a multi-page direct I/O may need this page to finish and drop the pins that a break waits for.
///
/// # Errors
///
/// See [`InsertError`]; the entry is unchanged then.
pub(crate) fn insert(
    locked: &mut LockedEntry<'_>,
    pfn: usize,
    may_share: bool,
) -> Result<bool, InsertError> {
    let order = locked.entry().order();
    insert_live(locked, pfn, may_share, false, || PgmapRef::live(pfn, order))
}

/// [`insert`] of a folio whose pgmap `live` finds. If it is `dirty`, the entry is marked so, under
/// the same hold of the i_pages lock that makes it tracked.
pub(crate) fn insert_live(
    locked: &mut LockedEntry<'_>,
    pfn: usize,
    may_share: bool,
    dirty: bool,
    live: impl Fn() -> Result<PgmapRef>,
) -> Result<bool, InsertError> {
    let old = locked.entry();
    let order = old.order();

    if old.is_mapped() && old.pfn() != pfn {
        return Err(InsertError::Mismatch);
    }
    if old.kind() == Kind::Tracked {
        if dirty {
            locked.with_marks(|pages| pages.set(Mark::Dirty));
        }
        return Ok(false);
    }
    let new = Entry::tracked(pfn, order).ok_or(InsertError::Mismatch)?;
    if old.kind() == Kind::Zero {
        locked.mapping().unmap(locked.range());
    }

    let folio = activate(locked, order, may_share, live)?;
    let address = folio.as_folio().wait_address();
    // The entry takes over the reference, and is visible as tracked from here on.
    folio.into_entry();
    locked.set(new, |pages| {
        if dirty {
            pages.set(Mark::Dirty);
        }
        mark_for_break(pages);
    });
    if old.kind() == Kind::Zapped {
        trace::revive(locked);
    } else {
        trace::insert(locked);
    }
    // A break that sleeps until the folio is idle has to zap the entry again, and the entry of
    // another file that was zapped need not wait any more. They check under the i_pages lock that
    // `set` took, or the folio lock.
    if old.kind() == Kind::Zapped || may_share {
        address.wake();
    }
    Ok(true)
}

/// After so many races for a shared folio that others won, it is taken to be part of another one.
const LOST_RACES: u32 = 64;

/// Gets a reference to the folio that `live` takes a pgmap for, and associates it with the entry.
fn activate(
    locked: &LockedEntry<'_>,
    order: Order,
    may_share: bool,
    live: impl Fn() -> Result<PgmapRef>,
) -> Result<FolioRef, InsertError> {
    let entry = (locked.mapping(), locked.index());

    if locked.entry().kind() == Kind::Empty {
        // Most likely free; if not, `join` finds out why.
        if let Ok(pgmap) = live() {
            if !inject::fails(Point::Request) {
                if let Ok(folio) = pgmap::request(pgmap, Some(entry)) {
                    return Ok(folio);
                }
            }
        }
    }
    join(entry, order, may_share, live)
}

/// [`activate`] for a folio that is in use, or was a moment ago.
#[cold]
#[inline(never)]
fn join(
    entry: (Mapping<'_>, usize),
    order: Order,
    may_share: bool,
    live: impl Fn() -> Result<PgmapRef>,
) -> Result<FolioRef, InsertError> {
    let mut lost = 0;

    loop {
        let pgmap = live().map_err(|e| {
            if e == ERANGE {
                InsertError::Range
            } else {
                InsertError::Dying
            }
        })?;
        match pgmap.folio().look() {
            State::Draining => pgmap.folio().wait_drained(),
            // Or it is draining, which whoever makes way for us waits for.
            State::Idle if pgmap.folio().is_tail() => return Err(InsertError::OtherOrder),
            State::Idle => match pgmap::request(pgmap, Some(entry)) {
                Ok(folio) => return Ok(folio),
                // Another file requested it first, and can be joined now, unless it has let it go
                // again; or a page of it is in use as part of another folio, and stays so.
                Err(_) if may_share && lost < LOST_RACES => lost += 1,
                Err(_) => return Err(InsertError::Busy),
            },
            State::Active(folio) if folio.order() == order.get() => {
                match folio.associate(entry.0, entry.1, may_share) {
                    Ok(()) => return Ok(folio),
                    Err(AssociateError::Held) => folio.wait_unheld(),
                    Err(AssociateError::NotShared) => return Err(InsertError::Busy),
                }
            }
            State::Active(_) => return Err(InsertError::OtherOrder),
        }
    }
}

/// What is left of a folio when an entry lost its reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// Nothing, or no business of this entry: the slot may go.
    Idle,
    /// Pins, or page table entries that mmu_gather has yet to drop.
    Busy,
}

/// What becomes of a slot that says nothing any more: its folio is idle, and it is not dirty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spent {
    /// It stays, with a zapped entry.
    Stays,
    /// It is removed at once, which saves a visit.
    Goes,
}

/// Zaps `entry`, found tracked and unlocked at the position: its reference goes, the slot stays
/// unless it is spent.
fn zap(pages: &mut Pages<'_, '_>, entry: Entry, spent: Spent) -> Left {
    let mapping = pages.mapping();
    let index = entry.order().align(pages.index());

    trace::zap(mapping, index, entry);
    // SAFETY: The entry was tracked, and is zapped or removed below, before anybody can look.
    let folio = unsafe { FolioRef::from_entry(entry.pfn()) };
    let left = release(folio, mapping, index);
    if left == Left::Busy {
        pages.replace(entry, entry.zapped());
        pages.set(Mark::Busy);
        trace::break_busy(mapping, index, entry);
    } else if spent == Spent::Stays || pages.is_dirty() {
        pages.replace(entry, entry.zapped());
        pages.clear(Mark::Busy);
    } else {
        trace::remove(mapping, index, entry);
        pages.remove(entry);
    }
    left
}

/// Drops the reference of the entry at `index` of `mapping`.
fn release(folio: FolioRef, mapping: Mapping<'_>, index: usize) -> Left {
    let folio = match folio.free_if_last() {
        Ok(()) => return Left::Idle,
        Err(folio) => folio,
    };
    if folio.disassociate(mapping, index) {
        // The block belongs to other files too, and their entries keep track of the pins.
        return Left::Idle;
    }
    match folio.free_if_last() {
        Ok(()) => Left::Idle,
        Err(_) => Left::Busy,
    }
}

/// Whether pins keep the folio busy that the zapped entry at `index` names.
pub(crate) fn is_busy(mapping: Mapping<'_>, index: usize, entry: Entry) -> bool {
    let Some(pgmap) = PgmapRef::dying_or_live(entry.pfn()) else {
        return false;
    };
    match pgmap.folio().look() {
        State::Idle => false,
        State::Draining => true,
        // Idle and requested by another file since, or that file tracks it now.
        State::Active(folio) => folio.is_owned_by(mapping, index),
    }
}

/// What becomes of the data of a range whose layout is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Data {
    /// It is dropped: dirty entries may go.
    Discard,
    /// It lives on: dirty entries are written back before they go.
    Keep,
    /// The filesystem decides later: what is dirty and all in the range stays, zapped. A writeback,
    /// a removal or another break may see it before faults are let in again.
    Decide,
}

/// What a break does when a folio is busy.
pub(crate) enum OnBusy<'a> {
    /// Return `ERESTARTSYS` at once.
    Fail,
    /// Call this to drop the filesystem's lock, sleep, and take the lock again; a signal
    /// interrupts.
    Sleep(&'a dyn Fn()),
    /// Sleep, whatever comes, and say so: eviction, where nobody else has the inode.
    Evict,
    /// The same for a file that may be in use.
    Delete,
}

/// Waits until nobody uses the pages of `range` and removes their entries.
///
/// The caller holds the filesystem's lock that keeps faults out (`invalidate_lock` for ext4).
/// When this returns `Ok`, `range` has no entries, but for those that [`Data::Decide`] leaves, and
/// is mapped nowhere, and this remains so until that lock is dropped. Process context, may sleep.
///
/// # Errors
///
/// - `ERESTARTSYS`: a folio is busy and `on_busy` is [`OnBusy::Fail`], or a signal came in.
///   What is busy or dirty is still there with its marks, and with [`OnBusy::Fail`] all the rest.
///
/// Follows `dax_break_layout()`.
pub(crate) fn break_layouts(
    mapping: Mapping<'_>,
    range: Range,
    data: Data,
    on_busy: OnBusy<'_>,
) -> Result {
    trace::break_begin(mapping, range);
    let ret = break_and_remove(mapping, range, data, on_busy);
    trace::break_end(mapping, range, &ret);
    ret
}

fn break_and_remove(mapping: Mapping<'_>, range: Range, data: Data, on_busy: OnBusy<'_>) -> Result {
    if mapping.is_empty() {
        // There may be page table entries for holes whose entries are gone.
        mapping.unmap(range);
        return Ok(());
    }
    mapping.unmap(range);
    // Who does not wait finds all entries again.
    let spent = match on_busy {
        OnBusy::Fail => Spent::Stays,
        _ => Spent::Goes,
    };
    if zap_range(mapping, range, spent) == Left::Busy {
        if matches!(on_busy, OnBusy::Fail) && busy_entry(mapping, range).is_some() {
            return Err(ERESTARTSYS);
        }
        while_sleeping(mapping, || -> Result {
            while settle_next(mapping, range, &on_busy)? {}
            Ok(())
        })?;
    }
    remove_range(mapping, range, data);
    Ok(())
}

/// Step 1: zaps all entries in `range`. Returns whether any folio is busy.
fn zap_range(mapping: Mapping<'_>, range: Range, spent: Spent) -> Left {
    let mut left = Left::Idle;
    let mut cursor = mapping.at(range.first);
    let mut pages = cursor.lock();
    let mut scanned = 0;

    while let Some(entry) = pages.find(range.last) {
        if entry.is_locked() {
            pages.wait_unlocked(entry);
            continue;
        }
        // A page that was found is in the range.
        let partial = entry.order() != Order::Pte
            && !range.contains(Range::of_entry(pages.index(), entry.order()));
        if partial && entry.kind() == Kind::Tracked {
            // The rest of a large folio goes too, and its data must not.
            let locked = pages.lock_entry(entry);
            pages.unlocked(|| clean_and_unmap(locked));
            let Some(entry) = pages.load().filter(|e| !e.is_locked()) else {
                // Somebody else has it: look at it again.
                pages.restart();
                continue;
            };
            if entry.kind() == Kind::Tracked && zap(&mut pages, entry, spent) == Left::Busy {
                left = Left::Busy;
            }
        } else if entry.kind() == Kind::Tracked {
            if zap(&mut pages, entry, spent) == Left::Busy {
                left = Left::Busy;
            }
        } else if pages.has(Mark::Busy) {
            // Left by an earlier break, or by a fault while one slept.
            let index = entry.order().align(pages.index());
            if entry.kind() == Kind::Zapped && is_busy(mapping, index, entry) {
                left = Left::Busy;
            } else {
                pages.clear(Mark::Busy);
            }
        }
        breathe(&mut pages, &mut scanned, entry);
    }
    left
}

/// Writes an entry back that is only partly in the range of a break, and unmaps all of it.
fn clean_and_unmap(locked: LockedEntry<'_>) {
    let mapping = locked.mapping();
    let dirty = locked.with_marks(|pages| pages.is_dirty());

    if dirty {
        writeback::flush_now(&locked);
    }
    mapping.unmap(locked.range());
}

/// Step 2: deals with the first entry in `range` that a break has to look at.
///
/// Returns whether there was one.
fn settle_next(mapping: Mapping<'_>, range: Range, on_busy: &OnBusy<'_>) -> Result<bool> {
    let mut cursor = mapping.at(range.first);
    let mut pages = cursor.lock();
    let (index, entry) = loop {
        match pages.find_marked(range.last, Mark::Busy) {
            None => return Ok(false),
            Some(entry) if entry.is_locked() => pages.wait_unlocked(entry),
            Some(entry) => break (entry.order().align(pages.index()), entry),
        }
    };

    match entry.kind() {
        Kind::Zapped if is_busy(mapping, index, entry) => {
            drop(pages);
            wait_for(mapping, range, index, entry, on_busy)?;
        }
        Kind::Zapped => pages.clear(Mark::Busy),
        // Inserted or revived while the lock was dropped.
        Kind::Tracked => zap_again(&mut pages, entry, range),
        Kind::Zero | Kind::Empty => {
            pages.clear(Mark::Busy);
            drop(pages);
            mapping.unmap(Range::of_entry(index, entry.order()));
        }
    }
    Ok(true)
}

/// Unmaps and zaps `entry`, found tracked and unlocked at the position, unless somebody else
/// changes it first.
fn zap_again(pages: &mut Pages<'_, '_>, entry: Entry, range: Range) {
    let locked = pages.lock_entry(entry);

    pages.unlocked(|| clean_if_partial(locked, range));
    if pages.load() == Some(entry) {
        zap(pages, entry, Spent::Stays);
    }
}

fn clean_if_partial(locked: LockedEntry<'_>, range: Range) {
    if range.contains(locked.range()) {
        locked.mapping().unmap(locked.range());
    } else {
        clean_and_unmap(locked);
    }
}

/// After this many seconds an eviction says what it waits for, and again each time they pass.
const SAY_AFTER_SECONDS: u32 = 10;

/// For how long a break leaves an entry alone that a fault revived.
///
/// A break zaps the entry it waits for at most once in that time, however fast the entry is
/// touched, and a folio that nobody pins any more is seen idle when it has passed.
const REVIVED_MS: u32 = 40;

/// Sleeps until the zapped `entry` at `index`, which is busy, is idle or says something else.
///
/// If a fault revives it, it is zapped again after [`REVIVED_MS`]: that neither starves the break
/// once the pins are gone, nor keeps it busy while they are there. The last pin that goes while
/// it is zapped wakes the break at once.
fn wait_for(
    mapping: Mapping<'_>,
    range: Range,
    index: usize,
    entry: Entry,
    on_busy: &OnBusy<'_>,
) -> Result {
    let what = match on_busy {
        OnBusy::Fail => return Err(ERESTARTSYS),
        OnBusy::Sleep(_) => What::Break,
        OnBusy::Evict => What::Evict,
        OnBusy::Delete => What::Delete,
    };
    // The waiter keeps the memmap, so that it can look at the folio after it was freed.
    let Some(pgmap) = PgmapRef::dying_or_live(entry.pfn()) else {
        return Ok(());
    };

    trace::wait_begin(mapping, index, entry);
    let ret = waiters::during(what, Some(mapping), index, entry.pfn(), || {
        while sleep_on(mapping, index, entry, on_busy, &pgmap)? == Waited::Revived {
            let mut cursor = mapping.at(index);
            let mut pages = cursor.lock();
            let mut found = pages.load();
            while let Some(e) = found.filter(|e| e.is_locked()) {
                pages.wait_unlocked(e);
                found = pages.load();
            }
            // It may have been zapped by another break.
            if let Some(e) = found.filter(|e| *e != entry && e.zapped() == entry) {
                zap_again(&mut pages, e, range);
            }
        }
        Ok(())
    });
    trace::wait_end(mapping, index, entry);
    ret
}

/// Why [`sleep_on`] ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waited {
    /// The entry is not busy, or another one.
    Settled,
    /// It has been tracked for [`REVIVED_MS`].
    Revived,
}

/// [`wait_for`], until there is something to do.
fn sleep_on(
    mapping: Mapping<'_>,
    index: usize,
    entry: Entry,
    on_busy: &OnBusy<'_>,
    pgmap: &PgmapRef,
) -> Result<Waited> {
    let task = match on_busy {
        OnBusy::Sleep(_) => wait::Task::Interruptible,
        _ => wait::Task::Uninterruptible,
    };

    wait::with_alarm(|alarm| {
        wait::on(pgmap.folio().wait_address(), |wait| loop {
            wait.prepare(task)?;
            // A fault that holds the entry lock may be about to revive it; it wakes us then.
            match look(mapping, index) {
                Some(e) if e == entry => {
                    if !is_busy(mapping, index, entry) {
                        return Ok(Waited::Settled);
                    }
                }
                Some(e) if e.zapped() == entry => {
                    if alarm.rang() {
                        return Ok(Waited::Revived);
                    }
                    alarm.set(REVIVED_MS);
                }
                _ => return Ok(Waited::Settled),
            }
            match on_busy {
                OnBusy::Sleep(callback) => callback(),
                _ => {
                    if wait::sleep_seconds(SAY_AFTER_SECONDS) {
                        say_busy(mapping, index, entry, on_busy, pgmap);
                    }
                }
            }
        })
    })
}

/// The entry at `index`, as if it were unlocked.
fn look(mapping: Mapping<'_>, index: usize) -> Option<Entry> {
    let mut cursor = mapping.at(index);
    let mut pages = cursor.lock();

    pages.load().map(Entry::unlocked)
}

fn say_busy(
    mapping: Mapping<'_>,
    index: usize,
    entry: Entry,
    on_busy: &OnBusy<'_>,
    pgmap: &PgmapRef,
) {
    let does = match on_busy {
        OnBusy::Evict => "evicts",
        _ => "deletes an entry of",
    };
    let State::Active(folio) = pgmap.folio().look() else {
        return;
    };
    // SAFETY: Any context.
    if !unsafe { bindings::rust_fsdax_ratelimit() } {
        return;
    }
    let (dev, ino) = mapping.id();
    // SAFETY: There is a current task.
    let pid = unsafe { bindings::rust_fsdax_task_pid() };
    pr_warn!(
        "device {}:{}: task {} {} inode {} and waits for page offset {}: pfn {:#x}, {} page table references, {} pins\n",
        dev >> 20,
        dev & 0xf_ffff,
        pid,
        does,
        ino,
        index,
        entry.pfn(),
        folio.mapcount(),
        // Without the reference of this function.
        folio.count() - 1 - folio.mapcount(),
    );
}

/// Step 3: removes all entries in `range`, none of which has a reference any more, but for those
/// that [`Data::Decide`] leaves.
fn remove_range(mapping: Mapping<'_>, range: Range, data: Data) {
    let mut cursor = mapping.at(range.first);
    let mut pages = cursor.lock();
    let mut scanned = 0;

    while let Some(entry) = pages.find(range.last) {
        if entry.is_locked() {
            pages.wait_unlocked(entry);
            continue;
        }
        if entry.kind() == Kind::Tracked {
            // Step 2 leaves none, and the filesystem keeps faults out. If it does not, the next
            // break finds what is left.
            crate::warn::warn_on_once!(true);
            zap(&mut pages, entry, Spent::Stays);
            continue;
        }
        let whole = range.contains(Range::of_entry(pages.index(), entry.order()));
        let dirty = entry.is_mapped() && pages.is_dirty();
        if dirty && whole && data == Data::Decide {
            breathe(&mut pages, &mut scanned, entry);
            continue;
        }
        if dirty && (data == Data::Keep || !whole) {
            let locked = pages.lock_entry(entry);
            pages.unlocked(|| {
                writeback::flush_now(&locked);
                drop(locked);
            });
            // Found again, clean.
            continue;
        }
        trace::remove(mapping, pages.index(), entry);
        pages.remove(entry);
        breathe(&mut pages, &mut scanned, entry);
    }
}

/// Zaps and removes the entries in `range`, which the caller knows to be idle.
///
/// Entries that are busy after all stay, zapped, and are warned about. Process context, may
/// sleep. Follows `dax_delete_mapping_range()`.
pub(crate) fn delete_range(mapping: Mapping<'_>, range: Range) {
    let busy = break_layouts(mapping, range, Data::Discard, OnBusy::Fail).is_err();
    crate::warn::warn_on_once!(busy);
}

/// How [`remove_entry`] ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Removed {
    /// The entry is gone.
    Yes,
    /// There was none.
    Absent,
    /// It is dirty.
    Dirty,
    /// Its folio is busy; it was zapped and stays until a break or removal finds it idle.
    Busy,
}

/// Removes the entry at `index`, unless its folio is busy, or it is dirty and `data` is kept.
///
/// It is unmapped first: were it removed first, a fault could come in between and find a stale
/// page table entry. That is not done where nothing maps it, since callers remove the entries of a
/// range one by one. Process context, may sleep. Follows `__dax_invalidate_entry()`.
pub(crate) fn remove_entry(mapping: Mapping<'_>, index: usize, data: Data) -> Removed {
    let Some(mut locked) = mapping.lock_entry(index) else {
        return Removed::Absent;
    };
    let dirty = locked.with_marks(|pages| pages.is_dirty());
    if dirty && data == Data::Keep {
        return Removed::Dirty;
    }
    if may_be_mapped(&locked) {
        mapping.unmap(locked.range());
    }
    match zap_locked(&mut locked) {
        Left::Busy => Removed::Busy,
        Left::Idle => {
            trace::remove(mapping, locked.index(), locked.entry());
            locked.remove();
            Removed::Yes
        }
    }
}

/// Whether any page table entry may show what `locked` names.
///
/// No fault maps it while it is locked, and what copies or moves page table entries does not make
/// the first one.
fn may_be_mapped(locked: &LockedEntry<'_>) -> bool {
    let entry = locked.entry();

    match entry.kind() {
        Kind::Tracked => {
            // SAFETY: The entry is tracked and locked, so that its reference stays; it is lent.
            let folio = ManuallyDrop::new(unsafe { FolioRef::from_entry(entry.pfn()) });
            folio.mapcount() != 0
        }
        // A removal zaps before it unmaps, and zero pages are not counted.
        Kind::Zapped | Kind::Zero => true,
        Kind::Empty => false,
    }
}

/// Drops the reference of an entry that is not mapped. Returns whether its folio is busy.
fn zap_locked(locked: &mut LockedEntry<'_>) -> Left {
    let (mapping, index, entry) = (locked.mapping(), locked.index(), locked.entry());

    let busy = match entry.kind() {
        Kind::Tracked => {
            locked.set(entry.zapped(), |pages| pages.set(Mark::Busy));
            trace::zap(mapping, index, entry);
            // SAFETY: The entry was tracked, and is zapped now.
            let folio = unsafe { FolioRef::from_entry(entry.pfn()) };
            release(folio, mapping, index) == Left::Busy && is_busy(mapping, index, entry)
        }
        Kind::Zapped => is_busy(mapping, index, entry),
        Kind::Zero | Kind::Empty => false,
    };
    if busy {
        Left::Busy
    } else {
        Left::Idle
    }
}

/// Makes `locked` an empty entry, because its block is going to be replaced in the file.
///
/// What is dirty is written back first: the block may live on in another file. If somebody has
/// the folio pinned whom no entry of another file would wait for, the entry stays, zapped and
/// unmapped, and the block must not be replaced yet: it could be freed, and used again, under the
/// pin. Process context, may sleep. Takes the place of the replacement in `dax_insert_entry()`,
/// which does not wait.
#[cold]
#[inline(never)]
pub(crate) fn give_up(locked: &mut LockedEntry<'_>) -> Left {
    if locked.with_marks(|pages| pages.is_dirty()) {
        writeback::flush_now(locked);
    }
    locked.mapping().unmap(locked.range());
    let left = zap_locked(locked);
    if left == Left::Idle {
        if locked.entry().kind() != Kind::Empty {
            trace::remove(locked.mapping(), locked.index(), locked.entry());
        }
        locked.set(Entry::empty(locked.entry().order()), |pages| {
            pages.clear(Mark::Busy);
        });
    }
    left
}

/// For how many milliseconds in a row a store does not ask the filesystem again whether the block
/// that it waits to replace is still shared.
const ASK_AGAIN_MS: u32 = 1000;

/// Notes that a store waits to replace the block of an entry that [`give_up`] left busy.
pub(crate) fn set_replaced(locked: &LockedEntry<'_>) {
    if let Some(pgmap) = PgmapRef::dying_or_live(locked.entry().pfn()) {
        if let State::Active(folio) = pgmap.folio().look() {
            folio.set_replaced(locked.mapping(), locked.index());
        }
    }
}

/// Whether a store has to wait before the block of this entry may be replaced: it was given up,
/// and the pins that kept it are still there.
///
/// The filesystem need not be asked for a block, and allocate one, just to find that out. That
/// the block is not shared any more nobody tells us; so the answer is no for `ms` milliseconds of
/// each second, the time that the wait after a yes lasts at most.
pub(crate) fn is_replaced_later(locked: &LockedEntry<'_>, ms: u32) -> bool {
    if locked.entry().kind() != Kind::Zapped {
        return false;
    }
    let Some(pgmap) = PgmapRef::dying_or_live(locked.entry().pfn()) else {
        return false;
    };
    match pgmap.folio().look() {
        State::Active(folio) => folio
            .replaced_ms(locked.mapping(), locked.index())
            .is_some_and(|age| age % ASK_AGAIN_MS >= ms),
        State::Draining | State::Idle => false,
    }
}

/// Sleeps until the folio of the zapped `entry` at `index` is not busy, or `ms` milliseconds
/// passed.
///
/// If a fault revives the entry, this ends [`REVIVED_MS`] later: a task that touches the page over
/// and over would have the caller zap it, and ask the filesystem, over and over.
///
/// # Errors
///
/// `ERESTARTSYS`: a fatal signal was pending when the wait began, or ended it.
pub(crate) fn wait_briefly(mapping: Mapping<'_>, index: usize, entry: Entry, ms: u32) -> Result {
    let Some(pgmap) = PgmapRef::dying_or_live(entry.pfn()) else {
        return Ok(());
    };
    let address = pgmap.folio().wait_address();

    trace::wait_begin(mapping, index, entry);
    let ret = waiters::during(What::Fault, Some(mapping), index, entry.pfn(), || {
        wait::on(address, |wait| {
            wait.prepare(wait::Task::Killable)?;
            if look(mapping, index) == Some(entry) && is_busy(mapping, index, entry) {
                wait::sleep_ms(ms);
            }
            wait.prepare(wait::Task::Killable)?;
            if look(mapping, index).is_some_and(|e| e != entry && e.zapped() == entry) {
                wait::sleep_ms(REVIVED_MS);
            }
            Ok(())
        })
    });
    trace::wait_end(mapping, index, entry);
    ret
}

/// Makes sure that no page table shows the zero page in `range`, where data is going to be.
///
/// For write(2), whose blocks are there by now, so that no fault finds a hole any more. A block
/// that was not there when it was read need not be new now: ext4 zeroes and converts all of a
/// short unwritten extent when a part of it is written. Process context, may sleep.
pub(crate) fn unmap_holes(mapping: Mapping<'_>, range: Range) {
    if mapping.is_empty() {
        return;
    }
    let mut cursor = mapping.at(range.first);
    let mut pages = cursor.lock();
    let mut scanned = 0;

    let mut holes: Option<Range> = None;

    while let Some(entry) = pages.find(range.last) {
        if entry.is_locked() {
            // Maybe by a fault that found a hole before there was a block.
            pages.wait_unlocked(entry);
            continue;
        }
        if entry.kind() == Kind::Zero {
            // All of a large one, which goes even if only a part of it is written.
            let Range { first, last } = Range::of_entry(pages.index(), entry.order());
            let first = holes.map_or(first, |holes| holes.first);
            holes = Some(Range { first, last });
        }
        breathe(&mut pages, &mut scanned, entry);
    }
    drop(pages);
    if let Some(holes) = holes {
        // A fault of one of them finds the block by now, unmaps the zero page, and makes the entry
        // a tracked one: none that is left is mapped again.
        mapping.unmap(holes);
        remove_holes(mapping, range);
    }
}

/// Removes the entries for holes in `range`, which are not mapped and where there are blocks.
fn remove_holes(mapping: Mapping<'_>, range: Range) {
    let mut cursor = mapping.at(range.first);
    let mut pages = cursor.lock();
    let mut scanned = 0;

    while let Some(entry) = pages.find(range.last) {
        if entry.is_locked() {
            pages.wait_unlocked(entry);
            continue;
        }
        if entry.kind() == Kind::Zero {
            trace::remove(mapping, entry.order().align(pages.index()), entry);
            pages.remove(entry);
        }
        breathe(&mut pages, &mut scanned, entry);
    }
}

/// Removes the entry at `index` in any case, waiting until its folio is idle.
///
/// Returns whether there was one. Process context, may sleep. Follows
/// `dax_delete_mapping_entry()`.
pub(crate) fn delete_entry(mapping: Mapping<'_>, index: usize) -> bool {
    loop {
        match remove_entry(mapping, index, Data::Discard) {
            Removed::Yes => return true,
            Removed::Busy => {
                if let Some(entry) = look(mapping, index).filter(|e| e.kind() == Kind::Zapped) {
                    let range = Range::of_entry(index, entry.order());
                    // Cannot fail without a signal to interrupt it.
                    let _ = wait_for(mapping, range, range.first, entry, &OnBusy::Delete);
                }
            }
            Removed::Absent | Removed::Dirty => return false,
        }
    }
}

/// Clears the dirty marks in `range`, whose data is about to be replaced.
///
/// Process context, may sleep. Follows `__dax_clear_dirty_range()`.
pub(crate) fn clear_dirty_range(mapping: Mapping<'_>, range: Range) {
    let mut cursor = mapping.at(range.first);
    let mut pages = cursor.lock();
    let mut scanned = 0;

    while let Some(entry) = pages.find(range.last) {
        if entry.is_locked() {
            pages.wait_unlocked(entry);
            continue;
        }
        // The rest of an entry that is only partly in the range has data that was not replaced.
        if range.contains(Range::of_entry(pages.index(), entry.order())) {
            pages.clear(Mark::Dirty);
            pages.clear(Mark::ToWrite);
        }
        breathe(&mut pages, &mut scanned, entry);
    }
}

/// The first pfn in `range` that somebody uses beyond page tables, after unmapping it.
///
/// Process context, may sleep. Follows `dax_layout_busy_page_range()`.
pub(crate) fn busy_pfn(mapping: Mapping<'_>, range: Range) -> Option<usize> {
    mapping.unmap(range);
    if zap_range(mapping, range, Spent::Stays) == Left::Idle {
        return None;
    }
    busy_entry(mapping, range).map(Entry::pfn)
}

/// The first zapped entry in `range` whose folio is busy.
///
/// Zapping may find a folio busy because of a reference that is about to go, of mmu_gather or
/// GUP-fast; this looks again.
fn busy_entry(mapping: Mapping<'_>, range: Range) -> Option<Entry> {
    let mut cursor = mapping.at(range.first);
    let mut pages = cursor.lock();
    let mut scanned = 0;

    while let Some(entry) = pages.find_marked(range.last, Mark::Busy) {
        let index = entry.order().align(pages.index());
        if entry.kind() == Kind::Zapped && is_busy(mapping, index, entry) {
            return Some(entry.unlocked());
        }
        pages.clear(Mark::Busy);
        breathe(&mut pages, &mut scanned, entry);
    }
    None
}

/// Drops the references of all entries that name a pfn of `pgmap`, and unmaps the file if there
/// are any. Returns whether there were.
///
/// For a pgmap that gives out no references any more, so that no fault makes them tracked again.
/// Dirty marks stay; what they stand for may be lost with the device, and writeback says so.
/// Process context, may sleep.
pub(crate) fn revoke(mapping: Mapping<'_>, pgmap: &Pgmap) -> bool {
    let mut cursor = mapping.at(0);
    let mut pages = cursor.lock();
    let mut scanned = 0;
    let mut any = false;

    while let Some(entry) = pages.find(usize::MAX) {
        if entry.is_locked() {
            // By a fault that is going to map it, at worst.
            pages.wait_unlocked(entry);
            continue;
        }
        if entry.is_mapped() && pgmap.has(entry.pfn()) {
            any = true;
            if entry.kind() == Kind::Tracked {
                zap(&mut pages, entry, Spent::Stays);
            }
        }
        breathe(&mut pages, &mut scanned, entry);
    }
    drop(pages);
    if any {
        mapping.unmap(Range::ALL);
    }
    any
}

/// Inserts a tracked entry for `pfn` at `index`, as a fault does, without mapping it.
///
/// # Errors
///
/// - `ENOMEM`: no memory for the xarray.
/// - `EEXIST`: there is an entry for another pfn, or of another order.
/// - `EBUSY`, `ENXIO`, `ERANGE`: as [`insert`].
///
/// Process context, may sleep. The filesystem's lock keeps breaks out.
pub(crate) fn insert_entry(
    mapping: Mapping<'_>,
    index: usize,
    pfn: usize,
    order: Order,
    may_share: bool,
) -> Result {
    let mut locked = match LockedEntry::grab(mapping, index, order) {
        Ok(locked) => locked,
        Err(GrabError::NoMemory) => return Err(ENOMEM),
        Err(GrabError::Conflict) => return Err(EEXIST),
        Err(GrabError::Io) => return Err(EIO),
    };
    if locked.entry().order() != order {
        return Err(EEXIST);
    }
    insert(&mut locked, pfn, may_share)?;
    Ok(())
}

/// Undoes an [`insert`] that made `locked` tracked, where `old` was before.
///
/// A zapped entry is zapped again; any other becomes an empty one, which is removed when it is
/// unlocked, unless somebody got hold of the folio meanwhile: then it stays, zapped.
#[cold]
#[inline(never)]
pub(crate) fn undo_insert(locked: &mut LockedEntry<'_>, old: Entry) {
    let entry = locked.entry();

    if entry.kind() != Kind::Tracked {
        return;
    }
    locked.set(entry.zapped(), |pages| pages.set(Mark::Busy));
    trace::zap(locked.mapping(), locked.index(), entry);
    // SAFETY: The entry was tracked, and is zapped now.
    let folio = unsafe { FolioRef::from_entry(entry.pfn()) };
    let left = release(folio, locked.mapping(), locked.index());
    if left == Left::Idle && old.kind() != Kind::Zapped {
        locked.set(Entry::empty(entry.order()), |pages| pages.clear(Mark::Busy));
    }
}
