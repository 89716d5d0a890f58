//! Errors of a configuration file, each with its place.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing wrong with a configuration file. Shown as `FILE:LINE: KEY: message`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; absent where the file as a whole is meant.
    pub line: Option<usize>,
    /// The key, with the names of what it is in: `guest[ct1].adapter[eth0].mac`; empty where the file
    /// as a whole is meant.
    pub key: String,
    /// What is wrong, with the offending value, and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(out, "{line}:")?;
        }
        if !self.key.is_empty() {
            write!(out, " {}:", self.key)?;
        }
        write!(out, " {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Errors as they are found, in any order.
#[derive(Debug)]
pub(super) struct Errors {
    file: PathBuf,
    found: Vec<ConfigError>,
}

impl Errors {
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    pub(super) fn add(&mut self, line: Option<usize>, key: &str, message: impl Into<String>) {
        let message = message.into();
        self.found.push(ConfigError {
            file: self.file.clone(),
            line,
            key: key.to_owned(),
            message,
        });
    }

    /// In the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<ConfigError> {
        self.found.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
        self.found.dedup();
        self.found
    }
}

/// Where lines begin, to turn a byte's position into a line.
#[derive(Debug)]
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { starts: std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect() }
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }
}
