//! The grammar of the command line: the usage strings of [`table`] are what is parsed, what `help`
//! prints and what completion offers. There is no second description.
//!
//! In a usage string a lower-case word stands for itself, an upper-case one for an argument of the
//! kind of that name, `a|b` for either, `[…]` for what may be left out and comes in any order after
//! all else, and `…` behind it for what may be repeated.

mod forms;
pub(super) mod kind;
pub(super) mod table;
mod usage;
mod values;

use super::words::nearest;
pub(super) use forms::forms;
use kind::Kind;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use table::{COMMANDS, Command};
use usage::{Alternative, Group, Item, Usage};
pub(super) use values::{Values, prefix};

/// The table with its usage strings read.
static GRAMMAR: LazyLock<Vec<(&'static Command, Usage)>> = LazyLock::new(|| {
    COMMANDS.iter().map(|command| (command, Usage::read(command.usage))).collect()
});

/// What may come next at some place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Expected {
    /// This word.
    Word(&'static str),
    /// An argument.
    Argument {
        /// Its name in the usage.
        name: &'static str,
        /// Its kind.
        kind: Kind,
        /// It names something that the command makes.
        is_new: bool,
    },
}

/// How far a command's usage goes along with some words.
struct Trace {
    command: &'static Command,
    values: Values,
    /// Words that fit.
    fitting: usize,
    /// What may follow those.
    expected: Vec<Expected>,
    /// Nothing more is needed after those.
    is_enough: bool,
    /// What is wrong with the next word, where its kind says more than "not expected".
    reason: Option<String>,
}

/// The command that these words are, with its arguments.
///
/// # Errors
/// One line that names the wrong word, says what was expected and suggests the nearest.
pub(super) fn parse(words: &[String]) -> Result<(&'static Command, Values), String> {
    let mut traces: Vec<Trace> = GRAMMAR.iter().map(|one| trace(one, words)).collect();
    let whole = |trace: &Trace| trace.is_enough && trace.fitting == words.len();
    if let Some(found) = traces.iter().position(whole) {
        let found = traces.swap_remove(found);
        return Ok((found.command, found.values));
    }
    Err(complaint(&traces, words))
}

/// What may follow these words; nothing when they are wrong already. The values are those of the
/// first command that goes along.
pub(super) fn expected_after(words: &[String]) -> (BTreeSet<Expected>, Values) {
    let fits = |trace: &Trace| trace.fitting == words.len();
    let traces: Vec<Trace> = GRAMMAR.iter().map(|one| trace(one, words)).filter(fits).collect();
    let expected = traces.iter().flat_map(|trace| trace.expected.iter().copied()).collect();
    let values = traces.into_iter().next().map(|trace| trace.values).unwrap_or_default();
    (expected, values)
}

/// Usage and purpose of the commands that begin with this word, or hold it; of all without one.
pub(super) fn help(word: Option<&str>) -> Result<Vec<(&'static str, &'static str)>, String> {
    let all = || COMMANDS.iter().map(|command| (command.usage, command.about));
    let Some(word) = word else { return Ok(all().collect()) };
    let words_of = |usage: &'static str| {
        usage.split([' ', '|', '[', ']', '…']).filter(|part| part.starts_with(char::is_lowercase))
    };
    let begins = |usage: &'static str| usage.split(' ').next() == Some(word);
    let holds = |usage: &'static str| words_of(usage).any(|part| part == word);
    let mut found: Vec<_> = all().filter(|(usage, _)| begins(usage)).collect();
    if found.is_empty() {
        found = all().filter(|(usage, _)| holds(usage)).collect();
    }
    if found.is_empty() {
        let known = COMMANDS.iter().flat_map(|command| words_of(command.usage));
        return Err(format!("no command has the word {word:?}{}; try: help", meant(word, known)));
    }
    Ok(found)
}

/// Goes along a usage as far as the words fit.
fn trace((command, usage): &(&'static Command, Usage), words: &[String]) -> Trace {
    let mut trace = Trace {
        command,
        values: Values::default(),
        fitting: 0,
        expected: Vec::new(),
        is_enough: false,
        reason: None,
    };
    if usage.items.iter().all(|item| trace.step(item, None, words)) {
        trace.options(&usage.groups, words);
    }
    trace
}

impl Trace {
    /// Takes the next word if it fits this item; `key` is the keyword that it belongs to.
    fn step(&mut self, item: &Item, key: Option<&'static str>, words: &[String]) -> bool {
        let Some(word) = words.get(self.fitting) else {
            self.expect(item);
            return false;
        };
        match self.fit(item, word) {
            Ok(kind) => {
                if let Item::Choice { text, .. } = item {
                    self.values.push(key.unwrap_or(text), word, kind);
                }
                self.fitting += 1;
                true
            }
            Err(reason) => {
                self.expect(item);
                self.reason = reason;
                false
            }
        }
    }

    /// As which kind a word fits an item, none where it stands for itself; an error holds the kind's
    /// reason, if it has one.
    fn fit(&self, item: &Item, word: &str) -> Result<Option<Kind>, Option<String>> {
        let alternatives = match item {
            Item::Word(own) if *own == word => return Ok(None),
            Item::Word(_) => return Err(None),
            Item::Choice { alternatives, .. } => alternatives,
        };
        let mut reason = None;
        for alternative in alternatives {
            match alternative {
                Alternative::Word(own) if *own == word => return Ok(None),
                Alternative::Word(_) => {}
                Alternative::Argument { name, kind } => match kind.check(word) {
                    Ok(()) => return Ok(Some(*kind)),
                    Err(why) => reason = Some(format!("bad {name} {word:?}: {why}")),
                },
            }
        }
        Err(reason)
    }

    /// The groups in any order, until the words end or one fits no more.
    fn options(&mut self, groups: &[Group], words: &[String]) {
        let mut used: Vec<&Group> = Vec::new();
        loop {
            let is_open =
                |group: &&Group| group.many || !used.iter().any(|one| std::ptr::eq(*one, *group));
            let open: Vec<&Group> = groups.iter().filter(is_open).collect();
            let next = words.get(self.fitting);
            let fitting = next.and_then(|word| {
                let by_word = open.iter().find(|group| group.keyword == Some(word.as_str()));
                let by_value = || {
                    let fits = |group: &&&Group| {
                        group.keyword.is_none()
                            && group.items.first().is_some_and(|item| self.fit(item, word).is_ok())
                    };
                    open.iter().find(fits)
                };
                by_word.or_else(by_value).copied()
            });
            let Some(group) = fitting else {
                self.is_enough = next.is_none();
                open.iter()
                    .filter_map(|group| group.items.first())
                    .for_each(|item| self.expect(item));
                self.reason = next.and_then(|word| why_not(groups, &open, self, word));
                return;
            };
            used.push(group);
            if let Some(keyword) = group.keyword.filter(|_| group.items.len() == 1) {
                self.values.push(keyword, "", None);
            }
            if !group.items.iter().all(|item| self.step(item, group.keyword, words)) {
                return;
            }
        }
    }

    fn expect(&mut self, item: &Item) {
        let creates = self.command.creates;
        let of = |alternative: &Alternative| match *alternative {
            Alternative::Word(word) => Expected::Word(word),
            Alternative::Argument { name, kind } => {
                Expected::Argument { name, kind, is_new: creates == name }
            }
        };
        match item {
            Item::Word(word) => self.expected.push(Expected::Word(word)),
            Item::Choice { alternatives, .. } => self.expected.extend(alternatives.iter().map(of)),
        }
    }
}

/// Why a word fits no group that is still open, where more is known than "not expected".
fn why_not(groups: &[Group], open: &[&Group], trace: &Trace, word: &str) -> Option<String> {
    if groups.iter().any(|group| group.keyword == Some(word)) {
        return Some(format!("{word} is given twice"));
    }
    match open {
        [group] if group.keyword.is_none() => trace.fit(group.items.first()?, word).err().flatten(),
        _ => None,
    }
}

/// One line about words that are no command.
fn complaint(traces: &[Trace], words: &[String]) -> String {
    let furthest = traces.iter().map(|trace| trace.fitting).max().unwrap_or(0);
    let best: Vec<&Trace> = traces.iter().filter(|trace| trace.fitting == furthest).collect();
    let expected: BTreeSet<Expected> =
        best.iter().flat_map(|trace| trace.expected.iter().copied()).collect();
    let usage = match best.as_slice() {
        [one] => format!("; usage: {}", one.command.usage),
        _ => String::new(),
    };
    let so_far = words.get(..furthest).unwrap_or(words).join(" ");
    let Some(word) = words.get(furthest) else {
        return match words {
            [] => "no command; try: help".into(),
            _ => format!("\"{so_far}\" is not complete: expected {}{usage}", list(&expected)),
        };
    };
    // Several commands may object for the same reason.
    let reasons: BTreeSet<Option<&String>> =
        best.iter().map(|trace| trace.reason.as_ref()).collect();
    if let (Some(Some(reason)), 1) = (reasons.first(), reasons.len()) {
        return format!("{reason}{usage}");
    }
    let suggestion = meant(
        word,
        expected.iter().filter_map(|one| match one {
            Expected::Word(word) => Some(*word),
            Expected::Argument { .. } => None,
        }),
    );
    if furthest == 0 {
        return format!("unknown command {word:?}{suggestion}; try: help");
    }
    if expected.is_empty() {
        return format!("{word:?} is one word too many after \"{so_far}\"{usage}");
    }
    let expected = list(&expected);
    format!("unexpected {word:?} after \"{so_far}\": expected {expected}{suggestion}{usage}")
}

/// `; did you mean …?`, or nothing.
fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default()
}

fn list(expected: &BTreeSet<Expected>) -> String {
    let text = |one: &Expected| match one {
        Expected::Word(word) => (*word).to_owned(),
        Expected::Argument { name, kind, .. } => format!("{name} ({})", kind.describe()),
    };
    let all: Vec<String> = expected.iter().map(text).collect();
    match all.as_slice() {
        [] => "nothing more".into(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests;
