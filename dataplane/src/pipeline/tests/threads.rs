//! Two workers on threads of their own, rings between them, and control changing things meanwhile.

use super::host::*;
use super::lab::assert_balance;
use super::packet::Packet;
use super::worker::clock_ns;
use crate::counters::{Counters, PortCounter};
use crate::frame::memory::{MemoryFrame, MemoryPool};
use crate::ids::PortId;
use crate::io::memory::{MemoryIo, MemoryPort};
use crate::pipeline::{Handoff, Rates, TxPort, TxRoute};
use crate::punt::Punt;
use crate::record::{Attachment, PortRecord};
use crate::worker::{Command, Displaced, Worker, WorkerLink};
use crossbeam::queue::ArrayQueue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A loaded machine may be slow; a test that hangs may not.
const PATIENCE: Duration = Duration::from_secs(300);
/// After so long a test is content with less.
const LONG_ENOUGH: Duration = Duration::from_secs(15);
/// Frames of one flow under way at a time: below overload, so that none may be lost.
const WINDOW: u32 = 64;

struct End {
    link: WorkerLink<MemoryIo>,
    counters: Arc<Counters>,
    thread: JoinHandle<()>,
}

/// Two running workers. C2's transmit queue is the first's, C3's the second's.
struct Pair {
    host: Host,
    ends: Vec<End>,
    pool: MemoryPool,
    ports: BTreeMap<PortId, MemoryPort>,
    deadline: Instant,
}

impl Pair {
    fn new(depth: usize) -> Pair {
        let host = Host::new();
        let pool = MemoryPool::new(1 << 15);
        let ports: BTreeMap<_, _> =
            [C1, C2, C3].into_iter().map(|id| (id, MemoryPort::new(depth))).collect();
        // One sleeps while it has nothing to do, one never.
        let ends: Vec<_> =
            [true, false].map(|may_sleep| end(&host, &pool, may_sleep)).into_iter().collect();
        let pair = Pair { host, ends, pool, ports, deadline: Instant::now() + PATIENCE };
        for (owner, port) in [(0, C2), (1, C3)] {
            let link = &pair.ends[owner].link;
            let handoff = Handoff { ring: link.departures.clone(), bell: link.bell.clone() };
            let own = TxPort::new(TxRoute::Own(pair.ports[&port].tx()));
            pair.command(owner, Command::SetTx { port, tx: Some(own) });
            // The owner first: see `Command::SetTx`.
            while pair.ends[owner].link.displaced.pop().is_none() {
                pair.wait();
            }
            let handoff = TxPort::new(TxRoute::Handoff(handoff));
            pair.command(1 - owner, Command::SetTx { port, tx: Some(handoff) });
        }
        for (worker, port) in [(0, C1), (0, C2), (1, C3)] {
            pair.add_rx(worker, port);
        }
        pair
    }

    fn command(&self, worker: usize, command: Command<MemoryIo>) {
        let mut command = command;
        while let Err(back) = self.ends[worker].link.commands.push(command) {
            command = back;
            self.wait();
        }
    }

    fn add_rx(&self, worker: usize, port: PortId) {
        let rx = Box::new(self.ports[&port].rx());
        self.command(worker, Command::AddRx { port, queue: 0, rx });
    }

    #[track_caller]
    fn wait(&self) {
        assert!(Instant::now() < self.deadline, "a worker hangs\n{}", self.describe());
        std::thread::yield_now();
    }

    /// Where everything is, for the message of a test that hangs.
    fn describe(&self) -> String {
        let mut out = String::new();
        for (number, End { link, counters, thread }) in self.ends.iter().enumerate() {
            let (commands, displaced) = (link.commands.len(), link.displaced.len());
            let (departures, is_over) = (link.departures.len(), thread.is_finished());
            let loops = link.stats.loops.load(Ordering::Relaxed);
            out += &format!(
                "worker {number}: {loops} loops, {commands} commands, {displaced} displaced, \
                 {departures} departures, over: {is_over}\n"
            );
            for port in [C1, C2, C3] {
                out += &format!("  {port:?}: {:?}\n", counters.port(port));
            }
        }
        for (id, port) in &self.ports {
            out += &format!("{id:?}: {} in, {} out\n", port.to_us.len(), port.from_us.len());
        }
        out + &format!("{} frames alive", self.pool.in_use())
    }

    /// Offers a numbered frame of a flow; false where the port's queue is full.
    fn offer(&mut self, flow: Flow, number: u32) -> bool {
        let packet = Packet::new(at(flow.from), GATEWAY_MAC, at(flow.to).ip);
        let bytes = packet.udp(1, 2, &number.to_be_bytes()).bytes();
        let frame = self.pool.frame(&bytes, flow.from).unwrap();
        self.ports[&flow.from].to_us.push(frame).is_ok()
    }

    /// The next frame that left by a port: where it came from and its number.
    fn take(&self, port: PortId) -> Option<(PortId, u32)> {
        let frame = self.ports[&port].from_us.pop()?;
        let bytes = frame.bytes();
        let from = PortId(u16::from(bytes[29]));
        Some((from, u32::from_be_bytes(bytes[42..46].try_into().unwrap())))
    }

    /// Takes what a worker displaced; receive queues are counted.
    fn displaced(&self, worker: usize) -> usize {
        let taken = std::iter::from_fn(|| self.ends[worker].link.displaced.pop());
        taken.filter(|what| matches!(what, Displaced::Rx { rx: Some(_), .. })).count()
    }

    /// Takes all receive queues back, waits for each, then ends the workers; checks the sums.
    fn finish(self, workers_of: [(usize, PortId); 3]) -> Vec<Arc<Counters>> {
        let mut back = 0;
        for (worker, port) in workers_of {
            self.command(worker, Command::RemoveRx { port, queue: 0 });
        }
        while back < 3 {
            back += self.displaced(0) + self.displaced(1);
            self.wait();
        }
        for end in &self.ends {
            assert!(end.link.commands.push(Command::Shutdown).is_ok());
        }
        let Pair { ends, pool, ports, .. } = self;
        let mut blocks = Vec::new();
        for end in ends {
            end.thread.join().unwrap();
            blocks.push(end.counters);
            assert!(end.link.departures.is_empty(), "nothing waits after shutdown");
        }
        assert_balance(&blocks.iter().collect::<Vec<_>>());
        let waiting: usize = ports.values().map(|port| port.from_us.len()).sum();
        assert_eq!(pool.in_use(), waiting, "every frame is on a wire or back in the pool");
        blocks
    }
}

fn end(host: &Host, pool: &MemoryPool, may_sleep: bool) -> End {
    let punts: Arc<ArrayQueue<Punt<MemoryFrame>>> = Arc::new(ArrayQueue::new(64));
    let path = host.path(pool.clone(), punts, Rates::default());
    let counters = path.counters.clone();
    let reader = host.qsbr.register().unwrap();
    let (mut worker, link) = Worker::new(path, reader, clock_ns).unwrap();
    if may_sleep {
        worker.let_sleep().unwrap();
    }
    let thread = std::thread::spawn(move || worker.run());
    End { link, counters, thread }
}

#[derive(Clone, Copy)]
struct Flow {
    from: PortId,
    to: PortId,
}

const FLOWS: [Flow; 4] = [
    Flow { from: C1, to: C2 },
    Flow { from: C1, to: C3 },
    Flow { from: C2, to: C3 },
    Flow { from: C3, to: C2 },
];

/// One change that concerns none of the flows: a guest's mode, a route, a MAC.
fn change(pair: &mut Pair, number: u32) {
    let record = &pair.host.records[&N1];
    let attachment = match number % 3 {
        0 => Attachment::Closed,
        1 => pair.host.records[&M2].attachment.clone(),
        _ => record.attachment.clone(),
    };
    let record = Arc::new(PortRecord { attachment, ..record.clone() });
    for worker in 0..2 {
        pair.command(worker, Command::SetPort(N1, Some(record.clone())));
    }
    let network = Arc::new(pair.host.networks[&LAN].clone());
    pair.command(0, Command::SetNetwork(LAN, number.is_multiple_of(2).then_some(network)));
    let (to, mac) = (number << 8 & 0x00ff_ff00 | 0x6400_0000, at(N1).mac);
    let way = pair.host.way(N1, mac);
    let adjacency = pair.host.adjacencies.add(way).unwrap();
    pair.host.fib.insert(to, 24, adjacency).unwrap();
    pair.host.fib.remove(to, 24);
    pair.host.adjacencies.retire(adjacency);
    if let Some(adjacency) = pair.host.macs.remove(LAN, at(M3).mac) {
        pair.host.adjacencies.retire(adjacency);
    }
    pair.host.add_mac(LAN, at(M3).mac, bridge_way(&guest(M3)), true);
    pair.host.macs.reclaim();
    pair.host.adjacencies.reclaim();
    pair.host.fib.reclaim();
}

#[test]
fn card_2_a_queue_moves_between_workers_and_every_number_arrives_once_and_in_order() {
    let mut pair = Pair::new(1024);
    let (mut sent, mut seen) = ([0u32; 4], [0u32; 4]);
    let (mut owner, mut moving, mut moves, mut changes) = (0, false, 0, 0);
    let start = Instant::now();
    let is_done = |moves, changes, seen: &[u32; 4]| {
        let (least_moves, least_changes, least_seen) = match start.elapsed() < LONG_ENOUGH {
            true => (40, 2000, 2000),
            false => (2, 20, 100),
        };
        let is_seen = seen.iter().all(|seen| *seen >= least_seen);
        moves >= least_moves && changes >= least_changes && is_seen
    };
    while !is_done(moves, changes, &seen) {
        pair.wait();
        for (flow, (sent, seen)) in FLOWS.iter().zip(sent.iter_mut().zip(&seen)) {
            while *sent < *seen + WINDOW && pair.offer(*flow, *sent) {
                *sent += 1;
            }
        }
        for port in [C2, C3] {
            while let Some((from, number)) = pair.take(port) {
                let flow = FLOWS.iter().position(|f| (f.from, f.to) == (from, port)).unwrap();
                assert_eq!(number, seen[flow], "flow {flow} after {moves} moves");
                seen[flow] += 1;
            }
        }
        // C1's queue goes to and fro.
        if !moving {
            pair.command(owner, Command::RemoveRx { port: C1, queue: 0 });
            moving = true;
        } else if pair.displaced(owner) == 1 {
            owner = 1 - owner;
            pair.add_rx(owner, C1);
            (moving, moves) = (false, moves + 1);
        }
        pair.displaced(1 - owner);
        if changes < 2000 {
            change(&mut pair, changes);
            changes += 1;
        }
    }
    while moving && pair.displaced(owner) == 0 {
        pair.wait();
    }
    if moving {
        pair.add_rx(owner, C1);
    }
    while seen != sent {
        pair.wait();
        for port in [C2, C3] {
            while let Some((from, number)) = pair.take(port) {
                let flow = FLOWS.iter().position(|f| (f.from, f.to) == (from, port)).unwrap();
                assert_eq!(number, seen[flow]);
                seen[flow] += 1;
            }
        }
    }
    let blocks = pair.finish([(owner, C1), (0, C2), (1, C3)]);
    let rx = |block: &Arc<Counters>| block.port(C1).counter(PortCounter::RxPkts);
    let had_it = blocks.iter().filter(|block| rx(block) > 0).count();
    assert!(had_it == 2 || moves < 40, "both workers had the queue");
    assert_eq!(blocks.iter().map(rx).sum::<u64>(), u64::from(sent[0] + sent[1]));
    assert!(blocks.iter().all(|block| block.port(C1).drops_total() == 0));
}

#[test]
fn in_overload_losses_are_counted_and_what_arrives_is_in_order() {
    // Wires of 64: transmit queues overflow, and the receive queues too.
    let mut pair = Pair::new(64);
    let (mut offered, mut taken, mut arrived) = ([0u32; 4], [0u64; 4], [0u64; 4]);
    let mut next = [0u32; 4];
    for round in 0..20_000 {
        for (flow, number) in offered.iter_mut().enumerate() {
            taken[flow] += u64::from(pair.offer(FLOWS[flow], *number));
            *number += 1;
        }
        if round % 97 == 0 {
            pair.wait();
        }
        if round % 400 < 200 {
            continue;
        }
        for port in [C2, C3] {
            while let Some((from, number)) = pair.take(port) {
                let flow = FLOWS.iter().position(|f| (f.from, f.to) == (from, port)).unwrap();
                assert!(number >= next[flow], "{number} after {}", next[flow]);
                next[flow] = number + 1;
                arrived[flow] += 1;
            }
        }
    }
    let wires: Vec<_> = [C2, C3].map(|port| pair.ports[&port].from_us.clone()).into();
    let inputs: Vec<_> = [C1, C2, C3].map(|port| pair.ports[&port].to_us.clone()).into();
    while inputs.iter().any(|wire| !wire.is_empty()) {
        pair.wait();
    }
    let blocks = pair.finish([(0, C1), (0, C2), (1, C3)]);
    let dropped = |block: &Arc<Counters>| -> u64 {
        [C1, C2, C3].map(|port| block.port(port).drops_total()).iter().sum()
    };
    let drops: u64 = blocks.iter().map(dropped).sum();
    assert!(drops > 0, "there was an overload");
    let rest: u64 = wires.iter().map(|wire| wire.len() as u64).sum();
    assert_eq!(taken.iter().sum::<u64>(), arrived.iter().sum::<u64>() + rest + drops);
}
