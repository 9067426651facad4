"""What `import jobq` gives, under which names, and what it costs."""

import pickle
import subprocess
import sys
import tomllib
import typing
from pathlib import Path
from statistics import median

import pytest

import jobq
import jobq.testing

PUBLIC = [
    "InternalError",
    "InvalidTransition",
    "Job",
    "JobId",
    "JobInfo",
    "JobNotFound",
    "JobOptions",
    "JobService",
    "JobqError",
    "LeaseLost",
    "Limits",
    "LogEntry",
    "Memory",
    "QueueFull",
    "Reason",
    "Recovery",
    "Repository",
    "RepositoryCorrupt",
    "RepositoryError",
    "RepositoryFailed",
    "RepositoryLocked",
    "Retention",
    "ServiceClosed",
    "ServiceStats",
    "Sled",
    "Stats",
    "Status",
    "Topic",
    "TopicStats",
]
CLASSES = [name for name in PUBLIC if name != "JobId"]
VIEWS = ["JobInfo", "LogEntry", "Recovery", "ServiceStats", "Stats", "TopicStats"]

# Each takes longer to import than all of jobq, or drags in what does.
HEAVY = {
    "asyncio",
    "concurrent.futures",
    "dataclasses",
    "email",
    "inspect",
    "json",
    "logging",
    "multiprocessing",
    "pathlib",
    "pickle",
    "random",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "traceback",
    "typing_extensions",
    "urllib",
    "uuid",
}


def in_fresh_python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter that has imported nothing, not even what site and its .pth files bring."""
    root = str(Path(jobq.__file__).parent.parent)
    command = [
        sys.executable,
        "-I",
        "-S",
        *options,
        "-c",
        f"import sys; sys.path.insert(0, {root!r}); {code}",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_all_is_sorted_and_exact() -> None:
    # A name here is a promise; one that slips in is kept for ever.
    assert jobq.__all__ == PUBLIC == sorted(PUBLIC)


def test_a_star_import_gives_all_of_it_and_leaves_the_builtin_open_alone() -> None:
    namespace: dict[str, object] = {}
    exec("from jobq import *", namespace)
    assert sorted(namespace.keys() - {"__builtins__"}) == PUBLIC
    assert "open" not in jobq.__all__
    assert callable(jobq.open)


def test_dir_shows_every_public_name_before_any_was_used() -> None:
    shown = in_fresh_python("import jobq; print(*dir(jobq))").stdout.split()
    assert {*PUBLIC, "open", "__version__"} <= set(shown)


def test_no_other_public_name_is_in_the_package() -> None:
    # Submodules and the standard modules it uses apart.
    modules = {name for name, value in vars(jobq).items() if isinstance(value, type(sys))}
    names = {name for name in vars(jobq) if not name.startswith("_")}
    assert names - modules - {"TYPE_CHECKING"} <= {*PUBLIC, "open"}


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_names_the_package_as_its_home(name: str) -> None:
    # Pickles and tracebacks show it; the file a class lives in is nobody's business and may change.
    cls = getattr(jobq, name)
    assert (cls.__module__, cls.__qualname__) == ("jobq", name)
    assert pickle.loads(pickle.dumps(cls)) is cls


def test_open_and_the_manual_clock_name_their_homes() -> None:
    assert jobq.open.__module__ == "jobq"
    assert jobq.testing.ManualClock.__module__ == "jobq.testing"
    assert jobq.testing.__all__ == ["ManualClock"]


@pytest.mark.parametrize("name", VIEWS)
def test_each_view_is_there_on_first_use(name: str) -> None:
    # They are imported late; whichever way asks for one first must get it.
    for ask in (f"jobq.{name}", f"getattr(__import__('jobq', fromlist=['{name}']), '{name}')"):
        assert in_fresh_python(f"import jobq; print({ask}.__module__)").stdout == "jobq\n"
    fresh = in_fresh_python(
        f"from jobq.views import {name} as a; from jobq import {name} as b; print(a is b)"
    )
    assert fresh.stdout == "True\n"


@pytest.mark.parametrize("name", VIEWS)
def test_the_annotations_of_a_view_can_be_read(name: str) -> None:
    # Serialisers (cattrs, msgspec, pydantic) resolve them in the module that __module__ names.
    assert "return" not in typing.get_type_hints(getattr(jobq, name))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'jobq' has no attribute 'Queue'"):
        _ = jobq.Queue
    with pytest.raises(ImportError, match="Queue"):
        exec("from jobq import Queue")


def test_the_version_is_the_one_of_the_workspace() -> None:
    # It is stated once, in Cargo.toml; a second place would be forgotten at some release.
    manifest = tomllib.loads((Path(__file__).parent.parent / "Cargo.toml").read_text("utf-8"))
    assert jobq.__version__ == manifest["workspace"]["package"]["version"]


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(jobq.__file__).parent / "py.typed").is_file()


def test_an_import_brings_no_heavy_module() -> None:
    # What makes an import slow, told without a clock.
    loaded = set(in_fresh_python("import jobq; print(*sys.modules)").stdout.split())
    assert "jobq" in loaded
    assert loaded & HEAVY == set()


def cost_of_import(module: str) -> float:
    """Seconds of one `import` in a fresh interpreter, all that it imports included."""
    lines = in_fresh_python(f"import {module}", "-X", "importtime").stderr.splitlines()
    (cost,) = (line.split("|")[1] for line in lines if line.split("|")[-1].strip() == module)
    return int(cost) / 1e6


def test_an_import_costs_less_than_one_of_asyncio() -> None:
    # In turn, so that a machine that is slow or busy is so for both. In ms it stands in benches/.
    pairs = [(cost_of_import("jobq"), cost_of_import("asyncio")) for _ in range(9)]
    ratio = median(ours / theirs for ours, theirs in pairs)
    assert ratio < 1, f"import jobq takes {ratio:.2f} times as long as import asyncio: {pairs}"
