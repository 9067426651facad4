//! The engine of jobq: topics of jobs, delays, leases and the job state machine, without Python.
//!
//! Layers, each using only those above it: words ([`job`], [`options`], [`stats`], [`error`], [`clock`]), rules
//! ([`fsm`], [`backoff`]) and structures ([`slab`], [`list`], [`ready`], [`ids`], [`wheel`], [`delays`], [`leases`]),
//! the [`repository`] trait and its adapters, topics and the [`engine`].

#![forbid(unsafe_code)]

pub mod backoff;
pub mod clock;
pub mod delays;
pub mod engine;
pub mod error;
pub mod fsm;
pub mod ids;
pub mod job;
pub mod leases;
pub mod list;
pub mod options;
pub mod ready;
pub mod repository;
pub mod slab;
pub mod stats;
pub mod sync;
pub mod topic;
pub mod wheel;
