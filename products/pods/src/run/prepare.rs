//! From what the command line names to errands: the manifests and what is given beside them, names, fresh identities.

use anyhow::Context;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use outrigger_config::{Fault, Faults, Severity, listing};
use outrigger_manifest::given::{self, Variables};
use outrigger_manifest::{Beside, Files, Place, Work, resources, token};

use super::errand::{Errand, FORMAT, How, What};
use super::pod;
use crate::args::GivenArgs;

/// Reads all manifests that the command line names, with every fault of theirs, also that there is nothing to run; with
/// `strict` the warnings count as errors.
pub fn work(manifests: &[String], given: &GivenArgs, strict: bool) -> (Work, Faults) {
    let GivenArgs { config_maps, secrets, .. } = given;
    let (work, mut faults) = Work::read(Files { manifests, config_maps, secrets });
    if work.pods.is_empty() && work.jobs.is_empty() && !faults.has_errors() {
        let message = format!("no Pod and no Job in {}", listing(manifests));
        let is_empty = work.config_maps.is_empty() && work.secrets.is_empty();
        let help = if is_empty { "the manifests are empty" } else { "what lies beside a pod does not run alone" };
        faults.push(Fault::error("outrigger run", message).help(help));
    }
    if strict {
        faults = faults.into_iter().map(|fault| Fault { severity: Severity::Error, ..fault }).collect();
    }
    (work, faults)
}

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
    let Work { pods, jobs, config_maps, secrets, unread: _ } = work;
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
        // What has none is not run: that is told of its manifest.
        let Some(spec) = spec else { return Ok(()) };
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
        let prefix = metadata.generate_name.clone().unwrap_or_default();
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

/// Whether this one asks for something that a provider may hand out.
pub fn asks_providers(what: &What) -> bool {
    what.spec().is_some_and(resources::asks_providers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, strict: bool) -> Result<Faults, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("m.yaml");
        std::fs::write(&file, text).unwrap();
        let (_, faults) = work(&[file.to_str().unwrap().to_owned()], &GivenArgs::default(), strict);
        faults.into_result(()).map(|((), warnings)| warnings).map_err(|faults| faults.to_string())
    }

    const POD: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b, command: [c]}]}\n";

    #[test]
    fn what_lies_beside_a_pod_does_not_run_alone() {
        let told = load("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n", false).unwrap_err();
        assert!(told.contains("no Pod and no Job in") && told.contains("does not run alone"), "{told}");
        assert!(load("", false).unwrap_err().contains("the manifests are empty"));
    }

    #[test]
    fn strict_makes_errors_of_warnings() {
        let text = POD.replace("image: b", "image: b, imagee: c");
        assert_eq!(load(&text, false).unwrap().len(), 1);
        let told = load(&text, true).unwrap_err();
        assert!(!told.contains("warning"), "{told}");
    }
}
