//! Users, groups, capabilities, and what is said where they cannot be had.

use std::sync::Arc;

use outrigger_host_launcher::HostLauncher;
use outrigger_launcher::Launcher;
use outrigger_pod_core::life::StartProblem;
use outrigger_pod_core::plan::SecurityPlan;

use crate::bench::{Bench, agent, is_root, plan};

async fn check(bench: &Bench, security: SecurityPlan, script: &str, expect: &str) {
    let mut plan = plan();
    plan.containers[0].security = security;
    if is_root() {
        plan.supplemental_groups = vec![5555];
        plan.fs_group = Some(6666);
    }
    let (text, exit) = bench.shell(&Arc::new(plan), script).await;
    assert_eq!((text.as_str(), exit.code), (expect, 0), "{script}");
}

#[tokio::test]
async fn a_container_runs_as_the_user_it_asks_for() {
    let bench = Bench::new();
    let security = SecurityPlan { run_as_user: Some(4321), run_as_group: Some(8765), ..SecurityPlan::default() };
    check(&bench, security, "id -u; id -g; echo $HOME", "4321\n8765\n/\n").await;
    let own = rustix::process::geteuid().as_raw();
    check(&bench, SecurityPlan::default(), "id -u", &format!("{own}\n")).await;
}

#[tokio::test]
async fn groups_are_given_where_rights_allow() {
    let bench = Bench::new();
    if is_root() {
        let security = SecurityPlan { run_as_user: Some(4321), run_as_group: Some(8765), ..SecurityPlan::default() };
        check(&bench, security, "id -G", "8765 5555 6666\n").await;
        return;
    }
    let mut plan = plan();
    plan.fs_group = Some(6666);
    let said = bench.launcher.shortfalls(&plan);
    assert!(said.iter().any(|one| one.path == "spec.securityContext.fsGroup"), "{said:?}");
}

#[tokio::test]
async fn a_container_that_must_not_be_root_is_not() {
    let bench = Bench::new();
    let mut plan = plan();
    plan.containers[0].security =
        SecurityPlan { run_as_non_root: true, run_as_user: Some(0), ..SecurityPlan::default() };
    let plan = Arc::new(plan);
    bench.prepare(&plan, &[]).await;
    let error = bench.start(&plan, &["true"]).await.unwrap_err();
    assert_eq!(error.problem, StartProblem::Config);
    let expect =
        format!("container's runAsUser breaks non-root policy (pod: \"bench_default({})\", container: main)", plan.uid);
    assert_eq!(error.message, expect);
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn dropped_capabilities_and_privileges_do_not_come_back() {
    let bench = Bench::new();
    let security =
        SecurityPlan { capabilities_drop: vec!["ALL".to_owned()], no_new_privileges: true, ..SecurityPlan::default() };
    let script = "grep -E 'Cap(Prm|Eff|Bnd)|NoNewPrivs' /proc/self/status | tr -d '\\t'";
    let none = "0000000000000000";
    check(&bench, security, script, &format!("CapPrm:{none}\nCapEff:{none}\nCapBnd:{none}\nNoNewPrivs:1\n")).await;
}

#[tokio::test]
async fn a_machine_without_namespaces_says_what_will_not_hold() {
    let launcher = HostLauncher::with_agent(agent()).unwrap().without_namespaces();
    let mut plan = plan();
    plan.share_process_namespace = true;
    plan.containers[0].security = SecurityPlan { read_only_root: true, ..SecurityPlan::default() };
    plan.containers[0].security.others.push("securityContext.seccompProfile".to_owned());
    let said = launcher.shortfalls(&plan);
    let paths: Vec<&str> = said.iter().map(|one| one.path.as_str()).collect();
    for path in [
        "spec",
        "spec.shareProcessNamespace",
        "spec.containers[0].securityContext.readOnlyRootFilesystem",
        "spec.containers[0].securityContext.seccompProfile",
    ] {
        assert!(paths.contains(&path), "{path} is not in {paths:?}");
    }
}
