//! The file against what runs: what differs, and the changes that would make what runs what the file
//! says.
//!
//! The file is first made into a registry of its own, so that two complete states are compared and a
//! default that the file leaves out counts as said. A MAC that it leaves out matches any.

mod batch;
mod classes;
mod compare;
mod limits;
mod ports;

use super::Config;
use super::fields::of_appliance;
use crate::model::Change;
use crate::registry::{Refusal, Registry};
use std::fmt;

/// What differs between the file and what runs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Diff {
    /// For a person, item by item.
    pub differences: Vec<Difference>,
    /// One batch that makes what runs what the file says, but for what takes effect at a start only.
    pub changes: Vec<Change>,
}

/// One thing that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Which thing: `guest ct1`, `adapter ct1/eth0 mtu`.
    pub what: String,
    /// What the file says; absent where the file doesn't have it.
    pub file: Option<String>,
    /// What runs; absent where it doesn't.
    pub running: Option<String>,
    /// Whether what the file says takes effect at a start only.
    pub needs_start: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, &self.running) {
            (Some(file), Some(running)) => {
                write!(out, "~ {}: {file} in the file, {running} running", self.what)?;
            }
            (Some(_), None) => write!(out, "+ {}: only in the file", self.what)?,
            (None, _) => write!(out, "- {}: only running", self.what)?,
        }
        if self.needs_start { write!(out, " (the file's takes effect at a start)") } else { Ok(()) }
    }
}

/// Compares what is registered.
///
/// # Errors
/// The file can't be a state together with this appliance's identity; a file that was loaded without
/// error always can.
pub fn diff(config: &Config, running: &Registry) -> Result<Diff, Refusal> {
    let pair = Pair::new(config, running)?;
    Ok(Diff { differences: compare::compare(&pair.wanted, running), changes: pair.changes() })
}

/// Compares everything, the appliance's own settings and named ports as well, for an appliance that runs
/// with these settings.
///
/// # Errors
/// As [`diff`].
pub fn diff_live(
    config: &Config,
    settings: &super::Appliance,
    running: &Registry,
) -> Result<Diff, Refusal> {
    let pair = Pair::new(config, running)?;
    let mut differences = Vec::new();
    let (new, old) = (of_appliance(&config.appliance), of_appliance(settings));
    compare::fields(&mut differences, "appliance", new, old);
    differences.iter_mut().for_each(|difference| difference.needs_start = true);
    differences.extend(compare::compare(&pair.wanted, running));
    Ok(Diff { differences, changes: pair.changes() })
}

/// The file as a state, and what runs.
struct Pair<'a> {
    config: &'a Config,
    wanted: Registry,
    running: &'a Registry,
}

impl<'a> Pair<'a> {
    fn new(config: &'a Config, running: &'a Registry) -> Result<Self, Refusal> {
        let mut wanted = Registry::new(running.identity());
        wanted.apply_from_file(&config.attach_ports())?;
        wanted.apply(&config.initial)?;
        Ok(Self { config, wanted, running })
    }
}
