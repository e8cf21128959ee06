//! No word that marks unfinished work: what is left to do stands in an issue.

use super::Fault;
use super::source::Tree;

/// The words, written so that this file does not hold them.
const WORDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Finds the words, each standing alone, in all text files.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in &tree.files {
        for (number, line) in (1..).zip(file.text.lines()) {
            let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            if let Some(word) = words.find(|word| WORDS.contains(word)) {
                faults.push(Fault {
                    check: "words",
                    subject: file.path.clone(),
                    text: format!("line {number} holds {word}: do it, or open an issue"),
                });
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_where_it_stands_alone() {
        let text = format!("//! Fine.\n// {}: later\nlet {}S = 1;\n", WORDS[0], WORDS[0]);
        let faults = check(&Tree::of(&[("a.rs", &text)]));
        assert_eq!(faults.len(), 1);
        assert!(faults[0].text.starts_with("line 2 holds"), "{}", faults[0]);
    }
}
