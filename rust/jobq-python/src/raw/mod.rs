//! The one place with unsafe code: what is done without asking the interpreter first, and why that is sound.
//!
//! Invariants, on which every block here relies:
//! 1. What CPython calls here, it calls attached: methods, getters, `tp_dealloc`, `tp_repr`. The module says that it
//!    uses the GIL (`gil_used`), so one thread at a time is attached.
//! 2. PyO3 counts how often a thread is attached; here that count may be 0. So nothing here drops a `Py` or a `PyErr`
//!    as they are (PyO3 would put them aside, to be dropped later): what is held is an [`Owned`], and what may make or
//!    drop another is run by [`counted`].
//! 3. No panic leaves an `extern "C"` function: each has one `catch_unwind` around all it does.

pub(crate) mod job;
pub(crate) mod method;

use std::mem::ManuallyDrop;
use std::ops::Deref;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Run something as PyO3 runs it: what it drops is dropped then.
#[inline]
pub(crate) fn counted<R>(_py: Python<'_>, work: impl FnOnce() -> R) -> R {
    // SAFETY: the token says that the thread is attached, to the one interpreter that PyO3 knows.
    unsafe { Python::attach_unchecked(|_| work()) }
}

/// A reference that is counted down without a look at how often the thread is attached.
///
/// Invariant: it is made and dropped only by a thread that is attached. Handles are, being Python objects. The core
/// shares and drops payloads only on threads that called it, outside their waits (`jobq_core::engine::Payload` says
/// so), and every call into the core is made attached and detaches only for a wait (`errors::Attached`).
#[repr(transparent)]
pub(crate) struct Owned<T>(ManuallyDrop<Py<T>>);

/// A payload: the very bytes object that was handed in.
pub(crate) type Payload = Owned<PyBytes>;

impl<T> Owned<T> {
    /// Hold this object.
    #[inline]
    pub(crate) fn new(object: Py<T>) -> Self {
        Self(ManuallyDrop::new(object))
    }

    /// The object.
    #[inline]
    pub(crate) fn into_inner(self) -> Py<T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the reference is taken once.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl<T> Deref for Owned<T> {
    type Target = Py<T>;

    #[inline]
    fn deref(&self) -> &Py<T> {
        &self.0
    }
}

impl<T> Drop for Owned<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it owns one reference, and the thread is attached, as the type promises.
        unsafe { pyo3::ffi::Py_DECREF(self.0.as_ptr()) }
    }
}

impl jobq_core::engine::Payload for Payload {
    #[inline]
    fn share(&self) -> Self {
        // SAFETY: the thread is attached, as the type promises.
        let py = unsafe { Python::assume_attached() };
        Self::new(self.0.clone_ref(py))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: the thread is attached, as the type promises.
        let py = unsafe { Python::assume_attached() };
        self.0.as_bytes(py)
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::from_slice(&bytes)
    }

    fn from_slice(bytes: &[u8]) -> Self {
        Python::attach(|py| Self::new(PyBytes::new(py, bytes).unbind()))
    }
}

/// Which interpreter of the process this is: 0 is the main one.
pub(crate) fn interpreter_id(_attached: Python<'_>) -> i64 {
    // SAFETY: the thread is attached, so it has an interpreter state.
    unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) }
}
