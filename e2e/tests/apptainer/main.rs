//! Pods under Apptainer, in a Debian sid root: as an ordinary user, and as root where rights matter.
//!
//! A pod here is a manifest text whose image is a directory or a SIF file of busybox.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, also in its helpers")]

mod defaults;
mod examples;
mod images;
mod keepers;
mod life;
mod limits;
mod registry;
mod sid;
mod terminal;
mod values;

/// A pod of this name with one container; what is given is YAML of the container, in one line of flow style each.
fn pod(name: &str, image: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("      {field}\n")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 2\n  containers:\n    - name: main\n      image: {image}\n{fields}"
    )
}
