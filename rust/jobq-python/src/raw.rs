//! The one unsafe module: what is done without asking the interpreter first, and why that is sound.

use std::mem::ManuallyDrop;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A payload: the very bytes object that was handed in.
///
/// # Safety
/// Invariant: a `Payload` is made, shared and dropped only by a thread that is attached to the interpreter. The core
/// shares and drops payloads only on threads that called it, outside their waits (`jobq_core::engine::Payload` says
/// so), and every call into the core is made attached and detaches only for a wait (`errors::Attached`). So these
/// methods do without the look at a thread-local count by which `Py` finds out.
pub(crate) struct Payload(ManuallyDrop<Py<PyBytes>>);

impl Payload {
    /// A payload of this object.
    #[inline]
    pub(crate) fn new(bytes: Py<PyBytes>) -> Self {
        Self(ManuallyDrop::new(bytes))
    }

    /// The object.
    #[inline]
    pub(crate) fn into_inner(self) -> Py<PyBytes> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the reference is taken once.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl Drop for Payload {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the object is alive as long as the payload; the thread is attached, as the type promises.
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
        Python::attach(|py| Self::new(PyBytes::new(py, &bytes).unbind()))
    }
}

/// Which interpreter of the process this is: 0 is the main one.
pub(crate) fn interpreter_id(_attached: Python<'_>) -> i64 {
    // SAFETY: the thread is attached, so it has an interpreter state.
    unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) }
}
