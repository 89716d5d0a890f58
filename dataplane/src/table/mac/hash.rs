//! A keyed hash of 64-bit keys.

use std::hash::{BuildHasher, RandomState};

/// Two rounds of a folded 128-bit multiplication, each word of it secret. Who doesn't know the key
/// can't name two MACs of one bucket other than by chance.
#[derive(Clone, Copy)]
pub(super) struct KeyedHash([u64; 4]);

impl KeyedHash {
    /// With a key from the operating system's randomness.
    pub(super) fn random() -> Self {
        let random = RandomState::new();
        Self::new([0u8, 1, 2, 3].map(|word| random.hash_one(word)))
    }

    /// With the same key each time, for tests that must repeat.
    pub(super) fn seeded(seed: u64) -> Self {
        let word = |n: u64| fold(seed ^ n.wrapping_mul(ODD), ODD ^ n);
        Self::new([1, 2, 3, 4].map(word))
    }

    fn new([a, b, c, d]: [u64; 4]) -> Self {
        // A multiplier of 0 would send everything to one bucket.
        Self([a, b | 1, c, d | 1])
    }

    #[inline]
    pub(super) fn of(&self, key: u64) -> usize {
        let [a, b, c, d] = self.0;
        (fold(fold(key ^ a, b) ^ c, d) & 0xffff_ffff) as usize
    }
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Both halves of the product, each bit of which depends on bits of both factors.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ a.wrapping_mul(b)
}
