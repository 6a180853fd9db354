// SPDX-License-Identifier: GPL-2.0

//! rust_fsdax: the lifetime of fsdax pages.
//!
//! Owns ZONE_DEVICE folios of type FS_DAX from their request through a pgmap to the end of their
//! free path, and serves page faults, writeback and layout breaks of the superblocks that are
//! bound to it. `Documentation/design.rst` has the rules and the state machine.
//!
//! Lock order, outermost first:
//!
//! 1. `s_umount` of a bound superblock, which is only tried, under its mutex ([`superblock`])
//! 2. the filesystem's lock that keeps faults out of a break (`invalidate_lock`)
//! 3. the lock of an entry ([`mapping::LockedEntry`])
//! 4. `dax_read_lock()`
//! 5. `mapping->i_mmap_rwsem` (unmap, write-protect)
//! 6. the list of those who wait ([`waiters`]), the list of inodes of a superblock
//!    ([`superblock`])
//! 7. the i_pages lock ([`mapping::Pages`]), irqs off
//! 8. the folio lock ([`folio::FolioLock`]), or the list of breaks that sleep
//!    ([`waiters::is_breaking`]), irqs off
//! 9. the wait queue of an address ([`wait`])
//!
//! The free path runs with any of these held, and takes only the last.
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

mod bindings;
mod compat;
mod debugfs;
mod entry;
mod fault;
mod folio;
mod fsdax;
mod inject;
mod mapping;
mod memory_failure;
mod pgmap;
mod provider;
mod removal;
mod scan;
mod superblock;
mod trace;
mod wait;
mod waiters;
mod warn;
mod way;
mod writeback;

#[cfg(RUST_FSDAX_KUNIT)]
#[path = "../tests/kunit/mod.rs"]
mod kunit;

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
    _debugfs: debugfs::Files,
    /// then the provider, so that no superblock is bound any more,
    _provider: provider::Provider,
    /// then the free path, which nobody needs without folios,
    _owner: pgmap::Owner,
    /// and evictions, of which none is left when no superblock is bound,
    _evictions: superblock::Evictions,
    /// and last the locks of all of these.
    _locks: folio::Locks,
}

impl kernel::Module for RustFsdax {
    fn init(module: &'static ThisModule) -> Result<Self> {
        if !provider::kernel_has_series() {
            pr_err!("this kernel lacks the rust_fsdax patch series; build one with that of patches/linux-X.Y applied\n");
            // As the module loader does for an unknown symbol.
            return Err(ENOENT);
        }
        // SAFETY: Nobody can call this module yet.
        let evictions = unsafe { superblock::Evictions::init()? };
        // SAFETY: As above.
        unsafe { waiters::init() };
        // SAFETY: As above. It is dropped after what uses it, by the order of the fields.
        let locks = unsafe { folio::Locks::init() }?;
        let owner = pgmap::Owner::register()?;
        let provider = provider::Provider::register(module)?;
        Ok(Self {
            _debugfs: debugfs::Files::create(),
            _provider: provider,
            _owner: owner,
            _evictions: evictions,
            _locks: locks,
        })
    }
}
