//! The `Dockerfile` makes what `cargo xtask image` makes: the same files, users, entry points, environment and labels.
//!
//! It is built by Podman, without a registry: its base is made here of busybox, the machine's certificates, and a `cargo` that
//! has built the executable already.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use outrigger_e2e::cluster::output;
use outrigger_e2e::podman::Podman;
use serde_json::Value;

use crate::{podman, tags};

/// What the base is called in the `Dockerfile`.
fn base_name(dockerfile: &str) -> &str {
    let from = dockerfile.lines().find_map(|line| line.strip_prefix("FROM ")).unwrap();
    from.split(' ').next().unwrap()
}

/// Brings the base into Podman's store.
fn import_base(podman: &Podman, name: &str) {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    for directory in ["bin", "built", "tmp", "usr/share/ca-certificates"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for applet in ["sh", "mkdir", "cp", "ln", "cat", "chmod"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let executable = std::env::var("OUTRIGGER_BIN").expect("`cargo xtask test` names the executable");
    fs::copy(executable, root.join("built/outrigger")).unwrap();
    let cargo = root.join("bin/cargo");
    fs::write(&cargo, "#!/bin/sh\nmkdir -p target/some/release && cp /built/outrigger target/some/release/\n").unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let certificates = root.join("usr/share/ca-certificates");
    output(Command::new("cp").args(["-r", "/usr/share/ca-certificates/mozilla"]).arg(certificates)).unwrap();
    let archive = place.path().join("base.tar");
    output(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".")).unwrap();
    podman.run(&["import", &archive.to_string_lossy(), &format!("docker.io/library/{name}")]).unwrap();
}

/// What a runtime is told of an image.
fn config(podman: &Podman, image: &str) -> Value {
    let told = podman.run(&["inspect", "--format", "{{json .Config}}", image]).unwrap();
    let mut config: Value = serde_json::from_str(&told).unwrap();
    let labels = config["Labels"].as_object_mut().unwrap();
    // Who has built it, and when.
    labels.retain(|name, _| !name.starts_with("io.buildah.") && name != "org.opencontainers.image.created");
    config
}

/// Every file with its mode, owner, size and target, as `tar` lists them, without times.
fn files(podman: &Podman, image: &str) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let archive = place.path().join("files.tar").to_string_lossy().into_owned();
    let container = podman.run(&["create", "--network=host", image]).unwrap();
    podman.run(&["export", "--output", &archive, container.trim()]).unwrap();
    podman.run(&["rm", container.trim()]).unwrap();
    let listed =
        output(Command::new("tar").args(["--list", "--verbose", "--numeric-owner", "--file", &archive])).unwrap();
    let without_time = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The archive's end of a directory's name is a slash or none.
        [&words[..3], &words[5..]].concat().join(" ").trim_end_matches('/').to_owned()
    };
    let mut files: Vec<String> = listed.lines().map(without_time).collect();
    files.sort();
    files
}

/// Tried with a link less, with a mode of `/tmp` of its own, and without a label: each is found.
#[test]
fn the_dockerfile_makes_the_same_image() {
    let podman = podman();
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/image/Dockerfile");
    import_base(&podman, base_name(&fs::read_to_string(&dockerfile).unwrap()));
    let sources = tempfile::tempdir().unwrap();
    fs::write(sources.path().join("Cargo.toml"), "").unwrap();
    let ours = tags(&podman).into_iter().filter(|tag| tag.contains("outrigger:"));
    for (ours, target) in ours.zip(["outrigger", "generic-device-plugin", "simple-device-plugin"]) {
        let expected = config(&podman, &ours);
        let argument = |name: &str, label: &str| {
            let value = &expected["Labels"][format!("org.opencontainers.image.{label}")];
            format!("--build-arg={name}={}", value.as_str().unwrap())
        };
        let built = format!("docker.io/library/built:{target}");
        let mut build = podman.command(&["build", "--pull=never", "--network=host", "--isolation=chroot"]);
        build.args(["--target", target, "--tag", &built, "--file"]).arg(&dockerfile);
        build.args([argument("VERSION", "version"), argument("REVISION", "revision")]).arg(sources.path());
        output(&mut build).unwrap();
        assert_eq!(config(&podman, &built), expected, "{target}");
        assert_eq!(files(&podman, &built), files(&podman, &ours), "{target}");
    }
    let version =
        podman.run(&["run", "--rm", "--network=host", "docker.io/library/built:outrigger", "version"]).unwrap();
    assert!(version.starts_with("outrigger "), "{version}");
}
