//! What an argument may be, by its name in the usage strings.

use super::values;
use crate::api::view::PortLabel;
use crate::model::{Filter, Name, parse_rate};
use crate::registry::{AGE_S, MAX_MACS, MTU, QUEUES_MAX, STORM_PPS, VLAN_ID};
use dataplane::wire::ethernet::MacAddr;
use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// A kind of argument.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::cli) enum Kind {
    Guest,
    Adapter,
    Network,
    Class,
    /// A port of any kind; commands that want a named one say so themselves.
    Port,
    Ip,
    /// An address too, for itself alone.
    Prefix,
    Mac,
    /// A decimal number within these bounds.
    Number(u32, u32),
    /// Bits per second, with a unit or without.
    Rate,
    /// A device or port specification; what is in it the appliance judges.
    Device,
    /// A namespace's name.
    Netns,
    /// Filters with commas between.
    Filters,
    /// A path on this machine.
    File,
    /// What a static MAC points to.
    Target,
    /// Which packets, as tcpdump has it.
    Filter,
    /// Any word.
    Word,
}

impl Kind {
    /// The kind that a word of a usage string stands for; none for a word that stands for itself.
    pub(super) fn of(name: &str) -> Option<Kind> {
        Some(match name {
            "GUEST" => Kind::Guest,
            "ADAPTER" => Kind::Adapter,
            "NET" => Kind::Network,
            "CLASS" => Kind::Class,
            "PORT" => Kind::Port,
            "IP" => Kind::Ip,
            "PREFIX" => Kind::Prefix,
            "MAC" => Kind::Mac,
            "BYTES" => number(u32::from(*MTU.start())..=u32::from(*MTU.end())),
            "N" => number(1..=u32::from(QUEUES_MAX)),
            "ID" => number(u32::from(*VLAN_ID.start())..=u32::from(*VLAN_ID.end())),
            "Q" => number(0..=u32::from(QUEUES_MAX) - 1),
            "AMOUNT" => Kind::Number(1, 1_000),
            "PACKETS" => Kind::Number(1, u32::MAX),
            "DURATION" => Kind::Number(1, 86_400),
            "SNAPLEN" => Kind::Number(60, 65_600),
            "EXPR" => Kind::Filter,
            "S" => Kind::Number(1, 30),
            "W" => Kind::Number(0, 4095),
            "COUNT" => number(MAX_MACS),
            "SECONDS" => number(AGE_S),
            "INTERVAL" => Kind::Number(1, 60),
            "BITS" => Kind::Rate,
            "FRAMES" => number(STORM_PPS),
            "DEVARGS" | "SPEC" => Kind::Device,
            "NETNS" => Kind::Netns,
            "LIST" => Kind::Filters,
            "FILE" => Kind::File,
            "TARGET" => Kind::Target,
            "WORD" => Kind::Word,
            _ => return None,
        })
    }

    /// What it is, in a few words.
    pub(super) fn describe(self) -> String {
        match self {
            Kind::Guest => "a guest's name".into(),
            Kind::Adapter => "an adapter's name".into(),
            Kind::Network => "a network's name".into(),
            Kind::Class => "a class's name".into(),
            Kind::Port => "a port's name".into(),
            Kind::Ip => "an address like 192.0.2.1".into(),
            Kind::Prefix => "a prefix like 203.0.113.64/26".into(),
            Kind::Mac => "a MAC like 02:00:5e:10:00:01".into(),
            Kind::Number(low, high) => format!("a number from {low} to {high}"),
            Kind::Rate => "bits per second from 1k to 1T, like 500k, 10M or 2.5G".into(),
            Kind::Device => {
                "a device like net_tap0,iface=up0, tap,iface=eth0 or 0000:3b:00.0".into()
            }
            Kind::Netns => "a network namespace".into(),
            Kind::Filters => "filters like ip,mac,promisc,dhcp,ra,bpdu".into(),
            Kind::File => "a file".into(),
            Kind::Target => "a port, GUEST/ADAPTER or server".into(),
            Kind::Filter => "a filter in quotes, like \"icmp and host 192.0.2.1\"".into(),
            Kind::Word => "a word".into(),
        }
    }

    /// Whether a word can be one.
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn check(self, word: &str) -> Result<(), String> {
        let or_describe =
            |fits: bool| if fits { Ok(()) } else { Err(format!("want {}", self.describe())) };
        match self {
            Kind::Guest | Kind::Adapter | Kind::Network | Kind::Class => {
                let is_name = word.parse::<Name>().is_ok();
                if is_name { Ok(()) } else { Err("want 1 to 32 of a-z, 0-9, '-', '_', '.'".into()) }
            }
            Kind::Port => {
                let is_label = word.parse::<PortLabel>().is_ok();
                let want = "want a port's name, GUEST/ADAPTER or network:NET";
                if is_label { Ok(()) } else { Err(want.into()) }
            }
            Kind::Ip => or_describe(word.parse::<IpAddr>().is_ok()),
            Kind::Prefix => or_describe(values::prefix(word).is_ok()),
            Kind::Mac => or_describe(word.parse::<MacAddr>().is_ok()),
            Kind::Number(low, high) => {
                or_describe(word.parse::<u32>().is_ok_and(|n| (low..=high).contains(&n)))
            }
            Kind::Rate => or_describe(parse_rate(word).is_ok()),
            Kind::Filters => filters(word).map(|_| ()),
            Kind::Device | Kind::Netns | Kind::File | Kind::Target | Kind::Filter | Kind::Word => {
                or_describe(!word.is_empty() && !word.starts_with("--"))
            }
        }
    }
}

fn number(range: RangeInclusive<u32>) -> Kind {
    Kind::Number(*range.start(), *range.end())
}

/// Filters with commas between; `none` for none, `all` for all.
pub(in crate::cli) fn filters(word: &str) -> Result<BTreeSet<Filter>, String> {
    const ALL: &str = "ip,mac,promisc,dhcp,ra,bpdu";
    let word = match word {
        "none" => return Ok(BTreeSet::new()),
        "all" => ALL,
        other => other,
    };
    let one = |part: &str| {
        Filter::deserialize(StrDeserializer::<ValueError>::new(part))
            .map_err(|_| format!("no filter {part:?}; want some of {ALL}, or none"))
    };
    word.split(',').map(one).collect()
}
