//! Where a part of the configuration stands, so that what is wrong with it is told with file, line and key.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_config::{Document, Fault, Path, Step};

use crate::file::Resource;

/// A resource of the configuration with its place.
#[derive(Clone, Debug)]
pub struct Located {
    /// What stands there.
    pub resource: Resource,
    /// Where that is.
    pub place: Place,
    /// Whether it is written as for the generic-device-plugin.
    pub gdp: bool,
}

/// The place of one value: a document, and the path to it.
#[derive(Clone, Debug)]
pub struct Place {
    document: Arc<Document>,
    path: Path,
    spelling: Arc<Spelling>,
}

/// How keys are written in a document whose keys may be written in any case, by the path that has our spelling.
#[derive(Clone, Debug, Default)]
pub struct Spelling(BTreeMap<Path, String>);

impl Spelling {
    /// Notes that the last key of `path`, which has our spelling, is written otherwise.
    pub fn note(&mut self, path: Path, written: &str) {
        self.0.insert(path, written.to_owned());
    }

    /// The path as it is written.
    pub fn written(&self, path: &Path) -> Path {
        let mut ours = Path::default();
        let step = |step: &Step| {
            ours = match step {
                Step::Key(key) => ours.key(key),
                Step::Index(index) => ours.index(*index),
            };
            self.0.get(&ours).map_or_else(|| step.clone(), |key| Step::Key(key.clone()))
        };
        path.steps().iter().map(step).collect()
    }
}

impl Place {
    /// The value at `path` of a document, in our spelling.
    pub fn new(document: Arc<Document>, path: Path, spelling: Arc<Spelling>) -> Self {
        Self { document, path, spelling }
    }

    /// The file, or the flag.
    pub fn file(&self) -> &str {
        self.document.file()
    }

    /// An error about the value `below` this place; a path that is written nowhere means the nearest value above it.
    pub fn fault(&self, below: &Path, message: impl Into<String>) -> Fault {
        self.document.fault(&self.written(below), message)
    }

    /// A warning about the value `below` this place.
    pub fn warning(&self, below: &Path, message: impl Into<String>) -> Fault {
        let path = self.written(below);
        Fault::warning(self.file(), message).at(self.document.position(&path)).path(&path)
    }

    fn written(&self, below: &Path) -> Path {
        self.spelling.written(&self.path.steps().iter().chain(below.steps()).cloned().collect())
    }
}
