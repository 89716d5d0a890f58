//! The limits that `adapter add` and `adapter set` take: `rate in 10M`, `class-rate local out none`.

use crate::cli::grammar::Values;
use crate::model::{ClassRates, Rate, parse_rate};

/// What `rate WAY BITS` says, if it is there.
pub(super) fn rate(values: &Values) -> Result<Option<Rate>, String> {
    let mut rate = None;
    for [way, bits] in values.groups("rate") {
        set(rate.get_or_insert_default(), "rate", way, bits)?;
    }
    Ok(rate)
}

/// What `class-rate CLASS WAY BITS` says, if it is there.
pub(super) fn class_rates(values: &Values) -> Result<Option<ClassRates>, String> {
    let mut rates = ClassRates::new();
    for [class, way, bits] in values.groups("class-rate") {
        let name = class.parse().map_err(|bad| format!("{bad}"))?;
        set(rates.entry(name).or_default(), &format!("class-rate {class}"), way, bits)?;
    }
    Ok(Some(rates).filter(|rates| !rates.is_empty()))
}

/// What `storm FRAMES` says, if it is there.
pub(super) fn storm(values: &Values) -> Result<Option<u32>, String> {
    match values.text("storm") {
        Some("none") => Ok(Some(0)),
        _ => values.value("storm"),
    }
}

fn set(rate: &mut Rate, what: &str, way: &str, bits: &str) -> Result<(), String> {
    let place = if way == "in" { &mut rate.in_bps } else { &mut rate.out_bps };
    let bps = parse_rate(bits).map_err(|bad| bad.to_string())?;
    match place.replace(bps) {
        None => Ok(()),
        Some(_) => Err(format!("{what} {way} is given twice")),
    }
}
