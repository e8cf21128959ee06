//! Texts that were read before they were written down, and what is made today.

use std::fs;
use std::path::Path;

/// Compares a text with the one that is written down; `UPDATE_EXPECT=1` writes it anew, to be read before it is committed.
///
/// # Panics
/// Where they differ, with the text.
pub fn check(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(file, text).expect("the file is part of the checkout");
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert!(text == expected, "{} differs; UPDATE_EXPECT=1 writes it anew:\n{text}", file.display());
}
