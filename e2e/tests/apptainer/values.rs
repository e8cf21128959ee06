//! Values cross Apptainer unchanged and unseen.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::life::{LIMIT, within};
use crate::pod;
use crate::sid::{Sid, USER};

/// What a shell, Apptainer's own environment scripts or a command line would change.
const HARD: &str = "$HOME \"quoted\" 'single' `id` $(id) \\ \t, and\nanother line\n";

fn variables(path: &Path) -> Vec<(String, String)> {
    let bytes = fs::read(path).unwrap();
    let all = bytes.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    let split = |text: String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
    all.map(|variable| split(String::from_utf8(variable.to_vec()).unwrap())).collect()
}

#[test]
fn values_and_names_arrive_unchanged() {
    let sid = Sid::new();
    let out = sid.open_folder("out");
    let script = "cat /proc/self/environ > /out/env; printf '%s\\0' \"$@\" > /out/args; cat /out/env > /out/again";
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "values"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "main", "image": sid.tree(),
                "command": ["/bin/sh", "-c", script, "sh"],
                "args": [HARD.replace("$(id)", "$$(id)"), "", "--bind=/x"],
                "env": [
                    {"name": "HARD", "value": HARD.replace("$(id)", "$$(id)")},
                    {"name": "with.dots-and", "value": "x"},
                    {"name": "EMPTY", "value": ""},
                    {"name": "APPTAINER_BIND", "value": "mine"},
                    {"name": "PATH", "value": "/bin"},
                ],
                "volumeMounts": [{"name": "out", "mountPath": "/out"}],
            }],
            "volumes": [{"name": "out", "hostPath": {"path": out}}],
        },
    });
    let manifest = sid.file("values.json", &manifest.to_string());
    let said = sid.run(USER, &["run", &manifest]);
    assert_eq!(said.code, 0, "{said:#?}");
    let found = variables(&out.join("env"));
    let value = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(value("HARD"), Some(HARD));
    assert_eq!(value("with.dots-and"), Some("x"));
    assert_eq!(value("EMPTY"), Some(""));
    assert_eq!(value("APPTAINER_BIND"), Some("mine"));
    assert_eq!(value("PATH"), Some("/bin"));
    assert_eq!(value("FROM_IMAGE"), Some("yes"), "the image's own environment lies below");
    let noise: Vec<_> = found.iter().filter(|(name, _)| name.contains("SINGULARITY") || name == "PS1").collect();
    assert!(noise.is_empty(), "{noise:?}");
    let args = fs::read_to_string(out.join("args")).unwrap();
    assert_eq!(args, format!("{HARD}\0\0--bind=/x\0"));
}

#[test]
fn a_secret_is_in_no_command_line_and_in_no_file() {
    let sid = Sid::new();
    let word = format!("hush-{}", std::process::id());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"word": word}});
    let text = pod(
        "secret",
        &sid.tree(),
        &[
            "command: [sh, -c, 'test \"$WORD\" = \"$(cat /s/word)\" && echo same; exec sleep 1000']",
            "env: [{name: WORD, valueFrom: {secretKeyRef: {name: s, key: word}}}]",
            "volumeMounts: [{name: s, mountPath: /s}]",
        ],
    ) + "  volumes: [{name: s, secret: {secretName: s}}]\n";
    let mut started = sid.outrigger(USER, &["run", "--detach", "-"]);
    let mut child = started.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{text}---\n{secret}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let said = || sid.run(USER, &["logs", "secret"]);
    // It runs, which is not yet that it has said so.
    assert!(within(LIMIT, || said().out.contains("same")), "{:#?}", said());
    assert_eq!(crate::sid::processes_with(&word), [""; 0]);
    let found = holders(&sid.path(&format!("state-{USER}")), word.as_bytes());
    assert!(found.is_empty(), "{found:?}");
    let described = sid.run(USER, &["describe", "secret"]);
    assert!(!described.out.contains(&word), "{described:#?}");
    let stopped = sid.run(USER, &["stop", "secret"]);
    assert_eq!(stopped.code, 0, "{stopped:#?}");
}

/// The files below a folder that hold these bytes.
fn holders(folder: &Path, bytes: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(holders(&path, bytes));
        } else if kind.is_file() {
            // Of a pod that runs, files are replaced: one that is gone is looked for under its name.
            let text = fs::read(&path).unwrap_or_default();
            found.extend(text.windows(bytes.len()).any(|part| part == bytes).then_some(path));
        }
    }
    found
}
