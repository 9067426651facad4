//! The state behind the engine's lock, and the small moves that every verb is made of.
//!
//! A record is in exactly one place: a topic's ready queue, the delay wheel, the leases, or a retention list. The
//! moves here keep place, status and counts together.

use hashbrown::{HashMap, HashSet};

use super::commit::Numbers;
use super::held::Notes;
use super::planted::Planted;
use super::record::{Cold, OptionTable, Payload, Record};
use super::retain::Kept;
use super::tick::Idle;
use super::wait::Waiters;
use crate::clock::{Clock, Now};
use crate::delays::DelayWheel;
use crate::error::{Closed, Error, Transition};
use crate::fsm::{Event, Next, step};
use crate::ids::IdMap;
use crate::job::{JobId, Reason, Status, clip};
use crate::leases::Leases;
use crate::options::{JobOptions, Limits};
use crate::repository::committer::Journal;
use crate::slab::{NIL, Slab};
use crate::stats::Counters;
use crate::sync::Parker;
use crate::topic::{TopicRef, Topics, check_name};

/// How far the service's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything goes.
    Running,
    /// No more grants.
    Stopped,
    /// Nothing goes.
    Closed,
}

/// Who closes the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Nobody yet.
    Open,
    /// This thread, now.
    By(std::thread::ThreadId),
    /// It is closed.
    Done,
}

/// Everything the engine knows.
pub(crate) struct State<P> {
    pub(crate) clock: Clock,
    pub(crate) now: Now,
    /// The clock's mark when `now` was read.
    pub(crate) mark: u64,
    /// Whether something is due within the clock's grain, so that the exact clock must be read at each call.
    pub(crate) near: bool,
    /// Whether the last slice left something that is due.
    pub(crate) more: bool,
    pub(crate) limits: Limits,
    /// Crashes a job may be reserved at; `None`: any number.
    pub(crate) max_crashes: Option<u32>,
    pub(crate) phase: Phase,
    pub(crate) closing: Closing,
    /// Whether the call that is inside a repository must finish the closing.
    pub(crate) close_later: bool,
    /// Who waits for another thread's close.
    pub(crate) closers: Vec<std::sync::Arc<Parker>>,

    pub(crate) jobs: Slab<Record<P>>,
    pub(crate) ids: IdMap,
    pub(crate) cold: HashMap<u64, Cold>,
    pub(crate) options: OptionTable,
    pub(crate) topics: Topics,
    pub(crate) delays: DelayWheel,
    pub(crate) leases: Leases,
    /// Done jobs and requested cancellations.
    pub(crate) finished: Kept,
    /// Dead letters.
    pub(crate) dead: Kept,
    pub(crate) idle: Idle,
    /// The counts of all topics together, forgotten ones included.
    pub(crate) total: Counters,
    /// The events of forgotten topics alone.
    pub(crate) forgotten: Counters,

    pub(crate) next_id: Numbers,
    pub(crate) next_token: Numbers,
    pub(crate) last_stamp: u64,
    pub(crate) random: u64,

    pub(crate) waiters: Waiters,
    /// Leases, by token, of jobs that a stream has taken and not yielded: nobody has seen them yet.
    pub(crate) unseen: HashSet<u64>,
    /// Topics that got a ready job while somebody waits there; served before the lock is given back.
    pub(crate) touched: Vec<u32>,
    /// Whom to wake once the lock is given back.
    pub(crate) wakes: Vec<std::sync::Arc<Parker>>,
    /// Payloads to drop once the lock is given back.
    pub(crate) trash: Vec<P>,
    pub(crate) due: Vec<(u64, u32)>,
    pub(crate) over: Vec<u32>,
    /// Where changes go; `None` when both roles remember nothing.
    pub(crate) journal: Option<Box<Journal>>,
    /// Topics whose record must be written.
    pub(crate) dirty: Vec<u32>,
    /// What the table of leases is still to be told.
    pub(crate) held: Notes,
    pub(crate) planted: Planted,
}

impl<P: Payload> State<P> {
    /// Count something in a topic and in all.
    #[inline]
    pub(crate) fn tally(&mut self, topic: u32, count: impl Fn(&mut Counters)) {
        count(&mut self.total);
        if let Some(topic) = self.topics.get_mut(topic) {
            count(&mut topic.counters);
        }
        if self.journal.is_some() {
            self.soil(topic);
        }
    }

    /// Have a topic's record written with the next batch.
    pub(crate) fn soil(&mut self, slot: u32) {
        let Some(journal) = &mut self.journal else { return };
        if journal.stores.topics.is_none() {
            return;
        }
        // Counted each time: whoever changes a topic whose record waits already, waits for that record. A writer takes
        // records along with jobs, or now and then: nobody waits for those.
        if !journal.has_thread() {
            journal.upto += 1;
        }
        if let Some(topic) = self.topics.get_mut(slot)
            && !topic.dirty
        {
            topic.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// The topic's slot, if it is in use; the call counts as one of the topic.
    #[inline]
    pub(crate) fn topic(&mut self, topic: TopicRef<'_>) -> Option<u32> {
        self.topics.call(topic, self.now.mono)
    }

    /// The topic's slot; a new topic is made.
    #[inline(always)]
    pub(crate) fn topic_or_new(&mut self, topic: TopicRef<'_>) -> Result<u32, Error> {
        match self.topic(topic) {
            Some(slot) => Ok(slot),
            None => self.new_topic(topic),
        }
    }

    #[cold]
    fn new_topic(&mut self, topic: TopicRef<'_>) -> Result<u32, Error> {
        let name = match topic {
            TopicRef::Name(name) => {
                check_name(name, &self.limits)?;
                std::sync::Arc::from(name)
            }
            TopicRef::Handle(handle) => std::sync::Arc::clone(handle.name()),
        };
        Ok(self.topics.insert(name, self.now.mono))
    }

    /// The record of an id.
    pub(crate) fn slot_of(&self, id: JobId) -> Result<u32, Error> {
        self.ids.get(id.0).ok_or(Error::JobNotFound(id))
    }

    /// The options of a job.
    pub(crate) fn options_of(&self, slot: u32) -> Option<&JobOptions> {
        self.options.get(self.jobs.get(slot)?.options)
    }

    /// The step of the machine from where the job stands, or the error that there is none.
    pub(crate) fn ask(&self, slot: u32, event: Event, verb: &'static str) -> Result<Next, Error> {
        let job = self.jobs.get(slot).ok_or(Error::Internal)?;
        step(job.status, event).ok_or_else(|| {
            Error::InvalidTransition(Box::new(Transition {
                id: job.id(),
                topic: self.topic_name(job.topic),
                status: job.status,
                verb,
            }))
        })
    }

    /// A topic's name.
    pub(crate) fn topic_name(&self, topic: u32) -> std::sync::Arc<str> {
        self.topics.get(topic).map_or_else(|| std::sync::Arc::from(""), |topic| std::sync::Arc::clone(&topic.name))
    }

    /// Take the job out of its place: queue, wheel, lease or retention list. Its status and counts stay.
    #[inline]
    pub(crate) fn uproot(&mut self, slot: u32) {
        let Some(job) = self.jobs.get_mut(slot) else { return };
        match job.status {
            Status::Ready => {
                let (topic, weight, stamp) = (job.topic, job.weight, job.when);
                if let Some(topic) = self.topics.get_mut(topic) {
                    topic.ready.remove(&mut self.jobs, weight, stamp, slot);
                }
            }
            Status::Delayed => self.delays.cancel(job.when, slot),
            Status::Reserved => {
                let lease = std::mem::replace(&mut job.prev, NIL);
                self.leases.end(lease);
                self.note_let_go(lease);
            }
            Status::Done | Status::Canceled => self.unkeep(slot),
            Status::Created => {}
        }
    }

    /// Change the status of a job that stands in no place, and count it; `set` changes the record besides. Its topic.
    #[inline(always)]
    pub(crate) fn shift(
        &mut self,
        slot: u32,
        to: Status,
        set: impl FnOnce(&mut Record<P>),
        also: impl Fn(&mut Counters),
    ) -> u32 {
        let Some(job) = self.jobs.get_mut(slot) else { return NIL };
        let (from, topic, logs) = (job.status, job.topic, job.logs());
        let dead = job.leave_dead();
        job.status = to;
        set(job);
        if let Some(there) = self.topics.get_mut(topic) {
            for counters in [&mut self.total, &mut there.counters] {
                counters.shift(from, to);
                counters.dead -= dead;
                also(counters);
            }
        }
        self.shifted(slot, topic, from, to, logs);
        topic
    }

    #[cold]
    fn log_change(&mut self, slot: u32, from: Status, to: Status) {
        self.log(slot, &format!("{from} -> {to}"));
    }

    /// The next stamp: later than every one before, and never below the wall clock.
    #[inline]
    pub(crate) fn stamp(&mut self) -> u64 {
        self.last_stamp = (self.last_stamp + 1).max(self.now.wall.0 << 20);
        self.last_stamp
    }

    /// Place an uprooted job last in its weight.
    #[inline(always)]
    pub(crate) fn enter_ready(&mut self, slot: u32, also: impl Fn(&mut Counters)) {
        let stamp = self.stamp();
        let Some(job) = self.jobs.get_mut(slot) else { return };
        let (from, logs, weight, topic) = (job.status, job.logs(), job.weight, job.topic);
        let dead = job.leave_dead();
        job.status = Status::Ready;
        job.when = stamp;
        if self.planted.is(Planted::LostOrder) && job.id % 3 == 0 {
            job.when -= 1 << 22;
        }
        let Some(there) = self.topics.get_mut(topic) else { return };
        for counters in [&mut self.total, &mut there.counters] {
            counters.shift(from, Status::Ready);
            counters.dead -= dead;
            also(counters);
        }
        if self.planted.is(Planted::LostOrder) {
            self.stand_back(slot);
        } else {
            there.ready.push_back(&mut self.jobs, weight, slot);
            if !there.waiters.is_empty() {
                self.touched.push(topic);
            }
        }
        self.shifted(slot, topic, from, Status::Ready, logs);
    }

    /// What is rare after a change of status: a line in the log, a record to write.
    #[inline(always)]
    pub(crate) fn shifted(&mut self, slot: u32, topic: u32, from: Status, to: Status, logs: bool) {
        if logs && from != to {
            self.log_change(slot, from, to);
        }
        if self.journal.is_some() {
            self.soil(topic);
        }
    }

    /// Place an uprooted job that was reserved where it was before, as its stamp says.
    pub(crate) fn put_back(&mut self, slot: u32) {
        if self.planted.is(Planted::ReturnedLast) {
            return self.enter_ready(slot, |_| ());
        }
        self.shift(slot, Status::Ready, |_| (), |_| ());
        self.stand_back(slot);
    }

    /// Queue a ready job where its stamp belongs.
    fn stand_back(&mut self, slot: u32) {
        let Some(job) = self.jobs.get(slot) else { return };
        if let Some(topic) = self.topics.get_mut(job.topic) {
            topic.ready.put_back(job.weight, job.when, slot);
            if !topic.waiters.is_empty() {
                self.touched.push(job.topic);
            }
        }
    }

    /// Place an uprooted job on the wheel until its due date.
    pub(crate) fn enter_delayed(&mut self, slot: u32, due: u64, also: impl Fn(&mut Counters)) {
        let count = |counters: &mut Counters| {
            counters.delays += 1;
            also(counters);
        };
        self.shift(slot, Status::Delayed, |job| job.when = due, count);
        self.delays.insert(due, slot);
        self.near |= due <= self.now.wall.0 + self.clock.grain();
    }

    /// End the life of an uprooted job: it is done, or canceled for a reason; kept as long as the retention says.
    #[inline(always)]
    pub(crate) fn finish(&mut self, slot: u32, reason: Option<Reason>) {
        let now = self.now.wall.0;
        let mut size = 0;
        let set = |job: &mut Record<P>| {
            job.when = now;
            job.set_reason(reason);
            size = job.size;
        };
        match reason {
            None => self.shift(slot, Status::Done, set, |counters| counters.completions += 1),
            Some(reason) => self.shift(slot, Status::Canceled, set, |counters| {
                counters.cancellations += 1;
                counters.dead += u64::from(reason.is_dead());
            }),
        };
        self.note(slot);
        self.keep(slot, reason, size);
    }

    /// Forget an uprooted job: record, payload, log.
    pub(crate) fn forget(&mut self, slot: u32, count: impl Fn(&mut Counters)) {
        if let Some(job) = self.jobs.remove(slot) {
            self.bury(job, count);
        }
    }

    /// What is left to do for a job whose record is gone.
    #[inline]
    pub(crate) fn bury(&mut self, job: Record<P>, count: impl Fn(&mut Counters)) {
        self.ids.remove(job.id);
        let cold = if job.has_cold() { self.cold.remove(&job.id) } else { None };
        self.options.let_go(job.options);
        let dead = u64::from(job.reason().is_some_and(Reason::is_dead));
        let Some(there) = self.topics.get_mut(job.topic) else { return };
        for counters in [&mut self.total, &mut there.counters] {
            *counters.gauge(job.status) -= 1;
            counters.dead -= dead;
            count(counters);
        }
        let unused = !there.watched && !there.is_used();
        if self.journal.is_some() {
            self.soil(job.topic);
            self.note_forgotten(job.id(), job.size, cold.map_or(0..0, |cold| cold.written()));
        }
        self.trash.extend(job.payload);
        if unused {
            self.watch_if_unused(job.topic);
        }
    }

    /// The part of a job that few have; made when it is not there.
    pub(crate) fn cold(&mut self, slot: u32) -> Option<&mut Cold> {
        let job = self.jobs.get_mut(slot)?;
        job.set_cold(true);
        Some(self.cold.entry(job.id).or_default())
    }

    /// What is kept of a job's rare part.
    pub(crate) fn cold_of(&self, slot: u32) -> Option<&Cold> {
        let job = self.jobs.get(slot)?;
        if job.has_cold() { self.cold.get(&job.id) } else { None }
    }

    /// Add a line to a job's log.
    pub(crate) fn log(&mut self, slot: u32, message: &str) {
        let (at, max) = (self.now.wall.0, self.limits.max_log);
        if max == 0 {
            return;
        }
        if let Some(cold) = self.cold(slot) {
            cold.note(at, message, max);
        }
    }

    /// Keep the error that a holder gave.
    pub(crate) fn keep_error(&mut self, slot: u32, error: Option<&str>) {
        if let Some(error) = error
            && let Some(cold) = self.cold(slot)
        {
            cold.error = Some(clip(error).into());
        }
    }

    /// A job that was released, retried, expired or reset is no suspect any more.
    pub(crate) fn clear_crashes(&mut self, slot: u32) {
        if let Some(job) = self.jobs.get_mut(slot) {
            job.set_alone(false);
            if job.has_cold()
                && let Some(cold) = self.cold.get_mut(&job.id)
            {
                cold.crashes = 0;
            }
        }
    }

    /// Refuse what a service that grants no more refuses.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        match self.phase {
            Phase::Running => Ok(()),
            Phase::Stopped => Err(Error::Closed(Closed::Stopped)),
            Phase::Closed => Err(Error::Closed(Closed::Closed)),
        }
    }

    /// A number from 0 to 1, for jitter.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn random(&mut self) -> f64 {
        // xorshift64: spread, not secrecy, is wanted.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}
