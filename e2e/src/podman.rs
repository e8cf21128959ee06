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
        let podman = Self::empty()?;
        let image = podman.folder.path().join("image/bin");
        fs::create_dir_all(&image)?;
        fs::copy("/bin/busybox", image.join("busybox")).context("no /bin/busybox; install busybox-static")?;
        for applet in ["sh", "true", "sleep"] {
            std::os::unix::fs::symlink("busybox", image.join(applet))?;
        }
        let (tree, archive) = (podman.folder.path().join("image"), podman.folder.path().join("image.tar"));
        let tar = Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".").status()?;
        if !tar.success() {
            bail!("cannot pack {}", tree.display());
        }
        podman.run(&["import", &archive.to_string_lossy(), IMAGE])?;
        Ok(podman)
    }

    /// A Podman without images, whose storage is its own and goes with it.
    pub fn empty() -> Result<Self> {
        let podman = Self { folder: TempDir::with_prefix("outrigger-podman-")? };
        fs::write(
            podman.folder.path().join("containers.conf"),
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
        )?;
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
        self.run(&["kube", "play", "--network=host", &manifest.to_string_lossy()])?;
        self.run(&["wait", &format!("{pod}-main")]).map(drop)
    }

    /// Removes the pod.
    pub fn remove(&self, pod: &str) -> Result<()> {
        self.run(&["pod", "rm", "-f", pod]).map(drop)
    }

    /// What a command of Podman writes; its failure with what it complains of.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let output = self.command(args).output().context("cannot start podman")?;
        if !output.status.success() {
            bail!("podman {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command of Podman, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "umount /sys/fs/cgroup/unified 2>/dev/null; exec podman \"$@\"",
            "podman",
        ]);
        command.arg("--root").arg(self.folder.path().join("root"));
        command.arg("--runroot").arg(self.folder.path().join("runroot")).arg("--cgroup-manager=cgroupfs").args(args);
        command.env("CONTAINERS_CONF", self.folder.path().join("containers.conf")).stdin(Stdio::null());
        command
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // The folder cannot go while something in it runs; a failure shows as that.
        let _ = self.run(&["rm", "--all", "--force", "--time", "0"]);
    }
}
