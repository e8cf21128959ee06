//! `cargo xtask cluster down`: ends a cluster's first process, and removes its groups and files. It can be repeated.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use super::group::Cgroups;
use super::inside;
use super::place::Place;

/// Ends the cluster. One that is not there is no fault.
pub fn run(place: &Place) -> Result<()> {
    let _lock = super::lock(&place.cache)?;
    let was_there = place.directory().exists() || Cgroups::here()?.any(&place.name);
    remove(place)?;
    let what = if was_there { "is gone" } else { "was not there" };
    println!("The cluster {} {what}.", place.name);
    Ok(())
}

/// Removes what is left of clusters that ended with their owners. The lock is held: none of them is just starting.
pub fn remove_orphans(cache: &Path) -> Result<()> {
    for directory in crate::cache::entries(&cache.join("cluster/state"), "")? {
        let Some(name) = directory.file_name().and_then(|name| name.to_str()) else { continue };
        let place = Place { cache: cache.to_owned(), name: name.to_owned() };
        if place.init().is_none() && place.options().is_some_and(|options| options.owner.is_some()) {
            remove(&place)?;
        }
    }
    Ok(())
}

/// Removes all that is left of it. Processes first, found by their groups where the first one is not known any more.
pub fn remove(place: &Place) -> Result<()> {
    if let Some(init) = place.init() {
        inside::kill(init);
    }
    Cgroups::here()?.remove(&place.name)?;
    match fs::remove_dir_all(place.directory()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", place.directory().display()))
        }
        _ => Ok(()),
    }
}
