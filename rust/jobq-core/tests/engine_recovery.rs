//! Opening what a crash or a close has left: jobs and their order, leases, poison, damage, counts, numbers.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::sync::Arc;

use common::store::{Store, crash, open, open_with};
use common::{
    Bytes, Gate, MAIL, NOW, START, Sleep, assert_sound, at_once, drain, handle, ids, manual, post, post_large,
    post_with, put, settle, take, waiting_as, within_patience,
};
use jobq_core::engine::{Engine, Force, Grant, Outcome, Thread};
use jobq_core::error::{Closed, Error};
use jobq_core::job::{JobId, Reason, Schedule, Status};
use jobq_core::options::{JobOptions, LogStatusChange};
use jobq_core::repository::codec::{BODY, OVERLAY, chunk_key, id_of, job_key, line_key, topic_key};
use jobq_core::topic::TopicRef;

fn reserve(engine: &Engine<Bytes>, limit: u64) -> Vec<Grant<Bytes>> {
    engine.reserve(&Thread, MAIL, limit, NOW).unwrap()
}

/// Whoever held a job when the process died may have been killed by it: the job is granted alone (C1).
#[test]
fn c1_reserved_jobs_are_recovered_to_their_place_and_granted_alone() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let jobs: Vec<JobId> = (0..5).map(|_| post(&engine, "x")).collect();
    let grants = reserve(&engine, 4);
    settle(&engine, &grants[0], Outcome::Release { delay: 0 });
    settle(&engine, &grants[2], Outcome::Retry { delay: Some(0), error: None });
    let engine = crash(&clock, &store, engine);
    assert_eq!((engine.recovery().recovered, engine.recovery().clean), (2, false));
    assert_eq!(engine.stats(&Thread).unwrap().counters.recoveries, 2);
    let info = engine.info(&Thread, jobs[1]).unwrap();
    assert_eq!((info.status, info.crashes, info.attempts, info.retries), (Status::Ready, 1, 1, 0));
    assert!(matches!(engine.settle(&Thread, handle(&grants[1]), Outcome::Done), Err(Error::LeaseLost(_))));
    // It stays a suspect until it is settled, over another open too.
    let engine = crash(&clock, &store, engine);
    assert_eq!(engine.recovery().recovered, 0);
    let batches: Vec<Vec<JobId>> = std::iter::repeat_with(|| reserve(&engine, 9))
        .take_while(|grants| !grants.is_empty())
        .map(|grants| ids(&grants))
        .collect();
    assert_eq!(batches, [vec![jobs[0]], vec![jobs[1]], vec![jobs[3]], vec![jobs[4], jobs[2]]]);
    assert_sound(&engine);
}

/// What ends the suspicion against a job that is held.
type Clearing<'a> = dyn Fn(&Engine<Bytes>, &Grant<Bytes>) + 'a;

/// A job that was reserved at too many crashes is a dead letter; whatever settles it clears its name (C1).
#[test]
fn c1_a_job_that_kills_its_process_is_poison() {
    let (clock, store) = (manual(), Store::new());
    let options = JobOptions { lease: 1_000, ..at_once() };
    let mut engine = open(&clock, &store);
    let id = post_with(&engine, &options);
    let crashes = |engine: &Engine<Bytes>| engine.info(&Thread, id).unwrap().crashes;
    let clearing: [&Clearing<'_>; 5] = [
        &|engine, grant| assert_eq!(settle(engine, grant, Outcome::Release { delay: 0 }), Status::Ready),
        &|engine, grant| assert_eq!(settle(engine, grant, Outcome::Retry { delay: None, error: None }), Status::Ready),
        &|engine, _| engine.reset(&Thread, &[id], Force::Yes).unwrap(),
        &|engine, grant| engine.abandon(handle(grant)),
        &|_, _| clock.advance(1_000),
    ];
    for clear in clearing {
        for crashed in 1..=3 {
            take(&engine);
            engine = crash(&clock, &store, engine);
            assert_eq!(crashes(&engine), crashed);
        }
        let grant = take(&engine);
        clear(&engine, &grant);
        assert_eq!((crashes(&engine), engine.status(&Thread, id).unwrap()), (0, Status::Ready));
        engine.flush(&Thread).unwrap();
    }
    // A crash while it stands ready, and a return that nobody was charged for, are nothing.
    engine = crash(&clock, &store, engine);
    assert_eq!(crashes(&engine), 0);
    for _ in 0..4 {
        take(&engine);
        engine = crash(&clock, &store, engine);
    }
    assert_eq!(engine.recovery().poisoned, [id]);
    let info = engine.info(&Thread, id).unwrap();
    assert_eq!((info.status, info.reason, info.crashes), (Status::Canceled, Some(Reason::Poison), 4));
    let engine = crash(&clock, &store, engine);
    assert_eq!((engine.recovery().poisoned.len(), engine.status(&Thread, id).unwrap()), (0, Status::Canceled));
    let counters = engine.stats(&Thread).unwrap().counters;
    assert_eq!((counters.dead, counters.cancellations), (1, 1));
    engine.reset(&Thread, &[id], Force::No).unwrap();
    assert_eq!((take(&engine).id, crashes(&engine)), (id, 0));
    assert_sound(&engine);
}

/// A proper close gives held jobs back as if nothing had been: no crash, the old place (C4).
#[test]
fn c4_close_gives_reserved_jobs_back_uncharged() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let jobs: Vec<JobId> = (0..3).map(|_| post(&engine, "x")).collect();
    let grants = reserve(&engine, 2);
    engine.close(&Thread).unwrap();
    let engine = open(&clock, &store);
    assert!(engine.recovery().clean);
    let info = engine.info(&Thread, jobs[0]).unwrap();
    assert_eq!((info.status, info.crashes, info.retries), (Status::Ready, 0, 0));
    let again = reserve(&engine, 9);
    assert_eq!(ids(&again), jobs);
    assert!(again[0].token > grants[1].token, "tokens go on");
    assert_eq!(post(&engine, "x"), JobId(4), "a clean close records the exact numbers");
    assert_sound(&engine);
}

/// A grant that nobody saw before the service closed was none: no attempt, no reservation (design 4.4).
#[test]
fn c4_a_grant_that_close_overtakes_is_not_charged() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let gate = Gate::new();
        let waiter = waiting_as(Sleep { held: Some(Arc::clone(&gate)), interrupt: None }, &engine, 1, None);
        let id = post(&engine, "x");
        assert_eq!(engine.status(&Thread, id).unwrap(), Status::Reserved);
        engine.close(&Thread).unwrap();
        gate.open();
        assert!(matches!(waiter.result(), Err(Error::Closed(Closed::Closed))));
        let engine = open(&clock, &store);
        let reservations = engine.stats(&Thread).unwrap().counters.reservations;
        assert_eq!((engine.info(&Thread, id).unwrap().attempts, reservations), (0, 0));
        assert_sound(&engine);
    });
}

/// The order survives: (weight, stamp or due, id), and what comes after stands behind (O1, O4).
#[test]
fn o4_the_order_is_the_same_after_a_restart() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let add = |weight, schedule| engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), weight, schedule, None).unwrap();
    let first = add(1, Schedule::Now);
    let released = add(1, Schedule::Now);
    let urgent = add(-1, Schedule::Now);
    let [late, soon, equal] = [add(1, Schedule::After(90)), add(1, Schedule::After(50)), add(1, Schedule::After(50))];
    let future = add(-9, Schedule::After(1_000));
    clock.advance(70);
    let middle = add(1, Schedule::Now);
    let grants = reserve(&engine, 3);
    for grant in grants.iter().rev() {
        settle(&engine, grant, Outcome::Release { delay: 0 });
    }
    engine.reset(&Thread, &[first], Force::No).unwrap();
    // It becomes due while nobody is there, and the clock is behind when the service comes back.
    drop(engine);
    clock.advance(20);
    clock.jump(-10);
    let engine = open(&clock, &store);
    assert_eq!(engine.status(&Thread, late).unwrap(), Status::Delayed);
    assert_eq!((engine.recovery().ready, engine.recovery().delayed), (6, 2));
    clock.jump(-60_000);
    let last = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 1, Schedule::Now, None).unwrap();
    assert_eq!(drain(&engine, MAIL), [urgent, first, released, soon, equal, middle, last]);
    assert_eq!(engine.info(&Thread, future).unwrap().due_at, Some(START + 1_000));
    assert_sound(&engine);
}

/// What cannot be read is never served, is counted, and does not stop the others (C3).
#[test]
fn c3_damage_is_set_aside_and_counted() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let jobs: Vec<JobId> = (0..6).map(|_| post_large(&engine)).collect();
    let [body, overlay, payload, missing, ready, empty] = <[JobId; 6]>::try_from(jobs).unwrap();
    engine.give_back(reserve(&engine, 2));
    engine.flush(&Thread).unwrap();
    drop(engine);
    store.damage(&job_key(BODY, body));
    store.damage(&job_key(OVERLAY, overlay));
    store.damage(&chunk_key(payload, 0));
    store.edit(|data| {
        data.remove(&chunk_key(missing, 0));
        data.get_mut(&chunk_key(empty, 0)).unwrap().clear();
        data.insert(job_key(BODY, JobId(77))[..5].to_vec(), vec![1, 2, 3]);
    });
    let engine = open(&clock, &store);
    assert_eq!(engine.recovery().quarantined.len(), 2);
    assert!(engine.recovery().quarantined.contains(&body));
    assert!(matches!(engine.status(&Thread, body), Err(Error::JobNotFound(_))));
    assert_eq!(engine.info(&Thread, overlay).unwrap().reason, Some(Reason::Damaged));
    assert!(matches!(engine.payload(&Thread, payload), Err(Error::Corrupt(_))));
    assert_eq!(ids(&reserve(&engine, 9)), [ready]);
    for id in [payload, missing, empty] {
        let info = engine.info(&Thread, id).unwrap();
        assert_eq!((info.status, info.reason, info.attempts), (Status::Canceled, Some(Reason::Damaged), 0));
    }
    assert!(engine.reserve_one(&Thread, MAIL, NOW).unwrap().is_none());
    let counters = engine.stats(&Thread).unwrap().counters;
    assert_eq!((counters.enqueued, counters.lost, counters.dead, counters.reservations), (6, 1, 4, 1));
    assert_sound(&engine);
    let again = crash(&clock, &store, engine);
    let counters = again.stats(&Thread).unwrap().counters;
    assert_eq!((counters.enqueued, counters.lost, counters.dead), (6, 1, 4), "the same after another open");
    assert_sound(&again);
}

/// What a crash left of a job without its record goes, damaged or not; what stands beside a damaged record stays, for
/// whoever may save it, and a line that cannot be read costs the job nothing (C3).
#[test]
fn c3_what_has_no_record_is_swept_but_not_beside_a_damaged_one() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let options = JobOptions { log_status_change: LogStatusChange::On, ..at_once() };
    let [whole, damaged, gone, worse] = [(); 4].map(|()| post_with(&engine, &options));
    engine.give_back(reserve(&engine, 4));
    engine.flush(&Thread).unwrap();
    drop(engine);
    store.damage(&job_key(BODY, damaged));
    store.damage(&line_key(whole, 0));
    store.damage(&line_key(worse, 0));
    store.damage(&job_key(OVERLAY, worse));
    store.edit(|data| {
        data.remove(&job_key(BODY, gone));
        data.remove(&job_key(BODY, worse));
        data.insert(OVERLAY.to_vec(), vec![1]);
    });
    let of = |id: JobId| store.data().keys().filter(|key| id_of(key) == Some(id)).count();
    let before = [whole, damaged, gone, worse].map(of);
    assert!(before[0] >= 4 && before[2..] == [before[0] - 1; 2], "{before:?}");
    let engine = open(&clock, &store);
    assert_eq!(engine.recovery().quarantined, [damaged]);
    assert_eq!([whole, damaged, gone, worse].map(of), [before[0], before[1], 0, 0]);
    assert!(!store.data().contains_key(OVERLAY));
    let info = engine.info(&Thread, whole).unwrap();
    assert_eq!((info.status, info.log.len()), (Status::Ready, before[0] - 3));
    assert_sound(&engine);
}

/// The job repository stands alone; the topic repository is corrected from it, lost, older or newer (R1, R2).
#[test]
fn r1_counts_are_corrected_from_the_jobs() {
    let clock = manual();
    let (jobs, topics) = (Store::new(), Store::new());
    let engine = open_with(&clock, &jobs, &topics, |_| ());
    let first = post(&engine, "x");
    post(&engine, "x");
    engine.delete(&Thread, &[first]).unwrap();
    engine.pause(&Thread, MAIL).unwrap();
    let (old_jobs, old_topics) = (jobs.copy(), topics.copy());
    let grant = {
        engine.resume(&Thread, MAIL).unwrap();
        post(&engine, "x");
        take(&engine)
    };
    settle(&engine, &grant, Outcome::Done);
    drop(engine);
    let look = |jobs: &Arc<Store>, topics: &Arc<Store>| {
        let engine = open_with(&clock, &jobs.copy(), &topics.copy(), |_| ());
        assert_sound(&engine);
        let topic = engine.topic_stats(&Thread, MAIL).unwrap();
        let counters = topic.counters;
        (topic.paused, counters.enqueued, counters.deleted, counters.lost, counters.completions)
    };
    assert_eq!(look(&jobs, &topics), (false, 3, 1, 0, 1));
    assert_eq!(look(&jobs, &old_topics), (true, 3, 1, 0, 0), "older: enqueued is what there is");
    assert_eq!(look(&old_jobs, &topics), (false, 3, 1, 1, 1), "newer: what is missing is lost");
    assert_eq!(look(&jobs, &Store::new()), (false, 2, 0, 0, 0), "lost");
    assert_eq!(look(&Store::new(), &topics), (false, 3, 1, 2, 1), "alone");
    topics.damage(&topic_key("mail"));
    assert_eq!(look(&jobs, &topics), (false, 2, 0, 0, 0), "damaged");
}

/// Pauses and counts of topics survive without jobs; forgotten topics stay in the sum.
#[test]
fn topics_outlive_jobs_that_are_not_remembered() {
    let (clock, topics) = (manual(), Store::new());
    let memory = |config: &mut jobq_core::engine::Config| {
        config.jobs = Arc::new(jobq_core::repository::memory::Memory);
        config.limits.topic_idle = Some(1_000);
    };
    let engine = open_with(&clock, &topics, &topics, memory);
    put(&engine, TopicRef::Name("a"), Bytes::from(vec![]));
    let gone = put(&engine, TopicRef::Name("gone"), Bytes::from(vec![]));
    engine.pause(&Thread, TopicRef::Name("a")).unwrap();
    engine.delete(&Thread, &[gone]).unwrap();
    clock.advance(1_000);
    engine.flush(&Thread).unwrap();
    assert_eq!(engine.topics(&Thread).unwrap().len(), 1);
    for _ in 0..2 {
        let engine = open_with(&clock, &topics, &topics, memory);
        assert!(engine.topic_stats(&Thread, TopicRef::Name("a")).unwrap().paused);
        let counters = engine.stats(&Thread).unwrap().counters;
        assert_eq!((counters.enqueued, counters.lost, counters.deleted), (2, 1, 1));
        assert_eq!(put(&engine, TopicRef::Name("b"), Bytes::from(vec![])), JobId(1), "ids start again");
        engine.delete(&Thread, &[JobId(1)]).unwrap();
        assert_sound(&engine);
        topics.edit(|data| drop(data.remove(&topic_key("b"))));
    }
}

/// All that a holder or an operator said is there after a restart: options, errors, logs, resets (R6).
#[test]
fn r6_what_was_said_of_a_job_is_kept() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let log_status_change = LogStatusChange::On;
    let options = JobOptions { name: Arc::from("send"), lease: 1_234, max_retries: 7, log_status_change, ..at_once() };
    let id = post_with(&engine, &options);
    let grant = take(&engine);
    engine.log(&Thread, handle(&grant), "half way").unwrap();
    settle(&engine, &grant, Outcome::Retry { delay: Some(500), error: Some("OSError: no") });
    let before = engine.info(&Thread, id).unwrap();
    let engine = crash(&clock, &store, engine);
    assert_eq!(format!("{:?}", engine.info(&Thread, id).unwrap()), format!("{before:?}"));
    engine.reset(&Thread, &[id], Force::No).unwrap();
    let grant = take(&engine);
    settle(&engine, &grant, Outcome::Reject { error: Some("bad") });
    let before = engine.info(&Thread, id).unwrap();
    assert_eq!((before.resets, before.error.as_deref()), (1, Some("bad")));
    let messages: Vec<&str> = before.log.iter().map(|entry| &*entry.message).collect();
    assert!(messages.contains(&"half way") && messages.ends_with(&["reserved -> canceled"]), "{messages:?}");
    let engine = crash(&clock, &store, engine);
    assert_eq!(format!("{:?}", engine.info(&Thread, id).unwrap()), format!("{before:?}"));
    assert_sound(&engine);
}
