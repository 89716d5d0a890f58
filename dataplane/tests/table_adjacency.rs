//! Adjacencies and reclaim, one thread.

use dataplane::ids::{AdapterId, AdjacencyId, PortId};
use dataplane::table::{Adjacency, AdjacencyKind, AdjacencyWriter, Limbo, Qsbr, TableFull};
use dataplane::wire::ethernet::MacAddr;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

fn kind() -> impl Strategy<Value = AdjacencyKind> {
    use AdjacencyKind::*;
    prop::sample::select(vec![Forward, Bridge, Glean, Incomplete, Unreachable, Prohibit, Local])
}

prop_compose! {
    fn adjacency()(
        kind in kind(), port: u16, adapter: u32, destination: [u8; 6], source: [u8; 6],
        mtu: u16, vlan: u16, next_hop: u32,
    ) -> Adjacency {
        Adjacency {
            kind, port: PortId(port), adapter: AdapterId(adapter),
            destination: MacAddr(destination), source: MacAddr(source), mtu, vlan, next_hop,
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add(Adjacency),
    Neighbor(usize, AdjacencyKind, [u8; 6]),
    Egress(usize, u16, [u8; 6]),
    Mtu(usize, u16),
    Retire(usize),
    Quiescent,
    Reclaim,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => adjacency().prop_map(Op::Add),
        2 => (any::<usize>(), kind(), any::<[u8; 6]>()).prop_map(|(n, k, m)| Op::Neighbor(n, k, m)),
        1 => (any::<usize>(), any::<u16>(), any::<[u8; 6]>()).prop_map(|(n, p, m)| Op::Egress(n, p, m)),
        1 => (any::<usize>(), any::<u16>()).prop_map(|(n, mtu)| Op::Mtu(n, mtu)),
        2 => any::<usize>().prop_map(Op::Retire),
        1 => Just(Op::Quiescent),
        1 => Just(Op::Reclaim),
    ]
}

proptest! {
    #[test]
    fn rows_say_what_was_last_set_until_their_grace_period_has_passed(
        ops in proptest::collection::vec(op(), 1..200)
    ) {
        let qsbr = Qsbr::new(1);
        let mut reader = qsbr.register().unwrap();
        let mut writer = AdjacencyWriter::new(8, Arc::clone(&qsbr));
        let mut live: HashMap<AdjacencyId, Adjacency> = HashMap::new();
        // With whether the reader has been quiescent since.
        let mut retired: HashMap<AdjacencyId, (Adjacency, bool)> = HashMap::new();
        let pick = |live: &HashMap<_, _>, n: usize| {
            let mut ids: Vec<AdjacencyId> = live.keys().copied().collect();
            ids.sort();
            ids.get(n % ids.len().max(1)).copied().unwrap_or(AdjacencyId(3))
        };
        for op in ops {
            match op {
                Op::Add(row) => match writer.add(row) {
                    Ok(id) => {
                        prop_assert!(id.0 > 0 && id.0 < 8);
                        prop_assert!(!live.contains_key(&id));
                        prop_assert!(retired.remove(&id).is_none_or(|(_, may_go)| may_go));
                        live.insert(id, row);
                    }
                    Err(full) => {
                        prop_assert_eq!(full, TableFull { what: "adjacencies", capacity: 8 });
                        prop_assert!(live.len() == 7 || writer.retired() > 0);
                    }
                },
                Op::Neighbor(n, kind, mac) => {
                    let id = pick(&live, n);
                    let is_set = writer.set_neighbor(id, kind, MacAddr(mac));
                    prop_assert_eq!(is_set, live.contains_key(&id));
                    live.entry(id).and_modify(|row| {
                        (row.kind, row.destination) = (kind, MacAddr(mac));
                    });
                }
                Op::Egress(n, port, mac) => {
                    let id = pick(&live, n);
                    let is_set = writer.set_egress(id, PortId(port), MacAddr(mac));
                    prop_assert_eq!(is_set, live.contains_key(&id));
                    live.entry(id).and_modify(|row| {
                        (row.port, row.source) = (PortId(port), MacAddr(mac));
                    });
                }
                Op::Mtu(n, mtu) => {
                    let id = pick(&live, n);
                    prop_assert_eq!(writer.set_mtu(id, mtu), live.contains_key(&id));
                    live.entry(id).and_modify(|row| row.mtu = mtu);
                }
                Op::Retire(n) => {
                    let id = pick(&live, n);
                    writer.retire(id);
                    retired.extend(live.remove_entry(&id).map(|(id, row)| (id, (row, false))));
                    // Once more does nothing.
                    writer.retire(id);
                }
                Op::Quiescent => {
                    reader.quiescent();
                    retired.values_mut().for_each(|(_, may_go)| *may_go = true);
                }
                Op::Reclaim => writer.reclaim(),
            }
            prop_assert_eq!(writer.live(), live.len());
            for (id, row) in &live {
                prop_assert_eq!(&writer.table().read(*id), row);
                prop_assert_eq!(writer.row(*id), Some(*row));
            }
            for (id, (row, may_go)) in &retired {
                let read = writer.table().read(*id);
                prop_assert!(read == *row || *may_go && read.kind == AdjacencyKind::Prohibit);
                prop_assert_eq!(writer.row(*id), None);
            }
        }
    }
}

#[test]
fn rows_that_are_free_reserved_or_out_of_range_forward_nothing() {
    let writer = AdjacencyWriter::new(16, Qsbr::new(1));
    for id in [0, 1, 15, 16, 1 << 24, u32::MAX] {
        let row = writer.table().read(AdjacencyId(id));
        assert_eq!((row.kind, row.port), (AdjacencyKind::Prohibit, PortId::NONE));
        assert_eq!(row.adapter, AdapterId::NONE);
        writer.table().prefetch(AdjacencyId(id));
    }
    assert_eq!(writer.row(AdjacencyId(0)), None);
}

#[test]
fn a_grace_period_passes_when_every_online_reader_has_been_quiescent() {
    let qsbr = Qsbr::new(2);
    let none = qsbr.start_grace();
    assert!(qsbr.has_passed(none));
    let mut first = qsbr.register().unwrap();
    let mut second = qsbr.register().unwrap();
    assert!(qsbr.register().is_none());
    let grace = qsbr.start_grace();
    assert!(grace > none && !qsbr.has_passed(grace));
    first.quiescent();
    assert!(!qsbr.has_passed(grace));
    second.set_offline();
    assert!(qsbr.has_passed(grace));
    second.quiescent();
    let later = qsbr.start_grace();
    first.quiescent();
    assert!(qsbr.has_passed(later));
    second.set_online();
    let last = qsbr.start_grace();
    first.quiescent();
    assert!(!qsbr.has_passed(last));
    drop(second);
    assert!(qsbr.has_passed(last));
    assert!(qsbr.register().is_some());
}

#[test]
fn limbo_gives_back_in_order_and_only_what_has_passed() {
    let qsbr = Qsbr::new(1);
    let mut reader = qsbr.register().unwrap();
    let mut limbo = Limbo::new();
    (0..10).for_each(|n| limbo.retire(&qsbr, n));
    assert_eq!(limbo.collect(&qsbr).count(), 0);
    reader.quiescent();
    (10..12).for_each(|n| limbo.retire(&qsbr, n));
    assert_eq!(limbo.collect(&qsbr).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(limbo.len(), 2);
    reader.set_offline();
    assert_eq!(limbo.collect(&qsbr).collect::<Vec<_>>(), [10, 11]);
    assert!(limbo.is_empty());
}
