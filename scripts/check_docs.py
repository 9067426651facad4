"""Runs what the docs show: each Python block of README.md and docs/, each file of examples/.

The Python blocks of a page share one namespace, in page order; blocks of `>>>` lines are run by doctest.
Every line of a shell block of README.md must be a command that CI runs, and every path that
ARCHITECTURE.md names must exist.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

LIMIT = 120  # seconds for one page or example; one that waits for ever is a fault
ARCHITECTURE_LINES = 100

# Python blocks that are shown but not run, by `page:first line of code`, each with its reason.
NOT_RUN: dict[str, str] = {}

# Commands of README.md beside `make <target>`, and what runs them in CI.
COMMANDS = {
    "pip install .": "make package-check",
    "python -m jobq demo": "make package-check",
}

FENCE = re.compile(r"^( *)(```+|~~~+) *(.*?) *$")
PATH_SUFFIX = re.compile(r"\.(rs|py|pyi|md|toml|lock|sh|txt|typed)$")


@dataclass(frozen=True)
class Block:
    """One fenced block: its info string, the number of its first line, its lines without indent."""

    info: str
    first: int
    lines: list[str]

    @property
    def is_doctest(self) -> bool:
        return self.info == "pycon" or (
            self.info == "python" and bool(self.lines) and self.lines[0].startswith(">>>")
        )


def blocks_of(page: Path) -> list[Block]:
    blocks: list[Block] = []
    fence, info, first, lines = "", "", 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        found = FENCE.match(line)
        if not fence and found:
            fence, info, first, lines = found[1] + found[2], found[3], number + 1, []
        elif fence and found and found[2].startswith(fence.strip()) and not found[3]:
            blocks.append(Block(info, first, lines))
            fence = ""
        elif fence:
            lines.append(line.removeprefix(" " * (len(fence) - len(fence.strip()))))
    return blocks


def laid_out(blocks: list[Block]) -> str:
    """The blocks alone, each on the lines where the page has it, so that a traceback names those."""
    last = max(block.first + len(block.lines) for block in blocks)
    lines = [""] * last
    for block in blocks:
        lines[block.first - 1 : block.first - 1 + len(block.lines)] = block.lines
    return "\n".join(lines) + "\n"


def run(command: list[str], what: str) -> list[str]:
    """Warnings are errors, as in the tests. The fault carries the end of what was printed."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-W", "error", *command],
                cwd=folder,
                timeout=LIMIT,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except subprocess.TimeoutExpired:
            return [f"{what}: not done after {LIMIT} s"]
    return [] if done.returncode == 0 else [f"{what}: exit status {done.returncode}\n{done.stdout[-3000:]}"]


def check_page(page: Path, root: Path) -> tuple[int, list[str]]:
    """How many Python blocks were run, and the faults."""
    name = page.relative_to(root).as_posix()
    python = [block for block in blocks_of(page) if block.info.split()[:1] in (["python"], ["pycon"], ["py"])]
    plain: list[Block] = []
    doctests: list[Block] = []
    faults: list[str] = []
    for block in python:
        if f"{name}:{block.lines[0] if block.lines else ''}" in NOT_RUN:
            continue
        if block.info not in {"python", "pycon"}:
            faults.append(f"{name}:{block.first}: a block tagged {block.info!r} is not run and not listed")
        (doctests if block.is_doctest else plain).append(block)
    for chosen, command in ((plain, []), (doctests, ["-m", "doctest"])):
        if chosen:
            with tempfile.TemporaryDirectory() as folder:
                script = Path(folder, page.name)
                script.write_text(laid_out(chosen), encoding="utf-8")
                faults += run([*command, str(script)], name)
    return len(plain) + len(doctests), faults


def check_commands(readme: Path, makefile: Path) -> list[str]:
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile.read_text(encoding="utf-8"), re.MULTILINE))
    faults: list[str] = []
    for block in blocks_of(readme):
        if block.info in {"bash", "shell", "console", "shell-session", "zsh"}:
            faults.append(f"{readme.name}:{block.first}: tag shell commands `sh`, not {block.info!r}")
        if block.info != "sh":
            continue
        for number, line in enumerate(block.lines, block.first):
            command = line.partition("#")[0].strip()
            make, _, target = command.partition(" ")
            if command and command not in COMMANDS and not (make == "make" and target in targets):
                faults.append(f"{readme.name}:{number}: {command!r} is no command that CI runs")
    return faults


def check_architecture(page: Path) -> tuple[int, list[str]]:
    """How many paths it names, and which of them do not exist; `<word>` and `*` stand for any one name."""
    lines = page.read_text(encoding="utf-8").splitlines()
    faults = [f"{page.name}: {len(lines)} lines, to stay under {ARCHITECTURE_LINES}"] * (
        len(lines) >= ARCHITECTURE_LINES
    )
    count = 0
    for number, line in enumerate(lines, 1):
        for text in re.findall(r"`([^`\s]+)`", line):
            if "/" in text or PATH_SUFFIX.search(text):
                count += 1
                pattern = re.sub(r"<\w+>", "*", text).strip("/")
                if not any(page.parent.glob(pattern)):
                    faults.append(f"{page.name}:{number}: {text} does not exist")
    return count, faults


def main(root: Path) -> int:
    """Print every fault; 1 when there is one, and when README, docs or examples showed nothing to run."""
    faults: list[str] = []
    in_readme, found = check_page(root / "README.md", root)
    faults += found
    in_docs = 0
    for page in sorted((root / "docs").rglob("*.md")):
        count, found = check_page(page, root)
        in_docs += count
        faults += found
    examples = sorted((root / "examples").glob("*.py"))
    for example in examples:
        faults += run([str(example)], f"examples/{example.name}")
    faults += check_commands(root / "README.md", root / "Makefile")
    paths, found = check_architecture(root / "ARCHITECTURE.md")
    faults += found
    counts = {"README blocks": in_readme, "docs blocks": in_docs, "examples": len(examples), "paths": paths}
    faults += [f"no {what} found: nothing was checked" for what, count in counts.items() if not count]
    print(*faults, sep="\n", end="\n" if faults else "")
    print(
        "docs:",
        ", ".join(f"{count} {what}" for what, count in counts.items()),
        f"checked, {len(faults)} faults",
    )
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
