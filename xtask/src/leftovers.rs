//! What tests may not leave on the machine: cgroups of pods. A test whose runner is killed clears up by a later command.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The cgroups of pods that are there now.
pub fn groups() -> BTreeSet<PathBuf> {
    below(Path::new("/sys/fs/cgroup")).collect()
}

fn below(directory: &Path) -> Box<dyn Iterator<Item = PathBuf>> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories =
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
    Box::new(directories.flat_map(|path| {
        let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(is_of_a_pod);
        if is_ours { Box::new(std::iter::once(path)) } else { below(&path) }
    }))
}

/// `outrigger-` and the pod's uid; those of a pod in a test may begin with `held-`.
fn is_of_a_pod(name: &str) -> bool {
    let uid = name.strip_prefix("outrigger-").unwrap_or_default();
    uid.starts_with("held-") || uid.len() == 36 && uid.chars().filter(|c| *c == '-').count() == 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_pods_are_found_wherever_they_are() {
        let root = tempfile::tempdir().unwrap();
        let uid = "b1262d88-8661-4edf-9916-b79c52c81164";
        let (one, other) = (format!("cpu/outrigger-{uid}"), "memory/session/outrigger-held-7".to_owned());
        for path in [&format!("{one}/main-0"), &other, "memory/outrigger-cluster"] {
            fs::create_dir_all(root.path().join(path)).unwrap();
        }
        let mut found: Vec<_> = below(root.path()).collect();
        found.sort();
        assert_eq!(found, [one, other].map(|path| root.path().join(path)));
    }
}
