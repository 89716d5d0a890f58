//! What a start finds: the file, and what an earlier run left in `state_dir`.
//!
//! Ports are the file's, with what was set on them live while it says the same. Guests, adapters, networks,
//! routes and classes are the state's once there is one, since changes made live must survive a restart; an
//! empty state takes the file's. A file that was changed since it was last taken over is reported, and taken
//! over only where that is asked for.

use super::{Config, Difference, diff};
use crate::registry::{Document, Identity, Refusal, Registry};

/// What is to run.
#[derive(Debug)]
pub struct StartPlan {
    /// The registry, settled. It is to be saved before the first change is answered.
    pub registry: Registry,
    /// Whether what is registered comes from the file: at the first start, or by `--apply`.
    pub imported: bool,
    /// How the file differs from what will run; not empty only where the file was changed since it was
    /// last taken over and is not taken over now.
    pub differences: Vec<Difference>,
}

impl StartPlan {
    /// Lines that the operator should see at the start.
    pub fn notices(&self, config: &Config) -> Vec<String> {
        if self.differences.is_empty() {
            return Vec::new();
        }
        let head = format!(
            "{} was changed since it was taken over and differs from what runs in {} points; run \
             --apply takes it over:",
            config.file.display(),
            self.differences.len()
        );
        std::iter::once(head).chain(self.differences.iter().map(ToString::to_string)).collect()
    }
}

/// Brings the file and the state together. `apply` takes the file over even where there is a state.
///
/// # Errors
/// The state needs a port that the file no longer has, or contradicts the file's ports; or the file
/// can't be applied to it.
pub fn plan_start(
    config: &Config,
    state: Option<Document>,
    apply: bool,
) -> Result<StartPlan, Refusal> {
    let workers = &config.appliance.workers;
    let fingerprint = config.fingerprint();
    let Some(state) = state else {
        let mut registry = Registry::new(Identity::generate());
        registry.set_worker_cores(workers.clone());
        registry.apply_from_file(&config.attach_ports())?;
        registry.apply(&config.initial)?;
        registry.set_imported(fingerprint);
        registry.settle();
        return Ok(StartPlan { registry, imported: true, differences: Vec::new() });
    };
    let mut registry = Registry::restore(state, &config.ports, workers)
        .map_err(|refusal| because_of_state(config, refusal))?;
    if registry.imported() == Some(fingerprint) && !apply {
        return Ok(StartPlan { registry, imported: false, differences: Vec::new() });
    }
    let diff = diff(config, &registry)?;
    if !apply && !diff.changes.is_empty() {
        let differences = diff.differences;
        return Ok(StartPlan { registry, imported: false, differences });
    }
    registry.apply(&diff.changes)?;
    registry.set_imported(fingerprint);
    registry.settle();
    Ok(StartPlan { registry, imported: apply, differences: Vec::new() })
}

/// A state that no longer fits the file's ports.
fn because_of_state(config: &Config, refusal: Refusal) -> Refusal {
    let message = format!(
        "the state in {} does not fit the ports in {}: {}; put the port back as it was, or delete \
         the state to start from the file",
        config.appliance.state_dir.display(),
        config.file.display(),
        refusal.message
    );
    Refusal { message, ..refusal }
}
