//! Completion indexes as the status writes them: `0,2-4`.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Runs of three and more are written with a dash (`orderedIntervals.String` in `pkg/controller/job/indexed_job_utils.go`).
pub(super) fn text(indexes: &BTreeSet<u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    runs.into_iter().fold(String::new(), |mut text, (first, last)| {
        let comma = if text.is_empty() { "" } else { "," };
        let written = match last - first {
            0 => write!(text, "{comma}{first}"),
            1 => write!(text, "{comma}{first},{last}"),
            _ => write!(text, "{comma}{first}-{last}"),
        };
        written.expect("a string takes every text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_shortened() {
        for (indexes, expected) in [(&[][..], ""), (&[1], "1"), (&[0, 1], "0,1"), (&[0, 2, 3, 4, 9, 10], "0,2-4,9,10")]
        {
            assert_eq!(text(&indexes.iter().copied().collect()), expected);
        }
    }
}
