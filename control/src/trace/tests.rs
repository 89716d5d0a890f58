//! Records in words.

use super::*;
use dataplane::sight::trace::Outcome;
use dataplane::wire::ethernet::MacAddr;
use dataplane::wire::ipv4::Ipv4;

struct Plain;

impl Names for Plain {
    fn port(&self, port: PortId) -> String {
        format!("port{}", port.0)
    }

    fn adapter(&self, adapter: AdapterId) -> Option<String> {
        (adapter != AdapterId::NONE).then(|| format!("ct{}/eth0", adapter.0))
    }

    fn network(&self, _: NetworkId) -> String {
        "lan0".to_owned()
    }

    fn core(&self, worker: usize) -> usize {
        worker + 1
    }
}

fn ping() -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 0xfe, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 84, 0, 1, 0, 0];
    bytes.extend([64, 1, 0, 0, 10, 0, 0, 2, 10, 0, 0, 3, 8, 0]);
    bytes.resize(98, 0);
    bytes
}

fn way(kind: AdjacencyKind, number: u16) -> Adjacency {
    Adjacency {
        kind,
        port: PortId(number),
        adapter: AdapterId(number.into()),
        destination: MacAddr([2, 0, 0, 0, 0, 3]),
        source: MacAddr([2, 0, 0, 0, 0, 0xfe]),
        mtu: 1500,
        vlan: 0,
        next_hop: 0,
    }
}

fn routed() -> Record {
    let head = || ping().into_iter().take(96).collect::<dataplane::sight::trace::Head>();
    let mut rewritten_head = head();
    rewritten_head[5] = 3;
    rewritten_head[11] = 0xfe;
    rewritten_head[22] = 63;
    let to = Lookup { id: AdjacencyId(7), adjacency: way(AdjacencyKind::Forward, 2) };
    let from = Lookup { id: AdjacencyId(6), adjacency: way(AdjacencyKind::Forward, 1) };
    let mut outcome = Outcome { forwarded: 1, ..Outcome::default() };
    outcome.ports.push(PortId(2));
    Record {
        worker: 0,
        time_ns: 1,
        port: PortId(1),
        adapter: AdapterId(1),
        bytes: 98,
        head: head(),
        classified: Verdict::Route,
        ip: Some(Ipv4 {
            header_bytes: 20,
            total_bytes: 84,
            ttl: 64,
            protocol: 1,
            source: 0x0a00_0002,
            destination: 0x0a00_0003,
            id: 1,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            tos: 0,
        }),
        routes: Some([to, from]),
        guarded: Verdict::Route,
        macs: None,
        decided: Verdict::Send,
        way: to.adjacency,
        rewritten: Verdict::Send,
        rewritten_head,
        outcome,
    }
}

fn lines(record: &Record) -> Vec<String> {
    let told = explain(record, &Plain);
    told.steps.iter().map(|step| format!("{} {} {}", step.stage, step.verdict, step.text)).collect()
}

#[test]
fn a_routed_packet() {
    let told = explain(&routed(), &Plain);
    assert_eq!(
        told.packet,
        "02:00:00:00:00:01 > 02:00:00:00:00:fe, IPv4 10.0.0.2 > 10.0.0.3, ICMP echo request, ttl 64"
    );
    assert_eq!(
        (told.core, told.port.as_str(), told.bytes, told.fate),
        (1, "port1", 98, Fate::Sent)
    );
    assert_eq!(
        lines(&routed()),
        [
            "classify route IPv4 for the router",
            "fib forward destination 10.0.0.3: adjacency 7, forward by port2, adapter ct2/eth0, \
             02:00:00:00:00:fe > 02:00:00:00:00:03, mtu 1500",
            "fib forward source 10.0.0.2: adjacency 6, forward by port1, adapter ct1/eth0, \
             02:00:00:00:00:fe > 02:00:00:00:00:03, mtu 1500",
            "guard pass its source may be used by ct1/eth0",
            "route send by port2",
            "rewrite send 02:00:00:00:00:fe > 02:00:00:00:00:03, ttl 64 > 63",
            "egress sent to the transmit queue of port2",
        ]
    );
}

#[test]
fn a_dropped_one_ends_where_it_was_dropped() {
    let drop = Verdict::Drop(DropReason::SpoofedIp);
    let mut outcome = Outcome::default();
    outcome.drops.push((DropReason::SpoofedIp, 1));
    let record = Record { guarded: drop, decided: drop, rewritten: drop, outcome, ..routed() };
    let told = lines(&record);
    assert_eq!(told[3..], ["guard drop spoofed-ip", "egress dropped spoofed-ip"]);
}

#[test]
fn a_bridged_one_shows_its_macs_and_a_flooded_one_who_got_it() {
    let to = Lookup { id: AdjacencyId(9), adjacency: way(AdjacencyKind::Bridge, 2) };
    let network = NetworkId(1);
    let bridge = Verdict::Bridge(network);
    let macs = MacLookup { network, destination: Some((to, true)), source: None };
    let record = Record {
        classified: bridge,
        ip: None,
        routes: None,
        guarded: bridge,
        macs: Some(macs),
        rewritten_head: routed().head,
        ..routed()
    };
    let told = lines(&record);
    assert_eq!(told[0], "classify bridge a frame of network lan0");
    assert_eq!(
        told[2..5],
        [
            "mac registered destination on lan0: adjacency 9, bridge by port2, adapter ct2/eth0, mtu 1500",
            "mac unknown source on lan0: no entry",
            "bridge send by port2",
        ]
    );
    assert_eq!(told[5], "rewrite send as it came");
    let mut outcome = Outcome { forwarded: 2, copies: 1, ..Outcome::default() };
    outcome.ports.extend([PortId(2), PortId(3)]);
    let flooded = Record { decided: Verdict::Flood(network), outcome, ..record };
    let told = lines(&flooded);
    assert_eq!(told[4], "bridge flood to all of network lan0");
    assert_eq!(told[5], "egress sent 1 copy made; to the transmit queues of port2, port3");
}

#[test]
fn a_punted_one_says_why_control_has_it() {
    let glean = Adjacency { port: PortId(4), ..way(AdjacencyKind::Glean, 4) };
    let outcome = Outcome { consumed: 1, ..Outcome::default() };
    let record = Record {
        decided: Verdict::Resolve,
        rewritten: Verdict::Resolve,
        way: glean,
        outcome: outcome.clone(),
        ..routed()
    };
    let told = lines(&record);
    assert_eq!(
        told[4..],
        [
            "route resolve the next hop's MAC is not known yet",
            "control punted control has it, and asks by ARP who has 10.0.0.3 on port4",
        ]
    );
    let arp = Verdict::Arp(None);
    let record = Record {
        classified: arp,
        ip: None,
        routes: None,
        guarded: arp,
        decided: arp,
        rewritten: arp,
        outcome,
        ..routed()
    };
    let told = lines(&record);
    assert_eq!(told[0], "classify arp ARP for the appliance");
    assert_eq!(told[2], "control punted control has it, and answers where it should");
}

#[test]
fn any_bytes_are_described() {
    assert_eq!(packet::describe(&[1, 2]), "no Ethernet header");
    for cut in 0..ping().len() {
        packet::describe(&ping()[..cut]);
        packet::difference(&ping(), &ping()[..cut]);
    }
    let mut tagged = ping();
    tagged.splice(12..12, [0x81, 0, 0, 100]);
    assert!(packet::describe(&tagged).contains("VLAN 100, IPv4 10.0.0.2 > 10.0.0.3"));
    assert!(packet::difference(&ping(), &tagged).ends_with("tag 100 pushed"));
}
