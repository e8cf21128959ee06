//! The cgroups of pods, to see that a test leaves none.

use std::fs;
use std::path::{Path, PathBuf};

/// The groups that pods have which are written down in a state directory.
pub fn of_state(state: &Path) -> Vec<PathBuf> {
    let runs = inside(state.join("pods")).flat_map(inside).flat_map(inside);
    let specs = runs.filter_map(|run| fs::read(run.join("spec.json")).ok());
    let specs = specs.filter_map(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let uids: Vec<_> = specs.filter_map(|spec| Some(spec["pod"]["metadata"]["uid"].as_str()?.to_owned())).collect();
    let names: Vec<String> = uids.iter().map(|uid| format!("outrigger-{uid}")).collect();
    below(Path::new("/sys/fs/cgroup"), &|name| names.iter().any(|known| known == name))
}

/// The outermost directories below this one whose names are such.
fn below(directory: &Path, is_such: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let is_found = |path: &Path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_such);
    let directories = inside(directory.to_owned()).filter(|path| path.is_dir() && !path.is_symlink());
    directories.flat_map(|path| if is_found(&path) { vec![path] } else { below(&path, is_such) }).collect()
}

fn inside(directory: PathBuf) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}
