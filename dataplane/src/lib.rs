//! What happens to a frame. Knows no guest name, no file, no socket and no wall clock.
//!
//! Read [`pipeline`] first: its one screen is the whole path of a packet.

pub mod counters;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod eal_args;
pub mod frame;
pub mod idle;
pub mod ids;
pub mod io;
#[cfg_attr(loom, allow(dead_code, unused_imports, reason = "loom has atomics of its own"))]
mod machine;
pub mod pipeline;
pub mod punt;
pub mod record;
pub mod sight;
pub mod table;
pub mod wire;
pub mod worker;
