//! How long finished jobs stay: two lists in order of finishing, whose oldest go while a bound is passed, a slice at a
//! time.

use super::record::Payload;
use super::state::State;
use super::tick::SLICE;
use crate::job::Reason;
use crate::list::List;
use crate::options::Retention;

/// Finished jobs of one kind, oldest first.
pub(crate) struct Kept {
    list: List,
    size: u64,
    bound: Retention,
    /// Whether more go than one slice may take: the ticks drop the rest.
    is_behind: bool,
}

impl Kept {
    pub(crate) fn new(bound: Retention) -> Self {
        Self { list: List::default(), size: 0, bound, is_behind: false }
    }

    /// Whether so many jobs of so many bytes are too many.
    #[inline]
    fn is_over(&self) -> bool {
        let count = u64::try_from(self.list.len()).unwrap_or(u64::MAX);
        self.bound.count.is_some_and(|bound| count > bound) || self.bound.size.is_some_and(|bound| self.size > bound)
    }
}

impl<P: Payload> State<P> {
    fn kept(&mut self, reason: Option<Reason>) -> &mut Kept {
        if reason.is_some_and(Reason::is_dead) { &mut self.dead } else { &mut self.finished }
    }

    /// Keep a job that has just finished, as the youngest of its kind.
    #[inline(always)]
    pub(crate) fn keep(&mut self, slot: u32, reason: Option<Reason>, size: u32) {
        self.line_up(slot, reason, size);
        // Where as many finish as go, it is one each time.
        if self.kept(reason).is_over() && self.purge_oldest(reason) && self.kept(reason).is_over() {
            self.purge_more(reason);
        }
    }

    /// Put a finished job on its list, whatever the bounds say.
    #[inline(always)]
    pub(crate) fn line_up(&mut self, slot: u32, reason: Option<Reason>, size: u32) {
        let kept = if reason.is_some_and(Reason::is_dead) { &mut self.dead } else { &mut self.finished };
        kept.size += u64::from(size);
        kept.list.push_back(&mut self.jobs, slot);
    }

    /// Drop what a job that has just finished leaves no room for: a slice at most, and nothing once a slice was not
    /// enough, or a batch of large ones would hold the lock for as many slices.
    #[cold]
    fn purge_more(&mut self, reason: Option<Reason>) {
        if !self.kept(reason).is_behind {
            let is_behind = self.purge_surplus(reason, &mut (SLICE - 1));
            self.kept(reason).is_behind = is_behind;
        }
        self.near |= self.kept(reason).is_behind;
    }

    /// Drop the oldest while a bound is passed, so many at most; whether it is passed still.
    fn purge_surplus(&mut self, reason: Option<Reason>, left: &mut usize) -> bool {
        while self.kept(reason).is_over() {
            if *left == 0 {
                return true;
            }
            *left -= 1;
            self.cut();
            if !self.purge_oldest(reason) {
                break;
            }
        }
        false
    }

    /// Drop what a service that is being opened is not to keep, as far as the queue to the repositories has room. The
    /// rest is for the ticks.
    pub(crate) fn purge_found(&mut self) {
        for reason in [None, Some(Reason::Rejected)] {
            while self.purge_surplus(reason, &mut 1) {
                if self.journal.as_ref().is_some_and(|journal| journal.is_crowded()) {
                    return;
                }
            }
        }
    }

    /// Take a finished job off its list.
    pub(crate) fn unkeep(&mut self, slot: u32) {
        let Some(job) = self.jobs.get(slot) else { return };
        let (reason, size) = (job.reason(), u64::from(job.size));
        let kept = if reason.is_some_and(Reason::is_dead) { &mut self.dead } else { &mut self.finished };
        kept.size -= size;
        kept.list.remove(&mut self.jobs, slot);
        // Behind a clock that was set back the next one may be over age already; where time passes by itself, the
        // next step of the coarse clock finds it.
        self.near |= !self.clock.passes();
    }

    fn purge_oldest(&mut self, reason: Option<Reason>) -> bool {
        let kept = if reason.is_some_and(Reason::is_dead) { &mut self.dead } else { &mut self.finished };
        let Some(slot) = kept.list.pop_front(&mut self.jobs) else { return false };
        let Some(job) = self.jobs.remove(slot) else { return false };
        kept.size -= u64::from(job.size);
        self.near |= !self.clock.passes();
        self.bury(job, |counters| counters.purged += 1);
        true
    }

    /// Drop what has been kept long enough or is too much, at most `limit` jobs; whether there may be more.
    pub(crate) fn purge_slice(&mut self, limit: usize) -> bool {
        let mut left = limit;
        for reason in [None, Some(Reason::Rejected)] {
            if self.purge_surplus(reason, &mut left) {
                return true;
            }
            self.kept(reason).is_behind = false;
            while self.is_oldest_aged(reason) {
                if left == 0 {
                    return true;
                }
                left -= 1;
                self.cut();
                self.purge_oldest(reason);
            }
        }
        false
    }

    fn is_oldest_aged(&mut self, reason: Option<Reason>) -> bool {
        let kept = self.kept(reason);
        let (Some(age), Some(slot)) = (kept.bound.age, kept.list.front()) else { return false };
        self.jobs.get(slot).is_some_and(|job| job.when.saturating_add(age) <= self.now.wall.0)
    }
}
