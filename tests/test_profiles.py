"""A fresh seed that cannot be replayed finds a fault once and never again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")
PRINTS = """
from hypothesis import given, strategies as st
drawn = []
@given(st.integers())
def test_draws(n): drawn.append(n)
def test_shows(): print("drawn", drawn)
"""


def drawn(folder: Path, *arguments: str, **environment: str) -> tuple[str, str]:
    """The header's line on Hypothesis, and what it drew, in a run of its own beside our conftest."""
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_draws.py").write_text(PRINTS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    header = re.search(r"^hypothesis: .*$", done.stdout, re.MULTILINE)
    numbers = re.search(r"drawn (\[.*\])", done.stdout)
    assert header
    assert numbers
    return header[0], numbers[1]


def test_ci_draws_the_same_each_time(tmp_path: Path) -> None:
    header, first = drawn(tmp_path, "--hypothesis-profile=ci")
    assert header == "hypothesis: profile ci"
    assert drawn(tmp_path, CI="true", JOBQ_HYPOTHESIS_PROFILE="ci") == (header, first)


def test_explore_draws_anew_and_replays_by_its_seed(tmp_path: Path) -> None:
    header, first = drawn(tmp_path, "--hypothesis-profile=explore", CI="true")
    other, second = drawn(tmp_path, "--hypothesis-profile=explore", CI="true")
    assert header != other
    assert first != second
    seed = re.search(r"--hypothesis-seed=\d+", header)
    assert seed
    assert drawn(tmp_path, "--hypothesis-profile=explore", seed[0]) == (header, first)
