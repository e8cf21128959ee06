//! How a manifest of `examples/` ended, in the form of the files in `examples/expected/`, for the tests of every launcher.
//!
//! What it does not do: it runs nothing, and reads and compares no files.

use serde_json::{Value, json};

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

/// What `outrigger run --output json` ended with: its exit code, and of every object it printed kind, name and status,
/// without what differs from run to run.
pub fn ending(exit_code: i32, printed: Value) -> Value {
    let objects = match printed {
        Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
            list.remove("items").and_then(|items| items.as_array().cloned()).unwrap_or_default()
        }
        one => vec![one],
    };
    let objects = objects.into_iter().map(|mut object| {
        let mut status = object["status"].take();
        settle(&mut status);
        json!({"kind": object["kind"], "name": object["metadata"]["name"], "status": status})
    });
    json!({"exitCode": exit_code, "objects": objects.collect::<Vec<_>>()})
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_and_a_list_are_told_without_what_is_fleeting() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "a", "uid": "1"}, "status": {
            "phase": "Failed", "podIP": "10.0.0.1", "message": null, "containerStatuses": [{"image": "x", "ready": false}],
        }});
        let told = json!({"kind": "Pod", "name": "a", "status": {
            "phase": "Failed", "containerStatuses": [{"ready": false}],
        }});
        assert_eq!(ending(3, pod.clone()), json!({"exitCode": 3, "objects": [told]}));
        let list = json!({"kind": "List", "items": [pod, pod]});
        assert_eq!(ending(0, list), json!({"exitCode": 0, "objects": [told, told]}));
    }
}
