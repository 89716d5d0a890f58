//! Virtual networks, their members and their MACs.

use super::{AdapterLabel, Link, PortLabel};
use crate::model::{Name, NetworkAttach, UnknownUnicast};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A virtual network.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Network {
    /// Its name.
    pub network: Name,
    /// Its number, stable for its life.
    pub id: u16,
    /// What it is attached to.
    pub attach: NetworkAttach,
    /// Policy for a unicast MAC that nobody has.
    pub unknown_unicast: UnknownUnicast,
    /// Whether sources are learned.
    pub learning: bool,
    /// Whether guests are kept from each other.
    pub isolated: bool,
    /// Most learned MACs.
    pub max_macs: u32,
    /// Most learned MACs per member.
    pub max_macs_per_port: u32,
    /// Seconds until a silent learned MAC is forgotten.
    pub age_s: u32,
    /// The server's own port on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerPort>,
    /// Adapters on it.
    pub members: Vec<Member>,
    /// Static MACs: adapters, the server, the uplink, the operator's entries.
    pub static_macs: u32,
    /// Learned MACs.
    pub learned_macs: u32,
}

/// The server's own port on a network (VN-7).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ServerPort {
    /// Port specification as it was asked for.
    #[schema(example = "tap,iface=srv-lan0")]
    pub port: String,
    /// MAC of the kernel's end.
    #[schema(value_type = String, example = "02:00:5e:10:00:01")]
    pub mac: MacAddr,
    /// Its addresses.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpNet>,
    /// State of the link.
    pub link: Link,
}

/// An adapter on a network.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Member {
    /// The adapter.
    pub adapter: AdapterLabel,
    /// Its guest side's MAC.
    #[schema(value_type = String, example = "02:00:5e:10:00:01")]
    pub mac: MacAddr,
    /// State of its link.
    pub link: Link,
}

/// One MAC of a network.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MacEntry {
    /// The MAC.
    #[schema(value_type = String, example = "02:00:5e:10:00:01")]
    pub mac: MacAddr,
    /// The port behind which it is.
    pub port: PortLabel,
    /// The adapter behind which it is, unless it is the uplink's side or the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterLabel>,
    /// How it came to be known.
    pub kind: MacKind,
    /// Learned: seconds since it was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
}

/// How a MAC came to be known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MacKind {
    /// A registered adapter's, the server's or the uplink's own.
    Registered,
    /// The operator's entry (`mac add`).
    Static,
    /// Seen as a source.
    Learned,
}
