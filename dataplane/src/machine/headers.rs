//! IPv4 headers of a burst, checked all together.

use crate::frame::{BURST_PKTS, Heads, Slots};
use crate::wire::ethernet::HEADER_BYTES;
use crate::wire::ipv4::{self, PROTOCOL_UDP};

/// What is read from the headers, a column each. Valid for the slots that [`check`] answers.
pub(crate) struct Headers {
    /// Destination, then source addresses, host order.
    pub(crate) destinations: [u32; BURST_PKTS],
    /// Likewise.
    pub(crate) sources: [u32; BURST_PKTS],
    /// Bytes of the packet, Ethernet padding left out.
    pub(crate) bytes: [u32; BURST_PKTS],
}

impl Default for Headers {
    fn default() -> Self {
        let zero = [0; BURST_PKTS];
        Self { destinations: zero, sources: zero, bytes: zero }
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
    /// Bytes of the longest of those packets.
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

/// Checks the headers of the given slots.
#[inline]
pub(crate) fn check(heads: &Heads, slots: Slots, into: &mut Headers) -> Found {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::check(heads, slots, into) };
    }
    check_each(heads, slots, into)
}

/// The same, one after another.
fn check_each(heads: &Heads, slots: Slots, into: &mut Headers) -> Found {
    let mut found = Found::default();
    for slot in (0..BURST_PKTS).filter(|slot| slots >> slot & 1 != 0) {
        let (start, middle, ends) = (heads.start[slot], heads.middle[slot], heads.ends[slot]);
        // Version 4 and five words; neither fragment offset nor more fragments.
        let is_whole = start & 0xff3f_0000_0000_00ff == 0x45;
        let [_, _, high, low, ..] = start.to_le_bytes();
        let bytes = u32::from(u16::from_be_bytes([high, low]));
        let frame_bytes = bytes + ETHERNET_BYTES;
        let [ttl, ..] = middle.to_le_bytes();
        let [a, _, _, _, e, ..] = ends.to_le_bytes();
        let is_plain = is_whole
            && bytes >= IPV4_BYTES
            && frame_bytes <= heads.bytes[slot]
            && ttl > 1
            && !is_special(a)
            && !is_special(e)
            && is_sum_right(start, middle, ends);
        if is_plain {
            found.plain |= 1 << slot;
            found.padded |= u32::from(frame_bytes < heads.bytes[slot]) << slot;
            into.sources[slot] = u32::from_be((ends & 0xffff_ffff) as u32);
            into.destinations[slot] = u32::from_be((ends >> 32) as u32);
            into.bytes[slot] = bytes;
            found.longest = found.longest.max(bytes);
        }
    }
    found
}

/// UDP packets to a DHCP client's port, or too short for a UDP header and a byte.
#[inline]
pub(crate) fn to_clients(heads: &Heads) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::to_clients(heads) };
    }
    to_clients_each(heads)
}

/// Port 68 as it lies behind the header, in its upper half.
const CLIENT_PORT: u32 = 0x4400 << 16;
/// Bytes of a frame with a UDP header and a byte behind it.
const UDP_BYTES_MIN: u32 = ETHERNET_BYTES + IPV4_BYTES + 8 + 1;

fn to_clients_each(heads: &Heads) -> Slots {
    (0..BURST_PKTS).fold(0, |slots, slot| {
        let is_udp = heads.middle[slot] >> 8 & 0xff == PROTOCOL_UDP.into();
        let is_to_client = heads.ports[slot] & 0xffff_0000 == CLIENT_PORT;
        let is_short = heads.bytes[slot] < UDP_BYTES_MIN;
        slots | u32::from(is_udp && (is_to_client || is_short)) << slot
    })
}

/// Frames whose first 48 bits are these.
#[inline]
pub(crate) fn to_mac(starts: &[u64; BURST_PKTS], mac: u64) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::to_mac(starts, mac) };
    }
    to_mac_each(starts, mac)
}

/// The low 48 bits: the first MAC of a frame whose first word it is.
pub(crate) const MAC_MASK: u64 = (1 << 48) - 1;

fn to_mac_each(starts: &[u64; BURST_PKTS], mac: u64) -> Slots {
    let bit = |(slot, start): (usize, &u64)| u32::from(start & MAC_MASK == mac) << slot;
    starts.iter().enumerate().map(bit).fold(0, |all, one| all | one)
}

/// The third words of headers when a router has counted their TTL, which is not 0, down.
#[inline]
pub(crate) fn count_down(middle: &[u32; BURST_PKTS], into: &mut [u32; BURST_PKTS]) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::count_down(middle, into) };
    }
    count_down_each(middle, into);
}

fn count_down_each(middle: &[u32; BURST_PKTS], into: &mut [u32; BURST_PKTS]) {
    into.iter_mut().zip(middle).for_each(|(into, word)| *into = ipv4::counted_down(*word));
}

/// Whether a header's words add up to a multiple of 0xffff (RFC 1071: in any byte order). They are
/// not all 0.
#[inline]
fn is_sum_right(start: u64, middle: u32, ends: u64) -> bool {
    let halves = |word: u64| (word & 0xffff_ffff) + (word >> 32);
    let sum = halves(start) + u64::from(middle) + halves(ends);
    // Divisible by an odd number: the product with its inverse modulo 2^64 is the quotient (Granlund,
    // Montgomery, "Division by invariant integers using multiplication", PLDI 1994, section 9).
    sum.wrapping_mul(INVERSE) <= u64::MAX / 0xffff
}

/// Of 0xffff modulo 2^64.
const INVERSE: u64 = {
    let mut inverse = 1u64;
    let mut round = 0;
    // Newton: each round doubles the bits that are right.
    while round < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(inverse.wrapping_mul(0xffff)));
        round += 1;
    }
    inverse
};

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::super::avx512::{LANES, load_half, load_u32, load_u64, store_u32};
    use super::{
        CLIENT_PORT, ETHERNET_BYTES, Found, Headers, INVERSE, IPV4_BYTES, MAC_MASK, UDP_BYTES_MIN,
    };
    use crate::frame::{BURST_PKTS, Heads, Slots};
    use crate::wire::ipv4::PROTOCOL_UDP;
    use std::arch::x86_64::*;

    /// Eight slots at a time.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn check(heads: &Heads, slots: Slots, into: &mut Headers) -> Found {
        let mut found = Found::default();
        let mut longest = _mm512_setzero_si512();
        let words = |value: u64| _mm512_set1_epi64(value.cast_signed());
        let low_half = words(0xffff_ffff);
        // Byte 3, then byte 2 of each word, and nothing else: the length, host order.
        let each = |odd: u64, even: u64| {
            _mm512_broadcast_i32x4(_mm_set_epi64x(odd.cast_signed(), even.cast_signed()))
        };
        let length = each(0x8080_8080_8080_0a0b, 0x8080_8080_8080_0203);
        // Each address the other way round.
        let swap = each(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let starts = heads.start.as_chunks::<LANES>().0;
        let middles = heads.middle.as_chunks::<LANES>().0;
        let ends = heads.ends.as_chunks::<LANES>().0;
        let lens = heads.bytes.as_chunks::<LANES>().0;
        let even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
        let odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
        let mut addresses = [_mm512_setzero_si512(); 2];
        let mut sizes = addresses;
        let sources = into.sources.as_chunks_mut().0;
        let destinations = into.destinations.as_chunks_mut().0;
        let packets = into.bytes.as_chunks_mut().0;
        for group in 0..starts.len() {
            let shift = group * LANES;
            let start = load_u64(&starts[group]);
            let middle = _mm512_cvtepu32_epi64(load_half(&middles[group]));
            let end = load_u64(&ends[group]);
            let len = _mm512_cvtepu32_epi64(load_half(&lens[group]));
            let sum = _mm512_add_epi64(
                _mm512_add_epi64(
                    _mm512_add_epi64(
                        _mm512_and_si512(start, low_half),
                        _mm512_srli_epi64::<32>(start),
                    ),
                    _mm512_add_epi64(_mm512_and_si512(end, low_half), _mm512_srli_epi64::<32>(end)),
                ),
                middle,
            );
            let quotient = _mm512_mullo_epi64(sum, words(INVERSE));
            let is_sum_right = _mm512_cmple_epu64_mask(quotient, words(u64::MAX / 0xffff));
            let is_whole = _mm512_cmpeq_epi64_mask(
                _mm512_and_si512(start, words(0xff3f_0000_0000_00ff)),
                words(0x45),
            );
            let bytes = _mm512_shuffle_epi8(start, length);
            let frame_bytes = _mm512_add_epi64(bytes, words(ETHERNET_BYTES.into()));
            let is_long = _mm512_cmpge_epu64_mask(bytes, words(IPV4_BYTES.into()));
            let fits = _mm512_cmple_epu64_mask(frame_bytes, len);
            let is_padded = _mm512_cmplt_epu64_mask(frame_bytes, len);
            let lives = _mm512_cmpgt_epu64_mask(_mm512_and_si512(middle, words(0xff)), words(1));
            // 0 and 224 to 255 are the same range, one lower; then the two that are alone. Of the
            // addresses' bytes only the first of each counts.
            let high = _mm512_cmpge_epu8_mask(
                _mm512_sub_epi8(end, _mm512_set1_epi8(1)),
                _mm512_set1_epi8(223u8.cast_signed()),
            );
            let lone = _mm512_cmpeq_epi8_mask(end, _mm512_set1_epi8(127))
                | _mm512_cmpeq_epi8_mask(end, _mm512_set1_epi8(169u8.cast_signed()));
            let special = (high | lone) & 0x1111_1111_1111_1111;
            let mut plain = is_sum_right & is_whole & is_long & fits & lives;
            if special != 0 {
                plain &= !of_words(special);
            }
            longest = _mm512_mask_max_epu64(
                longest,
                plain & (slots >> shift & 0xff) as u8,
                longest,
                bytes,
            );
            found.plain |= u32::from(plain) << shift;
            found.padded |= u32::from(is_padded & plain) << shift;
            addresses[group % 2] = _mm512_shuffle_epi8(end, swap);
            sizes[group % 2] = bytes;
            if group % 2 == 1 {
                // Whole vectors: a load of what two stores have written waits until both have reached the
                // cache.
                let pair = group / 2;
                store_u32(
                    &mut sources[pair],
                    _mm512_permutex2var_epi32(addresses[0], even, addresses[1]),
                );
                store_u32(
                    &mut destinations[pair],
                    _mm512_permutex2var_epi32(addresses[0], odd, addresses[1]),
                );
                store_u32(&mut packets[pair], _mm512_permutex2var_epi32(sizes[0], even, sizes[1]));
            }
        }
        found.longest = u32::try_from(_mm512_reduce_max_epu64(longest)).unwrap_or(u32::MAX);
        found.plain &= slots;
        found.padded &= slots;
        found
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn to_clients(heads: &Heads) -> Slots {
        let dwords = |value: u32| _mm512_set1_epi32(value.cast_signed());
        let columns =
            [&heads.middle, &heads.ports, &heads.bytes].map(|column| column.as_chunks().0);
        (0..BURST_PKTS / (2 * LANES)).fold(0, |slots, group| {
            let [middle, ports, bytes] = columns.map(|column| load_u32(&column[group]));
            let protocol = _mm512_and_si512(middle, dwords(0xff00));
            let is_udp = _mm512_cmpeq_epi32_mask(protocol, dwords((PROTOCOL_UDP as u32) << 8));
            let to = _mm512_and_si512(ports, dwords(0xffff_0000));
            let is_to_client = _mm512_cmpeq_epi32_mask(to, dwords(CLIENT_PORT));
            let is_short = _mm512_cmplt_epu32_mask(bytes, dwords(UDP_BYTES_MIN));
            slots | u32::from(is_udp & (is_to_client | is_short)) << (group * 2 * LANES)
        })
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn to_mac(starts: &[u64; BURST_PKTS], mac: u64) -> Slots {
        let words = |value: u64| _mm512_set1_epi64(value.cast_signed());
        starts.as_chunks().0.iter().enumerate().fold(0, |slots, (group, start)| {
            let to = _mm512_and_si512(load_u64(start), words(MAC_MASK));
            slots | u32::from(_mm512_cmpeq_epi64_mask(to, words(mac))) << (group * LANES)
        })
    }

    /// As [`ipv4::counted_down`] does.
    #[target_feature(enable = "avx512f")]
    pub(super) fn count_down(middle: &[u32; BURST_PKTS], into: &mut [u32; BURST_PKTS]) {
        let dwords = |value: u32| _mm512_set1_epi32(value.cast_signed());
        for (middle, into) in middle.as_chunks().0.iter().zip(into.as_chunks_mut().0) {
            let old = load_u32(middle);
            let sum = _mm512_add_epi32(_mm512_srli_epi32::<16>(old), dwords(1));
            let carries = _mm512_cmpge_epu32_mask(sum, dwords(0xffff));
            let sum = _mm512_mask_sub_epi32(sum, carries, sum, dwords(0xffff));
            let rest = _mm512_and_si512(_mm512_sub_epi32(old, dwords(1)), dwords(0xffff));
            store_u32(into, _mm512_or_si512(rest, _mm512_slli_epi32::<16>(sum)));
        }
    }

    /// A bit for each word of eight of which a byte is marked.
    #[cold]
    fn of_words(mut bytes: u64) -> u8 {
        let mut words = 0;
        while bytes != 0 {
            words |= 1 << (bytes.trailing_zeros() / 8);
            bytes &= bytes - 1;
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            heads.start[slot] = u64::from_le_bytes(head[..8].try_into().unwrap());
            heads.middle[slot] = u32::from_le_bytes(head[8..12].try_into().unwrap());
            heads.ends[slot] = u64::from_le_bytes(head[12..20].try_into().unwrap());
            heads.bytes[slot] = *bytes;
        }
        heads
    }

    proptest! {
        #[test]
        fn many_at_once_find_what_one_after_another_does(
            packets in prop::collection::vec(packet(), BURST_PKTS),
            slots in any::<u32>(),
        ) {
            let heads = columns(&packets);
            let mut heads = heads;
            heads.ports = heads.middle.map(|word| word << 30 >> 6 | word & 1);
            prop_assert_eq!(to_clients(&heads), to_clients_each(&heads));
            let mac = heads.start[5] & MAC_MASK;
            prop_assert_eq!(to_mac(&heads.start, mac), to_mac_each(&heads.start, mac));
            let (mut one, mut all) = (Headers::default(), Headers::default());
            let found = check_each(&heads, slots, &mut one);
            prop_assert_eq!(check(&heads, slots, &mut all), found);
            for slot in (0..BURST_PKTS).filter(|slot| found.plain >> slot & 1 != 0) {
                prop_assert_eq!(all.sources[slot], one.sources[slot]);
                prop_assert_eq!(all.destinations[slot], one.destinations[slot]);
                prop_assert_eq!(all.bytes[slot], one.bytes[slot]);
            }
        }

        #[test]
        fn a_plain_header_is_right_by_the_parser(packets in prop::collection::vec(packet(), BURST_PKTS)) {
            let heads = columns(&packets);
            let mut headers = Headers::default();
            let found = check(&heads, Slots::MAX, &mut headers);
            let (mut down, mut each) = ([0; BURST_PKTS], [0; BURST_PKTS]);
            count_down(&heads.middle, &mut down);
            count_down_each(&heads.middle, &mut each);
            prop_assert_eq!(down, each);
            for (slot, (head, bytes)) in packets.iter().enumerate() {
                let present = (*bytes as usize).saturating_sub(HEADER_BYTES);
                let parsed = ipv4::Ipv4::parse(head, present, crate::frame::ChecksumState::Unknown);
                if found.plain >> slot & 1 != 0 {
                    let parsed = parsed.unwrap();
                    prop_assert_eq!(parsed.source, headers.sources[slot]);
                    prop_assert_eq!(parsed.destination, headers.destinations[slot]);
                    prop_assert_eq!(u32::from(parsed.total_bytes), headers.bytes[slot]);
                    let mut counted = head.clone();
                    ipv4::decrement_ttl(&mut counted);
                    prop_assert_eq!(&counted[8..12], down[slot].to_le_bytes());
                } else if let Ok(parsed) = parsed {
                    let is_odd = parsed.has_options() || parsed.is_fragment() || parsed.ttl < 2
                        || is_special(head[12]) || is_special(head[16]);
                    prop_assert!(is_odd, "{:?}", head);
                }
            }
        }
    }
}
