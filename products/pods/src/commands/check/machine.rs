//! What this machine gives to pods, a line each: `good`, or `limited` with what is missing.

use std::path::Path;

use outrigger_host::Cgroups;
use outrigger_host::kernel::{self, MOUNTS, PROCESSES, Version};
use outrigger_host_launcher::HostLauncher;

use super::Line;

/// What was found out.
pub struct Machine {
    /// The kernel's release.
    kernel: String,
    /// The version of the cgroups that are mounted.
    cgroups: Option<u8>,
    /// What cannot be limited with them; nothing where all can.
    cgroups_lack: String,
    /// Whether the host launcher works, and then whether a user namespace is needed and what it refused.
    host: Result<Namespaces, String>,
    /// Where Apptainer is.
    apptainer: Option<String>,
}

/// What of namespaces can be had.
struct Namespaces {
    /// A user namespace is used; root needs none.
    user: bool,
    /// What cannot be had; nothing where all can.
    lack: String,
}

impl Machine {
    /// This machine, as its user sees it.
    pub fn here(apptainer: Option<&Path>, host: Result<&HostLauncher, &String>) -> Self {
        let cgroups = Cgroups::find(Path::new("/"));
        let namespaces =
            |host: &HostLauncher| Namespaces { user: host.uses_user_namespace(), lack: host.refusals().join("; ") };
        Self {
            kernel: kernel::release(),
            cgroups: cgroups.version(),
            cgroups_lack: cgroups.refusal().to_owned(),
            host: host.map(namespaces).map_err(Clone::clone),
            apptainer: apptainer.map(|path| path.display().to_string()),
        }
    }

    /// The lines.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = vec![("kernel", self.kernel()), ("cgroups", self.cgroups())];
        if let Ok(namespaces) = &self.host {
            lines.push(("namespaces", namespaces.line()));
        }
        lines.push(("launchers", self.launchers()));
        lines
    }

    fn kernel(&self) -> String {
        let running = &self.kernel;
        match Version::of(running) {
            Some(version) if version < PROCESSES => {
                format!("limited: Linux {running}; the host launcher needs Linux {PROCESSES}, volumes Linux {MOUNTS}")
            }
            Some(version) if version < MOUNTS => format!("limited: Linux {running}; volumes need Linux {MOUNTS}"),
            // One that does not tell its version is judged by the lines below.
            _ => format!("good: Linux {running}"),
        }
    }

    fn cgroups(&self) -> String {
        match (self.cgroups, self.cgroups_lack.as_str()) {
            (None, _) => "limited: none are mounted, so no limits hold".to_owned(),
            (Some(version), "") => format!("good: version {version}"),
            (Some(version), lack) => format!("limited: version {version}; {lack}"),
        }
    }

    fn launchers(&self) -> String {
        match (&self.host, &self.apptainer) {
            (Ok(_), Some(path)) => format!("good: host and apptainer ({path})"),
            (Ok(_), None) => "limited: host; no images, since neither apptainer nor singularity is in PATH".to_owned(),
            (Err(why), Some(path)) => format!("limited: apptainer ({path}); host cannot work here: {why}"),
            (Err(why), None) => format!("limited: none; host cannot work here: {why}"),
        }
    }
}

impl Namespaces {
    fn line(&self) -> String {
        let of_user = if self.user { "with a user namespace" } else { "no user namespace needed" };
        match self.lack.as_str() {
            "" => format!("good: {of_user}"),
            lack => format!("limited: {lack}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(kernel: &str) -> Machine {
        let host = Ok(Namespaces { user: true, lack: String::new() });
        let apptainer = Some("/usr/bin/apptainer".to_owned());
        Machine { kernel: kernel.to_owned(), cgroups: Some(2), cgroups_lack: String::new(), host, apptainer }
    }

    fn check(machine: &Machine, expect: &[&str]) {
        let lines: Vec<String> = machine.lines().iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(lines, expect);
    }

    #[test]
    fn a_machine_that_has_all_is_good() {
        check(
            &machine("6.1.0-18-amd64"),
            &[
                "kernel good: Linux 6.1.0-18-amd64",
                "cgroups good: version 2",
                "namespaces good: with a user namespace",
                "launchers good: host and apptainer (/usr/bin/apptainer)",
            ],
        );
    }

    #[test]
    fn what_an_old_and_locked_machine_lacks_is_told_with_what_is_needed() {
        let cgroups_lack = "this user may make no cgroups with memory".to_owned();
        let lack = "user namespaces are off".to_owned();
        let host = Ok(Namespaces { user: false, lack });
        let old = Machine { cgroups: Some(1), cgroups_lack, host, apptainer: None, ..machine("5.10.0-28-amd64") };
        check(
            &old,
            &[
                "kernel limited: Linux 5.10.0-28-amd64; volumes need Linux 5.12",
                "cgroups limited: version 1; this user may make no cgroups with memory",
                "namespaces limited: user namespaces are off",
                "launchers limited: host; no images, since neither apptainer nor singularity is in PATH",
            ],
        );
        let older = Machine { cgroups: None, host: Err("no pidfd".to_owned()), ..machine("4.18.0-553.el8") };
        check(
            &older,
            &[
                "kernel limited: Linux 4.18.0-553.el8; the host launcher needs Linux 5.3, volumes Linux 5.12",
                "cgroups limited: none are mounted, so no limits hold",
                "launchers limited: apptainer (/usr/bin/apptainer); host cannot work here: no pidfd",
            ],
        );
    }
}
