//! Nodes by what they are: the device that a path leads to, and nodes of which nothing is known but their number.

use outrigger_device_core::decide::{Finding, View};
use outrigger_device_core::ids::Kind;
use outrigger_device_core::picture::{NodeKind, PathMatch, Picture};

/// What a finding is about: of a path, the device that it leads to, where that is known.
pub fn device(finding: &Finding, picture: &Picture) -> (Kind, String) {
    let own = (finding.kind, finding.name.clone());
    let Some(node) = finding.node.as_deref().filter(|_| finding.kind == Kind::Path) else { return own };
    let found = picture.found.values().flatten().find(|found| found.resolved == node);
    let device = found.and_then(|found| at(found.kind, picture));
    device.unwrap_or(own)
}

/// The device of a node.
fn at(kind: NodeKind, picture: &Picture) -> Option<(Kind, String)> {
    match kind {
        NodeKind::Block(number) => {
            let view = picture.block.iter().flat_map(View::all).find(|view| view.number() == number)?;
            Some((Kind::Block, view.name().to_owned()))
        }
        NodeKind::Character(number) => {
            let node = picture.nodes.iter().find(|node| node.number == number);
            let usb = picture.usb.iter().find(|usb| usb.number == Some(number));
            let node = node.map(|node| (Kind::Node, node.name.clone()));
            node.or_else(|| usb.map(|usb| (Kind::Usb, usb.name.clone())))
        }
        NodeKind::Directory | NodeKind::Other | NodeKind::Nothing => None,
    }
}

/// What is at a path that no rule names and that is no device of those that are looked at, and the rule that names it.
pub fn unnamed(there: &PathMatch) -> Option<String> {
    let PathMatch { path, resolved, kind } = there;
    let what = match kind {
        NodeKind::Character(number) => format!("a character device, {number}"),
        NodeKind::Block(number) => format!("a block device, {number}"),
        NodeKind::Directory => "a directory".to_owned(),
        NodeKind::Other | NodeKind::Nothing => return None,
    };
    let leads = if path == resolved { String::new() } else { format!(" leads to {resolved},") };
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    Some(format!(
        "{path}{leads} is {what}, and no rule names it. A rule that does:\n  \
         - name: {name}\n    groups: [{{paths: [{{path: {path}}}]}}]\n"
    ))
}
