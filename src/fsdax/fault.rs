// SPDX-License-Identifier: GPL-2.0

//! Page faults on DAX files of a bound superblock.
//!
//! Counterpart of `dax_iomap_fault()`, `dax_finish_sync_fault()`, `dax_iomap_pte_fault()`, `dax_iomap_pmd_fault()`, `dax_fault_iter()`,
//! `dax_load_hole()`, `dax_pmd_load_hole()`, `dax_fault_cow_page()` and
//! `dax_insert_pfn_mkwrite()` of `fs/dax.c`. Three things differ. The entry holds a reference to
//! the folio, so that mapping it needs no temporary one. The entry lock is a guard, so that it
//! cannot be leaked or used after unlock. And a shared block is replaced by a copy only when no
//! pin is left that nobody would wait for afterwards.
//!
//! Rules: R7, R9, R14, R17, R24.

use kernel::{
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

use super::{
    around::map_around,
    give_up::give_up,
    insert::{
        insert_live,
        undo_insert,
        InsertError,
        Live, //
    },
    make_way::make_way,
    pud::make_smaller,
    replace::{
        is_replaced_later,
        set_replaced,
        wait_briefly, //
    }, //
};
use crate::{
    ffi::{
        vm_fault::{
            self,
            VmFault, //
        },
        warn::warn_on_once, //
    },
    folio::Left,
    mapping::{
        Block,
        Counted,
        CowFault,
        Ended,
        Entry,
        Extent,
        Fault,
        GrabError,
        IomapOps,
        Iomaps,
        Kind,
        LockedEntry,
        Mark,
        Reason,
        Way,
        Window, //
    },
    pgmap::{
        DeviceMemory,
        DeviceReadGuard,
        Order,
        PgmapRef, //
    }, //
};

/// How a fault ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// The result for the caller of the fault.
    pub(crate) ret: VmFault,
    /// The pfn of the page that may be mapped when the file is synced: with `VM_FAULT_NEEDDSYNC`.
    pub(crate) pfn: Option<usize>,
    /// The errno of the iteration of a PTE fault, or 0. `None` if the filesystem was not asked, or
    /// need not hear: what makes a PMD fault fall back is no error, and a filesystem that heard of
    /// `ENOSPC` would commit its journal and try again.
    pub(crate) error: Option<i32>,
}

impl Outcome {
    /// That of a fault that may go on.
    fn new(ret: VmFault) -> Self {
        Self {
            ret,
            pfn: None,
            error: None,
        }
    }
}

impl From<Counted> for Outcome {
    fn from(counted: Counted) -> Self {
        Self::new(counted.ret())
    }
}

/// How one iomap serves a fault.
enum Served {
    /// Done, with this result for the caller of the fault.
    Done(Counted),
    /// The file must be synced before the page at this pfn may be mapped: `MAP_SYNC`.
    NeedsSync(Counted, usize),
    /// The block is to be replaced, and somebody has it pinned.
    Pinned,
    /// The page at this pfn is part of a large folio of other files, of which one has to make way or
    /// room: whether the block is shared.
    InTheWay(usize, bool),
    /// The entry was in the way and is gone: the fault is to be taken again.
    Retry,
}

/// What is done when the filesystem was asked.
enum Then {
    /// Counting it: no extent served it.
    Count,
    /// Nothing.
    Return,
    /// Waiting for the pins of the block that is to be replaced.
    WaitForPins,
    /// Having the page at this pfn given back by files that have it, or room made for one more.
    MakeWay(usize, bool),
}

impl Outcome {
    /// Takes in how an iomap served the fault. Returns whether it did.
    #[inline(always)]
    fn take(&mut self, served: Served, then: &mut Then) -> bool {
        match served {
            Served::Done(counted) => self.ret = counted.ret(),
            Served::NeedsSync(counted, pfn) => {
                self.ret = counted.ret();
                self.pfn = Some(pfn);
            }
            Served::Retry => {
                self.ret = vm_fault::NOPAGE;
                return false;
            }
            Served::Pinned => {
                *then = Then::WaitForPins;
                return false;
            }
            Served::InTheWay(pfn, shared) => {
                *then = Then::MakeWay(pfn, shared);
                return false;
            }
        }
        *then = Then::Return;
        true
    }
}

/// Why the fault does not get the folio for an entry.
enum Refused {
    /// There is none to be had: this is the result of a PTE fault, and why a PMD fault falls back.
    Fault(VmFault, Reason),
    /// A page of it is in use as part of a folio of another order.
    OtherOrder(usize),
}

/// What the device says instead of giving its memory.
impl From<Error> for Refused {
    fn from(e: Error) -> Self {
        let reason = if e == EINVAL {
            Reason::Extent
        } else {
            Reason::Device
        };
        Self::Fault(vm_fault::from_errno(e), reason)
    }
}

/// Handles a fault: maps a page of the file, the zero page, or a private copy.
///
/// `can_sync` says that the caller knows what to do with `VM_FAULT_NEEDDSYNC`. Process context, may
/// sleep. Follows `dax_iomap_fault()`.
pub(crate) fn iomap_fault(
    vmf: Fault<'_>,
    order: u32,
    can_sync: bool,
    ops: IomapOps<'_>,
) -> Outcome {
    let Some(order) = Order::new(order) else {
        return Outcome::new(vm_fault::FALLBACK);
    };
    // The filesystem's lock keeps truncate out, so that this is a reliable test.
    let Some(last) = last_page(vmf, order) else {
        let counted = vmf.count_unmapped(Ended::FAILED, vm_fault::SIGBUS);
        return counted.into();
    };
    match order {
        Order::Pte => pte_fault(vmf, can_sync, ops, last),
        Order::Pmd => pmd_fault(vmf, can_sync, ops, last),
        Order::Pud => pud_fault(vmf, can_sync, ops, last),
    }
}

/// [`iomap_fault`] for a page, of a file whose last page is `last`. Follows `dax_iomap_pte_fault()`.
#[inline(always)]
fn pte_fault(vmf: Fault<'_>, can_sync: bool, ops: IomapOps<'_>, last: usize) -> Outcome {
    let locked = match LockedEntry::grab(vmf.mapping(), vmf.index(), Order::Pte) {
        Ok(locked) => locked,
        Err(e) => return without_entry(vmf, Order::Pte, e).into(),
    };
    if vmf.pmd_is_huge() {
        // Somebody mapped a huge page meanwhile; retry with that.
        return retried(vmf, vm_fault::NOPAGE).into();
    }
    if !vmf.is_write() {
        if let Some(window) = Window::of(vmf, last) {
            return read_around(vmf, ops, window, locked);
        }
    }
    fault(vmf, Order::Pte, can_sync, ops, locked)
}

/// [`iomap_fault`] for a PMD, of a file whose last page is `last`. Follows `dax_iomap_pmd_fault()`.
#[inline(never)]
fn pmd_fault(vmf: Fault<'_>, can_sync: bool, ops: IomapOps<'_>, last: usize) -> Outcome {
    let order = Order::Pmd;

    if vmf.pmd_does_not_fit(last) {
        return failed(vmf, order, vm_fault::SIGBUS, Reason::Fit).into();
    }
    let locked = match LockedEntry::grab(vmf.mapping(), vmf.index(), order) {
        Ok(locked) => locked,
        Err(e) => return without_entry(vmf, order, e).into(),
    };
    if vmf.pmd_is_table() {
        // Somebody mapped a page of it meanwhile; retry with a page.
        return retried(vmf, VmFault::default()).into();
    }
    if locked.entry().order() != order {
        return match make_smaller(locked) {
            Left::Busy => failed(vmf, order, vm_fault::SIGBUS, Reason::Entries).into(),
            Left::Idle => retried(vmf, vm_fault::NOPAGE).into(),
        };
    }
    fault(vmf, order, can_sync, ops, locked)
}

/// What is the same for a page and for a PMD, once the entry is locked.
#[inline(always)]
fn fault(
    vmf: Fault<'_>,
    order: Order,
    can_sync: bool,
    ops: IomapOps<'_>,
    mut locked: LockedEntry<'_>,
) -> Outcome {
    if vmf.is_write() && is_replaced_later(&locked, WAIT_MS) {
        return wait_to_replace(vmf, locked).into();
    }
    let (outcome, error, then) = ask(vmf, order, can_sync, ops, Window::NONE, &mut locked);
    if !matches!(then, Then::Return) {
        return not_served(vmf, order, locked, outcome.ret, error, then);
    }
    if vmf.cow().is_some() {
        locked.unlock();
    }
    outcome
}

/// Counts a fault that is to be taken again, with this result.
fn retried(vmf: Fault<'_>, ret: VmFault) -> Counted {
    vmf.count_unmapped(Ended::RETRIED, ret)
}

/// Counts a fault of which nothing comes. A PTE fault fails with `ret`, and a PMD fault falls back:
/// the former is going to find out.
fn failed(vmf: Fault<'_>, order: Order, ret: VmFault, reason: Reason) -> Counted {
    let ret = match order {
        Order::Pte => ret,
        Order::Pmd | Order::Pud => vm_fault::FALLBACK,
    };
    vmf.count_unmapped(Ended::fell_back(order, reason), ret)
}

/// [`failed`] of a fault that does not get its entry.
#[cold]
fn without_entry(vmf: Fault<'_>, order: Order, e: GrabError) -> Counted {
    match e {
        GrabError::NoMemory => vmf.count_unmapped(Ended::FAILED, vm_fault::OOM),
        GrabError::Conflict => failed(vmf, order, vm_fault::FALLBACK, Reason::Entries),
        GrabError::Io => vmf.count_unmapped(Ended::FAILED, vm_fault::SIGBUS),
    }
}

/// Goes on with a read fault of a page that is going to map what it can of `window`, too.
///
/// Apart, so that this costs other faults nothing.
#[inline(never)]
fn read_around(
    vmf: Fault<'_>,
    ops: IomapOps<'_>,
    window: Window,
    mut locked: LockedEntry<'_>,
) -> Outcome {
    let (outcome, error, then) = ask(vmf, Order::Pte, false, ops, window, &mut locked);

    match then {
        Then::Return => outcome,
        _ => not_served(vmf, Order::Pte, locked, outcome.ret, error, then),
    }
}

/// Asks the filesystem where the block of the entry is, and serves the fault from there. Returns the errno of
/// the iteration, or 0, too, and what is left to do.
#[inline(always)]
fn ask(
    vmf: Fault<'_>,
    order: Order,
    can_sync: bool,
    ops: IomapOps<'_>,
    window: Window,
    locked: &mut LockedEntry<'_>,
) -> (Outcome, i32, Then) {
    let (mapping, index) = (vmf.mapping(), vmf.index_of(order));
    let mut iomaps = Iomaps::new(mapping, index, order, vmf.is_write(), ops);
    if !window.is_empty() {
        iomaps.look_ahead(window.pages());
    }
    let mut outcome = Outcome::new(match order {
        Order::Pte => 0,
        Order::Pmd | Order::Pud => vm_fault::FALLBACK,
    });
    let mut then = Then::Count;

    while let Some(mut extent) = iomaps.next() {
        let served = serve(vmf, order, can_sync, &mut extent, locked);
        if !outcome.take(served, &mut then) {
            // An extent that is not done ends the iteration.
            continue;
        }
        if order == Order::Pte && outcome.ret != vm_fault::SIGBUS && extent.is_new() {
            vmf.count_major();
            outcome.ret |= vm_fault::MAJOR;
        }
        if outcome.ret & vm_fault::ERROR == 0 {
            if !window.is_empty() && outcome.ret & vm_fault::NOPAGE != 0 {
                map_around(vmf, &extent, locked, window);
            }
            extent.done();
        }
    }
    let error = iomaps.error();
    if order == Order::Pte {
        outcome.error = Some(error);
    }
    (outcome, error, then)
}

/// What is left to do when no extent served the fault: for an error of the filesystem, which may
/// not have been told of it yet, or for what is in the way.
#[cold]
#[inline(never)]
fn not_served(
    vmf: Fault<'_>,
    order: Order,
    locked: LockedEntry<'_>,
    ret: VmFault,
    error: i32,
    then: Then,
) -> Outcome {
    let mut outcome = Outcome::new(ret);

    if order == Order::Pte {
        outcome.error = Some(error);
    }
    let counted = match then {
        Then::Return => return outcome,
        Then::Count => {
            if vmf.cow().is_some() {
                locked.unlock();
            }
            if outcome.ret == vm_fault::NOPAGE {
                retried(vmf, outcome.ret)
            } else if error == 0 {
                failed(vmf, order, 0, Reason::Extent)
            } else {
                let ret = vm_fault::from_errno(Error::from_errno(error));
                failed(vmf, order, ret, Reason::Filesystem)
            }
        }
        Then::WaitForPins => {
            set_replaced(&locked);
            wait_to_replace(vmf, locked)
        }
        Then::MakeWay(pfn, shared) => {
            // Whoever holds the entry of the other file may need ours.
            drop(locked);
            have_way_made(vmf, pfn, shared)
        }
    };
    outcome.ret = counted.ret();
    outcome
}

/// [`iomap_fault`] for a PUD, of a file whose last page is `last`.
///
/// Such a fault maps what is there and has nothing done: it falls back where the filesystem would have
/// to allocate a block, or to copy one. So it asks for the extent as a load does, also for a store.
#[cold]
#[inline(never)]
fn pud_fault(vmf: Fault<'_>, can_sync: bool, ops: IomapOps<'_>, last: usize) -> Outcome {
    let order = Order::Pud;

    if vmf.pud_does_not_fit(last) {
        return failed(vmf, order, vm_fault::FALLBACK, Reason::Fit).into();
    }
    let (mapping, index) = (vmf.mapping(), vmf.index_of(order));
    let mut locked = match LockedEntry::grab(mapping, index, order) {
        Ok(locked) => locked,
        // A PMD fault finds out what is wrong.
        Err(e) => {
            let reason = match e {
                GrabError::NoMemory => Reason::NoMemory,
                GrabError::Conflict => Reason::Entries,
                GrabError::Io => Reason::Device,
            };
            return failed(vmf, order, vm_fault::FALLBACK, reason).into();
        }
    };
    let mut iomaps = Iomaps::new(mapping, index, order, false, ops);
    let mut outcome = Outcome::new(vm_fault::FALLBACK);
    // Neither pins nor other files are waited for.
    let mut then = Then::Count;
    let mut reason = Reason::Extent;

    while let Some(mut extent) = iomaps.next() {
        if extent.is_shared() {
            reason = Reason::Shared;
            continue;
        }
        // A hole, or a block that was not written yet.
        if extent.block() != Block::Mapped {
            continue;
        }
        let served = serve_block(vmf, order, can_sync, &mut extent, &mut locked);
        if outcome.take(served, &mut then) && outcome.ret & vm_fault::ERROR == 0 {
            extent.done();
        }
    }
    if iomaps.error() != 0 {
        reason = Reason::Filesystem;
    }
    if !matches!(then, Then::Return) {
        outcome.ret = failed(vmf, order, vm_fault::FALLBACK, reason).ret();
    }
    outcome
}

/// For how long a fault sleeps, with the filesystem's lock, until it is taken again.
///
/// It is woken when the pins are gone. This is for whoever waits for the locks of the fault, and
/// hence for us.
const WAIT_MS: u32 = 100;

/// Gives those a chance who pin the block that a fault is going to replace, and has the fault
/// taken again.
///
/// The locks of the fault go in between: what pins the block may need a fault of the same file
/// to get done, and would wait for a truncate that waits for us.
#[cold]
#[inline(never)]
fn wait_to_replace(vmf: Fault<'_>, locked: LockedEntry<'_>) -> Counted {
    let (index, entry) = (locked.index(), locked.entry());
    drop(locked);

    match wait_briefly(vmf.mapping(), index, entry, WAIT_MS) {
        Ok(()) => retried(vmf, vm_fault::NOPAGE),
        // The task is dying. A fault of the kernel would be taken again for ever.
        Err(_) => vmf.count_unmapped(Ended::FAILED, vm_fault::SIGBUS),
    }
}

/// Has other files give the page at `pfn` back that they have as part of a large folio, or make room
/// for one more if the block is `shared`, and the fault taken again.
#[cold]
#[inline(never)]
fn have_way_made(vmf: Fault<'_>, pfn: usize, shared: bool) -> Counted {
    let made = make_way(vmf.mapping(), vmf.index(), pfn, shared, WAIT_MS);

    // Other than a signal: the block belongs to the file, and somebody uses it who is no file.
    warn_on_once!(made.is_err_and(|e| e == EBUSY || e == ERANGE));
    match made {
        Ok(()) => retried(vmf, vm_fault::NOPAGE),
        Err(_) => vmf.count_unmapped(Ended::FAILED, vm_fault::SIGBUS),
    }
}

/// The last page of the file, if the fault of `order` begins before its end.
#[inline(always)]
fn last_page(vmf: Fault<'_>, order: Order) -> Option<usize> {
    match usize::try_from(pages_of(vmf.mapping().size())) {
        Ok(pages) if vmf.index_of(order) < pages => Some(pages - 1),
        _ => None,
    }
}

/// Number of pages that a file of some bytes has.
fn pages_of(bytes: i64) -> i64 {
    (bytes >> PAGE_SHIFT) + i64::from(bytes & (PAGE_SIZE as i64 - 1) != 0)
}

/// Counts a fault that mapped something, or was to.
fn mapped(vmf: Fault<'_>, ret: VmFault, ended: Ended) -> Counted {
    match ret {
        vm_fault::NOPAGE | vm_fault::DONE_COW => vmf.count(ended, ret),
        _ => vmf.count_unmapped(Ended::FAILED, ret),
    }
}

/// Serves a fault that wants a private copy.
#[inline(never)]
fn serve_copy(vmf: Fault<'_>, cow: CowFault<'_>, extent: &mut Extent<'_>) -> Served {
    let ret = match extent.block() {
        Block::Hole => cow.clear().finish(),
        Block::Mapped => match extent.memory(&DeviceReadGuard::new()) {
            Ok(memory) => cow.copy(&memory).finish(),
            Err(e) => vm_fault::from_errno(e),
        },
        Block::Other => {
            warn_on_once!(true);
            vm_fault::SIGBUS
        }
    };
    Served::Done(mapped(vmf, ret, Ended::COPY))
}

/// Serves the fault from an extent. Follows `dax_fault_iter()`.
#[inline(always)]
fn serve(
    vmf: Fault<'_>,
    order: Order,
    can_sync: bool,
    extent: &mut Extent<'_>,
    locked: &mut LockedEntry<'_>,
) -> Served {
    let write = vmf.is_write();

    if let Some(cow) = vmf.cow() {
        return serve_copy(vmf, cow, extent);
    }
    if !write && extent.block() == Block::Hole {
        return Served::Done(load_hole(vmf, order, locked));
    }
    if warn_on_once!(extent.block() != Block::Mapped && !extent.is_copy()) {
        let counted = failed(vmf, order, vm_fault::SIGBUS, Reason::Filesystem);
        return Served::Done(counted);
    }
    if order == Order::Pmd && extent.is_shared() && !locked.mapping().can_clone() {
        // Who else has the memory may be served by fs/dax.c, unless the sharing is the work of this
        // filesystem.
        let counted = failed(vmf, order, vm_fault::FALLBACK, Reason::Shared);
        return Served::Done(counted);
    }
    if extent.is_copy() {
        match give_up(locked) {
            Left::Busy => return Served::Pinned,
            // A page is to be copied; there is room for its entry when this one is gone.
            Left::Idle if locked.entry().order() != order => return Served::Retry,
            Left::Idle => {}
        }
    }
    serve_block(vmf, order, can_sync, extent, locked)
}

/// [`serve`] from a block: tracks its folio, and maps it.
#[inline(always)]
fn serve_block(
    vmf: Fault<'_>,
    order: Order,
    can_sync: bool,
    extent: &mut Extent<'_>,
    locked: &mut LockedEntry<'_>,
) -> Served {
    match locked.entry().order() {
        whole if whole == order => serve_whole(vmf, order, order, can_sync, extent, locked),
        whole => serve_part(vmf, order, whole, can_sync, extent, locked),
    }
}

/// [`serve_block`] by an entry of another order, `whole`. Apart, so that it costs other faults nothing.
#[inline(never)]
fn serve_part(
    vmf: Fault<'_>,
    order: Order,
    whole: Order,
    can_sync: bool,
    extent: &mut Extent<'_>,
    locked: &mut LockedEntry<'_>,
) -> Served {
    serve_whole(vmf, order, whole, can_sync, extent, locked)
}

/// [`serve_block`] by an entry whose order is `whole`.
#[inline(always)]
fn serve_whole(
    vmf: Fault<'_>,
    order: Order,
    whole: Order,
    can_sync: bool,
    extent: &mut Extent<'_>,
    locked: &mut LockedEntry<'_>,
) -> Served {
    let write = vmf.is_write();
    // That a copy takes the place of a shared block, the flags do not say yet: the filesystem
    // changes its metadata when the iteration ends.
    let unsynced = extent.is_copy() || extent.is_dirty();
    let sync = write && vmf.is_sync() && unsynced;
    let dirty = write && !sync;
    // What is replaced by a copy is ours alone.
    let shared = extent.is_shared() && !extent.is_copy();
    let old = locked.entry();

    let (fresh, pfn) = match track(vmf, order, whole, extent, locked, shared, dirty) {
        Ok(tracked) => tracked,
        Err(Refused::Fault(ret, reason)) => {
            return Served::Done(failed(vmf, order, ret, reason));
        }
        Err(Refused::OtherOrder(_)) if whole != order => {
            // What is left of a large folio of ours, while another file has pages of it: a page is
            // enough for us too.
            return match give_up(locked) {
                Left::Busy => Served::Pinned,
                Left::Idle => Served::Retry,
            };
        }
        Err(Refused::OtherOrder(pfn)) => match order {
            Order::Pte => return Served::InTheWay(pfn, shared),
            Order::Pmd | Order::Pud => {
                let counted = failed(vmf, order, vm_fault::FALLBACK, Reason::OtherOrder);
                return Served::Done(counted);
            }
        },
    };
    if dirty {
        // The entry was marked before, so that background writeback sees at least one of the two;
        // and before the page is mapped, so that whoever stores to it and calls fsync() finds it.
        locked.mapping().mark_inode_dirty();
    }
    if sync {
        return needs_sync(vmf, order, can_sync, pfn);
    }
    let ret = vmf.map(locked, order, write);
    if ret != vm_fault::NOPAGE {
        if fresh {
            if dirty && old.kind() != Kind::Zapped {
                locked.with_marks(|marks| marks.clear(Mark::Dirty));
            }
            undo_insert(locked, old);
        }
        return Served::Done(vmf.count_unmapped(Ended::FAILED, ret));
    }
    let way = if write { Way::Write } else { Way::Read };
    Served::Done(vmf.count(Ended::served(way, order), ret))
}

/// Serves a fault of which the caller has to sync the file first.
#[inline(never)]
fn needs_sync(vmf: Fault<'_>, order: Order, can_sync: bool, pfn: usize) -> Served {
    if warn_on_once!(!can_sync) {
        return Served::Done(vmf.count_unmapped(Ended::FAILED, vm_fault::SIGBUS));
    }
    let ended = Ended::served(Way::Sync, order);
    Served::NeedsSync(vmf.count(ended, vm_fault::NEEDDSYNC), pfn)
}

/// Makes the entry track the memory of the extent; returns whether it did not, and the pfn of the
/// fault.
#[inline(always)]
fn track(
    vmf: Fault<'_>,
    order: Order,
    whole: Order,
    extent: &mut Extent<'_>,
    locked: &mut LockedEntry<'_>,
    shared: bool,
    dirty: bool,
) -> Result<(bool, usize), Refused> {
    let device = DeviceReadGuard::new();
    let memory: DeviceMemory<'_> = extent.memory(&device)?;
    let pfn = memory.pfn();
    // A PTE fault may find an entry for the PMD around.
    let first = match whole == order {
        true => pfn,
        false => pfn.wrapping_sub(vmf.index_of(order) - locked.index()),
    };

    // The request takes its pgmap reference before the device may go.
    let from = Accessed {
        memory: &memory,
        first,
        whole,
    };
    insert_live(locked, first, shared, dirty, &from)
        .map(|fresh| (fresh, pfn))
        .map_err(|e| refused(e, pfn, whole))
}

/// The folio of order `whole` at `first` around memory that the device gave access to.
struct Accessed<'a> {
    memory: &'a DeviceMemory<'a>,
    first: usize,
    whole: Order,
}

impl Live for Accessed<'_> {
    #[inline(always)]
    fn live(&self) -> Result<PgmapRef> {
        self.memory.reference(self.first, self.whole)
    }
}

/// What it means for a fault that the entry of order `whole` cannot track the page at `pfn`.
fn refused(e: InsertError, pfn: usize, whole: Order) -> Refused {
    // A large folio need not be there because small ones are, nor a small one because a large
    // one is; else nobody may use a block of this file, and it changes only when its entry is
    // gone.
    match e {
        InsertError::OtherOrder => return Refused::OtherOrder(pfn),
        InsertError::Busy if whole != Order::Pte => return Refused::OtherOrder(pfn),
        InsertError::Dying => {}
        InsertError::Busy | InsertError::Mismatch | InsertError::Range => {
            warn_on_once!(true);
        }
    }
    Refused::Fault(vm_fault::SIGBUS, Reason::Device)
}

/// Maps the zero page, or the huge zero page, for a read of a hole.
///
/// Follows `dax_load_hole()` and `dax_pmd_load_hole()`.
#[inline(never)]
fn load_hole(vmf: Fault<'_>, order: Order, locked: &mut LockedEntry<'_>) -> Counted {
    let Some(zero) = vmf.zero_page(order) else {
        // There is one of 4 KiB always.
        return failed(vmf, order, vm_fault::SIGBUS, Reason::NoMemory);
    };
    // The file has a block here as long as there is an entry for it.
    if warn_on_once!(!locked.set_hole(zero.entry(), |marks| marks.mark_for_break())) {
        return vmf.count_unmapped(Ended::FAILED, vm_fault::SIGBUS);
    }
    let ret = vmf.map_hole(locked, zero);
    mapped(vmf, ret, Ended::served(Way::Hole, order))
}

/// Syncs the file and maps the page of a `MAP_SYNC` write fault.
///
/// The entry kept the folio since the fault; whether it still names `pfn` is checked before it is
/// mapped. Process context, may sleep. Follows `dax_finish_sync_fault()`.
pub(crate) fn finish_sync_fault(vmf: Fault<'_>, order: u32, pfn: usize) -> VmFault {
    let Some(order) = Order::new(order) else {
        return vm_fault::FALLBACK;
    };
    let mapping = vmf.mapping();
    let index = vmf.index_of(order);

    if !vmf.sync(order) {
        return vmf.count_unmapped(Ended::FAILED, vm_fault::SIGBUS).ret();
    }
    let Some(locked) = mapping.lock_entry(index) else {
        return vmf.trace_mkwrite(false, retried(vmf, vm_fault::NOPAGE).ret());
    };
    let entry = locked.entry();
    let first = pfn.wrapping_sub(index - locked.index());
    let fits = order == Order::Pte || entry.order() == order;
    if !fits || Some(entry) != Entry::tracked(first, entry.order()) {
        // Split, zapped, replaced or removed since: the fault is taken again.
        return vmf.trace_mkwrite(false, retried(vmf, vm_fault::NOPAGE).ret());
    }
    locked.with_marks(|marks| {
        marks.set(Mark::Dirty);
        marks.mark_for_break();
    });
    mapping.mark_inode_dirty();
    let ret = vmf.map(&locked, order, true);
    let counted = mapped(vmf, ret, Ended::served(Way::Write, order));
    vmf.trace_mkwrite(true, counted.ret())
}
