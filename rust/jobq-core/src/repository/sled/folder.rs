//! The folder of a store: what is in it, and that it is made where it was meant to be.
//!
//! ```text
//! data/            0700
//!   lock           who has it: pid and since when
//!   mark           what is known to be on the disk
//!   inflight       who has which job
//!   redo           a batch that failed, to be finished at the next open
//!   ballast        8 MiB of room for a full disk
//!   aside/         what a kill left of sled's snapshots
//!   gen-1/         the store: sled's own files; the highest number counts
//!   gen-2.tmp/     one that is being made, by compaction
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::fault::{refused, unusable};
use crate::error::Error;

/// Our own names besides the generations.
const OURS: [&str; 6] = ["lock", "mark", "inflight", "redo", "ballast", "aside"];

/// What was found in the folder of a store.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Whole generations, ascending.
    pub(super) generations: Vec<u64>,
    /// Generations that were being made.
    pub(super) unfinished: Vec<PathBuf>,
    /// A name that is not ours.
    pub(super) foreign: Option<String>,
}

/// The folder of a generation.
pub(super) fn generation(store: &Path, number: u64) -> PathBuf {
    store.join(format!("gen-{number}"))
}

/// Where a generation is made.
pub(super) fn unfinished(store: &Path, number: u64) -> PathBuf {
    store.join(format!("gen-{number}.tmp"))
}

/// Make a folder that is its owner's alone; none of its parents.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// See that the folder is there; a missing one is made if that is wanted and its parent exists.
pub(super) fn prepare(store: &Path, create: bool) -> Result<(), Error> {
    match fs::metadata(store) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(unusable(store, "is not a folder: a store is a folder of its own")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(store, "it cannot be looked at", &error)),
    }
    if store.is_symlink() {
        return Err(unusable(store, "is a link to nothing (is a volume not mounted?)"));
    }
    if !create {
        return Err(missing(store));
    }
    make_private(store).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            refused(store, "the folder around it does not exist (is a volume not mounted?); make it first", &error)
        } else {
            refused(store, "it cannot be made", &error)
        }
    })
}

/// The system's number of what does not exist.
const ABSENT: i32 = 2;

/// There is no store.
pub(super) fn missing(store: &Path) -> Error {
    refused(store, "there is no store", &io::Error::from_raw_os_error(ABSENT))
}

/// Look into the folder.
pub(super) fn look(store: &Path) -> Result<Found, Error> {
    let read = || {
        let mut found = Found::default();
        for entry in fs::read_dir(store)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.strip_prefix("gen-") {
                Some(rest) if rest.parse::<u64>().is_ok() => found.generations.extend(rest.parse::<u64>()),
                Some(rest) if rest.strip_suffix(".tmp").is_some_and(|number| number.parse::<u64>().is_ok()) => {
                    found.unfinished.push(entry.path());
                }
                _ if OURS.contains(&name.as_str()) => {}
                _ => found.foreign = Some(name),
            }
        }
        found.generations.sort_unstable();
        Ok(found)
    };
    read().map_err(|error| refused(store, "it cannot be read", &error))
}

/// Have the name of a store on the disk.
pub(super) fn sync_around(store: &Path) -> Result<(), Error> {
    let absolute = std::path::absolute(store);
    let around = absolute.as_deref().ok().and_then(Path::parent).unwrap_or(Path::new("/"));
    sync(around).map_err(|error| refused(store, "the folder around it cannot be synced", &error))
}

/// Have the names in a folder on the disk.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Have everything in a folder of sled's on the disk: files, blobs, names.
pub(super) fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { File::open(&path)?.sync_all()? }
    }
    sync(folder)
}

/// Bytes on the disk in a folder.
pub(super) fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
