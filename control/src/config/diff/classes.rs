//! Classes as changes of them. One that stays is never without a number, so that what is counted and limited
//! by it goes on.

use super::Pair;
use crate::model::{Change, Name};
use crate::registry::{CLASS_PREFIXES_MAX, Class, Registry};
use ipnet::IpNet;
use std::collections::BTreeSet;

impl Pair<'_> {
    /// Classes that go, and those that have to begin anew because others take all that they have: adapters
    /// let their rates for them go meanwhile.
    pub(super) fn leaving_classes(&self) -> BTreeSet<Name> {
        let leaving = self.running.classes().filter(|old| match self.wanted_class(old) {
            Some(new) => new.prefixes != old.prefixes && self.kept_prefixes(old).is_empty(),
            None => true,
        });
        leaving.map(|class| class.name.clone()).collect()
    }

    pub(super) fn let_go_classes(&self, changes: &mut Vec<Change>, leaving: &BTreeSet<Name>) {
        changes.extend(leaving.iter().map(|class| Change::ClassDel { class: class.clone() }));
        for old in self.running.classes().filter(|old| !leaving.contains(&old.name)) {
            let prefixes = self.kept_prefixes(old);
            if prefixes != old.prefixes {
                changes.push(Change::ClassSet { class: old.name.clone(), prefixes });
            }
        }
    }

    pub(super) fn set_classes(&self, changes: &mut Vec<Change>, leaving: &BTreeSet<Name>) {
        for change in &self.config.initial {
            let Change::ClassAdd { class, prefixes } = change else { continue };
            let old = self.running.classes().find(|old| old.name == *class);
            match old.filter(|_| !leaving.contains(class)) {
                None => changes.push(change.clone()),
                Some(old) if self.kept_prefixes(old) == *prefixes => {}
                Some(_) => {
                    let (class, prefixes) = (class.clone(), prefixes.clone());
                    changes.push(Change::ClassSet { class, prefixes });
                }
            }
        }
    }

    fn wanted_class(&self, old: &Class) -> Option<&Class> {
        self.wanted.classes().map(AsRef::as_ref).find(|new| new.name == old.name)
    }

    /// What a class keeps until it gets the file's prefixes: all that no other takes. Where both would be too
    /// many, what the file leaves it.
    fn kept_prefixes(&self, old: &Class) -> Vec<IpNet> {
        let count = |registry: &Registry| -> usize {
            registry.classes().map(|class| class.prefixes.len()).sum()
        };
        let is_crowded = count(self.running) + count(&self.wanted) > CLASS_PREFIXES_MAX;
        let stays = |prefix: &&IpNet| match self.wanted.class_of(prefix) {
            Some(class) => *class == old.name,
            None => !is_crowded,
        };
        old.prefixes.iter().filter(stays).copied().collect()
    }
}
