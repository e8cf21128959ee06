//! Directories that others share with us.

use std::fs;
use std::path::Path;

use rustix::fs::{Access, access};

/// Whether sockets or locks can be made in a directory, and found there.
pub fn writable(path: &Path) -> Result<(), String> {
    let there = fs::metadata(path).map_err(|error| error.to_string())?;
    if !there.is_dir() {
        return Err("it is no directory".to_owned());
    }
    access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).map_err(|error| error.to_string())
}
