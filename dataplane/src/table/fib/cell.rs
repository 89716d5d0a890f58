//! One cell of the FIB.

use crate::machine::cells;

/// Bit 31: the number is a group's, not an adjacency's. Bits 24 to 29: length of the prefix that
/// filled the cell (0 in a group's). Bits 0 to 23: the number. A cell of 0: the default route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell(pub(super) u32);

impl Cell {
    /// No prefix but the default route.
    pub(super) const EMPTY: Cell = Cell(0);
    /// One more than the highest number that fits.
    pub(super) const IDS: u32 = cells::NUMBER + 1;
    const GROUP: u32 = cells::GROUP;

    /// A prefix of `len` bits, with its adjacency.
    pub(super) fn rule(len: u8, id: u32) -> Self {
        Self(u32::from(len) << 24 | id & (Self::IDS - 1))
    }

    /// A group.
    pub(super) fn group(group: u32) -> Self {
        Self(Self::GROUP | group & (Self::IDS - 1))
    }

    #[inline]
    pub(super) fn is_group(self) -> bool {
        self.0 & Self::GROUP != 0
    }

    /// Adjacency, or group.
    #[inline]
    pub(super) fn id(self) -> u32 {
        self.0 & (Self::IDS - 1)
    }

    /// Length of the prefix that filled it.
    pub(super) fn len(self) -> u8 {
        (self.0 >> 24 & 0x3f) as u8
    }
}
