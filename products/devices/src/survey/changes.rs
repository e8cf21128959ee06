//! What tells that the machine may have changed, as far as the rules look at it.
//!
//! What it does not do: it does not say what changed. Whoever is told looks again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use outrigger_device_core::rules::{PathPattern, Rules};
use outrigger_host::Watches;
use outrigger_host::devices::{NodeKind, Roots, expand};
use outrigger_host::events::{Counts, Event, Events, Wanted};

use super::{patterns, step_matches, subsystems};
use crate::inventory::Inventory;

/// Every subsystem whose devices are looked at.
const EVERYTHING: [&str; 7] = ["block", "usb", "tty", "video4linux", "hidraw", "sound", "input"];

/// The changes of a machine.
#[derive(Debug)]
pub struct Changes {
    roots: Roots,
    watches: Watches,
    followed: Followed,
    /// Subsystems that are followed whatever the rules say.
    always: BTreeSet<String>,
    events: Events,
}

/// The subsystems, and the directories in which something that a rule names can come or go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    subsystems: BTreeSet<String>,
    directories: BTreeSet<PathBuf>,
}

impl Changes {
    /// Those that can concern an inventory. Listen first and look then. Must be called within a runtime.
    pub fn of(inventory: &Inventory, watches: Watches) -> Self {
        Self::following(Followed::of(inventory), BTreeSet::new(), inventory, watches)
    }

    /// Those, and of every device that no rule asks for.
    pub fn of_everything(inventory: &Inventory, watches: Watches) -> Self {
        let always = EVERYTHING.map(str::to_owned).into();
        Self::following(Followed::of(inventory), always, inventory, watches)
    }

    fn following(followed: Followed, always: BTreeSet<String>, inventory: &Inventory, watches: Watches) -> Self {
        let roots = inventory.survey.roots.clone();
        let events = Events::open(&roots, &watches, followed.wanted(&always));
        Self { roots, watches, followed, always, events }
    }

    /// Follows what the rules look at now. Answers whether that is something else: then it must be looked at once more, for
    /// nothing has told of what happened there until now.
    #[must_use]
    pub fn follow(&mut self, followed: &Followed) -> bool {
        if *followed == self.followed {
            return false;
        }
        self.events.follow(&self.roots, &self.watches, followed.wanted(&self.always));
        self.followed.clone_from(followed);
        true
    }

    /// Waits for the next change, and tells who told. Safe to drop and call again.
    pub async fn next(&mut self) -> &'static str {
        match self.events.next().await {
            Event::Devices(_) => "uevent",
            Event::Again => "again",
            Event::Mounts => "mountinfo",
            Event::Swaps => "swaps",
            Event::Paths => "inotify",
            Event::Everything => "poll",
        }
    }

    /// How many messages there were.
    pub fn counts(&self) -> Counts {
        self.events.counts()
    }

    /// Whether something is looked at by the clock.
    pub fn is_polling(&self) -> bool {
        self.events.is_polling()
    }
}

impl Followed {
    /// Of these rules on the machine as it is.
    pub fn of(inventory: &Inventory) -> Self {
        let Inventory { rules, survey } = inventory;
        let globs = patterns(rules).filter_map(|pattern| match pattern {
            PathPattern::Glob(glob) => Some(glob),
            PathPattern::Regex(_) => None,
        });
        let directories = globs.flat_map(|glob| directories(&survey.roots, glob)).chain(links(rules));
        Self { subsystems: subsystems(rules), directories: directories.collect() }
    }

    /// With the subsystems that are followed whatever the rules say.
    fn wanted(&self, always: &BTreeSet<String>) -> Wanted {
        let Self { subsystems, directories } = self;
        let subsystems = subsystems.union(always).cloned().collect();
        Wanted { subsystems, directories: directories.iter().cloned().collect() }
    }
}

/// Where udev makes links that rules select by; they come after the device.
fn links(rules: &Rules) -> Vec<PathBuf> {
    let of = subsystems(rules);
    let known = [("block", "/dev/disk/by-id"), ("tty", "/dev/serial/by-id")];
    known.iter().filter(|(subsystem, _)| of.contains(*subsystem)).map(|(_, path)| PathBuf::from(path)).collect()
}

/// The directories whose names decide what a glob matches: those in which a step with marks is looked for, and that of the
/// last step. One before any mark is followed by its path, whether it is there or not.
fn directories(roots: &Roots, glob: &str) -> BTreeSet<PathBuf> {
    let steps: Vec<&str> = glob.split('/').filter(|step| !step.is_empty()).collect();
    let has_marks = |step: &&str| step.contains(['*', '?', '[', '\\']);
    let mut found = BTreeSet::new();
    for (place, step) in steps.iter().enumerate() {
        if !has_marks(step) && place + 1 != steps.len() {
            continue;
        }
        let before = format!("/{}", steps[..place].join("/"));
        if steps[..place].iter().any(&has_marks) {
            let there = expand(roots, &before, &step_matches).into_iter();
            found.extend(there.filter(|there| there.kind == NodeKind::Directory).map(|there| there.path.into()));
        } else {
            found.insert(before.into());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_directories_are_those_in_which_a_match_can_come() {
        let machine = tempfile::tempdir().unwrap();
        let roots = Roots::below(machine.path());
        fs::create_dir_all(machine.path().join("dev/serial/by-id")).unwrap();
        fs::create_dir_all(machine.path().join("dev/v4l")).unwrap();
        fs::write(machine.path().join("dev/null"), "").unwrap();
        for (glob, expected) in [
            ("/dev/ttyUSB*", &["/dev"][..]),
            ("/dev/fuse", &["/dev"]),
            ("/dev/snd/by-id/*", &["/dev/snd/by-id"]),
            ("/dev/*/by-id/*", &["/dev", "/dev/serial/by-id"]),
            ("/*", &["/"]),
        ] {
            let expected: BTreeSet<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(directories(&roots, glob), expected, "{glob}");
        }
    }
}
