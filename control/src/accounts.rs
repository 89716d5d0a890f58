//! Traffic accounts (requirements.md, VZ-8): what each adapter sent and got, in all and by destination class,
//! through restarts of the appliance and of the adapter's port.
//!
//! Workers count by numbers that begin anew with each process and are given to other adapters later. An
//! account is what was carried over from before the number, plus what the number has counted since the adapter
//! has it. Pure: whoever reads the counters gives them.

use crate::registry::AdapterKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The account of everything that an adapter's counters count.
pub const ALL: &str = "all";
/// The account of IPv4 addresses that are in no class, while there are classes.
pub const OTHER: &str = "other";

/// Packets and bytes (without FCS), as the guest sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Traffic {
    /// Packets to the guest.
    pub in_pkts: u64,
    /// Bytes to the guest.
    pub in_bytes: u64,
    /// Packets from the guest.
    pub out_pkts: u64,
    /// Bytes from the guest.
    pub out_bytes: u64,
}

impl Traffic {
    fn combine(self, other: Self, op: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            in_pkts: op(self.in_pkts, other.in_pkts),
            in_bytes: op(self.in_bytes, other.in_bytes),
            out_pkts: op(self.out_pkts, other.out_pkts),
            out_bytes: op(self.out_bytes, other.out_bytes),
        }
    }
}

/// One adapter's accounts, by class name, [`ALL`] and [`OTHER`].
pub type Lines = BTreeMap<String, Traffic>;

/// All accounts.
#[derive(Debug, Default)]
pub struct Accounts {
    /// From before the numbers that count now.
    carried: BTreeMap<AdapterKey, Lines>,
    /// What the numbers had counted when they became their adapters'.
    base: BTreeMap<AdapterKey, Lines>,
}

/// An account as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Stored {
    guest: crate::model::Name,
    adapter: crate::model::Name,
    accounts: Lines,
}

impl Accounts {
    /// Accounts that were stored.
    ///
    /// # Errors
    /// The text is not what [`Accounts::store`] made.
    pub fn restore(text: &str) -> Result<Self, serde_json::Error> {
        let stored: Vec<Stored> = serde_json::from_str(text)?;
        let entry =
            |one: Stored| (AdapterKey { guest: one.guest, adapter: one.adapter }, one.accounts);
        Ok(Self { carried: stored.into_iter().map(entry).collect(), base: BTreeMap::new() })
    }

    /// The accounts to store: those of adapters that count now, given with their counters, and of those that
    /// wait for their port.
    pub fn store<'a>(&self, counted: impl Iterator<Item = (&'a AdapterKey, Lines)>) -> String {
        let mut all = self.carried.clone();
        counted.for_each(|(key, raw)| drop(all.insert(key.clone(), self.lines(key, &raw))));
        let entry = |(key, accounts): (AdapterKey, Lines)| Stored {
            guest: key.guest,
            adapter: key.adapter,
            accounts,
        };
        let stored: Vec<Stored> = all.into_iter().map(entry).collect();
        // Types that always have a JSON form.
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// An adapter gets a number whose counters are these.
    pub fn begin(&mut self, key: &AdapterKey, raw: Lines) {
        self.base.insert(key.clone(), raw);
    }

    /// An adapter gives its number back, with the counters at these; its account stays.
    pub fn pause(&mut self, key: &AdapterKey, raw: &Lines) {
        let lines = self.lines(key, raw);
        self.carried.insert(key.clone(), lines);
        self.base.remove(key);
    }

    /// An adapter is gone, and its account with it.
    pub fn forget(&mut self, key: &AdapterKey) {
        self.carried.remove(key);
        self.base.remove(key);
    }

    /// Forgets adapters and classes that are not among these.
    pub fn retain(
        &mut self,
        has_adapter: impl Fn(&AdapterKey) -> bool,
        has_class: impl Fn(&str) -> bool,
    ) {
        self.carried.retain(|key, _| has_adapter(key));
        let is_kept = |class: &String| class == ALL || class == OTHER || has_class(class);
        self.carried.values_mut().for_each(|lines| lines.retain(|class, _| is_kept(class)));
    }

    /// A class gets a number whose counters are these, for each adapter that counts now.
    pub fn class_begins<'a>(
        &mut self,
        class: &str,
        counted: impl Iterator<Item = (&'a AdapterKey, Traffic)>,
    ) {
        for (key, raw) in counted {
            self.base.entry(key.clone()).or_default().insert(class.to_owned(), raw);
        }
    }

    /// A class is gone.
    pub fn class_ends(&mut self, class: &str) {
        let all = self.carried.values_mut().chain(self.base.values_mut());
        for lines in all {
            lines.remove(class);
        }
    }

    /// An adapter's accounts, with the counters at these.
    pub fn lines(&self, key: &AdapterKey, raw: &Lines) -> Lines {
        let mut lines = self.carried.get(key).cloned().unwrap_or_default();
        let base = self.base.get(key);
        for (class, raw) in raw {
            let before = base.and_then(|base| base.get(class)).copied().unwrap_or_default();
            let since = raw.combine(before, u64::wrapping_sub);
            let line = lines.entry(class.clone()).or_default();
            *line = line.combine(since, u64::wrapping_add);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(guest: &str) -> AdapterKey {
        AdapterKey { guest: guest.parse().unwrap(), adapter: "eth0".parse().unwrap() }
    }

    /// So many of everything in each class.
    fn raw(lines: &[(&str, u64)]) -> Lines {
        let traffic =
            |n: u64| Traffic { in_pkts: n, in_bytes: n * 100, out_pkts: 2 * n, out_bytes: 3 * n };
        lines.iter().map(|(class, n)| ((*class).to_owned(), traffic(*n))).collect()
    }

    #[test]
    fn an_account_begins_at_nothing_whatever_its_number_counted_for_others() {
        let mut accounts = Accounts::default();
        accounts.begin(&key("a"), raw(&[(ALL, 1_000), ("near", 70)]));
        let now = raw(&[(ALL, 1_005), ("near", 72)]);
        assert_eq!(accounts.lines(&key("a"), &now), raw(&[(ALL, 5), ("near", 2)]));
    }

    #[test]
    fn an_account_goes_on_over_another_number_and_another_process() {
        let mut accounts = Accounts::default();
        accounts.begin(&key("a"), raw(&[(ALL, 10)]));
        accounts.pause(&key("a"), &raw(&[(ALL, 15)]));
        accounts.begin(&key("a"), raw(&[(ALL, 900)]));
        let now = raw(&[(ALL, 901)]);
        assert_eq!(accounts.lines(&key("a"), &now), raw(&[(ALL, 6)]));
        // One that waits for its port is stored too.
        accounts.begin(&key("b"), raw(&[(ALL, 0)]));
        accounts.pause(&key("b"), &raw(&[(ALL, 3)]));
        let a = key("a");
        let text = accounts.store([(&a, now)].into_iter());
        let mut again = Accounts::restore(&text).unwrap();
        again.begin(&a, raw(&[(ALL, 0)]));
        assert_eq!(again.lines(&a, &raw(&[(ALL, 4)])), raw(&[(ALL, 10)]));
        assert_eq!(again.lines(&key("b"), &Lines::new()), raw(&[(ALL, 3)]));
        again.retain(|key| key.guest.as_str() == "b", |_| true);
        assert_eq!(again.lines(&a, &raw(&[(ALL, 4)])), raw(&[(ALL, 4)]));
        assert!(Accounts::restore("[{}]").is_err());
    }

    #[test]
    fn a_class_added_again_and_an_adapter_added_again_begin_at_nothing() {
        let mut accounts = Accounts::default();
        let a = key("a");
        accounts.begin(&a, raw(&[(ALL, 0), ("near", 0)]));
        accounts.class_ends("near");
        // Its number has counted for it all the while; another class gets it.
        accounts.class_begins("far", [(&a, raw(&[("far", 9)])["far"])].into_iter());
        let now = raw(&[(ALL, 12), ("far", 11)]);
        assert_eq!(accounts.lines(&a, &now), raw(&[(ALL, 12), ("far", 2)]));
        accounts.pause(&a, &now);
        accounts.class_ends("far");
        assert_eq!(accounts.lines(&a, &Lines::new()), raw(&[(ALL, 12)]));
        accounts.forget(&a);
        assert_eq!(accounts.lines(&a, &Lines::new()), Lines::new());
    }
}
