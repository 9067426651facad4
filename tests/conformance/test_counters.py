"""Contract V6: what a user can drive for ever does not wrap."""

import struct
import zlib

from jobq import JobOptions, Status
from jobq.testing import ManualClock

from .dict_repository import Disk
from .factory import DictHome, Factory
from .observe import hold

MOST = 2**32 - 1
ATTEMPTS = 10
"""The place of the attempts in a record of where a job stands; the retries follow, and a crc32 ends it."""


def rewritten(disk: Disk, attempts: int, retries: int) -> None:
    """Sets the counters in the only record of where a job stands, as if the job had had a very long life."""
    (key,) = [key for key in disk.data if key.startswith(b"s")]
    value = bytearray(disk.data[key][:-4])
    assert struct.unpack_from("<II", value, ATTEMPTS) == (1, 0), "the format has changed: so must this test"
    struct.pack_into("<II", value, ATTEMPTS, attempts, retries)
    disk.data[key] = bytes(value) + struct.pack("<I", zlib.crc32(key + value))


def test_V6_attempts_and_retries_stop_at_their_most(python_factory: Factory, clock: ManualClock) -> None:
    """A job released for years must not come back as one never tried, or with its retries anew."""
    svc = python_factory.open(clock)
    svc.enqueue("t", b"", options=JobOptions(max_retries=MOST, min_backoff=0, max_backoff=0))
    hold(svc).release()
    svc.close()
    home = python_factory.home
    assert isinstance(home, DictHome) and home.jobs_disk is not None
    rewritten(home.jobs_disk, attempts=MOST - 1, retries=MOST - 1)
    svc = python_factory.open(clock)
    for _ in range(3):
        job = hold(svc)
        assert job.attempt == MOST
        job.release()
    assert svc.info(1).attempts == MOST
    assert hold(svc).retry() is Status.CANCELED, "a count that cannot go on is past every bound"
    assert svc.info(1).retries == MOST
