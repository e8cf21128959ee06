//! `mountPropagation`: which mounts of the machine a running container sees.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::site::{Site, USERS, container, spec, wait_until, with};

/// A shared mount of the machine in which others appear; it goes with the test.
struct Shared(PathBuf);

impl Shared {
    fn at(place: &Path) -> Self {
        std::fs::create_dir_all(place.join("later")).unwrap();
        mount(&["--bind", &place.display().to_string()], place);
        mount(&["--make-shared"], place);
        Self(place.to_owned())
    }

    /// Mounts a file system with one file in it.
    fn add_later(&self) {
        let later = self.0.join("later");
        mount(&["-t", "tmpfs", "outrigger-test"], &later);
        std::fs::write(later.join("file"), "made later\n").unwrap();
        std::fs::set_permissions(later, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for place in [self.0.join("later"), self.0.clone()] {
            // What a failed test has not mounted cannot be unmounted.
            let _ = Command::new("umount").arg("-l").arg(place).stderr(std::process::Stdio::null()).status();
        }
    }
}

fn mount(options: &[&str], place: &Path) {
    assert!(Command::new("mount").args(options).arg(place).status().unwrap().success());
}

fn propagating(name: &str, script: &str, propagation: &str) -> Value {
    let mounts = json!([
        {"name": "shared", "mountPath": "/shared", "mountPropagation": propagation},
        {"name": "talk", "mountPath": "/talk"},
    ]);
    with(container(name, script), json!({"volumeMounts": mounts}))
}

fn volumes(site: &Site, talk: &str) -> Value {
    json!([
        {"name": "shared", "hostPath": {"path": site.path("shared")}},
        {"name": "talk", "hostPath": {"path": talk}},
    ])
}

/// Tried with a launcher that makes every mount private: the follower sees nothing.
#[test]
fn a_later_mount_appears_with_host_to_container_and_not_with_none() {
    for user in USERS {
        let site = Site::of(user);
        let talk = site.open_folder("talk");
        let shared = Shared::at(&site.path("shared"));
        let script = |name: &str| {
            format!(
                "touch /talk/{name}; until [ -e /talk/mounted ]; do sleep 0.05; done; cat /shared/later/file || echo none"
            )
        };
        let containers = [
            propagating("follows", &script("follows"), "HostToContainer"),
            propagating("alone", &script("alone"), "None"),
        ];
        let more = json!({"containers": containers, "volumes": volumes(&site, &talk), "activeDeadlineSeconds": 120});
        let spec = with(spec(""), more);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| site.run(&spec, &[]));
            let is_there = |name: &str| Path::new(&talk).join(name).exists();
            wait_until("both containers", || is_there("follows") && is_there("alone") || run.is_finished());
            shared.add_later();
            std::fs::write(Path::new(&talk).join("mounted"), "").unwrap();
            let ended = run.join().unwrap();
            assert_eq!(ended.code, 0, "user {user}: {ended:#?}");
            assert_eq!(ended.message("follows"), "made later\n", "user {user}");
            assert_eq!(ended.message("alone"), "none\n", "user {user}");
        });
    }
}

#[test]
fn bidirectional_is_told_and_refused_when_strict() {
    let site = Site::of(0);
    let talk = site.open_folder("talk");
    let shared = Shared::at(&site.path("shared"));
    let script = "mount -t tmpfs outrigger-test /shared/later && echo made > /shared/later/file && echo mounted";
    let main = with(propagating("main", script, "Bidirectional"), json!({"securityContext": {"privileged": true}}));
    let spec = with(spec(""), json!({"containers": [main], "volumes": volumes(&site, &talk)}));
    let path = "spec.containers[0].volumeMounts[0].mountPropagation";
    let told = site.run(&spec, &[]);
    assert_eq!((told.code, told.message("main").as_str()), (0, "mounted\n"), "{told:#?}");
    assert!(told.err.contains(&format!("warning: {path}: mounts made in the container do not reach")), "{told:#?}");
    assert!(!shared.0.join("later/file").exists(), "as was told");
    let refused = site.run(&spec, &["--strict"]);
    assert_eq!(refused.code, 2, "{refused:#?}");
    assert!(refused.err.contains(path) && refused.status.is_null(), "{refused:#?}");
}
