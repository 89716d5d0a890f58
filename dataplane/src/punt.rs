//! Punt (worker to control) and inject (control to worker): bounded queues that neither side waits on.

use crate::frame::Frame;
use crate::ids::{AdapterId, NetworkId, PortId};
use crate::wire::ethernet::MacAddr;
use std::net::Ipv4Addr;

/// What a worker tells control. Sent through a bounded queue; a full one means a counted drop.
#[derive(Debug)]
pub enum Punt<F: Frame> {
    /// An ARP packet that passed the guard, a VLAN tag already removed. `frame.ingress()` says where
    /// it came in; `network` is set when it came in by a virtual network.
    Arp {
        /// The frame.
        frame: F,
        /// The network, unless host-routed.
        network: Option<NetworkId>,
    },
    /// A packet whose next hop has no MAC yet, untouched since the guard.
    Resolve {
        /// The frame.
        frame: F,
        /// Port that the next hop is on.
        port: PortId,
        /// The next hop.
        next_hop: Ipv4Addr,
    },
    /// A source seen on a learning member where the MAC table says otherwise or nothing.
    Learn {
        /// The network.
        network: NetworkId,
        /// The source.
        mac: MacAddr,
        /// Port that it was seen on.
        port: PortId,
        /// Adapter that it was seen on, or none for an uplink.
        adapter: AdapterId,
    },
    /// A source that is ours or a guest's came in by an uplink: an address conflict or an attack.
    Conflict {
        /// The uplink.
        port: PortId,
        /// The source.
        source: Ipv4Addr,
        /// Who sent it.
        mac: MacAddr,
    },
}

/// What control asks a worker to send.
#[derive(Debug)]
pub enum Inject<F: Frame> {
    /// A complete frame, to be sent by a port as it is.
    Send {
        /// Egress port.
        port: PortId,
        /// The frame; its ingress names the port and adapter that it is counted at: those that it is
        /// an answer to, or the egress port's where that is [`PortId::NONE`].
        frame: F,
    },
    /// A complete frame for every member of a network except `frame.ingress().port`, tags pushed as
    /// each member needs.
    Flood {
        /// The network.
        network: NetworkId,
        /// The frame.
        frame: F,
    },
    /// A packet that waited for its next hop: routed again from the look-up on.
    Route {
        /// The frame as it was punted.
        frame: F,
    },
}
