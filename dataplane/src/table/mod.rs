//! The tables that control writes and workers read, without a lock.
//!
//! **Who.** Each table has one writer, owned by control's thread: [`Ipv4FibWriter`],
//! [`AdjacencyWriter`], [`MacWriter`]. Its methods take `&mut self`, so that there is one writer at a
//! time is the compiler's business. Workers share the table itself behind an `Arc` and have `&self`
//! methods that neither wait nor write (a MAC slot's age stamp apart).
//!
//! **How a look-up stays whole.** Everything that a look-up decides by is one atomic word: a FIB
//! cell, a MAC key, a MAC value, the neighbor word of an adjacency. A change is one store, so a
//! look-up sees the old or the new entry. A route that covers many cells is many such stores: old
//! may show beside new while it is written, each answer right by one of the two tables.
//!
//! **Order.** A word that names something (a cell its group or its adjacency, a key its value) is
//! stored with release after what it names was filled in, and loaded with acquire before that is
//! read. Names are taken out in the opposite order: the FIB entry first, then the adjacency.
//!
//! **Reuse.** A FIB group, an adjacency row or a MAC slot that is taken out may still be looked at by
//! a worker in the middle of a burst. Nothing needs its memory unmapped, but what it *means* must not
//! change under that worker. So it waits in a [`Limbo`] until every worker has passed a quiescent
//! point ([`reclaim`]); only then is it filled with something else. `reclaim()` of each writer takes
//! back what has become free, and control calls it in its idle turns.
//!
//! Invariant: a number that a worker read in this burst means the same until the burst ends.
//! Invariant: an entry that is present during the whole of a look-up is found by it.
//!
//! What these modules do not know: guests, names, time (a stamp is an argument) and DPDK.

mod adjacency;
mod fib;
mod mac;
pub mod reclaim;
mod sync;

pub use adjacency::{Adjacency, AdjacencyKind, AdjacencyTable, AdjacencyWriter, Way, Ways};
pub use fib::{Fib, FibError, FibWriter, Ipv4Fib, Ipv4FibWriter, KEYS as FIB_KEYS, Rule};
pub use mac::{MacEntry, MacHit, MacTable, MacWriter};
pub use reclaim::{Grace, Limbo, Qsbr, Reader};

/// Every row of a table is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("table full: all {capacity} {what} are in use")]
pub struct TableFull {
    /// What there is no more of.
    pub what: &'static str,
    /// How many there are in all.
    pub capacity: usize,
}
