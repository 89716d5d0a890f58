//! A keyed hash of 64-bit keys.

use crate::machine::buckets::Hash;
use std::hash::{BuildHasher, RandomState};

/// Multilinear over the key's two halves, `a + b * low + c * high` modulo 2^64, of which the upper half is
/// strongly universal for random `a`, `b` and `c` (Lemire and Kaser, "Strongly universal string hashing is fast",
/// The Computer Journal 57, 2014): whichever keys are chosen by who doesn't know these, any two of them fall into
/// any two places as if drawn by lot. That alone takes keys in a row, as fleets of guests have, to places in a
/// row, for a few `b` all to one; so the upper half is put over the lower one and all multiplied once more.
#[derive(Clone, Copy)]
pub(super) struct KeyedHash(pub(super) Hash);

impl KeyedHash {
    /// With a key from the operating system's randomness.
    pub(super) fn random() -> Self {
        let random = RandomState::new();
        Self::new([0u8, 1, 2, 3].map(|word| random.hash_one(word)))
    }

    /// With the same key each time, for tests that must repeat.
    pub(super) fn seeded(seed: u64) -> Self {
        // splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
        let word = |number: u64| {
            let word = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ word >> 31
        };
        Self::new([1, 2, 3, 4].map(word))
    }

    fn new([add, low, high, mix]: [u64; 4]) -> Self {
        // An even multiplier would lose what the lowest bits say.
        Self(Hash { add, low, high, mix: mix | 1 })
    }

    #[inline]
    pub(super) fn of(&self, key: u64) -> usize {
        self.0.of(key) as usize
    }
}
