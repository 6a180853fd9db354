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
    give_up::give_up,
    insert::{
        insert_live,
        undo_insert,
        InsertError, //
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
        Entry,
        Extent,
        Fault,
        GrabError,
        IomapOps,
        Iomaps,
        Kind,
        LockedEntry,
        Mapping,
        Mark, //
    },
    pgmap::{
        DeviceMemory,
        DeviceReadGuard,
        Order, //
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

impl From<VmFault> for Outcome {
    fn from(ret: VmFault) -> Self {
        Self {
            ret,
            pfn: None,
            error: None,
        }
    }
}

/// How one iomap serves a fault.
enum Served {
    /// Done, with this result for the caller of the fault.
    Done(VmFault),
    /// The file must be synced before the page at this pfn may be mapped: `MAP_SYNC`.
    NeedsSync(usize),
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
    /// Nothing.
    Return,
    /// Waiting for the pins of the block that is to be replaced.
    WaitForPins,
    /// Having the page at this pfn given back by files that have it, or room made for one more.
    MakeWay(usize, bool),
}

impl Outcome {
    /// Takes in how an iomap served the fault. Returns whether it did.
    fn take(&mut self, served: Served, can_sync: bool, then: &mut Then) -> bool {
        match served {
            Served::Done(ret) => self.ret = ret,
            Served::NeedsSync(_) if warn_on_once!(!can_sync) => self.ret = vm_fault::SIGBUS,
            Served::NeedsSync(pfn) => {
                self.pfn = Some(pfn);
                self.ret = vm_fault::NEEDDSYNC;
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
        true
    }
}

/// Why the fault does not get the folio for an entry.
enum Refused {
    /// There is none to be had: this is the result of a PTE fault.
    Fault(VmFault),
    /// A page of it is in use as part of a folio of another order.
    OtherOrder(usize),
}

impl From<Error> for Refused {
    fn from(e: Error) -> Self {
        Self::Fault(vm_fault::from_errno(e))
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
        return vm_fault::FALLBACK.into();
    };
    let mapping = vmf.mapping();

    // The filesystem's lock keeps truncate out, so that this is a reliable test.
    let last = match usize::try_from(pages_of(mapping.size())) {
        Ok(pages) if vmf.index_of(order) < pages => pages - 1,
        _ => return vm_fault::SIGBUS.into(),
    };
    match order {
        Order::Pte => {}
        Order::Pmd if vmf.pmd_does_not_fit(last) => return vm_fault::FALLBACK.into(),
        Order::Pmd => {}
        Order::Pud => return pud_fault(vmf, can_sync, ops, last),
    }

    let locked = match LockedEntry::grab(mapping, vmf.index(), order) {
        Ok(locked) => locked,
        Err(GrabError::NoMemory) => return vm_fault::OOM.into(),
        Err(GrabError::Conflict) => return vm_fault::FALLBACK.into(),
        Err(GrabError::Io) => return vm_fault::SIGBUS.into(),
    };
    match order {
        // Somebody mapped a huge page meanwhile; retry with that.
        Order::Pte if vmf.pmd_is_huge() => return vm_fault::NOPAGE.into(),
        // Or a page of it; retry with a page.
        Order::Pmd if vmf.pmd_is_table() => return VmFault::default().into(),
        Order::Pmd if locked.entry().order() != order => return make_smaller(locked).into(),
        _ => {}
    }
    if vmf.is_write() && is_replaced_later(&locked, WAIT_MS) {
        return wait_to_replace(vmf.mapping(), locked).into();
    }
    fault_locked(vmf, order, can_sync, ops, locked)
}

/// [`iomap_fault`] with the entry locked.
#[inline(always)]
fn fault_locked(
    vmf: Fault<'_>,
    order: Order,
    can_sync: bool,
    ops: IomapOps<'_>,
    mut locked: LockedEntry<'_>,
) -> Outcome {
    let (mapping, index) = (vmf.mapping(), vmf.index_of(order));
    let mut iomaps = Iomaps::new(mapping, index, order, vmf.is_write(), ops);
    let mut outcome = Outcome::from(match order {
        Order::Pte => 0,
        Order::Pmd | Order::Pud => vm_fault::FALLBACK,
    });
    let mut then = Then::Return;

    while let Some(mut extent) = iomaps.next() {
        let served = serve(vmf, order, &mut extent, &mut locked);
        if !outcome.take(served, can_sync, &mut then) {
            // An extent that is not done ends the iteration.
            continue;
        }
        if order == Order::Pte && outcome.ret != vm_fault::SIGBUS && extent.is_new() {
            vmf.count_major();
            outcome.ret |= vm_fault::MAJOR;
        }
        if outcome.ret & vm_fault::ERROR == 0 {
            extent.done();
        }
    }
    let error = iomaps.error();
    if order == Order::Pte {
        outcome.error = Some(error);
    }
    match then {
        Then::Return => {
            if vmf.cow().is_some() {
                locked.unlock();
            }
            if outcome.ret == 0 && error != 0 {
                outcome.ret = vm_fault::from_errno(Error::from_errno(error));
            }
        }
        Then::WaitForPins => {
            set_replaced(&locked);
            outcome.ret = wait_to_replace(mapping, locked);
        }
        Then::MakeWay(pfn, shared) => {
            // Whoever holds the entry of the other file may need ours.
            drop(locked);
            outcome.ret = have_way_made(vmf, pfn, shared);
        }
    }
    outcome
}

/// [`iomap_fault`] for a PUD, of a file whose last page is `last`.
///
/// Such a fault maps what is there and has nothing done: it falls back where the filesystem would have
/// to allocate a block, or to copy one. So it asks for the extent as a load does, also for a store.
#[cold]
#[inline(never)]
fn pud_fault(vmf: Fault<'_>, can_sync: bool, ops: IomapOps<'_>, last: usize) -> Outcome {
    let mut outcome = Outcome::from(vm_fault::FALLBACK);

    if vmf.pud_does_not_fit(last) {
        return outcome;
    }
    let (mapping, index) = (vmf.mapping(), vmf.index_of(Order::Pud));
    // A PMD fault finds out what is wrong.
    let Ok(mut locked) = LockedEntry::grab(mapping, index, Order::Pud) else {
        return outcome;
    };
    let mut iomaps = Iomaps::new(mapping, index, Order::Pud, false, ops);
    // Neither pins nor other files are waited for.
    let mut then = Then::Return;

    while let Some(mut extent) = iomaps.next() {
        // A hole, a block that was not written yet, or one that other files have.
        if extent.block() != Block::Mapped || extent.is_shared() {
            continue;
        }
        let served = serve_block(vmf, Order::Pud, &mut extent, &mut locked);
        if outcome.take(served, can_sync, &mut then) && outcome.ret & vm_fault::ERROR == 0 {
            extent.done();
        }
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
fn wait_to_replace(mapping: Mapping<'_>, locked: LockedEntry<'_>) -> VmFault {
    let (index, entry) = (locked.index(), locked.entry());
    drop(locked);

    match wait_briefly(mapping, index, entry, WAIT_MS) {
        Ok(()) => vm_fault::NOPAGE,
        // The task is dying. A fault of the kernel would be taken again for ever.
        Err(_) => vm_fault::SIGBUS,
    }
}

/// Has other files give the page at `pfn` back that they have as part of a large folio, or make room
/// for one more if the block is `shared`, and the fault taken again.
#[cold]
#[inline(never)]
fn have_way_made(vmf: Fault<'_>, pfn: usize, shared: bool) -> VmFault {
    let made = make_way(vmf.mapping(), vmf.index(), pfn, shared, WAIT_MS);

    // Other than a signal: the block belongs to the file, and somebody uses it who is no file.
    warn_on_once!(made.is_err_and(|e| e == EBUSY || e == ERANGE));
    match made {
        Ok(()) => vm_fault::NOPAGE,
        Err(_) => vm_fault::SIGBUS,
    }
}

/// Number of pages that a file of some bytes has.
fn pages_of(bytes: i64) -> i64 {
    (bytes >> PAGE_SHIFT) + i64::from(bytes & (PAGE_SIZE as i64 - 1) != 0)
}

/// What a PMD fault returns where a PTE fault fails: the latter is going to find out.
fn failure(order: Order, ret: VmFault) -> Served {
    Served::Done(match order {
        Order::Pte => ret,
        Order::Pmd | Order::Pud => vm_fault::FALLBACK,
    })
}

/// Serves the fault from an extent. Follows `dax_fault_iter()`.
fn serve(
    vmf: Fault<'_>,
    order: Order,
    extent: &mut Extent<'_>,
    locked: &mut LockedEntry<'_>,
) -> Served {
    let write = vmf.is_write();

    if let Some(cow) = vmf.cow() {
        return Served::Done(match extent.block() {
            Block::Hole => cow.clear().finish(),
            Block::Mapped => match extent.memory(&DeviceReadGuard::new()) {
                Ok(memory) => cow.copy(&memory).finish(),
                Err(e) => vm_fault::from_errno(e),
            },
            Block::Other => {
                warn_on_once!(true);
                vm_fault::SIGBUS
            }
        });
    }
    if !write && extent.block() == Block::Hole {
        return Served::Done(load_hole(vmf, order, locked));
    }
    if warn_on_once!(extent.block() != Block::Mapped && !extent.is_copy()) {
        return failure(order, vm_fault::SIGBUS);
    }
    if order == Order::Pmd && extent.is_shared() {
        // A copy is one page. And who else has the memory may be served by fs/dax.c, unless the
        // sharing is the work of this filesystem.
        if extent.is_copy() || !locked.mapping().can_clone() {
            return failure(order, vm_fault::FALLBACK);
        }
    }
    if extent.is_copy() {
        match give_up(locked) {
            Left::Busy => return Served::Pinned,
            // A copy is one page; there is room for its entry when this one is gone.
            Left::Idle if locked.entry().order() != order => return Served::Retry,
            Left::Idle => {}
        }
    }
    serve_block(vmf, order, extent, locked)
}

/// [`serve`] from a block: tracks its folio, and maps it.
#[inline(always)]
fn serve_block(
    vmf: Fault<'_>,
    order: Order,
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

    let (fresh, pfn) = match track(vmf, order, extent, locked, shared, dirty) {
        Ok(tracked) => tracked,
        Err(Refused::Fault(ret)) => return failure(order, ret),
        Err(Refused::OtherOrder(_)) if locked.entry().order() != order => {
            // What is left of a large folio of ours, while another file has pages of it: a page is
            // enough for us too.
            return match give_up(locked) {
                Left::Busy => Served::Pinned,
                Left::Idle => Served::Retry,
            };
        }
        Err(Refused::OtherOrder(pfn)) => match order {
            Order::Pte => return Served::InTheWay(pfn, shared),
            Order::Pmd | Order::Pud => return Served::Done(vm_fault::FALLBACK),
        },
    };
    if dirty {
        // The entry was marked before, so that background writeback sees at least one of the two;
        // and before the page is mapped, so that whoever stores to it and calls fsync() finds it.
        locked.mapping().mark_inode_dirty();
    }
    if sync {
        return Served::NeedsSync(pfn);
    }

    let ret = vmf.map(locked, order, write);
    if ret != vm_fault::NOPAGE && fresh {
        if dirty && old.kind() != Kind::Zapped {
            locked.with_marks(|marks| marks.clear(Mark::Dirty));
        }
        undo_insert(locked, old);
    }
    Served::Done(ret)
}

/// Makes the entry track the memory of the extent; returns whether it did not, and the pfn of the
/// fault.
#[inline(always)]
fn track(
    vmf: Fault<'_>,
    order: Order,
    extent: &mut Extent<'_>,
    locked: &mut LockedEntry<'_>,
    shared: bool,
    dirty: bool,
) -> Result<(bool, usize), Refused> {
    let device = DeviceReadGuard::new();
    let memory: DeviceMemory<'_> = extent.memory(&device)?;
    let pfn = memory.pfn();
    // A PTE fault may find an entry for the PMD around.
    let first = pfn.wrapping_sub(vmf.index_of(order) - locked.index());
    let whole = locked.entry().order();

    // The request takes its pgmap reference before the device may go.
    let tracked = insert_live(locked, first, shared, dirty, || {
        memory.reference(first, whole)
    });
    tracked
        .map(|fresh| (fresh, pfn))
        .map_err(|e| refused(e, pfn, whole))
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
    Refused::Fault(vm_fault::SIGBUS)
}

/// Maps the zero page, or the huge zero page, for a read of a hole.
///
/// Follows `dax_load_hole()` and `dax_pmd_load_hole()`.
#[inline(never)]
fn load_hole(vmf: Fault<'_>, order: Order, locked: &mut LockedEntry<'_>) -> VmFault {
    let Some(zero) = vmf.zero_page(order) else {
        return failed_hole(order);
    };
    // The file has a block here as long as there is an entry for it.
    if warn_on_once!(!locked.set_hole(zero.entry(), |marks| marks.mark_for_break())) {
        return vm_fault::SIGBUS;
    }
    vmf.map_hole(locked, zero)
}

/// The result without a page for a hole: there is one of 4 KiB always.
fn failed_hole(order: Order) -> VmFault {
    match order {
        Order::Pte => vm_fault::SIGBUS,
        Order::Pmd | Order::Pud => vm_fault::FALLBACK,
    }
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
        return vm_fault::SIGBUS;
    }
    let Some(locked) = mapping.lock_entry(index) else {
        return vmf.trace_mkwrite(false, vm_fault::NOPAGE);
    };
    let entry = locked.entry();
    let first = pfn.wrapping_sub(index - locked.index());
    let fits = order == Order::Pte || entry.order() == order;
    if !fits || Some(entry) != Entry::tracked(first, entry.order()) {
        // Split, zapped, replaced or removed since: the fault is taken again.
        return vmf.trace_mkwrite(false, vm_fault::NOPAGE);
    }
    locked.with_marks(|marks| {
        marks.set(Mark::Dirty);
        marks.mark_for_break();
    });
    mapping.mark_inode_dirty();
    vmf.trace_mkwrite(true, vmf.map(&locked, order, true))
}
