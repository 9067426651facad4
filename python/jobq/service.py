"""How a service is opened: `open()`, beside JobService, Topic and Job, which the engine defines."""

import os
from datetime import timedelta
from typing import Literal, TypeAlias

from jobq._jobq import Job, JobService, Topic
from jobq.options import JobOptions, Limits, Retention
from jobq.repositories import Sled, check_level
from jobq.testing import ManualClock

__all__ = ["Job", "JobService", "Topic", "open"]

_Seconds: TypeAlias = float | timedelta


def open(
    path: str | os.PathLike[str] | None = None,
    *,
    sync: Literal["always", "interval", "never"] = "always",
    interval: _Seconds = 0.1,
    defaults: JobOptions | None = None,
    retention: Retention | None = None,
    dead_retention: Retention | None = None,
    limits: Limits | None = None,
    max_crashes: int = 3,
    clock: ManualClock | None = None,
) -> JobService:
    """Open a service: without a path in memory, with one durable, on one Sled store for both roles.

    `sync` and `interval` belong to the store, and are Sled's. The other arguments are those of JobService.

    TypeError or ValueError for an argument that is wrong; ValueError for the paths "", ":memory:" and any
    "scheme://" (kept for later engines). RepositoryLocked, RepositoryCorrupt, RepositoryError.
    """
    check_level(sync, interval)
    store = None if path is None else Sled(path, sync=sync, interval=interval)
    return JobService(
        store,
        store,
        defaults=defaults,
        retention=retention,
        dead_retention=dead_retention,
        limits=limits,
        max_crashes=max_crashes,
        clock=clock,
    )
