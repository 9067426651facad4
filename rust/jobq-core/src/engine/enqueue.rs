//! enqueue: nothing → ready, or delayed until its due date.

use std::ops::Range;

use super::planted::Planted;
use super::record::{Payload, Record};
use super::state::State;
use super::{Caller, Engine, Tick};
use crate::error::{Error, Full};
use crate::fsm::{Entry, Event, Next, step};
use crate::job::{JobId, Schedule, Status};
use crate::options::JobOptions;
use crate::repository::codec::INLINE;
use crate::stats::Counters;
use crate::topic::TopicRef;

impl<P: Payload> Engine<P> {
    /// Queue one job; its id once it is kept.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a payload or topic name beyond the limits, [`Error::QueueFull`].
    #[inline]
    pub fn enqueue(
        &self,
        caller: &impl Caller,
        topic: TopicRef<'_>,
        payload: P,
        weight: i16,
        schedule: Schedule,
        options: Option<&JobOptions>,
    ) -> Result<JobId, Error> {
        let size = self.limits.check_payload("payload", payload.bytes().len())?;
        let due = self.due(schedule);
        self.ensure_numbers(caller, |_| (1, 0))?;
        let mut state = self.enter()?;
        state.tick();
        state.next_id.held -= u64::from(self.writes);
        // The payload of a refused job is dropped when the lock has been given back.
        let topic = match state.admit(topic, 1) {
            Ok(topic) => topic,
            Err(error) => return self.leave_with(state, caller, Err(error)),
        };
        let options = state.options.hold_or_default(options);
        let id = state.add(topic, Some(payload), size, weight, due, options);
        state.serve_touched();
        // As in `Engine::call`, but for a result that goes through memory there, as it can be an error.
        if state.is_quiet() {
            Self::leave_quietly(state);
            return Ok(id);
        }
        self.leave_with(state, caller, Ok(id))
    }

    /// Queue all of these or none, in one step; their ids are consecutive.
    ///
    /// # Errors
    /// As [`Engine::enqueue`]; a bad item's index is named.
    pub fn enqueue_many(
        &self,
        caller: &impl Caller,
        topic: TopicRef<'_>,
        items: Vec<(P, i16)>,
        schedule: Schedule,
        options: Option<&JobOptions>,
    ) -> Result<Range<u64>, Error> {
        let mut sizes = Vec::with_capacity(items.len());
        for (index, (payload, _)) in items.iter().enumerate() {
            let size = self.limits.check_payload("payload", payload.bytes().len());
            // Named by its index only when it is refused.
            sizes.push(size.map_err(|error| {
                Error::Invalid(error.to_string().replacen("payload", &format!("payloads[{index}]"), 1))
            })?);
        }
        let due = self.due(schedule);
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        // Held outside the lock, so that what is refused is dropped outside it too.
        let mut items: Vec<(Option<P>, i16)> =
            items.into_iter().map(|(payload, weight)| (Some(payload), weight)).collect();
        self.ensure_numbers(caller, |_| (count, 0))?;
        self.call(caller, Tick::Before, |state| {
            state.next_id.held -= if self.writes { count } else { 0 };
            if items.is_empty() {
                crate::topic::check_name(topic.name(), &state.limits)?;
                return Ok(state.next_id.next..state.next_id.next);
            }
            let topic = state.admit(topic, count)?;
            let first = state.next_id.next;
            for ((payload, weight), size) in items.iter_mut().zip(&sizes) {
                let options = state.options.hold_or_default(options);
                state.add(topic, payload.take(), *size, *weight, due, options);
            }
            state.serve_touched();
            Ok(first..state.next_id.next)
        })
    }

    /// The due date of a schedule, counted from the exact clock; `None` when it is now.
    pub(super) fn due(&self, schedule: Schedule) -> Option<u64> {
        match schedule {
            Schedule::Now | Schedule::After(0) => None,
            Schedule::After(delay) => Some(self.clock.wall_ceil().0.saturating_add(delay)),
            Schedule::At(at) => Some(at).filter(|&at| at > self.clock.now().wall.0),
        }
    }
}

impl<P: Payload> State<P> {
    /// The topic, made when it is new, if the limits let so many jobs in.
    #[inline(always)]
    fn admit(&mut self, topic: TopicRef<'_>, more: u64) -> Result<u32, Error> {
        if let Some(limit) = self.limits.max_jobs {
            let live = self.total.live();
            if live.saturating_add(more) > limit {
                return Err(Error::QueueFull(Full::Jobs { limit, live, more }));
            }
        }
        if let Some(limit) = self.limits.max_topics
            && self.topics.find(topic).is_none()
            && u64::try_from(self.topics.len()).unwrap_or(u64::MAX) >= limit
        {
            crate::topic::check_name(topic.name(), &self.limits)?;
            return Err(Error::QueueFull(Full::Topics { limit }));
        }
        self.topic_or_new(topic)
    }

    /// Make the record of a new job and place it.
    ///
    /// One that is ready, as most are, is made so at once: through the status of one that stands nowhere yet it
    /// would be looked up a second time and counted by a status known only at run time.
    #[inline(always)]
    fn add(&mut self, topic: u32, payload: Option<P>, size: u32, weight: i16, due: Option<u64>, options: u32) -> JobId {
        self.cut();
        let id = self.next_id.take();
        if let Some(payload) = payload.as_ref().filter(|_| size > INLINE) {
            self.note_payload(id, payload);
        }
        let created = self.now.wall.0;
        let mut job = Record::new(id, topic, weight, created, payload, size);
        job.set_options(options, self.options.get(options));
        let later = due.filter(|&due| self.entry(due) == Entry::Later);
        let slot = if later.is_some() || self.planted.is(Planted::LostOrder) {
            self.place_new(job, later)
        } else {
            self.place_new_ready(job)
        };
        self.note_enqueued(slot);
        JobId(id)
    }

    /// Place a new job: on the wheel until its due date, or last in its weight.
    #[inline(never)]
    fn place_new(&mut self, job: Record<P>, due: Option<u64>) -> u32 {
        let (id, created) = (job.id, job.created);
        let slot = self.jobs.insert(job);
        self.ids.insert(id, slot);
        let count = |counters: &mut Counters| counters.note_enqueued(1, created);
        match due {
            Some(due) => self.enter_delayed(slot, due, count),
            None => self.enter_ready(slot, count),
        }
        slot
    }

    /// Place a new job last in its weight.
    #[inline(always)]
    fn place_new_ready(&mut self, mut job: Record<P>) -> u32 {
        job.status = Status::Ready;
        job.when = self.stamp();
        let (id, created, topic, weight, logs) = (job.id, job.created, job.topic, job.weight, job.logs());
        let slot = self.jobs.insert(job);
        self.ids.insert(id, slot);
        let Some(there) = self.topics.get_mut(topic) else { return slot };
        for counters in [&mut self.total, &mut there.counters] {
            counters.shift(Status::Created, Status::Ready);
            counters.note_enqueued(1, created);
        }
        there.ready.push_back(&mut self.jobs, weight, slot);
        if !there.waiters.is_empty() {
            self.touched.push(topic);
        }
        self.shifted(slot, topic, Status::Created, Status::Ready, logs);
        slot
    }
}

/// Where [`State::add`] places a job is where the machine leads.
const _: () = {
    assert!(matches!(step(Status::Created, Event::Enqueue(Entry::Now)), Some(Next::To(Status::Ready))));
    assert!(matches!(step(Status::Created, Event::Enqueue(Entry::Later)), Some(Next::To(Status::Delayed))));
};
