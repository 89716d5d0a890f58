//! A worker's own view of ports and networks: which record is in force.

use crate::ids::{NetworkId, PortId};
use crate::record::{NetworkRecord, PortRecord};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The gateway address of every port, RFC 3927: ours on each link, so never an address of the sender's.
pub(super) const LINK_LOCAL_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// Indexed by id; written by its worker between bursts, on control's message.
pub struct View {
    ports: Box<[Option<Arc<PortRecord>>]>,
    networks: Box<[Option<Arc<NetworkRecord>>]>,
    /// Source of ICMP errors: the uplink's address.
    pub icmp_source: Ipv4Addr,
    /// `start` and `stop`.
    pub is_forwarding: bool,
}

impl Default for View {
    fn default() -> Self {
        Self {
            ports: (0..PortId::LIMIT).map(|_| None).collect(),
            networks: (0..NetworkId::LIMIT).map(|_| None).collect(),
            icmp_source: LINK_LOCAL_GATEWAY,
            is_forwarding: true,
        }
    }
}

impl View {
    /// A port's record.
    #[inline]
    pub fn port(&self, port: PortId) -> Option<&PortRecord> {
        self.ports.get(port.index())?.as_deref()
    }

    /// A network's record.
    #[inline]
    pub fn network(&self, network: NetworkId) -> Option<&NetworkRecord> {
        self.networks.get(network.index())?.as_deref()
    }

    /// The same, taken out so that the path can be changed while it is read: a clone would write to a
    /// line that all workers share. To be put back at once.
    #[inline]
    pub(super) fn take_network(&mut self, network: NetworkId) -> Option<Arc<NetworkRecord>> {
        self.networks.get_mut(network.index())?.take()
    }

    /// Puts a record in force; returns the one that it replaces. Out of range: returns the new one.
    pub fn set_port(
        &mut self,
        port: PortId,
        record: Option<Arc<PortRecord>>,
    ) -> Option<Arc<PortRecord>> {
        match self.ports.get_mut(port.index()) {
            Some(slot) => std::mem::replace(slot, record),
            None => record,
        }
    }

    /// The same for a network.
    pub fn set_network(
        &mut self,
        network: NetworkId,
        record: Option<Arc<NetworkRecord>>,
    ) -> Option<Arc<NetworkRecord>> {
        match self.networks.get_mut(network.index()) {
            Some(slot) => std::mem::replace(slot, record),
            None => record,
        }
    }
}
