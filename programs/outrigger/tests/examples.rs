//! The manifests in `examples/`, run by the real executable under the host launcher: each ends with the exit code and the
//! status that `examples/expected/` says.
//!
//! What differs from run to run (times, addresses, ids) is left out of the comparison. After a change of what is right, the
//! files are written anew with `UPDATE_EXPECTED=1`, and read before they are committed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod support;

use outrigger_expected_statuses::ending;
use serde_json::Value;
use support::{Machine, repository};

fn check(name: &str) {
    let manifest = repository().join(format!("examples/{name}.yaml"));
    let said = Machine::new().run(&["run", "--output", "json", manifest.to_str().unwrap()]);
    let found = ending(said.code, said.json());
    let path = repository().join(format!("examples/expected/{name}.json"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, format!("{found:#}\n")).unwrap();
    }
    let expected: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(found, expected, "found {found:#}\nexpected {expected:#}\n{}", said.err);
}

macro_rules! examples {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { check($name); })*
    };
}

examples! {
    the_first_example_ends_well: "first",
    init_containers_run_in_order_and_again_after_a_failure: "init-containers",
    a_failing_liveness_probe_ends_the_container: "probes",
    hooks_run_after_the_start_and_before_the_stop: "lifecycle",
    a_projected_volume_holds_all_its_sources: "projected-volume",
    a_container_knows_its_pod: "downward-api",
    variables_come_from_all_their_sources: "environment",
    commands_are_expanded_without_a_shell: "commands",
    a_container_runs_as_the_user_it_asks_for: "security-context",
    a_failed_container_is_started_again: "restart-policies",
    a_job_completes_every_index: "job",
}
