//! What an image of a manifest is to Apptainer. Text in, value out.

use std::path::PathBuf;

use outrigger_launcher::ImageError;
use outrigger_pod_core::life::ImageProblem;

/// An image that Apptainer can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A SIF file or a directory with a root file system, by absolute path.
    Local(PathBuf),
    /// One of a registry, without `docker://`.
    Registry(String),
}

impl Reference {
    /// Reads `image` of a container: an absolute path, `docker://NAME`, or `NAME`, which means the same.
    pub fn parse(image: &str) -> Result<Self, ImageError> {
        let invalid = |why: &str| ImageError {
            problem: ImageProblem::InvalidName,
            message: format!(
                "image \"{image}\" {why}; give the path of a SIF file or of a directory, or docker://NAME:TAG"
            ),
        };
        if image.is_empty() {
            return Err(invalid("is empty"));
        }
        if image.starts_with('/') {
            return Ok(Self::Local(PathBuf::from(image)));
        }
        let name = match image.split_once("://") {
            Some(("docker", name)) => name,
            Some((scheme, _)) => return Err(invalid(&format!("is from {scheme}://, which is not known here"))),
            None => image,
        };
        if is_registry_name(name) {
            Ok(Self::Registry(name.to_owned()))
        } else {
            Err(invalid("is no name that a registry could know (invalid reference format)"))
        }
    }
}

/// Whether the text is `[HOST[:PORT]/]PATH[:TAG][@DIGEST]` (distribution/reference, `regexp.go`).
fn is_registry_name(text: &str) -> bool {
    let (text, digest) = text.split_once('@').map_or((text, None), |(text, digest)| (text, Some(digest)));
    let path_start = text.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match text[path_start..].split_once(':') {
        Some((last, tag)) => (&text[..path_start + last.len()], Some(tag)),
        None => (text, None),
    };
    let mut parts = name.split('/').peekable();
    let first = parts.peek().copied().unwrap_or_default();
    if name.contains('/') && (first.contains(['.', ':']) || first == "localhost") {
        parts.next();
        if !is_host(first) {
            return false;
        }
    }
    text.len() <= 255 && parts.all(is_component) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest)
}

fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    is_name && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_component(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().copied().is_some_and(is_letter) && bytes.last().copied().is_some_and(is_letter);
    ends && bytes.iter().all(|byte| is_letter(*byte) || b"._-".contains(byte)) && !text.contains("..")
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = text.bytes();
    text.len() <= 128 && bytes.next().is_some_and(is_word) && bytes.all(|byte| is_word(byte) || b".-".contains(&byte))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    !algorithm.is_empty() && digits.len() >= 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_files_or_names_of_a_registry() {
        assert_eq!(Reference::parse("/srv/a b.sif"), Ok(Reference::Local("/srv/a b.sif".into())));
        let digest = format!("busybox@sha256:{}", "0".repeat(64));
        for name in ["busybox", "busybox:1.36", "localhost:5000/a/b_c:v1", "ghcr.io/a/b", "a.b-c/d", &digest] {
            assert_eq!(Reference::parse(&format!("docker://{name}")), Ok(Reference::Registry(name.into())), "{name}");
            assert_eq!(Reference::parse(name), Ok(Reference::Registry(name.into())), "{name}");
        }
    }

    #[test]
    fn other_texts_are_refused_by_name() {
        for image in
            ["", "docker://", "Busybox", "busybox:", "busybox:a b", "a//b", "oras://a", "a@sha256:12", "host:x/a", "-a"]
        {
            let error = Reference::parse(image).unwrap_err();
            assert_eq!(error.problem, ImageProblem::InvalidName);
            assert!(error.message.starts_with(&format!("image \"{image}\" ")), "{}", error.message);
        }
    }
}
