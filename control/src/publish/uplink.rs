//! Uplinks: the server's addresses, the prefixes on their wires and the gateway, as they join, change and
//! leave.

use super::adapter::{ipv4_addresses, prefix};
use super::rib::Source;
use super::{Published, Publisher};
use crate::registry::Port;
use dataplane::ids::PortId;
use dataplane::io::Io;
use dataplane::pipeline::LINK_LOCAL_GATEWAY;
use ipnet::{IpNet, Ipv4Net};
use std::net::Ipv4Addr;

/// What an uplink says of its link, each thing once, in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    addresses: Vec<Ipv4Addr>,
    /// Prefixes of more than one address.
    connected: Vec<Ipv4Net>,
    gateways: Vec<Ipv4Addr>,
}

impl Link {
    fn of(port: &Port) -> Self {
        let own = addresses(port);
        let mut connected = Vec::new();
        for net in addresses(port).map(|net| net.trunc()).filter(|net| net.prefix_len() < 32) {
            // Two addresses may be of one prefix.
            if !connected.contains(&net) {
                connected.push(net);
            }
        }
        let gateways = ipv4_addresses(&port.gateways);
        Self { addresses: own.map(|net| net.addr()).collect(), connected, gateways }
    }

    /// What the other has not.
    fn without(&self, other: &Self) -> Self {
        fn rest<T: Copy + PartialEq>(all: &[T], but: &[T]) -> Vec<T> {
            all.iter().copied().filter(|one| !but.contains(one)).collect()
        }
        Self {
            addresses: rest(&self.addresses, &other.addresses),
            connected: rest(&self.connected, &other.connected),
            gateways: rest(&self.gateways, &other.gateways),
        }
    }
}

impl<I: Io> Publisher<I> {
    /// An uplink, open already, joins: its addresses, connected prefixes, gateway and networks. One
    /// that is there already stays as it is.
    ///
    /// # Errors
    /// A table is full or a worker does not answer; nothing of it stays then, so that it may be tried
    /// again.
    pub fn uplink_up(&mut self, port: &Port) -> Published {
        let id = self.open_entry(&port.name)?.id;
        if self.routes.uplinks.contains_key(&id) {
            return Ok(());
        }
        let joined = self.uplink_join(port, id);
        if joined.is_err() {
            // The first error is the one to tell.
            let _ = self.uplink_down(port);
        }
        joined
    }

    fn uplink_join(&mut self, port: &Port, id: PortId) -> Published {
        let link = Link::of(port);
        self.routes.uplinks.insert(id, link.clone());
        self.link_up(id, &link)?;
        if let Some(first) = link.addresses.first() {
            self.set_icmp_source(Some(*first))?;
        }
        self.uplink_networks_up(&port.name)?;
        self.dev_up(&port.name)?;
        self.rehop_all()?;
        self.finish()
    }

    /// An uplink that has joined has other addresses or another gateway. What is new is there before what it
    /// replaces goes, and what is in both stays untouched.
    ///
    /// # Errors
    /// A table is full, or a worker does not answer. It is to leave and join again then.
    pub fn uplink_change(&mut self, port: &Port) -> Published {
        let Ok(id) = self.open_entry(&port.name).map(|entry| entry.id) else { return Ok(()) };
        let Some(before) = self.routes.uplinks.get(&id).cloned() else { return Ok(()) };
        let after = Link::of(port);
        let added = after.without(&before);
        if let Err(error) = self.link_up(id, &added) {
            // A gateway comes last and whole: it is not among what is left to take back.
            self.link_down(id, &Link { gateways: Vec::new(), ..added });
            return Err(error);
        }
        self.routes.uplinks.insert(id, after.clone());
        self.link_down(id, &before.without(&after));
        self.follow_icmp_source(&before, &after)?;
        self.rehop_all()
    }

    /// Puts what is on an uplink's link into the tables.
    fn link_up(&mut self, id: PortId, link: &Link) -> Published {
        for address in &link.addresses {
            self.routes.server_addresses.insert(*address);
            self.local_up(*address)?;
        }
        for net in &link.connected {
            let glean = self.glean(id, *net)?;
            self.say(prefix(*net), Source::Connected, glean)?;
        }
        for gateway in &link.gateways {
            let hop = self.hop_up(id, *gateway)?;
            self.say((0, 0), Source::Default, hop).inspect_err(|_| self.hop_down(id, *gateway))?;
        }
        Ok(())
    }

    /// Takes it out again, or what of it is there.
    fn link_down(&mut self, id: PortId, link: &Link) {
        for gateway in &link.gateways {
            let Some(hop) = self.routes.hops.get(&(id, *gateway)).copied() else { continue };
            // Another may be the default by now.
            let default = self.rib.entry((0, 0), Source::Default);
            if default.is_some_and(|entry| entry.adjacency == hop.adjacency) {
                self.unsay((0, 0), Source::Default);
            }
            self.hop_down(id, *gateway);
        }
        for net in &link.connected {
            self.unsay(prefix(*net), Source::Connected);
            self.glean_down(id, *net);
        }
        for address in &link.addresses {
            self.routes.server_addresses.remove(address);
            self.local_down(*address);
        }
    }

    /// Errors come from an address of ours: from the uplink's first one, as they did.
    fn follow_icmp_source(&mut self, before: &Link, after: &Link) -> Published {
        let now = self.routes.icmp_source;
        let was_its = before.addresses.first().copied() == now;
        let is_ours = now.is_some_and(|now| self.routes.server_addresses.contains(&now));
        if is_ours && !was_its {
            return Ok(());
        }
        let any = || self.routes.server_addresses.first().copied();
        let source = after.addresses.first().copied().or_else(any);
        self.set_icmp_source(source)
    }

    fn set_icmp_source(&mut self, source: Option<Ipv4Addr>) -> Published {
        if self.routes.icmp_source != source {
            self.routes.icmp_source = source;
            self.workers.set_icmp_source(source.unwrap_or(LINK_LOCAL_GATEWAY))?;
        }
        Ok(())
    }

    /// An uplink leaves.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn uplink_down(&mut self, port: &Port) -> Published {
        let Ok(id) = self.open_entry(&port.name).map(|entry| entry.id) else { return Ok(()) };
        let Some(link) = self.routes.uplinks.remove(&id) else { return Ok(()) };
        self.uplink_networks_down(&port.name)?;
        self.dev_down(&port.name)?;
        self.link_down(id, &link);
        self.follow_icmp_source(&link, &Link::default())?;
        self.rehop_all()?;
        self.finish()
    }
}

fn addresses(port: &Port) -> impl Iterator<Item = Ipv4Net> {
    port.addresses.iter().filter_map(|net| match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    })
}
