//! Names and numbers as the sentences of faults and commands have them.

/// Names: `a`, `a and b`, `a, b and c`; `none` where there is none.
///
/// ```
/// assert_eq!(outrigger_config::listing(&["a", "b", "c"]), "a, b and c");
/// ```
pub fn listing<S: AsRef<str>>(names: &[S]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

/// A number of things: `1 pod`, `2 pods`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// An error's text without the kernel's numbers: `No such file or directory`, not `… (os error 2)`.
pub fn plain(error: &str) -> String {
    let mut parts = error.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once(')') {
        Some((number, rest)) if number.parse::<i32>().is_ok() => text + rest,
        _ => format!("{text} (os error {part}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_no_numbers() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(
            plain(&format!("a: {error}; b: {error}")),
            "a: No such file or directory; b: No such file or directory"
        );
        assert_eq!(plain("not (os error x) one"), "not (os error x) one");
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(listing::<&str>(&[]), "none");
        assert_eq!(listing(&["a"]), "a");
        assert_eq!(listing(&["a", "b", "c"]), "a, b and c");
        assert_eq!((count(1, "pod"), count(2, "pod")), ("1 pod".to_owned(), "2 pods".to_owned()));
    }
}
