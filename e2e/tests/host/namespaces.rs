//! `hostPID`, `hostIPC` and `shareProcessNamespace`.

use serde_json::json;

use crate::site::{Site, USERS, container, own_namespace, spec, with};

/// Tried with a launcher that makes the namespace in spite of `hostPID`.
#[test]
fn host_pid_shows_the_machines_processes_and_only_then() {
    let own = std::process::id();
    for user in USERS {
        let site = Site::of(user);
        let script = format!("readlink /proc/self/ns/pid; test -d /proc/{own} && cat /proc/{own}/comm; exit 0");
        let seen = site.message(&with(spec(&script), json!({"hostPID": true})));
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(seen, format!("{}\n{comm}", own_namespace("pid")), "user {user}");
        // A namespace of its own has few processes, and numbers that begin anew.
        let count = "readlink /proc/self/ns/pid; ls /proc | grep -c \"^[0-9]*\\$\"";
        let seen = site.message(&spec(count));
        let (namespace, count) = seen.trim().split_once('\n').unwrap();
        assert_ne!(namespace, own_namespace("pid"), "user {user}");
        assert!(count.parse::<u32>().unwrap() <= 6, "user {user}: {seen}");
    }
}

/// What stays has no variables, by which the sweep that follows would find it. Tried with a keeper that kills nothing: the
/// pod does not end.
#[test]
fn a_pod_with_host_pid_leaves_nothing_and_is_told_what_holds_it() {
    for user in USERS {
        let site = Site::of(user);
        let mark = format!("{}{user}", std::process::id());
        let script = format!(
            "setsid env -i sleep 7{mark} & \
             until ! grep -q OUTRIGGER_POD_UID /proc/$!/environ; do sleep 0.01; done; echo started"
        );
        let ended = site.run(&with(spec(&script), json!({"hostPID": true})), &[]);
        assert_eq!((ended.code, ended.message("main").as_str()), (0, "started\n"), "{ended:#?}");
        assert!(ended.err.contains("warning: spec.hostPID: "), "{ended:#?}");
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let left = lines.filter(|line| String::from_utf8_lossy(line).contains(&format!("7{mark}"))).count();
        assert_eq!(left, 0, "user {user}");
    }
}

#[test]
fn host_ipc_shares_queues_and_shared_memory_with_the_machine_and_only_then() {
    for user in USERS {
        let site = Site::of(user);
        let name = format!("outrigger-host-ipc-{}-{user}", std::process::id());
        let file = std::path::Path::new("/dev/shm").join(&name);
        std::fs::write(&file, "from the machine\n").unwrap();
        let script = format!("readlink /proc/self/ns/ipc; cat /dev/shm/{name} || echo none");
        let shared = site.message(&with(spec(&script), json!({"hostIPC": true})));
        let alone = site.message(&spec(&script));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(shared, format!("{}\nfrom the machine\n", own_namespace("ipc")), "user {user}");
        assert!(alone.ends_with("\nnone\n") && !alone.contains(&own_namespace("ipc")), "user {user}: {alone}");
    }
}

/// Tried without the shared namespace: the other container's process is not found.
#[test]
fn containers_that_share_processes_see_and_signal_each_other() {
    for user in USERS {
        let site = Site::of(user);
        let ends = "trap \"echo told; exit 7\" USR1; touch /both/ready; while :; do sleep 0.05; done";
        let tells = "until [ -e /both/ready ]; do sleep 0.05; done; \
                     for process in /proc/[0-9]*; do if tr \"\\0\" \" \" < $process/cmdline 2>/dev/null | \
                     grep -q \"[e]cho told\"; then kill -USR1 ${process#/proc/}; fi; done; cat /proc/1/comm";
        let mount = json!([{"name": "both", "mountPath": "/both"}]);
        let containers: Vec<_> = [container("ends", ends), container("tells", tells)]
            .into_iter()
            .map(|one| with(one, json!({"volumeMounts": mount.clone()})))
            .collect();
        let more = json!({
            "shareProcessNamespace": true,
            "containers": containers,
            "volumes": [{"name": "both", "emptyDir": {}}],
            "activeDeadlineSeconds": 120,
        });
        let ended = site.run(&with(spec(""), more), &[]);
        assert_eq!(ended.code, 7, "user {user}: {ended:#?}");
        assert_eq!(ended.message("ends"), "told\n", "user {user}");
        assert_eq!(ended.message("tells"), "outrigger-init\n", "the init of both is ours");
    }
}
