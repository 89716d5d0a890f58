//! ARP and addresses on the wire, as state machines of the control thread.
//!
//! Three pieces that don't know each other; the control loop feeds each ARP packet to all three:
//!
//! - [`cache`]: which MAC a next hop has (RFC 826, RFC 1122 2.3.2). Holds a few packets meanwhile.
//! - [`claim`]: may an address of ours be used and told on an uplink (RFC 5227)?
//! - [`proxy`]: is a request answered, and with which MAC (RFC 1027)? A pure function.
//!
//! Invariant: time is an argument (milliseconds on any monotonic clock), randomness a seed, and no
//! call does I/O. What is to be done comes out as actions, in the order in which to do them.
//!
//! Invariant: at most [`FRAMES_PER_S`] ARP frames in any second and on any one port are asked for,
//! answers to others' requests apart. Each of the two pieces that send has a share of its own, so
//! that a guest who scans the LAN delays no announcement.

use dataplane::ids::PortId;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

pub use cache::{Heard, Limits, NeighborAction, NeighborCache, NeighborState, Station};
pub use claim::{AddressClaims, ClaimAction, ClaimStatus, ClaimWish};
pub use proxy::{Answer, Owner, Seat, World};

mod agenda;
pub mod cache;
pub mod claim;
mod hold;
mod pace;
pub mod proxy;
mod random;

/// Most ARP frames that are sent on one port in any second, answers apart (design.md).
pub const FRAMES_PER_S: u32 = claim::FRAMES_PER_S.most_per_s() + cache::FRAMES_PER_S.most_per_s();

/// An address on a link: a neighbor's, or one of ours that we claim there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Target {
    /// The port that the link is on; for an untagged network, its uplink.
    pub port: PortId,
    /// The address.
    pub ip: Ipv4Addr,
}

impl Target {
    /// Every possible target on one port.
    fn all_on(port: PortId) -> RangeInclusive<Target> {
        Target { port, ip: Ipv4Addr::UNSPECIFIED }..=Target { port, ip: Ipv4Addr::BROADCAST }
    }
}
