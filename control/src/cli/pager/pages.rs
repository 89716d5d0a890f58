//! Pages of a text in this process, by the keys of `less`.
//!
//! The crates that do this (minus 5.8) take the mouse, and go on for ever without a terminal once theirs has
//! gone; the appliance outlives its prompt's.

use crate::cli::canvas::{Canvas, Typed};
use crate::cli::terminal::Process;
use crossterm::event::KeyCode;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::Stylize;
use ratatui::text::{Line, Text};
use std::io;
use std::time::Duration;

/// Shows a text until its reader has enough.
pub(super) fn show(text: &[u8], process: Process) -> io::Result<()> {
    let text = String::from_utf8_lossy(text);
    let mut pages = Pages::new(&text);
    let mut canvas = Canvas::take(process)?;
    loop {
        canvas.draw(|frame| pages.draw(frame))?;
        match canvas.next(Duration::from_secs(60))? {
            Typed::Key(key) if !pages.key(key) => return Ok(()),
            Typed::Leave => return Ok(()),
            _ => {}
        }
    }
}

/// A text and the place in it that is shown.
struct Pages<'a> {
    text: &'a str,
    lines: Vec<&'a str>,
    /// Width that `lines` were broken for.
    columns: usize,
    /// Lines shown at once.
    rows: usize,
    /// First of them.
    top: usize,
    /// What is being searched: while it is typed, and afterwards.
    search: String,
    is_typing: bool,
    /// What the last key came to, where it is not to be seen by itself.
    note: &'static str,
}

impl<'a> Pages<'a> {
    fn new(text: &'a str) -> Self {
        let (columns, rows, search) = (0, 1, String::new());
        Self { text, lines: vec![], columns, rows, top: 0, search, is_typing: false, note: "" }
    }

    /// Lines as wide as the screen at most; the place stays.
    fn fit(&mut self, columns: usize, rows: usize) {
        self.rows = rows.max(1);
        if columns != self.columns {
            let at = self.lines.get(self.top).map_or(0, |line| offset(self.text, line));
            self.columns = columns;
            self.lines = self.text.lines().flat_map(|line| cut(line, columns)).collect();
            self.top = self.lines.partition_point(|line| offset(self.text, line) < at);
        }
        self.top = self.top.min(self.last());
    }

    /// First line of the last page.
    fn last(&self) -> usize {
        self.lines.len().saturating_sub(self.rows)
    }

    /// Goes where a key leads; false for out.
    fn key(&mut self, key: KeyCode) -> bool {
        self.note = "";
        if self.is_typing {
            match key {
                KeyCode::Enter => {
                    self.is_typing = false;
                    self.find(self.top);
                }
                KeyCode::Esc => self.is_typing = false,
                KeyCode::Backspace if self.search.pop().is_none() => self.is_typing = false,
                KeyCode::Char(letter) => self.search.push(letter),
                _ => {}
            }
            return true;
        }
        let down = |lines: usize| self.top.saturating_add(lines);
        let up = |lines: usize| self.top.saturating_sub(lines);
        let to = match key {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return false,
            KeyCode::Char(' ' | 'f') | KeyCode::PageDown => down(self.rows),
            KeyCode::Char('b') | KeyCode::PageUp => up(self.rows),
            KeyCode::Char('j') | KeyCode::Down | KeyCode::Enter => down(1),
            KeyCode::Char('k') | KeyCode::Up => up(1),
            KeyCode::Char('g' | '<') | KeyCode::Home => 0,
            KeyCode::Char('G' | '>') | KeyCode::End => self.lines.len(),
            KeyCode::Char('/') => {
                (self.search, self.is_typing) = (String::new(), true);
                return true;
            }
            KeyCode::Char('n') => {
                self.find(self.top + 1);
                return true;
            }
            KeyCode::Char('N') => {
                self.find_before(self.top);
                return true;
            }
            _ => return true,
        };
        self.top = to.min(self.last());
        true
    }

    /// To the first line from this one on that has what is searched.
    fn find(&mut self, from: usize) {
        let found = self.lines.iter().skip(from).position(|line| line.contains(&self.search));
        self.go(found.map(|beyond| from + beyond));
    }

    fn find_before(&mut self, before: usize) {
        let lines = self.lines.get(..before).unwrap_or_default();
        self.go(lines.iter().rposition(|line| line.contains(&self.search)));
    }

    fn go(&mut self, found: Option<usize>) {
        match found {
            Some(line) => self.top = line.min(self.last()),
            None => self.note = "not found; ",
        }
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let areas = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]);
        let [page, foot] = areas.areas(frame.area());
        self.fit(page.width.into(), page.height.into());
        let lines = self.lines.iter().skip(self.top).take(self.rows);
        frame.render_widget(Text::from_iter(lines.map(|line| Line::raw(*line))), page);
        let foot_line = match self.is_typing {
            true => Line::raw(format!("/{}", self.search)),
            false => {
                let end = (self.top + self.rows).min(self.lines.len());
                let (note, all) = (self.note, self.lines.len());
                Line::raw(format!(
                    "{note}lines {}-{end} of {all}; q: back, Space: on, /: search",
                    self.top + 1
                ))
                .reversed()
            }
        };
        frame.render_widget(foot_line, foot);
    }
}

/// Where a part of a text begins in it, bytes.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr().addr().wrapping_sub(text.as_ptr().addr())
}

/// A line in parts of so many characters at most.
fn cut(line: &str, columns: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let end = line.char_indices().nth(columns.max(1)).map_or(line.len(), |(at, _)| at);
        let (part, after) = line.split_at(end);
        rest = (!after.is_empty()).then_some(after);
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(pages: &mut Pages<'_>, columns: u16, rows: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| pages.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..rows).map(|y| row(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn keys_lead_to_pages_lines_and_what_is_searched() {
        let text: String = (1..=100).map(|number| format!("line {number}\n")).collect();
        let mut pages = Pages::new(&text);
        let mut after = |keys: &[KeyCode]| {
            assert!(keys.iter().all(|key| pages.key(*key)));
            screen(&mut pages, 60, 11)
        };
        let first = after(&[]);
        assert_eq!((first[0].as_str(), first[9].as_str()), ("line 1", "line 10"));
        assert_eq!(first[10], "lines 1-10 of 100; q: back, Space: on, /: search");
        assert_eq!(after(&[KeyCode::Char(' ')])[0], "line 11");
        assert_eq!(after(&[KeyCode::Down])[0], "line 12");
        assert_eq!(after(&[KeyCode::Char('b')])[0], "line 2");
        assert_eq!(after(&[KeyCode::Char('G')])[9], "line 100");
        assert_eq!(after(&[KeyCode::Char(' ')])[9], "line 100", "the end is the end");
        let search = ['/', 'e', ' ', '4', '2'].map(KeyCode::Char);
        after(&[KeyCode::Home]);
        assert_eq!(after(&search)[10], "/e 42");
        assert_eq!(after(&[KeyCode::Enter])[0], "line 42");
        assert!(after(&[KeyCode::Char('n')])[10].starts_with("not found; "));
        assert_eq!(after(&[KeyCode::Char('g'), KeyCode::Char('/'), KeyCode::Esc])[0], "line 1");
        assert!(!pages.key(KeyCode::Char('q')));
    }

    #[test]
    fn another_width_keeps_the_place() {
        let text: String = (10..60).map(|number| format!("{number}{}\n", "x".repeat(38))).collect();
        let mut pages = Pages::new(&text);
        screen(&mut pages, 40, 6);
        pages.key(KeyCode::Char(' '));
        assert!(screen(&mut pages, 40, 6)[0].starts_with("15"));
        let narrow = screen(&mut pages, 20, 6);
        assert!(narrow[0].starts_with("15") && narrow[1].starts_with("xx"), "{narrow:?}");
        assert!(screen(&mut pages, 100, 6)[0].starts_with("15"));
    }
}
