//! `jobq.testing.ManualClock`: time that moves when told.

use std::sync::Arc;

use jobq_core::clock::{ManualClock, Wall};
use pyo3::prelude::*;

use crate::convert::{Value, date, datetime, signed_span, span};

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
        let start = start.map_or(Ok(START), |start| date(start, "start"))?;
        Ok(Self { inner: Arc::new(ManualClock::new(Wall(start))) })
    }

    /// The wall clock's time.
    fn now<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.inner.now().wall.0)
    }

    /// Move the wall clock and the monotonic clock on.
    fn advance(&self, seconds: Value<'_, '_>) -> PyResult<()> {
        self.inner.advance(span(seconds, "seconds")?);
        Ok(())
    }

    /// Step the wall clock alone, back too (negative): what NTP or a suspend does.
    fn jump(&self, seconds: Value<'_, '_>) -> PyResult<()> {
        self.inner.jump(signed_span(seconds, "seconds")?);
        Ok(())
    }
}
