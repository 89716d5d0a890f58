use super::*;
use proptest::prelude::*;

const ROUTER: u32 = 0xc000_0201;

fn header(protocol: u8, data_bytes: usize) -> Ipv4 {
    Ipv4 {
        header_bytes: 20,
        total_bytes: u16::try_from(20 + data_bytes).unwrap(),
        ttl: 9,
        protocol,
        source: 0xc633_6401,
        destination: 0xcb00_7105,
        id: 77,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        tos: 0,
    }
}

fn packet(header: Ipv4, data: &[u8]) -> Vec<u8> {
    [&header.emit()[..], data].concat()
}

/// An echo request as ping makes it: id 0x1234, sequence 1, 8 bytes of data.
fn echo() -> Vec<u8> {
    let mut icmp = [8, 0, 0, 0, 0x12, 0x34, 0, 1, b'a', b'b', b'c', b'd', b'e', b'f', b'g', b'h'];
    let checksum = checksum::internet(&icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet(header(PROTOCOL_ICMP, icmp.len()), &icmp)
}

fn parse(bytes: &[u8]) -> Ipv4 {
    Ipv4::parse(bytes, bytes.len(), ChecksumState::Unknown).unwrap()
}

#[test]
fn an_error_quotes_the_header_and_at_most_576_bytes_in_all() {
    let original = packet(header(17, 1400), &[0xab; 1400]);
    let mut out = [0; 2048];
    let kind = ErrorKind::FragmentationNeeded { mtu: 1280 };
    let len = error_packet(&mut out, kind, ROUTER, &original);
    assert_eq!(len, ERROR_BYTES_MAX);
    let parsed = parse(&out[..len]);
    assert_eq!((parsed.source, parsed.destination), (ROUTER, 0xc633_6401));
    assert_eq!((parsed.ttl, parsed.tos, parsed.protocol), (64, 0xc0, PROTOCOL_ICMP));
    assert_eq!(checksum::internet(&out[20..len]), 0);
    assert_eq!((out[20], out[21], &out[24..28]), (3, 4, &[0, 0, 5, 0][..]));
    assert_eq!(out[28..len], original[..len - 28]);
}

#[test]
fn ethernet_padding_is_not_quoted() {
    let mut original = packet(header(17, 4), &[1, 2, 3, 4]);
    original.extend_from_slice(&[0; 22]);
    let mut out = [0; 576];
    assert_eq!(error_packet(&mut out, ErrorKind::TimeExceeded, ROUTER, &original), 28 + 24);
    assert_eq!(out[20..22], [11, 0]);
}

#[test]
fn an_error_that_does_not_fit_is_not_written() {
    let original = packet(header(17, 100), &[1; 100]);
    let mut out = [7; 55];
    assert_eq!(error_packet(&mut out, ErrorKind::NetUnreachable, ROUTER, &original), 0);
    assert_eq!(out, [7; 55]);
    assert_eq!(error_packet(&mut [0; 56], ErrorKind::NetUnreachable, ROUTER, &original), 56);
    assert_eq!(error_packet(&mut [0; 56], ErrorKind::NetUnreachable, ROUTER, &original[..19]), 0);
}

#[test]
fn nothing_is_sent_about_what_rfc_1812_names() {
    let answer = |header: Ipv4, data: &[u8]| {
        let bytes = packet(header, data);
        may_answer(&bytes, &header)
    };
    let udp = header(17, 8);
    assert!(answer(udp, &[0; 8]));
    assert!(answer(Ipv4 { more_fragments: true, ..udp }, &[0; 8]));
    assert!(!answer(Ipv4 { fragment_offset: 185, ..udp }, &[0; 8]));
    for destination in [0xe000_0001, u32::MAX] {
        assert!(!answer(Ipv4 { destination, ..udp }, &[0; 8]));
    }
    for source in [0, 0x7f00_0001, 0xe000_0001, 0xf000_0001, u32::MAX] {
        assert!(!answer(Ipv4 { source, ..udp }, &[0; 8]));
    }
    let icmp = header(PROTOCOL_ICMP, 8);
    for (kind, allowed) in [(8, true), (0, true), (13, true), (3, false), (11, false), (5, false)] {
        assert_eq!(answer(icmp, &[kind, 0, 0, 0, 0, 0, 0, 0]), allowed, "type {kind}");
    }
    // The type is missing from the packet, or from its contiguous head.
    assert!(!answer(header(PROTOCOL_ICMP, 0), &[]));
    assert!(!may_answer(&packet(icmp, &[]), &icmp));
    let empty = header(PROTOCOL_ICMP, 0);
    assert!(!may_answer(&packet(empty, &[8; 26]), &empty), "padding is no type");
}

#[test]
fn an_echo_request_becomes_its_reply() {
    let mut bytes = echo();
    assert!(turn_echo(&mut bytes));
    let parsed = parse(&bytes);
    assert_eq!((parsed.source, parsed.destination, parsed.ttl), (0xcb00_7105, 0xc633_6401, 64));
    assert_eq!(bytes[20..22], [0, 0]);
    assert_eq!(checksum::internet(&bytes[20..]), 0);
    assert_eq!(bytes[24..], echo()[24..]);
    assert!(!turn_echo(&mut bytes), "a reply is not answered");
}

#[test]
fn what_is_no_plain_echo_request_stays_as_it_is() {
    let unchanged = |mut bytes: Vec<u8>| {
        let before = bytes.clone();
        assert!(!turn_echo(&mut bytes));
        assert_eq!(bytes, before);
    };
    unchanged(packet(header(17, 16), &[8; 16]));
    unchanged(packet(header(PROTOCOL_ICMP, 7), &[8, 0, 0, 0, 0, 0, 0]));
    let icmp = &echo()[20..];
    unchanged(packet(Ipv4 { more_fragments: true, ..header(PROTOCOL_ICMP, 16) }, icmp));
    unchanged(packet(Ipv4 { destination: 0xe000_0001, ..header(PROTOCOL_ICMP, 16) }, icmp));
    unchanged(echo()[..27].to_vec());
    // Options that look like an echo request where one would begin without them.
    let mut options = echo();
    options.splice(20..20, [8, 0, 0, 0]);
    (options[0], options[3]) = (0x46, options[3] + 4);
    unchanged(options);
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(
        mut bytes in prop::collection::vec(any::<u8>(), 0..700),
        room in 0usize..700,
        mtu: u16,
        sound: bool,
    ) {
        if sound && bytes.len() > 20 {
            bytes[..4].copy_from_slice(&[0x45, 0, 0, 40]);
            bytes[6..10].copy_from_slice(&[0, 0, 64, 1]);
            bytes[20] = 8;
        }
        if let Ok(parsed) = Ipv4::parse(&bytes, usize::MAX, ChecksumState::Good) {
            may_answer(&bytes, &parsed);
        }
        let mut out = vec![0; room];
        let len = error_packet(&mut out, ErrorKind::FragmentationNeeded { mtu }, ROUTER, &bytes);
        prop_assert!(len <= room.min(ERROR_BYTES_MAX));
        if len > 0 {
            let parsed = Ipv4::parse(&out[..len], len, ChecksumState::Unknown).unwrap();
            prop_assert_eq!(usize::from(parsed.total_bytes), len);
            prop_assert_eq!(checksum::internet(&out[20..len]), 0);
            prop_assert!(!may_answer(&out[..len], &parsed), "an error is never answered");
        }
        let before = bytes.clone();
        if !turn_echo(&mut bytes) {
            prop_assert_eq!(bytes, before);
        }
    }
}
