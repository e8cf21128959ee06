//! `outrigger devices explain`: why a device, an id or a resource is offered or not.
//!
//! Each resource is decided alone for this, so that its rules answer for themselves; what the resources do to each other
//! stands in the first lines.

use std::fmt::Write;

use outrigger_config::yaml;
use outrigger_device_core::checks::Check;
use outrigger_device_core::decide::{Claims, Finding, State, Status};
use outrigger_device_core::picture::Picture;
use outrigger_device_core::rules::Rules;
use outrigger_terminal::out;
use serde_json::{Value, json};

use super::facts;
use super::list::{self, reasons, why};
use super::{CommandError, configured};
use crate::args::{ExplainArgs, Form};
use crate::claims::Holders;
use crate::inventory::Inventory;

/// Explains; 1 where nothing of that name is here.
pub fn explain(args: &ExplainArgs) -> Result<u8, CommandError> {
    let (configuration, inventory) = configured(&args.settings)?;
    let (holders, untold) = list::holders(&configuration);
    let claims = Claims { held: holders.clone(), ..Claims::default() };
    let (picture, decision) = inventory.decide_once(&claims);
    let name = args.what.strip_prefix("/dev/").unwrap_or(&args.what);
    let meant = |finding: &&Finding| {
        let is_device =
            finding.name == name || finding.node.as_deref() == Some(&args.what) || finding.name == args.what;
        is_device || finding.ids.iter().any(|id| **id == *args.what) || finding.resource.as_deref() == Some(&args.what)
    };
    let found: Vec<&Finding> = decision.findings.iter().filter(meant).collect();
    if found.is_empty() {
        out::note(&nothing(&args.what, &inventory.rules));
        return Ok(1);
    }
    let told: Vec<Told<'_>> =
        found.into_iter().map(|finding| told(finding, &inventory, &picture, &claims, &holders)).collect();
    out::print(&match args.output {
        Form::Table => told.iter().map(Told::text).collect::<Vec<_>>().join("\n"),
        Form::Json => format!("{:#}\n", told.iter().map(Told::object).collect::<Value>()),
        Form::Yaml => yaml(&told.iter().map(Told::object).collect()),
    })?;
    if let Some(why) = untold {
        out::note(&format!("claims are not shown: {why}"));
    }
    Ok(0)
}

fn nothing(what: &str, rules: &Rules) -> String {
    if rules.resources.iter().any(|resource| resource.name == what) {
        return format!(
            "{what}: no device of this machine matches its rules; `outrigger devices list --all` shows what is here"
        );
    }
    format!("{what} is no device, id or resource here; `outrigger devices list --all` shows what is")
}

/// Everything about one device.
struct Told<'f> {
    finding: &'f Finding,
    claims: Vec<String>,
    /// What each resource makes of it.
    rules: Vec<Answer>,
    /// What was read of it, by name.
    facts: Vec<(String, String)>,
}

/// What the rules of one resource make of a device.
struct Answer {
    resource: String,
    matches: bool,
    text: String,
    /// Key by key, for each group of the resource that is about such devices.
    checks: Vec<Check>,
}

fn told<'f>(
    finding: &'f Finding,
    inventory: &Inventory,
    picture: &Picture,
    claims: &Claims,
    holders: &Holders,
) -> Told<'f> {
    let resource = finding.resource.as_deref().unwrap_or_default();
    let holder = |id: &std::sync::Arc<str>| holders.get(&(resource.to_owned(), id.to_string())).cloned();
    let rules = inventory.rules.resources.iter().map(|alone| {
        let rules = Rules { resources: vec![alone.clone()], ..inventory.rules.clone() };
        let decision = Inventory { rules, survey: inventory.survey.clone() };
        let decision = decision.decide(picture, claims, &State::default(), std::time::Duration::ZERO);
        let same = |other: &&Finding| other.kind == finding.kind && other.name == finding.name;
        let own = decision.findings.iter().find(same);
        let (matches, text) = own.map_or((false, String::new()), verdict);
        Answer { resource: alone.name.clone(), matches, text, checks: facts::checks(alone, finding, picture) }
    });
    Told {
        finding,
        claims: finding.ids.iter().filter_map(holder).collect(),
        rules: rules.collect(),
        facts: facts::of(finding, picture),
    }
}

/// Whether the rules of a resource match, and what they say.
fn verdict(finding: &Finding) -> (bool, String) {
    match (finding.status, why(&finding.reasons)) {
        (Status::Unmatched, why) => (false, why),
        (Status::Offered, _) => (true, "offered".to_owned()),
        (status, why) => (true, format!("{}: {why}", status.word())),
    }
}

impl Told<'_> {
    fn text(&self) -> String {
        let Self { finding, claims, rules, facts } = self;
        let mut out = String::new();
        let node = finding.node.as_ref().filter(|node| **node != finding.name);
        let node = node.map(|node| format!(" ({node})")).unwrap_or_default();
        let _ = writeln!(out, "{}{node}", finding.name);
        let state = match why(&finding.reasons) {
            why if why.is_empty() => finding.status.word().to_owned(),
            why => format!("{}: {why}", finding.status.word()),
        };
        let ids = finding.ids.iter().map(|id| &**id).collect::<Vec<_>>().join(", ");
        let mut rows = vec![("state".to_owned(), state)];
        rows.extend(finding.resource.as_deref().map(|resource| ("resource".to_owned(), resource.to_owned())));
        rows.extend((!ids.is_empty()).then(|| ("id".to_owned(), ids)));
        rows.extend(claims.iter().map(|claim| ("claimed by".to_owned(), claim.clone())));
        rows.extend(facts.iter().cloned());
        for (name, value) in rows {
            let _ = writeln!(out, "  {name:14} {value}");
        }
        for Answer { resource, matches, text, checks } in rules {
            let answer = match (matches, text.as_str()) {
                (true, text) => format!("yes, {text}"),
                (false, "") => "no".to_owned(),
                (false, text) => format!("no: {text}"),
            };
            let _ = writeln!(out, "  rule {resource}: {answer}");
            for Check { key, seen, wanted, holds } in checks {
                let yes = if *holds { "yes" } else { "no" };
                let _ = writeln!(out, "    {key:12} {yes:3}  is {seen}, wanted is {wanted}");
            }
        }
        out
    }

    fn object(&self) -> Value {
        let Self { finding, claims, rules, facts } = self;
        let check =
            |check: &Check| json!({"key": check.key, "holds": check.holds, "seen": check.seen, "wanted": check.wanted});
        let rule = |Answer { resource, matches, text, checks }: &Answer| {
            let checks: Vec<Value> = checks.iter().map(check).collect();
            json!({"resource": resource, "matches": matches, "message": text, "checks": checks})
        };
        let facts: serde_json::Map<String, Value> =
            facts.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect();
        json!({
            "device": finding.name,
            "node": finding.node,
            "resource": finding.resource.as_deref(),
            "ids": finding.ids.iter().map(|id| &**id).collect::<Vec<_>>(),
            "state": finding.status.word(),
            "reasons": reasons(&finding.reasons),
            "claims": claims,
            "rules": rules.iter().map(rule).collect::<Vec<_>>(),
            "facts": facts,
        })
    }
}
