//! The engine: one state machine in memory behind one lock, a file per verb.
//!
//! Every call enters (lock, checks, tick), changes the state, and leaves: it serves waiters under the lock, gives the
//! lock back, and only then wakes threads, drops payloads, and writes what it changed to the repositories.

mod close;
mod commit;
mod enqueue;
pub mod examine;
mod held;
mod inspect;
mod load;
mod open;
mod operate;
mod place;
mod planted;
mod record;
mod reserve;
mod retain;
mod settle;
mod state;
mod tick;
mod verify;
mod wait;
mod write;

use std::sync::Arc;
use std::time::Duration;

pub use inspect::Filter;
pub use open::{Config, Recovery};
pub use operate::Force;
pub use record::Payload;
pub use reserve::Grant;
pub use settle::{Handle, Outcome};
pub use write::PATIENCE;

use crate::clock::{Clock, Ticker};
use crate::error::{Closed, Error};
use crate::options::{JobOptions, Limits};
use crate::sync::{self, Guard, Mutex, Parker};
use state::{Phase, State};

/// The thread that calls the engine, and what it must do around a wait.
pub trait Caller {
    /// Run something that may take long. A binding gives up its interpreter's lock meanwhile.
    fn detached<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R;

    /// A signal came while the thread waited: run its handlers.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the wait must end.
    fn interrupted(&self) -> Result<(), Error>;
}

/// A thread with nothing to give up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread;

impl Caller for Thread {
    fn detached<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn interrupted(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// How long a call waits for a job: `None` for ever.
pub type Timeout = Option<Duration>;

/// The queues, timers, leases and counts of one service.
pub struct Engine<P: Payload> {
    state: Mutex<State<P>>,
    clock: Clock,
    limits: Limits,
    defaults: JobOptions,
    recovery: Recovery,
    /// Whether the job role remembers, so that ids and tokens come in blocks that are kept.
    writes: bool,
    /// Whether a thread of its own writes.
    has_writer: bool,
    /// How long it may be at one piece of work.
    patience: Duration,
    /// Held by whoever writes down leases, so that it happens in the order of the state. Taken before `state`.
    lease_turn: Mutex<()>,
    /// The process generation it was opened in; a forked child has another.
    generation: u64,
}

/// Whether a call ticks before it acts (all but a holder's) or after it was judged (a holder's).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tick {
    Before,
    After,
}

/// Whether a call waits until what it changed is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// It does: what it acknowledges is a promise.
    Awaited,
    /// It writes if nobody is writing, and waits for nobody: what it changed may be undone by a crash.
    Tried,
    /// It waits until that survives the death of the machine, whatever the pace of the repositories.
    Synced,
}

/// What must be dropped once the lock is given back.
enum Trash<P> {
    Nothing,
    One { _payload: P },
    Many { _payloads: Vec<P> },
}

impl<P: Payload> Engine<P> {
    /// The limits it was opened with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The options of a job that names none.
    pub fn defaults(&self) -> &JobOptions {
        &self.defaults
    }

    /// What open found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Whether the job role remembers.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// Whether either role remembers.
    pub fn remembers(&self) -> bool {
        self.state.lock_anyway().journal.is_some()
    }

    /// Whether calls are taken.
    ///
    /// # Errors
    /// Those of every call.
    pub fn check_open(&self, _caller: &impl Caller) -> Result<(), Error> {
        self.enter().map(|_| ())
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Hold the lock, if calls are still taken.
    #[inline(always)]
    fn enter(&self) -> Result<Guard<'_, State<P>>, Error> {
        if sync::generation() != self.generation {
            return Err(Error::Closed(Closed::Forked));
        }
        let Ok(state) = self.state.lock() else { return Err(Error::Internal) };
        if state.phase == Phase::Closed {
            return Err(Error::Closed(Closed::Closed));
        }
        if state.journal.is_some() { Self::enter_journal(state) } else { Ok(state) }
    }

    /// As [`Engine::enter`], also from inside a repository's method: for what never calls a repository itself.
    fn enter_inside(&self) -> Result<Guard<'_, State<P>>, Error> {
        if sync::generation() != self.generation {
            return Err(Error::Closed(Closed::Forked));
        }
        let state = self.state.lock().map_err(|_| Error::Internal)?;
        if state.phase == Phase::Closed { Err(Error::Closed(Closed::Closed)) } else { Ok(state) }
    }

    #[cold]
    fn enter_journal(mut state: Guard<'_, State<P>>) -> Result<Guard<'_, State<P>>, Error> {
        if let Some(journal) = &mut state.journal {
            journal.entered = journal.upto;
            if let Some(cause) = &journal.failed {
                return Err(Error::Failed(Arc::clone(cause)));
            }
            if journal.is_used() && journal.is_inside(sync::this_thread()) {
                return Err(Error::Reentered);
            }
        }
        state.cut_for_call();
        Ok(state)
    }

    /// A call that changes nothing but by what is due: enter, tick, look, leave.
    fn look<R>(&self, caller: &impl Caller, look: impl FnOnce(&mut State<P>) -> Result<R, Error>) -> Result<R, Error> {
        let mut state = self.enter()?;
        state.tick();
        let result = look(&mut state);
        let left = self.leave(state, caller, Keep::Tried);
        let value = result?;
        left.map(|()| value)
    }

    /// A call that changes something: enter, tick, act, leave.
    #[inline(always)]
    fn call<R>(
        &self,
        caller: &impl Caller,
        tick: Tick,
        act: impl FnOnce(&mut State<P>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut state = self.enter()?;
        let moved = state.look();
        if moved && tick == Tick::Before {
            state.run_slice();
            state.cut_for_call();
        }
        let result = act(&mut state);
        if moved && tick == Tick::After {
            state.run_slice();
        }
        if state.is_quiet() {
            Self::leave_quietly(state);
            result
        } else {
            self.leave_with(state, caller, result)
        }
    }

    /// As [`Engine::leave_busy`], with what the call returns if it was kept.
    #[cold]
    fn leave_with<R>(
        &self,
        state: Guard<'_, State<P>>,
        caller: &impl Caller,
        result: Result<R, Error>,
    ) -> Result<R, Error> {
        let left = self.leave_busy(state, caller, Keep::Awaited);
        let value = result?;
        left.map(|()| value)
    }

    /// Give the lock back, then do what must not be done under it.
    #[inline(always)]
    fn leave(&self, state: Guard<'_, State<P>>, caller: &impl Caller, keep: Keep) -> Result<(), Error> {
        if state.is_quiet() {
            Self::leave_quietly(state);
            Ok(())
        } else {
            self.leave_busy(state, caller, keep)
        }
    }

    /// Give the lock back where nobody waits and nothing is written; a job kept too long goes with almost every done.
    #[inline(always)]
    fn leave_quietly(mut state: Guard<'_, State<P>>) {
        let payload = state.trash.pop();
        drop(state);
        drop(payload);
    }

    #[cold]
    fn leave_busy(&self, mut state: Guard<'_, State<P>>, caller: &impl Caller, keep: Keep) -> Result<(), Error> {
        state.settle_waiters();
        let wakes = state.take_wakes();
        let trash = state.take_trash();
        let journal = state.journal.as_ref();
        let upto = journal.filter(|journal| match keep {
            Keep::Awaited if self.has_writer => journal.has_grown(),
            Keep::Awaited | Keep::Synced => journal.has_grown() || journal.is_idle_but_pending(),
            Keep::Tried => journal.is_idle_but_pending(),
        });
        let upto = upto.map(|journal| journal.upto);
        let has_leases = state.held.are_due();
        drop(state);
        wake(wakes);
        drop(trash);
        if has_leases {
            caller.detached(|| self.write_leases())?;
        }
        match upto {
            None => Ok(()),
            Some(upto) => self.commit(caller, upto, keep),
        }
    }

    /// As [`Engine::leave`], but what changed is left to the next call to write: for those that may not wait.
    fn leave_unwritten(mut state: Guard<'_, State<P>>) {
        state.settle_waiters();
        let wakes = state.take_wakes();
        let trash = state.take_trash();
        drop(state);
        wake(wakes);
        drop(trash);
    }

    /// Give the lock back from a thread that waits: payloads stay behind for one that may drop them.
    fn leave_waiting(mut state: Guard<'_, State<P>>) {
        state.settle_waiters();
        let wakes = state.take_wakes();
        drop(state);
        wake(wakes);
    }
}

impl<P: Payload> Ticker for Engine<P> {
    fn tick(&self) {
        // A service that is closed or has failed has nothing to do when time moves; whoever calls it is told.
        while let Ok(mut state) = self.enter() {
            state.look();
            let more = state.run_slice();
            Self::leave_unwritten(state);
            if !more {
                break;
            }
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.enter(), Err(Error::Closed(_)))
    }
}

#[inline]
fn wake(parkers: Vec<Arc<Parker>>) {
    for parker in parkers {
        parker.notify();
    }
}

impl<P: Payload> State<P> {
    /// Whether nobody waits, one payload at most is to be dropped and nothing is written.
    #[inline(always)]
    fn is_quiet(&self) -> bool {
        self.waiters.is_empty() && self.wakes.is_empty() && self.trash.len() <= 1 && self.journal.is_none()
    }

    #[inline]
    fn take_wakes(&mut self) -> Vec<Arc<Parker>> {
        if self.wakes.is_empty() { Vec::new() } else { std::mem::take(&mut self.wakes) }
    }

    #[inline]
    fn take_trash(&mut self) -> Trash<P> {
        match self.trash.len() {
            0 => Trash::Nothing,
            1 => self.trash.pop().map_or(Trash::Nothing, |payload| Trash::One { _payload: payload }),
            _ => Trash::Many { _payloads: std::mem::take(&mut self.trash) },
        }
    }
}
