// SPDX-License-Identifier: GPL-2.0

//! Free memory that keeps its shape (R18).
//!
//! Rules: R18.

use kernel::{
    prelude::*,
    sync::Arc, //
};

#[kunit_tests(rust_fsdax_shape)]
mod tests {
    use super::*;
    use crate::{
        folio,
        kunit::{
            fixture::{
                pages,
                FakeFile,
                FakeSuper,
                Layout,
                TestPgmap,
                PMD, //
            },
            probe::take_rebuilds,
            thread::Thread, //
        },
        mapping::Kind,
        pgmap::Order,
        provider, //
    };

    const LARGE: u32 = Order::PMD_ORDER;

    /// A pgmap whose first slot was a large folio last.
    fn shaped() -> Result<Arc<TestPgmap>> {
        let pgmap = TestPgmap::new()?;
        drop(pgmap.request(0, LARGE)?);
        take_rebuilds();
        Ok(pgmap)
    }

    #[test]
    fn r18_a_request_takes_the_shape_as_it_is() -> Result {
        let pgmap = TestPgmap::new()?;

        take_rebuilds();
        drop(pgmap.request(0, LARGE)?);
        check_eq!(take_rebuilds(), 1);
        let free = pgmap.snapshot_of_shapes()?;
        for _ in 0..3 {
            let folio = pgmap.request(0, LARGE)?;
            check_eq!((folio.order(), folio.count()), (LARGE, 1));
            check!(!pgmap.folio(0).is_free() && !pgmap.folio(7).is_free());
            drop(folio);
            check!(pgmap.folio(0).is_free() && pgmap.folio(7).is_free());
            check!(pgmap.is_idle(0) && pgmap.is_idle(7));
            free.check_same(&pgmap.snapshot_of_shapes()?)?;
        }
        check_eq!(take_rebuilds(), 0);
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    #[test]
    fn r18_a_file_takes_the_shape_as_it_is() -> Result {
        let pgmap = shaped()?;
        let file = FakeFile::new(&pgmap)?;
        let other = FakeFile::new(&pgmap)?;
        let free = pgmap.snapshot_of_shapes()?;

        for _ in 0..3 {
            file.insert(0, 0, Order::Pmd)?;
            check_eq!(file.break_now(pages(0, PMD - 1)), Ok(()));
            // With a pin that outlives the entry, and with two files.
            file.share(0, 0, Order::Pmd)?;
            other.share(PMD, 0, Order::Pmd)?;
            let pin = pgmap.pin(0)?;
            check_eq!(other.break_now(pages(0, 2 * PMD)), Ok(()));
            check_eq!(file.break_now(pages(0, PMD - 1)), Err(ERESTARTSYS));
            drop(pin);
            check_eq!(file.break_now(pages(0, PMD - 1)), Ok(()));
            free.check_same(&pgmap.snapshot_of_shapes()?)?;
        }
        check_eq!(take_rebuilds(), 0);
        Ok(())
    }

    #[test]
    fn r18_another_order_rebuilds_once() -> Result {
        for offset in [0, 1, 5, PMD - 1] {
            let pgmap = TestPgmap::new()?;
            let fresh = pgmap.snapshot_of_shapes()?;
            drop(pgmap.request(0, LARGE)?);
            take_rebuilds();
            let page = pgmap.request(offset, 0)?;
            check_eq!(take_rebuilds(), 1);
            check_eq!((page.order(), page.count()), (0, 1));
            // A large folio would take the page that is in use.
            check_eq!(pgmap.request(0, LARGE).err(), Some(EBUSY));
            let rest = pgmap.request((offset + 1) % PMD, 0)?;
            check_eq!(take_rebuilds(), 0);
            drop((page, rest));
            fresh.check_same(&pgmap.snapshot_of_shapes()?)?;
            drop(pgmap.request(0, LARGE)?);
            check_eq!(take_rebuilds(), 1);
            check_eq!(pgmap.active(), 0);
        }
        Ok(())
    }

    #[test]
    fn r18_what_is_in_use_keeps_its_shape() -> Result {
        let pgmap = shaped()?;
        let folio = pgmap.request(0, LARGE)?;

        for offset in [0, 1, PMD - 1] {
            check_eq!(pgmap.request(offset, 0).err(), Some(EBUSY));
        }
        folio::dissolve(pgmap.pgmap());
        check_eq!(take_rebuilds(), 0);
        check_eq!(folio.order(), LARGE);
        drop(folio);
        check_eq!(pgmap.active(), 0);
        Ok(())
    }

    /// A zapped entry of a page that has become part of another file's large folio since, which is
    /// free again: the file still has the block.
    #[test]
    fn r18_a_zapped_entry_revives_in_a_free_shape() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        file.insert(5, 5, Order::Pte)?;
        let pin = pgmap.pin(5)?;
        check_eq!(file.break_now(pages(5, 5)), Err(ERESTARTSYS));
        drop(pin);
        check_eq!(file.kind(5), Some(Kind::Zapped));
        drop(pgmap.request(0, LARGE)?);
        take_rebuilds();
        file.insert(5, 5, Order::Pte)?;
        check_eq!(file.kind(5), Some(Kind::Tracked));
        check_eq!(take_rebuilds(), 1);
        check_eq!(file.break_now(pages(5, 5)), Ok(()));
        Ok(())
    }

    #[test]
    fn r18_dissolved_in_all_ranges() -> Result {
        for layout in [
            Layout::One(2),
            Layout::Two,
            Layout::Altmap {
                reserve: 3,
                free: 2 * PMD,
            },
        ] {
            let pgmap = TestPgmap::with(layout)?;
            let first = Order::Pmd.align(pgmap.pfn(0) + PMD - 1) - pgmap.pfn(0);
            let last = match layout {
                Layout::Two => 2 * PMD,
                _ => Order::Pmd.align(pgmap.pfn(pgmap.pages() - PMD)) - pgmap.pfn(0),
            };
            drop(pgmap.request(first, LARGE)?);
            drop(pgmap.request(last, LARGE)?);
            take_rebuilds();
            folio::dissolve(pgmap.pgmap());
            check_eq!(take_rebuilds(), 2);
            folio::dissolve(pgmap.pgmap());
            check_eq!(take_rebuilds(), 0);
        }
        Ok(())
    }

    #[test]
    fn r18_dissolved_before_the_kernel_serves_a_superblock() -> Result {
        let bind = provider::ops::table().bind.ok_or(EINVAL)?;
        let (pgmap, other) = (shaped()?, shaped()?);
        let sb = FakeSuper::new()?;

        // SAFETY: The superblock stays, and is not bound by this.
        check!(!unsafe { bind(sb.raw(), false) });
        check_eq!(take_rebuilds(), 2);
        for pgmap in [pgmap, other] {
            check!(pgmap.folio(1).is_free());
            drop(pgmap.request(1, 0)?);
        }
        check_eq!(take_rebuilds(), 0);
        Ok(())
    }

    #[test]
    fn r18_requests_of_all_orders_race() -> Result {
        const ROUNDS: usize = 2000;
        let pgmap = TestPgmap::new()?;
        let before = pgmap.snapshot()?;
        let race = |offset: usize, order: u32| {
            let pgmap = pgmap.clone();
            Thread::spawn(move || {
                let mut won = 0;
                for _ in 0..ROUNDS {
                    match pgmap.request(offset, order) {
                        Ok(folio) if folio.order() == order => won += 1,
                        Ok(_) => return Err(EINVAL),
                        Err(e) if e == EBUSY => {}
                        Err(e) => return Err(e),
                    }
                }
                Ok(won)
            })
        };
        let threads = [race(0, LARGE)?, race(0, 0)?, race(5, 0)?];
        for _ in 0..ROUNDS {
            folio::dissolve(pgmap.pgmap());
        }
        let mut won = 0;
        for thread in threads {
            won += thread.join()??;
        }

        check!(won > 0);
        for order in [LARGE, 0, LARGE] {
            check_eq!(pgmap.request(0, order)?.order(), order);
        }
        check_eq!(pgmap.active(), 0);
        before.check_same(&pgmap.snapshot()?)?;
        Ok(())
    }
}
