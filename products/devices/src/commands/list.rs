//! `outrigger devices list`: which devices are offered, which are not, and why.

use std::future::pending;
use std::os::fd::AsFd;
use std::time::Duration;

use outrigger_config::yaml;
use outrigger_device_core::decide::{Decision, Finding, Reason, State, Status, why};
use outrigger_host::Watches;
use outrigger_terminal::out;
use outrigger_terminal::table::table;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::who::{Seen, Who};
use super::{CommandError, configured};
use crate::args::{Form, ListArgs};
use crate::claims::Holders;
use crate::inventory::Inventory;
use crate::settings::Configuration;
use crate::survey::{Changes, Followed};

/// How often is looked whether a lock is free.
const FREED: Duration = Duration::from_secs(1);

/// Lists, once or again at every change; 1 where a resource is asked for that nothing is of.
pub fn list(args: &ListArgs) -> Result<u8, CommandError> {
    let (configuration, inventory) = configured(&args.settings)?;
    let filter = Filter { resource: args.resource.as_deref(), unmatched: args.all };
    if args.watch {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(watch(&configuration, &inventory, filter, args.output));
    }
    let seen = Seen::now(&configuration, &inventory)?;
    let (decision, told) = (seen.decide(), seen.told);
    if let Some(wanted) = args.resource.as_deref().filter(|wanted| !is_known(&decision, &inventory, wanted)) {
        out::note(&not_a_resource(wanted, &inventory));
        return Ok(1);
    }
    out::print(&show(&decision, &told.holders, filter, args.output))?;
    if let Some(why) = told.untold {
        out::note(&why);
    }
    if args.all {
        out::note("Other nodes of /dev are not listed; a rule names one by its path: paths: [{path: /dev/NAME}].");
    }
    Ok(0)
}

/// Whether some rule makes this resource, or some device is of it.
fn is_known(decision: &Decision, inventory: &Inventory, wanted: &str) -> bool {
    let is_made = decision.lists.iter().any(|list| &*list.resource == wanted);
    is_made || inventory.rules.resources.iter().any(|resource| resource.name == wanted)
}

fn not_a_resource(wanted: &str, inventory: &Inventory) -> String {
    let mut names: Vec<&str> = inventory.rules.resources.iter().map(|resource| resource.name.as_str()).collect();
    names.dedup();
    let known = if names.is_empty() { "no resource is configured".to_owned() } else { names.join(", ") };
    let hint = if wanted.starts_with('/') {
        format!("; `outrigger devices explain {wanted}` tells of a device")
    } else {
        String::new()
    };
    format!("{wanted} is no resource here ({known}){hint}")
}

/// Prints the list, and again whenever it is another one; until a signal ends the process, or nobody reads any more.
async fn watch(
    configuration: &Configuration,
    inventory: &Inventory,
    filter: Filter<'_>,
    form: Form,
) -> Result<u8, CommandError> {
    let (who, watches) = (Who::of(&configuration.settings), Watches::new());
    let mut locked = who.locks().map(|directory| watches.contents(directory));
    let mut changes =
        if filter.unmatched { Changes::of_everything(inventory, watches) } else { Changes::of(inventory, watches) };
    let (begun, mut state, mut shown) = (Instant::now(), State::default(), String::new());
    let stdout = std::io::stdout();
    loop {
        let told = who.told().await;
        let picture = inventory.survey.whole(&inventory.rules);
        // Directories that a pattern matches may be there only now; what has come into them since is not told.
        let is_more = changes.follow(&Followed::of(inventory));
        let decision = who.decide(inventory, &picture, &told, (&state, begun.elapsed()));
        state = decision.next.clone();
        let text = show(&decision, &told.holders, filter, form);
        if text != shown {
            let apart = if shown.is_empty() { "" } else { "\n" };
            out::print(&format!("{apart}{text}"))?;
            shown = text;
        }
        let audit = Instant::now() + configuration.settings.audit;
        let due = decision.again.map_or(audit, |again| audit.min(begun + again));
        // Nothing tells that a lock is free.
        let is_held = decision.findings.iter().any(|finding| finding.elsewhere().is_some());
        let due = if is_held { due.min(Instant::now() + FREED) } else { due };
        let due = if is_more { Instant::now() } else { due };
        tokio::select! {
            _ = changes.next() => (),
            () = taken(locked.as_mut()) => (),
            () = outrigger_host::unread(stdout.as_fd()) => return Ok(0),
            () = sleep_until(due) => (),
        }
    }
}

async fn taken(locks: Option<&mut outrigger_host::Changes>) {
    match locks {
        Some(locks) => locks.changed().await,
        None => pending().await,
    }
}

/// What is shown of the findings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'f> {
    /// Only of this resource.
    pub resource: Option<&'f str>,
    /// Also what no rule matches.
    pub unmatched: bool,
}

/// The list in one of its forms.
pub fn show(decision: &Decision, holders: &Holders, filter: Filter<'_>, form: Form) -> String {
    let findings = decision.findings.iter().filter(|finding| is_wanted(finding, filter));
    let lines: Vec<Line<'_>> = findings.flat_map(|finding| lines(finding, holders)).collect();
    match form {
        Form::Table => {
            let rows: Vec<Vec<String>> = lines.iter().map(Line::cells).collect();
            table(&["RESOURCE", "ID", "NODE", "STATE", "NUMA", "CLAIM", "WHY"], &rows)
        }
        Form::Json => format!("{:#}\n", lines.iter().map(Line::object).collect::<Value>()),
        Form::Yaml => yaml(&lines.iter().map(Line::object).collect()),
    }
}

fn is_wanted(finding: &Finding, filter: Filter<'_>) -> bool {
    match filter.resource {
        Some(wanted) => finding.resource.as_deref() == Some(wanted),
        None => filter.unmatched || finding.status != Status::Unmatched,
    }
}

/// A line of the list: a device, or one of several that may hold it.
struct Line<'f> {
    finding: &'f Finding,
    id: Option<&'f str>,
    claim: Option<&'f str>,
    /// How many further ids of the device stand for this line.
    more: usize,
}

/// A device that nobody holds is one line, however many may; each that is held has its own.
fn lines<'f>(finding: &'f Finding, holders: &'f Holders) -> Vec<Line<'f>> {
    let holder = |id: &str| {
        let resource = finding.resource.as_deref().unwrap_or_default();
        holders.get(&(resource.to_owned(), id.to_owned())).map(String::as_str)
    };
    let (mut lines, mut free) = (Vec::new(), Vec::new());
    for id in &finding.ids {
        match holder(id) {
            Some(claim) => lines.push(Line { finding, id: Some(&**id), claim: Some(claim), more: 0 }),
            None => free.push(&**id),
        }
    }
    if !free.is_empty() || finding.ids.is_empty() {
        let more = free.len().saturating_sub(1);
        lines.push(Line { finding, id: free.first().copied(), claim: finding.elsewhere(), more });
    }
    lines
}

impl Line<'_> {
    fn cells(&self) -> Vec<String> {
        let finding = self.finding;
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let numa: Vec<String> = finding.numa.iter().map(ToString::to_string).collect();
        let id = match self.id {
            Some(id) if self.more > 0 => format!("{id} (and {} more)", self.more),
            id => or_dash(id),
        };
        vec![
            or_dash(finding.resource.as_deref()),
            id,
            finding.node.clone().unwrap_or_else(|| finding.name.clone()),
            finding.status.word().to_owned(),
            if numa.is_empty() { "-".to_owned() } else { numa.join(",") },
            self.claim.unwrap_or_default().to_owned(),
            why(&finding.reasons),
        ]
    }

    fn object(&self) -> Value {
        let finding = self.finding;
        json!({
            "resource": finding.resource.as_deref(),
            "id": self.id,
            "more": self.more,
            "device": finding.name,
            "node": finding.node,
            "state": finding.status.word(),
            "numa": finding.numa,
            "claim": self.claim,
            "reasons": reasons(&finding.reasons),
        })
    }
}

/// Reasons as values.
pub fn reasons(reasons: &[Reason]) -> Value {
    let reason = |reason: &Reason| json!({"reason": reason.label(), "message": reason.to_string()});
    reasons.iter().map(reason).collect()
}
