//! `jobq.Job`: one lease of one job, settled once. Its type is made in `raw::job`.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jobq_core::clock::Mono;
use jobq_core::engine::{Engine, Grant, Handle, Outcome};
use jobq_core::error::Settled;
use jobq_core::job::{JobId, Status, Token};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyBaseException, PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyNone, PyString, PyTuple, PyType};

use crate::arguments::{Given, Signature};
use crate::convert::{self, Value, type_name};
use crate::errors::{call, no_copy};
use crate::raw::job::{Getter, create, fields, make};
use crate::raw::method::{Answer, Method, install, method};
use crate::raw::{Owned, Payload, counted};
use crate::service::PyJobService;
use crate::values;

const DOC: &CStr = c"\
One lease of one job. Settled once: by done, retry, release or cancel; after that, and when the lease was lost,
each of them, extend and log raise LeaseLost and change nothing. Time alone takes nothing away: a late done() is
accepted until another has the job. A handle dropped unsettled expires at once, as if its time had run out.

with job:  done() at the end, however the block is left; on an Exception retry(error=exc); on any other
           BaseException (KeyboardInterrupt, SystemExit, CancelledError, ...) release(). The exception always goes
           on. A job settled inside is left alone. An error of settling after an exception becomes a note on it.";

/// What a handle holds. `raw::job` lets Python read some of the fields where they are.
pub(crate) struct PyJob {
    pub(crate) service: Owned<PyJobService>,
    pub(crate) topic: Owned<PyString>,
    pub(crate) payload: Payload,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) id: u64,
    pub(crate) token: u64,
    pub(crate) deadline: AtomicU64,
    pub(crate) slot: u32,
    pub(crate) attempt: u32,
    pub(crate) weight: i16,
    pub(crate) settled: AtomicBool,
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
        let job = Self {
            service: Owned::new(service.clone().unbind()),
            topic: Owned::new(topic.clone().unbind()),
            payload: grant.take_payload(),
            name: grant.name,
            id: grant.id.0,
            token: grant.token.0,
            deadline: AtomicU64::new(grant.deadline.0),
            slot: grant.slot,
            attempt: grant.attempt,
            weight: grant.weight,
            settled: AtomicBool::new(false),
        };
        create(service.py(), job)
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
    fn engine(&self) -> &Engine<Payload> {
        &self.service.get().engine
    }

    #[inline]
    fn settle(&self, py: Python<'_>, outcome: Outcome<'_>) -> PyResult<Status> {
        let status = call(py, |caller| self.engine().settle(caller, self.handle(), outcome))?;
        self.set_settled();
        Ok(status)
    }
}

impl Drop for PyJob {
    fn drop(&mut self) {
        if !self.is_settled() {
            let handle = self.handle();
            self.engine().abandon(handle);
        }
    }
}

/// The type, made and complete.
pub(crate) fn class(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let class = make(py, DOC, &GETTERS)?;
    install::<Remaining, _, _>(py)?;
    install::<Info, _, _>(py)?;
    install::<Done, _, _>(py)?;
    install::<Retry, _, _>(py)?;
    install::<Release, _, _>(py)?;
    install::<Cancel, _, _>(py)?;
    install::<Extend, _, _>(py)?;
    install::<Log, _, _>(py)?;
    install::<Enter, _, _>(py)?;
    install::<Exit, _, _>(py)?;
    install::<Reduce, _, _>(py)?;
    Ok(class)
}

static GETTERS: [Getter; 2] = [
    Getter { name: c"name", doc: c"The label of its options.", get: name },
    Getter {
        name: c"deadline",
        doc: c"When the lease runs out, on the wall clock as it is now. To measure, use remaining().",
        get: deadline,
    },
];

fn name<'py>(job: &Bound<'py, PyJob>) -> Answer<'py> {
    fields(job).name.as_deref().unwrap_or_default().into_bound_py_any(job.py())
}

fn deadline<'py>(job: &Bound<'py, PyJob>) -> Answer<'py> {
    let this = fields(job);
    let now = this.engine().clock().now();
    let deadline = this.deadline.load(Ordering::Relaxed);
    convert::datetime(job.py(), now.wall.0.saturating_add(deadline).saturating_sub(now.mono.0))
}

/// What Python shows for the handle.
pub(crate) fn repr<'py>(job: &Bound<'py, PyJob>) -> Answer<'py> {
    let this = fields(job);
    let (id, attempt, token) = (this.id, this.attempt, this.token);
    let topic = this.topic.bind(job.py()).repr()?;
    let settled = if this.is_settled() { ", settled" } else { "" };
    format!("<jobq.Job {id} of {topic}, attempt {attempt}, token {token}{settled}>").into_bound_py_any(job.py())
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    PyNone::get(py).to_owned().into_any()
}

method! {
    /// Seconds until the lease runs out; negative after. Safe against clock steps.
    Remaining: PyJob "Job.remaining" "($self)" [] [] positional 0, cold => remaining
}

fn remaining<'py>(job: &Bound<'py, PyJob>, _given: Given<'_, 'py, 0, 0>) -> Answer<'py> {
    let this = fields(job);
    call(job.py(), |caller| this.engine().check_open(caller))?;
    let now = this.engine().clock().now().mono.0;
    let deadline = this.deadline.load(Ordering::Relaxed);
    let left = if deadline >= now { values::seconds(deadline - now) } else { -values::seconds(now - deadline) };
    left.into_bound_py_any(job.py())
}

method! {
    /// As JobService.info. JobNotFound.
    Info: PyJob "Job.info" "($self)" [] [] positional 0, cold => info
}

fn info<'py>(job: &Bound<'py, PyJob>, _given: Given<'_, 'py, 0, 0>) -> Answer<'py> {
    let this = fields(job);
    let info = call(job.py(), |caller| this.engine().info(caller, JobId(this.id)))?;
    values::info(job.py(), &info)
}

method! {
    /// Finish the job: a command, not a question. LeaseLost.
    Done: PyJob "Job.done" "($self)" [] [] positional 0, hot => done
}

#[inline]
fn done<'py>(job: &Bound<'py, PyJob>, _given: Given<'_, 'py, 0, 0>) -> Answer<'py> {
    fields(job).settle(job.py(), Outcome::Done)?;
    Ok(none(job.py()))
}

method! {
    /// Charge a retry and queue the job again after delay (None: the backoff); `error` is kept, 1,000 characters of it.
    ///
    /// Returns DELAYED, READY, or CANCELED when that was one retry too many. LeaseLost.
    Retry: PyJob "Job.retry" "($self, delay=None, *, error=None)" [] [delay, error] positional 1, cold => retry
}

fn retry<'py>(job: &Bound<'py, PyJob>, given: Given<'_, 'py, 0, 2>) -> Answer<'py> {
    let [delay, error] = given.optional;
    let delay = delay.map(|delay| convert::span(delay, "delay")).transpose()?;
    let error = error.map(error_text).transpose()?;
    let status = fields(job).settle(job.py(), Outcome::Retry { delay, error: error.as_deref() })?;
    Ok(values::status(job.py(), status).into_bound(job.py()))
}

method! {
    /// Give the job back uncharged: at once to its old place in the queue, or after delay. LeaseLost.
    Release: PyJob "Job.release" "($self, delay=0)" [] [delay] positional 1, cold => release
}

fn release<'py>(job: &Bound<'py, PyJob>, given: Given<'_, 'py, 0, 1>) -> Answer<'py> {
    let [delay] = given.optional;
    let delay = delay.map_or(Ok(0), |delay| convert::span(delay, "delay"))?;
    fields(job).settle(job.py(), Outcome::Release { delay })?;
    Ok(none(job.py()))
}

method! {
    /// Give the job up for good: CANCELED, REJECTED, a dead letter. LeaseLost.
    Cancel: PyJob "Job.cancel" "($self, *, error=None)" [] [error] positional 0, cold => cancel
}

fn cancel<'py>(job: &Bound<'py, PyJob>, given: Given<'_, 'py, 0, 1>) -> Answer<'py> {
    let [error] = given.optional;
    let error = error.map(error_text).transpose()?;
    fields(job).settle(job.py(), Outcome::Reject { error: error.as_deref() })?;
    Ok(none(job.py()))
}

method! {
    /// Hold until now + seconds (None: the job's lease) if that is later than the deadline; never shortens. LeaseLost.
    Extend: PyJob "Job.extend" "($self, seconds=None)" [] [seconds] positional 1, cold => extend
}

fn extend<'py>(job: &Bound<'py, PyJob>, given: Given<'_, 'py, 0, 1>) -> Answer<'py> {
    let [seconds] = given.optional;
    let span = seconds.map(|seconds| convert::span(seconds, "seconds")).transpose()?;
    let this = fields(job);
    let deadline = call(job.py(), |caller| this.engine().extend(caller, this.handle(), span))?;
    this.deadline.store(deadline.0, Ordering::Relaxed);
    Ok(none(job.py()))
}

method! {
    /// Add message % args (message alone without args) to the job's log; written with its next change. LeaseLost.
    Log: PyJob "Job.log" "($self, message, *args)" [message] [] positional 1, rest => log
}

fn log<'py>(job: &Bound<'py, PyJob>, given: Given<'_, 'py, 1, 0>) -> Answer<'py> {
    let [message] = given.required;
    if !message.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!("message must be a str, not {}", type_name(message))));
    }
    let line =
        if given.rest.is_empty() { message.clone() } else { message.rem(PyTuple::new(job.py(), given.rest)?)? };
    let line = line.str()?.to_string_lossy().into_owned();
    let this = fields(job);
    call(job.py(), |caller| this.engine().log(caller, this.handle(), &line))?;
    Ok(none(job.py()))
}

method! {
    /// LeaseLost, and the block does not run, when the lease is settled or lost.
    Enter: PyJob "Job.__enter__" "($self)" [] [] positional 0, hot => enter
}

#[inline]
fn enter<'py>(job: &Bound<'py, PyJob>, _given: Given<'_, 'py, 0, 0>) -> Answer<'py> {
    let this = fields(job);
    call(job.py(), |caller| this.engine().check_held(caller, this.handle()))?;
    Ok(job.clone().into_any())
}

method! {
    /// Settle the job, as the class says.
    Exit: PyJob "Job.__exit__" "($self, exc_type, exc, tb, /)" [exc_type, exc, tb] [] positional 3, hot => exit
}

#[inline]
fn exit<'py>(job: &Bound<'py, PyJob>, given: Given<'_, 'py, 3, 0>) -> Answer<'py> {
    let [_, exc, _] = given.required;
    let this = fields(job);
    if !this.is_settled() {
        if exc.is_none() {
            this.settle(job.py(), Outcome::Done)?;
        } else {
            counted(job.py(), || exit_by(this, exc));
        }
    }
    Ok(none(job.py()))
}

/// The block was left by an exception.
fn exit_by(job: &PyJob, exc: Value<'_, '_>) {
    let settled = if exc.is_instance_of::<PyException>() {
        let error = error_text(exc);
        error.and_then(|error| job.settle(exc.py(), Outcome::Retry { delay: None, error: Some(&error) }))
    } else {
        job.settle(exc.py(), Outcome::Release { delay: 0 })
    };
    if let Err(error) = settled {
        let note = format!("jobq could not settle job {}: {error}", job.id);
        // Some exceptions take no notes; the caller's own goes on all the same.
        drop(exc.call_method1("add_note", (note,)));
    }
}

method! {
    /// A handle is neither copied nor pickled.
    Reduce: PyJob "Job.__reduce__" "($self)" [] [] positional 0, cold => reduce
}

fn reduce<'py>(_job: &Bound<'py, PyJob>, _given: Given<'_, 'py, 0, 0>) -> Answer<'py> {
    Err(no_copy("Job"))
}
