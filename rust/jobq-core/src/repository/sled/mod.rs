//! The durable repository: sled 0.34 in a folder, with the safety around it that sled alone does not give.
//!
//! | sled alone | here |
//! |---|---|
//! | its flush is no fsync on Linux | fdatasync of its file before an acknowledgement, and at least each half MiB of log |
//! | a torn tail is dropped silently | a count and a sum of all records, put with each batch ([`check`]) |
//! | an empty or shorter store opens without a word | a mark beside the store ([`mark`]) |
//! | a kill during open leaves a file that stops every later open | it is set aside ([`tree`]) |
//! | a failed batch becomes durable in part when dropped | the database is leaked |
//! | or at once, where it passes the end of a segment | the next open does all of it ([`redo`]) |
//! | it panics | every call is caught, and fails the store |
//! | its file never shrinks | generations ([`generations`]) |
//!
//! The folder's layout stands in [`folder`].

mod ballast;
mod check;
mod fault;
mod folder;
mod generations;
mod inflight;
mod lock;
mod log;
mod mark;
mod reach;
mod redo;
mod replay;
mod salvage;
mod tree;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use replay::Step;
pub use salvage::{Salvaged, salvage};

use super::{Ack, Change, LeaseTable, Pace, Repository, Visit};
use crate::error::Error;
use crate::sync::{self, Mutex, Number};
use fault::{refused, stuck, unusable};
use inflight::Inflight;
use lock::Lock;
use tree::{Tree, Trouble};
use work::{Failure, Work};

/// When a change is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// After fdatasync: it survives a power cut.
    Always,
    /// After the write: it survives the death of the process; a sync follows.
    Interval,
    /// When it is queued; a write follows.
    Never,
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A service.
    Serve,
    /// Looking: nothing of ours is cleaned up or changed. sled's own files are: it cannot open without writing.
    Look,
}

/// A store as its user describes it.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its folder, absolute.
    pub path: PathBuf,
    /// When a change is acknowledged.
    pub level: Level,
    /// At [`Level::Interval`], how long a change may stay unsynced.
    pub interval: Duration,
    /// Whether a missing one is made.
    pub create: bool,
    /// What it is opened for.
    pub purpose: Purpose,
}

/// The state of a store.
enum State {
    /// It works.
    Open {
        work: Box<Work>,
        lock: Lock,
    },
    /// A call failed: the lock is kept until close, and longer if sled's file may still be in use.
    Failed {
        lock: Lock,
        is_released: bool,
    },
    Closed,
}

/// A store on disk, open.
pub struct Sled {
    description: Description,
    state: Mutex<State>,
    /// For reading beside a write.
    reader: Mutex<Option<Arc<Tree>>>,
    inflight: Inflight,
    /// The process generation it was opened in; a forked child has another.
    forks: u64,
}

/// In which generation of forks sled was used first, and 1; 0: in none yet.
static USED: Number = Number::new(0);

/// Refuse a process that was forked from one that had used sled: its threads, which all of its work goes to, are not
/// here, and to wait for them would be for ever.
fn claim(path: &Path) -> Result<(), Error> {
    let here = sync::generation() + 1;
    if USED.get_or_set(here) == here {
        return Ok(());
    }
    Err(unusable(
        path,
        "cannot be opened in this process: it was forked from one that had opened a store, and sled's threads stayed \
         there. Fork before the first store is opened, or let multiprocessing start its processes by 'spawn' or \
         'forkserver'",
    ))
}

impl Sled {
    /// Open the store, or make it. Complete once [`Repository::loaded`] was called.
    ///
    /// # Errors
    /// [`Error::Store`]: it is open elsewhere, damaged, not there, no store, or the system refused something.
    pub fn open(description: Description) -> Result<Self, Error> {
        let path = &description.path;
        folder::prepare(path, description.create && description.purpose == Purpose::Serve)?;
        let found = folder::look(path)?;
        if found.generations.is_empty() {
            if let Some(name) = found.foreign {
                return Err(unusable(path, &format!("is no store of jobq: it holds '{name}' and no generation")));
            }
            if !description.create || description.purpose == Purpose::Look {
                work::refuse_lost(path)?;
                return Err(folder::missing(path));
            }
        }
        let lock = Lock::take(path)?;
        match claim(path).and_then(|()| Work::open(&description)).and_then(|work| Ok((work, Inflight::open(path)?))) {
            Ok((work, inflight)) => {
                let reader = Mutex::new(Some(Arc::clone(&work.tree)));
                let state = Mutex::new(State::Open { work: Box::new(work), lock });
                Ok(Self { description, state, reader, inflight, forks: sync::generation() })
            }
            Err(error) => {
                lock.release();
                Err(error)
            }
        }
    }

    /// Bytes that the store takes on the disk.
    #[must_use]
    pub fn size(&self) -> u64 {
        folder::size(&self.description.path)
    }

    fn path(&self) -> &Path {
        &self.description.path
    }

    /// Do something with the open store; its trouble is final.
    fn work<R>(&self, what: &str, work: impl FnOnce(&mut Work) -> Result<R, Failure>) -> Result<R, Error> {
        let mut state = self.state.lock().map_err(|_| Error::Internal)?;
        let State::Open { work: open, .. } = &mut *state else {
            return Err(unusable(self.path(), "failed earlier or is closed: open it again"));
        };
        match work(open) {
            Ok(value) => Ok(value),
            Err(failure) => {
                let is_released = self.fail(&mut state, &failure);
                let error = match failure {
                    Failure::Told(error) => error,
                    Failure::Applying(trouble) | Failure::Later(trouble) => self.told(what, trouble),
                };
                Err(if is_released { error } else { stuck(error) })
            }
        }
    }

    fn told(&self, what: &str, trouble: Trouble) -> Error {
        match trouble {
            Trouble::Io(error) => refused(self.path(), what, &error),
            Trouble::Broken(text) => unusable(self.path(), &format!("{what}: {text}")),
        }
    }

    /// Nothing is done with the store any more. After a failed batch the database is leaked: flushed or dropped it
    /// would make half the batch durable. On a full disk it is dropped, as the disk takes no half either. Whether sled
    /// has let go of its file.
    fn fail(&self, state: &mut State, failure: &Failure) -> bool {
        let State::Open { work, lock } = std::mem::replace(state, State::Closed) else { return true };
        if let Ok(mut reader) = self.reader.lock() {
            *reader = None;
        }
        let Work { tree, .. } = *work;
        let is_released = match failure {
            Failure::Applying(trouble) if !trouble.is_full() => {
                tree::leak(tree);
                false
            }
            _ => tree.drop_at_leisure().is_ok(),
        };
        *state = State::Failed { lock, is_released };
        is_released
    }
}

impl Repository for Sled {
    fn durable(&self) -> bool {
        true
    }

    fn pace(&self) -> Pace {
        let ack = match self.description.level {
            Level::Always => Ack::Synced,
            Level::Interval => Ack::Written,
            Level::Never => Ack::Queued,
        };
        Pace::Thread { ack, interval: self.description.interval }
    }

    fn load(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        self.work("it cannot be read", |work| work.load(self.path(), prefix, visit))
    }

    fn place(&self) -> Option<&Path> {
        Some(self.path())
    }

    fn loaded(&self) -> Result<(), Error> {
        self.work("it cannot be read", |work| {
            work.compare(self.path())?;
            if self.description.purpose == Purpose::Serve { work.begin(self.path()) } else { Ok(()) }
        })
    }

    fn commit(&self, batch: &[Change]) -> Result<(), Error> {
        self.work("a write failed", |work| work.commit(self.path(), batch))
    }

    fn sync(&self) -> Result<(), Error> {
        self.work("a sync failed", |work| work.sync(self.path(), false))
    }

    fn leases(&self) -> Option<&dyn LeaseTable> {
        Some(&self.inflight)
    }

    fn verify(&self) -> Result<Vec<String>, Error> {
        self.work("it cannot be read", |work| work.verify())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let tree = self.reader.lock().map_err(|_| Error::Internal)?.as_ref().map(Arc::clone);
        let Some(tree) = tree else {
            return Err(unusable(self.path(), "failed earlier or is closed: open it again"));
        };
        let found = tree.get(key);
        // Not the last of them: a database is dropped where that can be waited for.
        let value = found.map(|value| value.map(|value| value.to_vec()));
        value.map_err(|trouble| self.told("it cannot be read", trouble))
    }

    fn compact(&self) -> Result<u64, Error> {
        self.work("it cannot be compacted", |work| {
            let path = self.path();
            let before = folder::size(path);
            let old = work.rebuild(path)?;
            *self.reader.lock().map_err(|_| Error::Internal)? = Some(Arc::clone(&work.tree));
            old.drop_at_leisure()?;
            work.clean_up(path)?;
            Ok(before.saturating_sub(folder::size(path)))
        })
    }

    fn close(&self) -> Result<(), Error> {
        if sync::generation() != self.forks {
            return Ok(());
        }
        let mut state = self.state.lock().map_err(|_| Error::Internal)?;
        if let Ok(mut reader) = self.reader.lock() {
            *reader = None;
        }
        self.inflight.close();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Open { mut work, lock } => {
                let synced = match self.description.purpose {
                    Purpose::Serve => work.sync(self.path(), true),
                    Purpose::Look => Ok(()),
                };
                let Work { tree, .. } = *work;
                tree.drop_at_leisure()?;
                lock.release();
                synced.map_err(|failure| match failure {
                    Failure::Told(error) => error,
                    Failure::Applying(trouble) | Failure::Later(trouble) => self.told("its last sync failed", trouble),
                })
            }
            State::Failed { lock, is_released: true } => {
                lock.release();
                Ok(())
            }
            State::Failed { lock, is_released: false } => {
                // sled may still write to the file: no other service of this process must have it.
                lock.keep_for_ever();
                Ok(())
            }
            State::Closed => Ok(()),
        }
    }
}

impl Drop for Sled {
    /// Without a close, sled's own drop never runs: in a forked child it would wait for threads that are not there.
    fn drop(&mut self) {
        if let Ok(mut reader) = self.reader.lock()
            && let Some(tree) = reader.take()
        {
            tree::leak(tree);
        }
        if let Ok(mut state) = self.state.lock()
            && let State::Open { work, lock } = std::mem::replace(&mut *state, State::Closed)
        {
            tree::leak(work.tree);
            std::mem::forget(lock);
        }
    }
}
