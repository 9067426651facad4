//! Time doing its work: leases that are over, delayed jobs that are due, old jobs and idle topics that go.

use std::collections::BTreeSet;

use super::planted::Planted;
use super::record::Payload;
use super::state::State;
use crate::backoff;
use crate::clock::Mono;
use crate::fsm::{Charge, Entry, Event, Next, step};
use crate::job::{Reason, Status};
use crate::options::seconds;
use crate::repository::Change;
use crate::repository::codec::{TopicRecord, topic_key};

/// How many jobs one slice of a tick handles; the lock is given back between slices.
pub(crate) const SLICE: usize = 1_000;

/// Topics to look at, by when: those that had no job, waiter or pause when last seen.
#[derive(Default)]
pub(crate) struct Idle(BTreeSet<(Mono, u32, u32)>);

/// Why a lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Its deadline passed.
    Deadline,
    /// Its handle was dropped unsettled.
    Dropped,
}

impl<P: Payload> State<P> {
    /// Read the clocks if time has visibly moved; whether anything can be due. Usually one look at a coarse clock.
    #[inline(always)]
    pub(crate) fn look(&mut self) -> bool {
        let mark = self.clock.mark();
        if mark == self.mark && !self.near {
            return false;
        }
        self.mark = mark;
        self.now = self.clock.now();
        true
    }

    /// Do one slice of what is due.
    #[inline(always)]
    pub(crate) fn tick(&mut self) {
        if self.look() {
            self.run_slice();
        }
    }

    /// Do one slice of what is due at `now`; whether there may be more.
    #[cold]
    pub(crate) fn run_slice(&mut self) -> bool {
        self.more = self.run_due();
        self.near = self.more || self.is_near();
        self.more
    }

    fn is_near(&self) -> bool {
        let grain = self.clock.grain();
        grain > 0
            && (self.delays.next_wake().is_some_and(|due| due <= self.now.wall.0 + grain)
                || self.leases.next_wake().is_some_and(|deadline| deadline <= self.now.mono.0 + grain))
    }

    fn run_due(&mut self) -> bool {
        let mut left = SLICE;
        let mut more = self.expire_due(&mut left);
        more |= self.promote_due(&mut left);
        more |= self.purge_slice(left);
        more |= self.drop_idle();
        self.serve_touched();
        more
    }

    fn expire_due(&mut self, left: &mut usize) -> bool {
        let mut over = std::mem::take(&mut self.over);
        let more = self.leases.advance(self.now.mono.0, *left, &mut over);
        *left = left.saturating_sub(over.len());
        for lease in over.drain(..) {
            self.cut();
            if let Some(lease) = self.leases.get(lease) {
                let (job, deadline) = (lease.job, lease.deadline);
                self.expire(job, Mono(deadline), Over::Deadline);
            }
        }
        self.over = over;
        more
    }

    fn promote_due(&mut self, left: &mut usize) -> bool {
        let now = self.now.wall.0 + u64::from(self.planted.is(Planted::EarlyPromotion)) * 1_000;
        if *left == 0 {
            return self.delays.next_wake().is_some_and(|due| due <= now);
        }
        let mut due = std::mem::take(&mut self.due);
        let more = self.delays.advance(now, *left, &mut due);
        *left = left.saturating_sub(due.len());
        for (at, slot) in due.drain(..) {
            self.promote(at, slot);
        }
        self.due = due;
        more
    }

    fn promote(&mut self, due: u64, slot: u32) {
        let Some(job) = self.jobs.get(slot) else { return };
        debug_assert!(job.status == Status::Delayed && job.when == due, "the wheel holds delayed jobs alone");
        if step(job.status, Event::Promote) != Some(Next::To(Status::Ready)) || job.when != due {
            return;
        }
        self.enter_ready(slot, |counters| counters.promotions += 1);
    }

    /// End a lease as if its time had run out at `deadline`: charge a retry and queue the job again.
    pub(crate) fn expire(&mut self, slot: u32, deadline: Mono, over: Over) {
        let Some(job) = self.jobs.get(slot) else { return };
        if step(job.status, Event::Expire(Charge::Exhausted)).is_none() {
            return;
        }
        let topic = job.topic;
        let lease = self.options_of(slot).map_or(0, |options| options.lease);
        self.tally(topic, |counters| counters.expiries += 1);
        self.log(
            slot,
            &match over {
                Over::Deadline => format!("lease expired after {} s", seconds(lease)),
                Over::Dropped => "handle dropped unsettled: the lease ended".to_owned(),
            },
        );
        self.uproot(slot);
        let since = self.now.mono.0.saturating_sub(deadline.0);
        let from = self.now.wall.0.saturating_sub(since);
        match self.charge(slot) {
            None => self.finish(slot, Some(Reason::Exhausted)),
            Some(delay) => self.requeue(slot, from.saturating_add(delay)),
        }
    }

    /// Charge one retry; the backoff in milliseconds, or `None` when it was one too many.
    pub(crate) fn charge(&mut self, slot: u32) -> Option<u64> {
        let random = self.random();
        self.clear_crashes(slot);
        let options = self.options_of(slot)?;
        let (max, least, most, jitter) =
            (options.max_retries, options.min_backoff, options.max_backoff, options.jitter);
        let job = self.jobs.get_mut(slot)?;
        job.retries = job.retries.saturating_add(1);
        // A counter that stands at its end still stands for one more than any bound.
        let exhausted = job.retries > max || job.retries == u32::MAX;
        (!exhausted).then(|| backoff::delay(job.retries, least, most, jitter, random))
    }

    /// Queue an uprooted job again: ready when `due` is not after now, else delayed until then.
    pub(crate) fn requeue(&mut self, slot: u32, due: u64) {
        match self.entry(due) {
            Entry::Now => self.enter_ready(slot, |_| ()),
            Entry::Later => self.enter_delayed(slot, due, |_| ()),
        }
        self.note(slot);
    }

    /// Whether a due date is past.
    pub(crate) fn entry(&self, due: u64) -> Entry {
        if due <= self.now.wall.0 { Entry::Now } else { Entry::Later }
    }

    /// Plan a look at a topic that nothing keeps.
    pub(crate) fn watch_if_unused(&mut self, slot: u32) {
        let Some(idle) = self.limits.topic_idle else { return };
        if let Some(topic) = self.topics.get_mut(slot)
            && !topic.watched
            && !topic.is_used()
        {
            topic.watched = true;
            let at = Mono(topic.last_call.0.saturating_add(idle));
            self.idle.0.insert((at, slot, topic.generation));
        }
    }

    fn drop_idle(&mut self) -> bool {
        let Some(idle) = self.limits.topic_idle else { return false };
        for _ in 0..SLICE {
            let Some(&look) = self.idle.0.first() else { return false };
            let (at, slot, generation) = look;
            if at > self.now.mono {
                return false;
            }
            self.idle.0.pop_first();
            let Some(topic) = self.topics.get_mut(slot) else { continue };
            if topic.generation != generation {
                continue;
            }
            topic.watched = false;
            if topic.is_used() {
                continue;
            }
            if topic.last_call.0.saturating_add(idle) > self.now.mono.0 {
                self.watch_if_unused(slot);
            } else {
                self.drop_topic(slot);
            }
        }
        true
    }

    fn drop_topic(&mut self, slot: u32) {
        let Some(topic) = self.topics.remove(slot) else { return };
        self.forgotten.absorb(&topic.counters);
        let record = TopicRecord { paused: false, counters: self.forgotten };
        if let Some(journal) = &mut self.journal {
            journal.topic(Change::Delete(topic_key(&topic.name)));
            let sum = topic_key("");
            journal.topic(Change::Put(sum.clone(), record.encode(&sum)));
        }
    }
}
