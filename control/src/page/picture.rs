//! What the page draws.

use crate::api::view::{DropCounts, Guest, Network, PortInfo, PortLabel, PortStats, Version};
use serde::Serialize;
use std::collections::BTreeMap;

/// The host at one time, in the API's own views, so that both say the same.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Picture {
    /// When it was read, nanoseconds since the program's start: two of them give a rate.
    pub read_at_ns: u64,
    /// What reading it took of control's time, nanoseconds.
    pub control_held_ns: u64,
    /// The program itself.
    pub program: Version,
    /// Guests with their adapters, without what is to be given to VM monitors.
    pub guests: Vec<Guest>,
    /// Networks with their members.
    pub networks: Vec<Network>,
    /// The host's own ports, of whatever kind: all but guests'.
    pub ports: Vec<PortInfo>,
    /// Counters of those that are open.
    pub port_stats: Vec<PortStats>,
    /// Ports that the operator stopped, guests' among them.
    pub stopped: Vec<PortLabel>,
    /// Why a port's device is not there, guests' among them.
    pub problems: BTreeMap<PortLabel, String>,
    /// Frames dropped in all.
    pub dropped: u64,
    /// The same by reason.
    pub drops: DropCounts,
}
