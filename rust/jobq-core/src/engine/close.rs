//! Closing: everybody who waits is freed, every reserved job goes back uncharged, the repositories are closed.

use std::sync::Arc;
use std::time::Instant;

use super::commit::Numbers;
use super::record::Payload;
use super::state::{Closing, Phase, State};
use super::{Caller, Engine, Keep, wake};
use crate::error::{Closed, Error};
use crate::repository::Change;
use crate::repository::codec::{encode_number, meta_key};
use crate::repository::committer::{SLICES, Turn};
use crate::repository::stores::Stores;
use crate::sync::{self, Parker};

impl<P: Payload> Engine<P> {
    /// Refuse everything from now on, write everything out, close the repositories. A second call waits for the
    /// first, but never for the thread that it interrupts; in a forked child it does nothing.
    ///
    /// # Errors
    /// What writing or closing a repository raised; the service is closed all the same.
    pub fn close(&self, caller: &impl Caller) -> Result<(), Error> {
        if sync::generation() != self.generation {
            return Ok(());
        }
        let me = sync::this_thread();
        let sound = self.state.lock().is_ok();
        self.state.forgive();
        let mut state = self.state.lock_anyway();
        match state.closing {
            Closing::Done => return Ok(()),
            Closing::By(thread) if thread == me => return Ok(()),
            Closing::By(_) => {
                drop(state);
                return self.wait_closed(caller);
            }
            Closing::Open => {}
        }
        state.closing = Closing::By(me);
        state.phase = Phase::Closed;
        state.wake_all();
        if sound {
            state.return_all();
            state.note_close();
        }
        let inside = state.journal.as_ref().is_some_and(|journal| journal.is_inside(me));
        state.close_later = inside;
        let wakes = state.take_wakes();
        let trash = std::mem::take(&mut state.trash);
        drop(state);
        wake(wakes);
        drop(trash);
        // A signal handler that closes the service out of a repository's method leaves the rest to that call.
        if inside { Ok(()) } else { self.finish_close(caller) }
    }

    /// Return when all that was acknowledged is kept.
    ///
    /// # Errors
    /// Those of every call.
    pub fn flush(&self, caller: &impl Caller) -> Result<(), Error> {
        let mut state = self.enter()?;
        state.hurry_topics();
        let upto = state.journal.as_ref().map(|journal| journal.upto);
        Self::leave_unwritten(state);
        let Some(upto) = upto else { return Ok(()) };
        caller.detached(|| self.write_leases())?;
        self.commit(caller, upto, Keep::Synced)
    }

    /// Have the repositories give disk space back; the bytes freed. Writers wait meanwhile.
    ///
    /// # Errors
    /// What a repository raised.
    pub fn compact(&self, caller: &impl Caller) -> Result<u64, Error> {
        self.flush(caller)?;
        let mut freed = 0;
        self.with_stores(
            caller,
            |_| false,
            |_| (),
            |stores, ()| stores.each().try_fold(0, |sum, store| Ok(sum + store.compact()?)),
            |_, bytes: u64| freed = bytes,
        )?;
        Ok(freed)
    }

    /// Tell those who wait, if a panic broke off a call half way: they would sleep for ever. For the border that has
    /// caught the panic.
    pub fn wake_if_broken(&self) {
        if self.state.lock().is_err() {
            let mut state = self.state.lock_anyway();
            state.wake_all();
            let wakes = state.take_wakes();
            drop(state);
            wake(wakes);
        }
    }

    /// Whether close was called.
    pub fn is_closed(&self) -> bool {
        matches!(self.enter(), Err(Error::Closed(Closed::Closed | Closed::Forked)))
    }

    /// Whether a close is over: nothing will call the repositories any more.
    pub fn has_ended(&self) -> bool {
        sync::generation() != self.generation || self.state.lock_anyway().closing == Closing::Done
    }

    /// Write what is queued, close the repositories, free the memory.
    pub(super) fn finish_close(&self, caller: &impl Caller) -> Result<(), Error> {
        // Also when a repository panics: the others that close are not left waiting, and it is closed.
        let mut ending = Ending { engine: self, closed: false };
        let (written, interrupted) = self.write_all_out(caller);
        let Some(stores) = self.last_turn(caller) else {
            // A store that hangs cannot be closed: its thread would use what is gone.
            ending.closed = true;
            return written.and_then(|()| Err(self.hung()));
        };
        ending.closed = true;
        let mut closed = Ok(());
        for store in stores.each() {
            closed = closed.and(store.close());
        }
        drop(ending);
        written.and(closed).and(interrupted)
    }

    /// Have all that is queued kept. An interruption is told in the end: others wait for this to be done.
    fn write_all_out(&self, caller: &impl Caller) -> (Result<(), Error>, Result<(), Error>) {
        let mut interrupted = Ok(());
        let upto = self.state.lock_anyway().journal.as_ref().map(|journal| journal.upto);
        let Some(upto) = upto else { return (Ok(()), interrupted) };
        loop {
            match self.commit(caller, upto, Keep::Synced) {
                Err(error @ Error::Interrupted(_)) => interrupted = interrupted.and(Err(error)),
                // The first failure was told to whoever met it.
                Err(Error::Failed(_)) => return (Ok(()), interrupted),
                written => return (written, interrupted),
            }
        }
    }

    /// Wait until nobody is inside a repository, and have them for good; `None` when one hangs.
    fn last_turn(&self, caller: &impl Caller) -> Option<Stores> {
        loop {
            let mut state = self.state.lock_anyway();
            let Some(journal) = state.journal.as_mut() else { return Some(Stores { jobs: None, topics: None }) };
            match journal.ask_turn(sync::this_thread()) {
                Turn::Mine => return Some(journal.stores.clone()),
                Turn::Wait(..) if journal.is_hung(Instant::now(), self.patience) => return None,
                Turn::Wait(parker, seen) => {
                    drop(state);
                    caller.detached(|| parker.wait(seen, Instant::now().checked_add(self.patience / SLICES)));
                }
            }
        }
    }

    fn wait_closed(&self, caller: &impl Caller) -> Result<(), Error> {
        loop {
            let parker = Parker::of_this_thread();
            let seen = {
                let mut state = self.state.lock_anyway();
                if matches!(state.closing, Closing::Done) {
                    return Ok(());
                }
                state.closers.push(Arc::clone(&parker));
                parker.events()
            };
            if caller.detached(|| parker.wait(seen, None)) == sync::Woken::Signal {
                caller.interrupted()?;
            }
        }
    }
}

/// The end of a service: dropped, it is closed, and everybody who waits for that is told.
struct Ending<'a, P: Payload> {
    engine: &'a Engine<P>,
    /// Whether the repositories were told to close.
    closed: bool,
}

impl<P: Payload> Drop for Ending<'_, P> {
    fn drop(&mut self) {
        if !self.closed {
            let stores = self.engine.state.lock_anyway().journal.as_ref().map(|journal| journal.stores.clone());
            for store in stores.iter().flat_map(Stores::each) {
                // A panic is under way; it is what the caller is told.
                let _ = store.close();
            }
        }
        let mut state = self.engine.state.lock_anyway();
        state.closing = Closing::Done;
        let mut wakes = std::mem::take(&mut state.closers);
        if let Some(journal) = &mut state.journal {
            wakes.extend(journal.give_turn());
            wakes.extend(journal.take_all_waiting());
            // The writer, which ends with the service.
            wakes.extend(journal.rouse_anyway());
        }
        let jobs = std::mem::take(&mut state.jobs);
        let trash = std::mem::take(&mut state.trash);
        let cold = std::mem::take(&mut state.cold);
        drop(state);
        wake(wakes);
        drop((jobs, trash, cold));
    }
}

impl<P: Payload> State<P> {
    /// Put every reserved job back into its old place; one that nobody has seen was not taken at all.
    fn return_all(&mut self) {
        self.take_back_grants();
        let reserved: Vec<(u32, u64)> = self.leases.iter().map(|(_, lease)| (lease.job, lease.token)).collect();
        for (slot, token) in reserved {
            if self.unseen.contains(&token) {
                self.uncount(slot);
            }
            self.cut();
            self.uproot(slot);
            self.put_back(slot);
            self.note(slot);
        }
        self.touched.clear();
    }

    /// Write where the sequences stand and that the store was closed properly.
    fn note_close(&mut self) {
        self.hurry_topics();
        let Some(journal) = &mut self.journal else { return };
        let numbers = |numbers: &mut Numbers| {
            numbers.asked = numbers.next;
            numbers.next
        };
        let ends = [("ids", numbers(&mut self.next_id)), ("tokens", numbers(&mut self.next_token)), ("clean", 1)];
        for (name, number) in ends {
            let key = meta_key(name);
            let value = encode_number(&key, number);
            journal.job(Change::Put(key, value), 0);
        }
    }
}
