//! What is copied for a capture, and what is written down of a packet's way.

use super::host::*;
use super::lab::Lab;
use super::packet::{Packet, who_has};
use super::worker::clock_ns;
use crate::counters::DropReason;
use crate::frame::Burst;
use crate::ids::PortId;
use crate::ids::{AdapterId, AdjacencyId};
use crate::io::Unsent;
use crate::pipeline::Verdict;
use crate::sight::bpf::{Instruction, Program};
use crate::sight::capture::{Capture, Feed, Selection};
use crate::sight::trace::{self, Record, Target, Tracer};
use crate::table::AdjacencyKind;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

fn packet(from: PortId, to: PortId, id: u16) -> Vec<u8> {
    Packet { id, ..Packet::new(at(from), GATEWAY_MAC, at(to).ip) }.bytes()
}

fn all_of(port: PortId) -> Selection {
    Selection { port, adapter: None, received: true, sent: true, filter: None }
}

/// Captures from now on.
fn capture(lab: &mut Lab, selection: Selection, feed: &Arc<Feed>) {
    lab.path.egress.capture = Some(Capture::new(selection, feed.clone(), clock_ns));
}

/// A burst arrives as a worker takes it.
fn receive(lab: &mut Lab, port: PortId, frames: &[Vec<u8>]) {
    let frames = frames.iter().map(|bytes| lab.pool.frame(bytes, port).unwrap());
    let mut burst: Burst<_> = frames.collect();
    lab.path.capture_received(port, &burst);
    lab.path.run(port, &mut burst, lab.now_ns);
    lab.path.flush();
}

/// Numbers of the packets that were captured, and whether each was received.
fn seen(feed: &Feed) -> Vec<(u8, bool)> {
    let next = || feed.next().inspect(|slot| assert!(slot.time_ns > 0));
    let slots = std::iter::from_fn(next);
    let seen = slots.map(|slot| {
        let seen = (slot.bytes()[19], slot.is_received);
        feed.give_back(slot);
        seen
    });
    seen.collect()
}

#[test]
fn a_ports_frames_are_copied_and_no_others() {
    let mut lab = Lab::new();
    let feed = Arc::new(Feed::of(16, 64));
    capture(&mut lab, all_of(C1), &feed);
    receive(&mut lab, C1, &[packet(C1, C2, 1), packet(C1, C3, 2)]);
    receive(&mut lab, C2, &[packet(C2, C1, 3), packet(C2, C3, 4)]);
    receive(&mut lab, C3, &[packet(C3, C2, 5)]);
    assert_eq!(seen(&feed), [(1, true), (2, true), (3, false)]);
    assert_eq!(lab.sent_all().len(), 5, "all went their way");
    for (received, sent, want) in [(true, false, (6, true)), (false, true, (7, false))] {
        capture(&mut lab, Selection { received, sent, ..all_of(C1) }, &feed);
        receive(&mut lab, C1, &[packet(C1, C2, 6)]);
        receive(&mut lab, C2, &[packet(C2, C1, 7)]);
        assert_eq!(seen(&feed), [want]);
    }
    lab.sent_all();
    lab.check();
}

#[test]
fn of_a_shared_port_one_adapters_frames_are_copied() {
    let mut lab = Lab::new();
    let feed = Arc::new(Feed::of(16, 64));
    let own = |id| Packet { id, ..Packet::new(at(VENET), GATEWAY_MAC, at(C1).ip) };
    let adapter = Some(S1_ADAPTER);
    capture(&mut lab, Selection { adapter, ..all_of(VENET) }, &feed);
    let other = Packet { id: 2, ..own(0).source(s2().ip) };
    receive(&mut lab, VENET, &[own(1).bytes(), other.bytes()]);
    let to_other = Packet { id: 4, ..Packet::new(at(C1), GATEWAY_MAC, s2().ip) };
    receive(&mut lab, C1, &[packet(C1, VENET, 3), to_other.bytes()]);
    assert_eq!(seen(&feed), [(1, true), (3, false)]);
    lab.sent_all();
    lab.check();
}

#[test]
fn who_reads_too_slowly_misses_frames_that_are_counted_and_nobody_loses_a_packet() {
    let mut lab = Lab::new();
    let feed = Arc::new(Feed::of(4, 64));
    capture(&mut lab, all_of(C2), &feed);
    let frames: Vec<_> = (0..20).map(|id| packet(C1, C2, id)).collect();
    receive(&mut lab, C1, &frames);
    assert_eq!(lab.sent(C2).len(), 20);
    assert_eq!(feed.counts(), (20, 16));
    assert_eq!(seen(&feed), (0..4).map(|id| (id, false)).collect::<Vec<_>>());
    receive(&mut lab, C1, &frames[..3]);
    assert_eq!((feed.counts(), seen(&feed).len()), ((23, 16), 3));
    lab.sent_all();
    lab.check();
}

#[test]
fn what_a_queue_puts_off_is_copied_once() {
    let mut lab = Lab::new();
    let feed = Arc::new(Feed::of(64, 64));
    capture(&mut lab, all_of(C2), &feed);
    lab.ports[&C2].close(Unsent::Later);
    // By both ways to the queue: a burst at once, and one by one.
    receive(&mut lab, C1, &(0..5).map(|id| packet(C1, C2, id)).collect::<Vec<_>>());
    receive(&mut lab, C3, &[packet(C3, C2, 5)]);
    (0..3).for_each(|_| lab.path.flush());
    lab.ports[&C2].close(Unsent::Full);
    lab.path.flush();
    receive(&mut lab, C1, &[packet(C1, C2, 6)]);
    assert_eq!(seen(&feed), (0..7).map(|id| (id, false)).collect::<Vec<_>>());
    assert_eq!(lab.sent(C2).len(), 7);
    lab.check();
}

#[test]
fn a_filter_chooses_and_the_first_bytes_are_kept() {
    let mut lab = Lab::new();
    let feed = Arc::new(Feed::of(8, 60));
    let code = |code, if_true, if_false, k| Instruction { code, if_true, if_false, k };
    // `arp`.
    let arp = [code(40, 0, 0, 12), code(21, 0, 1, 0x806), code(6, 0, 0, 1), code(6, 0, 0, 0)];
    let filter = Some(Arc::new(Program::new(arp.into()).unwrap()));
    capture(&mut lab, Selection { filter, ..all_of(C1) }, &feed);
    receive(&mut lab, C1, &[packet(C1, C2, 1), who_has(at(C1), GATEWAY_IP)]);
    assert_eq!(
        (feed.counts(), feed.next().unwrap().bytes()[12..14].to_vec()),
        ((1, 0), vec![8, 6])
    );
    capture(&mut lab, all_of(C1), &feed);
    let long = Packet::new(at(C1), GATEWAY_MAC, at(C2).ip).total(1_000).bytes();
    receive(&mut lab, C1, &[long]);
    let slot = feed.next().unwrap();
    assert_eq!((slot.bytes().len(), slot.wire_bytes), (60, 1_014));
    lab.sent_all();
    lab.check();
}

/// Traces so many packets of these ports.
fn trace(lab: &mut Lab, ports: &[(PortId, Option<AdapterId>)], count: usize) -> trace::Records {
    trace_one_way(lab, ports, count, [true, true])
}

/// The same of what came in by them, of what leaves by them.
fn trace_one_way(
    lab: &mut Lab,
    ports: &[(PortId, Option<AdapterId>)],
    count: usize,
    [received, sent]: [bool; 2],
) -> trace::Records {
    let records = Arc::new(ArrayQueue::new(count));
    let targets = ports.iter().map(|(port, adapter)| Target { port: *port, adapter: *adapter });
    let targets = targets.collect();
    let selection = trace::Selection { targets, received, sent, filter: None };
    lab.path.view.trace = Some(Tracer::new(selection, records.clone(), 3));
    records
}

fn only(records: &trace::Records) -> Record {
    let record = records.pop().unwrap();
    assert!(records.is_empty());
    record
}

#[test]
fn a_routed_packet_shows_both_look_ups_and_its_rewrite() {
    let mut lab = Lab::new();
    let records = trace(&mut lab, &[(C1, None)], 10);
    let bytes = packet(C1, C2, 9);
    let sent = lab.passes(C1, &bytes, C2);
    let seen = only(&records);
    assert_eq!((seen.worker, seen.port, seen.adapter), (3, C1, adapter_on(C1)));
    assert_eq!(
        (seen.head.as_slice(), seen.bytes as usize),
        (&bytes[..seen.head.len()], bytes.len())
    );
    assert_eq!((seen.classified, seen.guarded), (Verdict::Route, Verdict::Route));
    let [to, from] = seen.routes.unwrap();
    assert_eq!((to.adjacency.port, to.adjacency.kind), (C2, AdjacencyKind::Forward));
    assert_eq!(from.adjacency.adapter, adapter_on(C1));
    assert_ne!(to.id, AdjacencyId::DEFAULT);
    assert_eq!(
        (seen.decided, seen.rewritten, seen.way),
        (Verdict::Send, Verdict::Send, to.adjacency)
    );
    assert_eq!(seen.rewritten_head.as_slice(), &sent[..seen.rewritten_head.len()]);
    assert_eq!((seen.outcome.ports.as_slice(), seen.outcome.forwarded), (&[C2][..], 1));
    // What leaves by the port is followed too, whoever sent it, and nothing else is.
    lab.passes(C2, packet(C2, C3, 10), C3);
    assert!(records.is_empty());
    lab.passes(C2, packet(C2, C1, 11), C1);
    assert_eq!(only(&records).port, C2);
    lab.check();
}

#[test]
fn a_bridged_and_a_flooded_frame_show_the_mac_table() {
    let mut lab = Lab::new();
    let records = trace(&mut lab, &[(M1, None)], 10);
    lab.passes(M1, Packet::new(at(M1), at(M2).mac, at(M2).ip).bytes(), M2);
    let seen = only(&records);
    assert_eq!((seen.classified, seen.decided), (Verdict::Bridge(LAN), Verdict::Send));
    let (to, is_static) = seen.macs.unwrap().destination.unwrap();
    assert_eq!((to.adjacency.port, is_static, seen.routes), (M2, true, None));
    assert_eq!(seen.macs.unwrap().source.unwrap().0.adjacency.port, M1);
    lab.receive(M1, who_has(at(M1), at(M2).ip));
    let seen = only(&records);
    assert_eq!(seen.decided, Verdict::Flood(LAN));
    assert_eq!(seen.macs.unwrap().destination, None);
    let receivers = lab.sent_all().len();
    assert_eq!(seen.outcome.ports.len(), receivers);
    assert_eq!(
        (seen.outcome.copies, seen.outcome.forwarded),
        (receivers as u64 - 1, receivers as u64)
    );
    lab.check();
}

#[test]
fn a_dropped_a_punted_and_an_answered_packet_show_why() {
    let mut lab = Lab::new();
    let records = trace(&mut lab, &[(C1, None)], 10);
    lab.refuses(
        C1,
        Packet::new(at(C1), GATEWAY_MAC, at(C2).ip).source(FAR).bytes(),
        DropReason::SpoofedIp,
    );
    let seen = only(&records);
    assert_eq!(
        (seen.classified, seen.guarded),
        (Verdict::Route, Verdict::Drop(DropReason::SpoofedIp))
    );
    assert_eq!(seen.outcome.drops.as_slice(), &[(DropReason::SpoofedIp, 1)]);
    assert!(seen.outcome.ports.is_empty());
    lab.punts(C1, who_has(at(C1), GATEWAY_IP));
    let seen = only(&records);
    assert_eq!((seen.decided, seen.outcome.consumed), (Verdict::Arp(None), 1));
    lab.punts(C1, Packet::new(at(C1), GATEWAY_MAC, GLEAN).bytes());
    let seen = only(&records);
    assert_eq!((seen.decided, seen.way.kind), (Verdict::Resolve, AdjacencyKind::Glean));
    lab.receive(C1, Packet::new(at(C1), GATEWAY_MAC, FAR).ttl(1).bytes());
    let seen = only(&records);
    assert_eq!((seen.outcome.generated, seen.outcome.ports.as_slice()), (1, &[C1][..]));
    assert_eq!(seen.outcome.drops.as_slice(), &[(DropReason::TtlExceeded, 1)]);
    lab.sent_all();
    lab.check();
}

#[test]
fn a_port_is_followed_one_way_where_that_is_asked_for() {
    let mut lab = Lab::new();
    for (ways, number) in [([true, false], 1), ([false, true], 2)] {
        let records = trace_one_way(&mut lab, &[(C1, None)], 10, ways);
        lab.passes(C1, packet(C1, C2, 1), C2);
        lab.passes(C2, packet(C2, C1, 2), C1);
        assert_eq!(only(&records).head[19], number);
        // Between two adapters of one port.
        let records = trace_one_way(&mut lab, &[(VENET, Some(S1_ADAPTER))], 10, ways);
        let from_s1 = Packet { id: 1, ..Packet::new(at(VENET), GATEWAY_MAC, s2().ip) };
        lab.receive(VENET, from_s1.bytes());
        let from_s2 = Packet { id: 2, ..Packet::new(at(VENET), GATEWAY_MAC, at(VENET).ip) };
        lab.receive(VENET, from_s2.source(s2().ip).bytes());
        assert_eq!(lab.sent_all().len(), 2);
        assert_eq!(only(&records).head[19], number);
    }
    lab.check();
}

#[test]
fn of_a_shared_port_one_adapter_is_followed_until_there_are_enough() {
    let mut lab = Lab::new();
    let records = trace(&mut lab, &[(VENET, Some(S1_ADAPTER))], 3);
    let own = |id| Packet { id, ..Packet::new(at(VENET), GATEWAY_MAC, at(C1).ip) };
    lab.receive(VENET, own(1).bytes());
    lab.receive(VENET, own(2).source(s2().ip).bytes());
    lab.receive(C1, packet(C1, VENET, 3));
    lab.receive(C1, Packet { id: 4, ..Packet::new(at(C1), GATEWAY_MAC, s2().ip) }.bytes());
    assert_eq!(records.len(), 2);
    (5..9).for_each(|id| lab.receive(VENET, own(id).bytes()));
    let ids: Vec<u8> = std::iter::from_fn(|| records.pop()).map(|seen| seen.head[19]).collect();
    assert_eq!(ids, [1, 3, 5]);
    assert_eq!(lab.sent_all().len(), 8);
    lab.check();
}
