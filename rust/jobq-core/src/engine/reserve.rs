//! reserve: ready → reserved, the least (weight, stamp) first, under a new token.

use std::sync::Arc;

use super::record::{Payload, Record};
use super::state::{Phase, State};
use super::wait::{Held, Wants};
use super::{Caller, Engine, Keep, Timeout};
use crate::clock::Mono;
use crate::error::Error;
use crate::fsm::{Event, Next, step};
use crate::job::{JobId, Reason, Status, Token};
use crate::options::JobOptions;
use crate::repository::codec::{chunk_key, chunks, unseal};
use crate::repository::stores::Stores;
use crate::sync::Guard;
use crate::topic::{TopicRef, check_name};

/// One job, leased to the caller.
pub struct Grant<P> {
    /// The job.
    pub id: JobId,
    /// Its lease.
    pub token: Token,
    /// Where its record is; a hint that is checked at each use.
    pub slot: u32,
    /// Its weight.
    pub weight: i16,
    /// Which reservation of the job this is, from 1.
    pub attempt: u32,
    /// When the lease runs out.
    pub deadline: Mono,
    /// The label of its options, if it has one.
    pub name: Option<Arc<str>>,
    /// Its payload; `None` while it is only in the repository, never to a caller of the engine.
    payload: Option<P>,
}

/// What is kept of a lease that was just made: for the caller a grant, for a waiter the lease alone.
pub(crate) trait Taken<P> {
    /// Of the job, its options and its lease.
    fn of(job: &Record<P>, options: Option<&JobOptions>, held: Held) -> Self;
}

impl<P> Taken<P> for Held {
    fn of(_: &Record<P>, _: Option<&JobOptions>, held: Held) -> Self {
        held
    }
}

impl<P: Payload> Taken<P> for Grant<P> {
    #[inline(always)]
    fn of(job: &Record<P>, options: Option<&JobOptions>, held: Held) -> Self {
        let name = options.map(|options| &options.name).filter(|name| !name.is_empty());
        Self {
            id: job.id(),
            token: Token(held.token),
            slot: held.slot,
            weight: job.weight,
            attempt: job.attempts,
            deadline: Mono(held.deadline),
            name: name.cloned(),
            payload: job.payload.as_ref().map(Payload::share),
        }
    }
}

impl<P: Payload> Grant<P> {
    /// The payload, handed over.
    pub fn take_payload(&mut self) -> P {
        self.payload.take().unwrap_or_else(|| P::from_bytes(Vec::new()))
    }
}

impl<P: Payload> Engine<P> {
    /// Lease one job; wait until there is one. `None` when the timeout passed.
    ///
    /// # Errors
    /// [`Error::Closed`], also once the service was stopped; [`Error::Interrupted`].
    #[inline]
    pub fn reserve_one(
        &self,
        caller: &impl Caller,
        topic: TopicRef<'_>,
        timeout: Timeout,
    ) -> Result<Option<Grant<P>>, Error> {
        self.ensure_numbers(caller, |_| (0, 1))?;
        let mut state = self.enter()?;
        state.tick();
        state.check_running()?;
        if let Some(slot) = state.topic(topic)
            && let Some(grant) = state.grant_one::<Grant<P>>(slot)
        {
            if state.is_quiet() && grant.payload.is_some() {
                Self::leave_quietly(state);
                return Ok(Some(grant));
            }
            if let Some(grant) = self.leave_granted(state, caller, grant)? {
                return Ok(Some(grant));
            }
        } else {
            self.leave(state, caller, Keep::Tried)?;
        }
        Ok(self.reserve(caller, topic, 1, timeout)?.pop())
    }

    /// Leave with a grant; fetch its payload. `None` when that cannot be read.
    #[inline(never)]
    fn leave_granted(
        &self,
        state: Guard<'_, State<P>>,
        caller: &impl Caller,
        grant: Grant<P>,
    ) -> Result<Option<Grant<P>>, Error> {
        self.leave(state, caller, Keep::Tried)?;
        if grant.payload.is_some() { Ok(Some(grant)) } else { Ok(self.fetch(caller, vec![grant])?.pop()) }
    }

    /// Lease what is ready, at most `limit` jobs; wait until there is one. Empty when the timeout passed.
    ///
    /// # Errors
    /// As [`Engine::reserve_one`].
    pub fn reserve(
        &self,
        caller: &impl Caller,
        topic: TopicRef<'_>,
        limit: u64,
        timeout: Timeout,
    ) -> Result<Vec<Grant<P>>, Error> {
        self.reserve_as(caller, topic, limit, timeout, Sight::Seen)
    }

    /// As [`Engine::reserve`], for a stream that yields them one by one: a grant counts as one that reached its caller
    /// only when [`Engine::is_next`] has let it out.
    ///
    /// # Errors
    /// As [`Engine::reserve_one`].
    pub fn reserve_unseen(
        &self,
        caller: &impl Caller,
        topic: TopicRef<'_>,
        limit: u64,
        timeout: Timeout,
    ) -> Result<Vec<Grant<P>>, Error> {
        self.reserve_as(caller, topic, limit, timeout, Sight::Unseen)
    }

    /// Whether a stream may yield this grant: its lease still stands and the service grants jobs.
    ///
    /// # Errors
    /// [`Error::Closed`], also once the service was stopped.
    pub fn is_next(&self, caller: &impl Caller, grant: &Grant<P>) -> Result<bool, Error> {
        self.look(caller, |state| {
            state.check_running()?;
            state.unseen.remove(&grant.token.0);
            Ok(state.holds(grant.slot, grant.id.0, grant.token.0))
        })
    }

    fn reserve_as(
        &self,
        caller: &impl Caller,
        topic: TopicRef<'_>,
        limit: u64,
        timeout: Timeout,
        sight: Sight,
    ) -> Result<Vec<Grant<P>>, Error> {
        loop {
            self.ensure_numbers(caller, |state| (0, state.ready_in(topic).min(limit)))?;
            let look = |state: &mut State<P>| {
                state.check_running()?;
                let slot = match state.topic(topic) {
                    Some(slot) => slot,
                    None if timeout.is_some_and(|timeout| timeout.is_zero()) => {
                        check_name(topic.name(), &state.limits)?;
                        return Ok(Err(Wants::Jobs { topics: Vec::new(), limit }));
                    }
                    None => state.topic_or_new(topic)?,
                };
                let mut grants = Vec::new();
                state.grant_batch(slot, limit, |grant: Grant<P>| grants.push(grant));
                state.overlook(&grants, sight);
                if grants.is_empty() { Ok(Err(Wants::Jobs { topics: vec![slot], limit })) } else { Ok(Ok(grants)) }
            };
            let collect = |state: &mut State<P>, held: Vec<Held>| {
                let grants: Vec<Grant<P>> = held.into_iter().filter_map(|held| state.collect_one(held)).collect();
                state.overlook(&grants, sight);
                (!grants.is_empty()).then_some(grants)
            };
            let Some(grants) = self.wait_for(caller, timeout, look, collect)? else { return Ok(Vec::new()) };
            let grants = self.fetch(caller, grants)?;
            if !grants.is_empty() {
                return Ok(grants);
            }
        }
    }

    /// Put grants that were not used back into their old places, uncharged. Never waits; what it changes is written
    /// by the next call. Nothing after close.
    pub fn give_back(&self, grants: impl IntoIterator<Item = Grant<P>>) {
        let grants: Vec<Grant<P>> = grants.into_iter().collect();
        let Ok(mut state) = self.enter_inside() else { return };
        for grant in &grants {
            state.give_back(Held {
                slot: grant.slot,
                id: grant.id.0,
                token: grant.token.0,
                deadline: grant.deadline.0,
            });
        }
        state.serve_touched();
        Self::leave_unwritten(state);
    }

    /// Fetch the payloads that are only in the repository. A job whose payload cannot be read is not served; when the
    /// caller must go, all goes back.
    fn fetch(&self, caller: &impl Caller, mut grants: Vec<Grant<P>>) -> Result<Vec<Grant<P>>, Error> {
        for grant in grants.iter_mut().filter(|grant| grant.payload.is_none()) {
            if let Err(error) = self.fetch_one(caller, grant) {
                self.give_back(grants);
                return Err(error);
            }
        }
        grants.retain(|grant| grant.payload.is_some());
        Ok(grants)
    }

    fn fetch_one(&self, caller: &impl Caller, grant: &mut Grant<P>) -> Result<(), Error> {
        let size = self.size_of(grant)?;
        match self.read_payload(caller, grant.id, size)? {
            Some(payload) => grant.payload = Some(payload),
            None => self.damage(caller, grant)?,
        }
        Ok(())
    }

    fn size_of(&self, grant: &Grant<P>) -> Result<u32, Error> {
        Ok(self.enter()?.jobs.get(grant.slot).map_or(0, |job| job.size))
    }

    /// The payload as the repository has it; `None` when that is not what was written.
    pub(super) fn read_payload(&self, caller: &impl Caller, id: JobId, size: u32) -> Result<Option<P>, Error> {
        if self.has_writer {
            let stores = self.enter_inside()?.journal.as_ref().map(|journal| journal.stores.clone());
            let read = caller.detached(|| stores.map_or(Ok(None), |stores| read_chunks(&stores, id, size)));
            return match read {
                Ok(bytes) => Ok(bytes.map(P::from_bytes)),
                Err(error) => Err(self.failed(error)),
            };
        }
        let mut read = None;
        self.with_stores(
            caller,
            |_| false,
            |_| (),
            |stores, ()| read_chunks(stores, id, size),
            |_, bytes| read = bytes,
        )?;
        Ok(read.map(P::from_bytes))
    }

    fn damage(&self, caller: &impl Caller, grant: &Grant<P>) -> Result<(), Error> {
        let mut state = self.enter()?;
        if state.holds(grant.slot, grant.id.0, grant.token.0) {
            state.uncount(grant.slot);
            state.uproot(grant.slot);
            state.log(grant.slot, "its payload cannot be read");
            state.finish(grant.slot, Some(Reason::Damaged));
        }
        self.leave(state, caller, Keep::Tried)
    }
}

fn read_chunks(stores: &Stores, id: JobId, size: u32) -> Result<Option<Vec<u8>>, Error> {
    let Some(store) = &stores.jobs else { return Ok(None) };
    let mut bytes = Vec::new();
    for chunk in 0..chunks(size) {
        let key = chunk_key(id, chunk);
        let Some(sealed) = store.get(&key)? else { return Ok(None) };
        let Some(piece) = unseal(&key, &sealed) else { return Ok(None) };
        bytes.extend_from_slice(piece);
    }
    Ok((u32::try_from(bytes.len()) == Ok(size)).then_some(bytes))
}

/// Whether granted jobs are in their caller's hands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    Seen,
    Unseen,
}

impl<P: Payload> State<P> {
    /// Remember grants that nobody has seen yet.
    fn overlook(&mut self, grants: &[Grant<P>], sight: Sight) {
        if sight == Sight::Unseen {
            self.unseen.extend(grants.iter().map(|grant| grant.token.0));
        }
    }

    /// How many jobs of a topic are ready.
    fn ready_in(&self, topic: TopicRef<'_>) -> u64 {
        let topic = self.topics.find(topic).and_then(|slot| self.topics.get(slot));
        topic.map_or(0, |topic| topic.counters.now(Status::Ready))
    }

    /// Lease the topic's first job.
    #[inline(always)]
    pub(crate) fn grant_one<T: Taken<P>>(&mut self, topic: u32) -> Option<T> {
        let there = self.topics.get_mut(topic)?;
        if there.paused || self.phase != Phase::Running || self.next_token.is_short() {
            return None;
        }
        let slot = there.ready.pop(&mut self.jobs)?;
        let (now, grain) = (self.now, self.clock.grain());
        let job = self.jobs.get_mut(slot)?;
        debug_assert!(
            step(job.status, Event::Reserve) == Some(Next::To(Status::Reserved)),
            "a ready queue holds ready jobs alone"
        );
        let token = self.next_token.take();
        let options = self.options.get(job.options);
        let lease = options.map_or(0, |options| options.lease);
        let deadline = now.mono.0.saturating_add(lease).saturating_add(grain);
        job.prev = self.leases.grant(token, slot, deadline, now.wall.0);
        job.attempts = job.attempts.saturating_add(1);
        job.status = Status::Reserved;
        let logs = job.logs();
        let held = Held { slot, id: job.id, token, deadline };
        for counters in [&mut self.total, &mut there.counters] {
            counters.shift(Status::Ready, Status::Reserved);
            counters.note_reserved(now.wall.0);
        }
        self.near |= deadline <= now.mono.0 + grain * 2;
        if logs || self.journal.is_some() {
            return self.note_granted(topic, held, logs);
        }
        // Made last, so that it is made where it is returned: that spares a copy of a cache line.
        Some(T::of(job, options, held))
    }

    /// What is rare after a grant: a line in the log, a record to write.
    #[cold]
    fn note_granted<T: Taken<P>>(&mut self, topic: u32, held: Held, logs: bool) -> Option<T> {
        self.shifted(held.slot, topic, Status::Ready, Status::Reserved, logs);
        let place = self.jobs.get(held.slot)?.prev;
        self.note_held(held.slot, place, held.token);
        let job = self.jobs.get(held.slot)?;
        Some(T::of(job, self.options.get(job.options), held))
    }

    /// Lease the topic's first jobs, at most `limit`. A recovered job ends the batch before it and is one of its own.
    pub(crate) fn grant_batch<T: Taken<P>>(&mut self, topic: u32, limit: u64, mut take: impl FnMut(T)) {
        let mut granted = 0;
        while granted < limit {
            let Some(first) = self.topics.get(topic).and_then(|topic| topic.ready.peek(&self.jobs)) else { return };
            let alone = self.jobs.get(first).is_some_and(Record::is_alone);
            if alone && granted > 0 {
                return;
            }
            let Some(taken) = self.grant_one(topic) else { return };
            take(taken);
            granted += 1;
            if alone {
                return;
            }
        }
    }

    /// Whether the job is still leased under this token.
    #[inline(always)]
    pub(crate) fn holds(&self, slot: u32, id: u64, token: u64) -> bool {
        self.jobs.get(slot).is_some_and(|job| {
            job.id == id
                && job.status == Status::Reserved
                && self.leases.get(job.prev).is_some_and(|lease| lease.token == token)
        })
    }

    /// What the caller gets of a lease, if it still stands.
    pub(crate) fn collect_one(&mut self, held: Held) -> Option<Grant<P>> {
        if !self.holds(held.slot, held.id, held.token) {
            return None;
        }
        let job = self.jobs.get(held.slot)?;
        Some(Grant::of(job, self.options.get(job.options), held))
    }

    /// Undo a grant that never reached its caller: as if the job had not been taken.
    pub(crate) fn give_back(&mut self, held: Held) {
        self.unseen.remove(&held.token);
        if self.holds(held.slot, held.id, held.token) {
            self.uncount(held.slot);
            self.uproot(held.slot);
            self.put_back(held.slot);
            self.note_returned(held.slot);
        }
    }

    /// A grant that never reached its caller was no attempt.
    pub(crate) fn uncount(&mut self, slot: u32) {
        let Some(job) = self.jobs.get_mut(slot) else { return };
        job.attempts = job.attempts.saturating_sub(1);
        let topic = job.topic;
        self.tally(topic, |counters| counters.reservations -= 1);
    }
}
