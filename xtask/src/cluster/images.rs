//! Images without a registry: made by hand, imported, and pinned, since what a node threw away could not be pulled again.
//!
//! A cluster begins with two: the pause image, whose process is Kubernetes' own `pause.c`, and busybox of Debian's
//! `busybox-static`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::config::{CONTAINERD, PAUSE};
use super::place::Place;
use crate::cache;
use crate::step;

/// Debian's, with everything linked in.
const BUSYBOX: &str = "/bin/busybox";

/// The archives of a cluster's own images.
pub fn own(place: &Place) -> [PathBuf; 2] {
    ["pause", "busybox"].map(|name| place.path("images").join(format!("{name}.tar")))
}

/// The command that imports an archive, inside. `-` is the standard input.
pub fn import(place: &Place, archive: &str) -> Vec<String> {
    let ctr = place.program("ctr").display().to_string();
    let pinned = "io.cri-containerd.pinned=pinned";
    let fixed = ["--address", CONTAINERD, "--namespace", "k8s.io", "images", "import", "--label", pinned, archive];
    std::iter::once(ctr).chain(fixed.map(str::to_owned)).collect()
}

/// Makes the archives.
pub fn make(place: &Place) -> Result<()> {
    let images = place.path("images");
    let (pause, busybox) = (images.join("pause"), images.join("busybox"));
    fs::create_dir_all(&pause).with_context(|| format!("cannot make {}", pause.display()))?;
    link_or_copy(&place.program("pause"), &pause.join("pause"))?;
    lay_out_busybox(&busybox)?;
    archive(&images, "pause", PAUSE, &["/pause"])?;
    archive(&images, "busybox", "localhost/busybox:1", &[])
}

/// A busybox with a link for each of its commands.
fn lay_out_busybox(root: &Path) -> Result<()> {
    for folder in ["bin", "sbin", "usr/bin", "usr/sbin", "etc", "tmp", "proc", "sys", "dev", "root", "var/run"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    link_or_copy(Path::new(BUSYBOX), &root.join("bin/busybox"))?;
    for name in step::output(Command::new(BUSYBOX).arg("--list"))?.lines().filter(|name| *name != "busybox") {
        symlink("/bin/busybox", root.join("bin").join(name))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    Ok(())
}

fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Makes `FOLDER/NAME.tar` of `FOLDER/NAME`: a docker-archive of one layer, the same for the same files.
fn archive(folder: &Path, name: &str, tag: &str, entry: &[&str]) -> Result<()> {
    let parts = folder.join(format!("{name}.parts"));
    fs::create_dir_all(&parts)?;
    let layer = parts.join("layer.tar");
    cache::run_quietly(
        Command::new("tar")
            .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--directory"])
            .arg(folder.join(name))
            .arg("--create")
            .arg("--file")
            .arg(&layer)
            .arg("."),
    )?;
    let digest = step::output(Command::new("sha256sum").arg("--binary").arg(&layer))?;
    let digest = digest.split_whitespace().next().context("sha256sum told no digest")?.to_owned();
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "WorkingDir": "/", "Entrypoint": entry},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]);
    fs::write(parts.join("config.json"), config.to_string())?;
    fs::write(parts.join("manifest.json"), manifest.to_string())?;
    let mut whole = Command::new("tar");
    whole.arg("--directory").arg(&parts).arg("--create").arg("--file").arg(folder.join(format!("{name}.tar")));
    cache::run_quietly(whole.args(["manifest.json", "config.json", "layer.tar"]))
}

/// This machine's, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Compiles Kubernetes' `pause.c`, which comes with its Go module.
pub fn build_pause(source: &Path, to: &Path) -> Result<()> {
    let partial = to.with_file_name(".pause.partial");
    let mut compiler = Command::new("gcc");
    compiler.args(["-Os", "-static", "-DVERSION=local", "-o"]).arg(&partial).arg(source);
    cache::run_quietly(&mut compiler)?;
    fs::rename(&partial, to).with_context(|| format!("cannot make {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_archive() {
        let folder = tempfile::tempdir().unwrap();
        let mut digests = Vec::new();
        for name in ["one", "two"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("file"), "text").unwrap();
            archive(folder.path(), name, "localhost/a:1", &["/file"]).unwrap();
            let config = fs::read_to_string(folder.path().join(format!("{name}.parts/config.json"))).unwrap();
            digests.push(config);
            let listed = step::output(Command::new("tar").arg("-tf").arg(folder.path().join(format!("{name}.tar"))));
            assert_eq!(listed.unwrap(), "manifest.json\nconfig.json\nlayer.tar\n");
        }
        assert_eq!(digests[0], digests[1]);
    }
}
