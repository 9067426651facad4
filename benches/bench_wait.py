"""Blocked hand-off between two threads: ping-pong with and without a timeout, and a stream.

Machine and interpreter: printed above the tables. Method: a loop of round trips, or one stream of N jobs, per
round, 15 rounds, median; collector on; jobq settles each job, which SimpleQueue has no need to. Baseline in
the same run: queue.SimpleQueue, with the same timeout where there is one. Thread switches make this the
noisiest file of all.
"""

from __future__ import annotations

from functools import partial

import pytest

import jobq
from benches.common import Benchmark, measure
from benches.handoff import PATIENCE, ping_pong, ping_pong_simple, stream, stream_simple

TIMEOUTS = pytest.mark.parametrize("timeout", [None, PATIENCE], ids=["no timeout", "timeout"])


def title(timeout: float | None) -> str:
    return f"ping-pong, {'without' if timeout is None else 'with'} timeout, per round trip"


@TIMEOUTS
def test_ping_pong(benchmark: Benchmark, svc: jobq.JobService, timeout: float | None) -> None:
    with ping_pong(svc, timeout) as run:
        measure(benchmark, title(timeout), run, turns=2_000)


@TIMEOUTS
def test_ping_pong_simple_queue(benchmark: Benchmark, timeout: float | None) -> None:
    with ping_pong_simple(timeout) as run:
        measure(benchmark, title(timeout), run, turns=2_000)


@pytest.mark.parametrize("batch", [1, 10, 100])
def test_stream(benchmark: Benchmark, svc: jobq.JobService, batch: int) -> None:
    measure(benchmark, "stream, per job", partial(stream, svc=svc, batch=batch))


def test_stream_simple_queue(benchmark: Benchmark) -> None:
    measure(benchmark, "stream, per job", stream_simple)
