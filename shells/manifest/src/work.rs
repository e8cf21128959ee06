//! What some manifests hold, sorted by kind.
//!
//! Every fault of every file is collected before anything is said; what the objects mean is `pod-core`'s to know.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use outrigger_config::{Fault, Faults};
use outrigger_pod_core::check::Object;

use crate::source::{Place, read_all};

/// Files, by what may stand in them; `-` is standard input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// Objects of every kind.
    pub manifests: &'a [String],
    /// `ConfigMaps` alone.
    pub config_maps: &'a [String],
    /// Secrets alone.
    pub secrets: &'a [String],
}

/// What is to run, and what lies beside it. Also what is not [sound](Place::is_sound) is here, as far as it can be read: it
/// is to be looked at, and not to be run.
#[derive(Debug, Default)]
pub struct Work {
    /// The pods, in their order.
    pub pods: Vec<(Place, Pod)>,
    /// The jobs, in their order.
    pub jobs: Vec<(Place, Job)>,
    /// The `ConfigMaps`.
    pub config_maps: Vec<ConfigMap>,
    /// The Secrets.
    pub secrets: Vec<Secret>,
    /// Whether there may be more of them, in what cannot be read.
    pub unread: bool,
}

/// The objects so far, by kind, namespace and name.
type Seen = BTreeMap<(&'static str, String, String), Place>;

impl Work {
    /// Reads all files: what is right in them, and every fault at once, in the order of the files.
    pub fn read(files: Files<'_>) -> (Self, Faults) {
        let Files { manifests, config_maps, secrets } = files;
        let (mut work, mut faults, mut seen) = (Self::default(), Faults::default(), Seen::default());
        for (files, only) in [(manifests, None), (config_maps, Some("ConfigMap")), (secrets, Some("Secret"))] {
            let found = read_all(files.iter().map(String::as_str));
            faults.extend(found.faults);
            work.unread |= found.unread;
            for (place, object) in found.objects {
                faults.extend(work.take(place, object, only, &mut seen));
            }
            faults.sort();
        }
        (work, faults)
    }

    fn take(&mut self, place: Place, object: Object, only: Option<&str>, seen: &mut Seen) -> Option<Fault> {
        let (kind, metadata) = match &object {
            Object::Pod(pod) => ("Pod", &pod.metadata),
            Object::Job(job) => ("Job", &job.metadata),
            Object::ConfigMap(map) => ("ConfigMap", &map.metadata),
            Object::Secret(secret) => ("Secret", &secret.metadata),
        };
        let twice = stands_twice(kind, metadata, &place, seen);
        if let Some(only) = only.filter(|only| *only != kind) {
            return Some(
                place.fault("kind", format!("is {kind}, not {only}")).help("name the file as a manifest instead"),
            );
        }
        match object {
            Object::Pod(pod) => self.pods.push((place, *pod)),
            Object::Job(job) => self.jobs.push((place, *job)),
            Object::ConfigMap(map) => self.config_maps.push(map),
            Object::Secret(secret) => self.secrets.push(secret),
        }
        twice
    }
}

fn stands_twice(kind: &'static str, metadata: &ObjectMeta, place: &Place, seen: &mut Seen) -> Option<Fault> {
    let name = metadata.name.clone()?;
    let namespace = metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let first = seen.insert((kind, namespace, name.clone()), place.clone())?;
    let help = format!("first at {}:{}, remove one of the two", first.file(), first.position());
    Some(place.fault("metadata.name", format!("the {kind} {name} stands twice")).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults of these manifests, and of a file for `ConfigMaps` and one for Secrets.
    fn read(texts: &[&str], map: Option<&str>, secret: Option<&str>) -> String {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: String, text: &&str| {
            let file = directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let all = |kind: &str, texts: &[&str]| -> Vec<String> {
            texts.iter().enumerate().map(|(place, text)| write(format!("{kind}{place}.yaml"), text)).collect()
        };
        let (manifests, config_maps, secrets) =
            (all("", texts), all("map", map.as_slice()), all("secret", secret.as_slice()));
        let files = Files { manifests: &manifests, config_maps: &config_maps, secrets: &secrets };
        Work::read(files).1.to_string().replace(&format!("{}/", directory.path().display()), "")
    }

    const POD: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b, command: [c]}]}\n";
    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n";

    #[test]
    fn an_object_that_stands_twice_is_told_with_both_places() {
        assert_eq!(
            read(&[POD, POD], None, None),
            "1.yaml:3:18: metadata.name: the Pod a stands twice, first at 0.yaml:1:1, remove one of the two"
        );
    }

    #[test]
    fn an_object_with_faults_that_stands_twice_is_told_with_them() {
        let faulty = POD.replace("image: b", "image: 7");
        let told = read(&[&faulty, &faulty], None, None);
        assert_eq!(told.lines().count(), 3, "{told}");
        assert!(told.contains("1.yaml:3:18: metadata.name: the Pod a stands twice"), "{told}");
    }

    #[test]
    fn a_pod_is_no_config_map() {
        let told = read(&[], Some(POD), None);
        assert!(told.contains("map0.yaml:2:7: kind: is Pod, not ConfigMap"), "{told}");
        let told = read(&[POD], None, Some(MAP));
        assert!(told.contains("secret0.yaml:2:7: kind: is ConfigMap, not Secret"), "{told}");
    }
}
