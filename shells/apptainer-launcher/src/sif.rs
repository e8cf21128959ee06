//! What a SIF file says about itself: its id, and `USER` and `WORKDIR` of the image it was made of.
//!
//! Apptainer keeps the OCI image's configuration in the file, as the data object `oci-config.json`, and does not use it. A
//! directory (`apptainer build --sandbox`) does not have it. The layout is that of `sylabs/sif`, `pkg/sif/sif.go`: a header,
//! then descriptors of a fixed size, all little-endian.
//!
//! ```text
//!   0   launch script   32  "SIF_MAGIC" version arch   48  id (16 bytes)   64  eight numbers   …   descriptors   data
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Deserialize;

/// Where the magic begins, and what it is.
const MAGIC: (usize, &[u8]) = (32, b"SIF_MAGIC\0");

/// Where the file's id begins, in bytes.
const ID: usize = 48;

/// Where the number of descriptors stands, and behind it their offset: the fourth and fifth number behind the id.
const DESCRIPTORS: usize = 88;

/// The size of the header, in bytes.
const HEADER: usize = 128;

/// The size of a descriptor, and where in it are: whether it is used, offset and size of its data, its name.
const DESCRIPTOR: usize = 585;
const USED: usize = 4;
const DATA: usize = 17;
const NAME: std::ops::Range<usize> = 73..201;

/// The name of the object with the OCI image's configuration.
const CONFIG: &[u8] = b"oci-config.json";

/// How many descriptors are looked at (Apptainer makes 48), and how large a configuration may be, in bytes.
const MOST_DESCRIPTORS: u64 = 1024;
const LARGEST_CONFIG: u64 = 1 << 20;

/// What a SIF file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sif {
    /// The file's own id, 32 hexadecimal digits in the groups of a UUID. Every build of a file has another.
    pub id: String,
    /// From the image that it was made of; empty where it was made otherwise.
    pub config: Config,
}

/// The part of an OCI image's configuration (OCI image specification, `config.md`) that is used here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// `USER`: `user`, `uid`, `user:group`, `uid:gid`, or mixed; empty where the image names none.
    pub user: String,
    /// `WORKDIR`; empty where the image names none.
    pub working_dir: String,
}

impl Sif {
    /// Reads the file; `None` where it is a directory or no SIF file.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        match file.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        if !header[MAGIC.0..].starts_with(MAGIC.1) {
            return Ok(None);
        }
        Ok(Some(Self { id: uuid(&header[ID..ID + 16]), config: config(&file, &header)? }))
    }
}

impl Config {
    /// `USER` as numbers, where it is one, and its group, where that is given as a number too.
    pub fn numeric_user(&self) -> Option<(i64, Option<i64>)> {
        let (user, group) =
            self.user.split_once(':').map_or((self.user.as_str(), None), |(user, group)| (user, Some(group)));
        Some((user.parse().ok()?, group.map(str::parse).transpose().ok()?))
    }

    /// Whether `USER` is a name, which only the image's own files could tell the number of.
    pub fn user_is_a_name(&self) -> bool {
        !self.user.is_empty() && !matches!(self.user.as_str(), "root" | "root:root") && self.numeric_user().is_none()
    }
}

fn config(file: &File, header: &[u8]) -> io::Result<Config> {
    let (count, offset) = (number(header, DESCRIPTORS), number(header, DESCRIPTORS + 8));
    let mut descriptor = [0; DESCRIPTOR];
    for place in 0..count.min(MOST_DESCRIPTORS) {
        file.read_exact_at(&mut descriptor, offset.saturating_add(place * DESCRIPTOR as u64))?;
        let name = descriptor[NAME].split(|byte| *byte == 0).next().unwrap_or_default();
        let size = number(&descriptor, DATA + 8);
        if descriptor[USED] == 0 || name != CONFIG || size > LARGEST_CONFIG {
            continue;
        }
        let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut text, number(&descriptor, DATA))?;
        return serde_json::from_slice(&text).map_err(io::Error::other);
    }
    Ok(Config::default())
}

/// Eight bytes of the file; a negative number, which none should be, is a large one and out of every bound.
fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn uuid(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let groups = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as Apptainer makes one, with this configuration as its second object.
    fn file(config: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; HEADER + 2 * DESCRIPTOR];
        bytes[32..42].copy_from_slice(MAGIC.1);
        bytes[48..64].copy_from_slice(&(0x10..0x20).collect::<Vec<u8>>());
        bytes[88..96].copy_from_slice(&2_u64.to_le_bytes());
        bytes[96..104].copy_from_slice(&(HEADER as u64).to_le_bytes());
        let data = bytes.len() as u64;
        let second = &mut bytes[HEADER + DESCRIPTOR..];
        second[4] = 1;
        second[17..25].copy_from_slice(&data.to_le_bytes());
        second[25..33].copy_from_slice(&(config.len() as u64).to_le_bytes());
        second[73..88].copy_from_slice(CONFIG);
        bytes.extend(config.as_bytes());
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn the_id_and_the_images_configuration_are_read() {
        let there = file(r#"{"Cmd":["x"],"User":"7:8","WorkingDir":"/srv/a b","Labels":null}"#);
        let sif = Sif::read(there.path()).unwrap().unwrap();
        assert_eq!(sif.id, "10111213-1415-1617-1819-1a1b1c1d1e1f");
        assert_eq!(sif.config.working_dir, "/srv/a b");
        assert_eq!(sif.config.numeric_user(), Some((7, Some(8))));
        assert_eq!(Sif::read(file("{}").path()).unwrap().unwrap().config, Config::default());
    }

    #[test]
    fn what_is_no_sif_file_is_none_and_a_broken_one_an_error() {
        assert_eq!(Sif::read(Path::new("/")).unwrap(), None);
        assert_eq!(Sif::read(Path::new("/etc/passwd")).unwrap(), None);
        let broken = file("{}");
        broken.as_file().set_len(HEADER as u64 + 10).unwrap();
        assert!(Sif::read(broken.path()).is_err());
    }

    #[test]
    fn a_user_is_a_number_a_name_or_nobody_special() {
        for (user, numeric, is_name) in [
            ("", None, false),
            ("root", None, false),
            ("101", Some((101, None)), false),
            ("101:102", Some((101, Some(102))), false),
            ("app", None, true),
            ("app:102", None, true),
            ("101:app", None, true),
        ] {
            let config = Config { user: user.to_owned(), ..Config::default() };
            assert_eq!((config.numeric_user(), config.user_is_a_name()), (numeric, is_name), "{user}");
        }
    }
}
