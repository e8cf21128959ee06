//! The Debian sid root that holds Apptainer, with the executable and an image of busybox inside.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use outrigger_e2e::{executable, groups};
use serde_json::Value;

/// The ordinary user of the root.
pub const USER: u32 = 1000;

/// A folder that is seen at the same path inside, with the executable, an image and the state. It goes with the test.
pub struct Sid {
    folder: tempfile::TempDir,
    enter: PathBuf,
}

impl Sid {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("outrigger-sid-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let built = told("OUTRIGGER_BIN");
        // Where it was built may be closed to others.
        let place = folder.path().join("outrigger");
        executable::put(&built, &place).unwrap();
        let sid = Self { folder, enter: told("OUTRIGGER_TEST_SID_ENTER") };
        sid.grow_tree();
        sid
    }

    /// The root file system of an image: busybox under all its names.
    fn grow_tree(&self) {
        let tree = self.path("tree");
        for folder in ["bin", "usr/bin", "etc", "dev", "proc", "sys", "tmp", "var/tmp", "home", "root"] {
            fs::create_dir_all(tree.join(folder)).unwrap();
        }
        fs::set_permissions(tree.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
        let busybox = told("OUTRIGGER_TEST_SID_ROOT").join("usr/bin/busybox");
        executable::copy(&busybox, &tree.join("bin/busybox")).unwrap();
        let list = Command::new(&busybox).arg("--list").output().unwrap().stdout;
        for name in String::from_utf8(list).unwrap().lines().filter(|name| *name != "busybox") {
            symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        fs::write(tree.join("etc/group"), "root:x:0:\n").unwrap();
        let own = tree.join(".singularity.d");
        fs::create_dir(&own).unwrap();
        fs::create_dir(own.join("env")).unwrap();
        fs::write(own.join("env/90-environment.sh"), "export FROM_IMAGE=yes\n").unwrap();
        fs::write(own.join("runscript"), "#!/bin/sh\necho \"entry point: $*\"\n").unwrap();
        fs::set_permissions(own.join("runscript"), Permissions::from_mode(0o755)).unwrap();
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The image as a directory.
    pub fn tree(&self) -> String {
        self.path("tree").display().to_string()
    }

    /// The image as a SIF file, made of the directory.
    pub fn sif(&self) -> String {
        self.build("busybox.sif", &self.tree())
    }

    /// A SIF file made of this source.
    pub fn build(&self, name: &str, source: &str) -> String {
        let file = self.path(name).display().to_string();
        let mut build = self.inside(0, &["apptainer", "-s", "build", &file, source]);
        // Apptainer's own cache may be read while another build writes it.
        let built = build.env("APPTAINER_CACHEDIR", self.path("build-cache")).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        file
    }

    /// What Apptainer itself says of a file.
    pub fn header(&self, file: &str) -> String {
        Said::of(self.inside(USER, &["apptainer", "sif", "header", file]).output().unwrap()).out
    }

    /// A folder that containers may write to.
    pub fn open_folder(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        folder
    }

    /// Writes a file into the folder.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// A command inside; its process id is that of the program.
    fn inside(&self, user: u32, command: &[&str]) -> Command {
        let mut enter = Command::new(&self.enter);
        enter.arg(user.to_string()).arg("--bind").arg(self.folder.path()).arg("--").args(command);
        enter.stdin(Stdio::null());
        enter
    }

    /// The executable inside.
    pub fn outrigger(&self, user: u32, args: &[&str]) -> Command {
        let executable = self.path("outrigger").display().to_string();
        self.with_state(user, self.inside(user, &[&[executable.as_str()], args].concat()))
    }

    /// The same where neither we nor Apptainer can make a process namespace.
    pub fn without_namespaces(&self, user: u32, args: &[&str]) -> Command {
        let executable = self.path("outrigger").display().to_string();
        let limit = "echo 0 > /proc/sys/user/max_pid_namespaces; exec \"$0\" \"$@\"";
        let mut words = vec!["unshare", "--user", "--map-root-user", "sh", "-ec", limit];
        let (uid, gid) = (format!("--map-user={user}"), format!("--map-group={user}"));
        if user != 0 {
            words.extend(["unshare", "--user", &uid, &gid]);
        }
        words.push(&executable);
        self.with_state(user, self.inside(user, &[&words, args].concat()))
    }

    fn with_state(&self, user: u32, mut command: Command) -> Command {
        let state = self.path(&format!("state-{user}"));
        command.env("OUTRIGGER_RUN_STATE_DIRECTORY", state).env("OUTRIGGER_RUN_LAUNCHER", "apptainer");
        command
    }

    /// Another program of this package inside.
    pub fn program(&self, user: u32, built: &str, args: &[&str]) -> Command {
        let place = self.path(Path::new(built).file_name().unwrap().to_str().unwrap());
        if !place.exists() {
            executable::put(built.as_ref(), &place).unwrap();
        }
        self.inside(user, &[&[place.to_str().unwrap()], args].concat())
    }

    /// Runs the executable to its end.
    pub fn run(&self, user: u32, args: &[&str]) -> Said {
        Said::of(self.outrigger(user, args).output().unwrap())
    }

    /// The processes of this machine that have something to do with this folder.
    pub fn processes(&self) -> Vec<String> {
        processes_with(&self.folder.path().display().to_string())
    }
}

impl Drop for Sid {
    /// The next command clears up after a runner that was killed.
    fn drop(&mut self) {
        for user in [0, USER] {
            let state = self.path(&format!("state-{user}"));
            let listed = state.join("pods").exists().then(|| self.outrigger(user, &["ps"]).output());
            if !std::thread::panicking() {
                let left = groups::of_state(&state);
                assert_eq!(left, [""; 0].map(PathBuf::from), "cgroups of pods that have ended; {listed:?}");
            }
        }
    }
}

/// The processes that see a mount which holds this text: a pod's are in a namespace of its own.
pub fn who_sees_a_mount(text: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let mounts = |process: &PathBuf| fs::read(process.join("mountinfo")).unwrap_or_default();
    entries.filter(|process| String::from_utf8_lossy(&mounts(process)).contains(text)).collect()
}

/// The command lines of processes whose command line holds this text. One that is about to execute something has none.
pub fn processes_with(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text)).collect()
}

/// What a program said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Its output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// A path that `cargo xtask test` tells its tests.
fn told(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`"));
    fs::canonicalize(Path::new(&path)).unwrap()
}
