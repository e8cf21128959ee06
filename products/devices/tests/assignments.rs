//! Each pod gets exactly the node of the id that the kubelet chose for it: two disks, two pods, in any order, over restarts of
//! plugin and kubelet. And the same looked at over a plugin that hands out by position, as the replaced one did (fault K1),
//! which must be found: a check that nothing fails proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use harness::{Node, machine};
use outrigger_device_plugin::{
    Allocation, Answers, BoxFuture, Choice, Device, DeviceNode, DevicePlugin, Place, Refusal, Resource, SocketName,
};
use outrigger_host::Watches;
use outrigger_stub_kubelet::{Admitted, View};
use tokio::sync::watch;

const SATA: &str = "kubedev.org/sata";

/// How many assignments are looked at.
const ASSIGNMENTS: usize = 1000;

/// What serves the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plugin {
    /// What takes the place of simple-device-plugin.
    Ours,
    /// A plugin with its fault.
    ByPosition,
}

impl Plugin {
    fn start(self, node: &mut Node, machine: &Path) {
        match self {
            Self::Ours => node.start_in_place_of_simple(machine),
            Self::ByPosition => {
                let place = Place::new(node.path("kubelet/device-plugins"));
                node.run(|stop| async move {
                    let (plugin, serving) = DevicePlugin::new(place, Watches::new());
                    let (_lists, list) = watch::channel(Arc::new(["0", "1"].into_iter().map(healthy).collect()));
                    let answers = Arc::new(ByPosition);
                    let (name, socket) = (SATA.parse()?, SocketName::Fixed("sata.sock".into()));
                    let resource = Resource { name, socket, pre_start: false, preferred: false, list, answers };
                    let (put, served) = tokio::join!(plugin.put(resource), serving.run(stop));
                    put?;
                    served.map_err(anyhow::Error::from)
                });
            }
        }
    }

    /// What each id means: the node, by what the kubelet is not asked about.
    async fn meaning(self, node: &Node, machine: &Path) -> BTreeMap<String, String> {
        let view = node.kubelet.until(|view| view.allocatable(SATA) == 2).await;
        match self {
            // What an id is made of is the disk's own name for good, whatever its node is called.
            Self::Ours => ["sdb", "sdc"]
                .into_iter()
                .map(|disk| {
                    let wwid =
                        std::fs::read_to_string(machine.join("sys/block").join(disk).join("device/wwid")).unwrap();
                    let id = outrigger_device_core::ids::short(outrigger_device_core::ids::Kind::Block, wwid.trim());
                    assert!(view.resources[SATA].devices.contains_key(&id), "{view:#?}");
                    (id, format!("/dev/{disk}"))
                })
                .collect(),
            Self::ByPosition => {
                [("0", "/dev/sdb"), ("1", "/dev/sdc")].map(|(id, node)| (id.to_owned(), node.to_owned())).into()
            }
        }
    }
}

fn healthy(id: &str) -> Device {
    Device { id: id.into(), healthy: true, numa: Vec::new() }
}

/// The *i*-th id that is asked for, whatever it is, gets the *i*-th disk.
struct ByPosition;

impl Answers for ByPosition {
    fn allocate(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Allocation, Refusal>> {
        Box::pin(async move {
            let disks = ["/dev/sdb", "/dev/sdc"].into_iter().take(ids.len());
            let node = |path: &str| DeviceNode {
                container_path: path.into(),
                host_path: path.into(),
                permissions: "rwm".into(),
            };
            Ok(Allocation { devices: disks.map(node).collect(), ..Allocation::default() })
        })
    }

    fn prefer(&self, choice: Choice) -> BoxFuture<'_, Result<Vec<String>, Refusal>> {
        Box::pin(async move { Ok(choice.available.into_iter().take(choice.size).collect()) })
    }

    fn pre_start(&self, _: Vec<String>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }
}

/// Numbers by chance, the same in each run: xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// What a container was given beside what its ids mean, where that is not the same.
fn wrong(admitted: &Admitted, meaning: &BTreeMap<String, String>) -> Option<String> {
    let (ids, answer) = &admitted[SATA];
    let meant: BTreeSet<&str> = ids.iter().map(|id| meaning[id].as_str()).collect();
    let given: BTreeSet<&str> = answer.devices.iter().map(|device| device.host_path.as_str()).collect();
    (meant != given || ids.len() != answer.devices.len()).then(|| format!("{ids:?} are {meant:?}, given was {given:?}"))
}

/// Two pods come and go as chance has it, and containers start again; returns the first wrong assignment, if there is one.
async fn first_wrong(plugin: Plugin) -> Option<String> {
    let machine = machine(&["sdb", "sdc"]);
    let mut node = Node::new("").await;
    plugin.start(&mut node, machine.root());
    let meaning = plugin.meaning(&node, machine.root()).await;
    let (mut chance, mut held) = (Chance(0x9e37_79b9_7f4a_7c15), [0; 2]);
    let (mut assigned, mut alone) = (0, BTreeMap::<String, usize>::new());
    while assigned < ASSIGNMENTS {
        let which = chance.below(2);
        let pod = ["pod-a", "pod-b"][which];
        let free = 2 - held[0] - held[1];
        if held[which] > 0 && chance.below(2) == 0 {
            node.kubelet.remove_pod(pod);
            held[which] = 0;
        } else if held[which] > 0 {
            let again = node.kubelet.start_container(pod, "app").await.unwrap();
            if let Some(wrong) = wrong(&again, &meaning) {
                return Some(format!("{pod} starts again: {wrong}"));
            }
        } else if free > 0 {
            held[which] = if free == 2 && chance.below(4) == 0 { 2 } else { 1 };
            let admitted = node.admit(pod, SATA, held[which]).await.unwrap();
            if let Some(wrong) = wrong(&admitted, &meaning) {
                return Some(format!("{pod}, assignment {assigned}: {wrong}"));
            }
            if let [id] = &admitted[SATA].0.iter().collect::<Vec<_>>()[..] {
                *alone.entry((*id).clone()).or_default() += 1;
            }
            assigned += 1;
            restart(plugin, &mut node, machine.root(), assigned).await;
        }
    }
    assert!(alone.len() == 2 && alone.values().all(|times| *times > 100), "both alone, often: {alone:?}");
    None
}

/// Every hundredth assignment the plugin starts again, and between them the kubelet.
async fn restart(plugin: Plugin, node: &mut Node, machine: &Path, assigned: usize) {
    let before = node.kubelet.view().registrations_of(SATA);
    match assigned % 100 {
        0 => {
            node.stop().await;
            plugin.start(node, machine);
        }
        50 => node.kubelet.restart().await.unwrap(),
        _ => return,
    }
    // The kubelet may not have seen yet that the older one has ended.
    let is_new = |view: &View| view.registrations_of(SATA) > before && view.resources[SATA].streams == 1;
    node.kubelet.until(|view| is_new(view) && view.allocatable(SATA) == 2).await;
}

/// Done means 2, fault K1: the kubelet assigned `2` to one pod and `0` to another, and both received `/dev/sdb`.
#[tokio::test]
async fn k01_a_thousand_assignments_of_two_disks_are_each_the_node_of_the_id() {
    assert_eq!(first_wrong(Plugin::Ours).await, None);
}

#[tokio::test]
async fn k01_a_plugin_that_hands_out_by_position_is_found() {
    let found = first_wrong(Plugin::ByPosition).await.expect("the check finds it");
    assert!(found.contains("{\"1\"} are {\"/dev/sdc\"}, given was {\"/dev/sdb\"}"), "{found}");
}
