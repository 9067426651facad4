//! Looking at jobs and topics, and waiting until there is nothing left.

use std::sync::Arc;

use super::record::{Payload, Record};
use super::state::State;
use super::wait::Wants;
use super::{Caller, Engine, Timeout};
use crate::error::Error;
use crate::job::{JobId, JobInfo, Reason, Status};
use crate::stats::{Counters, ServiceStats, TopicStats};
use crate::topic::{TopicRef, check_name};

/// How many jobs one page looks at; the lock is given back between pages.
const PAGE: usize = 1_000;

/// Which jobs are looked for: those that match all that is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Their status.
    pub status: Option<Status>,
    /// Their topic's name.
    pub topic: Option<Arc<str>>,
    /// Why they were canceled.
    pub reason: Option<Reason>,
}

impl<P: Payload> Engine<P> {
    /// Where a job stands.
    ///
    /// # Errors
    /// [`Error::JobNotFound`].
    pub fn status(&self, caller: &impl Caller, id: JobId) -> Result<Status, Error> {
        self.look(caller, |state| {
            let slot = state.slot_of(id)?;
            state.jobs.get(slot).map(|job| job.status).ok_or(Error::Internal)
        })
    }

    /// What is known of a job.
    ///
    /// # Errors
    /// [`Error::JobNotFound`].
    pub fn info(&self, caller: &impl Caller, id: JobId) -> Result<JobInfo, Error> {
        self.look(caller, |state| {
            let slot = state.slot_of(id)?;
            state.describe(slot).ok_or(Error::Internal)
        })
    }

    /// A job's payload.
    ///
    /// # Errors
    /// [`Error::JobNotFound`]; [`Error::Corrupt`] when the repository no longer has it as it was written.
    pub fn payload(&self, caller: &impl Caller, id: JobId) -> Result<P, Error> {
        let (payload, size) = self.look(caller, |state| {
            let slot = state.slot_of(id)?;
            let job = state.jobs.get(slot).ok_or(Error::Internal)?;
            Ok((job.payload.as_ref().map(Payload::share), job.size))
        })?;
        if let Some(payload) = payload {
            return Ok(payload);
        }
        if let Some(payload) = self.read_payload(caller, id, size)? {
            return Ok(payload);
        }
        // Gone meanwhile, or damaged.
        self.status(caller, id)?;
        Err(Error::Corrupt(format!("the payload of job {id} is damaged or missing in the repository")))
    }

    /// A page of the jobs above `after` that match, by ascending id, at most `limit`; and the id to go on after, or
    /// `None` at the end.
    ///
    /// # Errors
    /// Those of every call.
    pub fn find(
        &self,
        caller: &impl Caller,
        filter: &Filter,
        after: JobId,
        limit: usize,
    ) -> Result<(Vec<JobInfo>, Option<JobId>), Error> {
        self.look(caller, |state| {
            let topic = match &filter.topic {
                None => None,
                Some(name) => match state.topics.slot_of(name) {
                    None => return Ok((Vec::new(), None)),
                    found => found,
                },
            };
            let (mut page, mut at) = (Vec::new(), after.0);
            for _ in 0..PAGE {
                let Some((id, slot)) = state.ids.next_after(at) else { return Ok((page, None)) };
                at = id;
                if state.jobs.get(slot).is_some_and(|job| matches(filter, topic, job)) {
                    page.extend(state.describe(slot));
                    if page.len() >= limit {
                        break;
                    }
                }
            }
            Ok((page, Some(JobId(at))))
        })
    }

    /// Names in use, sorted.
    ///
    /// # Errors
    /// Those of every call.
    pub fn topics(&self, caller: &impl Caller) -> Result<Vec<Arc<str>>, Error> {
        let mut names: Vec<Arc<str>> =
            self.look(caller, |state| Ok(state.topics.iter().map(|(_, topic)| Arc::clone(&topic.name)).collect()))?;
        names.sort_unstable();
        Ok(names)
    }

    /// Statistics of a topic; all zero for a name not in use.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that no topic can have.
    pub fn topic_stats(&self, caller: &impl Caller, topic: TopicRef<'_>) -> Result<TopicStats, Error> {
        self.look(caller, |state| {
            let slot = state.topic(topic);
            if slot.is_none() {
                check_name(topic.name(), &state.limits)?;
            }
            let there = slot.and_then(|slot| state.topics.get(slot));
            Ok(TopicStats {
                topic: Arc::from(topic.name()),
                paused: there.is_some_and(|topic| topic.paused),
                counters: there.map_or_else(Counters::default, |topic| topic.counters),
                waiting: there.map_or(0, |topic| u64::try_from(topic.waiters.len()).unwrap_or(u64::MAX)),
                oldest_ready_age: slot.and_then(|slot| state.oldest_ready(slot)).map(|since| state.age(since)),
            })
        })
    }

    /// Statistics of all topics, forgotten ones included.
    ///
    /// # Errors
    /// Those of every call.
    pub fn stats(&self, caller: &impl Caller) -> Result<ServiceStats, Error> {
        self.look(caller, |state| {
            let oldest = state.topics.iter().filter_map(|(slot, _)| state.oldest_ready(slot)).min();
            Ok(ServiceStats {
                counters: state.total,
                waiting: state.waiters.reserving(),
                oldest_ready_age: oldest.map(|since| state.age(since)),
                topics: u64::try_from(state.topics.len()).unwrap_or(u64::MAX),
                next_due_at: state.delays.first_due(),
            })
        })
    }

    /// Wait until a topic (`None`: every one) has no ready, delayed or reserved job; false when the timeout passed.
    ///
    /// # Errors
    /// [`Error::Closed`], also once the service was stopped; [`Error::Interrupted`].
    pub fn join(&self, caller: &impl Caller, topic: Option<TopicRef<'_>>, timeout: Timeout) -> Result<bool, Error> {
        let look = |state: &mut State<P>| {
            state.check_running()?;
            let slot = match topic {
                None => None,
                Some(topic) => match state.topic(topic) {
                    None => return check_name(topic.name(), &state.limits).map(Ok),
                    found => found,
                },
            };
            Ok(if state.live(slot) == 0 { Ok(()) } else { Err(Wants::Empty { topic: slot }) })
        };
        Ok(self.wait_for(caller, timeout, look, |_, _| Some(()))?.is_some())
    }
}

fn matches<P>(filter: &Filter, topic: Option<u32>, job: &Record<P>) -> bool {
    filter.status.is_none_or(|status| job.status == status)
        && topic.is_none_or(|topic| job.topic == topic)
        && (filter.reason.is_none() || (job.status == Status::Canceled && job.reason() == filter.reason))
}

impl<P: Payload> State<P> {
    fn age(&self, since: u64) -> u64 {
        self.now.wall.0.saturating_sub(since)
    }

    /// Since when the topic's longest waiting ready job has been ready, in wall-clock milliseconds.
    fn oldest_ready(&self, topic: u32) -> Option<u64> {
        let mut oldest: Option<u64> = None;
        self.topics.get(topic)?.ready.heads(&self.jobs, |slot| {
            if let Some(job) = self.jobs.get(slot) {
                let since = job.when >> 20;
                oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
            }
        });
        oldest
    }

    /// What is known of a job.
    pub(crate) fn describe(&self, slot: u32) -> Option<JobInfo> {
        let job = self.jobs.get(slot)?;
        let options = self.options.get(job.options)?;
        let cold = self.cold_of(slot);
        let lease = (job.status == Status::Reserved).then(|| self.leases.get(job.prev)).flatten();
        let now = self.now;
        let when = |status| (job.status == status).then_some(job.when);
        Some(JobInfo {
            id: job.id(),
            topic: self.topic_name(job.topic),
            name: Arc::clone(&options.name),
            weight: job.weight,
            status: job.status,
            reason: job.reason(),
            error: cold.and_then(|cold| cold.error.clone()),
            attempts: job.attempts,
            retries: job.retries,
            max_retries: options.max_retries,
            resets: cold.map_or(0, |cold| cold.resets),
            crashes: cold.map_or(0, |cold| cold.crashes),
            lease: options.lease,
            payload_size: job.size,
            created_at: job.created,
            due_at: when(Status::Delayed),
            ready_at: when(Status::Ready).map(|stamp| stamp >> 20),
            reserved_at: lease.map(|lease| lease.reserved_at),
            deadline: lease.map(|lease| now.wall.0.saturating_add(lease.deadline).saturating_sub(now.mono.0)),
            finished_at: when(Status::Done).or(when(Status::Canceled)),
            log: cold.map(|cold| cold.log.iter().cloned().collect()).unwrap_or_default(),
        })
    }
}
