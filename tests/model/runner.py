"""Runs the machine on the jobq that PYTHONPATH gives, and says by its exit status what came of it.

    JOBQ_PLANTED=lost_order PYTHONPATH=target/planted-site python -m tests.model.runner

0: service and model agree. 3: they differ, as they must where a fault is planted. Anything else: the run
itself failed. Always the same examples; nothing is shrunk, since a fault that hangs a worker costs seconds at
each try.
"""

from __future__ import annotations

import os
import sys

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

import jobq

from .factories import MEMORY
from .machine import machine

EXAMPLES = 200
AGREES, DIFFERS = 0, 3


def main() -> int:
    print(f"jobq of {jobq.__file__}, planted: {os.environ.get('JOBQ_PLANTED', 'nothing')}", flush=True)
    fixed = settings(
        derandomize=True,
        database=None,
        max_examples=EXAMPLES,
        stateful_step_count=50,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine(MEMORY), settings=fixed)
    except (AssertionError, jobq.JobqError) as difference:
        print(f"they differ: {type(difference).__name__}: {difference}")
        return DIFFERS
    print("they agree")
    return AGREES


if __name__ == "__main__":
    sys.exit(main())
