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
use crate::ids::{AdapterId, AdjacencyId, NetworkId};
use crate::pipeline::Tables;
use crate::record::{Attachment, BridgedAdapter, Filters, PortRecord, RoutedAdapter, Uplink};
use crate::table::{Adjacency, AdjacencyKind};
use crate::wire::arp::Arp;
use crate::wire::ethernet::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, HEADER_BYTES, MacAddr,
    is_link_local_group,
};
use crate::wire::icmpv6::{self, Claim};
use crate::wire::{dhcp, ipv4, ipv6};

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
    let lan = lan_behind(record, view);
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
            Attachment::Uplink(_) => match lan {
                Some(id) if is_bridged_to(id, work.verdicts[slot]) => {
                    Lan { view, tables }.check(frame, work, slot)
                }
                _ => uplink(frame, work, slot),
            },
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

/// Whether a source is the broadcast address of the connected prefix that it lies in. No host has it
/// (RFC 1812 5.3.7), and an ICMP error to it would go to all of them (4.3.2.7).
fn is_directed_broadcast(source: u32, from: &Adjacency) -> bool {
    from.kind == AdjacencyKind::Glean && from.next_hop == source
}

/// Whether a packet's source can be no host's, whoever sends it.
fn is_martian(work: &Work, slot: usize) -> bool {
    let source = work.ip[slot].source;
    ipv4::is_martian_source(source) || is_directed_broadcast(source, &work.from[slot])
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
    require(!is_martian(work, slot), DropReason::MartianSource)?;
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
    require(!is_martian(work, slot), DropReason::MartianSource)?;
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
    require(!is_martian(work, slot), DropReason::MartianSource)?;
    let from = &work.from[slot];
    let is_its_own = [AdapterId::SERVER, adapter].contains(&from.adapter);
    require(!is_owned(from) || is_its_own, DropReason::SpoofedIp)
}

/// From the wire only others' addresses may come.
fn uplink<F: Frame>(frame: &F, work: &mut Work, slot: usize) -> Checked {
    if work.verdicts[slot] != Verdict::Route {
        return Ok(());
    }
    require(!is_martian(work, slot), DropReason::MartianSource)?;
    let source = work.ip[slot].source;
    let from = &work.from[slot];
    if is_ours(from) || is_owned(from) {
        work.notices[slot] = Notice::Conflict(source, source_of(frame));
        return Err(DropReason::SpoofedFromUplink);
    }
    Ok(())
}

/// The network that shares the wire with host-routed guests and the server, seen from its uplink.
fn lan_behind(record: &PortRecord, view: &View) -> Option<NetworkId> {
    let Attachment::Uplink(Uplink { untagged: Some(id), .. }) = &record.attachment else {
        return None;
    };
    view.network(*id)?.router_mac.map(|_| *id)
}

fn is_bridged_to(network: NetworkId, verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Bridge(id) | Verdict::ArpAndBridge(id) if id == network)
}

/// A network that shares the wire with host-routed guests and the server.
struct Lan<'a> {
    view: &'a View,
    tables: &'a Tables,
}

impl Lan<'_> {
    /// From the wire to the members, too, only others' addresses may come. A broadcast claim goes to
    /// control, which answers it, and to no member, which would believe it.
    fn check<F: Frame>(&self, frame: &F, work: &mut Work, slot: usize) -> Checked {
        let Some(source) = self.source(frame).filter(|source| self.is_registered(*source)) else {
            return Ok(());
        };
        if let Verdict::ArpAndBridge(network) = work.verdicts[slot] {
            work.verdicts[slot] = Verdict::Arp(Some(network));
            return Ok(());
        }
        work.notices[slot] = Notice::Conflict(source, source_of(frame));
        Err(DropReason::SpoofedFromUplink)
    }

    /// The address that a frame speaks for. 0.0.0.0, in ARP probes and DHCP requests, is nobody's.
    fn source<F: Frame>(&self, frame: &F) -> Option<u32> {
        let source = match innermost(frame.head())? {
            (ETHERTYPE_IPV4, packet) => u32::from_be_bytes(packet.get(12..16)?.try_into().ok()?),
            (ETHERTYPE_ARP, packet) => Arp::parse(packet)?.sender_ip.into(),
            _ => return None,
        };
        (source != 0).then_some(source)
    }

    /// Whether an address is ours or registered on this host. What a member was merely heard to use is
    /// in the FIB as well, but may move to a host on the wire.
    fn is_registered(&self, address: u32) -> bool {
        let owner = owner(self.tables, address);
        if is_ours(&owner) {
            return true;
        }
        if !is_owned(&owner) {
            return false;
        }
        match self.view.port(owner.port).map(|record| &record.attachment) {
            Some(Attachment::Bridged(member)) => has_ipv4(member, address),
            Some(Attachment::NetworkServer { .. }) => false,
            _ => true,
        }
    }
}

/// What a member sends to the router: even one without registered addresses may not use another's.
fn to_router(adapter: &BridgedAdapter, work: &Work, slot: usize) -> Checked {
    if work.verdicts[slot] != Verdict::Route {
        return Ok(());
    }
    let from = &work.from[slot];
    require(!is_martian(work, slot), DropReason::MartianSource)?;
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

fn has_ipv4(adapter: &BridgedAdapter, address: u32) -> bool {
    adapter.ipv4.iter().any(|(network, mask)| address & mask == *network)
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
                require(
                    !filters.dhcp || !dhcp::is_server_reply_v6(packet),
                    DropReason::DhcpServer,
                )?;
                let is_free = !filters.ip || self.adapter.ipv6.is_empty();
                require(is_free || self.is_own_ipv6(packet), DropReason::SpoofedIp)
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

    /// Source and, in a neighbor advertisement, target are the adapter's own. Link-local addresses are not
    /// registered, so any of those is.
    fn is_own_ipv6(&self, packet: &[u8]) -> bool {
        let is_own = |address: u128| {
            let mut registered = self.adapter.ipv6.iter();
            ipv6::is_link_local(address)
                || registered.any(|(network, mask)| address & mask == *network)
        };
        match (ipv6::source(packet), icmpv6::claim(packet)) {
            (Some(0), Some(claim)) => claim == Claim::Unclaiming,
            (Some(source), Some(Claim::Neighbor(target))) => is_own(source) && is_own(target),
            (Some(_), None | Some(Claim::Hidden)) | (None, _) => false,
            (Some(source), Some(Claim::Other | Claim::Unclaiming)) => is_own(source),
        }
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
            return has_ipv4(adapter, address);
        }
        let owner = owner(tables, address);
        !is_ours(&owner) && (!is_owned(&owner) || owner.adapter == adapter.adapter)
    }
}
