//! The rights of every pod of the chart, as a list to be read by whoever installs it: `golden/rights.txt`.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{check, rendered};

/// Tried with `privileged: true`, a further mount and a writable `/dev`: each changes the list.
#[test]
fn pods_have_the_rights_that_are_written_down_and_no_other() {
    let text = rendered(&[]);
    let mut list = String::new();
    for document in outrigger_config::read("rendered", text.as_bytes()).unwrap() {
        let object = document.value();
        let kind = object["kind"].as_str().unwrap();
        let name = object["metadata"]["name"].as_str().unwrap();
        let pod = &object["spec"]["template"]["spec"];
        if !pod.is_object() {
            assert!(["ServiceAccount", "ConfigMap"].contains(&kind), "no rules of the API server are given: {kind}");
            continue;
        }
        let _ = writeln!(list, "{kind} {name}");
        of_pod(&mut list, pod);
    }
    check("rights.txt", &list);
}

fn of_pod(list: &mut String, pod: &Value) {
    for key in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
        let _ = writeln!(list, "  {key} {}", pod[key].as_bool().unwrap_or(false));
    }
    let _ = writeln!(list, "  token of the API server {}", pod["automountServiceAccountToken"] != false);
    let _ = writeln!(list, "  seccomp {}", pod["securityContext"]["seccompProfile"]["type"].as_str().unwrap_or("none"));
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    for container in lists.iter().flat_map(|kind| pod[kind].as_array().into_iter().flatten()) {
        let _ = writeln!(list, "  container {}", container["name"].as_str().unwrap());
        let security = &container["securityContext"];
        for key in ["runAsUser", "runAsGroup", "privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem"] {
            let _ = writeln!(list, "    {key} {}", security[key]);
        }
        let _ = writeln!(list, "    capabilities {}", security["capabilities"]);
        for port in container["ports"].as_array().into_iter().flatten() {
            let _ = writeln!(list, "    port {} on the node {}", port["containerPort"], port["hostPort"]);
        }
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let volume =
                pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            let what = volume["hostPath"]["path"]
                .as_str()
                .map_or("no path of the node".to_owned(), |path| format!("the node's {path}"));
            let how = if mount["readOnly"] == true { "read only" } else { "read and write" };
            let _ = writeln!(list, "    mount {}: {what}, {how}", mount["mountPath"].as_str().unwrap());
        }
    }
}
