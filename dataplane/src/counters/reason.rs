//! Reasons for drops: one for each way in which a frame may end.

use strum::{IntoStaticStr, VariantArray};

/// Why a frame was dropped. Every drop has exactly one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
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
    #[strum(serialize = "ethertype-unsupported")]
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
    pub const ALL: &'static [DropReason] = Self::VARIANTS;
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its stable name, as shown by `show drops`: lower case with dashes.
    pub fn name(self) -> &'static str {
        self.into()
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

    #[test]
    fn names_are_what_dashboards_and_alerts_know() {
        for (reason, name) in [
            (DropReason::Stopped, "stopped"),
            (DropReason::EtherTypeUnsupported, "ethertype-unsupported"),
            (DropReason::SpoofedIp, "spoofed-ip"),
            (DropReason::Ipv4Checksum, "ipv4-checksum"),
            (DropReason::UnknownUnicast, "unknown-unicast"),
            (DropReason::RateIn, "rate-in"),
            (DropReason::TxFull, "tx-full"),
        ] {
            assert_eq!(reason.name(), name);
        }
    }
}
