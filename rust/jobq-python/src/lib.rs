//! The Python binding of jobq.
