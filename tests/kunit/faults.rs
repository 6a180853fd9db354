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
    fn a_copy_of_bad_memory_is_an_io_error() -> Result {
        let pgmap = TestPgmap::new()?;
        let file = copying(&pgmap, BAD)?;

        check_eq!(file.fault(0, Order::Pte, true)?.0, fault::SIGBUS);
        Ok(())
    }
}
