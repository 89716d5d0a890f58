//! Tables of routes, generated: of no router's, and the same in each run.

use crate::frames::Random;
use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 prefix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Prefix {
    /// Its first address.
    pub addr: u32,
    /// Its length, bits.
    pub len: u8,
}

impl Prefix {
    /// Of some address in it.
    pub fn new(bits: u32, len: u8) -> Self {
        Self { addr: bits & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0), len }
    }

    /// An address that it holds.
    pub fn address(self, random: &mut Random) -> u32 {
        let host = u32::MAX.checked_shr(self.len.into()).unwrap_or(0);
        self.addr | word(random) & host
    }
}

/// Any 32 bits.
pub fn word(random: &mut Random) -> u32 {
    u32::try_from(random.number() >> 32).unwrap_or(0)
}

/// As many guests' addresses, in /24s that they fill by a quarter.
pub fn hosts(count: usize, random: &mut Random) -> Vec<Prefix> {
    distinct(count, || {
        let network = 0x0b00_0000 + u32::try_from(random.below(count / 64 + 1)).unwrap_or(0) * 256;
        Prefix::new(network | word(random) & 0xff, 32)
    })
}

/// Lengths roughly as in a table of the whole Internet, three in five a /24, with 1,000 guests among
/// them. Generated, of no router's.
pub fn internet(count: usize, random: &mut Random) -> Vec<Prefix> {
    const PER_MILLE: [(u8, usize); 17] = [
        (8, 1),
        (10, 1),
        (11, 1),
        (12, 1),
        (13, 1),
        (14, 1),
        (15, 2),
        (16, 14),
        (17, 8),
        (18, 14),
        (19, 26),
        (20, 46),
        (21, 52),
        (22, 112),
        (23, 101),
        (24, 618),
        (32, 1),
    ];
    distinct(count, || {
        let mut at = random.below(1_000);
        let chosen = PER_MILLE.iter().find(|(_, part)| match at.checked_sub(*part) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        let len = chosen.map_or(24, |(len, _)| *len);
        // Unicast space, without the last /8 of it (table_oracle.rs says why).
        Prefix::new(0x0100_0000 + word(random) % 0xde00_0000, len)
    })
}

fn distinct(count: usize, mut next: impl FnMut() -> Prefix) -> Vec<Prefix> {
    let mut seen = HashSet::new();
    let mut prefixes = Vec::with_capacity(count);
    while prefixes.len() < count {
        let prefix = next();
        if seen.insert(prefix) {
            prefixes.push(prefix);
        }
    }
    prefixes
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", Ipv4Addr::from(self.addr), self.len)
    }
}
