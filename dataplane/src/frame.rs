//! What the pipeline needs of a frame and of the pool that it came from.
//!
//! The pipeline is generic over these two and monomorphised: `dpdk::Mbuf` in the appliance, a byte
//! vector ([`memory`]) in the tests that run without DPDK.

use crate::ids::{AdapterId, PortId};
use crate::wire::offload::Offload;
use arrayvec::ArrayVec;

pub mod memory;

/// Frames received, decided and sent together.
pub const BURST_PKTS: usize = 32;

/// Bytes of a plain frame that the express lane reads: Ethernet, IPv4 without options, ports. Shorter
/// frames are none.
pub const PLAIN_BYTES: usize = 38;

/// A burst is owned by its caller; what a transmit queue did not take stays in it.
pub type Burst<F> = ArrayVec<F, BURST_PKTS>;

/// Where a frame came in: set once after rx (or at creation) and carried to tx, so that a drop at
/// the far end is still counted at the adapter that it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ingress {
    /// Port that the frame came in by.
    pub port: PortId,
    /// Adapter that sent it, or [`AdapterId::NONE`].
    pub adapter: AdapterId,
}

/// What the receiving port says of the IPv4 header checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChecksumState {
    /// Not looked at: check in software.
    Unknown,
    /// Checked by the port and right.
    Good,
    /// Checked by the port and wrong.
    Bad,
}

/// One Ethernet frame without its FCS, owned. Dropping it gives its buffers back.
pub trait Frame: Sized + Send {
    /// Bytes of the first segment: the whole frame, or of a chained one at least its headers.
    fn head(&self) -> &[u8];
    /// The same, to write.
    fn head_mut(&mut self) -> &mut [u8];
    /// Bytes of the frame over all its segments.
    fn len(&self) -> usize;
    /// Whether the frame holds no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Makes the frame longer by `bytes` in front, contents unset; false where headroom is short.
    fn grow_front(&mut self, bytes: usize) -> bool;
    /// Cuts `bytes` off the front; false where the first segment is shorter.
    fn shrink_front(&mut self, bytes: usize) -> bool;
    /// Cuts the frame to `len` bytes from its end, over segments; no effect where it is shorter.
    fn truncate(&mut self, len: usize);
    /// Adds `bytes` at the end of a single-segment frame; false where tailroom is short.
    fn append(&mut self, bytes: &[u8]) -> bool;
    /// Copies bytes from `offset` on into `out`, over segments; returns how many there were.
    fn copy_out(&self, offset: usize, out: &mut [u8]) -> usize;
    /// Where it came in.
    fn ingress(&self) -> Ingress;
    /// Sets where it came in.
    fn set_ingress(&mut self, ingress: Ingress);
    /// What the receiving port says of the IPv4 header checksum.
    fn ip_checksum(&self) -> ChecksumState;
    /// Its first bytes, if it is a plain frame: in one segment, with nothing left to do on it, of which its
    /// port says nothing bad.
    #[inline]
    fn plain_head(&self) -> Option<&[u8; PLAIN_BYTES]> {
        let is_plain = self.head().len() == self.len()
            && self.offload() == Offload::None
            && self.ip_checksum() != ChecksumState::Bad;
        if is_plain { self.head().first_chunk() } else { None }
    }
    /// What its sender left to do, checked against its bytes. A copy has the same.
    fn offload(&self) -> Offload;
    /// Sets what is left to do.
    fn set_offload(&mut self, offload: Offload);
}

/// Where a worker's (or control's) new frames come from. Neither call waits.
pub trait FramePool {
    /// The frames it makes.
    type Frame: Frame;
    /// An empty frame with [`HEADROOM_BYTES`] in front and [`ROOM_BYTES`] behind; `None` when the pool is
    /// empty.
    fn alloc(&mut self) -> Option<Self::Frame>;
    /// A full copy, ingress included; `None` when the pool is empty.
    fn copy(&mut self, frame: &Self::Frame) -> Option<Self::Frame>;
    /// Gives a burst back in one call.
    fn free(&mut self, frames: &mut Burst<Self::Frame>) {
        frames.clear();
    }
}

/// Room kept before a new frame's first byte: an outer header fits (a VLAN tag now, a tunnel later).
pub const HEADROOM_BYTES: usize = 128;

/// Bytes that a new frame takes behind its headroom, at least, whatever pool it is of: a full Ethernet
/// frame, and no more in one segment of DPDK's default size.
pub const ROOM_BYTES: usize = 2048;
