//! Why a change was refused.

use super::index::Holder;
use crate::model::Name;
use serde::Serialize;

/// A change that was refused, in one sentence: what is wrong, with the value and who holds it, and
/// what would be right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of wrong it is.
    pub kind: RefusalKind,
    /// Which key of the change is at fault, in the configuration file's spelling; `name` where it is
    /// the thing as a whole.
    pub field: &'static str,
    /// The sentence.
    pub message: String,
    /// Which change of the batch, counted from 0.
    pub change: usize,
    /// What was named and does not exist.
    #[serde(skip)]
    pub missing: Option<Missing>,
    /// Who holds what was claimed, where the sentence names one.
    #[serde(skip)]
    pub holder: Option<Holder>,
}

/// What kind of wrong a refused change is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// It names something that does not exist.
    NotFound,
    /// It claims what another holds.
    Duplicate,
    /// A value is wrong in itself.
    Invalid,
    /// A table or number range is full.
    Limit,
    /// It does not go together with what is registered.
    Conflict,
    /// Part of the contract, but not of this version.
    Unsupported,
    /// The state could not be written to disk; nothing was changed.
    Storage,
}

/// Something named that does not exist.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Missing {
    /// A guest.
    Guest(Name),
    /// An adapter of an existing guest.
    Adapter(Name, Name),
    /// A network.
    Network(Name),
    /// A named port.
    Port(Name),
    /// A destination class.
    Class(Name),
}

impl Refusal {
    /// A refusal of the given kind about the given key.
    pub fn new(kind: RefusalKind, field: &'static str, message: impl Into<String>) -> Self {
        Self { kind, field, message: message.into(), change: 0, missing: None, holder: None }
    }

    pub(super) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, field, message)
    }

    pub(super) fn conflict(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Conflict, field, message)
    }

    pub(super) fn duplicate(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Duplicate, field, message)
    }

    /// A claim on what somebody else holds.
    pub(super) fn held(field: &'static str, holder: &Holder, message: String) -> Self {
        Self { holder: Some(holder.clone()), ..Self::duplicate(field, message) }
    }

    pub(super) fn limit(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Limit, field, message)
    }

    pub(super) fn unsupported(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Unsupported, field, message)
    }

    pub(super) fn not_found(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::NotFound, field, message)
    }

    pub(super) fn missing(field: &'static str, missing: Missing) -> Self {
        let message = match &missing {
            Missing::Guest(guest) => {
                format!("there is no guest {guest}: guest add {guest} container|vm")
            }
            Missing::Adapter(guest, adapter) => format!("guest {guest} has no adapter {adapter}"),
            Missing::Network(network) => {
                format!(
                    "there is no network {network}: network add {network} host-only|uplink PORT"
                )
            }
            Missing::Port(port) => {
                format!("there is no port {port}; `show port info all` lists them")
            }
            Missing::Class(class) => format!("there is no class {class}: class add {class} PREFIX"),
        };
        Self { missing: Some(missing), ..Self::not_found(field, message) }
    }
}
