//! How a process of the machine becomes the first process of a cluster. Each stage is this program anew.
//!
//! ```text
//! up ── group ── enters the cluster's groups
//!          └ exec unshare --cgroup ── namespaces ── leaves the root of version 2
//!               └ exec unshare --net --mount --pid … ── first ── process 1: covers, links, reaps
//!                                                          └ supervise ── starts the components
//! ```
//!
//! The listener that `up` made in the machine's network is the standard input of all of them, and the owner, where there is one,
//! their standard output: as a descriptor of a process, which can be read when that ends. When process 1 is killed, the
//! kernel ends all others, and with them go the namespaces, their mounts and links.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions};

use super::group::Cgroups;
use super::place::{Identity, Place};
use super::{NODE, covers, network, supervise};

/// `cargo xtask cluster inside`, which only `up` calls.
#[derive(clap::Args, Debug)]
pub struct Args {
    stage: Stage,
    cache: PathBuf,
    name: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Stage {
    Group,
    Namespaces,
    First,
    Supervise,
}

/// Starts the chain; it goes on when we end, and until the owner does.
pub fn start(place: &Place, listener: TcpListener, owner: Option<OwnedFd>) -> Result<Child> {
    let log = fs::File::create(place.log("cluster"))?;
    let mut group = stage(place, Stage::Group)?;
    group.stdin(OwnedFd::from(listener)).stderr(log);
    group.stdout(owner.map_or_else(Stdio::null, Stdio::from));
    group.spawn().context("cannot start the cluster's first process")
}

/// Takes a stage.
pub fn run(args: &Args) -> Result<()> {
    let place = Place { cache: args.cache.clone(), name: args.name.clone() };
    match args.stage {
        Stage::Group => {
            // A terminal that goes away takes its session with it, and we should stay.
            rustix::process::setsid().context("cannot leave the session")?;
            Cgroups::here()?.enter(&place.name)?;
            unshare(&["--cgroup"], &stage(&place, Stage::Namespaces)?)
        }
        Stage::Namespaces => {
            Cgroups::here()?.leave_root(&place.name)?;
            let kinds =
                ["--net", "--mount", "--pid", "--uts", "--ipc", "--propagation=slave", "--fork", "--kill-child"];
            unshare(&kinds, &stage(&place, Stage::First)?)
        }
        Stage::First => first(&place),
        Stage::Supervise => {
            let options = place.options().context("the cluster's options are gone")?;
            supervise::run(&place, &options)
        }
    }
}

fn stage(place: &Place, stage: Stage) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("this program has no path")?);
    let value = stage.to_possible_value().context("a stage without a name")?;
    command.args(["cluster", "inside", value.get_name()]).arg(&place.cache).arg(&place.name);
    Ok(command)
}

/// Becomes `unshare`, which becomes or starts the next stage.
fn unshare(kinds: &[&str], next: &Command) -> Result<()> {
    let mut unshare = Command::new("unshare");
    unshare.args(kinds).arg("--").arg(next.get_program()).args(next.get_args());
    Err(unshare.exec()).context("cannot start unshare")
}

/// Process 1.
fn first(place: &Place) -> Result<()> {
    // Still the machine's `/proc`, which knows us by the machine's number.
    let pid = fs::read_link("/proc/self").context("cannot read /proc/self")?;
    let own = Identity::of(Path::new("/proc"), &pid.to_string_lossy()).context("this process is not in /proc")?;
    // Known with its controllers while the machine's mounts are there.
    let cgroups = Cgroups::here()?;
    place.write("init", &format!("{} {}\n", own.pid, own.start))?;
    if place.options().is_some_and(|options| options.owner.is_some()) {
        std::thread::spawn(end_with_owner);
    }
    covers::lay(place, &cgroups)?;
    network::make()?;
    rustix::system::sethostname(NODE.as_bytes()).context("cannot set the host name")?;
    let supervisor = stage(place, Stage::Supervise)?.spawn().context("cannot start the supervisor")?;
    reap(supervisor.id())
}

/// Ends everything when the owner ends.
fn end_with_owner() {
    let owner = io::stdout();
    loop {
        let mut polled = [PollFd::from_borrowed_fd(owner.as_fd(), PollFlags::IN)];
        if !matches!(poll(&mut polled, None), Err(rustix::io::Errno::INTR)) {
            std::process::exit(0);
        }
    }
}

/// Takes in every process whose parent has ended, until the supervisor does.
fn reap(supervisor: u32) -> Result<()> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().unsigned_abs() == supervisor => {
                bail!("the supervisor ended: {status:?}");
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("nothing is left to wait for"),
        }
    }
}

/// A listener on loopback; port 0 is any that is free.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Ends process 1 of a cluster and waits for its end: then all its others have ended too.
pub fn kill(init: Identity) {
    use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let Some(process) = Pid::from_raw(init.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return;
    };
    // The descriptor means one process for good; the number meant ours if that still has our start.
    if init.is_alive() {
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
    while init.is_alive() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
