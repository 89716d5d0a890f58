//! The nouns of the operator: what the configuration file, the command line and the API all speak,
//! and what is stored on disk. Pure data; what is legal together is decided in `registry`.

use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;
use utoipa::ToSchema;

pub use name::{BadName, Name};
pub use prefix::{BadPrefix, parse_prefix};
pub use rate::{BadRate, ClassRates, Rate, check_rate, parse_rate, shown_rate};
pub(crate) use spec::namespace_name;
pub use spec::{BadSpec, Namespace, PciAddress, PortSpec, TapSpec, VdevSpec, VhostUserSpec};

mod name;
mod prefix;
mod rate;
mod spec;

/// What kind of guest it is; decides the default mode (HR-2, HR-15).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GuestKind {
    /// Shares the server's kernel; host-routed unless told otherwise.
    Container,
    /// Has a kernel of its own; on the network `default` unless told otherwise.
    Vm,
}

/// How an adapter's frames are forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Each guest an address, the host its gateway, isolated from all others.
    HostRouted,
    /// A member of a virtual network, bridged by MAC.
    VirtualNetwork,
}

/// Per-adapter source and delivery filters (VZ-6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Source IP and ARP sender.
    Ip,
    /// Source MAC.
    Mac,
    /// No delivery of others' unicast.
    Promisc,
    /// No DHCP server replies.
    Dhcp,
    /// No IPv6 router advertisements.
    Ra,
    /// No bridge protocol frames.
    Bpdu,
}

/// What an operator asks of an adapter; what is left out gets its default when it is added, and
/// stays as it is when it is set.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AdapterWish {
    /// Port specification as in the outer contract: `tap,…`, `shared:PORT`, a vdev or a PCI address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Mode; by the guest's kind where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Network, for virtual-network mode; `default` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Name>,
    /// Registered addresses. A bare address is a /32 or /128. Host-routed: addresses alone, or a whole
    /// prefix that is routed to the adapter. In a network: with the length of the on-link prefix.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "prefix::optional_list")]
    #[schema(value_type = Option<Vec<String>>)]
    pub addresses: Option<Vec<IpNet>>,
    /// MAC of the guest side; generated where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub mac: Option<MacAddr>,
    /// MAC of the server side; the appliance's gateway MAC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub host_mac: Option<MacAddr>,
    /// Gateway addresses that we answer for; 169.254.1.1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub gateway: Option<Vec<IpAddr>>,
    /// Largest packet, bytes; 1500 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Filters that are on; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<BTreeSet<Filter>>,
    /// Whether its addresses are answered for and announced on the uplink; on where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announce: Option<bool>,
    /// Whether an address is probed on the LAN before use (RFC 5227); on where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<bool>,
    /// Rate limit of all its traffic; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Rate limits of its traffic by destination class; a class that is left out stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, Rate>>)]
    pub class_rate: Option<ClassRates>,
    /// Frames per second of broadcast, multicast and unknown unicast from the guest that may be flooded,
    /// 1 to 1000000; 0, and where absent: the built-in limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm: Option<u32>,
}

/// What a network is attached to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NetworkAttach {
    /// To nothing outside.
    HostOnly,
    /// To an uplink, untagged or on a VLAN.
    Uplink {
        /// The uplink's port name.
        port: Name,
        /// VLAN ID, 1 to 4094; untagged where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vlan: Option<u16>,
    },
}

/// What becomes of a unicast frame to a MAC that nobody has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownUnicast {
    /// To the uplink; dropped where there is none. The default.
    Uplink,
    /// To every member.
    Flood,
    /// Dropped.
    Drop,
}

/// What can be set on a network; what is left out stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkPatch {
    /// Attachment: moves a network between host-only, untagged and a VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<NetworkAttach>,
    /// Unknown unicast policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_unicast: Option<UnknownUnicast>,
    /// Whether sources on the uplink and on adapters without the `mac` filter are learned. On where
    /// absent: while every adapter keeps its filter there is nothing to learn inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning: Option<bool>,
    /// Whether guests are kept from each other and reach the server and the uplink alone; off where
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
    /// Most learned MACs in the network, 0 to 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_macs: Option<u32>,
    /// Most learned MACs per member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_macs_per_port: Option<u32>,
    /// Seconds until a learned MAC that is silent is forgotten, 10 to 86400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u32>,
}

/// The server's own port on a network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkServer {
    /// Port specification.
    pub port: String,
    /// Addresses of the server on the network, with their prefix length.
    #[serde(default, with = "prefix::list")]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpNet>,
    /// MAC of the kernel's end; generated where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub mac: Option<MacAddr>,
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Via {
    /// To a next hop: a guest's address or a neighbor on a connected prefix.
    NextHop(IpAddr),
    /// On-link on a port.
    Dev(Name),
}

/// What a static MAC entry points to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MacTarget {
    /// A guest's adapter.
    Adapter {
        /// Guest.
        guest: Name,
        /// Adapter.
        adapter: Name,
    },
    /// A port: the network's uplink by its name, or the word `server` for its server port.
    Port(Name),
}

/// Role of a port that is not a guest adapter's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortRole {
    /// Towards the LAN.
    Uplink,
    /// The server's kernel.
    Host,
    /// Carries many host-routed adapters.
    Shared,
}

/// A named port that the operator attaches.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PortWish {
    /// Device: PCI address, vdev string or `tap,…`.
    pub device: String,
    /// Role.
    pub role: PortRole,
    /// Namespace in which a tap is born.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Receive queues; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// Uplink: our MAC on it; the device's own where absent, generated for a net_tap. Host and shared:
    /// the MAC of the kernel's end (ours there is the appliance's gateway MAC); generated where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub mac: Option<MacAddr>,
    /// Largest packet, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Uplink: the server's public addresses with prefix length.
    #[serde(default, with = "prefix::list")]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpNet>,
    /// Uplink: next hop of the default route, at most one per family.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub gateway: Vec<IpAddr>,
    /// Uplink: whether registered addresses are probed on it before use; on where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<bool>,
    /// Host port and shared tap: whether we set up the kernel's end; on where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configure: Option<bool>,
    /// Worker cores of its receive queues in order; spread where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Vec<usize>>,
}

/// What can be set on a port; what is left out stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PortPatch {
    /// Largest packet, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// `false` stops the port, `true` starts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
    /// (queue, worker core): which worker polls which receive queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_worker: Option<(u16, usize)>,
    /// Uplink: the server's public addresses with prefix length, in place of those that it has.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "prefix::optional_list")]
    #[schema(value_type = Option<Vec<String>>)]
    pub addresses: Option<Vec<IpNet>>,
    /// Uplink: next hop of the default route, in place of that before; none where empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub gateway: Option<Vec<IpAddr>>,
    /// Uplink: whether registered addresses are probed on it before use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<bool>,
    /// Host port and shared tap: whether we set up the kernel's end from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configure: Option<bool>,
}

/// One change that an operator asks for. A batch of them is one transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(
    tag = "change",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
#[allow(missing_docs, reason = "the fields are the nouns documented above")]
pub enum Change {
    GuestAdd {
        guest: Name,
        kind: GuestKind,
    },
    GuestDel {
        guest: Name,
    },
    AdapterAdd {
        guest: Name,
        adapter: Name,
        wish: AdapterWish,
    },
    AdapterSet {
        guest: Name,
        adapter: Name,
        wish: AdapterWish,
    },
    AdapterDel {
        guest: Name,
        adapter: Name,
    },
    NetworkAdd {
        network: Name,
        attach: NetworkAttach,
    },
    NetworkSet {
        network: Name,
        set: NetworkPatch,
    },
    /// `server` absent takes the server's port off the network.
    NetworkServer {
        network: Name,
        server: Option<NetworkServer>,
    },
    NetworkDel {
        network: Name,
    },
    PortAttach {
        port: Name,
        wish: PortWish,
    },
    PortSet {
        port: Name,
        set: PortPatch,
    },
    PortDetach {
        port: Name,
    },
    RouteAdd {
        #[schema(value_type = String)]
        #[serde(with = "prefix::single")]
        prefix: IpNet,
        via: Via,
    },
    RouteDel {
        #[schema(value_type = String)]
        #[serde(with = "prefix::single")]
        prefix: IpNet,
    },
    NeighborAdd {
        #[schema(value_type = String)]
        ip: IpAddr,
        #[schema(value_type = String)]
        mac: MacAddr,
        dev: Name,
    },
    NeighborDel {
        #[schema(value_type = String)]
        ip: IpAddr,
    },
    MacAdd {
        network: Name,
        #[schema(value_type = String)]
        mac: MacAddr,
        to: MacTarget,
    },
    MacDel {
        network: Name,
        #[schema(value_type = String)]
        mac: MacAddr,
    },
    /// Destination class for accounting and rates.
    ClassAdd {
        class: Name,
        #[schema(value_type = Vec<String>)]
        #[serde(with = "prefix::list")]
        prefixes: Vec<IpNet>,
    },
    /// Other destinations for a class; its number, rates and accounts stay.
    ClassSet {
        class: Name,
        #[schema(value_type = Vec<String>)]
        #[serde(with = "prefix::list")]
        prefixes: Vec<IpNet>,
    },
    ClassDel {
        class: Name,
    },
}
