//! Users and groups: of processes, and of the files in volumes.

use serde_json::{Value, json};

use crate::site::{NOBODY, Site, spec, with};

/// A pod with a volume of each kind at `/v`.
fn with_volumes(spec: Value, security: &Value) -> Value {
    let mounts = json!([
        {"name": "disk", "mountPath": "/v/disk"},
        {"name": "memory", "mountPath": "/v/memory"},
        {"name": "downward", "mountPath": "/v/downward"},
    ]);
    let item = json!([{"path": "name", "mode": 0o400, "fieldRef": {"fieldPath": "metadata.name"}}]);
    let mut spec = with(
        spec,
        json!({
            "securityContext": security,
            "volumes": [
                {"name": "disk", "emptyDir": {}},
                {"name": "memory", "emptyDir": {"medium": "Memory"}},
                {"name": "downward", "downwardAPI": {"items": item}},
            ],
        }),
    );
    spec["containers"][0]["volumeMounts"] = mounts;
    spec
}

/// Modes and groups as `SetVolumeOwnership` of `pkg/volume/volume_linux.go` gives them; tried with a volume left as it is.
#[test]
fn files_of_volumes_belong_to_the_fs_group_and_it_may_use_them() {
    let site = Site::of(0);
    let script = "id -u; id -g; id -G; stat -c \"%a %g\" /v/disk /v/memory; stat -L -c \"%a %g\" /v/downward/name; \
                  cat /v/downward/name; echo; touch /v/disk/new /v/memory/new && stat -c %g /v/disk/new /v/memory/new; \
                  touch /v/downward/new 2>/dev/null || echo read-only";
    let security = json!({"runAsUser": 4321, "runAsGroup": 8765, "fsGroup": 6666, "supplementalGroups": [5555]});
    let seen = site.message(&with_volumes(spec(script), &security));
    let expected = "4321\n8765\n8765 5555 6666\n2777 6666\n2777 6666\n440 6666\ntried\n6666\n6666\nread-only\n";
    assert_eq!(seen, expected);
}

#[test]
fn without_a_group_they_belong_to_the_runner() {
    let site = Site::of(0);
    let script = "stat -c \"%a %u %g\" /v/disk /v/memory; stat -L -c \"%a %g\" /v/downward/name";
    assert_eq!(site.message(&with_volumes(spec(script), &json!({}))), "777 0 0\n777 0 0\n400 0\n");
}

#[test]
fn an_ordinary_user_sees_itself_as_run_as_user_and_writes_as_itself() {
    let site = Site::of(NOBODY);
    let out = site.open_folder("out");
    let script = "id -u; id -g; touch /v/disk/new && touch /out/new && stat -c %u /out/new; cat /v/downward/name";
    let mut spec = with_volumes(spec(script), &json!({"runAsUser": 4321, "runAsGroup": 8765}));
    spec["volumes"].as_array_mut().unwrap().push(json!({"name": "out", "hostPath": {"path": out}}));
    let mounts = spec["containers"][0]["volumeMounts"].as_array_mut().unwrap();
    mounts.push(json!({"name": "out", "mountPath": "/out"}));
    assert_eq!(site.message(&spec), "4321\n8765\n4321\ntried");
    let written = std::fs::metadata(site.path("out/new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&written), NOBODY, "to the machine it is the caller");
}

#[test]
fn an_ordinary_user_is_told_that_other_groups_cannot_be_had() {
    let site = Site::of(NOBODY);
    let pod = with_volumes(spec("id -G; ls /v"), &json!({"fsGroup": 6666, "supplementalGroups": [5555]}));
    let ended = site.run(&pod, &[]);
    assert_eq!((ended.code, ended.message("main").as_str()), (0, "65534\ndisk\ndownward\nmemory\n"), "{ended:#?}");
    for field in ["fsGroup", "supplementalGroups"] {
        let warning = format!("warning: spec.securityContext.{field}: only root can");
        assert!(ended.err.contains(&warning), "{ended:#?}");
    }
    let refused = site.run(&pod, &["--strict"]);
    assert!(refused.code == 2 && refused.status.is_null(), "{refused:#?}");
}
