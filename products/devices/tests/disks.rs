//! The node agent with real disks: loop devices, made as root. Left out, and said so, where that is not possible.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]
#![allow(clippy::print_stderr, reason = "a test says that it is left out")]

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Node, PATIENCE};
use outrigger_device_core::decide::{Claims, State};
use outrigger_devices::args::SettingsArgs;
use outrigger_devices::inventory::Inventory;
use outrigger_devices::settings::{Surroundings, load};
use outrigger_kubelet_api::Code;
use outrigger_kubelet_api::device_plugin::{AllocateRequest, ContainerAllocateRequest, PreStartContainerRequest};
use tokio::sync::{Mutex, MutexGuard};

const DISK: &str = "example.com/disk";

/// One test at a time: a node that is free for a moment is taken by whoever attaches next.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A loop device over a file of its own; it goes with the value.
struct Loop {
    node: PathBuf,
    file: tempfile::NamedTempFile,
    _alone: MutexGuard<'static, ()>,
}

impl Loop {
    /// None where this machine or user has none; on CI that is a failure.
    async fn attached() -> Option<Self> {
        let alone = ALONE.lock().await;
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(16 << 20).unwrap();
        let attached = Command::new("losetup").args(["-f", "--show"]).arg(file.path()).output();
        let node = attached.ok().filter(|said| said.status.success()).map(|said| said.stdout);
        assert!(node.is_some() || std::env::var_os("CI").is_none(), "on CI there are loop devices");
        let Some(node) = node else {
            eprintln!("left out: no loop device can be had");
            return None;
        };
        let node = PathBuf::from(String::from_utf8(node).unwrap().trim());
        Some(Self { node, file, _alone: alone })
    }

    fn name(&self) -> &str {
        self.node.file_name().unwrap().to_str().unwrap()
    }

    /// Attaches the same node to another file.
    fn exchanged(&self, file: &Path) {
        done(Command::new("losetup").arg("-d").arg(&self.node));
        self.attached_again(file);
    }

    /// Whoever looks at the node because something was told of it, as udev does, keeps it busy for a moment.
    fn attached_again(&self, file: &Path) {
        let begun = Instant::now();
        loop {
            let said = Command::new("losetup").arg(&self.node).arg(file).output().unwrap();
            if said.status.success() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", String::from_utf8_lossy(&said.stderr));
            std::thread::yield_now();
        }
    }

    fn configuration(&self) -> String {
        format!(
            "domain: example.com\ndevices:\n- name: disk\n  health: {{healthyAfter: 50ms}}\n  \
             groups: [{{block: {{transport: [loop], names: [{}]}}}}]\n",
            self.name()
        )
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.node).output();
        let _ = Command::new("losetup").arg("-d").arg(&self.node).output();
    }
}

fn done(command: &mut Command) {
    let said = command.output().unwrap();
    assert!(said.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said.stderr));
}

#[tokio::test]
async fn k04_a_disk_that_is_mounted_is_withheld_and_refused_and_is_back_under_its_id() {
    let Some(disk) = Loop::attached().await else { return };
    let mut node = Node::new(&disk.configuration()).await;
    node.start_at(Path::new("/"));
    let before = node.offered(DISK, 1).await;
    done(Command::new("mkfs.ext4").arg("-q").arg(&disk.node));
    let place = tempfile::tempdir().unwrap();
    done(Command::new("mount").arg(&disk.node).arg(place.path()));
    let begun = Instant::now();
    node.offered(DISK, 0).await;
    eprintln!("withheld {:?} after the mount", begun.elapsed());
    let refused = node.allocate(DISK, &[&[&before[0]]]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains(&format!("mounted at {}", place.path().display())), "{refused}");
    done(Command::new("umount").arg(place.path()));
    assert_eq!(node.offered(DISK, 1).await, before);
    let admitted = node.admit("a", DISK, 1).await.unwrap();
    assert_eq!(admitted[DISK].1.devices[0].host_path, disk.node.display().to_string());
}

#[tokio::test]
async fn a_disk_that_is_mounted_in_the_moment_of_allocation_is_refused() {
    let Some(disk) = Loop::attached().await else { return };
    done(Command::new("mkfs.ext4").arg("-q").arg(&disk.node));
    let mut node = Node::new(&disk.configuration()).await;
    node.start_at(Path::new("/"));
    let ids = node.offered(DISK, 1).await;
    let place = tempfile::tempdir().unwrap();
    let mut client = node.client(DISK).await;
    done(Command::new("mount").arg(&disk.node).arg(place.path()));
    let request = ContainerAllocateRequest { device_ids: ids };
    let refused = client.allocate(AllocateRequest { container_requests: vec![request] }).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
}

#[tokio::test]
async fn another_disk_at_the_same_name_is_refused_at_the_start_of_a_container() {
    let Some(disk) = Loop::attached().await else { return };
    let mut node = Node::new(&disk.configuration()).await;
    node.start_at(Path::new("/"));
    let ids = node.offered(DISK, 1).await;
    node.admit("a", DISK, 1).await.unwrap();
    node.kubelet.start_container("a", "app").await.unwrap();
    let other = tempfile::NamedTempFile::new().unwrap();
    other.as_file().set_len(8 << 20).unwrap();
    disk.exchanged(other.path());
    let refused = node.kubelet.start_container("a", "app").await.unwrap_err().to_string();
    assert!(refused.contains("cannot be given"), "{refused}");
    let request = PreStartContainerRequest { device_ids: ids };
    let refused = node.client(DISK).await.pre_start_container(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(disk.file.path().exists());
}

#[tokio::test]
async fn k07_a_disk_that_comes_and_goes_is_offered_and_no_longer() {
    let Some(disk) = Loop::attached().await else { return };
    let mut node = Node::new(&disk.configuration()).await;
    node.start_at(Path::new("/"));
    node.offered(DISK, 1).await;
    done(Command::new("losetup").arg("-d").arg(&disk.node));
    let begun = Instant::now();
    node.offered(DISK, 0).await;
    eprintln!("no longer offered {:?} after it went", begun.elapsed());
    disk.attached_again(disk.file.path());
    node.offered(DISK, 1).await;
}

#[tokio::test]
async fn a_disk_that_its_own_pod_has_mounted_stays_listed_over_a_restart_and_no_longer_than_the_pod() {
    let Some(disk) = Loop::attached().await else { return };
    done(Command::new("mkfs.ext4").arg("-q").arg(&disk.node));
    let mut node = Node::new(&disk.configuration()).await;
    node.start_at(Path::new("/"));
    let ids = node.offered(DISK, 1).await;
    node.admit("a", DISK, 1).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    done(Command::new("mount").arg(&disk.node).arg(place.path()));
    node.stop().await;
    node.start_at(Path::new("/"));
    let view = node.kubelet.until(|view| view.registrations_of(DISK) == 2 && view.resources[DISK].lists > 0).await;
    assert_eq!(view.resources[DISK].devices.keys().collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    node.kubelet.remove_pod("a");
    node.kubelet.until(|view| view.resources[DISK].devices.is_empty()).await;
}

/// One disk by its node, by a link and by what it is, as three files say it.
#[tokio::test]
async fn a_disk_has_one_lock_by_whatever_rule_it_is_named() {
    let Some(disk) = Loop::attached().await else { return };
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("link");
    std::os::unix::fs::symlink(&disk.node, &link).unwrap();
    let rule = |group: &str| format!("domain: example.com\ndevices: [{{name: disk, groups: [{group}]}}]\n");
    let locks = |group: String| {
        let file = place.path().join("devices.yaml");
        std::fs::write(&file, rule(&group)).unwrap();
        let args = SettingsArgs { config: Some(file), ..SettingsArgs::default() };
        let configuration = load(&args, &Surroundings::default()).unwrap();
        let (inventory, _) = Inventory::of(&configuration).unwrap();
        let decision = inventory.decide(&inventory.picture(), &Claims::default(), &State::default(), Duration::ZERO);
        let unit = decision.lists[0].listed[0].unit.clone();
        unit.locks().collect::<Vec<_>>()
    };
    let by_kind = locks(format!("{{block: {{transport: [loop], names: [{}]}}}}", disk.name()));
    for path in [&disk.node, &link] {
        assert_eq!(locks(format!("{{paths: [{{path: {}}}]}}", path.display())), by_kind, "{}", path.display());
    }
}
