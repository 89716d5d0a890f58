//! Frames that workers give to control: ARP, packets without a next hop, sources to learn.

use super::Appliance;
use crate::api::view::{EventKind, PortLabel};
use crate::model::{Mode, Name};
use crate::neighbor::proxy::{self, Answer, Owner, Seat, World};
use crate::neighbor::{AddressClaims, ClaimStatus, Heard, Target};
use crate::publish::{Publisher, Role};
use crate::registry::{Adapter, DEFAULT_GATEWAY, Holder, Registry};
use dataplane::dpdk::{DpdkIo, Mbuf};
use dataplane::frame::{Frame, FramePool, Ingress};
use dataplane::ids::{AdapterId, NetworkId, PortId};
use dataplane::punt::{Inject, Punt};
use dataplane::table::AdjacencyKind;
use dataplane::wire::arp::Arp;
use dataplane::wire::ethernet::{HEADER_BYTES, MacAddr};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A packet that waits for its next hop. Its ingress says where it came in.
pub(super) type Held = Mbuf;

/// Between two lines about one address in use elsewhere.
const CONFLICT_QUIET_MS: u64 = 10_000;
/// Addresses remembered for that.
const CONFLICTS_REMEMBERED: usize = 1024;

impl Appliance {
    /// Takes up to `most` frames from the workers; whether there was one.
    pub(super) fn take_punts(&mut self, most: usize) -> bool {
        let mut turn = self.punt_turn;
        let mut taken = 0;
        while taken < most {
            let Some(punt) = self.publisher.workers.next_punt(&mut turn) else { break };
            taken += 1;
            match punt {
                Punt::Arp { frame, network } => self.hear_arp(&frame, network),
                Punt::Resolve { frame, port, next_hop } => {
                    self.resolve(Target { port, ip: next_hop }, frame);
                }
                Punt::Learn { network, mac, port, adapter: _ } => {
                    let now_s = self.now_s();
                    self.publisher.learn(network, mac, port, now_s);
                }
                Punt::Conflict { port, source, mac } => self.tell_conflict(port, source, mac),
            }
        }
        self.punt_turn = turn;
        taken > 0
    }

    fn hear_arp(&mut self, frame: &Mbuf, network: Option<NetworkId>) {
        let packet = frame.head().get(HEADER_BYTES..).unwrap_or_default();
        let Some(arp) = Arp::parse(packet) else { return };
        let Ingress { port, adapter } = frame.ingress();
        let seat = self.seat(port, adapter, network);
        let answer = proxy::decide(seat, &arp, &self.surroundings());
        if let Seat::Wire { uplink } | Seat::Member { uplink } = seat {
            self.hear_neighbor(uplink, port, &arp, answer);
        }
        if let Answer::With(mac) = answer {
            let bytes = arp.answer(mac).frame(arp.sender_mac, mac);
            self.send(port, &bytes);
        }
    }

    /// What an ARP packet on an uplink's link says of its sender.
    fn hear_neighbor(&mut self, uplink: PortId, via: PortId, arp: &Arp, answer: Answer) {
        if self.is_own_uplink(arp.sender_mac) {
            return;
        }
        let now_ms = self.now_ms();
        let is_from_wire = via == uplink;
        // A member's probe contests nothing: whoever echoes ours would keep a guest's address off the
        // wire for ever, and one who may use the address is heard when it does.
        if is_from_wire || !arp.is_probe() {
            let own_mac = self.surroundings().own_mac(uplink);
            let mut actions = Vec::new();
            self.claims.hear(now_ms, uplink, own_mac, arp, &mut actions);
            self.act_on_claims(actions);
        }
        let is_ours = self.surroundings().owner(arp.sender_ip).is_some();
        if is_ours || !self.may_speak(uplink, via, arp.sender_ip) {
            return;
        }
        // Unasked only who is vouched for, or one member could fill the cache with senders it made up.
        let is_vouched_for =
            is_from_wire || self.registry.holder_of(arp.sender_ip.into()).is_some();
        let learn =
            answer != Answer::No && is_vouched_for && self.is_on_link(uplink, arp.sender_ip);
        let heard = Heard { port: uplink, via, arp, learn };
        let mut actions = Vec::new();
        self.neighbors.hear(now_ms, &heard, &mut actions);
        self.act_on_neighbors(actions);
    }

    /// Whether a MAC is an uplink's own: two of them may be plugged into one LAN and hear each other.
    fn is_own_uplink(&self, mac: MacAddr) -> bool {
        let surroundings = self.surroundings();
        let mut uplinks =
            self.registry.uplinks().filter_map(|uplink| self.named_port(&uplink.name));
        uplinks.any(|uplink| surroundings.own_mac(uplink) == mac)
    }

    /// Whether a neighbor may be where it was heard: a registered address on its holder's port alone,
    /// the gateway of an uplink on the wire alone, any other anywhere on the link (HR-14).
    fn may_speak(&self, uplink: PortId, via: PortId, ip: Ipv4Addr) -> bool {
        let is_via = |label: &PortLabel| self.publisher.port(label).is_some_and(|at| at.id == via);
        match self.registry.holder_of(IpAddr::V4(ip)).map(|(_, holder)| holder) {
            None => true,
            Some(Holder::Router(_)) => via == uplink,
            Some(Holder::Adapter(key)) => {
                let member = self.registry.adapter_by_key(key);
                let member = member.filter(|adapter| adapter.mode == Mode::VirtualNetwork);
                member.is_some_and(|adapter| is_via(&crate::publish::port_label(adapter)))
            }
            Some(Holder::Server(network)) => is_via(&PortLabel::Server(network.clone())),
            Some(Holder::Port(_) | Holder::Appliance) => false,
        }
    }

    /// Whether an address is reached directly on an uplink's link, and not by a longer route of the
    /// operator's. The prefix's broadcast address is nobody's.
    fn is_on_link(&self, uplink: PortId, ip: Ipv4Addr) -> bool {
        let found = self.publisher.rib().best_match(ip.into());
        let way = found.and_then(|(_, entry)| self.publisher.way(entry.adjacency));
        way.is_some_and(|way| {
            way.kind == AdjacencyKind::Glean && way.port == uplink && way.next_hop != u32::from(ip)
        })
    }

    /// Where an ARP packet was heard.
    fn seat(&self, port: PortId, adapter: AdapterId, network: Option<NetworkId>) -> Seat {
        let entry = self.publisher.label(port).and_then(|label| self.publisher.port(label));
        let member = || {
            let uplink = network.and_then(|network| self.untagged_uplink(network));
            uplink.map_or(Seat::Elsewhere, |uplink| Seat::Member { uplink })
        };
        match entry.map(|entry| entry.role) {
            Some(Role::Uplink) => Seat::Wire { uplink: port },
            Some(Role::Host) => Seat::Host { port },
            Some(Role::Shared) => Seat::Shared { port },
            Some(Role::Guest) if network.is_none() => Seat::Guest { port, adapter },
            Some(Role::Guest | Role::NetworkServer) => member(),
            None => Seat::Elsewhere,
        }
    }

    /// The uplink that carries a network untagged.
    fn untagged_uplink(&self, network: NetworkId) -> Option<PortId> {
        let name = self.publisher.network_name(network)?;
        match self.registry.network(name)?.uplink()? {
            (uplink, None) => self.named_port(uplink),
            _ => None,
        }
    }

    pub(super) fn named_port(&self, name: &Name) -> Option<PortId> {
        self.publisher.port(&PortLabel::Named(name.clone())).map(|entry| entry.id)
    }

    pub(super) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings { registry: &self.registry, publisher: &self.publisher, claims: &self.claims }
    }

    /// Sends a frame of ours by a port. Where there is no memory or the worker is behind it is not
    /// sent: ARP asks again.
    pub(super) fn send(&mut self, port: PortId, bytes: &[u8]) {
        if let Some(frame) = self.frame(port, bytes) {
            let _ = self.publisher.workers.inject(port, Inject::Send { port, frame });
        }
    }

    /// Sends a broadcast of ours on an uplink's link: to the wire, and to the members of its untagged
    /// network.
    pub(super) fn broadcast(&mut self, uplink: PortId, bytes: &[u8]) {
        self.send(uplink, bytes);
        let Some(network) = self.publisher.untagged_network(uplink) else { return };
        // Counted as the uplink's, so that the wire is left out.
        if let Some(frame) = self.frame(uplink, bytes) {
            let _ = self.publisher.workers.inject(uplink, Inject::Flood { network, frame });
        }
    }

    fn frame(&mut self, port: PortId, bytes: &[u8]) -> Option<Mbuf> {
        let mut frame = self.pool.alloc()?;
        frame.set_ingress(Ingress { port, adapter: AdapterId::NONE });
        frame.append(bytes).then_some(frame)
    }

    fn tell_conflict(&mut self, port: PortId, source: Ipv4Addr, mac: MacAddr) {
        let now_ms = self.now_ms();
        let last = self.conflicts_told.get(&source);
        if last.is_some_and(|at_ms| now_ms < at_ms + CONFLICT_QUIET_MS) {
            return;
        }
        if self.conflicts_told.len() >= CONFLICTS_REMEMBERED {
            self.conflicts_told.clear();
        }
        self.conflicts_told.insert(source, now_ms);
        let label = self.publisher.label(port).map(ToString::to_string).unwrap_or_default();
        self.tell(
            EventKind::Conflict,
            &format!("uplink {label}: {mac} sends as {source}, which is registered here; dropped"),
        );
    }
}

/// What proxy ARP decides by.
pub(super) struct Surroundings<'a> {
    registry: &'a Registry,
    publisher: &'a Publisher<DpdkIo>,
    claims: &'a AddressClaims,
}

impl Surroundings<'_> {
    fn adapter(&self, ip: Ipv4Addr) -> Option<(&IpNet, &Arc<Adapter>)> {
        let (net, holder) = self.registry.holder_of(IpAddr::V4(ip))?;
        let Holder::Adapter(key) = holder else { return None };
        let adapter = self.registry.adapter_by_key(key)?;
        (adapter.mode == Mode::HostRouted).then_some((net, adapter))
    }
}

impl World for Surroundings<'_> {
    fn owner(&self, ip: Ipv4Addr) -> Option<Owner> {
        if let Some((_, adapter)) = self.adapter(ip) {
            let id = self.publisher.adapter_id(&adapter.key())?;
            let port = self.publisher.port(&crate::publish::port_label(adapter))?.id;
            return Some(Owner::Routed { port, adapter: id });
        }
        let uplink = self
            .registry
            .uplinks()
            .find(|uplink| uplink.addresses.iter().any(|net| net.addr() == IpAddr::V4(ip)))?;
        let label = PortLabel::Named(uplink.name.clone());
        self.publisher.port(&label).map(|entry| Owner::Server { uplink: entry.id })
    }

    fn claim(&self, uplink: PortId, ip: Ipv4Addr) -> Option<ClaimStatus> {
        let claimed = self.claims.status(Target { port: uplink, ip });
        claimed.or_else(|| {
            // A whole prefix is not claimed address by address: routed to its holder, so up.
            let (net, adapter) = self.adapter(ip)?;
            let is_whole = net.prefix_len() < 32 && adapter.announce;
            is_whole.then_some(ClaimStatus::Up)
        })
    }

    fn is_gateway(&self, port: PortId, ip: Ipv4Addr) -> bool {
        let ip = IpAddr::V4(ip);
        let Some(label) = self.publisher.label(port) else { return false };
        match label {
            PortLabel::Adapter(label) => {
                let adapter = self.registry.adapter(&label.guest, &label.adapter);
                adapter.is_some_and(|adapter| adapter.gateways.contains(&ip))
            }
            PortLabel::Named(name) => {
                ip == DEFAULT_GATEWAY
                    || self.registry.adapters_on(name).any(|on| on.gateways.contains(&ip))
            }
            PortLabel::Server(_) => false,
        }
    }

    fn egress(&self, ip: Ipv4Addr) -> Option<PortId> {
        let (_, entry) = self.publisher.rib().best_match(ip.into())?;
        let way = self.publisher.way(entry.adjacency)?;
        let is_broadcast = way.kind == AdjacencyKind::Glean && way.next_hop == u32::from(ip);
        let leads = !matches!(way.kind, AdjacencyKind::Prohibit | AdjacencyKind::Local);
        (leads && !is_broadcast).then_some(way.port)
    }

    fn own_mac(&self, port: PortId) -> MacAddr {
        let entry = self.publisher.label(port).and_then(|label| self.publisher.port(label));
        entry.map_or(MacAddr::ZERO, |entry| entry.own_mac)
    }
}
