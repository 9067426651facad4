//! How what is queued reaches the repositories: outside the lock, in the order of the state, one thread at a time. A
//! caller writes in its own thread, or has the service's writer do it and waits for as much as the pace says.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::record::Payload;
use super::state::{Closing, State};
use super::{Caller, Engine, Keep, Thread, wake};
use crate::error::{Closed, Error, Foreign, StoreFault, StoreFaultKind};
use crate::repository::committer::{Goal, Group, Journal, LINGER, Rest, SLICES, Turn};
use crate::repository::stores::{Durability, Stores};
use crate::repository::{Ack, Pace};
use crate::sync::{self, Guard, Parker, Woken};

/// How long a repository should be given for one piece of work; then it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the holder of the turn does with the repositories.
enum Work {
    /// Write a group.
    Group(Group, Durability),
    /// Sync what was written up to this change.
    Sync(u64),
}

impl<P: Payload> Engine<P> {
    /// Have as many ids and tokens as a call needs, their blocks kept, before any of them is used, and room in the
    /// queue. The ids are held for the call, which gives them up when it takes them.
    #[inline]
    pub(super) fn ensure_numbers(
        &self,
        caller: &impl Caller,
        needed: impl Fn(&mut State<P>) -> (u64, u64),
    ) -> Result<(), Error> {
        if self.writes { self.await_numbers(caller, needed) } else { Ok(()) }
    }

    fn await_numbers(&self, caller: &impl Caller, needed: impl Fn(&mut State<P>) -> (u64, u64)) -> Result<(), Error> {
        loop {
            let mut state = self.enter()?;
            if state.journal.as_ref().is_some_and(|journal| journal.is_crowded()) {
                drop(state);
                self.await_room(caller)?;
                continue;
            }
            let (ids, tokens) = needed(&mut state);
            let enough = state.next_id.left() >= ids && state.next_token.left() >= tokens;
            state.ask_numbers(ids, tokens);
            if enough {
                state.next_id.held += ids;
                return self.leave(state, caller, Keep::Tried);
            }
            // Asked for by this call or by one that is being written: it is there once all that is queued is kept.
            let upto = state.journal.as_ref().map_or(0, |journal| journal.upto);
            Self::leave_unwritten(state);
            self.commit(caller, upto, Keep::Synced)?;
        }
    }

    /// Wait until the queue to the repositories has room, so that what producers add stays bounded.
    #[inline]
    pub(super) fn ensure_room(&self, caller: &impl Caller) -> Result<(), Error> {
        if self.writes { self.await_room(caller) } else { Ok(()) }
    }

    fn await_room(&self, caller: &impl Caller) -> Result<(), Error> {
        let state = self.enter()?;
        let Some(journal) = state.journal.as_ref().filter(|journal| journal.is_crowded()) else { return Ok(()) };
        let (upto, has_thread) = (journal.upto, journal.has_thread());
        drop(state);
        if has_thread { self.await_goal(caller, Goal::Room) } else { self.commit(caller, upto, Keep::Awaited) }
    }

    /// Have all changes up to this one kept as `keep` says; one that only tries waits for nobody.
    pub(super) fn commit(&self, caller: &impl Caller, upto: u64, keep: Keep) -> Result<(), Error> {
        if self.has_writer {
            return match keep {
                Keep::Tried => Ok(()),
                Keep::Awaited => self.await_goal(caller, Goal::Acknowledged(upto)),
                Keep::Synced => self.await_goal(caller, Goal::Synced(upto)),
            };
        }
        let mut more = true;
        while more {
            more = false;
            let done = |journal: &Journal| journal.committed >= upto || (keep == Keep::Tried && journal.is_used());
            self.with_stores(
                caller,
                done,
                |state| Work::Group(state.take_group(), Durability::Synced),
                |stores, work| self.work(stores, work),
                |state, work| {
                    state.finish_work(&work);
                    more = true;
                },
            )?;
        }
        Ok(())
    }

    /// Wait until the writer has reached a goal.
    fn await_goal(&self, caller: &impl Caller, goal: Goal) -> Result<(), Error> {
        loop {
            let mut state = self.state.lock().map_err(|_| Error::Internal)?;
            let Some(journal) = &mut state.journal else { return Ok(()) };
            if let Some(cause) = &journal.failed {
                return Err(Error::Failed(Arc::clone(cause)));
            }
            if journal.is_reached(goal) {
                return Ok(());
            }
            if state.closing == Closing::Done {
                return Err(Error::Closed(Closed::Closed));
            }
            let Some(journal) = &mut state.journal else { return Ok(()) };
            let now = Instant::now();
            if journal.is_hung(now, self.patience) {
                state.fail(&self.hung());
                Self::leave_waiting(state);
                continue;
            }
            let (parker, seen) = journal.await_goal(goal);
            Self::leave_waiting(state);
            if caller.detached(|| parker.wait(seen, now.checked_add(self.patience / SLICES))) == Woken::Signal {
                caller.interrupted()?;
            }
        }
    }

    /// What is told when a write hangs.
    pub(super) fn hung(&self) -> Error {
        let span = self.patience.as_secs_f64();
        let text = format!("a write has not ended within {span} s, and the store is still in use by this process");
        let fault = StoreFault { kind: StoreFaultKind::Stuck { errno: None }, path: String::new(), text };
        Error::Failed(Arc::new(Error::Store(Box::new(fault))))
    }

    /// A repository failed outside a turn: nothing is accepted any more.
    pub(super) fn failed(&self, error: Error) -> Error {
        if let Ok(mut state) = self.state.lock() {
            state.fail(&error);
            Self::leave_waiting(state);
        }
        error
    }

    fn work(&self, stores: &Stores, work: Work) -> Result<Work, Error> {
        self.write_leases()?;
        match work {
            Work::Group(mut group, durability) => {
                stores.write(std::mem::take(&mut group.batch), durability)?;
                Ok(Work::Group(group, durability))
            }
            Work::Sync(upto) => stores.sync().map(|()| Work::Sync(upto)),
        }
    }

    /// Have the repositories to oneself for one piece of work, outside the lock.
    ///
    /// `done` is asked first, under the lock: then nothing is left to do. `prepare` and `finish` run under the lock,
    /// `work` does not, and is detached where a repository may take long. An error of the work is final for the
    /// service.
    pub(super) fn with_stores<A: Send, B: Send>(
        &self,
        caller: &impl Caller,
        done: impl Fn(&Journal) -> bool,
        prepare: impl FnOnce(&mut State<P>) -> A,
        work: impl FnOnce(&Stores, A) -> Result<B, Error> + Send,
        finish: impl FnOnce(&mut State<P>, B),
    ) -> Result<(), Error> {
        let (stores, prepared) = loop {
            let mut state = self.state.lock().map_err(|_| Error::Internal)?;
            let Some(journal) = &mut state.journal else { return Ok(()) };
            if let Some(cause) = &journal.failed {
                return Err(Error::Failed(Arc::clone(cause)));
            }
            if done(journal) {
                return Ok(());
            }
            if state.closing == Closing::Done {
                return Err(Error::Closed(Closed::Closed));
            }
            let Some(journal) = &mut state.journal else { return Ok(()) };
            match journal.ask_turn(sync::this_thread()) {
                Turn::Mine => {
                    let stores = journal.stores.clone();
                    break (stores, prepare(&mut state));
                }
                Turn::Wait(parker, seen) => {
                    drop(state);
                    if caller.detached(|| parker.wait(seen, None)) == Woken::Signal {
                        caller.interrupted()?;
                    }
                }
            }
        };
        let turn = TurnGuard { engine: self };
        let result =
            if stores.are_slow() { caller.detached(|| work(&stores, prepared)) } else { work(&stores, prepared) };
        let mut state = self.state.lock().map_err(|_| Error::Internal)?;
        let result = match result {
            Ok(value) => {
                finish(&mut state, value);
                Ok(())
            }
            Err(error) => {
                state.fail(&error);
                Err(error)
            }
        };
        let close_later = std::mem::take(&mut state.close_later);
        turn.end(state);
        if close_later {
            self.finish_close(caller)?;
        }
        result
    }
}

impl<P: Payload + 'static> Engine<P> {
    /// Start the thread that writes, where the repositories want one.
    pub(super) fn start_writer(self: &Arc<Self>) -> Result<(), Error> {
        if !self.has_writer {
            return Ok(());
        }
        let engine = Arc::downgrade(self);
        sync::spawn("jobq-writer", move || write_all(&engine)).map_err(|error| Error::Repository(Arc::new(error)))
    }
}

/// The life of the writer: it ends with the service.
fn write_all<P: Payload + 'static>(engine: &Weak<Engine<P>>) {
    let parker = Parker::of_this_thread();
    let mut until = None;
    loop {
        let Some(engine) = engine.upgrade() else { return };
        let seen = parker.events();
        match engine.write_next(&parker, &mut until) {
            Plan::End => return,
            Plan::Work => {}
            Plan::Sleep(_, until) => {
                drop(engine);
                parker.wait(seen, until);
            }
        }
    }
}

/// What the writer does next.
enum Plan {
    /// Something is to be done.
    Work,
    /// Nothing now.
    Sleep(Rest, Option<Instant>),
    /// Nothing any more.
    End,
}

impl<P: Payload> Engine<P> {
    /// Do what is to be done now, or say how long there is nothing.
    fn write_next(&self, parker: &Arc<Parker>, until: &mut Option<Instant>) -> Plan {
        let Ok(mut state) = self.state.lock() else { return Plan::End };
        if let Some(journal) = &mut state.journal {
            journal.set_writer(Arc::clone(parker));
        }
        let plan = state.plan_writing(Instant::now(), until);
        match plan {
            Plan::Sleep(rest, _) => {
                if let Some(journal) = &mut state.journal {
                    journal.rest(rest);
                }
            }
            Plan::Work => {
                drop(state);
                // Told to all who wait by what it leaves in the journal.
                let _ = self.with_stores(
                    &Thread,
                    |_| false,
                    State::next_work,
                    |stores, work| self.work(stores, work),
                    |state, work| state.finish_work(&work),
                );
            }
            Plan::End => {}
        }
        plan
    }
}

impl<P: Payload> State<P> {
    /// Whether the writer has something to do at `now`. `until` is when what nobody waits for has waited long enough.
    fn plan_writing(&self, now: Instant, until: &mut Option<Instant>) -> Plan {
        let Some(journal) = &self.journal else { return Plan::End };
        let Pace::Thread { ack, interval } = journal.pace else { return Plan::End };
        if journal.failed.is_some() || self.closing == Closing::Done {
            return Plan::End;
        }
        let pending = journal.is_pending();
        let hurried = journal.is_forced() || journal.has_sealed() || journal.topics_now;
        if hurried || (pending && ack != Ack::Queued) {
            *until = None;
            return Plan::Work;
        }
        let sync_at = (ack == Ack::Written && journal.committed > journal.synced).then(|| journal.synced_at + interval);
        if sync_at.is_some_and(|at| at <= now) {
            return Plan::Work;
        }
        if pending || !self.dirty.is_empty() {
            let span = if pending { LINGER } else { interval.max(LINGER) };
            let end = *until.get_or_insert(now + span);
            if end <= now {
                *until = None;
                return Plan::Work;
            }
            return Plan::Sleep(Rest::Lingering, Some(sync_at.map_or(end, |at| at.min(end))));
        }
        *until = None;
        match sync_at {
            Some(at) => Plan::Sleep(Rest::Lingering, Some(at)),
            None => Plan::Sleep(Rest::Idle, None),
        }
    }

    /// The next piece of work: the oldest group, or a sync when there is none.
    fn next_work(&mut self) -> Work {
        let now = Instant::now();
        let is_due = self.are_topics_due(now);
        let Some(journal) = &mut self.journal else { return Work::Sync(0) };
        journal.begin(now);
        if !journal.is_pending() && !is_due {
            return Work::Sync(journal.committed);
        }
        let group = self.take_group();
        let durability = match &self.journal {
            Some(journal) if Self::is_sync_due(journal, &group) => Durability::Synced,
            _ => Durability::Written,
        };
        Work::Group(group, durability)
    }

    fn is_sync_due(journal: &Journal, group: &Group) -> bool {
        let by_pace = match journal.pace {
            Pace::Caller | Pace::Thread { ack: Ack::Synced, .. } => true,
            Pace::Thread { ack: Ack::Written, interval } => journal.synced_at.elapsed() >= interval,
            Pace::Thread { ack: Ack::Queued, .. } => false,
        };
        by_pace || group.blocks.is_some() || (journal.is_forced() && group.upto >= journal.forced)
    }

    /// A piece of work is done: whoever waited for it is told.
    fn finish_work(&mut self, work: &Work) {
        match work {
            Work::Group(group, durability) => {
                let synced = *durability == Durability::Synced;
                self.kept_group(group, synced);
                if synced && let Some(journal) = &mut self.journal {
                    journal.synced_at = Instant::now();
                }
            }
            Work::Sync(upto) => {
                if let Some(journal) = &mut self.journal {
                    journal.synced = journal.synced.max(*upto);
                    journal.synced_at = Instant::now();
                }
            }
        }
        if let Some(journal) = &mut self.journal {
            let reached = journal.take_reached();
            self.wakes.extend(reached);
        }
    }

    /// A repository failed: from now on everything but close is refused, waiters too.
    pub(super) fn fail(&mut self, error: &Error) {
        let cause: Foreign = match error {
            Error::Repository(cause) | Error::Failed(cause) => Arc::clone(cause),
            other => Arc::new(other.clone()),
        };
        if let Some(journal) = &mut self.journal {
            journal.failed.get_or_insert(cause);
            let reached = journal.take_reached();
            self.wakes.extend(reached);
            self.wakes.extend(journal.rouse_anyway());
        }
        self.wake_all();
    }
}

/// The turn at the repositories; given back also when the work panics.
struct TurnGuard<'a, P: Payload> {
    engine: &'a Engine<P>,
}

impl<P: Payload> TurnGuard<'_, P> {
    fn end(self, mut state: Guard<'_, State<P>>) {
        std::mem::forget(self);
        give_turn(&mut state);
        Engine::leave_waiting(state);
    }
}

impl<P: Payload> Drop for TurnGuard<'_, P> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.engine.state.lock() {
            state.fail(&Error::Internal);
            give_turn(&mut state);
            let close_later = std::mem::take(&mut state.close_later);
            let wakes = state.take_wakes();
            drop(state);
            wake(wakes);
            if close_later {
                // The panic that is under way is what the caller is told.
                let _ = self.engine.finish_close(&Thread);
            }
        }
    }
}

fn give_turn<P: Payload>(state: &mut State<P>) {
    if let Some(journal) = &mut state.journal {
        let next = journal.give_turn();
        state.wakes.extend(next);
    }
}
