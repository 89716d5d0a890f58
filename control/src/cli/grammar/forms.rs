//! Every form that a command has, told and tried: its usage with one choice at each place.

use super::kind::Kind;
use super::usage::{Alternative, Item, Usage};
use super::{GRAMMAR, parse};
use crate::cli::order::Order;

/// One word of a form: as it is told, and one that is right there.
type Word = (&'static str, String);

/// Each form of each command with what it orders: what must come, alone and with each thing that may.
pub(in crate::cli) fn forms() -> Vec<(String, Order)> {
    let mut forms = Vec::new();
    for (command, usage) in GRAMMAR.iter() {
        for words in of(usage) {
            let told: Vec<&str> = words.iter().map(|(told, _)| *told).collect();
            let typed: Vec<String> = words.iter().map(|(_, typed)| typed.clone()).collect();
            let Ok((found, values)) = parse(&typed) else { continue };
            // Of a word that another command takes for its own, that one's.
            if found.usage == command.usage
                && let Ok(order) = (command.order)(&values)
            {
                forms.push((told.join(" "), order));
            }
        }
    }
    forms
}

fn of(usage: &Usage) -> Vec<Vec<Word>> {
    let needed = each(&usage.items);
    let mut forms = needed.clone();
    for group in &usage.groups {
        let more = each(&group.items);
        let with = needed.iter().flat_map(|form| {
            more.iter().map(move |group| form.iter().chain(group).cloned().collect::<Vec<_>>())
        });
        forms.extend(with);
    }
    forms
}

/// Every choice at each of these places.
fn each(items: &[Item]) -> Vec<Vec<Word>> {
    let mut forms = vec![Vec::new()];
    for item in items {
        let words = choices(item);
        let longer = forms.iter().flat_map(|form: &Vec<Word>| {
            words.iter().map(move |word| form.iter().chain([word]).cloned().collect())
        });
        forms = longer.collect();
    }
    forms
}

fn choices(item: &Item) -> Vec<Word> {
    match item {
        Item::Word(word) => vec![(*word, (*word).to_owned())],
        Item::Choice { alternatives, .. } => alternatives
            .iter()
            .map(|alternative| match alternative {
                Alternative::Word(word) => (*word, (*word).to_owned()),
                Alternative::Argument { name, kind } => (*name, example(*kind)),
            })
            .collect(),
    }
}

/// A word that is right.
fn example(kind: Kind) -> String {
    let word = match kind {
        Kind::Ip => "192.0.2.1",
        Kind::Prefix => "203.0.113.64/26",
        Kind::Mac => "02:00:5e:10:00:01",
        Kind::Rate => "10M",
        Kind::Filters => "ip,mac",
        Kind::Number(low, _) => return low.to_string(),
        _ => "word",
    };
    word.to_owned()
}
