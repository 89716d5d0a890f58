//! Traffic accounts: read from the workers' counters, kept on disk.

use super::Appliance;
use crate::accounts::{ALL, Accounts, Lines, OTHER, Traffic};
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::{self, EventKind};
use crate::model::Name;
use crate::registry::{AdapterKey, Class};
use dataplane::counters::{AdapterCounter, ClassCounts};
use dataplane::ids::{AdapterId, ClassId};
use ipnet::IpNet;
use std::time::{Duration, Instant};

/// Between two writes of what is counted, at least: about what a kill loses of it.
pub(super) const ACCOUNTS_EVERY: Duration = Duration::from_secs(5);

/// Writing takes at most one of so many parts of control's time.
const SAVING_SHARE: u32 = 200;

impl Appliance {
    /// Takes up the accounts of an earlier run.
    pub(super) fn restore_accounts(&mut self) {
        let text = match self.store.accounts() {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(error) => {
                return self
                    .tell(EventKind::State, &format!("traffic accounts begin anew: {error}"));
            }
        };
        match Accounts::restore(&text) {
            Ok(accounts) => self.accounts = accounts,
            Err(error) => {
                self.tell(EventKind::State, &format!("traffic accounts begin anew: {error}"))
            }
        }
        let registry = &self.registry;
        let has_class = |name: &str| registry.classes().any(|class| class.name.as_str() == name);
        self.accounts.retain(|key| registry.adapter_by_key(key).is_some(), has_class);
    }

    /// Writes the accounts now and then.
    pub(super) fn tick_accounts(&mut self) {
        let began = Instant::now();
        if began >= self.accounts_due {
            self.save_accounts();
            // With very many adapters and classes it takes a while, in which nobody is answered.
            self.accounts_due = Instant::now() + ACCOUNTS_EVERY.max(began.elapsed() * SAVING_SHARE);
        }
    }

    pub(super) fn save_accounts(&mut self) {
        let keys: Vec<(AdapterKey, AdapterId)> = self.counting().collect();
        let counted = keys.iter().map(|(key, id)| (key, self.raw_lines(*id)));
        let text = self.accounts.store(counted);
        if text == self.accounts_written {
            return;
        }
        match self.store.keep_accounts(&text) {
            Ok(()) => self.accounts_written = text,
            Err(error) => self.tell(EventKind::State, &format!("traffic accounts: {error}")),
        }
    }

    /// An adapter has got a number.
    pub(super) fn account_begins(&mut self, key: &AdapterKey, id: AdapterId) {
        let raw = self.raw_lines(id);
        self.accounts.begin(key, raw);
    }

    /// An adapter is about to give its number back.
    pub(super) fn account_pauses(&mut self, key: &AdapterKey) {
        if let Some(id) = self.publisher.adapter_id(key) {
            let raw = self.raw_lines(id);
            self.accounts.pause(key, &raw);
        }
    }

    pub(super) fn class_in(&mut self, class: &Class) -> Result<(), Refusal> {
        let mut id = None;
        self.told(|publisher| publisher.class_up(class).map(|given| id = Some(given)))?;
        let Some(id) = id else { return Ok(()) };
        let keys: Vec<(AdapterKey, AdapterId)> = self.counting().collect();
        for (name, id) in [(class.name.as_str(), id), (OTHER, ClassId::OTHER)] {
            // While there is a class already, what is in none goes on.
            if name == OTHER && self.publisher.classes().count() > 1 {
                continue;
            }
            let raw: Vec<Traffic> =
                keys.iter().map(|(_, adapter)| self.raw_class(*adapter, id)).collect();
            self.accounts.class_begins(name, keys.iter().map(|(key, _)| key).zip(raw));
        }
        Ok(())
    }

    /// A class has other prefixes: what was counted by it goes on.
    pub(super) fn class_changed(&mut self, old: &Class, new: &Class) -> Result<(), Refusal> {
        let registry = &self.registry;
        let has_moved =
            |prefix: &IpNet| registry.class_of(prefix).is_some_and(|class| *class != new.name);
        let changed = self.publisher.class_change(old, new, has_moved);
        changed.map_err(|error| Refusal::new(RefusalKind::Internal, error.to_string()))
    }

    pub(super) fn class_out(&mut self, class: &Class) -> Result<(), Refusal> {
        self.accounts.class_ends(class.name.as_str());
        let gone = self.told(|publisher| publisher.class_down(class));
        if self.publisher.classes().next().is_none() {
            self.accounts.class_ends(OTHER);
        }
        gone
    }

    /// The accounts of all guests or of one.
    pub(super) fn account_views(
        &self,
        guest: Option<&Name>,
    ) -> Result<Vec<view::Account>, Refusal> {
        if let Some(name) = guest.filter(|name| self.registry.guest(name).is_none()) {
            return Err(super::show::absent("guest", name, "show guest all"));
        }
        let chosen = self.registry.adapters().filter(|one| guest.is_none_or(|g| *g == one.guest));
        let mut views = Vec::new();
        for adapter in chosen {
            let key = adapter.key();
            let raw = self.publisher.adapter_id(&key).map(|id| self.raw_lines(id));
            let lines = self.accounts.lines(&key, &raw.unwrap_or_default());
            let label = view::AdapterLabel { guest: key.guest, adapter: key.adapter };
            views.extend(lines.into_iter().map(|(class, traffic)| view::Account {
                adapter: label.clone(),
                class,
                in_pkts: traffic.in_pkts,
                in_bytes: traffic.in_bytes,
                out_pkts: traffic.out_pkts,
                out_bytes: traffic.out_bytes,
            }));
        }
        Ok(views)
    }

    /// An adapter's account by class, `all` left out; empty while there are no classes.
    pub(super) fn class_lines(&self, key: &AdapterKey) -> Lines {
        if self.publisher.classes().next().is_none() {
            return Lines::new();
        }
        let raw = self.publisher.adapter_id(key).map(|id| self.raw_lines(id));
        let mut lines = self.accounts.lines(key, &raw.unwrap_or_default());
        lines.remove(ALL);
        lines
    }

    /// Adapters that have a number.
    fn counting(&self) -> impl Iterator<Item = (AdapterKey, AdapterId)> + '_ {
        self.registry.adapters().filter_map(|adapter| {
            let key = adapter.key();
            let id = self.publisher.adapter_id(&key)?;
            Some((key, id))
        })
    }

    /// What a number has counted since the start, whoever had it.
    fn raw_lines(&self, id: AdapterId) -> Lines {
        let all = self.raw_adapter_counts(id);
        let mut lines = Lines::new();
        lines.insert(ALL.to_owned(), traffic(|counter| all.counter(counter)));
        let mut classes = self.publisher.classes().peekable();
        if classes.peek().is_some() {
            lines.insert(OTHER.to_owned(), self.raw_class(id, ClassId::OTHER));
        }
        lines.extend(classes.map(|(name, class)| (name.to_string(), self.raw_class(id, class))));
        lines
    }

    fn raw_class(&self, id: AdapterId, class: ClassId) -> Traffic {
        let mut sum: ClassCounts = self.counters.class(id, class);
        let ends = self.publisher.workers.ends();
        ends.iter().for_each(|end| sum.add(&end.counters.class(id, class)));
        traffic(|counter| sum.counter(counter))
    }
}

fn traffic(counter: impl Fn(AdapterCounter) -> u64) -> Traffic {
    Traffic {
        in_pkts: counter(AdapterCounter::TxPkts),
        in_bytes: counter(AdapterCounter::TxBytes),
        out_pkts: counter(AdapterCounter::RxPkts),
        out_bytes: counter(AdapterCounter::RxBytes),
    }
}
