//! Reading one table of the file: typed values by key, each error noted with its line.

use super::error::{Errors, Lines};
use super::recover::Recovered;
use super::suggest::nearest;
use crate::model::{check_rate, parse_prefix, parse_rate};
use ipnet::IpNet;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What all sections of one file share.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) lines: Lines,
    pub(super) errors: RefCell<Errors>,
    /// Where lines are missing, a missing key may only have been unreadable.
    pub(super) recovered: &'a Recovered,
}

/// One table of the file.
#[derive(Debug)]
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    path: String,
    /// The paths of what was wrong in it so far.
    wrong: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    /// Opens a table; keys that it may not have are errors.
    pub(super) fn open(
        source: &'a Source<'a>,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        path: String,
        known: &[&str],
    ) -> Self {
        let section = Self { source, table, span, path, wrong: RefCell::default() };
        for key in table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let advice = match nearest(name, known) {
                Some(meant) => {
                    // What its value was meant to say is not known.
                    section.doubt(meant);
                    format!("did you mean {meant}?")
                }
                None if known.is_empty() => "it has no keys".to_owned(),
                None => format!("the keys here are {}", known.join(", ")),
            };
            section.note(key.span().start, &section.key(name), format!("unknown key; {advice}"));
        }
        section
    }

    /// The path of one of its keys.
    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The same table for a second change, with what was wrong so far.
    pub(super) fn again(&self) -> Self {
        Self {
            source: self.source,
            table: self.table,
            span: self.span.clone(),
            path: self.path.clone(),
            wrong: self.wrong.clone(),
        }
    }

    /// Its path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether something in it was wrong.
    pub(super) fn is_wrong(&self) -> bool {
        !self.wrong.borrow().is_empty()
    }

    /// Whether the value of a key, or a part of it, was wrong, so that what was read is not what was
    /// meant.
    pub(super) fn is_doubtful(&self, key: &str) -> bool {
        self.wrong.borrow().contains(&self.key(key))
    }

    /// Takes the value of a key for wrong without an error of its own.
    pub(super) fn doubt(&self, key: &str) {
        self.wrong.borrow_mut().insert(self.key(key));
    }

    /// The line of a key, or of the section where it hasn't that key.
    pub(super) fn line(&self, key: &str) -> usize {
        let start = self.table.get_key_value(key).map(|(key, _)| key.span().start);
        self.source.lines.line(start.unwrap_or(self.span.start))
    }

    /// Notes an error about one of its keys, or about itself where it hasn't that key.
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>) {
        let path = if self.table.contains_key(key) { self.key(key) } else { self.path.clone() };
        self.doubt(key);
        self.source.errors.borrow_mut().add(Some(self.line(key)), &path, message);
    }

    /// Whether it has a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn note(&self, at: usize, key: &str, message: String) {
        self.wrong.borrow_mut().insert(key.to_owned());
        let line = self.source.lines.line(at);
        self.source.errors.borrow_mut().add(Some(line), key, message);
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let message = format!("{} is not {wanted}", shown(value.get_ref()));
        self.note(value.span().start, &self.key(key), message);
    }

    /// A string.
    pub(super) fn string(&self, key: &str) -> Option<&'a str> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, "a string in quotes");
        }
        text
    }

    /// A string, if it is one; no error where it is not.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.value(key)?.get_ref().as_str()
    }

    /// A string that is read further.
    pub(super) fn parsed<T>(&self, key: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.string(key)?;
        text.parse().map_err(|bad| self.refuse(key, format!("{bad}"))).ok()
    }

    /// An address; the standard library's error does not name what was written.
    pub(super) fn address<T: FromStr>(&self, key: &str, wanted: &str) -> Option<T> {
        let text = self.string(key)?;
        text.parse().map_err(|_| self.refuse(key, format!("{text:?} is not {wanted}"))).ok()
    }

    /// A prefix or bare address.
    pub(super) fn prefix(&self, key: &str) -> Option<IpNet> {
        let text = self.string(key)?;
        parse_prefix(text).map_err(|bad| self.refuse(key, bad.to_string())).ok()
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        self.chosen(key, text, words)
    }

    fn chosen<T: Copy>(&self, key: &str, text: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let known = known.join(", ");
            self.refuse(key, format!("{text:?} is unknown here; it is one of {known}"));
        }
        found
    }

    /// `true` or `false`.
    pub(super) fn switch(&self, key: &str) -> Option<bool> {
        let value = self.value(key)?;
        let switch = value.get_ref().as_bool();
        if switch.is_none() {
            self.wrong_type(key, value, "true or false");
        }
        switch
    }

    /// A whole number within limits.
    pub(super) fn number<T>(&self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display + Copy,
    {
        self.as_number(key, self.value(key)?, &range)
    }

    fn as_number<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        range: &RangeInclusive<T>,
    ) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display + Copy,
    {
        let digits = value.get_ref().as_integer();
        let digits = digits.and_then(|n| i128::from_str_radix(n.as_str(), n.radix()).ok());
        let number = digits.and_then(|n| T::try_from(n).ok()).filter(|n| range.contains(n));
        if number.is_none() {
            let wanted = format!("a whole number from {} to {}", range.start(), range.end());
            self.wrong_type(key, value, &wanted);
        }
        number
    }

    /// A rate, bits per second: a whole number, or text with a unit.
    pub(super) fn rate(&self, key: &str) -> Option<u64> {
        let value = self.value(key)?;
        let read = match value.get_ref() {
            DeValue::String(text) => parse_rate(text),
            DeValue::Integer(_) => check_rate(self.number(key, 0..=u64::MAX)?),
            _ => {
                self.wrong_type(key, value, "a rate: bits per second, like 10000000 or \"10M\"");
                return None;
            }
        };
        read.map_err(|bad| self.refuse(key, bad.to_string())).ok()
    }

    /// A list of whole numbers within limits.
    pub(super) fn numbers<T>(&self, key: &str, range: RangeInclusive<T>) -> Option<Vec<T>>
    where
        T: TryFrom<i128> + PartialOrd + Display + Copy,
    {
        let items = self.list(key, "a list of whole numbers, like [1, 2]")?;
        Some(items.iter().filter_map(|item| self.as_number(key, item, &range)).collect())
    }

    /// A list of strings, each read further; what is wrong with one doesn't hide the others.
    pub(super) fn strings<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let items = self.list(key, "a list of strings, like [\"one\", \"two\"]")?;
        let one = |item: &Spanned<DeValue<'_>>| {
            let Some(text) = item.get_ref().as_str() else {
                self.wrong_type(key, item, "a string in quotes");
                return None;
            };
            let at = item.span().start;
            read(text).map_err(|message| self.note(at, &self.key(key), message)).ok()
        };
        Some(items.iter().filter_map(one).collect())
    }

    /// A list of prefixes or bare addresses.
    pub(super) fn prefixes(&self, key: &str) -> Option<Vec<IpNet>> {
        self.strings(key, |text| parse_prefix(text).map_err(|bad| bad.to_string()))
    }

    /// A list of some words.
    pub(super) fn choices<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<Vec<T>> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.strings(key, |text| {
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| format!("{text:?} is unknown; it is one of {}", known.join(", ")))
        })
    }

    fn list(&self, key: &str, wanted: &str) -> Option<&'a [Spanned<DeValue<'a>>]> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Array(items) => Some(items),
            _ => {
                self.wrong_type(key, value, wanted);
                None
            }
        }
    }

    /// Says that a key is missing, if it is.
    pub(super) fn require(&self, key: &str, what: &str) {
        let header = self.source.lines.line(self.span.start);
        if self.table.contains_key(key) {
            return;
        }
        self.doubt(key);
        if self.source.recovered.is_damaged(header) {
            return;
        }
        self.note(self.span.start, &self.path, format!("{key} is missing: {what}"));
    }

    /// A table within.
    pub(super) fn table(&self, key: &str, known: &[&str]) -> Option<Section<'a>> {
        self.table_like(key, known, &format!("a table: [{}]", self.key(key)))
    }

    /// A table within, of which an error says what it looks like.
    pub(super) fn table_like(
        &self,
        key: &str,
        known: &[&str],
        wanted: &str,
    ) -> Option<Section<'a>> {
        let value = self.value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(key, value, wanted);
            return None;
        };
        Some(Section::open(self.source, table, value.span(), self.key(key), known))
    }

    /// The keys of a table within, where they are names that the operator gave.
    pub(super) fn keys(&self, key: &str) -> Vec<&'a str> {
        let table = self.value(key).and_then(|value| value.get_ref().as_table());
        table.into_iter().flat_map(|table| table.keys()).map(|key| key.get_ref().as_ref()).collect()
    }

    /// The tables of an array of tables. The first known key is what one is called by.
    pub(super) fn tables(&self, key: &str, known: &[&str]) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let wanted = format!("an array of tables: [[{key}]]");
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, &wanted);
            return Vec::new();
        };
        let open = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::Table(table) => {
                let called = known.first().and_then(|key| table.get(*key)?.get_ref().as_str());
                let path = match called {
                    Some(name) => format!("{}[{}]", self.key(key), cut(name)),
                    None => self.key(key),
                };
                Some(Section::open(self.source, table, item.span(), path, known))
            }
            _ => {
                self.wrong_type(key, item, &wanted);
                None
            }
        };
        items.iter().filter_map(open).collect()
    }
}

/// A value as an error shows it.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", cut(text)),
        DeValue::Integer(number) => cut(&number.to_string()),
        DeValue::Float(number) => cut(&number.to_string()),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A readable part of a text: what the file holds may be any length, and control what it is shown on.
fn cut(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut out: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}
