//! Counters: one block per worker, written by that worker alone, summed by control.
//!
//! Invariant: a cell has one writer, so an increment is a relaxed load and a relaxed store, no
//! locked instruction. Readers see each cell whole and never later than the worker's next flush.
//! Invariant (design.md, 4): for every ingress port, and so in all,
//! `rx + generated + copies = forwarded + drops by reason + consumed`, and the sum of `forwarded`
//! over ingress ports equals the sum of `tx_pkts` over egress ports.
//!
//! Memory comes zeroed from the allocator and is touched only where an id is used, so a block for
//! 65,536 adapters costs what the live ones use.

use crate::frame::BURST_PKTS;
use crate::ids::{AdapterId, ClassId, PortId};
use crate::machine::pairs::{self, Cells, bump};
use bytemuck::zeroed_slice_box;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// What is counted per port. `rx_*`, `generated`, `copies`, `forwarded` and `consumed` at the port
/// that a frame came in by; `tx_*` at the port that it left by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PortCounter {
    /// Frames received.
    RxPkts,
    /// Bytes received, without FCS.
    RxBytes,
    /// Frames sent.
    TxPkts,
    /// Bytes sent, without FCS.
    TxBytes,
    /// Frames that we made because of one that came in here: ICMP errors, fragments, control's.
    Generated,
    /// Copies made to flood a frame that came in here.
    Copies,
    /// Frames that came in here (or were generated or copied for it) and were sent somewhere.
    Forwarded,
    /// Frames that ended here on purpose: given to control, or sent in pieces that were generated.
    Consumed,
    /// Of those, long TCP segments that were cut because their way out could not.
    Segmented,
}

const PORT_COUNTERS: usize = 9;

/// What is counted per adapter, from the appliance's side: `rx` came from the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum AdapterCounter {
    /// Frames from the guest.
    RxPkts,
    /// Bytes from the guest.
    RxBytes,
    /// Frames to the guest.
    TxPkts,
    /// Bytes to the guest.
    TxBytes,
}

const ADAPTER_COUNTERS: usize = 4;

/// Which way an adapter's traffic goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// `rx_*`.
    FromGuest,
    /// `tx_*`.
    ToGuest,
}
const PORT_STRIDE: usize = PORT_COUNTERS + DropReason::COUNT;

/// One writer's counters: a worker's, or control's own.
pub struct Counters {
    /// `PortId::LIMIT` rows of port counters and drops. Written by one worker, read by control.
    ports: Box<[AtomicU64]>,
    /// `AdapterId::LIMIT` rows of traffic, two to a cache line: each packet is counted here. Likewise.
    adapters: Box<[Cells]>,
    /// `AdapterId::LIMIT` rows of drops. Likewise.
    adapter_drops: Box<[[AtomicU64; DropReason::COUNT]]>,
    /// `AdapterId::LIMIT` rows of traffic by class, as `adapters` for each. Likewise.
    classes: Box<[[Cells; ClassId::LIMIT]]>,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// A zeroed block for every possible port and adapter; about 62 MB of address space.
    pub fn new() -> Self {
        Self {
            ports: zeroed_slice_box(PortId::LIMIT * PORT_STRIDE),
            adapters: zeroed_slice_box(AdapterId::LIMIT),
            adapter_drops: zeroed_slice_box(AdapterId::LIMIT),
            classes: zeroed_slice_box(AdapterId::LIMIT),
        }
    }

    /// Adds to a port's counter. A port out of range is ignored.
    #[inline]
    pub fn port_add(&self, port: PortId, counter: PortCounter, by: u64) {
        if let Some(cell) = self.ports.get(port.index() * PORT_STRIDE + counter as usize) {
            bump(cell, by);
        }
    }

    /// Counts frames to or from an adapter's guest, with their bytes. [`AdapterId::NONE`] is ignored.
    #[inline]
    pub fn adapter_traffic(&self, adapter: AdapterId, way: Traffic, pkts: u64, bytes: u64) {
        if let Some(row) = self.adapters.get(adapter.index()) {
            let [received, sent] = row.as_chunks::<2>().0 else { return };
            let pair = if way == Traffic::FromGuest { received } else { sent };
            bump(&pair[0], pkts);
            bump(&pair[1], bytes);
        }
    }

    /// Counts frames of a guest to or from the addresses of a class, with their bytes. [`AdapterId::NONE`] and
    /// [`ClassId::NONE`] are ignored.
    #[inline]
    pub fn class_traffic(
        &self,
        adapter: AdapterId,
        class: ClassId,
        way: Traffic,
        pkts: u64,
        bytes: u64,
    ) {
        let row = self.classes.get(adapter.index()).and_then(|rows| rows.get(class.index()));
        if let Some(row) = row {
            let [received, sent] = row.as_chunks::<2>().0 else { return };
            let pair = if way == Traffic::FromGuest { received } else { sent };
            bump(&pair[0], pkts);
            bump(&pair[1], bytes);
        }
    }

    /// Counts the first so many frames of a burst, each with its bytes, to the guest of its slot's adapter.
    #[inline]
    pub fn burst_to_guests(
        &self,
        adapter: impl Fn(usize) -> AdapterId,
        bytes: &[u32; BURST_PKTS],
        count: usize,
    ) {
        pairs::add_each(&self.adapters, |slot| adapter(slot).index(), bytes, count);
    }

    /// Counts dropped frames at the port and at the adapter that they came from.
    #[inline]
    pub fn drop_add(&self, port: PortId, adapter: AdapterId, reason: DropReason, by: u64) {
        let offset = PORT_COUNTERS + reason as usize;
        if let Some(cell) = self.ports.get(port.index() * PORT_STRIDE + offset) {
            bump(cell, by);
        }
        if let Some(row) = self.adapter_drops.get(adapter.index()) {
            bump(&row[reason as usize], by);
        }
    }

    /// A port's row.
    pub fn port(&self, port: PortId) -> PortCounts {
        let mut counts = PortCounts::default();
        if port.index() < PortId::LIMIT {
            let row = &self.ports[port.index() * PORT_STRIDE..][..PORT_STRIDE];
            let (counters, drops) = row.split_at(PORT_COUNTERS);
            read_row(counters, &mut counts.counters);
            read_row(drops, &mut counts.drops);
        }
        counts
    }

    /// An adapter's traffic with a class.
    pub fn class(&self, adapter: AdapterId, class: ClassId) -> ClassCounts {
        let mut counts = ClassCounts::default();
        let row = self.classes.get(adapter.index()).and_then(|rows| rows.get(class.index()));
        if let Some(row) = row {
            read_row(row, &mut counts.0);
        }
        counts
    }

    /// An adapter's row.
    pub fn adapter(&self, adapter: AdapterId) -> AdapterCounts {
        let mut counts = AdapterCounts::default();
        let rows = self.adapters.get(adapter.index()).zip(self.adapter_drops.get(adapter.index()));
        if let Some((counters, drops)) = rows {
            read_row(counters, &mut counts.counters);
            read_row(drops, &mut counts.drops);
        }
        counts
    }
}

fn read_row(row: &[AtomicU64], into: &mut [u64]) {
    into.iter_mut().zip(row).for_each(|(out, cell)| *out = cell.load(Ordering::Relaxed));
}

/// A port's counters, read or summed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortCounts {
    counters: [u64; PORT_COUNTERS],
    drops: [u64; DropReason::COUNT],
}

/// An adapter's counters, read or summed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdapterCounts {
    counters: [u64; ADAPTER_COUNTERS],
    drops: [u64; DropReason::COUNT],
}

/// An adapter's traffic with a class, read or summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassCounts([u64; ADAPTER_COUNTERS]);

impl ClassCounts {
    /// One counter.
    pub fn counter(&self, counter: AdapterCounter) -> u64 {
        self.0[counter as usize]
    }
    /// Adds another block's row.
    pub fn add(&mut self, other: &Self) {
        combine(&mut self.0, &other.0, u64::wrapping_add);
    }
}

impl Default for PortCounts {
    fn default() -> Self {
        Self { counters: [0; PORT_COUNTERS], drops: [0; DropReason::COUNT] }
    }
}

impl Default for AdapterCounts {
    fn default() -> Self {
        Self { counters: [0; ADAPTER_COUNTERS], drops: [0; DropReason::COUNT] }
    }
}

fn combine(to: &mut [u64], from: &[u64], op: impl Fn(u64, u64) -> u64) {
    to.iter_mut().zip(from).for_each(|(a, b)| *a = op(*a, *b));
}

impl PortCounts {
    /// One counter.
    pub fn counter(&self, counter: PortCounter) -> u64 {
        self.counters[counter as usize]
    }
    /// Frames dropped for one reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
    /// Frames dropped for any reason.
    pub fn drops_total(&self) -> u64 {
        self.drops.iter().sum()
    }
    /// Adds another block's row.
    pub fn add(&mut self, other: &Self) {
        combine(&mut self.counters, &other.counters, u64::wrapping_add);
        combine(&mut self.drops, &other.drops, u64::wrapping_add);
    }
    /// Takes a baseline off, as `clear` does.
    pub fn subtract(&mut self, baseline: &Self) {
        combine(&mut self.counters, &baseline.counters, u64::wrapping_sub);
        combine(&mut self.drops, &baseline.drops, u64::wrapping_sub);
    }
}

impl AdapterCounts {
    /// One counter.
    pub fn counter(&self, counter: AdapterCounter) -> u64 {
        self.counters[counter as usize]
    }
    /// Frames dropped for one reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
    /// Frames dropped for any reason.
    pub fn drops_total(&self) -> u64 {
        self.drops.iter().sum()
    }
    /// Adds another block's row.
    pub fn add(&mut self, other: &Self) {
        combine(&mut self.counters, &other.counters, u64::wrapping_add);
        combine(&mut self.drops, &other.drops, u64::wrapping_add);
    }
    /// Takes a baseline off, as the reuse of an id does.
    pub fn subtract(&mut self, baseline: &Self) {
        combine(&mut self.counters, &baseline.counters, u64::wrapping_sub);
        combine(&mut self.drops, &baseline.drops, u64::wrapping_sub);
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
    fn a_drop_is_counted_at_its_port_and_its_adapter_only() {
        let counters = Counters::new();
        counters.drop_add(PortId(3), AdapterId(7), DropReason::SpoofedIp, 2);
        counters.drop_add(PortId(3), AdapterId::NONE, DropReason::NoRoute, 1);
        assert_eq!(counters.port(PortId(3)).drops_total(), 3);
        assert_eq!(counters.adapter(AdapterId(7)).drops(DropReason::SpoofedIp), 2);
        assert_eq!(counters.adapter(AdapterId(6)), AdapterCounts::default());
        assert_eq!(counters.port(PortId(4)), PortCounts::default());
    }
}
