//! Limits: in force for root where cgroups can be written, told by name to an ordinary user.

use crate::pod;
use crate::sid::{Sid, USER};

/// What the container's own groups say, of version 1 or 2. They are seen from inside by the machine's own `/sys`.
const SCRIPT: &str = "sed s/::/:all:/ /proc/self/cgroup | while IFS=: read n kind path; do \
    for file in memory.limit_in_bytes memory.max cpu.cfs_quota_us cpu.max; do \
    for root in /groups/$kind /groups; do [ ! -f $root$path/$file ] || echo $file $(cat $root$path/$file); done; done; \
    done > /dev/termination-log";

fn manifest(sid: &Sid) -> String {
    let text = pod(
        "limited",
        &sid.tree(),
        &[
            &format!("command: [sh, -c, '{SCRIPT}']"),
            "resources: {limits: {cpu: 500m, memory: 48Mi}}",
            "volumeMounts: [{name: groups, mountPath: /groups, readOnly: true}]",
        ],
    );
    sid.file("limited.yaml", &(text + "  volumes: [{name: groups, hostPath: {path: /sys/fs/cgroup}}]\n"))
}

/// Tried with a launcher whose agent starts outside of the container's group.
#[test]
fn roots_limits_are_those_of_the_manifest() {
    let sid = Sid::new();
    let said = sid.run(0, &["run", "--strict", "--output", "json", &manifest(&sid)]);
    assert_eq!(said.code, 0, "{said:#?}");
    let status = &said.json()["status"]["containerStatuses"][0]["state"]["terminated"];
    let found = status["message"].as_str().unwrap_or_default();
    let memory = (48 << 20).to_string();
    let is_there = |name: &str, value: &str| found.lines().any(|line| line == format!("{name} {value}"));
    assert!(is_there("memory.limit_in_bytes", &memory) || is_there("memory.max", &memory), "{said:#?}");
    assert!(is_there("cpu.cfs_quota_us", "50000") || is_there("cpu.max", "50000 100000"), "{said:#?}");
}

#[test]
fn an_ordinary_user_is_told_which_limits_do_not_hold() {
    let sid = Sid::new();
    let manifest = manifest(&sid);
    let said = sid.run(USER, &["run", &manifest]);
    assert_eq!(said.code, 0, "{said:#?}");
    for limit in ["cpu", "memory"] {
        let warning = format!("warning: spec.containers[0].resources.limits.{limit}: the limit is not enforced");
        assert!(said.err.contains(&warning), "{said:#?}");
    }
    let refused = sid.run(USER, &["run", "--strict", &manifest]);
    assert_eq!(refused.code, 2, "{refused:#?}");
    assert!(refused.err.contains("resources.limits.memory"), "{refused:#?}");
}
