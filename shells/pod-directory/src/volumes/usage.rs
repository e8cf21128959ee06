//! How much a volume on disk holds.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An `emptyDir` on disk with a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Its name in the pod.
    pub name: String,
    /// Where it stands.
    pub path: PathBuf,
    /// Its limit in bytes.
    pub limit: u64,
    /// The limit as the manifest has it.
    pub written: String,
}

impl Limited {
    /// The bytes on disk that it holds now. What cannot be read counts nothing.
    pub fn used(&self) -> u64 {
        used(&self.path)
    }

    /// The kubelet's message (`pkg/kubelet/eviction/helpers.go`, `emptyDirMessageFmt`).
    pub fn excess(&self) -> String {
        format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", self.name, self.written)
    }
}

/// The bytes on disk of everything below `root`, hard links once, as a kubelet counts
/// (`pkg/volume/util/fs/fs.go`, `DiskUsage`). It stays on `root`'s file system.
fn used(root: &Path) -> u64 {
    let Ok(device) = fs::symlink_metadata(root).map(|meta| meta.dev()) else { return 0 };
    let (mut seen, mut bytes) = (BTreeSet::new(), 0);
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.dev() != device || (meta.nlink() > 1 && !meta.is_dir() && !seen.insert(meta.ino())) {
            continue;
        }
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            waiting.extend(entries(&path).unwrap_or_default());
        }
    }
    bytes
}

fn entries(path: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_below_counts_once() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("deep")).unwrap();
        fs::write(place.path().join("deep/file"), vec![1; 64 * 1024]).unwrap();
        let one = used(place.path());
        assert!(one >= 64 * 1024, "{one}");
        fs::hard_link(place.path().join("deep/file"), place.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/", place.path().join("link")).unwrap();
        assert!(used(place.path()) < one + 64 * 1024);
        let limited = Limited { name: "x".into(), path: place.path().into(), limit: 1, written: "1Ki".into() };
        assert_eq!(limited.excess(), "Usage of EmptyDir volume \"x\" exceeds the limit \"1Ki\". ");
    }
}
