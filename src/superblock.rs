// SPDX-License-Identifier: GPL-2.0

//! The superblocks that are bound, and walks over their files.
//!
//! None of the locks here is waited for by somebody who cannot do without: `s_umount` is only
//! tried, since an umount holds it while its evictions wait for pins, and the mutex of a [`Bound`]
//! is held for a moment. Nor is an inode evicted under any of them, since the eviction may wait
//! for a pin, or for the thaw of the filesystem, which needs `s_umount`: see `csrc/iput.c`.
//!
//! Rules: R10, R22.

use core::ptr::NonNull;

use kernel::{
    container_of,
    error::to_result,
    prelude::*,
    ptr::project,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

use crate::{
    bindings,
    mapping::{
        Mapping,
        BATCH, //
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
    /// The last removal that has searched it, see [`Self::is_searched_by`].
    searched_by: Atomic<u64>,
}

// SAFETY: The pointer is only used under the mutex, and a superblock belongs to no thread.
unsafe impl Send for Bound {}
// SAFETY: As above.
unsafe impl Sync for Bound {}

impl Bound {
    /// Calls `f` with the superblock, which stays meanwhile. `None` if it was unbound. May sleep.
    ///
    /// An umount waits for `f`, which is to be short.
    pub(crate) fn with<R>(&self, f: impl FnOnce(NonNull<bindings::super_block>) -> R) -> Option<R> {
        let sb = self.sb.lock();
        (*sb).map(f)
    }

    /// Whether the removal with this number, which is not 0, was the last to say so with
    /// [`Self::set_searched_by`]. Two removals that go on at once may both be told "no".
    pub(crate) fn is_searched_by(&self, removal: u64) -> bool {
        self.searched_by.load(Relaxed) == removal
    }

    /// See [`Self::is_searched_by`].
    pub(crate) fn set_searched_by(&self, removal: u64) {
        self.searched_by.store(removal, Relaxed);
    }
}

kernel::sync::global_lock! {
    // SAFETY: `init` is called by `init()` before any superblock can be bound.
    unsafe(uninit) static BOUND: Mutex<KVec<Arc<Bound>>> = KVec::new();
}

/// What evicts inodes whose last reference was that of a [`Walk`], for as long as it lives.
pub(crate) struct Evictions(());

impl Evictions {
    /// Prepares it, and the list of superblocks. `ENOMEM` if there is no memory. May sleep.
    ///
    /// # Safety
    ///
    /// Called once, before anything else of this file is used.
    pub(crate) unsafe fn init() -> Result<Self> {
        // SAFETY: By the requirement of this function.
        unsafe { BOUND.init() };
        // SAFETY: By the requirement of this function; undone in `drop`.
        to_result(unsafe { bindings::rust_fsdax_iput_init() })?;
        Ok(Self(()))
    }
}

impl Drop for Evictions {
    fn drop(&mut self) {
        // SAFETY: `init` has succeeded. No superblock is bound, so that no walk is under way.
        unsafe { bindings::rust_fsdax_iput_exit() }
    }
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
            searched_by: Atomic::new(0),
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
        *bound.sb.lock() = None;
    }
}

/// All superblocks that are bound now. May sleep.
pub(crate) fn all() -> Result<KVec<Arc<Bound>>> {
    let list = BOUND.lock();
    let mut all = KVec::with_capacity(list.len(), GFP_KERNEL)?;
    for bound in list.iter() {
        all.push(bound.clone(), GFP_KERNEL)?;
    }
    Ok(all)
}

/// Calls `f` for each bound superblock, without memory for a list of them. May sleep.
///
/// Nothing is locked while `f` runs: mounting and unmounting need not wait for it.
pub(crate) fn for_each(mut f: impl FnMut(&Arc<Bound>)) {
    let count = BOUND.lock().len();

    // From the end, so that none is left out when one goes away.
    for i in (0..count).rev() {
        let bound = BOUND.lock().get(i).cloned();
        if let Some(bound) = bound {
            f(&bound);
        }
    }
}

/// Why a walk cannot start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoWalk {
    /// The superblock was unmounted, or its inodes are being evicted. No file of it is open.
    Gone,
    /// `s_umount` is taken, or waited for: try again later.
    Locked,
}

/// A walk over the files of a superblock, which stays mounted meanwhile.
///
/// # Invariants
///
/// `s_umount` of the superblock is held for reading, and it is active, so that nobody shuts it
/// down. `at` is referenced, and in its list of inodes.
pub(crate) struct Walk {
    sb: NonNull<bindings::super_block>,
    /// Also whether it is a DAX file.
    at: Option<(NonNull<bindings::inode>, bool)>,
}

impl Walk {
    /// Begins before the first inode. May sleep, but waits for nobody who waits for a folio.
    ///
    /// # Errors
    ///
    /// See [`NoWalk`].
    pub(crate) fn start(bound: &Bound) -> Result<Self, NoWalk> {
        bound
            .with(|sb| {
                // SAFETY: `with` keeps the superblock.
                if !unsafe { bindings::rust_fsdax_trylock_umount(sb.as_ptr()) } {
                    return Err(NoWalk::Locked);
                }
                // INVARIANT: `s_umount` was just taken. If it is not active, this is undone while
                // `with` still keeps the superblock.
                let walk = Self { sb, at: None };
                // SAFETY: As above.
                if unsafe { bindings::rust_fsdax_sb_active(sb.as_ptr()) } {
                    Ok(walk)
                } else {
                    Err(NoWalk::Gone)
                }
            })
            .unwrap_or(Err(NoWalk::Gone))
    }

    /// Goes on to the next DAX file that has entries, or just on: after each batch of other inodes
    /// the caller may want to see whether it is to be killed. Returns `false` at the end.
    ///
    /// Files that get their first entry meanwhile may be left out, and so is an inode that is
    /// being evicted: it breaks its own layout. Process context, may sleep.
    pub(crate) fn step(&mut self) -> bool {
        // SAFETY: By the type invariant the superblock stays.
        let inodes = unsafe { Inodes::lock(self.sb) };
        let found = inodes.hold_next(self.at.map(|(inode, _)| inode));
        drop(inodes);
        // Only now, since the inode was where the search went on.
        self.put();
        // INVARIANT: `hold_next` took a reference to an inode in the list, where it stays as long
        // as it is referenced.
        self.at = found;
        // SAFETY: Process context without spinlocks.
        unsafe { bindings::rust_fsdax_cond_resched() };
        self.at.is_some()
    }

    /// The file that it is at, if it is at one.
    pub(crate) fn file(&self) -> Option<Mapping<'_>> {
        let (inode, _) = self.at.filter(|(_, is_file)| *is_file)?;
        // SAFETY: By the type invariant the inode is referenced until `self` goes on.
        Some(unsafe { Mapping::of_inode(inode.as_ptr()) })
    }

    fn put(&mut self) {
        if let Some((inode, _)) = self.at.take() {
            // SAFETY: By the type invariant there is a reference to put, and the superblock is
            // active and `s_umount` held.
            unsafe { bindings::rust_fsdax_iput_mounted(inode.as_ptr()) };
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.put();
        // SAFETY: By the type invariant it is held.
        unsafe { bindings::rust_fsdax_unlock_umount(self.sb.as_ptr()) }
    }
}

/// The list of inodes of a superblock, locked.
struct Inodes(NonNull<bindings::super_block>);

impl Inodes {
    /// # Safety
    ///
    /// `sb` stays until the guard is dropped.
    unsafe fn lock(sb: NonNull<bindings::super_block>) -> Self {
        // SAFETY: By the requirement of this function.
        unsafe { bindings::rust_fsdax_lock_inodes(sb.as_ptr()) };
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::hold_inodes();
        Self(sb)
    }

    /// The inode behind `inode`, which is in the list, or the first one.
    fn next(&self, inode: Option<NonNull<bindings::inode>>) -> Option<NonNull<bindings::inode>> {
        #[cfg(RUST_FSDAX_KUNIT)]
        crate::kunit::probe::visit_inode();
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

    /// Whether `inode`, which is in the list, is a DAX file with entries.
    fn is_file(&self, inode: NonNull<bindings::inode>) -> bool {
        // SAFETY: An inode leaves the list, which is locked, before it goes away.
        if unsafe { (*inode.as_ptr()).i_flags } & bindings::S_DAX == 0 {
            return false;
        }
        // SAFETY: As above; a DAX inode is the host of its mapping.
        let mapping = unsafe { Mapping::of_inode(inode.as_ptr()) };
        !mapping.is_empty()
    }

    /// References the next inode behind `at` that is a DAX file with entries, or any one after a
    /// batch of others: to keep the place while the list is not locked. Returns also which it is.
    fn hold_next(
        &self,
        mut at: Option<NonNull<bindings::inode>>,
    ) -> Option<(NonNull<bindings::inode>, bool)> {
        let mut passed = 0;

        loop {
            let inode = self.next(at)?;
            at = Some(inode);
            passed += 1;
            let is_file = self.is_file(inode);
            if !is_file && passed < BATCH {
                continue;
            }
            // SAFETY: An inode in the list is valid, and `igrab` refuses one that goes away.
            if !unsafe { bindings::igrab(inode.as_ptr()) }.is_null() {
                return Some((inode, is_file));
            }
        }
    }
}

impl Drop for Inodes {
    fn drop(&mut self) {
        // SAFETY: Locked in `lock`.
        unsafe { bindings::rust_fsdax_unlock_inodes(self.0.as_ptr()) }
    }
}
