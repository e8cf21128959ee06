//! Users and groups, from `/etc/passwd` and `/etc/group`, else from `getent`, which knows directories too.
//!
//! The C library's own calls are never used: in a static executable they load the machine's modules and crash.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The number of the primary group.
    pub gid: u32,
    /// The home directory.
    pub home: String,
    /// The login shell.
    pub shell: String,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name.
    pub name: String,
    /// The number.
    pub gid: u32,
    /// The names of those who have it as a supplementary group.
    pub members: Vec<String>,
}

/// Why users or groups could not be looked up.
#[derive(Debug, thiserror::Error)]
#[error("cannot look up {key} in {database}")]
pub struct LookupError {
    /// `passwd` or `group`.
    pub database: &'static str,
    /// The name or number asked for.
    pub key: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The user of this number; `None` where nobody has it. May wait for a directory service.
pub fn by_uid(root: &Path, uid: u32) -> Result<Option<User>, LookupError> {
    find(root, "passwd", &uid.to_string(), user, |user| user.uid == uid)
}

/// The user of this name; `None` where nobody has it. May wait for a directory service.
pub fn by_name(root: &Path, name: &str) -> Result<Option<User>, LookupError> {
    find(root, "passwd", name, user, |user| user.name == name)
}

/// The group of this name; `None` where there is none. May wait for a directory service.
pub fn group_by_name(root: &Path, name: &str) -> Result<Option<Group>, LookupError> {
    find(root, "group", name, group, |group| group.name == name)
}

/// The users in `/etc/passwd`, without asking a directory service.
pub fn local(root: &Path) -> Vec<User> {
    let text = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    text.lines().filter_map(user).collect()
}

/// The home directory of this number in `/etc/passwd` alone, without asking a directory service.
pub fn local_home(root: &Path, uid: u32) -> Option<String> {
    local(root).into_iter().find(|user| user.uid == uid).map(|user| user.home)
}

/// The numbers of the groups in `/etc/group` that this user is a member of.
pub fn groups_of(root: &Path, user: &str) -> Vec<u32> {
    let text = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    let all = text.lines().filter_map(group);
    all.filter(|group| group.members.iter().any(|member| member == user)).map(|group| group.gid).collect()
}

fn find<T>(
    root: &Path,
    database: &'static str,
    key: &str,
    read: fn(&str) -> Option<T>,
    is_it: impl Fn(&T) -> bool,
) -> Result<Option<T>, LookupError> {
    let failed = |source| LookupError { database, key: key.to_owned(), source };
    let local = match fs::read_to_string(root.join("etc").join(database)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(failed)?,
    };
    if let Some(found) = local.lines().filter_map(read).find(&is_it) {
        return Ok(Some(found));
    }
    // Another machine's picture has no directory service, and a name that looks like an option is nobody's.
    if root != Path::new("/") || key.starts_with('-') {
        return Ok(None);
    }
    let asked = Command::new("getent").args([database, key]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    match asked {
        Ok(answer) => Ok(String::from_utf8_lossy(&answer.stdout).lines().filter_map(read).find(is_it)),
        // A machine without `getent` has no directory to ask.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// `passwd(5)`: `name:password:uid:gid:comment:home:shell`.
fn user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
    let (name, home, shell) = (name.to_owned(), home.to_owned(), shell.to_owned());
    Some(User { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home, shell })
}

/// `group(5)`: `name:password:gid:members`.
fn group(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields[..] else { return None };
    let members = members.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect();
    Some(Group { name: name.to_owned(), gid: gid.parse().ok()?, members })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken:x:many:0\nann:x:1000:100:Ann,,,:/home/ann:/bin/sh\n";
        fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        fs::write(root.path().join("etc/group"), "video:x:44:ann,bob\nempty:x:45:\n").unwrap();
        root
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let root = machine();
        let ann = by_uid(root.path(), 1000).unwrap().unwrap();
        assert_eq!((ann.name.as_str(), ann.gid, ann.home.as_str()), ("ann", 100, "/home/ann"));
        assert_eq!(by_name(root.path(), "ann").unwrap(), Some(ann));
        assert_eq!(by_uid(root.path(), 7).unwrap(), None);
        assert_eq!(group_by_name(root.path(), "video").unwrap().unwrap().members, ["ann", "bob"]);
        assert!(group_by_name(root.path(), "empty").unwrap().unwrap().members.is_empty());
        assert_eq!(groups_of(root.path(), "bob"), [44]);
        assert_eq!(local(root.path()).iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["root", "ann"]);
        assert_eq!(local_home(root.path(), 0).as_deref(), Some("/root"));
    }

    #[test]
    fn a_user_whom_this_machine_does_not_know_is_nobody() {
        assert_eq!(by_uid(Path::new("/"), 987_654).unwrap(), None);
        assert_eq!(by_name(Path::new("/"), "no-such-user-here").unwrap(), None);
        assert_eq!(by_name(Path::new("/"), "--help").unwrap(), None);
    }
}
