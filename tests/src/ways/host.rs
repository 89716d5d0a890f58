//! Tables and records of the host that the ways lead through, by the real table writers.

use super::*;
use dataplane::record::{
    Attachment, BridgedAdapter, Filters, Member, MemberKind, NetworkRecord, PortRecord,
    RoutedAdapter, UnknownUnicast, Uplink,
};
use dataplane::table::{Adjacency, AdjacencyKind, AdjacencyWriter, Ipv4FibWriter, MacWriter, Qsbr};
use dataplane::wire::ethernet::MacAddr;

/// Tables and records.
pub(super) struct Host {
    pub(super) fib: Ipv4FibWriter,
    pub(super) adjacencies: AdjacencyWriter,
    pub(super) macs: MacWriter,
    pub(super) records: Vec<PortRecord>,
    pub(super) networks: Vec<NetworkRecord>,
}

const NOTHING: Adjacency = Adjacency {
    kind: AdjacencyKind::Local,
    port: PortId::NONE,
    adapter: AdapterId::NONE,
    destination: MacAddr::ZERO,
    source: MacAddr::ZERO,
    mtu: 1500,
    vlan: 0,
    next_hop: 0,
};

impl Host {
    pub(super) fn new() -> Result<Self> {
        let qsbr = Qsbr::new(1);
        let mut host = Self {
            fib: Ipv4FibWriter::new(64, qsbr.clone()),
            adjacencies: AdjacencyWriter::new(1 << 14, qsbr.clone()),
            macs: MacWriter::new(4096, qsbr),
            records: Vec::new(),
            networks: Vec::new(),
        };
        host.add_wire()?;
        host.add_guests()?;
        host.add_containers()?;
        host.add_network(LAN, MEMBERS, MANY, None)?;
        let wire = Member {
            port: UP,
            adapter: AdapterId::NONE,
            vlan: VID,
            kind: MemberKind::Uplink,
            mtu: 1500,
        };
        host.add_network(WIRED, WIRED_MEMBERS, WIRED_COUNT, Some(wire))?;
        Ok(host)
    }

    fn add_port(&mut self, id: PortId, own_mac: Mac, attachment: Attachment) {
        self.records.push(PortRecord { id, own_mac: MacAddr(own_mac), mtu: 1500, attachment });
    }

    fn add_route(&mut self, to: &str, len: u8, way: Adjacency) -> Result<AdjacencyId> {
        let adjacency = self.adjacencies.add(way)?;
        self.fib.insert(to.parse::<Ipv4Addr>()?.into(), len, adjacency)?;
        Ok(adjacency)
    }

    fn add_wire(&mut self) -> Result<()> {
        let vlans = [(VID, WIRED)].into();
        self.add_port(UP, UP_MAC, Attachment::Uplink(Uplink { untagged: None, vlans }));
        let router = forward(UP, AdapterId::NONE, ROUTER, UP_MAC);
        self.add_route("0.0.0.0", 0, router)?;
        let glean = Adjacency { kind: AdjacencyKind::Glean, next_hop: 0xc000_02ff, ..router };
        self.add_route("192.0.2.0", 24, glean)?;
        self.add_route(GATEWAY_IP, 32, NOTHING)?;
        Ok(())
    }

    fn add_guests(&mut self) -> Result<()> {
        let many = (0..MANY).map(|number| (PortId(GUESTS + number), guest_ip(number), 1500));
        let more = [(NARROW, "10.3.0.1".to_owned(), 576), (FAR, "10.4.0.1".to_owned(), 1500)];
        for (port, address, mtu) in many.chain(more) {
            let adapter = adapter_on(port);
            let peer_mac = MacAddr(mac(port.0));
            let routed = RoutedAdapter { adapter, peer_mac, filters: Filters::ALL };
            self.add_port(port, GATEWAY, Attachment::Routed(routed));
            let way = forward(port, adapter, mac(port.0), GATEWAY);
            self.add_route(&address, 32, Adjacency { mtu, ..way })?;
        }
        Ok(())
    }

    fn add_containers(&mut self) -> Result<()> {
        let peer_mac = MacAddr(VENET_PEER);
        self.add_port(VENET, GATEWAY, Attachment::Shared { peer_mac });
        for number in 0..MANY {
            let adapter = AdapterId(CONTAINERS + u32::from(number));
            let way = forward(VENET, adapter, VENET_PEER, GATEWAY);
            self.add_route(&container_ip(number), 32, way)?;
        }
        Ok(())
    }

    fn add_network(
        &mut self,
        id: NetworkId,
        first: u16,
        count: u16,
        uplink: Option<Member>,
    ) -> Result<()> {
        let mut members: Vec<Member> = uplink.into_iter().collect();
        for number in 0..count {
            let port = PortId(first + number);
            let adapter = adapter_on(port);
            let address: Ipv4Addr = member_ip(number).parse()?;
            let bridged = BridgedAdapter {
                adapter,
                network: id,
                peer_mac: MacAddr(mac(port.0)),
                filters: Filters::ALL,
                ipv4: [(address.into(), u32::MAX)].into(),
                ipv6: Box::default(),
            };
            self.add_port(port, GATEWAY, Attachment::Bridged(bridged));
            members.push(Member { port, adapter, vlan: 0, kind: MemberKind::Guest, mtu: 1500 });
        }
        for Member { port, adapter, vlan, mtu, .. } in &members {
            let (port, adapter, vlan, mtu) = (*port, *adapter, *vlan, *mtu);
            let kind = AdjacencyKind::Bridge;
            let way =
                self.adjacencies.add(Adjacency { kind, port, adapter, vlan, mtu, ..NOTHING })?;
            let mac = if port == UP { ROUTER } else { mac(port.0) };
            self.macs.insert(id, MacAddr(mac), way, true)?;
        }
        self.networks.push(NetworkRecord {
            id,
            members: members.into(),
            promiscuous: Box::default(),
            uplink,
            unknown_unicast: UnknownUnicast::ToUplink,
            learning: false,
            is_isolated: false,
            router_mac: None,
        });
        Ok(())
    }
}

fn adapter_on(port: PortId) -> AdapterId {
    AdapterId(u32::from(port.0))
}

fn forward(port: PortId, adapter: AdapterId, to: Mac, from: Mac) -> Adjacency {
    let (destination, source) = (MacAddr(to), MacAddr(from));
    Adjacency { kind: AdjacencyKind::Forward, port, adapter, destination, source, ..NOTHING }
}
