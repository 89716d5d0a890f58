//! A name of a guest, adapter, port, network or class.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// 1 to 32 of a-z, 0-9, `-`, `_`, `.`; never `.` or `..`. Shared text: a clone costs a count, since
/// the registry's indexes and effects repeat names by the ten thousand.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(Arc<str>);

/// A string that is not a name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad name {0:?}: 1 to 32 of a-z, 0-9, '-', '_', '.'")]
pub struct BadName(String);

impl Name {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        let good = (1..=32).contains(&text.len())
            && text.bytes().all(legal)
            && text.bytes().any(|b| b != b'.');
        if good { Ok(Self(text.into())) } else { Err(BadName(text)) }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.as_ref().to_owned()
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_lower_case_words() {
        for good in ["a", "ct1", "web-1.example_x", &"a".repeat(32)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "A", "a b", "a/b", "..", ".", "ü", &"a".repeat(33)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
