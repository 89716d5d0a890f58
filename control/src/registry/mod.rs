//! What is wanted: the single source of truth about guests, adapters, networks, ports and routes.
//!
//! Every change, from the file, the command line or the API, is a [`Change`] and comes through
//! [`Registry::apply`], which takes a batch whole or leaves everything as it was. It refuses what
//! would make the registered state contradict itself, so publishing can rely on what it finds here:
//! every name that is referred to exists, no address, MAC or device is held twice, every default is
//! filled in. A refusal is one sentence that names the value at fault and its holder.
//!
//! There is no copy of the state per batch: each write of a table puts what stood there before into a
//! log, and taking a batch back is writing the log backwards. The log is kept until
//! [`Registry::settle`], so that a batch which could not be written to disk is taken back as well.
//!
//! The registry knows no frame, worker, file or clock.

mod adapters;
mod addresses;
mod document;
mod effect;
mod identity;
mod index;
mod item;
mod limits;
mod lookup;
mod networks;
mod ports;
mod put;
mod refusal;
mod routes;
mod tables;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use adapters::MTU;
pub use document::Document;
pub use effect::Effect;
pub use identity::Identity;
pub use index::Holder;
pub use item::{
    Adapter, AdapterKey, Aside, Class, DEFAULT_GATEWAY, DEFAULT_MTU, Guest, Neighbor, Network,
    Origin, Port, Route, ServerPort, StaticMac,
};
pub(crate) use limits::STORM_PPS;
pub use limits::{Limits, RateLimit};
pub(crate) use networks::{AGE_S, MAX_MACS, VLAN_ID};
pub(crate) use ports::QUEUES_MAX;
pub use put::Put;
pub use refusal::{Missing, Refusal, RefusalKind};
pub(crate) use routes::CLASS_PREFIXES_MAX;

use crate::model::Change;
use effect::Undo;
use tables::Tables;

/// Name of the host-only network that always exists.
pub const DEFAULT_NETWORK: &str = "default";

/// Everything registered.
#[derive(Debug)]
pub struct Registry {
    tables: Tables,
    identity: Identity,
    /// Cores that a queue may be given to; empty: any.
    worker_cores: Vec<usize>,
    /// Fingerprint of the file's registered part when it was last taken over.
    imported: Option<u64>,
    /// Who is changing: decides where an attached port comes from.
    origin: Origin,
    undo: Vec<Undo>,
    effects: Vec<Effect>,
}

impl Registry {
    /// An empty registry: nothing but the network `default`.
    pub fn new(identity: Identity) -> Self {
        let gateway_mac = identity.gateway_mac();
        let mut registry = Self {
            tables: Tables::new(gateway_mac),
            identity,
            worker_cores: Vec::new(),
            imported: None,
            origin: Origin::Operator,
            undo: Vec::new(),
            effects: Vec::new(),
        };
        registry.add_default_network();
        registry.settle();
        registry
    }

    /// Which worker cores exist; queues are given to these only.
    pub fn set_worker_cores(&mut self, cores: Vec<usize>) {
        self.worker_cores = cores;
    }

    /// Applies a batch as one transaction and says what it did, in order. Each change sees those
    /// before it. The batch can be taken back until it is settled.
    ///
    /// # Errors
    /// The first change that can't be; nothing of the batch remains then.
    pub fn apply(&mut self, changes: &[Change]) -> Result<Vec<Effect>, Refusal> {
        let start = self.undo.len();
        self.effects.clear();
        for (place, change) in changes.iter().enumerate() {
            if let Err(refusal) = self.apply_one(change) {
                self.roll_back(start);
                return Err(Refusal { change: place, ..refusal });
            }
        }
        Ok(std::mem::take(&mut self.effects))
    }

    /// Applies changes that come from the configuration file: ports attached by it are read from it
    /// again at the next start.
    ///
    /// # Errors
    /// As [`Registry::apply`].
    pub fn apply_from_file(&mut self, changes: &[Change]) -> Result<Vec<Effect>, Refusal> {
        self.origin = Origin::File;
        let result = self.apply(changes);
        self.origin = Origin::Operator;
        result
    }

    /// Keeps everything applied so far: call it once that is on disk.
    pub fn settle(&mut self) {
        self.undo.clear();
        self.effects.clear();
    }

    /// Takes back everything applied since the last [`Registry::settle`].
    pub fn take_back(&mut self) {
        self.roll_back(0);
    }

    /// Whether something was applied since the last [`Registry::settle`].
    pub fn is_unsettled(&self) -> bool {
        !self.undo.is_empty()
    }

    fn apply_one(&mut self, change: &Change) -> Result<(), Refusal> {
        match change {
            Change::GuestAdd { guest, kind } => self.guest_add(guest, *kind),
            Change::GuestDel { guest } => self.guest_del(guest),
            Change::AdapterAdd { guest, adapter, wish } => self.adapter_add(guest, adapter, wish),
            Change::AdapterSet { guest, adapter, wish } => self.adapter_set(guest, adapter, wish),
            Change::AdapterDel { guest, adapter } => self.adapter_del(guest, adapter),
            Change::NetworkAdd { network, attach } => self.network_add(network, attach),
            Change::NetworkSet { network, set } => self.network_set(network, set),
            Change::NetworkServer { network, server } => {
                self.network_server(network, server.as_ref())
            }
            Change::NetworkDel { network } => self.network_del(network),
            Change::PortAttach { port, wish } => self.port_attach(port, wish),
            Change::PortSet { port, set } => self.port_set(port, set),
            Change::PortDetach { port } => self.port_detach(port),
            Change::RouteAdd { prefix, via } => self.route_add(prefix, via),
            Change::RouteDel { prefix } => self.route_del(prefix),
            Change::NeighborAdd { ip, mac, dev } => self.neighbor_add(*ip, *mac, dev),
            Change::NeighborDel { ip } => self.neighbor_del(*ip),
            Change::MacAdd { network, mac, to } => self.mac_add(network, *mac, to),
            Change::MacDel { network, mac } => self.mac_del(network, *mac),
            Change::ClassAdd { class, prefixes } => self.class_add(class, prefixes),
            Change::ClassSet { class, prefixes } => self.class_set(class, prefixes),
            Change::ClassDel { class } => self.class_del(class),
        }
    }
}
