//! The limits of a `[[guest.adapter]]`: rates, in all and by class.

use super::section::Section;
use crate::model::{ClassRates, Name, Rate};

const WAYS: [&str; 2] = ["in", "out"];

/// `rate = { in = …, out = … }`; absent too where something is wrong in it.
pub(super) fn read_rate(section: &Section<'_>, key: &str) -> Option<Rate> {
    let rate = section.table_like(key, &WAYS, "a table like { in = \"10M\", out = \"5M\" }")?;
    let read = Rate { in_bps: rate.rate("in"), out_bps: rate.rate("out") };
    Some(read).filter(|_| !rate.is_wrong())
}

/// `class_rate = { CLASS = { in = … }, … }`, without what is wrong in it.
pub(super) fn read_class_rates(section: &Section<'_>) -> Option<ClassRates> {
    const KEY: &str = "class_rate";
    let classes = section.keys(KEY);
    let rates = section.table_like(KEY, &classes, "a table like { CLASS = { in = \"10M\" } }")?;
    let one = |class: &&str| {
        let rate = read_rate(&rates, class);
        let name = class.parse::<Name>().map_err(|bad| rates.refuse(class, bad.to_string()));
        Some((name.ok()?, rate?))
    };
    Some(classes.iter().filter_map(one).collect())
}
