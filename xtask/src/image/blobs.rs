//! An image layout on disk: content by its digest, the index, and the same as one archive (OCI Image Format 1.1,
//! "Image Layout"; Docker Image Specification 1.2 for `manifest.json`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ring::digest;

use super::{documents, layer};

/// Something in the layout.
#[derive(Clone, Debug)]
pub struct Blob {
    /// `sha256:` and the digest in hexadecimal.
    pub digest: String,
    /// Its bytes.
    pub size: usize,
}

impl Blob {
    /// Its file, from the layout's directory.
    pub fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

/// The digest of content, as images name it.
pub fn digest(content: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, content);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A layout that is being written.
#[derive(Debug)]
pub struct Blobs {
    directory: PathBuf,
}

impl Blobs {
    /// An empty layout.
    pub fn new(directory: &Path) -> Result<Self> {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Adds content.
    pub fn add(&self, content: &[u8]) -> Result<Blob> {
        let blob = Blob { digest: digest(content), size: content.len() };
        self.write(&blob.path(), content)?;
        Ok(blob)
    }

    /// Writes what names the images: each by name, with its config and manifest.
    pub fn finish(&self, images: &[(String, Blob, Blob)], layer: &Blob) -> Result<()> {
        self.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.write("index.json", &documents::index(images))?;
        self.write("manifest.json", &documents::docker_manifest(images, layer))
    }

    /// The whole layout as one archive.
    pub fn archive(&self, file: &Path, seconds: u64) -> Result<()> {
        let archive = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        let mut archive = layer::Archive::new(archive, seconds);
        let mut names = vec!["index.json".to_owned(), "manifest.json".to_owned(), "oci-layout".to_owned()];
        for entry in fs::read_dir(self.directory.join("blobs/sha256"))? {
            names.push(format!("blobs/sha256/{}", entry?.file_name().to_string_lossy()));
        }
        names.sort();
        for name in names {
            archive.file(&name, 0o644, &fs::read(self.directory.join(&name))?)?;
        }
        archive.finish()
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }
}
