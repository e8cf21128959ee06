//! Locks between users, with the kernel's protection of files in shared directories switched on. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as its tests do")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use outrigger_host::{Attempt, Locks, Wish};

/// Told to the other user's process: where the locks are.
const PLACE: &str = "LOCK_USERS_PLACE";
const NOBODY: u32 = 65534;
const PROTECTED: &str = "/proc/sys/fs/protected_regular";

/// Debian's `fs.protected_regular`, put back afterwards.
struct Protection(String);

impl Protection {
    fn on() -> Self {
        let before = fs::read_to_string(PROTECTED).unwrap();
        fs::write(PROTECTED, "2").unwrap();
        Self(before)
    }
}

impl Drop for Protection {
    fn drop(&mut self) {
        let _ = fs::write(PROTECTED, &self.0);
    }
}

/// Runs [`as_another_user`] as nobody; whether it got the lock.
fn nobody_gets_it(place: &Path) -> bool {
    // Where this program lies, nobody may look.
    let program = place.join("test");
    // By another process: what this one has open for writing, a child that another test starts has too for a moment, and
    // what is written to cannot be executed.
    assert!(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status().unwrap().success());
    let mut child = Command::new(program);
    child.args(["--exact", "as_another_user", "--nocapture"]).env(PLACE, place).uid(NOBODY).gid(NOBODY);
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    match (said.contains("locked"), said.contains("Some(0)")) {
        (locked, held) if locked != held => locked,
        _ => panic!("it said neither: {said}"),
    }
}

#[test]
fn as_another_user() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let locks = Locks::of_machine(Path::new(&place)).unwrap();
    match locks.try_lock("devices", "a", "nobody's").unwrap() {
        Attempt::Locked(_) => println!("locked"),
        Attempt::Held(holder) => println!("held by {} ({:?})", holder.text, holder.uid),
    }
}

#[test]
fn users_share_one_lock_under_protected_regular() {
    if !rustix::process::geteuid().is_root() {
        println!("left out: needs root");
        assert!(std::env::var_os("CI").is_none(), "CI runs as root");
        return;
    }
    let _protection = Protection::on();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(place.path(), open).unwrap();
    let locks = Locks::of_machine(place.path()).unwrap();
    let lock = locks.try_lock("devices", "a", "root").unwrap();
    assert!(!nobody_gets_it(place.path()), "given to two users");
    drop(lock);
    let lasts = Wish { text: "root", shared: false, lasts: true };
    let lock = locks.try_lock_against("devices", "a", lasts, |_| true).unwrap();
    assert!(!nobody_gets_it(place.path()), "given to two users");
    drop(lock);
    assert!(!nobody_gets_it(place.path()), "it lasts until it is given back");
    locks.forget("devices", "a");
    drop(locks.try_lock("devices", "a", "root").unwrap());
    // The file is root's now, and in a shared directory: nobody may lock it all the same.
    assert!(nobody_gets_it(place.path()));
    fs::remove_file(locks.directory().join("devices/a")).unwrap();
    assert!(nobody_gets_it(place.path()));
    // And root may lock nobody's file.
    assert!(matches!(locks.try_lock("devices", "a", "root").unwrap(), Attempt::Locked(_)));
}
