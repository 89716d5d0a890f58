//! The pool that every frame comes from and goes back to.

use super::eal::{Eal, log};
use super::mbuf::{BUFFER_BYTES_MIN, Mbuf};
use crate::frame::{Burst, Frame, FramePool, HEADROOM_BYTES, Ingress};
use crate::ids::{AdapterId, PortId};
use dpdk_sys::{rte_mbuf, rte_mempool};
use std::ffi::{CStr, CString};
use std::ptr::NonNull;

/// Bytes of a segment behind its headroom: a full Ethernet frame and what drivers like round.
pub const SEGMENT_BYTES: u16 = 2048;

/// How threads share a pool's ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PoolOps {
    /// Fastest; a thread preempted inside it holds up the others, so each needs a core of its own.
    #[default]
    RingMpMc,
    /// For where control shares a worker's core: a preempted thread holds up nobody.
    RingMtRts,
}

impl PoolOps {
    /// DPDK's name for it.
    pub fn name(self) -> &'static CStr {
        match self {
            Self::RingMpMc => c"ring_mp_mc",
            Self::RingMtRts => c"ring_mt_rts",
        }
    }
}

/// What a pool shall be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolSpec {
    /// Unique in the process, at most 25 bytes.
    pub name: String,
    /// How many segments. Of a power of two less one the ring's memory is used best.
    pub mbufs: u32,
    /// Bytes of a segment behind the headroom of [`HEADROOM_BYTES`].
    pub segment_bytes: u16,
    /// How threads share it.
    pub ops: PoolOps,
}

impl PoolSpec {
    /// A pool of `mbufs` segments of [`SEGMENT_BYTES`].
    pub fn new(name: &str, mbufs: u32, ops: PoolOps) -> Self {
        Self { name: name.to_owned(), mbufs, segment_bytes: SEGMENT_BYTES, ops }
    }
}

/// Why a pool could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PoolError {
    /// Memory ran out.
    #[error(
        "no memory for {mbufs} mbufs (about {need_mb} MB): lower `mbufs`, or raise `-m` under \
         --no-huge, or `sysctl vm.nr_hugepages`"
    )]
    NoMemory {
        /// How many were asked for.
        mbufs: u32,
        /// What they take, megabytes.
        need_mb: u64,
    },
    /// The name is taken or too long, or the size is out of range.
    #[error("pool {name:?} of {mbufs} mbufs: {reason}")]
    Refused {
        /// The pool's name.
        name: String,
        /// How many were asked for.
        mbufs: u32,
        /// What DPDK says.
        reason: String,
    },
}

/// A handle on a pool. Copies are handles on the same pool; DPDK's threads have a cache of their
/// own in it, any other thread may use it too.
///
/// A pool lives as long as the process: mbufs of it may be anywhere, so it is never freed.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    raw: NonNull<rte_mempool>,
}

// SAFETY: a mempool made without the single-producer or single-consumer flags takes calls from any
// thread, and it is never freed (*started*).
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// Makes a pool. Never on a worker.
    pub fn create(_started: Eal, spec: &PoolSpec) -> Result<Self, PoolError> {
        let refused = |reason: String| PoolError::Refused {
            name: spec.name.clone(),
            mbufs: spec.mbufs,
            reason,
        };
        let name = CString::new(spec.name.as_str())
            .map_err(|_| refused("a name holds no zero byte".to_owned()))?;
        let room = u32::from(spec.segment_bytes) + dpdk_sys::RTE_PKTMBUF_HEADROOM;
        if (room as usize) < BUFFER_BYTES_MIN {
            return Err(refused(format!("a buffer has at least {BUFFER_BYTES_MIN} bytes")));
        }
        let room = u16::try_from(room)
            .map_err(|_| refused(format!("a segment holds at most {} bytes", u16::MAX - 128)))?;
        // A third of the pool in one thread's cache would be too much; the library wants n / 1.5.
        let cache = (spec.mbufs / 8).min(dpdk_sys::RTE_MEMPOOL_CACHE_MAX_SIZE / 2);
        let logged = log::mark();
        // SAFETY: *started*; both names live through the call.
        let raw = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create_by_ops(
                name.as_ptr(),
                spec.mbufs,
                cache,
                0,
                room,
                -1,
                spec.ops.name().as_ptr(),
            )
        };
        if let Some(raw) = NonNull::new(raw) {
            return Ok(Self { raw });
        }
        // SAFETY: reads a thread-local variable of this thread.
        match unsafe { dpdk_sys::gw_errno() } {
            libc::ENOMEM => {
                // The segment, its mbuf and the object header, each rounded to cache lines.
                let each = u64::from(room).next_multiple_of(64) + 256;
                let need_mb = (u64::from(spec.mbufs) * each).div_ceil(1 << 20);
                Err(PoolError::NoMemory { mbufs: spec.mbufs, need_mb })
            }
            errno => Err(refused(log::reason_since(logged, errno))),
        }
    }

    /// How many mbufs it has in all.
    pub fn size(&self) -> u32 {
        // SAFETY: reads a constant of a pool that is never freed.
        unsafe { dpdk_sys::gw_mempool_size(self.raw.as_ptr()) }
    }

    /// How many are free: in the ring or in a thread's cache. Exact while nobody uses the pool.
    pub fn available(&self) -> u32 {
        // SAFETY: reads counters of a pool that is never freed; a race gives an estimate.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    /// How many are in frames and in receive queues.
    pub fn in_use(&self) -> u32 {
        self.size().saturating_sub(self.available())
    }

    /// Bytes of a segment behind its headroom.
    pub fn segment_bytes(&self) -> u16 {
        // SAFETY: reads a constant of a pool that is never freed.
        let room = unsafe { dpdk_sys::gw_pktmbuf_data_room(self.raw.as_ptr()) };
        room.saturating_sub(u16::try_from(HEADROOM_BYTES).unwrap_or(u16::MAX))
    }

    pub(super) fn as_ptr(&self) -> *mut rte_mempool {
        self.raw.as_ptr()
    }

    /// Fills `into` with empty frames up to its room, all or none; false when the pool is short.
    pub fn alloc_burst(&mut self, into: &mut Burst<Mbuf>) -> bool {
        let (len, room) = (into.len(), into.remaining_capacity());
        let count = u32::try_from(room).unwrap_or(0);
        // SAFETY: `Mbuf` is a transparent pointer, there is room for `room` of them behind `len`, and
        // the call writes all of them or none. Fresh mbufs are *owned*.
        unsafe {
            let to = into.as_mut_ptr().add(len).cast::<*mut rte_mbuf>();
            if dpdk_sys::gw_pktmbuf_alloc_bulk(self.raw.as_ptr(), to, count) != 0 {
                return false;
            }
            into.set_len(len + room);
        }
        into[len..].iter_mut().for_each(|frame| frame.set_ingress(NOWHERE));
        true
    }
}

const NOWHERE: Ingress = Ingress { port: PortId::NONE, adapter: AdapterId::NONE };

impl FramePool for Pool {
    type Frame = Mbuf;

    fn alloc(&mut self) -> Option<Mbuf> {
        // SAFETY: the pool is never freed; a fresh mbuf is *owned*.
        let mut frame = unsafe {
            let raw = NonNull::new(dpdk_sys::gw_pktmbuf_alloc(self.raw.as_ptr()))?;
            Mbuf::from_raw(raw)
        };
        frame.set_ingress(NOWHERE);
        Some(frame)
    }

    fn copy(&mut self, frame: &Mbuf) -> Option<Mbuf> {
        if frame.is_empty() {
            // The library takes an offset at the end for an error.
            let mut copy = self.alloc()?;
            copy.set_ingress(frame.ingress());
            return Some(copy);
        }
        // SAFETY: the source is borrowed and so not written meanwhile; the copy is *owned*. It takes
        // the dynamic fields along, the ingress among them.
        unsafe {
            let raw = dpdk_sys::rte_pktmbuf_copy(frame.as_ptr(), self.raw.as_ptr(), 0, u32::MAX);
            Some(Mbuf::from_raw(NonNull::new(raw)?))
        }
    }

    fn free(&mut self, frames: &mut Burst<Mbuf>) {
        let count = u32::try_from(frames.len()).unwrap_or(0);
        // SAFETY: `Mbuf` is a transparent pointer; the length is set to 0 first, so each of these
        // *owned* chains is given back exactly once.
        unsafe {
            frames.set_len(0);
            dpdk_sys::rte_pktmbuf_free_bulk(frames.as_mut_ptr().cast::<*mut rte_mbuf>(), count);
        }
    }
}
