//! What a pod may not have where it comes from files and runs on a machine: resources that nothing hands out, containers
//! without a command, references to what is not there. Each is told with the way out.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodSpec;
use outrigger_config::listing;

use crate::absent::{Missing, absent};
use crate::beside::Beside;
use crate::containers::with_fields;
use crate::resources::unserved;

/// Something that a pod may not have here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The field that wants it, below `spec`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The way out, where the message does not say it.
    pub help: String,
}

/// What there is for a pod.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// `ConfigMaps`, Secrets and directories.
    pub beside: &'a Beside,
    /// Whether there may be more `ConfigMaps` and Secrets, which could not be read: then none is said to be absent.
    pub unread: bool,
    /// The resources that something hands out.
    pub served: &'a BTreeSet<String>,
    /// Whether images are used, which can name commands.
    pub images: bool,
}

/// Everything that `spec` asks for, names or leaves out and that is not on offer.
pub fn refused(spec: &PodSpec, offer: Offer<'_>) -> Vec<Refused> {
    let Offer { beside, unread, served, images } = offer;
    let unserved = unserved(spec, served).into_iter().map(|one| {
        let served: Vec<&String> = served.iter().collect();
        let others = match listing(&served) {
            _ if served.is_empty() => "nor any other resource".to_owned(),
            others => format!("only {others}"),
        };
        let message = format!(
            "nothing on this machine serves {0}, {others}. Name its devices in devices.yaml, or run without it by \
             --ignore-resource {0}",
            one.resource,
        );
        Refused { path: one.path, message, help: String::new() }
    });
    let known = absent(spec, beside).into_iter().filter(|one| !unread || matches!(one.missing, Missing::Directory(_)));
    let absent = known.map(|one| Refused {
        path: one.path,
        message: one.message,
        help: match one.missing {
            Missing::ConfigMap => "add it to a manifest, or name its file with --configmap FILE".to_owned(),
            Missing::Secret => "add it to a manifest, or name its file with --secret FILE".to_owned(),
            Missing::Directory(claim) => format!("give one with --volume {claim}=DIR"),
        },
    });
    unserved.chain(without_command(spec).filter(|_| !images)).chain(absent).collect()
}

/// The containers that would run what their image names.
fn without_command(spec: &PodSpec) -> impl Iterator<Item = Refused> {
    let without = with_fields(spec).filter(|(_, container)| container.command.as_ref().is_none_or(Vec::is_empty));
    without.map(|(path, container)| Refused {
        path: format!("{path}.command"),
        message: format!(
            "the container {} has no command, and the host launcher uses no image that could name one",
            container.name
        ),
        help: "give it a command, or run it with --launcher apptainer".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(spec: &serde_json::Value, unread: bool, images: bool) -> Vec<String> {
        let spec = serde_json::from_value(spec.clone()).unwrap();
        let (beside, served) = (Beside::default(), BTreeSet::from(["vendor.example/tpu".to_owned()]));
        let refused = refused(&spec, Offer { beside: &beside, unread, served: &served, images });
        refused.into_iter().map(|one| format!("{}: {}", one.path, one.message)).collect()
    }

    #[test]
    fn a_container_without_a_command_is_refused_where_no_image_could_name_one() {
        let spec = json!({"containers": [{"name": "a", "args": ["x"]}, {"name": "b", "command": ["true"]}]});
        let refused = told(&spec, false, false);
        assert_eq!(refused.len(), 1);
        assert!(refused[0].starts_with("containers[0].command: the container a has no command"), "{refused:?}");
        assert!(told(&spec, false, true).is_empty());
    }

    #[test]
    fn a_resource_that_nothing_serves_is_told_with_what_is_served_and_the_ways_out() {
        let spec = json!({"containers": [{"name": "a", "resources": {"limits": {"vendor.example/gpu": "1"}}}]});
        assert_eq!(
            told(&spec, false, true),
            [
                "containers[0].resources.limits[vendor.example/gpu]: nothing on this machine serves vendor.example/gpu, only \
              vendor.example/tpu. Name its devices in devices.yaml, or run without it by --ignore-resource \
              vendor.example/gpu"
            ]
        );
    }

    #[test]
    fn nobody_knows_what_is_absent_where_something_could_not_be_read() {
        let spec = json!({"containers": [], "volumes": [
            {"name": "m", "configMap": {"name": "m"}}, {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]});
        assert_eq!(told(&spec, false, true).len(), 2);
        assert_eq!(
            told(&spec, true, true),
            ["volumes[1].persistentVolumeClaim.claimName: no directory is given for the claim data"]
        );
    }
}
