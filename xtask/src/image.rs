//! `cargo xtask image`: a container image from the static executable, without a daemon and without a registry.
//!
//! ```text
//! executable, links, certificates ──► one layer ──┬─► outrigger:VERSION                        (not root)
//!                                                 ├─► outrigger:VERSION-simple-device-plugin   (root, its entry point)
//!                                                 └─► outrigger:VERSION-generic-device-plugin  (root, its entry point)
//! ```
//!
//! The extra tags are for the manifests of replaced projects that name no command: they run when only their image line is
//! changed. All tags share the layer. The same executable, commit and certificates give the same bytes. Written are an OCI image
//! layout, and an archive that is one too and also what `docker save` writes (`docker load`, `podman load` and
//! `ctr images import` take it).

pub mod blobs;
mod documents;
pub mod layer;

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::project::Project;
use crate::step::{self, Found};
use crate::test;
use blobs::Blobs;

/// The archive, in the directory that is written.
const ARCHIVE: &str = "outrigger.tar";

/// The layout, beside it.
const LAYOUT: &str = "oci";

/// At most this much unpacked, for an image of the release executable.
const LIMIT: u64 = 30_000_000;

/// `cargo xtask image`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where to write: a directory with an older image, which is replaced, or with nothing
    #[arg(long, default_value = "target/image")]
    out: PathBuf,
    /// The name before the tag
    #[arg(long, default_value = "outrigger")]
    repository: String,
    /// With the quickly built profile instead of the release one
    #[arg(long)]
    thin: bool,
    /// This executable, instead of building one
    #[arg(long, value_name = "FILE", conflicts_with = "thin")]
    executable: Option<PathBuf>,
}

/// One tag of the image: what it runs when a manifest names no command, and as whom.
#[derive(Debug)]
pub struct Tag {
    /// What stands behind the version in the tag.
    pub suffix: &'static str,
    /// What runs.
    pub entry_point: &'static str,
    /// User and group, as numbers, for runtimes that verify `runAsNonRoot`.
    pub user: &'static str,
}

/// The tags. The replaced programs ran as root, and their manifests say nothing of users.
pub const TAGS: &[Tag] = &[
    Tag { suffix: "", entry_point: "/outrigger", user: "65532:65532" },
    Tag { suffix: "-simple-device-plugin", entry_point: "/bin/device-plugin", user: "0:0" },
    Tag { suffix: "-generic-device-plugin", entry_point: "/generic-device-plugin", user: "0:0" },
];

/// What every tag tells of its origin.
#[derive(Debug)]
pub struct Origin {
    /// The version of the executable.
    pub version: String,
    /// The commit, where the sources are a checkout.
    pub revision: Option<String>,
    /// When that was made, in seconds since 1970: the image's own time, so that two builds are equal.
    pub seconds: u64,
}

/// Builds the executable and writes the image.
pub fn run(project: &Project, args: &Args) -> Result<()> {
    let executable = match &args.executable {
        Some(executable) => executable.clone(),
        None => step::timed("build", || test::executable(project, if args.thin { "thin" } else { "release" }))?,
    };
    let out = project.root.join(&args.out);
    let origin = origin(project)?;
    let size = write(&executable, &out, &args.repository, &origin)?;
    println!("{}: {:.1} MB unpacked", out.display(), to_megabytes(size));
    for tag in TAGS {
        println!("  {}:{}{} runs {} as {}", args.repository, origin.version, tag.suffix, tag.entry_point, tag.user);
    }
    if size > LIMIT && !args.thin {
        bail!(Found(format!("the image has more than {:.0} MB", to_megabytes(LIMIT))));
    }
    Ok(())
}

/// The archive of the image with this executable, for tests.
pub fn of(project: &Project, executable: &Path) -> Result<PathBuf> {
    let out = project.metadata.target_directory.as_std_path().join("image-for-tests");
    write(executable, &out, "outrigger", &origin(project)?)?;
    Ok(out.join(ARCHIVE))
}

/// Writes layout and archive, and answers how many bytes the layer has.
fn write(executable: &Path, out: &Path, repository: &str, origin: &Origin) -> Result<u64> {
    remove_older(out)?;
    let layer = layer::bytes(executable, &layer::certificates(Path::new(layer::MOZILLA))?, origin.seconds)?;
    let size = layer.len() as u64;
    let blobs = Blobs::new(&out.join(LAYOUT))?;
    let layer = blobs.add(&layer)?;
    let mut images = Vec::new();
    for tag in TAGS {
        let config = blobs.add(&documents::config(tag, &layer, origin))?;
        let manifest = blobs.add(&documents::manifest(&config, &layer))?;
        images.push((format!("{repository}:{}{}", origin.version, tag.suffix), config, manifest));
    }
    blobs.finish(&images, &layer)?;
    blobs.archive(&out.join(ARCHIVE), origin.seconds)?;
    Ok(size)
}

/// Removes an older image, also one that was not finished; never anything else.
fn remove_older(out: &Path) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    let entries = fs::read_dir(out).with_context(|| format!("cannot read {}", out.display()))?;
    let entries = entries.collect::<Result<Vec<_>, _>>().with_context(|| format!("cannot read {}", out.display()))?;
    let is_ours = |entry: &DirEntry| [LAYOUT, ARCHIVE].iter().any(|name| entry.file_name() == *name);
    if let Some(other) = entries.iter().find(|entry| !is_ours(entry)) {
        let path = other.path();
        bail!(Found(format!("{} is no part of an image and would be lost: name another --out", path.display())));
    }
    fs::remove_dir_all(out).with_context(|| format!("cannot remove the old {}", out.display()))
}

fn origin(project: &Project) -> Result<Origin> {
    let package = project.packages().iter().find(|package| package.name.as_str() == "outrigger");
    let version = package.context("this workspace has no package outrigger")?.version.to_string();
    let git = |format: &str| {
        let output = Command::new("git").arg("-C").arg(&project.root).args(["log", "-1", format]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let seconds = git("--format=%ct").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    Ok(Origin { version, revision: git("--format=%H"), seconds })
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn to_megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn origin() -> Origin {
        Origin { version: "1.2.3".into(), revision: Some("abc".into()), seconds: 1_700_000_000 }
    }

    fn image(directory: &Path) -> PathBuf {
        let executable = directory.join("executable");
        fs::write(&executable, b"\x7fELF").unwrap();
        let out = directory.join("image");
        write(&executable, &out, "local/outrigger", &origin()).unwrap();
        out
    }

    fn json(path: &Path) -> Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn blob(out: &Path, digest: &Value) -> PathBuf {
        out.join("oci/blobs").join(digest.as_str().unwrap().replace(':', "/"))
    }

    #[test]
    fn two_writings_are_equal_to_the_byte() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let archives = [one.path(), two.path()].map(|place| fs::read(image(place).join("outrigger.tar")).unwrap());
        assert!(archives[0] == archives[1]);
    }

    #[test]
    fn every_tag_has_its_entry_point_and_shares_the_layer() {
        let place = tempfile::tempdir().unwrap();
        let out = image(place.path());
        let index = json(&out.join("oci/index.json"));
        let mut layers = Vec::new();
        for (manifest, tag) in index["manifests"].as_array().unwrap().iter().zip(TAGS) {
            let name = &manifest["annotations"]["org.opencontainers.image.ref.name"];
            assert_eq!(name, &format!("local/outrigger:1.2.3{}", tag.suffix));
            let manifest = json(&blob(&out, &manifest["digest"]));
            let config = json(&blob(&out, &manifest["config"]["digest"]));
            assert_eq!(config["config"]["Entrypoint"][0], tag.entry_point);
            assert_eq!(config["config"]["User"], tag.user);
            assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
            layers.push(manifest["layers"][0]["digest"].clone());
        }
        assert_eq!(layers.len(), TAGS.len());
        assert!(layers.iter().all(|layer| *layer == layers[0]));
    }

    #[test]
    fn an_older_image_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let out = image(place.path());
        fs::write(out.join("oci/blobs/sha256/stray"), "old").unwrap();
        image(place.path());
        assert!(!out.join("oci/blobs/sha256/stray").exists());
    }

    /// Tried with whatever stands there being removed.
    #[test]
    fn a_directory_with_anything_else_in_it_is_left_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let out = image(place.path());
        fs::write(out.join("thesis.tex"), "").unwrap();
        let error = remove_older(&out).unwrap_err().to_string();
        assert!(error.contains("image/thesis.tex is no part of an image"), "{error}");
        assert!(out.join(ARCHIVE).exists() && out.join("thesis.tex").exists());
    }
}
