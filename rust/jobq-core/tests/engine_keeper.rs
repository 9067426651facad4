//! The timekeeper: of the blocked waiters one sleeps until the next instant that matters, under the machine's clocks.
//!
//! No time is asserted from above but by the deadline of the test: a missed wake-up hangs.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{
    Bytes, MAIL, Reserved, Sleep, assert_sound, at_once, blocked, ids, post_with, put, real_engine, start, take,
    waiting, within_patience,
};
use jobq_core::engine::{Engine, Thread, Timeout};
use jobq_core::error::Error;
use jobq_core::job::{JobId, Schedule, Status};
use jobq_core::options::JobOptions;
use jobq_core::topic::TopicRef;

const SOON: u64 = 40;

const OTHER: TopicRef<'static> = TopicRef::Name("other");

/// A job of `mail` delayed by so many milliseconds.
fn delayed(engine: &Engine<Bytes>, ms: u64) -> JobId {
    engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::After(ms), None).unwrap()
}

/// Nothing but the waiter's own sleep brings a delayed job to it, and never early (W3, T1).
#[test]
fn w3_a_waiter_wakes_itself_for_a_delayed_job() {
    within_patience(|| {
        let engine = real_engine(|_| ());
        let waiter = waiting(&engine, 1);
        let begin = Instant::now();
        let id = delayed(&engine, SOON);
        assert_eq!(waiter.result().unwrap(), [id]);
        assert!(begin.elapsed() >= Duration::from_millis(SOON));
        assert_eq!(engine.stats(&Thread).unwrap().counters.promotions, 1);
        assert_sound(&engine);
    });
}

/// The end of a lease serves a waiter though nobody calls.
#[test]
fn w3_a_waiter_wakes_itself_for_a_lease_that_ends() {
    within_patience(|| {
        let engine = real_engine(|_| ());
        let id = post_with(&engine, &JobOptions { lease: SOON, ..at_once() });
        let begin = Instant::now();
        take(&engine);
        assert_eq!(waiting(&engine, 1).result().unwrap(), [id]);
        assert!(begin.elapsed() >= Duration::from_millis(SOON));
        assert_eq!(engine.info(&Thread, id).unwrap().retries, 1);
        assert_sound(&engine);
    });
}

/// A call that sets an earlier instant wakes the timekeeper; no delayed job is there, so nothing else would.
#[test]
fn w3_an_earlier_instant_wakes_the_timekeeper() {
    within_patience(|| {
        let engine = real_engine(|_| ());
        let id = post_with(&engine, &JobOptions { lease: SOON, ..at_once() });
        // The timekeeper sleeps for the two hours of a lease.
        put(&engine, OTHER, Bytes::from(vec![]));
        engine.reserve_one(&Thread, OTHER, None).unwrap();
        let other = {
            let engine = Arc::clone(&engine);
            blocked(move |caller| engine.reserve(caller, OTHER, 1, None).map(|_| ()))
        };
        take(&engine);
        let waiter = waiting(&engine, 1);
        assert_eq!(waiter.result().unwrap(), [id]);
        assert!(other.is_running());
        engine.stop().unwrap();
        assert!(other.result().is_err());
    });
}

/// Whoever joins keeps time too: the lease that ends is the last live job.
#[test]
fn w3_a_join_keeps_time() {
    within_patience(|| {
        let engine = real_engine(|_| ());
        let id = post_with(&engine, &JobOptions { lease: SOON, max_retries: 0, ..at_once() });
        take(&engine);
        assert!(engine.join(&Thread, Some(MAIL), None).unwrap());
        assert_eq!(engine.status(&Thread, id).unwrap(), Status::Canceled);
    });
}

/// Two waiters for jobs of `mail` and `other`; the second is the timekeeper from when a first instant matters, for
/// it is the youngest. That instant comes after [`SOON`].
fn two_waiters(engine: &Arc<Engine<Bytes>>, sleep: Sleep, timeout: Timeout) -> (Reserved, Reserved, JobId) {
    let stays = waiting(engine, 1);
    let leaves = {
        let engine = Arc::clone(engine);
        start(sleep, move |caller| engine.reserve(caller, OTHER, 1, timeout).map(|grants| ids(&grants))).until_asleep()
    };
    let id = delayed(engine, SOON * 3);
    (stays, leaves, id)
}

/// The duty is passed on when the timekeeper's own wait ends.
#[test]
fn w3_the_next_waiter_keeps_time_when_the_timekeeper_times_out() {
    within_patience(|| {
        let engine = real_engine(|_| ());
        let (stays, leaves, id) = two_waiters(&engine, Sleep::default(), Some(Duration::from_millis(SOON)));
        assert_eq!(leaves.result().unwrap(), []);
        assert_eq!(stays.result().unwrap(), [id]);
        assert_sound(&engine);
    });
}

/// The same when a signal handler raises in the timekeeper.
#[test]
fn w3_the_next_waiter_keeps_time_when_the_timekeeper_is_interrupted() {
    within_patience(|| {
        let engine = real_engine(|_| ());
        let sleep = Sleep { interrupt: Some("stop"), ..Sleep::default() };
        let (stays, leaves, id) = two_waiters(&engine, sleep, Some(Duration::from_millis(SOON)));
        assert!(matches!(leaves.result(), Err(Error::Interrupted(_))));
        assert_eq!(stays.result().unwrap(), [id]);
        assert_sound(&engine);
    });
}

/// The same when the timekeeper is served by another's call.
#[test]
fn w3_the_next_waiter_keeps_time_when_the_timekeeper_is_served() {
    within_patience(|| {
        let engine = real_engine(|_| ());
        let (stays, leaves, id) = two_waiters(&engine, Sleep::default(), None);
        let given = put(&engine, OTHER, Bytes::from(vec![]));
        assert_eq!(leaves.result().unwrap(), [given]);
        assert_eq!(stays.result().unwrap(), [id]);
        assert_sound(&engine);
    });
}

/// Many delayed jobs and several waiters: each job reaches somebody, none before its time.
#[test]
fn w3_a_crowd_of_waiters_gets_every_delayed_job() {
    within_patience(|| {
        let engine = real_engine(|_| ());
        let waiters: Vec<_> = (0..6).map(|_| waiting(&engine, 1)).collect();
        let mut sent: Vec<JobId> = (0..6).map(|number| delayed(&engine, 60 - number * 10)).collect();
        let mut got: Vec<JobId> = waiters.into_iter().flat_map(|waiter| waiter.result().unwrap()).collect();
        sent.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, sent);
        for &id in &got {
            let info = engine.info(&Thread, id).unwrap();
            assert_eq!((info.status, info.attempts), (Status::Reserved, 1));
        }
        assert_sound(&engine);
    });
}
