//! The manifests in `examples/` end under Apptainer as they do under the host launcher.

use std::fs;
use std::path::Path;

use outrigger_expected_statuses::ending;
use serde_json::Value;

use crate::sid::{Sid, USER};

fn check(user: u32, image: impl Fn(&Sid) -> String, names: &[&str]) {
    let sid = Sid::new();
    let image = image(&sid);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for name in names {
        let text = fs::read_to_string(examples.join(format!("{name}.yaml"))).unwrap();
        let manifest = sid.file(&format!("{name}.yaml"), &text.replace("image: busybox", &format!("image: {image}")));
        let said = sid.run(user, &["run", "--output", "json", &manifest]);
        let found = ending(said.code, said.json());
        let expected = fs::read(examples.join(format!("expected/{name}.json"))).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        assert_eq!(found, expected, "{name} is {found:#}\nand should be {expected:#}\n{}", said.err);
    }
    assert_eq!(sid.processes(), [""; 0]);
}

#[test]
fn the_examples_end_as_expected_for_an_ordinary_user_with_a_directory() {
    let names = ["first", "init-containers", "lifecycle", "projected-volume", "restart-policies", "job"];
    check(USER, Sid::tree, &names);
}

#[test]
fn the_examples_end_as_expected_for_an_ordinary_user_with_a_sif_file() {
    check(USER, Sid::sif, &["commands", "downward-api", "environment", "probes"]);
}

#[test]
fn the_examples_end_as_expected_for_root() {
    check(0, Sid::tree, &["first", "security-context"]);
}
