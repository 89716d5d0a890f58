//! Does in software what a frame's way out can't: the transport checksum, and long TCP segments cut to
//! packets (TSO). Rare next to what passes through, so it copies: each piece is one contiguous buffer,
//! whatever the driver behind takes.

use super::Path;
use super::work::drop_frame;
use crate::counters::{DropReason, PortCounter};
use crate::frame::{Frame, FramePool, ROOM_BYTES};
use crate::ids::{AdapterId, PortId};
use crate::io::Io;
use crate::table::Adjacency;
use crate::wire::checksum;
use crate::wire::offload::{self, Headers, Offload};
use crate::wire::tag::push_tag;

/// Least data in a piece; a way that has no room for so much carries no TCP.
const DATA_BYTES_MIN: usize = 8;

/// Where pieces go.
struct Way {
    port: PortId,
    adapter: AdapterId,
    /// Longest packet.
    mtu: usize,
    /// Tag to put on each, or 0.
    vlan: u16,
}

/// Completes a frame for a way out that does not, and sends it.
#[cold]
pub(super) fn finish<I: Io>(
    path: &mut Path<I>,
    port: PortId,
    adapter: AdapterId,
    mut frame: I::Frame,
) {
    match frame.offload() {
        Offload::Checksum(headers) => {
            complete(&mut frame, headers);
            path.put(port, adapter, frame);
        }
        Offload::Segment(headers, size) => {
            let way = Way { port, adapter, mtu: usize::MAX, vlan: 0 };
            cut(path, &way, headers, size, frame);
        }
        Offload::None => path.put(port, adapter, frame),
        Offload::Invalid => drop_frame(&path.counters, frame, DropReason::OffloadInvalid),
    }
}

/// Sends a long segment by a way that its pieces are too long for, in shorter ones. It is rewritten
/// already, but for its tag.
#[cold]
pub(super) fn send_pieces<I: Io>(path: &mut Path<I>, way: &Adjacency, frame: I::Frame) {
    let Offload::Segment(headers, size) = frame.offload() else {
        return drop_frame(&path.counters, frame, DropReason::TooBig);
    };
    let way = Way { port: way.port, adapter: way.adapter, mtu: way.mtu.into(), vlan: way.vlan };
    cut(path, &way, headers, size, frame);
}

/// Completes the transport checksum of a frame.
#[cold]
pub(super) fn complete<F: Frame>(frame: &mut F, headers: Headers) {
    let head = frame.head();
    let end = headers.packet_end(head).min(frame.len());
    // A chained frame's first buffer ends anywhere. The sum of the rest begins at an even place as
    // seen from the transport header, and the odd byte before it belongs to it.
    let start = usize::from(headers.l2) + usize::from(headers.l3);
    let contiguous = head.len().min(end);
    let even = contiguous - (contiguous - start.min(contiguous)) % 2;
    let mut rest = 0;
    if contiguous < end {
        let mut bytes = [0; ROOM_BYTES];
        let mut at = even;
        while at < end {
            let count = frame.copy_out(at, &mut bytes[..(end - at).min(ROOM_BYTES)]);
            if count == 0 {
                break;
            }
            rest += checksum::sum(&bytes[..count]);
            at += count;
        }
    }
    let head = frame.head_mut();
    let summed = if contiguous < end { even } else { contiguous };
    if let Some(head) = head.get_mut(..summed) {
        offload::complete_checksum(head, headers, rest);
    }
    frame.set_offload(Offload::None);
}

/// Every piece is generated, the frame itself consumed.
fn cut<I: Io>(path: &mut Path<I>, way: &Way, headers: Headers, size: u16, frame: I::Frame) {
    let header_bytes = headers.bytes();
    let l2 = usize::from(headers.l2);
    // A segment's size is the longest that its sender's path takes: shorter ones are as good.
    let room = ROOM_BYTES.min(way.mtu.saturating_add(l2)).saturating_sub(header_bytes);
    let data_bytes = room.min(size.into());
    let end = headers.packet_end(frame.head()).min(frame.len());
    if data_bytes < DATA_BYTES_MIN || end <= header_bytes {
        return drop_frame(&path.counters, frame, DropReason::TooBig);
    }
    let ingress = frame.ingress();
    let mut at = header_bytes;
    for number in 0.. {
        if at >= end {
            break;
        }
        let count = data_bytes.min(end - at);
        path.counters.port_add(ingress.port, PortCounter::Generated, 1);
        match piece(path, way, &frame, headers, at, count, number, at + count == end) {
            Some(made) => path.put(way.port, way.adapter, made),
            None => {
                path.counters.drop_add(ingress.port, ingress.adapter, DropReason::NoMemory, 1);
            }
        }
        at += count;
    }
    path.counters.port_add(ingress.port, PortCounter::Consumed, 1);
    path.counters.port_add(ingress.port, PortCounter::Segmented, 1);
}

/// The headers of `frame` and `count` bytes of its data, from byte `at` of the frame on.
#[allow(clippy::too_many_arguments, reason = "all of them are the loop's own")]
fn piece<I: Io>(
    path: &mut Path<I>,
    way: &Way,
    frame: &I::Frame,
    headers: Headers,
    at: usize,
    count: usize,
    number: u16,
    is_last: bool,
) -> Option<I::Frame> {
    let header_bytes = headers.bytes();
    let mut bytes = [0; ROOM_BYTES];
    let piece = bytes.get_mut(..header_bytes + count)?;
    piece.get_mut(..header_bytes)?.copy_from_slice(frame.head().get(..header_bytes)?);
    if frame.copy_out(at, piece.get_mut(header_bytes..)?) != count {
        return None;
    }
    offload::finish_piece(piece, headers, at - header_bytes, number, is_last);
    let mut made = path.pool.alloc()?;
    made.set_ingress(frame.ingress());
    let is_whole = made.append(piece) && (way.vlan == 0 || push_tag(&mut made, way.vlan));
    is_whole.then_some(made)
}
