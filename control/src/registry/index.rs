//! Who holds what: addresses, MACs, devices. An index over the tables, rebuilt step by step as they
//! are written, so that a duplicate is found in logarithmic time and its holder can be named.
//!
//! Invariant: held address ranges never overlap. It is what makes one look-up to the left enough.

use super::item::{Adapter, AdapterKey, Port, ServerPort};
use super::refusal::Refusal;
use crate::model::{Name, PortRole};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Who holds an address, a MAC or a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holder {
    /// A guest's adapter.
    Adapter(AdapterKey),
    /// The server's port on a network.
    Server(Name),
    /// A named port.
    Port(Name),
    /// The router behind an uplink.
    Router(Name),
    /// The appliance itself.
    Appliance,
}

/// What one item wants to hold alone.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Address ranges.
    pub(super) spans: Vec<(IpNet, Holder)>,
    /// MACs and the key that gave each.
    pub(super) macs: Vec<(MacAddr, &'static str)>,
    /// Devices and interfaces, in words.
    pub(super) devices: Vec<String>,
}

/// A held address range; its first address is the key.
#[derive(Clone, Debug)]
struct Span {
    net: IpNet,
    holder: Holder,
}

/// Who holds what.
#[derive(Debug, Default)]
pub(super) struct Index {
    spans: BTreeMap<IpAddr, Span>,
    macs: BTreeMap<MacAddr, Holder>,
    devices: BTreeMap<String, Holder>,
}

impl Holder {
    /// Whether both are parts of one registered item, which never collides with itself here.
    fn same_item(&self, other: &Holder) -> bool {
        match (self, other) {
            (Holder::Port(a) | Holder::Router(a), Holder::Port(b) | Holder::Router(b)) => a == b,
            _ => self == other,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Adapter(AdapterKey { guest, adapter }) => {
                write!(out, "guest {guest}'s adapter {adapter}")
            }
            Holder::Server(network) => write!(out, "the server's port on network {network}"),
            Holder::Port(port) => write!(out, "port {port}"),
            Holder::Router(port) => write!(out, "the gateway behind uplink {port}"),
            Holder::Appliance => out.write_str("the appliance's gateway"),
        }
    }
}

/// First and last address of a prefix.
pub(super) fn bounds(net: &IpNet) -> (IpAddr, IpAddr) {
    match net {
        IpNet::V4(net) => (net.network().into(), net.broadcast().into()),
        IpNet::V6(net) => (net.network().into(), net.broadcast().into()),
    }
}

impl Claims {
    pub(super) fn of_adapter(adapter: &Adapter, gateway_mac: MacAddr) -> Self {
        let holder = Holder::Adapter(adapter.key());
        let spans = adapter.registered().map(|net| (net, holder.clone())).collect();
        let mut macs = Vec::with_capacity(2);
        // On a shared port the MAC is the port's, and held by it.
        if adapter.shared_port().is_none() {
            macs.push((adapter.mac, "mac"));
        }
        if adapter.host_mac != gateway_mac {
            macs.push((adapter.host_mac, "host_mac"));
        }
        Self { spans, macs, devices: adapter.spec.occupies(None) }
    }

    pub(super) fn of_server(server: &ServerPort) -> Self {
        let holder = Holder::Server(server.network.clone());
        let alone = server.addresses.iter().map(|net| IpNet::from(net.addr()));
        Self {
            spans: alone.map(|net| (net, holder.clone())).collect(),
            macs: vec![(server.mac, "mac")],
            devices: server.spec.occupies(None),
        }
    }

    pub(super) fn of_port(port: &Port) -> Self {
        let own = port.addresses.iter().map(|net| IpNet::from(net.addr()));
        let own = own.map(|net| (net, Holder::Port(port.name.clone())));
        let routers = port.gateways.iter().map(|ip| IpNet::from(*ip));
        let routers = routers.map(|net| (net, Holder::Router(port.name.clone())));
        let spans = match port.role {
            PortRole::Uplink => own.chain(routers).collect(),
            PortRole::Host | PortRole::Shared => Vec::new(),
        };
        Self {
            spans,
            macs: port.mac.iter().map(|mac| (*mac, "mac")).collect(),
            devices: port.spec.occupies(port.netns.as_deref()),
        }
    }
}

impl Index {
    /// Refuses claims that another item holds, or that overlap among themselves. The item's own
    /// earlier claims don't count.
    pub(super) fn check(&self, claims: &Claims, holder: &Holder) -> Result<(), Refusal> {
        check_overlap_within(claims)?;
        for (net, part) in &claims.spans {
            if let Some(span) = self.overlapping(net, holder) {
                let field = if matches!(part, Holder::Router(_)) { "gateway" } else { "addresses" };
                let message = taken(net, &span.net, &span.holder);
                return Err(Refusal::held(field, &span.holder, message));
            }
        }
        for (place, (mac, field)) in claims.macs.iter().enumerate() {
            let earlier = claims.macs.iter().take(place).any(|(other, _)| other == mac);
            let other = self.macs.get(mac).filter(|other| !other.same_item(holder));
            if let Some(other) = other.or(earlier.then_some(holder)) {
                return Err(Refusal::held(
                    field,
                    other,
                    format!("MAC {mac} is taken by {other}; leave it out to have one generated"),
                ));
            }
        }
        for device in &claims.devices {
            let other = self.devices.get(device).filter(|other| !other.same_item(holder));
            if let Some(other) = other {
                return Err(Refusal::held(
                    "port",
                    other,
                    format!("{device} is taken by {other}; only shared:PORT can be named twice"),
                ));
            }
        }
        Ok(())
    }

    /// Enters claims that [`Index::check`] let pass.
    pub(super) fn enter(&mut self, claims: Claims, holder: &Holder) {
        for (net, holder) in claims.spans {
            self.spans.insert(bounds(&net).0, Span { net, holder });
        }
        for (mac, _) in claims.macs {
            self.macs.insert(mac, holder.clone());
        }
        for device in claims.devices {
            self.devices.insert(device, holder.clone());
        }
    }

    /// Takes out claims that were entered.
    pub(super) fn remove(&mut self, claims: &Claims) {
        for (net, _) in &claims.spans {
            self.spans.remove(&bounds(net).0);
        }
        for (mac, _) in &claims.macs {
            self.macs.remove(mac);
        }
        for device in &claims.devices {
            self.devices.remove(device);
        }
    }

    /// Who holds an address, and the prefix it is held by.
    pub(super) fn holder_of(&self, ip: IpAddr) -> Option<(&IpNet, &Holder)> {
        let (_, span) = self.spans.range(..=ip).next_back()?;
        span.net.contains(&ip).then_some((&span.net, &span.holder))
    }

    /// Who holds a MAC.
    pub(super) fn holder_of_mac(&self, mac: MacAddr) -> Option<&Holder> {
        self.macs.get(&mac)
    }

    /// A range of another item that shares an address with the prefix.
    fn overlapping(&self, net: &IpNet, but: &Holder) -> Option<&Span> {
        let (first, last) = bounds(net);
        // Going left from the end, ranges don't overlap each other, so the first one that ends before
        // us ends the search; an item's own few ranges are stepped over.
        let mut left = self.spans.range(..=last).rev().map(|(_, span)| span);
        left.by_ref()
            .take_while(|span| bounds(&span.net).1 >= first)
            .find(|span| !span.holder.same_item(but))
    }
}

fn check_overlap_within(claims: &Claims) -> Result<(), Refusal> {
    let mut sorted: Vec<_> = claims.spans.iter().map(|(net, _)| (bounds(net), net)).collect();
    sorted.sort_by_key(|(bounds, _)| *bounds);
    for pair in sorted.windows(2) {
        if let [((_, last), a), ((first, _), b)] = pair
            && first <= last
        {
            let message = if a == b {
                format!("{} is given twice", written(a))
            } else {
                format!("{} and {} overlap; give the larger one alone", written(a), written(b))
            };
            return Err(Refusal::invalid("addresses", message));
        }
    }
    Ok(())
}

/// A host prefix as a bare address, others as they are.
pub(super) fn written(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn taken(net: &IpNet, held: &IpNet, holder: &Holder) -> String {
    if net == held {
        format!("{} is taken by {holder}", written(net))
    } else {
        format!("{} overlaps {}, which is taken by {holder}", written(net), written(held))
    }
}
