//! Whether a disk is in use, by all evidence that there is.

use std::collections::BTreeSet;

use crate::decide::Reason;
use crate::picture::{BlockDevice, DeviceNumber, Mount, Partition, Picture, Seen, Usage};
use crate::rules::EvidencePolicy;
use crate::unit::BlockIdentity;

/// Where a running system lives.
const SYSTEM: &[&str] = &["/", "/boot", "/boot/efi", "/boot/firmware", "/efi", "/usr", "/var", "/var/lib", "/etc"];

/// How deep devices may be stacked.
const STACK: usize = 16;

/// A whole disk or a partition.
#[derive(Clone, Copy, Debug)]
pub struct View<'p> {
    /// The disk.
    pub disk: &'p BlockDevice,
    /// Its partition, where that is meant.
    pub partition: Option<&'p Partition>,
}

impl<'p> View<'p> {
    /// The whole disk.
    pub fn whole(disk: &'p BlockDevice) -> Self {
        Self { disk, partition: None }
    }

    /// Its partitions.
    pub fn partitions(disk: &'p BlockDevice) -> impl Iterator<Item = Self> {
        disk.partitions.iter().map(move |partition| Self { disk, partition: Some(partition) })
    }

    /// The disk and its partitions.
    pub fn all(disk: &'p BlockDevice) -> impl Iterator<Item = Self> {
        std::iter::once(Self::whole(disk)).chain(Self::partitions(disk))
    }

    /// The kernel's name.
    pub fn name(&self) -> &'p str {
        self.partition.map_or(&self.disk.name, |partition| &partition.name)
    }

    /// The node on the host.
    pub fn node(&self) -> &'p str {
        self.partition.map_or(&self.disk.node, |partition| &partition.node)
    }

    /// The node's number.
    pub fn number(&self) -> DeviceNumber {
        self.partition.map_or(self.disk.number, |partition| partition.number)
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.partition.map_or(self.disk.size, |partition| partition.size)
    }

    /// Whether it cannot be written to.
    pub fn is_read_only(&self) -> bool {
        self.disk.read_only || self.partition.is_some_and(|partition| partition.read_only)
    }

    /// Names in `/dev/disk/by-id`.
    pub fn by_id(&self) -> &'p [String] {
        self.partition.map_or(&self.disk.by_id, |partition| &partition.by_id)
    }

    /// What tells it from another one at the same name.
    pub fn identity(&self) -> BlockIdentity {
        let BlockDevice { wwid, serial, diskseq, .. } = self.disk;
        BlockIdentity { number: self.number(), wwid: wwid.clone(), serial: serial.clone(), diskseq: *diskseq }
    }

    /// The signature that was found on it.
    pub fn signature(&self) -> &'p Seen<Option<String>> {
        &self.usage().signature
    }

    fn usage(&self) -> &'p Usage {
        self.partition.map_or(&self.disk.usage, |partition| &partition.usage)
    }

    fn holders(&self) -> &'p [String] {
        self.partition.map_or(&self.disk.holders, |partition| &partition.holders)
    }

    /// What is meant together with it: a whole disk is its partitions too.
    fn reach(self) -> impl Iterator<Item = Self> {
        let partitions = self.partition.is_none().then(|| Self::partitions(self.disk));
        std::iter::once(self).chain(partitions.into_iter().flatten())
    }
}

/// Everything that shows that a disk or partition is in use; and which evidence was missing though it was needed.
pub fn in_use(view: View<'_>, picture: &Picture, policy: EvidencePolicy) -> (Vec<Reason>, BTreeSet<&'static str>) {
    let mut reasons = Vec::new();
    for part in view.reach() {
        let on = (part.name() != view.name()).then(|| part.name().to_owned());
        mounted(part, on.as_ref(), picture, &mut reasons);
        let swaps = picture.swaps.known().into_iter().flatten();
        if swaps.into_iter().any(|swap| swap.number == Some(part.number()) || swap.path == part.node()) {
            reasons.push(Reason::Swap { on: on.clone() });
        }
        let is_told = reasons.iter().any(|reason| matches!(reason, Reason::System { .. } | Reason::Mounted { .. }));
        if let Some(file_system) = part.usage().kernel_file_system.clone().filter(|_| !is_told) {
            reasons.push(Reason::MountedSomewhere { file_system, on });
        }
    }
    let by: BTreeSet<String> = view.reach().flat_map(|part| part.holders().iter().cloned()).collect();
    if !by.is_empty() {
        reasons.push(Reason::Held { by: by.into_iter().collect() });
    }
    if view.partition.is_none() && !view.disk.partitions.is_empty() {
        let partitions = view.disk.partitions.iter().map(|partition| partition.name.clone());
        reasons.push(Reason::Partitioned { partitions: partitions.collect() });
    }
    if reasons.is_empty() && view.usage().exclusive == Seen::Known(true) {
        reasons.push(Reason::Busy);
    }
    // What says most comes first: the root of the system, then its other places.
    reasons.sort_by_key(|reason| match reason {
        Reason::System { target, .. } => (0, target.len()),
        _ => (1, 0),
    });
    let mut missing = BTreeSet::new();
    if reasons.is_empty() && view.usage().exclusive != Seen::Known(false) {
        for (what, seen) in [("mounts", why(&picture.mounts)), ("swaps", why(&picture.swaps))] {
            let Some(why) = seen else { continue };
            missing.insert(what);
            if policy == EvidencePolicy::Required {
                reasons.push(Reason::CannotVerify(format!("{what} of the host are not visible ({why})")));
            }
        }
    }
    (reasons, missing)
}

fn why<T>(seen: &Seen<T>) -> Option<&str> {
    match seen {
        Seen::Known(_) => None,
        Seen::Missing(why) => Some(why),
    }
}

/// Mounts of it, and of what is stacked on it where the system runs from that.
fn mounted(part: View<'_>, on: Option<&String>, picture: &Picture, reasons: &mut Vec<Reason>) {
    for mount in mounts_of(part.number(), part.node(), picture) {
        reasons.push(if is_system(mount) {
            Reason::System { target: mount.target.clone(), on: part.name().to_owned() }
        } else {
            let (target, file_system) = (mount.target.clone(), mount.file_system.clone());
            Reason::Mounted { target, file_system, on: on.cloned() }
        });
    }
    for holder in stacked(part.holders(), picture) {
        let system = mounts_of(holder.number, &holder.node, picture).find(|mount| is_system(mount));
        reasons.extend(system.map(|mount| Reason::System { target: mount.target.clone(), on: holder.name.clone() }));
    }
}

fn is_system(mount: &Mount) -> bool {
    SYSTEM.contains(&mount.target.as_str())
}

/// Each mount once, however often the same place is covered.
fn mounts_of<'p>(number: DeviceNumber, node: &str, picture: &'p Picture) -> impl Iterator<Item = &'p Mount> {
    let mounts = picture.mounts.known().into_iter().flatten();
    let of_it = mounts.filter(|mount| mount.number == number || mount.source == node);
    let mut all: Vec<&Mount> = of_it.collect();
    all.sort_by_key(|mount| (&mount.target, &mount.file_system));
    all.dedup_by_key(|mount| (&mount.target, &mount.file_system));
    // One that the system runs from says it all; else a few are enough.
    if let Some(system) = all.iter().position(|mount| is_system(mount)) {
        all.swap(0, system);
        all.truncate(1);
    }
    all.truncate(3);
    all.into_iter()
}

/// Everything that is stacked on something, however high.
fn stacked<'p>(holders: &[String], picture: &'p Picture) -> Vec<&'p BlockDevice> {
    let mut all: Vec<&BlockDevice> = Vec::new();
    let mut names: BTreeSet<&str> = holders.iter().map(String::as_str).collect();
    for _ in 0..STACK {
        let next: Vec<&BlockDevice> = picture
            .block
            .iter()
            .filter(|disk| names.contains(disk.name.as_str()))
            .filter(|disk| !all.iter().any(|known| known.name == disk.name))
            .collect();
        if next.is_empty() {
            break;
        }
        let partitions = next.iter().flat_map(|disk| disk.partitions.iter().flat_map(|part| &part.holders));
        names = next.iter().flat_map(|disk| &disk.holders).chain(partitions).map(String::as_str).collect();
        all.extend(next);
    }
    all
}
