//! The engine before a repository that a thread of its own writes: what a call waits for, and what is left when the
//! process or the machine dies.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use common::paced::Paced;
use common::store::{Log, Store, disk_full};
use common::{
    Bytes, MAIL, NOW, PATIENCE, START, Sleep, assert_sound, config, drain, handle, manual, post, post_large, settle,
    start, take, within_patience,
};
use jobq_core::clock::{Clock, ManualClock};
use jobq_core::engine::{Config, Engine, Outcome, Thread};
use jobq_core::error::Error;
use jobq_core::job::{JobId, Reason, Schedule, Status};

use jobq_core::repository::memory::Memory;
use jobq_core::repository::{Ack, KeptLease, Repository};

fn open_with(clock: &Arc<ManualClock>, store: &Arc<Paced>, change: impl FnOnce(&mut Config)) -> Arc<Engine<Bytes>> {
    let mut config = config(Clock::Manual(Arc::clone(clock)));
    (config.jobs, config.topics) = (Arc::clone(store) as _, Arc::clone(store) as _);
    change(&mut config);
    Engine::open(&Thread, config).unwrap()
}

fn open(clock: &Arc<ManualClock>, store: &Arc<Paced>) -> Arc<Engine<Bytes>> {
    open_with(clock, store, |_| ())
}

/// Ready and done jobs of a service.
fn counts(engine: &Engine<Bytes>) -> (u64, u64) {
    let counters = engine.stats(&Thread).unwrap().counters;
    (counters.now(Status::Ready), counters.now(Status::Done))
}

fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it never came to be");
        std::thread::yield_now();
    }
}

/// What was acknowledged at `always` survives a power cut, at `interval` a kill (R6, design 6).
#[test]
fn r6_what_was_acknowledged_is_kept() {
    within_patience(|| {
        for ack in [Ack::Synced, Ack::Written] {
            let (clock, store) = (manual(), Paced::new(ack));
            let engine = open(&clock, &store);
            post(&engine, "a");
            let id = post(&engine, "b");
            settle(&engine, &take(&engine), Outcome::Done);
            let left = if ack == Ack::Synced { store.after_power_cut() } else { store.after_kill() };
            let again = open(&clock, &left);
            assert_eq!(counts(&again), (1, 1), "{ack:?}");
            assert_eq!(&again.payload(&Thread, id).unwrap()[..], b"b");
            assert_sound(&again);
            again.close(&Thread).unwrap();
            engine.close(&Thread).unwrap();
        }
    });
}

/// At `never` a call returns while the disk stands still, and what it changed is written soon after; a flush waits for
/// the machine's disk at every level.
#[test]
fn r6_what_nobody_waits_for_is_written_soon_and_synced_by_a_flush() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Queued));
        let engine = open(&clock, &store);
        let gate = store.store.hold_commits();
        let before = store.store.data().len();
        post(&engine, "a");
        gate.open();
        until(|| store.store.data().len() > before);
        post(&engine, "b");
        engine.flush(&Thread).unwrap();
        let again = open(&clock, &store.after_power_cut());
        assert_eq!(counts(&again), (2, 0));
        engine.close(&Thread).unwrap();
    });
}

/// At `interval` a sync follows by itself, so that a power cut takes no more than that.
#[test]
fn r6_what_was_written_is_synced_after_the_interval() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Written));
        let engine = open(&clock, &store);
        let id = post(&engine, "a");
        until(|| {
            store.after_power_cut().store.data().keys().any(|key| key[0] == b'j' && key[8] == id.0.to_be_bytes()[7])
        });
        engine.close(&Thread).unwrap();
    });
}

/// A number is never given twice, whatever a power cut takes: its block is synced before it is used (R7).
#[test]
fn r7_blocks_are_synced_at_every_level() {
    within_patience(|| {
        for ack in [Ack::Synced, Ack::Written, Ack::Queued] {
            let (clock, store) = (manual(), Paced::new(ack));
            let engine = open(&clock, &store);
            let many = (0..5_000).map(|_| (Bytes::from(vec![]), 0)).collect();
            engine.enqueue_many(&Thread, MAIL, many, Schedule::Now, None).unwrap();
            let last = post(&engine, "x");
            let token = take(&engine).token;
            let again = open(&clock, &store.after_power_cut());
            assert!(post(&again, "y") > last, "{ack:?}");
            assert!(take(&again).token > token, "{ack:?}");
            engine.close(&Thread).unwrap();
            again.close(&Thread).unwrap();
        }
    });
}

/// A job that kills its process is counted by the table alone, and canceled in the end; a settled one is not (C1, C2).
#[test]
fn c2_who_was_reserved_at_a_kill_is_known_from_the_table() {
    within_patience(|| {
        let (clock, mut store) = (manual(), Paced::new(Ack::Synced));
        let engine = open(&clock, &store);
        let killer = post(&engine, "killer");
        let settled = post(&engine, "settled");
        let other = post(&engine, "other");
        for crash in 1..=4 {
            let engine = open(&clock, &store);
            let grant = take(&engine);
            assert_eq!((grant.id, grant.attempt), (killer, crash));
            if crash == 1 {
                settle(&engine, &take(&engine), Outcome::Done);
            }
            assert_eq!(store.held(), [(killer, grant.token)], "the table is written before reserve returns");
            store = store.after_kill();
        }
        let engine = open(&clock, &store);
        assert_eq!(engine.recovery().poisoned, [killer]);
        assert_eq!(engine.info(&Thread, killer).unwrap().reason, Some(Reason::Poison));
        assert_eq!(engine.status(&Thread, settled).unwrap(), Status::Done);
        assert_eq!(drain(&engine, MAIL), [other]);
        assert_sound(&engine);
    });
}

/// A promotion is not written, so the table alone knows which stamp it gave: a held job goes back there, between the jobs
/// of its due date as they were promoted, and behind whoever was ready before (O3).
#[test]
fn o3_a_promoted_job_that_was_held_at_a_kill_keeps_its_place() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open(&clock, &store);
        let jobs: Vec<JobId> = (0..3).map(|_| post(&engine, "x")).collect();
        let grants = engine.reserve(&Thread, MAIL, 3, NOW).unwrap();
        for turn in [0, 2, 1] {
            settle(&engine, &grants[turn], Outcome::Release { delay: 50 });
        }
        let order = [jobs[0], jobs[2], jobs[1]];
        clock.advance(50);
        let mut grants = engine.reserve(&Thread, MAIL, 3, NOW).unwrap();
        assert_eq!(grants.iter().map(|grant| grant.id).collect::<Vec<_>>(), order);
        engine.give_back([grants.remove(0)]);
        engine.flush(&Thread).unwrap();
        let again = open(&clock, &store.after_kill());
        assert_eq!((again.recovery().recovered, drain(&again, MAIL)), (2, order.to_vec()));
        assert_sound(&again);

        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open(&clock, &store);
        let ready = post(&engine, "ready");
        clock.jump(-1_000);
        let due = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::After(50), None).unwrap();
        clock.jump(50);
        let grants = engine.reserve(&Thread, MAIL, 2, NOW).unwrap();
        assert_eq!((grants[0].id, grants[1].id), (ready, due));
        let again = open(&clock, &store.after_kill());
        assert_eq!(drain(&again, MAIL), [ready, due]);
    });
}

/// Setting the clock back hides no crash: what was promoted and held stays ready, and is a suspect (C1, T1).
#[test]
fn c1_a_clock_behind_the_due_date_hides_no_crash() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open(&clock, &store);
        let id = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::After(50), None).unwrap();
        clock.advance(50);
        assert_eq!(take(&engine).id, id);
        clock.jump(-40);
        let again = open(&clock, &store.after_kill());
        let info = again.info(&Thread, id).unwrap();
        assert_eq!((info.status, info.crashes, info.attempts), (Status::Ready, 1, 1));
        assert_eq!((info.ready_at, again.recovery().recovered), (Some(START + 50), 1));
        assert_sound(&again);
    });
}

/// A power cut may leave a lease that was over before the job was delayed: nobody held it at the end (C1).
#[test]
fn c1_a_lease_from_before_the_delay_is_no_crash() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open(&clock, &store);
        let id = post(&engine, "x");
        let grant = take(&engine);
        let old = store.after_kill().table();
        settle(&engine, &grant, Outcome::Retry { delay: Some(50), error: None });
        for status in [Status::Delayed, Status::Ready] {
            let table = (0..).zip(old.clone()).collect();
            let again = open(&clock, &Paced::on(store.store.copy(), Ack::Synced, table));
            let info = again.info(&Thread, id).unwrap();
            assert_eq!((info.status, info.crashes, again.recovery().recovered), (status, 0, 0));
            clock.advance(50);
        }
    });
}

/// A crash inside the recovery counts no crash twice: what was recovered is known by its token (C1).
#[test]
fn c1_a_crash_after_the_recovery_is_no_second_crash_of_the_job() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open(&clock, &store);
        let id = post(&engine, "x");
        let grant = take(&engine);
        let stale = store.after_kill();
        let again = open(&clock, &stale);
        assert_eq!(again.info(&Thread, id).unwrap().crashes, 1);
        // The table as it was before the recovery forgot it.
        let table = [(0, KeptLease { id, token: grant.token, stamp: START << 20 })].into();
        let third = open(&clock, &Paced::on(stale.store.copy(), Ack::Synced, table));
        assert_eq!(third.info(&Thread, id).unwrap().crashes, 1);
    });
}

/// What goes back unseen was never held: a kill after it charges nobody (O3, C1).
#[test]
fn c1_what_was_given_back_is_not_held() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open(&clock, &store);
        let id = post(&engine, "x");
        engine.give_back([take(&engine)]);
        engine.flush(&Thread).unwrap();
        assert_eq!(store.held(), []);
        let again = open(&clock, &store.after_kill());
        let info = again.info(&Thread, id).unwrap();
        assert_eq!((info.crashes, info.attempts, again.recovery().recovered), (0, 0, 0));
        engine.close(&Thread).unwrap();
        assert!(open(&clock, &store.after_kill()).recovery().clean);
    });
}

/// Groups are of bounded size, and after a crash between two of them the counts still agree with the jobs (L9, R2).
#[test]
fn l9_a_long_call_is_cut_where_the_counts_agree() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open_with(&clock, &store, |config| config.retention.count = Some(0));
        let cuts: Arc<std::sync::Mutex<Vec<Arc<Paced>>>> = Arc::default();
        let (weak, list) = (Arc::downgrade(&store), Arc::clone(&cuts));
        store.store.on_commit(move |_| {
            list.lock().unwrap().push(weak.upgrade().unwrap().after_kill());
            Ok(())
        });
        let items = |n: usize, size: usize| (0..n).map(|_| (Bytes::from(vec![0; size]), 0)).collect::<Vec<_>>();
        engine.enqueue_many(&Thread, MAIL, items(5_000, 3), Schedule::Now, None).unwrap();
        engine.enqueue_many(&Thread, MAIL, items(3, 700_000), Schedule::Now, None).unwrap();
        let grants = engine.reserve(&Thread, MAIL, 4_000, NOW).unwrap();
        let handles: Vec<_> = grants.iter().map(handle).collect();
        engine.settle_many(&Thread, &handles, Outcome::Done).unwrap();
        engine.close(&Thread).unwrap();
        let cuts = std::mem::take(&mut *cuts.lock().unwrap());
        assert!(cuts.len() > 15, "{} groups", cuts.len());
        for cut in cuts {
            let again = open(&clock, &cut);
            let counters = again.stats(&Thread).unwrap().counters;
            assert_eq!((counters.lost, counters.enqueued), (0, counters.accounted()));
            let ready = counters.now(Status::Ready);
            assert_eq!(counters.enqueued, ready + counters.purged);
            assert!(again.verify(&Thread).unwrap().is_empty());
        }
        let log: Vec<usize> = store.store.batches().iter().map(Vec::len).collect();
        assert!(log.iter().all(|&keys| keys <= 1_010), "{log:?}");
    });
}

/// A call that fits in half a group is whole or not there, however full the queue is (L2, L7).
#[test]
fn l2_a_short_call_is_never_parted_by_a_crash() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Queued));
        let engine = open(&clock, &store);
        let cuts: Arc<std::sync::Mutex<Vec<Arc<Paced>>>> = Arc::default();
        let (weak, list) = (Arc::downgrade(&store), Arc::clone(&cuts));
        store.store.on_commit(move |_| {
            list.lock().unwrap().push(weak.upgrade().unwrap().after_kill());
            Ok(())
        });
        for _ in 0..400 {
            let many = (0..7).map(|_| (Bytes::from(vec![1; 1_000]), 0)).collect();
            engine.enqueue_many(&Thread, MAIL, many, Schedule::Now, None).unwrap();
            let handles: Vec<_> = engine.reserve(&Thread, MAIL, 7, NOW).unwrap().iter().map(handle).collect();
            engine.settle_many(&Thread, &handles, Outcome::Done).unwrap();
        }
        engine.close(&Thread).unwrap();
        let cuts = std::mem::take(&mut *cuts.lock().unwrap());
        assert!(cuts.len() > 10, "{} groups", cuts.len());
        for cut in cuts {
            let counters = open(&clock, &cut).stats(&Thread).unwrap().counters;
            assert_eq!((counters.now(Status::Ready) % 7, counters.now(Status::Done) % 7), (0, 0));
        }
    });
}

/// A producer that outruns the disk is held back; memory does not fill (R3).
#[test]
fn r3_a_full_queue_holds_producers_back() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Queued));
        let engine = open(&clock, &store);
        let gate = store.store.hold_commits();
        // It finds room, and leaves none: what is queued beside the group at the gate is more than a group.
        common::put(&engine, MAIL, Bytes::from(vec![0; 1 << 20]));
        let other = Arc::clone(&engine);
        let held = start(Sleep::default(), move |caller| {
            other.enqueue(caller, MAIL, Bytes::from(vec![1]), 0, Schedule::Now, None)
        });
        let held = held.until_asleep();
        assert_eq!(counts(&engine), (1, 0), "reads go on, and nothing was taken in");
        gate.open();
        held.result().unwrap();
        assert_eq!(counts(&engine), (2, 0));
        engine.close(&Thread).unwrap();
    });
}

/// A large payload is in memory only until it is on the disk, and is read there when the job is taken.
#[test]
fn a_large_payload_does_not_stay_in_memory() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open(&clock, &store);
        post_large(&engine);
        post(&engine, "small");
        assert_eq!(take(&engine).take_payload().len(), 2_000);
        assert_eq!(store.store.gets(), 1);
        assert_eq!(&take(&engine).take_payload()[..], b"small");
        assert_eq!(store.store.gets(), 1);
        engine.close(&Thread).unwrap();
    });
}

/// What a crash leaves of a payload whose job never was is swept at the next open.
#[test]
fn a_payload_without_a_job_is_swept_at_open() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open(&clock, &store);
        post_large(&engine);
        engine.close(&Thread).unwrap();
        let left = store.after_kill();
        left.store.edit(|data| data.retain(|key, _| key[0] != b'j'));
        assert!(left.store.data().keys().any(|key| key[0] == b'p'));
        let engine = open(&clock, &left);
        assert!(!left.store.data().keys().any(|key| key[0] == b'p'));
        engine.close(&Thread).unwrap();
    });
}

/// A store that fails ends the service: who waits is told, nothing is accepted, close works (R4).
#[test]
fn r4_a_failed_write_is_final() {
    within_patience(|| {
        for ack in [Ack::Synced, Ack::Written, Ack::Queued] {
            let (clock, store) = (manual(), Paced::new(ack));
            let engine = open(&clock, &store);
            store.store.on_commit(|_| Err(disk_full()));
            let told = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::Now, None);
            assert_eq!(told.is_ok(), ack == Ack::Queued, "{told:?}");
            until(|| matches!(engine.stats(&Thread), Err(Error::Failed(_))));
            assert!(matches!(engine.reserve_one(&Thread, MAIL, None), Err(Error::Failed(_))));
            engine.close(&Thread).unwrap();
        }
    });
}

/// A disk that hangs holds nobody for ever: who waits is told, and so is who closes (design 6).
#[test]
fn r4_a_write_that_hangs_has_failed() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open_with(&clock, &store, |config| config.patience = std::time::Duration::from_millis(200));
        let gate = store.store.hold_commits();
        let told = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::Now, None);
        assert!(matches!(&told, Err(Error::Failed(_))) && told.unwrap_err().to_string().contains("0.2 s"));
        let told = engine.close(&Thread).unwrap_err().to_string();
        assert!(told.contains("restart this process"), "{told}");
        assert_eq!(store.store.closes(), 0);
        gate.open();
    });
}

/// A compaction may take as long as it takes: who waits for a write behind it waits on (design 6).
#[test]
fn r4_a_long_compaction_is_no_write_that_hangs() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open_with(&clock, &store, |config| config.patience = std::time::Duration::from_millis(50));
        let (gate, told) = store.store.hold_compactions();
        let compacting = {
            let engine = Arc::clone(&engine);
            start(Sleep::default(), move |_| engine.compact(&Thread))
        };
        told.recv_timeout(PATIENCE).unwrap();
        let posting = {
            let engine = Arc::clone(&engine);
            start(Sleep::default(), move |sleep| {
                engine.enqueue(sleep, MAIL, Bytes::from(vec![]), 0, Schedule::Now, None)
            })
        };
        // It looks six times in the span that a write may take: here for three of them.
        let posting = (0..18).fold(posting, |posting, _| posting.until_asleep());
        gate.open();
        assert_eq!(compacting.result().unwrap(), 7);
        posting.result().unwrap();
        engine.close(&Thread).unwrap();
    });
}

/// With volatile jobs nobody waits for the disk but who pauses (R6); the counts follow by themselves.
#[test]
fn r6_of_topics_alone_only_a_pause_is_waited_for() {
    within_patience(|| {
        let (clock, store) = (manual(), Paced::new(Ack::Synced));
        let engine = open_with(&clock, &store, |config| config.jobs = Arc::new(Memory));
        let gate = store.store.hold_commits();
        post(&engine, "x");
        gate.open();
        engine.pause(&Thread, MAIL).unwrap();
        let left = store.after_power_cut();
        let again = open_with(&clock, &left, |config| config.jobs = Arc::new(Memory));
        assert!(again.topic_stats(&Thread, MAIL).unwrap().paused);
        engine.resume(&Thread, MAIL).unwrap();
        post(&engine, "z");
        engine.flush(&Thread).unwrap();
        let again = open_with(&clock, &store.after_power_cut(), |config| config.jobs = Arc::new(Memory));
        assert_eq!(again.stats(&Thread).unwrap().counters.enqueued, 2, "a flush waits for the counts too");
        post(&engine, "y");
        until(|| {
            let again = open_with(&clock, &store.after_kill(), |config| config.jobs = Arc::new(Memory));
            again.stats(&Thread).unwrap().counters.enqueued == 3
        });
        post(&engine, "w");
        engine.close(&Thread).unwrap();
        let again = open_with(&clock, &store.after_power_cut(), |config| config.jobs = Arc::new(Memory));
        assert_eq!(again.stats(&Thread).unwrap().counters.enqueued, 4);
    });
}

/// Of two stores, too, a crash takes a suffix: a pause or a resume is between what came before and after it.
#[test]
fn r6_of_two_stores_a_pause_keeps_its_place() {
    within_patience(|| {
        let (clock, log) = (manual(), Log::default());
        let fresh = |name| Paced::on(Store::named(name, &log), Ack::Queued, BTreeMap::new());
        let open_two = |jobs: &Arc<Paced>, topics: &Arc<Paced>| {
            open_with(&clock, jobs, |config| config.topics = Arc::clone(topics) as _)
        };
        let (jobs, topics) = (fresh("jobs"), fresh("topics"));
        let engine = open_two(&jobs, &topics);
        for (first, call, then) in [("a", Engine::pause as fn(&_, &_, _) -> _, "b"), ("c", Engine::resume, "d")] {
            let gate = jobs.store.hold_commits();
            post(&engine, first);
            until(|| jobs.store.commits() == 1);
            // Both wait for the group at the gate.
            call(&engine, &Thread, MAIL).unwrap();
            post(&engine, then);
            gate.open();
            engine.flush(&Thread).unwrap();
        }
        engine.close(&Thread).unwrap();
        let batches = log.lock().unwrap().clone();
        // Ready jobs, and whether the topic is paused: as it came to be.
        let mut history = [(0, false), (1, false), (1, true), (2, true), (3, true), (3, false), (4, false)].iter();
        let mut now = history.next();
        for kept in 0..=batches.len() {
            let (jobs, topics) = (Paced::new(Ack::Queued), Paced::new(Ack::Queued));
            for (name, batch) in &batches[..kept] {
                if *name == "jobs" { &jobs } else { &topics }.store.commit(batch).unwrap();
            }
            let stats = open_two(&jobs, &topics).topic_stats(&Thread, MAIL).ok();
            let left = stats.map_or((0, false), |stats| (stats.counters.now(Status::Ready), stats.paused));
            while now.is_some_and(|now| *now != left) {
                now = history.next();
            }
            assert!(now.is_some(), "{left:?} is left of the first {kept} commits of {}", batches.len());
        }
    });
}
