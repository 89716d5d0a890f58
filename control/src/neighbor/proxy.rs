//! Which ARP requests we answer (RFC 1027, RFC 5227), as one pure function.
//!
//! Towards the wire: the uplink's own addresses and those of host-routed guests that are registered
//! and up there; nothing that is merely routed, for we are no neighbor's default gateway. A member
//! of the network that shares the uplink's untagged link hears the same, and also what is probing
//! or quiet on the wire: it is a guest of this host.
//!
//! Towards a guest, the server or a shared port: whatever it may reach through us, since a guest
//! may believe anything to be on its link (HR-19): but never its own address, or its conflict probe
//! would find one; and never what lives on the same port, except on a shared port, where guests
//! reach each other through us on purpose.
//!
//! Invariant: knows no table and no guest; the [`World`] answers.

use super::claim::ClaimStatus;
use dataplane::ids::{AdapterId, PortId};
use dataplane::wire::arp::{self, Arp};
use dataplane::wire::ethernet::MacAddr;
use dataplane::wire::ipv4;
use std::net::Ipv4Addr;

/// Where a request was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seat {
    /// On the wire: an uplink, untagged.
    Wire {
        /// The uplink.
        uplink: PortId,
    },
    /// From a member of the network that is attached untagged to an uplink.
    Member {
        /// The uplink.
        uplink: PortId,
    },
    /// From a host-routed guest on a port of its own.
    Guest {
        /// Its port.
        port: PortId,
        /// Its adapter.
        adapter: AdapterId,
    },
    /// From a shared port, on behalf of one of its guests.
    Shared {
        /// The port.
        port: PortId,
    },
    /// From the server's kernel.
    Host {
        /// The host port.
        port: PortId,
    },
    /// Anywhere else, as in a host-only or tagged network: nothing is answered.
    Elsewhere,
}

/// Whose an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The server's, on this uplink.
    Server {
        /// The uplink.
        uplink: PortId,
    },
    /// A host-routed adapter's, alone or within a prefix routed to it.
    Routed {
        /// Port that it is bound to.
        port: PortId,
        /// The adapter.
        adapter: AdapterId,
    },
}

/// What the decision needs to know.
pub trait World {
    /// Who an address is registered to. Members of networks own no address here.
    fn owner(&self, ip: Ipv4Addr) -> Option<Owner>;
    /// How a host-routed adapter's address stands on an uplink; `None` where it is not claimed
    /// there.
    fn claim(&self, uplink: PortId, ip: Ipv4Addr) -> Option<ClaimStatus>;
    /// Whether an address is a gateway of ours on this port (169.254.1.1, an adapter's `gateway`).
    fn is_gateway(&self, port: PortId, ip: Ipv4Addr) -> bool;
    /// Port that a packet to this address would leave by. `None` where there is no route, where the
    /// route prohibits, and for a directed broadcast.
    fn egress(&self, ip: Ipv4Addr) -> Option<PortId>;
    /// The MAC that is ours on a port.
    fn own_mac(&self, port: PortId) -> MacAddr;
}

/// Whether a request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// With this MAC, to the sender, by the port that it came in by ([`Arp::answer`]).
    With(MacAddr),
    /// Not at all.
    No,
}

/// Decides about one ARP packet that passed the guard.
pub fn decide(seat: Seat, arp: &Arp, world: &impl World) -> Answer {
    // An announcement asks nobody; what it means is for `claim` and `cache`.
    if arp.operation != arp::REQUEST || arp.is_announcement() || !is_host(arp.target_ip) {
        return Answer::No;
    }
    let target = arp.target_ip;
    let (answered, port) = match seat {
        Seat::Wire { uplink } => (is_answered_on_wire(uplink, target, world), uplink),
        Seat::Member { uplink } => (is_answered_to_member(uplink, target, world), uplink),
        Seat::Guest { port, adapter } => {
            (is_answered_to_guest(port, |owner| is_adapter(owner, adapter), arp, world), port)
        }
        Seat::Shared { port } => (is_answered_to_shared(port, arp, world), port),
        Seat::Host { port } => {
            let is_own = |owner| matches!(owner, Owner::Server { .. });
            (is_answered_to_guest(port, is_own, arp, world), port)
        }
        Seat::Elsewhere => return Answer::No,
    };
    if answered { Answer::With(world.own_mac(port)) } else { Answer::No }
}

fn is_answered_on_wire(uplink: PortId, target: Ipv4Addr, world: &impl World) -> bool {
    match world.owner(target) {
        Some(Owner::Server { uplink: its }) => its == uplink,
        Some(Owner::Routed { .. }) => world.claim(uplink, target) == Some(ClaimStatus::Up),
        None => false,
    }
}

/// In a conflict the other host is on the member's own link and answers for itself.
fn is_answered_to_member(uplink: PortId, target: Ipv4Addr, world: &impl World) -> bool {
    match world.owner(target) {
        Some(Owner::Server { uplink: its }) => its == uplink,
        Some(Owner::Routed { .. }) => {
            !matches!(world.claim(uplink, target), Some(ClaimStatus::Conflict(_)))
        }
        None => false,
    }
}

fn is_answered_to_guest(
    port: PortId,
    is_own: impl Fn(Owner) -> bool,
    arp: &Arp,
    world: &impl World,
) -> bool {
    if world.is_gateway(port, arp.target_ip) {
        return true;
    }
    match world.owner(arp.target_ip) {
        Some(owner) if is_own(owner) => false,
        Some(Owner::Routed { port: its, .. }) => its != port,
        Some(Owner::Server { .. }) => true,
        None => is_reached(port, arp, world),
    }
}

/// A shared port does not say which of its guests asks, so the sender's address has to. A probe has
/// none, and might be the target's own.
fn is_answered_to_shared(port: PortId, arp: &Arp, world: &impl World) -> bool {
    if world.is_gateway(port, arp.target_ip) {
        return true;
    }
    match world.owner(arp.target_ip) {
        Some(Owner::Routed { port: its, adapter }) if its == port => {
            let asker = world.owner(arp.sender_ip);
            !arp.is_probe() && !asker.is_some_and(|asker| is_adapter(asker, adapter))
        }
        Some(_) => true,
        None => is_reached(port, arp, world),
    }
}

/// What nobody here owns but a route leads to. A probe asks whether the address is in use, and a
/// route does not know: a yes would keep a guest from an address that is free.
fn is_reached(port: PortId, arp: &Arp, world: &impl World) -> bool {
    let forwarded = !ipv4::is_link_local(arp.target_ip.to_bits());
    let leaves = world.egress(arp.target_ip).is_some_and(|egress| egress != port);
    forwarded && leaves && !arp.is_probe()
}

fn is_adapter(owner: Owner, adapter: AdapterId) -> bool {
    matches!(owner, Owner::Routed { adapter: its, .. } if its == adapter)
}

/// Whether an address can be a single host's.
fn is_host(ip: Ipv4Addr) -> bool {
    let bits = ip.to_bits();
    !ipv4::is_martian_destination(bits)
        && !ipv4::is_multicast(bits)
        && !ipv4::is_limited_broadcast(bits)
}

#[cfg(test)]
mod tests;
