//! The state machine: which step leads from where to where. One pure function, no exceptions to it.

use crate::job::{Reason, Status};

/// Whether a job that enters the queue is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It may be reserved at once.
    Now,
    /// It has to wait for its due date.
    Later,
}

/// What a charged retry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Back into the queue.
    Again(Entry),
    /// That was one retry too many.
    Exhausted,
}

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A producer hands it in.
    Enqueue(Entry),
    /// Its due date came.
    Promote,
    /// A worker takes it.
    Reserve,
    /// Its grant never reached the worker, or the service closes: as if it had not been taken.
    GiveBack,
    /// Its holder finished it.
    Done,
    /// Its holder failed.
    Retry(Charge),
    /// Its holder puts it back, uncharged.
    Release(Entry),
    /// Its holder needs longer.
    Extend,
    /// Its lease ran out, or its handle was dropped.
    Expire(Charge),
    /// Somebody calls it off by id.
    CancelById,
    /// Its holder gives it up for good.
    Reject,
    /// An operator makes it ready again.
    Reset,
    /// An operator makes it ready again, from its holder too.
    ForceReset,
    /// It was reserved when the process died.
    Recover,
    /// It was reserved once too often when the process died.
    Poison,
    /// Its record or payload cannot be read.
    Damage,
    /// An operator forgets it.
    Delete,
    /// The retention forgets it.
    Purge,
}

/// Where a step leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To this status.
    To(Status),
    /// To canceled, for this reason.
    Cancel(Reason),
    /// Out of the service.
    Gone,
}

const fn entry(entry: Entry) -> Next {
    Next::To(match entry {
        Entry::Now => Status::Ready,
        Entry::Later => Status::Delayed,
    })
}

const fn charge(charge: Charge) -> Next {
    match charge {
        Charge::Again(due) => entry(due),
        Charge::Exhausted => Next::Cancel(Reason::Exhausted),
    }
}

/// The step from `from` on `event`; `None` where the machine has none.
///
/// | event | from | to |
/// |---|---|---|
/// | enqueue | created | ready, delayed |
/// | promote | delayed | ready |
/// | reserve | ready | reserved |
/// | give back | reserved | ready |
/// | done | reserved | done |
/// | retry, expire | reserved | ready, delayed, canceled (exhausted) |
/// | release | reserved | ready, delayed |
/// | extend | reserved | reserved |
/// | cancel by id | ready, delayed, reserved | canceled (requested) |
/// | reject | reserved | canceled (rejected) |
/// | reset | ready, delayed, done, canceled | ready |
/// | force reset | any of these, reserved | ready |
/// | recover, poison | reserved | ready, canceled (poison) |
/// | damage | ready, delayed, reserved | canceled (damaged) |
/// | delete | ready, delayed, done, canceled | gone |
/// | purge | done, canceled | gone |
#[must_use]
pub const fn step(from: Status, event: Event) -> Option<Next> {
    use Status::{Canceled, Created, Delayed, Done, Ready, Reserved};
    Some(match (from, event) {
        (Created, Event::Enqueue(due)) | (Reserved, Event::Release(due)) => entry(due),
        (Delayed, Event::Promote)
        | (Reserved, Event::GiveBack | Event::Recover | Event::ForceReset)
        | (Ready | Delayed | Done | Canceled, Event::Reset | Event::ForceReset) => Next::To(Ready),
        (Ready, Event::Reserve) | (Reserved, Event::Extend) => Next::To(Reserved),
        (Reserved, Event::Done) => Next::To(Done),
        (Reserved, Event::Retry(outcome) | Event::Expire(outcome)) => charge(outcome),
        (Ready | Delayed | Reserved, Event::CancelById) => Next::Cancel(Reason::Requested),
        (Reserved, Event::Reject) => Next::Cancel(Reason::Rejected),
        (Reserved, Event::Poison) => Next::Cancel(Reason::Poison),
        (Ready | Delayed | Reserved, Event::Damage) => Next::Cancel(Reason::Damaged),
        (Ready | Delayed | Done | Canceled, Event::Delete) | (Done | Canceled, Event::Purge) => Next::Gone,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Canceled, Created, Delayed, Done, Ready, Reserved};

    const EVENTS: [Event; 23] = [
        Event::Enqueue(Entry::Now),
        Event::Enqueue(Entry::Later),
        Event::Promote,
        Event::Reserve,
        Event::GiveBack,
        Event::Done,
        Event::Retry(Charge::Again(Entry::Now)),
        Event::Retry(Charge::Again(Entry::Later)),
        Event::Retry(Charge::Exhausted),
        Event::Release(Entry::Now),
        Event::Release(Entry::Later),
        Event::Extend,
        Event::Expire(Charge::Again(Entry::Now)),
        Event::Expire(Charge::Again(Entry::Later)),
        Event::Expire(Charge::Exhausted),
        Event::CancelById,
        Event::Reject,
        Event::Reset,
        Event::ForceReset,
        Event::Recover,
        Event::Poison,
        Event::Damage,
        Event::Delete,
    ];

    /// What design §3 draws, written down a second time, row by row.
    fn drawn(from: Status, event: Event) -> Option<Next> {
        let ready = Some(Next::To(Ready));
        let cancel = |reason| Some(Next::Cancel(reason));
        match from {
            Created => match event {
                Event::Enqueue(Entry::Now) => ready,
                Event::Enqueue(Entry::Later) => Some(Next::To(Delayed)),
                _ => None,
            },
            Ready | Delayed => match event {
                Event::Reserve if from == Ready => Some(Next::To(Reserved)),
                Event::Promote if from == Delayed => ready,
                Event::CancelById => cancel(Reason::Requested),
                Event::Damage => cancel(Reason::Damaged),
                Event::Reset | Event::ForceReset => ready,
                Event::Delete => Some(Next::Gone),
                _ => None,
            },
            Reserved => match event {
                Event::Done => Some(Next::To(Done)),
                Event::Extend => Some(Next::To(Reserved)),
                Event::GiveBack
                | Event::Recover
                | Event::ForceReset
                | Event::Release(Entry::Now)
                | Event::Retry(Charge::Again(Entry::Now))
                | Event::Expire(Charge::Again(Entry::Now)) => ready,
                Event::Release(Entry::Later)
                | Event::Retry(Charge::Again(Entry::Later))
                | Event::Expire(Charge::Again(Entry::Later)) => Some(Next::To(Delayed)),
                Event::Retry(Charge::Exhausted) | Event::Expire(Charge::Exhausted) => cancel(Reason::Exhausted),
                Event::CancelById => cancel(Reason::Requested),
                Event::Reject => cancel(Reason::Rejected),
                Event::Poison => cancel(Reason::Poison),
                Event::Damage => cancel(Reason::Damaged),
                _ => None,
            },
            Done | Canceled => match event {
                Event::Reset | Event::ForceReset => ready,
                Event::Delete | Event::Purge => Some(Next::Gone),
                _ => None,
            },
        }
    }

    #[test]
    fn every_status_and_every_event_as_drawn() {
        let mut steps = 0;
        for from in Status::ALL {
            for event in EVENTS.into_iter().chain([Event::Purge]) {
                assert_eq!(step(from, event), drawn(from, event), "{from:?} {event:?}");
                steps += usize::from(step(from, event).is_some());
            }
        }
        assert_eq!(steps, 2 + 6 + 6 + 17 + 4 + 4);
    }

    #[test]
    fn finished_jobs_leave_only_by_reset_delete_and_purge() {
        for from in [Done, Canceled] {
            for event in EVENTS {
                let leaves = matches!(event, Event::Reset | Event::ForceReset | Event::Delete);
                assert_eq!(step(from, event).is_some(), leaves, "{from:?} {event:?}");
            }
        }
    }
}
