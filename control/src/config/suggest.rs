//! The known word that an unknown one most likely meant.

use strsim::osa_distance;

/// Longest word that is compared, bytes: the comparison takes quadratic time.
const LONGEST: usize = 64;

/// The nearest of the known words, if one is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let wanted = plain(word);
    if wanted.len() > LONGEST {
        return None;
    }
    let scored =
        known.iter().map(|candidate| (osa_distance(&wanted, &plain(candidate)), *candidate));
    let (steps, best) = scored.min_by_key(|(steps, _)| *steps)?;
    // A third of the letters may be wrong, and a cut-off word is fine.
    let near = steps <= (best.len() / 3).max(1);
    let begun = wanted.len() >= 3 && (best.starts_with(&wanted) || wanted.starts_with(best));
    (near || begun).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["addresses", "gateway", "host_mac", "mac", "mode", "mtu"];
        for (word, meant) in [
            ("adresses", Some("addresses")),
            ("address", Some("addresses")),
            ("host-mac", Some("host_mac")),
            ("Gateway", Some("gateway")),
            ("getaway", Some("gateway")),
            ("colour", None),
            ("", None),
        ] {
            let found = nearest(word, &known);
            assert_eq!(found, meant, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1000), &known), None);
    }
}
