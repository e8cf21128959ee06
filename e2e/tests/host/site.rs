//! A state directory, and the executable run by some user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_e2e::{executable, groups};
use serde_json::{Value, json};

/// A user without rights, and its only group.
pub const NOBODY: u32 = 65534;

/// Both users that a test is run as.
pub const USERS: [u32; 2] = [0, NOBODY];

/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(120);

/// A folder with the executable, manifests and the state. It goes with the test.
pub struct Site {
    folder: tempfile::TempDir,
    user: u32,
}

impl Site {
    pub fn of(user: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("outrigger-host-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let built = std::env::var_os("OUTRIGGER_BIN").expect("OUTRIGGER_BIN is told by `cargo xtask test`");
        // Where it was built may be closed to others.
        let place = folder.path().join("outrigger");
        executable::put(built.as_ref(), &place).unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        chown(folder.path().join("state"), Some(user), Some(user)).unwrap();
        Self { folder, user }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder that everybody may write to.
    pub fn open_folder(&self, name: &str) -> String {
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        folder.display().to_string()
    }

    /// A command of the executable.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("outrigger"));
        command.uid(self.user).gid(self.user).args(args).current_dir("/");
        command.env("OUTRIGGER_RUN_STATE_DIRECTORY", self.path("state")).env("OUTRIGGER_RUN_LAUNCHER", "host");
        command.env_remove("HOME").env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
        command
    }

    /// A manifest of a pod `tried` with this spec.
    pub fn manifest(&self, spec: &Value) -> String {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec});
        let path = self.path("tried.json");
        fs::write(&path, pod.to_string()).unwrap();
        path.display().to_string()
    }

    /// Runs a pod to its end.
    pub fn run(&self, spec: &Value, flags: &[&str]) -> Ended {
        let manifest = self.manifest(spec);
        let mut args = vec!["run", "--output", "json"];
        args.extend(flags);
        args.push(&manifest);
        let output = self.command(&args).output().unwrap();
        let object: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        let err = String::from_utf8(output.stderr).unwrap();
        Ended { code: output.status.code().unwrap_or(-1), status: object["status"].clone(), err }
    }

    /// What the only container of such a pod says; it must succeed.
    pub fn message(&self, spec: &Value) -> String {
        let ended = self.run(spec, &[]);
        assert_eq!(ended.code, 0, "user {}: {ended:#?}", self.user);
        ended.message("main")
    }
}

impl Drop for Site {
    /// The next command clears up after a runner that was killed.
    fn drop(&mut self) {
        let state = self.path("state");
        let listed = state.join("pods").exists().then(|| self.command(&["ps"]).output());
        if !std::thread::panicking() {
            assert_eq!(
                groups::of_state(&state),
                [""; 0].map(PathBuf::from),
                "cgroups of pods that have ended; {listed:?}"
            );
        }
    }
}

/// How a pod ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub status: Value,
    pub err: String,
}

impl Ended {
    /// The end of a container.
    pub fn of(&self, container: &str) -> &Value {
        let all = self.status["containerStatuses"].as_array().unwrap_or_else(|| panic!("{self:#?}"));
        let status = all.iter().find(|status| status["name"] == container);
        &status.unwrap_or_else(|| panic!("{self:#?}"))["state"]["terminated"]
    }

    /// Its termination message.
    pub fn message(&self, container: &str) -> String {
        self.of(container)["message"].as_str().unwrap_or_else(|| panic!("{self:#?}")).to_owned()
    }
}

/// A container that runs a script whose output is its termination message.
pub fn container(name: &str, script: &str) -> Value {
    let script = format!("exec > /dev/termination-log; {script}");
    // The kubelet's own rule for `$$` in a command.
    json!({"name": name, "image": "none", "command": ["sh", "-c", script.replace('$', "$$")]})
}

/// A spec with one container.
pub fn spec(script: &str) -> Value {
    json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container("main", script)]})
}

/// The same spec with further fields.
pub fn with(mut spec: Value, more: Value) -> Value {
    let (Value::Object(all), Value::Object(more)) = (&mut spec, more) else { panic!("two objects") };
    all.extend(more);
    spec
}

/// Waits for something that cannot tell when it comes.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A namespace of this process.
pub fn own_namespace(kind: &str) -> String {
    fs::read_link(Path::new("/proc/self/ns").join(kind)).unwrap().display().to_string()
}
