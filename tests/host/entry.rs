// SPDX-License-Identifier: GPL-2.0

//! Host tests of the entry encoding: `rustc --edition 2021 --test tests/host/entry.rs`.
//!
//! Exhaustive over kinds, orders and the lock bit, and over pfns at every bit boundary plus
//! pseudo-random ones.

// Not all of the module is used by its own tests.
#![allow(dead_code)]

#[path = "../../src/mapping/entry.rs"]
mod entry;
#[path = "../../src/pgmap/order.rs"]
mod order;

/// What the entry sees of the floor below it.
mod pgmap {
    pub(crate) use crate::order::Order;
}

use entry::{Entry, Kind};
use order::Order;

const ORDERS: [Order; 3] = [Order::Pte, Order::Pmd, Order::Pud];
/// An xarray value entry keeps 63 bits, and 6 of them are flags.
const PFN_BITS: u32 = usize::BITS - 1 - 6;
const MAX_PFN: usize = (1 << PFN_BITS) - 1;

/// A splitmix64 sequence: the same in each run, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize
    }
}

/// Pfns around each power of two, and random ones of each width, that fit into an entry.
fn pfns() -> Vec<usize> {
    let mut pfns = vec![0, MAX_PFN];
    let mut random = Random(1);

    for bit in 0..PFN_BITS {
        for delta in [0usize, 1, 511, 512] {
            pfns.push((1usize << bit).wrapping_add(delta));
            pfns.push((1usize << bit).wrapping_sub(delta));
        }
        for _ in 0..64 {
            pfns.push(random.next() >> (usize::BITS - 1 - bit));
        }
    }
    pfns.retain(|&pfn| pfn <= MAX_PFN);
    pfns
}

/// All entries that can be made for `pfn`, with their kinds.
fn entries_of(pfn: usize, order: Order) -> Vec<(Entry, Kind)> {
    let tracked = Entry::tracked(pfn, order).expect("aligned");

    vec![
        (tracked, Kind::Tracked),
        (tracked.zapped(), Kind::Zapped),
        (Entry::zero(pfn, order).expect("aligned"), Kind::Zero),
        (Entry::empty(order), Kind::Empty),
    ]
}

fn for_all_entries(mut f: impl FnMut(Entry, Kind, usize, Order)) {
    for order in ORDERS {
        for pfn in pfns() {
            let pfn = order.align(pfn);
            for (entry, kind) in entries_of(pfn, order) {
                let named = if kind == Kind::Empty { 0 } else { pfn };
                f(entry, kind, named, order);
                f(entry.locked(), kind, named, order);
            }
        }
    }
}

#[test]
fn orders_are_pte_pmd_and_pud() {
    for order in 0..=u8::MAX.into() {
        let expected = match order {
            0 => Some(Order::Pte),
            9 => Some(Order::Pmd),
            18 => Some(Order::Pud),
            _ => None,
        };
        assert_eq!(Order::new(order), expected, "order {order}");
    }
    assert_eq!(Order::new(u32::MAX), None);
    for order in ORDERS {
        assert_eq!(Order::new(order.get()), Some(order));
        assert_eq!(order.pages(), 1 << order.get());
    }
    assert_eq!(Order::Pmd.pages() * 4096, 2 << 20);
    assert_eq!(Order::Pud.pages() * 4096, 1 << 30);
}

#[test]
fn align_gives_the_start_of_the_range() {
    for index in pfns().into_iter().chain([usize::MAX, usize::MAX - 511]) {
        assert_eq!(Order::Pte.align(index), index);
        for order in [Order::Pmd, Order::Pud] {
            let (start, pages) = (order.align(index), order.pages());
            assert_eq!(start % pages, 0);
            assert!(start <= index && index - start < pages, "{index:#x}");
            assert_eq!(order.align(start), start);
        }
    }
}

#[test]
fn parts_come_back() {
    for_all_entries(|entry, kind, pfn, order| {
        assert_eq!(entry.kind(), kind, "{entry:?}");
        assert_eq!(entry.pfn(), pfn, "{entry:?}");
        assert_eq!(entry.order(), order, "{entry:?}");
    });
}

#[test]
fn values_round_trip_and_fit_an_xarray_value() {
    for_all_entries(|entry, _, _, _| {
        assert_eq!(entry.value() >> (usize::BITS - 1), 0, "{entry:?}");
        assert_eq!(Entry::from_value(entry.value()), Some(entry));
    });
}

#[test]
fn values_differ_when_anything_differs() {
    let mut seen = std::collections::HashMap::new();

    for_all_entries(|entry, kind, pfn, order| {
        let parts = (pfn, order.get(), format!("{kind:?}"), entry.is_locked());
        let before = seen.insert(entry.value(), parts.clone());
        assert!(before.is_none_or(|b| b == parts), "{entry:?}");
    });
}

#[test]
fn the_lock_changes_nothing_else() {
    for_all_entries(|entry, kind, pfn, order| {
        let (locked, unlocked) = (entry.locked(), entry.unlocked());
        assert!(locked.is_locked() && !unlocked.is_locked());
        assert_eq!(locked.locked(), locked);
        assert_eq!(unlocked.unlocked(), unlocked);
        assert_eq!(locked.unlocked(), unlocked);
        assert_eq!(unlocked.locked(), locked);
        for e in [locked, unlocked] {
            assert_eq!((e.kind(), e.pfn(), e.order()), (kind, pfn, order));
        }
    });
}

#[test]
fn zapping_keeps_pfn_order_and_lock() {
    for_all_entries(|entry, kind, pfn, order| {
        let zapped = entry.zapped();
        let expected = match kind {
            Kind::Tracked | Kind::Zapped => Kind::Zapped,
            // These have no reference to lose.
            Kind::Zero | Kind::Empty => kind,
        };
        assert_eq!(zapped.kind(), expected, "{entry:?}");
        assert_eq!((zapped.pfn(), zapped.order()), (pfn, order));
        assert_eq!(zapped.is_locked(), entry.is_locked());
        assert_eq!(zapped.zapped(), zapped);
    });
}

#[test]
fn only_tracked_and_zapped_entries_name_a_block() {
    for_all_entries(|entry, kind, _, _| {
        let names_block = matches!(kind, Kind::Tracked | Kind::Zapped);
        assert_eq!(entry.is_mapped(), names_block, "{entry:?}");
    });
}

#[test]
fn misaligned_pfns_are_refused() {
    for pfn in pfns() {
        for order in ORDERS {
            let aligned = pfn.is_multiple_of(order.pages());
            assert_eq!(Entry::tracked(pfn, order).is_some(), aligned, "{pfn:#x}");
            assert_eq!(Entry::zero(pfn, order).is_some(), aligned, "{pfn:#x}");
        }
    }
}

#[test]
fn pfns_that_do_not_fit_are_refused() {
    let mut random = Random(2);
    let mut too_large = vec![MAX_PFN + 1, MAX_PFN + 2, usize::MAX, usize::MAX - 511];

    for bit in PFN_BITS..usize::BITS {
        too_large.push(1 << bit);
        too_large.push(1 << bit | MAX_PFN);
        for _ in 0..256 {
            too_large.push(1 << bit | random.next() >> (usize::BITS - bit));
        }
    }
    for pfn in too_large {
        for order in ORDERS {
            let pfn = order.align(pfn);
            assert_eq!(Entry::tracked(pfn, order), None, "{pfn:#x}");
            assert_eq!(Entry::zero(pfn, order), None, "{pfn:#x}");
        }
    }
}

#[test]
fn values_that_are_no_entry_are_refused() {
    let kinds = [1 << 2, 1 << 3, 1 << 4];
    let orders = [1 << 1, 1 << 5];

    for pfn in pfns() {
        for flags in 0..64usize {
            let value = pfn << 6 | flags;
            let count = |bits: &[usize]| bits.iter().filter(|&&bit| flags & bit != 0).count();
            let valid = count(&kinds) <= 1 && count(&orders) <= 1;
            let entry = Entry::from_value(value);
            assert_eq!(entry.is_some(), valid, "{value:#x}");
            if let Some(entry) = entry {
                assert_eq!(entry.value(), value);
            }
            // The bit that an xarray value does not have.
            assert_eq!(Entry::from_value(value | 1 << (usize::BITS - 1)), None);
        }
    }
}
