//! Every core has a `clippy.toml` of its own with the bans of a core, and with those of the root, which it replaces.
//!
//! A ban of the root on another crate's function need not be repeated by a core that cannot name that crate.

use std::collections::BTreeSet;

use super::Fault;
use super::source::{File, Tree};

/// What every core bans: clocks, waiting, threads, environment, files, network, processes, locks, chance.
const OF_CORES: &[&str] = &[
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::env::args",
    "std::env::current_dir",
    "std::env::var",
    "std::env::var_os",
    "std::env::vars",
    "std::fs::File",
    "std::fs::OpenOptions",
    "std::fs::metadata",
    "std::fs::read",
    "std::fs::read_dir",
    "std::fs::read_to_string",
    "std::fs::write",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os::unix::net::UnixStream",
    "std::path::Path::exists",
    "std::path::Path::metadata",
    "std::process::Command",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::thread::sleep",
    "std::thread::spawn",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
];

/// Finds cores whose bans are not complete, and other crates that replace the root's bans.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let fault = |subject: String, text: String| Fault { check: "bans", subject, text };
    let Some(root) = tree.get("clippy.toml") else {
        return vec![fault("clippy.toml".to_owned(), "the workspace has no bans".to_owned())];
    };
    let mut faults = Vec::new();
    for directory in tree.crates() {
        let path = format!("{directory}/clippy.toml");
        match (directory.starts_with("cores/"), tree.get(&path)) {
            (true, None) => faults.push(fault(path, "a core needs bans of its own; copy another core's".to_owned())),
            (true, Some(own)) => {
                let own = bans(own);
                let manifest = tree.get(&format!("{directory}/Cargo.toml"));
                let of_root = bans(root).into_iter().filter(|ban| can_name(manifest, ban));
                let wanted: BTreeSet<&str> = of_root.chain(OF_CORES.iter().copied()).collect();
                faults.extend(wanted.difference(&own).map(|ban| fault(path.clone(), format!("it does not ban {ban}"))));
            }
            (false, Some(_)) => {
                faults.push(fault(path, "only cores have bans of their own; use the root's".to_owned()));
            }
            (false, None) => (),
        }
    }
    faults
}

/// The banned paths of a `clippy.toml`: each stands on a line of its own, as `{ path = "…", reason = "…" }`.
fn bans(file: &File) -> BTreeSet<&str> {
    let entries =
        file.text.lines().map(str::trim).filter(|line| !line.starts_with('#') && line.contains("reason = \""));
    entries.filter_map(|line| line.split("path = \"").nth(1)?.split('"').next()).collect()
}

/// Whether a crate can name what is banned: it is std's, or that of a dependency.
fn can_name(manifest: Option<&File>, ban: &str) -> bool {
    let owner = ban.split("::").next().unwrap_or(ban);
    let text = manifest.map_or("", |manifest| manifest.text.as_str());
    let names = |line: &str| line.strip_prefix(owner).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    owner == "std" || text.lines().any(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "disallowed-methods = [\n    { path = \"std::env::home_dir\", reason = \"crashes\" },\n    { path = \"tokio::spawn\", reason = \"owner\" },\n]\n";

    /// A core's `clippy.toml` that is complete for a root like `ROOT`.
    fn complete() -> String {
        let all = OF_CORES.iter().copied().chain(["std::env::home_dir"]);
        all.map(|ban| format!("    {{ path = \"{ban}\", reason = \"a core\" }},\n")).collect()
    }

    fn faults(core: &str, manifest: &str) -> Vec<String> {
        let tree = Tree::of(&[("clippy.toml", ROOT), ("cores/a/Cargo.toml", manifest), ("cores/a/clippy.toml", core)]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_core_with_all_bans_is_good() {
        assert_eq!(faults(&complete(), "serde_json.workspace = true\n"), Vec::<String>::new());
    }

    #[test]
    fn a_lost_ban_is_found_whether_it_was_the_cores_or_the_roots() {
        for lost in ["std::time::SystemTime::now", "std::fs::read", "std::env::home_dir"] {
            let without: String = complete().lines().filter(|line| !line.contains(&format!("\"{lost}\""))).collect();
            let lines = without.replace("},", "},\n");
            assert_eq!(faults(&lines, ""), [format!("cores/a/clippy.toml: it does not ban {lost} (bans)")]);
        }
    }

    #[test]
    fn a_commented_ban_is_no_ban() {
        let commented = complete().replace("    { path = \"std::fs::read\"", "    # { path = \"std::fs::read\"");
        assert_eq!(faults(&commented, "").len(), 1);
    }

    #[test]
    fn a_core_that_gains_a_dependency_must_repeat_its_bans() {
        let found = faults(&complete(), "tokio.workspace = true\n");
        assert_eq!(found, ["cores/a/clippy.toml: it does not ban tokio::spawn (bans)"]);
    }

    #[test]
    fn a_core_without_bans_and_a_shell_with_some_are_found() {
        let tree = Tree::of(&[
            ("clippy.toml", ROOT),
            ("cores/a/Cargo.toml", ""),
            ("shells/b/Cargo.toml", ""),
            ("shells/b/clippy.toml", ROOT),
        ]);
        let faults: Vec<String> = check(&tree).into_iter().map(|fault| fault.subject).collect();
        assert_eq!(faults, ["cores/a/clippy.toml", "shells/b/clippy.toml"]);
    }
}
