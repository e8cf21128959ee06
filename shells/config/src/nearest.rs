//! "Did you mean …?": the known word that is nearest to an unknown one.
//!
//! The distance is the optimal string alignment form of Damerau's (insert, delete, replace, swap two neighbors), with
//! a change of case alone counted as half an edit.

/// A key longer than this is no misspelling of ours; it bounds the work for hostile keys.
const LONGEST: usize = 64;

/// The one of `known` that `key` is most likely a misspelling of, if any is near enough.
///
/// Near enough is one edit for each three letters of the known word, at least one, and never so many that nothing of
/// the key would be left. Of equally near words the first wins.
///
/// ```
/// use outrigger_config::nearest;
///
/// assert_eq!(nearest("imagee", ["name", "image", "imagePullPolicy"]), Some("image"));
/// assert_eq!(nearest("contianers", ["containers", "initContainers"]), Some("containers"));
/// assert_eq!(nearest("replicas", ["image", "name"]), None);
/// ```
pub fn nearest<'k>(key: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let key: Vec<char> = key.chars().take(LONGEST + 1).collect();
    if key.len() > LONGEST {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for word in known {
        let letters: Vec<char> = word.chars().collect();
        let allowed = 2 * (letters.len() / 3).max(1);
        if letters.len() > LONGEST || 2 * letters.len().abs_diff(key.len()) > allowed {
            continue;
        }
        let half_edits = distance(&key, &letters);
        let near = half_edits <= allowed && half_edits < 2 * key.len().min(letters.len());
        if near && best.is_none_or(|(least, _)| half_edits < least) {
            best = Some((half_edits, word));
        }
    }
    best.map(|(_, word)| word)
}

/// The distance in half edits.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).map(|n| 2 * n).collect();
    for (row, &from) in left.iter().enumerate() {
        let mut here = vec![2 * (row + 1)];
        for (column, &to) in right.iter().enumerate() {
            let replaced = above[column] + cost(from, to);
            let mut least = replaced.min(above[column + 1] + 2).min(here[column] + 2);
            if row > 0 && column > 0 && from == right[column - 1] && left[row - 1] == to {
                least = least.min(before[column - 1] + 2);
            }
            here.push(least);
        }
        before = std::mem::replace(&mut above, here);
    }
    above[right.len()]
}

fn cost(from: char, to: char) -> usize {
    match from == to {
        true => 0,
        false if from.eq_ignore_ascii_case(&to) => 1,
        false => 2,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn misspellings_find_their_word_and_strangers_find_none() {
        let known = ["name", "image", "imagePullPolicy", "args", "env", "envFrom", "volumeMounts", "tty"];
        for (key, found) in [
            ("imagee", Some("image")),
            ("imgae", Some("image")),
            ("Image", Some("image")),
            ("imagepullpolicy", Some("imagePullPolicy")),
            ("volumeMount", Some("volumeMounts")),
            ("envfrom", Some("envFrom")),
            ("arg", Some("args")),
            ("evn", Some("env")),
            ("x", None),
            ("", None),
            ("command", None),
            ("resources", None),
        ] {
            assert_eq!(nearest(key, known), found, "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_known_word_is_nearest_to_itself(word in "[a-zA-Z]{1,20}", other in "[a-zA-Z]{1,20}") {
            prop_assert_eq!(nearest(&word, [word.as_str(), other.as_str()]), Some(word.as_str()));
        }

        #[test]
        fn the_distance_is_symmetric(left in ".{0,12}", right in ".{0,12}") {
            let left: Vec<char> = left.chars().collect();
            let right: Vec<char> = right.chars().collect();
            prop_assert_eq!(distance(&left, &right), distance(&right, &left));
        }
    }
}
