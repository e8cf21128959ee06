//! Keeps a container from inside, where another program (Apptainer) has made it around this process.
//!
//! The environment it was started with is the image's, with that program's own variables in it; what a process of the
//! container gets is, from the lowest: defaults, image, task.

use std::env;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::{Pid, geteuid, getpid, set_child_subreaper};

use super::descendants::Reach;
use super::serve::{Agent, over, start};
use super::stage::tell;
use super::sys;
use super::wire::{Channel, Failure, InsideTask, ProcessTask, Report};

/// Does the task; comes back when the container has ended.
pub fn keep(mut task: InsideTask, channel: Channel, descriptors: Vec<OwnedFd>) {
    let reach = if getpid() == Pid::INIT { Reach::Namespace } else { Reach::Descendants };
    let base = base(&mut task);
    match begin(&task, &descriptors, reach) {
        Ok((signals, main)) => {
            tell(&channel, Ok(Report::Started));
            drop((task, descriptors));
            sys::shrink();
            Agent { channel, signals, reach, main: Some(main), base, commands: Vec::new(), deadline: None }.serve();
        }
        Err(failure) => {
            reach.empty(|_, _| ());
            tell(&channel, Err(failure));
        }
    }
}

/// The environment below that of each process; that of the main process is completed with it.
fn base(task: &mut InsideTask) -> Vec<(String, String)> {
    let mut defaults = std::mem::take(&mut task.defaults);
    defaults.push(("HOME".to_owned(), home(&task.process)));
    let base = over(
        &defaults,
        of_image(env::vars_os().filter_map(|(name, value)| {
            // A value that is no text could not cross the channel either.
            Some((name.into_string().ok()?, value.into_string().ok()?))
        })),
    );
    task.process.env = over(&base, std::mem::take(&mut task.process.env));
    base
}

/// The user's home as the image knows it, else `/` (runc, `libcontainer/init_linux.go`, `prepareEnv`).
fn home(process: &ProcessTask) -> String {
    let uid = process.identity.uid.unwrap_or_else(|| geteuid().as_raw());
    let known = outrigger_host::users::local_home(Path::new("/"), uid);
    known.filter(|home| Path::new(home).is_dir()).unwrap_or_else(|| "/".to_owned())
}

/// The image's part of an environment: without what Apptainer and its shell add for themselves.
fn of_image(all: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let is_noise = |name: &str, value: &str| match name {
        "PS1" | "PROMPT_COMMAND" | "SHLVL" | "PWD" | "OLDPWD" | "_" | "TERM" | "HOME" => true,
        "LANG" => value == "C",
        "LD_LIBRARY_PATH" => value == "/.singularity.d/libs",
        _ => name.starts_with("APPTAINER_") || name.starts_with("SINGULARITY_"),
    };
    all.filter(|(name, value)| !is_noise(name, value)).collect()
}

fn begin(task: &InsideTask, descriptors: &[OwnedFd], reach: Reach) -> Result<(OwnedFd, Pid), Failure> {
    if reach == Reach::Descendants {
        set_child_subreaper(Some(getpid())).map_err(|error| Failure::prepare("cannot adopt orphans", error))?;
    }
    let signals = sys::signals().map_err(|error| Failure::prepare("cannot watch signals", error))?;
    for (place, target) in &task.links {
        link(Path::new(place), target).map_err(|error| Failure::prepare(format!("cannot make {place}"), error))?;
    }
    if let Some(directory) = &task.process.directory {
        // As runc does; where it cannot be made, starting in it says why.
        let _ = fs::create_dir_all(directory);
    }
    if reach == Reach::Namespace {
        sys::share_output(&task.process.stdio, descriptors)
            .map_err(|error| Failure::prepare("cannot share the container's output with its init", error))?;
    }
    let main = start(&task.process, descriptors)?;
    Ok((signals, main))
}

fn link(place: &Path, target: &str) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_environment_only_the_image_remains() {
        let all = [
            ("PATH", "/opt/bin"),
            ("APPTAINER_NAME", "x"),
            ("SINGULARITY_BIND", "/a"),
            ("PS1", "Apptainer> "),
            ("LANG", "C"),
            ("LD_LIBRARY_PATH", "/.singularity.d/libs"),
            ("GREETING", "hello"),
        ];
        let left = of_image(all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(left, [("PATH".to_owned(), "/opt/bin".to_owned()), ("GREETING".to_owned(), "hello".to_owned())]);
    }
}
