//! Tables: rows under headings, columns apart, as wide as the terminal at most.
//!
//! Where a table is wider than the terminal, columns of lists are made narrower, whose cells then go on in the next
//! line, but no word is broken: addresses stay whole to be copied. Where that isn't enough the last columns
//! move into a line of their own beneath, headings and cells alike. Elsewhere (a file, a pipe) a row is a
//! line. What is shown is ASCII, one column wide per byte.

use super::Out;
use std::io::{self, Write};

/// Blanks between two columns.
const APART: usize = 2;
/// A column alone in its line is made no narrower.
const NARROWEST: usize = 12;
/// Before what stands beneath its row.
const BENEATH: usize = 4;

/// Rows under headings.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns of numbers, set to the right.
    right: Vec<usize>,
}

/// A table with these headings.
pub(super) fn table(headings: &[&str]) -> Table {
    Table { rows: vec![headings.iter().map(|text| (*text).to_owned()).collect()], right: vec![] }
}

/// Sets columns of numbers to the right.
pub(super) fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    table.right.extend(columns);
}

impl Table {
    pub(super) fn add_row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn widest(&self, column: usize, of: impl Fn(&str) -> usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| of(cell)).max().unwrap_or(0)
    }

    fn is_number(&self, column: usize) -> bool {
        self.right.contains(&column)
    }

    /// The columns of each line of a row, and how wide they are.
    fn lines(&self, most: Option<usize>) -> Vec<Vec<(usize, usize)>> {
        let columns = 0..self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let whole: Vec<(usize, usize)> =
            columns.map(|column| (column, self.widest(column, str::len))).collect();
        let Some(most) = most.filter(|most| taken(&whole) > *most) else { return vec![whole] };
        let mut narrow = whole.clone();
        while taken(&narrow) > most {
            let can_shrink = |(column, width): &&mut (usize, usize)| {
                !self.is_number(*column) && *width > self.widest(*column, longest_word)
            };
            let widest = narrow.iter_mut().filter(can_shrink).max_by_key(|(_, width)| *width);
            let Some((_, widest)) = widest else { return folded(&whole, most) };
            *widest -= 1;
        }
        vec![narrow]
    }
}

/// Columns of the terminal that these take.
fn taken(columns: &[(usize, usize)]) -> usize {
    columns.iter().map(|(_, width)| width + APART).sum::<usize>().saturating_sub(APART)
}

/// As many columns in each line as fit there.
fn folded(columns: &[(usize, usize)], most: usize) -> Vec<Vec<(usize, usize)>> {
    let mut lines: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
    for (column, width) in columns {
        let room = if lines.len() > 1 { most.saturating_sub(BENEATH) } else { most };
        let mut line = lines.pop().unwrap_or_default();
        line.push((*column, *width));
        if taken(&line) > room && line.len() > 1 {
            line.pop();
            lines.push(line);
            line = vec![(*column, (*width).min(most.saturating_sub(BENEATH).max(NARROWEST)))];
        }
        lines.push(line);
    }
    lines
}

/// Prints a table, or that there is nothing.
pub(super) fn print(out: &mut Out<'_>, table: Table, nothing: &str) -> io::Result<()> {
    if table.rows.len() < 2 {
        return writeln!(out, "{nothing}");
    }
    let lines = table.lines(out.width);
    for row in &table.rows {
        for (number, columns) in lines.iter().enumerate() {
            let cell = |column: &usize| row.get(*column).map_or("", String::as_str);
            // Nothing beneath is better than a line of dashes.
            if number == 0 || columns.iter().any(|(column, _)| !matches!(cell(column), "" | "-")) {
                let cells: Vec<_> = columns
                    .iter()
                    .map(|(column, width)| (cell(column), *width, table.is_number(*column)))
                    .collect();
                print_line(out, if number == 0 { 0 } else { BENEATH }, &cells)?;
            }
        }
    }
    Ok(())
}

/// Cells side by side, each as wide as its column or broken to be; numbers to the right.
fn print_line(out: &mut Out<'_>, indent: usize, cells: &[(&str, usize, bool)]) -> io::Result<()> {
    let broken: Vec<Vec<String>> =
        cells.iter().map(|(cell, width, _)| broken(cell, *width)).collect();
    for line in 0..broken.iter().map(Vec::len).max().unwrap_or(0) {
        let parts = cells.iter().zip(&broken).map(|((_, width, is_number), parts)| {
            let part = parts.get(line).map_or("", String::as_str);
            if *is_number { format!("{part:>width$}") } else { format!("{part:<width$}") }
        });
        let parts: Vec<String> = parts.collect();
        let text = format!("{:indent$}{}", "", parts.join(&" ".repeat(APART)));
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn longest_word(cell: &str) -> usize {
    let words = cell.split_inclusive([' ', ',']);
    words.map(|word| word.trim_end().len()).max().unwrap_or(0)
}

/// A text in lines no wider than this: broken behind blanks and commas, and where a word is wider, within it.
pub(super) fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for mut piece in text.split_inclusive([' ', ',']) {
        let room = width.saturating_sub(lines.last().map_or(0, String::len));
        if piece.trim_end().len() > room {
            lines.push(String::new());
            piece = piece.trim_start();
        }
        for (at, character) in piece.char_indices() {
            if at > 0 && at % width.max(1) == 0 {
                lines.push(String::new());
            }
            lines.last_mut().into_iter().for_each(|line| line.push(character));
        }
    }
    let trimmed = lines.iter().map(|line| line.trim_end().to_owned());
    let lines: Vec<String> = trimmed.filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { vec![String::new()] } else { lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(width: Option<usize>) -> String {
        let mut shown = table(&["GUEST", "PKTS", "PORT"]);
        align_right(&mut shown, [1]);
        shown.add_row(["ct1", "12345", "tap,iface=ct1-eth0,netns=ct1,guest-iface=eth0"]);
        shown.add_row(["a-guest", "1", "shared:venet0"]);
        let mut text = Vec::new();
        let mut out = Out::new(&mut text);
        out.width = width;
        print(&mut out, shown, "nothing").unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn elsewhere_than_on_a_terminal_a_row_is_a_line() {
        let lines = "GUEST     PKTS  PORT\n\
                     ct1      12345  tap,iface=ct1-eth0,netns=ct1,guest-iface=eth0\n\
                     a-guest      1  shared:venet0\n";
        assert_eq!(printed(None), lines);
        assert_eq!(printed(Some(61)), lines);
    }

    #[test]
    fn on_a_narrow_terminal_the_widest_cells_go_on_in_the_next_line() {
        assert_eq!(
            printed(Some(40)),
            "GUEST     PKTS  PORT\n\
             ct1      12345  tap,iface=ct1-eth0,\n                \
                             netns=ct1,\n                \
                             guest-iface=eth0\n\
             a-guest      1  shared:venet0\n"
        );
    }

    #[test]
    fn on_a_narrower_one_the_last_columns_stand_beneath() {
        assert_eq!(
            printed(Some(30)),
            "GUEST     PKTS\n    PORT\n\
             ct1      12345\n    tap,iface=ct1-eth0,\n    netns=ct1,guest-iface=eth0\n\
             a-guest      1\n    shared:venet0\n"
        );
        let narrowest = printed(Some(5));
        assert!(narrowest.contains("12345"), "numbers stay whole: {narrowest}");
    }

    #[test]
    fn texts_break_behind_blanks_and_commas() {
        assert_eq!(broken("", 5), [""]);
        assert_eq!(broken("a bc, d", 4), ["a", "bc,", "d"]);
        assert_eq!(broken("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
    }
}
