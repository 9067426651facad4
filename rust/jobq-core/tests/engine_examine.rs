//! Looking at a store that no service has open: it says what open would find, and changes nothing.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::paced::Paced;
use common::store::{Store, open};
use common::{MAIL, START, config, manual, post, post_large, settle, take};
use jobq_core::clock::Clock;
use jobq_core::engine::examine::{Examined, examine};
use jobq_core::engine::{Engine, Outcome, Thread};
use jobq_core::error::Error;
use jobq_core::job::{JobId, Reason, Status};
use jobq_core::repository::codec::{self, BODY, OVERLAY, chunk_key, encode_number, job_key, meta_key, topic_key};
use jobq_core::repository::{Ack, Repository};

fn look(store: &dyn Repository) -> Examined {
    examine(store, START, &|_| Ok(())).unwrap()
}

/// (id, status, payload) of every job.
fn jobs(store: &dyn Repository) -> Vec<(u64, Status, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    look(store)
        .each(store, &mut |info, payload| {
            found.push((info.id.0, info.status, payload.map(<[u8]>::to_vec)));
            Ok(())
        })
        .unwrap();
    found
}

/// A store with a job of each status: 1 ready and large, 2 held, 3 done, 4 a dead letter.
fn filled() -> Arc<Store> {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    for _ in 0..3 {
        post(&engine, "text");
    }
    let (done, dead) = (take(&engine), take(&engine));
    settle(&engine, &done, Outcome::Done);
    settle(&engine, &dead, Outcome::Reject { error: Some("no") });
    std::mem::forget(take(&engine));
    post_large(&engine);
    engine.flush(&Thread).unwrap();
    let left = store.copy();
    engine.close(&Thread).unwrap();
    left
}

#[test]
fn it_finds_every_job_where_the_disk_says_it_is() {
    let store = filled();
    let before = store.data();
    let found = jobs(&*store);
    let statuses: Vec<(u64, Status)> = found.iter().map(|(id, status, _)| (*id, *status)).collect();
    assert_eq!(statuses, [(1, Status::Done), (2, Status::Canceled), (3, Status::Reserved), (4, Status::Ready)]);
    assert!(found.iter().all(|(_, _, payload)| payload.is_some()));
    let looked = look(&*store);
    assert_eq!(looked.faults, Vec::<String>::new());
    assert_eq!(looked.stats.counters.enqueued, 4);
    assert_eq!(looked.stats.counters.enqueued, looked.stats.counters.accounted());
    assert_eq!(looked.stats.counters.now(Status::Reserved), 1);
    assert_eq!(looked.stats.counters.dead, 1);
    assert_eq!(looked.topics.len(), 1);
    assert_eq!(&*looked.topics[0].topic, MAIL.name());
    assert_eq!(store.data(), before, "looking changed the store");
}

#[test]
fn who_is_in_the_lease_table_is_shown_as_reserved() {
    let (clock, paced) = (manual(), Paced::new(Ack::Synced));
    let mut config = config(Clock::Manual(clock));
    (config.jobs, config.topics) = (Arc::clone(&paced) as _, Arc::clone(&paced) as _);
    let engine = Engine::<common::Bytes>::open(&Thread, config).unwrap();
    post(&engine, "held");
    post(&engine, "free");
    let held = take(&engine);
    engine.flush(&Thread).unwrap();
    let left = paced.after_kill();
    let statuses = |left: &Paced| -> Vec<Status> { jobs(left).into_iter().map(|(_, status, _)| status).collect() };
    assert_eq!(statuses(&left), [Status::Reserved, Status::Ready]);
    assert_eq!(left.held(), paced.held());
    // One that is delayed since is not held, though a power cut may leave the table as it was.
    settle(&engine, &held, Outcome::Retry { delay: Some(50), error: None });
    let old = Paced::on(paced.store.copy(), Ack::Synced, (0..).zip(left.table()).collect());
    assert_eq!(statuses(&old), [Status::Delayed, Status::Ready]);
    engine.close(&Thread).unwrap();
}

#[test]
fn each_damaged_value_is_named() {
    let large = JobId(4);
    for (key, text) in [
        (job_key(BODY, JobId(3)), "the record of job 3 is damaged"),
        (job_key(OVERLAY, JobId(1)), "the status of job 1 is damaged"),
        (chunk_key(large, 0), "a piece of the payload of job 4 is damaged"),
        (topic_key(MAIL.name()), "the count of topic 'mail' is damaged"),
        (meta_key("tokens"), "the service's number 'tokens' is damaged"),
    ] {
        let store = filled();
        store.damage(&key);
        let faults = look(&*store).faults;
        assert!(faults.iter().any(|fault| fault.starts_with(text)), "{text}: {faults:?}");
    }
}

#[test]
fn a_payload_that_is_not_whole_is_a_fault_and_is_not_given() {
    let store = filled();
    store.edit(|data| drop(data.remove(&chunk_key(JobId(4), 0))));
    let faults = look(&*store).faults;
    assert!(faults.iter().any(|fault| fault.starts_with("the payload of job 4 of 'mail' is not whole")), "{faults:?}");
    assert_eq!(jobs(&*store).pop().unwrap().2, None);
}

#[test]
fn a_damaged_status_is_shown_as_open_will_make_it() {
    let store = filled();
    store.damage(&job_key(OVERLAY, JobId(1)));
    let mut reason = None;
    let found = look(&*store);
    found
        .each(&*store, &mut |info, _| {
            reason = reason.or(Some((info.status, info.reason)).filter(|_| info.id == JobId(1)));
            Ok(())
        })
        .unwrap();
    assert_eq!(reason, Some((Status::Canceled, Some(Reason::Damaged))));
}

#[test]
fn another_format_is_refused() {
    let store = filled();
    let key = meta_key("format");
    store.edit(|data| drop(data.insert(key.clone(), encode_number(&key, codec::FORMAT + 1))));
    assert!(matches!(examine(&*store, START, &|_| Ok(())), Err(Error::Corrupt(text)) if text.contains("format")));
}

#[test]
fn a_step_may_end_it() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    for _ in 0..3_000 {
        post(&engine, "");
    }
    let left = store.copy();
    engine.close(&Thread).unwrap();
    let steps = AtomicU64::new(0);
    let step = |records: u64| {
        steps.store(records, Ordering::Relaxed);
        if records >= 2_000 { Err(Error::Internal) } else { Ok(()) }
    };
    assert!(matches!(examine(&*left, START, &step), Err(Error::Internal)));
    assert_eq!(steps.load(Ordering::Relaxed), 2_000);
}
