//! The MAC table against a hash map.
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "small numbers, and failing is a test's job"
)]

use dataplane::ids::{AdjacencyId, NetworkId};
use dataplane::table::{MacHit, MacTable, MacWriter, Qsbr, TableFull};
use dataplane::wire::ethernet::MacAddr;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

type Model = HashMap<(u16, u64), (u32, bool)>;

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, u64, u32, bool),
    Remove(u16, u64),
    Quiescent,
    Reclaim,
}

fn op(macs: u64) -> impl Strategy<Value = Op> {
    let key = (0u16..3, 0..macs);
    prop_oneof![
        5 => (key.clone(), any::<u32>(), any::<bool>())
            .prop_map(|((network, mac), id, is_static)| Op::Insert(network, mac, id, is_static)),
        4 => key.prop_map(|(network, mac)| Op::Remove(network, mac)),
        1 => Just(Op::Quiescent),
        1 => Just(Op::Reclaim),
    ]
}

fn check(table: &MacTable, model: &Model, macs: u64) {
    let names: Vec<_> =
        (0..3).flat_map(|network| (0..macs).map(move |mac| (network, mac))).collect();
    let keys: Vec<_> =
        names.iter().map(|&(n, m)| MacTable::key(NetworkId(n), MacAddr::from_u64(m))).collect();
    let mut bulk = vec![None; keys.len()];
    table.lookup_bulk(&keys, &mut bulk);
    for (&(network, mac), bulk) in names.iter().zip(bulk) {
        let found = table.lookup(NetworkId(network), MacAddr::from_u64(mac));
        let short = |hit: MacHit| (hit.adjacency.0, hit.is_static);
        assert_eq!(found.map(short), model.get(&(network, mac)).copied());
        assert_eq!(bulk, found);
    }
}

fn run(capacity: usize, macs: u64, seed: u64, ops: &[Op]) {
    let qsbr = Qsbr::new(1);
    let mut reader = qsbr.register().unwrap();
    let mut writer = MacWriter::with_seed(capacity, Arc::clone(&qsbr), seed);
    let mut model = Model::new();
    for op in ops {
        match *op {
            Op::Insert(network, mac, id, is_static) => {
                let is_full = model.len() >= capacity && !model.contains_key(&(network, mac));
                let result = writer.insert(
                    NetworkId(network),
                    MacAddr::from_u64(mac),
                    AdjacencyId(id),
                    is_static,
                );
                match result {
                    Ok(old) => {
                        assert!(!is_full);
                        let before = model.insert((network, mac), (id, is_static));
                        assert_eq!(old, before.map(|(id, _)| AdjacencyId(id)));
                    }
                    // Full of entries, or of slots that the reader may still look at.
                    Err(_) => assert!(is_full || writer.retired() > 0),
                }
            }
            Op::Remove(network, mac) => {
                let old = writer.remove(NetworkId(network), MacAddr::from_u64(mac));
                assert_eq!(old, model.remove(&(network, mac)).map(|(id, _)| AdjacencyId(id)));
            }
            Op::Quiescent => reader.quiescent(),
            Op::Reclaim => writer.reclaim(),
        }
        assert_eq!(writer.len(), model.len());
    }
    check(writer.table(), &model, macs);
    for network in 0..3 {
        let mut listed: Vec<_> = writer
            .iter(NetworkId(network))
            .map(|entry| (entry.mac.to_u64(), entry.adjacency.0, entry.is_static))
            .collect();
        listed.sort();
        let mut wanted: Vec<_> = model
            .iter()
            .filter(|((n, _), _)| *n == network)
            .map(|((_, mac), (id, is_static))| (*mac, *id, *is_static))
            .collect();
        wanted.sort();
        assert_eq!(listed, wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_small_table_answers_as_the_model(
        seed: u64, ops in proptest::collection::vec(op(12), 1..200)
    ) {
        run(10, 12, seed, &ops);
        run(3, 12, seed, &ops);
        run(1, 12, seed, &ops);
    }

    #[test]
    fn a_crowded_table_answers_as_the_model(
        seed: u64, ops in proptest::collection::vec(op(300), 500..1500)
    ) {
        run(256, 300, seed, &ops);
    }
}

fn mac(n: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | n)
}

#[test]
fn a_full_table_refuses_and_still_replaces() {
    let mut writer = MacWriter::new(100, Qsbr::new(1));
    for n in 0..100 {
        assert_eq!(writer.insert(NetworkId(1), mac(n), AdjacencyId(5), false), Ok(None));
    }
    let full = writer.insert(NetworkId(1), mac(100), AdjacencyId(5), false);
    assert_eq!(full, Err(TableFull { what: "MAC entries", capacity: 100 }));
    let replaced = writer.insert(NetworkId(1), mac(99), AdjacencyId(6), true);
    assert_eq!(replaced, Ok(Some(AdjacencyId(5))));
    assert_eq!(writer.remove(NetworkId(1), mac(0)), Some(AdjacencyId(5)));
    assert_eq!(writer.insert(NetworkId(1), mac(100), AdjacencyId(5), false), Ok(None));
}

#[test]
fn a_removed_slot_gets_no_other_key_while_a_reader_may_look_at_it() {
    let qsbr = Qsbr::new(1);
    let mut reader = qsbr.register().unwrap();
    let mut writer = MacWriter::with_seed(1, Arc::clone(&qsbr), 1);
    writer.insert(NetworkId(1), mac(1), AdjacencyId(1), false).unwrap();
    let slot = writer.table().lookup(NetworkId(1), mac(1)).unwrap().slot;
    let mut slots = vec![slot];
    // Four slots in all: three more until the table has none that is clean.
    for n in 2..=4 {
        writer.remove(NetworkId(1), mac(n - 1)).unwrap();
        writer.insert(NetworkId(1), mac(n), AdjacencyId(1), false).unwrap();
        slots.push(writer.table().lookup(NetworkId(1), mac(n)).unwrap().slot);
    }
    slots.sort();
    assert_eq!(slots, [0, 1, 2, 3]);
    writer.remove(NetworkId(1), mac(4)).unwrap();
    assert!(writer.insert(NetworkId(1), mac(5), AdjacencyId(1), false).is_err());
    writer.reclaim();
    reader.quiescent();
    assert_eq!(writer.insert(NetworkId(1), mac(5), AdjacencyId(1), false), Ok(None));
}

#[test]
fn ages_follow_the_touches_and_begin_anew_with_the_entry() {
    let mut writer = MacWriter::new(100, Qsbr::new(1));
    writer.insert(NetworkId(1), mac(1), AdjacencyId(1), false).unwrap();
    assert_eq!(writer.age_s(NetworkId(1), mac(1), 1000), Some(1000));
    let hit = writer.table().lookup(NetworkId(1), mac(1)).unwrap();
    writer.table().touch(hit.slot, 990);
    assert_eq!(writer.age_s(NetworkId(1), mac(1), 1000), Some(10));
    writer.insert(NetworkId(1), mac(1), AdjacencyId(2), false).unwrap();
    assert_eq!(writer.age_s(NetworkId(1), mac(1), 1000), Some(10));
    assert_eq!(writer.age_s(NetworkId(1), mac(2), 1000), None);
    writer.table().touch(u32::MAX, 5);
    writer.remove(NetworkId(1), mac(1)).unwrap();
    writer.reclaim();
    writer.insert(NetworkId(1), mac(1), AdjacencyId(1), false).unwrap();
    assert_eq!(writer.find(NetworkId(1), mac(1)).map(|entry| entry.seen_s), Some(0));
}

#[test]
fn a_key_of_zero_finds_nothing_and_mac_zero_of_network_zero_can_be_an_entry() {
    let mut writer = MacWriter::new(4, Qsbr::new(1));
    let mut found = [None; 2];
    let keys = [0, MacTable::key(NetworkId(0), MacAddr::ZERO)];
    writer.table().lookup_bulk(&keys, &mut found);
    assert_eq!(found, [None, None]);
    writer.insert(NetworkId(0), MacAddr::ZERO, AdjacencyId(3), false).unwrap();
    writer.table().lookup_bulk(&keys, &mut found);
    assert_eq!(found.map(|hit| hit.map(|hit| hit.adjacency.0)), [None, Some(3)]);
}

#[test]
fn a_hundred_thousand_entries_stay_near_their_home() {
    let mut writer = MacWriter::new(100_000, Qsbr::new(1));
    for n in 0..100_000 {
        let network = NetworkId((n % 100) as u16);
        writer.insert(network, mac(n), AdjacencyId(n as u32), false).unwrap();
    }
    for n in 0..100_000 {
        let hit = writer.table().lookup(NetworkId((n % 100) as u16), mac(n)).unwrap();
        assert_eq!(hit.adjacency, AdjacencyId(n as u32));
        assert_eq!(writer.table().lookup(NetworkId((n % 100 + 1) as u16), mac(n)), None);
    }
}
