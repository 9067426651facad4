//! `jobq.testing.ManualClock`: time that moves when told.

use std::sync::Arc;

use jobq_core::clock::{ManualClock, Wall};
use pyo3::prelude::*;

use crate::convert::{LAST_DATE, Value, date, datetime, refuse_date, signed_span, span};
use crate::errors::no_copy;

/// 2000-01-01 00:00 UTC.
const START: u64 = 946_684_800_000;

/// Time that moves when told: due dates, leases, retention and statistics; never the timeout of a wait.
///
/// May serve several services. Moving it wakes those who wait for a job that became due.
#[pyclass(frozen, module = "jobq.testing", name = "ManualClock")]
pub(crate) struct PyManualClock {
    pub(crate) inner: Arc<ManualClock>,
}

#[pymethods]
impl PyManualClock {
    #[new]
    #[pyo3(signature = (start=None))]
    fn new(start: Option<Value<'_, '_>>) -> PyResult<Self> {
        let start = match start {
            None => START,
            Some(start) => match date(start, "start")? {
                0 => return Err(refuse_date("start")),
                start => start,
            },
        };
        Ok(Self { inner: Arc::new(ManualClock::new(Wall(start))) })
    }

    /// The wall clock's time.
    fn now<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.inner.now().wall.0)
    }

    /// Move the wall clock and the monotonic clock on.
    fn advance(&self, seconds: Value<'_, '_>) -> PyResult<()> {
        let span = span(seconds, "seconds")?;
        check(self.inner.now().wall.0.checked_add(span))?;
        self.inner.advance(span);
        Ok(())
    }

    /// Step the wall clock alone, back too (negative): what NTP or a suspend does.
    fn jump(&self, seconds: Value<'_, '_>) -> PyResult<()> {
        let span = signed_span(seconds, "seconds")?;
        check(self.inner.now().wall.0.checked_add_signed(span))?;
        self.inner.jump(span);
        Ok(())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_copy("ManualClock"))
    }
}

/// A clock shows only what a date can.
fn check(wall: Option<u64>) -> PyResult<()> {
    match wall {
        Some(wall) if wall > 0 && wall <= LAST_DATE => Ok(()),
        _ => Err(refuse_date("seconds")),
    }
}
