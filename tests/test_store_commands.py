"""`python -m jobq verify | stats | dump | compact | salvage`: a store seen from outside."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import jobq
from child import run as run_code
from jobq.cli import main
from jobq.cli.store import Reading

DEADLINE = 60
FIXTURES = Path(__file__).parent / "fixtures"
LOOKING = ("verify", "stats", "dump")
ALL = (*LOOKING, "compact")


def command(*arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobq", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def killed(path: Path) -> Path:
    """A store whose process was killed while it held a job; of each status there is one."""
    code = f"""
import os, jobq
svc = jobq.open({str(path)!r})
once = jobq.JobOptions(max_retries=0, name="once")
svc.enqueue("mail", b"held", -3, options=once)
svc.enqueue("mail", b"ready" * 20_000)
svc.enqueue("mail", b"later", delay=3600)
svc.enqueue("r\\u00fcck", b"done")
svc.reserve_one("r\\u00fcck").done()
svc.enqueue("r\\u00fcck", b"dead", options=once)
svc.reserve_one("r\\u00fcck").retry(error=ValueError("no"))
svc.pause("r\\u00fcck")
job = svc.reserve_one("mail")
svc.flush()
os._exit(0)
"""
    assert run_code(code).code == 0
    return path


def dumped(path: Path) -> list[dict[str, Any]]:
    done = command("dump", path)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


# -- what they say -------------------------------------------------------------------------------------------


def test_dump_gives_every_job_whole_and_as_the_disk_has_it(killed: Path) -> None:
    """An operator who cannot open the store elsewhere must be able to take all out of it."""
    jobs = dumped(killed)
    assert [(job["id"], job["status"]) for job in jobs] == [
        (1, "reserved"),
        (2, "ready"),
        (3, "delayed"),
        (4, "done"),
        (5, "canceled"),
    ]
    payloads = [base64.b64decode(job["payload"]) for job in jobs]
    assert payloads == [b"held", b"ready" * 20_000, b"later", b"done", b"dead"]
    assert [job["topic"] for job in jobs] == ["mail", "mail", "mail", "rück", "rück"]
    assert (jobs[4]["reason"], jobs[4]["error"]) == ("exhausted", "ValueError: no")
    assert (jobs[0]["name"], jobs[0]["weight"], jobs[0]["attempts"]) == ("once", -3, 1)
    assert jobs[0]["crashes"] == 0, "looking is not opening: nothing is recovered"
    due = datetime.fromisoformat(jobs[2]["due_at"])
    assert 3500 < (due - datetime.now(UTC)).total_seconds() < 3600


def test_dump_has_what_job_info_has(killed: Path) -> None:
    (job, *_) = dumped(killed)
    fields = set(jobq.JobInfo.__dataclass_fields__)
    assert job.keys() == fields | {"payload"}


def test_dump_agrees_with_the_service(path: Path) -> None:
    with jobq.open(path) as svc:
        svc.enqueue_many("t", [bytes([number]) * (number * 3_000) for number in range(20)])
        held = svc.reserve("t", 5)
        held[0].log("read %d pages", 3)
        svc.done_many(held)
        infos = list(svc.find())
        payloads = [svc.payload(info.id) for info in infos]
    for job, info, payload in zip(dumped(path), infos, payloads, strict=True):
        assert base64.b64decode(job["payload"]) == payload
        assert job["status"] == info.status
        for name in ("created_at", "finished_at", "ready_at"):
            date = getattr(info, name)
            assert job[name] == (None if date is None else date.isoformat()), name
        assert job["log"] == [{"at": entry.at.isoformat(), "message": entry.message} for entry in info.log]
    assert len(infos[0].log) == 1


def test_stats_counts_topic_by_topic(killed: Path) -> None:
    done = command("stats", killed)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.rsplit(maxsplit=9)[0]: line.split()[-9:] for line in done.stdout.splitlines() if " " in line}
    assert rows["mail"][:7] == ["1", "1", "1", "0", "0", "0", "3"]
    assert rows["rück (paused)"][:7] == ["0", "0", "0", "1", "1", "1", "2"]
    assert rows["total: 2 topics"][:7] == ["1", "1", "1", "1", "1", "1", "5"]
    document = json.loads(command("stats", killed, "--json").stdout)
    assert document["topics"]["rück"]["paused"] is True
    counts = document["all"]
    here = ("ready", "delayed", "reserved", "done", "canceled", "deleted", "purged", "lost")
    assert counts["enqueued"] == sum(counts[name] for name in here) == 5


def test_stats_shows_any_topic_in_one_narrow_line(path: Path) -> None:
    """A name is anybody's bytes: it must not move the cursor, nor push the counts off the screen."""
    with jobq.open(path) as svc:
        for name in ("задачи", "a\x1b[2Jb\nc", "x" * 40, "y" * 41):
            svc.enqueue(name, b"")
    done = command("stats", path)
    assert (done.returncode, done.stderr) == (0, "")
    names = [line.rsplit(maxsplit=9)[0] for line in done.stdout.splitlines()[2:-2]]
    assert names == [r"a\x1b[2Jb\nc", "x" * 40, "y" * 37 + "...", "задачи"]


def test_stats_agrees_with_the_service_that_closed(path: Path) -> None:
    with jobq.open(path, retention=jobq.Retention(count=2)) as svc:
        svc.enqueue_many("t", [b""] * 9)
        svc.done_many(svc.reserve("t", 5))
        svc.delete(svc.enqueue("t", b""))
        wanted = svc.topic_stats("t")
    found = json.loads(command("stats", path, "--json").stdout)["topics"]["t"]
    for name in ("ready", "done", "enqueued", "completions", "reservations", "deleted", "purged", "lost"):
        assert found[name] == getattr(wanted, name), name


def test_verify_of_a_sound_store_says_so(killed: Path) -> None:
    done = command("verify", killed)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("records, 5 jobs, 2 topics: sound\n")


def test_C5_looking_changes_no_job(killed: Path) -> None:
    """C5: what was held at the kill is recovered by the next service, and counted once."""
    before = dumped(killed)
    for name in LOOKING:
        assert command(name, killed).returncode == 0
    assert dumped(killed) == before
    with jobq.open(killed) as svc:
        assert (svc.recovery.recovered, svc.recovery.clean) == (1, False)
        assert svc.info(1).crashes == 1


def test_looking_at_a_store_that_was_closed_leaves_it_clean(path: Path) -> None:
    jobq.open(path).close()
    for name in ALL:
        assert command(name, path).returncode == 0
    with jobq.open(path) as svc:
        assert svc.recovery.clean


def test_compact_keeps_every_job_and_gives_space_back(path: Path) -> None:
    with jobq.open(path, retention=jobq.Retention.none()) as svc:
        svc.enqueue("t", b"kept")
        svc.enqueue_many("u", [os.urandom(20_000) for _ in range(1_000)])
        while jobs := svc.reserve("u", 100, timeout=0):
            svc.done_many(jobs)
    before = dumped(path)
    size = sum(found.stat().st_size for found in path.rglob("*") if found.is_file())
    done = command("compact", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("MB freed\n")
    assert sum(found.stat().st_size for found in path.rglob("*") if found.is_file()) < size - 10_000_000
    assert dumped(path) == before
    with jobq.open(path) as svc:
        assert svc.payload(1) == b"kept"
        assert svc.verify() == []


# -- what they refuse ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_store_that_is_open_elsewhere_is_one_line_and_status_3(path: Path, name: str) -> None:
    with jobq.open(path):
        done = command(name, path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1), done.stderr
    assert f"process {os.getpid()}" in done.stderr


@pytest.mark.parametrize("name", ALL)
def test_a_store_that_is_not_there_is_one_line_and_status_2(path: Path, name: str) -> None:
    """And is not made: a wrong path must not look like an empty queue."""
    done = command(name, path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert str(path) in done.stderr
    assert not path.exists()


@pytest.mark.parametrize("name", ALL)
def test_a_folder_of_something_else_is_one_line_and_status_2(path: Path, name: str) -> None:
    path.mkdir()
    (path / "notes.txt").write_bytes(b"mine")
    done = command(name, path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert [found.name for found in path.iterdir()] == ["notes.txt"]


@pytest.fixture
def newer(path: Path) -> Path:
    """A store of format 2, written by a jobq whose `FORMAT` alone was another."""
    with tarfile.open(FIXTURES / "newer-format.tar.xz") as packed:
        packed.extractall(path.parent, filter="data")
    return path


@pytest.mark.parametrize("name", ALL)
def test_a_store_of_another_format_is_one_line_and_status_1(newer: Path, name: str) -> None:
    """Somebody who went back to an older version must read that, and not that the store is damaged."""
    done = command(name, newer)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert f"'{newer}': the store has format 2; this jobq reads format 1" in done.stderr
    assert "damaged" not in done.stderr


def test_a_store_of_another_format_is_refused_and_its_jobs_stay(newer: Path, tmp_path: Path) -> None:
    """The jobq that wrote it must find it as it was; all that was in it can be copied all the same."""
    with pytest.raises(jobq.RepositoryCorrupt, match="open it with the jobq that wrote it") as caught:
        jobq.open(newer)
    assert caught.value.path == str(newer)
    done = command("salvage", newer, tmp_path / "new")
    assert (done.returncode, done.stdout) == (0, "20 records copied; nothing is missing\n"), done.stderr


@pytest.mark.parametrize("name", ["verify", "stats", "dump", "compact", "salvage"])
def test_each_has_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    assert exit_.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "exit status: 0" in text
    if name in LOOKING:
        assert "Changes no job" in text
        assert "sled has no read-only open" in text


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))


def databases(path: Path) -> list[Path]:
    return sorted(path.glob("gen-*/db"))


def contents(path: Path) -> dict[Path, bytes]:
    """All files but the one that says who has the store."""
    return {
        found: found.read_bytes() for found in path.rglob("*") if found.is_file() and found.name != "lock"
    }


@pytest.fixture
def damaged(path: Path) -> Path:
    """A store with a flipped byte in the payload of one of a hundred jobs, wherever it was written."""
    with jobq.open(path) as svc:
        for number in range(100):
            svc.enqueue("t", b"(%02d)" % number * 500)
    (database,) = databases(path)
    for copy in re.finditer(re.escape(b"(50)" * 100), database.read_bytes()):
        flip(database, copy.start() + 200)
    return path


@pytest.mark.parametrize("name", ALL)
def test_a_damaged_store_is_one_line_and_status_1(damaged: Path, name: str) -> None:
    done = command(name, damaged)
    assert done.returncode == 1, done.stdout
    assert (done.stdout, done.stderr.count("\n"), "Traceback" in done.stderr) == ("", 1, False), done.stderr
    assert str(damaged) in done.stderr


def test_salvage_copies_what_reads_names_the_rest_and_leaves_the_old_alone(
    damaged: Path, tmp_path: Path
) -> None:
    before = contents(damaged)
    done = command("salvage", damaged, tmp_path / "new")
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("fault: ")
    assert done.stdout.endswith(f" records copied; faults: {done.stderr.count('fault: ')}\n")
    assert contents(damaged) == before
    with jobq.open(tmp_path / "new") as svc:
        assert svc.verify() == []
        cut_short = []
        for number, info in enumerate(svc.find(jobq.Status.READY)):
            try:
                assert svc.payload(info.id) == b"(%02d)" % number * 500
            except jobq.RepositoryCorrupt:
                cut_short.append(info.id)
    assert 51 in cut_short
    assert len(cut_short) <= 16  # what stands on the same page is lost with it, and nothing else
    for id in cut_short:
        assert f"fault: the payload of job {id} (pieces missing: 1)\n" in done.stderr


def test_salvage_of_a_sound_store_is_a_copy(killed: Path, tmp_path: Path) -> None:
    jobs = dumped(killed)
    done = command("salvage", killed, tmp_path / "new")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\d+ records copied; nothing is missing\n", done.stdout)
    found = dumped(tmp_path / "new")
    assert [job["payload"] for job in found] == [job["payload"] for job in jobs]


def test_salvage_takes_paths_from_where_it_is_run(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the message of a damaged store and the docs write it."""
    monkeypatch.chdir(killed.parent)
    done = command("salvage", killed.name, "rescued")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(dumped(killed.parent / "rescued")) == len(dumped(killed))


def test_salvage_puts_nothing_into_the_old_store(killed: Path, tmp_path: Path) -> None:
    """By whatever path: a folder among the generations would make it another store."""
    before = contents(killed)
    (tmp_path / "link").symlink_to(killed)
    for new in (killed / "new", tmp_path / "link" / "new", killed / "gen-1" / ".." / "new"):
        done = command("salvage", killed, new)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "lies in the old store" in done.stderr
    assert contents(killed) == before


def test_salvage_writes_over_nothing(path: Path, tmp_path: Path) -> None:
    jobq.open(path).close()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "notes.txt").write_bytes(b"mine")
    done = command("salvage", path, tmp_path / "new")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert [found.name for found in (tmp_path / "new").iterdir()] == ["notes.txt"]


# -- long work -----------------------------------------------------------------------------------------------


class Stream:
    """What Reading writes to."""

    def __init__(self, *, terminal: bool) -> None:
        self.text = ""
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("terminal", "text"), [(False, "2,000 records read\n"), (True, "\r\x1b[K2,000 records read\n")]
)
def test_progress_comes_once_a_second_and_not_for_what_is_short(terminal: bool, text: str) -> None:
    now = 0.0
    stream: Any = Stream(terminal=terminal)
    reading = Reading(stream, now=lambda: now)
    for moment, records in ((0.5, 1_000), (1.5, 2_000), (1.7, 3_000)):
        now = moment
        reading(records)
    reading.end()
    assert stream.text == text


@pytest.mark.parametrize("name", ["_examine", "_dump", "_compact", "_salvage"])
def test_ctrl_c_ends_the_reading(path: Path, name: str, tmp_path: Path) -> None:
    """A store of millions of jobs takes minutes; whoever began by mistake must get out."""
    from jobq import _jobq

    with jobq.open(path) as svc:
        svc.enqueue_many("t", [b""] * 3_000)
    call: Callable[..., object] = getattr(_jobq, name)
    steps: list[int] = []

    def step(records: int) -> None:
        steps.append(records)
        signal.raise_signal(signal.SIGINT)

    before: list[object] = [str(tmp_path / "new")] if name == "_salvage" else []
    after: list[object] = [lambda *_: None] if name == "_dump" else []
    with pytest.raises(KeyboardInterrupt):
        call(str(path), *before, step, *after)
    assert steps == [1_000]
    with jobq.open(path) as svc:
        assert svc.stats().ready == 3_000


def test_a_reader_that_leaves_early_is_no_traceback(path: Path) -> None:
    with jobq.open(path) as svc:
        svc.enqueue_many("t", [b"x" * 1_000] * 5_000)
    with subprocess.Popen(
        [sys.executable, "-m", "jobq", "dump", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["id"] == 1
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait(DEADLINE) == 1
