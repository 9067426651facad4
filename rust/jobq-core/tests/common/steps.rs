//! The steps of a random walk over three topics, and the settings that make short walks meet every bound.

use std::sync::Arc;

use jobq_core::engine::{Config, Force, Outcome};
use jobq_core::job::Schedule;
use jobq_core::options::{JobOptions, LogStatusChange, Retention};
use jobq_core::topic::TopicRef;
use proptest::prelude::*;

use super::{Bytes, START};

pub(crate) const TOPICS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Enqueue {
        topic: usize,
        weight: i16,
        schedule: Schedule,
        options: Option<usize>,
    },
    EnqueueMany {
        topic: usize,
        count: usize,
    },
    Reserve {
        topic: usize,
        limit: u64,
    },
    Settle {
        pick: usize,
        end: End,
    },
    SettleMany {
        from: usize,
        end: End,
    },
    Extend {
        pick: usize,
        span: Option<u64>,
    },
    Log {
        pick: usize,
    },
    Abandon {
        pick: usize,
    },
    GiveBack {
        pick: usize,
    },
    Cancel {
        pick: u64,
    },
    Reset {
        pick: u64,
        force: Force,
    },
    Delete {
        pick: u64,
    },
    Pause {
        topic: usize,
    },
    Resume {
        topic: usize,
    },
    Advance {
        ms: u64,
    },
    Jump {
        ms: i64,
    },
    /// Where nothing is remembered there is none.
    Crash,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Done,
    Retry(Option<u64>),
    Release(u64),
    Reject,
}

impl End {
    pub(crate) fn outcome(self) -> Outcome<'static> {
        match self {
            Self::Done => Outcome::Done,
            Self::Retry(delay) => Outcome::Retry { delay, error: Some("boom") },
            Self::Release(delay) => Outcome::Release { delay },
            Self::Reject => Outcome::Reject { error: Some("no") },
        }
    }
}

pub(crate) fn schedule() -> impl Strategy<Value = Schedule> {
    prop_oneof![
        4 => Just(Schedule::Now),
        2 => (0..3_000_u64).prop_map(Schedule::After),
        1 => (0..20_000_u64).prop_map(|ms| Schedule::At(START + ms)),
    ]
}

pub(crate) fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Done),
        2 => prop::option::of(0..2_000_u64).prop_map(End::Retry),
        2 => prop_oneof![Just(0), 1..2_000_u64].prop_map(End::Release),
        1 => Just(End::Reject),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let (topic, pick, id) = (0..3_usize, any::<usize>(), any::<u64>());
    prop_oneof![
        12 => (topic.clone(), -2..3_i16, schedule(), prop::option::of(0..3_usize))
            .prop_map(|(topic, weight, schedule, options)| Step::Enqueue { topic, weight, schedule, options }),
        2 => (topic.clone(), 0..5_usize).prop_map(|(topic, count)| Step::EnqueueMany { topic, count }),
        10 => (topic.clone(), 1..4_u64).prop_map(|(topic, limit)| Step::Reserve { topic, limit }),
        10 => (pick, end()).prop_map(|(pick, end)| Step::Settle { pick, end }),
        1 => (pick, end()).prop_map(|(from, end)| Step::SettleMany { from, end }),
        2 => (pick, prop::option::of(0..5_000_u64)).prop_map(|(pick, span)| Step::Extend { pick, span }),
        1 => pick.prop_map(|pick| Step::Log { pick }),
        2 => pick.prop_map(|pick| Step::Abandon { pick }),
        2 => pick.prop_map(|pick| Step::GiveBack { pick }),
        2 => id.prop_map(|pick| Step::Cancel { pick }),
        3 => (id, prop_oneof![Just(Force::No), Just(Force::Yes)])
            .prop_map(|(pick, force)| Step::Reset { pick, force }),
        2 => id.prop_map(|pick| Step::Delete { pick }),
        1 => topic.clone().prop_map(|topic| Step::Pause { topic }),
        2 => topic.prop_map(|topic| Step::Resume { topic }),
        6 => (0..2_500_u64).prop_map(|ms| Step::Advance { ms }),
        1 => (-3_000..3_000_i64).prop_map(|ms| Step::Jump { ms }),
        5 => Just(Step::Crash),
    ]
}

/// Three sets of options that differ in all that the core looks at.
pub(crate) fn options(which: usize) -> JobOptions {
    let options = JobOptions { lease: 1_000, min_backoff: 300, max_backoff: 1_000, ..JobOptions::default() };
    match which {
        0 => options,
        1 => JobOptions { max_retries: 1, log_status_change: LogStatusChange::On, ..options },
        _ => JobOptions { name: Arc::from("named"), lease: 200, min_backoff: 0, max_backoff: 0, ..options },
    }
}

pub(crate) fn bounds(config: &mut Config) {
    config.defaults = options(0);
    config.retention = Retention { age: Some(4_000), count: Some(5), size: Some(60) };
    config.dead_retention = Retention { age: Some(8_000), count: None, size: None };
    config.limits.topic_idle = Some(6_000);
}

pub(crate) fn topic(index: usize) -> TopicRef<'static> {
    TopicRef::Name(TOPICS[index])
}

pub(crate) fn bytes(number: u64) -> Bytes {
    Bytes::from(vec![number.to_le_bytes()[0]; usize::try_from(number % 30).unwrap()])
}
