//! Going on after a syntax error. TOML has no statement that ends for certain, so one bracket left open
//! swallows the rest of the file; a table's header at the start of a line is where we take up again.

use super::error::{Errors, Lines};
use toml::de::DeTable;

/// Most errors that are sought in one table.
const TRIES: usize = 16;

/// A text without the lines that are no TOML.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The lines that are left, each in its old place.
    pub(super) text: String,
    /// Lines that were taken out, counted from 1, in order.
    pub(super) dropped: Vec<usize>,
    /// Lines of headers, counted from 1, in order.
    pub(super) headers: Vec<usize>,
}

impl Recovered {
    /// Whether a line was taken out of the table whose header (or first line) is this one.
    pub(super) fn is_damaged(&self, header: usize) -> bool {
        let next = self.headers.iter().find(|line| **line > header).copied();
        let end = next.unwrap_or(usize::MAX);
        self.dropped.iter().any(|line| (header..end).contains(line))
    }
}

/// Notes each syntax error once and takes its lines out.
pub(super) fn recover(text: &str, errors: &mut Errors) -> Recovered {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let headers: Vec<usize> =
        lines.iter().enumerate().filter(|(_, line)| is_header(line)).map(|(at, _)| at).collect();
    let mut kept: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let mut dropped = Vec::new();
    if DeTable::parse(text).is_err() {
        let starts = std::iter::once(0).chain(headers.iter().copied());
        let ends = headers.iter().copied().chain([lines.len()]);
        for (start, end) in starts.zip(ends) {
            let before = dropped.len();
            recover_table(&lines, start, end, errors, &mut dropped);
            for at in dropped.iter().skip(before) {
                if let Some(line) = kept.get_mut(*at) {
                    *line = "\n".to_owned();
                }
            }
        }
    }
    Recovered {
        text: kept.concat(),
        dropped: dropped.into_iter().map(|at| at + 1).collect(),
        headers: headers.into_iter().map(|at| at + 1).collect(),
    }
}

/// The same for the lines of one table, a statement at a time: what stands before an error and is whole
/// is kept, the statement with the error is dropped, and the lines after it are taken up again.
fn recover_table(
    lines: &[&str],
    mut start: usize,
    end: usize,
    errors: &mut Errors,
    dropped: &mut Vec<usize>,
) {
    for _ in 0..TRIES {
        let Some(chunk) = lines.get(start..end) else { return };
        let text = chunk.concat();
        let Err(error) = DeTable::parse(&text) else { return };
        let at = error.span().map_or(0, |span| Lines::of(&text).line(span.start) - 1);
        let at = at.min(chunk.len().saturating_sub(1));
        errors.add(Some(start + at + 1), "", format!("not TOML: {}", error.message()));
        let whole = |count: &usize| {
            chunk.get(..*count).is_some_and(|part| DeTable::parse(&part.concat()).is_ok())
        };
        let good = (0..=at).rev().find(whole).unwrap_or(0);
        if good == 0 && chunk.first().is_some_and(|line| is_header(line)) {
            // Without its header the rest would be read as part of the table before.
            break;
        }
        dropped.extend(start + good..=start + at);
        start += at + 1;
    }
    dropped.extend(start..end);
}

/// `[name]` or `[[name]]` at the start of a line, closed or not: what no value's continuation looks like.
fn is_header(line: &str) -> bool {
    let rest = line.strip_prefix("[[").or_else(|| line.strip_prefix('[')).unwrap_or_default();
    let is_value = ["true", "false", "inf", "nan"].iter().any(|word| rest.starts_with(word));
    rest.starts_with(|c: char| c.is_ascii_alphabetic()) && !is_value
}
