"""The frame of a bench run: the machine above it, the figures per operation below it, a fresh service for
each bench."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import jobq
from benches.common import FIGURES, machine


def pytest_report_header() -> list[str]:
    """Interpreter, machine and load."""
    return machine()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The tables above are per round; people think in operations. Groups and rows in the order they ran."""
    if not FIGURES:
        return
    terminalreporter.section("per operation: median (quartiles), and times the first row of its group")
    for group in dict.fromkeys(figure.group for figure in FIGURES):
        rows = [figure for figure in FIGURES if figure.group == group]
        terminalreporter.write_line(group)
        first: float | None = None
        for row in rows:
            first = row.median if first is None else first
            ratio = f"{row.median / first:8.2f} x" if first > 0 else ""
            terminalreporter.write_line(
                f"  {row.name:34} {row.median:14,.1f} {row.unit:12} ({row.low:,.1f} - {row.high:,.1f}){ratio}"
            )
    for line in machine():
        terminalreporter.write_line(line)


@pytest.fixture
def svc() -> Iterator[jobq.JobService]:
    """A service in memory with every default."""
    with jobq.JobService() as service:
        yield service
