//! Small values, each with only what a test is about.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_device_core::decide::{Claims, Decision, Input, State, Status, decide};
use outrigger_device_core::picture::{
    BlockDevice, ClassNode, DeviceNumber, Mount, NodeKind, Partition, PathMatch, Picture, Seen, Usage, UsbDevice,
};
use outrigger_device_core::rules::{
    BlockRule, Child, Group, PathPattern, PathRule, Resource, Rules, Select, Transport, UsbRule,
};

pub fn number(major: u32, minor: u32) -> DeviceNumber {
    DeviceNumber { major, minor }
}

/// A SATA disk that nothing uses, with a world-wide id of its own.
pub fn disk(name: &str) -> BlockDevice {
    let minor = name.bytes().fold(0, |sum, byte| sum * 31 + u32::from(byte)) % 100_000 * 16;
    BlockDevice {
        name: name.to_owned(),
        node: format!("/dev/{name}"),
        number: number(8, minor),
        position: format!("/devices/pci0000:00/ata1/{name}"),
        controller: "0000:00:1f.2".to_owned(),
        transport: Transport::Sata,
        size: 4 << 30,
        read_only: false,
        removable: false,
        rotational: true,
        hidden: false,
        model: "Disk".to_owned(),
        vendor: "ATA".to_owned(),
        serial: None,
        wwid: Some(format!("naa.{name}")),
        diskseq: Some(u64::from(minor)),
        state: Some("running".to_owned()),
        numa: Vec::new(),
        holders: Vec::new(),
        slaves: Vec::new(),
        partitions: Vec::new(),
        by_id: Vec::new(),
        usage: Usage::default(),
        unreadable: Vec::new(),
    }
}

pub fn partition(disk: &BlockDevice, index: u32) -> Partition {
    let name = format!("{}{index}", disk.name);
    Partition {
        node: format!("/dev/{name}"),
        number: number(disk.number.major, disk.number.minor + index),
        index,
        size: 1 << 30,
        read_only: false,
        holders: Vec::new(),
        by_id: Vec::new(),
        usage: Usage::default(),
        name,
    }
}

pub fn mount(number: DeviceNumber, source: &str, target: &str) -> Mount {
    Mount { number, source: source.to_owned(), target: target.to_owned(), file_system: "ext4".to_owned() }
}

pub fn stick(port: &str, device: u32, serial: Option<&str>) -> UsbDevice {
    UsbDevice {
        name: port.to_owned(),
        node: format!("/dev/bus/usb/001/{device:03}"),
        number: Some(number(189, device - 1)),
        bus: 1,
        device,
        vendor: 0x1a86,
        product: 0x7523,
        serial: serial.map(str::to_owned),
        ..UsbDevice::default()
    }
}

pub fn child(class: Child, name: &str, minor: u32, usb: &str, interface: u8) -> ClassNode {
    ClassNode {
        class,
        name: name.to_owned(),
        node: format!("/dev/{name}"),
        number: number(188, minor),
        position: format!("/devices/pci0000:00/usb1/{usb}/{usb}:1.{interface}"),
        usb: Some(usb.to_owned()),
        interface: Some(interface),
        index: (class == Child::Video).then_some(0),
        is_present: true,
        by_id: Vec::new(),
        numa: Vec::new(),
    }
}

pub fn found(glob: &str, paths: &[(&str, u32)]) -> (PathPattern, Vec<PathMatch>) {
    let at = |(path, minor): &(&str, u32)| PathMatch {
        path: (*path).to_owned(),
        resolved: (*path).to_owned(),
        kind: NodeKind::Character(number(188, *minor)),
    };
    (PathPattern::Glob(glob.to_owned()), paths.iter().map(at).collect())
}

pub fn disks(disks: Vec<BlockDevice>) -> Picture {
    Picture { block: disks, ..Picture::default() }
}

pub fn group(select: Select) -> Group {
    Group::new(select)
}

pub fn any_disk() -> Group {
    group(Select::Block(BlockRule::default()))
}

pub fn paths(globs: &[&str]) -> Group {
    group(Select::Paths(globs.iter().map(|glob| PathRule::new(*glob)).collect()))
}

pub fn usb(rule: UsbRule) -> Group {
    group(Select::Usb(vec![rule]))
}

pub fn rules(resources: Vec<Resource>) -> Rules {
    Rules { resources, ..Rules::default() }
}

/// One resource `a.b/c` of this group.
pub fn one(group: Group) -> Rules {
    rules(vec![Resource::new("a.b/c", vec![group])])
}

/// A decision with nothing before it.
pub fn first(rules: &Rules, picture: &Picture) -> Decision {
    decide(Input { rules, picture, claims: &Claims::default(), previous: &State::default(), now: Duration::ZERO })
}

/// Decisions one after another, each a second later unless told otherwise.
#[derive(Default)]
pub struct Host {
    pub state: State,
    pub claims: Claims,
    pub now: Duration,
}

impl Host {
    pub fn decide(&mut self, rules: &Rules, picture: &Picture) -> Decision {
        let decision = decide(Input { rules, picture, claims: &self.claims, previous: &self.state, now: self.now });
        self.state = decision.next.clone();
        self.now += Duration::from_secs(1);
        decision
    }

    pub fn claim(&mut self, resource: &str, id: &str) {
        self.claims.held.insert((resource.to_owned(), id.to_owned()), "default/pod/container".to_owned());
    }
}

/// What the kubelet is told of a resource: names and status.
pub fn told(decision: &Decision, resource: &str) -> Vec<(String, Status)> {
    let lists = decision.lists.iter().filter(|list| &*list.resource == resource);
    let mut told: Vec<_> = lists.flat_map(|list| list.listed.iter()).map(|it| (it.unit.name(), it.status)).collect();
    told.sort();
    told
}

/// The names of what is offered, with each replica.
pub fn offered(decision: &Decision) -> Vec<String> {
    let listed = decision.lists.iter().flat_map(|list| list.listed.iter()).filter(|listed| listed.is_healthy());
    let mut names: Vec<String> = listed.map(|listed| listed.unit.name()).collect();
    names.sort();
    names
}

/// The ids by name.
pub fn ids(decision: &Decision) -> BTreeMap<String, String> {
    let listed = decision.lists.iter().flat_map(|list| list.listed.iter());
    listed.map(|listed| (listed.unit.name(), listed.unit.id.to_string())).collect()
}

/// Status and reasons of a device, as an operator reads them.
pub fn why(decision: &Decision, name: &str) -> String {
    let findings = decision.findings.iter().filter(|finding| finding.name == name);
    let line = |finding: &outrigger_device_core::decide::Finding| {
        let reasons: Vec<String> = finding.reasons.iter().map(ToString::to_string).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
        format!("{}{reasons}", finding.status.word())
    };
    findings.map(line).collect::<Vec<_>>().join(" | ")
}

pub fn missing<T>() -> Seen<T> {
    Seen::Missing("not mounted here".to_owned())
}
