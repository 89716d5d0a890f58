//! Clock and pause of a polling core, and the way to wait for all of them.

use crate::table::Qsbr;
use std::time::Duration;

/// Cycles of the time stamp counter since some fixed moment; constant rate on every supported
/// machine. Costs some 20 cycles and no system call.
#[inline]
pub fn now_tsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads a register that every processor of this kind has.
    return unsafe { std::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: reads a register; needs nothing, not even *started*.
    return unsafe { dpdk_sys::gw_rdtsc() };
}

/// Ticks of [`now_tsc`] per second, as measured when DPDK started; at least 1.
pub fn tsc_hz() -> u64 {
    // SAFETY: reads a variable that `rte_eal_init` sets once (*started*); it is 0 before.
    unsafe { dpdk_sys::rte_get_tsc_hz() }.max(1)
}

/// Pause between two looks at the workers.
const NAP: Duration = Duration::from_micros(20);

/// Returns once each worker has passed its loop top. Workers never wait for anybody, so this ends. Not for a worker.
pub(super) fn wait_for_workers(qsbr: &Qsbr) {
    let grace = qsbr.start_grace();
    while !qsbr.has_passed(grace) {
        std::thread::sleep(NAP);
    }
}

/// Tells the processor that this loop found nothing to do: frees the core's other thread and power
/// for some tens of cycles. No system call, so it never gives the core away.
#[inline]
pub fn pause() {
    std::hint::spin_loop();
}

/// Whether the calling thread is one of DPDK's: only those have caches of their own in the pools.
pub fn is_eal_thread() -> bool {
    // SAFETY: reads a thread-local variable; needs nothing.
    unsafe { dpdk_sys::gw_lcore_id() != dpdk_sys::GW_LCORE_ID_ANY }
}
