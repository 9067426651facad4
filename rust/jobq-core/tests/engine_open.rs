//! What opening keeps of numbers, and what it refuses and closes again.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::sync::Arc;

use common::paced::Paced;
use common::store::{Store, crash, disk_full, open, open_with, try_open};
use common::{Bytes, MAIL, NOW, assert_sound, config, manual, post, post_large, settle, take};
use jobq_core::clock::{Clock, ManualClock};
use jobq_core::engine::{Config, Engine, Outcome, Thread};
use jobq_core::error::Error;
use jobq_core::job::{JobId, Schedule, Token};
use jobq_core::options::Retention;
use jobq_core::repository::Ack;
use jobq_core::repository::codec::{
    CHUNK, TopicRecord, chunk_key, decode_number, encode_number, meta_key, seal, topic_key,
};

/// A service of a store that a thread of its own writes.
fn open_paced(
    clock: &Arc<ManualClock>,
    store: &Arc<Paced>,
    change: impl FnOnce(&mut Config),
) -> Result<Arc<Engine<Bytes>>, Error> {
    let mut config = config(Clock::Manual(Arc::clone(clock)));
    (config.jobs, config.topics) = (Arc::clone(store) as _, Arc::clone(store) as _);
    change(&mut config);
    Engine::open(&Thread, config)
}

/// Keep no finished job.
fn keep_none(config: &mut Config) {
    config.retention = Retention { count: Some(0), ..config.retention };
}

/// What a store has of `mail`.
fn record(store: &Store) -> TopicRecord {
    let key = topic_key(MAIL.name());
    TopicRecord::decode(&key, &store.data()[&key]).unwrap()
}

/// No number is used before the end of its block is on disk, and none twice, crash or not (R7).
#[test]
fn r7_ids_and_tokens_are_kept_in_blocks_before_they_are_used() {
    let (clock, store) = (manual(), Store::new());
    let mut engine = open(&clock, &store);
    let (mut last_id, mut last_token) = (JobId(0), Token(0));
    for round in 0_u16..3 {
        // The end that is kept before a call covers what the call uses.
        let number = |name: &str| {
            let key = meta_key(name);
            let sealed = store.data().remove(&key).unwrap();
            decode_number(&key, &sealed).unwrap()
        };
        let mut steps = 0;
        for _ in 0..3_000 {
            let (ids, tokens) = (number("ids"), number("tokens"));
            let id = post(&engine, "");
            let grant = take(&engine);
            assert!(grant.id == id && id > last_id && grant.token > last_token);
            assert!(id.0 < number("ids").max(ids) && grant.token.0 < number("tokens").max(tokens));
            steps += u32::from(number("ids") != ids);
            (last_id, last_token) = (id, grant.token);
            settle(&engine, &grant, Outcome::Done);
            engine.delete(&Thread, &[id]).unwrap();
        }
        assert!(steps > 0 && steps < 4, "a block at a time, round {round}");
        engine = crash(&clock, &store, engine);
    }
    let many = (0..10_000).map(|_| (Bytes::from(vec![]), 0)).collect();
    let ids = engine.enqueue_many(&Thread, MAIL, many, Schedule::Now, None).unwrap();
    assert!(ids.start > last_id.0 && ids.end - ids.start == 10_000);
    let grants = engine.reserve(&Thread, MAIL, 10_000, NOW).unwrap();
    assert!(grants.len() == 10_000 && grants[0].token > last_token);
    let engine = crash(&clock, &store, engine);
    assert!(post(&engine, "").0 >= ids.end);
    store.edit(|data| data.retain(|key, _| key[0] != b'm'));
    let engine = crash(&clock, &store, engine);
    assert!(post(&engine, "").0 >= ids.end, "ids that are there are never given out again");
}

/// A store of another format, or with damaged numbers, is refused and left as it is.
#[test]
fn a_store_that_is_not_understood_is_refused() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    post(&engine, "x");
    engine.close(&Thread).unwrap();
    let refused = |store: &Arc<Store>, wanted: &str| {
        let before = store.data();
        let error = try_open(&clock, store, store, |_| ()).err().expect("a refusal");
        assert!(matches!(&error, Error::Corrupt(text) if text.contains(wanted)), "{error:?}");
        assert_eq!((store.commits(), store.data() == before), (0, true));
    };
    for name in ["format", "ids", "tokens", "clean"] {
        let copy = store.copy();
        copy.damage(&meta_key(name));
        refused(&copy, &format!("the service's number '{name}' is damaged"));
    }
    let key = meta_key("format");
    store.edit(|data| drop(data.insert(key.clone(), encode_number(&key, 2))));
    refused(&store, "the store has format 2; this jobq reads format 1");
}

/// Nobody is left holding a store that no service uses (R8).
#[test]
fn r8_a_failed_load_of_the_topics_closes_the_jobs() {
    let (clock, jobs, topics) = (manual(), Store::new(), Store::new());
    topics.fail_loads();
    assert!(matches!(try_open(&clock, &jobs, &topics, |_| ()), Err(Error::Repository(_))));
    assert_eq!((jobs.closes(), jobs.commits()), (1, 0));
}

/// What opening sweeps and purges is written in groups, each with the counts: a crash between two of them neither
/// resumes a topic nor loses its statistics (R2, R6).
#[test]
fn r2_a_crash_while_opening_leaves_a_pause_and_the_counts() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    for _ in 0..300 {
        post_large(&engine);
        settle(&engine, &take(&engine), Outcome::Done);
    }
    engine.pause(&Thread, MAIL).unwrap();
    engine.close(&Thread).unwrap();
    let before = record(&store);
    assert!(before.paused && before.counters.completions == 300);
    // What a kill leaves of large enqueues.
    let orphaned = store.copy();
    orphaned.edit(|data| {
        data.extend((0..300).map(|chunk| {
            let key = chunk_key(JobId(2_000), chunk);
            let value = seal(&key, vec![7; CHUNK]);
            (key, value)
        }));
    });
    let keep_all = |_: &mut Config| ();
    let cases = [(orphaned, keep_all as fn(&mut Config), 0), (store, keep_none, 300)];
    for (left, change, purged) in cases {
        let paced = Paced::on(left.copy(), Ack::Synced, [].into());
        paced.store.on_commit(|number| if number > 1 { Err(disk_full()) } else { Ok(()) });
        assert!(open_paced(&clock, &paced, change).is_err(), "open writes more than a group");
        let after = record(&paced.store);
        let (was, is) = (before.counters, after.counters);
        assert_eq!((after.paused, is.completions, is.enqueued), (true, was.completions, was.enqueued));
        let engine = open_paced(&clock, &paced.after_kill(), change).unwrap();
        let stats = engine.topic_stats(&Thread, MAIL).unwrap();
        assert_eq!((stats.paused, stats.counters.purged, stats.counters.lost), (true, purged, 0));
        assert_sound(&engine);
    }
}

/// A service that is to keep less than the one before purges in groups of bounded size; where a kill may take what is
/// queued, no more is queued at once than is soon written.
#[test]
fn v2_what_a_smaller_retention_purges_at_open_is_cut_into_groups() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    for _ in 0..5 {
        let many = (0..1_000).map(|_| (Bytes::from(vec![]), 0)).collect();
        engine.enqueue_many(&Thread, MAIL, many, Schedule::Now, None).unwrap();
        for grant in engine.reserve(&Thread, MAIL, 1_000, NOW).unwrap() {
            settle(&engine, &grant, Outcome::Done);
        }
    }
    engine.close(&Thread).unwrap();
    let largest = |store: &Store| store.batches().iter().map(Vec::len).max().unwrap();
    let left = store.copy();
    let engine = open_with(&clock, &left, &left, keep_none);
    assert_eq!((engine.recovery().done, left.data().keys().filter(|key| key[0] == b'j').count()), (0, 0));
    assert!(largest(&left) <= 1_010, "{} changes in one commit", largest(&left));
    let paced = Paced::on(store.copy(), Ack::Queued, [].into());
    let engine = open_paced(&clock, &paced, keep_none).unwrap();
    let left = engine.recovery().done;
    assert!(left > 1_000, "{left} left to the ticks");
    while engine.stats(&Thread).unwrap().counters.purged < 5_000 {}
    engine.flush(&Thread).unwrap();
    assert!(largest(&paced.store) <= 1_010, "{} changes in one commit", largest(&paced.store));
    assert_sound(&engine);
}
