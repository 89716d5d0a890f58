//! The registered state and a configuration file, brought together while the appliance runs: one way by
//! `config apply` and `config rollback`, the other by `save`.

use super::Appliance;
use crate::api::backend::{Configure, Refusal, RefusalKind};
use crate::api::view::{ConfigDiff, Configured};
use crate::config::{self, Config, Diff, Difference};
use std::path::Path;

/// What `config rollback` goes back to, for messages.
const BEFORE: &str = "the configuration before the last apply";

impl Appliance {
    pub(super) fn bring_in_line(&mut self, what: Configure) -> Result<Configured, Refusal> {
        match what {
            Configure::Apply { config, dry_run } => self.apply_config(&config, dry_run),
            Configure::Rollback => self.roll_back_config(),
            Configure::Save => self.save_config(),
        }
    }

    /// How what runs differs from the file as it is now.
    pub(super) fn config_diff(&self) -> Result<ConfigDiff, Refusal> {
        let diff = self.diff_live(&self.read_file()?)?;
        let lines: Vec<String> = diff.differences.iter().map(ToString::to_string).collect();
        let file = self.config.file.display().to_string();
        Ok(ConfigDiff { file, same: lines.is_empty(), lines })
    }

    pub(super) fn apply_config(
        &mut self,
        config: &Config,
        dry_run: bool,
    ) -> Result<Configured, Refusal> {
        let diff = self.diff_live(config)?;
        if dry_run {
            self.would_take(&diff)?;
        } else if !diff.changes.is_empty() {
            self.change_whole(&diff)?;
            self.note_taken_over(config);
        }
        Ok(told(&diff, dry_run))
    }

    fn roll_back_config(&mut self) -> Result<Configured, Refusal> {
        let read = self.store.before_apply().map_err(|error| unavailable(error.to_string()))?;
        let Some(text) = read else {
            let message = "nothing to go back to: no configuration was applied yet";
            return Err(Refusal::new(RefusalKind::NotFound, message));
        };
        let config = config::parse(Path::new(BEFORE), &text).map_err(|errors| wrong(&errors))?;
        let mut diff = self.diff_live(&config)?;
        // The appliance's own settings are not what was applied.
        diff.differences.retain(|difference| !difference.what.starts_with("appliance "));
        if !diff.changes.is_empty() {
            self.change_whole(&diff)?;
        }
        Ok(told(&diff, false))
    }

    /// Writes what runs into the file.
    fn save_config(&mut self) -> Result<Configured, Refusal> {
        let file = self.config.file.clone();
        let unreadable = |message: String| unavailable(format!("{}: {message}", file.display()));
        let text = config::read(&file).map_err(|(_, message)| unreadable(message))?;
        let before = config::parse(&file, &text).map_err(|errors| wrong(&errors))?;
        let diff = self.diff_live(&before)?;
        let merged = config::merge(&file, &text, &self.registry)
            .map_err(|message| Refusal::new(RefusalKind::Conflict, message))?;
        if merged != text {
            config::replace(&file, &merged).map_err(|error| {
                unreadable(format!("can't be written: {error}; it is as it was"))
            })?;
        }
        let after = config::parse(&file, &merged).map_err(|errors| wrong(&errors))?;
        self.note_taken_over(&after);
        let is_gone = |difference: &&Difference| !difference.what.starts_with("appliance ");
        let lines = diff.differences.iter().filter(is_gone).map(ToString::to_string).collect();
        Ok(Configured { dry_run: false, lines, at_start: Vec::new() })
    }

    fn read_file(&self) -> Result<Config, Refusal> {
        config::load(&self.config.file).map_err(|errors| wrong(&errors))
    }

    fn diff_live(&self, config: &Config) -> Result<Diff, Refusal> {
        Ok(config::diff_live(config, &self.config.appliance, &self.registry)?)
    }

    /// Whether a batch would be taken, as far as that can be told without opening a device.
    fn would_take(&mut self, diff: &Diff) -> Result<(), Refusal> {
        let applied = self.registry.apply(&diff.changes).map_err(Refusal::from);
        let taken = applied.and_then(|effects| self.check_room(&effects));
        self.registry.take_back();
        taken.map_err(not_applied)
    }

    /// One transaction, with a way back.
    fn change_whole(&mut self, diff: &Diff) -> Result<(), Refusal> {
        let before = config::render(&self.config.appliance, &self.registry);
        // One that can't be read is not overwritten unseen.
        let older = self.store.before_apply();
        let older = older.map_err(|error| not_applied(unavailable(error.to_string())))?;
        let kept = self.store.keep_before_apply(Some(&before));
        kept.map_err(|error| not_applied(unavailable(error.to_string())))?;
        self.change(&diff.changes).map_err(|refusal| {
            // The last one that was applied is still the one to go back from.
            if let Err(error) = self.store.keep_before_apply(older.as_deref()) {
                self.event(&format!("config rollback has nothing older to go back to: {error}"));
            }
            not_applied(refusal)
        })
    }

    /// Where what was applied is what the appliance's own file says, the next start has nothing to report; and
    /// what is set on ports from now on stays as long as the file says of them what it says now.
    fn note_taken_over(&mut self, config: &Config) {
        let Ok(file) = self.read_file() else { return };
        if file.fingerprint() == config.fingerprint() {
            self.registry.set_imported(config.fingerprint());
        }
        if file.ports == config.ports {
            self.registry.adopt_ports(&config.ports);
            self.config.ports.clone_from(&config.ports);
        }
        if let Err(refusal) = self.store.commit(&mut self.registry) {
            self.event(&refusal.message);
        }
    }
}

fn told(diff: &Diff, dry_run: bool) -> Configured {
    let lines = |needs_start: bool| {
        let chosen = diff.differences.iter().filter(move |one| one.needs_start == needs_start);
        chosen.map(ToString::to_string).collect()
    };
    Configured { dry_run, lines: lines(false), at_start: lines(true) }
}

fn wrong(errors: &[config::ConfigError]) -> Refusal {
    Refusal::new(RefusalKind::Invalid, config::first(errors))
}

fn unavailable(message: String) -> Refusal {
    Refusal::new(RefusalKind::Unavailable, message)
}

/// Which change of the batch it was says nothing to whoever wrote the file.
fn not_applied(refusal: Refusal) -> Refusal {
    let message = format!("not applied, nothing was changed: {}", refusal.message);
    Refusal::new(refusal.kind, message)
}
