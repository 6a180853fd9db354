// SPDX-License-Identifier: GPL-2.0

//! Walks over entries: they leave none out (R8), wherever they begin and breathe.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_walk)]
mod tests {
    use super::*;
    use crate::{
        kunit::fixture::{
            pages,
            FakeFile,
            TestPgmap,
            PMD, //
        },
        mapping::{
            Kind,
            Mark,
            Walk, //
        },
        pgmap::Order, //
    };

    /// A large entry at `PMD`, and a small one right behind it.
    fn large_and_small(file: &FakeFile, pfn: usize) -> Result {
        file.insert_hole(PMD, pfn, Order::Pmd)?;
        file.insert_hole(2 * PMD, pfn, Order::Pte)?;
        file.mark(PMD, Mark::Busy)?;
        file.mark(2 * PMD, Mark::Busy)
    }

    #[test]
    fn a_walk_that_breathes_in_a_large_entry_leaves_none_out() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        large_and_small(&file, pgmap.pfn(0))?;
        for marked in [false, true] {
            for begin in [PMD, PMD + 1, 700, 2 * PMD - 1] {
                let range = pages(begin, usize::MAX);
                let mut walk = match marked {
                    // As a walk has it that waited for what covers the page by now.
                    false => Walk::new(file.mapping(), range),
                    true => Walk::marked(file.mapping(), range, Mark::Busy),
                };
                let order = walk.next().map(|at| at.entry().order());
                check_eq!(order, Some(Order::Pmd));
                walk.breathe();
                let next = walk.next().map(|at| (at.index(), at.entry().order()));
                check_eq!(next, Some((2 * PMD, Order::Pte)));
                walk.breathe();
                check!(walk.next().is_none());
            }
        }
        Ok(())
    }

    #[test]
    fn a_walk_that_breathes_where_an_entry_was_removed_goes_on_behind() -> Result {
        let pgmap = TestPgmap::new()?;

        for begin in [PMD, 700] {
            let file = FakeFile::new(&pgmap)?;
            large_and_small(&file, pgmap.pfn(0))?;
            let mut walk = Walk::new(file.mapping(), pages(begin, usize::MAX));
            walk.next().ok_or(ENOENT)?.remove();
            walk.breathe();
            let next = walk.next().map(|at| (at.index(), at.entry().kind()));
            check_eq!(next, Some((2 * PMD, Kind::Zero)));
        }
        Ok(())
    }

    #[test]
    fn a_walk_ends_at_the_last_page_offset() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;

        for index in [0, usize::MAX] {
            file.insert_hole(index, pgmap.pfn(0), Order::Pte)?;
            file.mark(index, Mark::Busy)?;
        }
        let last = pages(usize::MAX, usize::MAX);
        for marked in [false, true] {
            let mut walk = match marked {
                false => Walk::new(file.mapping(), last),
                true => Walk::marked(file.mapping(), last, Mark::Busy),
            };
            check!(walk.next().is_some());
            walk.breathe();
            check!(walk.next().is_none());
        }
        Ok(())
    }
}
