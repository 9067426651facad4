"""Refuses a test run that ran nothing, or that skipped a test which is not on the committed list.

Reads the JUnit reports of pytest. An expected failure counts as a skip: it is a test that could not fail.
"""

from __future__ import annotations

import sys
from pathlib import Path

from report import read_report

ALLOWED = Path("tests/allowed_skips.txt")


def allowed_skips(path: Path) -> set[str]:
    """Lines of `file::test  # reason`; a line without its reason allows nothing."""
    lines = (line.partition("#") for line in path.read_text(encoding="utf-8").splitlines())
    return {test.strip() for test, _, reason in lines if test.strip() and reason.strip()}


def main(reports: list[Path], allowed: Path = ALLOWED) -> int:
    """Each report stands for itself: one that ran nothing is red beside a full one."""
    listed = allowed_skips(allowed)
    failed = not reports
    for path in reports:
        report = read_report(path)
        refused = sorted(report.skipped - listed)
        for test in refused:
            print(f"{path}: skipped and not in {allowed}: {test}")
        print(f"skips: {path}: {len(report.ran)} tests ran, {len(report.skipped)} were skipped")
        failed = failed or bool(refused) or not report.ran
    return int(failed)


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
