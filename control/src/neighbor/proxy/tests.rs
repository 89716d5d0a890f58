use super::*;
use std::collections::BTreeMap;

const UPLINK: PortId = PortId(1);
const OTHER_UPLINK: PortId = PortId(2);
const HOST: PortId = PortId(3);
const SHARED: PortId = PortId(4);
const PORT_A: PortId = PortId(10);
const PORT_B: PortId = PortId(11);
const A: AdapterId = AdapterId(100);
const B: AdapterId = AdapterId(101);
const C1: AdapterId = AdapterId(102);
const C2: AdapterId = AdapterId(103);

const WIRE: Seat = Seat::Wire { uplink: UPLINK };
const MEMBER: Seat = Seat::Member { uplink: UPLINK };
const GUEST_A: Seat = Seat::Guest { port: PORT_A, adapter: A };
const ON_SHARED: Seat = Seat::Shared { port: SHARED };
const SERVER: Seat = Seat::Host { port: HOST };

const GATEWAY: &str = "169.254.1.1";
/// Two addresses and a prefix of A's, one each of B's, C1's (and a second) and C2's.
const A1: &str = "203.0.113.11";
const A2: &str = "203.0.113.12";
const A_PREFIX: &str = "203.0.113.70";
const B1: &str = "203.0.113.21";
const C11: &str = "203.0.113.31";
const C12: &str = "203.0.113.33";
const C21: &str = "203.0.113.32";
const OURS: &str = "192.0.2.1";
const LAN_HOST: &str = "192.0.2.77";
const FAR: &str = "8.8.4.4";

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn own_mac(port: PortId) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, port.0.to_le_bytes()[0]])
}

/// A small host: two uplinks, the server, A and B on ports of their own, C1 and C2 on a shared one.
struct Host {
    claims: BTreeMap<Ipv4Addr, ClaimStatus>,
}

impl World for Host {
    fn owner(&self, of: Ipv4Addr) -> Option<Owner> {
        let routed = |port, adapter| Some(Owner::Routed { port, adapter });
        match of.to_string().as_str() {
            OURS => Some(Owner::Server { uplink: UPLINK }),
            A1 | A2 | A_PREFIX => routed(PORT_A, A),
            B1 => routed(PORT_B, B),
            C11 | C12 => routed(SHARED, C1),
            C21 => routed(SHARED, C2),
            _ => None,
        }
    }

    fn claim(&self, uplink: PortId, of: Ipv4Addr) -> Option<ClaimStatus> {
        self.claims.get(&of).copied().filter(|_| uplink == UPLINK)
    }

    fn is_gateway(&self, port: PortId, of: Ipv4Addr) -> bool {
        port != UPLINK && (of == ip(GATEWAY) || port == PORT_A && of == ip("203.0.113.1"))
    }

    fn egress(&self, to: Ipv4Addr) -> Option<PortId> {
        match (self.owner(to), to.octets()) {
            (Some(Owner::Routed { port, .. }), _) => Some(port),
            (Some(Owner::Server { .. }), _) => Some(HOST),
            // No directed broadcast, a prohibited prefix, a route through A.
            (None, [192, 0, 2, 255] | [10, 66, ..]) => None,
            (None, [10, 1, ..]) => Some(PORT_A),
            (None, _) => Some(UPLINK),
        }
    }

    fn own_mac(&self, port: PortId) -> MacAddr {
        own_mac(port)
    }
}

fn host() -> Host {
    let up = [A1, A2, A_PREFIX, B1, C11, C12, C21].map(|text| (ip(text), ClaimStatus::Up));
    Host { claims: up.into_iter().collect() }
}

fn host_where(text: &str, status: ClaimStatus) -> Host {
    let mut host = host();
    host.claims.insert(ip(text), status);
    host
}

const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x77]);

fn asks_in(host: &Host, seat: Seat, from: &str, to: &str) -> bool {
    match decide(seat, &Arp::request(ASKER, ip(from), ip(to)), host) {
        Answer::No => false,
        Answer::With(mac) => {
            let port = match seat {
                Seat::Wire { uplink } | Seat::Member { uplink } => uplink,
                Seat::Guest { port, .. } | Seat::Shared { port } | Seat::Host { port } => port,
                Seat::Elsewhere => panic!("nothing is answered elsewhere"),
            };
            assert_eq!(mac, own_mac(port), "the MAC that is ours where it was asked");
            true
        }
    }
}

fn asks(seat: Seat, from: &str, to: &str) -> bool {
    asks_in(&host(), seat, from, to)
}

#[test]
fn hr_11_the_wire_is_answered_for_registered_addresses_and_our_own_only() {
    assert!(asks(WIRE, LAN_HOST, A1) && asks(WIRE, LAN_HOST, C21) && asks(WIRE, LAN_HOST, OURS));
    assert!(asks(WIRE, LAN_HOST, A_PREFIX));
    for other in [LAN_HOST, FAR, "192.0.2.78", "10.1.2.3", GATEWAY, "203.0.113.1", "203.0.113.99"] {
        assert!(!asks(WIRE, "192.0.2.99", other), "{other}");
    }
    assert!(!asks(Seat::Wire { uplink: OTHER_UPLINK }, LAN_HOST, OURS), "on its own uplink only");
    assert!(!asks(Seat::Wire { uplink: OTHER_UPLINK }, LAN_HOST, A1), "not claimed there");
}

#[test]
fn the_wire_is_not_answered_while_probing_quiet_or_in_conflict() {
    for status in [ClaimStatus::Probing, ClaimStatus::Quiet, ClaimStatus::Conflict(ASKER)] {
        assert!(!asks_in(&host_where(A1, status), WIRE, LAN_HOST, A1), "{status:?}");
        assert!(asks_in(&host_where(A1, status), Seat::Guest { port: PORT_B, adapter: B }, B1, A1));
        assert!(asks_in(&host_where(A1, status), SERVER, OURS, A1));
    }
}

#[test]
fn a_probe_on_the_wire_for_an_address_that_is_up_is_answered() {
    assert!(asks(WIRE, "0.0.0.0", A1) && asks(WIRE, "0.0.0.0", OURS));
    assert!(!asks(WIRE, "0.0.0.0", LAN_HOST));
}

#[test]
fn members_of_the_untagged_network_are_answered_for_the_host_but_not_for_the_wire() {
    assert!(asks(MEMBER, "192.0.2.50", OURS) && asks(MEMBER, "192.0.2.50", A1));
    for other in [LAN_HOST, FAR, GATEWAY, "10.1.2.3"] {
        assert!(!asks(MEMBER, "192.0.2.50", other), "{other}");
    }
    let member = |status| asks_in(&host_where(A1, status), MEMBER, "192.0.2.50", A1);
    assert!(member(ClaimStatus::Probing) && member(ClaimStatus::Quiet));
    assert!(!member(ClaimStatus::Conflict(ASKER)), "the other host answers for itself");
}

#[test]
fn hr_19_a_guest_is_answered_for_its_gateways_and_all_it_may_reach() {
    for target in [GATEWAY, "203.0.113.1", OURS, B1, C11, LAN_HOST, FAR] {
        assert!(asks(GUEST_A, A1, target), "{target}");
    }
}

#[test]
fn a_guest_is_never_answered_for_its_own_addresses() {
    for own in [A1, A2, A_PREFIX] {
        assert!(!asks(GUEST_A, "0.0.0.0", own), "its conflict probe for {own}");
        assert!(!asks(GUEST_A, own, own), "its announcement of {own}");
        assert!(!asks(GUEST_A, A1, own));
    }
}

#[test]
fn a_guest_is_not_answered_for_what_is_behind_itself_or_beyond_any_route() {
    let nowhere = ["10.1.2.3", "10.66.1.1", "192.0.2.255"];
    let no_host = ["224.0.0.1", "255.255.255.255", "127.0.0.1", "0.1.2.3", "240.0.0.1"];
    for target in nowhere.into_iter().chain(no_host).chain(["169.254.7.7"]) {
        assert!(!asks(GUEST_A, A1, target), "{target}");
    }
    assert!(asks(Seat::Guest { port: PORT_B, adapter: B }, B1, "10.1.2.3"));
    // A port keeps to its own side whichever adapter is bound to it.
    assert!(!asks(Seat::Guest { port: PORT_A, adapter: B }, B1, A1));
}

#[test]
fn a_probe_is_answered_for_what_is_in_use_here_but_not_for_what_is_only_routed() {
    assert!(asks(GUEST_A, "0.0.0.0", B1) && asks(GUEST_A, "0.0.0.0", GATEWAY));
    assert!(asks(GUEST_A, "0.0.0.0", OURS));
    assert!(!asks(GUEST_A, "0.0.0.0", "203.0.113.99"));
    assert!(!asks(GUEST_A, "0.0.0.0", LAN_HOST));
}

#[test]
fn hr_5_guests_of_a_shared_port_reach_each_other_through_us() {
    assert!(asks(ON_SHARED, C11, C21) && asks(ON_SHARED, C21, C11));
    assert!(!asks(ON_SHARED, C11, C11) && !asks(ON_SHARED, C11, C12), "one guest's own");
    assert!(!asks(ON_SHARED, "0.0.0.0", C11), "may be its own conflict probe");
    for target in [GATEWAY, A1, OURS, LAN_HOST, FAR] {
        assert!(asks(ON_SHARED, C11, target), "{target}");
    }
}

#[test]
fn hr_4_the_server_is_answered_for_guests_and_the_world_but_not_for_itself() {
    for target in [GATEWAY, A1, C11, LAN_HOST, FAR, "10.1.2.3"] {
        assert!(asks(SERVER, OURS, target), "{target}");
    }
    assert!(!asks(SERVER, "0.0.0.0", OURS) && !asks(SERVER, OURS, "10.66.1.1"));
}

#[test]
fn nobody_else_and_nothing_else_is_answered() {
    assert!(!asks(Seat::Elsewhere, A1, OURS) && !asks(Seat::Elsewhere, A1, GATEWAY));
    let reply = Arp::request(ASKER, ip(A1), ip(GATEWAY)).answer(ASKER);
    assert_eq!(decide(GUEST_A, &reply, &host()), Answer::No);
    for seat in [WIRE, MEMBER, GUEST_A, ON_SHARED, SERVER] {
        assert_eq!(decide(seat, &Arp::announcement(ASKER, ip(B1)), &host()), Answer::No);
    }
}
