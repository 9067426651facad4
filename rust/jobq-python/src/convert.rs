//! From Python values to the core's words. Each error names the parameter, what was wanted and what came.

use jobq_core::job::{JobId, Schedule};
use jobq_core::options::Limits;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyDateTime, PyDelta, PyDeltaAccess, PyFloat, PyInt, PyIterator, PyMemoryView, PyString,
};
use std::time::Duration;

use crate::errors::raise;
use crate::raw::counted;

/// A Python value, as it was passed.
pub(crate) type Value<'a, 'py> = &'a Bound<'py, PyAny>;

/// The longest span, in milliseconds.
const LONGEST: u64 = i64::MAX.cast_unsigned();

/// The name of a value's type, for texts.
pub(crate) fn type_name(value: Value<'_, '_>) -> String {
    value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

fn wrong_type(name: &str, wanted: &str, value: Value<'_, '_>) -> PyErr {
    PyTypeError::new_err(format!("{name} must be {wanted}, not {}", type_name(value)))
}

/// What came, for a text about a number: huge ones are shortened.
fn shown(value: Value<'_, '_>) -> String {
    let text = value.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string());
    if text.len() > 40 { format!("{}...", text.chars().take(40).collect::<String>()) } else { text }
}

/// An integer from `low` to `high`.
fn integer(value: Value<'_, '_>, name: &str, low: i64, high: i64) -> PyResult<i64> {
    let is_integer = value.is_instance_of::<PyInt>() || value.hasattr("__index__")?;
    if value.is_instance_of::<PyBool>() || !is_integer {
        return Err(wrong_type(name, "an int", value));
    }
    let number = match value.extract::<i64>() {
        Ok(number) => Some(number),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyOverflowError>(value.py()) => None,
        Err(error) => return Err(error),
    };
    number
        .filter(|number| (low..=high).contains(number))
        .ok_or_else(|| PyValueError::new_err(format!("{name} must be from {low} to {high}, not {}", shown(value))))
}

/// A weight; `None` means 0.
#[inline]
pub(crate) fn weight(value: Option<Value<'_, '_>>, name: &str) -> PyResult<i16> {
    let Some(value) = value else { return Ok(0) };
    let number = integer(value, name, i16::MIN.into(), i16::MAX.into())?;
    i16::try_from(number).map_err(|_| PyValueError::new_err(format!("{name} is out of range")))
}

/// A job's id.
pub(crate) fn job_id(value: Value<'_, '_>, name: &str) -> PyResult<JobId> {
    let id = integer(value, name, 1, i64::MAX)?;
    Ok(JobId(id.cast_unsigned()))
}

/// An id that a search goes on after; 0 is before all.
pub(crate) fn after(value: Value<'_, '_>) -> PyResult<JobId> {
    Ok(JobId(integer(value, "after", 0, i64::MAX)?.cast_unsigned()))
}

/// A number of things that is at least `least`.
pub(crate) fn count(value: Value<'_, '_>, name: &str, least: i64) -> PyResult<u64> {
    Ok(integer(value, name, least, i64::MAX)?.cast_unsigned())
}

/// An integer in a range.
pub(crate) fn ranged(value: Value<'_, '_>, name: &str, low: i64, high: i64) -> PyResult<i64> {
    integer(value, name, low, high)
}

/// One id, or several; and whether it was one.
pub(crate) fn job_ids(value: Value<'_, '_>) -> PyResult<Vec<JobId>> {
    if value.is_instance_of::<PyInt>() || value.hasattr("__index__")? {
        return Ok(vec![job_id(value, "id")?]);
    }
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
        return Err(wrong_type("id", "an int or an iterable of ints", value));
    }
    let ids = iterate(value, "id", "an int or an iterable of ints")?;
    ids.enumerate().map(|(index, id)| job_id(&id?, &format!("id[{index}]"))).collect()
}

/// True or false, and nothing else.
pub(crate) fn flag(value: Value<'_, '_>, name: &str) -> PyResult<bool> {
    match value.cast::<PyBool>() {
        Ok(flag) => Ok(flag.is_true()),
        Err(_) => Err(wrong_type(name, "a bool", value)),
    }
}

/// A text that is valid UTF-8.
pub(crate) fn text<'a>(value: &'a Bound<'_, PyAny>, name: &str) -> PyResult<&'a str> {
    let Ok(string) = value.cast::<PyString>() else { return Err(wrong_type(name, "a str", value)) };
    string.to_str().map_err(|error| {
        counted(value.py(), || drop(error));
        PyValueError::new_err(format!("{name} must be text that UTF-8 can hold, not one with lone surrogates"))
    })
}

/// A text as a str of its own, whatever class it came as.
pub(crate) fn exact<'py>(value: Value<'_, 'py>, text: &str) -> Bound<'py, PyString> {
    match value.cast_exact::<PyString>() {
        Ok(string) => string.clone(),
        Err(_) => PyString::new(value.py(), text),
    }
}

/// The iterator over several things. What an iterable raises passes through.
pub(crate) fn iterate<'py>(value: Value<'_, 'py>, name: &str, wanted: &str) -> PyResult<Bound<'py, PyIterator>> {
    let is_iterable = value.hasattr("__iter__")? || value.hasattr("__getitem__")?;
    if is_iterable { value.try_iter() } else { Err(wrong_type(name, wanted, value)) }
}

/// A payload: bytes as they are, everything else bytes-like copied.
#[inline]
pub(crate) fn payload(value: Value<'_, '_>, name: &str, limits: &Limits) -> PyResult<Py<PyBytes>> {
    match value.cast_exact::<PyBytes>() {
        Ok(bytes) => Ok(bytes.clone().unbind()),
        Err(_) => counted(value.py(), || payload_copy(value, name, limits)),
    }
}

fn payload_copy(value: Value<'_, '_>, name: &str, limits: &Limits) -> PyResult<Py<PyBytes>> {
    if value.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!(
            "{name} must be bytes-like, not str: encode it, as in payload.encode()"
        )));
    }
    let Ok(view) = PyMemoryView::from(value) else { return Err(wrong_type(name, "bytes-like", value)) };
    let length: usize = view.getattr("nbytes")?.extract()?;
    // Looked at before it is copied: it may be larger than the memory.
    limits.check_payload(name, length).map_err(|error| raise(value.py(), &error))?;
    let bytes = view.call_method0("tobytes")?.cast_into::<PyBytes>().map_err(PyErr::from)?;
    view.call_method0("release")?;
    Ok(bytes.unbind())
}

/// A span of seconds, in milliseconds rounded up.
///
/// A float that is a whole number of milliseconds but for its last bit is that number: 0.07 is 70 ms, not 71.
pub(crate) fn span(value: Value<'_, '_>, name: &str) -> PyResult<u64> {
    let refused = || {
        let what = shown(value);
        PyValueError::new_err(format!("{name} must be a finite number of seconds from 0 to {LONGEST} ms, not {what}"))
    };
    if let Ok(delta) = value.cast::<PyDelta>() {
        let micros = u64::try_from(delta_micros(delta)).map_err(|_| refused())?;
        return Ok(micros.div_ceil(1_000));
    }
    let is_number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
    if value.is_instance_of::<PyBool>() || !(is_number || value.hasattr("__index__")?) {
        return Err(wrong_type(name, "a number of seconds or a timedelta", value));
    }
    let seconds = match value.extract::<f64>() {
        Ok(seconds) => seconds,
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyOverflowError>(value.py()) => f64::INFINITY,
        Err(error) => return Err(error),
    };
    milliseconds(seconds).ok_or_else(refused)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, clippy::float_cmp)]
fn milliseconds(seconds: f64) -> Option<u64> {
    let exact = seconds * 1_000.0;
    let near = exact.round();
    let whole = if near / 1_000.0 == seconds { near } else { exact.ceil() };
    // Not-a-number is in no range.
    (0.0..LONGEST as f64).contains(&whole).then_some(whole as u64).filter(|_| seconds >= 0.0)
}

fn delta_micros(delta: &Bound<'_, PyDelta>) -> i128 {
    let days = i128::from(delta.get_days());
    (days * 86_400 + i128::from(delta.get_seconds())) * 1_000_000 + i128::from(delta.get_microseconds())
}

/// A span that may be negative: what a wall clock jumps by.
pub(crate) fn signed_span(value: Value<'_, '_>, name: &str) -> PyResult<i64> {
    let span_of = |value: Value<'_, '_>| span(value, name).map(|span| i64::try_from(span).unwrap_or(i64::MAX));
    let is_number =
        value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>() || value.is_instance_of::<PyDelta>();
    if is_number && !value.is_instance_of::<PyBool>() && value.lt(value.sub(value)?)? {
        return span_of(&value.neg()?).map(|span| -span);
    }
    span_of(value)
}

/// How long a call waits: `None` for ever.
pub(crate) fn timeout(value: Option<Value<'_, '_>>, name: &str) -> PyResult<Option<Duration>> {
    value.map(|value| span(value, name).map(Duration::from_millis)).transpose()
}

/// A delay or a date, not both.
#[inline]
pub(crate) fn schedule(delay: Option<Value<'_, '_>>, at: Option<Value<'_, '_>>) -> PyResult<Schedule> {
    match (delay, at) {
        (None, None) => Ok(Schedule::Now),
        (Some(delay), None) => Ok(Schedule::After(span(delay, "delay")?)),
        (None, Some(at)) => Ok(Schedule::At(date(at, "at")?)),
        (Some(_), Some(_)) => Err(PyValueError::new_err("delay and at must not be given both: pass one of them")),
    }
}

/// An aware datetime, in wall-clock milliseconds rounded up; one before 1970 is 1970.
pub(crate) fn date(value: Value<'_, '_>, name: &str) -> PyResult<u64> {
    let Ok(date) = value.cast::<PyDateTime>() else {
        return Err(wrong_type(name, "an aware datetime", value));
    };
    if date.call_method0("utcoffset")?.is_none() {
        return Err(PyValueError::new_err(format!(
            "{name} must be an aware datetime, not a naive one: give it a time zone, \
             as in datetime.now(timezone.utc)"
        )));
    }
    let since = date.sub(epoch(value.py())?)?.cast_into::<PyDelta>().map_err(PyErr::from)?;
    let micros = delta_micros(&since).max(0);
    Ok(u64::try_from(micros).unwrap_or(u64::MAX).div_ceil(1_000))
}

static EPOCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// 1970-01-01 00:00 UTC.
fn epoch(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let epoch = EPOCH.get_or_try_init(py, || {
        let utc = py.import("datetime")?.getattr("timezone")?.getattr("utc")?;
        let utc = utc.cast::<pyo3::types::PyTzInfo>().map_err(PyErr::from)?;
        Ok::<_, PyErr>(PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(utc))?.into_any().unbind())
    })?;
    Ok(epoch.bind(py))
}

/// The error of a clock that would leave the dates that can be told.
pub(crate) fn refuse_date(name: &str) -> PyErr {
    PyValueError::new_err(format!("{name} must leave the clock between the years 1970 and 9999"))
}

/// The last millisecond that a datetime can tell.
pub(crate) const LAST_DATE: u64 = 253_402_300_799_999;

/// Wall-clock milliseconds as an aware datetime; later than the year 9999 is its end.
pub(crate) fn datetime(py: Python<'_>, milliseconds: u64) -> PyResult<Bound<'_, PyAny>> {
    let milliseconds = milliseconds.min(LAST_DATE);
    let part = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    let (days, rest) = (milliseconds / 86_400_000, milliseconds % 86_400_000);
    let delta = PyDelta::new(py, part(days), part(rest / 1_000), part(rest % 1_000 * 1_000), false)?;
    epoch(py)?.add(delta)
}

/// Seconds as whole milliseconds, rounded up; what the settings are checked with.
#[pyfunction]
pub(crate) fn _milliseconds(value: Value<'_, '_>, name: &str) -> PyResult<u64> {
    span(value, name)
}
