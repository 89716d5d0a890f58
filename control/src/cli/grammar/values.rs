//! The arguments of one command, as it was typed.

use super::kind::Kind;
use crate::model::Name;
use ipnet::IpNet;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

/// Words by the usage's name for their place: an argument's name, a choice's text, a keyword.
#[derive(Default, Debug, PartialEq)]
pub(in crate::cli) struct Values(Vec<Value>);

#[derive(Debug, PartialEq)]
struct Value {
    key: &'static str,
    word: String,
    /// Of an argument; a word of the usage itself has none.
    kind: Option<Kind>,
}

impl Values {
    pub(super) fn push(&mut self, key: &'static str, word: &str, kind: Option<Kind>) {
        self.0.push(Value { key, word: word.to_owned(), kind });
    }

    /// The arguments and their kinds.
    pub(in crate::cli) fn arguments(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.0.iter().filter_map(|value| value.kind.map(|kind| (kind, value.word.as_str())))
    }

    /// Nothing but these keys was given.
    pub(in crate::cli) fn only(&self, keys: &[&str]) -> bool {
        self.0.iter().all(|value| keys.contains(&value.key))
    }

    /// Whether a keyword was given.
    pub(in crate::cli) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|value| value.key == key)
    }

    /// The words at a place.
    pub(in crate::cli) fn all<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |value| value.key == key).map(|value| value.word.as_str())
    }

    /// The words behind a keyword that takes `N` of them and may be repeated, each time on their own.
    pub(in crate::cli) fn groups<const N: usize>(&self, key: &str) -> Vec<[&str; N]> {
        let words: Vec<&str> = self.all(key).collect();
        words.chunks_exact(N).filter_map(|group| group.try_into().ok()).collect()
    }

    /// The word at a place, if it was given.
    pub(in crate::cli) fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|value| value.key == key).map(|value| value.word.as_str())
    }

    /// The word at a place that the usage asks for.
    pub(in crate::cli) fn need_text(&self, key: &str) -> Result<&str, String> {
        self.text(key).ok_or_else(|| format!("{key} is missing"))
    }

    /// The value at a place, if it was given.
    pub(in crate::cli) fn value<T: FromStr<Err: Display>>(
        &self,
        key: &str,
    ) -> Result<Option<T>, String> {
        self.text(key).map(|word| read(key, word)).transpose()
    }

    /// The value at a place that the usage asks for.
    pub(in crate::cli) fn need<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T, String> {
        read(key, self.need_text(key)?)
    }

    /// A port that the operator named; a guest's own or the server's has no such name.
    pub(in crate::cli) fn named_port(&self, key: &str) -> Result<Name, String> {
        let word = self.need_text(key)?;
        word.parse().map_err(|_| {
            format!("port {word:?} belongs to an adapter or a network; want an uplink, host or shared port")
        })
    }

    /// The addresses behind a keyword that may be repeated: absent, or empty for `none`.
    pub(in crate::cli) fn addresses(&self, key: &str) -> Result<Option<Vec<IpAddr>>, String> {
        self.repeated(key, |word| read(key, word))
    }

    /// The prefixes behind a keyword that may be repeated: absent, or empty for `none`.
    pub(in crate::cli) fn prefixes(&self, key: &str) -> Result<Option<Vec<IpNet>>, String> {
        self.repeated(key, prefix)
    }

    fn repeated<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, String> {
        let words: Vec<&str> = self.all(key).collect();
        match words.as_slice() {
            [] => Ok(None),
            ["none"] => Ok(Some(Vec::new())),
            words if words.contains(&"none") => {
                Err(format!("{key} none leaves no room for {key} {}", other_than_none(words)))
            }
            words => words.iter().map(|word| read(word)).collect::<Result<_, _>>().map(Some),
        }
    }

    /// `on` or `off` behind a keyword, if it was given.
    pub(in crate::cli) fn switch(&self, key: &str) -> Option<bool> {
        self.text(key).map(|word| word == "on")
    }
}

fn other_than_none<'a>(words: &[&'a str]) -> &'a str {
    words.iter().find(|word| **word != "none").unwrap_or(&"none")
}

fn read<T: FromStr<Err: Display>>(key: &str, word: &str) -> Result<T, String> {
    word.parse().map_err(|error| format!("bad {key} {word:?}: {error}"))
}

/// A prefix, or an address as the prefix of itself alone.
pub(in crate::cli) fn prefix(word: &str) -> Result<IpNet, String> {
    let alone = || word.parse::<IpAddr>().ok().map(IpNet::from);
    let wrong = || format!("bad prefix {word:?}: want ADDRESS/LENGTH, like 203.0.113.64/26");
    word.parse().ok().or_else(alone).ok_or_else(wrong)
}
