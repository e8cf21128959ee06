//! Bad input and faults, by the real executable: wrong and hostile configurations, what is missing around the node agent,
//! and strangers at its socket.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test says what it measured, and that it is left out")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use outrigger_kubelet_api::device_plugin::device_plugin_client::DevicePluginClient;
use outrigger_kubelet_api::device_plugin::registration_client::RegistrationClient;
use outrigger_kubelet_api::device_plugin::{AllocateRequest, ContainerAllocateRequest, RegisterRequest};
use outrigger_kubelet_api::{Channel, Code, LOCALHOST};
use rustix::process::Signal;
use support::place::{ANY_PORT, Agent, Place};
use support::site::{LIMIT, copy_executable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

const NULL: &str = "v.io/null";

const NULLS: &str = "- {resource: v.io/null, groups: [{count: 3, paths: [{path: /dev/null}]}]}\n";

/// Each row is one wrong line of a configuration, and what is said about it after its place.
const WRONG: &[(&str, &str)] = &[
    ("- {name: aa, colour: 1, groups: [{paths: [{path: /dev/null}]}]}", "[0].colour: unknown key"),
    ("- {name: bb, groups: [{count: many, paths: [{path: /dev/null}]}]}", "[1].groups[0].count: expected "),
    ("- {name: cc, groups: [{paths: [{regex: 'tty('}]}]}", "[2].groups[0].paths[0].regex: unknown key"),
    ("- {name: dd, groups: [{block: {minSize: 5 GB}}]}", "[3].groups[0].block.minSize: \"5 GB\" is no size"),
    ("- {name: ee, groups: [null]}", "[4].groups[0]: expected a map, found nothing"),
    (
        "- {name: ff, groups: [{usb: [{vendor: wxyz, chlid: tty}]}]}",
        "[5].groups[0].usb[0].chlid: unknown key, did you mean",
    ),
];

/// The same for what is well written and cannot be meant.
const UNFIT: &[(&str, &str)] = &[
    (
        "- {name: aa, groups: [{paths: [{path: '/dev/[a'}]}]}",
        "[0].groups[0].paths[0].path: \"/dev/[a\" is not a pattern",
    ),
    (
        "- {name: bb, groups: [{paths: [{path: dev/null}]}]}",
        "[1].groups[0].paths[0].path: \"dev/null\" is no absolute path",
    ),
    ("- {name: cc, groups: [{paths: [{path: /dev/a, permissions: rx}]}]}", "[2].groups[0].paths[0].permissions: "),
    (
        "- {resource: kubernetes.io/dd, groups: [{paths: [{path: /dev/a}]}]}",
        "[3].name: \"kubernetes.io/dd\" is no name",
    ),
    ("- {name: ee, groups: [{paths: [{path: /dev/a}]}]}", ""),
    ("- {name: ee, groups: [{paths: [{path: /dev/b}]}]}", "[5].name: devices[4] has the name "),
    ("- {name: ff, socket: SOCKET, groups: [{paths: [{path: /dev/a}]}]}", "[6].socket: its path in "),
    ("- {name: gg, groups: [{count: 200000, paths: [{path: /dev/a}]}]}", "[7]: 200000 devices take "),
];

#[tokio::test]
async fn everything_wrong_is_told_at_once_with_line_and_key_and_nothing_is_registered() {
    let place = Place::new();
    let kubelet = place.kubelet().await;
    for rows in [WRONG, UNFIT] {
        let lines: Vec<String> = rows.iter().map(|(line, _)| line.replace("SOCKET", &"s".repeat(100))).collect();
        fs::write(place.path("devices.yaml"), format!("ids: short\ndomain: v.io\ndevices:\n{}\n", lines.join("\n")))
            .unwrap();
        for command in ["check", "agent"] {
            let (code, out, err) = place.said("outrigger", &["devices", command, "--config", "devices.yaml"]).await;
            assert_eq!((code, out.as_str()), (2, ""), "{command}: {err}");
            for (at, (line, told)) in rows.iter().enumerate().filter(|(_, (_, told))| !told.is_empty()) {
                let place = format!("devices.yaml:{}:", at + 4);
                let is_it = |said: &str| said.starts_with(&place) && said.contains(&format!(": devices{told}"));
                assert!(err.lines().any(is_it), "{line}\n{told}\nis not told in\n{err}");
            }
        }
    }
    assert!(kubelet.view().registrations.is_empty() && place.sockets().is_empty());
}

/// Configurations that are made to hurt: none ends in a panic, in a signal, or in memory without bounds.
#[tokio::test]
async fn a_hostile_configuration_is_refused_without_harm() {
    let aliases: String = (1..60).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        let before = n - 1;
        text + &format!("a{n}: &a{n} [*a{before}, *a{before}, *a{before}]\n")
    });
    let place = Place::new();
    for (name, text) in [
        ("nesting", "devices: ".to_owned() + &"[".repeat(100_000)),
        ("maps", "{a: ".repeat(50_000)),
        ("aliases", aliases),
        ("a name of 10 MB", format!("devices: [{{name: {}}}]", "x".repeat(10 << 20))),
        ("10 MB of comments", "# nothing\n".repeat(1 << 20) + "devices: 1"),
        ("twenty thousand mistakes", "devices:\n".to_owned() + &"- {name: a}\n".repeat(20_000)),
        ("a second document", "domain: v.io\n---\ndomain: v.io\n".to_owned()),
        ("zeros", "\0".repeat(4096)),
    ] {
        fs::write(place.path("devices.yaml"), text).unwrap();
        let run = place.said("outrigger", &["devices", "agent", "--config", "devices.yaml"]);
        let (code, _, err) = timeout(LIMIT, run).await.unwrap_or_else(|_| panic!("{name} has no end"));
        assert!(
            code == 2 && !err.is_empty() && !err.contains("panicked"),
            "{name}: {code} {}",
            err.get(..2000).unwrap_or(&err)
        );
    }
}

/// Done means 8: what can never fit into a message of 4 MiB is refused, with the arithmetic, before anything is served.
#[tokio::test]
async fn two_hundred_thousand_units_are_refused_by_check_and_at_the_start_with_the_arithmetic() {
    let place = Place::new();
    let kubelet = place.kubelet().await;
    let device = "{name: many, groups: [{count: 200000, paths: [{path: /dev/null}]}]}";
    place.configure(&format!("- {}\n", device.replace("name: many", "resource: v.io/many")));
    let simple = ["devices", "check", "--config", "devices.yaml"];
    let slots = "{resource: v.io/slot, groups: [{counted: {count: 200000}}]}";
    for (name, args, code) in [
        ("outrigger", &simple[..], 2),
        ("outrigger", &["devices", "agent", "--config", "devices.yaml"], 2),
        ("outrigger", &["devices", "check", "--device", slots], 2),
        ("generic-device-plugin", &["--device", device], 1),
    ] {
        let (found, _, err) = place.said(name, args).await;
        assert_eq!(found, code, "{err}");
        let told = err.split("200000 devices take ").nth(1).unwrap_or_else(|| panic!("{name} {args:?}: {err}"));
        let bytes: u64 = told.split(' ').next().unwrap().parse().unwrap();
        assert!(bytes > 4_194_304 && told.contains("a kubelet takes at most 4194304 bytes in one list"), "{err}");
    }
    assert!(kubelet.view().registrations.is_empty());
}

/// A directory whose parents everybody may enter, so that another user can be tried.
fn opened(place: &Place) {
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
}

/// The command as it is for a user without rights, who is nobody; as it is where the caller is none already.
fn as_nobody(place: &Place, args: &[&str]) -> Command {
    let program = place.path("program");
    if !program.exists() && fs::hard_link(env!("CARGO_BIN_EXE_outrigger"), &program).is_err() {
        copy_executable(env!("CARGO_BIN_EXE_outrigger"), &program);
    }
    let mut command = place.command("outrigger", args);
    if rustix::process::geteuid().is_root() {
        opened(place);
        let mut other = Command::new("setpriv");
        other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program).args(args);
        other.current_dir(place.path("")).env("HOME", place.path("")).kill_on_drop(true);
        for (name, value) in command.as_std().get_envs() {
            other.env(name, value.unwrap());
        }
        command = other;
    }
    command
}

#[tokio::test]
async fn a_directory_that_is_missing_or_cannot_be_written_ends_check_and_agent_with_3() {
    let place = Place::new();
    place.configure(NULLS);
    let directory = place.path("kubelet/device-plugins");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
    for command in ["check", "agent"] {
        let args = ["devices", command, "--config", "devices.yaml", "--admin", ANY_PORT];
        let output = timeout(LIMIT, as_nobody(&place, &args).output()).await.expect("it ends").unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let is_told = said.contains("device-plugins") && said.contains("Permission denied");
        assert!(output.status.code() == Some(3) && is_told, "{command}: {said}");
    }
    fs::remove_dir(&directory).unwrap();
    for (command, told) in [("check", "CANNOT RUN"), ("agent", "set pluginDirectory")] {
        let (code, out, err) = place.said("outrigger", &["devices", command, "--config", "devices.yaml"]).await;
        assert!(code == 3 && (out + &err).contains(told), "{command}: {err}");
    }
}

/// The row of a table that begins with these words.
fn row<'o>(out: &'o str, what: &str) -> &'o str {
    let of = |line: &&str| line.strip_prefix(what).is_some_and(|rest| rest.starts_with("  "));
    out.lines().find(of).unwrap_or_else(|| panic!("{what} is not in\n{out}"))
}

#[tokio::test]
async fn check_names_each_part_that_is_missing_and_what_is_lost_by_it() {
    let place = Place::new();
    place.configure(NULLS);
    fs::create_dir(place.path("machine")).unwrap();
    let args = ["devices", "check", "--config", "devices.yaml", "--host-root", "machine"];
    let (code, out, err) = place.said("outrigger", &args).await;
    assert_eq!(code, 1, "{out}{err}");
    for (what, lost) in [
        ("kubelet", "devices are offered as soon as it is there"),
        ("claims", "who holds a device, and that it was given back, is not known"),
        ("host's mounts", "disks without other evidence are withheld"),
        ("host's swap", "disks without other evidence are withheld"),
        ("udev", "what is on a disk is told only by its node"),
        ("locks", "`outrigger run` may give away the same devices"),
    ] {
        let row = row(&out, what);
        assert!(row.contains(" lost ") && row.contains(lost), "{row}");
    }
    let mut command = walled_in(&place, &args);
    let output = command.output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if is_left_out(&err) {
        return;
    }
    assert!(row(&out, "kernel events").contains("plugging is seen by looking every 5 s"), "{out}");
    assert!(row(&out, "inotify").contains("raise fs.inotify.max_user_instances"), "{out}");
}

/// Sockets in a directory that the kubelet does not see are in vain: its own is not there, which is what can be told.
#[tokio::test]
async fn a_plugin_directory_on_another_mount_than_the_kubelets_is_told_by_check_and_by_readyz() {
    let place = Place::new();
    place.configure(NULLS);
    let kubelet = place.kubelet().await;
    let args = ["devices", "check", "--config", "devices.yaml"];
    let (_, out, _) = place.said("outrigger", &args).await;
    assert!(row(&out, "kubelet").contains(" good "), "{out}");
    let script = "mount -t tmpfs none kubelet/device-plugins && exec \"$0\" \"$@\"";
    let mut command = in_namespaces(&place, &["--mount"], script, &args);
    let output = command.output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if is_left_out(&err) {
        return;
    }
    assert_eq!(output.status.code(), Some(1), "it can run, and something is lost: {out}{err}");
    assert!(row(&out, "plugin directory").contains(" good "), "{out}");
    assert!(row(&out, "kubelet").contains("cannot be reached") && row(&out, "kubelet").contains(" lost "), "{out}");
    let command = in_namespaces(&place, &["--mount"], script, &["devices", "agent", "--config", "devices.yaml"]);
    let agent = Agent::start(command, place.path("log"));
    let begun = Instant::now();
    let told = loop {
        if place.path("admin.sock").exists() {
            let answer = place.admin("/readyz").await;
            if answer.contains("kubelet") {
                break answer;
            }
        }
        assert!(begun.elapsed() < LIMIT, "{}", agent.said());
        sleep(Duration::from_millis(5)).await; // Nothing tells that its endpoint is there.
    };
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains(NULL), "{told}");
    assert!(kubelet.view().registrations.is_empty());
    assert_eq!(agent.ended_by(Signal::TERM).await, Some(0));
}

/// The command in a user namespace of its own, which the kernel tells nothing, and where no inotify instance can be had.
fn walled_in(place: &Place, args: &[&str]) -> Command {
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
    in_namespaces(place, &["--net"], script, args)
}

/// The command in a user namespace of its own and in these others, after what a script does there.
fn in_namespaces(place: &Place, others: &[&str], script: &str, args: &[&str]) -> Command {
    let plain = place.command("outrigger", args);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user"])
        .args(others)
        .args(["sh", "-c", script])
        .arg(env!("CARGO_BIN_EXE_outrigger"))
        .args(args);
    command.current_dir(place.path("")).kill_on_drop(true);
    for (name, value) in plain.as_std().get_envs() {
        command.env(name, value.unwrap());
    }
    command
}

/// Whether there are no user namespaces here; on CI there are.
fn is_left_out(err: &str) -> bool {
    let is_so = err.contains("unshare failed");
    assert!(!is_so || std::env::var_os("CI").is_none(), "CI has user namespaces: {err}");
    if is_so {
        eprintln!("left out: needs user namespaces");
    }
    is_so
}

/// Neither inotify nor the kernel's messages: both are said once, everything is looked at by the clock, and the kubelet's
/// restarts are noticed all the same.
#[tokio::test]
async fn without_inotify_and_the_kernels_messages_everything_is_still_served() {
    let place = Place::new();
    fs::create_dir(place.path("dev")).unwrap();
    symlink("/dev/null", place.path("dev/port0")).unwrap();
    let glob = place.path("dev/port*");
    place.configure(&format!("- {{resource: v.io/port, groups: [{{paths: [{{path: '{}'}}]}}]}}\n", glob.display()));
    let mut kubelet = place.kubelet().await;
    let command = walled_in(&place, &["devices", "agent", "--config", "devices.yaml"]);
    let agent = Agent::start(command, place.path("log"));
    let mut views = kubelet.views();
    let listed = views.wait_for(|view| view.allocatable("v.io/port") == 1);
    let listed = timeout(LIMIT, listed).await.is_ok_and(|listed| listed.is_ok());
    if is_left_out(&agent.said()) {
        return;
    }
    assert!(listed, "{}", agent.said());
    kubelet.restart().await.unwrap();
    kubelet.until(|view| view.allocatable("v.io/port") == 1).await;
    symlink("/dev/zero", place.path("dev/port1")).unwrap();
    let begun = Instant::now();
    kubelet.until(|view| view.allocatable("v.io/port") == 2).await;
    println!("by looking every 5 s: after {:?}", begun.elapsed());
    assert_eq!(kubelet.view().registrations.len(), 2);
    let said = agent.said();
    for told in ["may not tell about uevents here", "Too many open files"] {
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(told)).collect();
        assert!(lines.len() == 1 && lines[0].contains("looking every 5 s"), "{told}: {said}");
    }
    assert_eq!(agent.ended_by(Signal::TERM).await, Some(0));
}

/// B01 and B03 with the real process: whoever connects and whatever is sent, the kubelet is answered and memory has bounds.
#[tokio::test]
async fn strangers_at_the_socket_keep_nobody_out_and_take_no_memory() {
    let place = Place::new();
    place.configure(NULLS);
    let kubelet = place.kubelet().await;
    let agent = place.agent("log");
    kubelet.until(|view| view.allocatable(NULL) == 3).await;
    let (socket, before) = (place.sockets().remove(0), agent.peak());
    let noise: Vec<u8> = (0..1 << 20).map(|number: u32| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for said in [&noise[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[&preface[..], &noise[..]].concat()] {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        let _ = stream.write_all(said).await; // It may be closed meanwhile.
        let mut answer = Vec::new();
        let _ = timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("it is closed");
        assert!(answer.len() < 4096);
    }
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(UnixStream::connect(&socket).await.unwrap());
    }
    let mut half = UnixStream::connect(&socket).await.unwrap();
    half.write_all(&preface[..10]).await.unwrap();
    let channel = Channel::connect(&socket, LOCALHOST).await.unwrap();
    let mut client = DevicePluginClient::new(channel);
    // What only a kubelet serves is an unknown method here.
    let channel = Channel::connect(&socket, LOCALHOST).await.unwrap();
    let unknown = RegistrationClient::new(channel).register(RegisterRequest::default()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented, "{unknown}");
    let request = |id: String| {
        let container_requests = vec![ContainerAllocateRequest { device_ids: vec![id] }];
        AllocateRequest { container_requests }
    };
    let refused = client.allocate(request("x".repeat(100 << 20))).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    for id in kubelet.view().resources[NULL].devices.keys() {
        client.allocate(request(id.clone())).await.unwrap();
    }
    let grown = agent.peak() - before;
    println!("strangers took {grown} KiB at the most");
    assert!(grown < 32 * 1024, "{grown} KiB more than before");
    assert_eq!((kubelet.view().registrations.len(), kubelet.view().gaps.len()), (1, 0));
    assert_eq!(timeout(LIMIT, agent.ended_by(Signal::TERM)).await.expect("it ends"), Some(0));
}
