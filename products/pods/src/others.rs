//! Other users' state directories, for root: those at the default place in the homes of `/etc/passwd`, and those of
//! runners that run now, wherever they are.
//!
//! What it does not do: it writes nothing there and brings no abandoned run to its end; that is for the user's own next
//! command. What a user may have put in a record's place (a pipe, a link, a device) is not read, which the directory sees to.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use outrigger_host::users;
use outrigger_pod_directory::{Kind, StateDirectory};

use crate::record::{Record, chain};

/// What another user runs and ran.
#[derive(Debug)]
pub struct Section {
    /// The user's name, or the number where it has none.
    pub user: String,
    /// The newest run of each name.
    pub records: Vec<Record>,
}

/// Everything in the state directories of others, in order of the users. `note` is told what cannot be read.
pub fn sections(own: &StateDirectory, mut note: impl FnMut(String)) -> Vec<Section> {
    let mut places: BTreeSet<PathBuf> = running(Path::new("/proc"));
    places.extend(at_home(Path::new("/")));
    let real = |path: &Path| fs::canonicalize(path).ok();
    let own = real(own.root());
    let places: BTreeSet<PathBuf> = places.iter().filter_map(|place| real(place)).collect();
    let mut sections: Vec<Section> = places
        .into_iter()
        .filter(|place| own.as_ref() != Some(place))
        .map(|place| Section { user: owner(&place), records: records(&StateDirectory::at(place), &mut note) })
        .filter(|section| !section.records.is_empty())
        .collect();
    sections.sort_by(|one, other| one.user.cmp(&other.user));
    sections
}

/// The default places of users who have a home on this machine.
fn at_home(root: &Path) -> Vec<PathBuf> {
    let places = users::local(root).into_iter().map(|user| Path::new(&user.home).join(".local/state/outrigger/run"));
    places.filter(|place| place.is_absolute() && place.is_dir()).collect()
}

/// The state directories of running runners: each has the lock of its run open.
fn running(proc: &Path) -> BTreeSet<PathBuf> {
    let locks = fs::read_to_string(proc.join("locks")).unwrap_or_default();
    let holders: BTreeSet<PathBuf> = locks.lines().filter_map(holder).map(|pid| proc.join(pid)).collect();
    let own = executable_name(&proc.join("self"));
    let runs_ours = |process: &PathBuf| own.is_some() && executable_name(process) == own;
    // Where the file system has no locks, the kernel lists none: then at least those of our name are found.
    let named = entries(proc).filter(runs_ours);
    let open = holders.into_iter().chain(named).flat_map(|process| entries(&process.join("fd")));
    open.filter_map(|file| state_of(&fs::read_link(file).ok()?)).collect()
}

/// Who holds a lock as runners do, by a line of `/proc/locks` (`proc_locks(5)`): `7: FLOCK  ADVISORY  WRITE 421 fe:00:99 0 EOF`.
/// Whoever waits for one has an arrow before `FLOCK`.
fn holder(line: &str) -> Option<&str> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "FLOCK", _, "WRITE", pid, ..] => Some(pid),
        _ => None,
    }
}

/// The file name of what a process executes; one that was replaced meanwhile is "(deleted)".
fn executable_name(process: &Path) -> Option<String> {
    let executable = fs::read_link(process.join("exe")).ok()?;
    Some(executable.file_name()?.to_str()?.trim_end_matches(" (deleted)").to_owned())
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// `STATE` of `STATE/pods/NAMESPACE/NAME/RUN/lock`.
fn state_of(lock: &Path) -> Option<PathBuf> {
    let mut above = lock.ancestors();
    let is_lock = above.next()?.file_name()? == "lock";
    let run = above.next()?.file_name()?.to_str()?.parse::<u32>().is_ok();
    let kind = above.nth(2)?.file_name()?;
    let state = above.next()?;
    (is_lock && run && (kind == "pods" || kind == "jobs")).then(|| state.to_owned())
}

fn records(state: &StateDirectory, note: &mut impl FnMut(String)) -> Vec<Record> {
    let mut records = Vec::new();
    for kind in [Kind::Job, Kind::Pod] {
        for name in state.names(kind).unwrap_or_default() {
            // A name without runs was removed meanwhile.
            let Ok(latest) = state.latest(kind, &name) else { continue };
            match Record::read(latest) {
                Ok(record) => records.push(record),
                Err(error) => {
                    note(format!("{kind} {name} in {} is left out: {}", state.root().display(), chain(&error)));
                }
            }
        }
    }
    records
}

/// Whose a directory is.
fn owner(directory: &Path) -> String {
    let Ok(uid) = fs::metadata(directory).map(|it| it.uid()) else { return "-".to_owned() };
    let known = users::by_uid(Path::new("/"), uid).ok().flatten();
    known.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_lock_is_read_from_the_kernels_list() {
        for (line, pid) in [
            ("7: FLOCK  ADVISORY  WRITE 421 fe:00:99 0 EOF", Some("421")),
            ("7: -> FLOCK  ADVISORY  WRITE 422 fe:00:99 0 EOF", None),
            ("8: FLOCK  ADVISORY  READ 421 fe:00:99 0 EOF", None),
            ("9: POSIX  ADVISORY  WRITE 421 fe:00:99 0 EOF", None),
            ("", None),
        ] {
            assert_eq!(holder(line), pid, "{line}");
        }
    }

    #[test]
    fn a_state_directory_is_told_by_the_lock_of_a_run() {
        for (lock, state) in [
            ("/s/pods/default/web/3/lock", Some("/s")),
            ("/home/a/state/jobs/n/j/1/lock", Some("/home/a/state")),
            ("/s/pods/default/web/lock", None),
            ("/s/other/default/web/3/lock", None),
            ("/s/pods/default/web/3/status.json", None),
            ("socket:[1]", None),
        ] {
            assert_eq!(state_of(Path::new(lock)).as_deref(), state.map(Path::new), "{lock}");
        }
    }
}
