"""The keywords that a test may open a service with, whatever it stands on."""

from typing import TypedDict

from jobq import JobOptions, Limits, Retention


class ServiceOptions(TypedDict, total=False):
    """JobService's keywords, but for the clock."""

    defaults: JobOptions | None
    retention: Retention | None
    dead_retention: Retention | None
    limits: Limits | None
    max_crashes: int
