//! Answers as tables on a terminal. Every value that is shown is in the API's JSON too.

mod forwarding;
mod guests;
mod ports;
mod program;
mod sight;

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

/// Shows an answer of the API.
pub(super) fn answer(
    out: &mut dyn Write,
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

/// Usage and purpose of commands.
pub(super) fn help(
    out: &mut dyn Write,
    commands: &[(&'static str, &'static str)],
) -> io::Result<()> {
    for (usage, about) in commands {
        writeln!(out, "{usage}\n    {about}")?;
    }
    Ok(())
}

/// Rows under headings, columns apart; what is shown is ASCII, one column wide per byte.
struct Table {
    rows: Vec<Vec<String>>,
    /// Columns of numbers, set to the right.
    right: Vec<usize>,
}

/// A table with these headings.
fn table(headings: &[&str]) -> Table {
    Table { rows: vec![headings.iter().map(|text| (*text).to_owned()).collect()], right: vec![] }
}

impl Table {
    fn add_row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    }
}

/// Prints a table, or that there is nothing.
fn print(out: &mut dyn Write, table: Table, nothing: &str) -> io::Result<()> {
    if table.rows.len() < 2 {
        return writeln!(out, "{nothing}");
    }
    let columns = table.rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| table.width(column)).collect();
    for row in &table.rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match table
            .right
            .contains(&column)
        {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Sets columns of numbers to the right.
fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    table.right.extend(columns);
}

/// A line `name: value`, names aligned.
fn field(out: &mut dyn Write, name: &str, value: impl Display) -> io::Result<()> {
    let label = format!("{name}:");
    writeln!(out, "  {label:<16} {value}")
}

/// A word of choice as the API writes it.
fn word(value: &impl serde::Serialize) -> String {
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
fn drops(out: &mut dyn Write, drops: &view::DropCounts) -> io::Result<()> {
    let mut sorted: Vec<_> = drops.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut shown = table(&["REASON", "PACKETS"]);
    align_right(&mut shown, [1]);
    for (reason, count) in sorted {
        shown.add_row([reason.as_str(), &count.to_string()]);
    }
    print(out, shown, "no drops")
}
