//! What pods of `outrigger run` get of what there is, and what they are told where that is too little.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod harness;

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::{PATIENCE, machine};
use outrigger_devices::provider::{DeviceProvider, provider};
use outrigger_host_tree::HostTree;
use outrigger_launcher::claims::{ClaimError, ClaimRequest, HeldClaim, Progress, Provider as _};
use outrigger_runtime::{LogFilter, LogFormat, subscriber};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

const DISK: &str = "example.com/disk";

const DISKS: &str = "domain: example.com\ndevices: [{name: disk, groups: [{block: {transport: [sata]}}]}]\n";

/// A machine without a kubelet, and who gives its devices away.
struct Place {
    directory: TempDir,
    provider: DeviceProvider,
    _machine: HostTree,
}

type Claim = Result<Box<dyn HeldClaim>, ClaimError>;

impl Place {
    fn new(machine: HostTree, configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |path: &str| directory.path().join(path).display().to_string();
        let places = format!(
            "hostRoot: {}\nlockDirectory: {}\nkubeletDirectory: {}\npluginDirectory: {}\n",
            machine.root().display(),
            path("lock"),
            path("kubelet"),
            path("kubelet")
        );
        fs::create_dir(path("kubelet")).unwrap();
        fs::write(path("devices.yaml"), places + configuration).unwrap();
        let provider = provider(Some(directory.path())).unwrap().expect("a configuration");
        Self { directory, provider, _machine: machine }
    }

    /// Claims for a pod whose containers ask for so much each.
    async fn claim(&self, containers: &[&[(&str, u64)]]) -> Claim {
        let names: Vec<String> = (0..containers.len()).map(|number| format!("c{number}")).collect();
        let plan =
            outrigger_sample_pods::pod(names.iter().map(|name| outrigger_sample_pods::container(name)).collect());
        let amounts = containers.iter().map(|amounts| amounts.iter().map(|(name, count)| ((*name).to_owned(), *count)));
        let names = plan.containers.iter().map(|container| container.name.clone());
        let containers = names.zip(amounts.map(Iterator::collect)).collect();
        let request = ClaimRequest { plan: Arc::new(plan), containers };
        self.provider.claim(request, watch::Sender::new(Progress::default())).await
    }

    /// What a pod is refused with, at once.
    async fn refusal(&self, containers: &[&[(&str, u64)]]) -> String {
        let answer = timeout(PATIENCE, self.claim(containers)).await.expect("it does not wait");
        answer.map(|claim| format!("{:?}", claim.values())).unwrap_err().to_string()
    }
}

/// Tried with ids that are told apart without their resource.
#[tokio::test]
async fn a_pod_gets_slots_of_two_resources_though_their_ids_are_the_same() {
    let slots = "{resource: example.com/NAME, groups: [{counted: {count: 1, env: NAME}}]}";
    let both = ["A", "B"].map(|name| slots.replace("NAME", name)).join(", ");
    let place = Place::new(machine(&[]), &format!("devices: [{both}]"));
    let claim =
        timeout(PATIENCE, place.claim(&[&[("example.com/A", 1), ("example.com/B", 1)]])).await.unwrap().unwrap();
    let env = &claim.values().values().next().unwrap().env;
    assert!(["A", "B"].iter().all(|name| env.contains_key(*name)), "{env:?}");
}

#[tokio::test]
async fn a_pod_that_asks_for_one_device_by_two_resources_does_not_wait_for_itself() {
    let disk = "{resource: example.com/NAME, share: true, groups: [{paths: [{path: /dev/sdc}]}]}";
    let both = ["a", "b"].map(|name| disk.replace("NAME", name)).join(", ");
    let place = Place::new(machine(&["sdc"]), &format!("devices: [{both}]"));
    assert_eq!(
        place.refusal(&[&[("example.com/a", 1), ("example.com/b", 1)]]).await,
        "example.com/b cannot be had here: a container asks for 1, and none can be had here: /dev/sdc is this pod's by \
         another resource"
    );
}

/// Tried with what the other container has counted as free: the pod then waits for ever.
#[tokio::test]
async fn what_one_container_has_is_not_there_for_the_next() {
    let place = Place::new(machine(&["sdc", "sdd"]), DISKS);
    let told = place.refusal(&[&[(DISK, 1)], &[(DISK, 2)]]).await;
    let begin = "a container asks for 2, and 1 can be had here: sdc is for another container of this pod";
    assert!(told.starts_with(&format!("{DISK} cannot be had here: {begin}; sda: system disk")), "{told}");
    let _other = place.claim(&[&[(DISK, 1)]]).await.unwrap();
    let told = place.refusal(&[&[(DISK, 1)], &[(DISK, 2)]]).await;
    assert!(
        told.contains("a container asks for 2, and 1 can be had here: sdc of example.com/disk is in use by"),
        "{told}"
    );
}

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_that_tells_nothing_is_warned_of_once_however_long_a_pod_waits() {
    let place = Place::new(machine(&["sdc"]), DISKS);
    let _other = place.claim(&[&[(DISK, 1)]]).await.unwrap();
    let _kubelet = UnixListener::bind(place.directory.path().join("kubelet/kubelet.sock")).unwrap();
    let lines = Lines::default();
    let written = lines.clone();
    let (log, _level) = subscriber(LogFilter::default(), LogFormat::Json, move || written.clone());
    let _log = tracing::subscriber::set_default(log);
    assert!(timeout(Duration::from_secs(5), place.claim(&[&[(DISK, 1)]])).await.is_err(), "it waits");
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(lines.matches("cannot be read from").count(), 1, "{lines}");
}
