//! What is wrong with a text, and where: the one shape in which every reader of configuration and manifests reports.
//!
//! Faults are values, collected all at once; printing them and choosing an exit code is the caller's.

use std::error::Error;
use std::fmt::{self, Write};

/// A place in a text, both counted from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.line, self.column)
    }
}

/// Whether a fault stops the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Said, and the work goes on.
    Warning,
    /// The text cannot be used.
    Error,
}

/// One thing that is wrong, on one line.
///
/// ```
/// use outrigger_config::{Fault, Position};
///
/// let fault = Fault::error("pod.yaml", "unknown field")
///     .at(Position { line: 12, column: 7 })
///     .path("spec.containers[0].imagee")
///     .help("did you mean \"image\"?");
/// assert_eq!(
///     fault.to_string(),
///     "pod.yaml:12:7: spec.containers[0].imagee: unknown field, did you mean \"image\"?",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whether the text can still be used.
    pub severity: Severity,
    /// The file's name as the user gave it; for a setting that is in no file, the flag (`--state-dir`) or the
    /// environment variable.
    pub file: String,
    /// Where in the file; nothing where the fault belongs to no place.
    pub position: Option<Position>,
    /// The path of the value (`spec.containers[0].name`); empty where the text as a whole is meant.
    pub path: String,
    /// What is wrong, in lower case.
    pub message: String,
    /// What would be right; may be empty.
    pub help: String,
}

impl Fault {
    /// An error that belongs to `file`.
    pub fn error(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.into(),
            position: None,
            path: String::new(),
            message: message.into(),
            help: String::new(),
        }
    }

    /// A warning that belongs to `file`.
    pub fn warning(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, message) }
    }

    /// The same fault at a place in the text.
    #[must_use]
    pub fn at(mut self, position: impl Into<Option<Position>>) -> Self {
        self.position = position.into();
        self
    }

    /// The same fault with the path of its value.
    #[must_use]
    pub fn path(mut self, path: impl fmt::Display) -> Self {
        self.path = format!("{path}");
        self
    }

    /// The same fault with what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

/// One line: `file:line:column: path: message, help`; a warning says so after its place.
impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.file)?;
        if let Some(position) = self.position {
            write!(out, ":{position}")?;
        }
        out.write_str(": ")?;
        if self.severity == Severity::Warning {
            out.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write_one_line(out, &self.path)?;
            out.write_str(": ")?;
        }
        write_one_line(out, &self.message)?;
        if !self.help.is_empty() {
            out.write_str(", ")?;
            write_one_line(out, &self.help)?;
        }
        Ok(())
    }
}

/// Keys and values of a hostile text may hold line ends and terminal sequences; a fault stays one harmless line.
fn write_one_line(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() {
            write!(out, "{}", c.escape_default())?;
        } else {
            out.write_char(c)?;
        }
    }
    Ok(())
}

impl Error for Fault {}

/// Faults in the order in which they were found.
///
/// As an [`Error`] it prints one line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Whether there is none, not even a warning.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are, warnings included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// Each in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// `value` with the warnings where there is no error, else all faults.
    pub fn into_result<T>(self, value: T) -> Result<(T, Self), Self> {
        if self.has_errors() { Err(self) } else { Ok((value, self)) }
    }

    /// Sorts by place in the text; faults without a place come first, equals keep their order.
    pub fn sort(&mut self) {
        self.0.sort_by(|left, right| (&left.file, left.position).cmp(&(&right.file, right.position)));
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, fault) in self.0.iter().enumerate() {
            if place > 0 {
                out.write_str("\n")?;
            }
            fault.fmt(out)?;
        }
        Ok(())
    }
}

impl Error for Faults {}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}

impl Extend<Fault> for Faults {
    fn extend<I: IntoIterator<Item = Fault>>(&mut self, faults: I) {
        self.0.extend(faults);
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'f> IntoIterator for &'f Faults {
    type Item = &'f Fault;
    type IntoIter = std::slice::Iter<'f, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_line_whatever_it_quotes() {
        let fault = Fault::warning("run.yaml", "unknown field").path("a\nb").help("remove\u{1b}[31m it");
        assert_eq!(fault.to_string(), "run.yaml: warning: a\\nb: unknown field, remove\\u{1b}[31m it");
    }

    #[test]
    fn faults_are_sorted_by_place_and_only_errors_stop() {
        let at = |line| Position { line, column: 1 };
        let mut faults = Faults::from(Fault::warning("a", "second").at(at(2)));
        faults.push(Fault::warning("a", "first").at(at(1)));
        faults.sort();
        assert_eq!(faults.to_string(), "a:1:1: warning: first\na:2:1: warning: second");
        assert!(faults.clone().into_result(()).is_ok());
        faults.push(Fault::error("a", "third"));
        assert!(faults.into_result(()).is_err());
    }
}
