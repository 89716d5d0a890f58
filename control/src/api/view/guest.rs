//! Guests and their adapters, both sides of each pair (VN-4, VN-8).

use super::{DropCounts, PortLabel};
use crate::model::{ClassRates, Filter, GuestKind, Mode, Name, Rate};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;
use utoipa::ToSchema;

/// A guest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Guest {
    /// Its name.
    pub guest: Name,
    /// Container or VM.
    pub kind: GuestKind,
    /// Its network cards, by name.
    pub adapters: Vec<Adapter>,
}

/// A guest's network card.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Adapter {
    /// Its guest.
    pub guest: Name,
    /// Its name.
    pub adapter: Name,
    /// Host-routed or a member of a network.
    pub mode: Mode,
    /// Its network, in virtual-network mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Name>,
    /// Port specification as it was asked for.
    #[schema(example = "tap,iface=ct1-eth0")]
    pub port: String,
    /// State of the link between the two sides, as far as the port can tell.
    pub link: Link,
    /// The side in the guest.
    pub guest_side: GuestSide,
    /// The side at the server.
    pub server_side: ServerSide,
    /// Filters that are on.
    pub filter: BTreeSet<Filter>,
    /// Whether its addresses are answered for and announced on the uplink.
    pub announce: bool,
    /// Whether its addresses are probed on the LAN before use.
    pub probe: bool,
    /// Rate limit of all its traffic, bits per second each way; a way that is absent has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Rate limits of its traffic by destination class.
    #[serde(default, skip_serializing_if = "ClassRates::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, Rate>)]
    pub class_rate: ClassRates,
    /// Frames per second that it may have flooded; the built-in limit where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm: Option<u32>,
    /// On a vhost-user socket: its front-end, and what to give to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost_user: Option<VhostUser>,
    /// Its counters.
    pub stats: AdapterStats,
}

/// What is at the other end of an adapter's vhost-user socket, and how to put a guest there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct VhostUser {
    /// Whether a guest is connected and its driver ready.
    pub connected: bool,
    /// What the guest's driver has accepted (VIRTIO 1.2, 5.1.3 and 6), by name.
    pub features: Vec<String>,
    /// Queue pairs of the adapter.
    pub queue_pairs: u16,
    /// Queue pairs that the guest receives by at present.
    pub queue_pairs_on: u16,
    /// MTU that the front-end told its guest, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front_end_mtu: Option<u16>,
    /// Front-ends that came so far.
    pub connects: u32,
    /// Front-ends that were cut off for what they did.
    pub resets: u32,
    /// Arguments for QEMU, one option with its value each.
    pub qemu: Vec<String>,
    /// The interface element of a libvirt domain.
    pub libvirt: String,
    /// Argument for cloud-hypervisor.
    pub cloud_hypervisor: String,
    /// EAL argument for a DPDK program in a container.
    pub dpdk: String,
}

/// The guest's end of an adapter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct GuestSide {
    /// Interface name in the guest, where we know it: a tap's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its MAC.
    #[schema(value_type = String, example = "02:00:5e:10:00:01")]
    pub mac: MacAddr,
    /// Its registered addresses.
    pub addresses: Vec<Address>,
    /// Gateway addresses that we answer for.
    #[schema(value_type = Vec<String>)]
    pub gateway: Vec<IpAddr>,
    /// Largest packet, bytes.
    pub mtu: u16,
}

/// The server's end of an adapter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ServerSide {
    /// The port that it is bound to: its own, or a shared one.
    pub port: PortLabel,
    /// The MAC by which the guest addresses us.
    #[schema(value_type = String, example = "02:00:5e:10:00:fe")]
    pub mac: MacAddr,
}

/// A registered address and how far it has come.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Address {
    /// The address, or a whole prefix routed to the guest.
    #[schema(value_type = String, example = "203.0.113.11/32")]
    pub address: IpNet,
    /// Its state on the LAN.
    pub state: AddressState,
    /// In conflict: the MAC that holds it on the LAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub holder: Option<MacAddr>,
}

/// How far an address has come on the LAN (VZ-3, VZ-4, VZ-5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AddressState {
    /// In use and, on an uplink's prefix, announced.
    Up,
    /// Being probed on the LAN: guests and the server reach it, the LAN not yet.
    Probing,
    /// Another host on the LAN has it; not answered for there.
    Conflict,
    /// In use, by wish neither answered for nor announced.
    Unannounced,
}

/// A link's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// Carries frames.
    Up,
    /// Does not.
    Down,
    /// The port cannot tell.
    Unknown,
}

/// An adapter's counters: `rx` came from the guest.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AdapterStats {
    /// Frames from the guest.
    pub rx_pkts: u64,
    /// Bytes from the guest.
    pub rx_bytes: u64,
    /// Frames to the guest.
    pub tx_pkts: u64,
    /// Bytes to the guest.
    pub tx_bytes: u64,
    /// Frames of the guest that were dropped.
    pub dropped: u64,
    /// The same by reason.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub drops: DropCounts,
    /// Frames to the guest, whoever sent them, that its rate limits dropped since they are in force.
    #[serde(default)]
    pub over_rate_in: u64,
    /// Frames of the guest that its rate limits dropped since they are in force.
    #[serde(default)]
    pub over_rate_out: u64,
}
