//! Which refusals only follow from another error, and so are none of the operator's.

use super::section::Section;
use crate::model::{Change, MacTarget, NetworkAttach, PortSpec, Via};
use crate::registry::{Missing, Refusal, RefusalKind};

/// What a change refers to by name.
pub(super) fn named_by(change: &Change) -> Vec<Missing> {
    let uplink = |attach: &NetworkAttach| match attach {
        NetworkAttach::Uplink { port, .. } => vec![Missing::Port(port.clone())],
        NetworkAttach::HostOnly => Vec::new(),
    };
    match change {
        Change::AdapterAdd { guest, wish, .. } => {
            let mut names = vec![Missing::Guest(guest.clone())];
            names.extend(wish.network.clone().map(Missing::Network));
            names.extend(wish.class_rate.iter().flatten().map(|(c, _)| Missing::Class(c.clone())));
            if let Some(Ok(PortSpec::Shared(port))) = wish.port.as_deref().map(str::parse) {
                names.push(Missing::Port(port));
            }
            names
        }
        Change::NetworkAdd { attach, .. } => uplink(attach),
        Change::NetworkSet { network, .. } | Change::NetworkServer { network, .. } => {
            vec![Missing::Network(network.clone())]
        }
        Change::RouteAdd { via: Via::Dev(port), .. } | Change::NeighborAdd { dev: port, .. } => {
            vec![Missing::Port(port.clone())]
        }
        Change::MacAdd { network, to, .. } => {
            let to = match to {
                MacTarget::Adapter { guest, adapter } => {
                    Missing::Adapter(guest.clone(), adapter.clone())
                }
                MacTarget::Port(port) => Missing::Port(port.clone()),
            };
            vec![Missing::Network(network.clone()), to]
        }
        _ => Vec::new(),
    }
}

/// Whether a refusal may only follow from a key of the same table that is wrong, or, where the change
/// rests on something doubtful, from that.
pub(super) fn is_consequence(
    refusal: &Refusal,
    change: &Change,
    section: &Section<'_>,
    rests_on_doubt: bool,
) -> bool {
    let is_conflict = refusal.kind == RefusalKind::Conflict;
    if rests_on_doubt && (is_conflict || refusal.field == "name") {
        return true;
    }
    let causes: &[&str] = match (change, refusal.field) {
        // What an address may be, and whether there is a network at all, goes by the mode.
        (Change::AdapterAdd { .. }, "addresses" | "network") => &["mode"],
        (Change::AdapterAdd { .. }, "gateway") => &["mode", "addresses"],
        (Change::AdapterAdd { .. }, "mode") => &["port", "network", "addresses"],
        // Taken by another it is in every mode; not fit for this one it may be by a wrong mode.
        (Change::AdapterAdd { .. }, "port") if is_conflict => &["mode"],
        (Change::PortAttach { .. }, "addresses") => &["role"],
        (Change::PortAttach { .. }, "gateway") => &["role", "addresses"],
        (Change::PortAttach { .. }, "workers") => &["queues"],
        (Change::PortAttach { .. }, "queues") => &["workers"],
        (Change::NetworkAdd { .. }, "vlan") => &["uplink", "vlan"],
        _ => &[],
    };
    causes.iter().any(|key| section.is_doubtful(key))
}
