//! The faults of the two programs that this one replaces, each found by a test that bears its number.
//!
//! simple-device-plugin (K1 to K15; K14, that its only test asserts nothing, is answered by all of them together):
//!
//! | fault | test |
//! |---|---|
//! | K1 hands out by position | `k01_a_thousand_assignments_of_two_disks_are_each_the_node_of_the_id` |
//! | K2 too many ids end the process | `k02_what_cannot_be_given_is_refused_with_its_code_and_the_process_lives` |
//! | K3 ids are positions | `k03_a_disk_that_is_pulled_or_plugged_renames_no_other` |
//! | K4 disks in use are offered | `k04_disks_in_use_are_withheld_and_refused_even_a_moment_later`, `k04_a_disk_that_is_mounted_is_withheld_and_refused_and_is_back_under_its_id` |
//! | K5 sticks and remote disks are "SATA" | `k05_sticks_and_remote_disks_are_withheld_with_the_reason` |
//! | K6 names merely contain `sd` | `k06_a_volume_whose_name_looks_like_a_disk_is_none` |
//! | K7 no hotplug | `k07_a_disk_that_comes_and_goes_is_offered_and_no_longer` |
//! | K8 health never changes | `k05_k08_a_disk_whose_driver_gives_up_is_unhealthy_and_well_again_though_nothing_announces_it` |
//! | K9 two or three registrations | `k09_g01_restarts_of_the_kubelet_are_one_registration_of_each_of_three_resources` |
//! | K10 no retry | `k10_a_refused_registration_is_tried_again_ever_more_slowly` |
//! | K11 starts programs | `k11_no_other_program_is_needed_and_none_is_started` |
//! | K12 errors in Allocate are dropped | `k12_what_cannot_be_seen_in_allocate_is_a_refusal_that_says_so` |
//! | K13 unlinks a living socket | `k13_a_fixed_socket_of_a_living_process_is_waited_for` |
//! | K15 logs whole messages | `k15_an_allocation_is_one_short_line_of_ids` |
//!
//! generic-device-plugin (G1 to G18; G14, its rights, and G17, that it once did not register, are the chart's and the entry
//! points' to answer):
//!
//! | fault | test |
//! |---|---|
//! | G1 six seconds after a restart | `k09_g01_restarts_of_the_kubelet_are_one_registration_of_each_of_three_resources` |
//! | G2 never back after an overlap | `g02_with_the_overlap_bug_each_of_fifty_updates_is_one_gap_which_the_newer_instance_ends_itself` |
//! | G3 dead streams take changes | `g03_after_fifty_restarts_what_is_plugged_is_on_the_living_stream_and_nothing_is_left_behind`, `g03_restarts_leave_no_task_of_the_agent_behind` |
//! | G4 USB ids by chance | `g04_g15_usb_matches_are_one_unit_whose_id_does_not_depend_on_chance` |
//! | G5 ids change | `g05_ids_stay_over_re_plugs_and_while_optional_parts_come_and_go` |
//! | G6 drops what vanished | `g06_what_vanishes_is_unhealthy_and_back_under_the_same_id` |
//! | G7 long names | `g07_long_resource_names_work`, `g07_a_long_resource_name_has_a_short_socket_name` |
//! | G8 takes nonsense | `g08_what_they_accept_and_then_fail_at_is_refused`, `g08_wrong_patterns_paths_and_permissions_are_refused_at_the_start` |
//! | G9 crashes at the start | `g09_an_empty_device_and_a_null_group_are_refused_with_their_place`, `g09_two_devices_of_one_name_are_refused_with_their_place` |
//! | G10 foreign variables | `g10_foreign_variables_hold_only_under_the_foreign_name_and_version_and_device_never` |
//! | G11 decimal USB ids | `g11_numbers_as_usb_ids_are_hexadecimal_in_every_route` |
//! | G12 leaves sockets | `g12_what_killed_processes_leave_is_removed_by_the_next_and_what_is_served_stays` |
//! | G13 `/health` never fails | `g13_the_endpoint_says_that_and_why_it_is_not_ready` |
//! | G15 one unit, no children | `g04_g15_usb_matches_are_one_unit_whose_id_does_not_depend_on_chance`, `g15_each_child_of_a_radio_can_be_a_unit_of_its_own` |
//! | G16 no `PreStart`, preference, topology, environment, reload | `g16_preference_topology_environment_and_pre_start_reach_the_kubelet`, `g16_a_changed_file_changes_its_resources_alone_and_a_wrong_one_nothing` |
//! | G18 gives links | `g18_a_link_is_given_as_the_node_behind_it_under_the_links_name` |

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use harness::{Node, machine, plug_disk, unplug_disk};
use outrigger_device_core::ids::{Kind, short};
use outrigger_host_tree::HostTree;
use outrigger_kubelet_api::Code;
use outrigger_kubelet_api::device_plugin::Empty;
use tokio::runtime::Handle;

const DISK: &str = "example.com/disk";

const DISKS: &str = "\
domain: example.com
ids: short
devices:
- name: disk
  health: {healthyAfter: 20ms, vanishGrace: 50ms}
  groups: [{block: {transport: [sata]}}]
";

#[tokio::test]
async fn k03_a_disk_that_is_pulled_or_plugged_renames_no_other() {
    let machine = machine(&["sdc", "sdd", "sde"]);
    let mut node = Node::new(DISKS).await;
    node.start_at(machine.root());
    node.offered(DISK, 3).await;
    let [sdd, sde] = ["naa.sdd", "naa.sde"].map(|wwid| short(Kind::Block, wwid));
    unplug_disk(&machine, "sdc");
    node.kubelet.until(|view| view.resources[DISK].devices.len() == 2).await;
    plug_disk(&machine, "sdb", "first of all");
    node.offered(DISK, 3).await;
    assert_eq!(node.nodes(DISK, &[&[&sde], &[&sdd]]).await.unwrap(), [["/dev/sde"], ["/dev/sdd"]]);
    assert_eq!(node.kubelet.view().gaps.len(), 0);
}

/// What is withheld once it is seen is refused also in the moment before.
#[tokio::test]
async fn k04_disks_in_use_are_withheld_and_refused_even_a_moment_later() {
    let sdc = |path: &str| format!("sys/block/sdc/{path}");
    let used: [(&str, String, &str); 6] = [
        ("proc/1/mountinfo", "30 22 8:32 / /data rw - ext4 /dev/sdc rw\n".to_owned(), "mounted at /data (ext4)"),
        ("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sdc partition 8 0 -2\n".to_owned(), "swap"),
        (&sdc("holders/dm-3"), String::new(), "held by dm-3"),
        (&sdc("sdc1/partition"), "1\n".to_owned(), "partitioned: sdc1"),
        ("sys/fs/xfs/sdc/error", String::new(), "mounted somewhere, perhaps in a container (xfs)"),
        (&sdc("ro"), "1\n".to_owned(), "read only"),
    ];
    for audit in ["1h", "20ms"] {
        for (path, text, told) in &used {
            let machine = machine(&["sdc"]);
            machine.write("sys/block/sdc/sdc1/dev", "8:33\n"); // A directory of this name is no partition.
            let mut node = Node::new(DISKS).await;
            node.start_with_audit(machine.root(), audit);
            let ids = node.offered(DISK, 1).await;
            machine.write(path, text);
            if audit == "20ms" {
                node.offered(DISK, 0).await;
            }
            let refused = node.nodes(DISK, &[&[&ids[0]]]).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{path}: {refused}");
            assert!(refused.message().contains(told), "{path}: {refused}");
        }
    }
}

/// That the table of mounts cannot be read any more is no reason to give a disk away.
#[tokio::test]
async fn k12_what_cannot_be_seen_in_allocate_is_a_refusal_that_says_so() {
    for path in ["proc/1/mountinfo", "proc/swaps"] {
        let machine = machine(&["sdc"]);
        let mut node = Node::new(DISKS).await;
        node.start_with_audit(machine.root(), "1h");
        let ids = node.offered(DISK, 1).await;
        node.nodes(DISK, &[&[&ids[0]]]).await.unwrap();
        fs::remove_file(machine.path(path)).unwrap();
        let refused = node.nodes(DISK, &[&[&ids[0]]]).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{path}: {refused}");
        assert!(refused.message().contains("cannot verify: "), "{path}: {refused}");
    }
}

/// T04 for the whole agent: its tasks are those that it had at first.
#[tokio::test]
async fn g03_restarts_leave_no_task_of_the_agent_behind() {
    let machine = machine(&["sdc"]);
    let mut node = Node::new(DISKS).await;
    node.start_at(machine.root());
    node.offered(DISK, 1).await;
    let mut at_first = None;
    for _ in 0..50 {
        node.kubelet.restart().await.unwrap();
        node.offered(DISK, 1).await;
        at_first.get_or_insert(quiet().await);
    }
    let begun = std::time::Instant::now();
    while Some(quiet().await) > at_first {
        assert!(begun.elapsed() < harness::PATIENCE, "{} tasks, at first {at_first:?}", quiet().await);
    }
    plug_disk(&machine, "sdd", "sdd");
    node.offered(DISK, 2).await;
    assert_eq!(node.kubelet.view().registrations_of(DISK), 51);
}

/// How many tasks there are once those that only end have done so.
async fn quiet() -> usize {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn g05_ids_stay_over_re_plugs_and_while_optional_parts_come_and_go() {
    let ids_of = async |tree: &str| {
        let machine = HostTree::named(tree);
        let mut node = Node::new("devices: [{resource: v.io/tty, groups: [{usb: [{child: tty}]}]}]").await;
        node.start_at(machine.root());
        node.offered("v.io/tty", 1).await
    };
    assert_eq!(ids_of("hub-before").await, ids_of("hub-after").await, "whatever its numbers are after the re-plug");

    let text = "devices: [{resource: v.io/rig, health: {healthyAfter: 20ms}, \
                groups: [{paths: [{path: '/dev/port'}, {path: /dev/light, optional: true}]}]}]";
    let mut node = Node::new(text).await;
    fs::write(node.path("host/dev/port"), "").unwrap();
    node.start();
    let ids = node.offered("v.io/rig", 1).await;
    node.admit("a", "v.io/rig", 1).await.unwrap();
    let light = node.path("host/dev/light");
    for is_there in [true, false, true] {
        if is_there { fs::write(&light, "") } else { fs::remove_file(&light) }.unwrap();
        let has_light = |given: &[String]| given.iter().any(|path| path == "/dev/light");
        let begun = std::time::Instant::now();
        while has_light(&node.nodes("v.io/rig", &[&[&ids[0]]]).await.unwrap_or_default().concat()) != is_there {
            assert!(begun.elapsed() < harness::PATIENCE, "the light is there: {is_there}: {:#?}", node.kubelet.view());
        }
        assert_eq!(node.offered("v.io/rig", 1).await, ids, "while a pod has it");
    }
}

#[tokio::test]
async fn g15_each_child_of_a_radio_can_be_a_unit_of_its_own() {
    let machine = HostTree::named("composite-radio");
    let usb = |name: &str, rule: &str| format!("- {{resource: v.io/{name}, groups: [{{usb: [{{{rule}}}]}}]}}\n");
    let rules = [("modem", "child: tty, interface: 0"), ("port", "child: tty, interface: 2"), ("hid", "child: hidraw")];
    let text = rules.map(|(name, rule)| usb(name, rule)).concat();
    let mut node = Node::new(&format!("devices:\n{text}")).await;
    node.start_at(machine.root());
    for (resource, device) in [("modem", "/dev/ttyACM0"), ("port", "/dev/ttyACM1"), ("hid", "/dev/hidraw0")] {
        let resource = format!("v.io/{resource}");
        let ids = node.offered(&resource, 1).await;
        assert_eq!(node.nodes(&resource, &[&[&ids[0]]]).await.unwrap(), [[device]]);
    }
}

/// Four disks at two controllers, each near to a NUMA node of its own.
fn two_sockets() -> HostTree {
    let tree = HostTree::of("sys/bus/scsi\n");
    for (socket, disks) in [(0, ["sda", "sdb"]), (1, ["sdc", "sdd"])] {
        for (port, disk) in disks.iter().enumerate() {
            let (controller, minor) =
                (format!("sys/devices/pci0000:{socket}0/0000:{socket}0:17.0"), socket * 32 + port * 16);
            tree.add(&format!(
                "{controller}\n  numa_node = {socket}\n  ata{socket}{port}/host{socket}{port}/target0:0:0/0:0:0:0\n    \
                 state = running\n    wwid = naa.{disk}\n    block/{disk}\n      :block\n      dev = 8:{minor}\n      \
                 size = 2048\n      uevent = DEVNAME={disk}\ndev/{disk} =\n"
            ));
        }
    }
    tree
}

#[tokio::test]
async fn g16_preference_topology_environment_and_pre_start_reach_the_kubelet() {
    let machine = two_sockets();
    for (how, sockets) in [("packed", 1), ("spread", 2)] {
        let text = format!(
            "devices: [{{resource: {DISK}, prefer: {how}, env: {{SCRATCH: '{{path}}'}}, \
             annotations: {{v.io/who: me}}, groups: [{{block: {{transport: [sata]}}}}]}}]"
        );
        let mut node = Node::new(&text).await;
        node.start_at(machine.root());
        node.offered(DISK, 4).await;
        let options = node.client(DISK).await.get_device_plugin_options(Empty {}).await.unwrap().into_inner();
        assert!(options.get_preferred_allocation_available && options.pre_start_required);
        let admitted = node.admit("a", DISK, 2).await.unwrap();
        let (ids, answer) = &admitted[DISK];
        let view = node.kubelet.view();
        let near: BTreeSet<_> = ids.iter().map(|id| view.resources[DISK].devices[id].numa.clone().unwrap()).collect();
        assert_eq!(near.len(), sockets, "{how}: {near:?}");
        assert!(near.iter().all(|near| near.len() == 1), "node 0 is told too: {near:?}");
        for (id, what, value) in ids.iter().flat_map(|id| [(id, "SIZE", "1048576"), (id, "RESOURCE", DISK)]) {
            assert_eq!(answer.envs[&format!("OUTRIGGER_DEVICE_{}_{what}", id.to_uppercase())], value);
        }
        let paths: Vec<&str> = answer.devices.iter().map(|device| device.host_path.as_str()).collect();
        assert_eq!(answer.envs["SCRATCH"], paths.join(","));
        assert_eq!(answer.annotations["v.io/who"], "me");
        node.kubelet.start_container("a", "app").await.unwrap();
    }
}

#[tokio::test]
async fn g18_a_link_is_given_as_the_node_behind_it_under_the_links_name() {
    let text = "devices: [{resource: v.io/radio, groups: [{paths: [{path: /dev/serial/by-id/*}]}]}]";
    let mut node = Node::new(text).await;
    fs::create_dir_all(node.path("host/dev/serial/by-id")).unwrap();
    fs::write(node.path("host/dev/ttyUSB0"), "").unwrap();
    symlink("../../ttyUSB0", node.path("host/dev/serial/by-id/radio")).unwrap();
    node.start();
    node.offered("v.io/radio", 1).await;
    let admitted = node.admit("a", "v.io/radio", 1).await.unwrap();
    let device = &admitted["v.io/radio"].1.devices[0];
    let paths = (device.host_path.as_str(), device.container_path.as_str());
    assert_eq!(paths, ("/dev/ttyUSB0", "/dev/serial/by-id/radio"));
}

/// The tables above name tests that are there, and every fault has one.
#[test]
fn every_fault_has_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = String::new();
    for directory in ["products/devices/tests", "programs/outrigger/tests", "shells/device-plugin"] {
        let mut waiting = vec![root.join(directory)];
        while let Some(directory) = waiting.pop() {
            for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    waiting.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    text += &fs::read_to_string(path).unwrap();
                }
            }
        }
    }
    let rows = include_str!("regressions.rs").lines().filter_map(|line| line.strip_prefix("//! | ")?.split_once(" | "));
    let mut faults = BTreeSet::new();
    for (fault, tests) in rows.filter(|(_, tests)| tests.contains('`')) {
        let number = fault.split(' ').next().unwrap();
        let prefix = format!("{}{:0>2}", number[..1].to_lowercase(), &number[1..]);
        for test in tests.split('`').skip(1).step_by(2) {
            assert!(text.contains(&format!("fn {test}(")), "{fault}: there is no {test}");
            assert!(test.contains(&format!("{prefix}_")), "{fault}: {test} does not bear {prefix}");
        }
        faults.insert(number.to_owned());
    }
    let without = ["K14", "G14", "G17"];
    let all = (1..=15).map(|n| format!("K{n}")).chain((1..=18).map(|n| format!("G{n}")));
    assert_eq!(faults, all.filter(|fault| !without.contains(&fault.as_str())).collect());
}
