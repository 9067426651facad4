"""A page that names a test which does not exist, or did not run, promises what nobody checks."""

from __future__ import annotations

from pathlib import Path

import pytest

import check_names

RULES = [f"{letter}{number}" for letter, last in check_names.RULES.items() for number in range(1, last + 1)]


def run(folder: Path, page: str, *, without: tuple[str, ...] = (), skipped: str = "", more: str = "") -> int:
    """A report in which every rule but `without` has its test, against one page."""
    tests = [f"test_{rule}_holds[a]" for rule in RULES if rule not in without] + ["test_plain", *more.split()]
    cases = "".join(f'<testcase classname="tests.test_it" name="{name}"/>' for name in tests)
    if skipped:
        cases += f'<testcase classname="tests.test_it" name="{skipped}"><skipped/></testcase>'
    (folder / "report.xml").write_text(
        f"<testsuites><testsuite>{cases}</testsuite></testsuites>", encoding="utf-8"
    )
    (folder / "page.md").write_text(page, encoding="utf-8")
    return check_names.main(folder / "report.xml", [folder / "page.md"], dict.fromkeys(without, "reason"))


def test_names_that_ran_are_green(tmp_path: Path) -> None:
    assert run(tmp_path, "| fault | `test_plain`, `tests/test_it.py::test_O1_holds` |") == 0
    assert run(tmp_path, "`test_plain`", without=("C2",)) == 0


@pytest.mark.parametrize(
    ("page", "skipped"),
    [
        pytest.param("`test_unknown`", "", id="unknown"),
        pytest.param("`test_plain` and `test_unknown`", "", id="one of two"),
        pytest.param("`test_left_out`", "test_left_out", id="skipped"),
        pytest.param("nothing", "", id="none named"),
    ],
)
def test_a_name_that_did_not_run_is_red(tmp_path: Path, page: str, skipped: str) -> None:
    assert run(tmp_path, page, skipped=skipped) == 1


def test_a_rule_without_test_is_red(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "`test_plain`", without=("C2",), more="test_C2_holds") == 1
    assert "take it off" in capsys.readouterr().out
    assert run(tmp_path, "`test_plain`", more="test_O5_holds") == 1
    (tmp_path / "report.xml").write_text(
        '<a><testcase classname="t" name="test_plain"/></a>', encoding="utf-8"
    )
    assert check_names.main(tmp_path / "report.xml", [tmp_path / "page.md"]) == 1
    assert "contract L9: no test" in capsys.readouterr().out
