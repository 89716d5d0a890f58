//! IPv4 headers of a burst, checked all together.

use crate::frame::{
    BURST_PKTS, Heads, Slots, WORD_DESTINATION, WORD_FRAGMENT, WORD_LENGTH, WORD_SOURCE, WORD_TTL,
};
use crate::wire::ethernet::HEADER_BYTES;
use crate::wire::ipv4::{self, PROTOCOL_UDP};

/// What is read from the headers, a column each. Valid for the slots that [`check`] answers.
#[repr(C, align(64))]
pub(crate) struct Headers {
    /// Destination, then source addresses, host order.
    pub(crate) destinations: [u32; BURST_PKTS],
    /// Likewise.
    pub(crate) sources: [u32; BURST_PKTS],
    /// Bytes of the frame, Ethernet padding left out.
    pub(crate) bytes: [u32; BURST_PKTS],
    /// Third words, TTL counted down.
    pub(crate) counted: [u32; BURST_PKTS],
}

impl Default for Headers {
    fn default() -> Self {
        let column = [0; BURST_PKTS];
        Self { destinations: column, sources: column, bytes: column, counted: column }
    }
}

/// What else is true of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Found {
    /// Headers with nothing in them that a router acts on: 20 bytes, no fragment, lengths and checksum
    /// right, TTL of 2 or more, and addresses that may be any host's.
    pub(crate) plain: Slots,
    /// Of those, with Ethernet padding behind the packet.
    pub(crate) padded: Slots,
    /// Bytes of the longest of those frames, padding left out.
    pub(crate) longest: u32,
}

/// Bytes of an Ethernet header, and of an IPv4 header without options.
pub(crate) const ETHERNET_BYTES: u32 = 14;
const IPV4_BYTES: u32 = 20;
const _: () = assert!(ETHERNET_BYTES as usize == HEADER_BYTES);
const _: () = assert!(IPV4_BYTES as usize == ipv4::HEADER_BYTES);

/// Whether addresses that begin with this byte are not all some host's on the Internet. Which are not,
/// [`crate::wire::ipv4`] says.
#[inline]
fn is_special(first: u8) -> bool {
    matches!(first, 0 | 127 | 169 | 224..)
}

/// Checks the headers of the given slots, all of which are below `count`.
#[inline]
pub(crate) fn check(heads: &Heads, slots: Slots, count: usize, into: &mut Headers) -> Found {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::is_for_vectors(count) {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::check(heads, slots, count, into) };
    }
    check_each(heads, slots, count, into)
}

/// The same, one after another.
fn check_each(heads: &Heads, slots: Slots, count: usize, into: &mut Headers) -> Found {
    let mut found = Found::default();
    for slot in (0..count.min(BURST_PKTS)).filter(|slot| slots >> slot & 1 != 0) {
        let words = heads.words.each_ref().map(|column| column[slot]);
        let bytes = words[WORD_LENGTH].swap_bytes() & 0xffff;
        let frame_bytes = bytes + ETHERNET_BYTES;
        let [source, destination] = [words[WORD_SOURCE], words[WORD_DESTINATION]];
        // Version 4 and five words; neither fragment offset nor more fragments.
        let is_plain = words[WORD_LENGTH] & 0xff == 0x45
            && words[WORD_FRAGMENT] & 0xff3f_0000 == 0
            && bytes >= IPV4_BYTES
            && frame_bytes <= heads.bytes[slot]
            && words[WORD_TTL] & 0xff > 1
            && !is_special((source & 0xff) as u8)
            && !is_special((destination & 0xff) as u8)
            && is_sum_right(words);
        if is_plain {
            found.plain |= 1 << slot;
            found.padded |= Slots::from(frame_bytes < heads.bytes[slot]) << slot;
            into.sources[slot] = u32::from_be(source);
            into.destinations[slot] = u32::from_be(destination);
            into.bytes[slot] = frame_bytes;
            into.counted[slot] = ipv4::counted_down(words[WORD_TTL]);
            found.longest = found.longest.max(frame_bytes);
        }
    }
    found
}

/// Of the first `count`, UDP packets to a DHCP client's port, or too short for a UDP header and a byte. Bits
/// behind are undefined.
#[inline]
pub(crate) fn to_clients(heads: &Heads, count: usize) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::is_for_vectors(count) {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::to_clients(heads) };
    }
    to_clients_each(heads, count)
}

/// Port 68 as it lies behind the header, in its upper half.
const CLIENT_PORT: u32 = 0x4400 << 16;
/// Bytes of a frame with a UDP header and a byte behind it.
const UDP_BYTES_MIN: u32 = ETHERNET_BYTES + IPV4_BYTES + 8 + 1;

#[inline]
fn to_clients_each(heads: &Heads, count: usize) -> Slots {
    let ttls = super::worth_a_look(&heads.words[WORD_TTL], count).iter();
    let each = ttls.zip(&heads.ports).zip(&heads.bytes).enumerate();
    each.fold(0, |slots, (slot, ((ttl, ports), bytes))| {
        let is_udp = ttl >> 8 & 0xff == PROTOCOL_UDP.into();
        let is_to_client = ports & 0xffff_0000 == CLIENT_PORT;
        let is_short = *bytes < UDP_BYTES_MIN;
        slots | Slots::from(is_udp && (is_to_client || is_short)) << slot
    })
}

/// Of the first `count` frames, those whose first 48 bits are these. Bits behind are undefined.
#[inline]
pub(crate) fn to_mac(starts: &[u64; BURST_PKTS], count: usize, mac: u64) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::is_for_vectors(count) {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::to_mac(starts, mac) };
    }
    to_mac_each(super::worth_a_look(starts, count), mac)
}

/// The low 48 bits: the first MAC of a frame whose first word it is.
pub(crate) const MAC_MASK: u64 = (1 << 48) - 1;

#[inline]
fn to_mac_each(starts: &[u64], mac: u64) -> Slots {
    let bit = |(slot, start): (usize, &u64)| Slots::from(start & MAC_MASK == mac) << slot;
    starts.iter().enumerate().map(bit).fold(0, |all, one| all | one)
}

/// Whether a header's words add up to a multiple of 0xffff (RFC 1071: in any byte order). They are
/// not all 0.
#[inline]
fn is_sum_right(words: [u32; 5]) -> bool {
    let sum: u32 = words.iter().map(|word| (word & 0xffff) + (word >> 16)).sum();
    // Ten halves: what is carried once is carried for good.
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::super::avx512::{LANES, load_u32, load_u64, store_u32};
    use super::{CLIENT_PORT, ETHERNET_BYTES, Found, Headers, IPV4_BYTES, MAC_MASK, UDP_BYTES_MIN};
    use crate::frame::{BURST_PKTS, Heads, Slots, WORD_TTL};
    use crate::wire::ipv4::PROTOCOL_UDP;
    use std::arch::x86_64::*;

    /// Slots of a vector.
    const GROUP: usize = 2 * LANES;

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn dwords(value: u32) -> __m512i {
        _mm512_set1_epi32(value.cast_signed())
    }

    /// Sixteen slots at a time.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn check(heads: &Heads, slots: Slots, count: usize, into: &mut Headers) -> Found {
        let mut found = Found::default();
        let mut longest = _mm512_setzero_si512();
        // Byte 3, then byte 2 of each word, and nothing else: the length, host order.
        let length = _mm512_broadcast_i32x4(_mm_set_epi8(
            -1, -1, 14, 15, -1, -1, 10, 11, -1, -1, 6, 7, -1, -1, 2, 3,
        ));
        // Each word the other way round.
        let swap = _mm512_broadcast_i32x4(_mm_set_epi8(
            12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
        ));
        for group in 0..count.div_ceil(GROUP).min(BURST_PKTS / GROUP) {
            let mut words = [_mm512_setzero_si512(); 5];
            for (word, column) in words.iter_mut().zip(&heads.words) {
                *word = load_u32(&column.as_chunks().0[group]);
            }
            let [first, fragment, ttl, source, destination] = words;
            let bytes = _mm512_shuffle_epi8(first, length);
            let frame_bytes = _mm512_add_epi32(bytes, dwords(ETHERNET_BYTES));
            let frame = load_u32(&heads.bytes.as_chunks().0[group]);
            let is_v4 =
                _mm512_cmpeq_epi32_mask(_mm512_and_si512(first, dwords(0xff)), dwords(0x45));
            let is_whole = _mm512_testn_epi32_mask(fragment, dwords(0xff3f_0000));
            let is_long = _mm512_cmpge_epu32_mask(bytes, dwords(IPV4_BYTES));
            let fits = _mm512_cmple_epu32_mask(frame_bytes, frame);
            let is_padded = _mm512_cmplt_epu32_mask(frame_bytes, frame);
            let lives = _mm512_cmpgt_epu32_mask(_mm512_and_si512(ttl, dwords(0xff)), dwords(1));
            let plain = is_v4
                & is_whole
                & is_long
                & fits
                & lives
                & are_sums_right(words)
                & !are_special(source, destination);
            let plain_here = plain & (slots >> (group * GROUP) & 0xffff) as u16;
            longest = _mm512_mask_max_epu32(longest, plain_here, longest, frame_bytes);
            found.plain |= Slots::from(plain_here) << (group * GROUP);
            found.padded |= Slots::from(plain_here & is_padded) << (group * GROUP);
            let store = |column: &mut [u32; BURST_PKTS], vector| {
                store_u32(&mut column.as_chunks_mut().0[group], vector);
            };
            store(&mut into.sources, _mm512_shuffle_epi8(source, swap));
            store(&mut into.destinations, _mm512_shuffle_epi8(destination, swap));
            store(&mut into.bytes, frame_bytes);
            store(&mut into.counted, counted_down(ttl));
        }
        found.longest = _mm512_reduce_max_epu32(longest);
        found
    }

    /// As [`super::is_sum_right`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn are_sums_right(words: [__m512i; 5]) -> __mmask16 {
        // Halves are multiplied as signed numbers: each is lowered by 0x8000 and so their sum by ten times that.
        let mut sum = dwords(10 * 0x8000);
        for word in words {
            let lowered = _mm512_xor_si512(word, dwords(0x8000_8000));
            sum = _mm512_add_epi32(sum, _mm512_madd_epi16(lowered, dwords(0x0001_0001)));
        }
        let folded =
            _mm512_add_epi32(_mm512_and_si512(sum, dwords(0xffff)), _mm512_srli_epi32::<16>(sum));
        _mm512_cmpeq_epi32_mask(folded, dwords(0xffff))
    }

    /// As [`super::is_special`], of the first byte of either address.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn are_special(source: __m512i, destination: __m512i) -> __mmask16 {
        // The first bytes of both side by side: (source & 0xff) | (destination << 8) & 0xff00.
        let high = _mm512_slli_epi32::<8>(destination);
        let both = _mm512_ternarylogic_epi32::<0xca>(dwords(0xff), source, high);
        // 0 and 224 to 255 are the same range, one lower; then the two that are alone.
        let ends = _mm512_sub_epi8(both, _mm512_set1_epi8(1));
        let bytes = |value: u8| _mm512_set1_epi8(value.cast_signed());
        let special = _mm512_cmpge_epu8_mask(ends, bytes(223))
            | _mm512_cmpeq_epi8_mask(both, bytes(127))
            | _mm512_cmpeq_epi8_mask(both, bytes(169));
        // A bit for each of the words, of which the lower two bytes count.
        _mm512_test_epi32_mask(_mm512_movm_epi8(special), dwords(0xffff))
    }

    /// As [`crate::wire::ipv4::counted_down`] does.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn counted_down(old: __m512i) -> __m512i {
        let sum = _mm512_add_epi32(_mm512_srli_epi32::<16>(old), dwords(1));
        let carries = _mm512_cmpge_epu32_mask(sum, dwords(0xffff));
        let sum = _mm512_mask_sub_epi32(sum, carries, sum, dwords(0xffff));
        let rest = _mm512_and_si512(_mm512_sub_epi32(old, dwords(1)), dwords(0xffff));
        _mm512_or_si512(rest, _mm512_slli_epi32::<16>(sum))
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn to_clients(heads: &Heads) -> Slots {
        (0..BURST_PKTS / GROUP).fold(0, |slots, group| {
            let ttl = load_u32(&heads.words[WORD_TTL].as_chunks().0[group]);
            let ports = load_u32(&heads.ports.as_chunks().0[group]);
            let bytes = load_u32(&heads.bytes.as_chunks().0[group]);
            let protocol = _mm512_and_si512(ttl, dwords(0xff00));
            let is_udp = _mm512_cmpeq_epi32_mask(protocol, dwords((PROTOCOL_UDP as u32) << 8));
            let to = _mm512_and_si512(ports, dwords(0xffff_0000));
            let is_to_client = _mm512_cmpeq_epi32_mask(to, dwords(CLIENT_PORT));
            let is_short = _mm512_cmplt_epu32_mask(bytes, dwords(UDP_BYTES_MIN));
            slots | Slots::from(is_udp & (is_to_client | is_short)) << (group * GROUP)
        })
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn to_mac(starts: &[u64; BURST_PKTS], mac: u64) -> Slots {
        let words = |value: u64| _mm512_set1_epi64(value.cast_signed());
        starts.as_chunks().0.iter().enumerate().fold(0, |slots, (group, start)| {
            let to = _mm512_and_si512(load_u64(start), words(MAC_MASK));
            slots | Slots::from(_mm512_cmpeq_epi64_mask(to, words(mac))) << (group * LANES)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::first_slots;
    use proptest::prelude::*;

    fn packet() -> impl Strategy<Value = (Vec<u8>, u32)> {
        let fields = (
            prop_oneof![9 => Just(0x45u8), 1 => any::<u8>()],
            prop_oneof![9 => 20u16..60, 1 => any::<u16>()],
            prop_oneof![4 => Just(0u16), 4 => Just(0x4000), 1 => any::<u16>()],
            prop_oneof![4 => 2u8..=255, 1 => 0u8..3],
            prop_oneof![Just(17u8), Just(6u8), any::<u8>()],
            any::<[u8; 4]>(),
            any::<[u8; 4]>(),
            prop_oneof![9 => Just(0u16), 1 => any::<u16>()],
            0u32..64,
        );
        fields.prop_map(|(version, bytes, fragment, ttl, protocol, from, to, wrong, padding)| {
            let mut head = vec![0u8; 20];
            head[0] = version;
            head[2..4].copy_from_slice(&bytes.to_be_bytes());
            head[6..8].copy_from_slice(&fragment.to_be_bytes());
            (head[8], head[9]) = (ttl, protocol);
            head[12..16].copy_from_slice(&from);
            head[16..20].copy_from_slice(&to);
            let sum = crate::wire::checksum::internet(&head) ^ wrong;
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            // Sometimes shorter than it says.
            (head, (u32::from(bytes) + padding).saturating_sub(10))
        })
    }

    fn columns(packets: &[(Vec<u8>, u32)]) -> Heads {
        let mut heads = Heads::default();
        for (slot, (head, bytes)) in packets.iter().enumerate() {
            for (column, word) in heads.words.iter_mut().zip(head.as_chunks().0) {
                column[slot] = u32::from_le_bytes(*word);
            }
            heads.bytes[slot] = *bytes;
        }
        heads
    }

    proptest! {
        #[test]
        fn many_at_once_find_what_one_after_another_does(
            packets in prop::collection::vec(packet(), BURST_PKTS),
            slots in any::<Slots>(),
            count in 0..=BURST_PKTS,
        ) {
            let heads = columns(&packets);
            let mut heads = heads;
            heads.ports = heads.words[WORD_TTL].map(|word| word << 30 >> 6 | word & 1);
            let present = first_slots(count);
            let is_to_client = to_clients(&heads, count) & present;
            prop_assert_eq!(is_to_client, to_clients_each(&heads, count) & present);
            heads.to = heads.words[WORD_SOURCE].map(|word| u64::from(word & 1) << 40 | u64::from(word & 2) << 60);
            let mac = heads.to[5] & MAC_MASK;
            let is_to_mac = to_mac(&heads.to, count, mac) & present;
            prop_assert_eq!(is_to_mac, to_mac_each(&heads.to[..count], mac));
            let (mut one, mut all) = (Headers::default(), Headers::default());
            let slots = slots & present;
            let found = check_each(&heads, slots, count, &mut one);
            prop_assert_eq!(check(&heads, slots, count, &mut all), found);
            for slot in (0..BURST_PKTS).filter(|slot| found.plain >> slot & 1 != 0) {
                prop_assert_eq!(all.sources[slot], one.sources[slot]);
                prop_assert_eq!(all.destinations[slot], one.destinations[slot]);
                prop_assert_eq!(all.bytes[slot], one.bytes[slot]);
                prop_assert_eq!(all.counted[slot], one.counted[slot]);
            }
        }

        #[test]
        fn a_plain_header_is_right_by_the_parser(packets in prop::collection::vec(packet(), BURST_PKTS)) {
            let heads = columns(&packets);
            let mut headers = Headers::default();
            let found = check(&heads, Slots::MAX, BURST_PKTS, &mut headers);
            for (slot, (head, bytes)) in packets.iter().enumerate() {
                let present = (*bytes as usize).saturating_sub(HEADER_BYTES);
                let parsed = ipv4::Ipv4::parse(head, present, crate::frame::ChecksumState::Unknown);
                if found.plain >> slot & 1 != 0 {
                    let parsed = parsed.unwrap();
                    prop_assert_eq!(parsed.source, headers.sources[slot]);
                    prop_assert_eq!(parsed.destination, headers.destinations[slot]);
                    prop_assert_eq!(u32::from(parsed.total_bytes) + ETHERNET_BYTES, headers.bytes[slot]);
                    let mut counted = head.clone();
                    ipv4::decrement_ttl(&mut counted);
                    prop_assert_eq!(&counted[8..12], headers.counted[slot].to_le_bytes());
                } else if let Ok(parsed) = parsed {
                    let is_odd = parsed.has_options() || parsed.is_fragment() || parsed.ttl < 2
                        || is_special(head[12]) || is_special(head[16]);
                    prop_assert!(is_odd, "{:?}", head);
                }
            }
        }
    }
}
