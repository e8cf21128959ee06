//! The JSON documents of an image: configuration and manifest of each tag, and what lists them.
//!
//! Source: OCI Image Format 1.1 ("Image Configuration", "Image Manifest", "Image Index", "Pre-Defined Annotation Keys").

use serde_json::{Value, json};

use super::blobs::Blob;
use super::{Origin, Tag};

/// What a container of this tag is.
pub fn config(tag: &Tag, layer: &Blob, origin: &Origin) -> Vec<u8> {
    let created = date(origin.seconds);
    bytes(&json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": created,
        "config": {
            "User": tag.user,
            "Entrypoint": [tag.entry_point],
            "Env": ["PATH=/:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": "Outrigger",
                "org.opencontainers.image.description":
                    "CPU pools, devices, licenses and machines that are no nodes, for Kubernetes",
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.version": origin.version,
                "org.opencontainers.image.revision": origin.revision.clone().unwrap_or_default(),
                "org.opencontainers.image.created": created,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        "history": [{"created": created, "created_by": "cargo xtask image"}],
    }))
}

/// What a tag is made of.
pub fn manifest(config: &Blob, layer: &Blob) -> Vec<u8> {
    bytes(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }))
}

/// All tags, by name.
pub fn index(images: &[(String, Blob, Blob)]) -> Vec<u8> {
    let manifests = images.iter().map(|(name, _, manifest)| {
        let mut listed = descriptor("application/vnd.oci.image.manifest.v1+json", manifest);
        // The first is what `ctr` reads, the second what others do.
        listed["annotations"] =
            json!({"io.containerd.image.name": whole(name), "org.opencontainers.image.ref.name": name});
        listed
    });
    bytes(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests.collect::<Vec<_>>(),
    }))
}

/// A name as runtimes keep it: with the host that stands for none (github.com/distribution/reference, `ParseNormalizedNamed`).
fn whole(name: &str) -> String {
    match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((host, _)) if host == "localhost" || host.contains(['.', ':']) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    }
}

/// The same, as `docker load` reads it.
pub fn docker_manifest(images: &[(String, Blob, Blob)], layer: &Blob) -> Vec<u8> {
    let images = images
        .iter()
        .map(|(name, config, _)| json!({"Config": config.path(), "RepoTags": [name], "Layers": [layer.path()]}));
    bytes(&Value::Array(images.collect()))
}

fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({"mediaType": media_type, "digest": blob.digest, "size": blob.size})
}

fn bytes(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

/// Seconds since 1970 as RFC 3339 writes them.
fn date(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_with_their_host() {
        for (name, kept) in [
            ("outrigger:1", "docker.io/library/outrigger:1"),
            ("edge/outrigger:1", "docker.io/edge/outrigger:1"),
            ("localhost/outrigger:1", "localhost/outrigger:1"),
            ("registry.example.com:5000/outrigger:1", "registry.example.com:5000/outrigger:1"),
        ] {
            assert_eq!(whole(name), kept);
        }
    }
}
