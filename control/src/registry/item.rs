//! What is registered, with every default filled in. Each item is immutable and shared by `Arc`: a
//! change replaces it whole, so that an effect can carry the old and the new one.

use super::limits::Limits;
use crate::model::{
    Filter, GuestKind, MacTarget, Mode, Name, NetworkAttach, PortRole, PortSpec, PortWish,
    UnknownUnicast, Via,
};
use dataplane::ids::NetworkId;
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The gateway address that is ours on every host-routed port unless another is chosen.
pub const DEFAULT_GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
/// Largest packet where nothing else is said, bytes.
pub const DEFAULT_MTU: u16 = 1500;

/// Which adapter: adapter names are the guest's own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct AdapterKey {
    /// Guest.
    pub guest: Name,
    /// Adapter.
    pub adapter: Name,
}

/// A container or virtual machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Guest {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub kind: GuestKind,
}

/// A guest's network card.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Adapter {
    /// Its guest's name.
    pub guest: Name,
    /// Its own name.
    pub name: Name,
    /// Its guest's kind.
    pub kind: GuestKind,
    /// Port; never changes during the adapter's life.
    pub spec: PortSpec,
    /// How its frames are forwarded.
    pub mode: Mode,
    /// The network that it is a member of: present in virtual-network mode and only there.
    pub network: Option<Name>,
    /// Addresses as the operator wrote them; see [`Adapter::registered`]. Host-routed: without host
    /// bits. In a network: with the on-link prefix's length.
    pub addresses: Vec<IpNet>,
    /// MAC of the guest side; on a shared port that of its kernel's end.
    pub mac: MacAddr,
    /// Whether `mac` was generated rather than asked for.
    pub mac_generated: bool,
    /// MAC of the server side; the appliance's gateway MAC unless another was asked for.
    pub host_mac: MacAddr,
    /// Gateway addresses. Host-routed: ours, we answer for them. In a network: only set on the guest.
    pub gateways: Vec<IpAddr>,
    /// Largest packet, bytes; on a shared port the port's.
    pub mtu: u16,
    /// Filters that are on.
    pub filter: BTreeSet<Filter>,
    /// Whether its addresses are answered for and announced on uplinks.
    pub announce: bool,
    /// Whether an address inside an uplink's prefix is probed there before use.
    pub probe: bool,
    /// What it may send and receive.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// What the other mode had, so that a switch there and back restores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<Aside>,
}

/// What an adapter's other mode had before it was switched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Aside {
    /// Addresses with the lengths that they had there.
    pub addresses: Vec<IpNet>,
    /// Gateways that it had there.
    pub gateways: Vec<IpAddr>,
}

/// A virtual network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: Name,
    /// Its number, stable for its life; see [`Network::id`].
    pub number: u16,
    /// What it is attached to.
    pub attach: NetworkAttach,
    /// What becomes of a unicast frame to a MAC that nobody has.
    pub unknown_unicast: UnknownUnicast,
    /// Whether sources on the uplink and on adapters without the `mac` filter are learned.
    pub learning: bool,
    /// Whether guests are kept from each other.
    #[serde(default)]
    pub isolated: bool,
    /// Most learned MACs in the network.
    pub max_macs: u32,
    /// Most learned MACs per member.
    pub max_macs_per_port: u32,
    /// Seconds until a learned MAC that is silent is forgotten.
    pub age_s: u32,
}

/// The server's own port on a network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerPort {
    /// The network.
    pub network: Name,
    /// Port.
    pub spec: PortSpec,
    /// The server's addresses on the network, with the on-link prefix's length.
    pub addresses: Vec<IpNet>,
    /// MAC of the kernel's end.
    pub mac: MacAddr,
    /// Whether `mac` was generated rather than asked for.
    pub mac_generated: bool,
    /// Largest packet, bytes.
    pub mtu: u16,
}

/// Where a named port comes from; decides what a restart does with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The configuration file, read at every start.
    File,
    /// `port attach`: kept in the state.
    Operator,
}

/// A named port: uplink, host or shared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: Name,
    /// What was asked for, before `port set`.
    pub wish: PortWish,
    /// Where it comes from.
    pub origin: Origin,
    /// Device.
    pub spec: PortSpec,
    /// Role.
    pub role: PortRole,
    /// Namespace in which a tap is born.
    pub netns: Option<String>,
    /// Receive queues.
    pub queues: u16,
    /// Uplink: our MAC on it; absent: the device's own. Host and shared: the MAC of the kernel's end,
    /// always present.
    pub mac: Option<MacAddr>,
    /// Whether `mac` was generated rather than asked for.
    pub mac_generated: bool,
    /// Largest packet, bytes.
    pub mtu: u16,
    /// Uplink: the server's public addresses with prefix length.
    pub addresses: Vec<IpNet>,
    /// Uplink: next hop of the default route, at most one per family.
    pub gateways: Vec<IpAddr>,
    /// Uplink: whether registered addresses are probed on it before use.
    pub probe: bool,
    /// Whether we set up the kernel's end.
    pub configure: bool,
    /// Worker core of each receive queue; absent: spread.
    pub workers: Vec<Option<usize>>,
    /// Whether it is started.
    pub started: bool,
}

/// A route of the operator's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Route {
    /// Destination, without host bits.
    pub prefix: IpNet,
    /// Where it leads.
    pub via: Via,
}

/// A neighbor that the operator fixed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Neighbor {
    /// Its address.
    pub ip: IpAddr,
    /// Its MAC.
    pub mac: MacAddr,
    /// The uplink that it is on.
    pub dev: Name,
}

/// A MAC that the operator fixed in a network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StaticMac {
    /// The network.
    pub network: Name,
    /// The MAC.
    pub mac: MacAddr,
    /// Where it is.
    pub to: MacTarget,
}

/// A destination class for accounting and rates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Class {
    /// Its name.
    pub name: Name,
    /// Destinations, without host bits.
    pub prefixes: Vec<IpNet>,
}

impl Adapter {
    /// Guest and adapter name.
    pub fn key(&self) -> AdapterKey {
        AdapterKey { guest: self.guest.clone(), adapter: self.name.clone() }
    }

    /// What the adapter holds: routed to it and allowed as a source. Host-routed: its prefixes. In a
    /// network: each address alone, whatever its on-link prefix.
    pub fn registered(&self) -> impl Iterator<Item = IpNet> + '_ {
        let routed = self.mode == Mode::HostRouted;
        self.addresses.iter().map(move |net| if routed { *net } else { IpNet::from(net.addr()) })
    }

    /// The named port that it shares with others, if it has none of its own.
    pub fn shared_port(&self) -> Option<&Name> {
        match &self.spec {
            PortSpec::Shared(port) => Some(port),
            _ => None,
        }
    }

    /// Whether a filter is on.
    pub fn filters(&self, filter: Filter) -> bool {
        self.filter.contains(&filter)
    }
}

impl Network {
    /// Its number for tables and records.
    pub fn id(&self) -> NetworkId {
        NetworkId(self.number)
    }

    /// Uplink and VLAN that it is attached to.
    pub fn uplink(&self) -> Option<(&Name, Option<u16>)> {
        match &self.attach {
            NetworkAttach::HostOnly => None,
            NetworkAttach::Uplink { port, vlan } => Some((port, *vlan)),
        }
    }
}

impl fmt::Display for AdapterKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.guest, self.adapter)
    }
}
