//! The peer: `podman kube play`, with an image made of busybox.
//!
//! Its runtime refuses the hybrid cgroup layout, so each command runs in a mount namespace without the `unified` folder; it
//! also needs limits that a root without `CAP_SYS_RESOURCE` may set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// The image's name.
pub const IMAGE: &str = "localhost/outrigger-bench:busybox";

/// A Podman that can run pods here.
#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
}

impl Podman {
    /// Sets up the peer; `None` with the reason on stderr where Podman is not installed or cannot run here.
    pub fn find() -> Option<Self> {
        match Self::set_up() {
            Ok(podman) => Some(podman),
            Err(fault) => {
                let said = format!("peer: podman left out: {fault:#}\n");
                std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).ok()?;
                None
            }
        }
    }

    fn set_up() -> Result<Self> {
        let podman = Self { folder: TempDir::with_prefix("outrigger-bench-podman-")? };
        fs::write(
            podman.folder.path().join("containers.conf"),
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
        )?;
        let image = podman.folder.path().join("image/bin");
        fs::create_dir_all(&image)?;
        fs::copy("/bin/busybox", image.join("busybox")).context("no /bin/busybox; install busybox-static")?;
        for applet in ["sh", "true", "sleep"] {
            std::os::unix::fs::symlink("busybox", image.join(applet))?;
        }
        let tree = podman.folder.path().join("image");
        podman.sh(&format!("tar -C {} -c . | podman import - {IMAGE}", tree.display()))?;
        Ok(podman)
    }

    /// Writes a manifest and answers its path.
    pub fn manifest(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Starts the pod and waits for the end of its container `main`.
    pub fn play(&self, manifest: &Path, pod: &str) -> Result<()> {
        let play = format!("podman --cgroup-manager=cgroupfs kube play --network=host {}", manifest.display());
        self.sh(&format!("{play} && podman --cgroup-manager=cgroupfs wait {pod}-main"))
    }

    /// Removes the pod.
    pub fn remove(&self, pod: &str) -> Result<()> {
        self.sh(&format!("podman --cgroup-manager=cgroupfs pod rm -f {pod}"))
    }

    fn sh(&self, script: &str) -> Result<()> {
        let script = format!("umount /sys/fs/cgroup/unified 2>/dev/null; {script}");
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-ec", &script])
            .env("CONTAINERS_CONF", self.folder.path().join("containers.conf"))
            .stdin(Stdio::null())
            .output()
            .context("cannot start podman")?;
        if !output.status.success() {
            bail!("{script}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}
