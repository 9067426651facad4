//! Making a generation so that it is there whole or not at all: built aside, synced, renamed, and only then the store.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ::sled::Batch;

use super::check::{Check, KEY, Record};
use super::fault::{corrupt, refused, unusable};
use super::folder;
use super::mark::{Mark, Reading};
use super::tree::{Tree, Trouble};
use crate::error::Error;

/// What fills a batch.
const FULL_KEYS: usize = 1_000;
const FULL_BYTES: usize = 256 * 1024;

/// A generation that is being made, in a folder that is not yet its own.
pub(super) struct Builder<'a> {
    store: &'a Path,
    number: u64,
    tree: Arc<Tree>,
    check: Check,
    batch: Batch,
    keys: usize,
    bytes: usize,
    unsynced: u64,
}

impl<'a> Builder<'a> {
    /// Begin one; what was left of another try is removed.
    pub(super) fn begin(store: &'a Path, number: u64, check: Check) -> Result<Self, Error> {
        let folder = folder::unfinished(store, number);
        remove(&folder).map_err(|error| refused(store, "an unfinished generation cannot be removed", &error))?;
        folder::make_private(&folder).map_err(|error| refused(store, "a generation cannot be made", &error))?;
        let tree =
            Tree::open(store, &folder).map_err(|trouble| unmade(store, "a generation cannot be made", trouble))?;
        Ok(Self { store, number, tree, check, batch: Batch::default(), keys: 0, bytes: 0, unsynced: 0 })
    }

    /// Put a record.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.check.put(key, value);
        self.batch.insert(key, value);
        self.keys += 1;
        self.bytes += key.len() + value.len();
        if self.keys >= FULL_KEYS || self.bytes >= FULL_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        let written = self.tree.write(batch, self.keys).and_then(|bytes| {
            self.unsynced += bytes;
            if Tree::is_sync_due(self.unsynced) {
                self.tree.sync()?;
                self.unsynced = 0;
            }
            Ok(())
        });
        (self.keys, self.bytes) = (0, 0);
        written.map_err(|trouble| unmade(self.store, "a generation cannot be written", trouble))
    }

    /// End it: on the disk whole, read again and compared, under a name that is not yet its own.
    pub(super) fn finish(mut self) -> Result<Made<'a>, Error> {
        self.batch.insert(KEY, self.check.record().encode());
        self.keys += 1;
        self.write()?;
        let folder = folder::unfinished(self.store, self.number);
        let (store, number, wanted) = (self.store, self.number, self.check.record());
        self.tree.drop_at_leisure()?;
        compare(store, &folder, wanted)?;
        folder::sync_all(&folder).map_err(|error| refused(store, "a generation cannot be synced", &error))?;
        Ok(Made { store, number, check: self.check })
    }
}

/// A generation that is whole.
pub(super) struct Made<'a> {
    store: &'a Path,
    number: u64,
    check: Check,
}

impl Made<'_> {
    /// What must be in it.
    pub(super) fn record(&self) -> Record {
        self.check.record()
    }

    /// The first of a new store: the mark is there before it is, so that a generation without a mark is damage.
    pub(super) fn begin_store(self) -> Result<(), Error> {
        let (path, record) = (self.store, self.record());
        Mark::create(path, Reading { store: record.store, generation: self.number, sequence: record.sequence })?;
        self.commit()?;
        folder::sync_around(path)
    }

    /// Give it its name: from here on it is the store.
    pub(super) fn commit(self) -> Result<Check, Error> {
        let (from, to) = (folder::unfinished(self.store, self.number), folder::generation(self.store, self.number));
        fs::rename(from, to)
            .and_then(|()| folder::sync(self.store))
            .map_err(|error| refused(self.store, "a generation cannot be given its name", &error))?;
        Ok(self.check)
    }
}

/// Read a generation that was just made, and compare it with what was to be written.
fn compare(store: &Path, folder: &Path, wanted: Record) -> Result<(), Error> {
    let read = |trouble| unmade(store, "a generation cannot be read", trouble);
    let tree = Tree::open(store, folder).map_err(read)?;
    let mut found = Check::new(wanted.store, wanted.sequence);
    let mut said = None;
    let scanned = tree.scan(&[], None, &mut |key, value| {
        if key == KEY {
            said = Record::decode(value);
        } else {
            found.put(key, value);
        }
        Ok(())
    });
    tree.drop_at_leisure()?;
    scanned.map_err(read)??;
    if said != Some(wanted) || found.record() != wanted {
        return Err(unusable(store, "failed: a generation that was just written does not hold what was written"));
    }
    Ok(())
}

/// Remove a folder, if it is there.
pub(super) fn remove(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The error of a generation in trouble that is not the store yet: whatever is wrong with it, the store is not damaged.
fn unmade(store: &Path, what: &str, trouble: Trouble) -> Error {
    match trouble {
        Trouble::Io(error) => refused(store, what, &error),
        Trouble::Broken(text) => unusable(store, &format!("failed: {what}: {text}")),
    }
}

/// The error of a store in trouble.
pub(super) fn troubled(store: &Path, what: &str, trouble: Trouble) -> Error {
    match trouble {
        Trouble::Io(error) => refused(store, what, &error),
        Trouble::Broken(text) => corrupt(store, &format!("{what}: {text}")),
    }
}
