//! The path of a value inside a document, written as Kubernetes writes field paths.
//!
//! A path says where a value stands in the *value*; where it stands in the *text* is a [`crate::Position`].

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// One step down: into a map by key, or into a list by index.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The value under this key of a map.
    Key(String),
    /// The value at this place of a list, counted from 0.
    Index(usize),
}

/// Steps from the top of a document down to a value; empty for the document itself.
///
/// Written as `k8s.io/apimachinery/pkg/util/validation/field.Path` writes it: keys with dots, and any others that
/// would not read back, stand in brackets.
///
/// ```
/// use outrigger_config::Path;
///
/// let path = Path::default().key("metadata").key("labels").key("app.kubernetes.io/name");
/// assert_eq!(path.to_string(), "metadata.labels[app.kubernetes.io/name]");
/// let path = Path::default().key("spec").key("containers").index(0).key("name");
/// assert_eq!(path.to_string(), "spec.containers[0].name");
/// assert_eq!("spec.containers[0].name".parse(), Ok(path));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

impl Path {
    /// The path one step further, into a map.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.step(Step::Key(key.into()))
    }

    /// The path one step further, into a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = Vec::with_capacity(self.0.len() + 1);
        steps.extend_from_slice(&self.0);
        steps.push(step);
        Self(steps)
    }

    /// The steps from the top.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether this is the document itself.
    pub fn is_top(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Step> for Path {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl<'a> FromIterator<&'a str> for Path {
    fn from_iter<I: IntoIterator<Item = &'a str>>(keys: I) -> Self {
        keys.into_iter().map(|key| Step::Key(key.to_owned())).collect()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(out, "[{index}]")?,
                Step::Key(key) if !is_plain(key) => write!(out, "[{key}]")?,
                Step::Key(key) if place == 0 => out.write_str(key)?,
                Step::Key(key) => write!(out, ".{key}")?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$'))
}

/// Reads a path back. Every text is some path: what is not well formed becomes a key as it stands.
/// Digits in brackets become an index; looking a path up in a [`crate::Document`] treats both alike.
impl FromStr for Path {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((inside, after)) = rest.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
                steps.push(inside.parse().map_or_else(|_| Step::Key(inside.to_owned()), Step::Index));
                rest = after;
                continue;
            }
            let key = rest.strip_prefix('.').unwrap_or(rest);
            let end = key.char_indices().skip(1).find(|(_, c)| matches!(c, '.' | '[')).map_or(key.len(), |(at, _)| at);
            steps.push(Step::Key(key[..end].to_owned()));
            rest = &key[end..];
        }
        Ok(Self(steps))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_read_back_as_they_were_written() {
        for text in ["", "kind", "spec.containers[0].name", "metadata.labels[app.kubernetes.io/name]", "[a.b][0][1].c"]
        {
            let path: Path = text.parse().unwrap();
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn keys_that_would_not_read_back_stand_in_brackets() {
        let path = Path::default().key("data").key("").key("a b").key("x");
        assert_eq!(path.to_string(), "data[][a b].x");
    }

    proptest! {
        #[test]
        fn every_text_is_some_path(text in ".*") {
            let _: Path = text.parse().unwrap();
        }

        #[test]
        fn plain_keys_and_indexes_survive(steps in prop::collection::vec(
            prop_oneof!["[a-z][a-zA-Z-]{0,8}".prop_map(Step::Key), (0..99usize).prop_map(Step::Index)], 0..8)) {
            let path = Path(steps);
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }
    }
}
