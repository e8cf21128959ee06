//! What a container sees of the file system.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger_launcher::{Launcher, Mount, MountSource};
use outrigger_pod_core::life::StartProblem;
use outrigger_pod_core::plan::PodPlan;

use crate::bench::{Bench, finish, nowhere, plan};

fn mount(source: &Path, target: &str) -> Mount {
    let source = MountSource::Path(source.to_owned());
    Mount { source, sub_path: None, target: target.into(), read_only: false, propagation: None }
}

/// Runs a script with mounts; what it prints must be `expect`.
async fn check(bench: &Bench, plan: &Arc<PodPlan>, mounts: Vec<Mount>, (script, expect): (&str, &str)) {
    let running = bench.start_with(plan, &["sh", "-c", script], mounts).await.unwrap();
    let (text, exit) = finish(running).await;
    assert_eq!((text.as_str(), exit.code), (expect, 0), "{script}");
}

/// A pod of its own directory, with a volume directory in it and one outside of it.
async fn with_volumes() -> (Bench, Arc<PodPlan>, PathBuf, PathBuf) {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &["memory"]).await;
    let own = bench.directory.path().join(&plan.uid).join("volumes");
    let foreign = bench.directory.path().join("machine");
    for directory in [&own, &foreign] {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("file"), "content\n").unwrap();
    }
    (bench, plan, own, foreign)
}

#[tokio::test]
async fn a_mount_path_that_the_machine_does_not_have_appears_only_in_the_container() {
    let (bench, plan, own, _) = with_volumes().await;
    let [directory, file, other] = ["/no-such-directory", "/etc/no-such-file", "/other"].map(nowhere);
    let mounts = vec![mount(&own, &format!("{directory}/deep/er")), mount(&own.join("file"), &file)];
    let script = format!(
        "cat {directory}/deep/er/file {file}; echo new > {directory}/deep/er/made; \
         test -d /usr/bin && test -L /proc/self && test -s /etc/passwd && mkdir {other} 2>/dev/null || echo refused"
    );
    check(&bench, &plan, mounts, (&script, "content\ncontent\nrefused\n")).await;
    assert_eq!(fs::read_to_string(own.join("made")).unwrap(), "new\n");
    assert!(!Path::new(&directory).exists() && !Path::new(&file).exists());
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_mount_path_below_a_directory_of_scratch_files_leaves_it_usable() {
    let (bench, plan, own, _) = with_volumes().await;
    let [directory, scratch] = ["/tmp/no-such", "/tmp/no-such-scratch"].map(nowhere);
    let script = format!("cat {directory}/file; echo x > {scratch} && cat {scratch}");
    check(&bench, &plan, vec![mount(&own, &directory)], (&script, "content\nx\n")).await;
    assert!(!Path::new(&directory).exists() && !Path::new(&scratch).exists());
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn volumes_lie_in_volumes() {
    let (bench, plan, own, foreign) = with_volumes().await;
    let mut config = mount(&own, "/data/config");
    config.read_only = true;
    let mounts = vec![
        Mount { source: MountSource::Memory("memory".to_owned()), ..mount(&own, "/data") },
        config,
        mount(&foreign, "/data/config/machine"),
        mount(&own, "/data/config/machine/inner"),
    ];
    let script = "cat /data/config/file /data/config/machine/file /data/config/machine/inner/file; \
        echo x > /data/made; echo x 2>/dev/null > /data/config/made || echo read-only; \
        echo x 2>/dev/null > /data/config/machine/inner/also && echo writable";
    check(&bench, &plan, mounts, (script, "content\ncontent\ncontent\nread-only\nwritable\n")).await;
    assert!(!foreign.join("inner").exists());
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_memory_volume_is_the_same_for_the_runner_and_all_containers() {
    let (bench, plan, own, _) = with_volumes().await;
    let root = bench.prepare(&plan, &["memory"]).await.memory_volumes["memory"].clone();
    fs::write(root.join("from-runner"), "hello\n").unwrap();
    let memory = || vec![Mount { source: MountSource::Memory("memory".to_owned()), ..mount(&own, "/memory") }];
    check(&bench, &plan, memory(), ("cat /memory/from-runner; echo x > /memory/from-container", "hello\n")).await;
    check(&bench, &plan, memory(), ("cat /memory/from-container", "x\n")).await;
    assert_eq!(fs::read_to_string(root.join("from-container")).unwrap(), "x\n");
    check(&bench, &plan, memory(), ("head -c 2M /dev/zero 2>/dev/null > /memory/big || echo full", "full\n")).await;
    bench.launcher.remove(&plan.uid).await.unwrap();
    assert!(!root.join("from-runner").exists());
}

#[tokio::test]
async fn a_sub_path_is_made_and_does_not_lead_out() {
    let (bench, plan, own, foreign) = with_volumes().await;
    let with = |path: &str| vec![Mount { sub_path: Some(path.into()), ..mount(&own, "/mnt") }];
    check(&bench, &plan, with("new/deep"), ("echo x > /mnt/made", "")).await;
    assert!(own.join("new/deep/made").exists());
    symlink("new", own.join("inside")).unwrap();
    check(&bench, &plan, with("inside/deep"), ("ls /mnt", "made\n")).await;
    symlink(&foreign, own.join("outside")).unwrap();
    symlink("../../..", own.join("up")).unwrap();
    for escape in ["outside", "up", "outside/new", "../../machine"] {
        let error = bench.start_with(&plan, &["true"], with(escape)).await.unwrap_err();
        assert_eq!(error.problem, StartProblem::Create);
        assert!(error.message.contains(&format!("subPath {escape}")), "{}", error.message);
        assert!(error.message.contains("leads out of the volume"), "{}", error.message);
    }
    assert!(!foreign.join("new").exists());
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_file_cannot_be_mounted_over_a_directory() {
    let (bench, plan, own, _) = with_volumes().await;
    let error = bench.start_with(&plan, &["true"], vec![mount(&own.join("file"), "/usr")]).await.unwrap_err();
    assert!(error.message.contains("at /usr"), "{}", error.message);
    let error = bench.start_with(&plan, &["true"], vec![mount(&own.join("none"), "/usr")]).await.unwrap_err();
    assert!(error.message.contains("none for the volume for /usr: no such file"), "{}", error.message);
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_mount_path_through_a_link_of_the_machine_is_followed() {
    let (bench, plan, own, foreign) = with_volumes().await;
    fs::create_dir(foreign.join("real")).unwrap();
    symlink("real", foreign.join("link")).unwrap();
    let (link, real) = (foreign.join("link"), foreign.join("real"));
    let script = format!("cat {}/file {}/new/file", real.display(), real.display());
    let mounts = vec![mount(&own, link.to_str().unwrap()), mount(&own, &format!("{}/new", link.display()))];
    check(&bench, &plan, mounts, (&script, "content\ncontent\n")).await;
    let mounts = vec![mount(&own, &format!("{}/new", link.display()))];
    check(&bench, &plan, mounts, (&format!("ls {0}; cat {0}/new/file", real.display()), "new\ncontent\n")).await;
    assert!(fs::read_dir(&real).unwrap().next().is_none());
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_read_only_root_leaves_volumes_and_devices_writable() {
    let (bench, mut plan) = (Bench::new(), plan());
    plan.containers[0].security.read_only_root = true;
    let plan = Arc::new(plan);
    bench.prepare(&plan, &[]).await;
    let own = bench.directory.path().join(&plan.uid).join("volume");
    let foreign = bench.directory.path().join("machine");
    fs::create_dir_all(&own).unwrap();
    fs::create_dir_all(&foreign).unwrap();
    let (shared, log) = (nowhere("/dev/shm/x"), Path::new("/dev/termination-log"));
    let log_before = log.exists();
    let script = format!(
        "echo x > /data/made && echo volume; echo x > /dev/null && echo null; echo x > {shared} && echo shm; \
         echo x 2>/dev/null > {}/x || echo machine; echo x 2>/dev/null > /tmp/x || echo tmp; \
         echo last words > /dev/termination-log",
        foreign.display()
    );
    check(&bench, &plan, vec![mount(&own, "/data")], (&script, "volume\nnull\nshm\nmachine\ntmp\n")).await;
    let message = bench.directory.path().join(&plan.uid).join("message");
    assert_eq!(fs::read_to_string(message).unwrap(), "last words\n");
    assert!(log.exists() == log_before && !Path::new(&shared).exists());
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn the_container_knows_its_name_and_only_its_own_processes() {
    let bench = Bench::new();
    let mut plan = plan();
    plan.pod.spec = Some(k8s_openapi::api::core::v1::PodSpec::default());
    let script = "hostname; grep -c bench /etc/hosts; ls /proc | grep -c '^[0-9]*$'";
    let (text, _) = bench.shell(&Arc::new(plan), script).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "bench");
    assert_ne!(lines[1], "0");
    assert!(lines[2].parse::<u32>().unwrap() <= 5, "{text}");
}

#[tokio::test]
async fn the_machine_sees_no_mount_of_a_container() {
    let (bench, plan, own, _) = with_volumes().await;
    let data = nowhere("/data");
    let running = bench.start_with(&plan, &["sleep", "1000"], vec![mount(&own, &data)]).await.unwrap();
    // Others mount meanwhile: what counts has our name, where it comes from or where it is.
    let ours = bench.directory.path().file_name().unwrap().to_str().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let seen: Vec<&str> = mounts.lines().filter(|line| line.contains(ours) || line.contains(&data)).collect();
    assert_eq!(seen, [""; 0]);
    bench.launcher.remove(&plan.uid).await.unwrap();
    drop(running);
}
