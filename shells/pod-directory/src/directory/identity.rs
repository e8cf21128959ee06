//! Which process a runner is: its PID, when it started, on which boot of which machine.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process, told apart from every other one that ever had or will have its PID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerIdentity {
    /// Its PID.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot (`/proc/PID/stat`, field 22).
    pub started: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The machine's host name, for people and for state directories that several machines share.
    pub host: String,
}

impl RunnerIdentity {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        Self { pid, started: start_time(pid).unwrap_or_default(), boot_id: boot_id(), host: host_name() }
    }

    /// Whether this very process lives; `None` where another machine would have to answer.
    pub fn lives(&self) -> Option<bool> {
        if self.boot_id == boot_id() {
            Some(start_time(self.pid) == Some(self.started))
        } else if self.host == host_name() {
            Some(false) // The machine was started anew since.
        } else {
            None
        }
    }
}

/// Field 22 of `/proc/PID/stat`; `None` where there is no such process, or only a zombie of it.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may itself hold spaces and parentheses.
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_with_its_pid_of_another_time_does_not() {
        let this = RunnerIdentity::this();
        assert_eq!(this.lives(), Some(true));
        assert_eq!(RunnerIdentity { started: this.started + 1, ..this.clone() }.lives(), Some(false));
        assert_eq!(RunnerIdentity { boot_id: "before".into(), ..this.clone() }.lives(), Some(false));
        assert_eq!(RunnerIdentity { boot_id: "before".into(), host: "elsewhere".into(), ..this }.lives(), None);
    }
}
