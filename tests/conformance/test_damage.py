"""Contract C3: a job whose bytes have rotted is never served, and takes nothing else with it."""

import pytest

from jobq import JobId, JobOptions, JobService, Reason, Status
from jobq.testing import ManualClock

from .dict_repository import Disk
from .factory import DictHome, Factory
from .observe import exists, hold, recount

MARK = b"a payload that is easy to find again. "
BIG = MARK * 4000
"""Far larger than anything that would be kept in the record itself."""


def jobs_disk(factory: Factory) -> Disk:
    home = factory.home
    assert isinstance(home, DictHome) and home.jobs_disk is not None
    return home.jobs_disk


def flipped(value: bytes, at: int) -> bytes:
    changed = bytearray(value)
    changed[at] ^= 0x40
    return bytes(changed)


def stored(factory: Factory, clock: ManualClock, payload: bytes) -> tuple[list[JobId], set[bytes]]:
    """Three jobs of one topic, closed; and the keys that came with the second."""
    svc = factory.open(clock)
    first = svc.enqueue("t", b"first")
    svc.flush()
    before = set(jobs_disk(factory).copy().data)
    second = svc.enqueue("t", payload, options=JobOptions(name="second"))
    keys = set(jobs_disk(factory).copy().data) - before
    third = svc.enqueue("t", b"third")
    svc.close()
    return [first, second, third], keys


def payload_keys(factory: Factory, keys: set[bytes]) -> list[bytes]:
    return sorted(key for key in keys if MARK in jobs_disk(factory).data[key])


def served(svc: JobService) -> list[JobId]:
    """The ids of all that can be reserved, each finished at once."""
    seen = []
    while jobs := svc.reserve("t", 10, timeout=0):
        seen += [job.id for job in jobs]
        svc.done_many(jobs)
    return seen


@pytest.mark.parametrize("how", ["changed", "cut short", "gone"])
def test_C3_a_damaged_payload_is_never_served(python_factory: Factory, clock: ManualClock, how: str) -> None:
    """A worker must not be handed bytes that nobody wrote; the next job is served in its stead."""
    ids, keys = stored(python_factory, clock, BIG)
    disk = jobs_disk(python_factory)
    key = payload_keys(python_factory, keys)[0]
    value = disk.data[key]
    if how == "changed":
        disk.data[key] = flipped(value, value.index(MARK) + 3)
    elif how == "cut short":
        disk.data[key] = value[: len(value) - len(MARK)]
    else:
        del disk.data[key]
    svc = python_factory.open(clock)
    assert served(svc) == [ids[0], ids[2]]
    info = svc.info(ids[1])
    assert (info.status, info.reason, info.name) == (Status.CANCELED, Reason.DAMAGED, "second")
    stats = svc.topic_stats("t")
    assert (stats.done, stats.canceled, stats.dead) == (2, 1, 1)
    recount(svc)


def test_C3_damage_is_met_at_every_way_to_a_job(python_factory: Factory, clock: ManualClock) -> None:
    """One at a time, in a batch, by consume: it is stepped over each time."""
    svc = python_factory.open(clock)
    good: list[JobId] = []
    bad: list[JobId] = []
    for i in range(9):
        (bad if i % 2 == 0 else good).append(svc.enqueue("t", BIG if i % 2 == 0 else b"fine"))
    svc.close()
    disk = jobs_disk(python_factory)
    for key in [key for key, value in disk.data.items() if MARK in value]:
        disk.data[key] = flipped(disk.data[key], disk.data[key].index(MARK))
    svc = python_factory.open(clock)
    job = hold(svc)
    assert job.id == good[0]
    batch = svc.reserve("t", 2, timeout=0)
    assert {job.id for job in batch} <= set(good[1:])
    rest = list(svc.consume("t", batch=5, idle=0))
    assert [job.id for job in [*batch, *rest]] == good[1:]
    assert {svc.info(id).reason for id in bad} == {Reason.DAMAGED}
    recount(svc)


def test_C3_a_damaged_job_is_a_dead_letter_to_be_deleted(python_factory: Factory, clock: ManualClock) -> None:
    """An operator can find it and clear it away."""
    ids, keys = stored(python_factory, clock, BIG)
    del jobs_disk(python_factory).data[payload_keys(python_factory, keys)[0]]
    svc = python_factory.open(clock)
    served(svc)
    assert [info.id for info in svc.find(reason=Reason.DAMAGED)] == [ids[1]]
    svc.delete(ids[1])
    assert not exists(svc, ids[1])
    recount(svc)


@pytest.mark.parametrize("where", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("payload", [b"small", BIG], ids=["small", "big"])
def test_C3_a_damaged_record_is_never_served(
    python_factory: Factory, clock: ManualClock, payload: bytes, where: float
) -> None:
    """Wherever the bit flipped: canceled if its topic is known, else set aside and counted as lost."""
    ids, keys = stored(python_factory, clock, payload)
    disk = jobs_disk(python_factory)
    records = [key for key in keys if MARK not in disk.data[key]]
    assert records
    for key in records:
        value = disk.data[key]
        if value:
            disk.data[key] = flipped(value, round(where * (len(value) - 1)))
    svc = python_factory.open(clock)
    assert served(svc) == [ids[0], ids[2]]
    if exists(svc, ids[1]):
        info = svc.info(ids[1])
        assert (info.status, info.reason) == (Status.CANCELED, Reason.DAMAGED)
        assert svc.recovery.quarantined == ()
    else:
        assert svc.recovery.quarantined == (ids[1],)
        assert svc.topic_stats("t").lost == (1 if python_factory.topics else 0)
    recount(svc)
    assert svc.enqueue("t", b"") > ids[2]
