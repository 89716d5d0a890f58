use super::*;
use proptest::prelude::*;

/// A header as in many captures: 60 bytes, TCP, DF, 172.16.10.99 to 172.16.10.12, checksum 0xb1e6.
const REAL: [u8; 20] = [
    0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0xb1, 0xe6, 0xac, 0x10, 0x0a, 0x63,
    0xac, 0x10, 0x0a, 0x0c,
];

fn parse(packet: &[u8], present: usize) -> Result<Ipv4, DropReason> {
    Ipv4::parse(packet, present, ChecksumState::Unknown)
}

fn changed(at: usize, value: u8) -> [u8; 20] {
    let mut packet = REAL;
    packet[at] = value;
    packet
}

fn with_checksum(mut packet: [u8; 20]) -> [u8; 20] {
    set_checksum(&mut packet);
    packet
}

#[test]
fn a_real_header_is_read() {
    let parsed = parse(&REAL, 60).unwrap();
    assert_eq!((parsed.header_bytes, parsed.total_bytes, parsed.ttl), (20, 60, 64));
    assert_eq!((parsed.protocol, parsed.id), (PROTOCOL_TCP, 0x1c46));
    assert_eq!((parsed.source, parsed.destination), (0xac10_0a63, 0xac10_0a0c));
    assert!(parsed.dont_fragment && !parsed.is_fragment() && !parsed.has_options());
    assert_eq!(parsed.emit(), REAL);
}

#[test]
fn each_check_of_rfc_1812_has_its_reason() {
    assert_eq!(parse(&REAL[..19], 60), Err(DropReason::Ipv4Truncated));
    assert_eq!(parse(&[], 0), Err(DropReason::Ipv4Truncated));
    assert_eq!(parse(&changed(0, 0x65), 60), Err(DropReason::Ipv4Header));
    assert_eq!(parse(&changed(0, 0x44), 60), Err(DropReason::Ipv4Header));
    assert_eq!(parse(&changed(0, 0x46), 60), Err(DropReason::Ipv4Truncated));
    assert_eq!(parse(&REAL, 59), Err(DropReason::Ipv4Length));
    assert_eq!(parse(&changed(3, 19), 60), Err(DropReason::Ipv4Length));
    assert_eq!(parse(&changed(8, 63), 60), Err(DropReason::Ipv4Checksum));
    let tiny = with_checksum(changed(7, 1));
    assert_eq!(parse(&tiny, 60), Err(DropReason::TinyFragment));
    // Padding behind the total length is no error.
    assert!(parse(&REAL, 1500).is_ok());
}

#[test]
fn the_first_check_that_fails_wins() {
    assert_eq!(parse(&[0x65; 19], 0), Err(DropReason::Ipv4Truncated));
    assert_eq!(parse(&changed(0, 0x60), 0), Err(DropReason::Ipv4Header));
    let mut long = changed(7, 1);
    long[2] = 0xff;
    assert_eq!(parse(&long, 60), Err(DropReason::Ipv4Length));
    assert_eq!(parse(&changed(7, 1), 60), Err(DropReason::Ipv4Checksum));
}

#[test]
fn a_fragment_that_ends_beyond_the_longest_datagram_is_refused() {
    // 65,535 bytes less this packet's 60 leave an offset of 8,184 units.
    let [last, beyond] = [0x1ff8u16, 0x1ff9].map(|word| {
        let [high, low] = word.to_be_bytes();
        let mut packet = changed(6, high);
        packet[7] = low;
        parse(&with_checksum(packet), 60)
    });
    assert_eq!(last.unwrap().fragment_offset, 0x1ff8);
    assert_eq!(beyond, Err(DropReason::Ipv4Length));
}

#[test]
fn the_ports_word_on_the_checksum_counts() {
    let wrong = changed(8, 63);
    assert!(Ipv4::parse(&wrong, 60, ChecksumState::Good).is_ok());
    assert_eq!(Ipv4::parse(&REAL, 60, ChecksumState::Bad), Err(DropReason::Ipv4Checksum));
}

#[test]
fn martians_are_those_of_rfc_1812() {
    let source = |a, b, c, d| is_martian_source(u32::from_be_bytes([a, b, c, d]));
    assert!(source(0, 0, 0, 0) && source(0, 1, 2, 3) && source(127, 0, 0, 1));
    assert!(source(224, 0, 0, 1) && source(240, 0, 0, 1) && source(255, 255, 255, 255));
    assert!(!source(1, 0, 0, 1) && !source(126, 255, 255, 255) && !source(128, 0, 0, 1));
    assert!(!source(223, 255, 255, 255) && !source(169, 254, 1, 1) && !source(10, 0, 0, 1));
    let destination = |a, b, c, d| is_martian_destination(u32::from_be_bytes([a, b, c, d]));
    assert!(destination(0, 0, 0, 1) && destination(127, 1, 1, 1) && destination(240, 0, 0, 0));
    assert!(destination(255, 255, 255, 254));
    assert!(!destination(255, 255, 255, 255) && is_limited_broadcast(u32::MAX));
    assert!(!destination(224, 0, 0, 1) && is_multicast(0xe000_0001) && is_multicast(0xefff_ffff));
    assert!(!is_multicast(0xf000_0000) && !is_multicast(0xdfff_ffff));
    assert!(is_link_local(0xa9fe_0101) && !is_link_local(0xa9ff_0101));
}

proptest! {
    #[test]
    fn any_bytes_are_judged(
        mut packet in prop::collection::vec(any::<u8>(), 0..100),
        present in 0usize..2000,
        sound: bool,
    ) {
        if sound && packet.len() >= 4 {
            packet[0] = 0x40 | (packet[0] % 16);
            packet[2] = 0;
        }
        for state in [ChecksumState::Unknown, ChecksumState::Good, ChecksumState::Bad] {
            if let Ok(parsed) = Ipv4::parse(&packet, present, state) {
                // What the accessors promise to whoever slices by them.
                let header_bytes = usize::from(parsed.header_bytes);
                prop_assert!((HEADER_BYTES..=HEADER_BYTES_MAX).contains(&header_bytes));
                prop_assert!(header_bytes <= packet.len());
                prop_assert!((header_bytes..=present).contains(&parsed.total_bytes.into()));
                prop_assert!(parsed.fragment_offset != 1);
            }
        }
        let len = packet.len();
        decrement_ttl(&mut packet);
        prop_assert_eq!(packet.len(), len);
    }

    #[test]
    fn a_decremented_header_is_still_right(mut header: [u8; 20], ttl in 1u8..) {
        header[0] = 0x45;
        header[8] = ttl;
        let mut header = with_checksum(header);
        decrement_ttl(&mut header);
        prop_assert_eq!(header[8], ttl - 1);
        prop_assert_eq!(header, with_checksum(header));
    }

    #[test]
    fn emit_then_parse_is_the_same(mut header: [u8; 20]) {
        header[0] = 0x45;
        header[6] &= 0x7f; // the reserved bit is not kept
        let header = with_checksum(header);
        if let Ok(parsed) = parse(&header, usize::MAX) {
            prop_assert_eq!(parsed.emit(), header);
        }
    }
}
