//! One writer and two readers at full speed: every look-up sees an entry that was there between its
//! begin and its end.
#![allow(clippy::unwrap_used, reason = "failing is a test's job")]

use dataplane::ids::{AdapterId, AdjacencyId, NetworkId, PortId};
use dataplane::table::{
    Adjacency, AdjacencyKind, AdjacencyWriter, FibWriter, MacTable, MacWriter, Qsbr,
};
use dataplane::wire::ethernet::MacAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

const READERS: usize = 2;

/// Changes that the writer makes; `TABLE_STRESS_CHANGES` for another number.
fn changes_wanted() -> u32 {
    std::env::var("TABLE_STRESS_CHANGES").map_or(20_000, |number| number.parse().unwrap())
}

/// Ids are `entry * VERSIONS + version`.
const VERSIONS: u32 = 1 << 18;

/// What the writer has begun and what it has done, per entry. Odd versions: present, even: absent.
struct Log(Vec<(AtomicU32, AtomicU32)>);

impl Log {
    fn new(entries: u32) -> Self {
        Self((0..entries).map(|_| Default::default()).collect())
    }

    /// The writer's next version of an entry, around the change that makes it so.
    fn change(&self, entry: u32, apply: impl FnOnce(u32)) {
        let (begun, done) = &self.0[entry as usize];
        let version = done.load(Ordering::SeqCst) + 1;
        begun.store(version, Ordering::SeqCst);
        apply(version);
        done.store(version, Ordering::SeqCst);
    }

    fn done(&self, entry: u32) -> u32 {
        self.0[entry as usize].1.load(Ordering::SeqCst)
    }

    /// Checks what a look-up found against all states between `from` and now.
    fn check(&self, entry: u32, from: u32, found: Option<AdjacencyId>) {
        let to = self.0[entry as usize].0.load(Ordering::SeqCst);
        match found {
            Some(AdjacencyId(id)) => {
                assert_eq!(id / VERSIONS, entry, "another entry's");
                let version = id % VERSIONS;
                assert!(
                    version % 2 == 1 && (from..=to).contains(&version),
                    "{from} {version} {to}"
                );
            }
            None => assert!((from..=to).any(|v| v % 2 == 0), "absent between {from} and {to}"),
        }
    }
}

/// A pseudo-random sequence (xorshift).
fn random(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

/// Runs `write` beside readers that call `read` between quiescent points.
fn race(qsbr: &Arc<Qsbr>, write: impl FnOnce(), read: impl Fn(&mut u32) + Sync) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..READERS {
            let (read, is_over) = (&read, &is_over);
            let mut reader = qsbr.register().unwrap();
            scope.spawn(move || {
                let mut state = 0x1234_5678 + u32::try_from(number).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    (0..32).for_each(|_| read(&mut state));
                    reader.quiescent();
                    // The writer waits for grace periods, and there may be fewer cores than threads.
                    thread::yield_now();
                    if random(&mut state).is_multiple_of(1024) {
                        reader.set_offline();
                        thread::yield_now();
                        reader.set_online();
                    }
                }
            });
        }
        write();
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn fib_look_ups_beside_a_writer_see_old_or_new() {
    const ENTRIES: u32 = 64;
    let qsbr = Qsbr::new(READERS);
    // Few groups, so that they are reused all the time; addresses 16 apart, each in a group's range.
    let mut writer = FibWriter::<8, 4>::new(12, Arc::clone(&qsbr));
    let fib = Arc::clone(writer.fib());
    let log = Log::new(ENTRIES);
    let addr = |entry: u32| (entry << 4) | (entry % 16);
    let cover = AdjacencyId((1 << 24) - 1);
    writer.insert(0, 1, cover).unwrap();
    let mut state = 42;
    let write = || {
        let (mut changes, wanted) = (0, changes_wanted());
        while changes < wanted {
            let entry = random(&mut state) % ENTRIES;
            let is_there = log.done(entry) % 2 == 1;
            if is_there {
                log.change(entry, |_| assert!(writer.remove(addr(entry), 12).is_some()));
            } else if writer.groups_in_use() + writer.groups_retired() < 12 {
                let id = |version| AdjacencyId(entry * VERSIONS + version);
                log.change(entry, |v| assert!(writer.insert(addr(entry), 12, id(v)).is_ok()));
            } else {
                writer.reclaim();
                thread::yield_now();
                continue;
            }
            changes += 1;
        }
    };
    race(&qsbr, write, |state| {
        let entries: [u32; 8] = std::array::from_fn(|_| random(state) % ENTRIES);
        let from = entries.map(|entry| log.done(entry));
        let mut found = [AdjacencyId(0); 8];
        fib.lookup_bulk(&entries.map(addr), &mut found);
        for ((entry, from), found) in entries.into_iter().zip(from).zip(found) {
            assert_ne!(found, AdjacencyId(0), "the covering prefix has a hole");
            log.check(entry, from, Some(found).filter(|id| *id != cover));
        }
        let from = log.done(entries[0]);
        let found = fib.lookup(addr(entries[0]));
        log.check(entries[0], from, Some(found).filter(|id| *id != cover));
    });
}

#[test]
fn mac_look_ups_beside_a_writer_see_old_or_new() {
    const ENTRIES: u32 = 48;
    let qsbr = Qsbr::new(READERS);
    let mut writer = MacWriter::new(32, Arc::clone(&qsbr));
    let table = Arc::clone(writer.table());
    let log = Log::new(ENTRIES);
    let name = |entry: u32| (NetworkId(7), MacAddr::from_u64(u64::from(entry)));
    let mut state = 42;
    let write = || {
        let (mut changes, wanted) = (0, changes_wanted());
        while changes < wanted {
            let entry = random(&mut state) % ENTRIES;
            let (network, mac) = name(entry);
            let id = |version| AdjacencyId(entry * VERSIONS + version);
            if log.done(entry) % 2 == 1 {
                log.change(entry, |_| assert!(writer.remove(network, mac).is_some()));
            } else if writer.len() + writer.retired() < 32 {
                let insert = |v| assert!(writer.insert(network, mac, id(v), v % 4 == 1).is_ok());
                log.change(entry, insert);
            } else {
                writer.reclaim();
                thread::yield_now();
                continue;
            }
            changes += 1;
        }
    };
    race(&qsbr, write, |state| {
        let entries: [u32; 8] = std::array::from_fn(|_| random(state) % ENTRIES);
        let from = entries.map(|entry| log.done(entry));
        let keys = entries.map(|entry| MacTable::key(name(entry).0, name(entry).1));
        let mut found = [None; 8];
        table.lookup_bulk(&keys, &mut found);
        for ((entry, from), found) in entries.into_iter().zip(from).zip(found) {
            log.check(entry, from, found.map(|hit| hit.adjacency));
            assert!(found.is_none_or(|hit| hit.is_static == (hit.adjacency.0 % VERSIONS % 4 == 1)));
            if let Some(hit) = found {
                table.touch(hit.slot, *state);
            }
        }
    });
}

/// Everything in the row says which entry and which version it was made for.
fn row(entry: u32, version: u32) -> Adjacency {
    let mac = MacAddr::from_u64(u64::from(entry) << 32 | u64::from(version));
    Adjacency {
        kind: AdjacencyKind::Forward,
        port: PortId(u16::try_from(entry).unwrap()),
        adapter: AdapterId(entry),
        destination: mac,
        source: mac,
        mtu: 1500,
        vlan: u16::try_from(entry).unwrap(),
        next_hop: version,
    }
}

#[test]
fn an_adjacency_that_the_fib_names_is_the_one_that_was_put_there() {
    const ENTRIES: u32 = 16;
    let qsbr = Qsbr::new(READERS);
    let mut fib_writer = FibWriter::<4, 2>::new(16, Arc::clone(&qsbr));
    let mut writer = AdjacencyWriter::new(64, Arc::clone(&qsbr));
    let (fib, table) = (Arc::clone(fib_writer.fib()), Arc::clone(writer.table()));
    let addr = |entry: u32| entry << 2 | 1;
    let log = Log::new(ENTRIES);
    let mut state = 42;
    let mut ids = [None; ENTRIES as usize];
    let write = || {
        let (mut changes, wanted) = (0, changes_wanted());
        while changes < wanted {
            let entry = random(&mut state) % ENTRIES;
            // Two versions a change keeps them odd: the entry never goes.
            let version = log.done(entry) + 2;
            let Ok(id) = writer.add(row(entry, version)) else {
                writer.reclaim();
                thread::yield_now();
                continue;
            };
            changes += 1;
            assert!(fib_writer.insert(addr(entry), 6, id).is_ok());
            let neighbor = MacAddr::from_u64(u64::from(entry) << 32 | u64::from(version));
            assert!(writer.set_neighbor(id, AdjacencyKind::Unreachable, MacAddr::ZERO));
            assert!(writer.set_neighbor(id, AdjacencyKind::Forward, neighbor));
            log.0[entry as usize].1.store(version, Ordering::SeqCst);
            if let Some(old) = ids[entry as usize].replace(id) {
                writer.retire(old);
            }
        }
    };
    race(&qsbr, write, |state| {
        let entry = random(state) % ENTRIES;
        let from = log.done(entry);
        match fib.lookup(addr(entry)) {
            AdjacencyId(0) => assert_eq!(from, 0),
            id => {
                table.prefetch(id);
                if random(state).is_multiple_of(64) {
                    // As an interrupt would.
                    thread::yield_now();
                }
                let read = table.read(id);
                let mut expected = row(entry, read.next_hop);
                if read.kind == AdjacencyKind::Unreachable {
                    (expected.kind, expected.destination) = (read.kind, MacAddr::ZERO);
                }
                assert_eq!(read, expected);
                assert!(read.next_hop >= from);
            }
        }
    });
}
