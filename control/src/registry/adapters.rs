//! Guests and their adapters: defaults by kind, what may be set, modes.

use super::addresses::{check_adapter, switch_mode};
use super::index::{Claims, Holder};
use super::item::{Adapter, AdapterKey, DEFAULT_GATEWAY, DEFAULT_MTU, Guest, StaticMac};
use super::limits::Limits;
use super::refusal::{Missing, Refusal};
use super::{DEFAULT_NETWORK, Registry};
use crate::model::{AdapterWish, Filter, GuestKind, Mode, Name, PortRole, PortSpec};
use dataplane::ids::{AdapterId, PortId};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// MTUs, from what every IPv4 host must take (RFC 791, 3.1) to the jumbo frames that NICs carry.
pub(crate) const MTU: RangeInclusive<u16> = 576..=9216;
/// Most addresses of one adapter.
const ADDRESSES_MAX: usize = 4096;
/// The word that means every guest, network or port to the commands.
pub(super) const ALL: &str = "all";
/// Most gateways of one adapter.
const GATEWAYS_MAX: usize = 16;

impl Registry {
    pub(super) fn guest_add(&mut self, guest: &Name, kind: GuestKind) -> Result<(), Refusal> {
        if self.tables.guests.contains_key(guest) {
            let message = format!("guest {guest} exists already; names are unique on a host");
            return Err(Refusal::duplicate("name", message));
        }
        check_not_reserved(guest, &[ALL])?;
        self.write_guest(guest, Some(Guest { name: guest.clone(), kind }));
        Ok(())
    }

    pub(super) fn guest_del(&mut self, guest: &Name) -> Result<(), Refusal> {
        self.find_guest(guest)?;
        let adapters: Vec<Name> = self.adapters_of(guest).map(|found| found.name.clone()).collect();
        for adapter in &adapters {
            self.adapter_del(guest, adapter)?;
        }
        self.write_guest(guest, None);
        Ok(())
    }

    pub(super) fn adapter_add(
        &mut self,
        guest: &Name,
        name: &Name,
        wish: &AdapterWish,
    ) -> Result<(), Refusal> {
        let kind = self.find_guest(guest)?.kind;
        if self.adapter(guest, name).is_some() {
            let message = format!("guest {guest} has an adapter {name} already");
            return Err(Refusal::duplicate("name", message));
        }
        let spec = parse_port(wish.port.as_deref().unwrap_or_default())?;
        self.check_room(!matches!(spec, PortSpec::Shared(_)))?;
        let mode = wish.mode.unwrap_or(match kind {
            GuestKind::Container => Mode::HostRouted,
            GuestKind::Vm => Mode::VirtualNetwork,
        });
        let routed = mode == Mode::HostRouted;
        let key = AdapterKey { guest: guest.clone(), adapter: name.clone() };
        let adapter = Adapter {
            guest: guest.clone(),
            name: name.clone(),
            kind,
            mode,
            network: None,
            addresses: Vec::new(),
            mac: MacAddr::ZERO,
            mac_generated: true,
            host_mac: self.gateway_mac(),
            gateways: if routed { vec![DEFAULT_GATEWAY] } else { Vec::new() },
            mtu: DEFAULT_MTU,
            filter: all_filters(),
            announce: true,
            probe: true,
            limits: Limits::default(),
            aside: None,
            spec,
        };
        self.store_adapter(&key, adapter, wish, None)
    }

    pub(super) fn adapter_set(
        &mut self,
        guest: &Name,
        name: &Name,
        wish: &AdapterWish,
    ) -> Result<(), Refusal> {
        let old = self.find_adapter(guest, name)?.clone();
        if let Some(text) = &wish.port
            && parse_port(text)? != old.spec
        {
            return Err(Refusal::invalid(
                "port",
                format!(
                    "the port of {guest}/{name} is {} and stays so for its life; delete the adapter \
                     and add it again",
                    old.spec
                ),
            ));
        }
        let mut new = Adapter::clone(&old);
        if let Some(mode) = wish.mode.filter(|mode| *mode != old.mode) {
            switch_mode(&mut new, mode);
            if mode == Mode::HostRouted && new.addresses.is_empty() && wish.addresses.is_none() {
                return Err(Refusal::conflict(
                    "mode",
                    format!(
                        "{guest}/{name} has no IPv4 address to be routed by; give one with the mode: \
                         ip ADDRESS/32"
                    ),
                ));
            }
        }
        self.store_adapter(&old.key(), new, wish, Some(&old))
    }

    pub(super) fn adapter_del(&mut self, guest: &Name, name: &Name) -> Result<(), Refusal> {
        let old = self.find_adapter(guest, name)?.clone();
        let key = old.key();
        for entry in self.static_macs_of(&key) {
            self.write_static_mac(&(entry.network, entry.mac), None);
        }
        self.write_adapter(&key, None);
        self.check_next_hops("name", old.registered())
    }

    /// Lays the wish over the adapter, checks the whole, and writes it.
    fn store_adapter(
        &mut self,
        key: &AdapterKey,
        mut new: Adapter,
        wish: &AdapterWish,
        old: Option<&Adapter>,
    ) -> Result<(), Refusal> {
        self.lay_network(&mut new, wish)?;
        lay_values(&mut new, wish)?;
        self.lay_limits(&mut new.limits, wish)?;
        self.lay_mac(&mut new, wish, old)?;
        self.lay_shared(&mut new, wish)?;
        if old == Some(&new) {
            return Ok(());
        }
        for net in &new.addresses {
            check_adapter(new.mode, net)?;
        }
        self.check_surroundings(&new, key)?;
        let holder = Holder::Adapter(key.clone());
        let claims = Claims::of_adapter(&new, self.gateway_mac());
        self.tables.index.check(&claims, &holder)?;
        self.check_static_macs(&claims)?;
        let moved = old.is_some_and(|old| old.network != new.network);
        let network = new.network.clone();
        let before = old.into_iter().flat_map(|old| old.registered());
        let gateways = new.gateways.iter().map(|ip| IpNet::from(*ip));
        let touched: Vec<IpNet> = before.chain(new.registered()).chain(gateways).collect();
        self.write_adapter(key, Some(new));
        if moved {
            self.move_static_macs(key, network.as_ref())?;
        }
        self.check_next_hops("addresses", touched)
    }

    /// The network that goes with the mode.
    fn lay_network(&self, new: &mut Adapter, wish: &AdapterWish) -> Result<(), Refusal> {
        if new.mode == Mode::HostRouted {
            new.network = None;
            return match &wish.network {
                None => Ok(()),
                Some(network) => Err(Refusal::invalid(
                    "network",
                    format!(
                        "{} is host-routed and so a member of no network; for {network} say mode \
                         virtual-network as well",
                        new.key()
                    ),
                )),
            };
        }
        let fallback = || new.network.clone().or_else(|| DEFAULT_NETWORK.parse().ok());
        let network = wish.network.clone().or_else(fallback);
        if let Some(network) = &network {
            self.find_network("network", network)?;
        }
        new.network = network;
        Ok(())
    }

    /// MACs: asked for, kept, or generated.
    fn lay_mac(
        &self,
        new: &mut Adapter,
        wish: &AdapterWish,
        old: Option<&Adapter>,
    ) -> Result<(), Refusal> {
        if let Some(mac) = wish.mac {
            check_mac("mac", mac)?;
            new.mac = mac;
            new.mac_generated = false;
        } else if old.is_none() && new.shared_port().is_none() {
            new.mac = self.generate_mac(&new.key().to_string());
        }
        if let Some(mac) = wish.host_mac {
            check_mac("host_mac", mac)?;
            new.host_mac = mac;
        }
        Ok(())
    }

    /// What an adapter on a shared port takes from the port.
    fn lay_shared(&self, new: &mut Adapter, wish: &AdapterWish) -> Result<(), Refusal> {
        let Some(name) = new.shared_port().cloned() else { return Ok(()) };
        let port = self.find_port("port", &name)?;
        if port.role != PortRole::Shared {
            let message = format!("port {name} is no shared port; attach one with role shared");
            return Err(Refusal::conflict("port", message));
        }
        if new.kind == GuestKind::Vm {
            let message =
                format!("a VM has a port of its own; {name} is shared by containers only");
            return Err(Refusal::conflict("port", message));
        }
        if new.mode != Mode::HostRouted {
            let message = format!(
                "{} is on shared port {name}, which carries routed packets only; for a network add \
                 an adapter with a port of its own",
                new.key()
            );
            return Err(Refusal::conflict("mode", message));
        }
        let mac = port.mac.unwrap_or(MacAddr::ZERO);
        if wish.mac.is_some_and(|asked| asked != mac) {
            let message =
                format!("every adapter on {name} has the port's MAC, {mac}; leave it out");
            return Err(Refusal::conflict("mac", message));
        }
        if wish.host_mac.is_some_and(|asked| asked != self.gateway_mac()) {
            let message = format!("the server side of {name} is the port's; leave it out");
            return Err(Refusal::conflict("host_mac", message));
        }
        if wish.mtu.is_some_and(|mtu| mtu != port.mtu) {
            let message =
                format!("every adapter on {name} has the port's MTU, {}; leave it out", port.mtu);
            return Err(Refusal::conflict("mtu", message));
        }
        new.mac = mac;
        new.mac_generated = port.mac_generated;
        new.mtu = port.mtu;
        Ok(())
    }

    /// Refuses an adapter or server port beyond what the workers' tables hold.
    pub(super) fn check_room(&self, own_port: bool) -> Result<(), Refusal> {
        let cards = self.tables.adapter_count + self.tables.servers.len();
        if cards >= AdapterId::LIMIT {
            let message = format!("there are {cards} adapters already, which is the most");
            return Err(Refusal::limit("name", message));
        }
        let ports =
            self.tables.own_port_count + self.tables.servers.len() + self.tables.ports.len();
        if own_port && ports >= PortId::LIMIT {
            let message = format!(
                "there are {ports} ports already, which is the most; containers can share one: \
                 port shared:NAME"
            );
            return Err(Refusal::limit("port", message));
        }
        Ok(())
    }

    pub(super) fn static_macs_of(&self, key: &AdapterKey) -> Vec<StaticMac> {
        let keys = self.tables.static_macs_of.get(key).into_iter().flatten();
        keys.filter_map(|key| self.tables.static_macs.get(key)).cloned().collect()
    }

    pub(super) fn find_guest(&self, guest: &Name) -> Result<&Guest, Refusal> {
        let found = self.guest(guest).map(AsRef::as_ref);
        found.ok_or_else(|| Refusal::missing("guest", Missing::Guest(guest.clone())))
    }

    pub(super) fn find_adapter(
        &self,
        guest: &Name,
        name: &Name,
    ) -> Result<&std::sync::Arc<Adapter>, Refusal> {
        self.find_guest(guest)?;
        let missing = || Missing::Adapter(guest.clone(), name.clone());
        self.adapter(guest, name).ok_or_else(|| Refusal::missing("adapter", missing()))
    }
}

/// Refuses a name that is a word of the commands, where it would not be found by it.
pub(super) fn check_not_reserved(name: &Name, words: &[&str]) -> Result<(), Refusal> {
    if !words.contains(&name.as_str()) {
        return Ok(());
    }
    let message = format!("{name} is a word of the commands and can't be a name here");
    Err(Refusal::invalid("name", message))
}

/// Every filter there is.
pub(super) fn all_filters() -> std::collections::BTreeSet<Filter> {
    use Filter::*;
    [Ip, Mac, Promisc, Dhcp, Ra, Bpdu].into()
}

/// The values of a wish that stand for themselves.
fn lay_values(new: &mut Adapter, wish: &AdapterWish) -> Result<(), Refusal> {
    if let Some(addresses) = &wish.addresses {
        check_count("addresses", addresses.len(), ADDRESSES_MAX)?;
        new.addresses.clone_from(addresses);
    }
    if let Some(gateways) = &wish.gateway {
        check_count("gateway", gateways.len(), GATEWAYS_MAX)?;
        check_distinct("gateway", gateways)?;
        new.gateways.clone_from(gateways);
    }
    if let Some(mtu) = wish.mtu {
        check_mtu(mtu)?;
        new.mtu = mtu;
    }
    if let Some(filter) = &wish.filter {
        new.filter.clone_from(filter);
    }
    new.announce = wish.announce.unwrap_or(new.announce);
    new.probe = wish.probe.unwrap_or(new.probe);
    Ok(())
}

/// Reads a port specification.
pub(super) fn parse_port(text: &str) -> Result<PortSpec, Refusal> {
    text.parse().map_err(|bad| Refusal::invalid("port", format!("{bad}")))
}

/// Refuses what no interface can have as its MAC.
pub(super) fn check_mac(field: &'static str, mac: MacAddr) -> Result<(), Refusal> {
    if !mac.is_group() && mac != MacAddr::ZERO {
        return Ok(());
    }
    let message = format!(
        "MAC {mac} is no single interface's: the first byte is even, like 02:00:5e:10:00:01"
    );
    Err(Refusal::invalid(field, message))
}

pub(super) fn check_mtu(mtu: u16) -> Result<(), Refusal> {
    if MTU.contains(&mtu) {
        return Ok(());
    }
    let message = format!("mtu {mtu} is not from {} to {}", MTU.start(), MTU.end());
    Err(Refusal::invalid("mtu", message))
}

pub(super) fn check_count(field: &'static str, count: usize, most: usize) -> Result<(), Refusal> {
    if count <= most {
        return Ok(());
    }
    Err(Refusal::limit(field, format!("{count} {field} are given; the most is {most}")))
}

pub(super) fn check_distinct(field: &'static str, addresses: &[IpAddr]) -> Result<(), Refusal> {
    let repeated = addresses.iter().enumerate();
    let mut repeated =
        repeated.filter(|(place, ip)| addresses.iter().take(*place).any(|x| x == *ip));
    match repeated.next() {
        None => Ok(()),
        Some((_, ip)) => Err(Refusal::invalid(field, format!("{ip} is given twice"))),
    }
}
