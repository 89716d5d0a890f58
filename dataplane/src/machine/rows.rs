//! Rows of the adjacency table for a burst, read all together.

use crate::frame::BURST_PKTS;
use std::sync::atomic::{AtomicU64, Ordering};

/// A row as it lies in the table: half a cache line.
pub(crate) type Row = [u64; 4];

/// Reads the rows of the first `count` numbers; one that is not there reads as row 0, which holds nothing.
/// Writes the bits in which any differs from the first, too. Rows behind are undefined.
#[inline]
pub(crate) fn read(
    table: &[[AtomicU64; 4]],
    numbers: &[u32; BURST_PKTS],
    count: usize,
    into: &mut [Row; BURST_PKTS],
    differs: &mut Row,
) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::is_for_vectors(count) && !table.is_empty() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::read(table, numbers, count, into, differs) };
    }
    read_each(table, numbers, count, into, differs);
}

/// The same word by word.
fn read_each(
    table: &[[AtomicU64; 4]],
    numbers: &[u32; BURST_PKTS],
    count: usize,
    into: &mut [Row; BURST_PKTS],
    differs: &mut Row,
) {
    let mut first = None;
    *differs = [0; 4];
    for (number, into) in numbers.iter().zip(into).take(count) {
        let row = table.get(*number as usize).or(table.first());
        *into = row.map_or([0; 4], |row| row.each_ref().map(|it| it.load(Ordering::Relaxed)));
        let first = first.get_or_insert(*into);
        for ((differs, first), word) in differs.iter_mut().zip(first).zip(into) {
            *differs |= *first ^ *word;
        }
    }
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::super::avx512::{load_u32, store_u32};
    use super::Row;
    use crate::frame::{BURST_PKTS, first_slots};
    use std::arch::x86_64::*;
    use std::hint::black_box;
    use std::sync::atomic::AtomicU64;

    /// Numbers of a vector.
    const GROUP: usize = 16;
    /// Rows read without a look at the count.
    const STEP: usize = 8;

    /// A row at a stroke: each of its words is read whole, as they are aligned. The table is not empty.
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn read(
        table: &[[AtomicU64; 4]],
        numbers: &[u32; BURST_PKTS],
        count: usize,
        into: &mut [Row; BURST_PKTS],
        differs: &mut Row,
    ) {
        let limit = u32::try_from(table.len()).unwrap_or(u32::MAX).cast_signed();
        // Behind the burst the first stands again, so that nothing differs there.
        let first = _mm512_set1_epi32(numbers[0].cast_signed());
        let slots = first_slots(count);
        let mut inside = [0; BURST_PKTS];
        let groups = numbers.as_chunks().0.iter().zip(inside.as_chunks_mut().0).enumerate();
        for (group, (numbers, inside)) in groups.take(count.div_ceil(GROUP)) {
            let here = (slots >> (group * GROUP) & 0xffff) as u16;
            let numbers = _mm512_mask_mov_epi32(first, here, load_u32(numbers));
            let is_inside = _mm512_cmplt_epu32_mask(numbers, _mm512_set1_epi32(limit));
            store_u32(inside, _mm512_maskz_mov_epi32(is_inside, numbers));
        }
        // In memory, where each is one load away.
        let inside = black_box(&inside);
        // SAFETY: each number is less than the table is long, or 0.
        let row = |number: u32| unsafe { table.get_unchecked(number as usize) }.as_ptr().cast();
        // SAFETY: four words of the table; any alignment will do.
        let first = unsafe { _mm256_loadu_si256(row(inside[0])) };
        let mut differ = _mm256_setzero_si256();
        let steps = inside.as_chunks::<STEP>().0.iter().zip(into.as_chunks_mut::<STEP>().0);
        for (numbers, into) in steps.take(count.div_ceil(STEP)) {
            for (number, into) in numbers.iter().zip(into) {
                // SAFETY: as above, and four words of the array.
                unsafe {
                    let row = _mm256_loadu_si256(row(*number));
                    _mm256_storeu_si256(into.as_mut_ptr().cast(), row);
                    // differ | (first ^ row)
                    differ = _mm256_ternarylogic_epi64::<0xf6>(differ, first, row);
                }
            }
        }
        // SAFETY: four words of the array.
        unsafe { _mm256_storeu_si256(differs.as_mut_ptr().cast(), differ) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_at_once_are_what_one_after_another_are(
            words in prop::collection::vec(any::<Row>(), 0..64),
            numbers in prop::collection::vec(prop_oneof![9 => 0u32..64, 1 => any::<u32>()], BURST_PKTS),
            count in 0..=BURST_PKTS,
            is_one in any::<bool>(),
        ) {
            let rows: Vec<_> = words.iter().map(|row| row.map(AtomicU64::new)).collect();
            let numbers: [u32; BURST_PKTS] = numbers.try_into().unwrap();
            let numbers = if is_one { [numbers[0]; BURST_PKTS] } else { numbers };
            let (mut one, mut all) = ([[1; 4]; BURST_PKTS], [[1; 4]; BURST_PKTS]);
            let (mut differ, mut differ_all) = ([1; 4], [1; 4]);
            read_each(&rows, &numbers, count, &mut one, &mut differ);
            read(&rows, &numbers, count, &mut all, &mut differ_all);
            prop_assert_eq!(differ, differ_all);
            prop_assert_eq!(&one[..count], &all[..count]);
            for (number, row) in numbers.iter().zip(one).take(count) {
                let expected = words.get(*number as usize).or(words.first());
                prop_assert_eq!(row, expected.copied().unwrap_or_default());
            }
        }
    }
}
