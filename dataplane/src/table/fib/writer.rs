//! Adds and removes prefixes under the eyes of the readers.
//!
//! Order of an add: allocate and fill a group, store the cell that names it. Order of a remove: store
//! what the covering prefix says over the cells; when the last long prefix of a group goes, all its
//! cells are equal, so one store puts that value in the group's place, and the group waits in limbo.

use super::cell::Cell;
use super::rules::{Rule, Rules};
use super::{Fib, Ordering};
use crate::ids::AdjacencyId;
use crate::table::TableFull;
use crate::table::reclaim::{Limbo, Qsbr};
use crate::table::sync::AtomicU32;
use std::ops::Range;
use std::sync::Arc;

/// Cells of so many are reached by an index of 31 bits, as gathers take it; and no host has memory for more.
const GROUPS_MAX: usize = 1 << 22;

/// Why a prefix was not added. The table is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FibError {
    /// Longer than a key, or bits set beyond its length.
    #[error("{addr:#010x}/{len} is not a prefix: the bits beyond its length must be 0")]
    NotAPrefix {
        /// The address given.
        addr: u32,
        /// The length given.
        len: u8,
    },
    /// 0, or more than a cell can hold.
    #[error("adjacency {0} is not between 1 and 16777215")]
    BadAdjacency(u32),
    /// No group is left for a prefix longer than the first level.
    #[error(transparent)]
    Full(#[from] TableFull),
}

/// The one that writes a [`Fib`]: control.
pub struct FibWriter<const FIRST: u32, const SECOND: u32> {
    fib: Arc<Fib<FIRST, SECOND>>,
    qsbr: Arc<Qsbr>,
    rules: Rules,
    /// For each group that was ever used, how many prefixes longer than `FIRST` lie in it.
    long_rules: Vec<u32>,
    free: Vec<u32>,
    limbo: Limbo<u32>,
    in_use: usize,
}

impl<const FIRST: u32, const SECOND: u32> FibWriter<FIRST, SECOND> {
    /// An empty FIB with room for `groups` groups (at most 2^22): blocks of `1 << FIRST` addresses
    /// apart that hold prefixes longer than `FIRST`.
    pub fn new(groups: usize, qsbr: Arc<Qsbr>) -> Self {
        Self {
            fib: Arc::new(Fib::new(groups.min(GROUPS_MAX))),
            qsbr,
            rules: Rules::new(FIRST + SECOND),
            long_rules: Vec::new(),
            free: Vec::new(),
            limbo: Limbo::new(),
            in_use: 0,
        }
    }

    /// What workers read.
    pub fn fib(&self) -> &Arc<Fib<FIRST, SECOND>> {
        &self.fib
    }

    /// Adds a prefix or changes where it leads; returns where it led. `len` 0 is the default route.
    pub fn insert(
        &mut self,
        addr: u32,
        len: u8,
        id: AdjacencyId,
    ) -> Result<Option<AdjacencyId>, FibError> {
        if !self.rules.is_prefix(addr, len) {
            return Err(FibError::NotAPrefix { addr, len });
        }
        if id.0 == 0 || id.0 >= Cell::IDS {
            return Err(FibError::BadAdjacency(id.0));
        }
        let cell = Cell::rule(len, id.0);
        if len == 0 {
            self.fib.default.store(id.0, Ordering::Release);
        } else if u32::from(len) <= FIRST {
            self.cover(addr, len, cell);
        } else {
            return self.insert_long(addr, len, cell);
        }
        Ok(self.rules.insert(addr, len, id))
    }

    /// Takes a prefix out; returns where it led. Its adjacency may be retired afterwards.
    pub fn remove(&mut self, addr: u32, len: u8) -> Option<AdjacencyId> {
        let old = self.rules.remove(addr, len)?;
        if len == 0 {
            self.fib.default.store(0, Ordering::Release);
            return Some(old);
        }
        let parent = self.rules.longest(addr, len - 1).filter(|parent| parent.len > 0);
        let cell = parent.map_or(Cell::EMPTY, |p| Cell::rule(p.len, p.adjacency.0));
        if u32::from(len) <= FIRST {
            self.uncover(addr, len, cell);
        } else {
            self.remove_long(addr, len, cell);
        }
        Some(old)
    }

    /// Where exactly this prefix leads.
    pub fn rule(&self, addr: u32, len: u8) -> Option<AdjacencyId> {
        self.rules.find(addr, len)
    }

    /// The longest prefix that holds `addr`: its address, its length and where it leads.
    pub fn best_match(&self, addr: u32) -> Option<(u32, u8, AdjacencyId)> {
        let Rule { addr, len, adjacency } = self.rules.longest(addr, 32)?;
        Some((addr, len, adjacency))
    }

    /// All prefixes by address, then by length. Collects and sorts them first.
    pub fn rules(&self) -> impl Iterator<Item = Rule> {
        self.rules.sorted().into_iter()
    }

    /// Takes back the groups that no worker can still look at.
    pub fn reclaim(&mut self) {
        self.free.extend(self.limbo.collect(&self.qsbr));
    }

    /// Prefixes, the default route included.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no prefix.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Groups that cells name at present.
    pub fn groups_in_use(&self) -> usize {
        self.in_use
    }

    /// Groups that wait for a grace period.
    pub fn groups_retired(&self) -> usize {
        self.limbo.len()
    }

    /// A prefix of at most `FIRST` bits: every cell that no longer prefix filled.
    fn cover(&self, addr: u32, len: u8, cell: Cell) {
        self.rewrite(addr, len, |old| old.len() <= len, cell);
    }

    /// The same cells back: those that this prefix filled.
    fn uncover(&self, addr: u32, len: u8, cell: Cell) {
        self.rewrite(addr, len, |old| old.len() == len, cell);
    }

    fn rewrite(&self, addr: u32, len: u8, is_ours: impl Fn(Cell) -> bool, cell: Cell) {
        for slot in &self.fib.first[Self::first_range(addr, len)] {
            let old = load(slot);
            if old.is_group() {
                rewrite_cells(self.group(old.id()), &is_ours, cell);
            } else if is_ours(old) {
                store(slot, cell);
            }
        }
    }

    fn insert_long(
        &mut self,
        addr: u32,
        len: u8,
        cell: Cell,
    ) -> Result<Option<AdjacencyId>, FibError> {
        let index = Fib::<FIRST, SECOND>::first_index(addr);
        let old = load(&self.fib.first[index]);
        let group = if old.is_group() { old.id() } else { self.take_group()? };
        // Nothing can fail any more; the rule tells whether it is new, so that it is looked for once.
        let replaced = self.rules.insert(addr, len, AdjacencyId(cell.id()));
        if !old.is_group() {
            // Not yet named by any cell, so nobody sees it half filled.
            self.group(group).iter().for_each(|slot| slot.store(old.0, Ordering::Relaxed));
        }
        let range = Self::second_range(addr, len);
        rewrite_cells(&self.group(group)[range], &|old: Cell| old.len() <= len, cell);
        if !old.is_group() {
            store(&self.fib.first[index], Cell::group(group));
        }
        self.long_rules[group as usize] += u32::from(replaced.is_none());
        Ok(replaced)
    }

    fn remove_long(&mut self, addr: u32, len: u8, cell: Cell) {
        let index = Fib::<FIRST, SECOND>::first_index(addr);
        let group = load(&self.fib.first[index]).id();
        let cells = self.group(group);
        let count = self.long_rules[group as usize] - 1;
        if count == 0 {
            // Nothing longer than FIRST is left: `cell` is what all the group would say.
            store(&self.fib.first[index], cell);
            self.limbo.retire(&self.qsbr, group);
            self.in_use -= 1;
        } else {
            rewrite_cells(&cells[Self::second_range(addr, len)], &|old| old.len() == len, cell);
        }
        self.long_rules[group as usize] = count;
    }

    /// A group whose cells nobody looks at.
    fn take_group(&mut self) -> Result<u32, TableFull> {
        let capacity = self.fib.second.len() >> SECOND;
        let is_grown = self.long_rules.len() >= capacity;
        if is_grown && self.free.is_empty() {
            self.reclaim();
        }
        let group = match self.free.pop() {
            Some(group) => group,
            None if is_grown => return Err(TableFull { what: "FIB groups", capacity }),
            None => {
                self.long_rules.push(0);
                u32::try_from(self.long_rules.len() - 1).unwrap_or(0)
            }
        };
        self.in_use += 1;
        Ok(group)
    }

    fn group(&self, group: u32) -> &[AtomicU32] {
        let start = (group as usize) << SECOND;
        &self.fib.second[start..start + (1 << SECOND)]
    }

    fn first_range(addr: u32, len: u8) -> Range<usize> {
        let start = Fib::<FIRST, SECOND>::first_index(addr);
        start..start + (1 << (FIRST - u32::from(len)))
    }

    fn second_range(addr: u32, len: u8) -> Range<usize> {
        let start = (addr & Fib::<FIRST, SECOND>::mask(SECOND)) as usize;
        start..start + (1 << (FIRST + SECOND - u32::from(len)))
    }
}

fn rewrite_cells(cells: &[AtomicU32], is_ours: &impl Fn(Cell) -> bool, cell: Cell) {
    for slot in cells {
        if is_ours(load(slot)) {
            store(slot, cell);
        }
    }
}

/// Relaxed: this thread is the only one that writes cells.
fn load(slot: &AtomicU32) -> Cell {
    Cell(slot.load(Ordering::Relaxed))
}

/// Release: the group or adjacency that the cell names was filled in before.
fn store(slot: &AtomicU32, cell: Cell) {
    slot.store(cell.0, Ordering::Release);
}
