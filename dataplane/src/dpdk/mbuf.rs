//! One frame in DPDK's memory: an mbuf, possibly a chain of them.
//!
//! Accessors are plain loads and stores in Rust; only freeing and copying call into the library, and
//! the drivers free in bulk.

use super::mempool::Pool;
use crate::frame::{
    BURST_PKTS, Burst, ChecksumState, Frame, FramePool, HEADROOM_BYTES, Heads, Ingress,
    PLAIN_BYTES, Pattern, Slots,
};
use crate::ids::{AdapterId, PortId};
use crate::wire::offload::{self, Headers, Offload};
use dpdk_sys::rte_mbuf;
use std::fmt;
use std::mem::{align_of, offset_of, size_of};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

mod heads;

const _: () = assert!(HEADROOM_BYTES == dpdk_sys::RTE_PKTMBUF_HEADROOM as usize);

/// An owned frame. Dropping it gives all of its segments back to their pool.
///
/// Invariant (*owned*): the pointer is the head of a chain that nobody else reaches, every segment's
/// `data_off + data_len <= buf_len`, and the head's `pkt_len` and `nb_segs` describe the chain. No pool has
/// buffers of less than [`BUFFER_BYTES_MIN`].
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

/// Bytes of an mbuf's buffer, headroom included, at least.
pub(super) const BUFFER_BYTES_MIN: usize = 2048;

// SAFETY: *owned*; an mbuf is bound to no thread, and pools take frees from any.
unsafe impl Send for Mbuf {}

/// How [`Ingress`] lies in the mbuf's dynamic field.
#[repr(C)]
#[derive(Clone, Copy)]
struct IngressField {
    adapter: u32,
    port: u16,
    _unused: u16,
}

/// Offset of [`IngressField`] in an mbuf. Written once at start before any pool exists, read by
/// whoever holds an mbuf; the pool's creation orders the two, so relaxed is enough.
static INGRESS_OFFSET: AtomicUsize = AtomicUsize::new(0);

/// Checks the layout and reserves the field that carries a frame's ingress. Once, from EAL start.
pub(super) fn prepare() -> Result<(), String> {
    check_layout()?;
    let mut field = dpdk_sys::rte_mbuf_dynfield {
        size: size_of::<IngressField>(),
        align: align_of::<IngressField>(),
        ..Default::default()
    };
    for (to, from) in field.name.iter_mut().zip(b"guestway_ingress") {
        *to = from.cast_signed();
    }
    // SAFETY: *started* (called by EAL start alone); the description lives through the call.
    let offset = unsafe { dpdk_sys::rte_mbuf_dynfield_register(&raw const field) };
    let offset = usize::try_from(offset).map_err(|_| {
        format!("no room left in the mbuf for a field of {} bytes", size_of::<IngressField>())
    })?;
    INGRESS_OFFSET.store(offset, Ordering::Relaxed);
    Ok(())
}

/// *layout*: compares what bindgen made of the header with what the C compiler made of it.
fn check_layout() -> Result<(), String> {
    // SAFETY: returns constants; needs nothing.
    let c = unsafe { dpdk_sys::gw_mbuf_layout() };
    let pairs = [
        ("size", c.size, size_of::<rte_mbuf>()),
        ("buf_addr", c.buf_addr, offset_of!(rte_mbuf, buf_addr)),
        ("data_off", c.data_off, offset_of!(rte_mbuf, data_off)),
        ("refcnt", c.refcnt, offset_of!(rte_mbuf, refcnt)),
        ("nb_segs", c.nb_segs, offset_of!(rte_mbuf, nb_segs)),
        ("ol_flags", c.ol_flags, offset_of!(rte_mbuf, ol_flags)),
        ("pkt_len", c.pkt_len, offset_of!(rte_mbuf, pkt_len)),
        ("data_len", c.data_len, offset_of!(rte_mbuf, data_len)),
        ("buf_len", c.buf_len, offset_of!(rte_mbuf, buf_len)),
        ("pool", c.pool, offset_of!(rte_mbuf, pool)),
        // One after another, as they are read together.
        ("refcnt", c.refcnt, c.data_off + 2),
        ("nb_segs", c.nb_segs, c.data_off + 4),
        ("ol_flags", c.ol_flags, c.data_off + 8),
        ("next", c.next, offset_of!(rte_mbuf, next)),
        ("tx_offload", c.tx_offload, offset_of!(rte_mbuf, __bindgen_anon_3)),
        // Bits of it, as C sets them.
        ("l2_len to tso_segsz", c.lengths, LENGTHS),
    ];
    match pairs.iter().find(|(_, in_c, in_rust)| in_c != in_rust) {
        Some((field, in_c, in_rust)) => {
            Err(format!("struct rte_mbuf: {field} is {in_c} in C and {in_rust} here"))
        }
        None => Ok(()),
    }
}

/// Places of the header lengths and of the segment size in `tx_offload`, bits.
const L3_AT: u32 = 7;
const L4_AT: u32 = 16;
const SEGMENT_AT: u32 = 24;
/// What C makes of an l2_len of 1, an l3_len of 2, an l4_len of 3 and a tso_segsz of 4.
const LENGTHS: usize = 1 | 2 << L3_AT | 3 << L4_AT | 4 << SEGMENT_AT;

impl Mbuf {
    /// Takes ownership of a fresh mbuf.
    ///
    /// # Safety
    /// `raw` must satisfy the type's invariant and nobody else may use it from now on.
    pub(super) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        Self(raw)
    }

    fn raw(&self) -> &rte_mbuf {
        // SAFETY: *owned*.
        unsafe { self.0.as_ref() }
    }

    fn raw_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: *owned*, and `self` is borrowed exclusively.
        unsafe { self.0.as_mut() }
    }

    pub(super) fn as_ptr(&self) -> *mut rte_mbuf {
        self.0.as_ptr()
    }

    /// How many segments the frame is spread over; 1 for most.
    pub fn segments(&self) -> u16 {
        self.raw().nb_segs
    }

    fn tx_offload(&self) -> u64 {
        // SAFETY: *layout*: the union's first member is these 64 bits, always initialised.
        unsafe { self.raw().__bindgen_anon_3.tx_offload }
    }

    /// Checks what the guest that sent it asks for, as the vhost library or [`super::tap`] has noted it
    /// in the receive flags, against the frame's own bytes. After this [`Frame::offload`] holds.
    #[inline]
    pub(super) fn check_offload(&mut self) {
        let flags = self.raw().ol_flags;
        if flags & (dpdk_sys::GW_RX_L4_CKSUM_MASK | dpdk_sys::GW_RX_LRO) != 0 {
            self.check_asked(flags);
        }
    }

    #[cold]
    fn check_asked(&mut self, flags: u64) {
        let is_long = flags & dpdk_sys::GW_RX_LRO != 0;
        let asks = flags & dpdk_sys::GW_RX_L4_CKSUM_MASK == dpdk_sys::GW_RX_L4_CKSUM_NONE;
        let size = u16::try_from(self.tx_offload() >> SEGMENT_AT & 0xffff).unwrap_or(u16::MAX);
        let offload = match (asks, is_long) {
            (_, true) => offload::check(self.head(), self.len(), Some(size)),
            (true, false) => offload::check(self.head(), self.len(), None),
            (false, false) => Offload::None,
        };
        self.set_offload(offload);
    }

    /// Says in the transmit flags what is left to do, as the vhost library reads them. False where that
    /// takes a segment more and `pool` has none.
    ///
    /// Into a packet that is to be cut the library writes the sum of the pseudo header without its
    /// length, as network cards want it (rte_net_intel_cksum_prepare); the driver in the guest wants it
    /// with (VIRTIO 1.2, 5.1.6.2), and one that passes the packet on and cuts it itself would send
    /// wrong checksums. The library leaves alone what does not lie together, so the link-layer header
    /// gets a segment of its own there.
    #[inline]
    pub(super) fn ask_offload(&mut self, pool: &mut Pool) -> bool {
        let (headers, flags) = match self.offload() {
            Offload::None | Offload::Invalid => return true,
            Offload::Checksum(headers) if headers.is_tcp() => (headers, dpdk_sys::GW_TX_TCP_CKSUM),
            Offload::Checksum(headers) => (headers, dpdk_sys::GW_TX_UDP_CKSUM),
            Offload::Segment(headers, _) => {
                (headers, dpdk_sys::GW_TX_TCP_SEG | dpdk_sys::GW_TX_TCP_CKSUM)
            }
        };
        let family = match headers.is_ipv6(self.head()) {
            true => dpdk_sys::GW_TX_IPV6,
            false => dpdk_sys::GW_TX_IPV4,
        };
        let is_long = flags & dpdk_sys::GW_TX_TCP_SEG != 0;
        // Else it has been here before.
        if is_long && self.head().len() >= headers.bytes() {
            offload::store_pseudo_sum(self.head_mut(), headers);
            if !self.part(headers.l2.into(), pool) {
                return false;
            }
        }
        let raw = self.raw_mut();
        raw.ol_flags = raw.ol_flags & !dpdk_sys::GW_TX_OFFLOAD_MASK | flags | family;
        true
    }

    /// Moves the first `bytes` of the first segment to a segment of their own. False, and nothing has
    /// changed, where `pool` has none.
    #[cold]
    fn part(&mut self, bytes: usize, pool: &mut Pool) -> bool {
        let (len, segments) = (self.raw().pkt_len, self.raw().nb_segs);
        let Some(mut front) = pool.alloc() else { return false };
        let is_there = self.head().get(..bytes).is_some_and(|head| front.append(head));
        let Some(segments) = segments.checked_add(1).filter(|_| is_there) else { return false };
        self.shrink_front(bytes);
        front.set_offload(self.offload());
        front.set_ingress(self.ingress());
        std::mem::swap(self, &mut front);
        let rest = front;
        let raw = self.raw_mut();
        raw.pkt_len = len;
        raw.nb_segs = segments;
        // *owned*: from now on the rest is the chain's, and its own handle is forgotten.
        raw.next = rest.as_ptr();
        std::mem::forget(rest);
        true
    }

    /// Notes what a sender's header beside the frame asks for, in the receive flags, as the vhost library
    /// does; [`Mbuf::check_offload`] is to follow.
    pub(super) fn note_asked(&mut self, wants_checksum: bool, segment: Option<u16>) {
        let raw = self.raw_mut();
        if wants_checksum {
            raw.ol_flags |= dpdk_sys::GW_RX_L4_CKSUM_NONE;
        }
        if let Some(size) = segment {
            raw.ol_flags |= dpdk_sys::GW_RX_LRO;
            raw.__bindgen_anon_3.tx_offload = u64::from(size) << SEGMENT_AT;
        }
    }

    /// Where an empty segment's bytes go: behind its headroom, and how many fit.
    pub(super) fn room(&mut self) -> (*mut u8, usize) {
        let raw = self.raw_mut();
        let room = usize::from(raw.buf_len).saturating_sub(raw.data_off.into());
        // SAFETY: *owned*: the headroom lies inside the buffer.
        (unsafe { raw.buf_addr.cast::<u8>().add(raw.data_off.into()) }, room)
    }

    /// One frame of empty segments that hold `len` bytes in all, each filled before the next. `None`
    /// where there are no segments; what does not fit into them is cut off.
    pub(super) fn join(segments: impl IntoIterator<Item = Mbuf>, len: usize) -> Option<Mbuf> {
        let mut segments = segments.into_iter();
        let mut head = segments.next()?;
        let mut left = len;
        let mut fill = |segment: &mut Mbuf| {
            let count = left.min(segment.room().1);
            left -= count;
            // At most the segment's room, which has 16 bits.
            segment.raw_mut().data_len = u16::try_from(count).unwrap_or(0);
        };
        fill(&mut head);
        let mut last = head.0;
        let mut count = 1;
        for mut segment in segments {
            fill(&mut segment);
            // SAFETY: *owned*: the chain up to here and the segment are ours; from now on the segment is
            // the chain's, and its own handle is forgotten.
            unsafe { last.as_mut().next = segment.as_ptr() };
            last = segment.0;
            std::mem::forget(segment);
            count += 1;
        }
        let raw = head.raw_mut();
        raw.nb_segs = count;
        raw.pkt_len = u32::try_from(len - left).unwrap_or(0);
        Some(head)
    }

    /// The bytes of each segment, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut segment = Some(self.raw());
        std::iter::from_fn(move || {
            let here = segment?;
            // SAFETY: *owned*: `next` is null or a segment of this chain, borrowed with `self`.
            segment = unsafe { here.next.as_ref() };
            Some(segment_bytes(here))
        })
    }

    fn ingress_field(&self) -> NonNull<IngressField> {
        // SAFETY: the offset was handed out by the library for a field of this size and alignment
        // inside the mbuf (`prepare`), and pools exist only after that.
        unsafe { self.0.byte_add(INGRESS_OFFSET.load(Ordering::Relaxed)).cast() }
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: *owned*; nobody uses the pointer after this.
        unsafe { dpdk_sys::gw_pktmbuf_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("segments", &self.segments())
            .field("ingress", &self.ingress())
            .finish()
    }
}

impl Frame for Mbuf {
    #[inline]
    fn head(&self) -> &[u8] {
        segment_bytes(self.raw())
    }

    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        let raw = self.raw_mut();
        let (offset, len) = (usize::from(raw.data_off), usize::from(raw.data_len));
        // SAFETY: *owned*: these bytes lie inside the segment's buffer and are ours alone.
        unsafe { std::slice::from_raw_parts_mut(raw.buf_addr.cast::<u8>().add(offset), len) }
    }

    #[inline]
    fn len(&self) -> usize {
        self.raw().pkt_len as usize
    }

    #[inline]
    fn grow_front(&mut self, bytes: usize) -> bool {
        let raw = self.raw_mut();
        let Ok(count) = u16::try_from(bytes) else { return false };
        let (Some(offset), Some(len)) =
            (raw.data_off.checked_sub(count), raw.data_len.checked_add(count))
        else {
            return false;
        };
        raw.data_off = offset;
        raw.data_len = len;
        raw.pkt_len += u32::from(count);
        true
    }

    #[inline]
    fn shrink_front(&mut self, bytes: usize) -> bool {
        let raw = self.raw_mut();
        let Ok(count) = u16::try_from(bytes) else { return false };
        let Some(len) = raw.data_len.checked_sub(count) else { return false };
        // Cannot overflow: `data_off + data_len` was at most `buf_len`.
        raw.data_off += count;
        raw.data_len = len;
        raw.pkt_len -= u32::from(count);
        true
    }

    fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        let mut last = self.0;
        let mut keep = len;
        let mut segments = 1;
        // SAFETY: *owned*: the chain is ours, and since `keep` is less than what it holds the walk
        // ends before `next` is null. Cut off, the rest is a chain of its own that nobody reaches.
        let rest = unsafe {
            while keep > usize::from(last.as_ref().data_len) {
                keep -= usize::from(last.as_ref().data_len);
                let Some(next) = NonNull::new(last.as_ref().next) else { return };
                last = next;
                segments += 1;
            }
            let last = last.as_mut();
            last.data_len = u16::try_from(keep).unwrap_or(last.data_len);
            std::mem::replace(&mut last.next, std::ptr::null_mut())
        };
        let raw = self.raw_mut();
        raw.nb_segs = segments;
        raw.pkt_len = u32::try_from(len).unwrap_or(raw.pkt_len);
        if let Some(rest) = NonNull::new(rest) {
            // SAFETY: as above.
            drop(unsafe { Mbuf::from_raw(rest) });
        }
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let raw = self.raw_mut();
        let end = usize::from(raw.data_off) + usize::from(raw.data_len);
        let fits = raw.nb_segs == 1 && bytes.len() <= usize::from(raw.buf_len).saturating_sub(end);
        let (true, Ok(count)) = (fits, u16::try_from(bytes.len())) else { return false };
        // SAFETY: *owned*: `end + count` is at most `buf_len`, and `bytes` can't overlap a buffer
        // that is borrowed exclusively.
        unsafe {
            let to = raw.buf_addr.cast::<u8>().add(end);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        raw.data_len += count;
        raw.pkt_len += u32::from(count);
        true
    }

    fn copy_out(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut skip = offset;
        let mut copied = 0;
        let mut segment = Some(self.raw());
        while let Some(here) = segment
            && copied < out.len()
        {
            let bytes = segment_bytes(here);
            let bytes = &bytes[skip.min(bytes.len())..];
            skip = skip.saturating_sub(usize::from(here.data_len));
            let count = bytes.len().min(out.len() - copied);
            out[copied..copied + count].copy_from_slice(&bytes[..count]);
            copied += count;
            // SAFETY: *owned*: `next` is null or a segment of this chain, borrowed with `self`.
            segment = unsafe { here.next.as_ref() };
        }
        copied
    }

    #[inline]
    fn ingress(&self) -> Ingress {
        // SAFETY: *owned*, and the field lies inside (`ingress_field`).
        let field = unsafe { self.ingress_field().read() };
        Ingress { port: PortId(field.port), adapter: AdapterId(field.adapter) }
    }

    #[inline]
    fn set_ingress(&mut self, ingress: Ingress) {
        let field = IngressField { adapter: ingress.adapter.0, port: ingress.port.0, _unused: 0 };
        // SAFETY: *owned*, borrowed exclusively, and the field lies inside (`ingress_field`).
        unsafe { self.ingress_field().write(field) }
    }

    #[inline]
    fn ip_checksum(&self) -> ChecksumState {
        // DPDK Programmer's Guide, mbuf library: both bits mean "not valid, but data is intact",
        // which a software check settles as well as "unknown".
        match self.raw().ol_flags & dpdk_sys::GW_RX_IP_CKSUM_MASK {
            dpdk_sys::GW_RX_IP_CKSUM_GOOD => ChecksumState::Good,
            dpdk_sys::GW_RX_IP_CKSUM_BAD => ChecksumState::Bad,
            _ => ChecksumState::Unknown,
        }
    }

    #[inline]
    fn read_heads(burst: &Burst<Self>, pattern: &Pattern, into: &mut Heads) -> Slots {
        heads::read(burst, pattern, into)
    }

    #[inline]
    fn rewrite_heads(
        burst: &mut Burst<Self>,
        ethernet: impl Fn(usize) -> [u64; 2],
        middle: &[u32; BURST_PKTS],
    ) {
        heads::rewrite(burst, ethernet, middle);
    }

    #[inline]
    fn plain_head(&self) -> Option<&[u8; PLAIN_BYTES]> {
        let raw = self.raw();
        // "None" has the bit of "bad" too. Of the IPv4 header it means "not valid, but data is intact": the
        // stages check that.
        let is_near = raw.data_off < heads::OFFSET_LIMIT;
        let is_plain = raw.nb_segs == 1 && raw.ol_flags & NOT_PLAIN == 0 && is_near;
        if is_plain { segment_bytes(raw).first_chunk() } else { None }
    }

    #[inline]
    fn offload(&self) -> Offload {
        let flags = self.raw().ol_flags;
        if flags & (dpdk_sys::GW_RX_L4_CKSUM_MASK | dpdk_sys::GW_RX_LRO) == 0 {
            return Offload::None;
        }
        let bits = self.tx_offload();
        // Each as wide as its field.
        let field = |at: u32, width: u32| u16::try_from(bits >> at & ((1 << width) - 1));
        let headers = Headers {
            l2: field(0, 7).ok().and_then(|l2| u8::try_from(l2).ok()).unwrap_or(0),
            l3: field(L3_AT, 9).unwrap_or(0),
            l4: field(L4_AT, 8).ok().and_then(|l4| u8::try_from(l4).ok()).unwrap_or(0),
        };
        if flags & dpdk_sys::GW_RX_LRO != 0 {
            return Offload::Segment(headers, field(SEGMENT_AT, 16).unwrap_or(0));
        }
        match flags & dpdk_sys::GW_RX_L4_CKSUM_MASK {
            dpdk_sys::GW_RX_L4_CKSUM_NONE => Offload::Checksum(headers),
            dpdk_sys::GW_RX_L4_CKSUM_BAD => Offload::Invalid,
            _ => Offload::None,
        }
    }

    fn set_offload(&mut self, offload: Offload) {
        let pack = |headers: Headers, size: u16| {
            u64::from(headers.l2)
                | u64::from(headers.l3) << L3_AT
                | u64::from(headers.l4) << L4_AT
                | u64::from(size) << SEGMENT_AT
        };
        let (bits, flags) = match offload {
            Offload::None => (0, 0),
            Offload::Checksum(headers) => (pack(headers, 0), dpdk_sys::GW_RX_L4_CKSUM_NONE),
            Offload::Segment(headers, size) => {
                (pack(headers, size), dpdk_sys::GW_RX_L4_CKSUM_NONE | dpdk_sys::GW_RX_LRO)
            }
            Offload::Invalid => (0, dpdk_sys::GW_RX_L4_CKSUM_BAD),
        };
        let raw = self.raw_mut();
        let mask =
            dpdk_sys::GW_RX_L4_CKSUM_MASK | dpdk_sys::GW_RX_LRO | dpdk_sys::GW_TX_OFFLOAD_MASK;
        raw.ol_flags = raw.ol_flags & !mask | flags;
        raw.__bindgen_anon_3.tx_offload = bits;
    }
}

/// Flags of a received frame that is left to the stages.
const NOT_PLAIN: u64 =
    dpdk_sys::GW_RX_L4_CKSUM_BAD | dpdk_sys::GW_RX_LRO | dpdk_sys::GW_RX_IP_CKSUM_BAD;

/// The bytes of one segment.
#[inline]
fn segment_bytes(segment: &rte_mbuf) -> &[u8] {
    let (offset, len) = (usize::from(segment.data_off), usize::from(segment.data_len));
    // SAFETY: *owned*: the segment is borrowed from its owner and the bytes lie inside its buffer.
    unsafe { std::slice::from_raw_parts(segment.buf_addr.cast::<u8>().add(offset), len) }
}
