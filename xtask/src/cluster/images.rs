//! Images without a registry: made by hand, imported, and pinned, since what a node threw away could not be pulled again.
//!
//! A cluster begins with two: the pause image, whose process is Kubernetes' own `pause.c`, and busybox of Debian's
//! `busybox-static`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::config::{CONTAINERD, PAUSE};
use super::place::Place;
use crate::image::blobs;
use crate::image::layer::Archive;
use crate::{cache, step};

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
    fs::create_dir_all(&images).with_context(|| format!("cannot make {}", images.display()))?;
    let [pause, busybox] = own(place);
    write(&pause, PAUSE, &["/pause"], &pause_layer(&place.program("pause"))?)?;
    write(&busybox, "localhost/busybox:1", &[], &busybox_layer()?)
}

fn pause_layer(program: &Path) -> Result<Vec<u8>> {
    let program = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    layer(|archive| archive.file("pause", 0o755, &program))
}

/// A busybox with a link for each of its commands.
fn busybox_layer() -> Result<Vec<u8>> {
    let program = fs::read(BUSYBOX).with_context(|| format!("cannot read {BUSYBOX}"))?;
    let names = step::output(Command::new(BUSYBOX).arg("--list"))?;
    layer(|archive| {
        for folder in ["bin", "dev", "etc", "proc", "root", "sbin", "sys", "usr", "usr/bin", "var", "var/run"] {
            archive.directory(folder, 0o755)?;
        }
        archive.directory("tmp", 0o1777)?;
        archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")?;
        archive.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
        archive.file("bin/busybox", 0o755, &program)?;
        names
            .lines()
            .filter(|name| *name != "busybox")
            .try_for_each(|name| archive.link(&format!("bin/{name}"), "/bin/busybox"))
    })
}

/// The bytes of an archive that is filled so.
fn layer(fill: impl FnOnce(&mut Archive<&mut Vec<u8>>) -> Result<()>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut archive = Archive::new(&mut bytes, 0);
    fill(&mut archive)?;
    archive.finish()?;
    Ok(bytes)
}

/// Writes an image of one layer as `docker save` does.
fn write(path: &Path, tag: &str, entry: &[&str], content: &[u8]) -> Result<()> {
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/sbin:/bin"], "WorkingDir": "/", "Entrypoint": entry},
        "rootfs": {"type": "layers", "diff_ids": [blobs::digest(content)]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]);
    let whole = layer(|archive| {
        archive.file("manifest.json", 0o644, manifest.to_string().as_bytes())?;
        archive.file("config.json", 0o644, config.to_string().as_bytes())?;
        archive.file("layer.tar", 0o644, content)
    })?;
    fs::write(path, whole).with_context(|| format!("cannot write {}", path.display()))
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
    fn an_image_is_what_tar_reads_and_names_its_layer_by_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.tar");
        let content = layer(|archive| archive.file("a", 0o755, b"text")).unwrap();
        write(&path, "localhost/one:1", &["/a"], &content).unwrap();
        let listed = step::output(Command::new("tar").arg("-tf").arg(&path)).unwrap();
        assert_eq!(listed, "manifest.json\nconfig.json\nlayer.tar\n");
        let read = |name: &str| step::output(Command::new("tar").arg("-xOf").arg(&path).arg(name)).unwrap();
        let config: serde_json::Value = serde_json::from_str(&read("config.json")).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], blobs::digest(&content));
        assert_eq!(config["config"]["Entrypoint"][0], "/a");
    }
}
