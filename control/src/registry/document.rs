//! The registry as a document: what the snapshot on disk holds, what the journal adds to it, and how a
//! registry is made of both.
//!
//! Items are written as they are, defaults and generated MACs included, so that a restart finds what
//! was answered and not what a newer version would have answered. Reading goes through the same index
//! as changes do, and every name must lead somewhere.

use super::effect::Undo;
use super::index::{Claims, Holder};
use super::item::{
    Adapter, AdapterKey, Class, Guest, Neighbor, Network, Origin, Port, Route, ServerPort,
    StaticMac,
};
use super::refusal::{Missing, Refusal};
use super::{Identity, Registry};
use crate::model::{Name, PortPatch, PortRole, PortWish};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use serde::de::Error;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

/// Everything registered, by kind and key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Document {
    identity: Identity,
    /// Fingerprint of the configuration file's registered part when it was last taken over.
    #[serde(default)]
    pub(super) imported: Option<u64>,
    pub(super) next_network: u16,
    #[serde(deserialize_with = "by_key")]
    pub(super) ports: BTreeMap<Name, Port>,
    #[serde(deserialize_with = "by_key")]
    pub(super) networks: BTreeMap<Name, Network>,
    #[serde(deserialize_with = "by_key")]
    pub(super) servers: BTreeMap<Name, ServerPort>,
    #[serde(deserialize_with = "by_key")]
    pub(super) guests: BTreeMap<Name, Guest>,
    #[serde(deserialize_with = "by_key")]
    pub(super) adapters: BTreeMap<AdapterKey, Adapter>,
    #[serde(deserialize_with = "by_key")]
    pub(super) static_macs: BTreeMap<(Name, MacAddr), StaticMac>,
    #[serde(deserialize_with = "by_key")]
    pub(super) neighbors: BTreeMap<IpAddr, Neighbor>,
    #[serde(deserialize_with = "by_key")]
    pub(super) routes: BTreeMap<IpNet, Route>,
    #[serde(deserialize_with = "by_key")]
    pub(super) classes: BTreeMap<Name, Class>,
}

/// An item that its table has once.
pub(super) trait Keyed {
    type Key: Ord + Debug;

    fn key(&self) -> Self::Key;
}

impl Keyed for Port {
    type Key = Name;

    fn key(&self) -> Name {
        self.name.clone()
    }
}

impl Keyed for Network {
    type Key = Name;

    fn key(&self) -> Name {
        self.name.clone()
    }
}

impl Keyed for ServerPort {
    type Key = Name;

    fn key(&self) -> Name {
        self.network.clone()
    }
}

impl Keyed for Guest {
    type Key = Name;

    fn key(&self) -> Name {
        self.name.clone()
    }
}

impl Keyed for Adapter {
    type Key = AdapterKey;

    fn key(&self) -> AdapterKey {
        AdapterKey { guest: self.guest.clone(), adapter: self.name.clone() }
    }
}

impl Keyed for StaticMac {
    type Key = (Name, MacAddr);

    fn key(&self) -> (Name, MacAddr) {
        (self.network.clone(), self.mac)
    }
}

impl Keyed for Neighbor {
    type Key = IpAddr;

    fn key(&self) -> IpAddr {
        self.ip
    }
}

impl Keyed for Route {
    type Key = IpNet;

    fn key(&self) -> IpNet {
        self.prefix
    }
}

impl Keyed for Class {
    type Key = Name;

    fn key(&self) -> Name {
        self.name.clone()
    }
}

/// Reads a sequence into a table. An item that is there twice would be a guess between two.
fn by_key<'de, D, T>(from: D) -> Result<BTreeMap<T::Key, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Keyed + Deserialize<'de>,
{
    let mut table = BTreeMap::new();
    for item in Vec::<T>::deserialize(from)? {
        let key = item.key();
        if table.contains_key(&key) {
            return Err(D::Error::custom(format!("{key:?} is there twice")));
        }
        table.insert(key, item);
    }
    Ok(table)
}

/// Writes an iterator as a sequence.
struct Sequence<F>(F);

impl<F, I, T> Serialize for Sequence<F>
where
    F: Fn() -> I,
    I: Iterator<Item = T>,
    T: Serialize,
{
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq((self.0)())
    }
}

/// The fields of [`Document`], written straight from the tables: a state of 10,000 adapters should not
/// be copied first.
impl Serialize for Registry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_struct("Document", 12)?;
        out.serialize_field("identity", &self.identity)?;
        out.serialize_field("imported", &self.imported)?;
        out.serialize_field("next-network", &self.tables.next_network)?;
        out.serialize_field("ports", &Sequence(|| self.ports().map(Arc::as_ref)))?;
        out.serialize_field("networks", &Sequence(|| self.networks().map(Arc::as_ref)))?;
        out.serialize_field("servers", &Sequence(|| self.servers().map(Arc::as_ref)))?;
        out.serialize_field("guests", &Sequence(|| self.guests().map(Arc::as_ref)))?;
        out.serialize_field("adapters", &Sequence(|| self.adapters().map(Arc::as_ref)))?;
        out.serialize_field("static-macs", &Sequence(|| self.static_macs()))?;
        out.serialize_field("neighbors", &Sequence(|| self.neighbors()))?;
        out.serialize_field("routes", &Sequence(|| self.routes()))?;
        out.serialize_field("classes", &Sequence(|| self.classes().map(Arc::as_ref)))?;
        out.end()
    }
}

impl Registry {
    /// The fingerprint of the configuration file's registered part when it was last taken over.
    pub fn imported(&self) -> Option<u64> {
        self.imported
    }

    /// Notes that the registered part of the configuration file was taken over: applied with the batch
    /// that it came with.
    pub fn set_imported(&mut self, fingerprint: u64) {
        if self.imported != Some(fingerprint) {
            self.undo.push(Undo::Imported(self.imported));
            self.imported = Some(fingerprint);
        }
    }

    /// A registry made of a document, with the file's ports in place of those that the document has
    /// from an earlier file. A port whose entry in the file is the same as then keeps what `port set`
    /// made of it.
    ///
    /// # Errors
    /// A port that cannot be, or a document that contradicts itself or the file's ports.
    pub fn restore(
        document: Document,
        file_ports: &[(Name, PortWish)],
        worker_cores: &[usize],
    ) -> Result<Self, Refusal> {
        let mut registry = Self::new(document.identity);
        registry.set_worker_cores(worker_cores.to_vec());
        registry.imported = document.imported;
        registry.restore_ports(document.ports, file_ports)?;
        for network in document.networks.into_values() {
            registry.restore_network(network)?;
        }
        registry.tables.next_network = document.next_network;
        for server in document.servers.into_values() {
            registry.find_network("network", &server.network)?;
            let holder = Holder::Server(server.network.clone());
            registry.tables.index.check(&Claims::of_server(&server), &holder)?;
            registry.write_server(&server.network.clone(), Some(server));
        }
        for guest in document.guests.into_values() {
            registry.guest_add(&guest.name, guest.kind)?;
        }
        for Class { name, prefixes } in document.classes.into_values() {
            registry.class_add(&name, &prefixes)?;
        }
        for adapter in document.adapters.into_values() {
            registry.restore_adapter(adapter)?;
        }
        for StaticMac { network, mac, to } in document.static_macs.into_values() {
            registry.mac_add(&network, mac, &to)?;
        }
        for Neighbor { ip, mac, dev } in document.neighbors.into_values() {
            registry.neighbor_add(ip, mac, &dev)?;
        }
        for Route { prefix, via } in document.routes.into_values() {
            registry.route_add(&prefix, &via)?;
        }
        registry.settle();
        Ok(registry)
    }

    fn restore_ports(
        &mut self,
        stored: BTreeMap<Name, Port>,
        file_ports: &[(Name, PortWish)],
    ) -> Result<(), Refusal> {
        self.origin = Origin::File;
        for (name, wish) in file_ports {
            self.port_attach(name, wish)?;
        }
        self.origin = Origin::Operator;
        let (of_file, others): (Vec<Port>, Vec<Port>) =
            stored.into_values().partition(|port| self.port(&port.name).is_some());
        // What was set live stays as long as the file says what it said then; the file's word counts for a
        // port that it names anew.
        let kept = of_file.into_iter().filter(|port| {
            self.port(&port.name).is_some_and(|from_file| from_file.wish == port.wish)
        });
        let kept: Vec<Port> = kept.collect();
        // Addresses may have moved from one to another: all are let go before any is taken.
        for port in &kept {
            let (addresses, gateways) = (Vec::new(), Vec::new());
            let port = Port { origin: Origin::File, addresses, gateways, ..port.clone() };
            self.write_port(&port.name.clone(), Some(port));
        }
        for port in kept {
            let (addresses, gateway) = (Some(port.addresses), Some(port.gateways));
            let set = PortPatch { addresses, gateway, ..PortPatch::default() };
            self.port_set(&port.name, &set)?;
        }
        // One that was the file's and is there no longer is gone: whatever needs it will say so.
        for port in others.into_iter().filter(|port| port.origin == Origin::Operator) {
            let (addresses, gateway) = (port.addresses.clone(), port.gateways.clone());
            let wish = PortWish { addresses, gateway, ..port.wish.clone() };
            self.port_attach(&port.name, &wish)?;
            self.write_port(&port.name.clone(), Some(port));
        }
        Ok(())
    }

    /// Notes that the file's ports were taken over while they ran: what is set on one from now on stays as
    /// long as the file says of it what it says now. What takes effect at a start only is still to come.
    pub fn adopt_ports(&mut self, file_ports: &[(Name, PortWish)]) {
        for (name, file) in file_ports {
            let Some(old) = self.port(name) else { continue };
            let wish = PortWish {
                addresses: file.addresses.clone(),
                gateway: file.gateway.clone(),
                mtu: file.mtu,
                probe: file.probe,
                configure: file.configure,
                ..old.wish.clone()
            };
            if (old.origin, &old.wish) != (Origin::File, &wish) {
                let port = Port { origin: Origin::File, wish, ..Port::clone(old) };
                self.write_port(name, Some(port));
            }
        }
    }

    fn restore_network(&mut self, network: Network) -> Result<(), Refusal> {
        self.check_attach(&network.name, &network.attach)?;
        if let Some(other) = self.tables.network_numbers.get(&network.number)
            && *other != network.name
        {
            let message = format!(
                "networks {other} and {} have one number, {}",
                network.name, network.number
            );
            return Err(Refusal::conflict("network", message));
        }
        self.write_network(&network.name.clone(), Some(network));
        Ok(())
    }

    fn restore_adapter(&mut self, mut adapter: Adapter) -> Result<(), Refusal> {
        self.find_guest(&adapter.guest)?;
        if let Some(network) = &adapter.network {
            self.find_network("network", network)?;
        }
        if let Some(name) = adapter.shared_port() {
            let port = self.find_port("port", name)?;
            if port.role != PortRole::Shared {
                return Err(Refusal::missing("port", Missing::Port(name.clone())));
            }
            // The port may have changed in the file since.
            let (mac, generated, mtu) = (port.mac, port.mac_generated, port.mtu);
            adapter.mac = mac.unwrap_or(adapter.mac);
            adapter.mac_generated = generated;
            adapter.mtu = mtu;
        }
        self.check_limits(&adapter.limits)?;
        let key = adapter.key();
        self.check_surroundings(&adapter, &key)?;
        let claims = Claims::of_adapter(&adapter, self.gateway_mac());
        self.tables.index.check(&claims, &Holder::Adapter(key.clone()))?;
        self.write_adapter(&key, Some(adapter));
        Ok(())
    }
}
