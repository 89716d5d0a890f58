//! Frames that their sender left unfinished: passed on to who finishes them, finished for who doesn't.

use super::host::*;
use super::lab::Lab;
use super::packet::{Packet, frame, read};
use crate::counters::{DropReason, PortCounter};
use crate::frame::Frame;
use crate::ids::PortId;
use crate::pipeline::{Rates, TxPort, TxRoute};
use crate::wire::checksum::{fold, sum};
use crate::wire::ethernet::{ETHERTYPE_IPV4, MacAddr};
use crate::wire::offload::{self, Offload};

const DATA_AT: usize = 14 + 20 + 20;

/// A TCP packet of `data` bytes of data, its checksum not there yet.
fn tcp(to: PortId, data: usize) -> Vec<u8> {
    let mut packet = Packet::new(at(C1), GATEWAY_MAC, at(to).ip);
    packet.protocol = 6;
    packet.payload = vec![0; 20];
    packet.payload[..4].copy_from_slice(&[0x10, 0, 0, 80]);
    packet.payload[4..8].copy_from_slice(&1000_u32.to_be_bytes());
    packet.payload[12] = 5 << 4;
    packet.payload[13] = 0x18;
    packet.payload.extend((0..data).map(|number| u8::try_from(number % 251).unwrap()));
    packet.bytes()
}

impl Lab {
    /// `port` receives a frame whose sender asks for its checksum and, with `segment`, for pieces.
    fn receive_asked(&mut self, port: PortId, bytes: &[u8], segment: Option<u16>, head: usize) {
        let mut frame = self.pool.frame(bytes, port).unwrap();
        frame.set_offload(offload::check(bytes, bytes.len(), segment));
        frame.chain(head);
        self.path.run(port, &mut [frame].into_iter().collect(), self.now_ns);
        self.path.flush();
    }

    /// From now on the far end of `port` finishes frames itself.
    fn make_finishing(&mut self, port: PortId) {
        let queue = self.ports[&port].tx_that_finishes();
        self.path.set_way(port, Some(TxPort::new(TxRoute::Own(queue))));
    }
}

#[track_caller]
fn assert_right(frame: &[u8]) {
    let seen = read(frame);
    let length = u64::try_from(seen.payload.len()).unwrap();
    let pseudo = sum(&frame[26..34]) + u64::from(seen.protocol) + length;
    assert_eq!(fold(sum(&seen.payload) + pseudo), 0xffff, "the transport checksum");
    assert_eq!(fold(sum(&frame[14..34])), 0xffff, "the header's checksum");
}

#[test]
fn a_checksum_is_completed_for_a_port_that_does_not() {
    let mut lab = Lab::new();
    // Also where the frame is in several buffers, of even and of odd length.
    for head in [2000, 200, 201, 1999] {
        for data in [0, 1, 500, 1400, 1401] {
            lab.receive_asked(C1, &tcp(C2, data), None, head);
            let sent = lab.sent(C2);
            assert_eq!(sent.len(), 1);
            assert_right(&sent[0]);
        }
    }
    assert_eq!(lab.drops(C1), []);
}

#[test]
fn who_finishes_frames_gets_them_unfinished() {
    let mut lab = Lab::new();
    lab.make_finishing(C2);
    let long = tcp(C2, 8000);
    lab.receive_asked(C1, &long, Some(1460), 2000);
    let frame = lab.ports[&C2].from_us.pop().unwrap();
    assert!(matches!(frame.offload(), Offload::Segment(_, 1460)));
    assert_eq!(frame.bytes()[34..], long[34..]);
    drop(frame);
    lab.receive_asked(C1, &tcp(C2, 100), None, 2000);
    let frame = lab.ports[&C2].from_us.pop().unwrap();
    assert!(matches!(frame.offload(), Offload::Checksum(_)));
}

#[test]
fn a_long_segment_is_cut_to_packets_that_make_the_whole() {
    let mut lab = Lab::with(1024, 256, Rates::default());
    for (data, size, pieces) in [(8000, 1460, 6), (1461, 1460, 2), (60_000, 536, 112)] {
        let long = tcp(C2, data);
        lab.receive_asked(C1, &long, Some(size), 2000);
        let sent = lab.sent(C2);
        assert_eq!(sent.len(), pieces);
        let mut whole = Vec::new();
        for (number, piece) in sent.iter().enumerate() {
            assert_right(piece);
            let sequence = u32::from_be_bytes(piece[38..42].try_into().unwrap());
            assert_eq!(sequence as usize, 1000 + whole.len());
            assert_eq!(piece[47], if number + 1 == pieces { 0x18 } else { 0x10 });
            whole.extend_from_slice(&piece[DATA_AT..]);
        }
        assert_eq!(whole, long[DATA_AT..]);
    }
    assert_eq!(lab.counts(C1).counter(PortCounter::Segmented), 3);
    assert_eq!(lab.counts(C1).counter(PortCounter::Generated), 120);
    assert_eq!(lab.counts(C1).counter(PortCounter::Consumed), 3);
}

#[test]
fn pieces_fit_the_way_out() {
    let mut lab = Lab::new();
    // N1's way takes 576 bytes. With DF the sender is told, as of any packet.
    let mut long = tcp(N1, 4000);
    long[20] |= 0x40;
    let fixed = fold(sum(&long[14..24]) + sum(&long[26..34]));
    long[24..26].copy_from_slice(&(!fixed).to_be_bytes());
    lab.receive_asked(C1, &long, Some(1460), 2000);
    assert_eq!((lab.sent(N1).len(), lab.sent(C1).len()), (0, 1));
    assert_eq!(lab.drops(C1), [(DropReason::TooBig, 1)]);
    // Without it they are made shorter.
    lab.receive_asked(C1, &tcp(N1, 4000), Some(1460), 2000);
    let sent = lab.sent(N1);
    assert_eq!(sent.len(), 4000_usize.div_ceil(536));
    for piece in &sent {
        assert_right(piece);
        assert!(piece.len() <= 14 + 576);
    }
    // Where each piece fits, the length of the whole is no obstacle.
    long[20] &= !0x40;
    lab.receive_asked(C1, &tcp(N1, 4000), Some(536), 2000);
    assert_eq!(lab.sent(N1).len(), 8);
}

#[test]
fn a_packet_that_has_to_go_in_fragments_has_its_checksum_before() {
    let mut lab = Lab::new();
    lab.receive_asked(C1, &tcp(N1, 1000), None, 2000);
    let sent = lab.sent(N1);
    assert_eq!(sent.len(), 2);
    let mut whole = sent[0].clone();
    whole.extend_from_slice(&sent[1][34..]);
    let transport = &whole[34..];
    let length = u64::try_from(transport.len()).unwrap();
    assert_eq!(fold(sum(transport) + sum(&whole[26..34]) + 6 + length), 0xffff);
}

#[test]
fn members_of_a_network_get_what_each_of_them_takes() {
    let mut lab = Lab::new();
    lab.make_finishing(M2);
    let bytes = {
        let mut inner = tcp(M2, 3000);
        inner.drain(..14);
        inner[12..16].copy_from_slice(&at(M1).ip.octets());
        let fixed = fold(sum(&inner[..10]) + sum(&inner[12..20]));
        inner[10..12].copy_from_slice(&(!fixed).to_be_bytes());
        frame(MacAddr::BROADCAST, at(M1).mac, ETHERTYPE_IPV4, &inner)
    };
    lab.receive_asked(M1, &bytes, Some(1460), 2000);
    for (port, frames) in lab.sent_all().chunk_by(|a, b| a.0 == b.0).map(|run| (run[0].0, run)) {
        match port {
            M2 => assert_eq!(frames.len(), 1),
            _ => {
                assert_eq!(frames.len(), 3, "{port:?}");
                frames.iter().for_each(|(_, frame)| assert_right(frame));
            }
        }
    }
}

#[test]
fn what_can_not_be_done_is_dropped_and_counted() {
    let mut lab = Lab::new();
    let mut arp = tcp(C2, 100);
    arp[13] = 6;
    lab.receive_asked(C1, &arp, None, 2000);
    lab.receive_asked(C1, &tcp(C2, 5000), Some(3), 2000);
    assert_eq!(lab.sent_all(), []);
    assert_eq!(lab.drops(C1), [(DropReason::OffloadInvalid, 2)]);
}

#[test]
fn an_empty_pool_loses_pieces_and_counts_them() {
    let mut lab = Lab::with(4, 256, Rates::default());
    lab.receive_asked(C1, &tcp(C2, 8000), Some(1460), 2000);
    assert_eq!(lab.sent(C2).len(), 3);
    assert_eq!(lab.drops(C1), [(DropReason::NoMemory, 3)]);
}
