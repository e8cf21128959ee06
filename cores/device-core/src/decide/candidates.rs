//! Every unit that the rules make of the picture, with all that speaks against each; and the devices that none matches.

mod block;
mod footprint;
mod identity;
mod nodes;
mod paths;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Finding, Input, Reason, Status};
use crate::gdp;
use crate::hold::Node;
use crate::ids::{Kind, replica, short};
use crate::picture::{ClassNode, Picture, UsbDevice};
use crate::rules::{Group, IdScheme, Resource, Select, is_resource_name};
use crate::unit::{Body, Give, Part};

pub(super) use footprint::Footprint;
pub(super) use identity::Identities;

pub(crate) use block::block_against;
pub use usage::{View, in_use};

/// A unit with all that speaks against it, before it is seen beside the others.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) body: Arc<Body>,
    /// The ids of its replicas.
    pub(super) ids: Vec<Arc<str>>,
    pub(super) against: Against,
    pub(super) footprint: Footprint,
}

/// What speaks against offering something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Against {
    /// Whoever holds it: it is not listed.
    pub(crate) rule: Vec<Reason>,
    /// It is in use: not listed, unless a pod holds it, whose use it then is.
    pub(crate) usage: Vec<Reason>,
    /// It cannot serve: not listed; unhealthy at once where a pod holds it.
    pub(crate) unfit: Vec<Reason>,
    /// It is unhealthy at once.
    pub(crate) broken: Vec<Reason>,
    /// A check has failed, which may happen a few times.
    pub(crate) failing: Vec<Reason>,
}

impl Against {
    fn merge(&mut self, other: Self) {
        self.rule.extend(other.rule);
        self.usage.extend(other.usage);
        self.unfit.extend(other.unfit);
        self.broken.extend(other.broken);
        self.failing.extend(other.failing);
    }
}

/// All that was seen.
#[derive(Debug)]
pub(super) struct Candidates {
    /// The resources, one for each match where they are so.
    pub(super) resources: Vec<(Arc<str>, usize)>,
    /// In the order of the rules.
    pub(super) units: Vec<Candidate>,
    /// Devices that make no unit.
    pub(super) others: Vec<Finding>,
    pub(super) identities: Identities,
    /// Devices that were there at the last look already, by name.
    pub(super) stayed: BTreeSet<(Kind, String)>,
    pub(super) missing: BTreeSet<&'static str>,
}

/// What the rules of one group see of the host.
struct Scene<'s> {
    input: &'s Input<'s>,
    identities: Identities,
    known: BTreeMap<Node, Known<'s>>,
    missing: BTreeSet<&'static str>,
    /// Devices that some rule matches, or names.
    matched: BTreeSet<(Kind, String)>,
    others: Vec<Finding>,
}

/// A device of the picture.
#[derive(Clone, Copy, Debug)]
enum Known<'p> {
    Disk(View<'p>),
    Usb(&'p UsbDevice),
    Node(&'p ClassNode),
}

/// Every device by its node, so that it is known whatever path leads to it.
fn known(picture: &Picture) -> BTreeMap<Node, Known<'_>> {
    let disks = picture.block.iter().flat_map(View::all);
    let disks = disks.map(|view| (Node { is_block: true, number: view.number() }, Known::Disk(view)));
    let usb = picture.usb.iter().filter_map(|usb| Some((nodes::usb_node(usb)?, Known::Usb(usb))));
    let nodes = picture.nodes.iter();
    let nodes = nodes.map(|node| (Node { is_block: false, number: node.number }, Known::Node(node)));
    disks.chain(usb).chain(nodes).collect()
}

/// One unit as a group makes it.
struct Made {
    parts: Vec<Part>,
    /// Of what its id is made.
    identity: String,
    numa: Vec<u32>,
    against: Against,
    footprint: Footprint,
}

/// Finds them.
pub(super) fn all(input: &Input<'_>) -> Candidates {
    let identities = Identities::of(input.picture, &input.previous.identities);
    let (missing, matched, others) = Default::default();
    let mut scene = Scene { input, identities, known: known(input.picture), missing, matched, others };
    let (mut resources, mut units) = (Vec::new(), Vec::new());
    for (rule, resource) in input.rules.resources.iter().enumerate() {
        if resource.per_match {
            for (name, made, group) in per_match(&mut scene, resource) {
                let name: Arc<str> = name.into();
                resources.push((Arc::clone(&name), rule));
                units.push(candidate(input.rules.ids, resource, Place { name, rule, group }, made));
            }
            continue;
        }
        let name: Arc<str> = resource.name.as_str().into();
        resources.push((Arc::clone(&name), rule));
        for (number, group) in resource.groups.iter().enumerate() {
            for made in scene.units(resource, group) {
                let place = Place { name: Arc::clone(&name), rule, group: number };
                units.push(candidate(input.rules.ids, resource, place, made));
            }
        }
    }
    scene.add_unmatched();
    let Scene { identities, missing, others, .. } = scene;
    let stayed = input.previous.identities.stayed(input.picture);
    Candidates { resources, units, others, identities, stayed, missing }
}

/// Each match as a resource of its own, with its name.
fn per_match(scene: &mut Scene<'_>, resource: &Resource) -> Vec<(String, Made, usize)> {
    let mut all: BTreeMap<String, (Made, usize)> = BTreeMap::new();
    for (number, group) in resource.groups.iter().enumerate() {
        for made in scene.units(resource, group) {
            let path = made.parts.first().map_or("", |part| part.name.as_str());
            let short = path.strip_prefix("/dev/").unwrap_or(path).trim_start_matches('/').replace('/', "_");
            let name = resource.name.replace("{path}", &short);
            if is_resource_name(&name) {
                all.entry(name).or_insert((made, number));
            } else {
                scene.other(&made.parts, Status::Withheld, &[Reason::BadName(name)]);
            }
        }
    }
    all.into_iter().map(|(name, (made, number))| (name, made, number)).collect()
}

/// Where a unit is from.
struct Place {
    name: Arc<str>,
    rule: usize,
    group: usize,
}

fn candidate(scheme: IdScheme, resource: &Resource, place: Place, made: Made) -> Candidate {
    let group: &Group = &resource.groups[place.group];
    let Made { parts, identity, mut numa, against, footprint } = made;
    numa.sort_unstable();
    numa.dedup();
    let kind = parts.first().map_or(Kind::Counted, |part| part.kind);
    let base = short(kind, &identity);
    let paths: Vec<&str> = parts.iter().filter_map(gdp_path).collect();
    let id = |number| match scheme {
        IdScheme::Gdp if !paths.is_empty() => gdp::id(number, paths.iter().copied()),
        _ => replica(&base, number, group.count),
    };
    let ids = (0..group.count).map(|number| id(number).into()).collect();
    let body = Body {
        resource: place.name,
        rule: place.rule,
        group: place.group,
        count: group.count,
        parts,
        numa,
        owner: group.owner,
        additional_gids: group.additional_gids.clone(),
    };
    Candidate { body: Arc::new(body), ids, against, footprint }
}

/// The path that generic-device-plugin makes an id of: as it matched, for a path.
fn gdp_path(part: &Part) -> Option<&str> {
    if part.kind == Kind::Path { Some(&part.name) } else { part.give.host_path() }
}

impl Scene<'_> {
    /// The units of one group.
    fn units(&mut self, resource: &Resource, group: &Group) -> Vec<Made> {
        match &group.select {
            Select::Paths(rules) => self.paths(&resource.name, group, rules),
            Select::Usb(rules) => self.usb(group, rules),
            Select::Block(rule) => self.block(group, rule),
            Select::Serial(rule) => self.serial(group, rule),
            Select::Video(rule) => self.video(group, rule),
            Select::Counted(rule) => paths::counted(&resource.name, rule),
        }
    }

    /// Notes a device that makes no unit of the present rule.
    fn other(&mut self, parts: &[Part], status: Status, reasons: &[Reason]) {
        for part in parts {
            self.others.push(Finding {
                kind: part.kind,
                name: part.name.clone(),
                node: part.give.host_path().map(str::to_owned),
                resource: None,
                ids: Vec::new(),
                status,
                reasons: reasons.to_vec(),
                numa: Vec::new(),
                since: None,
            });
        }
    }

    fn has_matched(&mut self, kind: Kind, name: &str) {
        self.matched.insert((kind, name.to_owned()));
    }

    /// Notes what no rule matches.
    fn add_unmatched(&mut self) {
        let picture = self.input.picture;
        let disks = picture
            .block
            .iter()
            .flat_map(View::all)
            .map(|view| (Kind::Block, view.name().to_owned(), view.node().to_owned(), view.disk.numa.clone()));
        let usb = picture.usb.iter().map(|usb| (Kind::Usb, usb.name.clone(), usb.node.clone(), usb.numa.clone()));
        let nodes = picture.nodes.iter().filter(|node| node.is_present);
        let nodes = nodes.map(|node| (Kind::Node, node.name.clone(), node.node.clone(), node.numa.clone()));
        for (kind, name, node, numa) in disks.chain(usb).chain(nodes) {
            if self.matched.contains(&(kind, name.clone())) {
                continue;
            }
            self.others.push(Finding {
                kind,
                name,
                node: Some(node),
                resource: None,
                ids: Vec::new(),
                status: Status::Unmatched,
                reasons: Vec::new(),
                numa,
                since: None,
            });
        }
    }
}

/// A node as a container gets it. The first of several has the path of the group, the others that and a number.
fn give_node(group: &Group, node: &str, number: usize, permissions: &str) -> Give {
    let container_path = match group.mount_path.as_deref() {
        None => node.to_owned(),
        Some(directory) if directory.ends_with('/') => format!("{directory}{}", paths::base_name(node)),
        Some(path) if number == 0 => path.to_owned(),
        Some(path) => format!("{path}{number}"),
    };
    let permissions = group.permissions.clone().unwrap_or_else(|| permissions.to_owned());
    Give::Node { host_path: node.to_owned(), container_path, permissions }
}
