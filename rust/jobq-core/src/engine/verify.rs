//! Checking that what is derived agrees with what it is derived from; one line per fault.

use hashbrown::HashMap;

use super::record::Payload;
use super::state::State;
use super::{Caller, Engine};
use crate::error::Error;
use crate::job::Status;
use crate::repository::stores::Stores;
use crate::stats::Counters;

impl<P: Payload> Engine<P> {
    /// Recount everything, and have the repositories read all that they hold; one line per fault, none when sound.
    /// Writers wait meanwhile.
    ///
    /// # Errors
    /// Those of every call.
    pub fn verify(&self, caller: &impl Caller) -> Result<Vec<String>, Error> {
        let (mut faults, stores) = self
            .look(caller, |state| Ok((state.faults(), state.journal.as_ref().map(|journal| journal.stores.clone()))))?;
        // A repository of a user's own is not asked, so nobody waits for it.
        if !stores.is_some_and(|stores| stores.are_slow()) {
            return Ok(faults);
        }
        self.flush(caller)?;
        let verify = |stores: &Stores, ()| {
            let found: Result<Vec<_>, _> = stores.each().map(|store| store.verify()).collect();
            found.map(|found| found.concat())
        };
        self.with_stores(caller, |_| false, |_| (), verify, |_, found| faults.extend(found))?;
        Ok(faults)
    }
}

impl<P: Payload> State<P> {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut counted: HashMap<u32, Counters> = HashMap::new();
        let mut sum = Counters::default();
        for (slot, job) in self.jobs.iter() {
            for counters in [&mut sum, counted.entry(job.topic).or_default()] {
                *counters.gauge(job.status) += 1;
                counters.dead += u64::from(job.reason().is_some_and(crate::job::Reason::is_dead));
            }
            if self.ids.get(job.id) != Some(slot) {
                faults.push(format!("job {} is not found by its id", job.id));
            }
            if job.status == Status::Reserved && self.leases.get(job.prev).is_none_or(|lease| lease.job != slot) {
                faults.push(format!("job {} is reserved without a lease", job.id));
            }
        }
        for (slot, topic) in self.topics.iter() {
            let there = counted.remove(&slot).unwrap_or_default();
            compare(&mut faults, &format!("topic {:?}", topic.name), &topic.counters, &there);
            if u64::try_from(topic.ready.len()) != Ok(there.now(Status::Ready)) {
                faults.push(format!(
                    "topic {:?}: {} jobs are queued, {} are ready",
                    topic.name,
                    topic.ready.len(),
                    there.now(Status::Ready)
                ));
            }
        }
        faults.extend(counted.keys().map(|slot| format!("jobs stand in topic slot {slot}, which is none")));
        compare(&mut faults, "all topics", &self.total, &sum);
        self.compare_lengths(&mut faults, &sum);
        faults
    }

    fn compare_lengths(&self, faults: &mut Vec<String>, sum: &Counters) {
        let lengths = [
            ("ids", self.ids.len(), sum.present()),
            ("delay wheel", self.delays.len(), sum.now(Status::Delayed)),
            ("leases", self.leases.len(), sum.now(Status::Reserved)),
        ];
        for (what, length, wanted) in lengths {
            if u64::try_from(length) != Ok(wanted) {
                faults.push(format!("{what}: {length} entries for {wanted} jobs"));
            }
        }
    }
}

fn compare(faults: &mut Vec<String>, what: &str, counters: &Counters, there: &Counters) {
    let pairs = [
        ("ready", counters.now(Status::Ready), there.now(Status::Ready)),
        ("delayed", counters.now(Status::Delayed), there.now(Status::Delayed)),
        ("reserved", counters.now(Status::Reserved), there.now(Status::Reserved)),
        ("done", counters.now(Status::Done), there.now(Status::Done)),
        ("canceled", counters.now(Status::Canceled), there.now(Status::Canceled)),
        ("dead", counters.dead, there.dead),
        ("enqueued", counters.enqueued, counters.accounted()),
    ];
    for (name, said, is) in pairs {
        if said != is {
            faults.push(format!("{what}: {name} is {said}, counted {is}"));
        }
    }
}
