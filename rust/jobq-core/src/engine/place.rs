//! Placing jobs at open: each gets its record, and its place in a queue, a wheel or a list, by what its repository says.

use std::sync::Arc;

use hashbrown::HashMap;

use super::commit::Numbers;
use super::load::{Found, Kind, Source, load_jobs, stamp_of_held};
use super::open::Recovery;
use super::record::{Payload, Record};
use super::state::State;
use crate::error::Error;
use crate::job::{JobId, Reason, Status, Token};
use crate::repository::codec::Overlay;

/// Jobs that were reserved when the process died.
#[derive(Default)]
struct Crashed {
    recovered: u64,
    poisoned: Vec<JobId>,
}

enum Placed {
    Ready { key: u64, slot: u32 },
    Delayed,
    Finished { at: u64, slot: u32 },
}

impl<P: Payload> State<P> {
    /// Give every job its record and its place; the keys of what has no job.
    pub(super) fn place_all(
        &mut self,
        source: Source<'_>,
        recovered: Token,
        recovery: &mut Recovery,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let (mut ready, mut finished) = (Vec::new(), Vec::new());
        let mut crashed = Crashed::default();
        let orphans = load_jobs(source, recovered, recovery, &mut |found| {
            let id = found.id;
            // An id that was used is never used again, whatever the store says its blocks are.
            if id.0 >= self.next_id.next {
                self.next_id = Numbers::from(id.0 + 1);
            }
            match self.place(found, &mut crashed) {
                Placed::Ready { key, slot } => ready.push((key, id, slot)),
                Placed::Finished { at, slot } => finished.push((at, id, slot)),
                Placed::Delayed => {}
            }
        })?;
        (recovery.recovered, recovery.poisoned) = (crashed.recovered, crashed.poisoned);
        self.queue_all(ready);
        finished.sort_unstable();
        for (_, _, slot) in finished {
            let Some(job) = self.jobs.get(slot) else { continue };
            self.line_up(slot, job.reason(), job.size);
        }
        Ok(orphans)
    }

    fn place(&mut self, found: Found<'_>, crashed: &mut Crashed) -> Placed {
        let Found { id, body, overlay, payload, log, leased } = found;
        let now = self.now.wall.0;
        let topic = match self.topics.slot_of(&body.topic) {
            Some(slot) => slot,
            None => self.topics.insert(Arc::clone(&body.topic), self.now.mono),
        };
        let job = Record::new(id.0, topic, body.weight, body.created, payload.map(P::from_slice), body.size);
        let slot = self.jobs.insert(job);
        self.ids.insert(id.0, slot);
        let (mut status, mut when, mut reason) = (body.status, body.when, None);
        match overlay {
            Kind::None => {}
            Kind::Damaged => {
                (status, when, reason) = (Status::Canceled, now, Some(Reason::Damaged));
                self.tally(topic, |counters| counters.cancellations += 1);
            }
            Kind::Read(overlay) => {
                (status, when, reason) = (overlay.status, overlay.when, overlay.reason);
                self.restore(slot, overlay);
            }
        }
        if !log.is_empty()
            && let Some(cold) = self.cold(slot)
        {
            cold.restore_log(log);
        }
        if let Some(stamp) = stamp_of_held(leased, status, when) {
            (status, when) = (Status::Reserved, stamp);
            if let Some(job) = self.jobs.get_mut(slot) {
                job.attempts = job.attempts.saturating_add(1);
            }
        }
        if status == Status::Reserved {
            (status, when, reason) = self.recover_one(slot, when, crashed);
        }
        if status == Status::Delayed && when <= now {
            (status, when) = (Status::Ready, when << 20);
        }
        let set = |job: &mut Record<P>| {
            job.when = when;
            job.set_reason(reason);
        };
        self.shift(slot, status, set, |_| ());
        // Only now: what stands in the repository is no change of status to be logged.
        let options = self.options.hold(&body.options);
        if let Some(job) = self.jobs.get_mut(slot) {
            job.set_options(options, Some(&body.options));
        }
        match status {
            Status::Delayed => {
                self.delays.insert(when, slot);
                Placed::Delayed
            }
            Status::Done | Status::Canceled => {
                let dead = reason.is_some_and(Reason::is_dead);
                self.tally(topic, |counters| counters.dead += u64::from(dead));
                Placed::Finished { at: when, slot }
            }
            Status::Ready | Status::Created | Status::Reserved => Placed::Ready { key: when, slot },
        }
    }

    fn restore(&mut self, slot: u32, overlay: Overlay) {
        if let Some(job) = self.jobs.get_mut(slot) {
            job.attempts = overlay.attempts;
            job.retries = overlay.retries;
            job.set_alone(overlay.crashes > 0);
        }
        let is_rare = overlay.resets > 0 || overlay.crashes > 0 || overlay.error.is_some();
        if is_rare && let Some(cold) = self.cold(slot) {
            cold.resets = overlay.resets;
            cold.crashes = overlay.crashes;
            cold.error = overlay.error;
        }
    }

    /// A job that was reserved when the process died: back to its old place, or poison.
    fn recover_one(&mut self, slot: u32, stamp: u64, crashed: &mut Crashed) -> (Status, u64, Option<Reason>) {
        let Some(job) = self.jobs.get_mut(slot) else { return (Status::Ready, stamp, None) };
        job.set_alone(true);
        let (id, topic) = (job.id(), job.topic);
        let Some(cold) = self.cold(slot) else { return (Status::Ready, stamp, None) };
        cold.crashes = cold.crashes.saturating_add(1);
        let poison = self.max_crashes.is_some_and(|max| self.cold_of(slot).is_some_and(|cold| cold.crashes > max));
        self.tally(topic, |counters| counters.recoveries += 1);
        if poison {
            crashed.poisoned.push(id);
            self.tally(topic, |counters| counters.cancellations += 1);
            return (Status::Canceled, self.now.wall.0, Some(Reason::Poison));
        }
        crashed.recovered += 1;
        (Status::Ready, stamp, None)
    }

    /// Queue the ready jobs in the order of (weight, stamp or due, id). Equal keys get stamps of their own.
    fn queue_all(&mut self, mut ready: Vec<(u64, JobId, u32)>) {
        ready.sort_unstable();
        let mut last: HashMap<(u32, i16), u64> = HashMap::new();
        for (key, _, slot) in ready {
            let Some(job) = self.jobs.get_mut(slot) else { continue };
            let (topic, weight) = (job.topic, job.weight);
            let before = last.entry((topic, weight)).or_insert(0);
            let stamp = key.max(*before + 1);
            *before = stamp;
            job.when = stamp;
            self.last_stamp = self.last_stamp.max(stamp);
            if let Some(topic) = self.topics.get_mut(topic) {
                topic.ready.push_back(&mut self.jobs, weight, slot);
            }
        }
    }
}
