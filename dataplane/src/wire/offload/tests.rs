use super::*;
use crate::wire::checksum::{fold, sum};
use proptest::prelude::*;

/// A TCP or UDP packet over IPv4 or IPv6, with `tags` tags and `data` bytes of data.
fn packet(is_ipv6: bool, is_tcp: bool, tags: usize, data: usize) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    for tag in 0..tags {
        let ether_type = if tag + 1 < tags { ETHERTYPE_QINQ } else { ETHERTYPE_VLAN };
        bytes.extend(ether_type.to_be_bytes());
        bytes.extend([0, 7]);
    }
    let l4 = if is_tcp { 32 } else { 8 };
    let protocol = if is_tcp { TCP } else { UDP };
    let transport = u16::try_from(l4 + data).unwrap();
    if is_ipv6 {
        bytes.extend(ETHERTYPE_IPV6.to_be_bytes());
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(transport.to_be_bytes());
        bytes.extend([protocol, 64]);
        bytes.extend([0xfd; 32]);
    } else {
        bytes.extend(ETHERTYPE_IPV4.to_be_bytes());
        let l3 = bytes.len();
        bytes.extend([0x45, 0]);
        bytes.extend((20 + transport).to_be_bytes());
        bytes.extend([0, 9, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        ipv4::set_checksum(&mut bytes[l3..]);
    }
    let at = bytes.len();
    bytes.resize(at + l4, 0);
    if is_tcp {
        bytes[at + 4..at + 8].copy_from_slice(&0xffff_fff0_u32.to_be_bytes());
        bytes[at + 12] = 8 << 4;
        bytes[at + 13] = 0x01 | 0x08 | 0x10 | 0x80;
    } else {
        bytes[at + 4..at + 6].copy_from_slice(&transport.to_be_bytes());
    }
    bytes.extend((0..data).map(|number| u8::try_from(number % 251).unwrap()));
    bytes
}

/// Whether the transport checksum is right, by the definition: all of it with its own field and the
/// pseudo header sums to ones.
fn is_right(frame: &[u8]) -> bool {
    let (headers, protocol) = parse(frame).unwrap();
    let end = headers.packet_end(frame);
    let transport = &frame[headers.l4_start()..end];
    let at = headers.l3_start();
    let addresses = if headers.is_ipv6(frame) { at + 8..at + 40 } else { at + 12..at + 20 };
    let pseudo = sum(&frame[addresses]) + u64::from(protocol) + transport.len() as u64;
    fold(sum(transport) + pseudo) == 0xffff
}

#[test]
fn checksums_are_completed_for_both_families_and_transports_under_tags() {
    for is_ipv6 in [false, true] {
        for is_tcp in [false, true] {
            for tags in 0..=2 {
                for data in [0, 1, 2, 999] {
                    let mut frame = packet(is_ipv6, is_tcp, tags, data);
                    let Offload::Checksum(headers) = check(&frame, frame.len(), None) else {
                        panic!("refused: {is_ipv6} {is_tcp} {tags} {data}");
                    };
                    assert_eq!(headers.is_tcp(), is_tcp);
                    // What stood in the field does not matter.
                    let at = headers.checksum_at();
                    frame[at..at + 2].fill(0xaa);
                    complete_checksum(&mut frame, headers, 0);
                    assert!(is_right(&frame), "{is_ipv6} {is_tcp} {tags} {data}");
                }
            }
        }
    }
}

#[test]
fn a_udp_checksum_is_never_zero() {
    let mut frame = packet(false, false, 0, 2);
    let headers = parse(&frame).unwrap().0;
    complete_checksum(&mut frame, headers, 0);
    let at = headers.checksum_at();
    // With its own checksum as data, the sum is all ones, whose complement is 0.
    let data = frame.len() - 2;
    let with_zero_data = {
        frame[data..].fill(0);
        complete_checksum(&mut frame, headers, 0);
        [frame[at], frame[at + 1]]
    };
    frame[data..].copy_from_slice(&with_zero_data);
    complete_checksum(&mut frame, headers, 0);
    assert_eq!(frame[at..at + 2], [0xff, 0xff]);
}

#[test]
fn long_segments_are_taken_within_bounds() {
    let frame = packet(false, true, 0, 5000);
    let size = |offload| match offload {
        Offload::Segment(headers, size) => (headers.bytes(), size),
        other => panic!("{other:?}"),
    };
    assert_eq!(size(check(&frame, frame.len(), Some(1448))), (66, 1448));
    assert_eq!(size(check(&frame, frame.len(), Some(40))), (66, 40));
    for bad in [0, 1, 39] {
        assert_eq!(check(&frame, frame.len(), Some(bad)), Offload::Invalid, "{bad}");
    }
    // One packet is none to cut.
    assert!(matches!(check(&frame, frame.len(), Some(5000)), Offload::Checksum(_)));
    let udp = packet(false, false, 0, 5000);
    assert_eq!(check(&udp, udp.len(), Some(1000)), Offload::Invalid);
}

#[test]
fn what_can_not_be_completed_is_refused() {
    let good = packet(false, true, 0, 100);
    let six = packet(true, true, 0, 100);
    let changed = |frame: &[u8], at: usize, value: u8| {
        let mut bytes = frame.to_vec();
        bytes[at] = value;
        bytes
    };
    for (what, frame) in [
        ("ARP", changed(&good, 13, 6)),
        ("IP version 5", changed(&good, 14, 0x55)),
        ("IHL 4", changed(&good, 14, 0x44)),
        ("IHL 15 beyond TCP", changed(&good[..60], 14, 0x4f)),
        ("more fragments", changed(&good, 20, 0x20)),
        ("a later fragment", changed(&good, 21, 1)),
        ("ICMP", changed(&good, 23, 1)),
        ("SCTP", changed(&good, 23, 132)),
        ("TCP header of 16 bytes", changed(&good, 46, 4 << 4)),
        ("TCP header of 60 bytes in 52", changed(&good[..66], 46, 15 << 4)),
        ("longer than the frame", changed(&good, 16, 9)),
        ("shorter than its headers", changed(&good, 17, 40)),
        ("IPv6 fragment", changed(&six, 20, 44)),
        ("IPv6 routing header", changed(&six, 20, 43)),
        ("IPv6 jumbogram", changed(&changed(&six, 18, 0), 19, 0)),
        ("cut in Ethernet", good[..13].to_vec()),
        ("cut in IPv4", good[..30].to_vec()),
        ("cut in TCP", good[..50].to_vec()),
    ] {
        assert_eq!(check(&frame, frame.len(), None), Offload::Invalid, "{what}");
    }
}

#[test]
fn pieces_are_packets_of_their_own() {
    for is_ipv6 in [false, true] {
        let frame = packet(is_ipv6, true, 1, 2500);
        let headers = parse(&frame).unwrap().0;
        let l4 = headers.l4_start();
        let mut data = Vec::new();
        for (number, chunk) in frame[headers.bytes()..].chunks(1000).enumerate() {
            let mut piece = [&frame[..headers.bytes()], chunk].concat();
            let (number, is_last) = (u16::try_from(number).unwrap(), number == 2);
            finish_piece(&mut piece, headers, data.len(), number, is_last);
            assert!(is_right(&piece));
            assert_eq!(headers.packet_end(&piece), piece.len());
            let sequence = u32::from_be_bytes(piece[l4 + 4..l4 + 8].try_into().unwrap());
            let expected = 0xffff_fff0_u32.wrapping_add(u32::try_from(data.len()).unwrap());
            assert_eq!(sequence, expected, "the sequence number wraps");
            let flags = [0x90, 0x10, 0x19][usize::from(number)];
            assert_eq!(piece[l4 + 13], flags, "piece {number}");
            if !is_ipv6 {
                let l3 = headers.l3_start();
                assert_eq!(fold(sum(&piece[l3..l4])), 0xffff, "the header's checksum");
                assert_eq!(u16_at(&piece, l3 + 4), 9 + number, "identification");
            }
            data.extend_from_slice(chunk);
        }
        assert_eq!(data, frame[headers.bytes()..]);
    }
}

#[test]
fn what_it_becomes_on_the_wire_decides_whether_it_fits() {
    let headers = Headers { l2: 14, l3: 20, l4: 32 };
    let long = Offload::Segment(headers, 1448);
    assert_eq!((long.packet_bytes(60_000), long.frame_bytes(60_014)), (1500, 1514));
    assert_eq!((long.packet_bytes(900), long.frame_bytes(914)), (900, 914));
    assert_eq!(Offload::Checksum(headers).packet_bytes(1500), 1500);
    assert_eq!(long.with_l2(|l2| l2 + 4), Offload::Segment(Headers { l2: 18, ..headers }, 1448));
}

proptest! {
    #[test]
    fn nothing_panics_and_what_is_accepted_can_be_completed(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        shape in 0..3usize,
        segment in prop::option::of(any::<u16>()),
        extra in 0..70_000usize,
    ) {
        if bytes.len() > 50 {
            match shape {
                0 => bytes[12..15].copy_from_slice(&[8, 0, 0x45]),
                1 => bytes[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]),
                _ => {}
            }
            bytes[23] = TCP;
            bytes[20] = if shape == 0 { 0 } else { TCP };
            bytes[21] = 0;
        }
        let offload = check(&bytes, bytes.len() + extra, segment);
        if let Offload::Checksum(headers) | Offload::Segment(headers, _) = offload {
            prop_assert!(headers.bytes() <= bytes.len());
            prop_assert!(headers.packet_end(&bytes) <= bytes.len() + extra);
            let mut copy = bytes.clone();
            complete_checksum(&mut copy, headers, 0);
            finish_piece(&mut copy, headers, 1, 1, false);
        }
    }
}
