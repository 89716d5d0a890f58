//! IPv4 on an interface: addresses, the default route, a permanent neighbor.

use super::error::{Trouble, errno_of};
use dataplane::wire::ethernet::MacAddr;
use futures_util::TryStreamExt;
use ipnet::{IpNet, Ipv4Net};
use nix::errno::Errno;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol,
};
use rtnetlink::{AddressMessageBuilder, Handle, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr};

/// Who set an address or a route (linux/rtnetlink.h, RTPROT): a number that nobody there has.
const OURS: u8 = 103;

/// An address that an interface has.
pub(super) struct Held {
    /// The interface's own address and the length of its prefix.
    pub(super) net: IpNet,
    /// We set it.
    is_ours: bool,
    /// It names a far end: a point-to-point address, which we never set.
    has_peer: bool,
    /// As the kernel told it, which is how it wants to be told what to delete.
    message: AddressMessage,
}

impl Held {
    fn read(message: AddressMessage) -> Option<Self> {
        let (mut own, mut far, mut is_ours) = (None, None, false);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => own = Some(*address),
                AddressAttribute::Address(address) => far = Some(*address),
                AddressAttribute::Protocol(by) => is_ours = *by == AddressProtocol::Other(OURS),
                _ => {}
            }
        }
        // IPv6 tells the address alone, unless there is a far end.
        let own: IpAddr = own.or(far)?;
        let net = IpNet::new(own, message.header.prefix_len).ok()?;
        Some(Self { net, is_ours, has_peer: far.is_some_and(|far| far != own), message })
    }

    fn is(&self, net: &Ipv4Net) -> bool {
        self.net == IpNet::V4(*net) && !self.has_peer
    }
}

/// Every address of the interface, of both families.
pub(super) async fn addresses(kernel: &Handle, index: u32) -> Result<Vec<Held>, Trouble> {
    let mut request = kernel.address().get().set_link_index_filter(index);
    // The kernel's own filter, so that it doesn't tell those of all other interfaces first.
    request.message_mut().header.index = index;
    let told: Result<Vec<AddressMessage>, _> = request.execute().try_collect().await;
    let told = told.map_err(|error| Trouble::refused("list its addresses", &error))?;
    Ok(told.into_iter().filter_map(Held::read).collect())
}

/// Brings the interface to exactly the addresses wanted; where none are, it loses ours.
pub(super) async fn settle_addresses(
    kernel: &Handle,
    index: u32,
    wanted: &[Ipv4Net],
) -> Result<(), Trouble> {
    // New ones first: with its last address an interface loses its routes.
    add_missing(kernel, index, wanted).await?;
    let mut has_removed = false;
    for held in addresses(kernel, index).await? {
        let is_ipv4 = matches!(held.net, IpNet::V4(_));
        let is_wanted = wanted.iter().any(|net| held.is(net));
        if is_ipv4 && !is_wanted && (held.is_ours || !wanted.is_empty()) {
            remove(kernel, held).await?;
            has_removed = true;
        }
    }
    // A prefix's first address takes the later ones of the same prefix with it, unless the
    // interface has `promote_secondaries` set.
    if has_removed { add_missing(kernel, index, wanted).await } else { Ok(()) }
}

/// Adds what is not there, and makes ours what somebody else has set.
async fn add_missing(kernel: &Handle, index: u32, wanted: &[Ipv4Net]) -> Result<(), Trouble> {
    let held = addresses(kernel, index).await?;
    for net in wanted.iter().filter(|net| !held.iter().any(|h| h.is_ours && h.is(net))) {
        let mut request =
            kernel.address().add(index, net.addr().into(), net.prefix_len()).replace();
        let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index);
        *request.message_mut() = message.address(net.addr(), net.prefix_len()).build();
        let mark = AddressAttribute::Protocol(AddressProtocol::Other(OURS));
        request.message_mut().attributes.push(mark);
        let added = request.execute().await;
        added.map_err(|error| Trouble::refused(format!("add address {net}"), &error))?;
    }
    Ok(())
}

async fn remove(kernel: &Handle, held: Held) -> Result<(), Trouble> {
    match kernel.address().del(held.message).execute().await {
        // Gone already, with the first of its prefix.
        Err(error) if errno_of(&error) != Some(Errno::EADDRNOTAVAIL) => {
            Err(Trouble::refused(format!("remove address {}", held.net), &error))
        }
        _ => Ok(()),
    }
}

/// Points the namespace's default route at `gateway` through this interface; without one, removes
/// the default route that we have set through it.
pub(super) async fn settle_default_route(
    kernel: &Handle,
    index: u32,
    gateway: Option<Ipv4Addr>,
) -> Result<(), Trouble> {
    let ours = our_default_routes(kernel, index).await?;
    match gateway {
        Some(gateway) if ours.iter().any(|route| leads_to(route, gateway)) => Ok(()),
        Some(gateway) => {
            let route = default_route(index).gateway(gateway).onlink().build();
            let set = kernel.route().add(route).replace().execute().await;
            let step = || format!("set the default route via {gateway}");
            set.map_err(|error| Trouble::refused(step(), &error))
        }
        None => {
            for route in ours {
                remove_route(kernel, route).await?;
            }
            Ok(())
        }
    }
}

/// A default route of ours through the interface, its next hop left open.
fn default_route(index: u32) -> RouteMessageBuilder<Ipv4Addr> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index);
    route.protocol(RouteProtocol::Other(OURS))
}

async fn our_default_routes(kernel: &Handle, index: u32) -> Result<Vec<RouteMessage>, Trouble> {
    let told = kernel.route().get(default_route(index).build()).execute();
    let told: Result<Vec<RouteMessage>, _> = told.try_collect().await;
    match told {
        // The kernel tells those of this interface and protocol; which are default is ours to see.
        Ok(mut routes) => {
            routes.retain(|route| route.header.destination_prefix_length == 0);
            Ok(routes)
        }
        // A namespace that never had a route has no table yet.
        Err(error) if errno_of(&error) == Some(Errno::ENOENT) => Ok(Vec::new()),
        Err(error) => Err(Trouble::refused("list its routes", &error)),
    }
}

fn leads_to(route: &RouteMessage, gateway: Ipv4Addr) -> bool {
    let next_hop = RouteAttribute::Gateway(RouteAddress::Inet(gateway));
    route.header.flags.contains(RouteFlags::Onlink) && route.attributes.contains(&next_hop)
}

async fn remove_route(kernel: &Handle, route: RouteMessage) -> Result<(), Trouble> {
    match kernel.route().del(route).execute().await {
        // Somebody was faster.
        Err(error) if errno_of(&error) != Some(Errno::ESRCH) => {
            Err(Trouble::refused("remove its default route", &error))
        }
        _ => Ok(()),
    }
}

/// Sets a neighbor entry that is never asked for and never ages.
pub(super) async fn set_neighbor(
    kernel: &Handle,
    index: u32,
    ip: Ipv4Addr,
    mac: MacAddr,
) -> Result<(), Trouble> {
    let entry = kernel.neighbours().add(index, ip.into()).link_layer_address(&mac.0).replace();
    let set = entry.execute().await;
    set.map_err(|error| Trouble::refused(format!("set neighbor {ip} to {mac}"), &error))
}
