//! Our tables against DPDK's own: `rte_fib`, `rte_lpm` and `rte_hash`. Needs root, not hugepages.
#![cfg(feature = "oracle")]
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "small numbers, and failing is a test's job"
)]

use dataplane::dpdk::oracle::{FibLookup, RteFib, RteHash, RteLpm};
use dataplane::dpdk::{Eal, EalOptions};
use dataplane::ids::{AdjacencyId, NetworkId};
use dataplane::table::{Ipv4Fib, Ipv4FibWriter, MacTable, MacWriter, Qsbr};
use dataplane::wire::ethernet::MacAddr;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::HashSet;
use std::sync::OnceLock;

/// DPDK starts once per process.
fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    *EAL.get_or_init(|| {
        let prefix = format!("gw-oracle-{}", std::process::id());
        let own = ["--no-huge", "--no-pci", "--no-shconf", "-m", "1024", "--file-prefix", &prefix];
        let simd = is_x86_feature_detected!("avx512f").then_some("--force-max-simd-bitwidth=512");
        let extra = own.into_iter().chain(simd).map(str::to_owned).collect();
        Eal::start(&EalOptions { control_core: 0, worker_cores: Vec::new(), extra }).unwrap()
    })
}

/// The vector look-up where this CPU has it.
fn best_lookup() -> FibLookup {
    if is_x86_feature_detected!("avx512f") { FibLookup::Vector } else { FibLookup::Scalar }
}

fn network(addr: u32, len: u8) -> u32 {
    addr & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn last(addr: u32, len: u8) -> u32 {
    addr | u32::MAX.checked_shr(u32::from(len)).unwrap_or(0)
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u32, u8, u32),
    Remove(u32, u8),
}

/// Prefixes of 8 bits and more, crowded into two /16s, so that they nest and meet again.
fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![1 => 8u8..16, 3 => 16u8..=24, 3 => 25u8..=32];
    let prefix = (any::<u32>(), len).prop_map(|(bits, len)| {
        let addr =
            0x0a00_0000 | bits & 0x0001_0303 | if bits >> 31 == 1 { bits & 0xffff } else { 0 };
        (network(addr, len), len)
    });
    prop_oneof![
        3 => (prefix.clone(), 1u32..1000).prop_map(|((addr, len), id)| Op::Insert(addr, len, id)),
        2 => prefix.prop_map(|(addr, len)| Op::Remove(addr, len)),
    ]
}

fn check_fib(fib: &Ipv4Fib, theirs: &RteFib, addrs: &mut [u32]) {
    let mut ours = vec![AdjacencyId(0); addrs.len()];
    let mut expected = vec![0; addrs.len()];
    fib.lookup_bulk(addrs, &mut ours);
    theirs.lookup_bulk(addrs, &mut expected);
    for ((addr, ours), expected) in addrs.iter().zip(ours).zip(expected) {
        assert_eq!(u64::from(ours.0), expected, "{addr:#x}");
    }
}

fn check_lpm(fib: &Ipv4Fib, theirs: &RteLpm, addrs: &[u32]) {
    let mut expected = vec![0; addrs.len()];
    theirs.lookup_bulk(addrs, &mut expected);
    for (addr, expected) in addrs.iter().zip(expected) {
        assert_eq!(fib.lookup(*addr).0, expected, "{addr:#x}");
    }
}

#[test]
fn the_fib_answers_as_rte_fib_and_rte_lpm_do() {
    let mut rte_fib = RteFib::new(eal(), "few", 4096, 1024, best_lookup()).unwrap();
    let mut rte_lpm = RteLpm::new(eal(), "few", 4096, 1024).unwrap();
    let mut fib = Ipv4FibWriter::new(1024, Qsbr::new(1));
    let ops = proptest::collection::vec(op(), 1..200);
    let run = |ops: Vec<Op>| {
        let mut addrs = Vec::new();
        for op in ops {
            let (addr, len) = match op {
                Op::Insert(addr, len, id) => {
                    rte_fib.add(addr, len, id).unwrap();
                    rte_lpm.add(addr, len, id).unwrap();
                    fib.insert(addr, len, AdjacencyId(id)).unwrap();
                    (addr, len)
                }
                Op::Remove(addr, len) => {
                    let was_there = fib.remove(addr, len).is_some();
                    assert_eq!(rte_fib.delete(addr, len).is_ok(), was_there);
                    assert_eq!(rte_lpm.delete(addr, len).is_ok(), was_there);
                    (addr, len)
                }
            };
            let last = last(addr, len);
            let edges =
                [addr.wrapping_sub(1), addr, addr + 1, last - 1, last, last.wrapping_add(1)];
            addrs.extend(edges);
            check_fib(fib.fib(), &rte_fib, &mut edges.clone());
            check_lpm(fib.fib(), &rte_lpm, &edges);
        }
        check_fib(fib.fib(), &rte_fib, &mut addrs);
        check_lpm(fib.fib(), &rte_lpm, &addrs);
        // The next case starts from what this one left: tables grow old together.
        fib.reclaim();
    };
    let (state, config) = (std::cell::RefCell::new(run), ProptestConfig::with_cases(200));
    let result = TestRunner::new(config).run(&ops, |ops| {
        (state.borrow_mut())(ops);
        Ok(())
    });
    result.unwrap();
}

/// A pseudo-random sequence (xorshift).
fn random(state: &mut u64) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u32
}

/// Lengths as in a full table of the Internet, roughly, with host routes on top.
fn a_prefix(state: &mut u64) -> (u32, u8) {
    let len = match random(state) % 100 {
        0..60 => 24,
        60..85 => 19 + (random(state) % 5) as u8,
        85..90 => 12 + (random(state) % 7) as u8,
        90..93 => 25 + (random(state) % 7) as u8,
        _ => 32,
    };
    // Not in the last /8: a change of a prefix that reaches the end of the address space and holds
    // two longer ones, the last of which reaches it too, makes rte_fib (22.11) write the change over
    // its whole table.
    (network(random(state) % 0xff00_0000, len), len)
}

#[test]
fn a_million_prefixes_answer_as_rte_fib_does() {
    const PREFIXES: usize = 1_000_000;
    // rte_fib wants spare groups to delete, where ours gets along with those in use.
    let mut rte_fib = RteFib::new(eal(), "many", 1 << 20, 1 << 18, best_lookup()).unwrap();
    let mut fib = Ipv4FibWriter::new(1 << 17, Qsbr::new(1));
    let (mut state, mut prefixes) = (1, HashSet::new());
    while prefixes.len() < PREFIXES {
        prefixes.insert(a_prefix(&mut state));
    }
    for &(addr, len) in &prefixes {
        let id = random(&mut state) % 200_000 + 1;
        rte_fib.add(addr, len, id).unwrap();
        assert_eq!(fib.insert(addr, len, AdjacencyId(id)), Ok(None));
    }
    let mut addrs: Vec<u32> = prefixes.iter().flat_map(|(a, l)| [*a, last(*a, *l)]).collect();
    addrs.extend((0..1_000_000).map(|_| random(&mut state)));
    check_fib(fib.fib(), &rte_fib, &mut addrs);
    for &(addr, len) in prefixes.iter().filter(|(addr, len)| (addr >> 8 ^ u32::from(*len)) & 1 == 0)
    {
        rte_fib.delete(addr, len).unwrap();
        assert!(fib.remove(addr, len).is_some());
    }
    check_fib(fib.fib(), &rte_fib, &mut addrs);
}

#[test]
fn some_thousand_prefixes_answer_as_rte_lpm_does() {
    let mut rte_lpm = RteLpm::new(eal(), "hosts", 20_000, 10_000).unwrap();
    let mut fib = Ipv4FibWriter::new(10_000, Qsbr::new(1));
    let mut state = 1;
    let mut prefixes: Vec<_> = (0..5000).map(|_| a_prefix(&mut state)).collect();
    for (number, &(addr, len)) in (1..).zip(&prefixes) {
        rte_lpm.add(addr, len, number).unwrap();
        fib.insert(addr, len, AdjacencyId(number)).unwrap();
    }
    let addrs: Vec<u32> = prefixes.iter().flat_map(|(a, l)| [*a, last(*a, *l)]).collect();
    check_lpm(fib.fib(), &rte_lpm, &addrs);
    prefixes.sort();
    prefixes.dedup();
    for &(addr, len) in prefixes.iter().step_by(2) {
        rte_lpm.delete(addr, len).unwrap();
        assert!(fib.remove(addr, len).is_some());
    }
    check_lpm(fib.fib(), &rte_lpm, &addrs);
}

#[test]
fn the_mac_table_answers_as_rte_hash_does() {
    const ENTRIES: u64 = 100_000;
    let mut rte_hash = RteHash::new(eal(), "macs", 2 * ENTRIES as u32).unwrap();
    let mut macs = MacWriter::new(ENTRIES as usize, Qsbr::new(1));
    let mut state = 1;
    let name = |n: u64| (NetworkId((n % 7) as u16), MacAddr::from_u64(0x0200_0000_0000 + n / 3));
    for round in 0..3 {
        for _ in 0..ENTRIES {
            let (network, mac) = name(u64::from(random(&mut state)) % (2 * ENTRIES));
            let (key, id) = (MacTable::key(network, mac), random(&mut state));
            if random(&mut state) % 5 < 3 {
                if macs.insert(network, mac, AdjacencyId(id), false).is_ok() {
                    rte_hash.add(key, id as usize).unwrap();
                }
            } else {
                assert_eq!(macs.remove(network, mac).is_some(), rte_hash.delete(key));
            }
        }
        macs.reclaim();
        assert_eq!(macs.len(), rte_hash.count(), "round {round}");
        check_macs(&macs, &rte_hash, (0..2 * ENTRIES).map(name));
    }
}

fn check_macs(
    macs: &MacWriter,
    rte_hash: &RteHash,
    names: impl Iterator<Item = (NetworkId, MacAddr)>,
) {
    let keys: Vec<u64> = names.map(|(network, mac)| MacTable::key(network, mac)).collect();
    let mut ours = vec![None; keys.len()];
    macs.table().lookup_bulk(&keys, &mut ours);
    let chunks = keys.chunks(RteHash::BULK).zip(ours.chunks(RteHash::BULK));
    for (keys, ours) in chunks {
        let mut data = [0; RteHash::BULK];
        let hits = rte_hash.lookup_bulk(keys, &mut data);
        for (n, ours) in ours.iter().enumerate() {
            let expected = (hits >> n & 1 == 1).then_some(data[n]);
            assert_eq!(ours.map(|hit| hit.adjacency.index()), expected, "{:#x}", keys[n]);
        }
    }
}
