//! Virtual networks: their records, their members and the wire. Their MACs are in `mac`.

use super::{PublishError, Published, Publisher, Role};
use crate::api::view::PortLabel;
use crate::model::{self, MacTarget, Name};
use crate::registry::{Network, ServerPort};
use dataplane::ids::{AdapterId, AdjacencyId, NetworkId, PortId};
use dataplane::io::Io;
use dataplane::record::{Attachment, Member, MemberKind, NetworkRecord, UnknownUnicast, Uplink};
use dataplane::table::{Adjacency, AdjacencyKind};
use dataplane::wire::ethernet::MacAddr;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A published network.
pub(super) struct NetworkEntry {
    pub(super) network: Arc<Network>,
    pub(super) members: BTreeMap<PortId, MemberEntry>,
    /// The uplink's row, and its port and MAC.
    pub(super) uplink: Option<WireEntry>,
    /// Learned MACs and the member port each was seen on.
    pub(super) learned: HashMap<MacAddr, PortId>,
    /// MACs that the operator fixed, in the table only while their member is there.
    pub(super) fixed: BTreeMap<MacAddr, MacTarget>,
}

pub(super) struct MemberEntry {
    pub(super) member: Member,
    pub(super) adjacency: AdjacencyId,
    pub(super) learned: u32,
}

pub(super) struct WireEntry {
    port: PortId,
    own_mac: MacAddr,
    local: Option<AdjacencyId>,
}

impl NetworkEntry {
    pub(super) fn is_on(&self, uplink: &Name) -> bool {
        self.network.uplink().is_some_and(|(port, _)| port == uplink)
    }

    /// The row of the member on a port, where its MTU was another before.
    pub(super) fn set_member_mtu(&mut self, port: PortId, mtu: u16) -> Option<AdjacencyId> {
        let entry = self.members.get_mut(&port)?;
        let before = std::mem::replace(&mut entry.member.mtu, mtu);
        (before != mtu).then_some(entry.adjacency)
    }

    pub(super) fn record(&self) -> NetworkRecord {
        let members: Box<[Member]> = self.members.values().map(|entry| entry.member).collect();
        let of_kind = |kind| members.iter().filter(move |member: &&Member| member.kind == kind);
        let is_untagged = matches!(self.network.uplink(), Some((_, None)));
        NetworkRecord {
            id: self.network.id(),
            promiscuous: of_kind(MemberKind::PromiscuousGuest).copied().collect(),
            uplink: of_kind(MemberKind::Uplink).next().copied(),
            unknown_unicast: match self.network.unknown_unicast {
                model::UnknownUnicast::Uplink => UnknownUnicast::ToUplink,
                model::UnknownUnicast::Flood => UnknownUnicast::Flood,
                model::UnknownUnicast::Drop => UnknownUnicast::Drop,
            },
            learning: self.network.learning,
            is_isolated: self.network.isolated,
            router_mac: self.uplink.as_ref().filter(|_| is_untagged).map(|wire| wire.own_mac),
            members,
        }
    }
}

impl<I: Io> Publisher<I> {
    /// A network appears, attached to its uplink if that is open.
    ///
    /// # Errors
    /// A table is full or a worker does not answer.
    pub fn network_up(&mut self, network: &Arc<Network>) -> Published {
        let entry = NetworkEntry {
            network: network.clone(),
            members: BTreeMap::new(),
            uplink: None,
            learned: HashMap::new(),
            fixed: BTreeMap::new(),
        };
        self.networks.insert(network.name.clone(), entry);
        self.network_names.insert(network.id(), network.name.clone());
        self.wire_up(&network.name)
    }

    /// A network changes: attachment, policies. Where the attachment stays it stays on its wire, with
    /// all that was learned there.
    ///
    /// # Errors
    /// As for [`Publisher::network_up`].
    pub fn network_change(&mut self, new: &Arc<Network>) -> Published {
        let Some(entry) = self.networks.get_mut(&new.name) else { return Ok(()) };
        if entry.network.attach == new.attach {
            entry.network = new.clone();
            self.dirty_networks.insert(new.name.clone());
            return Ok(());
        }
        self.wire_down(&new.name)?;
        if let Some(entry) = self.networks.get_mut(&new.name) {
            entry.network = new.clone();
        }
        self.wire_up(&new.name)
    }

    /// A network goes; its members have left before.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn network_down(&mut self, name: &Name) -> Published {
        self.wire_down(name)?;
        self.mac_flush(name);
        self.finish()?;
        if let Some(entry) = self.networks.remove(name) {
            self.network_names.remove(&entry.network.id());
            self.workers.set_network(entry.network.id(), None)?;
        }
        Ok(())
    }

    /// The server's own port on a network, open already, joins it; one that is there already joins
    /// anew, as what it is now.
    ///
    /// # Errors
    /// As for [`Publisher::adapter_up`].
    pub fn server_up(&mut self, server: &ServerPort) -> Published {
        let label = PortLabel::Server(server.network.clone());
        let port = self.ports.get(&label).ok_or_else(|| PublishError::NoPort(label.to_string()))?;
        let (port, own_mac, mtu) = (port.id, port.own_mac, port.mtu);
        let Some(entry) = self.networks.get(&server.network) else { return Ok(()) };
        let network = entry.network.id();
        if entry.members.contains_key(&port) {
            self.server_down(server)?;
        }
        let adapter = self.take_adapter_id()?;
        let added = self.adjacencies.add(bridge_way(port, adapter, mtu, 0));
        let adjacency = added.inspect_err(|_| self.adapter_ids.release(adapter.0))?;
        let member = Member { port, adapter, vlan: 0, kind: MemberKind::Server, mtu };
        self.member_up(&server.network, member, server.mac, adjacency)?;
        self.finish()?;
        let attachment = Attachment::NetworkServer { network, peer_mac: server.mac, adapter };
        self.attach(&label, own_mac, attachment)
    }

    /// The server's port leaves its network.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn server_down(&mut self, server: &ServerPort) -> Published {
        let label = PortLabel::Server(server.network.clone());
        let Some(port) = self.ports.get(&label) else { return Ok(()) };
        let (port, own_mac) = (port.id, port.own_mac);
        let entry = self.networks.get(&server.network).and_then(|n| n.members.get(&port));
        if let Some((adapter, adjacency)) = entry.map(|e| (e.member.adapter, e.adjacency)) {
            self.member_down(&server.network, port, server.mac)?;
            self.adjacencies.retire(adjacency);
            self.adapter_ids.release(adapter.0);
        }
        self.attach(&label, own_mac, Attachment::Closed)
    }

    /// The network of untagged frames of an uplink.
    pub fn untagged_network(&self, uplink: PortId) -> Option<NetworkId> {
        let entry = self.networks.values().find(|entry| {
            entry.uplink.as_ref().is_some_and(|wire| wire.port == uplink)
                && matches!(entry.network.uplink(), Some((_, None)))
        });
        entry.map(|entry| entry.network.id())
    }

    /// A network by its number.
    pub fn network_name(&self, network: NetworkId) -> Option<&Name> {
        self.network_names.get(&network)
    }

    /// Networks of an uplink join it when it opens.
    pub(super) fn uplink_networks_up(&mut self, uplink: &Name) -> Published {
        self.networks_on(uplink).into_iter().try_for_each(|name| self.wire_up(&name))
    }

    /// And leave it when it closes.
    pub(super) fn uplink_networks_down(&mut self, uplink: &Name) -> Published {
        self.networks_on(uplink).into_iter().try_for_each(|name| self.wire_down(&name))
    }

    fn networks_on(&self, uplink: &Name) -> Vec<Name> {
        let on = self.networks.iter().filter(|(_, entry)| entry.is_on(uplink));
        on.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn member_up(
        &mut self,
        network: &Name,
        member: Member,
        mac: MacAddr,
        adjacency: AdjacencyId,
    ) -> Published {
        let Some(entry) = self.networks.get_mut(network) else { return Ok(()) };
        // A member that is there already keeps what was learned behind it.
        let learned = entry.members.get(&member.port).map_or(0, |member| member.learned);
        entry.members.insert(member.port, MemberEntry { member, adjacency, learned });
        self.dirty_networks.insert(network.clone());
        self.pin(network, mac, adjacency)?;
        self.fixed_up(network, adjacency)?;
        self.rehang_behind(network)
    }

    pub(super) fn member_down(&mut self, network: &Name, port: PortId, mac: MacAddr) -> Published {
        let Some(entry) = self.networks.get_mut(network) else { return Ok(()) };
        let id = entry.network.id();
        let member = entry.members.remove(&port);
        let behind: Vec<MacAddr> =
            entry.learned.iter().filter(|(_, at)| **at == port).map(|(mac, _)| *mac).collect();
        for mac in behind {
            self.forget(network, mac);
        }
        self.macs.remove(id, mac);
        if let Some(member) = member {
            self.fixed_down(network, member.adjacency);
        }
        self.dirty_networks.insert(network.clone());
        // Nobody may still be sending to a member whose row is about to be retired.
        self.finish()?;
        self.rehang_behind(network)
    }

    /// The neighbors of the uplink's link follow a network's members, where it is the untagged one.
    fn rehang_behind(&mut self, network: &Name) -> Published {
        let wire = self.networks.get(network).and_then(|entry| entry.uplink.as_ref());
        match wire.filter(|wire| wire.local.is_some()).map(|wire| wire.port) {
            Some(uplink) => self.rehang(uplink),
            None => Ok(()),
        }
    }

    /// Attaches a network to its uplink, if it has one and that is open.
    fn wire_up(&mut self, name: &Name) -> Published {
        self.dirty_networks.insert(name.clone());
        let Some(entry) = self.networks.get(name) else { return Ok(()) };
        if entry.uplink.is_some() {
            return Ok(());
        }
        let Some((uplink, vlan)) = entry.network.uplink() else { return Ok(()) };
        let uplink = uplink.clone();
        let Some(port) = self.ports.get(&PortLabel::Named(uplink.clone())) else { return Ok(()) };
        let (vlan, own_mac) = (vlan.unwrap_or(0), port.own_mac);
        let (port, mtu) = (port.id, port.mtu);
        let adjacency = self.adjacencies.add(bridge_way(port, AdapterId::NONE, mtu, vlan))?;
        let local = if vlan == 0 {
            let ours = Adjacency {
                kind: AdjacencyKind::Local,
                ..bridge_way(PortId::NONE, AdapterId::NONE, mtu, 0)
            };
            let local = self.adjacencies.add(ours)?;
            self.pin(name, own_mac, local)?;
            Some(local)
        } else {
            None
        };
        let kind = MemberKind::Uplink;
        let member = Member { port, adapter: AdapterId::NONE, vlan, kind, mtu };
        if let Some(entry) = self.networks.get_mut(name) {
            entry.members.insert(port, MemberEntry { member, adjacency, learned: 0 });
            entry.uplink = Some(WireEntry { port, own_mac, local });
        }
        self.dirty_uplinks.insert(uplink);
        self.fixed_up(name, adjacency)?;
        self.rehang_behind(name)
    }

    fn wire_down(&mut self, name: &Name) -> Published {
        let Some(entry) = self.networks.get_mut(name) else { return Ok(()) };
        self.dirty_networks.insert(name.clone());
        let (Some(wire), id) = (entry.uplink.take(), entry.network.id()) else { return Ok(()) };
        let uplink = entry.network.uplink().map(|(uplink, _)| uplink.clone());
        let member = entry.members.remove(&wire.port);
        let behind: Vec<MacAddr> =
            entry.learned.iter().filter(|(_, at)| **at == wire.port).map(|(mac, _)| *mac).collect();
        for mac in behind {
            self.forget(name, mac);
        }
        if wire.local.is_some() {
            self.macs.remove(id, wire.own_mac);
        }
        if let Some(member) = &member {
            self.fixed_down(name, member.adjacency);
        }
        self.dirty_uplinks.extend(uplink);
        self.finish()?;
        let rows = member.map(|member| member.adjacency).into_iter().chain(wire.local);
        rows.for_each(|row| self.adjacencies.retire(row));
        // Without the network its members are no way to a neighbor of the uplink.
        self.rehang(wire.port)
    }

    pub(super) fn send_network(&mut self, name: &Name) -> Published {
        let Some(entry) = self.networks.get(name) else { return Ok(()) };
        Ok(self.workers.set_network(entry.network.id(), Some(entry.record()))?)
    }

    pub(super) fn send_uplink(&mut self, uplink: &Name) -> Published {
        let label = PortLabel::Named(uplink.clone());
        let Some(port) = self.ports.get(&label).filter(|port| port.role == Role::Uplink) else {
            return Ok(());
        };
        let (id, own_mac) = (port.id, port.own_mac);
        let on = self.networks.values().filter(|entry| {
            entry.uplink.as_ref().is_some_and(|wire| wire.port == id) && entry.is_on(uplink)
        });
        let mut untagged = None;
        let mut vlans = Vec::new();
        for entry in on {
            match entry.network.uplink() {
                Some((_, Some(vlan))) => vlans.push((vlan, entry.network.id())),
                _ => untagged = Some(entry.network.id()),
            }
        }
        vlans.sort_unstable();
        let attachment = Attachment::Uplink(Uplink { untagged, vlans: vlans.into() });
        self.attach(&label, own_mac, attachment)
    }
}

fn bridge_way(port: PortId, adapter: AdapterId, mtu: u16, vlan: u16) -> Adjacency {
    Adjacency {
        kind: AdjacencyKind::Bridge,
        port,
        adapter,
        destination: MacAddr::ZERO,
        source: MacAddr::ZERO,
        mtu,
        vlan,
        next_hop: 0,
    }
}
