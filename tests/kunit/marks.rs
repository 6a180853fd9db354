// SPDX-License-Identifier: GPL-2.0

//! The marks that breaks leave for themselves while they sleep (R8): on their file only, and no
//! longer than they sleep (R23).

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_mark)]
mod tests {
    use super::*;
    use crate::{
        fsdax::Data,
        kunit::{
            breaking::Breaking,
            fixture::{
                pages,
                FakeFile,
                FakeSuper,
                TestPgmap, //
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
    fn r23_a_sleeping_break_marks_no_entry_of_another_file() -> Result {
        // More than any table of counters has.
        const OTHERS: usize = 400;

        let pgmap = TestPgmap::new()?;
        let sb = FakeSuper::new()?;
        let file = FakeFile::on(&sb, &pgmap)?;
        file.insert(0, 0, Order::Pte)?;
        let pin = pgmap.pin(0)?;
        let breaking = Breaking::start(&file, pages(0, 0), Data::Discard)?;
        breaking.wait_asleep(1)?;

        let mut marked = 0;
        let mut others = KVVec::new();
        for i in 1..=OTHERS {
            let other = FakeFile::on(&sb, &pgmap)?;
            other.insert(i, i, Order::Pte)?;
            marked += usize::from(other.has(i, Mark::Busy));
            others.push(other, GFP_KERNEL)?;
        }
        drop(pin);
        check_eq!(breaking.join()?, Ok(()));
        check_eq!(marked, 0);
        Ok(())
    }

    #[test]
    fn r23_a_mark_goes_with_the_break() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for interrupt in [false, true] {
            file.insert(0, 0, Order::Pte)?;
            let pin = pgmap.pin(0)?;
            let breaking = Breaking::start(&file, pages(0, 5), Data::Discard)?;
            breaking.wait_asleep(1)?;
            // Behind the range of the break, and a hole.
            file.insert(10, 10, Order::Pte)?;
            check!(file.has(10, Mark::Busy));
            if interrupt {
                breaking.interrupt();
                check_eq!(breaking.join()?, Err(ERESTARTSYS));
                // It was busy when it was zapped: who breaks next has to look at it.
                check!(file.has(0, Mark::Busy));
                // That is over when a fault has it.
                file.insert(0, 0, Order::Pte)?;
                check!(!file.has(0, Mark::Busy));
                drop(pin);
            } else {
                drop(pin);
                check_eq!(breaking.join()?, Ok(()));
            }
            check_eq!(file.kind(10), Some(Kind::Tracked));
            check!(!file.has(10, Mark::Busy));
            check_eq!(file.break_now(Range::ALL), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn r8_a_mark_stays_while_any_break_of_the_file_sleeps() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        file.insert_pages(2)?;
        let (first_pin, second_pin) = (pgmap.pin(0)?, pgmap.pin(1)?);
        let first = Breaking::start(&file, pages(0, 0), Data::Discard)?;
        let second = Breaking::start(&file, pages(1, 15), Data::Discard)?;

        first.wait_asleep(1)?;
        second.wait_asleep(1)?;
        file.insert(10, 10, Order::Pte)?;
        drop(first_pin);
        check_eq!(first.join()?, Ok(()));
        check!(file.has(10, Mark::Busy));
        drop(second_pin);
        check_eq!(second.join()?, Ok(()));
        check!(file.mapping().is_empty());
        Ok(())
    }
}
