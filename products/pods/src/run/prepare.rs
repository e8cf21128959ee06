//! From what the manifests say to errands: names, fresh identities, what the command line gives; and everything that can be
//! refused before anything starts.

use std::sync::Arc;

use anyhow::{Context, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use outrigger_config::{Fault, Faults, Severity};
use outrigger_launcher::Launcher;
use outrigger_launcher::claims::Provider;
use outrigger_pod_core::plan::PodPlan;
use outrigger_pod_directory::{Kind, StateDirectory};

use super::errand::{Beside, Errand, FORMAT, How, What};
use super::ports::Ports;
use super::{absent, pod, resources};
use crate::args::GivenArgs;
use crate::launcher::Chosen;
use crate::manifest::given::{self, Variables};
use crate::manifest::source::Place;
use crate::manifest::{Work, token};
use crate::record::Record;

/// What the command line gives, read.
pub struct Given {
    variables: Variables,
    beside: Beside,
    ignored: Vec<String>,
}

/// Reads what the command line gives.
pub fn given(args: &GivenArgs) -> anyhow::Result<Given> {
    let mut wrong = Vec::new();
    let mut kept = |read: Result<_, Vec<String>>| read.map_err(|more| wrong.extend(more)).unwrap_or_default();
    let claim_directories = kept(given::paths("--volume", &args.volumes));
    let bundles = kept(given::paths("--trust-bundle", &args.trust_bundles));
    let variables = Variables::read(&args.env, |name| std::env::var(name).ok());
    let variables = variables.map_err(|more| wrong.extend(more)).unwrap_or_default();
    if !wrong.is_empty() {
        return Err(wrong.into_iter().map(|line| Fault::error("outrigger run", line)).collect::<Faults>().into());
    }
    let read = |path: &std::path::Path| {
        std::fs::read(path).map(ByteString).with_context(|| format!("{} cannot be read", path.display()))
    };
    let token = args.token_file.as_deref().map(read).transpose()?;
    let trust_bundles =
        bundles.into_iter().map(|(name, path)| Ok((name, read(&path)?))).collect::<anyhow::Result<_>>()?;
    let beside = Beside { token, trust_bundles, claim_directories, ..Beside::default() };
    Ok(Given { variables, beside, ignored: args.ignored_resources.clone() })
}

/// Makes the errands. Lines for the user are added to `notes`.
pub fn errands(work: Work, given: &Given, how: &How, notes: &mut Vec<String>) -> anyhow::Result<Vec<(Place, Errand)>> {
    let mut errands = Vec::new();
    let Work { pods, jobs, config_maps, secrets } = work;
    let mut add = |place: Place, mut what: What| -> anyhow::Result<()> {
        let (metadata, spec) = match &mut what {
            What::Pod(pod) => (&mut pod.metadata, pod.spec.as_mut()),
            What::Job(job) => (&mut job.metadata, job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut())),
        };
        identify(metadata)?;
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let belongs = |of: &ObjectMeta| of.namespace.as_ref().is_none_or(|space| *space == namespace);
        let mut beside = given.beside.clone();
        beside.config_maps = config_maps.iter().filter(|map| belongs(&map.metadata)).cloned().collect();
        beside.secrets = secrets.iter().filter(|secret| belongs(&secret.metadata)).cloned().collect();
        beside.secrets.extend(given.variables.secret(&namespace));
        let spec = spec.context("the pod has no spec")?;
        spec.node_name = None;
        given.variables.lay_over(spec);
        resources::ignore(spec, &given.ignored);
        let has_root_ca = beside.config_maps.iter().any(|map| map.metadata.name.as_deref() == Some(token::ROOT_CA));
        if beside.token.is_none() || !has_root_ca {
            for volume in token::leave_out(spec) {
                notes.push(format!(
                    "the volume {volume} is left out: outside a cluster there is no token; \
                     give one with --token-file, and the ConfigMap {}",
                    token::ROOT_CA
                ));
            }
        }
        errands.push((place, Errand { format: FORMAT, what, beside, how: how.clone() }));
        Ok(())
    };
    for (place, pod) in pods {
        add(place, What::Pod(Box::new(pod)))?;
    }
    for (place, job) in jobs {
        add(place, What::Job(Box::new(job)))?;
    }
    Ok(errands)
}

/// What a server would set is set anew: a pod from a cluster is another pod here.
fn identify(metadata: &mut ObjectMeta) -> anyhow::Result<()> {
    let uid = pod::fresh_uid()?;
    if metadata.name.as_deref().unwrap_or_default().is_empty() {
        let prefix = metadata.generate_name.clone().context("metadata.name is missing")?;
        metadata.name = Some(prefix + &pod::random_letters()?);
    }
    *metadata = ObjectMeta {
        name: metadata.name.take(),
        namespace: Some(
            metadata.namespace.take().filter(|space| !space.is_empty()).unwrap_or_else(|| "default".into()),
        ),
        labels: metadata.labels.take(),
        annotations: metadata.annotations.take(),
        uid: Some(uid),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    Ok(())
}

/// Whether any of them asks for something that a provider may hand out.
pub fn asks_providers(errands: &[(Place, Errand)]) -> bool {
    errands.iter().any(|(_, errand)| asks(&errand.what))
}

/// Whether this one does.
pub fn asks(what: &What) -> bool {
    pod_of(what).0.spec.as_ref().is_some_and(resources::asks_providers)
}

/// Everything that is refused or warned of before anything starts.
pub fn examine(
    errands: &[(Place, Errand)],
    launcher: &Arc<dyn Launcher>,
    providers: &[Arc<dyn Provider>],
    strict: bool,
) -> anyhow::Result<Faults> {
    let mut faults = Faults::default();
    for (place, errand) in errands {
        let (pod, prefix) = pod_of(&errand.what);
        let spec = pod.spec.clone().unwrap_or_default();
        for (path, message, help) in resources::unserved(&spec, providers) {
            faults.push(place.fault(&format!("{prefix}spec.{path}"), message).help(help));
        }
        let needs_command = errand.how.launcher == Chosen::Host;
        for absent::Absent { path, message, help } in absent::absent(&spec, &errand.beside, needs_command) {
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
            let mut fault = place.fault(&format!("{prefix}{}", shortfall.path), shortfall.message);
            fault.severity = if strict { Severity::Error } else { Severity::Warning };
            faults.push(fault);
        }
    }
    faults.sort();
    let ((), warnings) = faults.into_result(())?;
    taken_ports(errands)?;
    Ok(warnings)
}

/// The pod of an errand, and where it stands in its object.
fn pod_of(what: &What) -> (Pod, &'static str) {
    match what {
        What::Pod(pod) => (*pod.clone(), ""),
        What::Job(job) => {
            let template = job.spec.clone().unwrap_or_default().template;
            let mut metadata = template.metadata.unwrap_or_default();
            metadata.name.clone_from(&job.metadata.name);
            (Pod { metadata, spec: template.spec, status: None }, "spec.template.")
        }
    }
}

/// Refuses ports that another pod, running or of this command, has declared.
fn taken_ports(errands: &[(Place, Errand)]) -> anyhow::Result<()> {
    let Some((_, first)) = errands.first() else { return Ok(()) };
    let mut ports = Ports::default();
    let state = StateDirectory::at(&first.how.state);
    if errands.iter().any(|(_, errand)| has_ports(pod_of(&errand.what).0.spec.as_ref())) {
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
    }
    let mut refused = Vec::new();
    for (_, errand) in errands {
        let label = errand.what.label();
        for ((number, protocol), other) in ports.declare(&label, &pod_of(&errand.what).0.spec.unwrap_or_default()) {
            refused.push(format!("{label} declares port {number}/{protocol}, which {other} has already"));
        }
    }
    if refused.is_empty() {
        Ok(())
    } else {
        bail!("{}; the pods share this machine's ports: stop one of the two, or change a port", refused.join("; "))
    }
}

fn has_ports(spec: Option<&PodSpec>) -> bool {
    spec.is_some_and(|spec| {
        let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
        all.any(|container| container.ports.as_ref().is_some_and(|ports| !ports.is_empty()))
    })
}
