//! The atomics of the tables: the standard library's, or loom's under `cfg(loom)`, where a model
//! checker replays every order in which control and workers may meet.
//!
//! Large blocks come zeroed from the allocator and cost memory only where they are written, a large page at a
//! time where the kernel has some.

#[cfg(not(loom))]
use crate::machine::advise_huge;
#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Bytes of a cache line, which rows are laid out by.
#[cfg(not(loom))]
const LINE_BYTES: usize = 64;

/// Cells of zero.
#[cfg(not(loom))]
pub(super) fn zeroed_u32(len: usize) -> Box<[AtomicU32]> {
    let cells = bytemuck::zeroed_slice_box(len);
    advise_huge(&cells);
    cells
}

/// Cells of zero.
#[cfg(loom)]
pub(super) fn zeroed_u32(len: usize) -> Box<[AtomicU32]> {
    (0..len).map(|_| AtomicU32::new(0)).collect()
}

/// Rows of `N` words that begin at a cache line, so that a row of up to 64 bytes lies in one.
pub(super) struct Rows<const N: usize> {
    /// Some words more than the rows take: the allocator aligns to less than a line.
    words: Box<[AtomicU64]>,
    /// Word that begins the first line.
    base: usize,
    len: usize,
}

impl<const N: usize> Rows<N> {
    /// `len` rows of zero.
    #[cfg(not(loom))]
    pub(super) fn zeroed(len: usize) -> Self {
        let spare = LINE_BYTES / size_of::<AtomicU64>();
        let words: Box<[AtomicU64]> = bytemuck::zeroed_slice_box(len * N + spare);
        advise_huge(&words);
        // Any offset is right; only the speed depends on it.
        let base = words.as_ptr().align_offset(LINE_BYTES).min(spare);
        Self { words, base, len }
    }

    /// `len` rows of zero.
    #[cfg(loom)]
    pub(super) fn zeroed(len: usize) -> Self {
        let words = (0..len * N).map(|_| AtomicU64::new(0)).collect();
        Self { words, base: 0, len }
    }

    /// All rows.
    #[cfg(not(loom))]
    #[inline]
    pub(super) fn all(&self) -> &[[AtomicU64; N]] {
        let rows = self.words.get(self.base..).unwrap_or_default().as_chunks::<N>().0;
        rows.get(..self.len).unwrap_or(rows)
    }

    /// One row.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&[AtomicU64; N]> {
        self.words.get(self.base..)?.as_chunks::<N>().0.get(index)
    }

    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }
}
