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
//!    the log says which they are if that takes long.
//!
//! Zapped entries stay in the files until the next break or the eviction, which find that no
//! reference to the pgmap is left and do not look at its memmap.
//!
//! Rules: R14, R15.

use core::ptr::NonNull;

use kernel::{
    container_of,
    prelude::*,
    ptr::project,
    sync::{
        Arc,
        Mutex, //
    },
    time::Instant, //
};

use crate::{
    bindings,
    folio::{
        Association,
        FolioLock,
        FolioRef,
        State, //
    },
    fsdax,
    mapping::{
        Mapping,
        BATCH, //
    },
    pgmap::Pgmap,
    trace,
    wait,
    waiters::{
        self,
        What, //
    }, //
};

/// A superblock that is bound.
///
/// # Invariants
///
/// The pointer is not null and valid as long as it is `Some`, which the mutex protects.
#[pin_data]
pub(crate) struct Bound {
    #[pin]
    sb: Mutex<Option<NonNull<bindings::super_block>>>,
    /// As an identity.
    address: usize,
}

// SAFETY: The pointer is only used under the mutex, and a superblock belongs to no thread.
unsafe impl Send for Bound {}
// SAFETY: As above.
unsafe impl Sync for Bound {}

impl Bound {
    /// Calls `f` with the superblock, which stays meanwhile. `None` if it was unbound. May sleep.
    pub(crate) fn with<R>(&self, f: impl FnOnce(NonNull<bindings::super_block>) -> R) -> Option<R> {
        let sb = self.sb.lock();
        (*sb).map(f)
    }
}

kernel::sync::global_lock! {
    // SAFETY: `init` is called by `init()` before any superblock can be bound.
    unsafe(uninit) static BOUND: Mutex<KVec<Arc<Bound>>> = KVec::new();
}

/// Prepares the list of superblocks.
///
/// # Safety
///
/// Called once, before anything else of this file is used.
pub(crate) unsafe fn init() {
    // SAFETY: By the requirement of this function.
    unsafe { BOUND.init() }
}

/// Adds a superblock that is about to be bound. `ENOMEM` if there is no memory. May sleep.
///
/// # Safety
///
/// `sb` is valid until [`unbind`] is called with it.
pub(crate) unsafe fn bind(sb: *mut bindings::super_block) -> Result {
    let address = sb as usize;
    let bound = Arc::pin_init(
        // INVARIANT: By the requirement of this function.
        pin_init!(Bound {
            sb <- kernel::new_mutex!(NonNull::new(sb)),
            address,
        }),
        GFP_KERNEL,
    )?;
    BOUND.lock().push(bound, GFP_KERNEL)?;
    Ok(())
}

/// Removes a superblock that has no inodes any more. May sleep.
pub(crate) fn unbind(sb: *mut bindings::super_block) {
    let mut list = BOUND.lock();
    let Some(i) = list.iter().position(|bound| bound.address == sb as usize) else {
        return;
    };
    let removed = list.remove(i);
    if list.is_empty() {
        // The module may be unloaded now, and would leave the memory of the list behind.
        *list = KVec::new();
    }
    drop(list);
    if let Ok(bound) = removed {
        // A removal that is at work on the superblock is waited for.
        *bound.sb.lock() = None;
    }
}

/// All superblocks that are bound now. May sleep.
pub(crate) fn superblocks() -> Result<KVec<Arc<Bound>>> {
    let list = BOUND.lock();
    let mut all = KVec::with_capacity(list.len(), GFP_KERNEL)?;
    for bound in list.iter() {
        all.push(bound.clone(), GFP_KERNEL)?;
    }
    Ok(all)
}

/// Calls `f` for each bound superblock, which stays meanwhile.
fn for_each_superblock(mut f: impl FnMut(NonNull<bindings::super_block>)) {
    let count = BOUND.lock().len();

    // From the end, so that none is left out when one goes away. The list is not locked while `f`
    // runs: mounting must not wait for that.
    for i in (0..count).rev() {
        let bound = BOUND.lock().get(i).cloned();
        // One that was unbound meanwhile has no inodes.
        let _ = bound.and_then(|bound| bound.with(&mut f));
    }
}

/// `s_umount`, taken for reading: nobody evicts all inodes of the superblock meanwhile, and finds
/// one that we hold.
struct Mounted(NonNull<bindings::super_block>);

impl Mounted {
    /// Waits for an umount that is under way, which lets go of all entries itself. May sleep.
    ///
    /// # Safety
    ///
    /// `sb` stays until the guard is dropped.
    unsafe fn lock(sb: NonNull<bindings::super_block>) -> Self {
        // SAFETY: By the requirement of this function.
        unsafe { bindings::rust_fsdax_lock_umount(sb.as_ptr()) };
        Self(sb)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // SAFETY: Locked in `lock`.
        unsafe { bindings::rust_fsdax_unlock_umount(self.0.as_ptr()) }
    }
}

/// The list of inodes of a superblock, locked.
pub(crate) struct Inodes(NonNull<bindings::super_block>);

impl Inodes {
    /// # Safety
    ///
    /// `sb` stays until the guard is dropped.
    pub(crate) unsafe fn lock(sb: NonNull<bindings::super_block>) -> Self {
        // SAFETY: By the requirement of this function.
        unsafe { bindings::rust_fsdax_lock_inodes(sb.as_ptr()) };
        Self(sb)
    }

    /// The inode behind `inode`, or the first one.
    pub(crate) fn next(
        &self,
        inode: Option<NonNull<bindings::inode>>,
    ) -> Option<NonNull<bindings::inode>> {
        let head = project!(mut self.0.as_ptr(), .s_inodes);
        let next = match inode {
            // SAFETY: The list is locked.
            None => unsafe { (*head).next },
            // SAFETY: The list is locked, and `inode` is in it.
            Some(inode) => unsafe { (*inode.as_ptr()).i_sb_list.next },
        };
        if next == head {
            return None;
        }
        // SAFETY: All elements of the list but its head are in an inode.
        NonNull::new(unsafe { container_of!(next, bindings::inode, i_sb_list) })
    }

    /// The mapping of `inode`, which is in the list, if it is a DAX file with entries.
    pub(crate) fn dax_file(&self, inode: NonNull<bindings::inode>) -> Option<Mapping<'_>> {
        // SAFETY: An inode leaves the list, which is locked, before it goes away.
        if unsafe { (*inode.as_ptr()).i_flags } & bindings::S_DAX == 0 {
            return None;
        }
        // SAFETY: As above; a DAX inode is the host of its mapping.
        let mapping = unsafe { Mapping::of_inode(inode.as_ptr()) };
        (!mapping.is_empty()).then_some(mapping)
    }
}

impl Drop for Inodes {
    fn drop(&mut self) {
        // SAFETY: Locked in `lock`.
        unsafe { bindings::rust_fsdax_unlock_inodes(self.0.as_ptr()) }
    }
}

/// Calls `f` for each DAX file of `sb` that may have entries. May sleep.
///
/// An inode that is being evicted is left out: it breaks its own layout.
///
/// # Safety
///
/// `sb` stays, and is not unmounted meanwhile.
unsafe fn for_each_file(sb: NonNull<bindings::super_block>, mut f: impl FnMut(Mapping<'_>)) {
    let mut held: Option<NonNull<bindings::inode>> = None;
    let mut at = None;

    loop {
        // SAFETY: By the requirement of this function.
        let inodes = unsafe { Inodes::lock(sb) };
        let mut found = None;
        while let Some(inode) = inodes.next(at) {
            at = Some(inode);
            if inodes.dax_file(inode).is_none() {
                continue;
            }
            // SAFETY: An inode in the list is valid, and `igrab` refuses one that goes away.
            if !unsafe { bindings::igrab(inode.as_ptr()) }.is_null() {
                found = Some(inode);
                break;
            }
        }
        drop(inodes);
        // Only now, since that may sleep; the next position does not depend on it any more.
        if let Some(inode) = held.take() {
            // SAFETY: The reference that `igrab` took.
            unsafe { bindings::iput(inode.as_ptr()) };
        }
        let Some(inode) = found else {
            return;
        };
        // SAFETY: The reference keeps the inode.
        f(unsafe { Mapping::of_inode(inode.as_ptr()) });
        // The inode is where the search goes on.
        held = Some(inode);
        // SAFETY: Process context without locks.
        unsafe { bindings::rust_fsdax_cond_resched() };
    }
}

/// Lets go of all folios of `pgmap`, which gives out no references for new ones any more, and
/// waits for those who pin them.
///
/// An umount that waits for a pin is waited for first, and so is the eviction of an inode whose last
/// reference turns out to be that of the search: both say in the log what they wait for.
///
/// Process context, sleeps as long as pins last. Called by `memunmap_pages()`.
pub(crate) fn pgmap_dying(pgmap: &Pgmap) {
    let begun = Instant::now();
    let mut files = 0usize;

    trace::removal_begin(pgmap);
    for_each_superblock(|sb| {
        // SAFETY: `for_each_superblock` keeps it.
        let _mounted = unsafe { Mounted::lock(sb) };
        // SAFETY: As above.
        unsafe {
            for_each_file(sb, |mapping| {
                files += usize::from(fsdax::revoke(mapping, pgmap));
            });
        }
    });
    // Also if there was nothing to unmap: somebody else may have done so since the pgmap is dying.
    // SAFETY: Process context without locks.
    unsafe { bindings::synchronize_rcu() };
    trace::removal_revoked(pgmap, files, begun);
    for pfn in pgmap.pfns() {
        wait_for_pins(pgmap, pfn);
        if pfn % BATCH == 0 {
            // SAFETY: Process context without locks.
            unsafe { bindings::rust_fsdax_cond_resched() };
        }
    }
    trace::removal_end(pgmap, files, begun);
}

/// After this many seconds of waiting for a pin the log says so; then after twice as many, and
/// so on.
const SAY_AFTER_SECONDS: u32 = 10;

/// Waits until the folio at `pfn` is idle, if it is a folio of ours that is in use.
fn wait_for_pins(pgmap: &Pgmap, pfn: usize) {
    let folio = pgmap.folio_at(pfn);
    if !folio.is_ours() {
        return;
    }
    let mut seconds = SAY_AFTER_SECONDS;
    waiters::during(What::Removal, None, 0, pfn, || {
        wait::on(folio.wait_address(), |wait| loop {
            let _ = wait.prepare(wait::Task::Uninterruptible);
            if !folio.is_ours() {
                return;
            }
            if wait::sleep_seconds(seconds) {
                if let State::Active(folio) = folio.look() {
                    say_pinned(&folio);
                }
                seconds = seconds.saturating_mul(2);
            }
        })
    })
}

fn say_pinned(folio: &FolioRef) {
    let association = folio.association(&FolioLock::new(folio.pfn()));
    let mapcount = folio.mapcount();
    // Without the reference of the caller.
    let pins = folio.count() - 1 - mapcount;

    match association {
        Association::Owned { mapping, index, .. } => {
            // SAFETY: Our reference keeps the folio busy, so that whoever removes the entry of the
            // inode waits; and the pgmap is dying, so that no other file takes the folio over.
            let (dev, ino) = unsafe { Mapping::from_raw(mapping as *mut _) }.id();
            pr_warn!(
                "removal of a device waits for pfn {:#x}: device {}:{}, inode {}, page offset {}: {} page table references, {} pins\n",
                folio.pfn(),
                dev >> 20,
                dev & 0xf_ffff,
                ino,
                index,
                mapcount,
                pins,
            );
        }
        _ => pr_warn!(
            "removal of a device waits for pfn {:#x}: {} page table references, {} pins\n",
            folio.pfn(),
            mapcount,
            pins,
        ),
    }
}
