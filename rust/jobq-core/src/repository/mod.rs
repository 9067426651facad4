//! What a repository must do: keep bytes under ordered bytes, a batch as a whole. It knows no job and no clock.

pub mod codec;
pub mod committer;
pub mod memory;
pub mod sled;
pub mod stores;

use std::path::Path;
use std::time::Duration;

use crate::error::Error;
use crate::job::{JobId, Token};

/// One step of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Keep a value under a key, instead of the one that is there.
    Put(Vec<u8>, Vec<u8>),
    /// Forget a key; no error when it is not there.
    Delete(Vec<u8>),
}

impl Change {
    /// The key that it is about.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Takes one (key, value) of a [`Repository::load`]; its error ends the load.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Error> + 'a;

/// Who commits, and what a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The caller that changed something commits, in its own thread, and the commit is durable when it returns.
    Caller,
    /// A thread of the service's own commits, one call at a time; [`Repository::get`] may come beside it.
    Thread {
        /// What a call waits for before its change is acknowledged.
        ack: Ack,
        /// How long what was committed may stay without a [`Repository::sync`]; looked at for [`Ack::Written`] alone.
        interval: Duration,
    },
}

/// What a call waits for before its change is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// That its commit was synced.
    Synced,
    /// That its commit has returned.
    Written,
    /// Nothing: its commit follows within 0.1 s.
    Queued,
}

/// An entry of a [`LeaseTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where it stands in the table; places are used again.
    pub place: u32,
    /// `None`: the place is free.
    pub lease: Option<KeptLease>,
}

/// A lease as a [`LeaseTable`] keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptLease {
    /// The job that is reserved.
    pub id: JobId,
    /// Names the lease.
    pub token: Token,
    /// The job's place among the ready, which a crash returns it to.
    pub stamp: u64,
}

/// Which jobs are reserved, kept apart from the rest because it changes so often: what was written survives the
/// death of the process, not that of the machine.
pub trait LeaseTable: Send + Sync {
    /// What the table held at open.
    ///
    /// # Errors
    /// Its own.
    fn load(&self) -> Result<Vec<KeptLease>, Error>;

    /// Write these entries; of two for one place the later stands. One call at a time.
    ///
    /// # Errors
    /// Its own; final, as any of a repository's.
    fn write(&self, entries: &[Held]) -> Result<(), Error>;

    /// Forget all entries.
    ///
    /// # Errors
    /// Its own.
    fn clear(&self) -> Result<(), Error>;
}

/// An atomic, ordered store of bytes, in one of two roles: jobs, or topics. The keys of the two never collide, so
/// one object may serve both.
///
/// The service calls it one call at a time (but see [`Pace::Thread`]), from any thread, with no lock held. An error of any of these methods is
/// final: the service refuses work until it is closed and opened again. What the error was reaches the caller
/// unchanged when it is an [`Error::Repository`].
pub trait Repository: Send + Sync {
    /// Whether it is worth being told anything: false only for [`memory::Memory`], which then costs nothing.
    fn remembers(&self) -> bool {
        true
    }

    /// Whether what was committed is there at the next open.
    fn durable(&self) -> bool;

    /// Who commits, and what a call waits for.
    fn pace(&self) -> Pace {
        Pace::Caller
    }

    /// Visit every (key, value) whose key begins with `prefix`, in ascending order of the keys' bytes. Called at
    /// open only, before anything else.
    ///
    /// # Errors
    /// Its own, or the visitor's.
    fn load(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Error>;

    /// Where it lies, for whoever has to look there; `None` where there is no such place.
    fn place(&self) -> Option<&Path> {
        None
    }

    /// All that the service wants to know was loaded: the last chance to say that something is missing.
    ///
    /// # Errors
    /// Its own; the service does not open.
    fn loaded(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Apply all of a batch or nothing of it. When it returns, the batch survives the death of the process, and that
    /// of the machine too where the [`Pace`] is the caller's. A batch holds a key once.
    ///
    /// # Errors
    /// Its own; the batch's outcome is then unknown.
    fn commit(&self, batch: &[Change]) -> Result<(), Error>;

    /// All that was committed survives the death of the machine when it returns.
    ///
    /// # Errors
    /// Its own.
    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Where leases are kept, if that is not among the keys.
    fn leases(&self) -> Option<&dyn LeaseTable> {
        None
    }

    /// Read everything and compare; one line per fault.
    ///
    /// # Errors
    /// Its own.
    fn verify(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    /// The value of a key.
    ///
    /// # Errors
    /// Its own.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Give disk space back, if there is a way; the bytes freed.
    ///
    /// # Errors
    /// Its own.
    fn compact(&self) -> Result<u64, Error>;

    /// Called once, last.
    ///
    /// # Errors
    /// Its own.
    fn close(&self) -> Result<(), Error>;
}
