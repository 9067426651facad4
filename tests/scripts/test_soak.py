"""The soak's totals: what is committed as proof must say what was run, and keep every failure."""

from collections import Counter
from pathlib import Path
from typing import Any

import soak

REPORT = """<testsuites><testsuite>
<testcase name="a"><properties><property name="crash" value="..."/><property name="count:kills" value="60"/>
</properties></testcase>
<testcase name="b"><properties><property name="count:kills" value="5"/></properties>
<failure message="LOST: x"/></testcase>
<testcase name="c"><skipped/></testcase>
</testsuite></testsuites>"""


def test_a_report_gives_its_numbers_and_its_failures(tmp_path: Path) -> None:
    """A test that was skipped proved nothing, so a soak without root is no soak."""
    path = tmp_path / "report.xml"
    path.write_text(REPORT)
    counts, failures = soak.outcome(path)
    assert counts == Counter(kills=65, tests=3)
    assert failures == ["b: LOST: x", "c: skipped, so not tested"]


def test_rounds_are_added_and_no_failure_is_forgotten(tmp_path: Path) -> None:
    """Totals only grow: a later round that is clean does not clear an earlier one that was not."""
    totals: dict[str, Any] = {}
    round_ = {"seconds": 60.0, "counts": {"kills": 2}, "commit": "c1", "seed": "1.1", "failures": ["LOST"]}
    soak.add(totals, "p", round_)
    soak.add(totals, "p", round_ | {"seed": "1.2", "failures": []})
    soak.write(totals, tmp_path / "deep" / "totals.json")
    part = totals["parts"]["p"]
    assert (part["rounds"], part["minutes"], part["counts"]) == (2, 2.0, {"kills": 4})
    assert (part["seeds"], part["failures"], part["commits"]) == (["1.1", "1.2"], ["LOST"], {"c1": 2})


def test_every_part_names_tests_that_are_there() -> None:
    """A part whose file was renamed would run nothing."""
    folder = Path(__file__).resolve().parents[1] / "crash"
    named = [test.partition("::")[0] for part in soak.PARTS for test in part.tests.split()]
    assert all((folder / name).is_file() for name in named)
    assert len({part.name for part in soak.PARTS}) == len(soak.PARTS)
