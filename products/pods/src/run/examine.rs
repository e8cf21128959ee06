//! Everything that can be refused or warned of before anything starts, each at its place in the manifest.

use std::sync::Arc;

use anyhow::bail;
use outrigger_config::{Fault, Faults, Severity};
use outrigger_launcher::Launcher;
use outrigger_launcher::claims::Provider;
use outrigger_manifest::Place;
use outrigger_manifest::ports::{Ports, declared};
use outrigger_manifest::refused::{Offer, Refused, refused};
use outrigger_pod_core::plan::PodPlan;
use outrigger_pod_directory::{Kind, StateDirectory};

use super::errand::Errand;
use crate::launcher::Chosen;
use crate::record::Record;

/// Everything that is wrong with the errands, without what is told of them already. With `strict` what the launcher cannot
/// enforce is an error.
pub fn examine(
    errands: &[(Place, Errand)],
    unread: bool,
    launcher: &Arc<dyn Launcher>,
    providers: &[Arc<dyn Provider>],
    strict: bool,
) -> Faults {
    let served = providers.iter().flat_map(|provider| provider.serves()).map(|served| served.resource).collect();
    let mut faults = Faults::default();
    for (place, errand) in errands {
        let (pod, prefix) = errand.what.pod();
        let images = errand.how.launcher != Chosen::Host;
        let offer = Offer { beside: &errand.beside, unread, served: &served, images };
        let refused = pod.spec.as_ref().map(|spec| refused(spec, offer)).unwrap_or_default();
        for Refused { path, message, help } in refused {
            let path = format!("{prefix}spec.{path}");
            if !place.is_told(&path) {
                faults.push(place.fault(&path, message).help(help));
            }
        }
        let plan = match PodPlan::new(pod, "") {
            Ok(plan) => plan,
            Err(error) if place.is_sound() => {
                faults.push(place.fault(&format!("{prefix}{}", error.path), error.message));
                continue;
            }
            Err(_) => continue,
        };
        for shortfall in launcher.shortfalls(&plan) {
            let fault = place.fault(&format!("{prefix}{}", shortfall.path), shortfall.message);
            faults.push(Fault { severity: if strict { Severity::Error } else { Severity::Warning }, ..fault });
        }
    }
    faults
}

/// Refuses ports that another pod, running or of this command, has declared.
pub fn taken_ports(errands: &[Errand]) -> anyhow::Result<()> {
    let specs = errands.iter().filter_map(|errand| Some((errand, errand.what.spec()?)));
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
