// SPDX-License-Identifier: GPL-2.0

//! Writeback of the entries of a bound superblock.
//!
//! Counterpart of `dax_writeback_mapping_range()` of `fs/dax.c`.
//!
//! Rules: R9.

use kernel::prelude::*;

use crate::{
    ffi::warn::warn_on_once,
    mapping::{
        Flusher,
        Mapping,
        Mark,
        Range,
        Walk, //
    },
    pgmap::DaxDevice, //
};

/// Flushes the entries in `range` that are dirty now.
///
/// # Errors
///
/// `EIO`: the device is gone, or an entry without data was marked dirty.
///
/// Process context, may sleep.
pub(crate) fn write_back(mapping: Mapping<'_>, device: DaxDevice<'_>, range: Range) -> Result {
    mapping.tag_for_writeback(range);

    let mut walk = Walk::marked(mapping, range, Mark::ToWrite);
    // An entry that is locked is found again with the mark, unless another fsync() has done it.
    while let Some(mut at) = walk.next() {
        let done = if warn_on_once!(!at.entry().is_mapped()) {
            at.marks().clear(Mark::ToWrite);
            Err(EIO)
        } else {
            at.flush(Flusher::Device(device))
        };
        if let Err(e) = done {
            mapping.set_error(e);
            return Err(e);
        }
    }
    Ok(())
}
