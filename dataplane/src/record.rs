//! What a worker knows of each port and network: immutable records, replaced whole.
//!
//! Control builds a record, sends it to every worker as an `Arc`, and the worker swaps it in
//! between two bursts. A frame is thus judged by exactly one version of its adapter's mode, network
//! and guard. The replaced `Arc` travels back and is dropped by control, so a worker never frees.

use crate::ids::{AdapterId, NetworkId, PortId};
use crate::wire::ethernet::MacAddr;

/// One port as the workers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct PortRecord {
    /// Its number.
    pub id: PortId,
    /// The MAC by which the far side addresses us: an adapter's server side, the uplink's own MAC.
    pub own_mac: MacAddr,
    /// Largest L3 packet that the port carries, bytes.
    pub mtu: u16,
    /// What hangs on it.
    pub attachment: Attachment,
}

/// What hangs on a port.
#[derive(Clone, Debug, PartialEq)]
pub enum Attachment {
    /// Nothing: every frame is dropped and counted.
    Closed,
    /// A guest adapter in host-routed mode.
    Routed(RoutedAdapter),
    /// A guest adapter in virtual-network mode.
    Bridged(BridgedAdapter),
    /// A kernel-routed port that carries many host-routed adapters. The guard checks that the
    /// source address belongs to *some* adapter of this port; which one, the FIB says.
    Shared {
        /// The MAC of the kernel's end: the source MAC of every frame from it.
        peer_mac: MacAddr,
    },
    /// The server's own kernel.
    Host {
        /// The MAC of the kernel's end.
        peer_mac: MacAddr,
    },
    /// A physical NIC towards the LAN.
    Uplink(Uplink),
    /// The server's own port on a virtual network.
    NetworkServer {
        /// The network.
        network: NetworkId,
        /// The MAC of the kernel's end.
        peer_mac: MacAddr,
        /// Counted as an adapter of its own.
        adapter: AdapterId,
    },
}

/// Source filters of an adapter (requirements.md, VZ-6). All on by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters {
    /// Source IP and ARP sender must be registered.
    pub ip: bool,
    /// Source MAC must be the registered one.
    pub mac: bool,
    /// Frames whose destination MAC is another's are not delivered here.
    pub promisc: bool,
    /// DHCP server replies from the guest are dropped.
    pub dhcp: bool,
    /// IPv6 router advertisements from the guest are dropped.
    pub ra: bool,
    /// Bridge protocol frames (01:80:c2:00:00:00 to 0f) from the guest are dropped.
    pub bpdu: bool,
}

impl Filters {
    /// Every filter on.
    pub const ALL: Filters =
        Filters { ip: true, mac: true, promisc: true, dhcp: true, ra: true, bpdu: true };
    /// Every filter off.
    pub const NONE: Filters =
        Filters { ip: false, mac: false, promisc: false, dhcp: false, ra: false, bpdu: false };
}

/// A guest adapter in host-routed mode.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutedAdapter {
    /// Counters and the FIB's owner check go by this.
    pub adapter: AdapterId,
    /// The guest side's MAC.
    pub peer_mac: MacAddr,
    /// Which source checks apply.
    pub filters: Filters,
}

/// A guest adapter in virtual-network mode.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgedAdapter {
    /// Counters go by this.
    pub adapter: AdapterId,
    /// The network that it is a member of.
    pub network: NetworkId,
    /// The guest side's MAC.
    pub peer_mac: MacAddr,
    /// Which source checks apply.
    pub filters: Filters,
    /// Registered IPv4 addresses as (network, mask) in host order. Empty: the IP filter does not
    /// apply to this family.
    pub ipv4: Box<[(u32, u32)]>,
    /// The same for IPv6.
    pub ipv6: Box<[(u128, u128)]>,
}

/// A physical NIC towards the LAN.
#[derive(Clone, Debug, PartialEq)]
pub struct Uplink {
    /// Network of untagged frames, if one is attached.
    pub untagged: Option<NetworkId>,
    /// Network of each VLAN ID in use, sorted by ID (1 to 4094).
    pub vlans: Box<[(u16, NetworkId)]>,
}

/// One virtual network as the workers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRecord {
    /// Its number.
    pub id: NetworkId,
    /// Everyone that a broadcast reaches, the uplink included.
    pub members: Box<[Member]>,
    /// Those of `members` that get every unicast frame as well.
    pub promiscuous: Box<[Member]>,
    /// The one of `members` that is the wire.
    pub uplink: Option<Member>,
    /// What becomes of a unicast frame whose destination nobody has registered or been learned.
    pub unknown_unicast: UnknownUnicast,
    /// Whether sources seen on learning ports are reported to control.
    pub learning: bool,
    /// Whether its guests reach the wire and the server alone, not each other (requirements.md, VZ-7).
    pub is_isolated: bool,
    /// Set when the network is the untagged one of an uplink: that uplink's MAC. What members send
    /// to it is routed, and their ARP broadcasts are shown to control as well.
    pub router_mac: Option<MacAddr>,
}

/// One receiver of a network's broadcasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Port that it sits on.
    pub port: PortId,
    /// Adapter, or [`AdapterId::NONE`] for an uplink.
    pub adapter: AdapterId,
    /// VLAN ID pushed on the way out; 0 for none.
    pub vlan: u16,
    /// What it is.
    pub kind: MemberKind,
    /// Largest L3 packet that it takes, bytes.
    pub mtu: u16,
}

/// What a member of a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A guest's adapter that gets only what is addressed to it, broadcast and multicast.
    Guest,
    /// A guest's adapter without the `promisc` filter: it gets every unicast frame of the network.
    PromiscuousGuest,
    /// The server's own port.
    Server,
    /// The wire.
    Uplink,
}

/// What becomes of unknown unicast in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownUnicast {
    /// To the uplink (and to promiscuous members): every inside MAC is registered, so an unknown one
    /// is outside. From the uplink: dropped, unless promiscuous members exist.
    ToUplink,
    /// To every member but the sender, as a learning bridge does, that may have it: a guest whose MAC
    /// filter is on sends from no MAC but its registered one, and gets no other's unless it is promiscuous
    /// (requirements.md, VZ-6).
    Flood,
    /// Dropped and counted.
    Drop,
}

impl Attachment {
    /// The adapter that every frame from the port belongs to, where one port is one adapter.
    pub fn adapter(&self) -> AdapterId {
        match self {
            Attachment::Routed(routed) => routed.adapter,
            Attachment::Bridged(bridged) => bridged.adapter,
            Attachment::NetworkServer { adapter, .. } => *adapter,
            _ => AdapterId::NONE,
        }
    }

    /// Whether it is the wire.
    pub fn is_uplink(&self) -> bool {
        matches!(self, Attachment::Uplink(_))
    }
}
