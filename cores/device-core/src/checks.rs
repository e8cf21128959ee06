//! Each key of a rule against one device: what it wants, what the device is, and whether that fits.
//!
//! The decision takes a device where every check holds; `explain` shows them all.

use std::fmt::Display;

use crate::decide::View;
use crate::pattern::Pattern;
use crate::picture::{ClassNode, UsbDevice};
use crate::rules::{BlockRule, SerialRule, TextPattern, Transport, UsbRule, VideoRule};

/// One key of a rule against one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The key, as in the configuration.
    pub key: &'static str,
    /// What the device is.
    pub seen: String,
    /// What the rule wants.
    pub wanted: String,
    /// Whether it fits.
    pub holds: bool,
}

/// Checks, of which only those of keys that the rule has are kept.
#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, key: &'static str, seen: impl Display, wanted: impl Display, holds: bool) {
        self.0.push(Check { key, seen: seen.to_string(), wanted: wanted.to_string(), holds });
    }

    fn same<T: Display + PartialEq>(&mut self, key: &'static str, seen: T, wanted: Option<T>) {
        if let Some(wanted) = wanted {
            let holds = seen == wanted;
            self.add(key, seen, wanted, holds);
        }
    }

    /// A text against a glob.
    fn glob(&mut self, key: &'static str, seen: Option<&str>, wanted: Option<&str>) {
        if let Some(wanted) = wanted {
            let holds = seen.is_some_and(|seen| is_like(seen, wanted));
            self.add(key, seen.unwrap_or("unknown"), wanted, holds);
        }
    }

    /// Texts of which one must be like one of these globs.
    fn any(&mut self, key: &'static str, seen: &[&str], wanted: &[String]) {
        if !wanted.is_empty() {
            let holds = seen.iter().any(|seen| wanted.iter().any(|wanted| is_like(seen, wanted)));
            let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
            self.add(key, seen, wanted.join(", "), holds);
        }
    }

    fn text(&mut self, key: &'static str, seen: Option<&str>, wanted: Option<&TextPattern>) {
        match wanted {
            None => (),
            Some(TextPattern::Exact(wanted)) => self.add(key, seen.unwrap_or("none"), wanted, seen == Some(wanted)),
            Some(TextPattern::Glob(wanted)) => self.glob(key, seen, Some(wanted)),
        }
    }

    fn hex(&mut self, key: &'static str, seen: Option<u16>, wanted: Option<u16>) {
        if let Some(wanted) = wanted {
            let shown = seen.map_or_else(|| "not on USB".to_owned(), |seen| format!("{seen:04x}"));
            self.add(key, shown, format!("{wanted:04x}"), seen == Some(wanted));
        }
    }
}

/// Whether a text is like a glob; a glob that is none is like nothing.
fn is_like(text: &str, glob: &str) -> bool {
    Pattern::parse(glob).is_ok_and(|pattern| pattern.matches_text(text))
}

/// A disk or partition against a rule.
pub fn of_block(rule: &BlockRule, view: View<'_>) -> Vec<Check> {
    let disk = view.disk;
    let mut checks = Checks::default();
    let names: Vec<&str> = vec![view.name()];
    checks.any("names", &names, &rule.names);
    let (is_part, sort) = (view.partition.is_some(), |is_part| if is_part { "partition" } else { "whole" });
    if is_part || rule.partitions {
        checks.add("partitions", sort(is_part), sort(rule.partitions), is_part == rule.partitions);
    }
    let words: Vec<String> = rule.transport.iter().map(Transport::to_string).collect();
    if words.is_empty() {
        if !disk.transport.is_real() {
            checks.add("transport", disk.transport, "a real disk's, for none is named", false);
        }
    } else {
        checks.add("transport", disk.transport, words.join(", "), rule.transport.contains(&disk.transport));
    }
    checks.glob("model", Some(&disk.model), rule.model.as_deref());
    checks.glob("vendor", Some(&disk.vendor), rule.vendor.as_deref());
    checks.glob("serial", disk.serial.as_deref(), rule.serial.as_deref());
    checks.glob("wwid", disk.wwid.as_deref(), rule.wwid.as_deref());
    checks.any("byId", &view.by_id().iter().map(String::as_str).collect::<Vec<_>>(), &rule.by_id);
    if let Some(least) = rule.min_size {
        checks.add("minSize", view.size(), least, view.size() >= least);
    }
    if let Some(most) = rule.max_size {
        checks.add("maxSize", view.size(), most, view.size() <= most);
    }
    checks.same("rotational", disk.rotational, rule.rotational);
    checks.same("removable", disk.removable, rule.removable);
    if rule.read_only == Some(true) {
        checks.add("readOnly", view.is_read_only(), true, view.is_read_only());
    }
    if let Some(wanted) = rule.numa_node {
        let seen: Vec<String> = disk.numa.iter().map(u32::to_string).collect();
        let shown = if seen.is_empty() { "unknown".to_owned() } else { seen.join(", ") };
        checks.add("numaNode", shown, wanted, disk.numa.contains(&wanted));
    }
    checks.0
}

/// A USB device against a rule. What the rule says of interfaces holds for its children, see [`of_child`].
pub fn of_usb(rule: &UsbRule, device: &UsbDevice) -> Vec<Check> {
    let mut checks = Checks::default();
    checks.hex("vendor", Some(device.vendor), rule.vendor);
    checks.hex("product", Some(device.product), rule.product);
    checks.text("serial", device.serial.as_deref(), rule.serial.as_ref());
    checks.glob("port", Some(&device.name), rule.port.as_deref());
    if let Some(wanted) = rule.class {
        let classes: Vec<u8> =
            std::iter::once(device.class).chain(device.interfaces.iter().map(|(_, class)| *class)).collect();
        let shown: Vec<String> = classes.iter().map(|class| format!("{class:02x}")).collect();
        checks.add("class", shown.join(", "), format!("{wanted:02x}"), classes.contains(&wanted));
    }
    checks.0
}

/// A child of a USB device against the part of the rule that is about children.
pub fn of_child(rule: &UsbRule, class: crate::rules::Child, interface: Option<u8>) -> bool {
    rule.child == Some(class) && (rule.interface.is_none() || rule.interface == interface)
}

/// A serial port against a rule.
pub fn of_serial(rule: &SerialRule, node: &ClassNode, usb: Option<&UsbDevice>) -> Vec<Check> {
    let mut checks = Checks::default();
    checks.any("names", &[&node.name], &rule.names);
    checks.hex("vendor", usb.map(|usb| usb.vendor), rule.vendor);
    checks.hex("product", usb.map(|usb| usb.product), rule.product);
    checks.text("serial", usb.and_then(|usb| usb.serial.as_deref()), rule.serial.as_ref());
    checks.glob("port", usb.map(|usb| usb.name.as_str()), rule.port.as_deref());
    checks.any("byId", &node.by_id.iter().map(String::as_str).collect::<Vec<_>>(), &rule.by_id);
    checks.0
}

/// A camera's node against a rule.
pub fn of_video(rule: &VideoRule, node: &ClassNode, usb: Option<&UsbDevice>) -> Vec<Check> {
    let mut checks = Checks::default();
    checks.any("names", &[&node.name], &rule.names);
    checks.hex("vendor", usb.map(|usb| usb.vendor), rule.vendor);
    checks.hex("product", usb.map(|usb| usb.product), rule.product);
    checks.text("serial", usb.and_then(|usb| usb.serial.as_deref()), rule.serial.as_ref());
    checks.glob("port", usb.map(|usb| usb.name.as_str()), rule.port.as_deref());
    checks.0
}
