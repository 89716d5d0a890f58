//! Every order in which control and one worker can meet at the tables, and at a worker's sleep, by loom.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p dataplane --no-default-features --release --test table_loom`
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "failing is a test's job")]

use dataplane::idle::Ear;
use dataplane::ids::{AdapterId, AdjacencyId, NetworkId, PortId};
use dataplane::table::{
    Adjacency, AdjacencyKind, AdjacencyWriter, FibWriter, Limbo, MacTable, MacWriter, Qsbr, Reader,
};
use dataplane::wire::ethernet::MacAddr;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::sync::Arc;

/// All orders with at most three preemptions (`LOOM_MAX_PREEMPTIONS` for another number).
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.max_branches = 50_000;
    builder.check(run);
}

/// Two boxes and a pointer to one of them: what QSBR is for, in the small.
struct Boxes {
    current: AtomicU64,
    contents: [AtomicU64; 2],
}

impl Boxes {
    fn new() -> Arc<Self> {
        let contents = [AtomicU64::new(10), AtomicU64::new(11)];
        Arc::new(Self { current: AtomicU64::new(0), contents })
    }

    /// A box that was taken from the pointer holds 10 or 11 as long as somebody may look.
    fn look(&self) {
        let current = self.current.load(Ordering::Acquire);
        let content = self.contents[current as usize].load(Ordering::Relaxed);
        assert_eq!(content, 10 + current, "reused under a reader");
    }

    /// Takes box 0 out and spoils it once its grace period has passed; says whether it has.
    fn take_out(&self, qsbr: &Qsbr) -> bool {
        self.current.store(1, Ordering::Release);
        let mut limbo = Limbo::new();
        limbo.retire(qsbr, 0usize);
        for _ in 0..2 {
            for index in limbo.collect(qsbr) {
                self.contents[index].store(99, Ordering::Relaxed);
            }
        }
        limbo.is_empty()
    }
}

/// `read` in a thread with a reader, box 0 taken out beside it.
fn check_boxes(read: impl Fn(&Boxes, &mut Reader) + Copy + Sync + Send + 'static) {
    model(move || {
        let (qsbr, boxes) = (Qsbr::new(1), Boxes::new());
        let mut reader = qsbr.register().unwrap();
        let theirs = Arc::clone(&boxes);
        let worker = thread::spawn(move || read(&theirs, &mut reader));
        boxes.take_out(&qsbr);
        worker.join().unwrap();
        assert!(qsbr.has_passed(qsbr.start_grace()), "the reader is gone");
    });
}

#[test]
fn what_is_put_down_beside_a_worker_that_falls_asleep_wakes_it_or_is_seen() {
    model(|| {
        let (ear, ring) = (Arc::new(Ear::default()), Arc::new(AtomicU64::new(0)));
        let (theirs, their_ring) = (Arc::clone(&ear), Arc::clone(&ring));
        let worker = thread::spawn(move || {
            theirs.listen();
            their_ring.load(Ordering::Relaxed) == 0
        });
        ring.store(1, Ordering::Relaxed);
        let is_woken = ear.is_to_be_woken();
        let sleeps = worker.join().unwrap();
        assert!(is_woken || !sleeps, "it sleeps beside a full ring");
    });
}

#[test]
fn nothing_is_reused_before_a_quiescent_point() {
    check_boxes(|boxes, reader| {
        boxes.look();
        reader.quiescent();
        boxes.look();
    });
}

#[test]
fn what_a_reader_did_before_its_quiescent_point_is_seen_after_the_grace_period() {
    model(|| {
        let qsbr = Qsbr::new(1);
        let done = Arc::new(AtomicU64::new(0));
        let (theirs, mut reader) = (Arc::clone(&done), qsbr.register().unwrap());
        let grace = qsbr.start_grace();
        let worker = thread::spawn(move || {
            theirs.store(1, Ordering::Relaxed);
            reader.quiescent();
        });
        if qsbr.has_passed(grace) {
            assert_eq!(done.load(Ordering::Relaxed), 1);
        }
        worker.join().unwrap();
    });
}

#[test]
fn nothing_is_reused_under_a_reader_that_comes_online() {
    check_boxes(|boxes, reader| {
        reader.set_offline();
        reader.set_online();
        boxes.look();
    });
}

#[test]
fn nothing_is_reused_under_a_reader_that_registers() {
    model(|| {
        let (qsbr, boxes) = (Qsbr::new(1), Boxes::new());
        let (theirs, their_qsbr) = (Arc::clone(&boxes), Arc::clone(&qsbr));
        let worker = thread::spawn(move || {
            let reader = their_qsbr.register().unwrap();
            theirs.look();
            drop(reader);
        });
        boxes.take_out(&qsbr);
        worker.join().unwrap();
    });
}

#[test]
fn two_readers_are_both_waited_for() {
    model(|| {
        let (qsbr, boxes) = (Qsbr::new(2), Boxes::new());
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (boxes, mut reader) = (Arc::clone(&boxes), qsbr.register().unwrap());
                thread::spawn(move || {
                    boxes.look();
                    reader.quiescent();
                })
            })
            .collect();
        boxes.take_out(&qsbr);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

/// Prefix 0/2 in group 0, 2/2 to be put into the same group once it is free. Addresses are 2 bits.
fn check_fib(cover: bool, look: impl Fn(&dyn Fn(u32) -> u32) + Copy + Sync + Send + 'static) {
    model(move || {
        let qsbr = Qsbr::new(1);
        let mut writer = FibWriter::<1, 1>::new(1, Arc::clone(&qsbr));
        writer.insert(0, 2, AdjacencyId(5)).unwrap();
        if cover {
            writer.insert(0, 1, AdjacencyId(6)).unwrap();
        }
        let fib = Arc::clone(writer.fib());
        let mut reader = qsbr.register().unwrap();
        let worker = thread::spawn(move || {
            look(&|addr| fib.lookup(addr).0);
            reader.quiescent();
            look(&|addr| fib.lookup(addr).0);
            let mut found = [AdjacencyId(0); 2];
            fib.lookup_bulk(&[0, 2], &mut found);
            look(&|addr| found[addr as usize / 2].0);
        });
        writer.remove(0, 2);
        writer.reclaim();
        let is_reused = writer.insert(2, 2, AdjacencyId(7)).is_ok();
        worker.join().unwrap();
        assert_eq!(writer.fib().lookup(2).0, if is_reused { 7 } else { 0 });
    });
}

#[test]
fn a_group_is_filled_before_it_is_named_and_reused_after_a_grace_period() {
    check_fib(false, |fib| {
        let found = fib(0);
        assert!(found == 5 || found == 0, "{found}");
        let found = fib(2);
        assert!(found == 7 || found == 0, "{found}");
    });
}

#[test]
fn the_covering_prefix_has_no_hole_while_a_longer_one_goes() {
    check_fib(true, |fib| {
        let found = fib(0);
        assert!(found == 5 || found == 6, "{found}");
    });
}

#[test]
fn a_mac_slot_answers_for_its_own_key_only() {
    model(|| {
        let qsbr = Qsbr::new(1);
        let network = NetworkId(1);
        let [first, second] = [1, 2].map(MacAddr::from_u64);
        // One bucket: the first free slot is taken.
        let mut writer = MacWriter::with_seed(2, Arc::clone(&qsbr), 1);
        writer.insert(network, first, AdjacencyId(5), false).unwrap();
        let table = Arc::clone(writer.table());
        let mut reader = qsbr.register().unwrap();
        let worker = thread::spawn(move || {
            let find = |mac| table.lookup(network, mac).map(|hit| hit.adjacency.0);
            assert!(matches!(find(first), Some(5 | 6) | None));
            reader.quiescent();
            let keys = [first, second].map(|mac| MacTable::key(network, mac));
            let mut found = [None; 2];
            table.lookup_bulk(&keys, &mut found);
            let [first, second] = found.map(|hit| hit.map(|hit| hit.adjacency.0));
            assert!(matches!(first, Some(5 | 6) | None), "{first:?}");
            assert!(matches!(second, Some(7) | None), "{second:?}");
        });
        writer.insert(network, first, AdjacencyId(6), true).unwrap();
        writer.remove(network, first);
        writer.reclaim();
        writer.insert(network, second, AdjacencyId(7), false).unwrap();
        worker.join().unwrap();
    });
}

#[test]
fn a_mac_entry_beyond_its_home_is_found_while_others_come_and_go() {
    let keys = of_one_home();
    model(move || {
        let qsbr = Qsbr::new(1);
        let network = NetworkId(1);
        let mut writer = MacWriter::with_seed(6, Arc::clone(&qsbr), 1);
        for mac in &keys[..5] {
            writer.insert(network, *mac, AdjacencyId(5), false).unwrap();
        }
        let table = Arc::clone(writer.table());
        let (last, other) = (keys[4], keys[5]);
        assert!(table.lookup(network, last).unwrap().slot >= 4);
        let worker = thread::spawn(move || {
            assert_eq!(table.lookup(network, last).map(|hit| hit.adjacency), Some(AdjacencyId(5)));
            let found = table.lookup(network, other).map(|hit| hit.adjacency.0);
            assert!(matches!(found, Some(6) | None));
        });
        writer.insert(network, other, AdjacencyId(6), false).unwrap();
        writer.insert(network, keys[3], AdjacencyId(7), false).unwrap();
        writer.remove(network, keys[0]);
        writer.remove(network, other);
        worker.join().unwrap();
    });
}

/// Six MACs whose home is the first of two buckets: alone in the table each of them lies there.
fn of_one_home() -> Vec<MacAddr> {
    let found = Arc::new(std::sync::Mutex::new(Vec::new()));
    let list = Arc::clone(&found);
    model(move || {
        let mut writer = MacWriter::with_seed(6, Qsbr::new(1), 1);
        let mut is_near = |mac: &MacAddr| {
            writer.insert(NetworkId(1), *mac, AdjacencyId(1), false).unwrap();
            let slot = writer.table().lookup(NetworkId(1), *mac).unwrap().slot;
            writer.remove(NetworkId(1), *mac);
            writer.reclaim();
            slot < 4
        };
        *list.lock().unwrap() =
            (1..64).map(MacAddr::from_u64).filter(|mac| is_near(mac)).take(6).collect();
    });
    let found = found.lock().unwrap().clone();
    assert_eq!(found.len(), 6);
    found
}

fn adjacency(n: u16) -> Adjacency {
    let mac = MacAddr::from_u64(n.into());
    Adjacency {
        kind: AdjacencyKind::Forward,
        port: PortId(n),
        adapter: AdapterId(n.into()),
        destination: mac,
        source: mac,
        mtu: n,
        vlan: n,
        next_hop: n.into(),
    }
}

#[test]
fn a_neighbor_is_the_old_or_the_new_one() {
    model(|| {
        let mut writer = AdjacencyWriter::new(2, Qsbr::new(1));
        let before = adjacency(5);
        let id = writer.add(before).unwrap();
        let table = Arc::clone(writer.table());
        let worker = thread::spawn(move || {
            let lost = Adjacency {
                kind: AdjacencyKind::Unreachable,
                destination: MacAddr::ZERO,
                ..before
            };
            let read = table.read(id);
            let seen = Adjacency { mtu: 5, ..read };
            assert!(seen == before || seen == lost, "{read:?}");
            assert!(read.mtu == 5 || read.mtu == 9);
        });
        writer.set_neighbor(id, AdjacencyKind::Unreachable, MacAddr::ZERO);
        writer.set_mtu(id, 9);
        worker.join().unwrap();
    });
}

#[test]
fn an_adjacency_is_whole_when_the_fib_names_it_and_until_a_grace_period_after() {
    model(|| {
        let qsbr = Qsbr::new(1);
        let mut rows = AdjacencyWriter::new(2, Arc::clone(&qsbr));
        let mut routes = FibWriter::<1, 0>::new(0, Arc::clone(&qsbr));
        let old = rows.add(adjacency(5)).unwrap();
        routes.insert(0, 1, old).unwrap();
        let (table, fib) = (Arc::clone(rows.table()), Arc::clone(routes.fib()));
        let mut reader = qsbr.register().unwrap();
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                let read =
                    |addr| Some(fib.lookup(addr)).filter(|id| id.0 > 0).map(|id| table.read(id));
                assert!(read(0).is_none_or(|row| row == adjacency(5)));
                assert!(read(1).is_none_or(|row| row == adjacency(6)));
                reader.quiescent();
            }
        });
        routes.remove(0, 1);
        rows.retire(old);
        rows.reclaim();
        if let Ok(new) = rows.add(adjacency(6)) {
            routes.insert(1, 1, new).unwrap();
        }
        worker.join().unwrap();
    });
}
