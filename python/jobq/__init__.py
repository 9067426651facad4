"""jobq: an embedded job queue.

    with jobq.open() as svc:
        svc.enqueue("mail", b"ada@example.org")
        for job in svc.consume("mail", idle=1):  # until none came for a second
            with job:  # done at the end; retried later after an exception
                print("sending to", job.payload.decode())

Seconds are floats or timedeltas, not negative, kept in milliseconds and rounded up. Dates go in as aware
datetimes and come out in UTC. Every method may be called from any thread. What is wrong with an argument is a
TypeError or a ValueError; everything else that jobq raises is a JobqError.
"""

import atexit
import os
from typing import TYPE_CHECKING

from jobq._jobq import __version__ as __version__
from jobq._jobq import _close_all
from jobq.errors import (
    InternalError,
    InvalidTransition,
    JobNotFound,
    JobqError,
    LeaseLost,
    QueueFull,
    RepositoryCorrupt,
    RepositoryError,
    RepositoryFailed,
    RepositoryLocked,
    ServiceClosed,
)
from jobq.forks import leave_to_parent as _leave_to_parent
from jobq.options import JobId, JobOptions, Limits, Reason, Retention, Status
from jobq.repositories import Memory, Repository, Sled
from jobq.service import Job, JobService, Topic
from jobq.service import open as open

if TYPE_CHECKING:
    from jobq.views import JobInfo, LogEntry, Recovery, ServiceStats, Stats, TopicStats
else:
    _VIEWS = frozenset({"JobInfo", "LogEntry", "Recovery", "ServiceStats", "Stats", "TopicStats"})

    def __getattr__(name):
        # The views are dataclasses: to build them takes longer than all the rest, so they wait for use.
        if name not in _VIEWS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from jobq import views

        globals().update({view: getattr(views, view) for view in _VIEWS})
        return globals()[name]

    def __dir__():
        return sorted({*globals(), *_VIEWS})


# Without `open`: `from jobq import *` must not replace the builtin.
__all__ = [
    "InternalError",
    "InvalidTransition",
    "Job",
    "JobId",
    "JobInfo",
    "JobNotFound",
    "JobOptions",
    "JobService",
    "JobqError",
    "LeaseLost",
    "Limits",
    "LogEntry",
    "Memory",
    "QueueFull",
    "Reason",
    "Recovery",
    "Repository",
    "RepositoryCorrupt",
    "RepositoryError",
    "RepositoryFailed",
    "RepositoryLocked",
    "Retention",
    "ServiceClosed",
    "ServiceStats",
    "Sled",
    "Stats",
    "Status",
    "Topic",
    "TopicStats",
]

# Users meet these names as jobq.X, and so do tracebacks and pickles: the files they live in may change.
for _public in [globals()[name] for name in ("open", *__all__) if name in globals()]:
    if getattr(_public, "__module__", "").startswith("jobq."):
        _public.__module__ = "jobq"

atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
