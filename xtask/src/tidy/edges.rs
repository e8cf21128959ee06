//! Which of our crates may use which. The folders are the layers, and a dependency goes only downward:
//! programs, products, shells, cores and wires. `ARCHITECTURE.md` states this law; a new kind of edge is a decision.
//!
//! Dependencies of tests obey the same law and may use the test kit beside it.

use super::Fault;
use crate::project::Project;
use cargo_metadata::DependencyKind;

/// Shells that stand on wires alone, so that every other shell may stand on them.
const BASE_SHELLS: &[&str] = &["runtime", "config", "host", "serve", "cluster"];

/// The shell that holds contracts for others to implement: it stands on wires and `pod-core`, and every shell but those
/// that stand on wires alone may stand on it.
const CONTRACTS: &str = "launcher";

/// Shells for the commands of products: they stand on base shells, wires and `pod-core`, and no other shell on them.
const FOR_COMMANDS: &[&str] = &["manifest", "terminal"];

/// The only other uses of one shell by another, each by name: who, and what.
const BETWEEN_SHELLS: &[(&str, &str)] =
    &[("apptainer-launcher", "host-launcher"), ("pod-runner", "pod-directory"), ("pod-runner", "probes")];

/// The same for tests: a launcher is tried under the runner, with whole pods.
const BETWEEN_SHELLS_IN_TESTS: &[(&str, &str)] = &[("host-launcher", "pod-directory"), ("host-launcher", "pod-runner")];

/// The only core that a shell may use.
const CORE_OF_SHELLS: &str = "pod-core";

/// What no core may use: it would bring a clock, files, a runtime, or formats of ours.
const NOT_FOR_CORES: &[&str] = &[
    "getrandom",
    "hyper",
    "hyper-util",
    "libc",
    "rand",
    "rustix",
    "serde",
    "tempfile",
    "tokio",
    "tokio-util",
    "tracing-subscriber",
    "uuid",
];

/// Who alone may name tonic, beside the test kit, so that it can be replaced in one place.
const NAMES_TONIC: (&str, &str) = ("wires", "kubelet-api");

/// A crate of ours: where it lies, and what it uses.
#[derive(Debug)]
pub(super) struct Crate {
    /// The folder: `cores`, `shells`, …; for a crate in the root, its own name.
    room: String,
    name: String,
    uses: Vec<Use>,
}

#[derive(Debug)]
struct Use {
    /// The room of a crate of ours; `None` for anybody else's.
    room: Option<String>,
    name: String,
    in_tests: bool,
}

/// Our crates and what they use, as cargo knows them.
pub(super) fn graph(project: &Project) -> Vec<Crate> {
    let place = |path: &cargo_metadata::camino::Utf8Path| {
        let path = path.strip_prefix(&project.metadata.workspace_root).unwrap_or(path);
        let room = path.components().next().map_or_else(String::new, |room| room.to_string());
        (room, path.file_name().unwrap_or_default().to_owned())
    };
    let packages = project.packages().iter().filter_map(|package| Some((package, package.manifest_path.parent()?)));
    packages
        .map(|(package, directory)| {
            let (room, name) = place(directory);
            let uses = package.dependencies.iter().map(|dependency| {
                let in_tests = dependency.kind == DependencyKind::Development;
                match &dependency.path {
                    Some(path) => {
                        let (room, name) = place(path);
                        Use { room: Some(room), name, in_tests }
                    }
                    None => Use { room: None, name: dependency.name.clone(), in_tests },
                }
            });
            Crate { room, name, uses: uses.collect() }
        })
        .collect()
}

/// Finds the edges that the law forbids.
pub(super) fn check(crates: &[Crate]) -> Vec<Fault> {
    let edges = crates.iter().flat_map(|user| user.uses.iter().map(move |used| (user, used)));
    let forbidden = edges.filter(|(user, used)| !is_allowed(user, used));
    forbidden
        .map(|(user, used)| {
            let room = used.room.as_deref().map_or_else(String::new, |room| format!("{room}/"));
            Fault {
                check: "edges",
                subject: format!("{}/{}", user.room, user.name),
                text: format!("it may not use {room}{}: ARCHITECTURE.md says which rooms may", used.name),
            }
        })
        .collect()
}

fn is_allowed(user: &Crate, used: &Use) -> bool {
    let Some(room) = used.room.as_deref() else {
        return is_foreign_allowed(user, used);
    };
    if used.in_tests && (room == "testkit" || (room, &used.name) == (&user.room, &user.name)) {
        return true;
    }
    match user.room.as_str() {
        "shells" if BASE_SHELLS.contains(&&*user.name) => room == "wires",
        "shells" => match room {
            "shells" if user.name == CONTRACTS => false,
            "shells" if FOR_COMMANDS.contains(&&*user.name) => BASE_SHELLS.contains(&&*used.name),
            "shells" => used.name == CONTRACTS || BASE_SHELLS.contains(&&*used.name) || is_named(user, used),
            "cores" => used.name == CORE_OF_SHELLS,
            _ => room == "wires",
        },
        "products" => matches!(room, "shells" | "cores" | "wires"),
        "programs" if user.name == "outrigger" => matches!(room, "products" | "shells" | "cores" | "wires"),
        "testkit" => matches!(room, "testkit" | "shells" | "cores" | "wires"),
        "e2e" => room != "xtask",
        // Cores, wires, xtask, and the tiny executable use nothing of ours.
        _ => false,
    }
}

/// Whether a crate may use this crate of somebody else's.
fn is_foreign_allowed(user: &Crate, used: &Use) -> bool {
    if used.name == "tonic" || used.name.starts_with("tonic-") {
        return user.room == "testkit" || (&*user.room, &*user.name) == NAMES_TONIC;
    }
    user.room != "cores" || used.in_tests || !NOT_FOR_CORES.contains(&&*used.name)
}

/// Whether this use of one shell by another is allowed by name.
fn is_named(user: &Crate, used: &Use) -> bool {
    let names = (&*user.name, &*used.name);
    BETWEEN_SHELLS.contains(&names) || (used.in_tests && BETWEEN_SHELLS_IN_TESTS.contains(&names))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `user` may use `used`; both as `room/name`, or a plain name for anybody else's crate.
    fn allows(user: &str, used: &str, in_tests: bool) -> bool {
        let (room, name) = user.split_once('/').unwrap_or((user, user));
        let used = match used.split_once('/') {
            Some((room, name)) => Use { room: Some(room.into()), name: name.into(), in_tests },
            None => Use { room: None, name: used.into(), in_tests },
        };
        let user = Crate { room: room.into(), name: name.into(), uses: vec![used] };
        check(&[user]).is_empty()
    }

    #[test]
    fn what_the_law_allows_is_allowed() {
        for (user, used) in [
            ("programs/outrigger", "products/pods"),
            ("products/pods", "shells/pod-runner"),
            ("products/cpus", "cores/cpu-core"),
            ("shells/pod-runner", "cores/pod-core"),
            ("shells/pod-runner", "shells/runtime"),
            ("shells/pod-runner", "shells/launcher"),
            ("shells/pod-runner", "shells/pod-directory"),
            ("shells/pod-runner", "shells/probes"),
            ("shells/probes", "shells/launcher"),
            ("shells/pod-directory", "shells/launcher"),
            ("shells/host-launcher", "shells/launcher"),
            ("shells/apptainer-launcher", "shells/host-launcher"),
            ("shells/launcher", "cores/pod-core"),
            ("products/docker", "shells/launcher"),
            ("shells/manifest", "shells/config"),
            ("shells/manifest", "cores/pod-core"),
            ("products/pods", "shells/manifest"),
            ("products/devices", "shells/terminal"),
            ("shells/serve", "wires/license-api"),
            ("cores/pod-core", "serde_json"),
            ("shells/device-plugin", "wires/kubelet-api"),
            ("wires/kubelet-api", "tonic-prost"),
            ("testkit/stub-kubelet", "tonic"),
            ("e2e", "products/pods"),
        ] {
            assert!(allows(user, used, false), "{user} -> {used}");
        }
    }

    #[test]
    fn a_forbidden_edge_is_found() {
        for (user, used) in [
            ("products/pods", "products/devices"),
            ("shells/runtime", "shells/config"),
            ("shells/host", "cores/pod-core"),
            ("shells/pod-runner", "cores/cpu-core"),
            ("shells/plugin", "shells/pod-runner"),
            ("shells/probes", "shells/pod-directory"),
            ("shells/pod-runner", "shells/host-launcher"),
            ("shells/pod-runner", "shells/apptainer-launcher"),
            ("shells/pod-directory", "shells/pod-runner"),
            ("shells/pod-directory", "shells/host-launcher"),
            ("shells/host-launcher", "shells/pod-runner"),
            ("shells/host-launcher", "shells/apptainer-launcher"),
            ("shells/launcher", "shells/host"),
            ("shells/launcher", "shells/pod-directory"),
            ("shells/host", "shells/launcher"),
            ("shells/manifest", "shells/launcher"),
            ("shells/manifest", "shells/terminal"),
            ("shells/terminal", "shells/manifest"),
            ("shells/terminal", "shells/pod-directory"),
            ("shells/pod-runner", "shells/manifest"),
            ("shells/host-launcher", "shells/terminal"),
            ("shells/pod-runner", "products/pods"),
            ("shells/pod-runner", "testkit/claims"),
            ("cores/pod-core", "cores/cpu-core"),
            ("cores/pod-core", "shells/config"),
            ("cores/pod-core", "tokio"),
            ("cores/pod-core", "serde"),
            ("wires/nri", "shells/runtime"),
            ("wires/nri", "tonic"),
            ("shells/device-plugin", "tonic"),
            ("shells/probes", "tonic"),
            ("products/devices", "tonic-prost"),
            ("programs/process-starter", "shells/host"),
            ("xtask", "shells/runtime"),
        ] {
            assert!(!allows(user, used, false), "{user} -> {used}");
        }
    }

    #[test]
    fn tests_may_use_the_test_kit_beside_what_the_law_allows() {
        assert!(allows("shells/pod-runner", "testkit/claims", true));
        assert!(allows("cores/pod-core", "tempfile", true));
        assert!(allows("shells/host-launcher", "shells/pod-runner", true));
        assert!(!allows("shells/pod-runner", "shells/host-launcher", true));
        assert!(!allows("products/pods", "products/devices", true));
    }

    #[test]
    fn the_fault_names_both_ends() {
        let uses = vec![Use { room: Some("products".into()), name: "devices".into(), in_tests: false }];
        let faults = check(&[Crate { room: "products".into(), name: "pods".into(), uses }]);
        assert!(faults[0].to_string().starts_with("products/pods: it may not use products/devices"), "{}", faults[0]);
    }
}
