//! The open store: its one database, what must be in it, how much of it is on the disk. One call at a time.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use ::sled::Batch;

use super::check::{Check, KEY, LAYOUT, Record};
use super::fault::{corrupt, fault, refused, unusable};
use super::generations::{Builder, remove, troubled};
use super::mark::{Mark, Reading};
use super::redo::Redo;
use super::tree::{Tree, Trouble};
use super::{Description, Purpose, ballast, folder, reach, redo};
use crate::error::{Error, StoreFaultKind};
use crate::repository::{Change, Visit, codec};

/// What works on the open store, one call at a time.
pub(super) struct Work {
    pub(super) tree: Arc<Tree>,
    generation: u64,
    check: Check,
    mark: Mark,
    /// Bytes of log since the last fdatasync.
    unsynced: u64,
    /// Prefixes that were loaded and checked.
    visited: Vec<Vec<u8>>,
    /// What the check record said when the store was opened; compared once all is loaded.
    said: Option<Record>,
}

/// Why a piece of work failed.
pub(super) enum Failure {
    /// While a batch was applied.
    Applying(Trouble),
    /// When it was applied, or something else.
    Later(Trouble),
    /// The error is made already.
    Told(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Later(Trouble::Io(error))
    }
}

impl Work {
    /// Open the store of which the lock is held, or make it. Complete once [`Work::compare`] was called.
    pub(super) fn open(description: &Description) -> Result<Self, Error> {
        let path = &description.path;
        // Once more, now that nobody else changes it.
        let found = folder::look(path)?;
        if description.purpose == Purpose::Serve {
            for folder in &found.unfinished {
                remove(folder).map_err(|error| refused(path, "an unfinished generation cannot be removed", &error))?;
            }
        }
        let Some(&generation) = found.generations.last() else {
            refuse_lost(path)?;
            make_first(path)?;
            return Self::open(description);
        };
        let (mark, reading) = Mark::open(path)?;
        if reading.generation > generation {
            return Err(corrupt(path, &format!("generation {} is missing", reading.generation)));
        }
        let folder = folder::generation(path, generation);
        check_conf(path, &folder)?;
        check_reach(path, &folder, reading)?;
        let tree = Tree::open(path, &folder).map_err(|trouble| troubled(path, "it cannot be opened", trouble))?;
        match read_check(path, &tree, reading).and_then(|said| finish_batch(path, &tree, said)) {
            Ok(said) => {
                let check = Check::new(said.store, said.sequence);
                Ok(Self { tree, generation, check, mark, unsynced: 0, visited: Vec::new(), said: Some(said) })
            }
            Err(error) => {
                tree.drop_at_leisure()?;
                Err(error)
            }
        }
    }

    /// Visit a prefix, and take it into the check.
    pub(super) fn load(&mut self, path: &Path, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Failure> {
        let is_new = !self.visited.iter().any(|visited| prefix.starts_with(visited));
        let check = &mut self.check;
        let scanned = self.tree.scan(prefix, successor(prefix).as_deref(), &mut |key, value| {
            if is_new {
                check.put(key, value);
            }
            visit(key, value)
        });
        if is_new {
            self.visited.push(prefix.to_vec());
        }
        scanned.map_err(|trouble| troubled(path, "it cannot be read", trouble))??;
        Ok(())
    }

    /// Compare what is there with what must be.
    pub(super) fn compare(&mut self, path: &Path) -> Result<(), Failure> {
        self.visit_rest(path)?;
        let Some(said) = self.said.take() else { return Ok(()) };
        let found = self.check.record();
        if said == found {
            return Ok(());
        }
        let text = format!("it holds {} records where {} were written, or others than those", found.count, said.count);
        Err(corrupt(path, &text).into())
    }

    /// Have what the opening itself changed on the disk, and tidy up: now the store may be served.
    pub(super) fn begin(&mut self, path: &Path) -> Result<(), Failure> {
        self.clean_up(path)?;
        self.tree.sync().map_err(Failure::Later)?;
        folder::sync(&folder::generation(path, self.generation))?;
        folder::sync(path)?;
        if self.check.sequence <= 1 {
            // A kill may have come before the end of its creation.
            folder::sync_around(path)?;
        }
        self.sync(path, true)?;
        redo::forget(path)?;
        ballast::keep(path);
        Ok(())
    }

    /// Write a batch.
    pub(super) fn commit(&mut self, path: &Path, batch: &[Change]) -> Result<(), Failure> {
        let mut changes = Batch::default();
        for change in batch {
            // What is not there need not be deleted.
            if self.check.apply(change) {
                put_into(&mut changes, change);
            }
        }
        self.check.sequence += 1;
        changes.insert(KEY, self.check.record().encode());
        if let Err(trouble) = self.tree.apply(changes) {
            // Where it cannot be kept, and is missed, the next open says so.
            let _ = redo::keep(path, batch, self.check.record());
            return Err(Failure::Applying(trouble));
        }
        // None at all means that sled has written them earlier: they need a sync all the same.
        self.unsynced += self.tree.flush(batch.len()).map_err(Failure::Later)?.max(1);
        if Tree::is_sync_due(self.unsynced) { self.sync(path, false) } else { Ok(()) }
    }

    /// Read everything; a line for each fault.
    pub(super) fn verify(&self) -> Result<Vec<String>, Failure> {
        let mut faults = Vec::new();
        let mut found = Check::new(self.check.store, self.check.sequence);
        let mut said = None;
        let scanned = self.tree.scan(&[], None, &mut |key, value| {
            if key == KEY {
                said = Record::decode(value);
                return Ok(());
            }
            found.put(key, value);
            if codec::unseal(key, value).is_none() {
                faults.push(format!("{}: its checksum is wrong", codec::name_of(key)));
            }
            Ok(())
        });
        scanned.map_err(Failure::Later)??;
        let wanted = self.check.record();
        if said != Some(wanted) {
            faults.push("the check record is not the one that was written last".to_owned());
        }
        if found.record() != wanted {
            let (there, count) = (found.record().count, wanted.count);
            faults.push(format!("{there} records are there where {count} were written, or others than those"));
        }
        Ok(faults)
    }

    /// Go on in a new generation without what the old one has gathered; the old one is returned, still open.
    pub(super) fn rebuild(&mut self, path: &Path) -> Result<Arc<Tree>, Failure> {
        self.sync(path, false)?;
        let next = self.generation + 1;
        let mut builder = Builder::begin(path, next, Check::new(self.check.store, self.check.sequence + 1))?;
        let scanned = self.tree.scan(&[], None, &mut |key, value| {
            if key == KEY { Ok(()) } else { builder.put(key, value) }
        });
        scanned.map_err(Failure::Later)??;
        let check = builder.finish()?.commit()?;
        let tree = Tree::open(path, &folder::generation(path, next)).map_err(Failure::Later)?;
        (self.generation, self.check) = (next, check);
        let old = std::mem::replace(&mut self.tree, tree);
        self.sync(path, true)?;
        Ok(old)
    }

    /// Remove the generations below the one that is served: it has passed its check.
    pub(super) fn clean_up(&self, path: &Path) -> Result<(), Failure> {
        for older in folder::look(path)?.generations {
            if older < self.generation {
                remove(&folder::generation(path, older))?;
            }
        }
        Ok(())
    }

    /// Have all that was written on the disk, and say so in the mark.
    pub(super) fn sync(&mut self, path: &Path, forced: bool) -> Result<(), Failure> {
        if self.unsynced > 0 {
            self.tree.sync().map_err(Failure::Later)?;
            self.unsynced = 0;
        } else if !forced {
            return Ok(());
        }
        let reading = Reading { store: self.check.store, generation: self.generation, sequence: self.check.sequence };
        self.mark.write(reading, forced)?;
        if self.tree.is_gone() {
            return Err(unusable(path, "was removed while it was open").into());
        }
        Ok(())
    }

    /// Take in the records that no load has visited.
    fn visit_rest(&mut self, path: &Path) -> Result<(), Failure> {
        let mut visited = std::mem::take(&mut self.visited);
        visited.sort();
        let mut from = Vec::new();
        for prefix in visited {
            self.visit_range(path, &from, Some(&prefix))?;
            match successor(&prefix) {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
        self.visit_range(path, &from, None)
    }

    fn visit_range(&mut self, path: &Path, from: &[u8], to: Option<&[u8]>) -> Result<(), Failure> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let check = &mut self.check;
        let scanned = self.tree.scan(from, to, &mut |key, value| {
            if key != KEY {
                check.put(key, value);
            }
            Ok(())
        });
        scanned.map_err(|trouble| troubled(path, "it cannot be read", trouble))??;
        Ok(())
    }
}

/// The least key that no longer begins with a prefix; `None` when there is none.
pub(super) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let (last, head) = prefix.split_last()?;
    match last.checked_add(1) {
        Some(next) => Some([head, &[next]].concat()),
        None => successor(head),
    }
}

/// A mark of more than creation writes is that of a store that had records: without its generation it is no folder to
/// begin in.
pub(super) fn refuse_lost(path: &Path) -> Result<(), Error> {
    match Mark::look(path) {
        Ok(reading) if reading.sequence > 1 => Err(corrupt(path, "the folder of its database is missing")),
        _ => Ok(()),
    }
}

/// Make an empty store in an empty folder.
fn make_first(path: &Path) -> Result<(), Error> {
    let id = RandomState::new().hash_one((std::process::id(), path));
    Builder::begin(path, 1, Check::new(id, 1))?.finish()?.begin_store()
}

/// sled would make a new `conf` where it is missing, and read the log with the wrong sizes.
fn check_conf(path: &Path, folder: &Path) -> Result<(), Error> {
    let length = |name: &str| folder.join(name).metadata().map_or(0, |found| found.len());
    if length("db") == 0 {
        return Err(corrupt(path, "its file is empty or missing"));
    }
    if length("conf") <= 8 {
        return Err(corrupt(path, "its configuration is missing"));
    }
    Ok(())
}

/// sled writes zeros over what it cannot read, and over all behind it: it is not let near a log where that is more than
/// what was never synced.
fn check_reach(path: &Path, folder: &Path, mark: Reading) -> Result<(), Error> {
    let reached = reach::last_record(folder).map_err(|error| refused(path, "it cannot be read", &error))?;
    match reached {
        Some(record) if record.sequence < mark.sequence => Err(shortened(path, record.sequence, mark)),
        Some(_) => Ok(()),
        None => Err(corrupt(path, "its log cannot be read as far as it was written")),
    }
}

fn shortened(path: &Path, sequence: u64, mark: Reading) -> Error {
    let missing = mark.sequence - sequence;
    corrupt(path, &format!("its last {missing} commits are missing, though they were on the disk"))
}

/// Do a batch that failed when a part of it is in the log, see [`redo`]; what the store says then.
fn finish_batch(path: &Path, tree: &Tree, said: Record) -> Result<Record, Error> {
    let redo = redo::load(path).map_err(|error| refused(path, "a batch that failed cannot be read", &error))?;
    // The check record may be in the part, or not.
    let is_last = |redo: &Redo| {
        redo.record.store == said.store && (said.sequence..=said.sequence + 1).contains(&redo.record.sequence)
    };
    let Some(redo) = redo.filter(is_last) else { return Ok(said) };
    let read = |trouble| troubled(path, "it cannot be read", trouble);
    let mut found = Check::new(said.store, said.sequence);
    let scanned = tree.scan(&[], None, &mut |key, value| {
        if key != KEY {
            found.put(key, value);
        }
        Ok(())
    });
    scanned.map_err(read)??;
    if found.record() == said {
        return Ok(said);
    }
    let mut batch = Batch::default();
    for change in &redo.changes {
        put_into(&mut batch, change);
    }
    let written = tree.write(batch, redo.changes.len()).and_then(|_| tree.sync());
    written.map_err(|trouble| troubled(path, "a batch that failed cannot be finished", trouble))?;
    Ok(redo.record)
}

fn put_into(batch: &mut Batch, change: &Change) {
    match change {
        Change::Put(key, value) => batch.insert(key.as_slice(), value.as_slice()),
        Change::Delete(key) => batch.remove(key.as_slice()),
    }
}

fn read_check(path: &Path, tree: &Tree, mark: Reading) -> Result<Record, Error> {
    let sealed = tree.get(KEY).map_err(|trouble| troubled(path, "it cannot be read", trouble))?;
    let Some(said) = sealed.as_deref().and_then(Record::decode) else {
        return Err(corrupt(path, "its check record is missing or cannot be read"));
    };
    if said.layout > LAYOUT {
        let text =
            format!("'{}' was written by a newer jobq (layout {}): open it with that", path.display(), said.layout);
        return Err(fault(StoreFaultKind::Corrupt, path, text));
    }
    if said.store != mark.store {
        return Err(corrupt(path, "its mark belongs to another store"));
    }
    if said.sequence < mark.sequence {
        return Err(shortened(path, said.sequence, mark));
    }
    Ok(said)
}
