//! Rates as the operator writes them: bits per second, with the units that `tc` (8) takes as well.
//! Crates that read quantities count bytes, in powers of 1024 as soon as a `k` is seen, or bring
//! decimal numbers of any size; a rate is neither.

use super::Name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use utoipa::ToSchema;

/// Rates that can be asked for, bits per second; 0 asks for none.
const RATE_BPS: RangeInclusive<u64> = 1_000..=1_000_000_000_000;
/// Units, the largest first, and how many zeros each stands for.
const UNITS: [(&str, usize); 4] = [("t", 12), ("g", 9), ("m", 6), ("k", 3)];

/// Rate limit, bits per second, seen from the guest; 0 is none. What is left out stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rate {
    /// Towards the guest.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub in_bps: Option<u64>,
    /// From the guest.
    #[serde(default, rename = "out", skip_serializing_if = "Option::is_none")]
    pub out_bps: Option<u64>,
}

/// Rates by destination class.
pub type ClassRates = BTreeMap<Name, Rate>;

/// Not a rate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadRate {
    /// Text of another form.
    #[error(
        "{0:?} is not a rate: bits per second like 500k, 10M, 2.5G or 10mbit, by powers of 1000, or \
         none"
    )]
    Form(String),
    /// Out of bounds.
    #[error("{0} bit/s is no rate to limit to: from 1 kbit/s to 1 Tbit/s, or 0 for none")]
    Range(u64),
}

impl Rate {
    /// No limit, either way.
    pub const NONE: Self = Self { in_bps: Some(0), out_bps: Some(0) };
}

/// Reads `10000000`, `10M`, `2.5g`, `500kbit`, and `none` as 0. Powers of 1000.
///
/// # Errors
/// It is none of these, a fraction of a bit, or out of bounds.
pub fn parse_rate(text: &str) -> Result<u64, BadRate> {
    let bad = || BadRate::Form(text.to_owned());
    let lower = text.to_ascii_lowercase();
    if lower == "none" {
        return Ok(0);
    }
    let number = lower.strip_suffix("bit").unwrap_or(&lower);
    let unit = UNITS.iter().find_map(|(unit, zeros)| Some((number.strip_suffix(unit)?, *zeros)));
    let (number, zeros) = unit.unwrap_or((number, 0));
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let part = Some(part).filter(|part| is_number(part)).ok_or_else(bad)?;
    let part = part.trim_end_matches('0');
    if !is_number(whole) || part.len() > zeros {
        return Err(bad());
    }
    // What has too many digits for a number is out of bounds as well.
    let bps = format!("{whole}{part:0<zeros$}").parse().unwrap_or(u64::MAX);
    check_rate(bps)
}

/// The same rate, where it is one that can be asked for.
///
/// # Errors
/// It is out of bounds.
pub fn check_rate(bps: u64) -> Result<u64, BadRate> {
    if bps == 0 || RATE_BPS.contains(&bps) { Ok(bps) } else { Err(BadRate::Range(bps)) }
}

/// A rate for a person: `10 Mbit/s`, `2.5 Gbit/s`, `1000001 bit/s`; exactly what it is.
pub fn shown_rate(bps: u64) -> String {
    let units = [("T", 12_u32), ("G", 9), ("M", 6), ("k", 3)];
    let fitting = units.iter().find_map(|(unit, zeros)| {
        let size = 10_u64.pow(*zeros);
        // Three digits before and behind the point are still read at a glance.
        let thousandths = bps / (size / 1000);
        let fits = (1_000..1_000_000).contains(&thousandths) && bps.is_multiple_of(size / 1000);
        fits.then_some((*unit, thousandths))
    });
    let Some((unit, thousandths)) = fitting else { return format!("{bps} bit/s") };
    let (whole, part) = (thousandths / 1000, thousandths % 1000);
    let part = format!(".{part:03}");
    let part = part.trim_end_matches('0').trim_end_matches('.');
    format!("{whole}{part} {unit}bit/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_the_units_of_tc() {
        for (text, bps) in [
            ("none", 0),
            ("0", 0),
            ("1000", 1_000),
            ("1000bit", 1_000),
            ("500k", 500_000),
            ("500Kbit", 500_000),
            ("10M", 10_000_000),
            ("10mbit", 10_000_000),
            ("2.5G", 2_500_000_000),
            ("2.500gbit", 2_500_000_000),
            ("0.001m", 1_000),
            ("1T", 1_000_000_000_000),
        ] {
            assert_eq!(parse_rate(text), Ok(bps), "{text}");
        }
        for text in [
            "", "k", "bit", "M10", "10 M", "10MB", "-1", "+5k", "1.5", "1.0005k", ".5M", "5.M",
            "1.2.3k", "0x10", "10mm", "ten",
        ] {
            assert_eq!(parse_rate(text), Err(BadRate::Form(text.to_owned())), "{text}");
        }
        assert_eq!(parse_rate("999"), Err(BadRate::Range(999)));
        assert_eq!(parse_rate("1001G"), Err(BadRate::Range(1_001_000_000_000)));
        assert_eq!(parse_rate(&"9".repeat(40)), Err(BadRate::Range(u64::MAX)));
    }

    #[test]
    fn rates_are_shown_as_they_are_and_read_back() {
        for (bps, shown) in [
            (1_000, "1 kbit/s"),
            (1_001, "1.001 kbit/s"),
            (10_000_000, "10 Mbit/s"),
            (2_500_000_000, "2.5 Gbit/s"),
            (1_000_001, "1000001 bit/s"),
            (1_234_000, "1.234 Mbit/s"),
            (1_000_000_000_000, "1 Tbit/s"),
            (999, "999 bit/s"),
        ] {
            assert_eq!(shown_rate(bps), shown);
        }
    }
}
