//! Sends a packet that is larger than its way in pieces (RFC 791). Rare, so it copies.

use super::work::drop_frame;
use super::{Path, segment};
use crate::counters::{DropReason, PortCounter};
use crate::frame::{ChecksumState, Frame, FramePool, ROOM_BYTES};
use crate::io::Io;
use crate::table::Adjacency;
use crate::wire::ethernet::HEADER_BYTES;
use crate::wire::fragment::{Fragment, Fragments};
use crate::wire::ipv4::Ipv4;
use crate::wire::offload::Offload;
use crate::wire::tag::push_tag;

/// Largest piece: what one new frame holds. A way with a larger MTU gets more pieces than it needs.
const PIECE_BYTES_MAX: u16 = 2_034;
const _: () = assert!(HEADER_BYTES + PIECE_BYTES_MAX as usize == ROOM_BYTES);

/// `frame` is rewritten already; every piece is generated, the frame itself consumed.
pub(super) fn send_pieces<I: Io>(path: &mut Path<I>, way: &Adjacency, mut frame: I::Frame) {
    match frame.offload() {
        // Smaller segments are as good, and no fragment is needed.
        Offload::Segment(..) => return segment::send_pieces(path, way, frame),
        Offload::Checksum(headers) => segment::complete(&mut frame, headers),
        Offload::None | Offload::Invalid => {}
    }
    let packet = frame.head().get(HEADER_BYTES..).unwrap_or_default();
    let parsed = Ipv4::parse(packet, frame.len(), ChecksumState::Good);
    let mtu = way.mtu.min(PIECE_BYTES_MAX);
    let plan = parsed.ok().and_then(|parsed| Fragments::plan(packet, &parsed, mtu));
    let Some(plan) = plan else {
        return drop_frame(&path.counters, frame, DropReason::TooBig);
    };
    let ingress = frame.ingress();
    for piece in plan {
        path.counters.port_add(ingress.port, PortCounter::Generated, 1);
        match make(path, &frame, &piece, way.vlan) {
            Some(made) => path.send(way.port, way.adapter, made),
            None => {
                path.counters.drop_add(ingress.port, ingress.adapter, DropReason::NoMemory, 1);
            }
        }
    }
    path.counters.port_add(ingress.port, PortCounter::Consumed, 1);
}

fn make<I: Io>(
    path: &mut Path<I>,
    frame: &I::Frame,
    piece: &Fragment,
    vlan: u16,
) -> Option<I::Frame> {
    let mut bytes = [0; ROOM_BYTES];
    let header_end = HEADER_BYTES + piece.header.len();
    let end = header_end + piece.data_bytes;
    bytes[..HEADER_BYTES].copy_from_slice(frame.head().get(..HEADER_BYTES)?);
    bytes.get_mut(HEADER_BYTES..header_end)?.copy_from_slice(&piece.header);
    let copied = frame.copy_out(HEADER_BYTES + piece.start, bytes.get_mut(header_end..end)?);
    let mut made = path.pool.alloc()?;
    let is_whole = copied == piece.data_bytes
        && made.append(&bytes[..end])
        && (vlan == 0 || push_tag(&mut made, vlan));
    made.set_ingress(frame.ingress());
    is_whole.then_some(made)
}
