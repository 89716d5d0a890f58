//! From what is wanted (registry) to what workers read (tables and records).
//!
//! [`Publisher`] is told of every change as it was accepted, in order, and keeps the tables such that
//! each state between is legal (design.md, invariant 2): an adjacency before the FIB entry or MAC
//! entry that names it; the entry gone before the adjacency; a record whole. Records of networks and
//! uplinks collect the changes of a batch and go out once, in [`Publisher::finish`].
//!
//! It knows nothing of files, sockets, devices or time: queue handles are given to it open.

mod adapter;
mod class;
mod hop;
mod ids;
mod limit;
mod mac;
mod network;
mod port_queues;
mod rib;
mod route;
#[cfg(test)]
mod tests;
mod uplink;
mod workers;

pub use adapter::port_label;
pub use hop::Hop;
pub use limit::Over;
pub use mac::{Learned, MacOwner};
pub use port_queues::Assignment;
pub use rib::{Entry, Prefix, Rib, Source};
pub use workers::{Returned, WorkerEnd, WorkerSilent, Workers};

use crate::api::view::PortLabel;
use crate::model::Name;
use crate::registry::AdapterKey;
use dataplane::frame::Frame;
use dataplane::ids::{AdapterId, NetworkId, PortId};
use dataplane::io::Io;
use dataplane::pipeline::Tables;
use dataplane::record::{Attachment, PortRecord, Uplink};
use dataplane::table::{AdjacencyWriter, FibError, Ipv4FibWriter, MacWriter, Qsbr, TableFull};
use dataplane::wire::ethernet::MacAddr;
use ids::Ids;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Rows of the adjacency table: two per adapter, and the next hops.
const ADJACENCIES: usize = 1 << 18;
/// Groups of the FIB: one per /24 that holds anything longer.
const FIB_GROUPS: usize = 1 << 17;
/// Slots of the MAC table, all networks together.
const MACS: usize = 1 << 17;

/// Why something could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A table is full.
    #[error(transparent)]
    Full(#[from] TableFull),
    /// The FIB is full.
    #[error(transparent)]
    Fib(#[from] FibError),
    /// A worker does not answer.
    #[error(transparent)]
    Silent(#[from] WorkerSilent),
    /// No more numbers for ports or adapters.
    #[error("limit reached: at most {limit} {what}")]
    Ids {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// A port that should be there is not: its device failed to open.
    #[error("port {0} is not open")]
    NoPort(String),
}

/// The result of publishing.
pub type Published = Result<(), PublishError>;

/// What a port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Towards the LAN.
    Uplink,
    /// The server's kernel.
    Host,
    /// Carries many host-routed adapters.
    Shared,
    /// One adapter's own.
    Guest,
    /// The server's on a network.
    NetworkServer,
}

/// A port that workers serve.
pub struct PortEntry {
    /// Its number.
    pub id: PortId,
    /// What it is for.
    pub role: Role,
    /// The MAC by which the far side addresses us.
    pub own_mac: MacAddr,
    /// The MAC of the far side, where there is one.
    pub peer_mac: MacAddr,
    /// Largest packet, bytes.
    pub mtu: u16,
    /// Who polls what.
    pub assignment: Assignment,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    attachment: Attachment,
}

/// A port's far and near side, to open it with.
#[derive(Clone, Debug)]
pub struct PortFacts {
    /// What it is for.
    pub role: Role,
    /// The MAC by which the far side addresses us.
    pub own_mac: MacAddr,
    /// The MAC of the far side, where there is one.
    pub peer_mac: MacAddr,
    /// Largest packet, bytes.
    pub mtu: u16,
}

/// Everything that workers read, as control writes it.
pub struct Publisher<I: Io> {
    /// The workers.
    pub workers: Workers<I>,
    /// Who reads the tables.
    pub qsbr: Arc<Qsbr>,
    rib: Rib,
    adjacencies: AdjacencyWriter,
    macs: MacWriter,
    port_ids: Ids,
    adapter_ids: Ids,
    ports: BTreeMap<PortLabel, PortEntry>,
    labels: HashMap<PortId, PortLabel>,
    adapters: HashMap<AdapterKey, adapter::AdapterEntry>,
    adapter_keys: HashMap<AdapterId, AdapterKey>,
    networks: HashMap<Name, network::NetworkEntry>,
    network_names: HashMap<NetworkId, Name>,
    dirty_networks: BTreeSet<Name>,
    dirty_uplinks: BTreeSet<Name>,
    routes: route::Routes,
    classes: class::Classes,
    limiting: limit::Limiting,
}

/// The writers' ends of fresh tables, and what workers read of them.
pub struct FreshTables {
    /// For the workers.
    pub tables: Tables,
    qsbr: Arc<Qsbr>,
    fib: Ipv4FibWriter,
    adjacencies: AdjacencyWriter,
    macs: MacWriter,
}

impl FreshTables {
    /// Empty tables for `workers` readers.
    pub fn new(workers: usize) -> Self {
        let qsbr = Qsbr::new(workers);
        let fib = Ipv4FibWriter::new(FIB_GROUPS, qsbr.clone());
        let adjacencies = AdjacencyWriter::new(ADJACENCIES, qsbr.clone());
        let macs = MacWriter::new(MACS, qsbr.clone());
        let tables = Tables {
            fib: fib.fib().clone(),
            adjacencies: adjacencies.table().clone(),
            macs: macs.table().clone(),
        };
        Self { tables, qsbr, fib, adjacencies, macs }
    }

    /// For the workers' readers.
    pub fn qsbr(&self) -> &Arc<Qsbr> {
        &self.qsbr
    }
}

impl<I: Io> Publisher<I>
where
    I::Frame: Frame,
{
    /// Over fresh tables and the workers that read them.
    ///
    /// # Errors
    /// When the tables have no room for the few rows that every route needs.
    pub fn new(fresh: FreshTables, workers: Workers<I>) -> Result<Self, PublishError> {
        let FreshTables { qsbr, fib, mut adjacencies, macs, .. } = fresh;
        let routes = route::Routes::new(&mut adjacencies)?;
        Ok(Self {
            workers,
            rib: Rib::new(fib),
            adjacencies,
            macs,
            port_ids: Ids::new(qsbr.clone(), u32::try_from(PortId::LIMIT).unwrap_or(u32::MAX)),
            adapter_ids: Ids::new(
                qsbr.clone(),
                u32::try_from(AdapterId::LIMIT).unwrap_or(u32::MAX),
            ),
            classes: class::Classes::new(qsbr.clone()),
            limiting: limit::Limiting::default(),
            qsbr,
            ports: BTreeMap::new(),
            labels: HashMap::new(),
            adapters: HashMap::new(),
            adapter_keys: HashMap::new(),
            networks: HashMap::new(),
            network_names: HashMap::new(),
            dirty_networks: BTreeSet::new(),
            dirty_uplinks: BTreeSet::new(),
            routes,
        })
    }

    /// A port with open queues joins; nothing is bound to it yet.
    ///
    /// # Errors
    /// No number is left, or a worker does not answer.
    pub fn open_port(
        &mut self,
        label: PortLabel,
        facts: PortFacts,
        rx: Vec<I::Rx>,
        tx: Vec<I::Tx>,
        assignment: Assignment,
    ) -> Result<PortId, PublishError> {
        let limit = PortId::LIMIT;
        let id = self.port_ids.take().and_then(|id| u16::try_from(id).ok());
        let id = PortId(id.ok_or(PublishError::Ids { what: "ports", limit })?);
        let PortFacts { role, own_mac, peer_mac, mtu } = facts;
        let count = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
        let (rx_queues, tx_queues) = (count(rx.len()), count(tx.len()));
        let attachment = match role {
            Role::Uplink => Attachment::Uplink(Uplink { untagged: None, vlans: Box::default() }),
            Role::Host => Attachment::Host { peer_mac },
            Role::Shared => Attachment::Shared { peer_mac },
            Role::Guest | Role::NetworkServer => Attachment::Closed,
        };
        let entry = PortEntry {
            id,
            role,
            own_mac,
            peer_mac,
            mtu,
            assignment,
            rx_queues,
            tx_queues,
            attachment,
        };
        // The record before the queues, so that the first frame finds it.
        self.workers.set_port(id, Some(entry.record()))?;
        let rx = (0..).zip(rx).collect();
        self.workers.open(id, rx, tx, &entry.assignment)?;
        self.labels.insert(id, label.clone());
        self.ports.insert(label, entry);
        Ok(id)
    }

    /// A port leaves; its queue handles come back, and no worker touches it any more.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn close_port(&mut self, label: &PortLabel) -> Result<Returned<I>, PublishError> {
        let Some(entry) = self.ports.remove(label) else {
            return Err(PublishError::NoPort(label.to_string()));
        };
        let returned = self.workers.close(entry.id)?;
        self.workers.set_port(entry.id, None)?;
        self.workers.settle()?;
        self.labels.remove(&entry.id);
        self.port_ids.release(entry.id.0.into());
        Ok(returned)
    }

    /// Takes a port's queues back and leaves its place: `port stop`, a change of assignment.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn pause_port(&mut self, label: &PortLabel) -> Result<Returned<I>, PublishError> {
        match self.ports.get(label) {
            Some(entry) => Ok(self.workers.close(entry.id)?),
            None => Err(PublishError::NoPort(label.to_string())),
        }
    }

    /// Gives a paused port its queues again.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn resume_port(
        &mut self,
        label: &PortLabel,
        queues: Returned<I>,
        assignment: Assignment,
    ) -> Published {
        let Some(entry) = self.ports.get_mut(label) else {
            return Err(PublishError::NoPort(label.to_string()));
        };
        entry.assignment = assignment;
        Ok(self.workers.open(entry.id, queues.rx, queues.tx, &entry.assignment)?)
    }

    /// A port's MTU has changed.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn set_port_mtu(&mut self, label: &PortLabel, mtu: u16) -> Published {
        let Some(entry) = self.ports.get_mut(label) else {
            return Err(PublishError::NoPort(label.to_string()));
        };
        entry.mtu = mtu;
        let id = entry.id;
        self.workers.set_port(id, Some(entry.record()))?;
        self.set_adjacency_mtus(id, mtu);
        for (name, network) in &mut self.networks {
            // Its record bounds what is flooded, its row what its MACs get.
            if let Some(adjacency) = network.set_member_mtu(id, mtu) {
                self.adjacencies.set_mtu(adjacency, mtu);
                self.dirty_networks.insert(name.clone());
            }
        }
        Ok(())
    }

    /// A port by its label.
    pub fn port(&self, label: &PortLabel) -> Option<&PortEntry> {
        self.ports.get(label)
    }

    /// All ports, in order of their labels.
    pub fn ports(&self) -> impl Iterator<Item = (&PortLabel, &PortEntry)> {
        self.ports.iter()
    }

    /// The label of a port number.
    pub fn label(&self, port: PortId) -> Option<&PortLabel> {
        self.labels.get(&port)
    }

    /// Numbers that ports have or had: all below this.
    pub fn port_numbers_used(&self) -> u16 {
        u16::try_from(self.port_ids.used()).unwrap_or(u16::MAX)
    }

    /// The adapter of a number.
    pub fn adapter_key(&self, adapter: AdapterId) -> Option<&AdapterKey> {
        self.adapter_keys.get(&adapter)
    }

    /// What is in force for addresses, and why.
    pub fn rib(&self) -> &Rib {
        &self.rib
    }

    /// Whether a device has to take every frame: a network hangs on it.
    pub fn wants_promiscuous(&self, uplink: &Name) -> bool {
        self.networks.values().any(|network| network.is_on(uplink))
    }

    /// FIB groups that are free: what a batch of new long prefixes has to fit.
    pub fn fib_groups_left(&self) -> usize {
        FIB_GROUPS.saturating_sub(self.rib.fib().groups_in_use())
    }

    /// MAC slots that are free.
    pub fn macs_left(&self) -> usize {
        // Half full at most, so that overflow chains stay short.
        (MACS / 2).saturating_sub(self.macs.len())
    }

    /// Adapter numbers that are free.
    pub fn adapters_left(&self) -> usize {
        self.adapter_ids.left()
    }

    /// Sends the records that a batch touched.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn finish(&mut self) -> Published {
        for name in std::mem::take(&mut self.dirty_networks) {
            self.send_network(&name)?;
        }
        for name in std::mem::take(&mut self.dirty_uplinks) {
            self.send_uplink(&name)?;
        }
        Ok(())
    }

    /// Takes back what has become free; called in control's idle turns.
    pub fn reclaim(&mut self) {
        self.workers.collect();
        self.rib.reclaim();
        self.adjacencies.reclaim();
        self.macs.reclaim();
        self.port_ids.reclaim();
        self.adapter_ids.reclaim();
        self.classes.reclaim();
    }

    /// Binds `attachment` to a port, in one record.
    fn attach(&mut self, label: &PortLabel, own_mac: MacAddr, attachment: Attachment) -> Published {
        let Some(entry) = self.ports.get_mut(label) else {
            return Err(PublishError::NoPort(label.to_string()));
        };
        entry.own_mac = own_mac;
        entry.attachment = attachment;
        let (id, record) = (entry.id, entry.record());
        Ok(self.workers.set_port(id, Some(record))?)
    }

    fn take_adapter_id(&mut self) -> Result<AdapterId, PublishError> {
        let limit = AdapterId::LIMIT;
        let id = self.adapter_ids.take().ok_or(PublishError::Ids { what: "adapters", limit })?;
        Ok(AdapterId(id))
    }
}

impl PortEntry {
    fn record(&self) -> PortRecord {
        PortRecord {
            id: self.id,
            own_mac: self.own_mac,
            mtu: self.mtu,
            attachment: self.attachment.clone(),
        }
    }
}
