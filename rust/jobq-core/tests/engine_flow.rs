//! The life of a job through the engine's public calls, in memory: order, leases, fencing, operators, limits, counts.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::sync::Arc;

use common::{
    Bytes, MAIL, NOW, START, assert_sound, at_once, drain, engine, handle, ids, post, post_with, real_engine, settle,
    take,
};
use jobq_core::engine::{Engine, Filter, Force, Outcome, Thread};
use jobq_core::error::{Closed, Error, Full};
use jobq_core::job::{JobId, Reason, Schedule, Status};
use jobq_core::options::{JobOptions, Limits, Retention};
use jobq_core::topic::{TopicHandle, TopicRef};

fn weighted(engine: &Engine<Bytes>, weight: i16, schedule: Schedule) -> JobId {
    engine.enqueue(&Thread, MAIL, Arc::from(&b"x"[..]), weight, schedule, None).unwrap()
}

/// A queue that a worker may rely on: the least weight first, then the one that was ready first.
#[test]
fn o1_the_order_is_weight_then_entry_into_ready() {
    let (clock, engine) = engine(|_| ());
    let late = weighted(&engine, 5, Schedule::Now);
    let due_second = weighted(&engine, 0, Schedule::After(20));
    let due_first = weighted(&engine, 0, Schedule::After(10));
    let first = weighted(&engine, -5, Schedule::Now);
    let second = weighted(&engine, -5, Schedule::Now);
    clock.advance(30);
    let after = weighted(&engine, 0, Schedule::Now);
    // The clock steps back: what comes now still stands behind.
    clock.jump(-60_000);
    let last = weighted(&engine, 0, Schedule::Now);
    assert_eq!(drain(&engine, MAIL), [first, second, due_first, due_second, after, last, late]);
    assert_sound(&engine);
}

/// What was charged goes to the end; what was only put back does not lose its place (O2, O3).
#[test]
fn o3_released_and_returned_jobs_keep_their_place_and_retried_ones_do_not() {
    let (_clock, engine) = engine(|config| config.defaults = at_once());
    let jobs: Vec<JobId> = (0..4).map(|_| post(&engine, "x")).collect();
    let grants = engine.reserve(&Thread, MAIL, 3, NOW).unwrap();
    assert_eq!(ids(&grants), jobs[..3]);
    let [retried, released, returned] = <[_; 3]>::try_from(grants).ok().unwrap();
    assert_eq!(settle(&engine, &retried, Outcome::Retry { delay: Some(0), error: None }), Status::Ready);
    assert_eq!(settle(&engine, &released, Outcome::Release { delay: 0 }), Status::Ready);
    engine.give_back([returned]);
    let returned = engine.info(&Thread, jobs[2]).unwrap();
    assert_eq!((returned.status, returned.attempts), (Status::Ready, 0));
    assert_eq!(engine.stats(&Thread).unwrap().counters.reservations, 2, "a returned grant is none");
    engine.reset(&Thread, &[jobs[1]], Force::No).unwrap();
    assert_eq!(drain(&engine, MAIL), [jobs[1], jobs[2], jobs[3], jobs[0]]);
    assert_sound(&engine);
}

/// A holder that is late must not settle what somebody else holds; nothing changes when it tries.
#[test]
fn l1_only_the_token_that_holds_the_job_may_settle_it() {
    let (clock, engine) = engine(|_| ());
    let options = JobOptions { lease: 1_000, ..at_once() };
    let id = post_with(&engine, &options);
    let old = take(&engine);
    // A late call counts as long as nobody has noticed.
    assert_eq!(engine.extend(&Thread, handle(&old), Some(500)).unwrap(), old.deadline);
    clock.advance(999);
    assert_eq!(engine.status(&Thread, id).unwrap(), Status::Reserved);
    clock.advance(1);
    let new = take(&engine);
    assert!(new.id == old.id && new.token > old.token);
    let before = engine.stats(&Thread).unwrap().counters;
    let outcomes = [
        Outcome::Done,
        Outcome::Retry { delay: None, error: Some("no") },
        Outcome::Release { delay: 0 },
        Outcome::Reject { error: None },
    ];
    for outcome in outcomes {
        let refused = engine.settle(&Thread, handle(&old), outcome);
        assert!(matches!(refused, Err(Error::LeaseLost(lost)) if lost.holder == Some(new.token)), "{outcome:?}");
    }
    assert!(matches!(engine.extend(&Thread, handle(&old), None), Err(Error::LeaseLost(_))));
    assert!(matches!(engine.log(&Thread, handle(&old), "x"), Err(Error::LeaseLost(_))));
    assert!(matches!(engine.check_held(&Thread, handle(&old)), Err(Error::LeaseLost(_))));
    assert!(!engine.is_next(&Thread, &old).unwrap());
    engine.abandon(handle(&old));
    assert_eq!(engine.stats(&Thread).unwrap().counters, before);
    assert_eq!(engine.info(&Thread, id).unwrap().error, None);
    assert_eq!(settle(&engine, &new, Outcome::Done), Status::Done);
    assert_sound(&engine);
}

/// A batch with one lost lease settles all others, and names the lost one (L2).
#[test]
fn l2_of_many_leases_each_is_judged_alone() {
    let (_clock, engine) = engine(|_| ());
    let jobs: Vec<JobId> = (0..4).map(|_| post(&engine, "x")).collect();
    let grants = engine.reserve(&Thread, MAIL, 4, NOW).unwrap();
    let mut handles: Vec<_> = grants.iter().map(handle).collect();
    engine.cancel(&Thread, &[jobs[1], jobs[3]]).unwrap();
    handles.push(handles[0]);
    let (accepted, error) = engine.settle_many(&Thread, &handles, Outcome::Done).unwrap();
    assert_eq!(accepted, [true, false, true, false, true], "a handle given twice is settled once");
    let Some(Error::LeaseLost(lost)) = error else { panic!("{error:?}") };
    assert_eq!(lost.ids, [jobs[1], jobs[3]]);
    assert_eq!(engine.stats(&Thread).unwrap().counters.completions, 2);
    assert_sound(&engine);
}

/// Retries are bounded; the one beyond the bound makes a dead letter that says why (S1, S2).
#[test]
fn s2_a_retry_beyond_the_bound_cancels_as_exhausted() {
    let (clock, engine) = engine(|_| ());
    let options = JobOptions { max_retries: 2, min_backoff: 1_000, max_backoff: 1_500, jitter: 0.0, ..at_once() };
    let id = post_with(&engine, &options);
    for (backoff, status) in [(1_000, Status::Delayed), (1_500, Status::Delayed), (0, Status::Canceled)] {
        let grant = take(&engine);
        assert_eq!(settle(&engine, &grant, Outcome::Retry { delay: None, error: Some("boom") }), status);
        assert_eq!(
            engine.info(&Thread, id).unwrap().due_at.unwrap_or(clock.now().wall.0),
            clock.now().wall.0 + backoff
        );
        clock.advance(backoff);
    }
    let dead = engine.info(&Thread, id).unwrap();
    assert_eq!((dead.reason, dead.retries, dead.error.as_deref()), (Some(Reason::Exhausted), 3, Some("boom")));
    let counters = engine.stats(&Thread).unwrap().counters;
    assert_eq!((counters.retries, counters.delays, counters.promotions, counters.dead), (3, 2, 2, 1));
    engine.reset(&Thread, &[id], Force::No).unwrap();
    let again = engine.info(&Thread, id).unwrap();
    assert_eq!(
        (again.status, again.reason, again.retries, again.resets, again.attempts),
        (Status::Ready, None, 0, 1, 3)
    );
    assert_sound(&engine);
}

/// The backoff of an expiry counts from the deadline, so a service nobody called meanwhile is not late twice (T5).
#[test]
fn t5_an_expiry_counts_its_backoff_from_the_deadline() {
    let (clock, engine) = engine(|_| ());
    let options = JobOptions { lease: 1_000, min_backoff: 5_000, max_backoff: 5_000, jitter: 0.0, ..at_once() };
    let (soon, late) = (post_with(&engine, &options), post_with(&engine, &options));
    take(&engine);
    clock.advance(3_000);
    let info = engine.info(&Thread, soon).unwrap();
    assert_eq!((info.status, info.due_at), (Status::Delayed, Some(START + 6_000)));
    assert_eq!(info.log.last().unwrap().message.as_ref(), "lease expired after 1 s");
    assert_eq!(take(&engine).id, late);
    clock.advance(60_000);
    assert_eq!(engine.info(&Thread, late).unwrap().status, Status::Ready, "the backoff is past in the same tick");
    assert_eq!(engine.stats(&Thread).unwrap().counters.expiries, 2);
    assert_sound(&engine);
}

/// An operator's call does all or nothing, and names the first id that it cannot serve (L7).
#[test]
fn l7_operators_do_all_or_nothing() {
    let (_clock, engine) = engine(|_| ());
    let (held, ready) = (post(&engine, "x"), post(&engine, "x"));
    let grant = take(&engine);
    let before = engine.stats(&Thread).unwrap().counters;
    let unknown = JobId(99);
    assert!(matches!(engine.cancel(&Thread, &[ready, unknown, held]), Err(Error::JobNotFound(id)) if id == unknown));
    let refused = engine.delete(&Thread, &[ready, held, unknown]);
    assert!(matches!(refused, Err(Error::InvalidTransition(step)) if step.id == held && step.verb == "delete"));
    let refused = engine.reset(&Thread, &[ready, held], Force::No);
    assert!(matches!(refused, Err(Error::InvalidTransition(step)) if step.status == Status::Reserved));
    assert_eq!(engine.stats(&Thread).unwrap().counters, before);
    engine.reset(&Thread, &[ready, held, held], Force::Yes).unwrap();
    assert!(matches!(engine.settle(&Thread, handle(&grant), Outcome::Done), Err(Error::LeaseLost(_))));
    assert_eq!(engine.info(&Thread, held).unwrap().resets, 1, "an id given twice is one");
    assert_eq!(drain(&engine, MAIL), [ready, held]);
    engine.cancel(&Thread, &[ready, held]).unwrap();
    engine.delete(&Thread, &[ready, held]).unwrap();
    assert!(matches!(engine.status(&Thread, held), Err(Error::JobNotFound(_))));
    assert_eq!(engine.stats(&Thread).unwrap().counters.deleted, 2);
    assert_sound(&engine);
}

/// Limits bind what comes in, and what they refuse leaves no trace (V3, L9).
#[test]
fn v3_limits_refuse_whole_calls() {
    let limits = Limits { max_payload: 4, max_jobs: Some(3), max_topics: Some(1), ..Limits::default() };
    let (_clock, engine) = engine(|config| config.limits = limits);
    let many = |sizes: &[usize]| {
        let items = sizes.iter().map(|&size| (Bytes::from(vec![0; size]), 0)).collect();
        engine.enqueue_many(&Thread, MAIL, items, Schedule::Now, None)
    };
    let refused = many(&[4, 5, 1]).unwrap_err().to_string();
    assert!(refused.starts_with("payloads[1] must be at most 4 bytes"), "{refused}");
    assert!(matches!(many(&[1; 4]), Err(Error::QueueFull(Full::Jobs { limit: 3, live: 0, more: 4 }))));
    assert_eq!(engine.topics(&Thread).unwrap().len(), 0);
    assert_eq!(many(&[1, 4]).unwrap(), 1..3);
    let other = engine.enqueue(&Thread, TopicRef::Name("other"), Bytes::from(vec![]), 0, Schedule::Now, None);
    assert!(matches!(other, Err(Error::QueueFull(Full::Topics { limit: 1 }))));
    assert_eq!(many(&[1]).unwrap(), 3..4);
    assert!(matches!(many(&[1]), Err(Error::QueueFull(Full::Jobs { .. }))));
    let grant = take(&engine);
    settle(&engine, &grant, Outcome::Done);
    assert_eq!(many(&[1]).unwrap(), 4..5, "finished jobs are not live, and no id was used up");
    assert_eq!(many(&[]).unwrap(), 5..5);
    assert_sound(&engine);
}

/// Finished jobs are kept within bounds, the oldest go first, the two kinds apart (V2).
#[test]
fn v2_the_retention_drops_the_oldest_of_each_kind() {
    let (clock, engine) = engine(|config| {
        config.retention = Retention { age: Some(1_000), count: Some(2), size: None };
        config.dead_retention = Retention { age: None, count: None, size: Some(5) };
    });
    let jobs: Vec<JobId> = (0..5).map(|_| post(&engine, "abc")).collect();
    for outcome in [Outcome::Reject { error: None }, Outcome::Done, Outcome::Done] {
        let grant = take(&engine);
        settle(&engine, &grant, outcome);
    }
    engine.cancel(&Thread, &[jobs[3]]).unwrap();
    let kept = |status| {
        let filter = Filter { status: Some(status), ..Filter::default() };
        let (page, _) = engine.find(&Thread, &filter, JobId(0), 10).unwrap();
        page.iter().map(|info| info.id).collect::<Vec<_>>()
    };
    assert_eq!((kept(Status::Done), kept(Status::Canceled)), (vec![jobs[2]], vec![jobs[0], jobs[3]]));
    let grant = take(&engine);
    settle(&engine, &grant, Outcome::Reject { error: None });
    assert_eq!(kept(Status::Canceled), [jobs[3], jobs[4]], "six bytes of dead letters are too many");
    clock.advance(999);
    assert_eq!(kept(Status::Done).len(), 1);
    clock.advance(1);
    assert_eq!((kept(Status::Done), kept(Status::Canceled)), (vec![], vec![jobs[4]]));
    assert_eq!(engine.stats(&Thread).unwrap().counters.purged, 4);
    assert_sound(&engine);
}

/// A topic nobody uses goes with its statistics; its handle finds the next of that name (V1, S4).
#[test]
fn v1_an_idle_topic_is_dropped_and_its_handle_goes_on() {
    let (clock, engine) = engine(|config| config.limits.topic_idle = Some(1_000));
    let mail = TopicHandle::new("mail", engine.limits()).unwrap();
    let topic = TopicRef::Handle(&mail);
    let put = || engine.enqueue(&Thread, topic, Bytes::from(vec![]), 0, Schedule::Now, None).unwrap();
    let id = put();
    clock.advance(5_000);
    assert_eq!(engine.topics(&Thread).unwrap().len(), 1, "a job keeps it");
    engine.delete(&Thread, &[id]).unwrap();
    engine.topic_stats(&Thread, topic).unwrap();
    clock.advance(999);
    clock.jump(3_600_000);
    assert_eq!(engine.topics(&Thread).unwrap().len(), 1);
    clock.advance(1);
    assert_eq!(engine.topics(&Thread).unwrap().len(), 0);
    assert_eq!(engine.topic_stats(&Thread, topic).unwrap().counters.enqueued, 0);
    assert_eq!(engine.stats(&Thread).unwrap().counters.enqueued, 1, "the sum remembers");
    put();
    assert_eq!(engine.topic_stats(&Thread, topic).unwrap().counters.enqueued, 1);
    assert_sound(&engine);
}

/// A pause stops grants and nothing else; a stop ends grants for good; after close nothing goes (W4, W5, C4).
#[test]
fn w5_pause_stop_and_close_refuse_what_they_say() {
    let (clock, engine) = engine(|_| ());
    engine.pause(&Thread, MAIL).unwrap();
    let (now, later) = (post(&engine, "x"), weighted(&engine, -1, Schedule::After(10)));
    clock.advance(10);
    assert!(engine.reserve_one(&Thread, MAIL, NOW).unwrap().is_none());
    assert!(engine.reserve(&Thread, MAIL, 9, NOW).unwrap().is_empty());
    engine.resume(&Thread, MAIL).unwrap();
    let grants = engine.reserve(&Thread, MAIL, 9, NOW).unwrap();
    assert_eq!(ids(&grants), [later, now]);
    engine.stop().unwrap();
    assert!(matches!(engine.reserve_one(&Thread, MAIL, NOW), Err(Error::Closed(Closed::Stopped))));
    assert!(matches!(engine.join(&Thread, None, NOW), Err(Error::Closed(Closed::Stopped))));
    assert_eq!(settle(&engine, &grants[0], Outcome::Done), Status::Done);
    post(&engine, "x");
    assert_sound(&engine);
    engine.close(&Thread).unwrap();
    engine.close(&Thread).unwrap();
    assert!(engine.is_closed());
    let late = engine.settle(&Thread, handle(&grants[1]), Outcome::Done);
    assert!(matches!(late, Err(Error::Closed(Closed::Closed))));
    assert!(matches!(engine.stop(), Err(Error::Closed(Closed::Closed))));
}

/// A tick works in slices and a reserve goes on slice by slice until it has a job (T4).
#[test]
fn t4_a_reserve_finds_a_due_job_behind_many_slices() {
    let engine = real_engine(|_| ());
    let due = engine.clock().wall_ceil().0 + 300;
    let items = (0..3_500).map(|_| (Bytes::from(vec![]), 0)).collect();
    engine.enqueue_many(&Thread, TopicRef::Name("other"), items, Schedule::At(due), None).unwrap();
    let id = weighted(&engine, 0, Schedule::At(due + 1));
    // No call moves the service on: the one below has all to do.
    while engine.clock().now().wall.0 <= due {
        std::thread::yield_now();
    }
    assert_eq!(take(&engine).id, id);
    assert_sound(&engine);
}
