//! The command line as it was typed, and what to type instead where it is not understood.

use std::ffi::OsString;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::Outrigger;

/// Reads the command line of this process; one that is wrong ends it, with what would be right.
pub fn read() -> Outrigger {
    let words: Vec<OsString> = std::env::args_os().collect();
    Outrigger::try_parse_from(&words).unwrap_or_else(|error| with_tip(error, &words).exit())
}

/// A command to be executed in a container stands after `--`, which people forget who come from Docker or an older kubectl.
fn with_tip(mut error: Error, words: &[OsString]) -> Error {
    let unknown = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) if !word.starts_with('-') => word.clone(),
        _ => return error,
    };
    if let Some(right) = with_dashes(words, &unknown) {
        let tip = format!("the command stands after `--`: outrigger {right}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// The words with `--` before the one that is not understood, if that makes sense of them.
fn with_dashes(words: &[OsString], unknown: &str) -> Option<String> {
    if words.iter().any(|word| word == "--") {
        return None;
    }
    let places = (0..words.len()).filter(|place| words[*place] == unknown);
    let mut lines = places.map(|place| [&words[..place], &["--".into()], &words[place..]].concat());
    let line = lines.find(|line| Outrigger::try_parse_from(line).is_ok())?;
    Some(line.iter().skip(1).map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" "))
}

/// A word as it is typed for a shell, in quotes where it needs them.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_stand_after_dashes_is_told_the_right_form() {
        for (typed, right) in [
            ("exec web ls -l", Some("exec web -- ls -l")),
            ("exec -it web -n shop -c app sh", Some("exec -it web -n shop -c app -- sh")),
            ("exec top top", Some("exec top -- top")),
            ("exec web it's", Some(r"exec web -- 'it'\''s'")),
            ("exec web app -- ls", None),
            ("exec web -l", None),
            ("ps --wide", None),
            ("pods", None),
        ] {
            let words: Vec<OsString> = ["outrigger"].into_iter().chain(typed.split(' ')).map(Into::into).collect();
            let Err(error) = Outrigger::try_parse_from(&words) else { panic!("{typed} is understood") };
            let told = with_tip(error, &words).to_string();
            let tip = right.map(|right| format!("tip: the command stands after `--`: outrigger {right}\n"));
            assert!(tip.is_none_or(|tip| told.contains(&tip)), "{told}");
            assert_eq!(told.contains("the command stands after"), right.is_some(), "{told}");
        }
    }
}
