//! Which objects are what: those that run, those that lie beside them, and those that are refused by name.

use std::collections::BTreeMap;

use outrigger_config::{Fault, Faults};

use super::source::Object;

/// The objects of all files, by what they are.
#[derive(Debug, Default)]
pub struct Sorted {
    /// Pods, in their order.
    pub pods: Vec<Object>,
    /// Jobs, in their order.
    pub jobs: Vec<Object>,
    /// `ConfigMaps`.
    pub config_maps: Vec<Object>,
    /// Secrets.
    pub secrets: Vec<Object>,
}

/// What a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything that `run` understands.
    Any,
    /// Only objects of this kind (`--configmap`, `--secret`).
    Only(&'static str),
}

impl Sorted {
    /// Sorts the objects in; everything that has no place is a fault.
    pub fn take(&mut self, objects: Vec<Object>, expected: Expected) -> Faults {
        let mut faults = Faults::default();
        for object in objects {
            if let Err(fault) = self.take_one(object, expected) {
                faults.push(fault);
            }
        }
        faults
    }

    fn take_one(&mut self, object: Object, expected: Expected) -> Result<(), Fault> {
        if let Expected::Only(kind) = expected
            && object.kind != kind
        {
            let found = if object.kind.is_empty() { "an object without kind" } else { &object.kind };
            return Err(object.fault("kind", format!("{found} is no {kind}")).help("name it as a manifest instead"));
        }
        let home = match object.kind.as_str() {
            "Pod" => ("v1", &mut self.pods),
            "ConfigMap" => ("v1", &mut self.config_maps),
            "Secret" => ("v1", &mut self.secrets),
            "Job" => ("batch/v1", &mut self.jobs),
            "" => return Err(object.fault("", "names no kind").help("begin with `apiVersion: v1` and `kind: Pod`")),
            _ => return Err(refused(&object)),
        };
        let (version, place) = home;
        match object.api_version.as_str() {
            found if found == version => place.push(object),
            "" => return Err(object.fault("", "names no apiVersion").help(format!("add `apiVersion: {version}`"))),
            found => {
                let message = format!("`{found}` is not the version of a {} that runs here", object.kind);
                return Err(object.fault("apiVersion", message).help(format!("write `{version}`")));
            }
        }
        Ok(())
    }

    /// The objects that stand twice, and that nothing runs where nothing does.
    pub fn check(&self) -> Faults {
        let mut faults = Faults::default();
        for objects in [&self.pods, &self.jobs, &self.config_maps, &self.secrets] {
            let mut seen: BTreeMap<(&str, &str), &Object> = BTreeMap::new();
            for object in objects.iter().filter(|object| object.value["metadata"]["name"].is_string()) {
                let key = (object.namespace().unwrap_or("default"), object.name());
                if let Some(first) = seen.insert(key, object) {
                    let message = format!("the {} {} stands twice", object.kind, object.name());
                    let place = format!("first at {}:{}, remove one of the two", first.file(), first.position());
                    faults.push(object.fault("metadata.name", message).help(place));
                }
            }
        }
        faults
    }
}

/// Why a kind does not run here, and what would.
fn refused(object: &Object) -> Fault {
    let name = object.name();
    let named = if name.is_empty() { object.kind.clone() } else { format!("{} {name}", object.kind) };
    let help = match object.kind.as_str() {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController" => {
            "make a Pod of its spec.template"
        }
        "CronJob" => "make a Job of its spec.jobTemplate",
        "PersistentVolumeClaim" | "PersistentVolume" => "leave it out and give a directory with --volume NAME=DIR",
        "Service" | "Ingress" | "NetworkPolicy" => "leave it out: the pods use this machine's network",
        _ => "leave it out: Pod, Job, ConfigMap and Secret run here",
    };
    object.fault("kind", format!("{named} does not run here")).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::source::read_all;

    fn sort(text: &str) -> (Sorted, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("m.yaml");
        std::fs::write(&file, text).unwrap();
        let (objects, _) = read_all([file.to_str().unwrap()]);
        let mut sorted = Sorted::default();
        let mut faults = sorted.take(objects, Expected::Any);
        faults.extend(sorted.check());
        let told = faults.to_string().replace(&format!("{}/", directory.path().display()), "");
        (sorted, told)
    }

    #[test]
    fn other_kinds_are_refused_by_name_all_at_once() {
        let (sorted, told) = sort(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\napiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n",
        );
        assert_eq!(sorted.pods.len(), 1);
        assert_eq!(
            told,
            "m.yaml:2:7: kind: Deployment web does not run here, make a Pod of its spec.template\n\
             m.yaml:9:7: kind: Service web does not run here, leave it out: the pods use this machine's network"
        );
    }

    #[test]
    fn a_wrong_or_missing_version_is_told_with_the_right_one() {
        let (_, told) = sort("apiVersion: v1\nkind: Job\n---\nkind: Pod\n");
        assert_eq!(
            told,
            "m.yaml:1:13: apiVersion: `v1` is not the version of a Job that runs here, write `batch/v1`\n\
             m.yaml:4:1: names no apiVersion, add `apiVersion: v1`"
        );
    }

    #[test]
    fn the_same_object_twice_is_told_with_both_places() {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";
        let (_, told) = sort(&format!("{pod}---\n{pod}"));
        assert!(told.starts_with("m.yaml:7:18: metadata.name: the Pod a stands twice, first at "), "{told}");
        assert!(told.ends_with("m.yaml:1:1, remove one of the two"), "{told}");
    }
}
