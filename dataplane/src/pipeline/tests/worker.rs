//! A worker under control's commands, one loop at a time.

use super::host::*;
use super::lab::assert_balance;
use super::packet::{Packet, who_has};
use crate::counters::{Counters, DropReason, PortCounter, Traffic};
use crate::frame::memory::{MemoryFrame, MemoryPool};
use crate::frame::{BURST_PKTS, Burst};
use crate::ids::PortId;
use crate::io::memory::{MemoryIo, MemoryPort};
use crate::pipeline::{Departure, Limits, Rates, Shaping, TxPort, TxRoute};
use crate::punt::Inject;
use crate::record::{Attachment, PortRecord};
use crate::sight::latency::{Course, Latencies};
use crate::worker::{Command, Displaced, Worker, WorkerLink, burst_sizes, loop_histogram};
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Monotonic, from the first call on.
pub(super) fn clock_ns() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap()
}

/// A worker with control's end, not running on a thread of its own.
struct Bench {
    worker: Worker<MemoryIo>,
    link: WorkerLink<MemoryIo>,
    counters: Arc<Counters>,
    pool: MemoryPool,
    burst: Burst<MemoryFrame>,
    now_ns: u64,
    host: Host,
}

impl Bench {
    fn new() -> Bench {
        let host = Host::new();
        let pool = MemoryPool::new(8192);
        let path = host.path(pool.clone(), Arc::new(ArrayQueue::new(64)), Rates::default());
        let counters = path.counters.clone();
        let reader = host.qsbr.register().unwrap();
        let (worker, link) = Worker::new(path, reader, clock_ns).unwrap();
        Bench { worker, link, counters, pool, burst: Burst::new(), now_ns: 1, host }
    }

    /// One command, taken up at once; returns what it displaced.
    fn command(&mut self, command: Command<MemoryIo>) -> Displaced<MemoryIo> {
        assert!(self.link.commands.push(command).is_ok());
        assert!(self.worker.obey(self.now_ns));
        self.link.displaced.pop().unwrap()
    }

    fn add_rx(&mut self, id: PortId, port: &MemoryPort) {
        let add = Command::AddRx { port: id, queue: 0, rx: Box::new(port.rx()) };
        assert!(matches!(self.command(add), Displaced::Nothing));
    }

    fn set_tx(&mut self, port: PortId, tx: Option<&MemoryPort>) -> Displaced<MemoryIo> {
        let tx = tx.map(|port| TxPort::new(TxRoute::Own(port.tx())));
        self.command(Command::SetTx { port, tx })
    }

    fn poll(&mut self) -> usize {
        self.worker.poll(&mut self.burst, self.now_ns)
    }

    fn send(&mut self, port: &MemoryPort, from: PortId, to: PortId, id: u16) {
        let packet = Packet { id, ..Packet::new(at(from), GATEWAY_MAC, at(to).ip) };
        port.to_us.push(self.pool.frame(&packet.bytes(), from).unwrap()).unwrap();
    }

    fn departure(&mut self, to: PortId, id: u16) -> Departure<MemoryFrame> {
        let packet = Packet { id, ..Packet::new(at(C1), GATEWAY_MAC, at(to).ip) };
        let frame = self.pool.frame(&packet.bytes(), C1).unwrap();
        // As if the other worker had received it.
        self.counters.port_add(C1, PortCounter::RxPkts, 1);
        Departure { port: to, adapter: adapter_on(to), frame }
    }

    fn inject(&mut self, port: PortId) {
        let frame = self.pool.frame(&who_has(at(C1), FAR), port).unwrap();
        assert!(self.link.injects.push(Inject::Send { port, frame }).is_ok());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_balance(&[&self.counters]);
        }
    }
}

fn ids(port: &MemoryPort) -> Vec<u16> {
    let sent = std::iter::from_fn(|| port.from_us.pop());
    sent.map(|frame| u16::from_be_bytes(frame.bytes()[18..20].try_into().unwrap())).collect()
}

#[test]
fn idle_guests_are_looked_at_seldom_beside_busy_ones_and_served_all_the_same() {
    let mut bench = Bench::new();
    let (busy, out) = (MemoryPort::new(64), MemoryPort::new(4096));
    bench.set_tx(C2, Some(&out));
    bench.add_rx(C1, &busy);
    let idle: Vec<_> = (100..196).map(|id| (PortId(id), MemoryPort::new(64))).collect();
    for (id, port) in &idle {
        let rx = Box::new(port.rx_that_may_rest());
        bench.command(Command::AddRx { port: *id, queue: 0, rx });
    }
    let looks = |idle: &[(PortId, MemoryPort)]| idle.iter().map(|i| i.1.looks()).sum::<usize>();
    // Awake for so long, then at rest, in whose turn they are the same loop.
    for _ in 0..256 {
        bench.poll();
    }
    let before = looks(&idle);
    assert_eq!(before, 257 * 96);
    // With nothing else to do all of them are looked at.
    bench.poll();
    assert_eq!(looks(&idle) - before, 96);
    let before = looks(&idle);
    for id in 0..64 {
        bench.send(&busy, C1, C2, id);
        assert_eq!(bench.poll(), 1);
    }
    assert_eq!(looks(&idle) - before, 64 * 3, "a thirty-second of them in each busy loop");
    // One that wakes up is served within so many loops, then in each.
    bench.send(&idle[50].1, C1, C2, 1000);
    for id in 0..32 {
        bench.send(&busy, C1, C2, id);
        bench.poll();
    }
    assert!(idle[50].1.to_us.is_empty());
    bench.send(&idle[50].1, C1, C2, 1001);
    bench.send(&busy, C1, C2, 0);
    assert_eq!(bench.poll(), 2);
    // Whatever its state, its handle comes back, and nobody else's.
    for (id, _) in idle.iter().rev().step_by(2).chain(&idle[50..51]) {
        let back = bench.command(Command::RemoveRx { port: *id, queue: 0 });
        assert!(matches!(back, Displaced::Rx { rx: Some(_), .. }), "{id:?}");
        bench.send(&busy, C1, C2, 0);
        assert_eq!(bench.poll(), 1);
    }
    let before: Vec<_> = idle.iter().map(|(_, port)| port.looks()).collect();
    bench.poll();
    let after = idle.iter().map(|(_, port)| port.looks());
    assert_eq!(after.zip(before).map(|(a, b)| a - b).sum::<usize>(), 47);
}

#[test]
fn a_queue_is_polled_from_add_to_remove_and_its_handle_comes_back() {
    let mut bench = Bench::new();
    let (c1, c2) = (MemoryPort::new(64), MemoryPort::new(64));
    bench.set_tx(C2, Some(&c2));
    bench.send(&c1, C1, C2, 1);
    assert_eq!(bench.poll(), 0);
    bench.add_rx(C1, &c1);
    assert_eq!((bench.poll(), ids(&c2)), (1, vec![1]));
    match bench.command(Command::RemoveRx { port: C1, queue: 0 }) {
        Displaced::Rx { port: C1, queue: 0, rx: Some(_) } => {}
        _ => panic!("the handle comes back"),
    }
    bench.send(&c1, C1, C2, 2);
    assert_eq!((bench.poll(), ids(&c2)), (0, vec![]));
    let absent = bench.command(Command::RemoveRx { port: C1, queue: 0 });
    assert!(matches!(absent, Displaced::Rx { rx: None, .. }));
    assert_eq!(bench.link.stats.commands.load(Ordering::Acquire), 4);
}

#[test]
fn a_worker_that_can_poll_no_more_queues_hands_the_next_back() {
    let mut bench = Bench::new();
    let port = MemoryPort::new(1);
    for queue in 0..u16::try_from(PortId::LIMIT).unwrap() {
        let add = Command::AddRx { port: C1, queue, rx: Box::new(port.rx()) };
        assert!(matches!(bench.command(add), Displaced::Nothing));
    }
    let add = Command::AddRx { port: C2, queue: 0, rx: Box::new(port.rx()) };
    assert!(matches!(bench.command(add), Displaced::Rx { port: C2, rx: Some(_), .. }));
}

#[test]
fn a_way_out_comes_back_flushed_and_the_next_is_used() {
    let mut bench = Bench::new();
    let (c1, old, new) = (MemoryPort::new(64), MemoryPort::new(64), MemoryPort::new(64));
    assert!(matches!(bench.set_tx(C2, Some(&old)), Displaced::Tx { tx: None, .. }));
    bench.add_rx(C1, &c1);
    bench.send(&c1, C1, C2, 1);
    bench.poll();
    assert!(matches!(bench.set_tx(C2, Some(&new)), Displaced::Tx { port: C2, tx: Some(_) }));
    bench.send(&c1, C1, C2, 2);
    bench.poll();
    assert_eq!((ids(&old), ids(&new)), (vec![1], vec![2]));
    bench.set_tx(C2, None);
    bench.send(&c1, C1, C2, 3);
    bench.poll();
    assert_eq!(bench.counters.port(C1).drops(DropReason::EgressClosed), 1);
}

#[test]
fn a_record_is_in_force_from_the_next_burst_and_the_old_one_comes_back() {
    let mut bench = Bench::new();
    let (c1, c2) = (MemoryPort::new(64), MemoryPort::new(64));
    bench.set_tx(C2, Some(&c2));
    bench.add_rx(C1, &c1);
    let closed = PortRecord { attachment: Attachment::Closed, ..bench.host.records[&C1].clone() };
    let Displaced::Port(Some(first)) = bench.command(Command::SetPort(C1, Some(closed.into())))
    else {
        panic!("the record comes back")
    };
    assert_eq!(*first, bench.host.records[&C1]);
    bench.send(&c1, C1, C2, 1);
    bench.poll();
    assert_eq!(bench.counters.port(C1).drops(DropReason::PortClosed), 1);
    let back = bench.command(Command::SetPort(C1, Some(first.clone())));
    assert!(matches!(back, Displaced::Port(Some(_))));
    assert_eq!(Arc::strong_count(&first), 2);
    bench.send(&c1, C1, C2, 2);
    bench.poll();
    assert_eq!(ids(&c2), [2]);
    let network = bench.command(Command::SetNetwork(LAN, None));
    assert!(matches!(network, Displaced::Network(Some(old)) if old.id == LAN));
    bench.command(Command::SetForwarding(false));
    bench.send(&c1, C1, C2, 3);
    bench.poll();
    assert_eq!(bench.counters.port(C1).drops(DropReason::Stopped), 1);
}

#[test]
fn commands_wait_while_there_is_no_room_for_what_they_displace() {
    let mut bench = Bench::new();
    let room = bench.link.displaced.capacity();
    for _ in 0..room {
        bench.link.commands.push(Command::SetNetwork(LAN, None)).ok().unwrap();
    }
    assert!(bench.worker.obey(1));
    assert!(bench.link.displaced.is_full());
    bench.link.commands.push(Command::SetIcmpSource(SERVER_IP)).ok().unwrap();
    assert!(bench.worker.obey(1));
    assert_eq!(bench.link.commands.len(), 1);
    bench.link.displaced.pop().unwrap();
    assert!(bench.worker.obey(1));
    assert_eq!((bench.link.commands.len(), bench.link.displaced.len()), (0, room));
    assert_eq!(bench.link.stats.commands.load(Ordering::Acquire), room as u64 + 1);
}

#[test]
fn what_was_handed_over_leaves_before_a_new_queue_is_polled() {
    let mut bench = Bench::new();
    let (c1, c2) = (MemoryPort::new(64), MemoryPort::new(8192));
    bench.set_tx(C2, Some(&c2));
    // More than one loop takes in.
    for id in 0..3000 {
        let departure = bench.departure(C2, id);
        assert!(bench.link.departures.push(departure).is_ok());
    }
    bench.send(&c1, C1, C2, 3000);
    bench.add_rx(C1, &c1);
    bench.poll();
    assert_eq!(ids(&c2), (0..=3000).collect::<Vec<_>>());
}

#[test]
fn neither_ring_keeps_a_worker_from_its_ports() {
    let mut bench = Bench::new();
    let (c1, c2) = (MemoryPort::new(64), MemoryPort::new(8192));
    bench.set_tx(C2, Some(&c2));
    bench.add_rx(C1, &c1);
    for id in 0..3000 {
        let departure = bench.departure(C2, id);
        assert!(bench.link.departures.push(departure).is_ok());
    }
    (0..500).for_each(|_| bench.inject(C2));
    bench.send(&c1, C1, C2, 5000);
    assert_eq!(bench.poll(), BURST_PKTS + 1024 + 1);
    assert!(ids(&c2).contains(&5000));
    while bench.poll() > 0 {}
}

/// A port's number is used again: what was on its way to the old port never reaches the new one.
#[test]
fn hr_13_frames_for_a_port_that_went_never_reach_the_next_of_its_number() {
    let mut bench = Bench::new();
    let (old, new) = (MemoryPort::new(8192), MemoryPort::new(8192));
    bench.set_tx(C2, Some(&old));
    for id in 0..3000 {
        let departure = bench.departure(C2, id);
        assert!(bench.link.departures.push(departure).is_ok());
    }
    (0..900).for_each(|_| bench.inject(C2));
    bench.set_tx(C2, None);
    bench.set_tx(C2, Some(&new));
    for _ in 0..40 {
        bench.poll();
    }
    assert_eq!((new.from_us.len(), old.from_us.len()), (0, 3900));
}

#[test]
fn what_is_handed_over_for_a_port_that_is_being_opened_waits_for_its_way_out() {
    let mut bench = Bench::new();
    let c2 = MemoryPort::new(64);
    let departure = bench.departure(C2, 7);
    assert!(bench.link.departures.push(departure).is_ok());
    bench.set_tx(C2, Some(&c2));
    bench.poll();
    assert_eq!(ids(&c2), [7]);
}

#[test]
fn shutdown_sends_what_waits() {
    let mut bench = Bench::new();
    let c2 = MemoryPort::new(8192);
    bench.set_tx(C2, Some(&c2));
    for id in 0..3000 {
        let departure = bench.departure(C2, id);
        assert!(bench.link.departures.push(departure).is_ok());
    }
    (0..100).for_each(|_| bench.inject(C2));
    bench.link.commands.push(Command::Shutdown).ok().unwrap();
    assert!(!bench.worker.obey(1));
    assert_eq!(c2.from_us.len(), 3100);
}

#[test]
fn loop_times_come_back_when_asked_for() {
    let mut bench = Bench::new();
    let (c1, c2) = (MemoryPort::new(128), MemoryPort::new(128));
    bench.add_rx(C1, &c1);
    bench.set_tx(C2, Some(&c2));
    (0..100).for_each(|id| bench.send(&c1, C1, C2, id));
    let (commands, displaced) = (bench.link.commands.clone(), bench.link.displaced.clone());
    let stats = bench.link.stats.clone();
    // Moved to a thread, as in the appliance.
    let path = bench.host.path(bench.pool.clone(), Arc::new(ArrayQueue::new(4)), Rates::default());
    let reader = bench.host.qsbr.register().unwrap();
    let (idle, _) = Worker::new(path, reader, clock_ns).unwrap();
    let running = std::mem::replace(&mut bench.worker, idle);
    let thread = std::thread::spawn(move || running.run());
    while stats.pkts.load(Ordering::Relaxed) < 100 {
        std::thread::yield_now();
    }
    commands.push(Command::SwapHistogram(loop_histogram().unwrap())).ok().unwrap();
    let filled = loop {
        match displaced.pop() {
            Some(Displaced::Histogram(filled)) => break filled,
            Some(_) => panic!("nothing else was asked"),
            None => std::thread::yield_now(),
        }
    };
    commands.push(Command::Shutdown).ok().unwrap();
    thread.join().unwrap();
    assert!(filled.len() >= 2, "two bursts at least");
    assert!(stats.busy_loops.load(Ordering::Relaxed) <= stats.loops.load(Ordering::Relaxed));
    assert!(stats.busy_ns.load(Ordering::Relaxed) <= stats.total_ns.load(Ordering::Relaxed));
    assert_eq!(c2.from_us.len(), 100);
}

#[test]
fn what_waits_for_its_time_leaves_in_its_loop_and_before_anybody_goes() {
    let mut bench = Bench::new();
    let (c1, c2) = (MemoryPort::new(64), MemoryPort::new(64));
    bench.set_tx(C2, Some(&c2));
    bench.add_rx(C1, &c1);
    let limits = || {
        let mut limits = Limits::default();
        limits.limit(Traffic::FromGuest, 1_000_000);
        Some(Arc::new(limits))
    };
    // Nobody keeps it yet.
    let back = bench.command(Command::SetLimits(adapter_on(C1), limits()));
    assert!(matches!(back, Displaced::Limits(Some(_))));
    let back = bench.command(Command::SetShaping(Some(Shaping::new(64))));
    assert!(matches!(back, Displaced::Shaping(None)));
    let back = bench.command(Command::SetLimits(adapter_on(C1), limits()));
    assert!(matches!(back, Displaced::Limits(None)));
    bench.now_ns = 1_000_000_000;
    let fill = |bench: &mut Bench| {
        // More than what is saved up.
        for id in 0..60 {
            bench.send(&c1, C1, C2, id);
        }
        assert_eq!(bench.poll(), 60);
        ids(&c2)
    };
    let first = fill(&mut bench);
    assert!(!first.is_empty() && first.len() < 60, "{first:?}");
    // They come in order as time passes.
    let mut all = first;
    for _ in 0..40 {
        bench.now_ns += 1_000_000;
        bench.poll();
        all.extend(ids(&c2));
    }
    assert_eq!(all, (0..60).collect::<Vec<_>>());
    // Who goes takes along what waits: its receive queue, the way out, its limits, all limits, the worker.
    type Going = fn(&mut Bench, &MemoryPort, &MemoryPort);
    let cases: [Going; 5] = [
        |bench, c1, c2| {
            bench.command(Command::RemoveRx { port: C1, queue: 0 });
            assert!(!c2.from_us.is_empty(), "it has left when the handle is back");
            bench.add_rx(C1, c1);
        },
        |bench, _, c2| {
            bench.set_tx(C2, None);
            bench.set_tx(C2, Some(c2));
        },
        |bench, _, _| {
            let mut limits = Limits::default();
            limits.limit(Traffic::FromGuest, 1_000_000);
            bench.command(Command::SetLimits(adapter_on(C1), Some(Arc::new(limits))));
        },
        |bench, _, _| {
            let back = bench.command(Command::SetShaping(None));
            assert!(matches!(back, Displaced::Shaping(Some(_))));
            bench.poll();
            bench.command(Command::SetShaping(Some(Shaping::new(64))));
            let mut limits = Limits::default();
            limits.limit(Traffic::FromGuest, 1_000_000);
            bench.command(Command::SetLimits(adapter_on(C1), Some(Arc::new(limits))));
        },
        |bench, _, _| {
            assert!(bench.link.commands.push(Command::Shutdown).is_ok());
            assert!(!bench.worker.obey(bench.now_ns));
        },
    ];
    for (number, go) in cases.into_iter().enumerate() {
        bench.now_ns += 1_000_000_000;
        let mut all = fill(&mut bench);
        assert!(all.len() < 60);
        go(&mut bench, &c1, &c2);
        bench.poll();
        all.extend(ids(&c2));
        assert_eq!(all, (0..60).collect::<Vec<_>>(), "case {number}");
    }
    assert_eq!(bench.counters.port(C1).drops_total(), 0);
}

#[test]
fn how_long_packets_stay_is_measured_while_it_is_asked_for() {
    let mut bench = Bench::new();
    let (c1, c2, m1) = (MemoryPort::new(64), MemoryPort::new(64), MemoryPort::new(64));
    bench.set_tx(C2, Some(&c2));
    bench.set_tx(M2, Some(&m1));
    bench.add_rx(C1, &c1);
    bench.add_rx(M1, &m1);
    bench.send(&c1, C1, C2, 0);
    bench.poll();
    let lent = Command::SetLatencies(Latencies::new().ok());
    assert!(matches!(bench.command(lent), Displaced::Latencies(None)));
    (1..4).for_each(|id| bench.send(&c1, C1, C2, id));
    let forged = Packet::new(at(C1), GATEWAY_MAC, at(C2).ip).source(FAR);
    c1.to_us.push(bench.pool.frame(&forged.bytes(), C1).unwrap()).unwrap();
    let bridged = Packet::new(at(M1), at(M2).mac, at(M2).ip);
    m1.to_us.push(bench.pool.frame(&bridged.bytes(), M1).unwrap()).unwrap();
    assert_eq!(bench.poll(), 5);
    let Displaced::Latencies(Some(measured)) = bench.command(Command::SetLatencies(None)) else {
        panic!("what was measured comes back");
    };
    let packets = Course::ALL.map(|course| measured.times(course).len());
    assert_eq!(packets, [3, 1, 0, 0], "the one before and the dropped one are not among them");
    assert!(measured.times(Course::Routed).min() > 0);
    bench.send(&c1, C1, C2, 4);
    assert_eq!(bench.poll(), 1);
    assert_eq!(ids(&c2), [0, 1, 2, 3, 4]);
}

#[test]
fn bursts_are_counted_by_size() {
    let mut bench = Bench::new();
    let (c1, c2) = (MemoryPort::new(64), MemoryPort::new(256));
    bench.set_tx(C2, Some(&c2));
    bench.add_rx(C1, &c1);
    for size in [1, 1, 2, 3, 4, 7, 8, 63, 64] {
        (0..size).for_each(|id| bench.send(&c1, C1, C2, id));
        assert!(bench.worker.turn(&mut bench.burst));
    }
    assert!(bench.worker.turn(&mut bench.burst), "an idle one publishes");
    let counts = bench.link.stats.bursts.each_ref().map(|cell| cell.load(Ordering::Relaxed));
    assert_eq!(counts, [2, 2, 2, 1, 0, 1, 1]);
    let sizes = burst_sizes();
    assert_eq!((sizes[0], sizes[1], sizes[5], sizes[6]), ((1, 1), (2, 3), (32, 63), (64, 64)));
}
