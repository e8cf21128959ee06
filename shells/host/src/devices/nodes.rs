//! Nodes of the classes tty, video4linux, hidraw, sound and input, from `/sys/class`.

use std::collections::BTreeMap;
use std::path::Path;

use super::attributes::{Attributes, Tree};
use super::{Class, ClassNode, Scope};

/// The classes, with the directories of links that udev makes for them.
const CLASSES: &[(Class, &str, &[&str])] = &[
    (Class::Tty, "tty", &["/dev/serial/by-id"]),
    (Class::Video, "video4linux", &["/dev/v4l/by-id"]),
    (Class::Hidraw, "hidraw", &[]),
    (Class::Sound, "sound", &["/dev/snd/by-id"]),
    (Class::Input, "input", &["/dev/input/by-id"]),
];

pub(super) fn look(tree: &mut Tree<'_>, scope: &Scope) -> Vec<ClassNode> {
    if matches!(scope, Scope::Only { nodes, .. } if nodes.is_empty()) {
        return Vec::new();
    }
    let mut nodes = Vec::new();
    for (class, name, links) in CLASSES {
        let directory = tree.roots.at("/sys/class").join(name);
        let by_id: BTreeMap<String, Vec<String>> = links.iter().flat_map(|links| tree.links(links)).collect();
        for name in tree.names(&directory) {
            if matches!(scope, Scope::Only { nodes, .. } if !nodes.contains(&name)) {
                continue;
            }
            nodes.extend(node(tree, *class, &directory.join(&name), &by_id));
        }
    }
    nodes
}

/// What has no number has no node: a sound card, an input device behind its event nodes.
fn node(tree: &mut Tree<'_>, class: Class, link: &Path, by_id: &BTreeMap<String, Vec<String>>) -> Option<ClassNode> {
    if !link.join("dev").exists() {
        return None;
    }
    let real = tree.real(link)?;
    let name = real.file_name()?.to_str()?.to_owned();
    let mut read = Attributes::of(&real);
    let number = read.device_number("dev")?;
    let device = tree.real(&real.join("device"));
    // The kernel has ports that no machine has: their type is 0 (PORT_UNKNOWN), as is their directory's.
    let is_known = class != Class::Tty || read.text("type").is_none_or(|kind| kind.trim() != "0");
    let is_present = device.is_some() && is_known;
    let position = tree.position(device.as_deref().unwrap_or(&real));
    let steps: Vec<&str> = position.split('/').collect();
    let usb = steps.iter().rfind(|step| is_usb_device(step)).map(|step| (*step).to_owned());
    let interface = usb.as_deref().and_then(|usb| steps.iter().find_map(|step| interface_of(usb, step)));
    let node = read.node(&name);
    Some(ClassNode {
        class,
        number,
        interface,
        usb,
        index: read.number("index"),
        is_present,
        by_id: by_id.get(&node).cloned().unwrap_or_default(),
        numa: tree.numa(&real),
        name,
        node,
        position,
    })
}

/// `1-2:1.0` is interface 0 of `1-2`, in its first configuration.
fn interface_of(usb: &str, step: &str) -> Option<u8> {
    step.strip_prefix(usb)?.strip_prefix(':')?.split_once('.')?.1.parse().ok()
}

/// `1-2`, `1-2.3`, …: bus and ports.
fn is_usb_device(step: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    step.split_once('-').is_some_and(|(bus, ports)| is_number(bus) && ports.split('.').all(is_number))
}
