//! Named ports: uplinks, the host port, shared ports.

use super::Registry;
use super::adapters::{
    ALL, check_count, check_distinct, check_mac, check_mtu, check_not_reserved, parse_port,
};
use super::addresses::{check_host, check_in_prefix, check_routable_family};
use super::index::{Claims, Holder, bounds};
use super::item::{Adapter, DEFAULT_MTU, Port};
use super::networks::SERVER;
use super::refusal::{Missing, Refusal, RefusalKind};
use crate::model::{Name, PortPatch, PortRole, PortSpec, PortWish, Via, namespace_name};
use dataplane::wire::ethernet::MacAddr;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;
use std::sync::Arc;

/// Most receive queues: one per lcore (RTE_MAX_LCORE).
pub(crate) const QUEUES_MAX: u16 = 128;
/// Most public addresses of one uplink.
const ADDRESSES_MAX: usize = 1024;

impl Registry {
    pub(super) fn port_attach(&mut self, name: &Name, wish: &PortWish) -> Result<(), Refusal> {
        if self.port(name).is_some() {
            let message = format!("port {name} exists already; names are unique on a host");
            return Err(Refusal::duplicate("name", message));
        }
        check_not_reserved(name, &[ALL, SERVER])?;
        self.check_room(true)?;
        let port = self.resolve_port(name, wish)?;
        self.check_role(&port)?;
        let claims = Claims::of_port(&port);
        // A device is called so in the file, and `port` where it belongs to an adapter.
        let device = |refusal: Refusal| match refusal.field {
            "port" => Refusal { field: "device", ..refusal },
            _ => refusal,
        };
        self.tables.index.check(&claims, &Holder::Port(name.clone())).map_err(device)?;
        self.check_static_macs(&claims)?;
        let own: Vec<IpNet> = own_addresses(&port).collect();
        self.write_port(name, Some(port));
        self.check_next_hops("addresses", own)
    }

    /// Fills in what was left out, and checks each value in itself.
    fn resolve_port(&self, name: &Name, wish: &PortWish) -> Result<Port, Refusal> {
        let spec = parse_port(&wish.device).map_err(|bad| Refusal { field: "device", ..bad })?;
        check_device(&spec, wish)?;
        let mtu = wish.mtu.unwrap_or(DEFAULT_MTU);
        check_mtu(mtu)?;
        let (queues, workers) = self.spread(wish)?;
        // A physical uplink has a MAC; a tap's is its far side's, so ours there is made up.
        let needs_mac = wish.role != PortRole::Uplink || spec.is_tap();
        let generated =
            (wish.mac.is_none() && needs_mac).then(|| self.generate_mac(&format!("port {name}")));
        if let Some(mac) = wish.mac {
            check_mac("mac", mac)?;
        }
        Ok(Port {
            name: name.clone(),
            wish: wish.clone(),
            origin: self.origin,
            spec,
            role: wish.role,
            netns: wish.netns.clone(),
            queues,
            mac: wish.mac.or(generated),
            mac_generated: wish.mac.is_none(),
            mtu,
            addresses: wish.addresses.clone(),
            gateways: wish.gateway.clone(),
            probe: wish.probe.unwrap_or(true),
            configure: wish.configure.unwrap_or(true),
            workers,
            started: true,
        })
    }

    /// How many queues there are and which worker polls each, as far as was said.
    fn spread(&self, wish: &PortWish) -> Result<(u16, Vec<Option<usize>>), Refusal> {
        let named = wish.workers.as_deref().unwrap_or_default();
        let implied = u16::try_from(named.len().max(1)).unwrap_or(u16::MAX);
        let queues = wish.queues.unwrap_or(implied);
        if !(1..=QUEUES_MAX).contains(&queues) {
            let message = format!("{queues} queues: 1 to {QUEUES_MAX} are possible");
            return Err(Refusal::invalid("queues", message));
        }
        if named.len() > usize::from(queues) {
            let message = format!("{} workers for {queues} queues: one each at most", named.len());
            return Err(Refusal::invalid("workers", message));
        }
        named.iter().try_for_each(|core| self.check_worker("workers", *core))?;
        let mut workers: Vec<Option<usize>> = named.iter().copied().map(Some).collect();
        workers.resize(usize::from(queues), None);
        Ok((queues, workers))
    }

    fn check_worker(&self, field: &'static str, core: usize) -> Result<(), Refusal> {
        if self.worker_cores.is_empty() || self.worker_cores.contains(&core) {
            return Ok(());
        }
        let cores: Vec<String> = self.worker_cores.iter().map(ToString::to_string).collect();
        let message = format!("core {core} is no worker; the workers are {}", cores.join(", "));
        Err(Refusal::invalid(field, message))
    }

    /// What goes with the role, and with the other ports.
    fn check_role(&self, port: &Port) -> Result<(), Refusal> {
        if port.role == PortRole::Uplink {
            return self.check_uplink(port);
        }
        if !port.addresses.is_empty() {
            let message = format!(
                "port {} has no addresses: the server's are given at its uplink, the guests' at \
                 their adapters",
                port.name
            );
            return Err(Refusal::invalid("addresses", message));
        }
        if !port.gateways.is_empty() {
            let message = format!("port {} has no gateway; only an uplink does", port.name);
            return Err(Refusal::invalid("gateway", message));
        }
        match self.host_port().filter(|other| other.name != port.name) {
            Some(other) if port.role == PortRole::Host => {
                let message = format!("{} is the host port already; there is one", other.name);
                Err(Refusal::conflict("role", message))
            }
            _ => Ok(()),
        }
    }

    fn check_uplink(&self, port: &Port) -> Result<(), Refusal> {
        check_count("addresses", port.addresses.len(), ADDRESSES_MAX)?;
        for net in &port.addresses {
            check_routable_family("addresses", net.addr())?;
            check_in_prefix("addresses", net)?;
            let other = self.uplinks_but(&port.name).find_map(|other| {
                let overlaps = |theirs: &&IpNet| theirs.contains(net) || net.contains(*theirs);
                other.addresses.iter().find(overlaps).map(|theirs| (&other.name, theirs))
            });
            if let Some((other, theirs)) = other {
                let message = format!("{net} overlaps {theirs} of uplink {other}");
                return Err(Refusal::conflict("addresses", message));
            }
            let edges = <[IpAddr; 2]>::from(bounds(net));
            let edges = edges.into_iter().filter(|_| net.max_prefix_len() - net.prefix_len() > 1);
            if let Some((edge, owner)) =
                edges.filter_map(|ip| self.owner_of(ip).map(|owner| (ip, owner))).next()
            {
                let message = format!(
                    "{edge}, the first or last address of {net}, is held by {}",
                    owner.key()
                );
                return Err(Refusal::conflict("addresses", message));
            }
            // Its own neighbors are on its link; its own address is nobody's.
            self.check_free_of_neighbors("addresses", net, |dev| *dev != port.name)?;
            let alone = IpNet::from(net.addr());
            self.check_free_of_neighbors("addresses", &alone, |_| true)?;
            self.check_free_of_routes("addresses", &alone)?;
            if self.tables.routes.contains_key(&net.trunc()) {
                let prefix = net.trunc();
                let message =
                    format!("there is a route to {prefix}; delete it first: route del {prefix}");
                return Err(Refusal::conflict("addresses", message));
            }
        }
        self.check_routers(port)
    }

    fn check_routers(&self, port: &Port) -> Result<(), Refusal> {
        const FIELD: &str = "gateway";
        check_distinct(FIELD, &port.gateways)?;
        for (place, ip) in port.gateways.iter().enumerate() {
            check_host(FIELD, *ip)?;
            check_routable_family(FIELD, *ip)?;
            if port.gateways.iter().take(place).any(|other| other.is_ipv4() == ip.is_ipv4()) {
                let message = "an uplink has at most one gateway per address family";
                return Err(Refusal::invalid(FIELD, message));
            }
            let Some(net) = port.addresses.iter().find(|net| net.contains(ip)) else {
                let message = format!(
                    "gateway {ip} is in no prefix of uplink {}; give it an address of the same \
                     network",
                    port.name
                );
                return Err(Refusal::invalid(FIELD, message));
            };
            check_in_prefix(FIELD, &IpNet::new_assert(*ip, net.prefix_len()))?;
            if port.addresses.iter().any(|own| own.addr() == *ip) {
                let message = format!("gateway {ip} is the uplink's own address");
                return Err(Refusal::invalid(FIELD, message));
            }
            let same = |other: &&Arc<Port>| {
                other.gateways.iter().any(|theirs| theirs.is_ipv4() == ip.is_ipv4())
            };
            if let Some(other) = self.uplinks_but(&port.name).find(same) {
                let message =
                    format!("uplink {} has the default route already; one has it", other.name);
                return Err(Refusal::conflict(FIELD, message));
            }
            self.check_free_of_routes(FIELD, &IpNet::from(*ip))?;
            let default = default_prefix(*ip);
            if self.tables.routes.contains_key(&default) {
                let message = format!("there is a route {default}; delete it first");
                return Err(Refusal::conflict(FIELD, message));
            }
        }
        Ok(())
    }

    fn uplinks_but(&self, name: &Name) -> impl Iterator<Item = &Arc<Port>> {
        self.uplinks().filter(move |other| other.name != *name)
    }

    pub(super) fn port_set(&mut self, name: &Name, set: &PortPatch) -> Result<(), Refusal> {
        let old = self.find_port("port", name)?.clone();
        let mut new = old.clone();
        if let Some(mtu) = set.mtu {
            check_mtu(mtu)?;
            new.mtu = mtu;
        }
        new.started = set.started.unwrap_or(old.started);
        new.probe = set.probe.unwrap_or(old.probe);
        new.configure = set.configure.unwrap_or(old.configure);
        new.addresses = set.addresses.clone().unwrap_or(new.addresses);
        new.gateways = set.gateway.clone().unwrap_or(new.gateways);
        let is_moved = (&new.addresses, &new.gateways) != (&old.addresses, &old.gateways);
        if is_moved {
            self.check_role(&new)?;
            let claims = Claims::of_port(&new);
            self.tables.index.check(&claims, &Holder::Port(name.clone()))?;
        }
        if let Some((queue, core)) = set.queue_worker {
            self.check_worker("worker", core)?;
            let count = old.queues;
            let slot = new.workers.get_mut(usize::from(queue)).ok_or_else(|| {
                let message = format!("port {name} has no queue {queue}; it has {count}, from 0");
                Refusal::new(RefusalKind::NotFound, "queue", message)
            })?;
            *slot = Some(core);
        }
        if new == old {
            return Ok(());
        }
        let mtu = new.mtu;
        let own: Vec<IpNet> = own_addresses(&new).collect();
        self.write_port(name, Some(new));
        if is_moved {
            // Routes by what is on its link no more, or is ours now.
            let before = old.addresses.iter().map(|net| net.trunc());
            self.check_next_hops("addresses", before.chain(own))?;
        }
        if mtu != old.mtu {
            // On a shared port the adapters' MTU is the port's.
            let on_it: Vec<Adapter> = self.adapters_on(name).map(|a| Adapter::clone(a)).collect();
            for adapter in on_it {
                self.write_adapter(&adapter.key(), Some(Adapter { mtu, ..adapter }));
            }
        }
        Ok(())
    }

    pub(super) fn port_detach(&mut self, name: &Name) -> Result<(), Refusal> {
        let old = self.find_port("port", name)?.clone();
        let in_use = |what: String| {
            let message = format!("{what} is on port {name}; move it or delete it first");
            Err(Refusal::conflict("name", message))
        };
        if let Some(adapter) = self.adapters_on(name).next() {
            return in_use(format!("adapter {}", adapter.key()));
        }
        if let Some(network) = self.networks_on(name).next() {
            return in_use(format!("network {}", network.name));
        }
        if self.tables.dev_counts.contains_key(name) {
            let via = Via::Dev(name.clone());
            let route = self.tables.routes.iter().find(|(_, to)| **to == via);
            return in_use(format!(
                "route {}",
                route.map(|(p, _)| p.to_string()).unwrap_or_default()
            ));
        }
        if let Some(neighbor) = self.neighbors().find(|neighbor| neighbor.dev == *name) {
            return in_use(format!("neighbor {}", neighbor.ip));
        }
        self.write_port(name, None);
        self.check_next_hops("name", old.addresses.iter().map(|net| net.trunc()))
    }

    pub(super) fn find_port(&self, field: &'static str, name: &Name) -> Result<&Port, Refusal> {
        let found = self.port(name).map(AsRef::as_ref);
        found.ok_or_else(|| Refusal::missing(field, Missing::Port(name.clone())))
    }

    /// MAC of the kernel's end of a host or shared port.
    pub fn kernel_mac(&self, port: &Name) -> Option<MacAddr> {
        self.port(port).filter(|port| port.role != PortRole::Uplink)?.mac
    }
}

/// A port's own addresses, each alone.
fn own_addresses(port: &Port) -> impl Iterator<Item = IpNet> {
    port.addresses.iter().map(|net| net.addr().into())
}

/// What a named port can be made of.
fn check_device(spec: &PortSpec, wish: &PortWish) -> Result<(), Refusal> {
    if let PortSpec::Shared(port) = spec {
        let message = format!("shared:{port} is a place for adapters; a named port needs a device");
        return Err(Refusal::invalid("device", message));
    }
    if let PortSpec::VhostUser(_) = spec {
        let message = format!("{spec} is for a guest's adapter; a named port needs a device");
        return Err(Refusal::invalid("device", message));
    }
    let Some(netns) = &wish.netns else { return Ok(()) };
    namespace_name(netns).map_err(|why| Refusal::invalid("netns", why))?;
    match spec {
        PortSpec::Tap(tap) if tap.namespace.is_some() => Err(Refusal::invalid(
            "netns",
            format!("{spec} names its namespace itself; leave one out"),
        )),
        _ if spec.is_tap() => Ok(()),
        _ => Err(Refusal::invalid(
            "netns",
            format!("{spec} is no tap; only a tap is born in a namespace"),
        )),
    }
}

/// 0.0.0.0/0 or ::/0, by the family of an address.
pub(super) fn default_prefix(ip: IpAddr) -> IpNet {
    match ip {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}
