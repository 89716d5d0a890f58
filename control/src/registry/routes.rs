//! The operator's routes, fixed neighbors and classes.

use super::adapters::{ALL, check_count, check_mac, check_not_reserved};
use super::addresses::{check_host, check_no_host_bits, check_routable_family};
use super::index::{Holder, bounds};
use super::item::{Class, Neighbor};
use super::refusal::Refusal;
use super::{DEFAULT_GATEWAY, Registry};
use crate::model::{Name, PortRole, Via};
use dataplane::ids::ClassId;
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::net::IpAddr;

/// Most routes: what the FIB is built for.
const ROUTES_MAX: usize = 1_000_000;
/// Most fixed neighbors.
const NEIGHBORS_MAX: usize = 65_536;
/// Most classes: each adapter has a counter of each. One number is for what is in none.
const CLASSES_MAX: usize = ClassId::LIMIT - 1;
/// Most prefixes of all classes together.
pub(crate) const CLASS_PREFIXES_MAX: usize = 65_536;
/// What accounts have besides classes.
const OTHER: &str = "other";

impl Registry {
    pub(super) fn route_add(&mut self, prefix: &IpNet, via: &Via) -> Result<(), Refusal> {
        check_no_host_bits("prefix", prefix)?;
        check_routable_family("prefix", prefix.addr())?;
        if self.tables.routes.len() >= ROUTES_MAX {
            let message = format!("there are {ROUTES_MAX} routes already, which is the most");
            return Err(Refusal::limit("prefix", message));
        }
        if let Some(old) = self.tables.routes.get(prefix) {
            let message =
                format!("there is a route {prefix} {} already; delete it first", shown(old));
            return Err(Refusal::duplicate("prefix", message));
        }
        self.check_route_prefix(prefix)?;
        self.check_via(prefix, via)?;
        self.write_route(prefix, Some(via.clone()));
        Ok(())
    }

    pub(super) fn route_del(&mut self, prefix: &IpNet) -> Result<(), Refusal> {
        if !self.tables.routes.contains_key(prefix) {
            let message = format!("there is no route {prefix} of the operator's to delete");
            return Err(Refusal::not_found("prefix", message));
        }
        self.write_route(prefix, None);
        Ok(())
    }

    /// Refuses a route that leads away what somebody holds.
    fn check_route_prefix(&self, prefix: &IpNet) -> Result<(), Refusal> {
        const FIELD: &str = "prefix";
        if prefix.prefix_len() == 0 {
            let family = |ip: &IpAddr| ip.is_ipv4() == prefix.addr().is_ipv4();
            let gated = self.uplinks().find(|port| port.gateways.iter().any(family));
            return match gated {
                None => Ok(()),
                Some(port) => {
                    let message = format!("uplink {} has the default route already", port.name);
                    Err(Refusal::conflict(FIELD, message))
                }
            };
        }
        check_host(FIELD, bounds(prefix).0)?;
        check_host(FIELD, bounds(prefix).1)?;
        let (first, last) = bounds(prefix);
        if let Some((held, holder)) = self.tables.index.holder_of(first)
            && bounds(held).1 >= last
        {
            let message = format!("{prefix} is taken by {holder}, which holds {held}");
            return Err(Refusal::conflict(FIELD, message));
        }
        let mut connected = self
            .uplinks()
            .flat_map(|port| port.addresses.iter().map(move |net| (&port.name, net.trunc())));
        match connected.find(|(_, net)| net == prefix) {
            None => Ok(()),
            Some((port, _)) => {
                let message = format!("{prefix} is connected at uplink {port}");
                Err(Refusal::conflict(FIELD, message))
            }
        }
    }

    fn check_via(&self, prefix: &IpNet, via: &Via) -> Result<(), Refusal> {
        const FIELD: &str = "via";
        let ip = match via {
            Via::Dev(port) => {
                let role = self.find_port("dev", port)?.role;
                return match role {
                    PortRole::Uplink | PortRole::Host => Ok(()),
                    PortRole::Shared => {
                        let message = format!(
                            "port {port} is shared by guests; route {prefix} via a guest's address"
                        );
                        Err(Refusal::conflict("dev", message))
                    }
                };
            }
            Via::NextHop(ip) => *ip,
        };
        if ip.is_ipv4() != prefix.addr().is_ipv4() {
            let message = format!("next hop {ip} is of another address family than {prefix}");
            return Err(Refusal::invalid(FIELD, message));
        }
        check_host(FIELD, ip)?;
        let holder = self.tables.index.holder_of(ip).map(|(_, holder)| holder);
        if let Some(holder @ (Holder::Port(_) | Holder::Appliance | Holder::Server(_))) = holder {
            let message = format!("next hop {ip} is an address of {holder}, which is no router");
            return Err(Refusal::conflict(FIELD, message));
        }
        if self.reaches(ip) {
            return Ok(());
        }
        let message = match holder {
            Some(holder) => {
                format!("next hop {ip} is {holder}, which is in a network and not routed")
            }
            None => {
                format!("next hop {ip} is neither a guest's address nor in a prefix of an uplink")
            }
        };
        Err(Refusal::conflict(FIELD, message))
    }

    pub(super) fn neighbor_add(
        &mut self,
        ip: IpAddr,
        mac: MacAddr,
        dev: &Name,
    ) -> Result<(), Refusal> {
        check_host("ip", ip)?;
        check_routable_family("ip", ip)?;
        check_mac("mac", mac)?;
        let port = self.find_port("dev", dev)?;
        if port.role != PortRole::Uplink {
            let message = format!("port {dev} is no uplink; guests' MACs are their adapters'");
            return Err(Refusal::conflict("dev", message));
        }
        if let Some((_, holder)) = self.tables.index.holder_of(ip)
            && !matches!(holder, Holder::Router(_))
        {
            return Err(Refusal::duplicate("ip", format!("{ip} is taken by {holder}")));
        }
        if ip == DEFAULT_GATEWAY || self.tables.gateways.contains_key(&ip) {
            return Err(Refusal::conflict(
                "ip",
                format!("{ip} is a gateway of the appliance's own"),
            ));
        }
        if let Some((other, net)) = self.connected(ip)
            && other.name != *dev
        {
            let message =
                format!("{ip} is on uplink {}, by its prefix {}", other.name, net.trunc());
            return Err(Refusal::conflict("dev", message));
        }
        if let Some(old) = self.neighbor(ip) {
            let message = format!("{ip} is fixed at {} on {} already", old.mac, old.dev);
            return Err(Refusal::duplicate("ip", message));
        }
        if self.tables.neighbors.len() >= NEIGHBORS_MAX {
            let message = format!("there are {NEIGHBORS_MAX} fixed neighbors, which is the most");
            return Err(Refusal::limit("ip", message));
        }
        self.write_neighbor(ip, Some(Neighbor { ip, mac, dev: dev.clone() }));
        Ok(())
    }

    pub(super) fn neighbor_del(&mut self, ip: IpAddr) -> Result<(), Refusal> {
        if self.neighbor(ip).is_none() {
            let message =
                format!("{ip} is no fixed neighbor; neighbor flush {ip} forgets a learned one");
            return Err(Refusal::not_found("ip", message));
        }
        self.write_neighbor(ip, None);
        Ok(())
    }

    pub(super) fn class_add(&mut self, name: &Name, prefixes: &[IpNet]) -> Result<(), Refusal> {
        if self.tables.classes.contains_key(name) {
            return Err(Refusal::duplicate("name", format!("class {name} exists already")));
        }
        if self.tables.classes.len() >= CLASSES_MAX {
            let message = format!("there are {CLASSES_MAX} classes already, which is the most");
            return Err(Refusal::limit("name", message));
        }
        check_not_reserved(name, &[ALL, OTHER])?;
        self.check_class(name, prefixes)?;
        self.write_class(name, Some(Class { name: name.clone(), prefixes: prefixes.to_vec() }));
        Ok(())
    }

    /// Whether a class can have these prefixes in place of those that it has.
    fn check_class(&self, name: &Name, prefixes: &[IpNet]) -> Result<(), Refusal> {
        const FIELD: &str = "prefixes";
        let own = self.tables.classes.get(name).map_or(0, |class| class.prefixes.len());
        let others = self.tables.prefix_classes.len() - own;
        check_count(FIELD, others + prefixes.len(), CLASS_PREFIXES_MAX)?;
        if prefixes.is_empty() {
            return Err(Refusal::invalid(FIELD, format!("class {name} needs a prefix at least")));
        }
        let mut seen = std::collections::BTreeSet::new();
        for prefix in prefixes {
            check_no_host_bits(FIELD, prefix)?;
            if !seen.insert(prefix) {
                return Err(Refusal::invalid(FIELD, format!("{prefix} is given twice")));
            }
            let other = self.tables.prefix_classes.get(prefix).filter(|other| *other != name);
            if let Some(other) = other {
                let message = format!("{prefix} is in class {other} already");
                return Err(Refusal::duplicate(FIELD, message));
            }
        }
        Ok(())
    }

    pub(super) fn class_set(&mut self, name: &Name, prefixes: &[IpNet]) -> Result<(), Refusal> {
        let Some(old) = self.tables.classes.get(name) else {
            return Err(Refusal::not_found("name", format!("there is no class {name}")));
        };
        if old.prefixes == prefixes {
            return Ok(());
        }
        self.check_class(name, prefixes)?;
        self.write_class(name, Some(Class { name: name.clone(), prefixes: prefixes.to_vec() }));
        Ok(())
    }

    pub(super) fn class_del(&mut self, name: &Name) -> Result<(), Refusal> {
        if !self.tables.classes.contains_key(name) {
            return Err(Refusal::not_found("name", format!("there is no class {name}")));
        }
        if let Some(key) = self.tables.limited.get(name).and_then(|keys| keys.first()) {
            let message = format!(
                "{key} has a rate for class {name}; take it away first: adapter set {} {} class-rate \
                 {name} in none class-rate {name} out none",
                key.guest, key.adapter
            );
            return Err(Refusal::conflict("name", message));
        }
        self.write_class(name, None);
        Ok(())
    }
}

fn shown(via: &Via) -> String {
    match via {
        Via::NextHop(ip) => format!("via {ip}"),
        Via::Dev(port) => format!("dev {port}"),
    }
}
