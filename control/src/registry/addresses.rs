//! Which addresses may stand where. Uniqueness is the index's; this is about each address itself and
//! its mode, and about what depends on it.

use super::Registry;
use super::index::{Holder, bounds, written};
use super::item::{Adapter, AdapterKey, Aside, DEFAULT_GATEWAY};
use super::refusal::Refusal;
use crate::model::{Mode, Name, Via};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Refuses what no host may have as its address: RFC 1812 5.3.7's martians, multicast, broadcast.
pub(super) fn check_host(field: &'static str, ip: IpAddr) -> Result<(), Refusal> {
    let martian = match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            first == 0 || first == 127 || first >= 224
        }
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_loopback() || ip.is_multicast(),
    };
    if martian {
        let message = format!("{ip} is no unicast address that a host can have");
        return Err(Refusal::invalid(field, message));
    }
    Ok(())
}

/// Refuses a host address that is the name or the broadcast of its own prefix.
pub(super) fn check_in_prefix(field: &'static str, net: &IpNet) -> Result<(), Refusal> {
    check_host(field, net.addr())?;
    let edge = match net {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            net.addr() == net.network() || net.addr() == net.broadcast()
        }
        _ => false,
    };
    if edge {
        return Err(Refusal::invalid(
            field,
            format!("{net} is the first or last address of its prefix, which no host can have"),
        ));
    }
    Ok(())
}

/// Refuses a prefix with host bits set.
pub(super) fn check_no_host_bits(field: &'static str, net: &IpNet) -> Result<(), Refusal> {
    if net.addr() == net.network() {
        return Ok(());
    }
    Err(Refusal::invalid(
        field,
        format!("{net} has host bits set; the prefix is {}", IpNet::trunc(net)),
    ))
}

/// IPv6 is passed in networks and not yet routed.
pub(super) fn check_routable_family(field: &'static str, ip: IpAddr) -> Result<(), Refusal> {
    if ip.is_ipv4() {
        return Ok(());
    }
    let message = format!("{ip}: routing of IPv6 is not in this version; networks pass IPv6");
    Err(Refusal::unsupported(field, message))
}

/// Refuses an address that an adapter can't have in its mode.
pub(super) fn check_adapter(mode: Mode, net: &IpNet) -> Result<(), Refusal> {
    const FIELD: &str = "addresses";
    match (mode, net) {
        (Mode::HostRouted, IpNet::V6(_)) => check_routable_family(FIELD, net.addr()),
        (Mode::HostRouted, IpNet::V4(v4)) => check_host_routed(v4),
        (Mode::VirtualNetwork, net) if is_whole_prefix(net) => Err(Refusal::invalid(
            FIELD,
            format!("{net} is a whole prefix; in a network an adapter has addresses, like {}", {
                let first = net.hosts().next().unwrap_or(net.addr());
                format_args!("{first}/{}", net.prefix_len()).to_string()
            }),
        )),
        (Mode::VirtualNetwork, _) => check_in_prefix(FIELD, net),
    }
}

/// A prefix of several hosts, without host bits.
fn is_whole_prefix(net: &IpNet) -> bool {
    net.max_prefix_len() - net.prefix_len() > 1 && net.addr() == net.network()
}

fn check_host_routed(net: &Ipv4Net) -> Result<(), Refusal> {
    const FIELD: &str = "addresses";
    if net.addr() != net.network() {
        return Err(Refusal::invalid(
            FIELD,
            format!(
                "{net} has host bits set; a host-routed adapter has {}/32, or the whole prefix {}",
                net.addr(),
                net.trunc()
            ),
        ));
    }
    if net.prefix_len() < 8 {
        let message = format!("{net} is too large; a routed prefix has a length of 8 to 32");
        return Err(Refusal::invalid(FIELD, message));
    }
    let link_local = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);
    if net.contains(&link_local) || link_local.contains(net) {
        let message = format!("{net} is link-local, which is never routed (RFC 3927)");
        return Err(Refusal::invalid(FIELD, message));
    }
    check_host(FIELD, net.network().into())?;
    check_host(FIELD, net.broadcast().into())
}

/// What an adapter's addresses and gateways become in the other mode, and what is kept aside for the
/// way back. A host-routed adapter holds its addresses alone; in a network each gets back the length
/// that it had there.
pub(super) fn switch_mode(adapter: &mut Adapter, to: Mode) {
    let before = Aside {
        addresses: std::mem::take(&mut adapter.addresses),
        gateways: std::mem::take(&mut adapter.gateways),
    };
    let kept = adapter.aside.take();
    adapter.addresses = match to {
        Mode::HostRouted => {
            let routable = before.addresses.iter().filter(|net| net.addr().is_ipv4());
            routable.map(|net| IpNet::from(net.addr())).collect()
        }
        Mode::VirtualNetwork => {
            let known = || kept.iter().flat_map(|aside| &aside.addresses);
            let back = |net: &IpNet| {
                let host = net.prefix_len() == net.max_prefix_len();
                known().copied().find(|old| host && old.addr() == net.addr()).unwrap_or(*net)
            };
            let ours = before.addresses.iter().map(back);
            ours.chain(known().copied().filter(|net| net.addr().is_ipv6())).collect()
        }
    };
    adapter.gateways = match (to, kept) {
        (_, Some(aside)) => aside.gateways,
        (Mode::HostRouted, None) => vec![DEFAULT_GATEWAY],
        (Mode::VirtualNetwork, None) => Vec::new(),
    };
    adapter.mode = to;
    adapter.aside = Some(before);
}

impl Registry {
    /// Refuses addresses of an adapter that something other than a holder claims, and gateways that it
    /// can't have.
    pub(super) fn check_surroundings(
        &self,
        new: &Adapter,
        key: &AdapterKey,
    ) -> Result<(), Refusal> {
        const FIELD: &str = "addresses";
        for net in new.registered() {
            self.check_not_spoken_for(FIELD, &net)?;
            if let Some((port, edge)) = self.connected_edge(&net) {
                let message = format!(
                    "{edge} is the first or last address of a prefix on uplink {port}, which no \
                     guest can have"
                );
                return Err(Refusal::conflict(FIELD, message));
            }
        }
        self.check_gateways(new, key)
    }

    /// Refuses to hold what is promised elsewhere: a gateway, a fixed neighbor, a route's destination.
    pub(super) fn check_not_spoken_for(
        &self,
        field: &'static str,
        net: &IpNet,
    ) -> Result<(), Refusal> {
        self.check_free_of_neighbors(field, net, |_| true)?;
        self.check_free_of_routes(field, net)
    }

    /// The same where a fixed neighbor is welcome: at the router of an uplink.
    pub(super) fn check_free_of_routes(
        &self,
        field: &'static str,
        net: &IpNet,
    ) -> Result<(), Refusal> {
        let (first, last) = bounds(net);
        if let Some((ip, holders)) = self.tables.gateways.range(first..=last).next() {
            let holder = holders.iter().next().map(ToString::to_string).unwrap_or_default();
            return Err(Refusal::conflict(field, format!("{ip} is the gateway of {holder}")));
        }
        match self.route_within(net) {
            None => Ok(()),
            Some((prefix, _)) => {
                let message = format!(
                    "route {prefix} leads away what {} would hold; delete it first: \
                     route del {prefix}",
                    written(net)
                );
                Err(Refusal::conflict(field, message))
            }
        }
    }

    /// Refuses a prefix with a fixed neighbor in it, on a port that matters.
    pub(super) fn check_free_of_neighbors(
        &self,
        field: &'static str,
        net: &IpNet,
        matters: impl Fn(&Name) -> bool,
    ) -> Result<(), Refusal> {
        let (first, last) = bounds(net);
        let mut within = self.tables.neighbors.range(first..=last);
        match within.find(|(_, neighbor)| matters(&neighbor.dev)) {
            None => Ok(()),
            Some((ip, neighbor)) => {
                let message = format!(
                    "{ip} is a fixed neighbor on {}; delete it first: neighbor del {ip}",
                    neighbor.dev
                );
                Err(Refusal::conflict(field, message))
            }
        }
    }

    /// Refuses gateways of a host-routed adapter that belong to somebody: we could not answer for
    /// them.
    fn check_gateways(&self, new: &Adapter, key: &AdapterKey) -> Result<(), Refusal> {
        const FIELD: &str = "gateway";
        for ip in &new.gateways {
            check_host(FIELD, *ip)?;
            if new.mode != Mode::HostRouted {
                continue;
            }
            check_routable_family(FIELD, *ip)?;
            let own = new.registered().any(|net| net.contains(ip));
            let holder = match self.tables.index.holder_of(*ip) {
                _ if own => Some(Holder::Adapter(key.clone())),
                Some((_, holder)) if *holder != Holder::Adapter(key.clone()) => {
                    (*holder != Holder::Appliance).then(|| holder.clone())
                }
                _ => None,
            };
            self.check_free_of_neighbors(FIELD, &IpNet::from(*ip), |_| true)?;
            if let Some(holder) = holder {
                let message = format!(
                    "gateway {ip} is an address of {holder}; the gateway of a host-routed adapter \
                     is the appliance's own, like {DEFAULT_GATEWAY}"
                );
                return Err(Refusal::conflict(FIELD, message));
            }
        }
        Ok(())
    }

    /// A route to the prefix or to a part of it.
    pub(super) fn route_within(&self, net: &IpNet) -> Option<(&IpNet, &Via)> {
        let (first, last) = bounds(net);
        let ends = |ip: IpAddr, len| IpNet::new(ip, len).ok();
        let (first, last) = (ends(first, 0)?, ends(last, net.max_prefix_len())?);
        // Sorted by address, then by length: only routes that begin where we do can be larger.
        let mut routes = self.tables.routes.range(first..=last);
        routes.find(|(prefix, _)| prefix.prefix_len() >= net.prefix_len())
    }

    /// An uplink's connected prefix whose first or last address lies in the prefix.
    fn connected_edge(&self, net: &IpNet) -> Option<(&Name, IpAddr)> {
        self.uplinks().find_map(|port| {
            let wide =
                port.addresses.iter().filter(|own| own.max_prefix_len() - own.prefix_len() > 1);
            let mut edges = wide.flat_map(|own| <[IpAddr; 2]>::from(bounds(own)));
            edges.find(|edge| net.contains(edge)).map(|edge| (&port.name, edge))
        })
    }

    /// Refuses to leave a route whose next hop nobody can be asked for, within the given ranges.
    pub(super) fn check_next_hops(
        &self,
        field: &'static str,
        ranges: impl IntoIterator<Item = IpNet>,
    ) -> Result<(), Refusal> {
        for net in ranges {
            let (first, last) = bounds(&net);
            for (ip, _) in self.tables.via_counts.range(first..=last) {
                if !self.reaches(*ip) {
                    let via = Via::NextHop(*ip);
                    let route = self.tables.routes.iter().find(|(_, to)| **to == via);
                    let prefix = route.map(|(prefix, _)| prefix.to_string()).unwrap_or_default();
                    let message = format!(
                        "route {prefix} goes via {ip}; delete it first: route del {prefix}"
                    );
                    return Err(Refusal::conflict(field, message));
                }
            }
        }
        Ok(())
    }

    /// Whether a next hop can be resolved: a host-routed guest's address, or another's on an uplink.
    pub(super) fn reaches(&self, ip: IpAddr) -> bool {
        let outside = || self.connected(ip).is_some() && !self.tables.gateways.contains_key(&ip);
        match self.tables.index.holder_of(ip).map(|(_, holder)| holder) {
            None | Some(Holder::Router(_)) => outside(),
            Some(Holder::Adapter(key)) => {
                let routed = |adapter: &Arc<Adapter>| adapter.mode == Mode::HostRouted;
                self.adapter_by_key(key).is_some_and(routed) || outside()
            }
            Some(Holder::Port(_) | Holder::Server(_) | Holder::Appliance) => false,
        }
    }
}
