//! What was read of one device, for people: what it is, and every piece of evidence of its use, also what is missing.

use std::fmt::Display;

use outrigger_device_core::checks::{self, Check};
use outrigger_device_core::decide::{Finding, View};
use outrigger_device_core::ids::Kind;
use outrigger_device_core::picture::{
    BlockDevice, ClassNode, DeviceNumber, Mount, NodeKind, Partition, PathMatch, Picture, Seen, Usage, UsbDevice,
};
use outrigger_device_core::rules::{PathPattern, Resource, Select};

/// A name and a value.
type Fact = (String, String);

/// What was read of the device that a finding is about.
pub fn of(finding: &Finding, picture: &Picture) -> Vec<Fact> {
    let named = |name: &str| finding.name == name;
    match finding.kind {
        Kind::Block => {
            let disk = picture.block.iter().find(|disk| named(&disk.name));
            let parts = picture.block.iter().flat_map(|disk| disk.partitions.iter().map(move |part| (disk, part)));
            let part = parts.filter(|(_, part)| named(&part.name)).map(|(disk, part)| partition(disk, part, picture));
            disk.map(|disk| block(disk, picture)).or_else(|| part.into_iter().next()).unwrap_or_default()
        }
        Kind::Usb => picture.usb.iter().find(|usb| named(&usb.name)).map(usb).unwrap_or_default(),
        Kind::Node => picture.nodes.iter().find(|node| named(&node.name)).map(node).unwrap_or_default(),
        Kind::Path => {
            let found =
                picture.found.values().flatten().find(|found| finding.name.split(", ").any(|path| path == found.path));
            found.map(path).unwrap_or_default()
        }
        Kind::Counted => Vec::new(),
    }
}

/// Each key of a resource's rules against the device that a finding is about.
pub fn checks(resource: &Resource, finding: &Finding, picture: &Picture) -> Vec<Check> {
    let named = |name: &str| finding.name == name;
    let views = || picture.block.iter().flat_map(View::all).filter(|view| named(view.name()));
    let usb_of = |node: &ClassNode| picture.usb.iter().find(|usb| Some(&usb.name) == node.usb.as_ref());
    let nodes = || picture.nodes.iter().filter(|node| named(&node.name));
    let mut all = Vec::new();
    for group in &resource.groups {
        match (&group.select, finding.kind) {
            (Select::Block(rule), Kind::Block) => all.extend(views().flat_map(|view| checks::of_block(rule, view))),
            (Select::Usb(rules), Kind::Usb) => {
                let found = picture.usb.iter().filter(|usb| named(&usb.name));
                all.extend(found.flat_map(|usb| rules.iter().flat_map(|rule| checks::of_usb(rule, usb))));
            }
            (Select::Usb(rules), Kind::Node) => {
                let found = nodes().filter_map(usb_of);
                all.extend(found.flat_map(|usb| rules.iter().flat_map(|rule| checks::of_usb(rule, usb))));
            }
            (Select::Serial(rule), Kind::Node) => {
                all.extend(nodes().flat_map(|node| checks::of_serial(rule, node, usb_of(node))));
            }
            (Select::Video(rule), Kind::Node) => {
                all.extend(nodes().flat_map(|node| checks::of_video(rule, node, usb_of(node))));
            }
            (Select::Paths(rules), _) => all.extend(rules.iter().map(|rule| by_path(&rule.path, finding, picture))),
            _ => (),
        }
    }
    all
}

fn by_path(pattern: &PathPattern, finding: &Finding, picture: &Picture) -> Check {
    let found = picture.found.get(pattern).into_iter().flatten();
    let (PathPattern::Glob(wanted) | PathPattern::Regex(wanted)) = pattern;
    let is_it = |found: &PathMatch| {
        Some(&found.resolved) == finding.node.as_ref() || finding.name.split(", ").any(|name| name == found.path)
    };
    let holds = found.into_iter().any(is_it);
    Check { key: "path", seen: finding.name.clone(), wanted: wanted.clone(), holds }
}

/// Collects what there is.
#[derive(Default)]
struct Facts(Vec<Fact>);

impl Facts {
    fn add(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        if !value.is_empty() {
            self.0.push((name.to_owned(), value));
        }
    }

    fn may(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

fn block(disk: &BlockDevice, picture: &Picture) -> Vec<Fact> {
    let mut facts = Facts::default();
    let what = format!("{} {}", disk.vendor, disk.model);
    facts.add("what", format!("{} disk {}", disk.transport, what.trim()).trim());
    facts.add("size", bytes(disk.size));
    facts.may("serial", disk.serial.as_ref());
    facts.may("wwid", disk.wwid.as_ref());
    facts.add("by-id", disk.by_id.join(", "));
    facts.add("position", &disk.position);
    facts.add("number", disk.number);
    facts.may("diskseq", disk.diskseq);
    facts.may("driver says", disk.state.as_ref());
    let flags = [
        (disk.read_only, "read only"),
        (disk.removable, "removable"),
        (disk.rotational, "rotational"),
        (disk.hidden, "hidden"),
    ];
    facts.add("flags", flags.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect::<Vec<_>>().join(", "));
    let names: Vec<&str> = disk.partitions.iter().map(|part| part.name.as_str()).collect();
    facts.add("partitions", or_none(&names.join(", ")));
    facts.add("holders", or_none(&disk.holders.join(", ")));
    let volume = Volume { name: &disk.name, node: &disk.node, number: disk.number, usage: &disk.usage };
    evidence(&mut facts, &volume, picture);
    facts.add("unreadable", disk.unreadable.join(", "));
    facts.0
}

fn partition(disk: &BlockDevice, part: &Partition, picture: &Picture) -> Vec<Fact> {
    let mut facts = Facts::default();
    facts.add("what", format!("partition {} of {}", part.index, disk.name));
    facts.add("size", bytes(part.size));
    facts.add("by-id", part.by_id.join(", "));
    facts.add("number", part.number);
    facts.add("holders", or_none(&part.holders.join(", ")));
    let volume = Volume { name: &part.name, node: &part.node, number: part.number, usage: &part.usage };
    evidence(&mut facts, &volume, picture);
    facts.0
}

/// A disk or a partition.
struct Volume<'p> {
    name: &'p str,
    node: &'p str,
    number: DeviceNumber,
    usage: &'p Usage,
}

/// Mounts, swap, file systems and openers.
fn evidence(facts: &mut Facts, volume: &Volume<'_>, picture: &Picture) {
    let Volume { name, node, number, usage } = *volume;
    let is_of_it = |mount: &&Mount| mount.number == number || mount.source == node;
    let mounts = seen(&picture.mounts, |mounts| {
        let told = |mount: &Mount| format!("{} ({})", mount.target, mount.file_system);
        or_none(&mounts.iter().filter(is_of_it).map(told).collect::<Vec<_>>().join(", "))
    });
    facts.add("mounts", mounts);
    let swap = seen(&picture.swaps, |swaps| {
        let is_swap = swaps.iter().any(|swap| swap.path == node || swap.number == Some(number));
        if is_swap { format!("{name} is swap") } else { "none".to_owned() }
    });
    facts.add("swap", swap);
    facts.add("/sys/fs", usage.kernel_file_system.as_deref().unwrap_or("none"));
    facts.add("signature", seen(&usage.signature, |found| found.clone().unwrap_or_else(|| "none".to_owned())));
    let opened = seen(&usage.exclusive, |busy| if *busy { "yes" } else { "no" }.to_owned());
    facts.add("opened alone", opened);
}

fn usb(usb: &UsbDevice) -> Vec<Fact> {
    let mut facts = Facts::default();
    let names = [usb.manufacturer.as_deref(), usb.product_name.as_deref()];
    let names = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
    facts.add("what", format!("USB device {:04x}:{:04x} {names}", usb.vendor, usb.product).trim());
    facts.add("serial", usb.serial.as_deref().unwrap_or("none"));
    facts.add("port", &usb.name);
    let interfaces: Vec<String> =
        usb.interfaces.iter().map(|(number, class)| format!("{number:02x} is class {class:02x}")).collect();
    facts.add("class", format!("{:02x}", usb.class));
    facts.add("interfaces", interfaces.join(", "));
    facts.may("authorized", usb.authorized.map(|yes| if yes { "yes" } else { "no" }));
    facts.0
}

fn node(node: &ClassNode) -> Vec<Fact> {
    let mut facts = Facts::default();
    facts.add("what", format!("{:?} node", node.class).to_lowercase());
    facts.add("number", node.number);
    facts.add("position", &node.position);
    facts.may("usb", node.usb.as_ref());
    facts.may("interface", node.interface.map(|number| format!("{number:02x}")));
    facts.may("index", node.index);
    facts.add("by-id", node.by_id.join(", "));
    facts.0
}

fn path(found: &PathMatch) -> Vec<Fact> {
    let mut facts = Facts::default();
    facts.add("leads to", &found.resolved);
    facts.add(
        "is",
        match found.kind {
            NodeKind::Character(number) => format!("a character device, {number}"),
            NodeKind::Block(number) => format!("a block device, {number}"),
            NodeKind::Directory => "a directory".to_owned(),
            NodeKind::Other => "a file".to_owned(),
            NodeKind::Nothing => "nothing".to_owned(),
        },
    );
    facts.0
}

fn seen<T>(seen: &Seen<T>, tell: impl FnOnce(&T) -> String) -> String {
    match seen {
        Seen::Known(value) => tell(value),
        Seen::Missing(why) => format!("not visible: {why}"),
    }
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { text.to_owned() }
}

/// An amount as disks are sold, with the exact one.
fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.iter().find(|(_, unit)| count >= *unit) {
        Some((name, unit)) => format!("{}.{} {name} ({count} bytes)", count / unit, count % unit * 10 / unit),
        None => format!("{count} bytes"),
    }
}
