//! Which launcher starts the containers, and why: decided from what is wanted, what is installed and what the images are.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::PodSpec;
use serde::{Deserialize, Serialize};

use crate::settings::LauncherChoice;

/// The launcher that is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Chosen {
    /// Processes of this machine.
    Host,
    /// Images, by this program.
    Apptainer(PathBuf),
}

impl Chosen {
    /// Its name, as in `--launcher`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Apptainer(_) => "apptainer",
        }
    }
}

/// Chooses the launcher for these pods; the text says why.
///
/// # Errors
/// What was asked for and is not installed, with the way out.
pub fn choose(wanted: LauncherChoice, pods: &[&PodSpec], apptainer: Option<&Path>) -> Result<(Chosen, String), String> {
    let for_machine = || pods.iter().flat_map(|pod| images(pod)).find(|image| !is_local(image));
    match (wanted, apptainer) {
        (LauncherChoice::Host, _) => Ok((Chosen::Host, "as asked for".to_owned())),
        (LauncherChoice::Apptainer, Some(path)) => {
            Ok((Chosen::Apptainer(path.to_owned()), format!("as asked for ({})", path.display())))
        }
        (LauncherChoice::Apptainer, None) => Err("the launcher apptainer is asked for, but neither apptainer nor \
            singularity is in PATH; install it, or use --launcher host"
            .to_owned()),
        (LauncherChoice::Auto, None) => Ok((Chosen::Host, "because apptainer is not installed".to_owned())),
        (LauncherChoice::Auto, Some(path)) => Ok(match for_machine() {
            Some("") => (Chosen::Host, "because a container has no image".to_owned()),
            Some(image) => {
                (Chosen::Host, format!("because the image {image} is no file, no directory and no docker:// reference"))
            }
            None => (Chosen::Apptainer(path.to_owned()), format!("because every image is one for {}", path.display())),
        }),
    }
}

fn images(pod: &PodSpec) -> impl Iterator<Item = &str> {
    let all = pod.init_containers.iter().flatten().chain(&pod.containers);
    all.map(|container| container.image.as_deref().unwrap_or_default())
}

/// Whether Apptainer can use the image without guessing that a registry is meant.
fn is_local(image: &str) -> bool {
    image.starts_with("docker://") || image.starts_with('/') && Path::new(image).exists()
}

/// Where Apptainer, or else Singularity, is.
pub fn find_apptainer(path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    let directories: Vec<PathBuf> = path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
    ["apptainer", "singularity"].iter().find_map(|name| {
        let found = directories.iter().map(|directory| directory.join(name));
        found.into_iter().find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(images: &[&str]) -> PodSpec {
        let containers: Vec<_> = images.iter().map(|image| json!({"name": "a", "image": image})).collect();
        serde_json::from_value(json!({"containers": containers})).unwrap()
    }

    #[test]
    fn the_launcher_is_chosen_by_what_is_installed_and_what_the_images_are() {
        use LauncherChoice::{Apptainer, Auto, Host};
        let here = Path::new("/usr/bin/apptainer");
        for (wanted, images, installed, name, why) in [
            (Host, &["docker://a"][..], true, "host", "as asked for"),
            (Auto, &["docker://a"], false, "host", "not installed"),
            (Auto, &["docker://a", "/etc"], true, "apptainer", "every image"),
            (Auto, &["docker://a", "busybox:1.36"], true, "host", "busybox:1.36 is no file"),
            (Auto, &[""], true, "host", "has no image"),
            (Apptainer, &["busybox:1.36"], true, "apptainer", "as asked for"),
        ] {
            let (chosen, reason) = choose(wanted, &[&pod(images)], installed.then_some(here)).unwrap();
            assert_eq!(chosen.name(), name);
            assert!(reason.contains(why), "{reason}");
        }
        assert!(choose(Apptainer, &[], None).unwrap_err().contains("--launcher host"));
    }
}
