//! What setting up makes and keeps beside the target directory: roots and images, keyed by what they are made of.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

/// A short key for a list of parts.
pub fn key(parts: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:012x}", hasher.finish() >> 16)
}

/// Whether `path` is there and was made less than `limit` before `now`.
pub fn is_fresh(path: &Path, limit: Duration, now: SystemTime) -> bool {
    let made = fs::metadata(path).and_then(|metadata| metadata.modified());
    made.is_ok_and(|made| now.duration_since(made).is_ok_and(|age| age < limit))
}

/// What lies in the cache under names that begin with `prefix`.
pub fn entries(cache: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    if !cache.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Sets mode 0755.
pub fn make_executable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

/// Runs a command; its output is shown only where it fails.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {shown}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    bail!("{shown} ended with {}:\n{out}{err}", output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_changes_with_its_parts() {
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["ab"]));
    }

    #[test]
    fn what_is_missing_or_old_is_not_fresh() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let later = SystemTime::now() + Duration::from_secs(3600);
        assert!(is_fresh(&here, Duration::MAX, later));
        assert!(!is_fresh(&here, Duration::from_secs(60), later));
        assert!(!is_fresh(Path::new("/does/not/exist"), Duration::MAX, later));
    }

    #[test]
    fn a_failing_command_shows_what_it_said() {
        let said = run_quietly(Command::new("sh").args(["-c", "echo no room >&2; exit 3"])).unwrap_err().to_string();
        assert!(said.contains("no room"), "{said}");
    }
}
