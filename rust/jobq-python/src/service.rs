//! `jobq.JobService`: one method a verb.

use std::sync::Arc;

use jobq_core::clock::Clock;
use jobq_core::engine::{Config, Engine, Filter, Force, Outcome};
use jobq_core::options::{JobOptions, Limits, Retention};
use jobq_core::topic::TopicRef;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyRange};

use crate::arguments::{Given, Signature};
use crate::clock::PyManualClock;
use crate::convert::{self, Value, type_name};
use crate::errors::{no_copy, run};
use crate::iterators::{PyConsumer, PyFinder};
use crate::job::error_text;
use crate::raw::Payload;
use crate::raw::method::{Answer, Method, install, method};
use crate::registry;
use crate::roles;
use crate::topic::PyTopic;
use crate::values;
use crate::verbs::{self, Enqueue};

/// Topics of jobs. A topic is a name: 1 to 255 bytes of UTF-8 without NUL, born on first use, never "not found".
#[pyclass(frozen, module = "jobq", name = "JobService")]
pub(crate) struct PyJobService {
    pub(crate) engine: Arc<Engine<Payload>>,
}

fn manual_or_system(clock: Option<Value<'_, '_>>) -> PyResult<Clock> {
    let Some(clock) = clock else { return Ok(Clock::default()) };
    if let Ok(clock) = clock.cast::<PyManualClock>() {
        return Ok(Clock::Manual(Arc::clone(&clock.get().inner)));
    }
    let what = type_name(clock);
    Err(PyTypeError::new_err(format!("clock must be a jobq.testing.ManualClock, not {what}")))
}

#[pymethods]
impl PyJobService {
    #[new]
    #[pyo3(signature = (jobs=None, topics=None, *, defaults=None, retention=None, dead_retention=None, limits=None,
                        max_crashes=None, clock=None),
           text_signature = "(jobs=None, topics=None, *, defaults=None, retention=None, dead_retention=None, \
                             limits=None, max_crashes=3, clock=None)")]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        jobs: Option<Value<'_, '_>>,
        topics: Option<Value<'_, '_>>,
        defaults: Option<Value<'_, '_>>,
        retention: Option<Value<'_, '_>>,
        dead_retention: Option<Value<'_, '_>>,
        limits: Option<Value<'_, '_>>,
        max_crashes: Option<Value<'_, '_>>,
        clock: Option<Value<'_, '_>>,
    ) -> PyResult<Self> {
        let limits: Limits = values::limits(limits)?;
        let defaults = values::options(defaults, "defaults", &JobOptions::default())?.unwrap_or_default();
        let retention = values::retention(retention, "retention", Retention::default())?;
        let dead_retention = values::retention(dead_retention, "dead_retention", Retention::DEAD)?;
        let max_crashes = max_crashes.map_or(Ok(3), |value| convert::ranged(value, "max_crashes", 0, 255))?;
        let clock = manual_or_system(clock)?;
        let roles = roles::open(py, jobs, topics)?;
        let config = Config {
            jobs: roles.jobs,
            topics: roles.topics,
            defaults,
            retention,
            dead_retention,
            limits,
            max_crashes: u32::try_from(max_crashes).ok(),
            clock,
            patience: jobq_core::engine::PATIENCE,
        };
        let engine = run(py, |caller| Engine::open(caller, config))?;
        registry::register(&engine, &roles.claim);
        Ok(Self { engine })
    }

    /// ServiceClosed after close().
    fn __enter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> PyResult<&'a Bound<'py, Self>> {
        run(slf.py(), |caller| slf.get().engine.check_open(caller))?;
        Ok(slf)
    }

    /// close(). Swallows nothing.
    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __exit__(&self, py: Python<'_>, exc_type: Value<'_, '_>, exc: Value<'_, '_>, tb: Value<'_, '_>) -> PyResult<()> {
        let _ = (exc_type, exc, tb);
        self.close(py)
    }

    /// Queue all or none, in one commit; ids in the order given (a range where they are consecutive). An item is a
    /// payload or a (payload, weight) pair.
    ///
    /// The iterable is read to its end first. QueueFull.
    #[pyo3(signature = (topic, payloads, weight=None, *, delay=None, at=None, options=None),
           text_signature = "($self, topic, payloads, weight=0, *, delay=None, at=None, options=None)")]
    #[allow(clippy::too_many_arguments)]
    fn enqueue_many<'py>(
        slf: &Bound<'py, Self>,
        topic: Value<'_, 'py>,
        payloads: Value<'_, 'py>,
        weight: Option<Value<'_, 'py>>,
        delay: Option<Value<'_, 'py>>,
        at: Option<Value<'_, 'py>>,
        options: Option<Value<'_, 'py>>,
    ) -> PyResult<Bound<'py, PyRange>> {
        let topic = TopicRef::Name(convert::text(topic, "topic")?);
        Enqueue { service: slf, topic, weight, delay, at, options, base: None }.many(slf.py(), payloads)
    }

    /// Lease what is ready, at most limit (1 or more), lowest weight first; wait until there is one.
    ///
    /// timeout: None waits for ever, 0 not at all, always in real time; then []. Ctrl-C ends the wait.
    /// Unsettled jobs of the list are yours: end with release_many(jobs). ServiceClosed, also after stop().
    #[pyo3(signature = (topic, limit, *, timeout=None))]
    fn reserve<'py>(
        slf: &Bound<'py, Self>,
        topic: Value<'_, 'py>,
        limit: Value<'_, 'py>,
        timeout: Option<Value<'_, 'py>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let name = convert::text(topic, "topic")?;
        verbs::reserve(slf, TopicRef::Name(name), &convert::exact(topic, name), limit, timeout)
    }

    /// Lease jobs one after another, for ever, or until none came for `idle` seconds (0: until none is ready).
    ///
    /// Ends quietly on stop() and close(). Reserves up to batch at a time and yields only leases that still stand;
    /// what it has not yielded when it ends or is dropped goes back uncharged, in its place. Ctrl-C is raised from
    /// the wait.
    #[pyo3(signature = (topic, *, batch=None, idle=None), text_signature = "($self, topic, *, batch=1, idle=None)")]
    fn consume(
        slf: &Bound<'_, Self>,
        topic: Value<'_, '_>,
        batch: Option<Value<'_, '_>>,
        idle: Option<Value<'_, '_>>,
    ) -> PyResult<PyConsumer> {
        let topic = PyTopic::make(slf, topic, "topic", None)?;
        PyConsumer::new(Bound::new(slf.py(), topic)?.unbind(), batch, idle)
    }

    /// done() for all in one commit. Handles already settled are skipped; each other is judged alone.
    ///
    /// LeaseLost after the rest was applied; its `ids` names the lost.
    #[pyo3(signature = (jobs))]
    fn done_many(slf: &Bound<'_, Self>, jobs: Value<'_, '_>) -> PyResult<()> {
        verbs::settle_many(slf, jobs, Outcome::Done)
    }

    /// retry() for all, as done_many.
    #[pyo3(signature = (jobs, delay=None, *, error=None))]
    fn retry_many(
        slf: &Bound<'_, Self>,
        jobs: Value<'_, '_>,
        delay: Option<Value<'_, '_>>,
        error: Option<Value<'_, '_>>,
    ) -> PyResult<()> {
        let delay = delay.map(|delay| convert::span(delay, "delay")).transpose()?;
        let error = error.map(error_text).transpose()?;
        verbs::settle_many(slf, jobs, Outcome::Retry { delay, error: error.as_deref() })
    }

    /// release() for all, as done_many.
    #[pyo3(signature = (jobs, delay=None), text_signature = "($self, jobs, delay=0)")]
    fn release_many(slf: &Bound<'_, Self>, jobs: Value<'_, '_>, delay: Option<Value<'_, '_>>) -> PyResult<()> {
        let delay = delay.map_or(Ok(0), |delay| convert::span(delay, "delay"))?;
        verbs::settle_many(slf, jobs, Outcome::Release { delay })
    }

    /// JobNotFound: never enqueued, deleted, or purged by the retention.
    fn status(&self, py: Python<'_>, id: Value<'_, '_>) -> PyResult<Py<PyAny>> {
        let id = convert::job_id(id, "id")?;
        run(py, |caller| self.engine.status(caller, id)).map(|status| values::status(py, status))
    }

    /// What is known of a job, without its payload. JobNotFound.
    fn info<'py>(&self, py: Python<'py>, id: Value<'_, '_>) -> PyResult<Bound<'py, PyAny>> {
        let id = convert::job_id(id, "id")?;
        let info = run(py, |caller| self.engine.info(caller, id))?;
        values::info(py, &info)
    }

    /// A job's payload. JobNotFound.
    fn payload(&self, py: Python<'_>, id: Value<'_, '_>) -> PyResult<Py<PyBytes>> {
        let id = convert::job_id(id, "id")?;
        run(py, |caller| self.engine.payload(caller, id)).map(Payload::into_inner)
    }

    /// Jobs that match all that is given, by ascending id above `after`, at most limit.
    ///
    /// Read as you go, in pages: jobs may change, and be changed by you, meanwhile.
    #[pyo3(signature = (status=None, *, topic=None, reason=None, after=None, limit=None),
           text_signature = "($self, status=None, *, topic=None, reason=None, after=0, limit=None)")]
    fn find(
        slf: &Bound<'_, Self>,
        status: Option<Value<'_, '_>>,
        topic: Option<Value<'_, '_>>,
        reason: Option<Value<'_, '_>>,
        after: Option<Value<'_, '_>>,
        limit: Option<Value<'_, '_>>,
    ) -> PyResult<PyFinder> {
        let service = slf.get();
        let topic = topic.map(|topic| service.name(slf.py(), topic)).transpose()?;
        let filter = Filter {
            status: status.map(values::read_status).transpose()?,
            topic: topic.map(Arc::from),
            reason: reason.map(values::read_reason).transpose()?,
        };
        let after = after.map_or(Ok(jobq_core::job::JobId(0)), convert::after)?;
        let limit = limit.map(|limit| convert::count(limit, "limit", 0)).transpose()?;
        run(slf.py(), |caller| service.engine.check_open(caller))?;
        Ok(PyFinder::new(slf.clone().unbind(), filter, after, limit))
    }

    /// Names in use, sorted.
    fn topics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let names = run(py, |caller| self.engine.topics(caller))?;
        PyList::new(py, names.iter().map(|name| &**name))
    }

    /// O(1). All zero for a name not in use.
    fn topic_stats<'py>(&self, py: Python<'py>, topic: Value<'_, '_>) -> PyResult<Bound<'py, PyAny>> {
        let topic = convert::text(topic, "topic")?;
        let stats = run(py, |caller| self.engine.topic_stats(caller, TopicRef::Name(topic)))?;
        values::topic_stats(py, &stats)
    }

    /// Of all topics, forgotten ones included. O(1).
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stats = run(py, |caller| self.engine.stats(caller))?;
        values::service_stats(py, &stats)
    }

    /// A handle of the topic, faster than the name; `options` are its defaults for what it enqueues. Makes no topic.
    #[pyo3(signature = (name, *, options=None))]
    fn topic(slf: &Bound<'_, Self>, name: Value<'_, '_>, options: Option<Value<'_, '_>>) -> PyResult<PyTopic> {
        run(slf.py(), |caller| slf.get().engine.check_open(caller))?;
        PyTopic::make(slf, name, "name", options)
    }

    /// Cancel a ready, delayed or reserved job; the holder of a reserved one gets LeaseLost.
    ///
    /// JobNotFound, InvalidTransition.
    fn cancel(&self, py: Python<'_>, id: Value<'_, '_>) -> PyResult<()> {
        let ids = convert::job_ids(id)?;
        run(py, |caller| self.engine.cancel(caller, &ids))
    }

    /// Make a done, canceled or delayed job ready now, its retries and crashes 0; a ready one keeps its place.
    ///
    /// A reserved one needs force; its holder gets LeaseLost. JobNotFound, InvalidTransition.
    #[pyo3(signature = (id, *, force=None), text_signature = "($self, id, *, force=False)")]
    fn reset(&self, py: Python<'_>, id: Value<'_, '_>, force: Option<Value<'_, '_>>) -> PyResult<()> {
        let force = force.map_or(Ok(false), |force| convert::flag(force, "force"))?;
        let ids = convert::job_ids(id)?;
        let force = if force { Force::Yes } else { Force::No };
        run(py, |caller| self.engine.reset(caller, &ids, force))
    }

    /// Forget a job that is not reserved, payload and log too. JobNotFound, InvalidTransition.
    fn delete(&self, py: Python<'_>, id: Value<'_, '_>) -> PyResult<()> {
        let ids = convert::job_ids(id)?;
        run(py, |caller| self.engine.delete(caller, &ids))
    }

    /// Grant nothing more of a topic: reserve waits, leases and enqueue go on. As durable as the topic repository.
    fn pause(&self, py: Python<'_>, topic: Value<'_, '_>) -> PyResult<()> {
        let topic = convert::text(topic, "topic")?;
        run(py, |caller| self.engine.pause(caller, TopicRef::Name(topic)))
    }

    /// Undo pause; wakes the waiters. No error when it was not paused.
    fn resume(&self, py: Python<'_>, topic: Value<'_, '_>) -> PyResult<()> {
        let topic = convert::text(topic, "topic")?;
        run(py, |caller| self.engine.resume(caller, TopicRef::Name(topic)))
    }

    /// Wait until the topic (None: every one) has no ready, delayed or reserved job; False when timeout passes.
    #[pyo3(signature = (topic=None, *, timeout=None))]
    fn join(&self, py: Python<'_>, topic: Option<Value<'_, '_>>, timeout: Option<Value<'_, '_>>) -> PyResult<bool> {
        let topic = topic.map(|topic| convert::text(topic, "topic")).transpose()?.map(TopicRef::Name);
        let timeout = convert::timeout(timeout, "timeout")?;
        run(py, |caller| self.engine.join(caller, topic, timeout))
    }

    /// Return when all that was acknowledged is on the disk, at any level of sync.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        run(py, |caller| self.engine.flush(caller))
    }

    /// Give back disk space; return bytes freed. Writers wait meanwhile.
    fn compact(&self, py: Python<'_>) -> PyResult<u64> {
        run(py, |caller| self.engine.compact(caller))
    }

    /// Check store, indexes and counters; one line per fault, [] when sound.
    fn verify(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        run(py, |caller| self.engine.verify(caller))
    }

    /// Grant no more jobs: consume ends, reserve and join raise ServiceClosed. Settling and enqueue go on.
    ///
    /// Never blocks; made for signal handlers; cannot be undone.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        run(py, |_| self.engine.stop())
    }

    /// stop(), free every waiter, write everything out, close both repositories. Held jobs go back uncharged.
    ///
    /// No error when closed already. Called in a signal handler, it does not wait for the thread it interrupts.
    /// Runs at interpreter exit if you do not call it. In a forked child it does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let closed = run(py, |caller| self.engine.close(caller));
        registry::forget_closed();
        closed
    }

    /// Whether close() was called.
    #[getter]
    fn closed(&self) -> bool {
        self.engine.is_closed()
    }

    /// What was found when this service was opened.
    #[getter]
    fn recovery<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::recovery(py, self.engine.recovery())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_copy("JobService"))
    }

    fn __repr__(&self) -> &'static str {
        if self.engine.is_closed() { "<jobq.JobService, closed>" } else { "<jobq.JobService>" }
    }
}

impl PyJobService {
    /// A topic's name that was checked.
    fn name(&self, py: Python<'_>, topic: Value<'_, '_>) -> PyResult<String> {
        let name = convert::text(topic, "topic")?;
        jobq_core::topic::check_name(name, self.engine.limits()).map_err(|error| crate::errors::raise(py, &error))?;
        Ok(name.to_owned())
    }
}

/// Put the hot methods on the type.
pub(crate) fn complete(py: Python<'_>) -> PyResult<()> {
    install::<EnqueueMethod, _, _>(py)?;
    install::<ReserveOne, _, _>(py)
}

method! {
    /// Queue one job; return its id once it is kept at the repository's level.
    ///
    /// weight: -32768 to 32767, lower is sooner. Not before now + delay, or at; both -> ValueError. QueueFull.
    EnqueueMethod: PyJobService "JobService.enqueue"
    "($self, topic, payload, weight=0, *, delay=None, at=None, options=None)"
    [topic, payload] [weight, delay, at, options] positional 3, hot => enqueue
}

#[inline]
fn enqueue<'py>(service: &Bound<'py, PyJobService>, given: Given<'_, 'py, 2, 4>) -> Answer<'py> {
    let [topic, payload] = given.required;
    let [weight, delay, at, options] = given.optional;
    let topic = TopicRef::Name(convert::text(topic, "topic")?);
    Enqueue { service, topic, weight, delay, at, options, base: None }.one(payload)
}

method! {
    /// Lease one job; wait as reserve does. With a timeout: None when it passes.
    ReserveOne: PyJobService "JobService.reserve_one" "($self, topic, *, timeout=None)"
    [topic] [timeout] positional 1, hot => reserve_one
}

#[inline]
fn reserve_one<'py>(service: &Bound<'py, PyJobService>, given: Given<'_, 'py, 1, 1>) -> Answer<'py> {
    let ([topic], [timeout]) = (given.required, given.optional);
    let name = convert::text(topic, "topic")?;
    verbs::reserve_one(service, TopicRef::Name(name), &convert::exact(topic, name), timeout)
}
