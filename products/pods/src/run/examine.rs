//! Everything that can be refused or warned of before anything starts, each at its place in the manifest.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::bail;
use k8s_openapi::api::core::v1::PodSpec;
use outrigger_config::{Fault, Faults, Severity, listing};
use outrigger_launcher::Launcher;
use outrigger_launcher::claims::Provider;
use outrigger_manifest::Place;
use outrigger_manifest::absent::{Missing, absent};
use outrigger_manifest::containers::with_fields;
use outrigger_manifest::ports::{Ports, declared};
use outrigger_manifest::resources::unserved;
use outrigger_pod_core::plan::PodPlan;
use outrigger_pod_directory::{Kind, StateDirectory};

use super::errand::Errand;
use crate::launcher::Chosen;
use crate::record::Record;

/// Examines all errands; answers the warnings.
///
/// # Errors
/// Every fault at once, or that ports are taken. With `strict` what the launcher cannot enforce is a fault.
pub fn examine(
    errands: &[(Place, Errand)],
    launcher: &Arc<dyn Launcher>,
    providers: &[Arc<dyn Provider>],
    strict: bool,
) -> anyhow::Result<Faults> {
    let served = providers.iter().flat_map(|provider| provider.serves()).map(|served| served.resource).collect();
    let mut faults = Faults::default();
    for (place, errand) in errands {
        let (pod, prefix) = errand.what.pod();
        let refused = pod.spec.as_ref().map(|spec| refused(spec, errand, &served)).unwrap_or_default();
        for Refused { path, message, help } in refused {
            faults.push(place.fault(&format!("{prefix}spec.{path}"), message).help(help));
        }
        let plan = match PodPlan::new(pod, "") {
            Ok(plan) => plan,
            Err(error) => {
                faults.push(place.fault(&format!("{prefix}{}", error.path), error.message));
                continue;
            }
        };
        for shortfall in launcher.shortfalls(&plan) {
            let fault = place.fault(&format!("{prefix}{}", shortfall.path), shortfall.message);
            faults.push(Fault { severity: if strict { Severity::Error } else { Severity::Warning }, ..fault });
        }
    }
    faults.sort();
    let ((), warnings) = faults.into_result(())?;
    taken_ports(errands)?;
    Ok(warnings)
}

/// Something that a pod may not have here.
struct Refused {
    /// The field that wants it, below `spec`.
    path: String,
    message: String,
    /// The way out.
    help: String,
}

/// What a pod asks for or refers to, and is not here; and the commands that no image can name.
fn refused(spec: &PodSpec, errand: &Errand, served: &BTreeSet<String>) -> Vec<Refused> {
    let unserved = unserved(spec, served).into_iter().map(|one| {
        let served: Vec<&String> = served.iter().collect();
        Refused {
            path: one.path,
            message: format!("nothing on this machine serves {}; served are: {}", one.resource, listing(&served)),
            help: format!("to run without it, use --ignore-resource {}", one.resource),
        }
    });
    let absent = absent(spec, &errand.beside).into_iter().map(|one| Refused {
        path: one.path,
        message: one.message,
        help: match one.missing {
            Missing::ConfigMap => "add it to a manifest, or name its file with --configmap FILE".to_owned(),
            Missing::Secret => "add it to a manifest, or name its file with --secret FILE".to_owned(),
            Missing::Directory(claim) => format!("give one with --volume {claim}=DIR"),
        },
    });
    let needs_command = errand.how.launcher == Chosen::Host;
    unserved.chain(without_command(spec).filter(|_| needs_command)).chain(absent).collect()
}

/// The containers that would run what their image names.
fn without_command(spec: &PodSpec) -> impl Iterator<Item = Refused> {
    let without = with_fields(spec).filter(|(_, container)| container.command.as_ref().is_none_or(Vec::is_empty));
    without.map(|(path, container)| Refused {
        path,
        message: format!(
            "the container {} has no command, and the host launcher uses no image that could name one",
            container.name
        ),
        help: "give it a command, or run it with --launcher apptainer".to_owned(),
    })
}

/// Refuses ports that another pod, running or of this command, has declared.
fn taken_ports(errands: &[(Place, Errand)]) -> anyhow::Result<()> {
    let specs = errands.iter().filter_map(|(_, errand)| Some((errand, errand.what.spec()?)));
    let with_ports: Vec<_> = specs.filter(|(_, spec)| !declared(spec).is_empty()).collect();
    let Some((first, _)) = with_ports.first() else { return Ok(()) };
    let state = StateDirectory::at(&first.how.state);
    let mut ports = Ports::default();
    for name in state.names(Kind::Pod)? {
        // What cannot be read does not run.
        if let Ok(Record::Pod(pod)) = state.latest(Kind::Pod, &name).and_then(Record::read)
            && !pod.has_ended()
            && pod.directory.life()?.may_live()
            && let Some(spec) = &pod.pod.spec
        {
            ports.declare(&Record::Pod(pod.clone()).label(), spec);
        }
    }
    let mut refused = Vec::new();
    for (errand, spec) in with_ports {
        let label = errand.what.label();
        for ((number, protocol), other) in ports.declare(&label, spec) {
            refused.push(format!("{label} declares port {number}/{protocol}, which {other} has already"));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    bail!("{}; the pods share this machine's ports: stop one of the two, or change a port", refused.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_without_a_command_is_refused_where_no_image_could_name_one() {
        let spec = json!({"containers": [{"name": "a", "args": ["x"]}, {"name": "b", "command": ["true"]}]});
        let spec = serde_json::from_value(spec).unwrap();
        let told: Vec<_> = without_command(&spec).map(|one| format!("{}: {}", one.path, one.message)).collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("containers[0]: the container a has no command"), "{told:?}");
    }
}
