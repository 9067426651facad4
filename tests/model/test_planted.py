"""The machine finds faults: on each broken variant of the engine it must fail, and pass on the engine as it
is.

The variants lie behind the Cargo feature `planted`, in a build of their own (`make planted`), and are chosen
by the environment when a service is opened. No other build has them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import jobq

from .runner import AGREES, DIFFERS

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "target" / "planted-site"
SECONDS = 100
"""A run takes about fifteen; the watchdog of the whole suite bites at 120."""


def run(*arguments: str, planted: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python on the planted build. Without it nothing is tested, so its absence is a failure."""
    assert (SITE / "jobq").is_dir(), f"{SITE} is missing: run `make planted` first, as `make test` does"
    environment = {name: value for name, value in os.environ.items() if name != "JOBQ_PLANTED"}
    environment["PYTHONPATH"] = str(SITE)
    if planted is not None:
        environment["JOBQ_PLANTED"] = planted
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def assert_ended(done: subprocess.CompletedProcess[str], status: int) -> None:
    assert f"jobq of {SITE}" in done.stdout, f"another jobq was run:\n{done.stdout}{done.stderr}"
    assert done.returncode == status, (
        f"ended with {done.returncode}, not {status}:\n{done.stdout}\n{done.stderr}"
    )


@pytest.mark.parametrize(
    "fault", ["unfenced_done", "early_promotion", "lost_order", "returned_last", "forgotten_wake"]
)
def test_the_machine_finds_the_planted_fault(fault: str) -> None:
    """A machine that passes on a broken engine would prove nothing about a sound one."""
    assert_ended(run("-m", "tests.model.runner", planted=fault), DIFFERS)


def test_the_machine_passes_where_no_fault_is_chosen() -> None:
    """The same build, examples and machine: what it finds above is the fault and nothing else."""
    assert_ended(run("-m", "tests.model.runner"), AGREES)


def test_only_the_planted_build_has_the_variants() -> None:
    """A wheel must not carry a switch that breaks it."""
    asked = "from jobq import _jobq; print(getattr(_jobq, '_planted', None))"
    done = run("-c", asked)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert not hasattr(jobq._jobq, "_planted"), f"{jobq._jobq.__file__} was built with the feature `planted`"
