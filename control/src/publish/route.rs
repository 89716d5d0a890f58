//! Routes: our own addresses and the operator's routes. Next hops are in `hop`, what uplinks bring in `uplink`.

use super::adapter::prefix;
use super::hop::Hop;
use super::rib::{Entry, Source};
use super::uplink::Link;
use super::{PortEntry, PublishError, Published, Publisher, Role};
use crate::api::view::PortLabel;
use crate::model::{Name, Via};
use crate::registry::Route;
use dataplane::ids::{AdapterId, AdjacencyId, PortId};
use dataplane::io::Io;
use dataplane::table::{Adjacency, AdjacencyKind, AdjacencyWriter};
use dataplane::wire::ethernet::MacAddr;
use ipnet::{IpNet, Ipv4Net};
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};

/// State of the routing side of the publisher.
pub(super) struct Routes {
    /// What our own addresses lead to.
    local: AdjacencyId,
    /// What a route without a way leads to.
    nowhere: AdjacencyId,
    /// Uplinks that have joined and not left, with what is in force of each one's link.
    pub(super) uplinks: HashMap<PortId, Link>,
    /// Addresses of ours, and by how many they are named.
    locals: HashMap<Ipv4Addr, usize>,
    /// Those of them that are an uplink's, and so the server's where it has a port.
    pub(super) server_addresses: BTreeSet<Ipv4Addr>,
    pub(super) hops: HashMap<(PortId, Ipv4Addr), Hop>,
    /// On-link rows: connected prefixes and `dev` routes.
    pub(super) gleans: HashMap<(PortId, Ipv4Net), AdjacencyId>,
    /// The operator's routes by next hop, to be looked at again when it changes.
    pub(super) by_hop: HashMap<Ipv4Addr, BTreeSet<Ipv4Net>>,
    /// The operator's routes by device, to be looked at again when it comes or goes.
    by_dev: HashMap<Name, BTreeSet<Ipv4Net>>,
    /// What each of the operator's routes resolves to.
    pub(super) resolved: HashMap<Ipv4Net, Resolved>,
    /// The row towards the server, and its port.
    host: Option<(PortId, AdjacencyId)>,
    /// Whom ICMP errors are from; the link-local gateway where absent.
    pub(super) icmp_source: Option<Ipv4Addr>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resolved {
    Guest,
    Hop(PortId, Ipv4Addr),
    Glean(PortId),
    Host,
    Nowhere,
}

impl Resolved {
    /// As what such a route is said.
    fn source(self) -> Source {
        match self {
            Resolved::Glean(_) => Source::OnLink,
            Resolved::Guest | Resolved::Hop(..) | Resolved::Host | Resolved::Nowhere => {
                Source::Static
            }
        }
    }
}

pub(super) fn way(kind: AdjacencyKind, port: PortId) -> Adjacency {
    Adjacency {
        kind,
        port,
        adapter: AdapterId::NONE,
        destination: MacAddr::ZERO,
        source: MacAddr::ZERO,
        mtu: u16::MAX,
        vlan: 0,
        next_hop: 0,
    }
}

impl Routes {
    pub(super) fn new(adjacencies: &mut AdjacencyWriter) -> Result<Self, PublishError> {
        Ok(Self {
            local: adjacencies.add(way(AdjacencyKind::Local, PortId::NONE))?,
            nowhere: adjacencies.add(way(AdjacencyKind::Prohibit, PortId::NONE))?,
            uplinks: HashMap::new(),
            locals: HashMap::new(),
            server_addresses: BTreeSet::new(),
            hops: HashMap::new(),
            gleans: HashMap::new(),
            by_hop: HashMap::new(),
            by_dev: HashMap::new(),
            resolved: HashMap::new(),
            host: None,
            icmp_source: None,
        })
    }

    pub(super) fn set_mtus(&self, adjacencies: &mut AdjacencyWriter, port: PortId, mtu: u16) {
        // By where they leave, which is not the uplink for what is behind a member of its network.
        for hop in self.hops.values() {
            if adjacencies.row(hop.adjacency).is_some_and(|row| row.port == port) {
                adjacencies.set_mtu(hop.adjacency, mtu);
            }
        }
        if let Some((_, host)) = self.host.filter(|(at, _)| *at == port) {
            adjacencies.set_mtu(host, mtu);
        }
    }
}

impl<I: Io> Publisher<I> {
    /// The server's port, open already, joins: from now on it owns the uplinks' addresses. One that is
    /// there already stays as it is.
    ///
    /// # Errors
    /// A table is full or a worker does not answer. What was done of it stays and is taken away by
    /// [`Publisher::host_down`].
    pub fn host_up(&mut self, name: &Name) -> Published {
        let id = self.open_entry(name)?.id;
        match self.routes.host {
            Some((port, _)) if port == id => return Ok(()),
            Some(_) => self.host_down()?,
            None => {}
        }
        let entry = self.open_entry(name)?;
        let row = Adjacency {
            adapter: AdapterId::SERVER,
            destination: entry.peer_mac,
            source: entry.own_mac,
            mtu: entry.mtu,
            ..way(AdjacencyKind::Forward, id)
        };
        let adjacency = self.adjacencies.add(row)?;
        self.routes.host = Some((id, adjacency));
        self.relocate()?;
        self.dev_up(name)?;
        self.rehop_all()
    }

    /// The server's port leaves.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn host_down(&mut self) -> Published {
        let Some((port, adjacency)) = self.routes.host.take() else { return Ok(()) };
        self.relocate()?;
        if let Some(PortLabel::Named(name)) = self.label(port).cloned() {
            self.dev_down(&name)?;
        }
        self.rehop_all()?;
        self.adjacencies.retire(adjacency);
        Ok(())
    }

    /// A route of the operator's.
    ///
    /// # Errors
    /// A table is full.
    pub fn route_up(&mut self, route: &Route) -> Published {
        let IpNet::V4(net) = route.prefix else { return Ok(()) };
        let (resolved, adjacency) = match &route.via {
            Via::NextHop(IpAddr::V4(hop)) => {
                self.routes.by_hop.entry(*hop).or_default().insert(net);
                self.resolve(*hop)?
            }
            Via::Dev(name) => {
                self.routes.by_dev.entry(name.clone()).or_default().insert(net);
                self.resolve_dev(name, net)?
            }
            Via::NextHop(IpAddr::V6(_)) => return Ok(()),
        };
        self.reroute(net, resolved, adjacency)?;
        // What is on the wire now may be others' next hop.
        if matches!(resolved, Resolved::Glean(_)) { self.rehop(net) } else { Ok(()) }
    }

    /// It goes.
    pub fn route_down(&mut self, route: &Route) {
        let IpNet::V4(net) = route.prefix else { return };
        match &route.via {
            Via::NextHop(IpAddr::V4(hop)) => disown(&mut self.routes.by_hop, hop, net),
            Via::Dev(name) => disown(&mut self.routes.by_dev, name, net),
            Via::NextHop(IpAddr::V6(_)) => {}
        }
        if let Some(resolved) = self.routes.resolved.remove(&net) {
            self.unsay(prefix(net), resolved.source());
            self.unresolve(resolved, net);
            if matches!(resolved, Resolved::Glean(_)) {
                // Routes by what was on the wire through it. Without room for another row they go on
                // as they are, by a row of their own.
                let _ = self.rehop(net);
            }
        }
    }

    /// The row of an adjacency, for `show route`.
    pub fn way(&self, adjacency: AdjacencyId) -> Option<Adjacency> {
        self.adjacencies.row(adjacency)
    }

    /// An address of ours: answered, or the server's.
    pub(super) fn local_up(&mut self, address: Ipv4Addr) -> Published {
        *self.routes.locals.entry(address).or_default() += 1;
        let to = self.local_way(address);
        self.say((address.into(), 32), Source::Local, to)
    }

    pub(super) fn local_down(&mut self, address: Ipv4Addr) {
        let Some(count) = self.routes.locals.get_mut(&address) else { return };
        *count -= 1;
        if *count == 0 {
            self.routes.locals.remove(&address);
            self.unsay((address.into(), 32), Source::Local);
        }
    }

    pub(super) fn say(
        &mut self,
        prefix: super::Prefix,
        source: Source,
        adjacency: AdjacencyId,
    ) -> Published {
        Ok(self.rib.add(prefix, Entry { source, adjacency })?)
    }

    pub(super) fn unsay(&mut self, prefix: super::Prefix, source: Source) {
        self.rib.remove(prefix, source);
    }

    /// Routes whose next hop lies in `net` are resolved again: its holder came, went or changed.
    pub(super) fn rehop(&mut self, net: Ipv4Net) -> Published {
        if self.routes.by_hop.is_empty() {
            return Ok(());
        }
        let hops: Vec<Ipv4Addr> = if net.prefix_len() == 32 {
            self.routes.by_hop.contains_key(&net.addr()).then_some(net.addr()).into_iter().collect()
        } else {
            self.routes.by_hop.keys().copied().filter(|hop| net.contains(hop)).collect()
        };
        hops.into_iter().try_for_each(|hop| self.rehop_one(hop))
    }

    pub(super) fn rehop_all(&mut self) -> Published {
        let hops: Vec<Ipv4Addr> = self.routes.by_hop.keys().copied().collect();
        hops.into_iter().try_for_each(|hop| self.rehop_one(hop))
    }

    fn rehop_one(&mut self, hop: Ipv4Addr) -> Published {
        let nets: Vec<Ipv4Net> = self
            .routes
            .by_hop
            .get(&hop)
            .map(|nets| nets.iter().copied().collect())
            .unwrap_or_default();
        for net in nets {
            let (resolved, adjacency) = self.resolve(hop)?;
            self.reroute(net, resolved, adjacency)?;
        }
        Ok(())
    }

    /// A port is there: the operator's routes to it lead somewhere.
    pub(super) fn dev_up(&mut self, name: &Name) -> Published {
        for net in self.routes_to(name) {
            let (resolved, adjacency) = self.resolve_dev(name, net)?;
            self.reroute(net, resolved, adjacency)?;
        }
        Ok(())
    }

    /// It goes: they lead nowhere, before the rows that they named are given up.
    pub(super) fn dev_down(&mut self, name: &Name) -> Published {
        let nowhere = self.routes.nowhere;
        let nets = self.routes_to(name);
        nets.into_iter().try_for_each(|net| self.reroute(net, Resolved::Nowhere, nowhere))
    }

    fn routes_to(&self, name: &Name) -> Vec<Ipv4Net> {
        self.routes.by_dev.get(name).into_iter().flatten().copied().collect()
    }

    /// A route of the operator's leads elsewhere: said before what it led to is let go.
    fn reroute(&mut self, net: Ipv4Net, to: Resolved, adjacency: AdjacencyId) -> Published {
        self.say(prefix(net), to.source(), adjacency)?;
        if let Some(before) = self.routes.resolved.insert(net, to) {
            if before.source() != to.source() {
                self.unsay(prefix(net), before.source());
            }
            self.unresolve(before, net);
        }
        Ok(())
    }

    /// Where a next hop is: at a guest, or on the wire of the uplink whose prefix holds it.
    fn resolve(&mut self, hop: Ipv4Addr) -> Result<(Resolved, AdjacencyId), PublishError> {
        if let Some(guest) = self.guest_way(hop) {
            return Ok((Resolved::Guest, guest));
        }
        match self.connected_port(hop) {
            Some(port) => Ok((Resolved::Hop(port, hop), self.hop_up(port, hop)?)),
            None => Ok((Resolved::Nowhere, self.routes.nowhere)),
        }
    }

    fn resolve_dev(
        &mut self,
        name: &Name,
        net: Ipv4Net,
    ) -> Result<(Resolved, AdjacencyId), PublishError> {
        let Ok(entry) = self.open_entry(name) else {
            return Ok((Resolved::Nowhere, self.routes.nowhere));
        };
        let (id, role) = (entry.id, entry.role);
        match (role, self.routes.host) {
            (Role::Uplink, _) if self.routes.uplinks.contains_key(&id) => {
                Ok((Resolved::Glean(id), self.glean(id, net)?))
            }
            (Role::Host, Some((_, host))) => Ok((Resolved::Host, host)),
            _ => Ok((Resolved::Nowhere, self.routes.nowhere)),
        }
    }

    fn unresolve(&mut self, resolved: Resolved, net: Ipv4Net) {
        match resolved {
            Resolved::Hop(port, hop) => self.hop_down(port, hop),
            Resolved::Glean(port) => self.glean_down(port, net),
            Resolved::Guest | Resolved::Host | Resolved::Nowhere => {}
        }
    }

    pub(super) fn open_entry(&self, name: &Name) -> Result<&PortEntry, PublishError> {
        let label = PortLabel::Named(name.clone());
        self.ports.get(&label).ok_or_else(|| PublishError::NoPort(label.to_string()))
    }

    /// The server has come or gone: the addresses that are its change hands.
    fn relocate(&mut self) -> Published {
        let addresses: Vec<Ipv4Addr> = self.routes.locals.keys().copied().collect();
        for address in addresses {
            let to = self.local_way(address);
            self.say((address.into(), 32), Source::Local, to)?;
        }
        Ok(())
    }

    /// An uplink's address is the server's where there is one; a gateway address is always ours.
    fn local_way(&self, address: Ipv4Addr) -> AdjacencyId {
        match self.routes.host {
            Some((_, host)) if self.routes.server_addresses.contains(&address) => host,
            _ => self.routes.local,
        }
    }
}

/// Takes a route from the list of what it led by.
fn disown<K: Hash + Eq>(lists: &mut HashMap<K, BTreeSet<Ipv4Net>>, by: &K, net: Ipv4Net) {
    if let Some(nets) = lists.get_mut(by) {
        nets.remove(&net);
        if nets.is_empty() {
            lists.remove(by);
        }
    }
}
