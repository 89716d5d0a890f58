//! The safe DPDK layer, and with table/'s SIMD look-up the only room that holds `unsafe`.
//!
//! Read in this order: [`eal`] starts DPDK once and runs the workers, [`mempool`] makes the pool that
//! every frame comes from, [`mbuf`] is a frame, [`ethdev`] attaches a device and hands out its queues,
//! [`vhost`] serves guests on vhost-user sockets, [`tap`] containers on kernel interfaces, [`port`] puts
//! the kinds of port behind one name each for the pipeline.
//!
//! Invariants that the SAFETY comments of this room name:
//!
//! - *started*: an [`eal::Eal`] exists only after `rte_eal_init` succeeded, and DPDK's memory stays
//!   mapped until the process ends. Pools, mbufs and ports are made with one at hand.
//! - *owned*: an [`mbuf::Mbuf`] is the only pointer to its chain; whoever holds it may read and write
//!   all of its segments, and no driver keeps one that it handed out or was not given.
//! - *one poller*: a queue handle exists once per queue, isn't `Clone`, and its calls take `&mut self`;
//!   a port is stopped or detached only by who can show all of its handles.
//! - *gate*: a worker calls the vhost library only for a device whose gate it found open, and nobody
//!   changes or ends the device before every worker has been quiescent since (see [`vhost`]).
//! - *copy*: whoever asked for copies of frames by [`pdump`] may free what they went to only after every worker has been
//!   quiescent since they ended.
//! - *layout*: fields that Rust touches lie where the C compiler puts them; checked at start.
#![allow(unsafe_code, reason = "this is the room that calls a C library")]
#![allow(
    clippy::disallowed_methods,
    reason = "start, attach and detach run on control's thread, never on a worker"
)]

pub mod eal;
pub mod ethdev;
pub mod lcore;
pub mod mbuf;
pub mod mempool;
pub mod netns;
#[cfg(feature = "oracle")]
pub mod oracle;
pub mod pdump;
pub mod port;
pub mod readiness;
pub mod tap;
pub mod vhost;

pub use eal::{Eal, EalError, EalOptions, raise_descriptor_limit};
pub use ethdev::{AttachSpec, EthPort, PortError};
pub use mbuf::Mbuf;
pub use mempool::{Pool, PoolError, PoolOps, PoolSpec};
pub use netns::{Netns, NetnsError};
pub use port::{DpdkIo, Port, Rx, Tx};
pub use tap::{TapError, TapPort, TapSpec};
pub use vhost::{VhostPort, VhostSpec, VhostState};
