//! Networks, the server's ports on them, and their fixed MACs.

use super::adapters::{ALL, check_count, check_mac, check_not_reserved, parse_port};
use super::addresses::check_in_prefix;
use super::index::{Claims, Holder};
use super::item::{AdapterKey, DEFAULT_MTU, Network, ServerPort, StaticMac};
use super::refusal::{Missing, Refusal};
use super::{DEFAULT_NETWORK, Registry};
use crate::model::{
    MacTarget, Name, NetworkAttach, NetworkPatch, NetworkServer, PortRole, PortSpec, UnknownUnicast,
};
use dataplane::ids::NetworkId;
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::ops::RangeInclusive;

/// Learned MACs per network, limit and default.
pub(crate) const MAX_MACS: RangeInclusive<u32> = 0..=65_536;
const DEFAULT_MAX_MACS: u32 = 4096;
const DEFAULT_MAX_MACS_PER_PORT: u32 = 1024;
/// Ageing of learned MACs, seconds: limits and default (IEEE 802.1Q-2018, 8.8.3).
pub(crate) const AGE_S: RangeInclusive<u32> = 10..=86_400;
const DEFAULT_AGE_S: u32 = 300;
/// VLAN IDs in use (IEEE 802.1Q-2018, 9.6); 0 and 4095 are reserved.
pub(crate) const VLAN_ID: RangeInclusive<u16> = 1..=4094;
/// Most addresses of the server on one network.
const SERVER_ADDRESSES_MAX: usize = 256;
/// The word that names a network's server port where a port is asked for.
pub(super) const SERVER: &str = "server";

impl Registry {
    /// The network that a guest goes to when none is named.
    pub(super) fn add_default_network(&mut self) {
        if let Ok(name) = DEFAULT_NETWORK.parse() {
            self.write_network(&name, Some(new_network(&name, 0, NetworkAttach::HostOnly)));
            self.write_next_network(1);
        }
    }

    pub(super) fn network_add(
        &mut self,
        name: &Name,
        attach: &NetworkAttach,
    ) -> Result<(), Refusal> {
        if self.network(name).is_some() {
            let always = if name.as_str() == DEFAULT_NETWORK { ": it always does" } else { "" };
            let message = format!("network {name} exists already{always}");
            return Err(Refusal::duplicate("name", message));
        }
        check_not_reserved(name, &[ALL])?;
        self.check_attach(name, attach)?;
        let number = self.free_network_number()?;
        self.write_next_network(number.wrapping_add(1));
        self.write_network(name, Some(new_network(name, number, attach.clone())));
        Ok(())
    }

    /// The next number that is free, going round, so that a number rests before it is used again.
    fn free_network_number(&self) -> Result<u16, Refusal> {
        let limit = u16::try_from(NetworkId::LIMIT).unwrap_or(u16::MAX);
        let start = self.tables.next_network % limit;
        let mut round = (start..limit).chain(0..start);
        let free = round.find(|number| !self.tables.network_numbers.contains_key(number));
        free.ok_or_else(|| {
            Refusal::limit("name", format!("there are {limit} networks already, which is the most"))
        })
    }

    pub(super) fn network_set(&mut self, name: &Name, set: &NetworkPatch) -> Result<(), Refusal> {
        let old = self.find_network("network", name)?.clone();
        let mut new = old.clone();
        if let Some(attach) = &set.attach {
            self.check_attach(name, attach)?;
            new.attach = attach.clone();
        }
        new.unknown_unicast = set.unknown_unicast.unwrap_or(old.unknown_unicast);
        new.learning = set.learning.unwrap_or(old.learning);
        new.isolated = set.isolated.unwrap_or(old.isolated);
        new.max_macs = in_range("max_macs", set.max_macs, &MAX_MACS)?.unwrap_or(old.max_macs);
        new.max_macs_per_port = in_range("max_macs_per_port", set.max_macs_per_port, &MAX_MACS)?
            .unwrap_or(old.max_macs_per_port);
        new.age_s = in_range("age_s", set.age_s, &AGE_S)?.unwrap_or(old.age_s);
        if new == old {
            return Ok(());
        }
        if old.uplink().map(|(port, _)| port) != new.uplink().map(|(port, _)| port) {
            self.drop_static_macs(name, |to| !is_server(to));
        }
        self.write_network(name, Some(new));
        Ok(())
    }

    pub(super) fn network_del(&mut self, name: &Name) -> Result<(), Refusal> {
        self.find_network("network", name)?;
        if name.as_str() == DEFAULT_NETWORK {
            let message = format!("network {name} always exists and can't be deleted");
            return Err(Refusal::conflict("name", message));
        }
        if let Some(member) = self.members(name).next() {
            let message = format!(
                "{} is a member of network {name}; move it or delete it first: adapter set {} {} \
                 network NET",
                member.key(),
                member.guest,
                member.name
            );
            return Err(Refusal::conflict("name", message));
        }
        self.network_server(name, None)?;
        self.drop_static_macs(name, |_| true);
        self.write_network(name, None);
        Ok(())
    }

    pub(super) fn check_attach(&self, name: &Name, attach: &NetworkAttach) -> Result<(), Refusal> {
        let NetworkAttach::Uplink { port, vlan } = attach else { return Ok(()) };
        if name.as_str() == DEFAULT_NETWORK {
            let message = format!("network {name} is host-only; add another one for uplink {port}");
            return Err(Refusal::conflict("uplink", message));
        }
        if let Some(vlan) = vlan
            && !VLAN_ID.contains(vlan)
        {
            return Err(Refusal::invalid("vlan", format!("vlan {vlan} is not from 1 to 4094")));
        }
        if self.find_port("uplink", port)?.role != PortRole::Uplink {
            let message = format!("port {port} is no uplink; a network is attached to an uplink");
            return Err(Refusal::conflict("uplink", message));
        }
        match self.network_on(port, *vlan) {
            Some(other) if other.name != *name => {
                let (field, what) = match vlan {
                    Some(vlan) => ("vlan", format!("vlan {vlan} of uplink {port} is")),
                    None => ("uplink", format!("untagged frames of uplink {port} are")),
                };
                let message = format!("{what} taken by network {}", other.name);
                Err(Refusal::duplicate(field, message))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn network_server(
        &mut self,
        name: &Name,
        wish: Option<&NetworkServer>,
    ) -> Result<(), Refusal> {
        self.find_network("network", name)?;
        let old = self.server(name).cloned();
        let Some(wish) = wish else {
            if old.is_some() {
                self.drop_static_macs(name, is_server);
                self.write_server(name, None);
            }
            return Ok(());
        };
        let spec = parse_port(&wish.port)?;
        if matches!(spec, PortSpec::Shared(_)) {
            let message =
                format!("the server has a port of its own on {name}, like tap,iface=NAME");
            return Err(Refusal::invalid("port", message));
        }
        if old.is_none() {
            self.check_room(true)?;
        }
        check_count("addresses", wish.addresses.len(), SERVER_ADDRESSES_MAX)?;
        wish.addresses.iter().try_for_each(|net| check_in_prefix("addresses", net))?;
        let kept = old.as_ref().filter(|old| old.mac_generated).map(|old| old.mac);
        let generated = || kept.unwrap_or_else(|| self.generate_mac(&format!("network {name}")));
        let new = ServerPort {
            network: name.clone(),
            spec,
            addresses: wish.addresses.clone(),
            mac: wish.mac.unwrap_or_else(generated),
            mac_generated: wish.mac.is_none(),
            mtu: DEFAULT_MTU,
        };
        check_mac("mac", new.mac)?;
        if old.as_deref() == Some(&new) {
            return Ok(());
        }
        let claims = Claims::of_server(&new);
        self.tables.index.check(&claims, &Holder::Server(name.clone()))?;
        for net in &new.addresses {
            self.check_not_spoken_for("addresses", &IpNet::from(net.addr()))?;
        }
        self.check_static_macs(&claims)?;
        // A port is a thing of its own: another one is taken off and put on, not changed.
        if old.is_some_and(|old| old.spec != new.spec) {
            self.write_server(name, None);
        }
        let touched: Vec<IpNet> = new.addresses.iter().map(|net| net.addr().into()).collect();
        self.write_server(name, Some(new));
        self.check_next_hops("addresses", touched)
    }

    pub(super) fn mac_add(
        &mut self,
        network: &Name,
        mac: MacAddr,
        to: &MacTarget,
    ) -> Result<(), Refusal> {
        let attached =
            self.find_network("network", network)?.uplink().map(|(port, _)| port.clone());
        check_mac("mac", mac)?;
        match to {
            MacTarget::Adapter { guest, adapter } => {
                let found = self.find_adapter(guest, adapter)?;
                if found.network.as_ref() != Some(network) {
                    let message = format!("{} is no member of network {network}", found.key());
                    return Err(Refusal::conflict("adapter", message));
                }
            }
            MacTarget::Port(port) if Some(port) == attached.as_ref() => {}
            MacTarget::Port(port) if port.as_str() == SERVER && self.server(network).is_some() => {}
            MacTarget::Port(port) => {
                let message = format!(
                    "{port} is no port of network {network}; its ports are its uplink by name, and \
                     {SERVER} for the server's own"
                );
                return Err(Refusal::conflict("port", message));
            }
        }
        if let Some(holder) = self.holder_of_mac(mac) {
            return Err(Refusal::duplicate("mac", format!("MAC {mac} is taken by {holder}")));
        }
        let key = (network.clone(), mac);
        if let Some(old) = self.tables.static_macs.get(&key) {
            let message =
                format!("network {network} has MAC {mac} fixed at {} already", shown(&old.to));
            return Err(Refusal::duplicate("mac", message));
        }
        let entry = StaticMac { network: network.clone(), mac, to: to.clone() };
        self.write_static_mac(&key, Some(entry));
        Ok(())
    }

    pub(super) fn mac_del(&mut self, network: &Name, mac: MacAddr) -> Result<(), Refusal> {
        self.find_network("network", network)?;
        let key = (network.clone(), mac);
        if !self.tables.static_macs.contains_key(&key) {
            let message = format!("network {network} has no fixed MAC {mac}");
            return Err(Refusal::not_found("mac", message));
        }
        self.write_static_mac(&key, None);
        Ok(())
    }

    /// Refuses MACs that are fixed in some network.
    pub(super) fn check_static_macs(&self, claims: &Claims) -> Result<(), Refusal> {
        for (mac, field) in &claims.macs {
            if self.tables.static_mac_counts.contains_key(mac) {
                let entry = self.static_macs().find(|entry| entry.mac == *mac);
                let network = entry.map(|entry| entry.network.to_string()).unwrap_or_default();
                let message = format!(
                    "MAC {mac} is fixed in network {network}; delete that first: mac del {network} \
                     {mac}"
                );
                return Err(Refusal::duplicate(field, message));
            }
        }
        Ok(())
    }

    /// Fixed MACs go with their adapter into its new network, or go when it joins none.
    pub(super) fn move_static_macs(
        &mut self,
        key: &AdapterKey,
        network: Option<&Name>,
    ) -> Result<(), Refusal> {
        for old in self.static_macs_of(key) {
            self.write_static_mac(&(old.network.clone(), old.mac), None);
            let Some(network) = network else { continue };
            let place = (network.clone(), old.mac);
            if self.tables.static_macs.contains_key(&place) {
                let message = format!(
                    "{key} brings MAC {}, which is fixed in network {network} already",
                    old.mac
                );
                return Err(Refusal::conflict("network", message));
            }
            self.write_static_mac(&place, Some(StaticMac { network: network.clone(), ..old }));
        }
        Ok(())
    }

    /// Takes the chosen fixed MACs that point to ports out of a network.
    fn drop_static_macs(&mut self, network: &Name, chosen: impl Fn(&MacTarget) -> bool) {
        let all = (network.clone(), MacAddr::ZERO)..=(network.clone(), MacAddr::BROADCAST);
        let entries = self.tables.static_macs.range(all);
        let gone = entries.filter(|(_, entry)| matches!(entry.to, MacTarget::Port(_)));
        let gone = gone.filter(|(_, entry)| chosen(&entry.to));
        let gone: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.write_static_mac(&key, None);
        }
    }

    pub(super) fn find_network(
        &self,
        field: &'static str,
        name: &Name,
    ) -> Result<&Network, Refusal> {
        let found = self.network(name).map(AsRef::as_ref);
        found.ok_or_else(|| Refusal::missing(field, Missing::Network(name.clone())))
    }
}

fn new_network(name: &Name, number: u16, attach: NetworkAttach) -> Network {
    Network {
        name: name.clone(),
        number,
        attach,
        unknown_unicast: UnknownUnicast::Uplink,
        learning: true,
        isolated: false,
        max_macs: DEFAULT_MAX_MACS,
        max_macs_per_port: DEFAULT_MAX_MACS_PER_PORT,
        age_s: DEFAULT_AGE_S,
    }
}

/// Whether a fixed MAC is at the server's port of its network.
fn is_server(to: &MacTarget) -> bool {
    matches!(to, MacTarget::Port(port) if port.as_str() == SERVER)
}

fn shown(to: &MacTarget) -> String {
    match to {
        MacTarget::Adapter { guest, adapter } => format!("{guest}/{adapter}"),
        MacTarget::Port(port) => format!("port {port}"),
    }
}

fn in_range(
    field: &'static str,
    value: Option<u32>,
    range: &RangeInclusive<u32>,
) -> Result<Option<u32>, Refusal> {
    match value {
        Some(value) if !range.contains(&value) => {
            let message =
                format!("{field} {value} is not from {} to {}", range.start(), range.end());
            Err(Refusal::invalid(field, message))
        }
        _ => Ok(value),
    }
}
