//! Lints are silenced rarely: unsafe code in the modules named here alone, anything else with its reason beside it.

use super::Fault;
use super::source::Tree;

/// The modules that hold unsafe code, each with what for.
const UNSAFE: &[(&str, &str)] = &[
    ("shells/host-launcher/src/agent/sys.rs", "system calls of the init, between fork and exec"),
    ("shells/host-launcher/src/host/sys.rs", "starting the agent"),
    ("shells/host/src/memory.rs", "giving back memory that is not needed"),
    ("shells/host/src/sys.rs", "what the kernel tells, in the runtime"),
    ("shells/runtime/src/signals.rs", "signal handlers"),
];

/// Finds files that silence a lint without a reason, and unsafe code where it is not named.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in tree.sources() {
        let mut complain = |text: String| {
            faults.push(Fault { check: "allowances", subject: file.path.clone(), text });
        };
        let is_named = UNSAFE.iter().any(|(path, _)| *path == file.path);
        for Allowance { number, attribute, is_explained } in allowances(&file.text) {
            if attribute.contains("unsafe_code") {
                if !is_named {
                    complain(format!("line {number} allows unsafe code; name the module in xtask's allowances.rs"));
                }
            } else if !is_explained && !attribute.contains("reason = \"") {
                complain(format!("line {number} silences a lint without `reason = \"…\"`"));
            }
        }
    }
    faults
}

/// An attribute that silences lints.
struct Allowance<'t> {
    /// The number of its first line.
    number: usize,
    attribute: &'t str,
    /// Whether a comment follows it on its line.
    is_explained: bool,
}

fn allowances(text: &str) -> impl Iterator<Item = Allowance<'_>> {
    let starts = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
    let mut offset = 0;
    (1..).zip(text.split_inclusive('\n')).filter_map(move |(number, line)| {
        let begin = offset + line.len() - line.trim_start_matches(' ').len();
        offset += line.len();
        let rest = text.get(begin..)?;
        let is_allowance = starts.iter().any(|start| rest.starts_with(start));
        let (attribute, after) = rest.split_once(")]").unwrap_or((rest, ""));
        let is_explained = after.lines().next().is_some_and(|rest| rest.trim_start().starts_with("//"));
        is_allowance.then_some(Allowance { number, attribute, is_explained })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|fault| fault.text).collect()
    }

    #[test]
    fn a_silenced_lint_needs_a_reason() {
        let text = "//! Doc.\n\n#![allow(clippy::panic, reason = \"a test\")]\n#![allow(dead_code)] // Why.\n\n    #[allow(\n        dead_code,\n    )]\nfn f() {}\n";
        assert_eq!(faults("a.rs", text), ["line 6 silences a lint without `reason = \"…\"`"]);
    }

    #[test]
    fn unsafe_code_stands_in_named_modules_alone() {
        let text = "//! Doc.\n#![allow(unsafe_code)]\n";
        assert_eq!(faults(UNSAFE[0].0, text), Vec::<String>::new());
        assert_eq!(
            faults("shells/host/src/lib.rs", text),
            ["line 2 allows unsafe code; name the module in xtask's allowances.rs"]
        );
    }
}
