//! A static glibc executable must hold no name-service call: it would load the machine's modules and crash.
//! `docs/decisions/0002-static-executable.md` tells why.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::step::{self, Found};

/// The calls, as their symbols are named, without leading underscores and the ending `_r`.
const CALLS: &[&str] = &[
    "endgrent",
    "endpwent",
    "getaddrinfo",
    "getgrent",
    "getgrgid",
    "getgrnam",
    "getgrouplist",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname2",
    "getnameinfo",
    "getnetgrent",
    "getpwent",
    "getpwnam",
    "getpwuid",
    "getservbyname",
    "getservbyport",
    "getspnam",
    "initgroups",
    "innetgr",
    "setgrent",
    "setpwent",
];

/// Fails when the executable holds one of the calls. Needs `nm`, which comes with every C compiler.
pub fn check(executable: &Path) -> Result<()> {
    let listed = step::output(Command::new("nm").arg("--format=posix").arg(executable))?;
    if listed.lines().count() == 0 {
        bail!(Found(format!("{} has no symbols to check: build it without stripping them", executable.display())));
    }
    let found = calls(&listed);
    if !found.is_empty() {
        let text = "crash in a static executable; use outrigger_host::users and outrigger_host::names";
        bail!(Found(format!("{} holds {}, which {text}", executable.display(), found.join(", "))));
    }
    println!("{} holds no name-service call", executable.display());
    Ok(())
}

/// The calls among the symbols that `nm --format=posix` lists: a name, a type, and more.
fn calls(listed: &str) -> Vec<&str> {
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| CALLS.contains(&plain(name))).collect()
}

/// `__getpwnam_r@GLIBC_2.2.5` is `getpwnam`.
fn plain(symbol: &str) -> &str {
    let name = symbol.split('@').next().unwrap_or(symbol).trim_start_matches('_');
    name.strip_suffix("_r").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_call_is_found_under_each_of_its_names() {
        let listed = "main T 401000 10\n__getpwnam_r T 402000 20\ngetaddrinfo@GLIBC_2.2.5 U\nmy_getpwnam T 403000 8\n";
        assert_eq!(calls(listed), ["__getpwnam_r", "getaddrinfo@GLIBC_2.2.5"]);
    }

    #[test]
    fn an_executable_that_asks_for_a_user_fails_and_one_that_does_not_passes() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text, is_good) in [
            ("good", "int main(void) { return 0; }", true),
            ("bad", "#include <pwd.h>\nint main(void) { return getpwnam(\"a\") == 0; }", false),
        ] {
            let source = directory.path().join(format!("{name}.c"));
            fs::write(&source, text).unwrap();
            let executable = directory.path().join(name);
            step::command(Command::new("cc").arg("-o").arg(&executable).arg(&source)).unwrap();
            assert_eq!(check(&executable).is_ok(), is_good, "{name}");
        }
    }
}
