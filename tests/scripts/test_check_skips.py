"""A run that left tests out must not pass for a whole one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import check_skips
import run_cargo_tests

PASSES = "def test_passes(): pass\n"
SKIPS = "import pytest\n@pytest.mark.skip\ndef test_skipped(): pass\n"
XFAILS = "import pytest\n@pytest.mark.xfail\ndef test_skipped(): assert False\n"
SOME = """
import pytest
@pytest.mark.parametrize("n", [1, 2])
def test_skipped(n):
    if n == 2: pytest.skip("two")
"""


def report_of(folder: Path, source: str) -> Path:
    """The report of a real run of pytest over `source`."""
    (folder / "test_it.py").write_text(source, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        "none.ini",
        "-p",
        "no:cacheprovider",
        "--junitxml=report.xml",
    ]
    (folder / "none.ini").write_text("[pytest]\n", encoding="utf-8")
    subprocess.run(command, cwd=folder, check=False, timeout=60, capture_output=True)
    return folder / "report.xml"


@pytest.mark.parametrize(
    ("source", "allowed", "status"),
    [
        pytest.param(PASSES, "", 0, id="nothing skipped"),
        pytest.param("", "", 1, id="nothing ran"),
        pytest.param(PASSES + SKIPS, "", 1, id="skipped"),
        pytest.param(PASSES + XFAILS, "", 1, id="expected to fail"),
        pytest.param(SOME, "", 1, id="one parameter skipped"),
        pytest.param(PASSES + SKIPS, "test_it::test_skipped  # why", 0, id="listed"),
        pytest.param(PASSES + SKIPS, "test_it::test_skipped", 1, id="listed without reason"),
        pytest.param(SKIPS, "test_it::test_skipped  # why", 1, id="all skipped"),
    ],
)
def test_a_skip_that_is_not_listed_is_red(tmp_path: Path, source: str, allowed: str, status: int) -> None:
    listed = tmp_path / "allowed.txt"
    listed.write_text(allowed, encoding="utf-8")
    assert check_skips.main([report_of(tmp_path, source)], listed) == status


def test_no_report_is_red(tmp_path: Path) -> None:
    listed = tmp_path / "allowed.txt"
    listed.touch()
    assert check_skips.main([], listed) == 1


def cargo_says(passed: int, ignored: int = 0, filtered: int = 0, status: int = 0) -> list[str]:
    """A command that speaks as cargo does."""
    line = (
        f"test result: ok. {passed} passed; 0 failed; {ignored} ignored; 0 measured; {filtered} filtered out;"
    )
    return [sys.executable, "-c", f"import sys; print({line!r}); sys.exit({status})"]


def test_cargo_that_ran_all_is_green() -> None:
    assert run_cargo_tests.main(cargo_says(3)) == 0


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(cargo_says(0), id="none"),
        pytest.param(cargo_says(3, ignored=1), id="ignored"),
        pytest.param(cargo_says(3, filtered=1), id="filtered"),
        pytest.param(cargo_says(3, status=101), id="failed"),
    ],
)
def test_cargo_that_left_tests_out_is_red(command: list[str]) -> None:
    assert run_cargo_tests.main(command) != 0
