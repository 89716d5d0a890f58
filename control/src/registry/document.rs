//! The registry as a document: what the snapshot on disk holds, and how a registry is made of it.
//!
//! Items are written as they are, defaults and generated MACs included, so that a restart finds what
//! was answered and not what a newer version would have answered. Reading goes through the same index
//! as changes do, and every name must lead somewhere.

use super::index::{Claims, Holder};
use super::item::{
    Adapter, Class, Guest, Neighbor, Network, Origin, Port, Route, ServerPort, StaticMac,
};
use super::refusal::{Missing, Refusal};
use super::{Identity, Registry};
use crate::model::{Name, PortRole, PortWish};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::sync::Arc;

/// Everything registered, by kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Document {
    identity: Identity,
    /// Fingerprint of the configuration file's registered part when it was last taken over.
    #[serde(default)]
    imported: Option<u64>,
    next_network: u16,
    ports: Vec<Port>,
    networks: Vec<Network>,
    servers: Vec<ServerPort>,
    guests: Vec<Guest>,
    adapters: Vec<Adapter>,
    static_macs: Vec<StaticMac>,
    neighbors: Vec<Neighbor>,
    routes: Vec<Route>,
    classes: Vec<Class>,
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

/// The fields of [`Document`], written straight from the tables: a state of 10,000 adapters is
/// written for every accepted batch and should not be copied first.
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

    /// Notes that the registered part of the configuration file was taken over.
    pub fn set_imported(&mut self, fingerprint: u64) {
        self.imported = Some(fingerprint);
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
        for network in document.networks {
            registry.restore_network(network)?;
        }
        registry.tables.next_network = document.next_network;
        for server in document.servers {
            registry.find_network("network", &server.network)?;
            let holder = Holder::Server(server.network.clone());
            registry.tables.index.check(&Claims::of_server(&server), &holder)?;
            registry.write_server(&server.network.clone(), Some(server));
        }
        for guest in document.guests {
            registry.guest_add(&guest.name, guest.kind)?;
        }
        for adapter in document.adapters {
            registry.restore_adapter(adapter)?;
        }
        for StaticMac { network, mac, to } in document.static_macs {
            registry.mac_add(&network, mac, &to)?;
        }
        for Neighbor { ip, mac, dev } in document.neighbors {
            registry.neighbor_add(ip, mac, &dev)?;
        }
        for Route { prefix, via } in document.routes {
            registry.route_add(&prefix, &via)?;
        }
        for Class { name, prefixes } in document.classes {
            registry.class_add(&name, &prefixes)?;
        }
        registry.settle();
        Ok(registry)
    }

    fn restore_ports(
        &mut self,
        stored: Vec<Port>,
        file_ports: &[(Name, PortWish)],
    ) -> Result<(), Refusal> {
        self.origin = Origin::File;
        for (name, wish) in file_ports {
            self.port_attach(name, wish)?;
        }
        self.origin = Origin::Operator;
        for port in stored {
            match self.port(&port.name) {
                // What `port set` changed stays as long as the file says what it said then.
                Some(from_file) if from_file.wish == port.wish => {
                    let port = Port { origin: Origin::File, ..port };
                    self.write_port(&port.name.clone(), Some(port));
                }
                // The file's word counts for a port that it names anew.
                Some(_) => {}
                None if port.origin == Origin::Operator => {
                    self.port_attach(&port.name, &port.wish)?;
                    self.write_port(&port.name.clone(), Some(port));
                }
                // It was the file's and is there no longer: whatever needs it will say so.
                None => {}
            }
        }
        Ok(())
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
        let key = adapter.key();
        self.check_surroundings(&adapter, &key)?;
        let claims = Claims::of_adapter(&adapter, self.gateway_mac());
        self.tables.index.check(&claims, &Holder::Adapter(key.clone()))?;
        self.write_adapter(&key, Some(adapter));
        Ok(())
    }
}
