//! Reasons for drops: one for each way in which a frame may end.

/// Why a frame was dropped. Every drop has exactly one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum DropReason {
    /// Forwarding is off (`stop`).
    Stopped,
    /// No adapter is bound to the port.
    PortClosed,
    /// Shorter than an Ethernet header, or headers split over segments.
    EthernetTruncated,
    /// Source MAC is multicast or zero.
    EthernetSource,
    /// Host-routed port: destination MAC is not the gateway's.
    NotForUs,
    /// Host-routed port: a broadcast or multicast frame that is not ARP.
    RoutedBroadcast,
    /// VLAN tag that no network of the uplink carries, or a tag where none belongs.
    VlanUnknown,
    /// Neither IPv4 nor ARP on a host-routed port or for the router (IPv6 not yet routed).
    EtherTypeUnsupported,
    /// A guest asks for a checksum or a segmentation that can't be done on what it sent.
    OffloadInvalid,
    /// Guard: source MAC is not the adapter's.
    SpoofedMac,
    /// Guard: source IP is not registered to the adapter.
    SpoofedIp,
    /// Guard: ARP sender MAC or IP is not the adapter's.
    SpoofedArp,
    /// Uplink: the source is ours or a registered guest's.
    SpoofedFromUplink,
    /// Guard: a guest answers as a DHCP server.
    DhcpServer,
    /// Guard: a guest sends IPv6 router advertisements.
    RouterAdvertisement,
    /// Guard: a guest sends bridge protocol frames, or such a frame would cross the uplink.
    BridgeProtocol,
    /// ARP packet malformed.
    ArpMalformed,
    /// IPv4 header shorter than 20 bytes or than its IHL says.
    Ipv4Truncated,
    /// IP version is not 4 or IHL less than 5.
    Ipv4Header,
    /// IPv4 total length does not fit the frame.
    Ipv4Length,
    /// IPv4 header checksum wrong.
    Ipv4Checksum,
    /// IPv4 options that the router does not process.
    Ipv4Options,
    /// Source that may not be on the wire (RFC 1812 5.3.7).
    MartianSource,
    /// Destination that may not be forwarded.
    MartianDestination,
    /// Directed broadcast (RFC 2644).
    DirectedBroadcast,
    /// Fragment with offset 1 (RFC 1858).
    TinyFragment,
    /// TTL ran out.
    TtlExceeded,
    /// No route to the destination.
    NoRoute,
    /// The next hop does not answer ARP.
    HostUnreachable,
    /// The route says prohibit or blackhole, or uplink to uplink.
    Prohibited,
    /// Back out by the port it came from (a shared port apart).
    SamePort,
    /// Larger than the egress MTU and not to be fragmented.
    TooBig,
    /// For one of our own addresses, and not ARP or an echo request.
    LocalUnsupported,
    /// Network: destination unknown and policy says drop.
    UnknownUnicast,
    /// Network: the destination is behind the port that the frame came in by.
    BridgeSamePort,
    /// Network: unicast from the wire that belongs to nobody here.
    NotMember,
    /// Network: the port's rate limit of what goes to all members.
    FloodRate,
    /// Network: from a guest to another guest of a network whose guests are isolated.
    Isolated,
    /// Network: nobody else to deliver a broadcast to.
    NoReceiver,
    /// Network detached or unknown.
    NetworkUnknown,
    /// From a guest beyond its rate limit.
    RateOut,
    /// To a guest beyond its rate limit.
    RateIn,
    /// Punt: the port's rate limit.
    PuntRate,
    /// Punt: control's queue is full.
    PuntFull,
    /// Egress: the port is gone or stopped.
    EgressClosed,
    /// Egress: the transmit queue did not take it.
    TxFull,
    /// Egress: nobody is at the other end of the vhost-user port.
    NotConnected,
    /// Egress: a frame in several buffers, and the port's driver takes only one.
    TxChained,
    /// Egress: the kernel refused this very frame.
    TxError,
    /// Egress: the ring to the worker that owns the port is full.
    HandoffFull,
    /// The mbuf pool is empty (a copy or a fragment could not be made).
    NoMemory,
    /// No headroom for a tag.
    NoHeadroom,
    /// Control: neighbor queue overflow, neighbor never answered, or still unknown when control was done.
    Unresolved,
}

impl DropReason {
    /// All reasons, in order of their numbers.
    pub const ALL: [DropReason; 53] = {
        use DropReason::*;
        [
            Stopped,
            PortClosed,
            EthernetTruncated,
            EthernetSource,
            NotForUs,
            RoutedBroadcast,
            VlanUnknown,
            EtherTypeUnsupported,
            OffloadInvalid,
            SpoofedMac,
            SpoofedIp,
            SpoofedArp,
            SpoofedFromUplink,
            DhcpServer,
            RouterAdvertisement,
            BridgeProtocol,
            ArpMalformed,
            Ipv4Truncated,
            Ipv4Header,
            Ipv4Length,
            Ipv4Checksum,
            Ipv4Options,
            MartianSource,
            MartianDestination,
            DirectedBroadcast,
            TinyFragment,
            TtlExceeded,
            NoRoute,
            HostUnreachable,
            Prohibited,
            SamePort,
            TooBig,
            LocalUnsupported,
            UnknownUnicast,
            BridgeSamePort,
            NotMember,
            FloodRate,
            Isolated,
            NoReceiver,
            NetworkUnknown,
            RateOut,
            RateIn,
            PuntRate,
            PuntFull,
            EgressClosed,
            TxFull,
            NotConnected,
            TxChained,
            TxError,
            HandoffFull,
            NoMemory,
            NoHeadroom,
            Unresolved,
        ]
    };
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its stable name, as shown by `show drops`: lower case with dashes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::PortClosed => "port-closed",
            Self::EthernetTruncated => "ethernet-truncated",
            Self::EthernetSource => "ethernet-source",
            Self::NotForUs => "not-for-us",
            Self::RoutedBroadcast => "routed-broadcast",
            Self::VlanUnknown => "vlan-unknown",
            Self::EtherTypeUnsupported => "ethertype-unsupported",
            Self::OffloadInvalid => "offload-invalid",
            Self::SpoofedMac => "spoofed-mac",
            Self::SpoofedIp => "spoofed-ip",
            Self::SpoofedArp => "spoofed-arp",
            Self::SpoofedFromUplink => "spoofed-from-uplink",
            Self::DhcpServer => "dhcp-server",
            Self::RouterAdvertisement => "router-advertisement",
            Self::BridgeProtocol => "bridge-protocol",
            Self::ArpMalformed => "arp-malformed",
            Self::Ipv4Truncated => "ipv4-truncated",
            Self::Ipv4Header => "ipv4-header",
            Self::Ipv4Length => "ipv4-length",
            Self::Ipv4Checksum => "ipv4-checksum",
            Self::Ipv4Options => "ipv4-options",
            Self::MartianSource => "martian-source",
            Self::MartianDestination => "martian-destination",
            Self::DirectedBroadcast => "directed-broadcast",
            Self::TinyFragment => "tiny-fragment",
            Self::TtlExceeded => "ttl-exceeded",
            Self::NoRoute => "no-route",
            Self::HostUnreachable => "host-unreachable",
            Self::Prohibited => "prohibited",
            Self::SamePort => "same-port",
            Self::TooBig => "too-big",
            Self::LocalUnsupported => "local-unsupported",
            Self::UnknownUnicast => "unknown-unicast",
            Self::BridgeSamePort => "bridge-same-port",
            Self::NotMember => "not-member",
            Self::FloodRate => "flood-rate",
            Self::Isolated => "isolated",
            Self::NoReceiver => "no-receiver",
            Self::NetworkUnknown => "network-unknown",
            Self::RateOut => "rate-out",
            Self::RateIn => "rate-in",
            Self::PuntRate => "punt-rate",
            Self::PuntFull => "punt-full",
            Self::EgressClosed => "egress-closed",
            Self::TxFull => "tx-full",
            Self::NotConnected => "not-connected",
            Self::TxChained => "tx-chained",
            Self::TxError => "tx-error",
            Self::HandoffFull => "handoff-full",
            Self::NoMemory => "no-memory",
            Self::NoHeadroom => "no-headroom",
            Self::Unresolved => "unresolved",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_number_and_name() {
        for (number, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
        }
        let names: std::collections::HashSet<_> =
            DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
