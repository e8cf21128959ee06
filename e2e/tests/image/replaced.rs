//! The manifests of replaced projects below `deploy/replaced`: only their image line is changed.

use std::fs;
use std::process::{Child, Stdio};

use outrigger_e2e::podman::Podman;
use outrigger_stub_kubelet::{Options, StubKubelet, View};

use crate::manifest::Container;
use crate::{podman, tags};

/// What a kubelet sees of a manifest's program until `is_so`.
fn seen(name: &str, is_so: impl FnMut(&View) -> bool) -> View {
    let podman = podman();
    let container = Container::of(&format!("replaced/{name}/daemonset.yaml"));
    let tag =
        tags(&podman).into_iter().find(|tag| tag.ends_with(container.image())).expect("the manifest's image is ours");
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("device-plugins");
    fs::create_dir(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kubelet = StubKubelet::started(Options::new(&directory)).await.unwrap();
        let running = Running::start(&podman, &tag, &container, place.path());
        let view = kubelet.until(is_so).await;
        drop(running);
        view
    })
}

/// The program in its container.
struct Running<'p> {
    podman: &'p Podman,
    child: Child,
}

impl<'p> Running<'p> {
    fn start(podman: &'p Podman, tag: &str, container: &Container, kubelet: &std::path::Path) -> Self {
        let mut command = podman.command(&["run", "--name=replaced", "--network=host"]);
        command.args(container.flags(kubelet)).arg(tag).args(container.args());
        Self { podman, child: command.stdout(Stdio::null()).spawn().unwrap() }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let stopped = self.podman.run(&["stop", "--time=60", "replaced"]);
        let ended = self.child.wait();
        if !std::thread::panicking() {
            stopped.unwrap();
            assert!(ended.unwrap().success(), "it ends with 0 when it is told to");
        }
    }
}

/// Tried with the plain tag: it prints its usage and registers nothing.
#[test]
fn the_manifest_of_simple_device_plugin_registers_its_disks() {
    let view = seen("simple-device-plugin", |view| view.registrations_of("kubedev.org/sata") == 1);
    let registration = &view.registrations[0];
    assert_eq!((registration.endpoint.as_str(), registration.version.as_str()), ("sata.sock", "v1beta1"));
}

/// Its five resources, with the units that this machine has: ten of the node that every machine with fuse has.
#[test]
fn the_manifest_of_generic_device_plugin_registers_its_resources() {
    let names = ["serial", "video", "fuse", "audio", "capture"].map(|name| format!("squat.ai/{name}"));
    let fuse = if fs::exists("/dev/fuse").unwrap() { 10 } else { 0 };
    seen("generic-device-plugin", |view| {
        names.iter().all(|name| view.registrations_of(name) == 1) && view.allocatable("squat.ai/fuse") == fuse
    });
}
