//! Rate limits (requirements.md, VZ-9).

use super::account::classify;
use super::host::*;
use super::lab::Lab;
use super::packet::{Packet, frame, who_has};
use crate::counters::AdapterCounter::{TxBytes, TxPkts};
use crate::counters::{DropReason, PortCounter, Traffic};
use crate::frame::{Burst, Frame, Ingress};
use crate::ids::{AdapterId, ClassId, PortId};
use crate::pipeline::{Departure, Early, Limits, Rates, Shaping, TxPort, TxRoute};
use crate::punt::Inject;
use crate::wire::ethernet::MacAddr;
use crate::wire::offload;
use std::net::Ipv4Addr;
use std::sync::Arc;

const MS_NS: u64 = 1_000_000;
/// Bytes of the frames that most tests send.
const BYTES: u64 = 1014;

/// Lets a lab keep limits, and so many buffers wait.
pub(super) fn keep_limits(lab: &mut Lab, room: usize) {
    lab.path.set_shaping(Some(Shaping::new(room)));
    lab.path.release(lab.now_ns);
}

fn lab() -> Lab {
    let mut lab = Lab::with(8192, 4096, Rates::default());
    keep_limits(&mut lab, 4096);
    lab
}

impl Lab {
    pub(super) fn limit(
        &mut self,
        adapter: AdapterId,
        set: impl FnOnce(&mut Limits),
    ) -> Arc<Limits> {
        let mut limits = Limits::default();
        set(&mut limits);
        let limits = Arc::new(limits);
        self.path.set_limits(adapter, Some(limits.clone()));
        limits
    }

    fn limit_out(&mut self, port: PortId, bps: u64) -> Arc<Limits> {
        self.limit(adapter_on(port), |limits| limits.limit(Traffic::FromGuest, bps))
    }

    /// Lets time pass to a millisecond later.
    fn tick(&mut self) {
        self.now_ns += MS_NS;
        self.path.release(self.now_ns);
        self.path.flush();
    }

    /// Sends so many of each packet every millisecond for so long, and then waits for what is on its way;
    /// counts the bytes that left by `out` while they came.
    fn offer(&mut self, packets: &[(PortId, Vec<u8>)], each: usize, ms: u64, out: PortId) -> u64 {
        let mut left = 0;
        for _ in 0..ms {
            for (port, bytes) in packets {
                self.receive_all(*port, &vec![bytes.clone(); each]);
            }
            self.tick();
            left += self.sent(out).iter().map(|frame| frame.len() as u64).sum::<u64>();
        }
        (0..600).for_each(|_| self.tick());
        self.sent_all();
        assert_eq!(self.path.waiting(), 0);
        left
    }

    /// Takes limits off a lab.
    fn finish(&mut self) {
        self.path.set_shaping(None);
        self.path.flush();
    }
}

fn udp(from: PortId, to: Ipv4Addr) -> Vec<u8> {
    Packet::new(at(from), GATEWAY_MAC, to).total(1000).bytes()
}

/// `bps` over a second and a bit for what is saved up at first, within 1 %.
#[track_caller]
fn assert_rate(bytes: u64, bps: u64) {
    let want = bps / 8 + bps / 8 / 100;
    assert!(bytes.abs_diff(want) <= want / 100 + BYTES, "{bytes} bytes, want {want}");
}

#[test]
fn vz_9_a_guest_sends_at_its_rate_and_its_frames_keep_their_order() {
    for bps in [2_000_000, 20_000_000, 80_000_000] {
        let mut lab = lab();
        let limits = lab.limit_out(C1, bps);
        let other = (C2, udp(C2, FAR));
        let packets = [(C1, udp(C1, FAR)), other.clone()];
        let bytes = lab.offer(&packets, 12, 1000, UP);
        assert_rate(bytes - 12_000 * BYTES, bps);
        let dropped = lab.counts(C1).drops(DropReason::RateOut);
        assert!(dropped > 0 && dropped == limits.dropped(Traffic::FromGuest));
        // Who has no limit loses nothing and goes by the lane.
        assert_eq!(lab.counts(C2).drops_total(), 0);
        assert!(lab.path.work.lane.passed >= 12_000);
    }
    let mut lab = lab();
    lab.limit_out(C1, 10_000_000);
    let mut ids = Vec::new();
    for id in 0..300 {
        let packet = Packet { id, ..Packet::new(at(C1), GATEWAY_MAC, FAR).total(1000) };
        lab.receive(C1, packet.bytes());
        if id % 3 == 0 {
            lab.tick();
        }
        ids.extend(lab.sent(UP).iter().map(|frame| u16::from_be_bytes([frame[18], frame[19]])));
    }
    assert!(ids.len() > 60 && ids.is_sorted(), "{ids:?}");
    lab.finish();
}

#[test]
fn vz_9_a_guest_gets_at_its_rate_whoever_sends() {
    let mut lab = lab();
    let limits = lab.limit(adapter_on(C2), |limits| limits.limit(Traffic::ToGuest, 16_000_000));
    let from_wire = Packet::new(at(UP), UP_MAC, at(C2).ip).total(1000).bytes();
    let packets = [(C1, udp(C1, at(C2).ip)), (C3, udp(C3, at(C2).ip)), (UP, from_wire)];
    let bytes = lab.offer(&packets, 2, 1000, C2);
    assert_rate(bytes, 16_000_000);
    let dropped = |port| lab.counts(port).drops(DropReason::RateIn);
    // Dropped at the sender's, told at the receiver's.
    assert!(dropped(C1) > 0 && dropped(C3) > 0 && dropped(UP) > 0);
    let all: u64 = [C1, C3, UP].map(dropped).iter().sum();
    assert_eq!(all, limits.dropped(Traffic::ToGuest));
    let got = lab.adapter_count(adapter_on(C2), TxPkts);
    assert_eq!(got + all, 6_000);
    // The other way is free.
    let before = lab.adapter_count(AdapterId(u32::from(C1.0)), TxBytes);
    let bytes = lab.offer(&[(C2, udp(C2, at(C1).ip))], 12, 100, C1);
    assert_eq!(bytes, 1_200 * BYTES);
    assert_eq!(lab.adapter_count(adapter_on(C1), TxBytes) - before, bytes);
}

#[test]
fn vz_9_a_class_has_a_rate_of_its_own_within_that_of_all() {
    let mut lab = lab();
    let _classes = classify(&mut lab);
    let eights = ClassId(2);
    lab.limit(adapter_on(C1), |limits| limits.limit_class(eights, Traffic::FromGuest, 8_000_000));
    let packets = [(C1, udp(C1, FAR)), (C1, udp(C1, Ipv4Addr::new(9, 9, 9, 9)))];
    let bytes = lab.offer(&packets, 4, 1000, UP);
    assert_rate(bytes - 4_000 * BYTES, 8_000_000);
    // What is counted as sent to a class is what its limit let go.
    let sent = lab
        .path
        .counters
        .class(adapter_on(C1), eights)
        .counter(crate::counters::AdapterCounter::RxBytes);
    assert!(sent.abs_diff(bytes - 4_000 * BYTES) <= 140 * BYTES, "{sent} {bytes}");
    // Both at once: the class's by its own, all of them by the other.
    lab.limit(adapter_on(C1), |limits| {
        limits.limit_class(eights, Traffic::FromGuest, 8_000_000);
        limits.limit(Traffic::FromGuest, 16_000_000);
    });
    let bytes = lab.offer(&packets, 4, 1000, UP);
    // What waits for the slower of the two is charged to both: so much more of it is on its way at the end.
    assert_rate(bytes + (128 << 10) / 2, 16_000_000);
    // To the guest, by where it comes from.
    lab.limit(adapter_on(C2), |limits| limits.limit_class(eights, Traffic::ToGuest, 4_000_000));
    let from = |source| Packet::new(at(UP), UP_MAC, at(C2).ip).total(1000).source(source).bytes();
    let packets = [(UP, from(FAR)), (UP, from(Ipv4Addr::new(9, 9, 9, 9)))];
    let bytes = lab.offer(&packets, 2, 1000, C2);
    assert_rate(bytes - 2_000 * BYTES, 4_000_000);
}

#[test]
fn vz_9_guests_of_one_port_are_limited_each_for_itself() {
    let mut lab = lab();
    lab.limit(S2_ADAPTER, |limits| {
        limits.limit(Traffic::FromGuest, 4_000_000);
        limits.limit(Traffic::ToGuest, 8_000_000);
    });
    let of_s2 = Packet::new(s2(), GATEWAY_MAC, FAR).total(1000).bytes();
    let of_s1 = udp(VENET, FAR);
    // In one burst: each by its own way, and in order.
    let bytes = lab.offer(&[(VENET, of_s1.clone()), (VENET, of_s2)], 4, 1000, UP);
    assert_rate(bytes - 4_000 * BYTES, 4_000_000);
    let to = |ip| Packet::new(at(UP), UP_MAC, ip).total(1000).bytes();
    let bytes = lab.offer(&[(UP, to(at(VENET).ip)), (UP, to(s2().ip))], 4, 1000, VENET);
    assert_rate(bytes - 4_000 * BYTES, 8_000_000);
    // Each is counted once, though the lane looks first.
    let s2_sent = lab.path.counters.adapter(S2_ADAPTER);
    assert_eq!(s2_sent.counter(crate::counters::AdapterCounter::RxPkts), 4_000);
}

#[test]
fn vz_9_members_of_networks_are_limited_alike_and_a_flood_is_charged_once() {
    let mut lab = lab();
    lab.limit_out(M1, 8_000_000);
    let to_m2 = Packet::new(at(M1), at(M2).mac, at(M2).ip).total(1000).bytes();
    let bytes = lab.offer(&[(M1, to_m2.clone())], 4, 1000, M2);
    assert_rate(bytes, 8_000_000);
    let to_all = frame(MacAddr::BROADCAST, at(M1).mac, 0x88b5, &vec![1; 1000]);
    let copies = lab.counts(M1).counter(PortCounter::Copies);
    let bytes = lab.offer(&[(M1, to_all.clone())], 4, 1000, M3);
    assert_rate(bytes, 8_000_000);
    assert!(lab.counts(M1).counter(PortCounter::Copies) > copies, "there are other members");
    // A limit of one receiver is that one's alone.
    lab.limit(adapter_on(M1), |_| {});
    lab.limit(adapter_on(M3), |limits| limits.limit(Traffic::ToGuest, 4_000_000));
    let before = lab.adapter_count(adapter_on(M2), TxPkts);
    let bytes = lab.offer(&[(M1, to_all)], 2, 1000, M3);
    assert_rate(bytes, 4_000_000);
    assert_eq!(lab.adapter_count(adapter_on(M2), TxPkts) - before, 2_000);
}

#[test]
fn a_storm_limit_is_in_place_of_the_ports() {
    let mut lab = lab();
    lab.limit(adapter_on(M1), |limits| limits.limit_storm(100));
    let to_all = frame(MacAddr::BROADCAST, at(M1).mac, 0x88b5, &[1; 100]);
    let to_m2 = Packet::new(at(M1), at(M2).mac, at(M2).ip).bytes();
    let before = lab.adapter_count(adapter_on(M2), TxPkts);
    lab.offer(&[(M1, to_all), (M1, to_m2), (M2, who_has(at(M2), at(M3).ip))], 1, 1000, M3);
    let storms = lab.adapter_count(adapter_on(M2), TxPkts) - before - 1_000;
    assert!((105..=115).contains(&storms), "{storms}");
    assert_eq!(lab.counts(M1).drops(DropReason::FloodRate), 1_000 - storms);
    assert_eq!(lab.counts(M2).drops_total(), 0);
}

/// Data bytes of each piece of a long segment, and how many there are.
const PIECE: u16 = 1000;
const PIECES: usize = 10;

impl Lab {
    /// Two long segments of C1's to C2, whose far end cuts them itself, each millisecond of a second: how many
    /// frames of which lengths arrive.
    fn offer_long(&mut self) -> Vec<usize> {
        let queue = self.ports[&C2].tx_that_finishes();
        self.path.set_way(C2, Some(TxPort::new(TxRoute::Own(queue))));
        let mut packet = Packet::new(at(C1), GATEWAY_MAC, at(C2).ip);
        packet.protocol = 6;
        packet.payload = vec![0; 20 + PIECES * usize::from(PIECE)];
        packet.payload[12] = 5 << 4;
        let bytes = packet.bytes();
        let mut lengths = Vec::new();
        for _ in 0..1000 {
            for _ in 0..2 {
                let mut frame = self.pool.frame(&bytes, C1).unwrap();
                frame.set_offload(offload::check(&bytes, bytes.len(), Some(PIECE)));
                self.path.run(C1, &mut [frame].into_iter().collect(), self.now_ns);
            }
            self.tick();
            lengths.extend(self.sent(C2).iter().map(Vec::len));
        }
        self.finish();
        lengths
    }
}

#[test]
fn a_long_segment_counts_as_the_many_that_it_stands_for() {
    for way in [Traffic::FromGuest, Traffic::ToGuest] {
        let mut lab = lab();
        let adapter = adapter_on(if way == Traffic::FromGuest { C1 } else { C2 });
        lab.limit(adapter, |limits| limits.limit(way, 100_000_000));
        let lengths = lab.offer_long();
        assert!(lengths.iter().all(|bytes| *bytes == 10_054));
        let wire = lengths.len() * PIECES * (usize::from(PIECE) + 54);
        assert!(wire.abs_diff(12_625_000) <= 2 * 12_500_000 / 100, "{wire}");
    }
}

#[test]
fn a_slow_rate_has_long_segments_cut_first_and_drops_single_ones() {
    for way in [Traffic::FromGuest, Traffic::ToGuest] {
        let mut lab = lab();
        let adapter = adapter_on(if way == Traffic::FromGuest { C1 } else { C2 });
        let limits = lab.limit(adapter, |limits| limits.limit(way, 8_000_000));
        let lengths = lab.offer_long();
        assert!(lengths.iter().all(|bytes| *bytes == 1_054), "{lengths:?}");
        assert_rate(lengths.iter().map(|bytes| *bytes as u64).sum(), 8_000_000);
        // What does not fit is lost piece by piece.
        let arrived = (lengths.len() + lab.sent(C2).len()) as u64;
        assert_eq!(arrived + limits.dropped(way), 2_000 * PIECES as u64);
        assert_eq!(lab.counts(C1).counter(PortCounter::Segmented), 2_000);
    }
}

#[test]
fn what_waits_leaves_early_and_whole_when_somebody_goes() {
    let cases: [(Early, usize); 6] = [
        (Early::All, 60),
        (Early::From(C1), 40),
        (Early::From(UP), 20),
        (Early::To(C2), 60),
        (Early::Of(adapter_on(C1)), 40),
        (Early::Of(adapter_on(C2)), 60),
    ];
    for (early, count) in cases {
        let mut lab = lab();
        lab.limit(adapter_on(C2), |limits| limits.limit(Traffic::ToGuest, 1_000_000));
        let from_wire = Packet::new(at(UP), UP_MAC, at(C2).ip).total(60).bytes();
        let from_c1 = Packet::new(at(C1), GATEWAY_MAC, at(C2).ip).total(60).bytes();
        // So much may leave at once.
        while lab.path.waiting() == 0 {
            lab.receive(C3, Packet::new(at(C3), GATEWAY_MAC, at(C2).ip).total(60).bytes());
        }
        lab.sent_all();
        lab.receive_all(C1, &vec![from_c1; 40]);
        lab.receive_all(UP, &vec![from_wire; 20]);
        assert_eq!((lab.sent(C2).len(), lab.path.waiting()), (0, 61));
        lab.path.release_early(early);
        lab.path.flush();
        let left = lab.sent(C2).len();
        assert!((count..=count + 1).contains(&left), "{early:?}: {left}");
        assert_eq!(lab.path.waiting(), 61 - left);
        assert_eq!(lab.counts(C1).drops_total() + lab.counts(UP).drops_total(), 0);
        lab.finish();
    }
}

#[test]
fn memory_for_what_waits_is_bounded() {
    let mut lab = Lab::with(8192, 4096, Rates::default());
    keep_limits(&mut lab, 20);
    let limits = [C1, C2].map(|port| lab.limit_out(port, 8_000_000));
    for port in [C1, C2] {
        lab.receive_all(port, &vec![udp(port, FAR); 60]);
    }
    assert_eq!(lab.path.waiting(), 20);
    let dropped =
        lab.counts(C1).drops(DropReason::RateOut) + lab.counts(C2).drops(DropReason::RateOut);
    assert_eq!(dropped + 20 + lab.sent(UP).len() as u64, 120);
    let told: u64 = limits.iter().map(|limits| limits.dropped(Traffic::FromGuest)).sum();
    assert_eq!(told, dropped);
    lab.finish();
}

#[test]
fn what_another_worker_has_charged_and_what_control_makes_is_charged_no_more() {
    let mut lab = lab();
    lab.limit(adapter_on(C2), |limits| limits.limit(Traffic::ToGuest, 1_000));
    lab.receive_all(C1, &vec![udp(C1, at(C2).ip); 3]);
    lab.sent_all();
    let waiting = lab.path.waiting();
    for _ in 0..20 {
        let mut frame = lab.pool.frame(&udp(C1, at(C2).ip), C1).unwrap();
        frame.set_ingress(Ingress { port: C1, adapter: adapter_on(C1) });
        lab.path.counters.port_add(C1, PortCounter::RxPkts, 1);
        lab.path.depart(Departure { port: C2, adapter: adapter_on(C2), frame });
        let frame = lab.pool.frame(&who_has(at(C1), at(C2).ip), PortId::NONE).unwrap();
        lab.path.inject(Inject::Send { port: C2, frame }, lab.now_ns);
    }
    lab.path.flush();
    assert_eq!(lab.sent(C2).len(), 40);
    assert_eq!(lab.path.waiting(), waiting);
    // What comes in next is charged again.
    lab.receive(C1, udp(C1, at(C2).ip));
    assert_eq!(lab.sent(C2).len(), 0);
    lab.finish();
}

#[test]
fn a_limit_that_is_taken_off_is_off_at_once() {
    let mut lab = lab();
    lab.limit_out(C1, 1_000_000);
    lab.receive_all(C1, &vec![udp(C1, FAR); 40]);
    let first = lab.sent(UP).len();
    assert!(lab.path.waiting() > 10);
    let waiting = lab.path.waiting();
    assert!(lab.path.set_limits(adapter_on(C1), None).is_some());
    lab.path.flush();
    assert_eq!((lab.sent(UP).len(), lab.path.waiting()), (waiting, 0));
    assert!(first < 10);
    lab.path.work.lane.passed = 0;
    let mut burst: Burst<_> = (0..40).map(|_| lab.pool.frame(&udp(C1, FAR), C1).unwrap()).collect();
    lab.path.run(C1, &mut burst, lab.now_ns);
    lab.path.flush();
    assert_eq!((lab.sent(UP).len(), lab.path.work.lane.passed), (40, 40));
    // Without anybody who keeps them they come back.
    lab.finish();
    assert!(lab.path.set_limits(adapter_on(C1), Some(Arc::default())).is_some());
}
