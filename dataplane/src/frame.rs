//! What the pipeline needs of a frame and of the pool that it came from.
//!
//! The pipeline is generic over these two and monomorphised: `dpdk::Mbuf` in the appliance, a byte
//! vector ([`memory`]) in the tests that run without DPDK.

use crate::ids::{AdapterId, PortId};
use crate::wire::ethernet::{HEADER_BYTES, MacAddr};
use crate::wire::offload::Offload;
use arrayvec::ArrayVec;

pub mod memory;

/// Frames received, decided and sent together: what each burst costs, however many frames it has, is paid by more
/// of them than in 32, and what is kept of them still fits the first cache.
pub const BURST_PKTS: usize = 64;

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
    /// As [`read_each_head`], which says what it does.
    #[inline]
    fn read_heads(burst: &Burst<Self>, pattern: &Pattern, into: &mut Heads) -> Slots {
        read_each_head(burst, pattern, into)
    }
    /// As [`write_each_head`], which says what it does.
    #[inline]
    fn rewrite_heads(
        burst: &mut Burst<Self>,
        ethernet: impl Fn(usize) -> [u64; 2],
        middle: &[u32; BURST_PKTS],
    ) {
        write_each_head(burst, ethernet, middle);
    }
    /// What its sender left to do, checked against its bytes. A copy has the same.
    fn offload(&self) -> Offload;
    /// Sets what is left to do.
    fn set_offload(&mut self, offload: Offload);
}

/// The heads of a burst, a column for each word, as the words lie in the frames (so in no host order).
///
/// Columns begin at cache lines: a vector of one is never in two.
#[repr(C, align(64))]
pub struct Heads {
    /// Where the pattern says so, the first eight bytes of each frame: the destination MAC is the low 48 bits.
    pub to: [u64; BURST_PKTS],
    /// The five words of each IPv4 header. The first two only where [`Heads::to`] is not read.
    pub words: [[u32; BURST_PKTS]; 5],
    /// Both ports: the four bytes behind a header without options.
    pub ports: [u32; BURST_PKTS],
    /// Bytes of each frame.
    pub bytes: [u32; BURST_PKTS],
}

/// In [`Heads::words`]: version to total length.
pub const WORD_LENGTH: usize = 0;
/// Identification, flags, fragment offset.
pub const WORD_FRAGMENT: usize = 1;
/// TTL, protocol, checksum.
pub const WORD_TTL: usize = 2;
/// Source address.
pub const WORD_SOURCE: usize = 3;
/// Destination address.
pub const WORD_DESTINATION: usize = 4;

impl Default for Heads {
    fn default() -> Self {
        let column = [0; BURST_PKTS];
        Self { to: [0; BURST_PKTS], words: [column; 5], ports: column, bytes: column }
    }
}

/// Bytes that [`write_head`] writes to.
pub const REWRITTEN_BYTES: usize = 26;

/// Writes what a router changes at a frame's head: both MACs, which are the first six bytes of a word each,
/// and the third word of the IPv4 header.
#[inline]
pub fn write_head([to, from]: [u64; 2], middle: u32, head: &mut [u8; REWRITTEN_BYTES]) {
    let kind = [head[12], head[13]];
    // Each store overlaps the one before by the two bytes that that has too many.
    head[..8].copy_from_slice(&to.to_le_bytes());
    head[6..14].copy_from_slice(&from.to_le_bytes());
    head[12..14].copy_from_slice(&kind);
    head[22..].copy_from_slice(&middle.to_le_bytes());
}

/// Slots of a burst, one bit each.
pub type Slots = u64;

/// The first so many slots.
#[inline]
pub fn first_slots(count: usize) -> Slots {
    match u32::try_from(count).ok().and_then(|count| (1 as Slots).checked_shl(count)) {
        Some(bit) => bit - 1,
        None => Slots::MAX,
    }
}

/// What plain frames of a port begin with, as two words of which some bits count.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    want: [u64; 2],
    mask: [u64; 2],
    /// The source is anybody's, but not nobody's.
    is_open: bool,
    /// Whether [`Heads::to`] is read.
    is_bridged: bool,
}

impl Pattern {
    /// IPv4 without options to a MAC, from one, or from any that a station can have.
    pub fn routed(to: MacAddr, from: Option<MacAddr>) -> Self {
        // Of a source that is open, the group bit.
        let source_mask = from.map_or([1, 0, 0, 0, 0, 0], |_| [0xff; 6]);
        let source = from.unwrap_or(MacAddr::ZERO);
        let (want, mask) = Self::words([to.0, source.0], [[0xff; 6], source_mask]);
        Self { want, mask, is_open: from.is_none(), is_bridged: false }
    }

    /// IPv4 without options to some station, from one.
    pub fn bridged(from: MacAddr) -> Self {
        let (want, mask) = Self::words([[0; 6], from.0], [[1, 0, 0, 0, 0, 0], [0xff; 6]]);
        Self { want, mask, is_open: false, is_bridged: true }
    }

    /// Both MACs, and behind them EtherType, version and length of the header.
    fn words(macs: [[u8; 6]; 2], masks: [[u8; 6]; 2]) -> ([u64; 2], [u64; 2]) {
        let words = |[[a, b, c, d, e, f], [g, h, i, j, k, l]]: [[u8; 6]; 2],
                     [m, n, o, p]: [u8; 4]| {
            [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]].map(u64::from_le_bytes)
        };
        (words(macs, [8, 0, 0x45, 0]), words(masks, [0xff, 0xff, 0xff, 0]))
    }

    /// Whether a frame that begins with these bytes is such a one.
    #[inline]
    pub fn fits(&self, head: &[u8; PLAIN_BYTES]) -> bool {
        let (a, b) = (word(head, 0), word(head, 8));
        let differs = (a ^ self.want[0]) & self.mask[0] | (b ^ self.want[1]) & self.mask[1];
        let is_anonymous = self.is_open && a >> 48 == 0 && b & 0xffff_ffff == 0;
        differs == 0 && !is_anonymous
    }
}

/// For who reads many heads at a stroke.
#[cfg(feature = "dpdk")]
impl Pattern {
    /// What the first 16 bytes of such a frame are, and which bits of them count.
    pub(crate) fn bits(&self) -> ([u64; 2], [u64; 2]) {
        (self.want, self.mask)
    }

    /// Whether the source may be anybody's: then one of 0 is none.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether [`Heads::to`] is to be read.
    pub(crate) fn is_bridged(&self) -> bool {
        self.is_bridged
    }
}

/// Eight bytes of a head; `at` lies within it.
#[inline]
fn word(head: &[u8; PLAIN_BYTES], at: usize) -> u64 {
    head.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Likewise four bytes.
#[inline]
fn half_word(head: &[u8; PLAIN_BYTES], at: usize) -> u32 {
    head.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Reads the heads of the plain frames of a burst that fit the pattern, frame by frame; answers which
/// those are. The lengths are read of all.
#[inline]
pub fn read_each_head<F: Frame>(burst: &Burst<F>, pattern: &Pattern, into: &mut Heads) -> Slots {
    let mut slots = 0;
    for (slot, frame) in burst.iter().enumerate() {
        into.bytes[slot] = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        if let Some(head) = frame.plain_head()
            && pattern.fits(head)
        {
            slots |= 1 << slot;
            if pattern.is_bridged {
                into.to[slot] = word(head, 0);
            }
            for (number, column) in into.words.iter_mut().enumerate() {
                column[slot] = half_word(head, HEADER_BYTES + 4 * number);
            }
            into.ports[slot] = half_word(head, HEADER_BYTES + 20);
        }
    }
    slots
}

/// Writes the heads of plain frames, frame by frame: of each slot what [`write_head`] takes.
#[inline]
pub fn write_each_head<F: Frame>(
    burst: &mut Burst<F>,
    ethernet: impl Fn(usize) -> [u64; 2],
    middle: &[u32; BURST_PKTS],
) {
    for (slot, (frame, middle)) in burst.iter_mut().zip(middle).enumerate() {
        if let Some(head) = frame.head_mut().first_chunk_mut() {
            write_head(ethernet(slot), *middle, head);
        }
    }
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
