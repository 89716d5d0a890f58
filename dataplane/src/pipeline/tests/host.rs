//! One host with every kind of port, behind the real table writers: records, routes, MACs.
//!
//! ```text
//! C1 C2 C3 N1    host-routed guests on ports of their own (N1 with an MTU of 576)
//! S1 S2          host-routed containers on the shared port VENET
//! M1 M2 M3 MS    members of the host-only network LAN, MS the server's
//! W1 W2 WF       members of the uplink's untagged network WAN, WF with all filters off
//! V1 V2          members of network VLAN, tag 100 on the uplink
//! UP UP2 HOST    the uplinks and the server's port
//! ```

use super::packet::Station;
use crate::counters::Counters;
use crate::frame::memory::{MemoryFrame, MemoryPool};
use crate::ids::{AdapterId, AdjacencyId, NetworkId, PortId};
use crate::io::memory::MemoryIo;
use crate::pipeline::{Path, Rates, Tables};
use crate::punt::Punt;
use crate::record::{
    Attachment, BridgedAdapter, Filters, Member, MemberKind, NetworkRecord, PortRecord,
    RoutedAdapter, UnknownUnicast, Uplink,
};
use crate::table::{Adjacency, AdjacencyKind, AdjacencyWriter, Ipv4FibWriter, MacWriter, Qsbr};
use crate::wire::ethernet::MacAddr;
use crossbeam::queue::ArrayQueue;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub(super) const UP: PortId = PortId(1);
pub(super) const UP2: PortId = PortId(2);
pub(super) const HOST: PortId = PortId(3);
pub(super) const VENET: PortId = PortId(5);
pub(super) const C1: PortId = PortId(11);
pub(super) const C2: PortId = PortId(12);
pub(super) const C3: PortId = PortId(13);
pub(super) const N1: PortId = PortId(14);
pub(super) const M1: PortId = PortId(21);
pub(super) const M2: PortId = PortId(22);
pub(super) const M3: PortId = PortId(23);
pub(super) const MS: PortId = PortId(29);
pub(super) const W1: PortId = PortId(31);
pub(super) const W2: PortId = PortId(32);
pub(super) const WF: PortId = PortId(33);
pub(super) const V1: PortId = PortId(41);
pub(super) const V2: PortId = PortId(42);
/// A port with a record but nothing on it.
pub(super) const CLOSED: PortId = PortId(60);

pub(super) const LAN: NetworkId = NetworkId(0);
pub(super) const WAN: NetworkId = NetworkId(2);
pub(super) const VLAN: NetworkId = NetworkId(3);
pub(super) const VID: u16 = 100;

/// Adapters of the two containers on VENET.
pub(super) const S1_ADAPTER: AdapterId = AdapterId(51);
pub(super) const S2_ADAPTER: AdapterId = AdapterId(52);

/// Our MAC on every guest's port.
pub(super) const GATEWAY_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub(super) const UP_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
pub(super) const UP2_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
pub(super) const HOST_PEER: MacAddr = MacAddr([2, 0, 0, 0, 3, 3]);
pub(super) const VENET_PEER: MacAddr = MacAddr([2, 0, 0, 0, 5, 5]);
pub(super) const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 9, 254]);

pub(super) const GATEWAY_IP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
pub(super) const SERVER_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// A prefix routed to C1.
pub(super) const ROUTED_TO_C1: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// Somebody behind the default route.
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
pub(super) const PROHIBITED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);
pub(super) const UNREACHABLE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
pub(super) const INCOMPLETE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// Routed by a next hop, [`INCOMPLETE`], that has no MAC yet.
pub(super) const BEHIND_INCOMPLETE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);
/// On the uplink's prefix and not known.
pub(super) const GLEAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);
pub(super) const DIRECTED_BROADCAST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 255);
/// A neighbor on the second uplink.
pub(super) const ON_UP2: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

/// The station on a guest's port, on the wire (`UP`), or the server itself (`HOST`).
pub(super) fn at(port: PortId) -> Station {
    let last = u8::try_from(port.0).unwrap();
    let mac = MacAddr([2, 0, 0, 0, 0x10, last]);
    match port {
        UP => Station { mac: MacAddr([2, 0, 0, 0, 9, 9]), ip: Ipv4Addr::new(192, 0, 2, 9) },
        UP2 => Station { mac: MacAddr([2, 0, 0, 0, 8, 9]), ip: ON_UP2 },
        HOST => Station { mac: HOST_PEER, ip: SERVER_IP },
        VENET => Station { mac: VENET_PEER, ip: Ipv4Addr::new(203, 0, 113, 51) },
        C1 | C2 | C3 | N1 => Station { mac, ip: Ipv4Addr::new(203, 0, 113, last) },
        W1 | W2 | WF => Station { mac, ip: Ipv4Addr::new(192, 0, 2, last) },
        _ => Station { mac, ip: Ipv4Addr::new(10, 0, 0, last) },
    }
}

/// The second container on VENET.
pub(super) fn s2() -> Station {
    Station { mac: VENET_PEER, ip: Ipv4Addr::new(203, 0, 113, 52) }
}

/// Tables and records of the host.
pub(super) struct Host {
    pub(super) fib: Ipv4FibWriter,
    pub(super) adjacencies: AdjacencyWriter,
    pub(super) macs: MacWriter,
    pub(super) qsbr: Arc<Qsbr>,
    pub(super) records: BTreeMap<PortId, PortRecord>,
    pub(super) networks: BTreeMap<NetworkId, NetworkRecord>,
}

const NOTHING: Adjacency = Adjacency {
    kind: AdjacencyKind::Prohibit,
    port: PortId::NONE,
    adapter: AdapterId::NONE,
    destination: MacAddr::ZERO,
    source: MacAddr::ZERO,
    mtu: 1500,
    vlan: 0,
    next_hop: 0,
};

pub(super) fn adapter_on(port: PortId) -> AdapterId {
    AdapterId(u32::from(port.0))
}

pub(super) fn guest(port: PortId) -> Member {
    let adapter = adapter_on(port);
    Member { port, adapter, vlan: 0, kind: MemberKind::Guest, mtu: 1500 }
}

fn wire(vlan: u16) -> Member {
    Member { port: UP, adapter: AdapterId::NONE, vlan, kind: MemberKind::Uplink, mtu: 1500 }
}

impl Host {
    pub(super) fn new() -> Host {
        let qsbr = Qsbr::new(4);
        let mut host = Host {
            fib: Ipv4FibWriter::new(64, qsbr.clone()),
            adjacencies: AdjacencyWriter::new(1 << 14, qsbr.clone()),
            macs: MacWriter::new(4096, qsbr.clone()),
            qsbr,
            records: BTreeMap::new(),
            networks: BTreeMap::new(),
        };
        host.add_ports();
        host.add_networks();
        host.add_routes();
        host
    }

    fn add_record(&mut self, id: PortId, own_mac: MacAddr, attachment: Attachment) {
        self.records.insert(id, PortRecord { id, own_mac, mtu: 1500, attachment });
    }

    fn add_ports(&mut self) {
        let uplink = Uplink { untagged: Some(WAN), vlans: [(VID, VLAN)].into() };
        self.add_record(UP, UP_MAC, Attachment::Uplink(uplink));
        let second = Uplink { untagged: None, vlans: Box::default() };
        self.add_record(UP2, UP2_MAC, Attachment::Uplink(second));
        self.add_record(HOST, GATEWAY_MAC, Attachment::Host { peer_mac: HOST_PEER });
        self.add_record(VENET, GATEWAY_MAC, Attachment::Shared { peer_mac: VENET_PEER });
        self.add_record(CLOSED, GATEWAY_MAC, Attachment::Closed);
        for port in [C1, C2, C3, N1] {
            let routed = RoutedAdapter {
                adapter: adapter_on(port),
                peer_mac: at(port).mac,
                filters: Filters::ALL,
            };
            self.add_record(port, GATEWAY_MAC, Attachment::Routed(routed));
        }
    }

    fn add_networks(&mut self) {
        self.add_network(LAN, &[M1, M2, M3], None, UnknownUnicast::ToUplink);
        self.add_network(WAN, &[W1, W2, WF], Some(wire(0)), UnknownUnicast::ToUplink);
        self.add_network(VLAN, &[V1, V2], Some(wire(VID)), UnknownUnicast::ToUplink);
        // Registered addresses, and so an IP filter: M1 and W1 only.
        for port in [M1, W1] {
            self.bridged(port).ipv4 = [(at(port).ip.into(), u32::MAX)].into();
        }
        self.bridged(WF).filters = Filters { promisc: true, ..Filters::NONE };
        let server = Member { kind: MemberKind::Server, ..guest(MS) };
        let attachment = Attachment::NetworkServer {
            network: LAN,
            peer_mac: at(MS).mac,
            adapter: adapter_on(MS),
        };
        self.add_record(MS, GATEWAY_MAC, attachment);
        self.add_member(LAN, server);
        let ours = Adjacency { kind: AdjacencyKind::Local, ..NOTHING };
        self.add_mac(WAN, UP_MAC, ours, true);
        self.network(WAN).router_mac = Some(UP_MAC);
    }

    fn add_network(
        &mut self,
        id: NetworkId,
        guests: &[PortId],
        uplink: Option<Member>,
        unknown_unicast: UnknownUnicast,
    ) {
        let network = NetworkRecord {
            id,
            members: uplink.into_iter().collect(),
            promiscuous: Box::default(),
            uplink,
            unknown_unicast,
            learning: false,
            is_isolated: false,
            router_mac: None,
        };
        self.networks.insert(id, network);
        for port in guests {
            let bridged = BridgedAdapter {
                adapter: adapter_on(*port),
                network: id,
                peer_mac: at(*port).mac,
                filters: Filters::ALL,
                ipv4: Box::default(),
                ipv6: Box::default(),
            };
            self.add_record(*port, GATEWAY_MAC, Attachment::Bridged(bridged));
            self.add_member(id, guest(*port));
        }
    }

    fn add_member(&mut self, network: NetworkId, member: Member) {
        self.add_mac(network, at(member.port).mac, bridge_way(&member), true);
        let record = self.network(network);
        record.members = record.members.iter().copied().chain([member]).collect();
    }

    pub(super) fn add_mac(
        &mut self,
        network: NetworkId,
        mac: MacAddr,
        way: Adjacency,
        is_static: bool,
    ) {
        let adjacency = self.adjacencies.add(way).unwrap();
        self.macs.insert(network, mac, adjacency, is_static).unwrap();
    }

    /// The adapter on a port of a network, to change.
    pub(super) fn bridged(&mut self, port: PortId) -> &mut BridgedAdapter {
        match &mut self.records.get_mut(&port).unwrap().attachment {
            Attachment::Bridged(bridged) => bridged,
            other => panic!("{other:?} is not bridged"),
        }
    }

    /// The adapter on a guest's own port, to change.
    pub(super) fn routed(&mut self, port: PortId) -> &mut RoutedAdapter {
        match &mut self.records.get_mut(&port).unwrap().attachment {
            Attachment::Routed(routed) => routed,
            other => panic!("{other:?} is not host-routed"),
        }
    }

    /// A network, to change.
    pub(super) fn network(&mut self, id: NetworkId) -> &mut NetworkRecord {
        self.networks.get_mut(&id).unwrap()
    }

    /// Gives a member every unicast frame of its network.
    pub(super) fn make_promiscuous(&mut self, id: NetworkId, port: PortId) {
        self.bridged(port).filters.promisc = false;
        let network = self.network(id);
        let member = network.members.iter_mut().find(|member| member.port == port).unwrap();
        member.kind = MemberKind::PromiscuousGuest;
        network.promiscuous = network.promiscuous.iter().copied().chain([*member]).collect();
    }

    pub(super) fn route(&mut self, to: Ipv4Addr, len: u8, way: Adjacency) -> AdjacencyId {
        let adjacency = self.adjacencies.add(way).unwrap();
        self.fib.insert(to.into(), len, adjacency).unwrap();
        adjacency
    }

    /// The way to what a guest's, the server's or a neighbor's port leads to.
    pub(super) fn way(&self, port: PortId, destination: MacAddr) -> Adjacency {
        Adjacency {
            kind: AdjacencyKind::Forward,
            port,
            destination,
            source: self.records[&port].own_mac,
            ..NOTHING
        }
    }

    fn add_routes(&mut self) {
        for port in [C1, C2, C3, N1] {
            let mtu = if port == N1 { 576 } else { 1500 };
            let way = Adjacency { adapter: adapter_on(port), mtu, ..self.way(port, at(port).mac) };
            let adjacency = self.route(at(port).ip, 32, way);
            if port == C1 {
                self.fib.insert(u32::from(ROUTED_TO_C1) & !0xf, 28, adjacency).unwrap();
            }
        }
        let venet = self.way(VENET, VENET_PEER);
        self.route(at(VENET).ip, 32, Adjacency { adapter: S1_ADAPTER, ..venet });
        self.route(s2().ip, 32, Adjacency { adapter: S2_ADAPTER, ..venet });
        let server = self.way(HOST, HOST_PEER);
        self.route(SERVER_IP, 32, Adjacency { adapter: AdapterId::SERVER, ..server });
        self.route(GATEWAY_IP, 32, Adjacency { kind: AdjacencyKind::Local, ..NOTHING });
        self.route(PROHIBITED, 32, NOTHING);

        self.route(Ipv4Addr::UNSPECIFIED, 0, self.way(UP, ROUTER_MAC));
        self.route(at(UP).ip, 32, self.way(UP, at(UP).mac));
        self.route(ON_UP2, 32, self.way(UP2, at(UP2).mac));
        let wire = self.way(UP, MacAddr::ZERO);
        let broadcast = DIRECTED_BROADCAST.into();
        let kind = AdjacencyKind::Glean;
        self.route(
            Ipv4Addr::new(192, 0, 2, 0),
            24,
            Adjacency { kind, next_hop: broadcast, mtu: u16::MAX, ..wire },
        );
        let unresolved =
            Adjacency { kind: AdjacencyKind::Incomplete, next_hop: INCOMPLETE.into(), ..wire };
        self.route(INCOMPLETE, 32, unresolved);
        self.route(Ipv4Addr::new(100, 64, 0, 0), 10, unresolved);
        let lost = Adjacency { kind: AdjacencyKind::Unreachable, ..wire };
        self.route(UNREACHABLE, 32, lost);
    }

    pub(super) fn tables(&self) -> Tables {
        Tables {
            fib: self.fib.fib().clone(),
            adjacencies: self.adjacencies.table().clone(),
            macs: self.macs.table().clone(),
        }
    }

    /// A worker's path over this host's tables and records, with no way out yet.
    pub(super) fn path(
        &self,
        pool: MemoryPool,
        punts: Arc<ArrayQueue<Punt<MemoryFrame>>>,
        rates: Rates,
    ) -> Path<MemoryIo> {
        let mut path = Path::new(self.tables(), Arc::new(Counters::new()), pool, punts, rates);
        path.view.icmp_source = SERVER_IP;
        self.put_in_force(&mut path);
        path
    }

    /// Gives a path the records as they now are.
    pub(super) fn put_in_force(&self, path: &mut Path<MemoryIo>) {
        for (id, record) in &self.records {
            path.view.set_port(*id, Some(Arc::new(record.clone())));
        }
        for (id, network) in &self.networks {
            path.view.set_network(*id, Some(Arc::new(network.clone())));
        }
    }
}

/// What a member's MAC leads to.
pub(super) fn bridge_way(member: &Member) -> Adjacency {
    let kind = AdjacencyKind::Bridge;
    let Member { port, adapter, vlan, mtu, .. } = *member;
    Adjacency { kind, port, adapter, vlan, mtu, ..NOTHING }
}
