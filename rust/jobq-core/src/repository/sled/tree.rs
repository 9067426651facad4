//! One open sled database and its safety: no panic gets out, a failed one is never dropped where that would do harm.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::sled::{Batch, Db, IVec};

use super::fault::is_full;
use super::{ballast, lock};
use crate::error::Error;
use crate::repository::Visit;
use crate::sync;

/// Bytes of one segment of sled's log.
pub(super) const SEGMENT: usize = 2 * 1024 * 1024;
/// At every level at most so many bytes of log lie between two syncs: sled uses a segment again on the strength of
/// later ones, which must be on the disk by then. Up to a whole segment was safe.
const UNSYNCED: u64 = SEGMENT as u64 / 4;
/// How long sled may take to be dropped, and how long its lock from another life is waited for.
const DROP: Duration = Duration::from_secs(5);
const LOCKED: Duration = Duration::from_secs(1);
/// Bytes that a scan reads before it has the cache trimmed, and the reads that sled notes down before it looks at them.
const READ_ON: usize = 32 * 1024;
const UNNOTED: usize = 64;
/// After so many keys sled's garbage is collected; else it fills the memory.
const GARBAGE: usize = 50;

/// What sled, or the file system under it, answered.
#[derive(Debug)]
pub(super) enum Trouble {
    /// An error of the system.
    Io(io::Error),
    /// Another of sled's errors, or a panic.
    Broken(String),
}

impl Trouble {
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io(error) if is_full(error))
    }
}

impl From<::sled::Error> for Trouble {
    fn from(error: ::sled::Error) -> Self {
        match error {
            ::sled::Error::Io(error) => Self::Io(original(error)),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// The system's error. sled passes one on that met it before by its debug text alone, in which the number stands.
fn original(error: io::Error) -> io::Error {
    let text = error.to_string();
    let number = text.split_once("Os { code: ").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    number.map_or(error, io::Error::from_raw_os_error)
}

/// Call sled: what it returns, its error, or its panic.
pub(super) fn guarded<R>(work: impl FnOnce() -> Result<R, ::sled::Error>) -> Result<R, Trouble> {
    match sync::catch("sled", work) {
        Ok(result) => result.map_err(Trouble::from),
        Err(panic) => Err(Trouble::Broken(panic)),
    }
}

/// A database of sled, which panics when it is dropped and cannot write any more. `None` only while it is dropped.
struct Shielded(Option<Db>);

impl Shielded {
    /// Ask it: what it returns, its error, or its panic.
    fn ask<R>(&self, work: impl FnOnce(&Db) -> Result<R, ::sled::Error>) -> Result<R, Trouble> {
        match &self.0 {
            Some(db) => guarded(|| work(db)),
            None => Err(Trouble::Broken("it is being closed".to_owned())),
        }
    }
}

impl Drop for Shielded {
    fn drop(&mut self) {
        let db = self.0.take();
        // What failed was told before, or it is dropped because of it.
        let _ = sync::catch("sled", move || drop(db));
    }
}

/// An open database. Where it can be waited for it is dropped by [`Tree::drop_at_leisure`]; see also [`leak`].
pub(super) struct Tree {
    folder: PathBuf,
    db: Shielded,
    file: File,
}

/// Let a database be for ever: to flush it or drop it would make half a batch durable, or hang.
pub(super) fn leak(tree: Arc<Tree>) {
    std::mem::forget(tree);
}

impl Tree {
    /// Open the database in a folder, or make it. `store` has the ballast and takes what is set aside.
    pub(super) fn open(store: &Path, folder: &Path) -> Result<Arc<Self>, Trouble> {
        let found = set_aside(store, folder).map_err(Trouble::Io).and_then(|()| open_patiently(folder));
        let db = Shielded(Some(match found {
            Err(trouble) if trouble.is_full() && ballast::free(store) => {
                set_aside(store, folder).map_err(Trouble::Io)?;
                open_patiently(folder)?
            }
            other => other?,
        }));
        restrict(folder).map_err(Trouble::Io)?;
        let file = File::open(folder.join("db")).map_err(Trouble::Io)?;
        Ok(Arc::new(Self { folder: folder.to_owned(), db, file }))
    }

    /// Apply a batch and hand it to the system: it then survives the death of the process. The bytes of log written.
    pub(super) fn write(&self, batch: Batch, keys: usize) -> Result<u64, Trouble> {
        self.db.ask(|db| db.apply_batch(batch))?;
        self.flush(keys)
    }

    /// Only [`Tree::write`]'s first half, whose failure leaves half a batch in memory.
    pub(super) fn apply(&self, batch: Batch) -> Result<(), Trouble> {
        self.db.ask(|db| db.apply_batch(batch))
    }

    /// Hand what was applied to the system, and collect the garbage of so many keys.
    pub(super) fn flush(&self, keys: usize) -> Result<u64, Trouble> {
        let bytes = self.db.ask(|db| db.flush())?;
        for _ in 0..=keys / GARBAGE {
            crossbeam_epoch::pin().flush();
        }
        Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    /// Have all that was flushed on the disk.
    pub(super) fn sync(&self) -> Result<(), Trouble> {
        self.file.sync_data().map_err(Trouble::Io)
    }

    /// Whether so many bytes are too many to be left without a sync.
    pub(super) fn is_sync_due(unsynced: u64) -> bool {
        unsynced >= UNSYNCED
    }

    /// Whether somebody removed the file under us.
    pub(super) fn is_gone(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.nlink() == 0)
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, Trouble> {
        self.db.ask(|db| db.get(key))
    }

    /// Visit every record from `from` on, before `to` (`None`: to the end); the visitor's error ends it.
    pub(super) fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<Result<(), Error>, Trouble> {
        let mut pairs = self.db.ask(|db| {
            Ok(match to {
                Some(to) => db.range(from..to),
                None => db.range(from..),
            })
        })?;
        let mut bytes = 0;
        while let Some((key, value)) = guarded(|| pairs.next().transpose())? {
            if let Err(error) = visit(&key, &value) {
                return Ok(Err(error));
            }
            bytes += value.len();
            if bytes >= READ_ON {
                bytes = 0;
                self.trim(&key)?;
            }
        }
        Ok(Ok(()))
    }

    /// Have the cache keep to its size. sled looks at it only when so many pages of one part of it were read, which a
    /// scan, that reads each page once, would reach with everything in memory.
    fn trim(&self, key: &[u8]) -> Result<(), Trouble> {
        for _ in 0..UNNOTED {
            self.get(key)?;
        }
        crossbeam_epoch::pin().flush();
        Ok(())
    }

    /// Drop it in a thread of its own, as it may hang, and wait until its lock is free.
    pub(super) fn drop_at_leisure(self: Arc<Self>) -> Result<(), Error> {
        let folder = self.folder.clone();
        // A failed sync panics in there, and was told before.
        sync::within("sled-drop", DROP, move || drop(self));
        lock::await_release(&folder)
    }
}

fn open_patiently(folder: &Path) -> Result<Db, Trouble> {
    let end = Instant::now() + LOCKED;
    loop {
        let opened = guarded(|| {
            ::sled::Config::new()
                .path(folder)
                .segment_size(SEGMENT)
                .cache_capacity(32 * 1024 * 1024)
                .flush_every_ms(None)
                .use_compression(false)
                .open()
        });
        match opened {
            Err(Trouble::Io(error)) if is_locked(&error) && Instant::now() < end => {
                sync::pause(Duration::from_millis(5));
            }
            Err(Trouble::Io(error)) if is_locked(&error) => {
                let text = "sled's lock on it is held, perhaps by a forked child of its last owner: end that process";
                return Err(Trouble::Io(io::Error::new(io::ErrorKind::WouldBlock, text)));
            }
            other => return other,
        }
    }
}

fn is_locked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

/// sled refuses for ever to open a folder with a snapshot that a kill has cut short, and takes a whole one under its
/// unfinished name for nothing. So no such file stays: it is kept elsewhere, as it was never relied upon.
fn set_aside(store: &Path, folder: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let aside = store.join("aside");
            super::folder::make_private(&aside)?;
            // One of each name is enough to look at.
            fs::rename(entry.path(), aside.join(format!("unfinished-{name}")))?;
        }
    }
    Ok(())
}

/// sled's files are made for everybody to read; the folder around them is not, and neither are they from here on.
fn restrict(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let mode = if entry.file_type()?.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}
