//! Waiting without polling: a job is handed to the oldest waiter under the lock; one waiter keeps time for all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::record::Payload;
use super::state::{Phase, State};
use super::{Caller, Engine, Keep, Timeout};
use crate::error::Error;
use crate::sync::{self, Parker, Woken};

/// The longest sleep of the timekeeper while a delayed job exists, so that a wall clock that was set, or a machine
/// that slept, is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A job handed to somebody who has not seen it yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) slot: u32,
    pub(crate) id: u64,
    pub(crate) token: u64,
    pub(crate) deadline: u64,
}

/// What a waiter waits for.
pub(crate) enum Wants {
    /// At most `limit` jobs of one of these topics.
    Jobs { topics: Vec<u32>, limit: u64 },
    /// That a topic, or every one, has no live job.
    Empty { topic: Option<u32> },
}

/// A signal that comes just before the main thread falls asleep does not wake it: so it looks once more after this.
const SECOND_LOOK: Duration = Duration::from_millis(20);

struct Waiter {
    parker: Arc<Parker>,
    wants: Wants,
    granted: Vec<Held>,
    /// Whether it got what it wants; it then stands in no topic's list.
    served: bool,
}

/// The waiter that sleeps only until the next instant that matters.
struct Keeper {
    seq: u64,
    wall: u64,
    mono: u64,
}

/// Who waits, by order of coming. A topic's list holds the numbers of those who want its jobs.
#[derive(Default)]
pub(crate) struct Waiters {
    last: u64,
    all: BTreeMap<u64, Waiter>,
    keeper: Option<Keeper>,
    /// Those who want jobs and have none.
    reserving: u64,
    /// Those who wait for a topic to be empty.
    joining: u64,
}

impl Waiters {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn reserving(&self) -> u64 {
        self.reserving
    }
}

/// A place among the waiters; dropped, it is given up and what was granted goes back.
struct Ticket<'a, P: Payload> {
    engine: &'a Engine<P>,
    seq: u64,
    parker: Arc<Parker>,
}

impl<P: Payload> Drop for Ticket<'_, P> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.engine.state.lock() {
            for held in state.strike(self.seq) {
                state.give_back(held);
            }
            state.serve_touched();
            Engine::leave_waiting(state);
        }
    }
}

/// Why a waiter's thread came back.
enum Back {
    Served,
    TimedOut,
    Signal,
    /// It is time to look for a signal that came too early to wake it.
    SecondLook,
    /// It ticked, and what it changed waits to be written by a thread that may.
    Pending,
}

impl<P: Payload> Engine<P> {
    /// Wait until what is wanted is there. `look` is asked under the lock whether it is there already; `None` when
    /// the timeout passed first. What was granted is returned.
    pub(super) fn wait_for<R>(
        &self,
        caller: &impl Caller,
        timeout: Timeout,
        mut look: impl FnMut(&mut State<P>) -> Result<Result<R, Wants>, Error>,
        mut collect: impl FnMut(&mut State<P>, Vec<Held>) -> Option<R>,
    ) -> Result<Option<R>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let mut state = self.enter()?;
            state.tick();
            let looked = look(&mut state);
            let wants = match looked {
                Ok(Err(_)) if state.more => {
                    self.leave(state, caller, Keep::Tried)?;
                    continue;
                }
                Ok(Err(_)) if timeout == Some(Duration::ZERO) => {
                    return self.leave(state, caller, Keep::Tried).map(|()| None);
                }
                Ok(Err(wants)) => wants,
                Ok(Ok(found)) => return self.leave(state, caller, Keep::Tried).map(|()| Some(found)),
                Err(error) => return self.leave(state, caller, Keep::Tried).and(Err(error)),
            };
            let ticket = self.enlist(&mut state, wants);
            self.leave(state, caller, Keep::Tried)?;
            let back = self.sleep(caller, &ticket, deadline)?;
            // A signal that came with the grant is handled first: if its handler raises, the grant goes back.
            caller.interrupted()?;
            let mut state = self.enter()?;
            state.tick();
            let held = state.strike(ticket.seq);
            let served = !held.is_empty() || back == Ending::Served;
            let result = if served { collect(&mut state, held) } else { None };
            self.leave(state, caller, Keep::Tried)?;
            if result.is_some() || back == Ending::TimedOut {
                return Ok(result);
            }
        }
    }

    fn enlist(&self, state: &mut State<P>, wants: Wants) -> Ticket<'_, P> {
        let parker = Parker::of_this_thread();
        let seq = state.enlist(Arc::clone(&parker), wants);
        Ticket { engine: self, seq, parker }
    }

    /// Sleep, attached only to run signal handlers and to write what a tick changed.
    fn sleep(&self, caller: &impl Caller, ticket: &Ticket<'_, P>, deadline: Option<Instant>) -> Result<Ending, Error> {
        let mut look_again = sync::is_main_thread();
        loop {
            let second_look = look_again.then(|| Instant::now() + SECOND_LOOK);
            match caller.detached(|| self.sleep_detached(ticket, deadline, second_look))? {
                Back::Served => return Ok(Ending::Served),
                Back::TimedOut => return Ok(Ending::TimedOut),
                Back::Signal => {
                    caller.interrupted()?;
                    look_again = sync::is_main_thread();
                }
                Back::SecondLook => {
                    caller.interrupted()?;
                    look_again = false;
                }
                Back::Pending => {
                    let state = self.enter()?;
                    self.leave(state, caller, Keep::Tried)?;
                }
            }
        }
    }

    fn sleep_detached(
        &self,
        ticket: &Ticket<'_, P>,
        deadline: Option<Instant>,
        second_look: Option<Instant>,
    ) -> Result<Back, Error> {
        loop {
            let mut state = self.enter()?;
            let seen = ticket.parker.events();
            if state.is_served(ticket.seq) {
                return Ok(Back::Served);
            }
            state.check_running()?;
            let until = if state.keeps_time(ticket.seq) {
                state.now = state.clock.now();
                let more = state.run_slice();
                let pending = state
                    .journal
                    .as_ref()
                    .is_some_and(|journal| !journal.has_thread() && journal.is_idle_but_pending());
                let until = state.plan_sleep();
                Self::leave_waiting(state);
                if pending {
                    return Ok(Back::Pending);
                }
                if more {
                    continue;
                }
                until
            } else {
                Self::leave_waiting(state);
                None
            };
            let wake_at = [deadline, until, second_look].into_iter().flatten().min();
            let is_past = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
            match ticket.parker.wait(seen, wake_at) {
                Woken::Signal => return Ok(Back::Signal),
                Woken::TimedOut if is_past(deadline) => return Ok(Back::TimedOut),
                Woken::TimedOut if is_past(second_look) => return Ok(Back::SecondLook),
                Woken::TimedOut | Woken::Notified => {}
            }
        }
    }
}

/// How a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Served,
    TimedOut,
}

impl<P: Payload> State<P> {
    fn enlist(&mut self, parker: Arc<Parker>, wants: Wants) -> u64 {
        self.waiters.last += 1;
        let seq = self.waiters.last;
        match &wants {
            Wants::Jobs { topics, .. } => {
                self.waiters.reserving += 1;
                for &topic in topics {
                    if let Some(topic) = self.topics.get_mut(topic) {
                        topic.waiters.insert(seq);
                    }
                }
            }
            Wants::Empty { .. } => self.waiters.joining += 1,
        }
        self.waiters.all.insert(seq, Waiter { parker, wants, granted: Vec::new(), served: false });
        seq
    }

    /// Strike a waiter off; returns what it was granted.
    fn strike(&mut self, seq: u64) -> Vec<Held> {
        self.unlist(seq);
        let Some(waiter) = self.waiters.all.remove(&seq) else { return Vec::new() };
        if self.waiters.keeper.as_ref().is_some_and(|keeper| keeper.seq == seq) {
            self.waiters.keeper = None;
        }
        waiter.granted
    }

    /// Take a waiter out of the topics' lists.
    fn unlist(&mut self, seq: u64) {
        let Some(waiter) = self.waiters.all.get_mut(&seq) else { return };
        if std::mem::replace(&mut waiter.served, true) {
            return;
        }
        match &mut waiter.wants {
            Wants::Empty { .. } => self.waiters.joining -= 1,
            Wants::Jobs { topics, .. } => {
                self.waiters.reserving -= 1;
                for slot in std::mem::take(topics) {
                    if let Some(topic) = self.topics.get_mut(slot) {
                        topic.waiters.remove(&seq);
                    }
                    self.watch_if_unused(slot);
                }
            }
        }
    }

    fn is_served(&self, seq: u64) -> bool {
        self.waiters.all.get(&seq).is_none_or(|waiter| waiter.served)
    }

    /// Take back what was granted to those who wait and have not seen it.
    pub(crate) fn take_back_grants(&mut self) {
        let granted: Vec<Held> =
            self.waiters.all.values_mut().flat_map(|waiter| std::mem::take(&mut waiter.granted)).collect();
        for held in granted {
            self.give_back(held);
        }
    }

    /// Wake everybody who waits: the service stops, closes or has failed.
    pub(crate) fn wake_all(&mut self) {
        let parkers = self.waiters.all.values().map(|waiter| Arc::clone(&waiter.parker));
        self.wakes.extend(parkers);
    }

    /// Serve the waiters of every topic that got a ready job.
    #[inline]
    pub(crate) fn serve_touched(&mut self) {
        while let Some(topic) = self.touched.pop() {
            self.serve(topic);
        }
    }

    /// Hand a topic's ready jobs to its waiters, oldest waiter first.
    pub(crate) fn serve(&mut self, topic: u32) {
        while let Some(seq) = self.next_to_serve(topic) {
            let Some(Wants::Jobs { limit, .. }) = self.waiters.all.get(&seq).map(|waiter| &waiter.wants) else {
                return;
            };
            let limit = *limit;
            let mut granted = Vec::new();
            self.grant_batch(topic, limit, |held: Held| granted.push(held));
            if granted.is_empty() {
                return;
            }
            self.unlist(seq);
            if let Some(waiter) = self.waiters.all.get_mut(&seq) {
                waiter.granted = granted;
                self.wakes.push(Arc::clone(&waiter.parker));
            }
            if self.waiters.keeper.as_ref().is_some_and(|keeper| keeper.seq == seq) {
                self.waiters.keeper = None;
            }
        }
    }

    fn next_to_serve(&self, topic: u32) -> Option<u64> {
        let topic = self.topics.get(topic)?;
        if self.phase != Phase::Running || topic.paused || topic.ready.is_empty() {
            return None;
        }
        topic.waiters.first().copied()
    }

    /// What must be seen to at every unlock while somebody waits: joins that are over, and that somebody keeps time.
    #[inline]
    pub(crate) fn settle_waiters(&mut self) {
        // Those who wait ask for no tokens themselves.
        if self.journal.is_some() && self.next_token.is_low() {
            self.ask_numbers(0, 0);
        }
        if let Some(journal) = &mut self.journal {
            let writer = journal.rouse(!self.dirty.is_empty());
            self.wakes.extend(writer);
        }
        debug_assert!(self.touched.is_empty(), "every step that makes a job ready serves the waiters");
        if !self.waiters.all.is_empty() {
            self.settle_joins();
            self.find_keeper();
            self.debug_check_waiters();
        }
    }

    fn settle_joins(&mut self) {
        if self.waiters.joining == 0 {
            return;
        }
        let over: Vec<u64> =
            self.waiters.all.iter().filter(|(_, waiter)| self.is_joined(waiter)).map(|(&seq, _)| seq).collect();
        for seq in over {
            self.unlist(seq);
            self.wakes.extend(self.waiters.all.get(&seq).map(|waiter| Arc::clone(&waiter.parker)));
        }
    }

    fn is_joined(&self, waiter: &Waiter) -> bool {
        match waiter.wants {
            Wants::Empty { topic } => !waiter.served && self.live(topic) == 0,
            Wants::Jobs { .. } => false,
        }
    }

    /// Ready, delayed and reserved jobs of a topic, or of all.
    pub(crate) fn live(&self, topic: Option<u32>) -> u64 {
        match topic {
            None => self.total.live(),
            Some(slot) => self.topics.get(slot).map_or(0, |topic| topic.counters.live()),
        }
    }

    /// When a timer must be looked at next: wall and monotonic milliseconds, `u64::MAX` for never.
    fn next_instants(&self) -> (u64, u64) {
        (self.delays.next_wake().unwrap_or(u64::MAX), self.leases.next_wake().unwrap_or(u64::MAX))
    }

    /// Make sure that somebody keeps time, and that the timekeeper knows of an earlier instant.
    fn find_keeper(&mut self) {
        let (wall, mono) = self.next_instants();
        if (wall, mono) == (u64::MAX, u64::MAX) || !self.clock.passes() {
            return;
        }
        let awake = |keeper: &&mut Keeper| self.waiters.all.get(&keeper.seq).is_some_and(|waiter| !waiter.served);
        if let Some(keeper) = self.waiters.keeper.as_mut().filter(awake) {
            if wall >= keeper.wall && mono >= keeper.mono {
                return;
            }
            (keeper.wall, keeper.mono) = (wall.min(keeper.wall), mono.min(keeper.mono));
            let seq = keeper.seq;
            self.wakes.extend(self.waiters.all.get(&seq).map(|waiter| Arc::clone(&waiter.parker)));
            return;
        }
        // The youngest, who will be served last and so keeps the duty longest.
        let youngest = self.waiters.all.iter().rev().find(|(_, waiter)| !waiter.served);
        if let Some((&seq, waiter)) = youngest {
            self.wakes.push(Arc::clone(&waiter.parker));
            self.waiters.keeper = Some(Keeper { seq, wall, mono });
        }
    }

    /// Whether this waiter is the timekeeper.
    fn keeps_time(&self, seq: u64) -> bool {
        self.waiters.keeper.as_ref().is_some_and(|keeper| keeper.seq == seq)
    }

    /// The timekeeper's next look, after a tick; `None` when nothing is timed.
    fn plan_sleep(&mut self) -> Option<Instant> {
        let (wall, mono) = self.next_instants();
        if let Some(keeper) = &mut self.waiters.keeper {
            (keeper.wall, keeper.mono) = (wall, mono);
        }
        let now = self.now;
        let to_wall =
            (wall != u64::MAX).then(|| Duration::from_millis(wall.saturating_sub(now.wall.0)).min(LONGEST_SLEEP));
        let to_mono = (mono != u64::MAX).then(|| Duration::from_millis(mono.saturating_sub(now.mono.0)));
        let span = match (to_wall, to_mono) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        };
        Instant::now().checked_add(span)
    }

    fn debug_check_waiters(&self) {
        debug_assert!(
            self.phase != Phase::Running
                || self.next_token.is_short()
                || self.waiters.all.values().all(|waiter| match &waiter.wants {
                    Wants::Jobs { topics, .. } =>
                        topics.iter().all(|&slot| self.topics.get(slot).is_none_or(|topic| topic.paused
                            || topic.ready.is_empty()
                            || self.planted.is(super::planted::Planted::ForgottenWake))),
                    Wants::Empty { .. } => true,
                }),
            "no unpaused topic has both a ready job and a waiter"
        );
    }
}
