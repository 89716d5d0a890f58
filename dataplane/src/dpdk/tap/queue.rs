//! The queues of a tap: receive is what the container sends, transmit what it gets. One system call a
//! frame, and on either way its bytes are copied once, by the kernel, straight out of or into mbufs.
//!
//! **How long the next frame is, nobody knows** before it has been read, and it may be 64 KB. A read
//! names as many segments as the last frame took, and behind them a buffer on the stack that holds the
//! rest of any frame, copied into further segments afterwards. So a stream of long frames is read into
//! its segments at once, one of short ones has no list of thirty segments to go through, and a queue that
//! is empty keeps no mbuf.

use super::super::mbuf::Mbuf;
use super::super::mempool::Pool;
use super::header::{Asked, HEADER_BYTES, write};
use super::{FRAME_BYTES_MAX, Link};
use crate::counters::DropReason;
use crate::frame::{Burst, Frame};
use crate::io::Unsent;
use crate::wire::checksum::{fold, sum};
use crate::wire::offload::{Offload, store_pseudo_sum};
use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Segments that the longest frame takes; none of a pool is shorter than that.
const SEGMENTS_MAX: usize = FRAME_BYTES_MAX.div_ceil(crate::frame::ROOM_BYTES);
/// What holds any frame and one byte more, by which a longer one is told.
const REST_BYTES: usize = FRAME_BYTES_MAX + 1;
/// Segments of a frame to send, at most. Twice what the longest takes that was received in one piece.
const PIECES_MAX: usize = 2 * SEGMENTS_MAX;

type Pieces<const N: usize> = ArrayVec<libc::iovec, N>;

/// One handle's own counters; it alone writes them, without a locked instruction.
#[derive(Debug, Default)]
pub(super) struct QueueCounts {
    pub(super) pkts: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Frames that the other side refused or that came too long.
    pub(super) errors: AtomicU64,
    /// Times that the pool was empty.
    pub(super) no_mbuf: AtomicU64,
}

/// One queue that the container sends by (*one poller*).
#[derive(Debug)]
pub struct TapRx {
    link: Arc<Link>,
    queue: usize,
    pool: Pool,
    segment_bytes: usize,
    /// Empty segments for the next frame. Elsewhere, so that what is looked at each loop stays small.
    spare: Box<ArrayVec<Mbuf, SEGMENTS_MAX>>,
    /// Segments that the last frame took.
    expected: usize,
    /// Where the worker that polls it keeps whether there is something to read; none while it is always
    /// worth a try.
    pub(in crate::dpdk) slot: Option<u16>,
}

/// One of the handles by which the container gets frames (*one poller*). Several may write to one
/// descriptor: the kernel takes each frame whole.
#[derive(Debug)]
pub struct TapTx {
    link: Arc<Link>,
    queue: usize,
    writer: usize,
}

/// What a read brought.
enum Read {
    Frame(Mbuf),
    /// A frame that is lost, and counted.
    Lost,
    /// Nothing is there, or there is no mbuf for it.
    Nothing,
}

impl TapRx {
    pub(super) fn new(link: &Arc<Link>, queue: usize, pool: Pool) -> Self {
        let (link, segment_bytes) = (link.clone(), pool.segment_bytes().into());
        Self { link, queue, pool, segment_bytes, spare: Box::default(), expected: 1, slot: None }
    }

    /// The descriptor that it reads, for whoever waits for it.
    pub(super) fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.link.queues.get(self.queue).map(std::os::fd::AsFd::as_fd)
    }

    /// Not inlined: the rest's room would be made on the worker's stack for ports of other kinds too.
    #[inline(never)]
    pub(crate) fn rx(&mut self, into: &mut Burst<Mbuf>) -> usize {
        let before = into.len();
        let mut rest = MaybeUninit::uninit();
        let (mut bytes, mut lost, mut no_mbuf) = (0, 0, 0);
        for _ in 0..into.remaining_capacity() {
            match self.read(&mut rest, &mut no_mbuf) {
                Read::Frame(frame) => {
                    bytes += frame.len() as u64;
                    into.push(frame);
                }
                Read::Lost => lost += 1,
                Read::Nothing => {
                    // An idle tap holds no mbuf.
                    self.spare.clear();
                    break;
                }
            }
        }
        let count = into.len() - before;
        if let Some(counts) = self.link.rx.get(self.queue) {
            counts.add(count, bytes);
            bump(&counts.errors, lost);
            bump(&counts.no_mbuf, no_mbuf);
        }
        count
    }

    fn read(&mut self, rest: &mut MaybeUninit<[u8; REST_BYTES]>, no_mbuf: &mut u64) -> Read {
        let named = self.expected;
        let Some(descriptor) = self.link.queues.get(self.queue).map(AsRawFd::as_raw_fd) else {
            return Read::Nothing;
        };
        if !self.have_spare(named) {
            *no_mbuf += 1;
            return Read::Nothing;
        }
        let mut header = [0; HEADER_BYTES];
        let mut pieces: Pieces<{ SEGMENTS_MAX + 2 }> = ArrayVec::new();
        pieces.push(piece(header.as_mut_ptr(), HEADER_BYTES));
        for segment in self.spare.iter_mut().take(named) {
            pieces.push(piece(segment.room().0, self.segment_bytes));
        }
        pieces.push(piece(rest.as_mut_ptr().cast(), REST_BYTES));
        // SAFETY: the pieces are the header, the rooms of *owned* segments, none shorter than named, and
        // the rest, all of them exclusively ours through the call.
        let count = unsafe { libc::readv(descriptor, pieces.as_ptr(), number(pieces.len())) };
        let Ok(count) = usize::try_from(count) else { return Read::Nothing };
        let len = count.saturating_sub(HEADER_BYTES);
        if !(1..=FRAME_BYTES_MAX).contains(&len) {
            return Read::Lost;
        }
        let taken = len.div_ceil(self.segment_bytes);
        if !self.have_spare(taken) {
            *no_mbuf += 1;
            return Read::Lost;
        }
        let over = len.saturating_sub(named * self.segment_bytes);
        // SAFETY: the kernel has written so many bytes behind the named segments.
        let over = unsafe { std::slice::from_raw_parts(rest.as_ptr().cast::<u8>(), over) };
        let further = self.spare.iter_mut().skip(named);
        for (bytes, segment) in over.chunks(self.segment_bytes).zip(further) {
            // SAFETY: *owned*: the segment has room for `segment_bytes`.
            unsafe { segment.room().0.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
        self.expected = taken;
        let Some(mut frame) = Mbuf::join(self.spare.drain(..taken), len) else { return Read::Lost };
        accept(&mut frame, Asked::read(&header));
        Read::Frame(frame)
    }

    /// Has at least so many empty segments ready. A fresh mbuf of a default pool holds `segment_bytes`.
    #[inline]
    fn have_spare(&mut self, count: usize) -> bool {
        let have = self.spare.len();
        if have >= count {
            return true;
        }
        let missing = count - have;
        if missing > self.spare.remaining_capacity() {
            return false;
        }
        // SAFETY: `Mbuf` is a transparent pointer, there is room for `missing` of them behind `have`, and
        // the call writes all of them or none. Fresh mbufs are *owned*.
        unsafe {
            let to = self.spare.as_mut_ptr().add(have).cast::<*mut rte_mbuf>();
            let missing = u32::try_from(missing).unwrap_or(0);
            if dpdk_sys::gw_pktmbuf_alloc_bulk(self.pool.as_ptr(), to, missing) != 0 {
                return false;
            }
            self.spare.set_len(count);
        }
        true
    }
}

/// Notes on a frame what its sender left to do. A container's packet sockets say there what they like
/// (packet(7), PACKET_VNET_HDR), so it is checked like any guest's.
#[inline]
fn accept(frame: &mut Mbuf, asked: Asked) {
    if asked == (Asked { checksum: None, segment: None }) {
        return;
    }
    frame.note_asked(asked.checksum.is_some(), asked.segment);
    frame.check_offload();
    match (frame.offload(), asked) {
        (Offload::Checksum(headers) | Offload::Segment(headers, _), _)
            if asked.is_outermost(headers) => {}
        // A packet in a tunnel, or a transport that we don't know: the sender says what to sum.
        (_, Asked { checksum: Some((start, at)), segment: None }) => complete(frame, start, at),
        _ => frame.set_offload(Offload::Invalid),
    }
}

/// Completes a checksum of which the sender says where it begins and where it goes.
#[cold]
fn complete(frame: &mut Mbuf, start: usize, at: usize) {
    let mut chunk = [0; 512];
    let (mut total, mut from) = (0, start);
    // Each chunk but the last has an even length, so the sums add up.
    loop {
        let count = frame.copy_out(from, &mut chunk);
        total += sum(&chunk[..count]);
        from += count;
        if count < chunk.len() {
            break;
        }
    }
    let is_inside = start < frame.len();
    let Some(field) = frame.head_mut().get_mut(at..at + 2).filter(|_| is_inside) else {
        return frame.set_offload(Offload::Invalid);
    };
    // 0 would say that there is none (RFC 768).
    let checksum = Some(!fold(total)).filter(|checksum| *checksum != 0).unwrap_or(0xffff);
    field.copy_from_slice(&checksum.to_be_bytes());
    frame.set_offload(Offload::None);
}

impl TapTx {
    pub(super) fn new(link: &Arc<Link>, writer: usize) -> Self {
        Self { link: link.clone(), queue: writer % link.queues.len().max(1), writer }
    }

    /// Linux finishes all of it, or never has to where the packet stays in the container.
    #[inline]
    pub(crate) fn finishes(&self, offload: Offload) -> bool {
        offload != Offload::Invalid
    }

    /// Writes frame by frame. One that the kernel finds faulty is lost alone: those behind it may be
    /// another guest's.
    #[inline]
    pub(crate) fn tx(&mut self, burst: &mut Burst<Mbuf>) -> Unsent {
        let Some(descriptor) = self.link.queues.get(self.queue).map(AsRawFd::as_raw_fd) else {
            return Unsent::NotConnected;
        };
        let (mut done, mut bytes, mut faulty) = (0, 0, 0);
        let mut unsent = Unsent::Full;
        for frame in burst.iter_mut() {
            if usize::from(frame.segments()) > PIECES_MAX {
                unsent = Unsent::First(DropReason::TxChained);
                break;
            }
            match write_frame(descriptor, frame) {
                Ok(()) => bytes += frame.len() as u64,
                Err(libc::EAGAIN | libc::ENOMEM | libc::ENOBUFS) => break,
                // Down, or deleted.
                Err(libc::EIO | libc::EBADFD) => {
                    unsent = Unsent::NotConnected;
                    break;
                }
                Err(_) => {
                    faulty += 1;
                    unsent = Unsent::First(DropReason::TxError);
                    break;
                }
            }
            done += 1;
        }
        if let Some(counts) = self.link.tx.get(self.writer) {
            counts.add(done, bytes);
            bump(&counts.errors, faulty);
        }
        let freed = u32::try_from(done).unwrap_or(0);
        // SAFETY: *owned*; the first `done` are given back once, and the rest moved into their place.
        unsafe {
            let frames = burst.as_mut_ptr();
            dpdk_sys::rte_pktmbuf_free_bulk(frames.cast::<*mut rte_mbuf>(), freed);
            let rest = burst.len() - done;
            std::ptr::copy(frames.add(done), frames, rest);
            burst.set_len(rest);
        }
        unsent
    }
}

/// Gives one frame to the kernel; the error is the system's number.
#[inline]
fn write_frame(descriptor: i32, frame: &mut Mbuf) -> Result<(), i32> {
    let offload = frame.offload();
    if let Offload::Checksum(headers) | Offload::Segment(headers, _) = offload {
        // Whoever sent it may have left anything there.
        store_pseudo_sum(frame.head_mut(), headers);
    }
    let mut header = write(offload, frame.head());
    let mut pieces: Pieces<{ PIECES_MAX + 1 }> = ArrayVec::new();
    pieces.push(piece(header.as_mut_ptr(), HEADER_BYTES));
    for bytes in frame.pieces() {
        if pieces.try_push(piece(bytes.as_ptr().cast_mut(), bytes.len())).is_err() {
            // `tx` has sorted out what has more.
            return Err(libc::EMSGSIZE);
        }
    }
    // SAFETY: the kernel reads the header and the frame's segments, which live through the call.
    match unsafe { libc::writev(descriptor, pieces.as_ptr(), number(pieces.len())) } {
        0.. => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
    }
}

fn piece(at: *mut u8, bytes: usize) -> libc::iovec {
    libc::iovec { iov_base: at.cast(), iov_len: bytes }
}

/// Pieces of a list, of which there are few.
fn number(pieces: usize) -> i32 {
    i32::try_from(pieces).unwrap_or(0)
}

impl QueueCounts {
    #[inline]
    fn add(&self, pkts: usize, bytes: u64) {
        bump(&self.pkts, pkts as u64);
        bump(&self.bytes, bytes);
    }
}

#[inline]
fn bump(cell: &AtomicU64, by: u64) {
    if by > 0 {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
}
