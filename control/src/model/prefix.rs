//! Prefixes as the operator writes them: a bare address means a host prefix (/32 or /128), and host
//! bits are kept, since on an uplink or in a network they are the address.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::IpAddr;

/// Text that is neither an address nor a prefix.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad address {0:?}: an IPv4 or IPv6 address, or one with /LENGTH, like 203.0.113.11/32")]
pub struct BadPrefix(String);

/// Reads `203.0.113.11`, `203.0.113.11/32`, `2001:db8::/64`.
pub fn parse_prefix(text: &str) -> Result<IpNet, BadPrefix> {
    let bare = |text: &str| text.parse::<IpAddr>().map(IpNet::from).ok();
    text.parse().ok().or_else(|| bare(text)).ok_or_else(|| BadPrefix(text.to_owned()))
}

/// A prefix that may be written bare.
#[derive(Clone, Copy)]
struct Lenient(IpNet);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse_prefix(&text).map(Lenient).map_err(serde::de::Error::custom)
    }
}

/// `#[serde(with)]` for one prefix.
pub(super) mod single {
    use super::*;

    pub(in crate::model) fn serialize<S: Serializer>(
        net: &IpNet,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        net.serialize(to)
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<IpNet, D::Error> {
        Ok(Lenient::deserialize(from)?.0)
    }
}

/// `#[serde(with)]` for a list of prefixes.
pub(super) mod list {
    use super::*;

    pub(in crate::model) fn serialize<S: Serializer>(
        nets: &[IpNet],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        nets.serialize(to)
    }

    pub(in crate::model) fn deserialize<'de, D>(from: D) -> Result<Vec<IpNet>, D::Error>
    where
        D: Deserializer<'de>,
    {
        Ok(Vec::<Lenient>::deserialize(from)?.into_iter().map(|lenient| lenient.0).collect())
    }
}

/// `#[serde(with)]` for a list that may be absent.
pub(super) mod optional_list {
    use super::*;

    pub(in crate::model) fn serialize<S>(
        nets: &Option<Vec<IpNet>>,
        to: S,
    ) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        nets.serialize(to)
    }

    pub(in crate::model) fn deserialize<'de, D>(from: D) -> Result<Option<Vec<IpNet>>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let nets = Option::<Vec<Lenient>>::deserialize(from)?;
        Ok(nets.map(|nets| nets.into_iter().map(|lenient| lenient.0).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_address_is_a_host_prefix_and_host_bits_stay() {
        assert_eq!(parse_prefix("203.0.113.11").unwrap().to_string(), "203.0.113.11/32");
        assert_eq!(parse_prefix("2001:db8::1").unwrap().to_string(), "2001:db8::1/128");
        assert_eq!(parse_prefix("192.0.2.1/24").unwrap().to_string(), "192.0.2.1/24");
        for bad in ["", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4/", " 1.2.3.4", "1.2.3.4/-1"] {
            assert!(parse_prefix(bad).is_err(), "{bad}");
        }
    }
}
