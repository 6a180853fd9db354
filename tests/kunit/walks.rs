// SPDX-License-Identifier: GPL-2.0

//! Walks over entries: they leave none out (R8), wherever they begin and breathe.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_walk)]
mod tests {
    use super::*;
    use crate::{
        entry::{
            Kind,
            Order, //
        },
        kunit::fixture::{
            FakeFile,
            TestPgmap,
            PMD, //
        },
        mapping::Mark, //
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
                let mut cursor = file.mapping().at(begin);
                let mut pages = cursor.lock();
                let found = match marked {
                    // As a walk has it that waited for what covers the page by now.
                    false => pages.find(usize::MAX),
                    true => pages.find_marked(usize::MAX, Mark::Busy),
                };
                check_eq!(found.map(|e| e.order()), Some(Order::Pmd));
                pages.breathe();
                let next = match marked {
                    false => pages.find(usize::MAX),
                    true => pages.find_marked(usize::MAX, Mark::Busy),
                };
                check_eq!(next.map(|e| e.order()), Some(Order::Pte));
                check_eq!(pages.index(), 2 * PMD);
                pages.breathe();
                check_eq!(pages.find(usize::MAX), None);
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
            let mut cursor = file.mapping().at(begin);
            let mut pages = cursor.lock();
            let found = pages.find(usize::MAX).ok_or(ENOENT)?;
            pages.remove(found);
            pages.breathe();
            check_eq!(pages.find(usize::MAX).map(|e| e.kind()), Some(Kind::Zero));
            check_eq!(pages.index(), 2 * PMD);
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
        let mut cursor = file.mapping().at(usize::MAX);
        let mut pages = cursor.lock();
        check!(pages.find_marked(usize::MAX, Mark::Busy).is_some());
        pages.breathe();
        check_eq!(pages.find_marked(usize::MAX, Mark::Busy), None);
        check_eq!(pages.find(usize::MAX), None);
        Ok(())
    }
}
