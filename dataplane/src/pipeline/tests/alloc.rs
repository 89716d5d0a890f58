//! design.md, invariant 1: a worker's loop makes no allocation, whatever comes in.

use super::host::*;
use super::packet::{Packet, filler, frame, tagged, who_has};
use super::worker::clock_ns;
use crate::counters::Traffic;
use crate::frame::memory::MemoryPool;
use crate::frame::{Burst, Frame, Ingress};
use crate::ids::PortId;
use crate::io::memory::MemoryPort;
use crate::pipeline::{Departure, Handoff, Limits, Rates, Shaping, TxPort, TxRoute};
use crate::punt::Inject;
use crate::sight::capture::{Capture, Feed, Selection};
use crate::sight::latency::Latencies;
use crate::sight::trace::{self, Target, Tracer};
use crate::wire::ethernet::{ETHERTYPE_VLAN, MacAddr};
use crate::worker::{Command, Worker, loop_histogram};
use crossbeam::queue::ArrayQueue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One frame for each way through the path.
fn samples() -> Vec<(PortId, Vec<u8>)> {
    let routed = |from, to| Packet::new(at(from), GATEWAY_MAC, to);
    let odd = |from, to| frame(to, at(from).mac, 0x88b5, &filler(100));
    let unknown = MacAddr([2, 0xbb, 0, 0, 0, 1]);
    vec![
        (C1, routed(C1, at(C2).ip).bytes()),
        (C1, routed(C1, at(C2).ip).source(FAR).bytes()),
        (C1, routed(C1, FAR).ttl(1).bytes()),
        (C1, routed(C1, at(N1).ip).total(1500).bytes()),
        (C1, routed(C1, GLEAN).bytes()),
        (C1, routed(C1, GATEWAY_IP).icmp(8, 0, &[1]).bytes()),
        (C1, who_has(at(C1), GATEWAY_IP)),
        (VENET, routed(VENET, s2().ip).bytes()),
        (HOST, routed(HOST, FAR).bytes()),
        (UP, Packet::new(at(UP), UP_MAC, at(C1).ip).bytes()),
        (UP, Packet::new(at(UP), UP_MAC, at(C1).ip).source(at(C2).ip).bytes()),
        (UP, tagged(&odd(UP, at(V1).mac), ETHERTYPE_VLAN, VID)),
        (UP, odd(UP, MacAddr::BROADCAST)),
        (UP, who_has(at(UP), at(C1).ip)),
        (M1, odd(M1, at(M2).mac)),
        (M1, odd(M1, MacAddr::BROADCAST)),
        (V1, odd(V1, MacAddr::BROADCAST)),
        (W1, odd(W1, at(WF).mac)),
        (WF, frame(at(W1).mac, unknown, 0x88b5, &filler(50))),
        (M2, vec![0; 10]),
    ]
}

#[test]
fn card_2_the_loop_of_a_worker_allocates_nothing() {
    let mut host = Host::new();
    host.make_promiscuous(WAN, W2);
    host.network(WAN).learning = true;
    let mut pool = MemoryPool::new(4096);
    let punts = Arc::new(ArrayQueue::new(1024));
    let path = host.path(pool.clone(), punts.clone(), Rates::default());
    let counters = path.counters.clone();
    let reader = host.qsbr.register().unwrap();
    let (mut worker, link) = Worker::new(path, reader, clock_ns).unwrap();
    let ports: BTreeMap<_, _> =
        host.records.keys().map(|id| (*id, MemoryPort::new(1024))).collect();
    let ring = Arc::new(ArrayQueue::new(1024));
    for (id, port) in &ports {
        // One port is another worker's.
        let route = match *id {
            C3 => TxRoute::Handoff(Handoff { ring: ring.clone(), bell: Arc::default() }),
            _ => TxRoute::Own(port.tx()),
        };
        let set = Command::SetTx { port: *id, tx: Some(TxPort::new(route)) };
        let add = Command::AddRx { port: *id, queue: 0, rx: Box::new(port.rx()) };
        assert!(link.commands.push(set).is_ok() && link.commands.push(add).is_ok());
    }
    // Two have limits: frames wait, are dropped, and leave with the handles and limits that change below.
    let limits = |bps| {
        let mut limits = Limits::default();
        limits.limit(Traffic::FromGuest, bps);
        limits.limit(Traffic::ToGuest, bps);
        limits.limit_storm(1_000);
        Some(Arc::new(limits))
    };
    assert!(link.commands.push(Command::SetShaping(Some(Shaping::new(64)))).is_ok());
    for (adapter, bps) in [(S2_ADAPTER, 20_000), (adapter_on(V1), 20_000)] {
        assert!(link.commands.push(Command::SetLimits(adapter, limits(bps))).is_ok());
    }
    assert!(worker.obey(1));

    let samples = samples();
    let feed = Arc::new(Feed::of(8, 64));
    let (records, mut is_traced) = (Arc::new(ArrayQueue::new(8)), true);
    let (received, sent) = (true, true);
    let watched = Selection { port: C1, adapter: None, received, sent, filter: None };
    // The pool's buffers are made once, as many as will be alive.
    let alive: Vec<_> = (0..2048).map_while(|_| pool.frame(&samples[0].1, C1)).collect();
    drop(alive);
    let mut now_ns = 1;
    let mut round = |is_measured: bool| {
        for (port, bytes) in &samples {
            for _ in 0..8 {
                let frame = pool.frame(bytes, *port).unwrap();
                ports[port].to_us.push(frame).unwrap();
            }
        }
        let to_c3 = Packet::new(at(C1), GATEWAY_MAC, at(C3).ip).bytes();
        ports[&C1].to_us.push(pool.frame(&to_c3, C1).unwrap()).unwrap();
        let mut held = pool.frame(&samples[0].1, C1).unwrap();
        held.set_ingress(Ingress { port: C1, adapter: adapter_on(C1) });
        assert!(link.injects.push(Inject::Route { frame: held }).is_ok());
        let flooded = pool.frame(&samples[15].1, M1).unwrap();
        assert!(link.injects.push(Inject::Flood { network: LAN, frame: flooded }).is_ok());
        let frame = pool.frame(&samples[0].1, C1).unwrap();
        let departure = Departure { port: C2, adapter: adapter_on(C2), frame };
        assert!(link.departures.push(departure).is_ok());
        let record = Arc::new(host.records[&C1].clone());
        assert!(link.commands.push(Command::SetPort(C1, Some(record))).is_ok());
        let network = Arc::new(host.networks[&LAN].clone());
        assert!(link.commands.push(Command::SetNetwork(LAN, Some(network))).is_ok());
        let limit = Command::SetLimits(adapter_on(V1), limits(20_000));
        assert!(link.commands.push(limit).is_ok());
        let histogram = Command::SwapHistogram(loop_histogram().unwrap());
        assert!(link.commands.push(histogram).is_ok());
        let latencies = Command::SetLatencies(Latencies::new().ok());
        assert!(link.commands.push(latencies).is_ok());
        let capture = Capture::new(watched.clone(), feed.clone(), clock_ns);
        assert!(link.commands.push(Command::SetCapture(Some(capture))).is_ok());
        let target = Target { port: C1, adapter: None };
        let followed = trace::Selection {
            targets: [target].into_iter().collect(),
            received,
            sent,
            filter: None,
        };
        let trace = is_traced.then(|| Tracer::new(followed, records.clone(), 0));
        assert!(link.commands.push(Command::SetTrace(trace)).is_ok());
        is_traced = !is_traced;
        let queue = 0;
        assert!(link.commands.push(Command::RemoveRx { port: V2, queue }).is_ok());
        let add = Command::AddRx { port: V2, queue, rx: Box::new(ports[&V2].rx()) };
        assert!(link.commands.push(add).is_ok());

        now_ns += 100_000_000;
        let mut burst = Burst::new();
        let mut turn = || {
            assert!(worker.obey(now_ns));
            for _ in 0..2 * samples.len() {
                worker.poll(&mut burst, now_ns);
            }
        };
        if is_measured {
            let made = allocation_counter::measure(&mut turn);
            assert_eq!((made.count_total, made.bytes_total), (0, 0));
        } else {
            turn();
        }
        while link.displaced.pop().is_some() {}
        while punts.pop().is_some() {}
        while records.pop().is_some() {}
        let seen = std::iter::from_fn(|| feed.next()).map(|slot| feed.give_back(slot)).count();
        assert_eq!(seen, 8, "and is copied");
        while ring.pop().is_some() {}
        let sent = ports.values().map(|port| std::iter::from_fn(|| port.from_us.pop()).count());
        assert!(sent.sum::<usize>() > 160, "traffic flows");
    };
    // The first rounds find what is set up once.
    (0..3).for_each(|_| round(false));
    (0..20).for_each(|_| round(true));
    // Nor does its sleep.
    worker.let_sleep().unwrap();
    let slept_ns = || link.stats.slept_ns.load(Ordering::Relaxed);
    let mut burst = Burst::new();
    let made = allocation_counter::measure(|| {
        while slept_ns() == 0 {
            worker.turn(&mut burst);
        }
    });
    assert_eq!((made.count_total, made.bytes_total), (0, 0));
    let dropped: u64 = (0..100).map(|port| counters.port(PortId(port)).drops_total()).sum();
    assert!(dropped > 0, "drops are on the way too");
}
