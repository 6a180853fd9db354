// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/rust_fsdax/`: who holds which pages, and who waits for them.
//!
//! `Documentation/tracing.rst` describes the files.
//!
//! `kernel::debugfs` is not used, because its files have no owner: the module could be unloaded
//! while one is open, and the file would then be closed by a function pointer that is gone.
//!
//! Rules: R12, R15.

use kernel::{
    error::from_result,
    ffi::{
        c_int,
        c_void, //
    },
    fmt::{
        self,
        Write, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

#[cfg(CONFIG_FAULT_INJECTION)]
use kernel::sync::atomic::Relaxed;

#[cfg(CONFIG_FAULT_INJECTION)]
use crate::ffi::inject;
use crate::{
    ffi::{
        bindings,
        compat,
        sched, //
    },
    folio::{
        is_busy,
        Association,
        EntryId,
        Folio,
        State, //
    },
    mapping::{
        all_bound,
        waiters::{
            self,
            Waiter, //
        },
        Ended,
        Entry,
        Kind,
        Mark,
        Scan,
        Seen,
        Which,
        BATCH, //
    },
    pgmap::{
        Order,
        PgmapRef, //
    }, //
};

/// The directory with its files, for as long as it lives.
///
/// # Invariants
///
/// The pointer is null, an error, or the directory, which is ours to remove.
pub(crate) struct Files(*mut bindings::dentry);

// SAFETY: The functions of debugfs may be called by any thread.
unsafe impl Send for Files {}
// SAFETY: All that is done with a reference is to read the pointer.
unsafe impl Sync for Files {}

impl Files {
    /// Creates them. Without debugfs there are none. May sleep.
    pub(crate) fn create() -> Self {
        // SAFETY: The name is a C string.
        let dir = unsafe { bindings::rust_fsdax_debugfs_create_dir(c"rust_fsdax".as_char_ptr()) };
        for (name, table) in [
            (c"mounts", &MOUNTS),
            (c"busy", &BUSY),
            (c"waiters", &WAITERS_FILE),
            (c"faults", &FAULTS),
            #[cfg(CONFIG_FAULT_INJECTION)]
            (c"points", &POINTS),
        ] {
            // SAFETY: The name is a C string, debugfs copes with an error for a directory, and
            // the table is static and holds the module while a file is open.
            unsafe {
                bindings::rust_fsdax_debugfs_create_file(
                    name.as_char_ptr(),
                    dir,
                    &raw const table.0,
                )
            };
        }
        #[cfg(CONFIG_FAULT_INJECTION)]
        // SAFETY: It is what debugfs gave for a directory.
        unsafe {
            inject::create(dir)
        };
        // INVARIANT: Just created.
        Self(dir)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is ours to remove; debugfs copes with errors.
        unsafe { bindings::rust_fsdax_debugfs_remove(self.0) };
        #[cfg(CONFIG_FAULT_INJECTION)]
        inject::remove();
    }
}

/// A C table of functions that is constant and may be used by any thread.
struct Table(bindings::file_operations);

// SAFETY: The table holds pointers to functions and a module, all of them constant.
unsafe impl Sync for Table {}

type Open = unsafe extern "C" fn(*mut bindings::inode, *mut bindings::file) -> c_int;

const fn table(open: Open) -> Table {
    Table(bindings::file_operations {
        owner: compat::this_module().as_ptr(),
        open: Some(open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    })
}

static MOUNTS: Table = table(open::<Mounts>);
static BUSY: Table = table(open::<Busy>);
static WAITERS_FILE: Table = table(open::<Waiters>);
static FAULTS: Table = table(open::<Faults>);
#[cfg(CONFIG_FAULT_INJECTION)]
static POINTS: Table = table(open::<Points>);

/// What a file shows.
trait Contents {
    /// Writes all lines, or stops when there is no room. May sleep.
    fn write(out: &Output<'_>) -> Result;
}

/// # Safety
///
/// `file` is being opened, with one of the tables.
unsafe extern "C" fn open<C: Contents>(
    _: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    // SAFETY: The caller promises that it is being opened; `single_release` undoes this.
    unsafe { bindings::single_open(file, Some(show::<C>), core::ptr::null_mut()) }
}

/// # Safety
///
/// `seq` is valid, and locked by the caller, as `seq_read()` does.
unsafe extern "C" fn show<C: Contents>(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
    let out = Output {
        raw: seq,
        // SAFETY: The caller has it locked, so that nobody else uses it meanwhile.
        seq: unsafe { SeqFile::from_raw(seq) },
    };
    from_result(|| C::write(&out).map(|()| 0))
}

/// The buffer of a file that is read.
///
/// # Invariants
///
/// `raw` is valid and locked during `'a`.
struct Output<'a> {
    raw: *mut bindings::seq_file,
    seq: &'a SeqFile,
}

impl Output<'_> {
    /// Whether to go on: there is room, and nobody wants to kill the reader.
    ///
    /// Without room, `seq_read()` starts over with twice as much. Who stops then makes all tries
    /// together cost no more than twice the last one.
    fn go_on(&self) -> Result<bool> {
        sched::cond_resched();
        if kernel::current!().signal_pending() {
            return Err(EINTR);
        }
        // SAFETY: By the type invariant it is valid and locked.
        Ok(!unsafe { bindings::rust_fsdax_seq_has_overflowed(self.raw) })
    }
}

/// Bytes of a name, up to the first zero, as one word: what is special becomes `\ooo`.
struct Word<'a>(&'a [u8]);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut any = false;

        for byte in self.0.iter().take_while(|byte| **byte != 0) {
            any = true;
            if byte.is_ascii_graphic() && *byte != b'\\' {
                f.write_char(char::from(*byte))?;
            } else {
                f.write_fmt(fmt!("\\{:03o}", byte))?;
            }
        }
        if any {
            Ok(())
        } else {
            f.write_str("?")
        }
    }
}

/// A device number.
struct Device(u32);

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!("{}:{}", self.0 >> 20, self.0 & 0xf_ffff))
    }
}

/// One line per bound mount.
struct Mounts;

/// How many entries and folios of an order there are.
#[derive(Clone, Copy, Default)]
struct Counts {
    tracked: usize,
    zapped: usize,
    busy: usize,
    shared: usize,
}

impl Counts {
    fn add(&mut self, seen: &mut Seen<'_, '_>) {
        match seen.entry().kind() {
            Kind::Tracked => {
                self.tracked += 1;
                self.shared += usize::from(is_shared(seen));
            }
            Kind::Zapped => {
                self.zapped += 1;
                if seen.marks().has(Mark::Busy) && is_busy(seen.entry().pfn(), seen.id()) {
                    self.busy += 1;
                }
            }
            Kind::Zero | Kind::Empty => {}
        }
    }
}

/// Whether other entries than this one track its folio.
fn is_shared(seen: &Seen<'_, '_>) -> bool {
    seen.folio().is_some_and(
        |folio| matches!(folio.lock().association(), Association::Shared(share) if share > 1),
    )
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!(
            "{} {} {} {}",
            self.tracked,
            self.zapped,
            self.busy,
            self.shared
        ))
    }
}

impl Contents for Mounts {
    fn write(out: &Output<'_>) -> Result {
        seq_print!(
            out.seq,
            "dev s_id fs provider tracked.0 zapped.0 busy.0 shared.0 \
             tracked.9 zapped.9 busy.9 shared.9 tracked.18 zapped.18 busy.18 shared.18\n"
        );
        for bound in all_bound()? {
            let Some(mut scan) = Scan::new(bound.clone(), Which::All) else {
                continue;
            };
            let mut counts = [Counts::default(); 3];
            let [pte, pmd, pud] = &mut counts;
            while scan.batch(BATCH, |seen| match seen.entry().order() {
                Order::Pte => pte.add(seen),
                Order::Pmd => pmd.add(seen),
                Order::Pud => pud.add(seen),
            }) {
                if !out.go_on()? {
                    return Ok(());
                }
            }
            let [pte, pmd, pud] = &counts;
            bound.describe(|about| {
                seq_print!(
                    out.seq,
                    "{} {} {} rust_fsdax {} {} {}\n",
                    Device(about.dev),
                    Word(about.id),
                    Word(about.fs),
                    pte,
                    pmd,
                    pud
                );
            });
        }
        Ok(())
    }
}

/// One line per zapped folio that is busy.
struct Busy;

/// So many lines are shown at most.
const MAX_BUSY: usize = 16384;
/// So many entries are gathered under a lock.
const BUSY_BATCH: usize = 128;

/// A zapped entry.
#[derive(Clone, Copy)]
struct Zapped {
    id: EntryId,
    dev: u32,
    ino: usize,
    entry: Entry,
}

/// What is to be said of a busy folio.
struct BusyFolio {
    zapped: Zapped,
    refs: i32,
    mapcount: i32,
    pins: u32,
    age_ms: u32,
    pid: i32,
}

impl Zapped {
    /// The entry, if it is zapped.
    fn at(seen: &Seen<'_, '_>) -> Option<Self> {
        let (dev, ino) = seen.mapping().id();

        (seen.entry().kind() == Kind::Zapped).then_some(Self {
            id: seen.id(),
            dev,
            ino,
            entry: seen.entry(),
        })
    }

    /// The folio, if it is still busy on behalf of this entry. May sleep.
    fn describe(self) -> Option<BusyFolio> {
        let pgmap = PgmapRef::dying_or_live(self.entry.pfn())?;
        let (refs, mapcount, pins, age_ms) = match Folio::of(&pgmap).look() {
            State::Idle => return None,
            State::Draining => (0, 0, 0, 0),
            State::Active(folio) => {
                let lock = folio.lock();
                if !lock.is_zapped_by(self.id) {
                    return None;
                }
                // How long is not known of one that waits for those who have parts.
                let age_ms = match lock.association() {
                    Association::Owned { .. } => lock.zapped_ms()?,
                    _ => 0,
                };
                drop(lock);
                let mapcount = folio.mapcount();
                // Without the reference of this function. If that is the last one, the folio is
                // about to be idle.
                match folio.count() - 1 {
                    0 => return None,
                    refs => (refs, mapcount, folio.gup_pins(), age_ms),
                }
            }
        };
        Some(BusyFolio {
            zapped: self,
            refs,
            mapcount,
            pins,
            age_ms,
            pid: waiters::pid_for(self.entry.pfn()).unwrap_or(0),
        })
    }
}

impl fmt::Display for BusyFolio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!(
            "{} {} {} {:#x} {} {} {} {} {} {}",
            Device(self.zapped.dev),
            self.zapped.ino,
            self.zapped.id.index(),
            self.zapped.entry.pfn(),
            self.zapped.entry.order().get(),
            self.refs,
            self.mapcount,
            self.pins,
            self.age_ms,
            self.pid
        ))
    }
}

impl Contents for Busy {
    fn write(out: &Output<'_>) -> Result {
        let mut found = KVec::<Zapped>::with_capacity(BUSY_BATCH, GFP_KERNEL)?;
        let mut lines = 0;

        seq_print!(
            out.seq,
            "dev ino index pfn order refcount mapcount pins age_ms waiter_pid\n"
        );
        for bound in all_bound()? {
            let Some(mut scan) = Scan::new(bound, Which::Marked(Mark::Busy)) else {
                continue;
            };
            loop {
                found.clear();
                let more = scan.batch(BUSY_BATCH, |seen| {
                    if let Some(zapped) = Zapped::at(seen) {
                        // There is room for as many as `batch` was asked for.
                        let _ = found.push_within_capacity(zapped);
                    }
                });
                for folio in found.iter().filter_map(|zapped| zapped.describe()) {
                    if lines == MAX_BUSY {
                        seq_print!(out.seq, "more\n");
                        return Ok(());
                    }
                    lines += 1;
                    seq_print!(out.seq, "{}\n", folio);
                }
                if !out.go_on()? {
                    return Ok(());
                }
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// One line per task that waits.
struct Waiters;

/// So many waiters are copied under the lock.
const WAITERS_BATCH: usize = 64;

impl fmt::Display for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!(
            "{} {} {} {} {} {} {:#x} {}",
            self.pid,
            Word(&self.comm),
            self.what.as_str(),
            Device(self.dev),
            self.ino,
            self.index,
            self.pfn,
            self.since.elapsed().as_millis()
        ))
    }
}

impl Contents for Waiters {
    fn write(out: &Output<'_>) -> Result {
        let mut some = KVec::<Waiter>::with_capacity(WAITERS_BATCH, GFP_KERNEL)?;
        let mut last = 0;

        seq_print!(out.seq, "pid comm what dev ino index pfn waited_ms\n");
        loop {
            waiters::next(last, &mut some);
            for waiter in some.iter() {
                last = waiter.id;
                seq_print!(out.seq, "{}\n", waiter);
            }
            if some.is_empty() || !out.go_on()? {
                return Ok(());
            }
        }
    }
}

/// One line per bound mount: how its faults ended, since it was mounted.
struct Faults;

impl Contents for Faults {
    fn write(out: &Output<'_>) -> Result {
        seq_print!(out.seq, "dev s_id fs");
        for ended in Ended::all() {
            seq_print!(out.seq, " {}", ended);
        }
        seq_print!(out.seq, "\n");
        for bound in all_bound()? {
            let shown = bound.describe(|about| {
                let (dev, id, fs) = (Device(about.dev), Word(about.id), Word(about.fs));
                seq_print!(out.seq, "{} {} {}", dev, id, fs);
            });
            if shown.is_none() {
                continue;
            }
            for ended in Ended::all() {
                seq_print!(out.seq, " {}", bound.faults(ended));
            }
            seq_print!(out.seq, "\n");
            if !out.go_on()? {
                break;
            }
        }
        Ok(())
    }
}

/// One line per point where failures can be injected.
#[cfg(CONFIG_FAULT_INJECTION)]
struct Points;

#[cfg(CONFIG_FAULT_INJECTION)]
impl Contents for Points {
    fn write(out: &Output<'_>) -> Result {
        seq_print!(out.seq, "point asked failed\n");
        for count in &inject::COUNTS {
            seq_print!(
                out.seq,
                "{} {} {}\n",
                count.name,
                count.asked.load(Relaxed),
                count.failed.load(Relaxed)
            );
        }
        Ok(())
    }
}
