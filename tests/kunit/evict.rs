// SPDX-License-Identifier: GPL-2.0

//! Who can be killed while he waits (R12).

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_evict)]
mod tests {
    use super::*;
    use crate::{
        fsdax::Data,
        kunit::{
            breaking::{
                Breaking,
                Pins, //
            },
            fixture::{
                pages,
                FakeFile,
                TestPgmap,
                PMD, //
            }, //
        },
        mapping::{
            Kind,
            Mark,
            Range, //
        },
        pgmap::Order, //
    };

    #[test]
    fn r12_a_signal_ends_a_break() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for order in [Order::Pte, Order::Pmd] {
            file.insert(0, 0, order)?;
            let pin = pgmap.pin(0)?;
            let breaking = Breaking::start(&file, pages(0, PMD - 1), Data::Discard)?;
            breaking.wait_asleep(1)?;
            check!(breaking.goes_on());
            breaking.interrupt();
            check_eq!(breaking.join()?, Err(ERESTARTSYS));
            drop(pin);
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r12_a_signal_does_not_end_an_eviction() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert_pages(16)?;
        file.mark(3, Mark::Dirty)?;
        file.mark(5, Mark::Dirty)?;
        let pins = Pins::of(&file, [3, 11].into_iter())?;
        let breaking = Breaking::evict(&file)?;
        for _ in 0..2 {
            breaking.wait_evict_asleep()?;
            breaking.interrupt();
            check!(breaking.goes_on());
            breaking.wait_evict_asleep()?;
            // What is neither pinned nor dirty went at once.
            check_eq!(file.count(Range::ALL, Kind::Zapped), 3);
            pins.drop_next();
        }
        check_eq!(breaking.join()?, Ok(()));
        check!(file.mapping().is_empty());
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r12_an_eviction_finds_what_an_interrupted_break_left() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(0, 0, Order::Pmd)?;
        let pin = pgmap.pin(0)?;
        let breaking = Breaking::start(&file, pages(0, 0), Data::Discard)?;
        breaking.wait_asleep(1)?;
        breaking.interrupt();
        check_eq!(breaking.join()?, Err(ERESTARTSYS));
        let breaking = Breaking::evict(&file)?;
        breaking.wait_evict_asleep()?;
        check!(breaking.goes_on());
        check_eq!(breaking.calls(), 0);
        drop(pin);
        check_eq!(breaking.join()?, Ok(()));
        check!(file.mapping().is_empty());
        check!(pgmap.is_idle(0));
        Ok(())
    }
}
