//! What random runs have found, each as the shortest run that showed it.

use super::lived;
use super::machine::{THINGS, Use};
use super::node::SINGLE;
use super::steps::{Script, Step, Whom};

const DISK: usize = 0;
const BIG: usize = 1;
const RADIO: usize = 2;

const ADMIT_DISK: Step = Step::Admit { resource: DISK, count: 1 };
const ADMIT_BIG: Step = Step::Admit { resource: BIG, count: 1 };
const ADMIT_RADIO: Step = Step::Admit { resource: RADIO, count: 1 };

/// A disk in the third bay, by its number among the things.
fn disk(thing: usize) -> Step {
    Step::Plug { slot: 2, thing }
}

/// A radio in the first port.
fn radio(thing: usize) -> Step {
    Step::Plug { slot: 4, thing }
}

fn holds(steps: &[Step]) {
    let has_twins = steps.iter().any(|step| matches!(step, Step::Plug { thing, .. } if THINGS[*thing].is_twin));
    for overlap_bug in [false, true] {
        let script = Script { seed: 0, overlap_bug, has_twins, steps: steps.to_vec() };
        if let Err(broken) = lived(&script, false) {
            panic!("overlap bug {overlap_bug}: {broken}");
        }
    }
}

#[test]
fn what_the_newer_of_two_agents_gave_stays_listed_when_the_older_is_alone_again() {
    for end in [Step::StopAgent { agent: 1 }, Step::KillAgent { agent: 1 }] {
        holds(&[
            disk(0),
            Step::StartAgent,
            Step::Settle,
            Step::StartAgent,
            ADMIT_DISK,
            end,
            Step::Moment,
            Step::Settle,
        ]);
    }
    let kill = Step::AdmitAndKill { resource: DISK, ticks: 4, whom: Whom::Agent };
    holds(&[disk(0), Step::StartAgent, Step::Settle, Step::StartAgent, kill, Step::Moment, Step::Settle]);
}

#[test]
fn the_older_of_two_agents_is_asked_again_when_the_newer_has_ended() {
    for end in [Step::StopAgent { agent: 1 }, Step::KillAgent { agent: 1 }] {
        let begin = [disk(0), Step::StartAgent, Step::Settle, Step::StartAgent, Step::Settle];
        holds(
            &[&begin[..], &[end, Step::Settle, ADMIT_DISK, Step::Reload { configuration: 4 }, Step::Settle]].concat(),
        );
    }
}

#[test]
fn what_the_older_of_two_agents_has_not_yet_given_back_is_given_by_the_newer() {
    let begin = [disk(0), Step::StartAgent, Step::Settle, ADMIT_DISK, Step::Settle, Step::StartAgent, Step::Settle];
    holds(&[&begin[..], &[Step::Release { pod: 0 }, ADMIT_DISK, Step::Settle]].concat());
}

#[test]
fn what_a_pod_has_is_not_given_by_the_resource_that_it_is_of_after_a_reload() {
    let begin = [disk(0), Step::StartAgent, Step::Settle, ADMIT_DISK, Step::Settle];
    let then = [Step::Reload { configuration: 1 }, Step::Settle, ADMIT_BIG];
    holds(&[&begin[..], &then].concat());
    holds(&[&begin[..], &[Step::KillAgent { agent: 0 }, then[0], Step::StartAgent], &then[1..]].concat());
    holds(&[&begin[..], &[Step::KillAgent { agent: 0 }, then[0], Step::Run { resource: BIG }]].concat());
}

#[test]
fn a_radio_has_no_more_holders_than_it_may_after_its_count_was_changed() {
    let reload = |configuration| [Step::Reload { configuration }, Step::Settle, ADMIT_RADIO];
    let begin = [radio(5), Step::Reload { configuration: SINGLE }, Step::StartAgent, Step::Settle, ADMIT_RADIO];
    holds(&[&begin[..], &reload(0), &[ADMIT_RADIO], &reload(SINGLE), &reload(0)].concat());
}

#[test]
fn a_disk_that_tells_nothing_is_missed_at_the_start_of_a_container_when_another_is_in_its_bay() {
    let begin = [disk(3), Step::StartAgent, Step::Settle, ADMIT_DISK, Step::Restart { pod: 0 }];
    holds(&[&begin[..], &[disk(4), Step::Settle, Step::Restart { pod: 0 }]].concat());
}

#[test]
fn a_radio_with_a_serial_number_is_not_given_for_the_one_without_that_was_in_its_port() {
    holds(&[radio(7), Step::StartAgent, Step::Settle, radio(6), ADMIT_RADIO, radio(7), ADMIT_RADIO]);
}

#[test]
fn a_pod_keeps_the_disk_that_it_has_mounted_over_restarts_of_either_side() {
    let mounted = Step::Employ { slot: 2, how: Use::MountedElsewhere };
    let begin = [disk(0), Step::StartAgent, Step::Settle, ADMIT_DISK, Step::Settle, mounted, Step::Settle];
    let restarts = [Step::KillAgent { agent: 0 }, Step::StartAgent, Step::Settle, Step::RestartKubelet, Step::Settle];
    holds(&[&begin[..], &restarts].concat());
    let apart = [Step::KillKubelet, Step::KillAgent { agent: 0 }, Step::StartAgent, Step::StartKubelet, Step::Settle];
    holds(&[&begin[..], &apart].concat());
}

#[test]
fn one_of_two_radios_that_tell_the_same_keeps_its_holders_over_a_restart() {
    let twin = Step::Plug { slot: 5, thing: 11 };
    let begin = [radio(10), Step::StartAgent, Step::Settle, ADMIT_RADIO, ADMIT_RADIO, twin, Step::Settle];
    let restart = [Step::KillAgent { agent: 0 }, Step::StartAgent, Step::Settle, ADMIT_RADIO, ADMIT_RADIO, ADMIT_RADIO];
    holds(&[&begin[..], &restart].concat());
}

#[test]
fn a_container_does_not_start_with_what_came_to_the_node_of_its_disk_while_no_agent_ran() {
    let there = Step::Plug { slot: 3, thing: 0 };
    let begin = [disk(0), Step::StartAgent, Step::Settle, ADMIT_DISK, Step::Settle];
    let start = [Step::StartAgent, Step::Settle, Step::Restart { pod: 0 }];
    for end in [Step::StopAgent { agent: 0 }, Step::KillAgent { agent: 0 }] {
        holds(&[&begin[..], &[end, there, disk(1)], &start].concat());
        holds(&[&begin[..], &[end, there], &start].concat());
    }
}

#[test]
fn the_older_of_two_agents_starts_no_container_with_the_former_node_of_a_disk_that_the_newer_gave() {
    let begin = [disk(0), radio(5), Step::StartAgent, Step::Settle, Step::StartAgent, ADMIT_DISK];
    let reloaded = [Step::Reload { configuration: 2 }, ADMIT_RADIO, Step::KillAgent { agent: 1 }];
    let moved = [Step::Reload { configuration: 0 }, Step::Plug { slot: 3, thing: 0 }, Step::Restart { pod: 0 }];
    holds(&[&begin[..], &reloaded, &moved].concat());
}

#[test]
fn a_radio_without_a_serial_number_that_went_to_another_port_is_another_one_to_the_pod_that_had_it() {
    let here = Step::Plug { slot: 5, thing: 7 };
    holds(&[here, Step::StartAgent, Step::Settle, ADMIT_RADIO, radio(7), Step::Settle]);
}

#[test]
fn the_number_of_a_disk_stays_locked_where_only_its_twin_is_there_any_more() {
    let elsewhere = Step::Plug { slot: 1, thing: 9 };
    holds(&[disk(8), Step::StartAgent, Step::Settle, ADMIT_DISK, disk(9), elsewhere, Step::Settle]);
}

#[test]
fn what_a_pod_has_by_a_former_count_need_not_be_listed_by_an_agent_that_started_with_the_present_one() {
    let reload = Step::Reload { configuration: SINGLE };
    let begin = [radio(5), Step::StartAgent, Step::Settle, ADMIT_RADIO, ADMIT_RADIO, reload, Step::Settle];
    holds(&[&begin[..], &[Step::Settle, Step::StartAgent, Step::Settle, Step::Settle]].concat());
    holds(&[&begin[..], &[Step::KillAgent { agent: 0 }, Step::StartAgent, Step::Settle, Step::Settle]].concat());
}

#[test]
fn what_was_plugged_again_a_moment_before_it_was_given_may_be_locked_by_its_former_number_too() {
    holds(&[radio(6), Step::StartAgent, Step::Settle, radio(6), ADMIT_RADIO, Step::Settle]);
    let there = Step::Plug { slot: 3, thing: 2 };
    holds(&[disk(2), Step::StartAgent, Step::Settle, there, Step::StartAgent, ADMIT_DISK, Step::Settle]);
}
