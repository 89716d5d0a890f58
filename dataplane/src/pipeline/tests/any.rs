//! Frames of any bytes and length from any port, in any state of the host: nothing panics, the
//! counters balance, no buffer is lost, and nobody gets what is not theirs.

use super::host::*;
use super::lab::Lab;
use super::packet::{MORE_FRAGMENTS, Packet, filler, frame, tagged, who_has};
use crate::counters::{DropReason, PortCounter, PortCounts};
use crate::frame::{BURST_PKTS, Burst, Frame};
use crate::ids::{NetworkId, PortId};
use crate::pipeline::Rates;
use crate::punt::{Inject, Punt};
use crate::record::{Attachment, Filters, UnknownUnicast};
use crate::wire::ethernet::{ETHERTYPE_QINQ, ETHERTYPE_VLAN, Ethernet, MacAddr};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;
use std::cell::RefCell;
use std::net::Ipv4Addr;

pub(super) const PORTS: [PortId; 18] =
    [UP, UP2, HOST, VENET, C1, C2, C3, N1, M1, M2, M3, MS, W1, W2, WF, V1, V2, CLOSED];
const ROUTED: [PortId; 4] = [C1, C2, C3, N1];

/// Where a frame comes in, its bytes, and how much of it lies in the first segment.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) port: PortId,
    pub(super) bytes: Vec<u8>,
    pub(super) head_bytes: usize,
}

fn any_mac() -> impl Strategy<Value = MacAddr> {
    let known = PORTS.map(|port| at(port).mac);
    let ours = [GATEWAY_MAC, UP_MAC, UP2_MAC, ROUTER_MAC, MacAddr::BROADCAST, MacAddr::ZERO];
    let groups = [MacAddr([1, 0, 0x5e, 0, 0, 1]), MacAddr([1, 0x80, 0xc2, 0, 0, 2])];
    prop_oneof![
        8 => select([&known[..], &ours, &groups].concat()),
        1 => any::<[u8; 6]>().prop_map(MacAddr),
    ]
}

fn any_address() -> impl Strategy<Value = Ipv4Addr> {
    let known = PORTS.map(|port| at(port).ip);
    let others = [
        s2().ip,
        GATEWAY_IP,
        SERVER_IP,
        ROUTED_TO_C1,
        FAR,
        PROHIBITED,
        UNREACHABLE,
        INCOMPLETE,
        BEHIND_INCOMPLETE,
        GLEAN,
        DIRECTED_BROADCAST,
        ON_UP2,
    ];
    let odd = [[0; 4], [255; 4], [127, 0, 0, 1], [224, 0, 0, 1]].map(Ipv4Addr::from);
    prop_oneof![
        8 => select([&known[..], &others, &odd].concat()),
        1 => any::<u32>().prop_map(Ipv4Addr::from),
    ]
}

/// What a well-behaved station on a port would call its router.
fn router_of(port: PortId) -> MacAddr {
    match port {
        UP | W1 | W2 | WF => UP_MAC,
        UP2 => UP2_MAC,
        _ => GATEWAY_MAC,
    }
}

/// Packets that are right but for some fields, so that most of them get far.
pub(super) fn likely(port: PortId) -> impl Strategy<Value = Vec<u8>> {
    let own = Packet::new(at(port), router_of(port), at(C2).ip);
    let macs = (prop::option::weighted(0.3, any_mac()), prop::option::weighted(0.1, any_mac()));
    let fields = (
        any_address(),
        prop::option::weighted(0.2, any_address()),
        select(vec![0u8, 1, 2, 64, 255]),
        select(vec![0u16, 0x4000, MORE_FRAGMENTS, MORE_FRAGMENTS | 1, 2, 0x1fff]),
        select(vec![0usize, 4, 40]),
        prop_oneof![0usize..80, 1400usize..3200],
        select(vec![1u8, 6, 17]),
        0usize..30,
    );
    let layer = prop::option::weighted(
        0.3,
        (
            select(vec![ETHERTYPE_VLAN, ETHERTYPE_QINQ, 0x9100]),
            select(vec![0, VID, 1, 0xe000, 0x2000 | VID]),
        ),
    );
    (macs, fields, layer).prop_map(move |((to, from), fields, layer)| {
        let (destination, source, ttl, fragment, option_bytes, data, protocol, padding) = fields;
        let packet = Packet {
            destination_mac: to.unwrap_or(own.destination_mac),
            source_mac: from.unwrap_or(own.source_mac),
            destination,
            source: source.unwrap_or(own.source),
            ttl,
            fragment,
            protocol,
            padding,
            options: vec![1; option_bytes],
            payload: filler(data),
            ..own.clone()
        };
        match layer {
            Some((tpid, tci)) => tagged(&packet.bytes(), tpid, tci),
            None => packet.bytes(),
        }
    })
}

pub(super) fn any_frame(port: PortId) -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let odd = (any_mac(), any_mac(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..120))
        .prop_map(|(to, from, ether_type, data)| frame(to, from, ether_type, &data));
    let arp = any_address().prop_map(move |target| who_has(at(port), target));
    let base = prop_oneof![1 => noise, 2 => odd, 2 => arp, 8 => likely(port)];
    // Some bytes changed, the end cut off.
    let damage = prop::collection::vec((any::<Index>(), any::<u8>()), 0..3);
    let wanted = prop::option::weighted(0.3, damage);
    (base, wanted, prop::option::weighted(0.1, any::<Index>())).prop_map(
        |(mut bytes, wanted, cut)| {
            for (place, value) in wanted.into_iter().flatten() {
                if !bytes.is_empty() {
                    let place = place.index(bytes.len().min(60));
                    bytes[place] = value;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes
        },
    )
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let port = select(PORTS.to_vec());
    let head = prop_oneof![4 => Just(usize::MAX), 1 => 0usize..200];
    port.prop_flat_map(move |port| (Just(port), any_frame(port), head.clone()))
        .prop_map(|(port, bytes, head_bytes)| Arrival { port, bytes, head_bytes })
}

/// Something that control does between two bursts.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Filters(PortId, bool),
    Promiscuous(NetworkId, PortId),
    Unknown(NetworkId, UnknownUnicast),
    Learning(bool),
    Isolated(NetworkId, bool),
    Forwarding(bool),
    /// Whatever waits at control is sent on.
    Resume,
    Later(u64),
    Close(PortId),
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    let policy =
        select(vec![UnknownUnicast::ToUplink, UnknownUnicast::Flood, UnknownUnicast::Drop]);
    prop_oneof![
        (select(vec![M1, M2, W1, W2, V1, C1]), any::<bool>())
            .prop_map(|(port, on)| Change::Filters(port, on)),
        select(vec![(LAN, M3), (WAN, W2), (VLAN, V2)]).prop_map(|(n, p)| Change::Promiscuous(n, p)),
        (select(vec![LAN, WAN, VLAN]), policy).prop_map(|(n, policy)| Change::Unknown(n, policy)),
        any::<bool>().prop_map(Change::Learning),
        (select(vec![LAN, WAN, VLAN]), any::<bool>()).prop_map(|(n, on)| Change::Isolated(n, on)),
        any::<bool>().prop_map(Change::Forwarding),
        Just(Change::Resume),
        (0u64..2_000_000_000).prop_map(Change::Later),
        select(vec![C2, M2, UP, W1]).prop_map(Change::Close),
    ]
}

pub(super) fn apply(lab: &mut Lab, change: &Change) {
    match *change {
        Change::Filters(port, on) => lab.change(|host| {
            let filters =
                if on { Filters::ALL } else { Filters { promisc: true, ..Filters::NONE } };
            match &mut host.records.get_mut(&port).unwrap().attachment {
                Attachment::Bridged(bridged) => bridged.filters = filters,
                Attachment::Routed(routed) => routed.filters = filters,
                _ => {}
            }
        }),
        Change::Promiscuous(network, port) => {
            let is_already =
                lab.host.networks[&network].promiscuous.iter().any(|member| member.port == port);
            if !is_already {
                lab.change(|host| host.make_promiscuous(network, port));
            }
        }
        Change::Unknown(network, policy) => {
            lab.change(|host| host.network(network).unknown_unicast = policy);
        }
        Change::Learning(on) => lab.change(|host| {
            [LAN, WAN, VLAN].into_iter().for_each(|network| host.network(network).learning = on);
        }),
        Change::Isolated(network, on) => {
            lab.change(|host| host.network(network).is_isolated = on);
        }
        Change::Forwarding(on) => lab.path.view.is_forwarding = on,
        Change::Resume => {
            while let Some(punt) = lab.punts.pop() {
                match punt {
                    Punt::Resolve { frame, .. } => {
                        lab.path.inject(Inject::Route { frame }, lab.now_ns);
                    }
                    Punt::Arp { frame, network: Some(network) } => {
                        lab.path.inject(Inject::Flood { network, frame }, lab.now_ns);
                    }
                    Punt::Arp { frame, .. } => {
                        let port = frame.ingress().port;
                        lab.path.inject(Inject::Send { port, frame }, lab.now_ns);
                    }
                    Punt::Learn { .. } | Punt::Conflict { .. } => {}
                }
                if lab.punts.len() > 100 {
                    break;
                }
            }
            lab.path.flush();
            lab.sent_all();
        }
        Change::Later(ns) => lab.now_ns += ns,
        Change::Close(port) => {
            lab.path.set_way(port, None);
        }
    }
}

fn network_of(lab: &Lab, port: PortId) -> Option<NetworkId> {
    match &lab.host.records[&port].attachment {
        Attachment::Bridged(bridged) => Some(bridged.network),
        Attachment::NetworkServer { network, .. } => Some(*network),
        _ => None,
    }
}

/// Who may get a frame that left by `out` in answer to a burst from `from`.
fn check(lab: &Lab, from: PortId, out: PortId, bytes: &[u8]) -> Result<(), TestCaseError> {
    let ethernet = Ethernet::parse(bytes).unwrap();
    let destination = bytes.get(30..34).map(|ip| <[u8; 4]>::try_from(ip).unwrap().into());
    let has = |port: PortId, ip: Ipv4Addr| {
        ip == at(port).ip || port == C1 && u32::from(ip) & !0xf == u32::from(ROUTED_TO_C1) & !0xf
    };
    if ROUTED.contains(&out) {
        // HR-13: only what is addressed to this very guest; with its filters off it may use any
        // address, and gets the answers.
        prop_assert_eq!(ethernet.ether_type, 0x0800);
        let is_own = has(out, destination.unwrap());
        prop_assert!(is_own || from == out, "{:?} to {:?}", destination, out);
        prop_assert_eq!(ethernet.source, GATEWAY_MAC);
    }
    if out == VENET && from != VENET {
        prop_assert!([at(VENET).ip, s2().ip].contains(&destination.unwrap()));
    }
    if let Some(network) = network_of(lab, out) {
        // VN-14: from a member, or from the wire of this network; or routed, never to here.
        let is_inside = network_of(lab, from) == Some(network) || from == UP;
        prop_assert!(is_inside, "{:?} to {:?}", from, out);
        prop_assert!(network != LAN || from != UP);
    }
    if out == UP {
        // VLAN hopping: our tag or none, and no other below it.
        let is_vlan = matches!(network_of(lab, from), Some(VLAN));
        prop_assert!(ethernet.ether_type != ETHERTYPE_QINQ && ethernet.ether_type != 0x9100);
        prop_assert_eq!(ethernet.ether_type == ETHERTYPE_VLAN, is_vlan);
        if is_vlan {
            prop_assert_eq!(&bytes[14..16], &VID.to_be_bytes());
            let below = u16::from_be_bytes(bytes[16..18].try_into().unwrap());
            prop_assert!(![ETHERTYPE_VLAN, ETHERTYPE_QINQ, 0x9100].contains(&below));
        }
        let is_protocol = crate::wire::ethernet::is_link_local_group(ethernet.destination);
        prop_assert!(!is_protocol);
        prop_assert!(network_of(lab, from) != Some(LAN), "host-only");
    }
    let is_transit = [UP, UP2].contains(&from) && [UP, UP2].contains(&out) && from != out;
    prop_assert!(!is_transit, "{:?} to {:?}", from, out);
    Ok(())
}

fn run(lab: &mut Lab, steps: &[(Vec<Arrival>, Option<Change>)]) -> Result<(), TestCaseError> {
    for (arrivals, change) in steps {
        if let Some(change) = change {
            apply(lab, change);
        }
        // Bursts of what comes from one port.
        for group in arrivals.chunk_by(|a, b| a.port == b.port) {
            let port = group[0].port;
            let mut burst: Burst<_> = Burst::new();
            for arrival in group.iter().take(BURST_PKTS) {
                // An empty pool: the port receives nothing.
                let Some(mut frame) = lab.pool.frame(&arrival.bytes, port) else { continue };
                frame.chain(arrival.head_bytes);
                burst.push(frame);
            }
            lab.path.run(port, &mut burst, lab.now_ns);
            lab.path.flush();
            prop_assert!(burst.is_empty());
            for (out, bytes) in lab.sent_all() {
                check(lab, port, out, &bytes)?;
            }
        }
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<(Vec<Arrival>, Option<Change>)>> {
    let arrivals = prop::collection::vec(arrival(), 1..24);
    prop::collection::vec((arrivals, prop::option::of(change())), 1..12)
}

/// Runs many cases on few labs, since a lab is dear to make; each case begins with the host as it was.
pub(super) fn run_cases<S: Strategy<Value: Clone>>(
    cases: u32,
    strategy: S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    if let Err(failure) = TestRunner::new(config).run(&strategy, test) {
        panic!("{failure}");
    }
}

/// The identity and the pool, after each case.
fn run_on(
    lab: &RefCell<Lab>,
    steps: &[(Vec<Arrival>, Option<Change>)],
) -> Result<(), TestCaseError> {
    let mut lab = lab.borrow_mut();
    lab.reset();
    run(&mut lab, steps)?;
    lab.check();
    Ok(())
}

#[test]
fn hr_13_any_frames_from_any_ports_balance_and_reach_no_third_party() {
    let lab = RefCell::new(Lab::new());
    run_cases(600, steps(), |steps| run_on(&lab, &steps));
    // The frames are likely enough to get far: most reasons to drop one occur, and many are sent.
    let mut all = PortCounts::default();
    PORTS.iter().for_each(|port| all.add(&lab.borrow().counts(*port)));
    let reasons = DropReason::ALL.iter().filter(|reason| all.drops(**reason) > 0).count();
    assert!(reasons >= 25, "{all:?}");
    assert!(all.counter(PortCounter::Forwarded) > all.counter(PortCounter::RxPkts) / 10, "{all:?}");
}

/// The same with a pool, wires and a queue to control that run out all the time.
#[test]
fn with_everything_short_losses_are_counted() {
    let labs = [(1, 1), (2, 3), (7, 2), (40, 3)]
        .map(|(pool_frames, depth)| RefCell::new(Lab::with(pool_frames, depth, Rates::default())));
    run_cases(600, (0..labs.len(), steps()), |(at, steps)| run_on(&labs[at], &steps));
}
