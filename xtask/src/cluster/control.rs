//! `cargo xtask cluster restart`: asks the supervisor inside, over a socket that only the cluster's `/run` has.
//!
//! One line asks (`restart kubelet`), one line answers: `done`, or what went wrong.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::place::Place;
use crate::step::Found;

/// Where the supervisor listens, inside.
const SOCKET: &str = "/run/cluster.sock";

/// `cargo xtask cluster restart`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    named: super::Named,
    /// The component: kubelet, containerd, kube-scheduler, …
    component: String,
}

impl Args {
    pub(super) fn name(&self) -> &str {
        &self.named.name
    }
}

/// Ends a component and starts it again; its containers run on.
pub fn restart(place: &Place, args: &Args) -> Result<()> {
    let Some(init) = place.init() else {
        bail!(Found(format!("no cluster {0} runs: `cargo xtask cluster up --name {0}` starts it", place.name)));
    };
    let path = format!("/proc/{}/root{SOCKET}", init.pid);
    let mut stream = UnixStream::connect(&path).context("the cluster's supervisor does not answer")?;
    writeln!(stream, "restart {}", args.component)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match answer.trim() {
        "done" => Ok(()),
        "" => bail!(Found("the cluster's supervisor ended before it answered".into())),
        wrong => bail!(Found(wrong.to_owned())),
    }
}

/// The supervisor's side; one request at a time.
pub fn serve(restart: impl Fn(&str) -> Result<()> + Send + 'static) -> Result<()> {
    serve_at(Path::new(SOCKET), restart)
}

fn serve_at(path: &Path, restart: impl Fn(&str) -> Result<()> + Send + 'static) -> Result<()> {
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            // Whoever asked may be gone: that is theirs to know.
            let _ = answer(&stream, &restart);
        }
    });
    Ok(())
}

fn answer(mut stream: &UnixStream, restart: &impl Fn(&str) -> Result<()>) -> Result<()> {
    let mut request = String::new();
    BufReader::new(stream).read_line(&mut request)?;
    let answer = match request.trim().split_once(' ') {
        Some(("restart", component)) => match restart(component) {
            Ok(()) => "done".to_owned(),
            Err(error) => format!("{error:#}").replace('\n', " "),
        },
        _ => format!("unknown request {}", request.trim()),
    };
    writeln!(stream, "{answer}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_with_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        serve_at(&path, |component| if component == "kubelet" { Ok(()) } else { bail!("no {component}\nhere") })
            .unwrap();
        for (request, expected) in
            [("restart kubelet", "done"), ("restart etcd", "no etcd here"), ("stop", "unknown request stop")]
        {
            let mut stream = UnixStream::connect(&path).unwrap();
            writeln!(stream, "{request}").unwrap();
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).unwrap();
            assert_eq!(answer.trim(), expected);
        }
    }
}
