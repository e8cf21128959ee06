//! `outrigger devices explain` without a name: every disk that somebody uses, and how.

use outrigger_config::yaml;
use outrigger_device_core::decide::{Decision, Finding, View, in_use};
use outrigger_device_core::ids::Kind;
use outrigger_device_core::rules::EvidencePolicy;
use outrigger_terminal::out;
use outrigger_terminal::table::table;
use serde_json::{Value, json};

use super::who::Seen;
use super::{CommandError, nodes};
use crate::args::Form;

/// A disk in use.
struct Busy<'s> {
    node: &'s str,
    resource: Option<&'s str>,
    why: Vec<String>,
}

/// Tells all of them.
pub fn busy(seen: &Seen<'_>, form: Form) -> Result<u8, CommandError> {
    let decision = seen.decide();
    let disks = busy_disks(seen, &decision);
    out::print(&match form {
        Form::Table => {
            let cells = |disk: &Busy<'_>| {
                vec![disk.node.to_owned(), disk.resource.unwrap_or("-").to_owned(), disk.why.join("; ")]
            };
            table(&["DISK", "RESOURCE", "IN USE"], &disks.iter().map(cells).collect::<Vec<_>>())
        }
        Form::Json => format!("{:#}\n", disks.iter().map(Busy::object).collect::<Value>()),
        Form::Yaml => yaml(&disks.iter().map(Busy::object).collect()),
    })?;
    if let Some(why) = &seen.told.untold {
        out::note(why);
    }
    out::note("These are the disks in use; `outrigger devices explain NAME` tells of any device, id or resource.");
    Ok(0)
}

fn busy_disks<'s>(seen: &'s Seen<'_>, decision: &'s Decision) -> Vec<Busy<'s>> {
    let disks = seen.picture.block.iter().filter_map(|disk| {
        let of_disk = |finding: &&Finding| nodes::device(finding, &seen.picture) == (Kind::Block, disk.name.clone());
        let findings: Vec<&Finding> = decision.findings.iter().filter(of_disk).collect();
        let (used, _) = in_use(View::whole(disk), &seen.picture, EvidencePolicy::Sysfs);
        let mut why: Vec<String> = used.iter().map(ToString::to_string).collect();
        for finding in &findings {
            let resource = finding.resource.as_deref().unwrap_or_default();
            let holder = |id: &std::sync::Arc<str>| seen.told.holders.get(&(resource.to_owned(), id.to_string()));
            let holders = finding.ids.iter().filter_map(holder).map(String::as_str).chain(finding.elsewhere());
            why.extend(holders.map(|who| format!("a pod's device: {who}")));
        }
        let resource = findings.iter().find_map(|finding| finding.resource.as_deref());
        (!why.is_empty()).then_some(Busy { node: &disk.node, resource, why })
    });
    disks.collect()
}

impl Busy<'_> {
    fn object(&self) -> Value {
        json!({"node": self.node, "resource": self.resource, "reasons": self.why})
    }
}
