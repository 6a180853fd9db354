// SPDX-License-Identifier: GPL-2.0

//! The layout break.
//!
//! Counterpart of `dax_break_layout()` and `dax_break_layout_final()` ([`break_layouts`]),
//! `dax_layout_busy_page_range()` ([`busy_pfn`], with its search in [`busy_entry`]),
//! `wait_page_idle()` and `wait_page_idle_uninterruptible()` ([`wait_for`]) and, for the range of a
//! break, `dax_delete_mapping_range()` ([`remove_range`]) of `fs/dax.c`. [`settle_next`] takes the place
//! of one round of the loop of `dax_break_layout()`. What is not named here has no counterpart.
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
//! Rules: R6, R7, R8, R9, R12, R17, R23.

use kernel::prelude::*;

use super::{
    give_up::give_back_parts,
    pud::split,
    zap::{
        zap,
        Spent, //
    }, //
};
use crate::{
    ffi::{
        sched,
        sleep,
        trace,
        warn::warn_on_once, //
    },
    folio::{
        is_busy,
        EntryId,
        Folio,
        Left,
        State, //
    },
    mapping::{
        is_breaking,
        sleeping,
        waiters::{
            self,
            What, //
        },
        At,
        Entry,
        Kind,
        LockedEntry,
        Mapping,
        Mark,
        Range,
        Walk, //
    },
    pgmap::{
        Order,
        PgmapRef, //
    }, //
};

/// Calls `f`, in which a break of `mapping` sleeps and lets faults in.
///
/// What they insert or map meanwhile gets [`Mark::Busy`], see [`is_breaking`], and loses it when no
/// break of the file sleeps any more, however `f` ends. May sleep.
fn while_sleeping<R>(mapping: Mapping<'_>, f: impl FnOnce() -> R) -> R {
    let ret = sleeping(mapping, f);
    clear_marks(mapping);
    ret
}

/// Clears [`Mark::Busy`] of what faults marked in vain, all over the file, unless a break sleeps
/// that may need it. What is zapped keeps it: that says something about the entry.
fn clear_marks(mapping: Mapping<'_>) {
    let mut walk = Walk::marked(mapping, Range::ALL, Mark::Busy);

    while let Some(mut seen) = walk.next_seen() {
        // Another one may begin whenever this lets the lock go, and clears the rest.
        if is_breaking(&seen.marks()) {
            return;
        }
        if seen.entry().kind() != Kind::Zapped {
            seen.marks().clear(Mark::Busy);
        }
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
    /// Call this, which drops the filesystem's lock, calls `schedule()`, and takes the lock again;
    /// a signal interrupts. It sleeps for ever: whoever wants to wake up at some time sets an alarm.
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
    trace::break_begin(|| mapping.span(range));
    let ret = break_and_remove(mapping, range, data, on_busy);
    trace::break_end(|| mapping.span(range), &ret);
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
    match zap_range(mapping, range, spent) {
        // What is left is dirty, and stays.
        Rest::Zapped if spent == Spent::Goes && data == Data::Decide => return Ok(()),
        Rest::Zapped | Rest::Others => {}
        Rest::Busy => {
            if matches!(on_busy, OnBusy::Fail) && busy_entry(mapping, range).is_some() {
                return Err(ERESTARTSYS);
            }
            while_sleeping(mapping, || -> Result {
                while settle_next(mapping, range, &on_busy)? {}
                Ok(())
            })?;
        }
    }
    remove_range(mapping, range, data);
    Ok(())
}

/// What there is in a range after [`zap_range`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rest {
    /// Entries that were tracked until then, and are all in the range; none is busy.
    Zapped,
    /// Entries that say something else, or are only partly in it; none is busy.
    Others,
    /// An entry whose folio is busy.
    Busy,
}

/// Step 1: zaps all entries in `range`, where the loop of `dax_layout_busy_page_range()` only looks.
fn zap_range(mapping: Mapping<'_>, range: Range, spent: Spent) -> Rest {
    let mut rest = Rest::Zapped;
    let mut walk = Walk::new(mapping, range);

    while let Some(mut at) = walk.next() {
        let mut other = Rest::Zapped;
        let found = if at.entry().kind() == Kind::Tracked {
            if at.is_partial() {
                other = Rest::Others;
                // The rest of a large folio goes too, and its data must not. If somebody else has
                // the entry afterwards, or has zapped it, it is looked at again.
                match at.while_locked(clean_and_unmap) {
                    Some(at) => zap(at, spent),
                    None => Left::Idle,
                }
            } else {
                zap(at, spent)
            }
        } else {
            other = Rest::Others;
            at.look_again()
        };
        rest = rest.max(match found {
            Left::Idle => other,
            Left::Busy => Rest::Busy,
        });
    }
    rest
}

/// Writes an entry back that is only partly in the range of a break, and unmaps all of it.
fn clean_and_unmap(locked: LockedEntry<'_>) {
    // What has 1 GiB is made smaller when its folio is idle, and keeps its marks.
    if locked.entry().order() != Order::Pud && locked.with_marks(|marks| marks.is_dirty()) {
        locked.flush_now();
    }
    locked.mapping().unmap(locked.range());
}

/// Step 2: deals with the first entry in `range` that a break has to look at.
///
/// Returns whether there was one.
fn settle_next(mapping: Mapping<'_>, range: Range, on_busy: &OnBusy<'_>) -> Result<bool> {
    let mut walk = Walk::marked(mapping, range, Mark::Busy);
    let Some(mut at) = walk.next() else {
        return Ok(false);
    };
    let (index, entry) = (at.index(), at.entry());

    match entry.kind() {
        Kind::Zapped if is_busy(entry.pfn(), at.id()) => {
            drop(walk);
            wait_for(mapping, range, index, entry, on_busy)?;
        }
        Kind::Zapped => at.marks().clear(Mark::Busy),
        // Inserted or revived while the lock was dropped.
        Kind::Tracked => zap_again(at),
        Kind::Zero | Kind::Empty => {
            let whole = at.range();
            at.marks().clear(Mark::Busy);
            drop(walk);
            mapping.unmap(whole);
        }
    }
    Ok(true)
}

/// Unmaps and zaps a tracked entry, unless somebody else changes it first. What is only partly in
/// the range is written back.
fn zap_again(at: At<'_, '_>) {
    let (entry, partial) = (at.entry(), at.is_partial());
    let at = at.while_locked(|locked| {
        if partial {
            clean_and_unmap(locked);
        } else {
            locked.mapping().unmap(locked.range());
        }
    });

    if let Some(at) = at.filter(|at| at.entry() == entry) {
        zap(at, Spent::Stays);
    }
}

/// After this many seconds a wait that no signal ends says what it waits for, and again each time
/// they pass.
const SAY_AFTER_SECONDS: u32 = 10;

/// For how long a break leaves an entry alone that a fault revived.
///
/// A break zaps the entry it waits for at most once in that time, however fast the entry is
/// touched, and a folio that nobody pins any more is seen idle when it has passed.
pub(super) const REVIVED_MS: u32 = 40;

/// Sleeps until the zapped `entry` at `index`, which is busy, is idle or says something else.
///
/// If a fault revives it, it is zapped again after [`REVIVED_MS`]: that neither starves the break
/// once the pins are gone, nor keeps it busy while they are there. The last pin that goes while
/// it is zapped wakes the break at once.
pub(super) fn wait_for(
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

    trace::wait_begin(|| mapping.event(index, entry));
    let ret = waiters::during(what, Some(mapping), index, entry.pfn(), || {
        loop {
            give_back_parts(mapping, index, entry, Folio::of(&pgmap));
            if sleep_on(mapping, index, entry, on_busy, &pgmap)? == Waited::Settled {
                return Ok(());
            }
            let both = range.intersection(Range::of_entry(index, entry.order()));
            let mut walk = Walk::new(mapping, both);
            // It may have been zapped by another break.
            let revived = |at: &At<'_, '_>| at.entry() != entry && at.entry().zapped() == entry;
            if let Some(at) = walk.next().filter(revived) {
                zap_again(at);
            }
        }
    });
    trace::wait_end(|| mapping.event(index, entry));
    ret
}

/// Why [`sleep_on`] ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waited {
    /// The entry is not busy, or another one.
    Settled,
    /// It has been tracked for [`REVIVED_MS`], or others have had parts of its folio for so long.
    Revived,
}

/// Whether other files have parts of the folio of `entry`.
fn has_parts_beside(pgmap: &PgmapRef, entry: EntryId) -> bool {
    match Folio::of(pgmap).look() {
        State::Active(folio) => folio.lock().has_parts_beside(entry),
        State::Draining | State::Idle => false,
    }
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
        OnBusy::Sleep(_) => sleep::Task::Interruptible,
        _ => sleep::Task::Uninterruptible,
    };

    sleep::with_alarm(|alarm| {
        sleep::on(Folio::of(pgmap).wait_address(), |sleeper| loop {
            sleeper.prepare(task)?;
            // A fault that holds the entry lock may be about to revive it; it wakes us then.
            match mapping.look(index) {
                Some(e) if e == entry => {
                    let id = mapping.entry_id(index);
                    if !is_busy(entry.pfn(), id) {
                        return Ok(Waited::Settled);
                    }
                    if has_parts_beside(pgmap, id) {
                        if alarm.rang() {
                            return Ok(Waited::Revived);
                        }
                        alarm.set(REVIVED_MS);
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
                    if sleep::for_seconds(SAY_AFTER_SECONDS) {
                        say_busy(mapping, index, entry, on_busy, pgmap);
                    }
                }
            }
        })
    })
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
    let State::Active(folio) = Folio::of(pgmap).look() else {
        return;
    };
    if !sched::may_log() {
        return;
    }
    let (dev, ino) = mapping.id();
    pr_warn!(
        "device {}:{}: task {} {} inode {} and waits for page offset {}: pfn {:#x}, {} page table references, {} pins\n",
        dev >> 20,
        dev & 0xf_ffff,
        sched::pid(),
        does,
        ino,
        index,
        entry.pfn(),
        folio.mapcount(),
        folio.pins(),
    );
}

/// Step 3: removes all entries in `range`, none of which has a reference any more, but for those
/// that [`Data::Decide`] leaves.
fn remove_range(mapping: Mapping<'_>, range: Range, data: Data) {
    let mut walk = Walk::new(mapping, range);

    while let Some(mut at) = walk.next() {
        if at.entry().kind() == Kind::Tracked {
            // Step 2 leaves none, and the filesystem keeps faults out. If it does not, the next
            // break finds what is left.
            warn_on_once!(true);
            zap(at, Spent::Stays);
            continue;
        }
        let whole = !at.is_partial();
        let dirty = at.entry().is_mapped() && at.marks().is_dirty();
        if dirty && whole && data == Data::Decide {
            continue;
        }
        if dirty && (data == Data::Keep || !whole) {
            // Found again, clean or smaller.
            let is_gib = at.entry().order() == Order::Pud;
            if let Some(at) = at.while_locked(|locked| match is_gib && !whole {
                true => split(locked),
                false => locked.flush_now(),
            }) {
                at.again();
            }
            continue;
        }
        at.remove();
    }
}

/// Removes the entries in `range` that hold nothing and are all in it, dirty or not. fs/dax.c has no
/// counterpart; it is what a deletion tries first.
///
/// [`Left::Busy`] at the first one that a break has to look at.
pub(super) fn remove_settled(mapping: Mapping<'_>, range: Range) -> Left {
    let mut walk = Walk::new(mapping, range);

    while let Some(mut at) = walk.next() {
        let settled = at.entry().kind() != Kind::Tracked && !at.is_partial();
        if !settled || at.look_again() == Left::Busy {
            return Left::Busy;
        }
        at.remove();
    }
    Left::Idle
}

/// The first pfn in `range` that somebody uses beyond page tables, after unmapping it.
///
/// Process context, may sleep. Follows `dax_layout_busy_page_range()`.
pub(crate) fn busy_pfn(mapping: Mapping<'_>, range: Range) -> Option<usize> {
    mapping.unmap(range);
    if zap_range(mapping, range, Spent::Stays) != Rest::Busy {
        return None;
    }
    busy_entry(mapping, range).map(Entry::pfn)
}

/// The first zapped entry in `range` whose folio is busy, and not for the parts that others have of it.
fn busy_entry(mapping: Mapping<'_>, range: Range) -> Option<Entry> {
    let mut asked = None;

    loop {
        let (index, entry) = first_busy(mapping, range)?;
        let Some(pgmap) = PgmapRef::dying_or_live(entry.pfn()) else {
            // Gone since, and hence idle: found so next time.
            continue;
        };
        if entry.order() == Order::Pte || asked == Some(index) {
            return Some(entry);
        }
        asked = Some(index);
        give_back_parts(mapping, index, entry, Folio::of(&pgmap));
    }
}

/// The first zapped entry in `range` whose folio is busy, and its page offset.
///
/// Zapping may find a folio busy because of a reference that is about to go, of mmu_gather or
/// GUP-fast; this looks again.
fn first_busy(mapping: Mapping<'_>, range: Range) -> Option<(usize, Entry)> {
    let mut walk = Walk::marked(mapping, range, Mark::Busy);

    while let Some(mut seen) = walk.next_seen() {
        let entry = seen.entry();
        if entry.kind() == Kind::Zapped && is_busy(entry.pfn(), seen.id()) {
            return Some((seen.index(), entry.unlocked()));
        }
        seen.marks().clear(Mark::Busy);
    }
    None
}
