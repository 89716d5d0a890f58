//! The MACs of virtual networks: the operator's and those learned. Registered ones come and go with
//! their members, see `network`.

use super::network::NetworkEntry;
use super::{Published, Publisher};
use crate::api::view::PortLabel;
use crate::model::{MacTarget, Name};
use crate::registry::{AdapterKey, StaticMac};
use dataplane::ids::{AdapterId, AdjacencyId, NetworkId, PortId};
use dataplane::io::Io;
use dataplane::record::MemberKind;
use dataplane::table::MacEntry;
use dataplane::wire::ethernet::MacAddr;

/// In place of a port's name: the server's own on the network. The registry lets no port have it.
const SERVER: &str = "server";

/// What became of a report of a new source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// It is in the table now.
    Added,
    /// The network does not learn, the entry is fixed, or the member has its share already.
    Refused,
}

/// Whose a MAC is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MacOwner {
    /// Port that it is behind.
    pub port: PortId,
    /// Adapter, where it is one's.
    pub adapter: AdapterId,
    /// Registered or fixed by the operator, rather than learned.
    pub is_static: bool,
}

impl<I: Io> Publisher<I> {
    /// The operator fixes a MAC: it leads to its member whenever that is there.
    ///
    /// # Errors
    /// The table is full.
    pub fn static_mac_up(&mut self, fixed: &StaticMac) -> Published {
        let Some(entry) = self.networks.get_mut(&fixed.network) else { return Ok(()) };
        entry.fixed.insert(fixed.mac, fixed.to.clone());
        // Where its member is not there, it leads nowhere rather than where it was heard.
        match self.fixed_at(&fixed.network, &fixed.to) {
            Some(adjacency) => self.pin(&fixed.network, fixed.mac, adjacency),
            None => {
                self.forget(&fixed.network, fixed.mac);
                Ok(())
            }
        }
    }

    /// The operator lets go of a MAC.
    pub fn static_mac_down(&mut self, fixed: &StaticMac) {
        if let Some(entry) = self.networks.get_mut(&fixed.network)
            && entry.fixed.remove(&fixed.mac).is_some()
        {
            self.macs.remove(entry.network.id(), fixed.mac);
        }
    }

    /// A member has come: what the operator fixed there leads to it.
    pub(super) fn fixed_up(&mut self, network: &Name, adjacency: AdjacencyId) -> Published {
        let Some(entry) = self.networks.get(network) else { return Ok(()) };
        let there = |to: &MacTarget| self.fixed_at(network, to) == Some(adjacency);
        let macs: Vec<MacAddr> =
            entry.fixed.iter().filter(|(_, to)| there(to)).map(|(mac, _)| *mac).collect();
        macs.into_iter().try_for_each(|mac| self.pin(network, mac, adjacency))
    }

    /// A member goes: what the operator fixed there leads nowhere until it is back. Before its row is
    /// retired, or the entries would lead to whoever gets the row next.
    pub(super) fn fixed_down(&mut self, network: &Name, adjacency: AdjacencyId) {
        let Some(entry) = self.networks.get(network) else { return };
        let id = entry.network.id();
        for mac in entry.fixed.keys() {
            if self.macs.find(id, *mac).is_some_and(|found| found.adjacency == adjacency) {
                self.macs.remove(id, *mac);
            }
        }
    }

    /// The row of the member that the operator means, if it is there.
    fn fixed_at(&self, network: &Name, to: &MacTarget) -> Option<AdjacencyId> {
        let port = match to {
            MacTarget::Adapter { guest, adapter } => {
                let key = AdapterKey { guest: guest.clone(), adapter: adapter.clone() };
                self.adapters.get(&key)?.port
            }
            MacTarget::Port(name) if name.as_str() == SERVER => {
                self.ports.get(&PortLabel::Server(network.clone()))?.id
            }
            MacTarget::Port(name) => self.ports.get(&PortLabel::Named(name.clone()))?.id,
        };
        self.networks.get(network)?.members.get(&port).map(|member| member.adjacency)
    }

    /// Sets a MAC that is registered, fixed or our own: in one store, whatever was learned of it.
    pub(super) fn pin(&mut self, name: &Name, mac: MacAddr, adjacency: AdjacencyId) -> Published {
        let Some(entry) = self.networks.get_mut(name) else { return Ok(()) };
        let learned = entry.learned.remove(&mac);
        count_learned(entry, learned, -1);
        self.macs.insert(entry.network.id(), mac, adjacency, true)?;
        Ok(())
    }

    /// A worker saw a source that the table does not have at that port.
    pub fn learn(&mut self, network: NetworkId, mac: MacAddr, port: PortId, now_s: u32) -> Learned {
        let Some(name) = self.network_names.get(&network).cloned() else { return Learned::Refused };
        let Some(entry) = self.networks.get(&name) else { return Learned::Refused };
        let Some(member) = entry.members.get(&port) else { return Learned::Refused };
        let (adjacency, to_wire) = (member.adjacency, member.member.kind == MemberKind::Uplink);
        let current = self.macs.find(network, mac);
        // No move from a fixed entry, nor from the wire to a guest (duties.md, "MAC table").
        let is_fixed =
            entry.fixed.contains_key(&mac) || current.as_ref().is_some_and(|entry| entry.is_static);
        let on_wire = entry.learned.get(&mac).is_some_and(|at| {
            entry.members.get(at).is_some_and(|m| m.member.kind == MemberKind::Uplink)
        });
        let settings = &entry.network;
        if !settings.learning || is_fixed || (on_wire && !to_wire) {
            return Learned::Refused;
        }
        // A MAC that moves to the member counts there as a new one does.
        let is_new_here = entry.learned.get(&mac) != Some(&port);
        if is_new_here && member.learned >= settings.max_macs_per_port {
            return Learned::Refused;
        }
        if current.is_none() && entry.learned.len() >= settings.max_macs as usize {
            let Some(victim) = self.oldest_of_fullest(&name, now_s) else {
                return Learned::Refused;
            };
            self.forget(&name, victim);
        }
        if self.macs.insert(network, mac, adjacency, false).is_err() {
            return Learned::Refused;
        }
        if let Some(hit) = self.macs.table().lookup(network, mac) {
            self.macs.table().touch(hit.slot, now_s);
        }
        if let Some(entry) = self.networks.get_mut(&name) {
            let before = entry.learned.insert(mac, port);
            count_learned(entry, before, -1);
            count_learned(entry, Some(port), 1);
        }
        Learned::Added
    }

    /// Forgets learned MACs that have been silent for their network's time.
    pub fn age_macs(&mut self, now_s: u32) {
        let mut silent = Vec::new();
        for (name, entry) in &self.networks {
            let id = entry.network.id();
            let limit = entry.network.age_s;
            let is_old =
                |mac: &MacAddr| self.macs.age_s(id, *mac, now_s).is_none_or(|age_s| age_s > limit);
            silent.extend(
                entry.learned.keys().filter(|mac| is_old(mac)).map(|mac| (name.clone(), *mac)),
            );
        }
        for (name, mac) in silent {
            self.forget(&name, mac);
        }
    }

    /// Forgets all learned MACs of a network.
    pub fn mac_flush(&mut self, name: &Name) {
        let macs: Vec<MacAddr> = self
            .networks
            .get(name)
            .map(|n| n.learned.keys().copied().collect())
            .unwrap_or_default();
        for mac in macs {
            self.forget(name, mac);
        }
    }

    /// Where a network has a MAC.
    pub fn mac_owner(&self, network: NetworkId, mac: MacAddr) -> Option<MacOwner> {
        let entry = self.macs.find(network, mac)?;
        let way = self.adjacencies.row(entry.adjacency)?;
        Some(MacOwner { port: way.port, adapter: way.adapter, is_static: entry.is_static })
    }

    /// The MACs of a network.
    pub fn macs(&self, network: NetworkId) -> impl Iterator<Item = (MacEntry, MacOwner)> {
        self.macs.iter(network).filter_map(move |entry| {
            let owner = self.mac_owner(network, entry.mac)?;
            Some((entry, owner))
        })
    }

    /// How long a learned MAC has been silent.
    pub fn mac_age_s(&self, network: NetworkId, mac: MacAddr, now_s: u32) -> Option<u32> {
        self.macs.age_s(network, mac, now_s)
    }

    /// How many MACs a network has learned.
    pub fn learned_count(&self, name: &Name) -> usize {
        self.networks.get(name).map_or(0, |entry| entry.learned.len())
    }

    pub(super) fn forget(&mut self, name: &Name, mac: MacAddr) {
        let Some(entry) = self.networks.get_mut(name) else { return };
        if let Some(port) = entry.learned.remove(&mac) {
            count_learned(entry, Some(port), -1);
            let id = entry.network.id();
            self.macs.remove(id, mac);
        }
    }

    /// When a network is full: the oldest entry of the member with most.
    fn oldest_of_fullest(&self, name: &Name, now_s: u32) -> Option<MacAddr> {
        let entry = self.networks.get(name)?;
        let (fullest, _) = entry.members.iter().max_by_key(|(_, member)| member.learned)?;
        let id = entry.network.id();
        let of_it = entry.learned.iter().filter(|(_, port)| *port == fullest);
        of_it.map(|(mac, _)| *mac).max_by_key(|mac| self.macs.age_s(id, *mac, now_s))
    }
}

fn count_learned(entry: &mut NetworkEntry, port: Option<PortId>, by: i32) {
    if let Some(member) = port.and_then(|port| entry.members.get_mut(&port)) {
        member.learned = member.learned.saturating_add_signed(by);
    }
}
