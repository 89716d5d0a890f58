//! What is on an uplink's wire: next hops with a row each, neighbors, and on-link prefixes.

use super::adapter::prefix;
use super::rib::Source;
use super::route::{Resolved, way};
use super::{PublishError, Published, Publisher};
use dataplane::ids::{AdapterId, AdjacencyId, PortId};
use dataplane::io::Io;
use dataplane::table::{Adjacency, AdjacencyKind};
use dataplane::wire::ethernet::MacAddr;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// A next hop on an uplink's wire: one adjacency, however many routes lead there.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// Its row.
    pub adjacency: AdjacencyId,
    /// Routes that name it.
    pub routes: usize,
    /// Whether its own /32 is in the RIB.
    pub is_neighbor: bool,
}

impl<I: Io> Publisher<I> {
    /// A neighbor has answered, or the operator has fixed its MAC: it can be sent to from now on.
    ///
    /// # Errors
    /// A table is full.
    pub fn neighbor_up(&mut self, port: PortId, ip: Ipv4Addr, mac: MacAddr) -> Published {
        self.hang(port, ip, AdjacencyKind::Forward, mac)?;
        self.neighbor_known(port, ip)
    }

    /// A neighbor does not answer: senders are told so.
    ///
    /// # Errors
    /// A table is full.
    pub fn neighbor_unreachable(&mut self, port: PortId, ip: Ipv4Addr) -> Published {
        self.hang(port, ip, AdjacencyKind::Unreachable, MacAddr::ZERO)?;
        self.neighbor_known(port, ip)
    }

    /// A neighbor is forgotten: where routes lead to it, it is asked for on its uplink's link.
    pub fn neighbor_down(&mut self, port: PortId, ip: Ipv4Addr) {
        let known = self.routes.hops.get(&(port, ip)).copied();
        let Some(hop) = known.filter(|hop| hop.is_neighbor) else { return };
        if hop.routes > 0 && self.hang(port, ip, AdjacencyKind::Incomplete, MacAddr::ZERO).is_err()
        {
            // No room for another row: this one goes back to the uplink in two steps, each of them a
            // way that leads there. Only its count stays at the adapter that it was behind.
            let own_mac = self.own_mac(port);
            self.adjacencies.set_egress(hop.adjacency, port, own_mac);
            let incomplete = AdjacencyKind::Incomplete;
            self.adjacencies.set_neighbor(hop.adjacency, incomplete, MacAddr::ZERO);
        }
        if let Some(hop) = self.routes.hops.get_mut(&(port, ip)) {
            hop.is_neighbor = false;
        }
        self.unsay((ip.into(), 32), Source::Neighbor);
        self.hop_release(port, ip);
    }

    /// Members of an uplink's untagged network have come or gone: the neighbors on its link are reached
    /// where their MACs now are.
    pub(super) fn rehang(&mut self, uplink: PortId) -> Published {
        let here = self.routes.hops.iter().filter(|((port, _), _)| *port == uplink);
        let moved = here.filter_map(|((_, ip), hop)| {
            let row = self.adjacencies.row(hop.adjacency)?;
            let is_moved = row.kind == AdjacencyKind::Forward
                && self.behind(uplink, row.destination) != (row.port, row.adapter);
            is_moved.then_some((*ip, row.destination))
        });
        let moved: Vec<(Ipv4Addr, MacAddr)> = moved.collect();
        let kind = AdjacencyKind::Forward;
        moved.into_iter().try_for_each(|(ip, mac)| self.hang(uplink, ip, kind, mac))
    }

    /// Its row becomes what is known of a next hop. What has a MAC leaves where that is; everything
    /// else by the uplink, where it is asked for.
    fn hang(&mut self, port: PortId, ip: Ipv4Addr, kind: AdjacencyKind, mac: MacAddr) -> Published {
        let hop = self.hop(port, ip)?;
        let (egress, adapter) = match kind {
            AdjacencyKind::Forward => self.behind(port, mac),
            _ => (port, AdapterId::NONE),
        };
        let row = self.adjacencies.row(hop.adjacency);
        if row.is_some_and(|row| row.port == egress && row.adapter == adapter) {
            self.adjacencies.set_neighbor(hop.adjacency, kind, mac);
            return Ok(());
        }
        // It hangs on another port than before: a new row, whole, takes the old one's place.
        let mtu = self.label(egress).and_then(|l| self.ports.get(l)).map(|entry| entry.mtu);
        let row = Adjacency {
            adapter,
            destination: mac,
            source: self.own_mac(port),
            mtu: mtu.unwrap_or(1500),
            next_hop: ip.into(),
            ..way(kind, egress)
        };
        let fresh = self.adjacencies.add(row)?;
        self.replace_hop(port, ip, fresh)
    }

    /// What is known of a neighbor goes for its address too.
    fn neighbor_known(&mut self, port: PortId, ip: Ipv4Addr) -> Published {
        let adjacency = self.hop(port, ip)?.adjacency;
        self.say((ip.into(), 32), Source::Neighbor, adjacency)?;
        if let Some(hop) = self.routes.hops.get_mut(&(port, ip)) {
            hop.is_neighbor = true;
        }
        Ok(())
    }

    fn own_mac(&self, port: PortId) -> MacAddr {
        let entry = self.label(port).and_then(|label| self.ports.get(label));
        entry.map_or(MacAddr::ZERO, |entry| entry.own_mac)
    }

    /// The uplink on whose wire an address is: by its connected prefixes and `dev` routes.
    pub fn connected_port(&self, address: Ipv4Addr) -> Option<PortId> {
        let gleans = self.routes.gleans.keys().filter(|(_, net)| net.contains(&address));
        gleans.max_by_key(|(_, net)| net.prefix_len()).map(|(port, _)| *port)
    }

    pub(super) fn glean(
        &mut self,
        port: PortId,
        net: Ipv4Net,
    ) -> Result<AdjacencyId, PublishError> {
        if let Some(known) = self.routes.gleans.get(&(port, net)) {
            return Ok(*known);
        }
        // The broadcast address, so that the worker knows it without a record of its own.
        let row = Adjacency {
            next_hop: if net.prefix_len() < 31 { net.broadcast().into() } else { 0 },
            ..way(AdjacencyKind::Glean, port)
        };
        let adjacency = self.adjacencies.add(row)?;
        self.routes.gleans.insert((port, net), adjacency);
        Ok(adjacency)
    }

    pub(super) fn glean_down(&mut self, port: PortId, net: Ipv4Net) {
        let Some(adjacency) = self.routes.gleans.get(&(port, net)).copied() else { return };
        // A connected prefix and a `dev` route may share the row.
        let is_named = [Source::Connected, Source::OnLink].into_iter().any(|source| {
            self.rib.entry(prefix(net), source).is_some_and(|entry| entry.adjacency == adjacency)
        });
        if !is_named {
            self.routes.gleans.remove(&(port, net));
            self.adjacencies.retire(adjacency);
        }
    }

    /// The next hop's row; made, unresolved, where it is not known yet.
    fn hop(&mut self, port: PortId, ip: Ipv4Addr) -> Result<Hop, PublishError> {
        if let Some(hop) = self.routes.hops.get(&(port, ip)) {
            return Ok(*hop);
        }
        let entry = self.label(port).and_then(|label| self.ports.get(label));
        let row = Adjacency {
            source: entry.map_or(MacAddr::ZERO, |entry| entry.own_mac),
            mtu: entry.map_or(1500, |entry| entry.mtu),
            next_hop: ip.into(),
            ..way(AdjacencyKind::Incomplete, port)
        };
        let adjacency = self.adjacencies.add(row)?;
        let hop = Hop { adjacency, routes: 0, is_neighbor: false };
        self.routes.hops.insert((port, ip), hop);
        Ok(hop)
    }

    pub(super) fn hop_up(
        &mut self,
        port: PortId,
        ip: Ipv4Addr,
    ) -> Result<AdjacencyId, PublishError> {
        let hop = self.hop(port, ip)?;
        if let Some(hop) = self.routes.hops.get_mut(&(port, ip)) {
            hop.routes += 1;
        }
        Ok(hop.adjacency)
    }

    pub(super) fn hop_down(&mut self, port: PortId, ip: Ipv4Addr) {
        if let Some(hop) = self.routes.hops.get_mut(&(port, ip)) {
            hop.routes = hop.routes.saturating_sub(1);
        }
        self.hop_release(port, ip);
    }

    fn hop_release(&mut self, port: PortId, ip: Ipv4Addr) {
        let unused = |hop: &Hop| hop.routes == 0 && !hop.is_neighbor;
        if let Some(hop) = self.routes.hops.get(&(port, ip)).copied().filter(unused) {
            self.routes.hops.remove(&(port, ip));
            self.adjacencies.retire(hop.adjacency);
        }
    }

    /// Everything that leads to a next hop leads to its new row.
    fn replace_hop(&mut self, port: PortId, ip: Ipv4Addr, fresh: AdjacencyId) -> Published {
        let Some(hop) = self.routes.hops.get_mut(&(port, ip)) else { return Ok(()) };
        let old = std::mem::replace(&mut hop.adjacency, fresh);
        let default = self.rib.entry((0, 0), Source::Default);
        if default.is_some_and(|entry| entry.adjacency == old) {
            self.say((0, 0), Source::Default, fresh)?;
        }
        let here = Resolved::Hop(port, ip);
        let nets: Vec<Ipv4Net> = self
            .routes
            .by_hop
            .get(&ip)
            .map(|nets| nets.iter().copied().collect())
            .unwrap_or_default();
        for net in nets {
            if self.routes.resolved.get(&net) == Some(&here) {
                self.say(prefix(net), Source::Static, fresh)?;
            }
        }
        if self.rib.entry((ip.into(), 32), Source::Neighbor).is_some() {
            self.say((ip.into(), 32), Source::Neighbor, fresh)?;
        }
        self.adjacencies.retire(old);
        Ok(())
    }

    /// Where a neighbor's MAC really is: a member of the uplink's untagged network is reached without
    /// the wire.
    fn behind(&self, uplink: PortId, mac: MacAddr) -> (PortId, AdapterId) {
        let network = self.untagged_network(uplink);
        let owner = network.and_then(|network| self.mac_owner(network, mac));
        match owner {
            Some(owner) if owner.port != PortId::NONE => (owner.port, owner.adapter),
            _ => (uplink, AdapterId::NONE),
        }
    }
}
