//! The guide of the cluster: its commands run in one shell, in order, and say what it says they do.
//!
//! Only what builds is left out: the cluster's programs and the image are there when this test begins.

use std::path::Path;
use std::process::Command;

use outrigger_e2e::cluster::{command_of, output, own_name};

/// A command, and the lines that it is to say; `…` stands for anything.
#[derive(Debug, PartialEq)]
struct Step {
    command: String,
    says: Vec<String>,
}

/// The commands of all `console` blocks.
fn steps(guide: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_console = false;
    for line in guide.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        }
        if !is_console {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), says: Vec::new() });
        } else if let (Some(more), Some(step)) = (line.strip_prefix("> "), steps.last_mut()) {
            step.command += &format!("\n{more}");
        } else if let (Some(step), false) = (steps.last_mut(), line.starts_with("```")) {
            step.says.push(line.to_owned());
        }
    }
    steps
}

/// Whether a text says these lines, blanks apart.
fn says(said: &str, expected: &[String]) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = words(said);
    let mut rest = said.as_str();
    let all = expected.join(" ");
    let mut parts = all.split('…').map(words).filter(|part| !part.is_empty());
    parts.all(|part| rest.find(&part).map(|at| rest = &rest[at + part.len()..]).is_some())
}

#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guide = std::fs::read_to_string(root.join("docs/guides/try-on-one-machine.md")).unwrap();
    // The guide's cluster and file may be somebody's.
    let name = own_name("try");
    let said = tempfile::tempdir().unwrap();
    let values = said.path().join("values.yaml");
    let guide =
        guide.replace("--name try", &format!("--name {name}")).replace("cluster try is", &format!("cluster {name} is"));
    let steps = steps(&guide.replace("/tmp/outrigger-try.yaml", &values.to_string_lossy()));
    assert!(10 < steps.len(), "{steps:?}");
    let mut script = String::from(
        "set -e\n\
         xtask() { \"$OUTRIGGER_TEST_XTASK\" \"$@\"; }\n\
         cargo() { shift; case \"$1 $2\" in\n\
         \"image \"|\"cluster build\") ;; \"cluster up\") xtask \"$@\" --owner $$ ;; *) xtask \"$@\" ;; esac; }\n\
         helm() { \"$HELM_BIN\" \"$@\"; }\n",
    );
    for (number, step) in steps.iter().enumerate() {
        let command = step.command.replace("target/image/outrigger.tar", "\"$OUTRIGGER_IMAGE\"");
        let to = said.path().join(number.to_string());
        // Not in a subshell: a later command needs what this one exports.
        script += &format!("exec >'{}'\n{command}\n", to.display());
    }
    let run = output(Command::new("sh").args(["-c", &script]).current_dir(&root));
    let told = |number: usize| std::fs::read_to_string(said.path().join(number.to_string())).unwrap_or_default();
    let down = output(&mut command_of(&name, "down"));
    if let Err(error) = run {
        let last = (0..steps.len()).rev().find(|number| said.path().join(number.to_string()).exists()).unwrap_or(0);
        panic!("`{}` failed: {error:#}\n{}", steps[last].command, told(last));
    }
    down.unwrap();
    for (number, step) in steps.iter().enumerate() {
        let told = told(number);
        assert!(says(&told, &step.says), "`{}` says something else:\n{told}", step.command);
    }
}

#[test]
fn a_guide_is_read_with_its_continued_lines() {
    let guide = "text\n```console\n$ cat <<END\n> a\n> END\na …\nb\n$ true\n```\n```yaml\n$ no\n```\n";
    let steps = steps(guide);
    assert_eq!(steps[0].command, "cat <<END\na\nEND");
    assert_eq!(steps[1], Step { command: "true".into(), says: vec![] });
    assert!(says("a   1\nb\n", &steps[0].says) && !says("a 1\n", &steps[0].says));
}
