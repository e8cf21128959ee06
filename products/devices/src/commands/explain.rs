//! `outrigger devices explain`: why a device, an id or a resource is offered or not.
//!
//! Each resource is decided alone for this, by its own claims, so that its rules answer for themselves; what the resources do
//! to each other stands in the first lines.

use std::collections::BTreeSet;
use std::fmt::Write;

use outrigger_config::yaml;
use outrigger_device_core::checks::Check;
use outrigger_device_core::decide::{Claims, Decision, Finding, State, Status, why};
use outrigger_device_core::ids::Kind;
use outrigger_device_core::picture::PathMatch;
use outrigger_device_core::rules::Rules;
use outrigger_terminal::out;
use serde_json::{Value, json};

use super::list::reasons;
use super::who::Seen;
use super::{CommandError, busy, configured, facts, nodes};
use crate::args::{ExplainArgs, Form};
use crate::claims::Holders;
use crate::inventory::Inventory;

/// More ids than these are told as a range.
const FEW: usize = 4;

/// Explains; 1 where nothing of that name is here.
pub fn explain(args: &ExplainArgs) -> Result<u8, CommandError> {
    let (configuration, inventory) = configured(&args.settings)?;
    let mut seen = Seen::now(&configuration, &inventory)?;
    let Some(what) = args.what.as_deref() else { return busy::busy(&seen, args.output) };
    let there = what.starts_with('/').then(|| inventory.survey.at(what));
    let mut decision = seen.decide();
    let disks = meant(&decision, what, there.as_ref()).into_iter().map(|finding| nodes::device(finding, &seen.picture));
    let disks: Vec<String> = disks.filter(|(kind, _)| *kind == Kind::Block).map(|(_, name)| name).collect();
    if !disks.is_empty() {
        // As before a disk is given away: only opening it tells whether somebody has it for himself.
        inventory.survey.open(&mut seen.picture, &disks);
        decision = seen.decide();
    }
    let found = meant(&decision, what, there.as_ref());
    if found.is_empty() {
        return nameless(what, there.as_ref(), &inventory.rules);
    }
    let told: Vec<Told<'_>> = found.into_iter().map(|finding| tell(finding, &inventory, &seen, &decision)).collect();
    out::print(&match args.output {
        Form::Table => told.iter().map(Told::text).collect::<Vec<_>>().join("\n"),
        Form::Json => format!("{:#}\n", told.iter().map(Told::object).collect::<Value>()),
        Form::Yaml => yaml(&told.iter().map(Told::object).collect()),
    })?;
    if let Some(why) = &seen.told.untold {
        out::note(why);
    }
    Ok(0)
}

/// The findings that somebody means by a path, a name, an id or a resource. A device that several rules name is told once, by
/// the one that offers it.
fn meant<'d>(decision: &'d Decision, what: &str, there: Option<&PathMatch>) -> Vec<&'d Finding> {
    let name = what.strip_prefix("/dev/").unwrap_or(what);
    let node = there.map(|there| there.resolved.as_str());
    let is_meant = |finding: &&Finding| {
        let is_device =
            finding.name == name || finding.name == what || finding.node.as_deref().is_some_and(|of| Some(of) == node);
        is_device || finding.ids.iter().any(|id| **id == *what) || finding.resource.as_deref() == Some(what)
    };
    let mut found: Vec<&Finding> = decision.findings.iter().filter(is_meant).collect();
    if node.is_some() || decision.findings.iter().any(|finding| finding.name == name) {
        found.sort_by_key(|finding| (finding.node.as_ref(), finding.status));
        found.dedup_by_key(|finding| finding.node.as_ref().map_or(finding.name.as_str(), String::as_str).to_owned());
    }
    found
}

/// What is no device that is looked at: a node that a rule can name by its path, or nothing at all.
fn nameless(what: &str, there: Option<&PathMatch>, rules: &Rules) -> Result<u8, CommandError> {
    if let Some(text) = there.and_then(nodes::unnamed) {
        out::print(&text)?;
        return Ok(0);
    }
    out::note(&nothing(what, rules));
    Ok(1)
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

fn tell<'f>(finding: &'f Finding, inventory: &Inventory, seen: &Seen<'_>, whole: &Decision) -> Told<'f> {
    let (picture, holders) = (&seen.picture, &seen.told.holders);
    let resource = finding.resource.as_deref().unwrap_or_default();
    let holder = |id: &std::sync::Arc<str>| holders.get(&(resource.to_owned(), id.to_string())).cloned();
    let (kind, name) = nodes::device(finding, picture);
    let device = Finding { kind, name, ..finding.clone() };
    let rules = inventory.rules.resources.iter().enumerate().map(|(rule, alone)| {
        let claims = Claims { held: own(holders, whole, rule), ..Claims::default() };
        let rules = Rules { resources: vec![alone.clone()], ..inventory.rules.clone() };
        let decision = Inventory { rules, survey: inventory.survey.clone() };
        let decision = decision.decide(picture, &claims, &State::default(), std::time::Duration::ZERO);
        let same = |other: &&Finding| {
            (other.kind, &other.name) == (finding.kind, &finding.name)
                || nodes::device(other, picture) == (kind, device.name.clone())
        };
        let own = decision.findings.iter().find(same);
        let (matches, text) = own.map_or((false, String::new()), verdict);
        Answer { resource: alone.name.clone(), matches, text, checks: facts::checks(alone, &device, picture) }
    });
    let rules = rules.collect();
    let mut facts = if finding.kind == Kind::Path { facts::of(finding, picture) } else { Vec::new() };
    if (kind, &device.name) != (Kind::Path, &finding.name) {
        facts.extend(facts::of(&device, picture));
    }
    Told {
        finding,
        claims: finding.ids.iter().filter_map(holder).chain(finding.elsewhere().map(str::to_owned)).collect(),
        rules,
        facts,
    }
}

/// The claims on what one rule makes, which may be several resources.
fn own(holders: &Holders, decision: &Decision, rule: usize) -> Holders {
    let lists = decision.lists.iter().filter(|list| list.rule == rule);
    let names: BTreeSet<&str> = lists.map(|list| &*list.resource).collect();
    let of_it = holders.iter().filter(|((resource, _), _)| names.contains(&**resource));
    of_it.map(|(key, who)| (key.clone(), who.clone())).collect()
}

/// A few ids, and how many there are beside them.
fn few(ids: &[std::sync::Arc<str>]) -> String {
    match ids {
        [first, .., last] if ids.len() > FEW => format!("{first} to {last} ({} ids)", ids.len()),
        ids => ids.iter().map(|id| &**id).collect::<Vec<_>>().join(", "),
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
        let ids = few(&finding.ids);
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
