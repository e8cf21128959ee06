//! Health, both ways, and what vanishes.

use std::time::Duration;

use outrigger_device_core::decide::{Reason, Status};
use outrigger_device_core::picture::{Picture, Seen};
use outrigger_device_core::rules::Rules;

use crate::values::{Host, any_disk, disk, disks, ids, mount, offered, one, told, why};

const RESOURCE: &str = "a.b/c";

fn scene() -> (Host, Rules, Picture, Picture) {
    let mut failed = disk("sdb");
    failed.state = Some("offline".into());
    (Host::default(), one(any_disk()), disks(vec![disk("sdb")]), disks(vec![failed]))
}

fn status(told: &[(String, Status)]) -> Option<Status> {
    told.first().map(|(_, status)| *status)
}

#[test]
fn three_failed_checks_make_it_unhealthy_and_ten_good_seconds_well_again() {
    let (mut host, rules, good, bad) = scene();
    host.decide(&rules, &good);
    for expected in [Status::Offered, Status::Offered, Status::Unhealthy, Status::Unhealthy] {
        assert_eq!(status(&told(&host.decide(&rules, &bad), RESOURCE)), Some(expected));
    }
    let well = host.decide(&rules, &good);
    assert_eq!(why(&well, "sdb"), "unhealthy: well again, but not long enough");
    let moment = well.again.unwrap();
    assert_eq!(moment, host.now + Duration::from_secs(9), "ten seconds after the last look");
    host.now = moment.saturating_sub(Duration::from_millis(1));
    assert!(offered(&host.decide(&rules, &good)).is_empty());
    host.now = moment;
    assert_eq!(offered(&host.decide(&rules, &good)), ["sdb"]);
}

#[test]
fn looks_in_a_burst_are_one_check_and_a_good_one_between_begins_anew() {
    let (mut host, rules, good, bad) = scene();
    host.decide(&rules, &good);
    for _ in 0..20 {
        let again = host.decide(&rules, &bad);
        assert_eq!(offered(&again), ["sdb"]);
        host.now -= Duration::from_millis(990);
    }
    host.decide(&rules, &good);
    host.decide(&rules, &bad);
    assert_eq!(offered(&host.decide(&rules, &bad)), ["sdb"], "two in a row");
}

#[test]
fn a_relapse_while_it_recovers_begins_the_time_anew() {
    let (mut host, rules, good, bad) = scene();
    host.decide(&rules, &good);
    for _ in 0..3 {
        host.decide(&rules, &bad);
    }
    for _ in 0..9 {
        host.decide(&rules, &good);
    }
    host.decide(&rules, &bad);
    for _ in 0..10 {
        assert!(offered(&host.decide(&rules, &good)).is_empty());
    }
    assert_eq!(offered(&host.decide(&rules, &good)), ["sdb"]);
}

#[test]
fn what_flaps_stays_unhealthy_for_ten_minutes() {
    let (mut host, rules, good, _) = scene();
    let gone = disks(Vec::new());
    for _ in 0..6 {
        host.decide(&rules, &good);
        host.decide(&rules, &gone);
        host.decide(&rules, &good);
        host.now += Duration::from_secs(10);
    }
    let calm = host.decide(&rules, &good);
    assert_eq!(why(&calm, "sdb"), "unhealthy: flapping");
    host.now = calm.again.unwrap();
    assert!(host.now > Duration::from_secs(600));
    assert_eq!(offered(&host.decide(&rules, &good)), ["sdb"]);
}

#[test]
fn a_vanished_device_is_unhealthy_first_and_dropped_after_its_grace() {
    let (mut host, rules, good, _) = scene();
    let before = ids(&host.decide(&rules, &good));
    let gone = host.decide(&rules, &disks(Vec::new()));
    assert_eq!(told(&gone, RESOURCE), [("sdb".to_owned(), Status::Vanished)]);
    assert_eq!(ids(&gone), before);
    assert_eq!(why(&gone, "sdb"), "vanished: vanished");
    assert_eq!(gone.changes[0].to, Some(Status::Vanished));
    host.now = gone.again.unwrap();
    assert_eq!(host.now, Duration::from_secs(301));
    let dropped = host.decide(&rules, &disks(Vec::new()));
    assert_eq!((told(&dropped, RESOURCE), dropped.changes[0].to), (Vec::new(), None));
}

#[test]
fn a_vanished_device_is_kept_while_a_pod_has_it_and_is_healthy_again_under_its_id() {
    let (mut host, rules, good, _) = scene();
    let before = ids(&host.decide(&rules, &good));
    host.claim(RESOURCE, &before["sdb"]);
    host.decide(&rules, &disks(Vec::new()));
    host.now += Duration::from_secs(10_000);
    let kept = host.decide(&rules, &disks(Vec::new()));
    assert_eq!(told(&kept, RESOURCE), [("sdb".to_owned(), Status::Vanished)]);
    assert_eq!(kept.again, None, "nothing will happen by itself");
    host.decide(&rules, &good);
    host.now += Duration::from_secs(10);
    let back = host.decide(&rules, &good);
    assert_eq!((offered(&back), ids(&back)), (vec!["sdb".to_owned()], before));
}

#[test]
fn a_pod_may_mount_what_it_has_and_the_host_may_not_take_it_from_the_list() {
    let (mut host, rules, good, _) = scene();
    let id = ids(&host.decide(&rules, &good))["sdb"].clone();
    let sdb = disk("sdb");
    let mounted = Picture { mounts: Seen::Known(vec![mount(sdb.number, "/dev/sdb", "/srv")]), ..disks(vec![sdb]) };
    host.claim(RESOURCE, &id);
    assert_eq!(offered(&host.decide(&rules, &mounted)), ["sdb"]);
    host.claims.held.clear();
    let given_back = host.decide(&rules, &mounted);
    assert!(told(&given_back, RESOURCE).is_empty());
    assert_eq!(given_back.changes[0].to, Some(Status::Withheld));
    assert!(matches!(given_back.changes[0].reasons[..], [Reason::Mounted { .. }]));
    let unmounted = host.decide(&rules, &good);
    assert_eq!((offered(&unmounted), ids(&unmounted)["sdb"].clone()), (vec!["sdb".to_owned()], id));
}

#[test]
fn a_held_disk_that_becomes_read_only_is_unhealthy_at_once() {
    let (mut host, rules, good, _) = scene();
    let id = ids(&host.decide(&rules, &good))["sdb"].clone();
    host.claim(RESOURCE, &id);
    let mut failed = disk("sdb");
    failed.read_only = true;
    assert_eq!(why(&host.decide(&rules, &disks(vec![failed])), "sdb"), "unhealthy: read only");
}

#[test]
fn what_a_removed_resource_listed_is_forgotten() {
    let (mut host, rules, good, _) = scene();
    host.decide(&rules, &good);
    let decision = host.decide(&crate::values::rules(Vec::new()), &good);
    assert!(decision.lists.is_empty());
    assert_eq!(why(&decision, "sdb"), "unmatched");
}
