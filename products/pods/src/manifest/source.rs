//! From the command line's files to the objects in them, each with its place in the text.
//!
//! Lists are taken apart here (`List` and the typed lists of an API server). What the objects mean is checked later.

use std::io::{self, Read};
use std::rc::Rc;

use outrigger_config::{Document, Fault, Faults, Path, Position, Step};
use serde_json::Value;

/// One object of a manifest.
#[derive(Clone, Debug)]
pub struct Object {
    document: Rc<Document>,
    /// Where in its document it begins: empty, or an item of a list.
    base: Path,
    /// Its `apiVersion`, empty where it has none.
    pub api_version: String,
    /// Its `kind`, empty where it has none.
    pub kind: String,
    /// The object.
    pub value: Value,
}

impl Object {
    /// `metadata.name`, or what it is generated from; empty where it has neither.
    pub fn name(&self) -> &str {
        let metadata = &self.value["metadata"];
        metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or_default()
    }

    /// `metadata.namespace`, where it has one.
    pub fn namespace(&self) -> Option<&str> {
        self.value["metadata"]["namespace"].as_str()
    }

    /// The file it stands in, as it was named.
    pub fn file(&self) -> &str {
        self.document.file()
    }

    /// Where it begins in its file.
    pub fn position(&self) -> Position {
        self.document.position(&self.base)
    }

    /// An error about the value at `path` of the object.
    pub fn fault(&self, path: &str, message: impl Into<String>) -> Fault {
        let path = self.path(path);
        self.document.fault(&path, message)
    }

    /// An error about the key at the end of `path` of the object.
    pub fn key_fault(&self, path: &str, message: impl Into<String>) -> Fault {
        let path = self.path(path);
        self.document.key_fault(&path, message)
    }

    fn path(&self, path: &str) -> Path {
        let Ok(below) = path.parse::<Path>();
        self.base.steps().iter().chain(below.steps()).cloned().collect::<Path>()
    }
}

/// Reads all objects of all files, in their order.
///
/// # Errors
/// Every fault of every file: not readable, no YAML, no object.
pub fn read_all<'a>(files: impl IntoIterator<Item = &'a str>) -> (Vec<Object>, Faults) {
    let mut objects = Vec::new();
    let mut faults = Faults::default();
    let mut stdin_is_read = false;
    for file in files {
        if file == "-" && std::mem::replace(&mut stdin_is_read, true) {
            faults.push(Fault::error("standard input", "is named twice").help("name `-` once"));
            continue;
        }
        match read_one(file) {
            Ok(documents) => {
                for document in documents {
                    faults.extend(document.warnings().clone());
                    take_apart(&Rc::new(document), &Path::default(), &mut objects, &mut faults);
                }
            }
            Err(more) => faults.extend(more),
        }
    }
    (objects, faults)
}

fn read_one(file: &str) -> Result<Vec<Document>, Faults> {
    let (name, bytes) = match file {
        "-" => ("standard input", read_limited(io::stdin().lock())),
        path => (path, std::fs::File::open(path).and_then(read_limited)),
    };
    let bytes = bytes.map_err(|error| Fault::error(name, format!("cannot be read: {error}")))?;
    outrigger_config::read(name, &bytes)
}

/// One byte more than a text may have is enough to see that it is too long.
fn read_limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(outrigger_config::MAX_TEXT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn take_apart(document: &Rc<Document>, base: &Path, objects: &mut Vec<Object>, faults: &mut Faults) {
    let Some(value) = at(document.value(), base) else { return };
    if !value.is_object() {
        faults.push(document.fault(base, "is no Kubernetes object").help("begin with `apiVersion` and `kind`"));
        return;
    }
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let kind = text("kind");
    let items = base.key("items");
    match (&value["items"], kind.strip_suffix("List")) {
        (Value::Array(list), Some(of)) => {
            for index in 0..list.len() {
                let before = objects.len();
                take_apart(document, &items.index(index), objects, faults);
                // The items of a typed list (`PodList`) need not name their kind again.
                for object in objects[before..].iter_mut().filter(|object| object.kind.is_empty() && !of.is_empty()) {
                    of.clone_into(&mut object.kind);
                    object.api_version = text("apiVersion");
                }
            }
        }
        _ => objects.push(Object {
            document: Rc::clone(document),
            base: base.clone(),
            api_version: text("apiVersion"),
            kind,
            value: value.clone(),
        }),
    }
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

    fn objects(text: &str) -> (Vec<Object>, Faults) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("it.yaml");
        std::fs::write(&file, text).unwrap();
        read_all([file.to_str().unwrap()])
    }

    #[test]
    fn lists_are_taken_apart_and_keep_their_places() {
        let (objects, faults) = objects(
            "kind: List\napiVersion: v1\nitems:\n- kind: Pod\n  metadata: {name: a}\n---\nkind: PodList\napiVersion: v1\nitems:\n- metadata:\n    name: b\n",
        );
        assert!(faults.is_empty());
        let seen: Vec<_> = objects.iter().map(|object| (object.kind.as_str(), object.name())).collect();
        assert_eq!(seen, [("Pod", "a"), ("Pod", "b")]);
        let fault = objects[1].fault("metadata.name", "wrong");
        assert_eq!((fault.position.unwrap().line, fault.path.as_str()), (11, "items[0].metadata.name"));
    }

    #[test]
    fn what_cannot_be_read_is_said_for_every_file() {
        let (objects, faults) = read_all(["/nonexistent/a.yaml", "/nonexistent/b.yaml"]);
        assert!(objects.is_empty());
        assert_eq!(faults.len(), 2);
        assert!(faults.to_string().starts_with("/nonexistent/a.yaml: cannot be read: No such file"));
    }

    #[test]
    fn a_document_that_is_no_object_is_refused_with_its_place() {
        let (objects, faults) = objects("kind: Pod\n---\n- a\n");
        assert_eq!(objects.len(), 1);
        assert!(faults.to_string().contains("it.yaml:3:1: is no Kubernetes object"));
    }
}
