//! `$(VAR)` in values, commands and paths, as a kubelet expands it.
//!
//! The rules are those of `third_party/forked/golang/expansion/expand.go`: `$(NAME)` is replaced, `$$` is one `$`, an unknown
//! name and everything else stay as they are.
//!
//! Variables that refer to each other can grow without bounds, so an expansion ends when it is longer than a kernel passes to
//! a process: the start then fails as it would with the whole text, by `argument list too long`.

use std::collections::BTreeSet;

/// Bytes after which an expansion ends: more than Linux takes as one argument or variable (`MAX_ARG_STRLEN`, 128 KiB).
const LONGEST: usize = 1 << 20;

/// Expands `input`; a name for which `value` knows nothing stays `$(NAME)`.
///
/// ```
/// use outrigger_pod_core::env::expand;
/// let value = |name: &str| (name == "A").then(|| "1".to_owned());
/// assert_eq!(expand("$(A) $$(A) $(B) $A", value), "1 $(A) $(B) $A");
/// ```
pub fn expand(input: &str, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$').filter(|_| output.len() <= LONGEST) {
        output.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = match after.as_bytes().first() {
            Some(b'$') => {
                output.push('$');
                &after[1..]
            }
            Some(b'(') => reference(after, &mut output, &mut value),
            _ => {
                output.push('$');
                after
            }
        };
    }
    if output.len() <= LONGEST {
        output.push_str(rest);
    }
    output
}

/// Writes what the `(NAME)` at the beginning of `after` stands for, and answers what follows it.
fn reference<'a>(after: &'a str, output: &mut String, value: &mut impl FnMut(&str) -> Option<String>) -> &'a str {
    let Some(end) = after.find(')') else {
        output.push_str("$(");
        return &after[1..];
    };
    if let Some(value) = value(&after[1..end]) {
        output.push_str(&value);
    } else {
        output.push('$');
        output.push_str(&after[..=end]);
    }
    &after[end + 1..]
}

/// Expands `subPathExpr`; the names that have no value, or an empty one, are the error, in their order
/// (`pkg/kubelet/container/helpers.go`, `ExpandContainerVolumeMounts`).
pub fn expand_strict(input: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, Vec<String>> {
    let mut missing = BTreeSet::new();
    let output = expand(input, |name| {
        let found = value(name).filter(|value| !value.is_empty());
        if found.is_none() {
            missing.insert(name.to_owned());
        }
        found
    });
    if missing.is_empty() { Ok(output) } else { Err(missing.into_iter().collect()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(name: &str) -> Option<String> {
        match name {
            "VAR_A" => Some("A".to_owned()),
            "VAR_REF" => Some("$(VAR_A)".to_owned()),
            "VAR_EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced_once_and_escapes_stay() {
        let table = [
            ("", ""),
            ("$(VAR_A)", "A"),
            ("___$(VAR_A)___", "___A___"),
            ("$(VAR_REF)", "$(VAR_A)"),
            ("$(VAR_EMPTY)", ""),
            ("$$(VAR_A)", "$(VAR_A)"),
            ("$$$(VAR_A)", "$A"),
            ("$$$$(VAR_A)", "$$(VAR_A)"),
            ("$(NONE)", "$(NONE)"),
            ("$(VAR_A", "$(VAR_A"),
            ("$(VAR_A$(VAR_A)", "$(VAR_A$(VAR_A)"),
            ("$", "$"),
            ("a$", "a$"),
            ("$VAR_A", "$VAR_A"),
            ("$()", "$()"),
            ("\u{20ac}$(VAR_A)\u{20ac}$\u{20ac}", "\u{20ac}A\u{20ac}$\u{20ac}"),
        ];
        for (input, expected) in table {
            assert_eq!(expand(input, known), expected, "{input}");
        }
    }

    #[test]
    fn an_expansion_does_not_grow_without_bounds() {
        let mut grown = "x".to_owned();
        for _ in 0..100 {
            grown = expand("$(A)$(A)", |_| Some(grown.clone()));
        }
        assert!(grown.len() > LONGEST && grown.len() < 4 * LONGEST, "{}", grown.len());
    }

    #[test]
    fn a_path_with_an_unknown_name_is_refused_by_that_name() {
        assert_eq!(expand_strict("a/$(VAR_A)", known), Ok("a/A".to_owned()));
        assert_eq!(expand_strict("$(Y)/$(X)/$(Y)", known), Err(vec!["X".to_owned(), "Y".to_owned()]));
        assert_eq!(expand_strict("$(VAR_EMPTY)", known), Err(vec!["VAR_EMPTY".to_owned()]));
    }

    proptest! {
        #[test]
        fn text_without_a_dollar_stays(input in "[^$]*") {
            prop_assert_eq!(expand(&input, known), input);
        }

        #[test]
        fn no_text_makes_it_panic(input in "[$()A\u{20ac}_]{0,30}") {
            expand(&input, known);
        }
    }
}
