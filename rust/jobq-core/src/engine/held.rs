//! Who holds what, told to a repository that keeps leases in a table of their own: in the order of the state, outside
//! the lock, before the call that changed it returns.

use super::Engine;
use super::record::Payload;
use super::state::State;
use crate::error::Error;
use crate::job::Token;
use crate::repository::stores::Stores;
use crate::repository::{Held, KeptLease};

/// What a lease table is still to be told.
#[derive(Default)]
pub(crate) struct Notes {
    /// Whether there is a table.
    pub(crate) is_kept: bool,
    /// Changes, in order.
    queued: Vec<Held>,
    /// Whether some are being written.
    are_flying: bool,
}

impl Notes {
    /// Whether there may be some that the table does not have yet.
    #[inline]
    pub(crate) fn are_due(&self) -> bool {
        !self.queued.is_empty() || self.are_flying
    }
}

impl<P: Payload> State<P> {
    /// Write who holds a job: in the table where there is one, else with the job.
    #[cold]
    pub(crate) fn note_held(&mut self, slot: u32, place: u32, token: u64) {
        if self.held.is_kept {
            let Some(job) = self.jobs.get(slot) else { return };
            let lease = KeptLease { id: job.id(), token: Token(token), stamp: job.when };
            self.held.queued.push(Held { place, lease: Some(lease) });
        } else {
            self.note(slot);
        }
    }

    /// Write that a lease is over; where that stands with the job, the job's next change says so.
    #[inline]
    pub(crate) fn note_let_go(&mut self, place: u32) {
        if self.held.is_kept {
            self.held.queued.push(Held { place, lease: None });
        }
    }

    /// Write where a job stands that was held and goes back as it was; with a table there is nothing to undo.
    pub(crate) fn note_returned(&mut self, slot: u32) {
        if !self.held.is_kept {
            self.note(slot);
        }
    }
}

impl<P: Payload> Engine<P> {
    /// Bring the table up to date, or see it done by another.
    pub(super) fn write_leases(&self) -> Result<(), Error> {
        let _turn = self.lease_turn.lock().map_err(|_| Error::Internal)?;
        let (notes, stores) = {
            let mut state = self.state.lock().map_err(|_| Error::Internal)?;
            let notes = std::mem::take(&mut state.held.queued);
            state.held.are_flying = !notes.is_empty();
            (notes, state.journal.as_ref().map(|journal| journal.stores.clone()))
        };
        if notes.is_empty() {
            return Ok(());
        }
        let table = stores.as_ref().and_then(Stores::lease_table);
        let written = table.map_or(Ok(()), |table| table.write(&notes));
        self.state.lock().map_err(|_| Error::Internal)?.held.are_flying = false;
        written.map_err(|error| self.failed(error))
    }
}
