//! What a repository must do: keep bytes under ordered bytes, a batch as a whole. It knows no job and no clock.

pub mod codec;
pub mod committer;
pub mod memory;

use crate::error::Error;

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

/// An atomic, ordered store of bytes, in one of two roles: jobs, or topics. The keys of the two never collide, so
/// one object may serve both.
///
/// The service calls it one call at a time, from any thread, with no lock held. An error of any of these methods is
/// final: the service refuses work until it is closed and opened again. What the error was reaches the caller
/// unchanged when it is an [`Error::Repository`].
pub trait Repository: Send + Sync {
    /// Whether it is worth being told anything: false only for [`memory::Memory`], which then costs nothing.
    fn remembers(&self) -> bool {
        true
    }

    /// Whether what was committed is there at the next open.
    fn durable(&self) -> bool;

    /// Visit every (key, value) whose key begins with `prefix`, in ascending order of the keys' bytes. Called at
    /// open only, before anything else.
    ///
    /// # Errors
    /// Its own, or the visitor's.
    fn load(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Error>;

    /// Apply all of a batch or nothing of it; kept at the repository's level of durability when it returns. A batch
    /// holds a key once.
    ///
    /// # Errors
    /// Its own; the batch's outcome is then unknown.
    fn commit(&self, batch: &[Change]) -> Result<(), Error>;

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
