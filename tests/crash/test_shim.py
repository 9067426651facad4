"""The shim of faults sees every storage call: one it missed would be a point that no sweep ever reaches."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .build import missing
from .faults import Fault, tally
from .launch import DEADLINE, PATHS, command
from .subjects import SUBJECTS
from .supervisor import Case
from .trace import storage_calls


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_shim_sees_what_strace_sees(subject: str, tmp_path: Path) -> None:
    """Calls made past libc, and stores to a mapped file, would leave every sweep blind."""
    strace = shutil.which("strace")
    if strace is None:
        missing("strace")
        return
    case = Case(tmp_path, subject, "always", "shim")
    fault = Fault(store=case.store, tally=tmp_path / "tally").environment()
    preset = {**fault, "PYTHONPATH": ":".join(PATHS)}
    sets = [part for name, value in preset.items() for part in ("-E", f"{name}={value}")]
    for _ in range(2):  # the second opens what the first has left
        trace = tmp_path / "trace"
        (tmp_path / "tally").unlink(missing_ok=True)
        tracer = [strace, "-f", "-y", "-s", "0", "-o", str(trace), *sets]
        program = command("victim", case.plan(steps=60).to_json())
        done = subprocess.run(
            [*tracer, *program], capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        assert done.returncode == 0, done.stderr
        seen, mapped = storage_calls(trace, case.store)
        assert not mapped, f"the store is written through a mapping, which no shim sees: {mapped}"
        assert tally(tmp_path / "tally") == dict(seen)
        assert seen.total() > 60, "the workload hardly touched the store"
