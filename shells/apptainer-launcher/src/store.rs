//! Images on this machine: files and directories as they are, images of registries as SIF files in the state directory.
//!
//! A pull works in a directory of its own that is locked while it is at work, and its result is renamed into place, so
//! several runners can pull at once and a pull that was killed leaves nothing that could be taken for an image. What it
//! leaves is removed by the next pull.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outrigger_host_launcher::HostLauncher;
use outrigger_host_launcher::parts::ProcessTask;
use outrigger_launcher::{Image, ImageError, ImageState};
use outrigger_pod_core::life::ImageProblem;
use rustix::fs::{FlockOperation, flock};

use crate::command::complaint;
use crate::image::Reference;
use crate::said::Said;
use crate::sif::Sif;
use crate::start::text_variables;

/// Where images of registries are kept.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    program: PathBuf,
    pulls: AtomicU64,
}

impl Store {
    /// In this directory, which is made when it is needed; `program` fetches.
    pub fn new(directory: PathBuf, program: PathBuf) -> Self {
        Self { directory, program, pulls: AtomicU64::new(0) }
    }

    /// The file or directory of an image; for one of a registry also where it is not there yet.
    pub fn path(&self, image: &Reference) -> PathBuf {
        match image {
            Reference::Local(path) => path.clone(),
            Reference::Registry(name) => self.directory.join(file_name(name)),
        }
    }

    /// Whether the image is there.
    pub fn look(&self, image: &Reference) -> ImageState {
        let path = self.path(image);
        let Ok(there) = fs::metadata(&path) else { return ImageState::Absent };
        match image {
            Reference::Local(_) => ImageState::Given(Image { id: local_id(&path), size: there.len() }),
            Reference::Registry(name) => ImageState::Present(Image { id: fetched_id(name, &path), size: there.len() }),
        }
    }

    /// Fetches an image of a registry. A file cannot be fetched from anywhere.
    pub async fn pull(&self, host: &HostLauncher, image: &Reference) -> Result<Image, ImageError> {
        let path = self.path(image);
        match image {
            Reference::Registry(name) => {
                let size = self.fetch(host, name, &path).await?;
                Ok(Image { id: fetched_id(name, &path), size })
            }
            Reference::Local(_) => match fs::metadata(&path) {
                Ok(there) => Ok(Image { id: local_id(&path), size: there.len() }),
                Err(error) => Err(ImageError {
                    problem: ImageProblem::Pull,
                    message: format!("cannot use the image {}: {error}", path.display()),
                }),
            },
        }
    }

    /// Fetches into a file; answers its size in bytes.
    async fn fetch(&self, host: &HostLauncher, name: &str, path: &Path) -> Result<u64, ImageError> {
        let failed = |why: String| ImageError {
            problem: ImageProblem::Pull,
            message: format!("failed to pull image \"docker://{name}\": {why}"),
        };
        let work = self.workplace().map_err(|error| {
            failed(format!("cannot make a directory for it in {}: {error}", self.directory.display()))
        })?;
        let file = work.directory.join("image.sif");
        let said = Said::new().map_err(|error| failed(format!("cannot hear what is said: {error}")))?;
        let process = fetcher(&self.program, name, &file, &work.directory);
        let code = run(host, process, &said).await.map_err(|error| failed(error.to_string()))?;
        if code != Some(0) || !file.exists() {
            let why = complaint(&said.text()).unwrap_or_else(|| match code {
                Some(code) => format!("{} ended with {code}", self.program.display()),
                None => format!("{} was ended", self.program.display()),
            });
            return Err(failed(why));
        }
        let keep = || fs::metadata(&file).and_then(|there| fs::rename(&file, path).map(|()| there.len()));
        keep().map_err(|error| failed(format!("cannot keep it as {}: {error}", path.display())))
    }

    /// A fresh directory for one pull, after those of dead ones are removed.
    fn workplace(&self) -> io::Result<Workplace> {
        fs::create_dir_all(&self.directory)?;
        for entry in fs::read_dir(&self.directory)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) && is_abandoned(&entry.path()) {
                // One that cannot be removed is only disk space.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let number = self.pulls.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join(format!("{PARTIAL}{}-{number}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let lock = File::open(&directory)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Workplace { directory, _lock: lock })
    }
}

/// How the names of directories begin in which a pull is at work.
const PARTIAL: &str = "partial-";

/// The directory of one pull; removed with this.
struct Workplace {
    directory: PathBuf,
    _lock: File,
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What stays is removed by the next pull.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn is_abandoned(directory: &Path) -> bool {
    File::open(directory).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

/// A name of a registry as a file name.
fn file_name(name: &str) -> String {
    format!("{}.sif", name.replace('%', "%25").replace('/', "%2F"))
}

/// The id of a SIF file, which it has from its build. A directory has none.
fn own_id(path: &Path) -> Option<String> {
    Some(format!("sif:{}", Sif::read(path).ok()??.id))
}

/// An image that was asked for by its digest is known by it; of another only the file that was made of it has an id.
fn fetched_id(name: &str, path: &Path) -> String {
    let own = if name.contains('@') { None } else { own_id(path) };
    own.unwrap_or_else(|| format!("docker://{name}"))
}

fn local_id(path: &Path) -> String {
    own_id(path).unwrap_or_else(|| format!("file://{}", path.display()))
}

/// Runs the program that fetches an image, which hears nothing and whose words are kept; answers its exit code.
async fn run(host: &HostLauncher, process: ProcessTask, said: &Said) -> io::Result<Option<i32>> {
    let nothing: OwnedFd = File::open("/dev/null")?.into();
    let said = Arc::new(said.as_fd().try_clone_to_owned()?);
    host.run(process, [Arc::new(nothing), Arc::clone(&said), said]).await
}

/// The program that fetches an image. It has the caller's whole environment, for credentials and proxies are there.
fn fetcher(program: &Path, name: &str, file: &Path, scratch: &Path) -> ProcessTask {
    let mut env: Vec<_> = text_variables().collect();
    env.retain(|(name, _)| name != "APPTAINER_TMPDIR" && name != "SINGULARITY_TMPDIR");
    for name in ["APPTAINER_TMPDIR", "SINGULARITY_TMPDIR"] {
        env.push((name.to_owned(), scratch.display().to_string()));
    }
    ProcessTask {
        argv: [&program.display().to_string(), "-s", "pull", "--force", &file.display().to_string()]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("docker://{name}")])
            .collect(),
        env,
        stdio: [0, 1, 2],
        ..ProcessTask::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_file_names_one_to_one() {
        assert_eq!(file_name("ghcr.io/a/b:1"), "ghcr.io%2Fa%2Fb:1.sif");
        assert_ne!(file_name("a/b"), file_name("a%2Fb"));
    }

    #[test]
    fn only_what_no_pull_works_on_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().to_owned(), "apptainer".into());
        fs::create_dir(directory.path().join("partial-1-1")).unwrap();
        let first = store.workplace().unwrap();
        let second = store.workplace().unwrap();
        assert!(first.directory.exists() && second.directory.exists());
        assert!(!directory.path().join("partial-1-1").exists());
        let place = first.directory.clone();
        drop(first);
        assert!(!place.exists());
    }
}
