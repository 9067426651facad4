//! The value classes that are defined in Python: read on the way in, made on the way out.

use std::sync::Arc;

use jobq_core::engine::Recovery;
use jobq_core::job::{JobId, JobInfo, Reason, Status};
use jobq_core::options::{JobOptions, Limits, LogStatusChange, OptionChanges, Retention};
use jobq_core::stats::{Counters, ServiceStats, TopicStats};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::convert::{Value, datetime, type_name};
use crate::errors::raise;

fn class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    cell.import(py, module, name)
}

macro_rules! classes {
    ($($function:ident = $module:literal $name:literal;)*) => {
        $(fn $function(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
            static CELL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
            class(py, &CELL, $module, $name)
        })*
    };
}

classes! {
    status_class = "jobq.options" "Status";
    reason_class = "jobq.options" "Reason";
    options_class = "jobq.options" "JobOptions";
    retention_class = "jobq.options" "Retention";
    limits_class = "jobq.options" "Limits";
    log_entry_class = "jobq.views" "LogEntry";
    info_class = "jobq.views" "JobInfo";
    topic_stats_class = "jobq.views" "TopicStats";
    service_stats_class = "jobq.views" "ServiceStats";
    recovery_class = "jobq.views" "Recovery";
}

/// The Python word of a status.
pub(crate) fn status(py: Python<'_>, status: Status) -> Py<PyAny> {
    static MEMBERS: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
    let members = MEMBERS.get_or_try_init(py, || {
        let class = status_class(py)?;
        Status::ALL.iter().skip(1).map(|status| Ok(class.call1((status.word(),))?.unbind())).collect::<PyResult<_>>()
    });
    let at = Status::ALL.iter().skip(1).position(|&other| other == status);
    match members.ok().zip(at).and_then(|(members, at)| members.get(at)) {
        Some(member) => member.clone_ref(py),
        None => py.None(),
    }
}

const REASONS: [(Reason, &str); 5] = [
    (Reason::Requested, "requested"),
    (Reason::Rejected, "rejected"),
    (Reason::Exhausted, "exhausted"),
    (Reason::Poison, "poison"),
    (Reason::Damaged, "damaged"),
];

fn reason(py: Python<'_>, reason: Option<Reason>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let word = reason.and_then(|reason| REASONS.into_iter().find(|(other, _)| *other == reason));
    word.map(|(_, word)| reason_class(py)?.call1((word,))).transpose()
}

/// The status that a Python one names.
pub(crate) fn read_status(value: Value<'_, '_>) -> PyResult<Status> {
    let word = member(value, status_class(value.py())?, "status", "a Status")?;
    let found = Status::ALL.into_iter().skip(1).find(|status| status.word() == word);
    found.ok_or_else(|| PyTypeError::new_err("status must be a Status"))
}

/// The reason that a Python one names.
pub(crate) fn read_reason(value: Value<'_, '_>) -> PyResult<Reason> {
    let word = member(value, reason_class(value.py())?, "reason", "a Reason")?;
    let found = REASONS.into_iter().find(|(_, other)| *other == word);
    found.map(|(reason, _)| reason).ok_or_else(|| PyTypeError::new_err("reason must be a Reason"))
}

fn member(value: Value<'_, '_>, class: &Bound<'_, PyType>, name: &str, wanted: &str) -> PyResult<String> {
    instance(value, class, name, wanted)?;
    value.getattr(intern!(value.py(), "value"))?.extract()
}

fn instance(value: Value<'_, '_>, class: &Bound<'_, PyType>, name: &str, wanted: &str) -> PyResult<()> {
    if value.is_instance(class)? {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!("{name} must be {wanted}, not {}", type_name(value))))
}

/// The changes that a `JobOptions` makes to those it is filled in from.
fn read_changes(value: Value<'_, '_>, name: &str) -> PyResult<OptionChanges> {
    let py = value.py();
    instance(value, options_class(py)?, name, "a JobOptions")?;
    let log: Option<bool> = value.getattr(intern!(py, "_log_status_change"))?.extract()?;
    Ok(OptionChanges {
        name: value.getattr(intern!(py, "_name"))?.extract::<Option<String>>()?.map(Arc::from),
        lease: value.getattr(intern!(py, "_lease_ms"))?.extract()?,
        max_retries: value.getattr(intern!(py, "_max_retries"))?.extract()?,
        min_backoff: value.getattr(intern!(py, "_min_backoff_ms"))?.extract()?,
        max_backoff: value.getattr(intern!(py, "_max_backoff_ms"))?.extract()?,
        jitter: value.getattr(intern!(py, "_jitter"))?.extract()?,
        log_status_change: log.map(|on| if on { LogStatusChange::On } else { LogStatusChange::Off }),
    })
}

/// A `JobOptions` with what it leaves open filled in; `None` stays `None`.
pub(crate) fn options(value: Option<Value<'_, '_>>, name: &str, base: &JobOptions) -> PyResult<Option<JobOptions>> {
    let Some(value) = value else { return Ok(None) };
    let filled = read_changes(value, name)?.over(base);
    filled.map(Some).map_err(|error| raise(value.py(), &error))
}

/// A `Retention`.
pub(crate) fn retention(value: Option<Value<'_, '_>>, name: &str, otherwise: Retention) -> PyResult<Retention> {
    let Some(value) = value else { return Ok(otherwise) };
    let py = value.py();
    instance(value, retention_class(py)?, name, "a Retention")?;
    Ok(Retention {
        age: value.getattr(intern!(py, "_age_ms"))?.extract()?,
        count: value.getattr(intern!(py, "_count"))?.extract()?,
        size: value.getattr(intern!(py, "_size"))?.extract()?,
    })
}

/// `Limits`.
pub(crate) fn limits(value: Option<Value<'_, '_>>) -> PyResult<Limits> {
    let Some(value) = value else { return Ok(Limits::default()) };
    let py = value.py();
    instance(value, limits_class(py)?, "limits", "a Limits")?;
    let max_payload: u64 = value.getattr(intern!(py, "_max_payload"))?.extract()?;
    let max_log: u64 = value.getattr(intern!(py, "_max_log"))?.extract()?;
    Ok(Limits {
        max_payload: u32::try_from(max_payload).unwrap_or(u32::MAX),
        max_topic_name: value.getattr(intern!(py, "_max_topic_name"))?.extract()?,
        max_jobs: value.getattr(intern!(py, "_max_jobs"))?.extract()?,
        max_topics: value.getattr(intern!(py, "_max_topics"))?.extract()?,
        max_log: usize::try_from(max_log).unwrap_or(usize::MAX),
        topic_idle: value.getattr(intern!(py, "_topic_idle_ms"))?.extract()?,
    })
}

/// Milliseconds as seconds.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1_000.0
}

fn maybe_date(py: Python<'_>, at: Option<u64>) -> PyResult<Option<Bound<'_, PyAny>>> {
    at.map(|at| datetime(py, at)).transpose()
}

macro_rules! keywords {
    ($py:expr, $($name:ident = $value:expr),* $(,)?) => {{
        let keywords = PyDict::new($py);
        $(keywords.set_item(intern!($py, stringify!($name)), $value)?;)*
        keywords
    }};
}

/// A `JobInfo`.
pub(crate) fn info<'py>(py: Python<'py>, job: &JobInfo) -> PyResult<Bound<'py, PyAny>> {
    let log = job.log.iter().map(|entry| {
        let keywords = keywords!(py, at = datetime(py, entry.at)?, message = &*entry.message);
        log_entry_class(py)?.call((), Some(&keywords))
    });
    let log = PyTuple::new(py, log.collect::<PyResult<Vec<_>>>()?)?;
    let keywords = keywords!(
        py,
        id = job.id.0,
        topic = &*job.topic,
        name = &*job.name,
        weight = job.weight,
        status = status(py, job.status),
        reason = reason(py, job.reason)?,
        error = job.error.as_deref(),
        attempts = job.attempts,
        retries = job.retries,
        max_retries = job.max_retries,
        resets = job.resets,
        crashes = job.crashes,
        lease = seconds(job.lease),
        payload_size = job.payload_size,
        created_at = datetime(py, job.created_at)?,
        due_at = maybe_date(py, job.due_at)?,
        ready_at = maybe_date(py, job.ready_at)?,
        reserved_at = maybe_date(py, job.reserved_at)?,
        deadline = maybe_date(py, job.deadline)?,
        finished_at = maybe_date(py, job.finished_at)?,
        log = log,
    );
    info_class(py)?.call((), Some(&keywords))
}

fn counts<'py>(
    py: Python<'py>,
    c: &Counters,
    waiting: u64,
    oldest_ready_age: Option<u64>,
) -> PyResult<Bound<'py, PyDict>> {
    let date = |at: u64| maybe_date(py, Some(at).filter(|&at| at > 0));
    Ok(keywords!(
        py,
        ready = c.now(Status::Ready),
        delayed = c.now(Status::Delayed),
        reserved = c.now(Status::Reserved),
        done = c.now(Status::Done),
        canceled = c.now(Status::Canceled),
        dead = c.dead,
        enqueued = c.enqueued,
        reservations = c.reservations,
        completions = c.completions,
        retries = c.retries,
        expiries = c.expiries,
        releases = c.releases,
        cancellations = c.cancellations,
        resets = c.resets,
        recoveries = c.recoveries,
        delays = c.delays,
        promotions = c.promotions,
        deleted = c.deleted,
        purged = c.purged,
        lost = c.lost,
        waiting = waiting,
        first_enqueued_at = date(c.first_enqueued_at)?,
        last_enqueued_at = date(c.last_enqueued_at)?,
        first_reserved_at = date(c.first_reserved_at)?,
        last_reserved_at = date(c.last_reserved_at)?,
        oldest_ready_age = oldest_ready_age.map(seconds),
    ))
}

/// A `TopicStats`.
pub(crate) fn topic_stats<'py>(py: Python<'py>, stats: &TopicStats) -> PyResult<Bound<'py, PyAny>> {
    let keywords = counts(py, &stats.counters, stats.waiting, stats.oldest_ready_age)?;
    keywords.set_item(intern!(py, "topic"), &*stats.topic)?;
    keywords.set_item(intern!(py, "paused"), stats.paused)?;
    topic_stats_class(py)?.call((), Some(&keywords))
}

/// A `ServiceStats`.
pub(crate) fn service_stats<'py>(py: Python<'py>, stats: &ServiceStats) -> PyResult<Bound<'py, PyAny>> {
    let keywords = counts(py, &stats.counters, stats.waiting, stats.oldest_ready_age)?;
    keywords.set_item(intern!(py, "topics"), stats.topics)?;
    keywords.set_item(intern!(py, "next_due_at"), maybe_date(py, stats.next_due_at)?)?;
    service_stats_class(py)?.call((), Some(&keywords))
}

/// A `Recovery`.
pub(crate) fn recovery<'py>(py: Python<'py>, found: &Recovery) -> PyResult<Bound<'py, PyAny>> {
    let ids = |ids: &[JobId]| PyTuple::new(py, ids.iter().map(|&JobId(id)| id));
    let keywords = keywords!(
        py,
        clean = found.clean,
        ready = found.ready,
        delayed = found.delayed,
        done = found.done,
        canceled = found.canceled,
        recovered = found.recovered,
        poisoned = ids(&found.poisoned)?,
        quarantined = ids(&found.quarantined)?,
        seconds = found.seconds,
    );
    recovery_class(py)?.call((), Some(&keywords))
}
