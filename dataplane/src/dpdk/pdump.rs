//! Copies of an ethdev's frames for `dpdk-dumpcap`, a secondary process (DPDK programmer's guide, "Packet Capture
//! Library").
//!
//! The library hooks itself into the queues that it is asked for; a worker then copies each burst into a pool and a
//! ring of the other process, and what doesn't fit is that process's loss, counted there. Queues that nobody
//! captures pay nothing.
//!
//! Invariant (*copy*): whoever asked for copies is told that they have ended, and may free what they went to, only
//! after every worker has passed a quiescent point since they were unhooked.

use super::eal::{Eal, log};
use super::lcore;
use crate::table::Qsbr;
use std::sync::{Arc, OnceLock};

/// Whose quiescent points are waited for.
static WORKERS: OnceLock<Arc<Qsbr>> = OnceLock::new();

/// Serves capture requests from now on, on DPDK's own thread for other processes. `qsbr` is the one of all workers.
/// Takes 4 MB of DPDK's memory, so it is for an appliance whose memory other processes can map.
///
/// # Errors
/// What DPDK says, in one line.
pub fn serve(_eal: Eal, qsbr: Arc<Qsbr>) -> Result<(), String> {
    if WORKERS.set(qsbr).is_err() {
        return Ok(());
    }
    let logged = log::mark();
    // SAFETY: only stores the address of a function that is there for ever.
    unsafe { dpdk_sys::gw_set_pdump_wait(Some(wait_for_workers)) };
    // SAFETY: *started*.
    if unsafe { dpdk_sys::rte_pdump_init() } == 0 {
        return Ok(());
    }
    // SAFETY: reads a thread-local variable of this thread.
    Err(log::reason_since(logged, unsafe { dpdk_sys::gw_errno() }))
}

/// Returns once no worker is in a burst that began before.
extern "C" fn wait_for_workers() {
    if let Some(qsbr) = WORKERS.get() {
        lcore::wait_for_workers(qsbr);
    }
}
