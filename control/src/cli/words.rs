//! A line of text as words.

/// Splits at blanks. Quotes (`'` or `"`) keep blanks in a word; `#` at the start of a word begins a
/// comment.
///
/// # Errors
/// A quote that is not closed.
pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    match quote {
        Some(open) => Err(format!("the quote {open} is not closed")),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

/// The one of `known` that was probably meant: at most a third of the letters differ.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| strsim::osa_distance(word, candidate);
    let (apart, candidate) =
        known.into_iter().map(|candidate| (distance(candidate), candidate)).min()?;
    let (own, other) = (word.chars().count(), candidate.chars().count());
    (apart <= own.max(other).div_ceil(3) && apart < own.min(other)).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_split_at_blanks_outside_quotes_and_comments() {
        let words = |line| split(line).unwrap();
        assert_eq!(words("  show   port\tinfo all "), ["show", "port", "info", "all"]);
        assert_eq!(words("a 'b c' \"d\"e # f"), ["a", "b c", "de"]);
        assert_eq!(words("a#b ''"), ["a#b", ""]);
        assert_eq!(words("# only a comment"), [""; 0]);
        assert!(split("a 'b").is_err());
    }

    #[test]
    fn the_nearest_word_is_near() {
        assert_eq!(nearest("gest", ["guest", "show"]), Some("guest"));
        assert_eq!(nearest("shwo", ["guest", "show"]), Some("show"));
        assert_eq!(nearest("xyzzy", ["guest", "show"]), None);
        assert_eq!(nearest("x", ["ip"]), None);
    }
}
