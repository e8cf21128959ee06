//! Kills and collects processes: all of a process namespace, or all descendants of a keeper.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

use super::sys;

/// How far an agent reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It is the init of a process namespace.
    Namespace,
    /// It is a keeper: its descendants, found in `/proc`.
    Descendants,
}

impl Reach {
    /// Kills everything within reach and answers once all of it is gone; each end is told to `ended` (process id, status).
    pub fn empty(self, mut ended: impl FnMut(Pid, rustix::process::WaitStatus)) {
        loop {
            match self {
                Self::Namespace => sys::kill_namespace(),
                Self::Descendants => kill_descendants(),
            }
            // Each round ends at least one process; what was forked meanwhile is found in the next. All that have ended are
            // collected first: a walk over `/proc` for each would be slow on a machine with many processes.
            let mut options = WaitOptions::empty();
            loop {
                match wait(options) {
                    Ok(Some((pid, status))) => ended(pid, status),
                    Ok(None) => break,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(_) => return,
                }
                options = WaitOptions::NOHANG;
            }
        }
    }
}

/// As the init of a namespace, waits until this process is the only one of its namespace, at most this long. Others are no children of it, so
/// nothing tells of their end.
pub fn await_others(limit: Duration) {
    let until = Instant::now() + limit;
    while !sys::is_alone() && Instant::now() < until {
        // Orphans are this process' to collect.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill_descendants() {
    for pid in descendants(getpid().as_raw_nonzero().get()).unwrap_or_default() {
        if let Some(pid) = Pid::from_raw(pid) {
            // One that ended meanwhile is none of our concern: it stays a zombie until we collect it.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// All processes whose chain of parents leads to `root`, without `root` itself.
pub fn descendants(root: i32) -> io::Result<Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut seen) = (Vec::new(), HashSet::from([root]));
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(*child) {
                found.push(*child);
                open.push(*child);
            }
        }
    }
    Ok(found)
}

/// The parent of a process: the fourth field of its `stat`, after the name in parentheses, which may hold anything.
fn parent_of(pid: i32) -> Option<i32> {
    let mut stat = String::new();
    fs::File::open(format!("/proc/{pid}/stat")).ok()?.read_to_string(&mut stat).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_a_descendant_of_this_process() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let found = descendants(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(found.contains(&i32::try_from(child.id()).unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
