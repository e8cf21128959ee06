//! Whose lock keeps a device from pods: root's always, an ordinary user's only for what that user may open.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]
#![allow(clippy::print_stderr, reason = "a test says that it is left out")]

mod harness;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use harness::{Node, may_make_nodes};
use outrigger_device_core::ids::{Kind, short};
use outrigger_host::Locks;
use outrigger_kubelet_api::Code;
use outrigger_kubelet_api::device_plugin::{AllocateRequest, ContainerAllocateRequest};

const SERIAL: &str = "example.com/serial";
const PORTS: &str =
    "devices: [{resource: example.com/serial, groups: [{paths: [{path: '/dev/ttyUSB*'}]}]}]\nids: short\n";
const NOBODY: u32 = 65534;

/// A process of nobody that holds the lock of a device, until it is dropped.
struct Holder(Child);

impl Holder {
    async fn of(node: &Node, device: &str) -> Self {
        Self::of_lock(node, &lock(node, device)).await
    }

    async fn of_lock(node: &Node, name: &str) -> Self {
        let file = node.path("lock/devices").join(name);
        let mut command = Command::new("flock");
        command.arg("--no-fork").arg(&file).args(["sleep", "3600"]).uid(NOBODY).gid(NOBODY).current_dir("/");
        let holder = Self(command.spawn().unwrap());
        while !Locks::at(node.path("lock")).holders("devices", |_| false).contains_key(name) {
            tokio::task::yield_now().await;
        }
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The name of a device's lock.
fn lock(node: &Node, name: &str) -> String {
    let number = fs::metadata(node.path("host/dev").join(name)).unwrap().rdev();
    format!("char-{}:{}", rustix::fs::major(number), rustix::fs::minor(number))
}

fn request(id: &str) -> AllocateRequest {
    AllocateRequest { container_requests: vec![ContainerAllocateRequest { device_ids: vec![id.to_owned()] }] }
}

/// Lets everybody make locks.
fn open_locks(node: &Node) {
    fs::set_permissions(node.path(""), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(node.path("lock/devices")).unwrap();
    for directory in ["lock", "lock/devices"] {
        fs::set_permissions(node.path(directory), Permissions::from_mode(0o1777)).unwrap();
    }
}

/// Tried with an agent for which every lock counts that is nothing's own.
#[tokio::test]
async fn nor_does_such_a_user_by_a_lock_of_what_would_be_a_part_of_the_device() {
    if !may_make_nodes() || !rustix::process::geteuid().is_root() {
        eprintln!("left out: needs root");
        return;
    }
    let mut node = Node::new(PORTS).await;
    for (name, mode) in [("ttyUSB0", 0o600), ("ttyUSB1", 0o604)] {
        node.plug(name);
        fs::set_permissions(node.path("host/dev").join(name), Permissions::from_mode(mode)).unwrap();
    }
    open_locks(&node);
    let mut holders = Vec::new();
    for name in ["ttyUSB0", "ttyUSB1"] {
        holders.push(Holder::of_lock(&node, &format!("{}+anything", lock(&node, name))).await);
    }
    node.start();
    node.offered(SERIAL, 1).await;
    let given = &node.admit("a", SERIAL, 1).await.unwrap()[SERIAL];
    assert_eq!(given.1.devices[0].host_path, "/dev/ttyUSB0");
    assert!(node.admit("b", SERIAL, 1).await.is_err(), "who may open the other may have a part of it");
    drop(holders);
    node.kubelet.until(|view| view.allocatable(SERIAL) == 2).await;
}

/// An agent's claim of long ago, in a file that anybody may lock: from inside another process namespace nobody can tell that it
/// is no agent who does. Tried with an agent that believes the text: the device is listed, and given.
#[tokio::test]
async fn a_text_in_a_file_that_anybody_may_lock_is_not_believed_inside_a_process_namespace() {
    if !may_make_nodes() || !rustix::process::geteuid().is_root() {
        eprintln!("left out: needs root");
        return;
    }
    let node = Node::new(PORTS).await;
    node.plug("ttyUSB0");
    open_locks(&node);
    let (name, id) = (lock(&node, "ttyUSB0"), short(Kind::Path, "/dev/ttyUSB0"));
    let claim = format!("1\t{{\"who\":\"a pod\",\"door\":\"kubelet\",\"resource\":\"{SERIAL}\",\"id\":\"{id}\"}}\n");
    fs::write(node.path("lock/devices").join(&name), claim).unwrap();
    let _holder = Holder::of_lock(&node, &name).await;
    let mut inside = Command::new("unshare");
    inside.args(["--pid", "--fork", "--mount-proc"]).arg(std::env::current_exe().unwrap());
    inside.args(["--exact", "inside_a_process_namespace", "--nocapture"]).env(PLACE, node.path("lock"));
    let output = tokio::task::spawn_blocking(move || inside.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("refused: "), "{said}");
}

/// Told to the process in a namespace of its own: where the locks are.
const PLACE: &str = "DEVICES_LOCK_PLACE";

#[tokio::test]
#[allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it is told where to look, and tells that it has")]
async fn inside_a_process_namespace() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let mut node = Node::new(PORTS).await;
    std::os::unix::fs::symlink(place, node.path("lock")).unwrap();
    node.plug("ttyUSB0");
    node.plug("ttyUSB1");
    node.start();
    node.offered(SERIAL, 1).await;
    let closed = short(Kind::Path, "/dev/ttyUSB0");
    println!("refused: {}", node.client(SERIAL).await.allocate(request(&closed)).await.unwrap_err().message());
}

/// Tried with locks that end with the agent: any user gets the pod's device meanwhile.
#[tokio::test]
async fn what_a_pod_has_is_kept_from_others_while_no_agent_runs_and_until_one_learns_that_the_pod_has_ended() {
    if !may_make_nodes() || !rustix::process::geteuid().is_root() {
        eprintln!("left out: needs root");
        return;
    }
    let mut node = Node::new(PORTS).await;
    node.plug("ttyUSB0");
    open_locks(&node);
    node.start();
    node.offered(SERIAL, 1).await;
    node.admit("a", SERIAL, 1).await.unwrap();
    node.stop().await;
    let (locks, name) = (Locks::at(node.path("lock")), lock(&node, "ttyUSB0"));
    let file = node.path("lock/devices").join(&name);
    assert!(locks.holders("devices", |_| false).is_empty() && locks.left("devices", |_| false).contains_key(&name));
    let mut other = Command::new("flock");
    other.args(["--nonblock", "--no-fork"]).arg(&file).arg("true").uid(NOBODY).gid(NOBODY).current_dir("/");
    assert!(!other.status().unwrap().success());
    node.start();
    while !locks.holders("devices", |_| false).contains_key(&name) {
        tokio::task::yield_now().await;
    }
    node.stop().await;
    node.kubelet.remove_pod("a");
    node.start();
    node.offered(SERIAL, 1).await;
    while file.exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_user_who_may_not_open_a_device_keeps_it_from_nobody_and_one_who_may_does() {
    if !may_make_nodes() || !rustix::process::geteuid().is_root() {
        eprintln!("left out: needs root");
        return;
    }
    let mut node = Node::new(PORTS).await;
    node.plug("ttyUSB0");
    node.plug("ttyUSB1");
    let set_mode = |name: &str, mode| {
        fs::set_permissions(node.path("host/dev").join(name), Permissions::from_mode(mode)).unwrap();
    };
    set_mode("ttyUSB0", 0o600);
    set_mode("ttyUSB1", 0o604);
    open_locks(&node);
    node.start();
    node.offered(SERIAL, 2).await;
    let mut client = node.client(SERIAL).await;
    let ids: Vec<String> = node.kubelet.view().resources[SERIAL].devices.keys().cloned().collect();
    let mut of_node = std::collections::BTreeMap::new();
    for id in &ids {
        let answer = client.allocate(request(id)).await.unwrap().into_inner();
        of_node.insert(answer.container_responses[0].devices[0].host_path.clone(), id.clone());
    }
    drop(client);
    node.stop().await;
    let (closed, open) = (&of_node["/dev/ttyUSB0"], &of_node["/dev/ttyUSB1"]);
    for name in ["ttyUSB0", "ttyUSB1"] {
        fs::remove_file(node.path("lock/devices").join(lock(&node, name))).unwrap();
    }
    let holders = (Holder::of(&node, "ttyUSB0").await, Holder::of(&node, "ttyUSB1").await);
    node.start();
    let listed = node.offered(SERIAL, 1).await;
    assert_eq!(listed, std::slice::from_ref(closed), "what nobody may open is offered, and the other is not listed");
    let mut client = node.client(SERIAL).await;
    client.allocate(request(closed)).await.unwrap();
    let refused = client.allocate(request(open)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    drop(holders);
    node.kubelet.until(|view| view.allocatable(SERIAL) == 2).await;
}
