//! Runs all the other tests once more without rights.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::bench::{agent, is_root};

const NOBODY: u32 = 65534;

#[test]
fn all_of_this_holds_for_an_ordinary_user() {
    if !is_root() {
        return;
    }
    // Where the tests are built may be closed to others.
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let copy = |from: std::path::PathBuf, name: &str| {
        let to = directory.path().join(name);
        // By another process: what this one has open for writing, a child that another test starts has too for a moment,
        // and what is written to cannot be executed.
        assert!(Command::new("cp").arg(from).arg(&to).status().unwrap().success());
        fs::set_permissions(&to, Permissions::from_mode(0o755)).unwrap();
        to
    };
    let tests = copy(std::env::current_exe().unwrap(), "tests");
    let agent = copy(agent(), "agent");
    let output = Command::new(tests)
        .args(["--skip", "all_of_this_holds_for_an_ordinary_user"])
        .env("OUTRIGGER_TEST_AGENT", agent)
        .env("TMPDIR", directory.path())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}
