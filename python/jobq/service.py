"""How a service is opened: `open()`, beside JobService, Topic and Job, which the engine defines."""

import os
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from jobq._jobq import Job, JobService, Topic, __version__, _milliseconds
from jobq.errors import RepositoryError
from jobq.options import JobOptions, Limits, Retention
from jobq.testing import ManualClock

__all__ = ["Job", "JobService", "Topic", "open"]

_Seconds: TypeAlias = float | timedelta

_SYNC = ("always", "interval", "never")


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
    """Open a service: without a path in memory, with one durable, on one store for both roles.

    This release has no durable store yet: any path is a RepositoryError that says so. `sync` and `interval`
    belong to it and are only checked. The other arguments are those of JobService.

    TypeError or ValueError for an argument that is wrong; ValueError for the paths "", ":memory:" and any
    "scheme://" (kept for later engines).
    """
    _check_sync(sync)
    _milliseconds(interval, "interval")
    if path is not None:
        name = _checked_path(path)
        raise RepositoryError(
            f"jobq {__version__} cannot keep jobs on disk yet, so {name!r} was not opened: "
            "call jobq.open() without a path to keep them in memory, "
            "or give JobService a Repository of your own",
            name,
        )
    return JobService(
        defaults=defaults,
        retention=retention,
        dead_retention=dead_retention,
        limits=limits,
        max_crashes=max_crashes,
        clock=clock,
    )


def _check_sync(sync: object) -> None:
    if not isinstance(sync, str):
        raise TypeError(f"sync must be a str, not {type(sync).__name__}")
    if sync not in _SYNC:
        raise ValueError(f"sync must be 'always', 'interval' or 'never', not {sync!r}")


def _checked_path(path: str | os.PathLike[Any]) -> str:
    if not isinstance(path, str) and not hasattr(type(path), "__fspath__"):
        raise TypeError(f"path must be a str or an os.PathLike, not {type(path).__name__}")
    name: Any = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path must be a str or an os.PathLike of str, not of {type(name).__name__}")
    if name in ("", ":memory:"):
        raise ValueError(f"path must name a directory, not be {name!r}: without it jobq.open() is in memory")
    if "\0" in name:
        raise ValueError(f"path must not hold a NUL, as {name!r} does")
    scheme, slashes, _ = name.partition("://")
    if slashes and scheme and all(c.isalnum() or c in "+-." for c in scheme):
        raise ValueError(f"path must name a directory, not a URL like {name!r}: no engine serves {scheme}://")
    return name
