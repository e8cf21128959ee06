//! Versions, lints and what packages have in common stand in the root's `Cargo.toml`; a member only names what it uses.

use super::Fault;
use super::source::{File, Tree};

/// What every member takes from the root.
const FROM_ROOT: &[&str] = &["version", "edition", "rust-version", "license", "publish"];

/// Finds members that state for themselves what the root states.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let members = tree.crates().filter_map(|directory| tree.get(&format!("{directory}/Cargo.toml")));
    members.flat_map(|manifest| faults(manifest).into_iter().map(|text| fault(manifest, text))).collect()
}

fn fault(manifest: &File, text: String) -> Fault {
    Fault { check: "manifests", subject: manifest.path.clone(), text }
}

fn faults(manifest: &File) -> Vec<String> {
    let mut faults = Vec::new();
    let mut section = "";
    for line in manifest.text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            if section.contains("dependencies.") {
                faults.push(format!("[{section}] is a section of its own; write the dependency on one line"));
            }
        } else if section.ends_with("dependencies") && !line.contains("workspace = true") {
            faults.push(format!("`{line}` does not take its version from the workspace"));
        }
    }
    let lines: Vec<&str> = manifest.text.lines().map(str::trim).collect();
    for key in FROM_ROOT {
        if !lines.contains(&format!("{key}.workspace = true").as_str()) {
            faults.push(format!("`{key}.workspace = true` is missing from [package]"));
        }
    }
    if !manifest.text.contains("[lints]\nworkspace = true\n") {
        faults.push("[lints] does not take the workspace's".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n\n[lints]\nworkspace = true\n\n[dependencies]\ntokio = { workspace = true, features = [\"rt\"] }\n";

    fn faults_of(manifest: &str) -> Vec<String> {
        check(&Tree::of(&[("a/Cargo.toml", manifest)])).into_iter().map(|fault| fault.text).collect()
    }

    #[test]
    fn a_member_that_takes_all_from_the_root_is_good() {
        assert_eq!(faults_of(GOOD), Vec::<String>::new());
    }

    #[test]
    fn what_a_member_states_for_itself_is_found() {
        for (from, to, expected) in [
            ("{ workspace = true, features", "{ version = \"1\", features", "does not take its version"),
            ("[dependencies]\ntokio", "[dependencies.tokio]\nversion = \"1\"\n#", "a section of its own"),
            ("edition.workspace = true", "edition = \"2021\"", "`edition.workspace = true` is missing"),
            ("[lints]\nworkspace = true\n", "", "[lints] does not take"),
        ] {
            let faults = faults_of(&GOOD.replace(from, to));
            assert!(faults.len() == 1 && faults[0].contains(expected), "{from}: {faults:?}");
        }
    }
}
