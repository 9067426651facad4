//! Threads that are blocked in `reserve` and `join`: who is served, when, in which order, and how all are let go.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{
    Bytes, Gate, MAIL, NOW, Sleep, assert_sound, at_once, blocked, drain, engine, handle, ids, post, post_with, put,
    settle, start, take, waiting, waiting_as, within_patience,
};
use jobq_core::engine::{Engine, Force, Grant, Outcome, Payload, Thread};
use jobq_core::error::{Closed, Error};
use jobq_core::job::{JobId, Schedule, Status};
use jobq_core::options::JobOptions;
use jobq_core::topic::TopicRef;

/// Every way into Ready serves a waiter at once, under the same lock (W1).
#[test]
fn w1_every_way_into_ready_serves_a_waiter() {
    within_patience(|| {
        let (clock, engine) = engine(|config| config.defaults = JobOptions { lease: 1_000, ..at_once() });
        let serves = |id: JobId, act: &dyn Fn()| {
            let waiter = waiting(&engine, 9);
            assert_eq!(engine.stats(&Thread).unwrap().waiting, 1);
            act();
            assert_eq!(waiter.result().unwrap(), [id]);
            assert_eq!(engine.stats(&Thread).unwrap().waiting, 0);
            assert_sound(&engine);
            engine.reset(&Thread, &[id], Force::Yes).unwrap();
        };
        let ends = |grant: &Grant<Bytes>, outcome| assert_eq!(settle(&engine, grant, outcome), Status::Ready);
        let id = JobId(1);
        serves(id, &|| assert_eq!(post(&engine, "x"), id));
        let grant = take(&engine);
        serves(id, &|| ends(&grant, Outcome::Release { delay: 0 }));
        let grant = take(&engine);
        serves(id, &|| ends(&grant, Outcome::Retry { delay: None, error: None }));
        let grant = std::cell::Cell::new(Some(take(&engine)));
        serves(id, &|| engine.give_back(grant.take()));
        let grant = take(&engine);
        serves(id, &|| engine.abandon(handle(&grant)));
        take(&engine);
        serves(id, &|| clock.advance(1_000));
        take(&engine);
        serves(id, &|| engine.reset(&Thread, &[id], Force::Yes).unwrap());
        let grant = take(&engine);
        settle(&engine, &grant, Outcome::Done);
        serves(id, &|| engine.reset(&Thread, &[id], Force::No).unwrap());
        let grant = take(&engine);
        settle(&engine, &grant, Outcome::Release { delay: 500 });
        serves(id, &|| clock.advance(500));
        let grant = take(&engine);
        settle(&engine, &grant, Outcome::Retry { delay: Some(500), error: None });
        serves(id, &|| clock.jump(500));
        engine.pause(&Thread, MAIL).unwrap();
        serves(id, &|| engine.resume(&Thread, MAIL).unwrap());
    });
}

/// The oldest waiter is served first, each up to its limit, and one job wakes one waiter (W1).
#[test]
fn w1_waiters_are_served_in_the_order_of_their_coming() {
    within_patience(|| {
        let (_clock, engine) = engine(|_| ());
        let mut waiters = vec![waiting(&engine, 2), waiting(&engine, 1), waiting(&engine, 9), waiting(&engine, 1)];
        let items = (0..5).map(|_| (Bytes::from(vec![]), 0)).collect();
        engine.enqueue_many(&Thread, MAIL, items, Schedule::Now, None).unwrap();
        let last = waiters.pop().unwrap();
        let got: Vec<Vec<u64>> =
            waiters.into_iter().map(|waiter| waiter.result().unwrap().into_iter().map(|id| id.0).collect()).collect();
        assert_eq!(got, [vec![1, 2], vec![3], vec![4, 5]]);
        let next = waiting(&engine, 1);
        post(&engine, "x");
        assert_eq!(last.result().unwrap(), [JobId(6)]);
        assert!(next.is_running() && engine.stats(&Thread).unwrap().waiting == 1);
        post(&engine, "x");
        assert_eq!(next.result().unwrap(), [JobId(7)]);
        assert_sound(&engine);
    });
}

/// Nobody waits longer than it said, and a wait that ends empty leaves nothing behind (W2).
#[test]
fn w2_a_wait_ends_at_its_timeout_and_not_before() {
    within_patience(|| {
        let (clock, engine) = engine(|config| config.limits.topic_idle = Some(1_000));
        let span = Duration::from_millis(30);
        let begin = Instant::now();
        assert!(engine.reserve(&Thread, MAIL, 1, Some(span)).unwrap().is_empty());
        assert!(engine.reserve_one(&Thread, MAIL, Some(span)).unwrap().is_none());
        assert!(begin.elapsed() >= span * 2);
        let id = post(&engine, "x");
        let begin = Instant::now();
        assert!(!engine.join(&Thread, None, Some(span)).unwrap());
        assert!(begin.elapsed() >= span);
        assert!(!engine.join(&Thread, Some(MAIL), NOW).unwrap());
        engine.delete(&Thread, &[id]).unwrap();
        let topic = engine.topic_stats(&Thread, MAIL).unwrap();
        assert_eq!((topic.waiting, topic.counters.reservations), (0, 0));
        clock.advance(1_000);
        assert_eq!(engine.topics(&Thread).unwrap().len(), 0);
        // Asked once, a topic is not made; waited for, it is, and stays while somebody waits.
        assert!(engine.reserve(&Thread, MAIL, 1, NOW).unwrap().is_empty());
        assert_eq!(engine.topics(&Thread).unwrap().len(), 0);
        let waiter = waiting(&engine, 1);
        clock.advance(1_000_000);
        assert_eq!(engine.topics(&Thread).unwrap().len(), 1);
        engine.stop().unwrap();
        assert!(matches!(waiter.result(), Err(Error::Closed(Closed::Stopped))));
    });
}

/// A join ends when the last live job of its topic, or of all, has ended, however it ended.
#[test]
fn a_join_ends_with_the_last_live_job() {
    within_patience(|| {
        let (clock, engine) = engine(|_| ());
        let join = |topic: Option<TopicRef<'static>>| {
            let engine = Arc::clone(&engine);
            blocked(move |caller| engine.join(caller, topic, None))
        };
        let options = JobOptions { max_retries: 0, lease: 1_000, ..at_once() };
        post_with(&engine, &options);
        let other = put(&engine, TopicRef::Name("other"), Bytes::from(vec![]));
        let (mail, all) = (join(Some(MAIL)), join(None));
        take(&engine);
        assert!(mail.is_running());
        clock.advance(1_000);
        assert!(mail.result().unwrap());
        assert!(all.is_running());
        engine.cancel(&Thread, &[other]).unwrap();
        assert!(all.result().unwrap());
        let delayed = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::After(9), None).unwrap();
        let mail = join(Some(MAIL));
        engine.delete(&Thread, &[delayed]).unwrap();
        assert!(mail.result().unwrap());
        assert!(engine.join(&Thread, Some(TopicRef::Name("none")), None).unwrap(), "nothing to wait for");
        assert_eq!(engine.topics(&Thread).unwrap().len(), 2);
        assert_sound(&engine);
    });
}

/// Stop and close let everybody go, those who wait for jobs and those who wait for their end (W4, C4).
#[test]
fn w4_stop_and_close_free_everybody() {
    within_patience(|| {
        for closes in [false, true] {
            let (_clock, engine) = engine::<Bytes>(|_| ());
            put(&engine, TopicRef::Name("other"), Bytes::from(vec![]));
            let waiters: Vec<_> = (0..3).map(|_| waiting(&engine, 1)).collect();
            let joins: Vec<_> = [None, Some(TopicRef::Name("other"))]
                .into_iter()
                .map(|topic| {
                    let engine = Arc::clone(&engine);
                    blocked(move |caller| engine.join(caller, topic, Some(Duration::from_hours(1))))
                })
                .collect();
            let ended = if closes { engine.close(&Thread) } else { engine.stop() };
            ended.unwrap();
            let wanted = if closes { Closed::Closed } else { Closed::Stopped };
            for waiter in waiters {
                assert!(matches!(waiter.result(), Err(Error::Closed(closed)) if closed == wanted));
            }
            for join in joins {
                assert!(matches!(join.result(), Err(Error::Closed(closed)) if closed == wanted));
            }
        }
    });
}

/// A grant that its caller never saw goes back to its place, and nobody is charged for it (design 4.4, S1).
#[test]
fn a_ticket_given_up_gives_its_grant_back_uncharged() {
    within_patience(|| {
        let (_clock, engine) = engine(|_| ());
        let gate = Gate::new();
        let sleep = Sleep { held: Some(Arc::clone(&gate)), interrupt: Some("stop") };
        let given_up = waiting_as(sleep, &engine, 2, None);
        let (first, second) = (post(&engine, "x"), post(&engine, "x"));
        assert_eq!(engine.status(&Thread, first).unwrap(), Status::Reserved);
        assert_eq!(ids(&engine.reserve(&Thread, MAIL, 9, None).unwrap()), [second]);
        let last = waiting(&engine, 9);
        gate.open();
        assert!(matches!(given_up.result(), Err(Error::Interrupted(cause)) if cause.to_string() == "stop"));
        assert_eq!(last.result().unwrap(), [first]);
        let info = engine.info(&Thread, first).unwrap();
        assert_eq!((info.attempts, info.retries), (1, 0));
        let counters = engine.stats(&Thread).unwrap().counters;
        assert_eq!((counters.reservations, counters.releases, counters.expiries), (2, 0, 0));
        assert_sound(&engine);
    });
}

/// A grant whose caller is slow to wake may be taken from it; it then waits on instead of holding what it lost.
#[test]
fn a_waiter_whose_grant_was_taken_away_waits_on() {
    within_patience(|| {
        let (_clock, engine) = engine(|_| ());
        let gate = Gate::new();
        let slow = waiting_as(Sleep { held: Some(Arc::clone(&gate)), interrupt: None }, &engine, 1, None);
        let id = post(&engine, "x");
        engine.cancel(&Thread, &[id]).unwrap();
        gate.open();
        let slow = slow.until_asleep();
        let id = post(&engine, "x");
        assert_eq!(slow.result().unwrap(), [id]);
        assert_sound(&engine);
    });
}

/// Under contention no job is lost, none is granted twice, and nobody is left asleep beside a ready job.
#[test]
fn many_producers_and_consumers_lose_nothing() {
    const EACH: u64 = 500;
    within_patience(|| {
        let (_clock, engine) = engine(|_| ());
        let consumers: Vec<_> = (1..=4)
            .map(|limit| {
                let engine = Arc::clone(&engine);
                start(Sleep::default(), move |caller| {
                    let mut got: Vec<JobId> = Vec::new();
                    while let Ok(grants) = engine.reserve(caller, MAIL, limit, None) {
                        got.extend(ids(&grants));
                        let handles: Vec<_> = grants.iter().map(handle).collect();
                        assert!(engine.settle_many(&Thread, &handles, Outcome::Done).unwrap().1.is_none());
                    }
                    got
                })
            })
            .collect();
        let producers: Vec<_> = (0..3)
            .map(|_| {
                let engine = Arc::clone(&engine);
                start(Sleep::default(), move |_| (0..EACH).for_each(|_| assert!(post(&engine, "x").0 > 0)))
            })
            .collect();
        producers.into_iter().for_each(common::Running::result);
        assert!(engine.join(&Thread, Some(MAIL), None).unwrap());
        engine.stop().unwrap();
        let mut got: Vec<u64> = consumers.into_iter().flat_map(common::Running::result).map(|id| id.0).collect();
        got.sort_unstable();
        assert_eq!(got, (1..=3 * EACH).collect::<Vec<_>>());
        assert_sound(&engine);
    });
}

static BREAKS: AtomicBool = AtomicBool::new(false);

/// A payload that breaks when it is shared, which the engine does under its lock.
struct Fragile(Bytes);

impl Payload for Fragile {
    fn share(&self) -> Self {
        if BREAKS.load(Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("broken"));
        }
        Self(Arc::clone(&self.0))
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

/// After a panic under the lock the state is not to be trusted: every call says so, and close still works.
#[test]
fn a_panic_under_the_lock_is_told_to_everybody_and_close_works() {
    within_patience(|| {
        let (clock, engine): (_, Arc<Engine<Fragile>>) = engine(|_| ());
        let waiter = {
            let engine = Arc::clone(&engine);
            blocked(move |caller| engine.reserve_one(caller, TopicRef::Name("other"), None).map(|_| ()))
        };
        put(&engine, MAIL, Fragile(Bytes::from(vec![])));
        BREAKS.store(true, Ordering::Relaxed);
        let broken = {
            let engine = Arc::clone(&engine);
            std::thread::spawn(move || engine.reserve_one(&Thread, MAIL, NOW).map(|_| ())).join()
        };
        assert!(broken.is_err());
        assert!(matches!(engine.stats(&Thread), Err(Error::Internal)));
        let more = engine.enqueue(&Thread, MAIL, Fragile(Bytes::from(vec![])), 0, Schedule::Now, None);
        assert!(matches!(more, Err(Error::Internal)));
        assert!(matches!(engine.stop(), Err(Error::Internal)));
        clock.advance(1);
        engine.close(&Thread).unwrap();
        assert!(matches!(waiter.result(), Err(Error::Closed(Closed::Closed))));
        assert!(matches!(engine.stats(&Thread), Err(Error::Closed(Closed::Closed))));
        engine.close(&Thread).unwrap();
    });
}

/// A paused topic keeps its waiters, and what comes meanwhile is theirs when it is resumed (W5).
#[test]
fn w5_waiters_of_a_paused_topic_wait_on() {
    within_patience(|| {
        let (clock, engine) = engine(|_| ());
        engine.pause(&Thread, MAIL).unwrap();
        let waiters = [waiting(&engine, 1), waiting(&engine, 9)];
        let first = post(&engine, "x");
        let second = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::After(5), None).unwrap();
        clock.advance(5);
        let third = post(&engine, "x");
        assert!(waiters.iter().all(common::Running::is_running));
        assert_eq!(engine.topic_stats(&Thread, MAIL).unwrap().waiting, 2);
        engine.resume(&Thread, MAIL).unwrap();
        let [one, two] = waiters;
        assert_eq!((one.result().unwrap(), two.result().unwrap()), (vec![first], vec![second, third]));
        assert_eq!(drain(&engine, MAIL), []);
        assert_sound(&engine);
    });
}
