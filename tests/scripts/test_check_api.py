"""The decided API is held only if every way to depart from it is seen."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

import check_api

API = """
from dataclasses import dataclass
from enum import StrEnum

__version__: str
JobId: TypeAlias = int

def open(path: str | None = None, *, interval: float = 0.1) -> Service: ...

class Status(StrEnum):
    READY = "ready"

@dataclass(frozen=True, kw_only=True)
class Info:
    id: int
    lease: float
    @property
    def live(self) -> int: ...

class Lost(Exception):
    token: int

@final
class Service:
    def __init__(self, jobs: int | None = None, *, max_crashes: int = 3) -> None: ...
    def __exit__(self, exc: BaseException | None, /) -> None: ...
    @overload
    def reserve(self, topic: str, *, timeout: None = None) -> Job: ...
    @overload
    def reserve(self, topic: str, *, timeout: float) -> Job | None: ...
    @classmethod
    def none(cls) -> Self: ...
    @property
    def closed(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...

class ManualClock:
    def __init__(self, start: int | None = None) -> None: ...
    def log(self, message: str, *args: object) -> None: ...
"""

PACKAGE = """
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Info", "JobId", "Lost", "Service", "Status"]
__version__ = "1"
JobId = int

def open(path=None, *, interval=0.1): ...

class Status(StrEnum):
    READY = "ready"

@dataclass(frozen=True, kw_only=True)
class Info:
    id: int
    lease: float
    @property
    def live(self): ...

class Lost(Exception):
    token: int
    def __init__(self, message, token): ...

class _Value:
    def __eq__(self, other, /): ...

class Service(_Value):
    __slots__ = ("_hidden",)
    def __init__(self, jobs=None, *, max_crashes=3): ...
    def __exit__(self, exc, /): ...
    def reserve(self, topic, *, timeout=None): ...
    @classmethod
    def none(cls): ...
    @property
    def closed(self): ...
    def _private(self): ...
"""

STUB = """
class Service:
    def __new__(cls, jobs: int | None = None, *, max_crashes: int = 3) -> Self: ...
    def __exit__(self, exc: BaseException | None, /) -> None: ...
    def reserve(self, topic: str, *, timeout: float | None = None) -> Job | None: ...
    @classmethod
    def none(cls) -> Self: ...
    @property
    def closed(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...

def _private() -> None: ...
"""

CLOCK = """
__all__ = ["ManualClock"]
class ManualClock:
    def __new__(cls, start=None): ...
    def log(self, message, *args): ...
"""


def module(name: str, source: str) -> ModuleType:
    made = sys.modules[name] = ModuleType(name)  # dataclasses look their module up there
    exec(compile(source, name, "exec", dont_inherit=True), made.__dict__)
    del sys.modules[name]
    return made


def check(folder: Path, package: str = PACKAGE, stub: str = STUB, clock: str = CLOCK) -> dict[str, str]:
    (folder / "api.pyi").write_text(API, encoding="utf-8")
    (folder / "stub.pyi").write_text(stub, encoding="utf-8")
    return check_api.check(
        folder / "api.pyi", folder / "stub.pyi", module("jobq_a", package), module("jobq_b", clock)
    )


def test_the_same_api_shows_no_difference(tmp_path: Path) -> None:
    assert check(tmp_path) == {}


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        pytest.param("jobs=None", "jobs=0", "Service()", id="default"),
        pytest.param("*, max_crashes", "max_crashes", "Service()", id="kind"),
        pytest.param("timeout=None", "timeout", "Service.reserve", id="default gone"),
        pytest.param("topic, *", "name, *", "Service.reserve", id="parameter"),
        pytest.param("def reserve", "def claim", "Service.claim", id="new method"),
        pytest.param("def reserve", "def claim", "Service.reserve", id="method gone"),
        pytest.param("exc, /", "exc", "Service.__exit__", id="positional"),
        pytest.param("    @classmethod\n", "", "Service.none", id="classmethod"),
        pytest.param("    @property\n    def closed", "    def closed", "Service.closed", id="property"),
        pytest.param("_Value)", "Exception)", "Service", id="base"),
        pytest.param("def __eq__", "def __ne__", "Service.__eq__", id="equality"),
        pytest.param("interval=0.1", "interval=1", "open", id="function"),
        pytest.param('"ready"', '"READY"', "Status.READY", id="enum value"),
        pytest.param("READY =", "LATE = 'late'; READY =", "Status.LATE", id="enum member"),
        pytest.param("    id: int\n", "", "Info", id="field gone"),
        pytest.param("frozen=True, ", "", "Info", id="not frozen"),
        pytest.param("kw_only=True", "kw_only=False", "Info", id="not by keyword"),
        pytest.param("def live", "def alive", "Info.live", id="property of values"),
        pytest.param("    token: int\n", "", "Lost.token", id="attribute"),
        pytest.param('"Lost", ', "", "Lost", id="not exported"),
        pytest.param('["Info"', '["open", "Info"', "open", id="exported open"),
        pytest.param("JobId = int", "Other = int", "JobId", id="value"),
        pytest.param(
            "class Status", "class Extra: ...\n__all__.append('Extra')\nclass Status", "Extra", id="new class"
        ),
    ],
)
def test_a_difference_of_the_package_is_seen(tmp_path: Path, old: str, new: str, name: str) -> None:
    assert old in PACKAGE
    assert name in check(tmp_path, package=PACKAGE.replace(old, new, 1))


def test_a_class_gone_is_one_difference(tmp_path: Path) -> None:
    assert set(check(tmp_path, clock="__all__ = []")) == {"ManualClock"}


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        pytest.param("= 3", "= 4", "Service()", id="default"),
        pytest.param("def reserve", "def claim", "Service.reserve", id="method"),
        pytest.param("def _private", "def public", "public", id="function"),
    ],
)
def test_a_difference_of_the_stub_is_seen(tmp_path: Path, old: str, new: str, name: str) -> None:
    assert name in check(tmp_path, stub=STUB.replace(old, new, 1))


def test_an_intended_difference_needs_its_record(tmp_path: Path) -> None:
    record = tmp_path / "record.md"
    lines = {"Sled": "package: Sled: decided class(), found nothing"}
    assert check_api.report(lines, {}) == 1
    assert check_api.report(lines, {"Sled": str(record)}) == 1
    record.touch()
    assert check_api.report(lines, {"Sled": str(record)}) == 0
    assert check_api.report(lines, {"Sled": str(record), "open": str(record)}) == 1, (
        "a difference that is no more"
    )
