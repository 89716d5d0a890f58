//! Pairs of counters, of packets and their bytes, that have one writer: added to without a locked instruction.
//! Readers see each cell whole.

use crate::frame::BURST_PKTS;
use std::sync::atomic::{AtomicU64, Ordering};

/// Two pairs, half a cache line.
pub(crate) type Cells = [AtomicU64; 4];

/// Adds a packet of so many bytes to the second pair of the row that `row` names, for each of the first `count`
/// slots. A row that is not there is passed over.
#[inline]
pub(crate) fn add_each(
    rows: &[Cells],
    row: impl Fn(usize) -> usize,
    bytes: &[u32; BURST_PKTS],
    count: usize,
) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::add_each(rows, row, bytes, count) };
    }
    add_one_by_one(rows, row, bytes, count);
}

fn add_one_by_one(
    rows: &[Cells],
    row: impl Fn(usize) -> usize,
    bytes: &[u32; BURST_PKTS],
    count: usize,
) {
    for (slot, bytes) in bytes.iter().enumerate().take(count) {
        if let Some([_, _, pkts, sum]) = rows.get(row(slot)) {
            bump(pkts, 1);
            bump(sum, (*bytes).into());
        }
    }
}

/// Adds to one cell.
#[inline]
pub(crate) fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::{BURST_PKTS, Cells};
    use std::arch::asm;
    use std::arch::x86_64::*;

    /// Slots without a look at the count: the loop itself would be a quarter of the work.
    const STEP: usize = 4;

    /// One store for both cells of a pair.
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn add_each(
        rows: &[Cells],
        row: impl Fn(usize) -> usize,
        bytes: &[u32; BURST_PKTS],
        count: usize,
    ) {
        let packet = _mm_set_epi64x(0, 1);
        let one = |slot: usize, bytes: u32| {
            let Some(cells) = rows.get(row(slot)) else { return };
            let by = _mm_insert_epi32::<2>(packet, bytes.cast_signed());
            // SAFETY: reads and writes the second half of the row and nothing else. Each of its cells is an
            // aligned word, which the processor reads and writes whole, as by a relaxed load and store.
            unsafe {
                asm!(
                    "vpaddq {by}, {by}, xmmword ptr [{cells} + 16]",
                    "vmovdqu xmmword ptr [{cells} + 16], {by}",
                    cells = in(reg) cells.as_ptr(),
                    by = inout(xmm_reg) by => _,
                    options(nostack, preserves_flags),
                );
            }
        };
        let (groups, _) = bytes.as_chunks::<STEP>();
        for (group, bytes) in groups.iter().enumerate().take(count / STEP) {
            for (slot, bytes) in bytes.iter().enumerate() {
                one(group * STEP + slot, *bytes);
            }
        }
        for (slot, bytes) in bytes.iter().enumerate().take(count).skip(count / STEP * STEP) {
            one(slot, *bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_at_once_are_what_one_after_another_are(
            cells in prop::collection::vec(any::<[u64; 4]>(), 1..9),
            numbers in prop::collection::vec(0..10usize, BURST_PKTS),
            bytes in prop::collection::vec(any::<u32>(), BURST_PKTS),
            count in 0..=BURST_PKTS,
        ) {
            let bytes: [u32; BURST_PKTS] = bytes.try_into().unwrap();
            let [one, all] = [(), ()].map(|()| -> Vec<Cells> {
                cells.iter().map(|row| row.map(AtomicU64::new)).collect()
            });
            add_one_by_one(&one, |slot| numbers[slot], &bytes, count);
            add_each(&all, |slot| numbers[slot], &bytes, count);
            let read = |rows: Vec<Cells>| -> Vec<_> {
                rows.into_iter().map(|row| row.map(AtomicU64::into_inner)).collect()
            };
            prop_assert_eq!(read(one), read(all));
        }
    }
}
