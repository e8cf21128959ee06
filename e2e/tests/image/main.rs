//! The container image, in a real container runtime: it loads, its tags run what they should, and the manifests of replaced
//! projects do their main job with it, with their own arguments and rights, at a kubelet of the test kit.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, also in its helpers")]

mod dockerfile;
mod manifest;
mod replaced;

use outrigger_e2e::podman::Podman;

/// Podman with our image.
fn podman() -> Podman {
    let archive = std::env::var("OUTRIGGER_IMAGE").expect("`cargo xtask test` makes the image and names it");
    let podman = Podman::empty().unwrap();
    podman.run(&["load", "--input", &archive]).unwrap();
    podman
}

/// The names of the image's tags, the plain one first.
fn tags(podman: &Podman) -> Vec<String> {
    let listed = podman.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).unwrap();
    let mut tags: Vec<_> = listed.lines().map(str::to_owned).collect();
    tags.sort();
    tags
}

#[test]
fn the_image_has_its_tags_and_runs_as_nobody_unless_it_replaces_something() {
    let podman = podman();
    let tags = tags(&podman);
    let endings: Vec<&str> =
        tags.iter().filter_map(|tag| tag.split_once(':')?.1.split_once('-')).map(|(_, end)| end).collect();
    assert_eq!((tags.len(), endings), (3, vec!["generic-device-plugin", "simple-device-plugin"]), "{tags:?}");
    let version = podman.run(&["run", "--rm", "--network=host", &tags[0], "version"]).unwrap();
    assert!(version.starts_with("outrigger "), "{version}");
    let inspected = ["inspect", "--format", "{{.Config.User}} {{.Config.Entrypoint}}"];
    let of = |tag: &str| podman.run(&[&inspected[..], &[tag]].concat()).unwrap();
    assert_eq!(of(&tags[0]).trim(), "65532:65532 [/outrigger]");
    assert_eq!(of(&tags[1]).trim(), "0:0 [/generic-device-plugin]");
    assert_eq!(of(&tags[2]).trim(), "0:0 [/bin/device-plugin]");
}

#[test]
fn without_any_right_it_still_tells_of_the_machine() {
    let podman = podman();
    let tag = &tags(&podman)[0];
    let listed = podman.run(&[
        "run",
        "--rm",
        "--network=host",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        tag,
        "devices",
        "list",
        "--device",
        "{resource: example.com/null, groups: [{paths: [{path: /dev/null}]}]}",
    ]);
    let listed = listed.unwrap();
    assert!(listed.contains("example.com/null") && listed.contains("offered"), "{listed}");
}
