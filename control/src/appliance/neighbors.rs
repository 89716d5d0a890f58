//! Neighbors and claims: drives ARP's state machines and carries out what they ask for.

use super::Appliance;
use super::arp::Held;
use crate::api::view::{EventKind, PortLabel};
use crate::model::Mode;
use crate::neighbor::proxy::World;
use crate::neighbor::{ClaimAction, ClaimWish, NeighborAction, NeighborState, Station, Target};
use crate::registry::{Adapter, Neighbor, Network, Port};
use dataplane::counters::{DropReason, PortCounter};
use dataplane::frame::Frame;
use dataplane::ids::PortId;
use dataplane::punt::Inject;
use dataplane::wire::arp::Arp;
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

impl Appliance {
    /// Does what is due.
    pub(super) fn tick_neighbors(&mut self) {
        let now_ms = self.now_ms();
        if self.neighbors.next_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            let mut actions = Vec::new();
            self.neighbors.tick(now_ms, &mut actions);
            self.act_on_neighbors(actions);
        }
        if self.claims.next_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            let mut actions = Vec::new();
            self.claims.tick(now_ms, &mut actions);
            self.act_on_claims(actions);
        }
    }

    /// A packet waits for its next hop.
    pub(super) fn resolve(&mut self, target: Target, frame: Held) {
        let asker = frame.ingress().adapter;
        let mut actions = Vec::new();
        self.neighbors.resolve(self.now_ms(), target, asker, frame, &mut actions);
        self.act_on_neighbors(actions);
    }

    pub(super) fn act_on_neighbors(&mut self, actions: Vec<NeighborAction<Held>>) {
        for action in actions {
            match action {
                NeighborAction::Request { target, to } => self.request(target, to),
                NeighborAction::Resolved { target, station } => {
                    let up = self.publisher.neighbor_up(target.port, target.ip, station.mac);
                    if let Err(error) = up {
                        self.event(&error.to_string());
                    }
                }
                NeighborAction::Unreachable { target, is_lost } => {
                    if is_lost {
                        let on = self.label_text(target.port);
                        let text = format!("port {on}: {} does not answer any more", target.ip);
                        self.tell(EventKind::Neighbor, &text);
                    }
                    let set = self.publisher.neighbor_unreachable(target.port, target.ip);
                    if let Err(error) = set {
                        self.event(&error.to_string());
                    }
                }
                NeighborAction::Forgotten { target } => {
                    self.publisher.neighbor_down(target.port, target.ip);
                }
                // A worker that routes it again finds the row as it is now, and answers by it.
                NeighborAction::Forward { packet } | NeighborAction::Unanswered { packet } => {
                    self.route_again(packet);
                }
                NeighborAction::Dropped { packet } => self.give_up(&packet),
            }
        }
    }

    fn route_again(&mut self, frame: Held) {
        let port = frame.ingress().port;
        let full = self.publisher.workers.inject(port, Inject::Route { frame });
        if let Err(Inject::Route { frame }) = full {
            self.give_up(&frame);
        }
    }

    /// Counts a held packet as made by us and dropped: its arrival was counted as consumed.
    fn give_up(&mut self, frame: &Held) {
        let from = frame.ingress();
        self.counters.port_add(from.port, PortCounter::Generated, 1);
        self.counters.drop_add(from.port, from.adapter, DropReason::Unresolved, 1);
    }

    fn request(&mut self, target: Target, to: Option<Station>) {
        let own_mac = self.surroundings().own_mac(target.port);
        let source = self.source_towards(target);
        let arp = Arp::request(own_mac, source, target.ip);
        match to {
            Some(station) => self.send(station.via, &arp.frame(station.mac, own_mac)),
            None => self.broadcast(target.port, &arp.frame(MacAddr::BROADCAST, own_mac)),
        }
    }

    /// Our address on the target's link: of the prefix that holds it, else any of the uplink's.
    fn source_towards(&self, target: Target) -> Ipv4Addr {
        let ip = IpAddr::V4(target.ip);
        let Some(PortLabel::Named(name)) = self.publisher.label(target.port) else {
            return Ipv4Addr::UNSPECIFIED;
        };
        let nets = self.registry.port(name).map(|port| port.addresses.as_slice());
        let nets = nets.unwrap_or_default();
        let best = nets.iter().find(|net| net.contains(&ip)).or_else(|| nets.first());
        match best.map(IpNet::addr) {
            Some(IpAddr::V4(address)) => address,
            _ => Ipv4Addr::UNSPECIFIED,
        }
    }

    pub(super) fn act_on_claims(&mut self, actions: Vec<ClaimAction>) {
        for action in actions {
            match action {
                ClaimAction::Probe(Target { port, ip }) => {
                    let own_mac = self.surroundings().own_mac(port);
                    let frame = Arp::probe(own_mac, ip).frame(MacAddr::BROADCAST, own_mac);
                    self.broadcast(port, &frame);
                }
                ClaimAction::Announce(Target { port, ip }) => {
                    let own_mac = self.surroundings().own_mac(port);
                    let frame = Arp::announcement(own_mac, ip).frame(MacAddr::BROADCAST, own_mac);
                    self.broadcast(port, &frame);
                }
                ClaimAction::Up(_) => {}
                ClaimAction::Conflict(Target { port, ip }, mac) => {
                    let on = self.label_text(port);
                    let text = format!("uplink {on}: {ip} is in use by {mac}; not announced");
                    self.tell(EventKind::Conflict, &text);
                }
                ClaimAction::Contested(Target { port, ip }, mac) => {
                    let on = self.label_text(port);
                    let text = format!("uplink {on}: {mac} uses {ip} too; defended");
                    self.tell(EventKind::Conflict, &text);
                }
            }
        }
    }

    fn label_text(&self, port: PortId) -> String {
        self.publisher.label(port).map(ToString::to_string).unwrap_or_default()
    }

    /// An adapter's addresses on every uplink follow its registration. What was this adapter's in its
    /// other mode is announced, not probed; so is everything after a restart. Any other change leaves
    /// an address as it stands: one in conflict stays there.
    pub(super) fn claim_adapter(
        &mut self,
        old: Option<&Arc<Adapter>>,
        new: Option<&Arc<Adapter>>,
        is_open: bool,
    ) {
        let uplinks: Vec<Arc<Port>> = self.registry.uplinks().cloned().collect();
        let before: Vec<Ipv4Addr> = old.map(|old| hosts(old).collect()).unwrap_or_default();
        let switched = old.filter(|old| new.is_some_and(|new| new.mode != old.mode));
        let known: Vec<IpAddr> =
            switched.map(|old| old.addresses.iter().map(IpNet::addr).collect()).unwrap_or_default();
        let after: Vec<Ipv4Addr> =
            new.filter(|_| is_open).map(|new| hosts(new).collect()).unwrap_or_default();
        let now_ms = self.now_ms();
        let mut actions = Vec::new();
        for uplink in uplinks {
            let Some(port) = self.named_port(&uplink.name) else { continue };
            for ip in before.iter().filter(|ip| !after.contains(ip)) {
                self.claims.withdraw(now_ms, Target { port, ip: *ip });
            }
            let Some(new) = new else { continue };
            for ip in &after {
                let target = Target { port, ip: *ip };
                let is_known = self.is_restoring || known.contains(&IpAddr::V4(*ip));
                let wish = claim_wish(new, &uplink, *ip, is_known);
                self.claims.register(now_ms, target, wish, &mut actions);
                if is_known {
                    self.claims.announce_again(now_ms, target, &mut actions);
                }
            }
        }
        self.act_on_claims(actions);
    }

    /// An uplink joins: every host-routed address is claimed on it, and its gateway looked for.
    pub(super) fn claim_uplink(&mut self, uplink: &Port) {
        let Some(port) = self.named_port(&uplink.name) else { return };
        let now_ms = self.now_ms();
        let mut actions = Vec::new();
        let adapters: Vec<Arc<Adapter>> = self.registry.adapters().cloned().collect();
        for adapter in adapters {
            for ip in hosts(&adapter) {
                let wish = claim_wish(&adapter, uplink, ip, self.is_restoring);
                self.claims.register(now_ms, Target { port, ip }, wish, &mut actions);
            }
        }
        // The server's own addresses are nobody's to register: announced and defended, never asked for.
        for own in uplink.addresses.iter().filter_map(|net| ipv4_of(net.addr())) {
            let wish = ClaimWish { probe: false, announce: true };
            self.claims.register(now_ms, Target { port, ip: own }, wish, &mut actions);
        }
        self.act_on_claims(actions);
        let gateways = uplink.gateways.iter().filter_map(|gateway| ipv4_of(*gateway));
        let mut actions = Vec::new();
        for ip in gateways {
            self.neighbors.seek(now_ms, Target { port, ip }, &mut actions);
        }
        let fixed: Vec<Neighbor> = self.registry.neighbors().cloned().collect();
        self.act_on_neighbors(actions);
        fixed.iter().filter(|fixed| fixed.dev == uplink.name).for_each(|f| self.fix_neighbor(f));
    }

    /// An uplink's addresses, gateway or probing have changed. The server's addresses are claimed as they are
    /// when an uplink joins. What is up stays up: an address that has come inside a prefix is announced, and
    /// who has it too will contest it; one that is being asked for in vain is up.
    pub(super) fn reclaim_uplink(&mut self, old: &Port, new: &Port) {
        let Some(port) = self.named_port(&new.name) else { return };
        let now_ms = self.now_ms();
        let own = |uplink: &Port| -> BTreeSet<Ipv4Addr> {
            uplink.addresses.iter().filter_map(|net| ipv4_of(net.addr())).collect()
        };
        for ip in own(old).difference(&own(new)) {
            self.claims.withdraw(now_ms, Target { port, ip: *ip });
        }
        // Known on its link, and no longer there.
        let strangers = self.neighbors.entries().filter(|(target, state)| {
            let is_fixed = matches!(state, NeighborState::Static(_));
            target.port == port && !is_fixed && !self.is_wanted_on(port, target.ip)
        });
        let strangers: Vec<Target> = strangers.map(|(target, _)| target).collect();
        let mut actions = Vec::new();
        for target in strangers {
            self.neighbors.remove(target, &mut actions);
        }
        self.act_on_neighbors(actions);
        self.claim_uplink(new);
        let is_inside = |uplink: &Port, ip: Ipv4Addr| {
            uplink.addresses.iter().any(|net| net.contains(&IpAddr::V4(ip)))
        };
        let mut actions = Vec::new();
        for ip in self.registry.adapters().flat_map(|adapter| hosts(adapter)) {
            if is_inside(new, ip) && !is_inside(old, ip) {
                self.claims.announce_again(now_ms, Target { port, ip }, &mut actions);
            }
        }
        self.act_on_claims(actions);
    }

    /// Whether a neighbor is looked for on an uplink's link: within a prefix there, and not one of us.
    fn is_wanted_on(&self, uplink: PortId, ip: Ipv4Addr) -> bool {
        self.publisher.connected_port(ip) == Some(uplink) && self.surroundings().owner(ip).is_none()
    }

    /// A port's link came up.
    pub(super) fn announce_port(&mut self, label: &PortLabel) {
        let Some(entry) = self.publisher.port(label) else { return };
        let port = entry.id;
        let now_ms = self.now_ms();
        let mut actions = Vec::new();
        match label {
            PortLabel::Named(_) => self.claims.link_up(now_ms, port, &mut actions),
            PortLabel::Adapter(label) => {
                let adapter = self.registry.adapter(&label.guest, &label.adapter).cloned();
                let addresses = adapter.iter().flat_map(|adapter| hosts(adapter));
                let uplinks: Vec<PortId> =
                    self.registry.uplinks().filter_map(|up| self.named_port(&up.name)).collect();
                for ip in addresses {
                    for port in &uplinks {
                        let target = Target { port: *port, ip };
                        self.claims.announce_again(now_ms, target, &mut actions);
                    }
                }
            }
            PortLabel::Server(_) => {}
        }
        self.act_on_claims(actions);
    }

    /// The operator fixes a neighbor.
    pub(super) fn fix_neighbor(&mut self, neighbor: &Neighbor) {
        let (Some(port), IpAddr::V4(ip)) = (self.named_port(&neighbor.dev), neighbor.ip) else {
            return;
        };
        let mut actions = Vec::new();
        let station = Station { mac: neighbor.mac, via: port };
        self.neighbors.set_static(Target { port, ip }, station, &mut actions);
        self.act_on_neighbors(actions);
    }

    /// And lets go of it.
    pub(super) fn release_neighbor(&mut self, neighbor: &Neighbor) {
        let (Some(port), IpAddr::V4(ip)) = (self.named_port(&neighbor.dev), neighbor.ip) else {
            return;
        };
        let mut actions = Vec::new();
        self.neighbors.remove(Target { port, ip }, &mut actions);
        self.act_on_neighbors(actions);
    }

    /// Forgets what was learned of one address, or of all.
    pub(super) fn flush_neighbors(&mut self, ip: Option<IpAddr>) {
        let mut actions = Vec::new();
        let matches = |target: Target| ip.is_none_or(|ip| ip == IpAddr::V4(target.ip));
        self.neighbors.flush(matches, &mut actions);
        self.act_on_neighbors(actions);
    }

    /// A guest's or the server's port leaves its network or closes: nobody is behind it any more.
    pub(super) fn forget_behind(&mut self, label: &PortLabel) {
        let Some(port) = self.publisher.port(label).map(|entry| entry.id) else { return };
        let mut actions = Vec::new();
        self.neighbors.remove_port(port, &mut actions);
        self.act_on_neighbors(actions);
    }

    /// A network leaves an uplink's link, and its members with it.
    pub(super) fn forget_members(&mut self, network: &Network) {
        let Some((uplink, None)) = network.uplink() else { return };
        let Some(port) = self.named_port(uplink) else { return };
        let mut actions = Vec::new();
        self.neighbors.remove_behind_members(port, &mut actions);
        self.act_on_neighbors(actions);
    }

    /// An uplink leaves: nothing is known on its link any more.
    pub(super) fn forget_port_neighbors(&mut self, label: &PortLabel) {
        let Some(port) = self.publisher.port(label).map(|entry| entry.id) else { return };
        self.claims.withdraw_port(port);
        let mut actions = Vec::new();
        self.neighbors.remove_port(port, &mut actions);
        self.act_on_neighbors(actions);
    }
}

fn ipv4_of(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// Single IPv4 addresses that a host-routed adapter holds.
fn hosts(adapter: &Adapter) -> impl Iterator<Item = Ipv4Addr> + '_ {
    let is_routed = adapter.mode == Mode::HostRouted;
    adapter.registered().filter_map(move |net| match net {
        IpNet::V4(net) if is_routed && net.prefix_len() == 32 => Some(net.addr()),
        _ => None,
    })
}

fn claim_wish(adapter: &Adapter, uplink: &Port, ip: Ipv4Addr, is_known: bool) -> ClaimWish {
    // Outside the uplink's prefix nobody on the wire would hear a probe.
    let is_inside = uplink.addresses.iter().any(|net| net.contains(&IpAddr::V4(ip)));
    ClaimWish {
        probe: adapter.probe && uplink.probe && is_inside && !is_known,
        announce: adapter.announce,
    }
}
