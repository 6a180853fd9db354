// SPDX-License-Identifier: GPL-2.0

//! The superblocks that are bound, and walks over their files.
//!
//! None of the locks here is waited for by somebody who cannot do without: `s_umount` is only
//! tried, since an umount holds it while its evictions wait for pins, and the mutex of a [`Bound`]
//! is held for a moment. Nor is an inode evicted under any of them, since the eviction may wait
//! for a pin, or for the thaw of the filesystem, which needs `s_umount`: see `csrc/iput.c`.
//!
//! fs/dax.c has no counterpart.
//!
//! Rules: R10, R22.

use core::ptr::NonNull;

use kernel::{
    error::to_result,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

use super::{
    counters::{
        self,
        Counters,
        Ended, //
    },
    file::Mapping,
    pages::BATCH, //
};
use crate::ffi::{
    bindings,
    sched, //
};

/// The pointer to a superblock.
///
/// # Invariants
///
/// It is valid as long as a [`Bound`] has it, or a [`FileWalk`] keeps it mounted.
#[derive(Clone, Copy)]
struct Sb(NonNull<bindings::super_block>);

// SAFETY: A superblock belongs to no thread.
unsafe impl Send for Sb {}

impl Sb {
    fn raw(self) -> *mut bindings::super_block {
        self.0.as_ptr()
    }
}

/// A superblock that is bound.
#[pin_data]
pub(crate) struct Bound {
    /// `None` when it was unbound.
    #[pin]
    sb: Mutex<Option<Sb>>,
    /// As an identity.
    address: usize,
    /// The last removal that has searched it, see [`Self::is_searched_by`].
    searched_by: Atomic<u64>,
    /// How its faults ended.
    counters: Counters,
}

/// What is known of a superblock.
pub(crate) struct About<'a> {
    /// Its device.
    pub(crate) dev: u32,
    /// Its name, up to the first zero.
    pub(crate) id: &'a [u8],
    /// The name of its filesystem.
    pub(crate) fs: &'a [u8],
}

impl Bound {
    /// Calls `f` with the superblock, which stays meanwhile. `None` if it was unbound. May sleep.
    ///
    /// An umount waits for `f`, which is to be short.
    fn with<R>(&self, f: impl FnOnce(Sb) -> R) -> Option<R> {
        let sb = self.sb.lock();
        (*sb).map(f)
    }

    /// Whether it is that one, and still bound.
    #[cfg(RUST_FSDAX_KUNIT)]
    pub(crate) fn is(&self, sb: *mut bindings::super_block) -> bool {
        self.with(|found| found.raw() == sb) == Some(true)
    }

    /// Calls `f` with what is known of the superblock, see [`Self::with`].
    pub(crate) fn describe<R>(&self, f: impl FnOnce(&About<'_>) -> R) -> Option<R> {
        self.with(|sb| {
            // SAFETY: By the invariant of `Sb` it is valid; this is constant.
            let dev = unsafe { (*sb.raw()).s_dev };
            // SAFETY: By the invariant of `Sb` it is valid; this is constant once it is mounted.
            let id = unsafe { &(*sb.raw()).s_id };
            // SAFETY: By the invariant of `Sb` it is valid; this is constant.
            let fs = unsafe { (*sb.raw()).s_type };
            let fs: &[u8] = if fs.is_null() {
                &[]
            } else {
                // SAFETY: A file system outlives its superblocks.
                let name = unsafe { (*fs).name };
                // SAFETY: A file system has a name, which is a constant C string.
                unsafe { CStr::from_char_ptr(name) }.to_bytes()
            };
            f(&About { dev, id, fs })
        })
    }

    /// How many faults of its files have ended like that, since it was bound. Any context.
    pub(crate) fn faults(&self, ended: Ended) -> u64 {
        self.counters.sum(ended)
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
    // SAFETY: `Evictions::init` comes before any superblock can be bound.
    unsafe(uninit) static BOUND: Mutex<KVec<Arc<Bound>>> = KVec::new();
}

/// What evicts inodes whose last reference was that of a [`FileWalk`], for as long as it lives.
///
/// # Invariants
///
/// It is prepared, and so is the list of superblocks.
pub(crate) struct Evictions(());

impl Evictions {
    /// Prepares it, and the list of superblocks. `ENOMEM` if there is no memory. May sleep.
    ///
    /// # Safety
    ///
    /// No superblock is bound, nor the list of them looked at, before this returns.
    pub(crate) unsafe fn init() -> Result<Self> {
        // SAFETY: The caller promises that nobody uses the list yet.
        unsafe { BOUND.init() };
        // SAFETY: Only walks over bound superblocks use what this writes.
        to_result(unsafe { bindings::rust_fsdax_iput_init() })?;
        // INVARIANT: Just prepared.
        Ok(Self(()))
    }
}

impl Drop for Evictions {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is prepared. The module holds a reference to itself for
        // each bound superblock: there is none, so that no walk is under way.
        unsafe { bindings::rust_fsdax_iput_exit() }
    }
}

/// Adds a superblock that is about to be bound. `ENOMEM` if there is no memory. May sleep.
///
/// # Safety
///
/// `sb` is valid until [`unbind`] is called with it, and no file of it is in use before this returns,
/// nor after that.
pub(crate) unsafe fn bind(sb: *mut bindings::super_block) -> Result {
    let address = sb as usize;
    let bound = Arc::pin_init(
        // INVARIANT: The caller promises that it is valid.
        pin_init!(Bound {
            sb <- kernel::new_mutex!(NonNull::new(sb).map(Sb)),
            address,
            searched_by: Atomic::new(0),
            counters: Counters::new()?,
        }? Error),
        GFP_KERNEL,
    )?;
    let mut list = BOUND.lock();
    list.push(bound.clone(), GFP_KERNEL)?;
    // SAFETY: The caller promises that it is valid, and when files of it are used. It is in the list
    // from now on, which is locked, and `unbind` withdraws what it takes off.
    unsafe { counters::publish(sb, &bound.counters) };
    Ok(())
}

/// Removes a superblock that has no inodes any more. May sleep.
pub(crate) fn unbind(sb: *mut bindings::super_block) {
    let mut list = BOUND.lock();
    let Some(i) = list.iter().position(|bound| bound.address == sb as usize) else {
        return;
    };
    let removed = list.remove(i);
    if let Ok(bound) = &removed {
        counters::withdraw(&bound.counters);
    }
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
pub(crate) fn all_bound() -> Result<KVec<Arc<Bound>>> {
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
pub(crate) fn for_each_bound(mut f: impl FnMut(&Arc<Bound>)) {
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
pub(crate) struct FileWalk {
    sb: Sb,
    /// Also whether it is a DAX file.
    at: Option<(NonNull<bindings::inode>, bool)>,
}

impl FileWalk {
    /// Begins before the first inode. May sleep, but waits for nobody who waits for a folio.
    ///
    /// # Errors
    ///
    /// See [`NoWalk`].
    pub(crate) fn start(bound: &Bound) -> Result<Self, NoWalk> {
        bound
            .with(|sb| {
                // SAFETY: By the invariant of `Sb` it is valid, since `with` keeps it.
                if !unsafe { bindings::rust_fsdax_trylock_umount(sb.raw()) } {
                    return Err(NoWalk::Locked);
                }
                // INVARIANT: `s_umount` was just taken. If it is not active, this is undone while
                // `with` still keeps the superblock.
                let walk = Self { sb, at: None };
                // SAFETY: By the invariant of `Sb` it is valid, since `with` keeps it.
                if unsafe { bindings::rust_fsdax_sb_active(sb.raw()) } {
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
        let found = self.hold_next();
        // Only now, since the inode was where the search went on.
        self.put();
        // INVARIANT: `hold_next` took a reference to an inode in the list, where it stays as long
        // as it is referenced.
        self.at = found;
        sched::cond_resched();
        self.at.is_some()
    }

    /// The file that it is at, if it is at one.
    pub(crate) fn file(&self) -> Option<Mapping<'_>> {
        let (inode, _) = self.at.filter(|(_, is_file)| *is_file)?;
        // SAFETY: By the type invariant the inode is referenced until `self` goes on; a DAX inode
        // is the host of its mapping.
        Some(unsafe { Mapping::of_inode(inode.as_ptr()) })
    }

    /// References the next inode that is a DAX file with entries, or any one after a batch of
    /// others: to keep the place while the list is not locked. Returns also which it is.
    fn hold_next(&self) -> Option<(NonNull<bindings::inode>, bool)> {
        let at = self
            .at
            .map_or(core::ptr::null_mut(), |(inode, _)| inode.as_ptr());
        let mut is_file = false;
        // SAFETY: By the type invariant the superblock is active and `s_umount` held, and the inode
        // is referenced and in its list.
        let next = unsafe {
            bindings::rust_fsdax_next_inode(self.sb.raw(), at, BATCH as u32, &mut is_file)
        };
        NonNull::new(next).map(|inode| (inode, is_file))
    }

    fn put(&mut self) {
        if let Some((inode, _)) = self.at.take() {
            // SAFETY: By the type invariant there is a reference to put, and the superblock is
            // active and `s_umount` held.
            unsafe { bindings::rust_fsdax_iput_mounted(inode.as_ptr()) };
        }
    }
}

impl Drop for FileWalk {
    fn drop(&mut self) {
        self.put();
        // SAFETY: By the type invariant it is held.
        unsafe { bindings::rust_fsdax_unlock_umount(self.sb.raw()) }
    }
}
