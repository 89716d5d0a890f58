//! Answers as tables on a terminal. Every value that is shown is in the API's JSON too.

mod forwarding;
mod guests;
mod ports;
mod program;
mod sight;
mod table;

use super::client::Client;
use super::order::View;
use super::session::Stop;
use crate::api::view;
use std::fmt::Display;
use std::io::{self, Write};

pub(super) use forwarding::{neighbors, routes};
pub(super) use ports::Rates;
pub(super) use program::{configured, events};
pub(super) use sight::{captured, trace};
use table::{align_right, print, table};

/// Shows an answer of the API.
pub(super) fn answer(
    out: &mut Out<'_>,
    client: &Client,
    view: View,
    body: &[u8],
    rates: &mut Rates,
) -> Result<(), Stop> {
    match view {
        View::Version => program::version(out, &client.parse(body)?)?,
        View::Guests => guests::list(out, &client.parse::<Vec<view::Guest>>(body)?)?,
        View::Guest => guests::one(out, &client.parse(body)?)?,
        View::Networks => guests::networks(out, &client.parse::<Vec<view::Network>>(body)?)?,
        View::Network => guests::network(out, &client.parse(body)?)?,
        View::Ports => ports::list(out, &client.parse::<Vec<view::PortInfo>>(body)?)?,
        View::Port => ports::one(out, &client.parse(body)?)?,
        View::AllPortStats => {
            for stats in client.parse::<Vec<view::PortStats>>(body)? {
                ports::stats(out, stats, rates)?;
            }
        }
        View::PortStats => ports::stats(out, client.parse(body)?, rates)?,
        View::AllPortXstats => {
            for xstats in client.parse::<Vec<view::PortXstats>>(body)? {
                ports::xstats(out, &xstats)?;
            }
        }
        View::PortXstats => ports::xstats(out, &client.parse(body)?)?,
        View::RouteDecision => forwarding::decision(out, &client.parse(body)?)?,
        View::Neighbors => neighbors(out, &client.parse::<Vec<view::Neighbor>>(body)?)?,
        View::Macs => forwarding::macs(out, &client.parse::<Vec<view::MacEntry>>(body)?)?,
        View::Workers => program::workers(out, &client.parse::<Vec<view::Worker>>(body)?)?,
        View::Latency => sight::latency(out, &client.parse(body)?)?,
        View::Captures => sight::captures(out, &client.parse::<Vec<view::Capture>>(body)?)?,
        View::Drops => program::drops(out, &client.parse(body)?)?,
        View::Classes => program::classes(out, &client.parse::<Vec<view::Class>>(body)?)?,
        View::Class => program::classes(out, &[client.parse(body)?])?,
        View::Accounts => program::accounts(out, &client.parse::<Vec<view::Account>>(body)?)?,
        View::Config => write!(out, "{}", client.parse::<view::ConfigText>(body)?.text)?,
        View::ConfigDiff => program::config_diff(out, &client.parse(body)?)?,
    }
    Ok(())
}

/// Where answers are printed.
pub(super) struct Out<'a> {
    to: &'a mut dyn Write,
    /// Columns of the terminal that it goes to, if it does; tables and usages are made to fit.
    pub(super) width: Option<usize>,
}

impl<'a> Out<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self { to, width: None }
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Usage and purpose of commands.
pub(super) fn help(out: &mut Out<'_>, commands: &[(&'static str, &'static str)]) -> io::Result<()> {
    for (usage, about) in commands {
        // What belongs to a usage stands further in than its purpose.
        let usage = indented(usage, out.width, "", "        ");
        let about = indented(about, out.width, "    ", "    ");
        usage.iter().chain(&about).try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(())
}

/// A text in lines that fit, with this before the first and that before each other.
fn indented(text: &str, width: Option<usize>, first: &str, other: &str) -> Vec<String> {
    let lines = match width {
        Some(width) => table::broken(text, width.saturating_sub(other.len())),
        None => vec![text.to_owned()],
    };
    let before = std::iter::once(first).chain(std::iter::repeat(other));
    lines.iter().zip(before).map(|(line, before)| format!("{before}{line}")).collect()
}

/// A line `name: value`, names aligned.
fn field(out: &mut dyn Write, name: &str, value: impl Display) -> io::Result<()> {
    let label = format!("{name}:");
    writeln!(out, "  {label:<16} {value}")
}

/// A word of choice as the API writes it.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// What there is, or `-`.
fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// All, with commas between, or `-`.
fn joined<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

/// `on` or `off`.
fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

/// Drops by reason, most first.
fn drops(out: &mut Out<'_>, drops: &view::DropCounts) -> io::Result<()> {
    let mut sorted: Vec<_> = drops.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut shown = table(&["REASON", "PACKETS"]);
    align_right(&mut shown, [1]);
    for (reason, count) in sorted {
        shown.add_row([reason.as_str(), &count.to_string()]);
    }
    print(out, shown, "no drops")
}
