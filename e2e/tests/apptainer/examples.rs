//! The manifests in `examples/` end under Apptainer as they do under the host launcher.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::sid::{Sid, USER};

/// Fields of a status that differ from run to run, or between launchers.
const FLEETING: [&str; 17] = [
    "startTime",
    "completionTime",
    "startedAt",
    "finishedAt",
    "lastTransitionTime",
    "lastProbeTime",
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
    "containerID",
    "image",
    "imageID",
    "resources",
    "allocatedResources",
    "volumeMounts",
    "user",
];

fn check(user: u32, image: impl Fn(&Sid) -> String, names: &[&str]) {
    let sid = Sid::new();
    let image = image(&sid);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for name in names {
        let text = fs::read_to_string(examples.join(format!("{name}.yaml"))).unwrap();
        let manifest = sid.file(&format!("{name}.yaml"), &text.replace("image: busybox", &format!("image: {image}")));
        let said = sid.run(user, &["run", "--output", "json", &manifest]);
        let objects = match said.json() {
            list if list["kind"] == "List" => list["items"].as_array().unwrap().clone(),
            one => vec![one],
        };
        let statuses: Vec<Value> = objects
            .into_iter()
            .map(|object| {
                let mut status = object["status"].clone();
                settle(&mut status);
                json!({"kind": object["kind"], "name": object["metadata"]["name"], "status": status})
            })
            .collect();
        let found = json!({"exitCode": said.code, "objects": statuses});
        let expected = fs::read(examples.join(format!("expected/{name}.json"))).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        assert_eq!(found, expected, "{name} is {found:#}\nand should be {expected:#}\n{}", said.err);
    }
    assert_eq!(sid.processes(), [""; 0]);
}

/// Leaves out what differs from run to run.
fn settle(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| !FLEETING.contains(&key.as_str()) && !value.is_null());
            map.values_mut().for_each(settle);
        }
        Value::Array(list) => list.iter_mut().for_each(settle),
        _ => (),
    }
}

#[test]
fn the_examples_end_as_expected_for_an_ordinary_user_with_a_directory() {
    let names = ["first", "init-containers", "lifecycle", "projected-volume", "restart-policies", "job"];
    check(USER, Sid::tree, &names);
}

#[test]
fn the_examples_end_as_expected_for_an_ordinary_user_with_a_sif_file() {
    check(USER, Sid::sif, &["commands", "downward-api", "environment", "probes"]);
}

#[test]
fn the_examples_end_as_expected_for_root() {
    check(0, Sid::tree, &["first", "security-context"]);
}
