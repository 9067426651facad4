//! The repository that remembers nothing and costs nothing.

use super::{Change, Repository, Visit};
use crate::error::Error;

/// Remembers nothing: the service never tells it anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl Repository for Memory {
    fn remembers(&self) -> bool {
        false
    }

    fn durable(&self) -> bool {
        false
    }

    fn load(&self, _prefix: &[u8], _visit: &mut Visit<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&self, _batch: &[Change]) -> Result<(), Error> {
        Ok(())
    }

    fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }

    fn compact(&self) -> Result<u64, Error> {
        Ok(0)
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
