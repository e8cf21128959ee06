//! A real cluster that `cargo xtask cluster` starts for one test, and ends with it.

pub mod allocatable;
pub mod api;
pub mod disks;
pub mod machine;
pub mod namespace;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use api::Api;
use serde_json::Value;

/// How long a test waits for what a busy machine does late.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A cluster; its end is that of the value.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    kubeconfig: PathBuf,
    bin: PathBuf,
    api: OnceLock<Api>,
    is_down: bool,
}

impl Cluster {
    /// Starts one of a name that is this process's own, or finds it running. It ends with this process at the latest.
    pub fn up(name: &str, options: &[&str]) -> Result<Self> {
        let name = own_name(name);
        let mut cluster =
            Self { name, kubeconfig: PathBuf::new(), bin: PathBuf::new(), api: OnceLock::new(), is_down: false };
        let said = output(up_of(&cluster.name, std::process::id()).args(options))?;
        let exports = said.lines().find_map(|line| line.strip_prefix("export KUBECONFIG="));
        let exported = exports.and_then(|rest| rest.split_once(" PATH="));
        let (kubeconfig, path) = exported.with_context(|| format!("`up` names no kubeconfig:\n{said}"))?;
        cluster.kubeconfig = kubeconfig.into();
        cluster.bin = path.trim_end_matches(":$PATH").into();
        Ok(cluster)
    }

    /// `cargo xtask cluster COMMAND` of this cluster.
    pub fn command(&self, command: &str) -> Command {
        command_of(&self.name, command)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `kubectl` says from the machine's side.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        ask(self.program("kubectl").args(args))
    }

    /// Creates or changes these objects, written as JSON or YAML.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let mut apply = self.program("kubectl");
        apply.args(["apply", "--filename=-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut apply = apply.spawn().context("cannot start kubectl")?;
        let input = apply.stdin.take();
        input.map(|mut input| std::io::Write::write_all(&mut input, manifest.as_bytes())).transpose()?;
        said("kubectl apply", &apply.wait_with_output()?)
    }

    /// A program of the cluster, on the machine's side.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", self.directory().join("kubectl"));
        command
    }

    /// What a command says inside.
    pub fn inside(&self, words: &[&str]) -> Result<String> {
        output(self.command("shell").arg("--").args(words))
    }

    /// The administrator's kubeconfig, for the machine's side.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its API, for tests that ask much.
    pub fn api(&self) -> Result<&Api> {
        if let Some(api) = self.api.get() {
            return Ok(api);
        }
        let api = Api::start(self.command("shell"), &self.root()?)?;
        Ok(self.api.get_or_init(|| api))
    }

    /// Its `/`, as the machine sees it.
    pub fn root(&self) -> Result<PathBuf> {
        let init =
            std::fs::read_to_string(self.directory().join("init")).context("the cluster has no first process")?;
        Ok(format!("/proc/{}/root", init.split(' ').next().unwrap_or_default()).into())
    }

    /// Fails where a component has ended by itself, with its last lines.
    pub fn is_whole(&self) -> Result<()> {
        let record = std::fs::read(self.directory().join("record.json")).context("the cluster is gone")?;
        let record: Value = serde_json::from_slice(&record)?;
        let components = record["components"].as_array();
        let ended = components.into_iter().flatten().find(|component| component["ended"].is_string());
        let Some(component) = ended else { return Ok(()) };
        let name = component["name"].as_str().unwrap_or_default();
        bail!("{name} ended ({}); its last lines:\n{}", component["ended"], self.last_lines(name));
    }

    /// Fails where a process of our image has crashed, with its last words. One that was killed has not.
    pub fn has_no_crash(&self) -> Result<()> {
        let pods = self.api()?.get("/api/v1/pods?labelSelector=app.kubernetes.io/name=outrigger")?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let ended = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
            if ended.is_object() && (ended["exitCode"] != 137 || ended["reason"] == "OOMKilled") {
                let (name, space) = (pod["metadata"]["name"].as_str(), pod["metadata"]["namespace"].as_str());
                let (name, space) = (name.unwrap_or_default(), space.unwrap_or_default());
                let said = self.api()?.text(&format!("/api/v1/namespaces/{space}/pods/{name}/log?previous=true"));
                bail!("{name} has crashed: {ended}; it said:\n{}", said.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// What all its processes take.
    pub fn memory(&self) -> String {
        let status = output(&mut self.command("status")).unwrap_or_default();
        status.lines().last().unwrap_or_default().to_owned()
    }

    /// Where its files are while it runs.
    pub fn directory(&self) -> &Path {
        self.bin.parent().unwrap_or(&self.bin)
    }

    /// Waits until a pod is ready; where it does not come, the error says what an engineer would ask for.
    pub fn until_ready(&self, namespace: &str, pod: &str) -> Result<()> {
        let ready = "--output=jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        self.until(namespace, "True", &["get", "--namespace", namespace, pod, ready])
    }

    /// Asks until the answer is this, in a namespace that is told of where it does not come.
    pub fn until(&self, namespace: &str, expected: &str, args: &[&str]) -> Result<()> {
        let what = format!("`{}` says {expected}", args.join(" "));
        self.until_that(namespace, &what, || Ok(self.kubectl(args)?.trim() == expected))
    }

    /// Asks until it is so; a fault may pass, and is told where it does not.
    pub fn until_that(&self, namespace: &str, what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
        let begin = Instant::now();
        loop {
            let answer = is_so();
            if matches!(answer, Ok(true)) {
                return Ok(());
            }
            self.is_whole()?;
            if PATIENCE < begin.elapsed() {
                bail!("in vain was waited until {what}: {answer:?}\n{}", self.explain(namespace));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Pods, events and the kubelet's last lines.
    pub fn explain(&self, namespace: &str) -> String {
        let told = [
            self.kubectl(&["get", "pods", "--namespace", namespace, "--output=wide"]),
            self.kubectl(&["get", "events", "--namespace", namespace, "--sort-by=.lastTimestamp"]),
            Ok(self.last_lines("kubelet")),
        ];
        told.map(|text| text.unwrap_or_else(|error| format!("{error:#}\n"))).join("\n")
    }

    /// The last lines of a component's log.
    fn last_lines(&self, component: &str) -> String {
        let log = self.directory().join(format!("log/{component}.log"));
        output(Command::new("tail").args(["-n", "20"]).arg(log)).unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Ends it, and fails where that fails.
    pub fn down(mut self) -> Result<()> {
        let down = output(&mut self.command("down")).map(drop);
        self.is_down = down.is_ok();
        down
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.is_down {
            let _ = output(&mut self.command("down"));
        }
    }
}

/// A name that no other run of the same test has.
pub fn own_name(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// `cargo xtask cluster COMMAND --name NAME`.
pub fn command_of(name: &str, command: &str) -> Command {
    let xtask = std::env::var_os("OUTRIGGER_TEST_XTASK").expect("`cargo xtask test` names itself");
    let mut xtask = Command::new(xtask);
    xtask.args(["cluster", command, "--name", name]).stdin(Stdio::null());
    xtask
}

/// `cargo xtask cluster up`, of the version that `cargo xtask cluster matrix` names; the cluster ends with the owner.
pub fn up_of(name: &str, owner: u32) -> Command {
    let mut up = command_of(name, "up");
    up.args(["--owner", &owner.to_string()]);
    if let Some(version) = std::env::var_os("OUTRIGGER_TEST_KUBERNETES") {
        up.arg("--kubernetes").arg(version);
    }
    up
}

/// Runs a client of the API: kubectl or Helm. One that meets a server too busy to shake hands within 10 s ends before it has asked
/// for anything; then it is started again.
pub fn ask(client: &mut Command) -> Result<String> {
    let begin = Instant::now();
    loop {
        let answer = output(client);
        let is_unheard = answer.as_ref().is_err_and(|error| error.to_string().contains("TLS handshake timeout"));
        if !is_unheard || PATIENCE < begin.elapsed() {
            return answer;
        }
    }
}

/// Runs a command; answers what it wrote to stdout.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    said(&shown, &command.output().with_context(|| format!("cannot start {shown}"))?)
}

fn said(shown: &str, output: &std::process::Output) -> Result<String> {
    if !output.status.success() {
        bail!("{shown}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_nobody_shook_hands_with_is_started_again() {
        let place = tempfile::tempdir().unwrap();
        let client = |script: &str| ask(Command::new("sh").args(["-c", script]).current_dir(place.path()));
        let second = "test -e first && exec echo heard; > first; echo net/http: TLS handshake timeout >&2; exit 1";
        assert_eq!(client(second).unwrap(), "heard\n");
        let refused = "test -e once && exit 0; > once; echo forbidden >&2; exit 1";
        assert!(client(refused).unwrap_err().to_string().contains("forbidden"));
    }
}
