//! The kernel's own devices and messages: loop devices, zram, mounts, swap. Needs root, and `losetup`, `mkfs.ext4`, `mkswap`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers fail and speak as its tests do"
)]

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use outrigger_host::Watches;
use outrigger_host::devices::{BlockDevice, Devices, Roots, Scope, Seen, Transport, look, probe};
use outrigger_host::events::{Action, Event, Events, Wanted};
use tokio::time::timeout;

/// Long enough for a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(20);

/// Told to the process that runs in a namespace of its own.
const INSIDE: &str = "REAL_DEVICES_INSIDE";

/// Whether this can run here; where not, it says so.
fn can_run() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let has_loops = Path::new("/dev/loop-control").exists();
    if is_root && has_loops {
        return true;
    }
    println!("left out: needs root and loop devices");
    assert!(std::env::var_os("CI").is_none(), "CI runs as root, with loop devices");
    false
}

/// A storm of messages reaches every listener of the machine, so it has the machine for itself.
static STORM: RwLock<()> = RwLock::new(());

fn run(test: impl Future<Output = ()>) {
    let _calm = STORM.read().unwrap_or_else(PoisonError::into_inner);
    run_here(test);
}

fn run_here(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn call(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A file of 16 MiB behind a loop device, detached at the end.
struct Loop {
    node: String,
    place: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// One test at a time: a node that is free for a moment is taken by whoever attaches next.
static ALONE: Mutex<()> = Mutex::new(());

impl Loop {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("disk");
        fs::File::create(&file).unwrap().set_len(16 << 20).unwrap();
        let node = call("losetup", &["--find", "--show", file.to_str().unwrap()]);
        Self { node, place, _alone: alone }
    }

    fn name(&self) -> &str {
        self.node.strip_prefix("/dev/").unwrap()
    }

    /// Whether it is still a file of ours that is behind the node.
    fn is_ours(&self) -> bool {
        let file = format!("/sys/block/{}/loop/backing_file", self.name());
        fs::read_to_string(file).is_ok_and(|file| Path::new(file.trim()).starts_with(self.place.path()))
    }

    fn look(&self) -> (BlockDevice, Devices) {
        let scope = Scope::Only { disks: vec![self.name().to_owned()], usb: Vec::new(), nodes: Vec::new() };
        let mut devices = look(&Roots::below("/"), &scope);
        (devices.block.pop().unwrap(), devices)
    }

    /// Where it is mounted.
    fn mounts(&self) -> Vec<String> {
        let (disk, devices) = self.look();
        let Seen::Known(mounts) = devices.mounts else { panic!("{:?}", devices.mounts) };
        mounts.into_iter().filter(|mount| mount.number == disk.number).map(|mount| mount.target).collect()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.place.path().join("mount")).output();
        if self.is_ours() {
            let _ = Command::new("swapoff").arg(&self.node).output();
            let _ = Command::new("losetup").args(["--detach", &self.node]).output();
        }
    }
}

#[test]
fn a_loop_disk_is_seen_with_its_file_its_mounts_and_its_swap() {
    if !can_run() {
        return;
    }
    let disk = Loop::new();
    let (seen, _) = disk.look();
    assert_eq!(seen.transport, Transport::Loop);
    assert_eq!((seen.size, &*seen.node), (16 << 20, &*disk.node));
    assert!(seen.wwid.as_deref().unwrap().ends_with("/disk"), "{:?}", seen.wwid);
    let roots = Roots::below("/");
    let empty = probe(&roots, &disk.node, true);
    assert_eq!((empty.exclusive, empty.signature), (Seen::Known(false), Seen::Known(None)));

    call("mkfs.ext4", &["-q", &disk.node]);
    let target = disk.place.path().join("mount");
    fs::create_dir(&target).unwrap();
    call("mount", &[&disk.node, target.to_str().unwrap()]);
    assert_eq!(disk.mounts(), [target.to_str().unwrap()]);
    assert_eq!(disk.look().0.usage.kernel_file_system.as_deref(), Some("ext4"));
    let used = probe(&roots, &disk.node, true);
    assert_eq!((used.exclusive, used.signature), (Seen::Known(true), Seen::Known(Some("data".to_owned()))));
    call("umount", &[target.to_str().unwrap()]);
    assert!(disk.mounts().is_empty());

    call("mkswap", &[&disk.node]);
    call("swapon", &[&disk.node]);
    let (seen, devices) = disk.look();
    let Seen::Known(swaps) = devices.swaps else { panic!("{:?}", devices.swaps) };
    assert!(swaps.iter().any(|swap| swap.number == Some(seen.number) && swap.path == disk.node), "{swaps:?}");
}

#[test]
fn another_file_behind_the_same_loop_device_is_another_incarnation() {
    if !can_run() {
        return;
    }
    for _ in 0..10 {
        let disk = Loop::new();
        let (before, _) = disk.look();
        call("losetup", &["--detach", &disk.node]);
        let other = disk.place.path().join("other");
        fs::File::create(&other).unwrap().set_len(8 << 20).unwrap();
        // Another process of the machine may have taken the node.
        if Command::new("losetup").arg(&disk.node).arg(&other).status().unwrap().success() {
            let (after, _) = disk.look();
            assert_ne!(before.diskseq, after.diskseq);
            assert_ne!(before.wwid, after.wwid);
            return;
        }
    }
    panic!("no node can be attached to another file");
}

fn events(subsystems: &[&str], directories: &[PathBuf]) -> Events {
    let subsystems: BTreeSet<String> = subsystems.iter().map(|name| (*name).to_owned()).collect();
    let wanted = Wanted { subsystems, directories: directories.to_vec() };
    Events::open(&Roots::below("/"), &Watches::new(), wanted)
}

/// Waits for an event that is this; others may come before.
async fn wait_for(events: &mut Events, what: &str, mut is_it: impl FnMut(&Event) -> bool) -> Event {
    let search = async {
        loop {
            let event = events.next().await;
            if is_it(&event) {
                return event;
            }
        }
    };
    timeout(SOON, search).await.unwrap_or_else(|_| panic!("not told: {what}"))
}

fn is_of(event: &Event, name: &str, action: Action) -> bool {
    let Event::Devices(uevents) = event else { return false };
    uevents.iter().any(|uevent| uevent.node.as_deref() == Some(name) && uevent.action == action)
}

#[test]
fn the_kernel_tells_of_loop_devices_mounts_and_swap_and_of_nothing_else() {
    if !can_run() {
        return;
    }
    run(async {
        let mut events = events(&["block"], &[]);
        assert!(!events.is_polling(), "in the initial namespaces everything is told");
        let disk = Loop::new();
        wait_for(&mut events, "the attached file", |event| is_of(event, disk.name(), Action::Change)).await;
        wait_for(&mut events, "a later look", |event| *event == Event::Again).await;

        call("mkfs.ext4", &["-q", &disk.node]);
        let target = disk.place.path().join("mount");
        fs::create_dir(&target).unwrap();
        call("mount", &[&disk.node, target.to_str().unwrap()]);
        wait_for(&mut events, "the mount", |event| *event == Event::Mounts).await;
        call("umount", &[target.to_str().unwrap()]);
        wait_for(&mut events, "the end of the mount", |event| *event == Event::Mounts).await;
        call("mkswap", &[&disk.node]);
        call("swapon", &[&disk.node]);
        wait_for(&mut events, "the swap area", |event| *event == Event::Swaps).await;
        call("swapoff", &[&disk.node]);
        wait_for(&mut events, "the end of the swap area", |event| *event == Event::Swaps).await;
        call("losetup", &["--detach", &disk.node]);
        wait_for(&mut events, "the end of the file", |event| is_of(event, disk.name(), Action::Change)).await;
    });
}

#[test]
fn zram_comes_and_goes() {
    if !can_run() {
        return;
    }
    if !Path::new("/sys/class/zram-control/hot_add").exists() {
        println!("left out: needs the kernel's module zram");
        return;
    }
    run(async {
        let mut events = events(&["block"], &[]);
        let number = fs::read_to_string("/sys/class/zram-control/hot_add").unwrap().trim().to_owned();
        let name = format!("zram{number}");
        wait_for(&mut events, "the new device", |event| is_of(event, &name, Action::Add)).await;
        fs::write("/sys/class/zram-control/hot_remove", &number).unwrap();
        wait_for(&mut events, "its end", |event| is_of(event, &name, Action::Remove)).await;
    });
}

/// Asks the kernel for a message about `/dev/null`, which is of the subsystem `mem`.
fn ask_for_uevent() {
    fs::write("/sys/class/mem/null/uevent", "change 11111111-2222-3333-4444-555555555555 A=b").unwrap();
}

#[test]
fn uevents_of_other_subsystems_wake_nobody_and_are_counted() {
    if !can_run() {
        return;
    }
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut events = events(&["nothing"], &[place.path().to_owned()]);
        for _ in 0..50 {
            ask_for_uevent();
        }
        fs::write(place.path().join("node"), "").unwrap();
        // Mounts of other tests may come before; devices may not.
        let event = wait_for(&mut events, "the name", |event| !matches!(event, Event::Mounts | Event::Swaps)).await;
        assert_eq!(event, Event::Paths);
        while events.counts().uevents < 50 {
            let _ = timeout(Duration::from_millis(5), events.next()).await;
        }
    });
}

#[test]
fn lost_messages_are_one_look_at_everything() {
    if !can_run() {
        return;
    }
    let _storm = STORM.write().unwrap_or_else(PoisonError::into_inner);
    run_here(async {
        let mut events = events(&["nothing"], &[]);
        // Nobody reads meanwhile: the queue takes some thousand.
        for _ in 0..20_000 {
            ask_for_uevent();
        }
        wait_for(&mut events, "the loss", |event| *event == Event::Everything).await;
        while timeout(Duration::from_millis(600), events.next()).await.is_ok_and(|event| event != Event::Everything) {}
        let counts = events.counts();
        assert!(counts.overruns == 1 && counts.uevents > 100 && counts.malformed == 0, "{counts:?}");
    });
}

#[test]
fn messages_of_other_processes_are_counted_and_not_believed() {
    use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sendto, socket_with};
    if !can_run() {
        return;
    }
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut events = events(&["block"], &[place.path().to_owned()]);
        let forged = b"add@/block/forged\0ACTION=add\0DEVPATH=/block/forged\0SUBSYSTEM=block\0DEVNAME=forged\0";
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT)).unwrap();
        // The kernel itself may refuse it, which serves as well.
        if let Err(refused) = sendto(&socket, forged, SendFlags::empty(), &SocketAddrNetlink::new(0, 1)) {
            println!("left out: the kernel takes no message from others: {refused}");
            assert!(std::env::var_os("CI").is_none(), "root on CI may send one");
            return;
        }
        while events.counts().forged == 0 {
            if let Ok(event) = timeout(Duration::from_millis(5), events.next()).await {
                assert!(!is_of(&event, "forged", Action::Add), "{event:?}");
            }
        }
    });
}

/// Runs in a namespace of its own, as [`in_its_own`] starts it.
#[test]
fn inside_a_namespace() {
    let Some(kind) = std::env::var_os(INSIDE) else { return };
    run(async move {
        let mut events = events(&["mem"], &[]).polling_every(Duration::from_millis(20));
        println!("listening");
        let event = wait_for(&mut events, "anything", |event| !matches!(event, Event::Mounts | Event::Swaps)).await;
        match kind.to_str() {
            Some("net") => assert!(is_of(&event, "null", Action::Change) && !events.is_polling(), "{event:?}"),
            _ => assert!(event == Event::Everything && events.is_polling(), "{event:?}"),
        }
        println!("was told");
    });
}

fn in_its_own(kind: &str, unshare: &[&str]) {
    let _calm = STORM.read().unwrap_or_else(PoisonError::into_inner);
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new("unshare");
    child.args(unshare).arg(program).args(["--exact", "inside_a_namespace", "--nocapture"]).env(INSIDE, kind);
    let mut child = child.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("was told") {
        let before = text.len();
        std::io::BufRead::read_line(&mut said, &mut text).unwrap();
        if text.contains("listening") {
            ask_for_uevent();
        }
        assert!(text.len() > before, "it has ended: {text}");
    }
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_network_namespace_of_its_own_is_told() {
    if can_run() {
        in_its_own("net", &["--net"]);
    }
}

#[test]
fn a_user_namespace_of_its_own_is_not_told_and_looks_by_the_clock() {
    if can_run() {
        in_its_own("user", &["--user", "--map-root-user", "--net"]);
    }
}
