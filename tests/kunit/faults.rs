// SPDX-License-Identifier: GPL-2.0

//! Page faults, but for what they change in page tables.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_faults)]
mod tests {
    use kernel::sync::Arc;

    use super::*;
    use crate::{
        bindings::{
            self,
            fault, //
        },
        entry::{
            Kind,
            Order, //
        },
        fsdax,
        kunit::{
            faulting::{
                Extent,
                Faulted,
                BAD, //
            },
            fixture::{
                FakeFile,
                TestPgmap, //
            },
            probe::{
                Event,
                Events, //
            },
            thread::{
                nap,
                wait_until,
                Thread, //
            }, //
        },
        mapping::{
            Mark,
            Range, //
        }, //
    };

    #[test]
    fn a_pmd_fault_does_not_tell_why_it_falls_back() -> Result {
        let pgmap = TestPgmap::new()?;
        let error = -(bindings::ENOSPC as i32);
        let full = Faulted::new(
            &pgmap,
            Extent {
                error,
                ..Extent::default()
            },
        )?;

        check_eq!(full.fault(0, Order::Pmd, true)?, (fault::FALLBACK, 0));
        check_eq!(full.fault(0, Order::Pte, true)?, (fault::SIGBUS, error));
        Ok(())
    }

    /// A file whose store to page 0, in block 0, makes a copy of block 0 in block 100.
    fn copying(pgmap: &Arc<TestPgmap>, source: usize) -> Result<Arc<Faulted>> {
        let extent = Extent {
            block: 100,
            shared: true,
            source: Some(source),
            ..Extent::default()
        };
        let file = Faulted::new(pgmap, extent)?;
        file.file.share(0, 0, Order::Pte)?;
        Ok(file)
    }

    #[test]
    fn r17_a_store_that_waits_does_not_ask_for_a_block_each_time() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = copying(&pgmap, 0)?;
        let pin = pgmap.pin(0)?;
        let storing = file.clone();
        let thread = Thread::spawn(move || storing.fault_on(0, true))?;

        wait_until(|| thread.sleeps_killably())?;
        // Half a second at least.
        let asked = file.asked();
        for _ in 0..250 {
            nap();
        }
        check!(!thread.is_done());
        check!(file.asked() <= asked + 3);
        drop(pin);
        let (ret, taken) = thread.join()??;
        check_eq!(ret, fault::NEEDDSYNC);
        check!(taken <= 60);
        check!(pgmap.is_idle(0));
        check_eq!(file.file.entry(0).map(|e| e.pfn()), Some(pgmap.pfn(100)));
        Ok(())
    }

    #[test]
    fn r17_a_store_that_waits_notices_that_the_block_is_not_shared_any_more() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = Faulted::new(&pgmap, Extent::default())?;

        file.file.share(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        let mut locked = file.file.mapping().lock_entry(0).ok_or(ENOENT)?;
        check_eq!(fsdax::give_up(&mut locked), fsdax::Left::Busy);
        fsdax::set_replaced(&locked);
        drop(locked);
        let storing = file.clone();
        let thread = Thread::spawn(move || storing.fault_on(0, true))?;
        // The pin is still there.
        check_eq!(thread.join()??.0, fault::NEEDDSYNC);
        check_eq!(file.file.kind(0), Some(Kind::Tracked));
        drop(pin);
        Ok(())
    }

    #[test]
    fn r17_what_a_store_waits_for_is_forgotten_when_the_page_is_used() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.share(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        check!(!fsdax::is_replaced_later(&locked, 0));
        check_eq!(fsdax::give_up(&mut locked), fsdax::Left::Busy);
        check!(!fsdax::is_replaced_later(&locked, 0));
        fsdax::set_replaced(&locked);
        check!(fsdax::is_replaced_later(&locked, 0));
        drop(locked);
        file.share(0, 0, Order::Pte)?;
        let mut locked = file.mapping().lock_entry(0).ok_or(ENOENT)?;
        check!(!fsdax::is_replaced_later(&locked, 0));
        check_eq!(fsdax::give_up(&mut locked), fsdax::Left::Busy);
        check!(!fsdax::is_replaced_later(&locked, 0));
        drop((locked, pin));
        Ok(())
    }

    #[test]
    fn a_copy_of_bad_memory_is_an_io_error() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = copying(&pgmap, BAD)?;

        check_eq!(file.fault(0, Order::Pte, true)?.0, fault::SIGBUS);
        Ok(())
    }
}
