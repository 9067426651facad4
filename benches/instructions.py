"""Instructions per operation, counted by valgrind's callgrind: exact where wall time is noise.

`python -m benches.instructions [NAME ...]`: each row is the difference of two runs of different length in
fresh interpreters (`-S`, a fixed hash seed), divided by the turns between them, so that start, import and
warm-up cancel. The loop is counted too; its own row says how much it is. Without valgrind nothing is
measured, and the exit status is 2.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from queue import PriorityQueue, SimpleQueue

import jobq
from benches import common
from benches.common import PAYLOAD, Run, machine

ROOT = Path(__file__).parent.parent
SHORT, LONG = 2_000, 12_000  # turns; a batch of 1,000 counts as 1,000
MISSING = "NOT MEASURED: valgrind is not installed (apt-get install valgrind)"


class ValgrindMissing(Exception):
    """There is no valgrind on PATH."""


def _handle() -> Run:
    return partial(common.cycle_handle, topic=jobq.JobService().topic("t"))


def _retention_full() -> Run:
    svc = jobq.JobService(retention=jobq.Retention(count=SHORT // 2))
    return partial(common.cycle_handle, topic=svc.topic("t"))


def _name() -> Run:
    return partial(common.cycle_name, svc=jobq.JobService(), name="t")


def _with() -> Run:
    return partial(common.cycle_with, topic=jobq.JobService().topic("t"))


def _batch() -> Run:
    svc = jobq.JobService()
    run = partial(common.cycle_batch, svc=svc, topic=svc.topic("t"), payloads=[PAYLOAD] * 1_000)
    return lambda n: run(n // 1_000)


def _reserve_empty() -> Run:
    return partial(common.reserve_empty, topic=jobq.JobService().topic("t"))


SUBJECTS: dict[str, Callable[[], Run]] = {
    "loop": lambda: common.loop,
    "noop3": lambda: common.noop3,
    "handle": _handle,
    "handle, retention full": _retention_full,
    "name": _name,
    "with": _with,
    "batch of 1,000, per job": _batch,
    "reserve_empty": _reserve_empty,
    "simple_queue": lambda: partial(common.cycle_simple_queue, queue=SimpleQueue()),
    "heap": lambda: partial(common.cycle_heap, heap=[], serial=count()),
    "priority_queue": lambda: partial(common.cycle_priority_queue, queue=PriorityQueue(), serial=count()),
}


def instructions(name: str) -> float:
    """Instructions of one turn, its loop included."""
    return (_count(name, LONG) - _count(name, SHORT)) / (LONG - SHORT)


def _count(name: str, turns: int) -> int:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise ValgrindMissing(MISSING)
    package = Path(jobq.__file__).parent.parent
    environment = os.environ | {
        "PYTHONHASHSEED": "0",
        "PYTHONMALLOC": "pymalloc",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{package}",
    }
    command = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-S"]
    command += ["-m", "benches.instructions", "--run", name, str(turns)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    collected = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if done.returncode or collected is None:
        raise SystemExit(f"callgrind gave no count for {name!r}:\n{done.stderr}")
    return int(collected[1])


def main(names: list[str]) -> int:
    """Print a table; all rows without names."""
    for line in machine():
        print(line)
    print(f"callgrind, ({LONG:,} turns - {SHORT:,} turns) / {LONG - SHORT:,}; payload {len(PAYLOAD)} bytes")
    for name in names or SUBJECTS:
        try:
            print(f"{name:28}{instructions(name):12,.1f}", flush=True)
        except ValgrindMissing as missing:
            print(missing, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        SUBJECTS[sys.argv[2]]()(int(sys.argv[3]))
    else:
        sys.exit(main(sys.argv[1:]))
