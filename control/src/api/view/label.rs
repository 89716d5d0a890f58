//! How answers and requests name an adapter and a port of any kind.

use crate::model::{BadName, Name};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An adapter by its guest and its own name, written `GUEST/ADAPTER`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AdapterLabel {
    /// Guest.
    pub guest: Name,
    /// Adapter.
    pub adapter: Name,
}

/// A port of any kind. Guests' own ports have no name of their own: they go by what they belong to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PortLabel {
    /// A port that the operator named: an uplink, the host port, a shared port. Written `NAME`.
    Named(Name),
    /// A guest adapter's own port. Written `GUEST/ADAPTER`.
    Adapter(AdapterLabel),
    /// The server's port on a network. Written `network:NET`.
    Server(Name),
}

/// Text that names no adapter or no port.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadLabel {
    /// One of its parts is not a name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// No slash in an adapter's label.
    #[error("bad adapter {0:?}: want GUEST/ADAPTER, like ct1/eth0")]
    NoSlash(String),
}

/// What a server port's label begins with; `:` is in no name, so nothing else can.
const SERVER_PREFIX: &str = "network:";

impl FromStr for AdapterLabel {
    type Err = BadLabel;

    fn from_str(text: &str) -> Result<Self, BadLabel> {
        let (guest, adapter) =
            text.split_once('/').ok_or_else(|| BadLabel::NoSlash(text.to_owned()))?;
        Ok(Self { guest: guest.parse()?, adapter: adapter.parse()? })
    }
}

impl FromStr for PortLabel {
    type Err = BadLabel;

    fn from_str(text: &str) -> Result<Self, BadLabel> {
        if let Some(network) = text.strip_prefix(SERVER_PREFIX) {
            return Ok(Self::Server(network.parse()?));
        }
        if text.contains('/') {
            text.parse().map(Self::Adapter)
        } else {
            Ok(Self::Named(text.parse()?))
        }
    }
}

impl fmt::Display for AdapterLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.guest, self.adapter)
    }
}

impl fmt::Display for PortLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::Adapter(label) => label.fmt(f),
            Self::Server(network) => write!(f, "{SERVER_PREFIX}{network}"),
        }
    }
}

impl TryFrom<String> for AdapterLabel {
    type Error = BadLabel;

    fn try_from(text: String) -> Result<Self, BadLabel> {
        text.parse()
    }
}

impl TryFrom<String> for PortLabel {
    type Error = BadLabel;

    fn try_from(text: String) -> Result<Self, BadLabel> {
        text.parse()
    }
}

impl From<AdapterLabel> for String {
    fn from(label: AdapterLabel) -> String {
        label.to_string()
    }
}

impl From<PortLabel> for String {
    fn from(label: PortLabel) -> String {
        label.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_back_as_they_are_written() {
        for text in ["up0", "ct1/eth0", "network:lan0"] {
            assert_eq!(text.parse::<PortLabel>().unwrap().to_string(), text);
        }
        assert!(matches!("ct1/eth0".parse(), Ok(PortLabel::Adapter(_))));
        for bad in ["", "UP", "a/b/c", "/", "a/", "network:", "tap,iface=x", "network:a/b"] {
            assert!(bad.parse::<PortLabel>().is_err(), "{bad}");
        }
        assert!("ct1".parse::<AdapterLabel>().is_err());
    }
}
