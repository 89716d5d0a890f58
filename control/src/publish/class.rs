//! Classes of destinations: which addresses are whose, for the workers' counters.

use super::{PublishError, Published, Publisher};
use crate::model::Name;
use crate::registry::Class;
use dataplane::ids::{AdjacencyId, ClassId};
use dataplane::io::Io;
use dataplane::table::{Ipv4FibWriter, Qsbr};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Groups of the table: one per /24 that holds anything longer. As many as all classes together may have
/// prefixes.
const GROUPS: usize = crate::registry::CLASS_PREFIXES_MAX;

/// The classes, their numbers and the table that workers read. It has the FIB's form, with classes in the
/// place of adjacencies, and is there from the first class on.
pub(super) struct Classes {
    qsbr: Arc<Qsbr>,
    pub(super) table: Option<Ipv4FibWriter>,
    ids: BTreeMap<Name, ClassId>,
}

impl Classes {
    pub(super) fn new(qsbr: Arc<Qsbr>) -> Self {
        Self { qsbr, table: None, ids: BTreeMap::new() }
    }

    pub(super) fn reclaim(&mut self) {
        if let Some(table) = &mut self.table {
            table.reclaim();
        }
    }

    /// The lowest number that nobody has.
    fn free_id(&self) -> Option<ClassId> {
        let mut all = (1..ClassId::LIMIT).filter_map(|id| u8::try_from(id).ok()).map(ClassId);
        all.find(|id| !self.ids.values().any(|taken| taken == id))
    }
}

/// The IPv4 prefixes of a class, address in host order, and length. IPv6 is not routed yet.
fn prefixes(all: &[IpNet]) -> impl Iterator<Item = (u32, u8)> + '_ {
    all.iter().filter_map(|prefix| match prefix {
        IpNet::V4(net) => Some((u32::from(net.network()), net.prefix_len())),
        IpNet::V6(_) => None,
    })
}

impl<I: Io> Publisher<I> {
    /// A class appears: its addresses are counted under its number from now on.
    ///
    /// # Errors
    /// No number or no room is left, or a worker does not answer.
    pub fn class_up(&mut self, class: &Class) -> Result<ClassId, PublishError> {
        let limit = ClassId::LIMIT - 1;
        let id = self.classes.free_id().ok_or(PublishError::Ids { what: "classes", limit })?;
        let qsbr = &self.classes.qsbr;
        let table =
            self.classes.table.get_or_insert_with(|| Ipv4FibWriter::new(GROUPS, qsbr.clone()));
        for (address, len) in prefixes(&class.prefixes) {
            table.insert(address, len, AdjacencyId(id.0.into()))?;
        }
        let is_first = self.classes.ids.is_empty();
        let fib = table.fib().clone();
        self.classes.ids.insert(class.name.clone(), id);
        if is_first {
            self.workers.set_classes(Some(&fib))?;
        }
        self.limit_class(&class.name)?;
        Ok(id)
    }

    /// A class has other prefixes; its number stays, and with it what is counted and limited by it. What
    /// another class has now (`has_moved`) is that one's to replace, so that it is in one of both all along.
    ///
    /// # Errors
    /// The table is full; nothing is changed then.
    pub fn class_change(
        &mut self,
        old: &Class,
        new: &Class,
        has_moved: impl Fn(&IpNet) -> bool,
    ) -> Published {
        let classes = &mut self.classes;
        let (Some(id), Some(table)) = (classes.ids.get(&new.name), &mut classes.table) else {
            return Ok(());
        };
        let set = |class: &Class| class.prefixes.iter().copied().collect::<BTreeSet<IpNet>>();
        let (old, new) = (set(old), set(new));
        let added: Vec<IpNet> = new.difference(&old).copied().collect();
        for (place, (address, len)) in prefixes(&added).enumerate() {
            if let Err(full) = table.insert(address, len, AdjacencyId(id.0.into())) {
                for (address, len) in prefixes(&added).take(place) {
                    table.remove(address, len);
                }
                return Err(full.into());
            }
        }
        let gone = old.difference(&new).filter(|prefix| !has_moved(prefix));
        let gone: Vec<IpNet> = gone.copied().collect();
        for (address, len) in prefixes(&gone) {
            table.remove(address, len);
        }
        Ok(())
    }

    /// A class goes. Its number is another's later.
    ///
    /// # Errors
    /// A worker does not answer.
    pub fn class_down(&mut self, class: &Class) -> Published {
        if self.classes.ids.remove(&class.name).is_none() {
            return Ok(());
        }
        if let Some(table) = &mut self.classes.table {
            for (address, len) in prefixes(&class.prefixes) {
                table.remove(address, len);
            }
        }
        if self.classes.ids.is_empty() {
            self.workers.set_classes(None)?;
        }
        Ok(())
    }

    /// The number of a class.
    pub(super) fn class_id(&self, name: &Name) -> Option<ClassId> {
        self.classes.ids.get(name).copied()
    }

    /// The classes that are counted, by name.
    pub fn classes(&self) -> impl Iterator<Item = (&Name, ClassId)> {
        self.classes.ids.iter().map(|(name, id)| (name, *id))
    }
}
