//! Packets larger than the way out, without DF (RFC 791).

use super::host::*;
use super::lab::Lab;
use super::packet::{MORE_FRAGMENTS, Packet, read};
use crate::counters::{DropReason, PortCounter};
use crate::ids::PortId;
use crate::pipeline::Rates;
use crate::table::Adjacency;
use crate::wire::ethernet::{ETHERTYPE_VLAN, MacAddr};

const OFFSET_MASK: u16 = 0x1fff;

fn from_c1(to: PortId) -> Packet {
    Packet::new(at(C1), GATEWAY_MAC, at(to).ip)
}

/// Puts pieces that are in order together again, as their receiver does.
#[track_caller]
fn reassemble(pieces: &[Vec<u8>], mtu: usize, original: &Packet) -> Vec<u8> {
    let base = original.fragment & OFFSET_MASK;
    let mut data = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        assert!(piece.len() <= 14 + mtu);
        let seen = read(piece);
        assert_eq!((seen.id, seen.protocol, seen.ttl), (original.id, original.protocol, 63));
        assert_eq!((seen.source, seen.destination), (original.source, original.destination));
        let offset = usize::from((seen.fragment & OFFSET_MASK) - base) * 8;
        assert_eq!(offset, data.len());
        let is_last = number + 1 == pieces.len();
        let more = seen.fragment & MORE_FRAGMENTS;
        assert_eq!(more != 0, !is_last || original.fragment & MORE_FRAGMENTS != 0);
        data.extend(seen.payload);
    }
    data
}

#[test]
fn without_df_a_packet_goes_in_pieces_that_make_the_whole() {
    let mut lab = Lab::new();
    for total in [577, 600, 1128, 1129, 1500, 2000, 4000, 9000] {
        let packet = from_c1(N1).total(total).padding(3);
        lab.receive(C1, packet.bytes());
        let pieces = lab.sent(N1);
        // 69 units of 8 bytes each, and the last has room for 4 bytes more.
        assert_eq!(pieces.len(), 1 + (total - 20 - 556).div_ceil(552), "{total}");
        assert!(pieces.iter().all(|piece| {
            let seen = read(piece);
            (seen.destination_mac, seen.source_mac) == (at(N1).mac, GATEWAY_MAC)
        }));
        assert_eq!(reassemble(&pieces, 576, &packet), packet.payload);
    }
    assert_eq!(lab.drops(C1), []);
    assert_eq!(lab.counts(C1).counter(PortCounter::Consumed), 8);
}

#[test]
fn a_fragment_is_fragmented_further() {
    let mut lab = Lab::new();
    for word in [MORE_FRAGMENTS, MORE_FRAGMENTS | 185, 370] {
        let packet = Packet { payload: vec![9; 1480], ..from_c1(N1).fragment(word) };
        lab.receive(C1, packet.bytes());
        let pieces = lab.sent(N1);
        assert_eq!(pieces.len(), 3);
        assert_eq!(reassemble(&pieces, 576, &packet), packet.payload);
    }
}

#[test]
fn no_piece_is_larger_than_a_fresh_frame_holds() {
    // A jumbo packet to a way that is narrower, but wider than one segment of the pool.
    let mut lab = Lab::new();
    let way = Adjacency { mtu: 4000, ..lab.host.way(C2, at(C2).mac) };
    lab.host.route(at(C2).ip, 32, way);
    let packet = from_c1(C2).total(9000);
    lab.receive(C1, packet.bytes());
    assert_eq!(lab.drops(C1), []);
    assert_eq!(reassemble(&lab.sent(C2), 4000, &packet), packet.payload);
}

#[test]
fn pieces_on_a_vlan_carry_its_tag() {
    let mut lab = Lab::new();
    let mac = MacAddr([2, 5, 5, 5, 5, 5]);
    let way = Adjacency { mtu: 1000, vlan: 7, ..lab.host.way(UP, mac) };
    lab.host.route(FAR, 32, way);
    let packet = Packet::new(at(C1), GATEWAY_MAC, FAR).total(1500);
    lab.receive(C1, packet.bytes());
    let pieces: Vec<_> = lab
        .sent(UP)
        .into_iter()
        .map(|mut piece| {
            assert_eq!(piece[12..16], [ETHERTYPE_VLAN.to_be_bytes(), [0, 7]].concat());
            piece.drain(12..16);
            piece
        })
        .collect();
    assert_eq!(reassemble(&pieces, 1000, &packet), packet.payload);
    // One that fits as well.
    let small = lab.passes(C1, Packet::new(at(C1), GATEWAY_MAC, FAR).bytes(), UP);
    assert_eq!(small[12..16], [0x81, 0, 0, 7]);
}

#[test]
fn a_pool_that_runs_dry_between_pieces_is_a_counted_loss() {
    let mut lab = Lab::with(2, 64, Rates::default());
    lab.receive(C1, from_c1(N1).total(1500).bytes());
    assert_eq!(lab.sent(N1).len(), 1);
    assert_eq!(lab.drops(C1), [(DropReason::NoMemory, 2)]);
}

#[test]
fn a_way_too_narrow_for_any_piece_is_a_counted_drop() {
    let mut lab = Lab::new();
    let way = Adjacency { mtu: 27, ..lab.host.way(C2, at(C2).mac) };
    lab.host.route(at(C2).ip, 32, way);
    lab.refuses(C1, from_c1(C2).bytes(), DropReason::TooBig);
}
