//! The command line and the environment of Apptainer: values in, values out.
//!
//! Nothing that a manifest holds as a value is in them: the container's command, arguments and environment go to the
//! agent inside over its channel.

use std::path::Path;

use outrigger_host_launcher::agent;

/// Where the agent lies in the container.
pub const AGENT: &str = "/.outrigger/outrigger-init";

/// What of Apptainer is used for one container.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Make a user namespace: the caller is not root.
    pub user_namespace: bool,
    /// Make a process namespace.
    pub process_namespace: bool,
    /// How the root becomes writable; `None`: it stays read-only.
    pub writable: Option<Writable>,
    /// The capabilities that root keeps, by name (`CAP_CHOWN`); `None` where the caller is not root.
    pub capabilities: Option<Vec<String>>,
    /// What is bound where.
    pub binds: Vec<Bind>,
    /// The image's file or directory.
    pub image: String,
}

/// How the image's files can be written over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writable {
    /// Apptainer's own file system in memory, of the size that its configuration says.
    Tmpfs,
    /// A directory that takes what is written.
    Directory(String),
}

/// Something bound into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Path outside.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Only to be read.
    pub read_only: bool,
}

impl Command {
    /// The arguments, beginning with the program.
    pub fn argv(&self, program: &Path) -> Vec<String> {
        let mut argv = vec![program.display().to_string()];
        // Only errors are said; no part of the home, the working directory or the machine's `/tmp` is shown, arguments are
        // not evaluated, and the agent is process 1 itself.
        let fixed = ["-s", "exec", "--contain", "--cleanenv", "--no-home", "--no-init", "--no-eval"];
        argv.extend(fixed.map(str::to_owned));
        argv.extend(["--no-mount", "tmp,home,cwd,bind-paths", "--pwd", "/"].map(str::to_owned));
        if self.user_namespace {
            argv.push("--userns".to_owned());
        }
        if self.process_namespace {
            argv.push("--pid".to_owned());
        }
        match &self.writable {
            Some(Writable::Tmpfs) => argv.push("--writable-tmpfs".to_owned()),
            Some(Writable::Directory(path)) => argv.extend(["--overlay".to_owned(), path.clone()]),
            None => {}
        }
        if let Some(capabilities) = &self.capabilities {
            argv.push("--no-privs".to_owned());
            if !capabilities.is_empty() {
                argv.extend(["--add-caps".to_owned(), capabilities.join(",")]);
            }
        }
        for bind in &self.binds {
            argv.extend(["--mount".to_owned(), bind.text()]);
        }
        argv.extend([self.image.clone(), AGENT.to_owned(), agent::INSIDE.to_owned()]);
        argv
    }
}

impl Bind {
    /// In the form of `--mount`, which is a line of comma-separated values, so any path can be said.
    fn text(&self) -> String {
        let fields = [format!("source={}", self.source), format!("destination={}", self.target)];
        let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
        let ending = if self.read_only { ",ro" } else { "" };
        format!("type=bind,{}{ending}", fields.join(","))
    }
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// The environment of Apptainer itself, out of the caller's: what it needs to find its files, and where it may put large
/// ones. Variables that would change the container (`APPTAINER_BIND`, `APPTAINERENV_X`) stay out.
pub fn environment(caller: impl Iterator<Item = (String, String)>, scratch: &Path) -> Vec<(String, String)> {
    let needed = ["PATH", "HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR", "APPTAINER_CONFIGDIR", "SINGULARITY_CONFIGDIR"];
    let mut env: Vec<_> = caller.filter(|(name, _)| needed.contains(&name.as_str())).collect();
    for name in ["APPTAINER_TMPDIR", "SINGULARITY_TMPDIR"] {
        env.push((name.to_owned(), scratch.display().to_string()));
    }
    env
}

/// What is left of what Apptainer said for people: its last error, without colors, marks and line ends.
pub fn complaint(said: &str) -> Option<String> {
    let plain: Vec<String> = said.lines().map(|line| without_colors(line).trim().to_owned()).collect();
    let is_error = |line: &&String| line.starts_with("FATAL") || line.starts_with("ERROR");
    let lines: Vec<&String> = plain.iter().filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(is_error).map(|line| unmarked(line)).collect();
    match (errors.is_empty(), lines.last()) {
        (false, _) => Some(errors.join("; ")),
        (true, Some(last)) => Some((*last).clone()),
        (true, None) => None,
    }
}

fn unmarked(line: &str) -> &str {
    line.split_once(':').map_or(line, |(_, rest)| rest.trim())
}

/// Without the escape sequences that begin with `ESC [` and end with a letter.
fn without_colors(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| {
        let rest = part.find(|letter: char| letter.is_ascii_alphabetic()).map_or("", |at| &part[at + 1..]);
        plain + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_can_be_bound() {
        let bind = |source: &str, read_only| Bind { source: source.into(), target: "/t".into(), read_only }.text();
        assert_eq!(bind("/a:b", false), "type=bind,source=/a:b,destination=/t");
        assert_eq!(bind("/a,\"b", true), "type=bind,\"source=/a,\"\"b\",destination=/t,ro");
    }

    #[test]
    fn nothing_of_the_caller_changes_the_container() {
        let caller =
            ["PATH", "APPTAINER_BIND", "APPTAINERENV_X", "SECRET"].map(|name| (name.to_owned(), "x".to_owned()));
        let env = environment(caller.into_iter(), Path::new("/s"));
        let names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["PATH", "APPTAINER_TMPDIR", "SINGULARITY_TMPDIR"]);
    }

    #[test]
    fn a_complaint_is_said_in_one_line() {
        let said = "\u{1b}[33mWARNING: group file missing\u{1b}[0m\n\u{1b}[31mFATAL:   \u{1b}[0mno such file\n";
        assert_eq!(complaint(said).unwrap(), "no such file");
        assert_eq!(complaint("\nonly this\n").unwrap(), "only this");
        assert_eq!(complaint(" \n"), None);
    }
}
