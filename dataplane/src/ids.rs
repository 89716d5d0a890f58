//! Small numbers by which tables and records name each other.
//!
//! Control hands them out densely and never reuses one before every worker has passed a quiescent
//! point, so a worker may hold one for the length of a burst without a check.

use bytemuck::{Pod, Zeroable};

/// A port: index into each worker's port records. At most [`PortId::LIMIT`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PortId(pub u16);

impl PortId {
    /// No port.
    pub const NONE: PortId = PortId(u16::MAX);
    /// One more than the highest port number, ports of all kinds together.
    pub const LIMIT: usize = 4096;

    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A guest's network card: index into counters and buckets. At most [`AdapterId::LIMIT`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AdapterId(pub u32);

impl AdapterId {
    /// No adapter: the frame belongs to an uplink, the host port or nobody.
    pub const NONE: AdapterId = AdapterId(u32::MAX);
    /// The server itself: its addresses belong to somebody, but to no guest. Not counted.
    pub const SERVER: AdapterId = AdapterId(u32::MAX - 1);
    /// One more than the highest adapter number.
    pub const LIMIT: usize = 65_536;

    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A class of destinations, for accounting (requirements.md, VZ-8): index into counters. At most
/// [`ClassId::LIMIT`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClassId(pub u8);

impl ClassId {
    /// Every IPv4 address that is in no class.
    pub const OTHER: ClassId = ClassId(0);
    /// Not IPv4, so of no class: not counted.
    pub const NONE: ClassId = ClassId(u8::MAX);
    /// One more than the highest class number, [`ClassId::OTHER`] among them.
    pub const LIMIT: usize = 16;

    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A virtual network. At most [`NetworkId::LIMIT`]; stable for the life of the network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NetworkId(pub u16);

impl NetworkId {
    /// One more than the highest network number.
    pub const LIMIT: usize = 4096;

    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A row of the adjacency table. 0 is reserved: a FIB cell of 0 means "the default route".
#[repr(transparent)]
#[derive(Zeroable, Pod, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AdjacencyId(pub u32);

impl AdjacencyId {
    /// In a FIB cell: nothing more specific than the default route.
    pub const DEFAULT: AdjacencyId = AdjacencyId(0);

    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
