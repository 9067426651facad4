"""An example that nobody runs is wrong within a year; a checker that runs none of them does not say so."""

from __future__ import annotations

from pathlib import Path

import pytest

import check_docs

README = """# it

```python
x = 1
```

```python
assert x == 1
```

```sh
make demo  # see
pip install .
```
"""
PAGE = "Indented:\n\n  ```python\n  if True:\n      y = 2\n  ```\n\n```pycon\n>>> 1 + 1\n2\n```\n"
ARCHITECTURE = (
    "Touch `src/fsm.rs`, `Makefile`, `src/`, `src/*.rs`, `src/<verb>.rs`; `svc.enqueue` is no path.\n"
)


def check(root: Path, **changed: str) -> int:
    """A project whose docs are sound, but for the files that `changed` replaces (`__` stands for `/`)."""
    files = {
        "README.md": README,
        "docs/page.md": PAGE,
        "ARCHITECTURE.md": ARCHITECTURE,
        "Makefile": "demo: ## run\n",
    }
    files |= {"examples/a.py": "print('a')\n", "src/fsm.rs": ""}
    for name, text in (
        files | {name.replace("__", "/").replace("_", "."): text for name, text in changed.items()}
    ).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return check_docs.main(root)


def test_sound_docs_are_green(tmp_path: Path) -> None:
    assert check(tmp_path) == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"README_md": README.replace("x == 1", "x == 2")}, "README.md", id="failing block"),
        pytest.param({"README_md": README.replace("x = 1", "x = ")}, "line 4", id="syntax error"),
        pytest.param({"README_md": "# it\n"}, "no README blocks", id="empty README"),
        pytest.param(
            {"README_md": README.replace("python\nx", "python no-run\nx")}, "README.md:4", id="not run"
        ),
        pytest.param({"README_md": README.replace("python\nx", "py\nx")}, "README.md:4", id="other tag"),
        pytest.param({"README_md": README.replace("make demo", "make it")}, "make it", id="unknown target"),
        pytest.param(
            {"README_md": README.replace("pip install .", "pip install jobq")}, "pip", id="unknown command"
        ),
        pytest.param({"README_md": README.replace("```sh", "```bash")}, "bash", id="shell under another tag"),
        pytest.param({"docs__page_md": PAGE.replace("y = 2", "y = z")}, "docs/page.md", id="failing page"),
        pytest.param(
            {"docs__page_md": PAGE.replace(">\n2", ">\n3").replace("+ 1\n2", "+ 1\n3")}, "Got", id="doctest"
        ),
        pytest.param({"docs__page_md": "none"}, "no docs blocks", id="empty docs"),
        pytest.param({"examples__a_py": "raise SystemExit(3)"}, "examples/a.py", id="failing example"),
        pytest.param(
            {"examples__a_py": "import warnings; warnings.warn('w')"}, "examples/a.py", id="warning"
        ),
        pytest.param({"ARCHITECTURE_md": "`src/none.rs`"}, "src/none.rs", id="path gone"),
        pytest.param({"ARCHITECTURE_md": "`none.md` `src/`"}, "none.md", id="file gone"),
        pytest.param({"ARCHITECTURE_md": "nothing"}, "no paths", id="no path"),
        pytest.param({"ARCHITECTURE_md": ARCHITECTURE + "\n" * 100}, "101 lines", id="too long"),
    ],
)
def test_a_fault_is_red(
    tmp_path: Path, changed: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, **changed) == 1
    assert said in capsys.readouterr().out


def test_an_example_that_hangs_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_docs, "LIMIT", 1)
    assert check(tmp_path, examples__a_py="import threading; threading.Event().wait()") == 1


def test_no_examples_are_red(tmp_path: Path) -> None:
    check(tmp_path)
    (tmp_path / "examples/a.py").unlink()
    assert check_docs.main(tmp_path) == 1
