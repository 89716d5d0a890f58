//! Named ports as changes of them: which come and go, and what is set on those that stay.

use super::Pair;
use super::batch::differing;
use crate::model::{Change, PortPatch};
use crate::registry::Port;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// Addresses and gateways of an uplink.
type Claims = (Vec<IpNet>, Vec<IpAddr>);

impl Pair<'_> {
    pub(super) fn set_ports(&self, changes: &mut Vec<Change>) {
        let gone = self.running.ports().filter(|old| self.wanted.port(&old.name).is_none());
        changes.extend(gone.map(|old| Change::PortDetach { port: old.name.clone() }));
        // What another takes is let go first.
        for (old, _) in self.staying() {
            let (addresses, gateway) = self.kept(old);
            let addresses = differing(false, &old.addresses, &addresses);
            let gateway = differing(false, &old.gateways, &gateway);
            let set = PortPatch { addresses, gateway, ..PortPatch::default() };
            changes.extend(port_set(old, set));
        }
        for (port, wish) in &self.config.ports {
            if self.running.port(port).is_none() {
                changes.push(Change::PortAttach { port: port.clone(), wish: wish.clone() });
            }
        }
        for (old, new) in self.staying() {
            let (addresses, gateway) = self.kept(old);
            let set = PortPatch {
                mtu: differing(false, &old.mtu, &new.mtu),
                addresses: differing(false, &addresses, &new.addresses),
                gateway: differing(false, &gateway, &new.gateways),
                probe: differing(false, &old.probe, &new.probe),
                configure: differing(false, &old.configure, &new.configure),
                ..PortPatch::default()
            };
            changes.extend(port_set(old, set));
        }
    }

    /// Ports that run and are the file's too. One of another role is another port.
    fn staying(&self) -> impl Iterator<Item = (&Arc<Port>, &Arc<Port>)> {
        let both = self.running.ports().filter_map(|old| Some((old, self.wanted.port(&old.name)?)));
        both.filter(|(old, new)| old.role == new.role)
    }

    /// Other ports of the file.
    fn others(&self, port: &Port) -> impl Iterator<Item = &Arc<Port>> {
        self.wanted.ports().filter(|other| other.name != port.name)
    }

    /// What an uplink keeps until it gets the file's: all that no other takes.
    fn kept(&self, old: &Port) -> Claims {
        let is_taken = |net: &IpNet| {
            let mut theirs = self.others(old).flat_map(|other| &other.addresses);
            theirs.any(|their| their.contains(net) || net.contains(their))
        };
        let addresses = old.addresses.iter().filter(|net| !is_taken(net));
        let addresses: Vec<IpNet> = addresses.copied().collect();
        let leads_elsewhere = |ip: &IpAddr| {
            let mut theirs = self.others(old).flat_map(|other| &other.gateways);
            theirs.any(|their| their.is_ipv4() == ip.is_ipv4())
        };
        let is_on_link = |ip: &IpAddr| addresses.iter().any(|net| net.contains(ip));
        let gateways = old.gateways.iter().filter(|ip| is_on_link(ip) && !leads_elsewhere(ip));
        let gateways = gateways.copied().collect();
        (addresses, gateways)
    }

    /// Whether an address is on an uplink's link and is not all the time on that same one's.
    pub(super) fn is_off_link(&self, ip: IpAddr) -> bool {
        let Some((old, _)) = self.running.connected(ip) else { return false };
        let is_there_then = self.wanted.connected(ip).is_some_and(|(new, _)| new.name == old.name);
        let is_kept = self.kept(old).0.iter().any(|net| net.contains(&ip));
        !(is_there_then && is_kept)
    }
}

/// What is set on a port; none where that is nothing.
fn port_set(port: &Port, set: PortPatch) -> Option<Change> {
    let port = port.name.clone();
    (set != PortPatch::default()).then_some(Change::PortSet { port, set })
}
