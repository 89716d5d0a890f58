//! Pairs of counters that have one writer.

use std::sync::atomic::AtomicU64;

/// Adds to both cells without a locked instruction, since nobody else writes them. Readers see each cell whole.
#[inline]
pub(crate) fn add(pair: &[AtomicU64; 2], by: [u64; 2]) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    wide::add(pair, by);
    #[cfg(not(all(target_arch = "x86_64", not(miri), not(loom))))]
    add_each(pair, by);
}

/// The same one after the other.
#[cfg(any(test, miri, loom, not(target_arch = "x86_64")))]
fn add_each(pair: &[AtomicU64; 2], by: [u64; 2]) {
    use std::sync::atomic::Ordering;
    for (cell, by) in pair.iter().zip(by) {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use std::arch::{asm, x86_64::_mm_set_epi64x};
    use std::sync::atomic::AtomicU64;

    #[inline]
    pub(super) fn add(pair: &[AtomicU64; 2], [first, second]: [u64; 2]) {
        // SAFETY: SSE2 is part of x86-64's baseline.
        let by = unsafe { _mm_set_epi64x(second.cast_signed(), first.cast_signed()) };
        // SAFETY: reads and writes the two cells and nothing else. Each is an aligned word, which the processor
        // reads and writes whole, as it does by a relaxed load and store.
        unsafe {
            asm!(
                "movdqu {sum}, xmmword ptr [{pair}]",
                "paddq {sum}, {by}",
                "movdqu xmmword ptr [{pair}], {sum}",
                pair = in(reg) pair.as_ptr(),
                by = in(xmm_reg) by,
                sum = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_at_once_are_what_one_after_the_other_are(
            cells in any::<[u64; 4]>(),
            by in prop::collection::vec(any::<[u64; 2]>(), 0..9),
            at in 0..3usize,
        ) {
            let (one, all) = (cells.map(AtomicU64::new), cells.map(AtomicU64::new));
            for by in by {
                add_each(one[at..].first_chunk().unwrap(), by);
                add(all[at..].first_chunk().unwrap(), by);
            }
            prop_assert_eq!(one.map(AtomicU64::into_inner), all.map(AtomicU64::into_inner));
        }
    }
}
