//! Every source file opens with a module doc: what it is for, what it does not do.

use super::Fault;
use super::source::Tree;

/// Finds source files whose first line is no `//!`.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let bare = tree.sources().filter(|file| !file.text.starts_with("//!"));
    bare.map(|file| Fault {
        check: "docs",
        subject: file.path.clone(),
        text: "it does not open with a `//!` doc: say what the file is for and what it does not do".to_owned(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_module_doc_is_found() {
        let tree = Tree::of(&[
            ("a/src/good.rs", "//! For it.\n"),
            ("a/src/bare.rs", "use std::fmt;\n//! Late.\n"),
            ("a/README.md", "# A"),
        ]);
        let faults = check(&tree);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].subject, "a/src/bare.rs");
    }
}
