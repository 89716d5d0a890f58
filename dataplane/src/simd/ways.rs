//! Rows of the adjacency table for a burst, read all together.

use crate::frame::{BURST_PKTS, Slots};
use std::sync::atomic::AtomicU64;

/// The first three words of as many rows, a column each.
pub(crate) type Columns = [[u64; BURST_PKTS]; 3];

/// Reads rows by their numbers; one that is not there reads as 0.
#[inline]
pub(crate) fn read(rows: &[[AtomicU64; 4]], numbers: &[u32; BURST_PKTS], into: &mut Columns) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::read(rows, numbers, into) };
    }
    read_each(rows, numbers, into);
}

/// The same, one after another.
fn read_each(rows: &[[AtomicU64; 4]], numbers: &[u32; BURST_PKTS], into: &mut Columns) {
    for (slot, number) in numbers.iter().enumerate() {
        let row = rows.get(*number as usize);
        for (word, column) in into.iter_mut().enumerate() {
            column[slot] = row.map_or(0, |row| row[word].load(std::sync::atomic::Ordering::Relaxed));
        }
    }
}

/// What [`forwarding`] asks of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// What the top byte of the first word has to be.
    pub(crate) kind: u8,
    /// What the upper 16 bits of the second word may not be.
    pub(crate) not: u16,
}

/// Slots whose row is of the kind that is asked for, not of the port that is not, has no tag (the low 16 bits
/// of the third word) and takes so many bytes (the next 16).
#[inline]
pub(crate) fn forwarding(
    rows: &Columns,
    question: Question,
    bytes: &[u32; BURST_PKTS],
) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::forwarding(rows, question, bytes) };
    }
    forwarding_each(rows, question, bytes)
}

fn forwarding_each(rows: &Columns, question: Question, bytes: &[u32; BURST_PKTS]) -> Slots {
    let [first, second, third] = rows;
    let columns = first.iter().zip(second).zip(third).zip(bytes);
    columns.enumerate().fold(0, |slots, (slot, (((first, second), third), bytes))| {
        let passes = first >> 56 == question.kind.into()
            && second >> 48 != question.not.into()
            && third & 0xffff == 0
            && u64::from(*bytes) <= third >> 16 & 0xffff;
        slots | u32::from(passes) << slot
    })
}

/// Slots whose second word has these upper 16 bits.
#[inline]
pub(crate) fn by(rows: &Columns, port: u16) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::by(rows, port) };
    }
    by_each(rows, port)
}

fn by_each(rows: &Columns, port: u16) -> Slots {
    let bit = |(slot, word): (usize, &u64)| u32::from(word >> 48 == port.into()) << slot;
    rows[1].iter().enumerate().map(bit).fold(0, |all, one| all | one)
}

/// Slots whose number is this.
#[inline]
pub(crate) fn equal(numbers: &[u32; BURST_PKTS], number: u32) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::equal(numbers, number) };
    }
    equal_each(numbers, number)
}

fn equal_each(numbers: &[u32; BURST_PKTS], number: u32) -> Slots {
    let bit = |(slot, it): (usize, &u32)| u32::from(*it == number) << slot;
    numbers.iter().enumerate().map(bit).fold(0, |all, one| all | one)
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::super::avx512::{LANES, gather_rows, load_half, load_u32, load_u64, store_u64};
    use super::{Columns, Question};
    use crate::frame::{BURST_PKTS, Slots};
    use std::arch::x86_64::*;
    use std::sync::atomic::AtomicU64;

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn forwarding(
        rows: &Columns,
        question: Question,
        bytes: &[u32; BURST_PKTS],
    ) -> Slots {
        let words = |value: u64| _mm512_set1_epi64(value.cast_signed());
        let (kind, not) = (words(question.kind.into()), words(question.not.into()));
        let [first, second, third] = rows;
        let columns = [first, second, third].map(|column| column.as_chunks::<LANES>().0);
        let bytes = bytes.as_chunks::<LANES>().0;
        let mut slots = 0;
        for group in 0..BURST_PKTS / LANES {
            let [first, second, third] = columns.map(|column| load_u64(&column[group]));
            let bytes = _mm512_cvtepu32_epi64(load_half(&bytes[group]));
            let mtu = _mm512_and_si512(_mm512_srli_epi64::<16>(third), words(0xffff));
            let passes = _mm512_cmpeq_epi64_mask(_mm512_srli_epi64::<56>(first), kind)
                & _mm512_cmpneq_epi64_mask(_mm512_srli_epi64::<48>(second), not)
                & _mm512_testn_epi64_mask(third, words(0xffff))
                & _mm512_cmple_epu64_mask(bytes, mtu);
            slots |= u32::from(passes) << (group * LANES);
        }
        slots
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn by(rows: &Columns, port: u16) -> Slots {
        let port = _mm512_set1_epi64(port.into());
        let groups = rows[1].as_chunks::<LANES>().0;
        groups.iter().enumerate().fold(0, |slots, (group, words)| {
            let is = _mm512_cmpeq_epi64_mask(_mm512_srli_epi64::<48>(load_u64(words)), port);
            slots | u32::from(is) << (group * LANES)
        })
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn equal(numbers: &[u32; BURST_PKTS], number: u32) -> Slots {
        let number = _mm512_set1_epi32(number.cast_signed());
        let groups = numbers.as_chunks::<{ 2 * LANES }>().0;
        groups.iter().enumerate().fold(0, |slots, (group, words)| {
            let is = _mm512_cmpeq_epi32_mask(load_u32(words), number);
            slots | u32::from(is) << (group * 2 * LANES)
        })
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn read(rows: &[[AtomicU64; 4]], numbers: &[u32; BURST_PKTS], into: &mut Columns) {
        let groups = numbers.as_chunks::<LANES>().0;
        let [first, second, third] = into;
        let columns = [first, second, third].map(|column| column.as_chunks_mut::<LANES>().0);
        for (word, column) in columns.into_iter().enumerate() {
            for (numbers, into) in groups.iter().zip(column) {
                store_u64(into, gather_rows(rows, load_half(numbers), word));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few kinds, ports, tags and sizes, so that each is met.
    fn row() -> impl Strategy<Value = [u64; 4]> {
        (0u64..3, 0u64..3, 0u64..256, 0u64..2, any::<u32>()).prop_map(|(kind, port, mtu, tag, rest)| {
            let rest = u64::from(rest);
            [kind << 56 | rest, port << 48 | rest, rest << 32 | mtu << 16 | tag, rest]
        })
    }

    proptest! {
        #[test]
        fn many_at_once_are_what_one_after_another_are(
            words in prop::collection::vec(row(), 0..64),
            numbers in prop::collection::vec(prop_oneof![9 => 0u32..64, 1 => any::<u32>()], BURST_PKTS),
        ) {
            let rows: Vec<_> = words.iter().map(|row| row.map(AtomicU64::new)).collect();
            let numbers: [u32; BURST_PKTS] = numbers.try_into().unwrap();
            let (mut one, mut all) = ([[1; BURST_PKTS]; 3], [[2; BURST_PKTS]; 3]);
            read_each(&rows, &numbers, &mut one);
            read(&rows, &numbers, &mut all);
            prop_assert_eq!(one, all);
            for port in [0, 1, 2] {
                let bytes = numbers.map(|number| number & 0xff);
                let question = Question { kind: port as u8, not: port };
                prop_assert_eq!(
                    forwarding_each(&one, question, &bytes),
                    forwarding(&one, question, &bytes)
                );
                prop_assert_eq!(by_each(&one, port), by(&one, port));
                prop_assert_eq!(equal_each(&numbers, port.into()), equal(&numbers, port.into()));
            }
        }
    }
}
