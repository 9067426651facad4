//! The engine of jobq.
