//! What the appliance itself says on the data path: echo replies for its own addresses and ICMP
//! errors, both straight back to where the packet came from.

use super::Path;
use super::view::{LINK_LOCAL_GATEWAY, View};
use super::work::drop_frame;
use crate::counters::{DropReason, PortCounter};
use crate::frame::{Frame, FramePool};
use crate::ids::PortId;
use crate::io::Io;
use crate::record::Attachment;
use crate::wire::ethernet::{ETHERTYPE_IPV4, Ethernet, HEADER_BYTES};
use crate::wire::icmp::{self, ErrorKind};
use std::net::Ipv4Addr;

/// Turns an echo request for one of our addresses round; drops all else that is for us.
pub(super) fn echo<I: Io>(path: &mut Path<I>, mut frame: I::Frame) {
    let ingress = frame.ingress();
    let is_turned = frame.head_mut().get_mut(HEADER_BYTES..).is_some_and(icmp::turn_echo);
    match back(path, ingress.port, &frame) {
        Some(ethernet) if is_turned => {
            ethernet.emit(frame.head_mut());
            path.send(ingress.port, ingress.adapter, frame);
        }
        _ => drop_frame(&path.counters, frame, DropReason::LocalUnsupported),
    }
}

/// Tells the sender of `frame` why it is dropped, where RFC 1812 4.3.2.7 and the rate limits let us.
pub(super) fn error<I: Io>(
    path: &mut Path<I>,
    frame: &I::Frame,
    slot: usize,
    kind: ErrorKind,
    now_ns: u64,
) {
    let ingress = frame.ingress();
    let original = frame.head().get(HEADER_BYTES..).unwrap_or_default();
    let is_due = icmp::may_answer(original, &path.work.ip[slot])
        && path.limits.icmp(ingress.port, ingress.adapter, now_ns);
    let Some(ethernet) = back(path, ingress.port, frame).filter(|_| is_due) else { return };
    let mut bytes = [0; HEADER_BYTES + icmp::ERROR_BYTES_MAX];
    ethernet.emit(&mut bytes);
    let from = error_source(&path.view, ingress.port).into();
    let packet_bytes = icmp::error_packet(&mut bytes[HEADER_BYTES..], kind, from, original);
    if packet_bytes == 0 {
        return;
    }
    let Some(mut answer) = path.pool.alloc() else { return };
    if answer.append(&bytes[..HEADER_BYTES + packet_bytes]) {
        answer.set_ingress(ingress);
        path.counters.port_add(ingress.port, PortCounter::Generated, 1);
        path.send(ingress.port, ingress.adapter, answer);
    }
}

/// Whom an error is from, as seen from a port. The uplinks' addresses are the server's own, and its
/// kernel drops what comes in with one of them as source: path MTU discovery would never hear of it.
fn error_source(view: &View, port: PortId) -> Ipv4Addr {
    match view.port(port).map(|record| &record.attachment) {
        Some(Attachment::Host { .. } | Attachment::NetworkServer { .. }) => LINK_LOCAL_GATEWAY,
        _ => view.icmp_source,
    }
}

/// The Ethernet header of an answer: to the frame's sender, from our side of its port.
fn back<I: Io>(path: &Path<I>, port: PortId, frame: &I::Frame) -> Option<Ethernet> {
    let heard = Ethernet::parse(frame.head())?;
    let record = path.view.port(port)?;
    // A member of an uplink's own network addressed the uplink's MAC; all others their port's.
    let source = if heard.destination.is_group() { record.own_mac } else { heard.destination };
    Some(Ethernet { destination: heard.source, source, ether_type: ETHERTYPE_IPV4 })
}
