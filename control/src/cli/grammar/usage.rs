//! Reads a usage string.

use super::kind::Kind;

/// A usage string, read.
#[derive(Debug)]
pub(super) struct Usage {
    /// What must come, in this order.
    pub(super) items: Vec<Item>,
    /// What may come after that, in any order.
    pub(super) groups: Vec<Group>,
}

/// One place.
#[derive(Debug)]
pub(super) enum Item {
    /// This word.
    Word(&'static str),
    /// One of these; its value is kept under the whole text, or under its group's keyword.
    Choice { text: &'static str, alternatives: Vec<Alternative> },
}

/// One way to fill a place.
#[derive(Debug)]
pub(super) enum Alternative {
    /// This word.
    Word(&'static str),
    /// An argument.
    Argument { name: &'static str, kind: Kind },
}

/// What stands in brackets.
#[derive(Debug)]
pub(super) struct Group {
    /// The word that it begins with, where it begins with one.
    pub(super) keyword: Option<&'static str>,
    /// Its places, the keyword's included.
    pub(super) items: Vec<Item>,
    /// It may be repeated.
    pub(super) many: bool,
}

impl Usage {
    pub(super) fn read(text: &'static str) -> Usage {
        let mut usage = Usage { items: Vec::new(), groups: Vec::new() };
        let mut rest = text;
        while let Some(open) = rest.find('[') {
            let (before, group) = rest.split_at(open);
            usage.items.extend(before.split_whitespace().map(Item::read));
            let close = group.find(']').unwrap_or(group.len());
            let after = group.get(close + 1..).unwrap_or_default();
            let inner = group.get(1..close).unwrap_or_default();
            let many = after.starts_with('…');
            usage.groups.push(Group::read(inner, many));
            rest = after.trim_start_matches('…');
        }
        usage.items.extend(rest.split_whitespace().map(Item::read));
        usage
    }
}

impl Group {
    fn read(text: &'static str, many: bool) -> Group {
        let items: Vec<Item> = text.split_whitespace().map(Item::read).collect();
        let keyword = match items.first() {
            Some(Item::Word(word)) => Some(*word),
            _ => None,
        };
        Group { keyword, items, many }
    }
}

impl Item {
    fn read(text: &'static str) -> Item {
        let alternative = |part: &'static str| match Kind::of(part) {
            Some(kind) => Alternative::Argument { name: part, kind },
            None => Alternative::Word(part),
        };
        let mut alternatives: Vec<Alternative> = text.split('|').map(alternative).collect();
        match (alternatives.pop(), alternatives.is_empty()) {
            (Some(Alternative::Word(word)), true) => Item::Word(word),
            (last, _) => {
                alternatives.extend(last);
                Item::Choice { text, alternatives }
            }
        }
    }
}
