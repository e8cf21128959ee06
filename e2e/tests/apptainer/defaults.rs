//! What an image says its containers start with: `USER` and `WORKDIR` hold unless the manifest says otherwise.

use serde_json::json;

use crate::pod;
use crate::registry;
use crate::sid::{Sid, USER};

const SCRIPT: &str = "command: [sh, -c, 'echo $(id -u) $(id -g) $PWD > /dev/termination-log']";

fn message(sid: &Sid, user: u32, image: &str, fields: &[&str]) -> String {
    let manifest = sid.file("defaults.yaml", &pod("defaults", image, &[&[SCRIPT], fields].concat()));
    let said = sid.run(user, &["run", "--strict", "--output", "json", &manifest]);
    assert_eq!(said.code, 0, "{said:#?}");
    let status = said.json()["status"]["containerStatuses"][0].clone();
    status["state"]["terminated"]["message"].as_str().unwrap_or_else(|| panic!("{said:#?}")).trim().to_owned()
}

/// Tried with a launcher that reads no configuration: it is `0 0 /`, and for the ordinary user `1000 1000 /`.
#[test]
fn a_numbered_user_and_the_directory_hold_unless_the_manifest_says_otherwise() {
    let sid = Sid::new();
    let image = registry::sif(&sid, &json!({"User": "4321:8765", "WorkingDir": "/srv/my work"}));
    for user in [USER, 0] {
        let check = |fields: &[&str], expected: &str| assert_eq!(message(&sid, user, &image, fields), expected);
        check(&[], "4321 8765 /srv/my work");
        check(&["workingDir: /tmp", "securityContext: {runAsUser: 77, runAsGroup: 78}"], "77 78 /tmp");
        check(&["securityContext: {runAsNonRoot: true}"], "4321 8765 /srv/my work");
    }
}

#[test]
fn a_user_that_is_a_name_is_a_warning_by_that_name() {
    let sid = Sid::new();
    let image = registry::sif(&sid, &json!({"User": "app"}));
    let manifest = sid.file("named.yaml", &pod("named", &image, &[SCRIPT]));
    let said = sid.run(USER, &["run", &manifest]);
    assert_eq!(said.code, 0, "{said:#?}");
    let warning = "warning: spec.containers[0].image: the image names its user (app) instead of numbering it";
    assert!(said.err.contains(warning), "{said:#?}");
    let refused = sid.run(USER, &["run", "--strict", &manifest]);
    assert_eq!(refused.code, 2, "{refused:#?}");
    assert_eq!(
        message(&sid, USER, &image, &["securityContext: {runAsUser: 5}"]),
        "5 1000 /",
        "then nothing is missing"
    );
}

#[test]
fn the_image_id_of_a_sif_file_is_the_files_own() {
    let sid = Sid::new();
    let id = |image: &str| {
        let manifest = sid.file("id.yaml", &pod("id", image, &["command: ['true']"]));
        let said = sid.run(USER, &["run", "--output", "json", &manifest]);
        said.json()["status"]["containerStatuses"][0]["imageID"].as_str().unwrap().to_owned()
    };
    let file = sid.sif();
    let of_file = id(&file);
    let own = of_file.strip_prefix("sif:").unwrap();
    assert!(sid.header(&file).lines().any(|line| line.starts_with("ID:") && line.ends_with(own)), "{of_file}");
    assert_eq!(id(&sid.tree()), format!("file://{}", sid.tree()), "a directory has none");
}
