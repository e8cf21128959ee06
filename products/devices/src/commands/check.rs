//! `outrigger devices check`: tries what the configuration names, and tells what works, what is lost, and what cannot run.

use std::path::Path;

use outrigger_config::count;
use outrigger_device_core::decide::{Decision, Status, View, in_use, why};
use outrigger_device_core::ids::Kind;
use outrigger_device_core::picture::{Picture, Seen as Visible};
use outrigger_device_core::rules::EvidencePolicy;
use outrigger_kubelet_api::KUBELET_SOCKET;
use outrigger_terminal::{out, table};
use rustix::fs::inotify;

use super::who::{Seen, Told};
use super::{CommandError, configured, nodes};
use crate::args::CheckArgs;
use crate::claims;
use crate::directory::writable;
use crate::settings::{Configuration, Settings};

/// The initial user namespace, whose network namespaces alone hear the kernel.
const INITIAL_USERS: &str = "user:[4026531837]";

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// As it should be.
    Good,
    /// It goes on without, and something is lost.
    Lost,
    /// The node agent cannot run.
    Cannot,
}

/// One thing that was tried.
#[derive(Debug, PartialEq, Eq)]
struct Tried {
    what: String,
    verdict: Verdict,
    told: String,
}

fn good(what: &str, told: impl Into<String>) -> Tried {
    Tried { what: what.to_owned(), verdict: Verdict::Good, told: told.into() }
}

fn lost(what: &str, told: impl Into<String>) -> Tried {
    Tried { what: what.to_owned(), verdict: Verdict::Lost, told: told.into() }
}

fn cannot(what: &str, told: impl Into<String>) -> Tried {
    Tried { what: what.to_owned(), verdict: Verdict::Cannot, told: told.into() }
}

/// Checks: 0 where all is well, 1 where something is lost, 3 where the node agent cannot run.
pub fn check(args: &CheckArgs) -> Result<u8, CommandError> {
    let (configuration, inventory) = configured(&args.settings)?;
    let seen = Seen::now(&configuration, &inventory)?;
    let (decision, picture) = (seen.decide(), &seen.picture);
    let mut tried = vec![configured_by(&configuration)];
    tried.extend(kubelet(&configuration.settings, &seen.told));
    tried.extend(machine(&configuration.settings, picture));
    for resource in &inventory.rules.resources {
        tried.push(match &resource.groups[..] {
            [] => lost(&resource.name, "it has no groups, so that no device can match"),
            _ => offered(&resource.name, &decision),
        });
        tried.extend(mounted(&resource.name, &decision, picture));
    }
    let word = |verdict| match verdict {
        Verdict::Good => "good",
        Verdict::Lost => "lost",
        Verdict::Cannot => "CANNOT RUN",
    };
    let rows = tried.iter().map(|tried| vec![tried.what.clone(), word(tried.verdict).to_owned(), tried.told.clone()]);
    out::print(&table::table(&["WHAT", "IS", "DETAILS"], &rows.collect::<Vec<_>>()))?;
    Ok(match tried.iter().map(|tried| tried.verdict).max() {
        None | Some(Verdict::Good) => 0,
        Some(Verdict::Lost) => 1,
        Some(Verdict::Cannot) => 3,
    })
}

fn configured_by(configuration: &Configuration) -> Tried {
    let resources = count(configuration.resources.len(), "resource");
    match &configuration.file {
        Some(path) => good("configuration", format!("{}: {resources}", path.display())),
        None if !configuration.resources.is_empty() => good("configuration", format!("by flags: {resources}")),
        None => lost("configuration", "there is no devices.yaml, so nothing is offered"),
    }
}

/// What the node agent shares with the kubelet.
fn kubelet(settings: &Settings, told: &Told) -> Vec<Tried> {
    let directory = &settings.plugin_directory;
    let shown = directory.display();
    let mut tried = vec![match writable(directory) {
        Ok(()) => good("plugin directory", format!("{shown}, can be written")),
        Err(why) => cannot(
            "plugin directory",
            format!("{shown}: {why}; the agent needs a kubelet's: set pluginDirectory if one is elsewhere"),
        ),
    }];
    let socket = directory.join(KUBELET_SOCKET);
    tried.push(match std::os::unix::net::UnixStream::connect(&socket) {
        Ok(_) => good("kubelet", format!("{} takes connections", socket.display())),
        Err(error) => lost(
            "kubelet",
            format!("{} cannot be reached ({error}); devices are offered as soon as it is there", socket.display()),
        ),
    });
    let socket = claims::socket(&settings.kubelet_directory);
    tried.push(match &told.untold {
        Some(why) => lost("claims", why.as_str()),
        None if told.alone => lost(
            "claims",
            format!("{} is not there; who holds a device, and that it was given back, is not known", socket.display()),
        ),
        None => good("claims", format!("{} tells who holds devices", socket.display())),
    });
    tried
}

/// What the machine tells.
fn machine(settings: &Settings, picture: &Picture) -> Vec<Tried> {
    let mut tried = Vec::new();
    tried.push(match std::fs::read_link("/proc/self/ns/user") {
        Ok(namespace) if namespace == Path::new(INITIAL_USERS) => good("kernel events", "they reach this process"),
        _ => lost("kernel events", "not in a user namespace of its own; plugging is seen by looking every 5 s"),
    });
    tried.push(match inotify::init(inotify::CreateFlags::CLOEXEC) {
        Ok(_) => good("inotify", "an instance can be had"),
        Err(error) => lost(
            "inotify",
            format!("{error}; raise fs.inotify.max_user_instances, else directories are looked at every 5 s"),
        ),
    });
    let evidence = |what: &str, missing: Option<&str>| match missing {
        None => good(what, "visible"),
        Some(why) => lost(what, format!("{why}; disks without other evidence are withheld")),
    };
    tried.push(evidence("host's mounts", missing(&picture.mounts)));
    tried.push(evidence("host's swap", missing(&picture.swaps)));
    let udev = settings.host_root.join("run/udev/data");
    tried.push(if udev.is_dir() {
        good("udev", format!("{} tells what is on disks", udev.display()))
    } else {
        lost("udev", format!("{} is not there; what is on a disk is told only by its node", udev.display()))
    });
    let locks = settings.locks().map_err(|error| error.to_string()).and_then(|locks| {
        let shown = locks.directory().display().to_string();
        writable(locks.directory()).map(|()| locks).map_err(|why| format!("{shown}: {why}"))
    });
    tried.push(match locks {
        Ok(locks) => good("locks", format!("{} keeps others from our devices", locks.directory().display())),
        Err(why) => lost("locks", format!("{why}; `outrigger run` may give away the same devices")),
    });
    tried
}

fn missing<T>(seen: &Visible<T>) -> Option<&str> {
    match seen {
        Visible::Known(_) => None,
        Visible::Missing(why) => Some(why),
    }
}

/// How many devices of a resource are in which state.
fn offered(resource: &str, decision: &Decision) -> Tried {
    let of = |status: Status| {
        let findings = decision.findings.iter().filter(|finding| finding.resource.as_deref() == Some(resource));
        findings.filter(|finding| finding.status == status).count()
    };
    let counts =
        [Status::Offered, Status::Unhealthy, Status::Vanished, Status::Withheld].map(|status| (status, of(status)));
    let told: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| format!("{count} {}", status.word()))
        .collect();
    if told.is_empty() {
        return lost(resource, "no device matches; `outrigger devices list --all` shows what is here");
    }
    good(resource, told.join(", "))
}

/// What a resource gives by its path although it is in use: with `paths`, that is what was asked for.
fn mounted(resource: &str, decision: &Decision, picture: &Picture) -> Vec<Tried> {
    let of_it = decision.findings.iter().filter(|finding| finding.resource.as_deref() == Some(resource));
    let by_path = of_it.filter(|finding| finding.kind == Kind::Path && finding.status == Status::Offered);
    let told = by_path.filter_map(|finding| {
        let (_, name) = nodes::device(finding, picture);
        let view = picture.block.iter().flat_map(View::all).find(|view| view.name() == name)?;
        let (reasons, _) = in_use(view, picture, EvidencePolicy::Sysfs);
        let what = format!("{} is {}", finding.name, why(&reasons));
        let help = "paths gives what is asked for, also then; use block, which does not";
        (!reasons.is_empty()).then(|| lost(resource, format!("{what}; {help}")))
    });
    told.collect()
}
