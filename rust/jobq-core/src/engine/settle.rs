//! What the holder of a job may do with it, each call accepted only under the token that holds the job now.

use hashbrown::HashSet;

use super::record::Payload;
use super::state::State;
use super::tick::Over;
use super::{Caller, Engine, Tick};
use crate::clock::Mono;
use crate::error::{Error, Lost, Settled};
use crate::fsm::{Charge, Entry, Event, step};
use crate::job::{JobId, Reason, Status, Token};
use crate::slab::NIL;
use crate::sync::Guard;

use super::planted::Planted;

/// One lease, as its holder knows it.
#[derive(Clone, Copy, Debug)]
pub struct Handle {
    /// The job.
    pub id: JobId,
    /// The lease.
    pub token: Token,
    /// Where the record was; checked at each use.
    pub slot: u32,
    /// When the lease runs out, as last known.
    pub deadline: Mono,
    /// Whether the job was settled through this handle.
    pub settled: Settled,
}

/// How a holder ends its lease. Delays are milliseconds.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// Finished.
    Done,
    /// Failed: charge a retry; `None` waits as the backoff says.
    Retry {
        /// Instead of the backoff.
        delay: Option<u64>,
        /// Kept with the job.
        error: Option<&'a str>,
    },
    /// Put back uncharged: to its old place, or after a delay.
    Release {
        /// 0: to its old place.
        delay: u64,
    },
    /// Given up for good.
    Reject {
        /// Kept with the job.
        error: Option<&'a str>,
    },
}

/// What [`State::judge`] lets pass is reserved, and from there the machine has each of these steps.
const _: () = {
    let events = [
        Event::Done,
        Event::Extend,
        Event::Reject,
        Event::Retry(Charge::Exhausted),
        Event::Retry(Charge::Again(Entry::Now)),
        Event::Retry(Charge::Again(Entry::Later)),
        Event::Release(Entry::Now),
        Event::Release(Entry::Later),
    ];
    let mut at = 0;
    while at < events.len() {
        assert!(step(Status::Reserved, events[at]).is_some());
        at += 1;
    }
};

impl Outcome<'_> {
    /// The verb for texts.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry { .. } => "retry",
            Self::Release { .. } => "release",
            Self::Reject { .. } => "cancel",
        }
    }
}

impl<P: Payload> Engine<P> {
    /// End a lease; where the job stands now.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the caller does not hold the job.
    #[inline]
    pub fn settle(&self, caller: &impl Caller, handle: Handle, outcome: Outcome<'_>) -> Result<Status, Error> {
        self.ensure_room(caller)?;
        let mut state = self.enter()?;
        let moved = state.look();
        let done = matches!(outcome, Outcome::Done) && state.complete(handle);
        // Left at once as a rule: a result that can be an error goes through memory, here and in `Engine::call`.
        if done && !moved && state.is_quiet() {
            Self::leave_quietly(state);
            return Ok(Status::Done);
        }
        self.settle_on(state, caller, done, moved, handle, outcome)
    }

    /// The rest of [`Engine::settle`], when the job was not `done` yet, time `moved`, or there is more to do.
    #[inline(never)]
    fn settle_on(
        &self,
        mut state: Guard<'_, State<P>>,
        caller: &impl Caller,
        done: bool,
        moved: bool,
        handle: Handle,
        outcome: Outcome<'_>,
    ) -> Result<Status, Error> {
        let result = if done { Ok(Status::Done) } else { state.settle_judged(handle, outcome) };
        if moved {
            state.run_slice();
        }
        self.leave_with(state, caller, result)
    }

    /// End each of these leases in one step, each judged alone; whether it was accepted, and the error that names
    /// all that were lost.
    ///
    /// # Errors
    /// Those of every call; a lost lease is in the result.
    pub fn settle_many(
        &self,
        caller: &impl Caller,
        handles: &[Handle],
        outcome: Outcome<'_>,
    ) -> Result<(Vec<bool>, Option<Error>), Error> {
        self.ensure_room(caller)?;
        self.call(caller, Tick::After, |state| {
            let mut accepted = Vec::with_capacity(handles.len());
            let mut first: Option<Box<Lost>> = None;
            // A handle given twice is settled once: kept from the first refusal on, which is rare.
            let mut settled: Option<HashSet<Token>> = None;
            for (index, &handle) in handles.iter().enumerate() {
                state.cut();
                let result = state.settle(handle, outcome);
                if result.is_err() {
                    let done = settled.get_or_insert_with(|| accepted_of(handles.iter().take(index), &accepted));
                    if done.contains(&handle.token) {
                        accepted.push(true);
                        continue;
                    }
                } else if let Some(settled) = &mut settled {
                    settled.insert(handle.token);
                }
                accepted.push(result.is_ok());
                match (result, &mut first) {
                    (Err(Error::LeaseLost(lost)), None) => first = Some(lost),
                    (Err(Error::LeaseLost(lost)), Some(first)) => first.ids.push(lost.id),
                    (Err(error), _) => return Err(error),
                    (Ok(_), _) => {}
                }
            }
            Ok((accepted, first.map(Error::LeaseLost)))
        })
    }

    /// Hold a job until now + `span` (`None`: its lease) if that is later than its deadline; the deadline.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    pub fn extend(&self, caller: &impl Caller, handle: Handle, span: Option<u64>) -> Result<Mono, Error> {
        self.call(caller, Tick::After, |state| {
            state.judge(handle, "extend")?;
            let lease = state.options_of(handle.slot).map_or(0, |options| options.lease);
            let wanted = state.now.mono.0.saturating_add(span.unwrap_or(lease)).saturating_add(state.clock.grain());
            let Some(index) = state.jobs.get(handle.slot).map(|job| job.prev) else { return Err(Error::Internal) };
            let standing = state.leases.get(index).map_or(0, |lease| lease.deadline);
            if wanted > standing {
                state.leases.extend(index, wanted);
                state.near |= wanted <= state.now.mono.0 + state.clock.grain() * 2;
            }
            Ok(Mono(wanted.max(standing)))
        })
    }

    /// Add a line to the job's log; written with its next change.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    pub fn log(&self, caller: &impl Caller, handle: Handle, message: &str) -> Result<(), Error> {
        self.call(caller, Tick::After, |state| {
            state.judge(handle, "log")?;
            state.log(handle.slot, message);
            Ok(())
        })
    }

    /// Whether the caller holds the job; what `with job` asks first.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    pub fn check_held(&self, caller: &impl Caller, handle: Handle) -> Result<(), Error> {
        self.look(caller, |state| state.judge(handle, "__enter__"))
    }

    /// A handle was dropped unsettled: its lease is over. Never waits; what it changes is written by the next call.
    pub fn abandon(&self, handle: Handle) {
        let Ok(mut state) = self.enter_inside() else { return };
        state.look();
        if state.holds(handle.slot, handle.id.0, handle.token.0) {
            let now = state.now.mono;
            state.expire(handle.slot, now, Over::Dropped);
            state.serve_touched();
        }
        Self::leave_unwritten(state);
    }
}

fn accepted_of<'a>(handles: impl Iterator<Item = &'a Handle>, accepted: &[bool]) -> HashSet<Token> {
    handles.zip(accepted).filter(|(_, accepted)| **accepted).map(|(handle, _)| handle.token).collect()
}

impl<P: Payload> State<P> {
    /// Let only the holder pass.
    #[inline(always)]
    fn judge(&self, handle: Handle, verb: &'static str) -> Result<(), Error> {
        if self.holds(handle.slot, handle.id.0, handle.token.0) {
            return Ok(());
        }
        if self.planted.is(Planted::UnfencedDone)
            && verb == "done"
            && self.jobs.get(handle.slot).is_some_and(|job| job.id == handle.id.0 && job.status == Status::Reserved)
        {
            return Ok(());
        }
        Err(self.lost(handle, verb))
    }

    #[cold]
    fn lost(&self, handle: Handle, verb: &'static str) -> Error {
        let slot = self.ids.get(handle.id.0);
        let job = slot.and_then(|slot| self.jobs.get(slot));
        let holder = job.filter(|job| job.status == Status::Reserved).and_then(|job| self.leases.get(job.prev));
        let overdue = self.now.mono.0.checked_sub(handle.deadline.0);
        Error::LeaseLost(Box::new(Lost {
            id: handle.id,
            topic: job.map_or_else(|| std::sync::Arc::from(""), |job| self.topic_name(job.topic)),
            token: handle.token,
            verb,
            status: job.map(|job| job.status),
            holder: holder.map(|lease| Token(lease.token)),
            lease: slot.and_then(|slot| self.options_of(slot)).map_or(0, |options| options.lease),
            overdue: overdue.filter(|_| job.is_some()),
            settled: handle.settled,
            ids: vec![handle.id],
        }))
    }

    #[inline(always)]
    fn settle(&mut self, handle: Handle, outcome: Outcome<'_>) -> Result<Status, Error> {
        if matches!(outcome, Outcome::Done) && self.complete(handle) {
            return Ok(Status::Done);
        }
        self.settle_judged(handle, outcome)
    }

    /// Finish the job if the holder has it; whether he had. Judged, uprooted and finished with one look at the record:
    /// half of what a worker calls is this.
    #[inline(always)]
    fn complete(&mut self, handle: Handle) -> bool {
        let (slot, now) = (handle.slot, self.now.wall.0);
        let Some(job) = self.jobs.get_mut(slot) else { return false };
        if job.id != handle.id.0 || job.status != Status::Reserved || !self.leases.end_if(job.prev, handle.token.0) {
            return false;
        }
        debug_assert!(job.reason().is_none(), "a job that is held was not canceled");
        let lease = std::mem::replace(&mut job.prev, NIL);
        job.status = Status::Done;
        job.when = now;
        let (topic, size, logs) = (job.topic, job.size, job.logs());
        if let Some(there) = self.topics.get_mut(topic) {
            for counters in [&mut self.total, &mut there.counters] {
                counters.shift(Status::Reserved, Status::Done);
                counters.completions += 1;
            }
        }
        self.note_let_go(lease);
        self.shifted(slot, topic, Status::Reserved, Status::Done, logs);
        self.note(slot);
        self.keep(slot, None, size);
        true
    }

    #[inline(never)]
    fn settle_judged(&mut self, handle: Handle, outcome: Outcome<'_>) -> Result<Status, Error> {
        let verb = outcome.verb();
        self.judge(handle, verb)?;
        let slot = handle.slot;
        let status = match outcome {
            Outcome::Done => {
                self.uproot(slot);
                self.finish(slot, None);
                Status::Done
            }
            Outcome::Retry { delay, error } => self.retry(slot, delay, error),
            Outcome::Release { delay } => self.release(slot, delay),
            Outcome::Reject { error } => {
                self.keep_error(slot, error);
                self.uproot(slot);
                self.finish(slot, Some(Reason::Rejected));
                Status::Canceled
            }
        };
        self.serve_touched();
        Ok(status)
    }

    fn retry(&mut self, slot: u32, delay: Option<u64>, error: Option<&str>) -> Status {
        let topic = self.jobs.get(slot).map_or(crate::slab::NIL, |job| job.topic);
        self.tally(topic, |counters| counters.retries += 1);
        self.keep_error(slot, error);
        self.uproot(slot);
        let Some(backoff) = self.charge(slot) else {
            self.finish(slot, Some(Reason::Exhausted));
            return Status::Canceled;
        };
        match delay.unwrap_or(backoff) {
            0 => {
                self.enter_ready(slot, |_| ());
                self.note(slot);
            }
            delay => {
                let due = self.clock.wall_ceil().0.saturating_add(delay);
                self.requeue(slot, due);
            }
        }
        self.jobs.get(slot).map_or(Status::Ready, |job| job.status)
    }

    fn release(&mut self, slot: u32, delay: u64) -> Status {
        let entry = if delay == 0 { Entry::Now } else { Entry::Later };
        let topic = self.jobs.get(slot).map_or(crate::slab::NIL, |job| job.topic);
        self.tally(topic, |counters| counters.releases += 1);
        self.clear_crashes(slot);
        self.uproot(slot);
        match entry {
            Entry::Now => {
                self.put_back(slot);
                self.note(slot);
            }
            Entry::Later => {
                let due = self.clock.wall_ceil().0.saturating_add(delay);
                self.requeue(slot, due);
            }
        }
        self.jobs.get(slot).map_or(Status::Ready, |job| job.status)
    }
}
