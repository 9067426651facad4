"""Installs what users get, each in an empty environment, and uses it: wheel, sdist, and a clone by pip.

The wheel depends on nothing, is small, carries its licence and one extension, without the planted faults.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

WHEEL_BYTES = 4 * 1024 * 1024
LIMIT = 600  # seconds for one installation
OURS = ("VIRTUAL_ENV", "PYO3_", "PYTHON", "CARGO_TARGET_DIR", "MAKE")
PROGRAMS = Path(sys.executable).parent
NOT_CLONED = (".git", ".venv*", "target", "dist", "*.so", "__pycache__", ".*_cache", ".hypothesis")

USE = """
import importlib, importlib.metadata, jobq, jobq._jobq
assert importlib.metadata.requires("jobq") is None, "a dependency at run time"
assert importlib.metadata.version("jobq") == jobq.__version__, "two versions"
assert not hasattr(jobq._jobq, "_planted"), "the planted faults are in it"
with jobq.open() as svc:
    svc.enqueue("mail", b"hello")
    with svc.reserve_one("mail") as job:
        assert job.payload == b"hello"
print(jobq.__version__)
"""


def only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"package: one {pattern} wanted in {folder}, found {len(found)}")
    return found[0]


def faults_of_wheel(wheel: Path) -> list[str]:
    """What can be told without installing it."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    size = wheel.stat().st_size
    expected = {
        f"{size} bytes, more than {WHEEL_BYTES}": size <= WHEEL_BYTES,
        "not a manylinux_2_17 wheel": "manylinux_2_17" in wheel.name,
        "not exactly one extension": sum(name.endswith(".so") for name in names) == 1,
        "no py.typed": "jobq/py.typed" in names,
        "no licence": any(name.endswith("LICENSE") for name in names),
        "more than the package": all(name.startswith(("jobq/", "jobq-")) for name in names),
        "a dependency": "Requires-Dist" not in metadata,
    }
    return [f"{wheel.name}: {fault}" for fault, holds in expected.items() if not holds]


def run(command: list[str | Path], folder: Path, built: Path | None = None) -> str:
    """Standard output, in a user's environment: without what our Makefile sets. A failure ends the check.

    In `built` cargo keeps what it has built of other people's crates from one installation to the next.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    kept["PATH"] = os.pathsep.join(
        part for part in os.environ["PATH"].split(os.pathsep) if part != str(PROGRAMS)
    )
    if built is not None:
        kept["CARGO_TARGET_DIR"] = str(built)
    done = subprocess.run(
        command, cwd=folder, env=kept, check=True, timeout=LIMIT, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def use_in_empty_environment(source: Path, arguments: list[str], built: Path) -> None:
    """Install `source` with pip, import it, run one job and the demo on a small folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        python = folder / "env/bin/python"
        run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments],
            source,
            built,
        )
        version = run([python, "-c", USE], folder).strip()
        (folder / "files").mkdir()
        (folder / "files/a.txt").write_text("one\ntwo\n", encoding="utf-8")
        run([python, "-m", "jobq", "demo", folder / "files"], folder)
        run([folder / "env/bin/jobq", "--help"], folder)
        print(f"package: {arguments[-1]} installs and runs: jobq {version}", flush=True)


def main(dist: Path) -> int:
    wheel, sdist = only(dist, "*.whl"), only(dist, "*.tar.gz")
    if faults := faults_of_wheel(wheel):
        print(*faults, sep="\n")
        return 1
    print(f"package: {wheel.name}: {wheel.stat().st_size // 1024} KiB, no dependency")
    with tempfile.TemporaryDirectory() as name:
        clone, built = Path(name) / "clone", Path(name) / "built"
        use_in_empty_environment(dist, ["--no-index", wheel.name], built)
        use_in_empty_environment(dist, [sdist.name], built)
        shutil.copytree(Path.cwd(), clone, ignore=shutil.ignore_patterns(*NOT_CLONED))
        use_in_empty_environment(clone, ["."], built)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
