//! What an accepted batch did, for publishing; and the log that takes it back.

use super::item::{
    Adapter, AdapterKey, Class, Guest, Neighbor, Network, Port, Route, ServerPort, StaticMac,
};
use crate::model::{Name, Via};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// One step of what an accepted batch did. Steps are in an order in which each state between is
/// legal: what is named exists before what names it, and goes after it.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "old is what was registered before, new what is registered now")]
pub enum Effect {
    GuestAdded(Arc<Guest>),
    GuestRemoved(Arc<Guest>),
    AdapterAdded(Arc<Adapter>),
    AdapterChanged { old: Arc<Adapter>, new: Arc<Adapter> },
    AdapterRemoved(Arc<Adapter>),
    NetworkAdded(Arc<Network>),
    NetworkChanged { old: Arc<Network>, new: Arc<Network> },
    NetworkRemoved(Arc<Network>),
    ServerAdded(Arc<ServerPort>),
    ServerChanged { old: Arc<ServerPort>, new: Arc<ServerPort> },
    ServerRemoved(Arc<ServerPort>),
    PortAttached(Arc<Port>),
    PortChanged { old: Arc<Port>, new: Arc<Port> },
    PortDetached(Arc<Port>),
    RouteAdded(Route),
    RouteRemoved(Route),
    NeighborAdded(Neighbor),
    NeighborRemoved(Neighbor),
    StaticMacAdded(StaticMac),
    StaticMacRemoved(StaticMac),
    ClassAdded(Arc<Class>),
    ClassChanged { old: Arc<Class>, new: Arc<Class> },
    ClassRemoved(Arc<Class>),
}

/// What a table held under a key before it was written: writing it back undoes the step.
#[derive(Debug)]
pub(super) enum Undo {
    Guest(Name, Option<Arc<Guest>>),
    Adapter(AdapterKey, Option<Arc<Adapter>>),
    Network(Name, Option<Arc<Network>>),
    Server(Name, Option<Arc<ServerPort>>),
    Port(Name, Option<Arc<Port>>),
    Route(IpNet, Option<Via>),
    Neighbor(IpAddr, Option<Neighbor>),
    StaticMac((Name, MacAddr), Option<StaticMac>),
    Class(Name, Option<Arc<Class>>),
    NextNetwork(u16),
    Imported(Option<u64>),
}
