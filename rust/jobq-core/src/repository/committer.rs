//! The queue of changes on their way to the repositories: filled in the order of the state, written by one at a time,
//! in groups of bounded size.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::stores::{Batch, Stores};
use super::{Ack, Change, Pace};
use crate::error::Foreign;
use crate::sync::Parker;

/// Changes that fill a group.
const FULL_KEYS: usize = 1_000;
/// Bytes that fill a group.
const FULL_BYTES: usize = 256 * 1024;
/// Bytes queued from which on a new call waits before it starts.
const FULL_QUEUE: usize = 16 * 1024 * 1024;
/// What a change costs in the queue beside its bytes.
const CHANGE: usize = 64;

/// How long changes that nobody waits for are collected; half of what a kill may take at [`Ack::Queued`].
pub const LINGER: Duration = Duration::from_millis(50);

/// In so many slices of the time that a write may take those who wait for it look whether it still does.
pub const SLICES: u32 = 6;

/// Changes that are written together, and what follows once they are.
#[derive(Debug, Default)]
pub struct Group {
    /// The changes.
    pub batch: Batch,
    /// The number of the last change in it.
    pub upto: u64,
    /// The ends of the blocks of ids and tokens that are kept with it.
    pub blocks: Option<(u64, u64)>,
    /// Jobs, by slot and id, whose payload is read from the repository from then on.
    pub large: Vec<(u32, u64)>,
    bytes: usize,
}

impl Group {
    fn is_full(&self) -> bool {
        self.batch.jobs.len() >= FULL_KEYS || self.bytes >= FULL_BYTES
    }

    fn is_half_full(&self) -> bool {
        self.batch.jobs.len() >= FULL_KEYS / 2 || self.bytes >= FULL_BYTES / 2
    }

    fn is_empty(&self) -> bool {
        self.batch.jobs.is_empty() && self.batch.topics.is_empty()
    }
}

/// Who may call the repositories now.
#[derive(Debug)]
pub enum Turn {
    /// The asking thread.
    Mine,
    /// Not yet: wait here for an event, looked at when it had this many.
    Wait(Arc<Parker>, u32),
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// That its change is acknowledged, as the repositories' pace says.
    Acknowledged(u64),
    /// That it is synced, whatever their pace.
    Synced(u64),
    /// That the queue has room.
    Room,
}

/// The thread that writes, and what it is doing.
struct Writer {
    parker: Arc<Parker>,
    rest: Rest,
}

/// What a writer sleeps for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It does not sleep.
    Awake,
    /// There is something to write, and time.
    Lingering,
    /// There is nothing to write.
    Idle,
}

/// Changes queued under the engine's lock, and whose turn it is to write them.
pub struct Journal {
    /// Where they go.
    pub stores: Stores,
    /// Who writes them, and what a call waits for.
    pub pace: Pace,
    /// The number of the last change queued.
    pub upto: u64,
    /// The number of the last change known to survive the death of the process.
    pub committed: u64,
    /// The number of the last change known to survive the death of the machine.
    pub synced: u64,
    /// Somebody waits until all changes up to this one are synced.
    pub forced: u64,
    /// The number of the last change when the lock was taken: what comes after it is the call's own.
    pub entered: u64,
    /// What ended it: nothing is written any more.
    pub failed: Option<Foreign>,
    since: Option<Instant>,
    /// When somebody last asked how long that has been.
    asked: Instant,
    /// When the last sync was over.
    pub synced_at: Instant,
    /// When records of topics were last written.
    pub topics_at: Instant,
    /// Whether a topic's record is waited for.
    pub topics_now: bool,
    sealed: VecDeque<Group>,
    open: Group,
    queued: usize,
    user: Option<ThreadId>,
    turns: Vec<Arc<Parker>>,
    goals: Vec<(Goal, Arc<Parker>)>,
    writer: Option<Writer>,
}

impl Journal {
    /// An empty queue before these stores.
    #[must_use]
    pub fn new(stores: Stores, now: Instant) -> Self {
        Self {
            pace: stores.pace(),
            stores,
            upto: 0,
            committed: 0,
            synced: 0,
            forced: 0,
            entered: 0,
            failed: None,
            since: None,
            asked: now,
            synced_at: now,
            topics_at: now,
            topics_now: false,
            sealed: VecDeque::new(),
            open: Group::default(),
            queued: 0,
            user: None,
            turns: Vec::new(),
            goals: Vec::new(),
            writer: None,
        }
    }

    /// Whether a thread of the service's own writes.
    #[must_use]
    pub fn has_thread(&self) -> bool {
        self.pace != Pace::Caller
    }

    /// Whether the records of topics are written now and then, and not with each group: they go to a store that is
    /// not the jobs', and nobody waits for them.
    #[must_use]
    pub fn topics_are_lazy(&self) -> bool {
        self.has_thread() && !self.stores.are_one()
    }

    /// Queue a change of the job role, if that remembers. A delete weighs as much as the value of so many bytes that it
    /// takes away: a store that keeps values in pages writes what is left of a page anew, and a group must stay small
    /// there too.
    pub fn job(&mut self, change: Change, taken_away: usize) {
        if self.stores.jobs.is_some() {
            self.count(&change, taken_away);
            self.open.batch.jobs.push(change);
            self.upto += 1;
        }
    }

    /// Queue a change of the topic role, if that remembers.
    pub fn topic(&mut self, change: Change) {
        if self.stores.topics.is_some() {
            self.count(&change, 0);
            self.open.batch.topics.push(change);
            self.upto += 1;
        }
    }

    fn count(&mut self, change: &Change, taken_away: usize) {
        let bytes = CHANGE
            + taken_away
            + match change {
                Change::Put(key, value) => key.len() + value.len(),
                Change::Delete(key) => key.len(),
            };
        self.open.bytes += bytes;
        self.queued += bytes;
    }

    /// Have a job's payload read from the repository once what is queued now is kept.
    pub fn note_large(&mut self, slot: u32, id: u64) {
        self.open.large.push((slot, id));
    }

    /// Have the blocks' ends take effect once what is queued now is kept and synced.
    pub fn note_blocks(&mut self, ids: u64, tokens: u64) {
        self.open.blocks = Some((ids, tokens));
    }

    /// Whether what is queued fills a group, which should be sealed before more comes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.open.is_full()
    }

    /// Whether what is queued is so much that a call might not fit in beside it.
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        self.open.is_half_full()
    }

    /// Close the group that is being filled; the next change begins another.
    pub fn seal(&mut self) {
        if !self.open.is_empty() {
            self.open.upto = self.upto;
            self.sealed.push_back(std::mem::take(&mut self.open));
        }
    }

    /// Whether something waits to be written.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.sealed.is_empty() || !self.open.is_empty() || self.upto > self.committed
    }

    /// Whether something waits to be written and nobody is writing.
    #[must_use]
    pub fn is_idle_but_pending(&self) -> bool {
        self.user.is_none() && self.is_pending()
    }

    /// Whether the call that holds the lock has queued something.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.upto > self.entered
    }

    /// Whether more is queued than one call should add to.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        // What nobody waits for a kill may take, so no more of it is queued than is soon written.
        let full = if matches!(self.pace, Pace::Thread { ack: Ack::Queued, .. }) { FULL_BYTES } else { FULL_QUEUE };
        self.queued >= full
    }

    /// Whether a full group waits.
    #[must_use]
    pub fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Take the next group; the one that is being filled only when there is no other.
    pub fn take(&mut self) -> Group {
        let group = self.sealed.pop_front().unwrap_or_else(|| {
            let upto = self.upto;
            Group { upto, ..std::mem::take(&mut self.open) }
        });
        self.queued -= group.bytes;
        group
    }

    /// Whether a goal is reached.
    #[must_use]
    pub fn is_reached(&self, goal: Goal) -> bool {
        match (goal, self.pace) {
            (Goal::Acknowledged(_), Pace::Thread { ack: Ack::Queued, .. }) => true,
            (Goal::Acknowledged(upto), Pace::Thread { ack: Ack::Written, .. }) => self.committed >= upto,
            (Goal::Acknowledged(upto) | Goal::Synced(upto), _) => self.synced >= upto,
            (Goal::Room, _) => !self.is_crowded(),
        }
    }

    /// The writer begins a write, which must end in time.
    pub fn begin(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// Whether the write under way has taken too long. Everybody who waits for it asks once in a [`SLICES`]th of that
    /// time; where nobody did for longer, nobody waited or the whole process stood still, and that time does not count.
    pub fn is_hung(&mut self, now: Instant, patience: Duration) -> bool {
        let Some(since) = self.since else { return false };
        let unasked = now.saturating_duration_since(self.asked.max(since)).saturating_sub(2 * patience / SLICES);
        let since = since + unasked;
        (self.since, self.asked) = (Some(since), now);
        now.saturating_duration_since(since) >= patience
    }

    /// Wait for a goal: here, for an event, looked at when it had this many.
    pub fn await_goal(&mut self, goal: Goal) -> (Arc<Parker>, u32) {
        if let Goal::Synced(upto) = goal {
            self.forced = self.forced.max(upto);
        }
        let parker = Parker::of_this_thread();
        let seen = parker.events();
        self.goals.retain(|(_, other)| !Arc::ptr_eq(other, &parker));
        self.goals.push((goal, Arc::clone(&parker)));
        (parker, seen)
    }

    /// Those whose goal is reached, or will never be.
    pub fn take_reached(&mut self) -> Vec<Arc<Parker>> {
        let mut goals = std::mem::take(&mut self.goals);
        let all = self.failed.is_some();
        let reached =
            goals.extract_if(.., |(goal, _)| all || self.is_reached(*goal)).map(|(_, parker)| parker).collect();
        self.goals = goals;
        reached
    }

    /// Those who wait for a goal, reached or not.
    pub fn take_all_waiting(&mut self) -> Vec<Arc<Parker>> {
        std::mem::take(&mut self.goals).into_iter().map(|(_, parker)| parker).collect()
    }

    /// A thread of the service's own writes from now on, and is told here of what there is to do.
    pub fn set_writer(&mut self, parker: Arc<Parker>) {
        self.writer = Some(Writer { parker, rest: Rest::Awake });
    }

    /// The writer goes to sleep.
    pub fn rest(&mut self, rest: Rest) {
        if let Some(writer) = &mut self.writer {
            writer.rest = rest;
        }
    }

    /// Whether somebody waits for a sync.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.forced > self.synced
    }

    /// The writer, if it sleeps and should not; `soiled`: records of topics wait too.
    pub fn rouse(&mut self, soiled: bool) -> Option<Arc<Parker>> {
        let hurried = self.is_forced() || self.topics_now || self.has_sealed();
        let pending = self.is_pending();
        let writer = self.writer.as_mut()?;
        let is_wanted = match writer.rest {
            Rest::Awake => false,
            Rest::Lingering => hurried || (pending && !matches!(self.pace, Pace::Thread { ack: Ack::Queued, .. })),
            Rest::Idle => hurried || pending || soiled,
        };
        is_wanted.then(|| {
            writer.rest = Rest::Awake;
            Arc::clone(&writer.parker)
        })
    }

    /// Have the writer look, whatever it sleeps for.
    pub fn rouse_anyway(&mut self) -> Option<Arc<Parker>> {
        self.writer.as_ref().map(|writer| Arc::clone(&writer.parker))
    }

    /// Ask for the repositories; whoever is answered [`Turn::Mine`] must end with [`Journal::give_turn`].
    pub fn ask_turn(&mut self, thread: ThreadId) -> Turn {
        if self.user.is_none() {
            self.user = Some(thread);
            return Turn::Mine;
        }
        let parker = Parker::of_this_thread();
        let seen = parker.events();
        self.turns.push(Arc::clone(&parker));
        Turn::Wait(parker, seen)
    }

    /// Let the next one have the repositories; returns whom to tell.
    pub fn give_turn(&mut self) -> Vec<Arc<Parker>> {
        self.user = None;
        self.since = None;
        std::mem::take(&mut self.turns)
    }

    /// Whether this thread is inside a repository's method now.
    #[must_use]
    pub fn is_inside(&self, thread: ThreadId) -> bool {
        self.user == Some(thread)
    }

    /// Whether anybody is inside a repository's method now.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.user.is_some()
    }
}

impl Drop for Journal {
    /// The writer of a service that nobody closed learns that it is gone.
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.parker.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_hangs_while_somebody_waits_for_it_and_the_process_runs() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let patience = Duration::from_secs(30);
        let mut journal = Journal::new(Stores { jobs: None, topics: None }, start);
        assert!(!journal.is_hung(at(1_000), patience), "nothing is written");
        journal.begin(at(1_000));
        for second in (1_000..1_030).step_by(5) {
            assert!(!journal.is_hung(at(second), patience));
        }
        assert!(journal.is_hung(at(1_030), patience));
        journal.begin(at(2_000));
        assert!(!journal.is_hung(at(2_003), patience));
        // The process was stopped for an hour.
        for second in (5_603..5_620).step_by(5) {
            assert!(!journal.is_hung(at(second), patience));
        }
        assert!(journal.is_hung(at(5_623), patience));
        journal.give_turn();
        assert!(!journal.is_hung(at(9_000), patience));
    }
}
