//! `route load FILE`: many routes, in transactions of ten thousand.

use super::client::{Client, ClientError};
use super::grammar::prefix;
use super::session::{Stop, to_json};
use super::words;
use crate::model::{Change, Via};
use ipnet::IpNet;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Changes in one transaction.
const BATCH: usize = 10_000;
/// Errors told of one file; a wrong file needs no more.
const TOLD: usize = 20;

/// A line of the file that is a route.
struct Line {
    number: usize,
    change: Change,
}

/// Adds the routes of a file: `PREFIX via IP` or `PREFIX dev PORT` on each line. A file with a line
/// that is no route adds nothing; of routes that the appliance refuses the others are added. Returns
/// how many were.
///
/// # Errors
/// One line that names every wrong line of the file.
pub(super) fn routes(client: &Client, file: &Path) -> Result<usize, Stop> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    let (lines, errors) = read(&text);
    if !errors.is_empty() {
        return Err(format!("{shown}: nothing added: {}", told(&errors)).into());
    }
    let (total, mut added, mut refused) = (lines.len(), 0, Vec::new());
    let mut lines = lines.into_iter().peekable();
    while lines.peek().is_some() {
        let batch: Vec<Line> = lines.by_ref().take(BATCH).collect();
        added += add(client, batch, &mut refused)
            .map_err(|error| format!("{shown}: {error}; {added} of {total} routes added"))?;
        if refused.len() >= TOLD {
            break;
        }
    }
    match refused.as_slice() {
        [] => Ok(added),
        refused => {
            Err(format!("{shown}: {added} of {total} routes added: {}", told(refused)).into())
        }
    }
}

/// Adds a batch less the lines that are refused, which are noted. Returns how many were added.
fn add(
    client: &Client,
    mut batch: Vec<Line>,
    refused: &mut Vec<String>,
) -> Result<usize, ClientError> {
    while !batch.is_empty() {
        let changes: Vec<&Change> = batch.iter().map(|line| &line.change).collect();
        let error = match client.post("/v1/batch", to_json(&changes)) {
            Ok(_) => return Ok(batch.len()),
            Err(error) => error,
        };
        let ClientError::Refused(refusal) = &error else { return Err(error) };
        match refusal.change.filter(|at| *at < batch.len()) {
            Some(at) => {
                let line = batch.remove(at);
                refused.push(format!("line {}: {}", line.number, refusal.message));
            }
            None => return Err(error),
        }
        if refused.len() >= TOLD {
            break;
        }
    }
    Ok(0)
}

/// Every line that is a route, and every error.
fn read(text: &str) -> (Vec<Line>, Vec<String>) {
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    let mut seen: HashMap<IpNet, usize> = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let route = match route(line) {
            Ok(Some(route)) => route,
            Ok(None) => continue,
            Err(error) => {
                errors.push(format!("line {number}: {error}"));
                continue;
            }
        };
        let (prefix, via) = route;
        if let Some(before) = seen.insert(prefix, number) {
            errors.push(format!("line {number}: {prefix} is on line {before} already"));
        }
        lines.push(Line { number, change: Change::RouteAdd { prefix, via } });
    }
    (lines, errors)
}

/// One line; none when it is empty or a comment.
fn route(line: &str) -> Result<Option<(IpNet, Via)>, String> {
    let words = words::split(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let via = match words.as_slice() {
        [] => return Ok(None),
        [_, "via", ip] => Via::NextHop(ip.parse().map_err(|_| format!("bad address {ip:?}"))?),
        [_, "dev", port] => Via::Dev(port.parse().map_err(|error| format!("{error}"))?),
        _ => return Err("want PREFIX via IP or PREFIX dev PORT".into()),
    };
    let prefix = prefix(words.first().copied().unwrap_or_default())?;
    if prefix.trunc() != prefix {
        return Err(format!("{prefix} has host bits; want {}", prefix.trunc()));
    }
    Ok(Some((prefix, via)))
}

fn told(errors: &[String]) -> String {
    let first: Vec<&str> = errors.iter().take(TOLD).map(String::as_str).collect();
    match errors.len().saturating_sub(TOLD) {
        0 => first.join("; "),
        more => format!("{}; and {more} more", first.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_line_is_named() {
        let text = "# routes\n10.0.0.0/8 via 192.0.2.1\n\n10.1.1.1 dev up0 # one\n\
                    10.0.0.1/8 via 192.0.2.1\n10.2.0.0/16\n10.3.0.0/16 via x\n10.0.0.0/8 dev up0\n";
        let (lines, errors) = read(text);
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 4, 8]);
        assert_eq!(
            errors,
            [
                "line 5: 10.0.0.1/8 has host bits; want 10.0.0.0/8",
                "line 6: want PREFIX via IP or PREFIX dev PORT",
                "line 7: bad address \"x\"",
                "line 8: 10.0.0.0/8 is on line 2 already",
            ]
        );
        assert!(told(&vec!["e".to_owned(); 25]).ends_with("; and 5 more"));
    }
}
