//! What may come next at the prompt: words of the grammar, and names that are there now.

use super::client::Client;
use super::grammar::{self, Expected, kind::Kind, table::COMMANDS};
use super::words;
use crate::api::view;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a name may take to look up while somebody waits with a finger on the tab key.
const PATIENCE: Duration = Duration::from_millis(500);

/// What completes a line.
#[derive(Debug, PartialEq)]
pub(super) enum Candidates {
    /// One of these, in place of the text from this position on.
    Words(usize, Vec<String>),
    /// A path on this machine.
    Files,
}

/// What completes a line that ends at the cursor.
pub(super) fn candidates(client: &Client, line: &str) -> Candidates {
    // A blank may be of several bytes: U+00A0 is one that keyboards make.
    let blank = line.char_indices().rev().find(|(_, c)| c.is_whitespace());
    let start = blank.map_or(0, |(at, c)| at + c.len_utf8());
    let (before, partial) = line.split_at(start);
    let Ok(before) = words::split(before) else { return Candidates::Words(start, vec![]) };
    let (expected, values) = grammar::expected_after(&before);
    let mut found = BTreeSet::new();
    for one in expected {
        match one {
            Expected::Word(word) => {
                found.insert(word.to_owned());
            }
            Expected::Argument { kind: Kind::File, .. } => return Candidates::Files,
            Expected::Argument { kind, is_new: false, .. } => {
                found.extend(names(client, kind, values.text("GUEST")));
            }
            Expected::Argument { .. } => {}
        }
    }
    let fitting = found.into_iter().filter(|word| word.starts_with(partial)).collect();
    Candidates::Words(start, fitting)
}

/// The names of one kind that are there now; adapters are those of one guest. None when the
/// appliance doesn't answer in time: a prompt without completion is still a prompt.
pub(super) fn names(client: &Client, kind: Kind, guest: Option<&str>) -> Vec<String> {
    let patience = Some(PATIENCE);
    let guests = || client.read::<Vec<view::Guest>>("/v1/guests", patience).unwrap_or_default();
    let ports = || client.read::<Vec<view::PortInfo>>("/v1/ports", patience).unwrap_or_default();
    let port_names = || ports().into_iter().map(|info| info.port.to_string());
    match kind {
        Kind::Guest => guests().into_iter().map(|guest| guest.guest.to_string()).collect(),
        Kind::Adapter => guests()
            .into_iter()
            .filter(|one| guest.is_none_or(|guest| one.guest.as_str() == guest))
            .flat_map(|one| one.adapters)
            .map(|adapter| adapter.adapter.to_string())
            .collect(),
        Kind::Network => {
            let networks: Vec<view::Network> =
                client.read("/v1/networks", patience).unwrap_or_default();
            networks.into_iter().map(|network| network.network.to_string()).collect()
        }
        Kind::Class => {
            let classes: Vec<view::Class> =
                client.read("/v1/classes", patience).unwrap_or_default();
            classes.into_iter().map(|class| class.class.to_string()).collect()
        }
        Kind::Port => port_names().collect(),
        Kind::Target => {
            let adapters = guests().into_iter().flat_map(|guest| guest.adapters);
            let labels = adapters.map(|adapter| format!("{}/{}", adapter.guest, adapter.adapter));
            labels.chain(port_names()).chain(["server".to_owned()]).collect()
        }
        Kind::Word => {
            let first = COMMANDS.iter().filter_map(|command| command.usage.split(' ').next());
            first.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
