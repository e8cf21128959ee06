//! From the command line's files to the checked objects in them, each with its place in the text.
//!
//! What is wrong is `pod-core`'s to find, by field path; here the paths are joined to lines and columns.

use std::io::{self, Read};
use std::rc::Rc;

use outrigger_config::{Document, Fault, Faults, Path, Position, Severity, Step, plain};
use outrigger_pod_core::check::{self, Object};
use outrigger_pod_core::fault::{self as core, FieldPath, Segment};
use serde_json::Value;

/// Where an object stands.
#[derive(Clone, Debug)]
pub struct Place {
    document: Rc<Document>,
    /// Where in its document it begins: empty, or an item of a list.
    base: Path,
    /// The errors of the object that are told already.
    wrong: Vec<Path>,
}

impl Place {
    /// The file it stands in, as it was named.
    pub fn file(&self) -> &str {
        self.document.file()
    }

    /// Where it begins in its file.
    pub fn position(&self) -> Position {
        self.document.position(&self.base)
    }

    /// An error about the value at `path` of the object; where the value is no scalar, it stands at its key.
    pub fn fault(&self, path: &str, message: impl Into<String>) -> Fault {
        fault(&self.document, &self.below(path), message.into())
    }

    /// Whether the object has no error.
    pub fn is_sound(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Whether an error of the value at `path` of the object, or around it or in it, is told already: what else could be
    /// said of it may only follow from that.
    pub fn is_told(&self, path: &str) -> bool {
        let path = self.below(path);
        self.wrong.iter().any(|wrong| begins(path.steps(), wrong.steps()) || begins(wrong.steps(), path.steps()))
    }

    fn below(&self, path: &str) -> Path {
        let Ok(below) = path.parse::<Path>();
        self.base.steps().iter().chain(below.steps()).cloned().collect()
    }
}

fn begins(steps: &[Step], with: &[Step]) -> bool {
    steps.starts_with(with)
}

/// What stands in some files.
#[derive(Debug, Default)]
pub struct Found {
    /// The objects in their order; those that are not [sound](Place::is_sound) as far as they can be read.
    pub objects: Vec<(Place, Object)>,
    /// Whether there may be more, in what cannot be read.
    pub unread: bool,
    /// Everything that is wrong.
    pub faults: Faults,
}

/// Reads and checks all objects of all files, with every fault of every file.
pub fn read_all<'a>(files: impl IntoIterator<Item = &'a str>) -> Found {
    let mut found = Found::default();
    let mut stdin_is_read = false;
    for file in files {
        if file == "-" && std::mem::replace(&mut stdin_is_read, true) {
            found.faults.push(Fault::error("standard input", "is named twice").help("name `-` once"));
            continue;
        }
        match read_one(file) {
            Ok(documents) => {
                for document in documents {
                    take(&Rc::new(document), &mut found);
                }
            }
            Err(more) => {
                found.unread = true;
                found.faults.extend(more);
            }
        }
    }
    found
}

fn read_one(file: &str) -> Result<Vec<Document>, Faults> {
    let (name, bytes) = match file {
        "-" => ("standard input", read_limited(io::stdin().lock())),
        path => (path, std::fs::File::open(path).and_then(read_limited)),
    };
    let bytes = bytes.map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => Fault::error(name, "is a directory").help("name the manifests in it"),
        io::ErrorKind::NotFound => Fault::error(name, "there is no such file"),
        _ => Fault::error(name, format!("cannot be read: {}", plain(&error.to_string()))),
    })?;
    outrigger_config::read(name, &bytes)
}

/// One byte more than a text may have is enough to see that it is too long.
fn read_limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(outrigger_config::MAX_TEXT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn take(document: &Rc<Document>, found: &mut Found) {
    found.faults.extend(document.warnings().clone());
    let check::Checked { objects, unsound, unread, faults } = check::check(document.value());
    let errors = faults.iter().filter(|fault| fault.severity == core::Severity::Error);
    let wrong: Vec<Path> = errors.map(|fault| path(&fault.path)).collect();
    let mut located: Vec<_> = objects.into_iter().chain(unsound).collect();
    located.sort_by(|a, b| a.path.cmp(&b.path));
    for located in located {
        let base = path(&located.path);
        let wrong = wrong.iter().filter(|wrong| begins(wrong.steps(), base.steps())).cloned().collect();
        found.objects.push((Place { document: Rc::clone(document), base, wrong }, located.object));
    }
    found.unread |= unread;
    found.faults.extend(faults.into_iter().map(|fault| join(document, fault)));
}

/// A fault of `pod-core` with its place in the text.
fn join(document: &Document, found: core::Fault) -> Fault {
    let core::Fault { path: at, severity, mut message, mut help } = found;
    let path = path(&at);
    if let Some((name, advice)) = other_kind(document.value(), &at) {
        message = format!("{name} does not run here");
        help = Some(advice.to_owned());
    }
    // What YAML made of it may not be what the user sees in the text.
    if let Some(written) = document.written(&path).filter(|written| !written.quoted && message.starts_with("is the "))
        && !message.contains(&written.text)
    {
        message = format!("{message} (it reads {})", written.text);
    }
    let mut fault = match severity {
        core::Severity::Warning => document.key_fault(&path, message),
        core::Severity::Error => fault(document, &path, message),
    };
    fault.severity = match severity {
        core::Severity::Warning => Severity::Warning,
        core::Severity::Error => Severity::Error,
    };
    fault.help(help.unwrap_or_default())
}

fn fault(document: &Document, path: &Path, message: String) -> Fault {
    match at(document.value(), path) {
        Some(Value::Object(_) | Value::Array(_)) => document.key_fault(path, message),
        _ => document.fault(path, message),
    }
}

/// Where a fault is about a kind that does not run here: what it is, and what would run instead.
fn other_kind(value: &Value, at_kind: &FieldPath) -> Option<(String, &'static str)> {
    let (Segment::Key(last), above) = at_kind.0.split_last()? else { return None };
    let object = at(value, &path(&FieldPath(above.to_vec()))).filter(|_| last == "kind")?;
    let advice = match object["kind"].as_str()? {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController" => {
            "make a Pod of its spec.template"
        }
        "CronJob" => "make a Job of its spec.jobTemplate",
        "PersistentVolumeClaim" | "PersistentVolume" => "leave it out and give a directory with --volume NAME=DIR",
        "Service" | "Ingress" | "NetworkPolicy" => "leave it out: the pods use this machine's network",
        _ => "leave it out: Pod, Job, ConfigMap and Secret run here",
    };
    let version = object["apiVersion"].as_str().unwrap_or_default();
    if matches!((version, object["kind"].as_str()?), (_, "Pod" | "Job" | "ConfigMap" | "Secret")) {
        return None;
    }
    let name = object["metadata"]["name"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
    Some((format!("{}{name}", object["kind"].as_str()?), advice))
}

fn path(of: &FieldPath) -> Path {
    let steps = of.0.iter().map(|segment| match segment {
        Segment::Key(key) => Step::Key(key.clone()),
        Segment::Index(index) => Step::Index(*index),
    });
    steps.collect()
}

fn at<'v>(value: &'v Value, path: &Path) -> Option<&'v Value> {
    path.steps().iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (usize, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("m.yaml");
        std::fs::write(&file, text).unwrap();
        let Found { objects, faults, .. } = read_all([file.to_str().unwrap()]);
        (objects.len(), faults.to_string().replace(&format!("{}/", directory.path().display()), ""))
    }

    #[test]
    fn every_fault_has_its_place() {
        let (_, told) = read(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: app\n    imagee: x\n    \
             command: [x]\n    env:\n    - name: A\n      value: yes\n",
        );
        assert!(told.contains("m.yaml:8:5: warning: spec.containers[0].imagee: "), "{told}");
        assert!(told.contains("image"), "{told}");
        assert!(told.contains("m.yaml:12:14: spec.containers[0].env[0].value: "), "{told}");
        assert!(told.contains("(it reads yes)"), "{told}");
    }

    #[test]
    fn lists_are_taken_apart_and_keep_their_places() {
        let pod = "metadata: {name: a}\n  spec: {containers: [{name: a, image: b}]}";
        let (count, told) = read(&format!(
            "kind: List\napiVersion: v1\nitems:\n- kind: Pod\n  apiVersion: v1\n  {pod}\n- kind: Foo\n  apiVersion: v1\n"
        ));
        assert_eq!(count, 1, "{told}");
        assert!(told.starts_with("m.yaml:8:9: items[1].kind: Foo does not run here, leave it out"), "{told}");
    }

    #[test]
    fn other_kinds_are_refused_by_name_all_at_once() {
        let (_, told) = read(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n",
        );
        assert_eq!(
            told,
            "m.yaml:2:7: kind: Deployment web does not run here, make a Pod of its spec.template\n\
             m.yaml:6:7: kind: Service web does not run here, leave it out: the pods use this machine's network"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_for_every_file() {
        let Found { objects, unread, faults } = read_all(["/nonexistent/a.yaml", "/nonexistent/b.yaml"]);
        assert!(objects.is_empty() && unread);
        assert_eq!(faults.len(), 2);
        assert!(faults.to_string().starts_with("/nonexistent/a.yaml: there is no such file\n"));
    }
}
