// SPDX-License-Identifier: GPL-2.0

//! Walks over entries: they leave none out (R8), wherever they begin and breathe.

use kernel::prelude::*;

#[kunit_tests(rust_fsdax_walk)]
mod tests {
    use super::*;
    use crate::{
        kunit::{
            fixture::{
                pages,
                FakeFile,
                TestPgmap,
                PMD, //
            },
            thread::{
                give_way,
                wait_until,
                Counter,
                Thread, //
            }, //
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

    /// Whoever has locked it by then, it is not left out.
    #[test]
    fn a_walk_comes_back_to_an_entry_that_was_locked_after_it() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = FakeFile::new(&pgmap)?;
        let (has, go) = (Counter::new()?, Counter::new()?);
        let (counted, mut has_it) = (has.clone(), false);
        let mut thread = Err(ENOENT);

        large_and_small(&file, pgmap.pfn(0))?;
        let mut walk = Walk::new(file.mapping(), pages(PMD, usize::MAX));
        let at = walk.next().ok_or(ENOENT)?;
        let at = at.while_locked(|locked| {
            drop(locked);
            let (other, has, go) = (file.clone(), has.clone(), go.clone());
            thread = Thread::spawn(move || {
                let locked = other.mapping().lock_entry(PMD);
                has.add();
                while go.get() == 0 {
                    give_way();
                }
                drop(locked);
            });
            has_it = thread.is_ok() && wait_until(|| counted.get() == 1).is_ok();
        });
        let none = at.is_none();
        go.add();
        let next = walk.next().map(|at| (at.index(), at.entry().order()));
        drop(walk);
        thread?.join()?;
        check!(has_it);
        check!(none);
        check_eq!(next, Some((PMD, Order::Pmd)));
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
