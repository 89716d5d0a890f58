//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// Sums `bytes` as big-endian words, an odd last byte padded with zero, not yet folded. Sums of
/// pieces add up where each piece but the last has an even length.
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    // 32-bit words in a 64-bit sum: 2^16 is 1 modulo 0xffff, so wider words fold to the same value
    // (RFC 1071, section 2 C), and 2^32 of them fit before the sum can overflow.
    let (words, rest) = bytes.as_chunks::<4>();
    let body: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut tail = [0; 4];
    tail[..rest.len()].copy_from_slice(rest);
    body + u64::from(u32::from_be_bytes(tail))
}

/// Folds a sum to 16 bits with end-around carry; 0 only where every byte summed was 0.
#[inline]
pub fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    low_word(sum)
}

/// The checksum of `bytes`. Over data that holds its own right checksum it is 0.
#[inline]
pub fn internet(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The checksum after one word that it covers changed from `old_word` to `new_word`, by RFC 1624's
/// equation 3, `HC' = ~(~HC + ~m + m')`. Unlike RFC 1141's it gives 0x0000 where the full sum
/// does, and 0xffff only where all data is 0, which no IP header is.
#[inline]
pub fn update(old_checksum: u16, old_word: u16, new_word: u16) -> u16 {
    !fold(u64::from(!old_checksum) + u64::from(!old_word) + u64::from(new_word))
}

#[inline]
fn low_word(value: u64) -> u16 {
    let [.., high, low] = value.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_1071_section_3_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), 0xddf2);
        assert_eq!(internet(&bytes), !0xddf2);
    }

    #[test]
    fn rfc_1624_section_4_example() {
        // HC = 0xdd2f, m = 0x5555, m' = 0x3285: RFC 1141 gives 0xffff, the right answer is 0.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn an_odd_byte_is_the_high_half_of_a_word() {
        assert_eq!(internet(&[0x12, 0x34, 0x56]), internet(&[0x12, 0x34, 0x56, 0]));
        assert_eq!(internet(&[]), 0xffff);
    }

    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(!sum & 0xffff).unwrap()
    }

    proptest! {
        #[test]
        fn equals_the_naive_sum(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(internet(&bytes), naive(&bytes));
        }

        #[test]
        fn fold_keeps_the_value_modulo_0xffff(sum: u64) {
            prop_assert_eq!(u64::from(fold(sum)) % 0xffff, sum % 0xffff);
            prop_assert_eq!(fold(sum) == 0, sum == 0);
        }

        #[test]
        fn update_equals_the_full_sum(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 2..60),
            at: prop::sample::Index,
            new in prop_oneof![Just(0u16), Just(0xffff), any::<u16>()],
        ) {
            let mut words: Vec<[u8; 2]> = bytes.as_chunks::<2>().0.to_vec();
            words.push([0x45, 0]); // an IP header is never all zero
            let at = at.index(words.len() - 1);
            let before = internet(words.as_flattened());
            let old = u16::from_be_bytes(words[at]);
            words[at] = new.to_be_bytes();
            prop_assert_eq!(update(before, old, new), internet(words.as_flattened()));
        }
    }
}
