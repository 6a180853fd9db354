// SPDX-License-Identifier: GPL-2.0

//! rust_fsdax: the lifetime of fsdax pages.
//!
//! Owns ZONE_DEVICE folios of type FS_DAX from their request through a pgmap to the end of their
//! free path, and the shape that they leave, and serves page faults, writeback and layout breaks of
//! the superblocks that are bound to it. `Documentation/design.rst` has the rules and the state
//! machine.
//!
//! The floors, of which none names one above it (`scripts/module-graph`): [`ffi`], [`pgmap`],
//! [`folio`], [`mapping`], [`fsdax`] (what is done), [`provider`] (what C calls).
//!
//! Lock order, outermost first:
//!
//! 1. `s_umount` of a bound superblock, which is only tried, under its mutex
//!    ([`mapping::FileWalk`])
//! 2. the filesystem's lock that keeps faults out of a break (`invalidate_lock`)
//! 3. the lock of an entry ([`mapping::LockedEntry`])
//! 4. `dax_read_lock()` ([`pgmap::DeviceReadGuard`])
//! 5. `mapping->i_mmap_rwsem` (unmap, write-protect)
//! 6. the list of those who wait ([`mapping::waiters`]), the list of inodes of a superblock
//!    ([`mapping::FileWalk`])
//! 7. the i_pages lock ([`mapping::Walk`]), irqs off
//! 8. the folio lock ([`folio::FolioRef::lock`]), or the list of breaks that sleep
//!    ([`mapping::is_breaking`]), irqs off
//! 9. the wait queue of an address ([`ffi::sleep`])
//!
//! The free path runs with any of these held, and takes only the last. The driver of a DAX device
//! holds `dax_read_lock()` when it calls, outside an entry lock: nobody waits with one of these
//! until devices are read no more.
//!
//! Rules: R15, R16.

#![crate_name = "rust_fsdax"]
// Beyond the kernel's lints, for what scripts/unsafe-audit lists.
#![warn(
    clippy::missing_safety_doc,
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks
)]

use kernel::prelude::*;

mod ffi;
mod folio;
mod fsdax;
mod mapping;
mod pgmap;
mod provider;

#[cfg(RUST_FSDAX_KUNIT)]
#[path = "../tests/kunit/mod.rs"]
mod kunit;

// It does not compile, and must not: see there.
#[cfg(RUST_FSDAX_COMPILE_FAIL)]
#[path = "../tests/compile-fail/mod.rs"]
mod compile_fail;

module! {
    type: RustFsdax,
    name: "rust_fsdax",
    authors: ["rust_fsdax developers"],
    description: "Lifetime of fsdax pages",
    license: "GPL",
}

/// The module. The order of the fields is the order of the teardown.
struct RustFsdax {
    /// First, what looks at the rest,
    _debugfs: provider::Files,
    /// then requests by others, so that the module stays as it is,
    _requests: folio::Requests,
    /// then the shapes of free memory, which nobody can make any more since the module goes,
    _shapes: folio::Shapes,
    /// then the provider, which has heard of mounts until now,
    _provider: provider::Provider,
    /// then the free path, which nobody needs without folios,
    _owner: provider::Owner,
    /// and evictions, of which none is left when no superblock is bound,
    _evictions: mapping::Evictions,
    /// the lists of breaks that sleep,
    _breaks: mapping::SleepingBreaks,
    /// and last the locks of all folios.
    _locks: folio::Locks,
}

impl kernel::Module for RustFsdax {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        if !provider::kernel_has_series() {
            pr_err!("this kernel lacks the rust_fsdax patch series; build one with that of patches/linux-X.Y applied\n");
            // As the module loader does for an unknown symbol.
            return Err(ENOENT);
        }
        // SAFETY: No superblock can be bound yet.
        let evictions = unsafe { mapping::Evictions::init()? };
        // SAFETY: No task can wait yet.
        unsafe { mapping::waiters::init() };
        // SAFETY: No file is served yet.
        let breaks = unsafe { mapping::SleepingBreaks::init() };
        // SAFETY: No folio can be requested yet. It is dropped after what uses folios, by the order
        // of the fields.
        let locks = unsafe { folio::Locks::init() }?;
        let owner = provider::Owner::register()?;
        let provider = provider::Provider::register()?;
        Ok(Self {
            _debugfs: provider::Files::create(),
            _provider: provider,
            _shapes: folio::Shapes::new(),
            _requests: folio::Requests::open(),
            _owner: owner,
            _evictions: evictions,
            _breaks: breaks,
            _locks: locks,
        })
    }
}
