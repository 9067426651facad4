"""A deadlock in native code that holds the GIL can be ended by nothing in Python: neither signal handlers
nor other threads run. The settings in pyproject.toml must end it all the same, or a hung test would hang
CI for ever.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent

# PyDLL keeps the GIL during the call; the second lock of a plain mutex by its owner never returns.
DEADLOCK = """
import ctypes
import sys

def test_deadlock():
    libc = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(256)
    assert libc.pthread_mutex_lock(mutex) == 0
    print("locked", file=sys.__stderr__, flush=True)
    libc.pthread_mutex_lock(mutex)
"""


def start_deadlock(folder: Path, *options: str) -> subprocess.Popen[str]:
    """The deadlock under the project's own settings, with a shorter fuse."""
    test = folder / "test_deadlock.py"
    test.write_text(DEADLOCK, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(PROJECT / "pyproject.toml"),
        f"--rootdir={folder}",
        "-s",
    ]
    command += ["-p", "no:cacheprovider", "-o", "faulthandler_timeout=1", *options, str(test)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_deadlock_that_holds_the_gil_ends_and_fails(tmp_path: Path) -> None:
    with start_deadlock(tmp_path) as run:
        try:
            shown, told = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode != 0
    assert "locked" in told
    assert "Timeout" in told
    assert "in test_deadlock" in told, "the traceback names the place"
    assert "passed" not in shown


def test_without_the_guard_it_hangs(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    with start_deadlock(tmp_path, "-o", "faulthandler_exit_on_timeout=false") as run:
        killer = threading.Timer(60, run.kill)
        killer.start()
        try:
            assert run.stderr
            told = next((line for line in run.stderr if "Timeout" in line), None)
            assert told, "the fuse never burned"
            with pytest.raises(subprocess.TimeoutExpired):
                run.wait(timeout=3)
        finally:
            killer.cancel()
            run.kill()
