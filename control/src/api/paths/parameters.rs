//! What stands in braces in the paths.

use crate::api::view::PortLabel;
use crate::model::Name;
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;
use utoipa::IntoParams;

/// A guest.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct GuestPath {
    /// Name of the guest.
    pub(super) guest: Name,
}

/// An adapter of a guest.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct AdapterPath {
    /// Name of the guest.
    pub(super) guest: Name,
    /// Name of the adapter.
    pub(super) adapter: Name,
}

/// A network.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NetworkPath {
    /// Name of the network.
    pub(super) network: Name,
}

/// A MAC of a network.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct MacPath {
    /// Name of the network.
    pub(super) network: Name,
    /// The MAC.
    #[param(value_type = String, example = "02:00:5e:10:00:01")]
    pub(super) mac: MacAddr,
}

/// A port that the operator named.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NamedPortPath {
    /// Name of the port.
    pub(super) port: Name,
}

/// A port of any kind.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct PortPath {
    /// The port: NAME, GUEST%2FADAPTER or network:NET.
    pub(super) port: PortLabel,
}

/// A destination prefix.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct PrefixPath {
    /// The prefix, its slash written %2F; a bare address stands for itself alone.
    #[serde(deserialize_with = "prefix")]
    #[param(value_type = String, example = "203.0.113.64%2F26")]
    pub(super) prefix: IpNet,
}

/// An IP address.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct IpPath {
    /// The address.
    #[serde(deserialize_with = "address")]
    #[param(value_type = String, example = "203.0.113.65")]
    pub(super) ip: IpAddr,
}

/// A class.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ClassPath {
    /// Name of the class.
    pub(super) class: Name,
}

/// Which part of a long list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Only what comes after this prefix: `next` of the answer before.
    #[serde(default, deserialize_with = "maybe_prefix")]
    #[param(value_type = Option<String>)]
    pub(super) after: Option<IpNet>,
    /// At most so many, 1 to 10000; 10000 where absent.
    #[serde(default)]
    #[param(minimum = 1, maximum = 10000)]
    pub(super) limit: Option<usize>,
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsAfter {
    /// Only those after the one of this number: `last` of the answer before.
    #[serde(default)]
    pub(super) after: u64,
    /// At most so many, 1 to 1000; 1000 where absent.
    #[serde(default)]
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
    /// Seconds to wait for the first one where there is none yet, at most 30; 0 where absent.
    #[serde(default)]
    #[param(minimum = 0, maximum = 30)]
    pub(super) wait: u64,
}

/// How long to measure.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Measured {
    /// Seconds, 1 to 30; 1 where absent.
    #[serde(default)]
    #[param(minimum = 1, maximum = 30)]
    pub(super) seconds: Option<u64>,
}

fn maybe_prefix<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpNet>, D::Error> {
    prefix(from).map(Some)
}

/// A prefix, or an address as the prefix of itself alone.
fn prefix<'de, D: Deserializer<'de>>(from: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(from)?;
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(alone).ok_or_else(|| {
        let message = format!("bad prefix {text:?}: want ADDRESS/LENGTH, like 203.0.113.64/26");
        serde::de::Error::custom(message)
    })
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!("bad address {text:?}: want one like 203.0.113.65"))
    })
}
