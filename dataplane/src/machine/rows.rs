//! Rows of the adjacency table for a burst, read all together.

use std::sync::atomic::{AtomicU64, Ordering};

/// A row as it lies in the table: half a cache line.
pub(crate) type Row = [u64; 4];

/// Reads as many rows as there are numbers; one that is not there reads as 0. Answers the bits in which any
/// differs from the first.
#[inline]
pub(crate) fn read<'a>(
    table: &[[AtomicU64; 4]],
    numbers: &[u32],
    into: impl Iterator<Item = &'a mut Row>,
) -> Row {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::read(table, numbers, into) };
    }
    read_each(table, numbers, into)
}

/// The same word by word.
fn read_each<'a>(
    table: &[[AtomicU64; 4]],
    numbers: &[u32],
    into: impl Iterator<Item = &'a mut Row>,
) -> Row {
    let mut first = None;
    let mut differs = [0; 4];
    for (number, into) in numbers.iter().zip(into) {
        let row = table.get(*number as usize);
        *into = row.map_or([0; 4], |row| row.each_ref().map(|it| it.load(Ordering::Relaxed)));
        let first = first.get_or_insert(*into);
        for ((differs, first), word) in differs.iter_mut().zip(first).zip(into) {
            *differs |= *first ^ *word;
        }
    }
    differs
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::Row;
    use std::arch::x86_64::*;
    use std::sync::atomic::AtomicU64;

    static NO_ROW: Row = [0; 4];

    /// A row at a stroke: each of its words is read whole, as they are aligned.
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn read<'a>(
        table: &[[AtomicU64; 4]],
        numbers: &[u32],
        into: impl Iterator<Item = &'a mut Row>,
    ) -> Row {
        let mut differs = _mm256_setzero_si256();
        let mut first = None;
        for (number, into) in numbers.iter().zip(into) {
            let row =
                table.get(*number as usize).map_or(NO_ROW.as_ptr(), |row| row.as_ptr().cast());
            // SAFETY: four words of the table, or of the row of zeros, and four of the array; any
            // alignment will do.
            unsafe {
                let row = _mm256_loadu_si256(row.cast());
                _mm256_storeu_si256(into.as_mut_ptr().cast(), row);
                let first = *first.get_or_insert(row);
                // differs | (first ^ row)
                differs = _mm256_ternarylogic_epi64::<0xf6>(differs, first, row);
            }
        }
        let mut words = [0; 4];
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), differs) };
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::BURST_PKTS;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_at_once_are_what_one_after_another_are(
            words in prop::collection::vec(any::<Row>(), 0..64),
            numbers in prop::collection::vec(prop_oneof![9 => 0u32..64, 1 => any::<u32>()], 0..BURST_PKTS),
        ) {
            let rows: Vec<_> = words.iter().map(|row| row.map(AtomicU64::new)).collect();
            let (mut one, mut all) = ([[1; 4]; BURST_PKTS], [[1; 4]; BURST_PKTS]);
            let differs = read_each(&rows, &numbers, one.iter_mut());
            prop_assert_eq!(read(&rows, &numbers, all.iter_mut()), differs);
            prop_assert_eq!(one, all);
            for (number, row) in numbers.iter().zip(one) {
                prop_assert_eq!(row, words.get(*number as usize).copied().unwrap_or_default());
            }
        }
    }
}
