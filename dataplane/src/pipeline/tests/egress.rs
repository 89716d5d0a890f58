//! Transmit side: full queues, closed ports, other workers' ports.

use super::host::*;
use super::lab::Lab;
use super::packet::{Packet, filler, frame};
use crate::counters::{AdapterCounter, DropReason, PortCounter};
use crate::frame::Burst;
use crate::idle::Bell;
use crate::ids::{NetworkId, PortId};
use crate::io::Unsent;
use crate::io::memory::FAULTY_BYTES;
use crate::pipeline::{Handoff, Rates, TxPort, TxRoute};
use crate::punt::Inject;
use crate::wire::ethernet::MacAddr;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn from_c1(to: PortId, id: u16) -> Vec<u8> {
    Packet { id, ..Packet::new(at(C1), GATEWAY_MAC, at(to).ip) }.bytes()
}

fn ids(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().map(|bytes| bytes[19]).collect()
}

#[test]
fn what_a_full_transmit_queue_does_not_take_is_dropped_and_counted() {
    let mut lab = Lab::with(256, 10, Rates::default());
    let frames: Vec<_> = (0..50).map(|id| from_c1(C2, id)).collect();
    lab.receive_all(C1, &frames);
    assert_eq!(ids(&lab.sent(C2)), (0..10).collect::<Vec<_>>());
    assert_eq!(lab.drops(C1), [(DropReason::TxFull, 40)]);
    assert_eq!(lab.path.counters.adapter(adapter_on(C1)).drops(DropReason::TxFull), 40);
    assert_eq!(lab.adapter_count(adapter_on(C2), AdapterCounter::TxPkts), 10);
    // Others are not held up, and afterwards the port works on.
    lab.passes(C1, from_c1(C3, 0), C3);
    lab.passes(C1, from_c1(C2, 60), C2);
}

#[test]
fn what_a_burst_is_padded_with_is_counted_as_received_and_not_as_sent() {
    let mut lab = Lab::new();
    let bytes = from_c1(C2, 0).len() as u64;
    let frames: Vec<_> = (0..8).map(|id| [from_c1(C2, id), vec![0; 9]].concat()).collect();
    lab.receive_all(C1, &frames);
    assert_eq!(lab.counts(C1).counter(PortCounter::RxBytes), 8 * (bytes + 9));
    assert_eq!(lab.counts(C2).counter(PortCounter::TxBytes), 8 * bytes);
}

#[test]
fn a_queue_that_is_closed_for_a_moment_gets_its_frames_later_and_in_order() {
    let mut lab = Lab::with(256, 100, Rates::default());
    lab.ports[&C2].close(Unsent::Later);
    let frames: Vec<_> = (0..90).map(|id| from_c1(C2, id)).collect();
    lab.receive_all(C1, &frames);
    assert_eq!(lab.sent(C2).len(), 0);
    // As many as a burst wait; others are not held up.
    assert_eq!(lab.drops(C1), [(DropReason::TxFull, 26)]);
    lab.passes(C1, from_c1(C3, 0), C3);
    lab.ports[&C2].close(Unsent::Full);
    lab.path.flush();
    assert_eq!(ids(&lab.sent(C2)), (0..64).collect::<Vec<_>>());
    assert_eq!(lab.adapter_count(adapter_on(C2), AdapterCounter::TxPkts), 64);
    lab.passes(C1, from_c1(C2, 100), C2);
}

#[test]
fn what_still_waits_when_a_way_is_closed_is_dropped_and_counted() {
    let mut lab = Lab::new();
    lab.ports[&C2].close(Unsent::Later);
    lab.receive_all(C1, &[from_c1(C2, 0), from_c1(C2, 1)]);
    assert!(lab.path.set_way(C2, None).is_some());
    assert_eq!(lab.drops(C1), [(DropReason::EgressClosed, 2)]);
    lab.path.flush();
}

#[test]
fn nobody_at_the_other_end_is_a_counted_drop() {
    let mut lab = Lab::new();
    lab.ports[&C2].close(Unsent::NotConnected);
    lab.refuses(C1, from_c1(C2, 0), DropReason::NotConnected);
}

#[test]
fn a_frame_that_the_queue_finds_faulty_is_lost_alone() {
    let mut lab = Lab::new();
    lab.ports[&C2].close(Unsent::First(DropReason::TxError));
    let faulty = |id| {
        Packet { id, ..Packet::new(at(C3), GATEWAY_MAC, at(C2).ip) }
            .total(FAULTY_BYTES - 14)
            .bytes()
    };
    // C1's and C3's by turns in one burst; of C3's every one is faulty, the first and the last too.
    for id in 0..5 {
        let mut burst: Burst<_> = [lab.pool.frame(&faulty(id), C3).unwrap()].into_iter().collect();
        lab.path.run(C3, &mut burst, lab.now_ns);
        if id < 4 {
            let frame = lab.pool.frame(&from_c1(C2, id), C1).unwrap();
            lab.path.run(C1, &mut [frame].into_iter().collect(), lab.now_ns);
        }
    }
    lab.path.flush();
    assert_eq!(ids(&lab.sent(C2)), (0..4).collect::<Vec<_>>());
    assert_eq!((lab.drops(C1), lab.counts(C1).counter(PortCounter::Forwarded)), (vec![], 4));
    assert_eq!(lab.drops(C3), [(DropReason::TxError, 5)]);
    assert_eq!(lab.counts(C3).counter(PortCounter::Forwarded), 0);
    assert_eq!(lab.path.counters.adapter(adapter_on(C3)).drops(DropReason::TxError), 5);
    assert_eq!(lab.adapter_count(adapter_on(C2), AdapterCounter::TxPkts), 4);
}

#[test]
fn a_port_that_takes_no_chains_gets_none_and_each_senders_books_stay_right() {
    let mut lab = Lab::new();
    let way = TxPort::new(TxRoute::Own(lab.ports[&C2].tx_without_chains()));
    lab.path.flush();
    lab.path.set_way(C2, Some(way));
    // A chained frame of C1's before a plain one of C3's, so that the first in the buffer isn't sent.
    for (port, is_chained) in [(C1, true), (C3, false)] {
        let bytes = Packet::new(at(port), GATEWAY_MAC, at(C2).ip).total(1400).bytes();
        let mut frame = lab.pool.frame(&bytes, port).unwrap();
        if is_chained {
            frame.chain(200);
        }
        lab.path.run(port, &mut [frame].into_iter().collect(), lab.now_ns);
    }
    lab.path.flush();
    assert_eq!(lab.sent(C2).len(), 1);
    assert_eq!(lab.drops(C1), [(DropReason::TxChained, 1)]);
    assert_eq!(lab.path.counters.adapter(adapter_on(C1)).drops(DropReason::TxChained), 1);
    assert_eq!(lab.counts(C1).counter(PortCounter::Forwarded), 0);
    assert_eq!((lab.drops(C3), lab.counts(C3).counter(PortCounter::Forwarded)), (vec![], 1));
}

#[test]
fn a_port_without_a_way_out_is_a_counted_drop() {
    let mut lab = Lab::new();
    lab.path.flush();
    assert!(lab.path.set_way(C2, None).is_some());
    lab.refuses(C1, from_c1(C2, 0), DropReason::EgressClosed);
    let broadcast = frame(MacAddr::BROADCAST, at(M1).mac, 0x88b5, &filler(46));
    lab.path.set_way(M2, None);
    lab.receive(M1, &broadcast);
    assert_eq!(lab.sent_all().len(), 2);
    assert_eq!(lab.drops(M1), [(DropReason::EgressClosed, 1)]);
}

#[test]
fn frames_for_another_workers_port_are_handed_over_in_order_and_counted_by_it() {
    let mut lab = Lab::new();
    let ring = Arc::new(ArrayQueue::new(40));
    let bell = Arc::new(Bell::default());
    bell.hang().unwrap();
    let handoff = Handoff { ring: ring.clone(), bell: bell.clone() };
    lab.path.set_way(C2, Some(TxPort::new(TxRoute::Handoff(handoff))));
    // The other worker sleeps.
    bell.listen();
    let frames: Vec<_> = (0..50).map(|id| from_c1(C2, id)).collect();
    lab.receive_all(C1, &frames);
    assert_eq!((ring.len(), lab.sent(C2).len()), (40, 0));
    assert!(bell.is_rung_within(PATIENCE), "it is woken");
    assert_eq!(lab.drops(C1), [(DropReason::HandoffFull, 10)]);
    assert_eq!(lab.counts(C1).counter(PortCounter::Forwarded), 0);
    // The owner: here the same path, with the port's queue.
    let own = TxPort::new(TxRoute::Own(lab.ports[&C2].tx()));
    lab.path.set_way(C2, Some(own));
    while let Some(departure) = ring.pop() {
        assert_eq!((departure.port, departure.adapter), (C2, adapter_on(C2)));
        lab.path.depart(departure);
    }
    lab.path.flush();
    assert_eq!(ids(&lab.sent(C2)), (0..40).collect::<Vec<_>>());
    assert_eq!(lab.counts(C1).counter(PortCounter::Forwarded), 40);
    assert_eq!(lab.counts(C2).counter(PortCounter::TxPkts), 40);
}

#[test]
fn numbers_out_of_range_are_harmless() {
    let mut lab = Lab::new();
    let port = PortId::NONE;
    let way = TxPort::new(TxRoute::Own(lab.ports[&C1].tx()));
    assert!(lab.path.set_way(port, Some(way)).is_some(), "it comes back");
    assert!(!lab.path.egress.has(port));
    let record = Arc::new(lab.host.records[&C1].clone());
    assert!(lab.path.view.set_port(port, Some(record)).is_some());
    assert!(lab.path.view.port(port).is_none());
    let mut burst = [lab.pool.frame(&from_c1(C2, 1), port).unwrap()].into_iter().collect();
    lab.path.run(port, &mut burst, lab.now_ns);
    assert!(burst.is_empty());
    let frame = lab.pool.frame(&from_c1(C2, 1), C1).unwrap();
    lab.path.inject(Inject::Flood { network: NetworkId(u16::MAX), frame }, lab.now_ns);
    assert_eq!(lab.drops(C1), [(DropReason::NetworkUnknown, 1)]);
    let frame = lab.pool.frame(&[], M1).unwrap();
    lab.path.inject(Inject::Flood { network: LAN, frame }, lab.now_ns);
    assert_eq!(lab.drops(M1), [(DropReason::EthernetTruncated, 1)]);
}
