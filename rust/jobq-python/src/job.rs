//! `jobq.Job`: one lease of one job, settled once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jobq_core::clock::Mono;
use jobq_core::engine::{Grant, Handle, Outcome};
use jobq_core::error::Settled;
use jobq_core::job::{JobId, Token};
use pyo3::exceptions::{PyBaseException, PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::convert::{self, Value, type_name};
use crate::errors::{no_copy, run};
use crate::raw::Payload;
use crate::service::PyJobService;
use crate::values;

/// One lease of one job. Settled once: by done, retry, release or cancel; after that, and when the lease was lost,
/// each of them, extend and log raise LeaseLost and change nothing. Time alone takes nothing away: a late done() is
/// accepted until another has the job. A handle dropped unsettled expires at once, as if its time had run out.
///
/// with job:  done() at the end, however the block is left; on an Exception retry(error=exc); on any other
///            BaseException (KeyboardInterrupt, SystemExit, CancelledError, ...) release(). The exception always goes
///            on. A job settled inside is left alone. An error of settling after an exception becomes a note on it.
#[pyclass(frozen, module = "jobq", name = "Job")]
pub(crate) struct PyJob {
    service: Py<PyJobService>,
    topic: Py<PyString>,
    /// What was queued.
    #[pyo3(get)]
    payload: Py<PyBytes>,
    name: Option<Arc<str>>,
    id: u64,
    token: u64,
    deadline: AtomicU64,
    slot: u32,
    attempt: u32,
    weight: i16,
    settled: AtomicBool,
}

/// The text of an error that a holder gives: a str as it is, an exception as "Type: text".
pub(crate) fn error_text(value: Value<'_, '_>) -> PyResult<String> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_string_lossy().into_owned());
    }
    if !value.is_instance_of::<PyBaseException>() {
        let what = type_name(value);
        return Err(PyTypeError::new_err(format!("error must be a str or an exception, not {what}")));
    }
    let name = type_name(value);
    // An exception that cannot be shown is still named.
    let text = value.str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    Ok(if text.is_empty() { name } else { format!("{name}: {text}") })
}

impl PyJob {
    /// The handle of a grant.
    #[inline]
    pub(crate) fn make<'py>(
        service: &Bound<'py, PyJobService>,
        topic: &Bound<'py, PyString>,
        mut grant: Grant<Payload>,
    ) -> PyResult<Bound<'py, Self>> {
        let payload = grant.take_payload().into_inner();
        Bound::new(
            service.py(),
            Self {
                service: service.clone().unbind(),
                topic: topic.clone().unbind(),
                payload,
                name: grant.name,
                id: grant.id.0,
                token: grant.token.0,
                deadline: AtomicU64::new(grant.deadline.0),
                slot: grant.slot,
                attempt: grant.attempt,
                weight: grant.weight,
                settled: AtomicBool::new(false),
            },
        )
    }

    /// The lease, for the core.
    #[inline]
    pub(crate) fn handle(&self) -> Handle {
        Handle {
            id: JobId(self.id),
            token: Token(self.token),
            slot: self.slot,
            deadline: Mono(self.deadline.load(Ordering::Relaxed)),
            settled: if self.is_settled() { Settled::Yes } else { Settled::No },
        }
    }

    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_settled(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Whether it is a job of this service.
    pub(crate) fn serves(&self, service: &Bound<'_, PyJobService>) -> bool {
        self.service.is(service)
    }

    #[inline]
    fn settle(&self, py: Python<'_>, outcome: Outcome<'_>) -> PyResult<jobq_core::job::Status> {
        let engine = &self.service.get().engine;
        let status = run(py, |caller| engine.settle(caller, self.handle(), outcome))?;
        self.set_settled();
        Ok(status)
    }
}

impl Drop for PyJob {
    fn drop(&mut self) {
        if !self.is_settled() {
            let handle = self.handle();
            self.service.get().engine.abandon(handle);
        }
    }
}

#[pymethods]
impl PyJob {
    /// The job's id.
    #[getter]
    fn id(&self) -> u64 {
        self.id
    }

    /// Its topic's name.
    #[getter]
    fn topic<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.topic.bind(py).clone()
    }

    /// The label of its options.
    #[getter]
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Its weight; lower is sooner.
    #[getter]
    fn weight(&self) -> i16 {
        self.weight
    }

    /// Names this lease; greater than every earlier token of this job, over restarts too: a fence for your database.
    #[getter]
    fn token(&self) -> u64 {
        self.token
    }

    /// 1 for the job's first reservation.
    #[getter]
    fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the lease runs out, on the wall clock as it is now. To measure, use remaining().
    #[getter]
    fn deadline<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let now = self.service.get().engine.clock().now();
        let deadline = self.deadline.load(Ordering::Relaxed);
        convert::datetime(py, now.wall.0.saturating_add(deadline).saturating_sub(now.mono.0))
    }

    /// True once done, retry, release or cancel was accepted through this handle.
    #[getter]
    fn settled(&self) -> bool {
        self.is_settled()
    }

    /// Seconds until the lease runs out; negative after. Safe against clock steps.
    fn remaining(&self, py: Python<'_>) -> PyResult<f64> {
        let engine = &self.service.get().engine;
        run(py, |caller| engine.check_open(caller))?;
        let now = engine.clock().now().mono.0;
        let deadline = self.deadline.load(Ordering::Relaxed);
        Ok(if deadline >= now { values::seconds(deadline - now) } else { -values::seconds(now - deadline) })
    }

    /// As JobService.info. JobNotFound.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let info = run(py, |caller| self.service.get().engine.info(caller, JobId(self.id)))?;
        values::info(py, &info)
    }

    /// Finish the job: a command, not a question. LeaseLost.
    fn done(&self, py: Python<'_>) -> PyResult<()> {
        self.settle(py, Outcome::Done).map(|_| ())
    }

    /// Charge a retry and queue the job again after delay (None: the backoff); `error` is kept, 1,000 characters of it.
    ///
    /// Returns DELAYED, READY, or CANCELED when that was one retry too many. LeaseLost.
    #[pyo3(signature = (delay=None, *, error=None))]
    fn retry(&self, py: Python<'_>, delay: Option<Value<'_, '_>>, error: Option<Value<'_, '_>>) -> PyResult<Py<PyAny>> {
        let delay = delay.map(|delay| convert::span(delay, "delay")).transpose()?;
        let error = error.map(error_text).transpose()?;
        let status = self.settle(py, Outcome::Retry { delay, error: error.as_deref() })?;
        Ok(values::status(py, status))
    }

    /// Give the job back uncharged: at once to its old place in the queue, or after delay. LeaseLost.
    #[pyo3(signature = (delay=None), text_signature = "($self, delay=0)")]
    fn release(&self, py: Python<'_>, delay: Option<Value<'_, '_>>) -> PyResult<()> {
        let delay = delay.map_or(Ok(0), |delay| convert::span(delay, "delay"))?;
        self.settle(py, Outcome::Release { delay }).map(|_| ())
    }

    /// Give the job up for good: CANCELED, REJECTED, a dead letter. LeaseLost.
    #[pyo3(signature = (*, error=None))]
    fn cancel(&self, py: Python<'_>, error: Option<Value<'_, '_>>) -> PyResult<()> {
        let error = error.map(error_text).transpose()?;
        self.settle(py, Outcome::Reject { error: error.as_deref() }).map(|_| ())
    }

    /// Hold until now + seconds (None: the job's lease) if that is later than the deadline; never shortens. LeaseLost.
    #[pyo3(signature = (seconds=None))]
    fn extend(&self, py: Python<'_>, seconds: Option<Value<'_, '_>>) -> PyResult<()> {
        let span = seconds.map(|seconds| convert::span(seconds, "seconds")).transpose()?;
        let engine = &self.service.get().engine;
        let deadline = run(py, |caller| engine.extend(caller, self.handle(), span))?;
        self.deadline.store(deadline.0, Ordering::Relaxed);
        Ok(())
    }

    /// Add message % args (message alone without args) to the job's log; written with its next change. LeaseLost.
    #[pyo3(signature = (message, *args))]
    fn log(&self, py: Python<'_>, message: Value<'_, '_>, args: &Bound<'_, PyTuple>) -> PyResult<()> {
        if !message.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(format!("message must be a str, not {}", type_name(message))));
        }
        let line = if args.is_empty() { message.clone() } else { message.rem(args)? };
        let line = line.str()?.to_string_lossy().into_owned();
        run(py, |caller| self.service.get().engine.log(caller, self.handle(), &line))
    }

    /// LeaseLost, and the block does not run, when the lease is settled or lost.
    fn __enter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> PyResult<&'a Bound<'py, Self>> {
        let job = slf.get();
        run(slf.py(), |caller| job.service.get().engine.check_held(caller, job.handle()))?;
        Ok(slf)
    }

    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __exit__(&self, py: Python<'_>, exc_type: Value<'_, '_>, exc: Value<'_, '_>, tb: Value<'_, '_>) -> PyResult<()> {
        let _ = (exc_type, tb);
        if self.is_settled() {
            return Ok(());
        }
        if exc.is_none() {
            return self.done(py);
        }
        let settled = if exc.is_instance_of::<PyException>() {
            error_text(exc).and_then(|error| self.settle(py, Outcome::Retry { delay: None, error: Some(&error) }))
        } else {
            self.settle(py, Outcome::Release { delay: 0 })
        };
        if let Err(error) = settled {
            let note = format!("jobq could not settle job {}: {error}", self.id);
            exc.call_method1("add_note", (note,))?;
        }
        Ok(())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_copy("Job"))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let topic = self.topic.bind(py).repr()?;
        let settled = if self.is_settled() { ", settled" } else { "" };
        Ok(format!("<jobq.Job {} of {topic}, attempt {}, token {}{settled}>", self.id, self.attempt, self.token))
    }
}
