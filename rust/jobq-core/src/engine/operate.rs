//! What an operator may do: cancel, reset and delete by id, all or nothing; pause, resume and stop.

use hashbrown::HashSet;

use super::planted::Planted;
use super::record::Payload;
use super::state::{Phase, State};
use super::{Caller, Engine, Tick};
use crate::error::Error;
use crate::fsm::Event;
use crate::job::{JobId, Reason, Status};
use crate::topic::TopicRef;

/// Whether a reset takes a job from its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It does not.
    No,
    /// It does.
    Yes,
}

impl<P: Payload> Engine<P> {
    /// Cancel ready, delayed and reserved jobs; a holder loses its lease.
    ///
    /// # Errors
    /// [`Error::JobNotFound`], [`Error::InvalidTransition`]: the first bad id; nothing was done.
    pub fn cancel(&self, caller: &impl Caller, ids: &[JobId]) -> Result<(), Error> {
        self.operate(caller, ids, Event::CancelById, "cancel", |state, slot| {
            state.uproot(slot);
            state.finish(slot, Some(Reason::Requested));
        })
    }

    /// Make jobs ready now; a ready one keeps its place.
    ///
    /// # Errors
    /// As [`Engine::cancel`]; a reserved job needs force.
    pub fn reset(&self, caller: &impl Caller, ids: &[JobId], force: Force) -> Result<(), Error> {
        let event = if force == Force::Yes { Event::ForceReset } else { Event::Reset };
        self.operate(caller, ids, event, "reset", State::reset)
    }

    /// Forget jobs that are not reserved.
    ///
    /// # Errors
    /// As [`Engine::cancel`].
    pub fn delete(&self, caller: &impl Caller, ids: &[JobId]) -> Result<(), Error> {
        self.operate(caller, ids, Event::Delete, "delete", |state, slot| {
            state.uproot(slot);
            state.forget(slot, |counters| counters.deleted += 1);
        })
    }

    fn operate(
        &self,
        caller: &impl Caller,
        ids: &[JobId],
        event: Event,
        verb: &'static str,
        act: impl Fn(&mut State<P>, u32),
    ) -> Result<(), Error> {
        self.ensure_room(caller)?;
        self.call(caller, Tick::Before, |state| {
            let mut seen = HashSet::with_capacity(ids.len());
            let mut slots = Vec::with_capacity(ids.len());
            for &id in ids {
                let slot = state.slot_of(id)?;
                state.ask(slot, event, verb)?;
                if seen.insert(slot) {
                    slots.push(slot);
                }
            }
            for slot in slots {
                state.cut();
                act(state, slot);
            }
            state.serve_touched();
            Ok(())
        })
    }

    /// Grant nothing more of a topic until it is resumed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that no topic can have.
    pub fn pause(&self, caller: &impl Caller, topic: TopicRef<'_>) -> Result<(), Error> {
        self.call(caller, Tick::Before, |state| {
            let slot = state.topic_or_new(topic)?;
            if let Some(topic) = state.topics.get_mut(slot) {
                topic.paused = true;
            }
            state.note_pause(slot);
            Ok(())
        })
    }

    /// Undo a pause.
    ///
    /// # Errors
    /// As [`Engine::pause`].
    pub fn resume(&self, caller: &impl Caller, topic: TopicRef<'_>) -> Result<(), Error> {
        self.call(caller, Tick::Before, |state| {
            let Some(slot) = state.topic(topic) else {
                return crate::topic::check_name(topic.name(), &state.limits);
            };
            if let Some(topic) = state.topics.get_mut(slot) {
                topic.paused = false;
            }
            state.note_pause(slot);
            if !state.planted.is(Planted::ForgottenWake) {
                state.serve(slot);
            }
            state.watch_if_unused(slot);
            Ok(())
        })
    }

    /// Grant no more jobs, and free everybody who waits. Never waits itself.
    ///
    /// # Errors
    /// [`Error::Closed`] after close or in a forked child.
    pub fn stop(&self) -> Result<(), Error> {
        let mut state = self.enter_inside()?;
        state.phase = Phase::Stopped;
        state.wake_all();
        Self::leave_waiting(state);
        Ok(())
    }
}

impl<P: Payload> State<P> {
    /// Write that a topic is paused or resumed: the one change of a topic's record that its caller waits for.
    fn note_pause(&mut self, slot: u32) {
        self.soil(slot);
        self.order_topics();
    }

    fn reset(&mut self, slot: u32) {
        let Some(job) = self.jobs.get_mut(slot) else { return };
        let (status, topic) = (job.status, job.topic);
        job.retries = 0;
        self.clear_crashes(slot);
        if let Some(cold) = self.cold(slot) {
            cold.resets = cold.resets.saturating_add(1);
        }
        self.tally(topic, |counters| counters.resets += 1);
        if status != Status::Ready {
            self.uproot(slot);
            self.enter_ready(slot, |_| ());
        }
        self.note(slot);
    }
}
