//! A worker's own view of ports and networks: which record is in force.

use super::express::Plan;
use crate::ids::{NetworkId, PortId};
use crate::record::{Attachment, NetworkRecord, PortRecord};
use crate::sight::trace::Tracer;
use crate::table::Ipv4Fib;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The gateway address of every port, RFC 3927: ours on each link, so never an address of the sender's.
pub const LINK_LOCAL_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// Indexed by id; written by its worker between bursts, on control's message.
pub struct View {
    ports: Box<[Option<Arc<PortRecord>>]>,
    /// What the express lane looks for at each.
    plans: Box<[Plan]>,
    networks: Box<[Option<Arc<NetworkRecord>>]>,
    /// A bit for each port that is an uplink.
    uplinks: [u64; PortId::LIMIT / 64],
    /// Source of ICMP errors: the uplink's address.
    pub icmp_source: Ipv4Addr,
    /// `start` and `stop`.
    pub is_forwarding: bool,
    /// Class of each address, while there are classes.
    pub classes: Option<Arc<Ipv4Fib>>,
    /// While the way of packets is written down.
    pub(crate) trace: Option<Box<Tracer>>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            ports: (0..PortId::LIMIT).map(|_| None).collect(),
            plans: (0..PortId::LIMIT).map(|_| Plan::of(None)).collect(),
            networks: (0..NetworkId::LIMIT).map(|_| None).collect(),
            uplinks: [0; PortId::LIMIT / 64],
            icmp_source: LINK_LOCAL_GATEWAY,
            is_forwarding: true,
            classes: None,
            trace: None,
        }
    }
}

impl View {
    /// A port's record.
    #[inline]
    pub fn port(&self, port: PortId) -> Option<&PortRecord> {
        self.ports.get(port.index())?.as_deref()
    }

    /// The same, and the express lane's plan for it.
    #[inline]
    pub(super) fn arrival(&self, port: PortId) -> Option<(&PortRecord, &Plan)> {
        Some((self.port(port)?, self.plans.get(port.index())?))
    }

    /// Whether a port is an uplink.
    #[inline]
    pub(super) fn is_uplink(&self, port: PortId) -> bool {
        self.uplinks.get(port.index() / 64).is_some_and(|bits| bits >> (port.index() % 64) & 1 != 0)
    }

    /// A network's record.
    #[inline]
    pub fn network(&self, network: NetworkId) -> Option<&NetworkRecord> {
        self.networks.get(network.index())?.as_deref()
    }

    /// Whether a frame from the first port to the second would go from guest to guest of a network whose
    /// guests are isolated.
    #[inline]
    pub(super) fn is_isolated(&self, from: &Attachment, to: PortId) -> bool {
        let Attachment::Bridged(from) = from else { return false };
        let is_isolated = self.network(from.network).is_some_and(|network| network.is_isolated);
        is_isolated && self.is_member(to, from.network)
    }

    fn is_member(&self, port: PortId, network: NetworkId) -> bool {
        let attachment = self.port(port).map(|record| &record.attachment);
        matches!(attachment, Some(Attachment::Bridged(guest)) if guest.network == network)
    }

    /// A network's record, taken out so that the path can be changed while it is read: a clone would write to a
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
        let Some(slot) = self.ports.get_mut(port.index()) else { return record };
        if let Some(bits) = self.uplinks.get_mut(port.index() / 64) {
            let bit = 1 << (port.index() % 64);
            let is_uplink = record.as_ref().is_some_and(|record| record.attachment.is_uplink());
            *bits = if is_uplink { *bits | bit } else { *bits & !bit };
        }
        if let Some(plan) = self.plans.get_mut(port.index()) {
            *plan = Plan::of(record.as_deref());
        }
        std::mem::replace(slot, record)
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
