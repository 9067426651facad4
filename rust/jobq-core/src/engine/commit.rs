//! What a change of the state writes, and how it reaches the repositories: in the order of the state, outside the
//! lock, one caller at a time, who writes all that is queued.

use std::sync::Arc;

use super::record::{Payload, Record};
use super::state::{Closing, State};
use super::{Caller, Engine, Keep, Thread, wake};
use crate::error::{Closed, Error, Foreign};
use crate::job::JobId;
use crate::repository::Change;
use crate::repository::codec::{
    BODY, Body, CHUNK, OVERLAY, Overlay, TopicRecord, chunk_key, chunks, encode_number, job_key, meta_key, seal,
    topic_key,
};
use crate::repository::committer::{Group, Journal, Stores, Turn};
use crate::sync::{self, Guard, Woken};

/// How many ids or tokens are taken at a time: the block's end is kept before its first number is used.
pub(crate) const BLOCK: u64 = 4_096;

/// A strictly increasing sequence that is never reused, over restarts too where its blocks are kept.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// The next number.
    pub(crate) next: u64,
    /// Numbers below this may be used.
    pub(crate) end: u64,
    /// The end that was asked for; it becomes `end` once it is kept.
    pub(crate) asked: u64,
    /// Numbers below `end` that calls under way have for themselves.
    pub(crate) held: u64,
}

impl Numbers {
    /// A sequence that needs no blocks: it starts at 1 in each process.
    pub(crate) const fn volatile() -> Self {
        Self { next: 1, end: u64::MAX, asked: u64::MAX, held: 0 }
    }

    /// A sequence that goes on at the end of the last block.
    pub(crate) const fn from(next: u64) -> Self {
        Self { next, end: next, asked: next, held: 0 }
    }

    /// The next number.
    #[inline]
    pub(crate) fn take(&mut self) -> u64 {
        debug_assert!(self.next < self.end, "the block of a number is kept before it is used");
        let number = self.next;
        self.next += 1;
        number
    }

    /// How many may be used that no call has for itself.
    #[inline]
    pub(crate) fn left(&self) -> u64 {
        self.end - self.next - self.held
    }

    /// Whether a block must be asked for.
    fn is_low(&self) -> bool {
        self.left() < BLOCK / 2 && self.asked == self.end
    }

    /// Whether none may be used.
    pub(crate) fn is_short(&self) -> bool {
        self.next >= self.end
    }
}

impl<P: Payload> State<P> {
    /// Write where a job stands.
    #[inline]
    pub(crate) fn note(&mut self, slot: u32) {
        if self.journal.is_some() {
            self.write_overlay(slot);
        }
    }

    #[cold]
    fn write_overlay(&mut self, slot: u32) {
        if self.journal.as_ref().is_none_or(|journal| journal.stores.jobs.is_none()) {
            return;
        }
        let Some(job) = self.jobs.get(slot) else { return };
        let cold = self.cold_of(slot);
        let overlay = Overlay {
            status: job.status,
            reason: job.reason(),
            when: job.when,
            attempts: job.attempts,
            retries: job.retries,
            resets: cold.map_or(0, |cold| cold.resets),
            crashes: cold.map_or(0, |cold| cold.crashes),
            error: cold.and_then(|cold| cold.error.clone()),
            log: cold.map(|cold| cold.log.iter().cloned().collect()).unwrap_or_default(),
        };
        let key = job_key(OVERLAY, job.id());
        let value = overlay.encode(&key);
        self.write(Change::Put(key, value));
    }

    /// Write a new job: its payload, then what never changes of it.
    #[inline]
    pub(crate) fn note_enqueued(&mut self, slot: u32) {
        if self.journal.is_some() {
            self.write_body(slot);
        }
    }

    #[cold]
    fn write_body(&mut self, slot: u32) {
        if self.journal.as_ref().is_none_or(|journal| journal.stores.jobs.is_none()) {
            return;
        }
        let Some(job) = self.jobs.get(slot) else { return };
        let Some(options) = self.options.get(job.options) else { return };
        let body = Body {
            topic: self.topic_name(job.topic),
            weight: job.weight,
            created: job.created,
            size: job.size,
            status: job.status,
            when: job.when,
            options: options.clone(),
        };
        let mut changes = payload_changes(job);
        let key = job_key(BODY, job.id());
        let value = body.encode(&key);
        changes.push(Change::Put(key, value));
        let has_log = job.has_cold();
        for change in changes {
            self.write(change);
        }
        if has_log {
            self.write_overlay(slot);
        }
    }

    /// Write that a job is gone.
    pub(crate) fn note_forgotten(&mut self, id: JobId, size: u32) {
        if self.journal.is_none() {
            return;
        }
        self.write(Change::Delete(job_key(BODY, id)));
        self.write(Change::Delete(job_key(OVERLAY, id)));
        for chunk in 0..chunks(size) {
            self.write(Change::Delete(chunk_key(id, chunk)));
        }
    }

    fn write(&mut self, change: Change) {
        if let Some(journal) = &mut self.journal {
            journal.job(change);
        }
    }

    /// Ask for another block of each sequence that runs low, of at least this many numbers.
    pub(crate) fn ask_numbers(&mut self, ids: u64, tokens: u64) {
        let Some(journal) = &mut self.journal else { return };
        if journal.stores.jobs.is_none() {
            return;
        }
        let sequences = [("ids", &mut self.next_id, ids), ("tokens", &mut self.next_token, tokens)];
        for (name, numbers, more) in sequences {
            if numbers.is_low() || (numbers.left() < more && numbers.asked == numbers.end) {
                numbers.asked = numbers.end + BLOCK.max(more);
                let key = meta_key(name);
                let value = encode_number(&key, numbers.asked);
                journal.job(Change::Put(key, value));
            }
        }
    }

    /// All that is queued, with the records of the topics that it touched.
    pub(crate) fn take_group(&mut self) -> Group {
        for slot in std::mem::take(&mut self.dirty) {
            let Some(topic) = self.topics.get_mut(slot) else { continue };
            if std::mem::replace(&mut topic.dirty, false) {
                let key = topic_key(&topic.name);
                let value = TopicRecord { paused: topic.paused, counters: topic.counters }.encode(&key);
                if let Some(journal) = &mut self.journal {
                    journal.topic(Change::Put(key, value));
                }
            }
        }
        self.journal.as_mut().map(|journal| journal.take()).unwrap_or_default()
    }

    /// What was taken is kept: the blocks asked for in it may be used.
    fn kept_group(&mut self, upto: u64, asked: (u64, u64)) {
        if let Some(journal) = &mut self.journal {
            journal.committed = journal.committed.max(upto);
        }
        self.next_id.end = asked.0;
        let starved = self.next_token.is_short();
        self.next_token.end = asked.1;
        if starved {
            let topics: Vec<u32> = self.topics.iter().map(|(slot, _)| slot).collect();
            for topic in topics {
                self.serve(topic);
            }
        }
    }
}

fn payload_changes<P: Payload>(job: &Record<P>) -> Vec<Change> {
    let Some(payload) = &job.payload else { return Vec::new() };
    let bytes = payload.bytes();
    let pieces = if bytes.is_empty() { vec![bytes] } else { bytes.chunks(CHUNK).collect() };
    let numbered = pieces.into_iter().enumerate();
    numbered
        .map(|(number, piece)| {
            let key = chunk_key(job.id(), number);
            let value = seal(&key, piece.to_vec());
            Change::Put(key, value)
        })
        .collect()
}

impl<P: Payload> Engine<P> {
    /// Have as many ids and tokens as a call needs, their blocks kept, before any of them is used. The ids are held for
    /// the call, which gives them up when it takes them.
    #[inline]
    pub(super) fn ensure_numbers(
        &self,
        caller: &impl Caller,
        needed: impl Fn(&mut State<P>) -> (u64, u64),
    ) -> Result<(), Error> {
        if self.writes { self.await_numbers(caller, needed) } else { Ok(()) }
    }

    fn await_numbers(&self, caller: &impl Caller, needed: impl Fn(&mut State<P>) -> (u64, u64)) -> Result<(), Error> {
        loop {
            let mut state = self.enter()?;
            let (ids, tokens) = needed(&mut state);
            let enough = state.next_id.left() >= ids && state.next_token.left() >= tokens;
            state.ask_numbers(ids, tokens);
            if enough {
                state.next_id.held += ids;
                return self.leave(state, caller, Keep::Tried);
            }
            // Asked for by this call or by one that is being written: it is there once all that is queued is kept.
            let upto = state.journal.as_ref().map_or(0, |journal| journal.queue.upto);
            Self::leave_unwritten(state);
            self.commit(caller, upto, Keep::Awaited)?;
        }
    }

    /// Write all changes up to this one, or see them written by another; one that only tries does not wait for it.
    pub(super) fn commit(&self, caller: &impl Caller, upto: u64, keep: Keep) -> Result<(), Error> {
        self.with_stores(
            caller,
            |journal| journal.committed >= upto || (keep == Keep::Tried && journal.is_used()),
            |state| {
                let group = state.take_group();
                (group, (state.next_id.asked, state.next_token.asked))
            },
            |stores, (group, asked)| {
                let upto = group.upto;
                stores.write(group).map(|()| (upto, asked))
            },
            |state, (upto, asked)| state.kept_group(upto, asked),
        )
    }

    /// Have the repositories to oneself for one piece of work, outside the lock.
    ///
    /// `done` is asked first, under the lock: then nothing is left to do. `prepare` and `finish` run under the lock,
    /// `work` does not. An error of the work is final for the service.
    pub(super) fn with_stores<A, B>(
        &self,
        caller: &impl Caller,
        done: impl Fn(&Journal) -> bool,
        prepare: impl FnOnce(&mut State<P>) -> A,
        work: impl FnOnce(&Stores, A) -> Result<B, Error>,
        finish: impl FnOnce(&mut State<P>, B),
    ) -> Result<(), Error> {
        let (stores, prepared) = loop {
            let mut state = self.state.lock().map_err(|_| Error::Internal)?;
            let Some(journal) = &mut state.journal else { return Ok(()) };
            if let Some(cause) = &journal.failed {
                return Err(Error::Failed(Arc::clone(cause)));
            }
            if done(journal) {
                return Ok(());
            }
            if state.closing == Closing::Done {
                return Err(Error::Closed(Closed::Closed));
            }
            let Some(journal) = &mut state.journal else { return Ok(()) };
            match journal.ask_turn(sync::this_thread()) {
                Turn::Mine => {
                    let stores = journal.stores.clone();
                    break (stores, prepare(&mut state));
                }
                Turn::Wait(parker, seen) => {
                    drop(state);
                    if caller.detached(|| parker.wait(seen, None)) == Woken::Signal {
                        caller.interrupted()?;
                    }
                }
            }
        };
        let turn = TurnGuard { engine: self };
        let result = work(&stores, prepared);
        let mut state = self.state.lock().map_err(|_| Error::Internal)?;
        let result = match result {
            Ok(value) => {
                finish(&mut state, value);
                Ok(())
            }
            Err(error) => {
                state.fail(&error);
                Err(error)
            }
        };
        let close_later = std::mem::take(&mut state.close_later);
        turn.end(state);
        if close_later {
            self.finish_close(caller)?;
        }
        result
    }
}

/// The turn at the repositories; given back also when the work panics.
struct TurnGuard<'a, P: Payload> {
    engine: &'a Engine<P>,
}

impl<P: Payload> TurnGuard<'_, P> {
    fn end(self, mut state: Guard<'_, State<P>>) {
        std::mem::forget(self);
        give_turn(&mut state);
        Engine::leave_waiting(state);
    }
}

impl<P: Payload> Drop for TurnGuard<'_, P> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.engine.state.lock() {
            state.fail(&Error::Internal);
            give_turn(&mut state);
            let close_later = std::mem::take(&mut state.close_later);
            let wakes = state.take_wakes();
            drop(state);
            wake(wakes);
            if close_later {
                // The panic that is under way is what the caller is told.
                let _ = self.engine.finish_close(&Thread);
            }
        }
    }
}

fn give_turn<P: Payload>(state: &mut State<P>) {
    if let Some(journal) = &mut state.journal {
        let next = journal.give_turn();
        state.wakes.extend(next);
    }
}

impl<P: Payload> State<P> {
    /// A repository failed: from now on everything but close is refused, waiters too.
    fn fail(&mut self, error: &Error) {
        let cause: Foreign = match error {
            Error::Repository(cause) | Error::Failed(cause) => Arc::clone(cause),
            other => Arc::new(other.clone()),
        };
        if let Some(journal) = &mut self.journal {
            journal.failed.get_or_insert(cause);
        }
        self.wake_all();
    }
}
