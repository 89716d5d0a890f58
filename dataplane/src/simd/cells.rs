//! Cells of the FIB for many keys, read all together.

use std::sync::atomic::{AtomicU32, Ordering, fence};

/// Keys of a call.
pub(crate) const KEYS: usize = 32;

/// A two-level table: a cell of the first that has [`GROUP`] set names a group of the second.
#[derive(Clone, Copy)]
pub(crate) struct Levels<'a> {
    /// By the key's upper bits.
    pub(crate) first: &'a [AtomicU32],
    /// By group and the key's lower bits.
    pub(crate) second: &'a [AtomicU32],
    /// How many lower bits there are.
    pub(crate) low_bits: u32,
    /// What a cell with the number 0 stands for.
    pub(crate) default: u32,
}

/// In a cell of the first level: what the others hold is a group.
pub(crate) const GROUP: u32 = 1 << 31;
/// The others that hold a number.
pub(crate) const NUMBER: u32 = (1 << 24) - 1;

/// The number in the last cell of each key; keys are as long as both levels' bits together.
///
/// Each level's loads are all under way before one is needed. Gathers would do the same in fewer
/// instructions, but take longer: on Sapphire Rapids 20 cycles for 16 cells in the first cache, where plain
/// loads take 10.
#[inline]
pub(crate) fn read(levels: Levels<'_>, keys: &[u32], into: &mut [u32; KEYS]) {
    let Levels { first, second, low_bits, default } = levels;
    let mut some = 0;
    for (key, out) in keys.iter().zip(&mut *into) {
        let index = (key >> low_bits) as usize;
        *out = first.get(index).map_or(0, |cell| cell.load(Ordering::Relaxed));
        some |= *out;
    }
    fence(Ordering::Acquire);
    if some & GROUP != 0 {
        let low = (1 << low_bits) - 1;
        for (key, out) in keys.iter().zip(&mut *into) {
            // Without a branch: in a table of prefixes of all lengths it would be a guess. Who has no
            // group looks at the second level's first cell for nothing.
            let is_group = *out & GROUP != 0;
            let group = if is_group { ((*out & NUMBER) as usize) << low_bits } else { 0 };
            let index = group | if is_group { (key & low) as usize } else { 0 };
            let cell = second.get(index).map_or(0, |cell| cell.load(Ordering::Relaxed));
            *out = if is_group { cell } else { *out };
        }
        fence(Ordering::Acquire);
    }
    for out in into.iter_mut().take(keys.len()) {
        let number = *out & NUMBER;
        *out = if number == 0 { default } else { number };
    }
}
