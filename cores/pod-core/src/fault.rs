//! What is wrong with a manifest, and where: a fault names a field by its path, and says what would be right.
//!
//! It knows no lines and columns: whoever read the text joins them by the path.

use std::fmt;

use serde_json::Value;

/// Faults kept of one document; the rest are counted in one last fault, so that a manifest of megabytes stays bounded.
const MOST_FAULTS: usize = 1000;

/// One fault of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field, from the root of the document. A missing field is named where it should be.
    pub path: FieldPath,
    /// Whether the manifest can be run all the same.
    pub severity: Severity,
    /// What is wrong, in lower case, without the path.
    pub message: String,
    /// What to do about it, where that is more than the message says.
    pub help: Option<String>,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The manifest cannot be run.
    Error,
    /// It runs, but perhaps not as meant.
    Warning,
}

/// The way to a field: `spec.containers[0].env[2].name`. Empty for the document itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(pub Vec<Segment>);

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// Into an object.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if key.contains(['.', '[', ']', ' ', '/']) => write!(f, "[{key:?}]")?,
                Segment::Key(key) if place == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, ": {help}"))
    }
}

/// The faults found so far, at most [`MOST_FAULTS`].
#[derive(Debug, Default)]
pub(crate) struct Faults {
    kept: Vec<Fault>,
    errors: usize,
    left_off: usize,
}

impl Faults {
    /// An error at `at`.
    pub(crate) fn error(&mut self, at: &At<'_, '_>, message: impl Into<String>) {
        self.add(at, Severity::Error, message.into(), None);
    }

    /// An error at `at`, with what to do about it.
    pub(crate) fn error_with_help(&mut self, at: &At<'_, '_>, message: impl Into<String>, help: impl Into<String>) {
        self.add(at, Severity::Error, message.into(), Some(help.into()));
    }

    /// A warning at `at`.
    pub(crate) fn warning(&mut self, at: &At<'_, '_>, message: impl Into<String>, help: Option<String>) {
        self.add(at, Severity::Warning, message.into(), help);
    }

    fn add(&mut self, at: &At<'_, '_>, severity: Severity, message: String, help: Option<String>) {
        self.errors += usize::from(severity == Severity::Error);
        if self.kept.len() < MOST_FAULTS {
            self.kept.push(Fault { path: at.path(), severity, message, help });
        } else {
            self.left_off += 1;
        }
    }

    /// How many errors there are so far.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// All of them, sorted by place.
    pub(crate) fn finish(mut self) -> Vec<Fault> {
        self.kept.sort_by(|a, b| a.path.cmp(&b.path).then(a.severity.cmp(&b.severity)));
        if self.left_off > 0 {
            let severity = if self.errors > 0 { Severity::Error } else { Severity::Warning };
            let message = format!("{} more faults are not shown", self.left_off);
            self.kept.push(Fault { path: FieldPath::default(), severity, message, help: None });
        }
        self.kept
    }
}

/// A place in a document: a value and the way to it. Copies nothing on its way down; an absent field is `null`, as
/// everywhere in Kubernetes.
#[derive(Clone, Copy)]
pub(crate) struct At<'p, 'v> {
    value: &'v Value,
    parent: Option<&'p At<'p, 'v>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'v> At<'_, 'v> {
    /// The document itself.
    pub(crate) fn root(value: &'v Value) -> Self {
        Self { value, parent: None, step: Step::Root }
    }

    /// The field `key`; `null` where there is none.
    pub(crate) fn get<'s>(&'s self, key: &'s str) -> At<'s, 'v> {
        let value = self.value.as_object().and_then(|fields| fields.get(key)).unwrap_or(&Value::Null);
        At { value, parent: Some(self), step: Step::Key(key) }
    }

    /// The items of a list; none where this is no list.
    pub(crate) fn items(&self) -> impl Iterator<Item = At<'_, 'v>> {
        let items = self.value.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().enumerate().map(|(index, value)| At { value, parent: Some(self), step: Step::Index(index) })
    }

    /// The fields of an object that are not null; none where this is no object.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'v str, At<'_, 'v>)> + use<'_, 'v> {
        let fields = self.value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        fields.map(|(key, value)| (key.as_str(), At { value, parent: Some(self), step: Step::Key(key) }))
    }

    /// The value.
    pub(crate) fn value(&self) -> &'v Value {
        self.value
    }

    /// Whether the field is there.
    pub(crate) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// The text; `None` where this is none.
    pub(crate) fn text(&self) -> Option<&'v str> {
        self.value.as_str()
    }

    /// The text, empty where there is none: Kubernetes does not tell the two apart.
    pub(crate) fn text_or_empty(&self) -> &'v str {
        self.text().unwrap_or("")
    }

    /// The whole number; `None` where this is none.
    pub(crate) fn number(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The boolean, false where there is none.
    pub(crate) fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or(false)
    }

    /// The way here.
    pub(crate) fn path(&self) -> FieldPath {
        let mut segments = Vec::new();
        let mut at = Some(self);
        while let Some(here) = at {
            match here.step {
                Step::Root => (),
                Step::Key(key) => segments.push(Segment::Key(key.to_owned())),
                Step::Index(index) => segments.push(Segment::Index(index)),
            }
            at = here.parent;
        }
        segments.reverse();
        FieldPath(segments)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_reads_as_kubernetes_writes_it() {
        let document = json!({"spec": {"containers": [{"env": [{"name": "A"}]}]}, "metadata": {"labels": {"a/b": 1}}});
        let root = At::root(&document);
        let (spec, metadata) = (root.get("spec"), root.get("metadata"));
        let containers = spec.get("containers");
        let container = containers.items().next().unwrap();
        let env = container.get("env");
        let variable = env.items().next().unwrap();
        assert_eq!(variable.get("name").path().to_string(), "spec.containers[0].env[0].name");
        assert_eq!(metadata.get("labels").get("a/b").path().to_string(), "metadata.labels[\"a/b\"]");
        assert_eq!(root.path().to_string(), "");
    }

    #[test]
    fn too_many_faults_are_counted() {
        let mut faults = Faults::default();
        for _ in 0..MOST_FAULTS + 5 {
            faults.error(&At::root(&Value::Null), "bad");
        }
        let all = faults.finish();
        assert_eq!(all.len(), MOST_FAULTS + 1);
        assert_eq!(all.last().unwrap().message, "5 more faults are not shown");
    }
}
