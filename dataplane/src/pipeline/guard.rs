//! Second stage: may this sender say so? (BCP 38, RFC 7039, requirements.md VZ-1 and VZ-6.)
//!
//! A host-routed source is right when the FIB leads back to the adapter that sent it, so ten
//! thousand addresses on a shared port cost one look-up, and a prefix that the operator routes to a
//! guest is that guest's to use. In a network the adapter's own short list decides.

use super::layers::innermost;
use super::view::View;
use super::work::{Notice, Verdict, Work, count_from_guest};
use crate::counters::{Counters, DropReason};
use crate::frame::{Burst, Frame, Ingress};
use crate::ids::{AdapterId, AdjacencyId};
use crate::pipeline::Tables;
use crate::record::{Attachment, BridgedAdapter, Filters, PortRecord, RoutedAdapter};
use crate::table::{Adjacency, AdjacencyKind};
use crate::wire::arp::Arp;
use crate::wire::ethernet::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, HEADER_BYTES, MacAddr,
    is_link_local_group,
};
use crate::wire::{dhcp, icmpv6, ipv4};

/// Turns the verdict of every frame whose source is not its sender's into a drop.
pub(super) fn guard<F: Frame>(
    record: &PortRecord,
    view: &View,
    tables: &Tables,
    counters: &Counters,
    burst: &mut Burst<F>,
    work: &mut Work,
) {
    let is_on_lan = is_on_lan(record, view);
    for (slot, frame) in burst.iter_mut().enumerate() {
        if let Verdict::Drop(_) = work.verdicts[slot] {
            continue;
        }
        let checked = match &record.attachment {
            Attachment::Closed => Err(DropReason::PortClosed),
            Attachment::Routed(adapter) => routed(adapter, tables, frame, work, slot),
            Attachment::Bridged(adapter) => {
                let member = Bridged { adapter, is_on_lan, tables };
                member.check(frame).and_then(|()| to_router(adapter, work, slot))
            }
            Attachment::Shared { peer_mac } => {
                shared(record, *peer_mac, tables, counters, frame, work, slot)
            }
            Attachment::Host { peer_mac } => host(*peer_mac, frame, work, slot),
            Attachment::NetworkServer { peer_mac, adapter, .. } => {
                source_mac(frame, *peer_mac).and_then(|()| servers_source(*adapter, work, slot))
            }
            Attachment::Uplink(_) => uplink(frame, work, slot),
        };
        if let Err(reason) = checked {
            work.verdicts[slot] = Verdict::Drop(reason);
        }
    }
}

type Checked = Result<(), DropReason>;

fn require(is_right: bool, reason: DropReason) -> Checked {
    if is_right { Ok(()) } else { Err(reason) }
}

fn source_of<F: Frame>(frame: &F) -> MacAddr {
    Ethernet::parse(frame.head()).map_or(MacAddr::ZERO, |ethernet| ethernet.source)
}

fn source_mac<F: Frame>(frame: &F, registered: MacAddr) -> Checked {
    require(source_of(frame) == registered, DropReason::SpoofedMac)
}

fn payload<F: Frame>(frame: &F) -> &[u8] {
    frame.head().get(HEADER_BYTES..).unwrap_or_default()
}

/// What the FIB holds for one address, outside the burst's own look-up.
fn owner(tables: &Tables, address: u32) -> Adjacency {
    let id: AdjacencyId = tables.fib.lookup(address);
    tables.adjacencies.read(id)
}

/// A guest's address leads to its adapter; only `Forward` rows carry one.
fn belongs(adjacency: &Adjacency, adapter: AdapterId) -> bool {
    adjacency.kind == AdjacencyKind::Forward && adjacency.adapter == adapter
}

/// Whether an address is the appliance's or the server's own: martian as a source elsewhere.
fn is_ours(adjacency: &Adjacency) -> bool {
    adjacency.kind == AdjacencyKind::Local || belongs(adjacency, AdapterId::SERVER)
}

/// Whether an address is registered to anyone on this host.
fn is_owned(adjacency: &Adjacency) -> bool {
    adjacency.kind == AdjacencyKind::Forward && adjacency.adapter != AdapterId::NONE
}

fn routed<F: Frame>(
    adapter: &RoutedAdapter,
    tables: &Tables,
    frame: &F,
    work: &Work,
    slot: usize,
) -> Checked {
    let filters = adapter.filters;
    if filters.mac {
        source_mac(frame, adapter.peer_mac)?;
    }
    if let Verdict::Arp(_) = work.verdicts[slot] {
        let arp = Arp::parse(payload(frame)).ok_or(DropReason::ArpMalformed)?;
        let is_mac_right = !filters.mac || arp.sender_mac == adapter.peer_mac;
        let is_ip_right = !filters.ip
            || arp.is_probe()
            || belongs(&owner(tables, arp.sender_ip.into()), adapter.adapter);
        return require(is_mac_right && is_ip_right, DropReason::SpoofedArp);
    }
    routed_source(filters, work, slot, adapter.adapter)?;
    let is_udp = work.ip[slot].protocol == ipv4::PROTOCOL_UDP;
    let is_server = filters.dhcp && is_udp && dhcp::is_server_reply(payload(frame));
    require(!is_server, DropReason::DhcpServer)
}

fn routed_source(filters: Filters, work: &Work, slot: usize, adapter: AdapterId) -> Checked {
    let source = work.ip[slot].source;
    require(!ipv4::is_martian_source(source), DropReason::MartianSource)?;
    require(!filters.ip || belongs(&work.from[slot], adapter), DropReason::SpoofedIp)?;
    require(!is_ours(&work.from[slot]), DropReason::MartianSource)
}

/// One of many behind one port: which adapter it is, its source address says.
fn shared<F: Frame>(
    record: &PortRecord,
    peer_mac: MacAddr,
    tables: &Tables,
    counters: &Counters,
    frame: &mut F,
    work: &Work,
    slot: usize,
) -> Checked {
    source_mac(frame, peer_mac)?;
    let is_on_port = |from: &Adjacency| is_owned(from) && from.port == record.id;
    if let Verdict::Arp(_) = work.verdicts[slot] {
        let arp = Arp::parse(payload(frame)).ok_or(DropReason::ArpMalformed)?;
        let sender: u32 = arp.sender_ip.into();
        // The kernel that routes for the containers asks with an address of its own, or none.
        let is_kernel = arp.is_probe() || ipv4::is_link_local(sender);
        let is_right = is_kernel || is_on_port(&owner(tables, sender));
        return require(arp.sender_mac == peer_mac && is_right, DropReason::SpoofedArp);
    }
    require(!ipv4::is_martian_source(work.ip[slot].source), DropReason::MartianSource)?;
    let from = &work.from[slot];
    require(is_on_port(from), DropReason::SpoofedIp)?;
    let adapter = from.adapter;
    frame.set_ingress(Ingress { port: record.id, adapter });
    count_from_guest(counters, adapter, 1, frame.len() as u64);
    let is_udp = work.ip[slot].protocol == ipv4::PROTOCOL_UDP;
    require(!(is_udp && dhcp::is_server_reply(payload(frame))), DropReason::DhcpServer)
}

/// The server may use any address but a guest's.
fn host<F: Frame>(peer_mac: MacAddr, frame: &F, work: &Work, slot: usize) -> Checked {
    source_mac(frame, peer_mac)?;
    if let Verdict::Arp(_) = work.verdicts[slot] {
        let arp = Arp::parse(payload(frame)).ok_or(DropReason::ArpMalformed)?;
        return require(arp.sender_mac == peer_mac, DropReason::SpoofedArp);
    }
    servers_source(AdapterId::SERVER, work, slot)
}

/// What the server sends to the router, by the host port or by one of its own on a network.
fn servers_source(adapter: AdapterId, work: &Work, slot: usize) -> Checked {
    if work.verdicts[slot] != Verdict::Route {
        return Ok(());
    }
    require(!ipv4::is_martian_source(work.ip[slot].source), DropReason::MartianSource)?;
    let from = &work.from[slot];
    let is_its_own = [AdapterId::SERVER, adapter].contains(&from.adapter);
    require(!is_owned(from) || is_its_own, DropReason::SpoofedIp)
}

/// From the wire only others' addresses may come.
fn uplink<F: Frame>(frame: &F, work: &mut Work, slot: usize) -> Checked {
    if work.verdicts[slot] != Verdict::Route {
        return Ok(());
    }
    let source = work.ip[slot].source;
    require(!ipv4::is_martian_source(source), DropReason::MartianSource)?;
    let from = &work.from[slot];
    if is_ours(from) || is_owned(from) {
        work.notices[slot] = Notice::Conflict(source, source_of(frame));
        return Err(DropReason::SpoofedFromUplink);
    }
    Ok(())
}

/// What a member sends to the router: even one without registered addresses may not use another's.
fn to_router(adapter: &BridgedAdapter, work: &Work, slot: usize) -> Checked {
    if work.verdicts[slot] != Verdict::Route {
        return Ok(());
    }
    let from = &work.from[slot];
    require(!ipv4::is_martian_source(work.ip[slot].source), DropReason::MartianSource)?;
    require(!is_ours(from), DropReason::MartianSource)?;
    require(!is_owned(from) || from.adapter == adapter.adapter, DropReason::SpoofedIp)
}

/// Whether the port's adapter shares the wire with host-routed guests and the server.
fn is_on_lan(record: &PortRecord, view: &View) -> bool {
    let Attachment::Bridged(BridgedAdapter { network, .. }) = &record.attachment else {
        return false;
    };
    view.network(*network).is_some_and(|network| network.router_mac.is_some())
}

/// A member of a network, to be checked.
struct Bridged<'a> {
    adapter: &'a BridgedAdapter,
    is_on_lan: bool,
    tables: &'a Tables,
}

impl Bridged<'_> {
    /// MAC first, then by protocol.
    fn check<F: Frame>(&self, frame: &F) -> Checked {
        let Some(ethernet) = Ethernet::parse(frame.head()) else {
            return Err(DropReason::EthernetTruncated);
        };
        let filters = self.adapter.filters;
        if filters.mac {
            require(ethernet.source == self.adapter.peer_mac, DropReason::SpoofedMac)?;
        }
        if filters.bpdu {
            require(!is_link_local_group(ethernet.destination), DropReason::BridgeProtocol)?;
        }
        let Some((ether_type, packet)) = innermost(frame.head()) else {
            // Whatever is down there, nothing can vouch for it.
            let is_filtered = filters.ip || filters.mac || filters.dhcp || filters.ra;
            return require(!is_filtered, DropReason::VlanUnknown);
        };
        match ether_type {
            ETHERTYPE_IPV4 => self.check_ipv4(packet),
            ETHERTYPE_ARP => self.check_arp(packet),
            ETHERTYPE_IPV6 => {
                require(
                    !filters.ra || !icmpv6::is_router_advertisement(packet),
                    DropReason::RouterAdvertisement,
                )?;
                require(!filters.dhcp || !dhcp::is_server_reply_v6(packet), DropReason::DhcpServer)
            }
            _ => Ok(()),
        }
    }

    fn check_ipv4(&self, packet: &[u8]) -> Checked {
        if self.checks_ip() {
            // Too short to hold a source is too short to be let through.
            let source = packet.get(12..16).and_then(|bytes| bytes.try_into().ok());
            let source = u32::from_be_bytes(source.ok_or(DropReason::Ipv4Truncated)?);
            let is_asking = source == 0 && dhcp::is_client_request(packet);
            require(is_asking || self.may_use(source), DropReason::SpoofedIp)?;
        }
        let filters = self.adapter.filters;
        require(!filters.dhcp || !dhcp::is_server_reply(packet), DropReason::DhcpServer)
    }

    fn check_arp(&self, packet: &[u8]) -> Checked {
        let checks_mac = self.adapter.filters.mac;
        if !checks_mac && !self.checks_ip() {
            return Ok(());
        }
        let arp = Arp::parse(packet).ok_or(DropReason::ArpMalformed)?;
        let is_mac_right = !checks_mac || arp.sender_mac == self.adapter.peer_mac;
        let is_ip_right = !self.checks_ip() || arp.is_probe() || self.may_use(arp.sender_ip.into());
        require(is_mac_right && is_ip_right, DropReason::SpoofedArp)
    }

    fn checks_ip(&self) -> bool {
        self.adapter.filters.ip && (self.is_on_lan || !self.adapter.ipv4.is_empty())
    }

    /// A registered address is the adapter's own. One with none registered may use any, but on the
    /// uplink's own network none that is ours or a guest's: a gratuitous ARP would divert it.
    fn may_use(&self, address: u32) -> bool {
        let Bridged { adapter, tables, .. } = self;
        if !adapter.ipv4.is_empty() {
            return adapter.ipv4.iter().any(|(network, mask)| address & mask == *network);
        }
        let owner = owner(tables, address);
        !is_ours(&owner) && (!is_owned(&owner) || owner.adapter == adapter.adapter)
    }
}
