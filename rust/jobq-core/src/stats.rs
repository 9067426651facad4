//! Counts of one topic, or of all: how many jobs stand where now, and what happened since.

use std::sync::Arc;

use crate::job::Status;

/// What is counted. `enqueued` is always the sum of the jobs now and of deleted, purged and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Jobs now, by [`Status::index`]; canceled and done ones are those kept.
    jobs: [u64; 8],
    /// Canceled jobs kept that are dead letters.
    pub dead: u64,
    /// Jobs handed in.
    pub enqueued: u64,
    /// Grants that reached a worker.
    pub reservations: u64,
    /// Jobs done.
    pub completions: u64,
    /// Accepted calls of retry.
    pub retries: u64,
    /// Leases that ran out or whose handle was dropped.
    pub expiries: u64,
    /// Accepted calls of release.
    pub releases: u64,
    /// Entries into canceled.
    pub cancellations: u64,
    /// Accepted calls of reset.
    pub resets: u64,
    /// Jobs found reserved at open.
    pub recoveries: u64,
    /// Entries into delayed.
    pub delays: u64,
    /// Delayed jobs that became ready by time.
    pub promotions: u64,
    /// Jobs deleted.
    pub deleted: u64,
    /// Jobs dropped by the retention.
    pub purged: u64,
    /// Jobs forgotten by a volatile repository, or damaged beyond recognition.
    pub lost: u64,
    /// Wall-clock milliseconds; 0: never.
    pub first_enqueued_at: u64,
    /// As above.
    pub last_enqueued_at: u64,
    /// As above.
    pub first_reserved_at: u64,
    /// As above.
    pub last_reserved_at: u64,
}

impl Counters {
    /// How many jobs stand in this status now.
    #[inline]
    #[must_use]
    pub const fn now(&self, status: Status) -> u64 {
        self.jobs[status.index()]
    }

    /// How many jobs stand in this status now, to be set.
    #[inline]
    pub const fn gauge(&mut self, status: Status) -> &mut u64 {
        &mut self.jobs[status.index()]
    }

    /// A job goes from one status to another; none rests in created.
    #[inline]
    pub fn shift(&mut self, from: Status, to: Status) {
        if from != Status::Created {
            *self.gauge(from) -= 1;
        }
        *self.gauge(to) += 1;
    }

    /// Ready, delayed and reserved jobs.
    #[inline]
    #[must_use]
    pub const fn live(&self) -> u64 {
        self.now(Status::Ready) + self.now(Status::Delayed) + self.now(Status::Reserved)
    }

    /// All jobs that exist now, finished ones that are kept included.
    #[must_use]
    pub const fn present(&self) -> u64 {
        self.live() + self.now(Status::Done) + self.now(Status::Canceled)
    }

    /// What `enqueued` must be.
    #[must_use]
    pub const fn accounted(&self) -> u64 {
        self.present() + self.deleted + self.purged + self.lost
    }

    /// Add the events of a topic that is forgotten; its dates widen ours.
    pub fn absorb(&mut self, other: &Self) {
        let pairs: [(&mut u64, u64); 14] = [
            (&mut self.enqueued, other.enqueued),
            (&mut self.reservations, other.reservations),
            (&mut self.completions, other.completions),
            (&mut self.retries, other.retries),
            (&mut self.expiries, other.expiries),
            (&mut self.releases, other.releases),
            (&mut self.cancellations, other.cancellations),
            (&mut self.resets, other.resets),
            (&mut self.recoveries, other.recoveries),
            (&mut self.delays, other.delays),
            (&mut self.promotions, other.promotions),
            (&mut self.deleted, other.deleted),
            (&mut self.purged, other.purged),
            (&mut self.lost, other.lost),
        ];
        for (mine, theirs) in pairs {
            *mine += theirs;
        }
        self.first_enqueued_at = first(self.first_enqueued_at, other.first_enqueued_at);
        self.first_reserved_at = first(self.first_reserved_at, other.first_reserved_at);
        self.last_enqueued_at = self.last_enqueued_at.max(other.last_enqueued_at);
        self.last_reserved_at = self.last_reserved_at.max(other.last_reserved_at);
    }

    /// Note that jobs were handed in.
    #[inline]
    pub fn note_enqueued(&mut self, jobs: u64, at: u64) {
        self.enqueued += jobs;
        if self.first_enqueued_at == 0 {
            self.first_enqueued_at = at;
        }
        self.last_enqueued_at = at;
    }

    /// Note that a job was granted.
    #[inline]
    pub fn note_reserved(&mut self, at: u64) {
        self.reservations += 1;
        if self.first_reserved_at == 0 {
            self.first_reserved_at = at;
        }
        self.last_reserved_at = at;
    }
}

/// The earlier of two dates of which 0 means never.
fn first(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}

/// Statistics of one topic.
#[derive(Clone, Debug)]
pub struct TopicStats {
    /// Its name.
    pub topic: Arc<str>,
    /// Whether it grants nothing.
    pub paused: bool,
    /// The counts.
    pub counters: Counters,
    /// Calls blocked in it.
    pub waiting: u64,
    /// Milliseconds that the longest waiting ready job has been ready.
    pub oldest_ready_age: Option<u64>,
}

/// Statistics of all topics, forgotten ones included.
#[derive(Clone, Debug)]
pub struct ServiceStats {
    /// The counts.
    pub counters: Counters,
    /// Calls blocked.
    pub waiting: u64,
    /// As [`TopicStats::oldest_ready_age`].
    pub oldest_ready_age: Option<u64>,
    /// Topics known.
    pub topics: u64,
    /// When the first delayed job is due, in wall-clock milliseconds.
    pub next_due_at: Option<u64>,
}
