//! The devices product on a real kubelet, as users install it: the chart, our image, pods that ask for disks, nodes and slots.
//! One cluster for all tests; `OUTRIGGER_SOAK` runs every loop at full length.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic and tell, also in its helpers"
)]

mod absence;
mod cdi;
mod chart;
mod plugged;
mod plugin;
mod restarts;
mod sharing;
mod site;

use std::process::ExitCode;

use outrigger_e2e::{suite, tests};

const TESTS: &[suite::Test<site::Site>] = tests![
    chart::a_second_pod_waits_until_the_first_ends,
    sharing::two_pods_never_share_a_disk,
    sharing::an_agent_that_ignores_ids_is_found_out,
    sharing::a_container_that_starts_again_keeps_its_device,
    restarts::a_kubelet_that_starts_again_has_its_devices_within_a_second,
    restarts::an_update_of_the_agent_is_not_seen,
    restarts::a_killed_agent_is_back_within_a_second_of_its_start,
    absence::pods_and_the_kubelet_start_without_the_agent,
    absence::a_drained_node_gives_its_disks_again,
    plugged::a_device_that_is_unplugged_is_unhealthy_and_its_pod_runs_on,
    plugged::a_mounted_disk_is_withheld_from_an_agent_without_rights,
    cdi::names_of_devices_are_resolved_by_the_container_runtime,
    chart::another_plugin_is_left_alone,
    chart::ten_thousand_devices_are_offered,
    chart::manifests_of_replaced_projects_run_as_they_are,
];

fn main() -> ExitCode {
    suite::run(TESTS, site::prepare)
}
