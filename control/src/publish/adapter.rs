//! A guest's adapter joins, changes and leaves.

use super::{PublishError, Published, Publisher, Role, Source};
use crate::api::view::{AdapterLabel, PortLabel};
use crate::model::{Filter, Mode};
use crate::registry::{Adapter, AdapterKey};
use dataplane::ids::{AdapterId, AdjacencyId, PortId};
use dataplane::io::Io;
use dataplane::record::{Attachment, BridgedAdapter, Filters, Member, MemberKind, RoutedAdapter};
use dataplane::table::{Adjacency, AdjacencyKind};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A published adapter.
pub(super) struct AdapterEntry {
    pub(super) id: AdapterId,
    pub(super) port: PortId,
    pub(super) adapter: Arc<Adapter>,
    /// The way to it: rewritten in host-routed mode, as it is in a network.
    pub(super) adjacency: AdjacencyId,
}

/// The port that an adapter sits on.
pub fn port_label(adapter: &Adapter) -> PortLabel {
    match adapter.shared_port() {
        Some(port) => PortLabel::Named(port.clone()),
        None => PortLabel::Adapter(AdapterLabel {
            guest: adapter.guest.clone(),
            adapter: adapter.name.clone(),
        }),
    }
}

/// The IPv4 prefixes among registered ones.
pub(super) fn ipv4(nets: impl Iterator<Item = IpNet>) -> impl Iterator<Item = Ipv4Net> {
    nets.filter_map(|net| match net {
        IpNet::V4(net) => Some(net.trunc()),
        IpNet::V6(_) => None,
    })
}

pub(super) fn prefix(net: Ipv4Net) -> (u32, u8) {
    (net.network().into(), net.prefix_len())
}

/// Whether the way to an adapter stays: its mode, network and both MACs.
fn is_in_place(old: &Adapter, new: &Adapter) -> bool {
    old.mode == new.mode
        && old.network == new.network
        && old.mac == new.mac
        && old.host_mac == new.host_mac
}

fn filters(adapter: &Adapter) -> Filters {
    Filters {
        ip: adapter.filters(Filter::Ip),
        mac: adapter.filters(Filter::Mac),
        promisc: adapter.filters(Filter::Promisc),
        dhcp: adapter.filters(Filter::Dhcp),
        ra: adapter.filters(Filter::Ra),
        bpdu: adapter.filters(Filter::Bpdu),
    }
}

impl<I: Io> Publisher<I> {
    /// An adapter whose port is open joins; one that is there already changes.
    ///
    /// # Errors
    /// A table is full, the port is not open, or a worker does not answer. What was done of it stays
    /// and is taken away by [`Publisher::adapter_down`].
    pub fn adapter_up(&mut self, adapter: &Arc<Adapter>) -> Published {
        if self.adapters.contains_key(&adapter.key()) {
            return self.adapter_change(adapter);
        }
        let id = self.take_adapter_id()?;
        self.adapter_bind_or_release(adapter, id)
    }

    /// An adapter leaves; its port, if it is its own, stays open and closed to traffic.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn adapter_down(&mut self, key: &AdapterKey) -> Published {
        if let Some(entry) = self.adapter_unbind(key, true)? {
            self.limit_no_more(entry.id)?;
            self.adapter_keys.remove(&entry.id);
            self.adapter_ids.release(entry.id.0);
        }
        Ok(())
    }

    /// An adapter changes: mode, network, addresses, MACs, filters. Its number and counters stay.
    ///
    /// # Errors
    /// As for [`Publisher::adapter_up`].
    pub fn adapter_change(&mut self, new: &Arc<Adapter>) -> Published {
        let old = self.adapters.get(&new.key()).map(|entry| entry.adapter.clone());
        match old {
            None => self.adapter_up(new),
            Some(old) if is_in_place(&old, new) => self.adapter_amend(&old, new),
            Some(_) => match self.adapter_unbind(&new.key(), false)? {
                Some(entry) => self.adapter_bind_or_release(new, entry.id),
                None => self.adapter_up(new),
            },
        }
    }

    /// A change that leaves the way to the adapter as it is: what is new is there before what is gone
    /// leaves, so that not a packet of the guest's own is lost either.
    fn adapter_amend(&mut self, old: &Arc<Adapter>, new: &Arc<Adapter>) -> Published {
        let Some(entry) = self.adapters.get_mut(&new.key()) else { return Ok(()) };
        entry.adapter = new.clone();
        let (id, port, adjacency) = (entry.id, entry.port, entry.adjacency);
        self.limit(new, id)?;
        self.adjacencies.set_mtu(adjacency, new.mtu);
        if new.mode == Mode::VirtualNetwork {
            return self.adapter_join(new, id, port, adjacency);
        }
        for gateway in ipv4_addresses(&new.gateways) {
            self.local_up(gateway)?;
        }
        for gateway in ipv4_addresses(&old.gateways) {
            self.local_down(gateway);
        }
        let before: Vec<Ipv4Net> = ipv4(old.registered()).collect();
        let after: Vec<Ipv4Net> = ipv4(new.registered()).collect();
        for net in after.iter().filter(|net| !before.contains(net)) {
            self.say(prefix(*net), Source::Guest, adjacency)?;
            self.rehop(*net)?;
        }
        for net in before.iter().filter(|net| !after.contains(net)) {
            self.unsay(prefix(*net), Source::Guest);
            self.rehop(*net)?;
        }
        self.attach_routed(new, id)
    }

    /// The record of a host-routed adapter on a port of its own.
    fn attach_routed(&mut self, adapter: &Adapter, id: AdapterId) -> Published {
        if adapter.shared_port().is_some() {
            return Ok(());
        }
        let routed =
            RoutedAdapter { adapter: id, peer_mac: adapter.mac, filters: filters(adapter) };
        self.attach(&port_label(adapter), adapter.host_mac, Attachment::Routed(routed))
    }

    /// The number of an adapter.
    pub fn adapter_id(&self, key: &AdapterKey) -> Option<AdapterId> {
        self.adapters.get(key).map(|entry| entry.id)
    }

    /// By which port an adapter's frames pass and, where it shares that port with others, the number that tells them
    /// apart. None while there is no such port, or no number yet: the port alone would be the others' too.
    pub fn adapter_place(&self, adapter: &Adapter) -> Option<(PortId, Option<AdapterId>)> {
        let port = self.port(&port_label(adapter))?.id;
        match adapter.shared_port() {
            Some(_) => Some((port, Some(self.adapter_id(&adapter.key())?))),
            None => Some((port, None)),
        }
    }

    /// Binds, or gives the number back where nothing came of it: [`Publisher::adapter_down`] would not
    /// find it.
    fn adapter_bind_or_release(&mut self, adapter: &Arc<Adapter>, id: AdapterId) -> Published {
        let bound = self.adapter_bind(adapter, id);
        if bound.is_err() && !self.adapters.contains_key(&adapter.key()) {
            self.limit_no_more(id)?;
            self.adapter_keys.remove(&id);
            self.adapter_ids.release(id.0);
        }
        bound
    }

    fn adapter_bind(&mut self, adapter: &Arc<Adapter>, id: AdapterId) -> Published {
        // Before the first frame.
        self.limit(adapter, id)?;
        let label = port_label(adapter);
        let port = self.ports.get(&label).ok_or_else(|| PublishError::NoPort(label.to_string()))?;
        let (port_id, role, port_mac) = (port.id, port.role, port.own_mac);
        // On a shared port every frame carries the kernel's MAC and ours is the port's.
        let is_shared = role == Role::Shared;
        let way = Adjacency {
            kind: match adapter.mode {
                Mode::HostRouted => AdjacencyKind::Forward,
                Mode::VirtualNetwork => AdjacencyKind::Bridge,
            },
            port: port_id,
            adapter: id,
            destination: if is_shared { port.peer_mac } else { adapter.mac },
            source: if is_shared { port_mac } else { adapter.host_mac },
            mtu: adapter.mtu.min(port.mtu),
            vlan: 0,
            next_hop: 0,
        };
        let adjacency = self.adjacencies.add(way)?;
        let entry = AdapterEntry { id, port: port_id, adapter: adapter.clone(), adjacency };
        self.adapters.insert(adapter.key(), entry);
        self.adapter_keys.insert(id, adapter.key());
        match adapter.mode {
            Mode::HostRouted => {
                self.attach_routed(adapter, id)?;
                for gateway in ipv4_addresses(&adapter.gateways) {
                    self.local_up(gateway)?;
                }
                for net in ipv4(adapter.registered()) {
                    self.say(prefix(net), Source::Guest, adjacency)?;
                    self.rehop(net)?;
                }
            }
            Mode::VirtualNetwork => self.adapter_join(adapter, id, port_id, adjacency)?,
        }
        Ok(())
    }

    fn adapter_join(
        &mut self,
        adapter: &Arc<Adapter>,
        id: AdapterId,
        port: PortId,
        adjacency: AdjacencyId,
    ) -> Published {
        let Some(network) = adapter.network.clone() else { return Ok(()) };
        let Some(network_id) = self.networks.get(&network).map(|entry| entry.network.id()) else {
            return Ok(());
        };
        let filters = filters(adapter);
        let member = Member {
            port,
            adapter: id,
            vlan: 0,
            kind: if filters.promisc { MemberKind::Guest } else { MemberKind::PromiscuousGuest },
            mtu: adapter.mtu,
        };
        let bridged = BridgedAdapter {
            adapter: id,
            network: network_id,
            peer_mac: adapter.mac,
            filters,
            ipv4: ipv4(adapter.registered())
                .map(|net| (u32::from(net.network()), u32::from(net.netmask())))
                .collect(),
            ipv6: adapter
                .registered()
                .filter_map(|net| match net {
                    IpNet::V4(_) => None,
                    IpNet::V6(net) => Some((net.network().into(), net.netmask().into())),
                })
                .collect(),
        };
        self.member_up(&network, member, adapter.mac, adjacency)?;
        // The network's record first, so that the member's first frame finds all others.
        self.finish()?;
        self.attach(&port_label(adapter), adapter.host_mac, Attachment::Bridged(bridged))
    }

    /// Takes an adapter out of every table. `close` also closes its own port to traffic; without it
    /// the port keeps the old record until the new one replaces it whole.
    fn adapter_unbind(
        &mut self,
        key: &AdapterKey,
        close: bool,
    ) -> Result<Option<AdapterEntry>, PublishError> {
        let Some(entry) = self.adapters.remove(key) else { return Ok(None) };
        let adapter = entry.adapter.clone();
        match adapter.mode {
            Mode::HostRouted => {
                for net in ipv4(adapter.registered()) {
                    self.unsay(prefix(net), Source::Guest);
                    self.rehop(net)?;
                }
                for gateway in ipv4_addresses(&adapter.gateways) {
                    self.local_down(gateway);
                }
            }
            Mode::VirtualNetwork => {
                if let Some(network) = &adapter.network {
                    self.member_down(network, entry.port, adapter.mac)?;
                }
            }
        }
        self.adjacencies.retire(entry.adjacency);
        let label = port_label(&adapter);
        if close && adapter.shared_port().is_none() && self.ports.contains_key(&label) {
            self.attach(&label, adapter.host_mac, Attachment::Closed)?;
        }
        Ok(Some(entry))
    }

    /// The adapter that holds an address in host-routed mode, with the way to it.
    pub(super) fn guest_way(&self, address: Ipv4Addr) -> Option<AdjacencyId> {
        // The registry knows whose it is; the RIB already says the same thing by prefix.
        let address = u32::from(address);
        (0..=32).rev().find_map(|len| {
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            self.rib.entry((address & mask, len), Source::Guest).map(|entry| entry.adjacency)
        })
    }

    /// A port's MTU has changed: so have the ways out of it.
    pub(super) fn set_adjacency_mtus(&mut self, port: PortId, mtu: u16) {
        for entry in self.adapters.values().filter(|entry| entry.port == port) {
            self.adjacencies.set_mtu(entry.adjacency, mtu);
        }
        self.routes.set_mtus(&mut self.adjacencies, port, mtu);
    }
}

pub(super) fn ipv4_addresses(addresses: &[IpAddr]) -> Vec<Ipv4Addr> {
    let only = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    };
    addresses.iter().filter_map(only).collect()
}
