//! The FIB against a list of prefixes that is searched from end to end.
#![allow(
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "small numbers, and failing is a test's job"
)]

use dataplane::ids::AdjacencyId;
use dataplane::table::{Fib, FibError, FibWriter, Ipv4Fib, Ipv4FibWriter, Qsbr, Rule};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// The plainest thing that can be right.
#[derive(Clone, Default)]
struct Model(Vec<(u32, u8, AdjacencyId)>);

impl Model {
    fn insert(&mut self, addr: u32, len: u8, id: AdjacencyId) -> Option<AdjacencyId> {
        let old = self.remove(addr, len);
        self.0.push((addr, len, id));
        old
    }

    fn remove(&mut self, addr: u32, len: u8) -> Option<AdjacencyId> {
        let at = self.0.iter().position(|(a, l, _)| (*a, *l) == (addr, len))?;
        Some(self.0.remove(at).2)
    }

    fn best(&self, addr: u32, bits: u32) -> Option<(u32, u8, AdjacencyId)> {
        let holds = |(a, l, _): &&(u32, u8, AdjacencyId)| network(addr, *l, bits) == *a;
        self.0.iter().filter(holds).max_by_key(|(_, len, _)| *len).copied()
    }

    fn lookup(&self, addr: u32, bits: u32) -> AdjacencyId {
        self.best(addr, bits).map_or(AdjacencyId(0), |(_, _, id)| id)
    }
}

fn network(addr: u32, len: u8, bits: u32) -> u32 {
    let host_bits = bits - u32::from(len);
    ((u64::from(addr) >> host_bits) << host_bits) as u32
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u32, u8, u32),
    Remove(u32, u8),
    Reclaim,
}

/// Prefixes of a table of `bits` bits; `spread` limits how many address bits differ at the top.
fn op(bits: u32, spread: u32) -> impl Strategy<Value = Op> {
    let prefix = (any::<u32>(), 0..=bits as u8).prop_map(move |(addr, len)| {
        let keep = (1u64 << bits) - 1;
        let top = ((1u64 << (bits - spread)) - 1) | (1 << (bits - 1));
        (network((u64::from(addr) & keep & top) as u32, len, bits), len)
    });
    prop_oneof![
        6 => (prefix.clone(), 1u32..200).prop_map(|((addr, len), id)| Op::Insert(addr, len, id)),
        4 => prefix.prop_map(|(addr, len)| Op::Remove(addr, len)),
        1 => Just(Op::Reclaim),
    ]
}

fn apply<const F: u32, const S: u32>(fib: &mut FibWriter<F, S>, model: &mut Model, op: &Op) {
    match *op {
        Op::Insert(addr, len, id) => {
            let before = model.clone();
            let old = model.insert(addr, len, AdjacencyId(id));
            match fib.insert(addr, len, AdjacencyId(id)) {
                Ok(replaced) => assert_eq!(replaced, old),
                Err(FibError::Full(_)) => *model = before,
                Err(other) => panic!("{other}"),
            }
        }
        Op::Remove(addr, len) => assert_eq!(fib.remove(addr, len), model.remove(addr, len)),
        Op::Reclaim => fib.reclaim(),
    }
}

fn check_all<const F: u32, const S: u32>(fib: &FibWriter<F, S>, model: &Model) {
    let addrs: Vec<u32> = (0..1 << (F + S)).collect();
    let mut bulk = vec![AdjacencyId(0); addrs.len()];
    fib.fib().lookup_bulk(&addrs, &mut bulk);
    for (addr, bulk) in addrs.into_iter().zip(bulk) {
        let expected = model.lookup(addr, F + S);
        assert_eq!(fib.fib().lookup(addr), expected, "{addr:#x} in {:?}", model.0);
        assert_eq!(bulk, expected, "{addr:#x} in bulk");
        assert_eq!(fib.best_match(addr), model.best(addr, F + S));
    }
    check_rules(fib, model);
}

fn check_rules<const F: u32, const S: u32>(fib: &FibWriter<F, S>, model: &Model) {
    let mut rules: Vec<_> =
        model.0.iter().map(|&(addr, len, adjacency)| Rule { addr, len, adjacency }).collect();
    rules.sort();
    assert_eq!(fib.rules().collect::<Vec<_>>(), rules);
    assert_eq!(fib.len(), rules.len());
    let mut long: Vec<_> =
        rules.iter().filter(|r| u32::from(r.len) > F).map(|r| r.addr >> S).collect();
    long.dedup();
    assert_eq!(fib.groups_in_use(), long.len());
}

/// Any prefixes of 7 bits, and as often some few that meet again and again.
fn small_op() -> impl Strategy<Value = Op> {
    prop_oneof![op(7, 0), op(7, 5)]
}

/// Every cell of small tables of different shapes after every step.
fn check_small<const F: u32, const S: u32>(groups: usize, ops: &[Op]) {
    let mut fib = FibWriter::<F, S>::new(groups, Qsbr::new(1));
    let mut model = Model::default();
    for op in ops {
        apply(&mut fib, &mut model, op);
        check_all(&fib, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn small_tables_answer_as_the_model_after_every_step(
        ops in proptest::collection::vec(small_op(), 1..60)
    ) {
        check_small::<4, 3>(16, &ops);
        check_small::<1, 6>(2, &ops);
        check_small::<6, 1>(64, &ops);
    }

    #[test]
    fn a_table_out_of_groups_stays_as_it_was(ops in proptest::collection::vec(small_op(), 1..60)) {
        check_small::<4, 3>(2, &ops);
        check_small::<5, 2>(0, &ops);
    }

    #[test]
    fn the_ipv4_table_answers_as_the_model(
        ops in proptest::collection::vec(op(32, 0), 1..100),
        near in proptest::collection::vec(op(32, 21), 1..100),
        others in proptest::collection::vec(any::<u32>(), 100),
    ) {
        let mut fib = Ipv4FibWriter::new(128, Qsbr::new(1));
        let mut model = Model::default();
        for op in ops.iter().chain(&near) {
            // A prefix of less than 10 bits is millions of cells: covered by the small tables.
            if !matches!(op, Op::Insert(_, 1..10, _) | Op::Remove(_, 1..10)) {
                apply(&mut fib, &mut model, op);
            }
        }
        let edges = model.0.iter().flat_map(|(addr, len, _)| {
            let last = addr | u32::MAX.checked_shr(u32::from(*len)).unwrap_or(0);
            [addr.wrapping_sub(1), *addr, addr.wrapping_add(1), last, last.wrapping_add(1)]
        });
        let addrs: Vec<u32> = edges.chain(others.iter().copied()).collect();
        let mut bulk = vec![AdjacencyId(0); addrs.len()];
        fib.fib().lookup_bulk(&addrs, &mut bulk);
        for (addr, bulk) in addrs.into_iter().zip(bulk) {
            prop_assert_eq!(fib.fib().lookup(addr), model.lookup(addr, 32));
            prop_assert_eq!(bulk, model.lookup(addr, 32));
        }
        check_rules(&fib, &model);
    }
}

fn writer(groups: usize) -> (Ipv4FibWriter, Arc<Ipv4Fib>) {
    let writer = Ipv4FibWriter::new(groups, Qsbr::new(1));
    let fib = Arc::clone(writer.fib());
    (writer, fib)
}

const NET: u32 = 0xc633_6400;

#[test]
fn what_is_no_prefix_is_refused() {
    let (mut writer, fib) = writer(4);
    let not = |addr, len| Err(FibError::NotAPrefix { addr, len });
    assert_eq!(writer.insert(NET | 1, 24, AdjacencyId(1)), not(NET | 1, 24));
    assert_eq!(writer.insert(1, 0, AdjacencyId(1)), not(1, 0));
    assert_eq!(writer.insert(NET, 33, AdjacencyId(1)), not(NET, 33));
    assert_eq!(writer.insert(NET, 24, AdjacencyId(0)), Err(FibError::BadAdjacency(0)));
    assert_eq!(writer.insert(NET, 24, AdjacencyId(1 << 24)), Err(FibError::BadAdjacency(1 << 24)));
    assert_eq!(writer.remove(NET | 1, 24), None);
    assert_eq!(writer.remove(NET, 200), None);
    assert_eq!((writer.len(), fib.lookup(NET)), (0, AdjacencyId(0)));
}

#[test]
fn the_default_route_answers_where_nothing_else_does_and_touches_no_group() {
    let (mut writer, fib) = writer(4);
    assert_eq!(writer.insert(NET, 32, AdjacencyId(7)), Ok(None));
    assert_eq!(writer.insert(0, 0, AdjacencyId(9)), Ok(None));
    assert_eq!(fib.lookup(NET), AdjacencyId(7));
    assert_eq!(fib.lookup(NET | 1), AdjacencyId(9));
    assert_eq!(fib.lookup(1), AdjacencyId(9));
    assert_eq!(writer.insert(0, 0, AdjacencyId(10)), Ok(Some(AdjacencyId(9))));
    assert_eq!(fib.lookup(NET | 1), AdjacencyId(10));
    assert_eq!(writer.remove(0, 0), Some(AdjacencyId(10)));
    assert_eq!(fib.lookup(NET | 1), AdjacencyId(0));
    assert_eq!(writer.best_match(NET), Some((NET, 32, AdjacencyId(7))));
}

#[test]
fn a_group_is_given_back_when_its_last_long_prefix_goes_and_reused_after_a_grace_period() {
    let qsbr = Qsbr::new(1);
    let mut writer = Ipv4FibWriter::new(1, Arc::clone(&qsbr));
    let mut reader = qsbr.register().unwrap();
    writer.insert(NET, 24, AdjacencyId(1)).unwrap();
    writer.insert(NET, 32, AdjacencyId(2)).unwrap();
    writer.insert(NET, 25, AdjacencyId(3)).unwrap();
    let other = NET + 0x100;
    assert!(matches!(writer.insert(other, 32, AdjacencyId(4)), Err(FibError::Full(_))));
    writer.remove(NET, 32);
    assert_eq!(writer.groups_in_use(), 1);
    writer.remove(NET, 25);
    assert_eq!((writer.groups_in_use(), writer.groups_retired()), (0, 1));
    // The reader may still be looking at it.
    assert!(matches!(writer.insert(other, 32, AdjacencyId(4)), Err(FibError::Full(_))));
    assert_eq!(writer.rule(other, 32), None);
    reader.quiescent();
    assert_eq!(writer.insert(other, 32, AdjacencyId(4)), Ok(None));
    assert_eq!(writer.fib().lookup(NET), AdjacencyId(1));
    assert_eq!(writer.fib().lookup(other), AdjacencyId(4));
}

#[test]
fn host_routes_by_the_ten_thousand_each_in_a_group_of_its_own() {
    let (mut writer, fib) = writer(1 << 17);
    let addr = |n: u32| (n << 8).wrapping_add(0x0a00_0001);
    for n in 0..100_000 {
        assert_eq!(writer.insert(addr(n), 32, AdjacencyId(n + 1)), Ok(None));
    }
    assert_eq!(writer.groups_in_use(), 100_000);
    for n in 0..100_000 {
        assert_eq!(fib.lookup(addr(n)), AdjacencyId(n + 1));
        assert_eq!(fib.lookup(addr(n) + 1), AdjacencyId(0));
    }
    for n in 0..100_000 {
        assert_eq!(writer.remove(addr(n), 32), Some(AdjacencyId(n + 1)));
    }
    writer.reclaim();
    assert_eq!((writer.len(), writer.groups_in_use(), writer.groups_retired()), (0, 0, 0));
    assert!((0..100_000).all(|n| fib.lookup(addr(n)) == AdjacencyId(0)));
}

/// Lengths as in a full table of the Internet, roughly, with host routes on top.
fn many_prefixes(count: usize, mut seed: u64) -> HashMap<(u32, u8), u32> {
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 32) as u32
    };
    let mut rules = HashMap::new();
    while rules.len() < count {
        let len = match next() % 100 {
            0..60 => 24,
            60..85 => 19 + (next() % 5) as u8,
            85..90 => 12 + (next() % 7) as u8,
            90..93 => 25 + (next() % 7) as u8,
            _ => 32,
        };
        rules.insert((network(next(), len, 32), len), next() % 200_000 + 1);
    }
    rules
}

fn expected(rules: &HashMap<(u32, u8), u32>, addr: u32) -> AdjacencyId {
    let mut lengths = (0..=32u8).rev();
    AdjacencyId(
        lengths.find_map(|len| rules.get(&(network(addr, len, 32), len)).copied()).unwrap_or(0),
    )
}

#[test]
fn a_million_prefixes_are_added_found_and_removed() {
    let (mut writer, fib) = writer(1 << 17);
    let mut rules = many_prefixes(1_000_000, 1);
    for (&(addr, len), &id) in &rules {
        assert_eq!(writer.insert(addr, len, AdjacencyId(id)), Ok(None));
    }
    assert_eq!(writer.len(), 1_000_000);
    let samples: Vec<u32> = rules.keys().map(|(addr, _)| addr ^ 1).collect();
    let check = |rules: &HashMap<_, _>| {
        let mut bulk = vec![AdjacencyId(0); samples.len()];
        fib.lookup_bulk(&samples, &mut bulk);
        for (addr, bulk) in samples.iter().zip(bulk) {
            let expected = expected(rules, *addr);
            assert_eq!((bulk, fib.lookup(*addr)), (expected, expected), "{addr:#x}");
        }
    };
    check(&rules);
    rules.retain(|&(addr, len), id| {
        let is_kept = (addr >> 13 ^ addr) & 1 == 0;
        assert!(is_kept || writer.remove(addr, len) == Some(AdjacencyId(*id)));
        is_kept
    });
    check(&rules);
    rules.drain().for_each(|((addr, len), id)| {
        assert_eq!(writer.remove(addr, len), Some(AdjacencyId(id)));
    });
    writer.reclaim();
    assert_eq!((writer.len(), writer.groups_in_use(), writer.groups_retired()), (0, 0, 0));
    check(&rules);
}

#[test]
fn widths_of_any_split_work() {
    let mut writer = FibWriter::<8, 0>::new(0, Qsbr::new(1));
    writer.insert(0x80, 1, AdjacencyId(1)).unwrap();
    writer.insert(0xff, 8, AdjacencyId(2)).unwrap();
    let fib: &Fib<8, 0> = writer.fib();
    let found = [0x7f, 0x80, 0xfe, 0xff].map(|addr| fib.lookup(addr).0);
    assert_eq!(found, [0, 1, 1, 2]);
}
