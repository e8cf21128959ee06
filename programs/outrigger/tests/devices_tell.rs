//! What `outrigger devices list`, `explain` and `check` say, by the real executable, of machines that are not here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use outrigger_host_tree::HostTree;
use serde_json::Value;
use support::place::Place;

const DISKS: &str = "- {resource: v.io/disk, groups: [{block: {transport: [sata]}}]}\n";

/// What a command says of the machine of a tree, by these resources.
async fn said(tree: &HostTree, devices: &str, args: &[&str]) -> (i32, String, String) {
    let place = Place::new();
    fs::write(place.path("devices.yaml"), format!("ids: short\ndevices:\n{devices}")).unwrap();
    let settings = ["--config", "devices.yaml", "--host-root", tree.root().to_str().unwrap()];
    place.said("outrigger", &[&["devices"], args, &settings].concat()).await
}

/// The cells of the line of a table that has this in it.
fn line<'o>(out: &'o str, with: &str) -> Vec<&'o str> {
    let line = out.lines().find(|line| line.contains(with)).unwrap_or_else(|| panic!("{with} is not in\n{out}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

/// Tried with a list that tells only what is offered.
#[tokio::test]
async fn list_tells_each_disk_with_its_state_and_why_and_all_of_them_where_asked() {
    let tree = HostTree::named("sata");
    let (code, out, _) = said(&tree, DISKS, &["list"]).await;
    assert_eq!(code, 0);
    assert_eq!(line(&out, "RESOURCE"), ["RESOURCE", "ID", "NODE", "STATE", "NUMA", "CLAIM", "WHY"]);
    assert_eq!(line(&out, "/dev/sdb")[3], "offered", "{out}");
    let system = line(&out, "/dev/sda");
    assert!(system.contains(&"withheld") && system.last().unwrap().starts_with("system disk: / on sda2"), "{out}");
    let (_, none, _) = said(&tree, "- {resource: v.io/port, groups: [{serial: {}}]}\n", &["list"]).await;
    assert_eq!(none.lines().count(), 1, "{none}");
    let (_, all, notes) = said(&tree, "- {resource: v.io/port, groups: [{serial: {}}]}\n", &["list", "--all"]).await;
    assert!(line(&all, "/dev/sdb").contains(&"unmatched"), "{all}");
    assert!(notes.contains("Other nodes of /dev are not listed"), "{notes}");
}

#[tokio::test]
async fn list_of_what_is_no_resource_says_what_there_is_and_ends_with_1() {
    let tree = HostTree::named("sata");
    let (code, out, err) = said(&tree, DISKS, &["list", "v.io/dsik"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("v.io/dsik is no resource here (v.io/disk)"), "{err}");
    let (code, _, err) = said(&tree, DISKS, &["list", "/dev/sda"]).await;
    assert!(code == 1 && err.contains("`outrigger devices explain /dev/sda` tells of a device"), "{err}");
}

/// Units that many may hold are one line, and their ids a range.
#[tokio::test]
async fn many_ids_of_one_device_are_one_line_and_a_range() {
    let tree = HostTree::named("sata");
    tree.write("dev/kvm", "");
    let kvm = "- {resource: v.io/kvm, groups: [{count: 1000, paths: [{path: /dev/kvm, type: Mount}]}]}\n";
    let (_, out, _) = said(&tree, kvm, &["list"]).await;
    assert!(line(&out, "/dev/kvm")[1].ends_with("-0 (and 999 more)"), "{out}");
    let (_, json, _) = said(&tree, kvm, &["list", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["more"]), (1, &999.into()), "{json}");
    let (_, out, _) = said(&tree, kvm, &["explain", "/dev/kvm"]).await;
    assert!(line(&out, "  id ").last().unwrap().ends_with("(1000 ids)"), "{out}");
}

/// Tried with links that are not followed.
#[tokio::test]
async fn explain_follows_links_and_tells_each_check_and_the_rule_that_would_name_a_node() {
    let tree = HostTree::named("sata");
    fs::create_dir_all(tree.path("dev/disk/by-id")).unwrap();
    symlink("../../sda", tree.path("dev/disk/by-id/of-a-test")).unwrap();
    let (code, out, _) = said(&tree, DISKS, &["explain", "/dev/disk/by-id/of-a-test"]).await;
    assert_eq!(code, 0);
    assert!(out.starts_with("sda (/dev/sda)\n  state          withheld: system disk: / on sda2"), "{out}");
    assert!(out.contains("  rule v.io/disk: yes, withheld: "), "{out}");
    assert!(out.contains("    transport    yes  is sata, wanted is sata\n"), "{out}");
    let (_, json, _) = said(&tree, DISKS, &["explain", "sda", "-o", "json"]).await;
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&told[0]["state"], &told[0]["rules"][0]["matches"]), (&"withheld".into(), &true.into()), "{json}");
    fs::create_dir_all(tree.path("dev/snd")).unwrap();
    let (code, out, _) = said(&tree, DISKS, &["explain", "/dev/snd"]).await;
    assert!(code == 0 && out.starts_with("/dev/snd is a directory, and no rule names it."), "{out}");
    assert!(out.contains("- name: snd\n    groups: [{paths: [{path: /dev/snd}]}]\n"), "{out}");
    let (code, _, err) = said(&tree, DISKS, &["explain", "sdz"]).await;
    assert!(code == 1 && err.contains("sdz is no device, id or resource here"), "{err}");
}

/// Tried with a table of what rules match alone.
#[tokio::test]
async fn explain_without_a_name_tells_every_disk_in_use_also_what_no_rule_matches() {
    let tree = HostTree::named("sata");
    for devices in [DISKS, "- {resource: v.io/port, groups: [{serial: {}}]}\n"] {
        let (code, out, err) = said(&tree, devices, &["explain"]).await;
        assert_eq!((code, out.lines().count()), (0, 2), "{out}");
        assert!(line(&out, "/dev/sda").last().unwrap().starts_with("system disk: / on sda2"), "{out}");
        assert!(err.contains("These are the disks in use"), "{err}");
    }
    let (_, json, _) = said(&tree, DISKS, &["explain", "-o", "json"]).await;
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&told[0]["node"], &told[0]["resource"]), (&"/dev/sda".into(), &"v.io/disk".into()), "{json}");
}

#[tokio::test]
async fn check_tells_how_many_are_offered_and_of_resources_without_devices() {
    let tree = HostTree::named("sata");
    let devices = "- {resource: v.io/sure, groups: [{block: {transport: [sata]}}]}\n\
                   - {resource: v.io/none, groups: [{block: {transport: [nvme]}}]}\n\
                   - {resource: v.io/empty, groups: []}\n";
    let (_, out, err) = said(&tree, devices, &["check"]).await;
    assert_eq!(line(&out, "v.io/sure")[1..], ["good", "1 offered, 1 withheld"], "{out}");
    assert!(line(&out, "v.io/none")[2].starts_with("no device matches"), "{out}");
    assert_eq!(line(&out, "v.io/empty")[2], "it has no groups, so that no device can match", "{out}");
    assert!(err.contains("devices[2].groups: it has no groups: it will offer nothing"), "{err}");
}

/// What is wrong is said where people look for it, and not by an empty list.
#[tokio::test]
async fn what_is_misnamed_is_told() {
    let tree = HostTree::named("sata");
    let (code, _, err) = said(&tree, "- {name: null, groups: [{paths: [{path: /dev/null}]}]}\n", &["check"]).await;
    assert!(code == 2 && err.contains("devices[0].name: this key is missing, or null"), "{err}");
    let place = Place::new();
    let device = "{resource: v.io/null, groups: [{paths: [{path: /dev/null}]}]}";
    let (code, out, err) =
        place.said("outrigger", &["devices", "list", "--device", device, "--host-root", "/nonexist"]).await;
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("hostRoot: /nonexist is no directory here"), "{err}");
    let mut command = place.command("outrigger", &["devices", "list"]);
    let output = command.env("OUTRIGGER_DEVICES_CONFIG", "/nonexist.yaml").output().await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("OUTRIGGER_DEVICES_CONFIG: warning: is no setting, so /nonexist.yaml is not read"), "{err}");
    assert!(err.contains("and it is not there") && err.contains("--config FILE"), "{err}");
}
