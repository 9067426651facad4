"""Reads what a run of pytest wrote with --junitxml: which tests ran, which were skipped."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET


@dataclass(frozen=True)
class Report:
    """Tests as `tests.file::name`, all parameters under one name."""

    ran: frozenset[str]
    skipped: frozenset[str]

    @property
    def names(self) -> set[str]:
        """The bare function names of what ran."""
        return {test.rpartition("::")[2] for test in self.ran}


def read_report(path: Path) -> Report:
    """Every test case; one with any skipped parameters is in `skipped` too."""
    ran: set[str] = set()
    skipped: set[str] = set()
    for case in ET.parse(path).iter("testcase"):  # noqa: S314
        name = re.sub(r"\[.*", "", case.get("name", ""), flags=re.DOTALL)
        test = f"{case.get('classname', '')}::{name}"
        (ran if case.find("skipped") is None else skipped).add(test)
    return Report(frozenset(ran), frozenset(skipped))
