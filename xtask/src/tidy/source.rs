//! The files that the checks look at, read once.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Endings of the files that are read.
const ENDINGS: &[&str] = &["rs", "toml", "md", "sh", "yaml", "yml"];

/// A text file of the project.
#[derive(Debug)]
pub(super) struct File {
    /// From the root, with `/`.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
}

/// The project's text files, sorted by path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

impl Tree {
    /// Reads everything below the root except hidden directories and `target`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.read_directory(root, "")?;
        tree.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(tree)
    }

    fn read_directory(&mut self, directory: &Path, prefix: &str) -> Result<()> {
        for entry in fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() && !name.starts_with('.') && path != "target" {
                self.read_directory(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() && ENDINGS.iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
                let text = fs::read_to_string(entry.path()).with_context(|| format!("cannot read {path}"))?;
                self.files.push(File { path, text });
            }
        }
        Ok(())
    }

    /// The file at a path.
    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The source files.
    pub(super) fn sources(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The paths of the crates' directories, from their manifests.
    pub(super) fn crates(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter_map(|file| file.path.strip_suffix("/Cargo.toml"))
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() });
        Self { files: files.collect() }
    }
}

impl File {
    /// Whether the whole file is a test, a benchmark or a part of one.
    pub(super) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| matches!(part, "tests" | "benches" | "tests.rs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_text_files_and_skips_what_is_built_or_hidden() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a/src/lib.rs", "target/x.rs", ".git/y.rs", "a/target/z.rs", "a/Cargo.toml", "a/picture.png"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
        let tree = Tree::read(root.path()).unwrap();
        let paths: Vec<&str> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["a/Cargo.toml", "a/src/lib.rs", "a/target/z.rs"]);
        assert_eq!(tree.crates().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        let tree = Tree::of(&[("a/src/lib.rs", ""), ("a/src/life/tests.rs", ""), ("a/tests/wire.rs", "")]);
        assert_eq!(tree.files.iter().map(File::is_test).collect::<Vec<_>>(), [false, true, true]);
    }
}
