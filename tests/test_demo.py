"""`python -m jobq demo`: every file ends as done, dead letter or left, and what is printed says so."""

import hashlib
import io
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import jobq
from jobq.cli import demo, main
from jobq.cli.demo import report
from jobq.cli.demo.hasher import BATCH, Digest, Hasher
from jobq.cli.demo.survey import Survey, fill, topic_of, weight_of
from jobq.cli.interrupt import Interrupt
from jobq.cli.progress import Progress, amount, clock

DEADLINE = 60  # less than the watchdog of the whole run
COMMAND = [sys.executable, "-m", "jobq", "demo"]


def run_demo(*arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


@contextmanager
def started(*arguments: str | os.PathLike[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The demo as a running process, killed at the deadline, so that no read of its output can hang."""
    process = subprocess.Popen([*COMMAND, *arguments], text=True, **options)
    watchdog = threading.Timer(DEADLINE, process.kill)
    watchdog.start()
    try:
        with process:
            yield process
    finally:
        watchdog.cancel()
        process.kill()


def make_tree(root: Path) -> dict[str, bytes]:
    """A tree with the awkward kinds of names and sizes; returns what each regular file holds."""
    files = {
        "README": b"no suffix\n",
        "empty.txt": b"",
        "no newline at end.txt": b"one\ntwo",
        "with\nnewline.txt": b"\n\n\n",
        "esc\x1b[31mape.txt": b"red?\n",
        "bytes-\udcff\udcfe.b\udcff": b"not UTF-8\n",
        ".hidden": b"h\n",
        "dots.tar.gz": b"\x00" * 1000,
        "ümläut.süffix": "grüße\n".encode(),
        "sub/deep/er/" + "n" * 250 + ".txt": b"long\n",
        "sub/trailing.": b"dot\n",
        "sub/big.bin": os.urandom(700_000),
    }
    files |= {f"sub/many/{number}.txt": b"line\n" * number for number in range(100)}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return files


def by_path(document: dict[str, Any], root: Path) -> dict[str, dict[str, Any]]:
    records = {os.path.relpath(record["path"], root): record for record in document["files"]}
    assert len(records) == len(document["files"]), "a file is named twice"
    return records


def drained(svc: jobq.JobService, survey: Survey, workers: int = 2) -> list[Hasher]:
    """Run the demo's workers in this process until nothing is live."""
    with Interrupt(svc) as interrupt:
        hashers = [
            Hasher(svc, list(survey.topics.values()), index, workers, interrupt, keep=True)
            for index in range(workers)
        ]
        demo.drain(svc, survey, hashers, interrupt)
    return hashers


def filled(svc: jobq.JobService, root: Path) -> Survey:
    return fill(svc, os.fsencode(root), Interrupt(svc))


# -- the work ------------------------------------------------------------------------------------------------


def test_every_file_is_hashed_once_with_the_right_sums(tmp_path: Path) -> None:
    files = make_tree(tmp_path / "tree")
    out = tmp_path / "out.json"
    done = run_demo(tmp_path / "tree", "--workers", "3", "--json", out)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    document = json.loads(out.read_text())
    records = by_path(document, tmp_path / "tree")
    assert records.keys() == files.keys()
    for name, content in files.items():
        record = records[name]
        assert record["sha256"] == hashlib.sha256(content).hexdigest(), name
        assert (record["size"], record["lines"]) == (len(content), content.count(b"\n")), name
        assert (record["status"], record["attempts"]) == ("done", 1), name
    total = b"".join(files.values())
    assert (document["bytes"], document["lines"]) == (len(total), total.count(b"\n"))
    assert (document["jobs"], document["done"], document["left"]) == (len(files), len(files), 0)
    assert f"{len(files)} jobs = {len(files)} done + 0 dead letters + 0 left" in done.stdout


def test_topics_are_suffixes_and_the_table_counts_them(tmp_path: Path) -> None:
    files = make_tree(tmp_path)
    done = run_demo(tmp_path)
    suffixes = Counter(topic_of(os.fsencode(Path(name).name)) for name in files)
    for suffix, count in suffixes.items():
        row = next(line for line in done.stdout.splitlines() if line.startswith(f"{suffix} "))
        assert re.match(rf"{re.escape(suffix)} +{count} ", row), row
    assert re.search(rf"^total: {len(suffixes)} topics +{len(files)} ", done.stdout, re.MULTILINE)
    assert re.search(r"^wait  p50 .*p95 .*p99 ", done.stdout, re.MULTILINE)
    assert re.search(r"^run   p50 .*p95 .*p99 ", done.stdout, re.MULTILINE)
    assert re.search(r"[\d,]+ jobs/s", done.stdout)


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        (b"a.py", ".py"),
        (b"a.tar.gz", ".gz"),
        (b"Makefile", "(no suffix)"),
        (b".bashrc", "(no suffix)"),
        (b"dot.", "(no suffix)"),
        (b"x.b\xff", ".b\\xff"),
        ("x.é".encode(), ".é"),
        (b"a." + b"\xff" * 253, "." + "\\xff" * 63 + "\\x"),
    ],
)
def test_a_topic_is_a_name_that_every_service_accepts(name: bytes, topic: str) -> None:
    assert topic_of(name) == topic
    with jobq.open() as svc:
        svc.enqueue(topic, name)
        assert svc.topics() == [topic]


def test_only_regular_files_become_jobs_and_the_rest_is_counted(tmp_path: Path) -> None:
    # A followed link would hash a file twice or walk for ever; a pipe would block its worker for good.
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"x\n")
    (tree / "link").symlink_to("file")
    (tree / "loop").symlink_to(".")
    (tree / "dangling").symlink_to("nothing")
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tree)  # a socket's path may not exceed 107 bytes
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        done = run_demo(tree, "--json", tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    assert (document["jobs"], document["done"], document["links"], document["others"]) == (1, 1, 3, 2)
    assert "skipped: symbolic links 3; pipes, sockets and devices 2" in done.stdout
    assert done.returncode == 0


def test_small_files_go_first(tmp_path: Path) -> None:
    sizes = [70_000, 3, 1_000, 0, 20_000, 1, 500, 5_000]
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.bin").write_bytes(b"x" * size)
    with jobq.open(defaults=demo.OPTIONS) as svc:
        (hasher,) = drained(svc, filled(svc, tmp_path), workers=1)
    assert hasher.results is not None
    assert [result.digest.size for result in hasher.results] == sorted(sizes)


def test_a_weight_grows_with_the_size_and_fits() -> None:
    sizes = sorted(
        {
            *range(5_000),
            *(2**power + delta for power in range(9, 63) for delta in (-1, 0, 1, 2 ** (power - 8))),
        }
    )
    weights = [weight_of(size) for size in sizes]
    assert weights == sorted(weights)
    assert weights[:512] == list(range(512))
    assert weight_of(2**63 - 1) == 14_335
    assert weight_of(1_000_000) < weight_of(1_010_000), "a hundredth more must be told apart"


def test_a_big_directory(tmp_path: Path) -> None:
    for number in range(5_000):
        (tmp_path / f"{number}.{number % 7}").write_bytes(b"%d\n" % number)
    done = run_demo(tmp_path, "--workers", "8")
    assert "5,000 jobs = 5,000 done + 0 dead letters + 0 left" in done.stdout
    assert done.returncode == 0


def test_more_topics_than_the_table_shows(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"file.{number:02}").write_bytes(b"\n")
    done = run_demo(tmp_path)
    assert "(40 more)" in done.stdout
    assert re.search(r"^total: 60 topics +60 ", done.stdout, re.MULTILINE)


# -- files that cannot be read -------------------------------------------------------------------------------


def test_a_file_deleted_before_its_run_ends_as_a_dead_letter_after_three_retries(tmp_path: Path) -> None:
    for name in ("a.txt", "gone.txt", "z.txt"):
        (tmp_path / name).write_bytes(b"x\n")
    with jobq.open(defaults=demo.OPTIONS) as svc:
        survey = filled(svc, tmp_path)
        (tmp_path / "gone.txt").unlink()
        start = time.monotonic()
        hashers = drained(svc, survey)
        assert time.monotonic() - start >= 0.6, "backoffs of 0.1, 0.2 and 0.4 s, each at most a tenth shorter"
        (info,) = svc.find(jobq.Status.CANCELED)
        assert svc.payload(info.id) == os.fsencode(tmp_path / "gone.txt")
        assert (info.reason, info.attempts) == (jobq.Reason.EXHAUSTED, 4)
        assert info.error is not None
        assert info.error.startswith("FileNotFoundError: ")
        outcome = report.Outcome.gather(svc, survey, hashers, 1.0, interrupted=False)
        assert outcome.faults() == []
        text, document = io.StringIO(), io.StringIO()
        report.show(outcome, text)
        report.write_json(outcome, str(tmp_path), document)
    assert "3 jobs = 2 done + 1 dead letters + 0 left" in text.getvalue()
    line = next(line for line in text.getvalue().splitlines() if "gone.txt" in line)
    assert line.endswith(
        "gone.txt: FileNotFoundError: [Errno 2] No such file or directory (after 4 attempts)"
    )
    records = by_path(json.loads(document.getvalue()), tmp_path)
    assert {name: record["status"] for name, record in records.items()} == {
        "a.txt": "done",
        "gone.txt": "dead",
        "z.txt": "done",
    }
    assert json.loads(document.getvalue())["retries"] == 3


@pytest.mark.parametrize("now", ["link", "pipe", "directory"])
def test_what_took_a_files_place_is_not_read(tmp_path: Path, now: str) -> None:
    (tmp_path / "file").write_bytes(b"x\n")
    (tmp_path / "secret").write_bytes(b"secret\n")
    with jobq.open(defaults=jobq.JobOptions(max_retries=0)) as svc:
        survey = filled(svc, tmp_path)
        (tmp_path / "file").unlink()
        match now:
            case "link":
                (tmp_path / "file").symlink_to("secret")
            case "pipe":
                os.mkfifo(tmp_path / "file")
            case "directory":
                (tmp_path / "file").mkdir()
        drained(svc, survey)
        (info,) = svc.find(jobq.Status.CANCELED)
        assert svc.payload(info.id).endswith(b"/file")


def test_only_the_first_dead_letters_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    for number in range(25):
        (tmp_path / f"{number:02}\x1b[2J").write_bytes(b"")
    with jobq.open(defaults=jobq.JobOptions(max_retries=0)) as svc:
        survey = filled(svc, tmp_path)
        for path in tmp_path.iterdir():
            path.unlink()
        hashers = drained(svc, survey)
        text = io.StringIO()
        report.show(report.Outcome.gather(svc, survey, hashers, 1.0, interrupted=False), text)
    assert "dead letters: 25" in text.getvalue()
    assert "and 15 more" in text.getvalue()
    assert "\x1b" not in text.getvalue(), "a file's name must not move the cursor"


def test_an_unreadable_directory_is_named_and_the_rest_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permissions do not stop root; a path longer than the system takes stops everybody.
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        Path("file").write_bytes(b"x\n")
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    with jobq.open(defaults=jobq.JobOptions(max_retries=0)) as svc:
        survey = filled(svc, tmp_path)
        hashers = drained(svc, survey)
        outcome = report.Outcome.gather(svc, survey, hashers, 1.0, interrupted=False)
        assert outcome.faults() == []
        assert outcome.stats.completions >= 15
        text = io.StringIO()
        report.show(outcome, text)
    (line,) = survey.unlisted
    assert line.endswith("d: File name too long")
    assert f"not read: {line}\n" in text.getvalue()
    assert "directories that could not be read 1" in text.getvalue()


def test_a_defect_in_a_worker_ends_the_run_and_gives_all_jobs_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        (tmp_path / str(number)).write_bytes(b"")

    halted = threading.Event()
    halt, read = Interrupt.halt, Hasher._read

    def halt_and_tell(self: Interrupt) -> None:
        halt(self)
        halted.set()

    def read_or_break(self: Hasher, path: bytes) -> Digest:
        if self._index == 0:
            raise RuntimeError("planted")
        assert halted.wait(DEADLINE), "the other worker went on as if nothing had happened"
        return read(self, path)

    monkeypatch.setattr(Interrupt, "halt", halt_and_tell)
    monkeypatch.setattr(Hasher, "_read", read_or_break)
    with jobq.open(defaults=demo.OPTIONS) as svc:
        survey = filled(svc, tmp_path)
        with pytest.raises(RuntimeError, match="planted"):
            drained(svc, survey)
        stats = svc.stats()
        assert (stats.reserved, stats.completions + stats.live) == (0, 50)
        assert stats.completions <= 1


# -- wrong use -----------------------------------------------------------------------------------------------


def test_an_empty_directory_is_no_error(tmp_path: Path) -> None:
    done = run_demo(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 jobs = 0 done + 0 dead letters + 0 left" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "cannot read directory 'nowhere': No such file or directory"),
        ([""], "cannot read directory '': No such file or directory"),
        (["a\nb"], r"cannot read directory 'a\nb': No such file or directory"),
        ([sys.executable], f"cannot read directory '{sys.executable}': Not a directory"),
        ([".", "--json", "nowhere/out"], "cannot write file 'nowhere/out': No such file or directory"),
        ([".", "--workers", "0"], "argument --workers: must be a whole number from 1 to 256, not '0'"),
        ([".", "--workers", "257"], "argument --workers: must be a whole number from 1 to 256, not '257'"),
        ([".", "--workers", "two"], "argument --workers: must be a whole number from 1 to 256, not 'two'"),
        ([".", "--workers", "-1"], "argument --workers: must be a whole number from 1 to 256, not '-1'"),
        ([".", "--bogus"], "unrecognized arguments: --bogus"),
        ([".", "more"], "unrecognized arguments: more"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_demo(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_line_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"jobq {jobq.__version__}\n"


def test_names_that_the_terminals_encoding_lacks_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "\N{BLACK CHESS QUEEN}.\N{BLACK CHESS QUEEN}").write_bytes(b"\n")
    done = subprocess.run(
        [*COMMAND, tmp_path],
        capture_output=True,
        timeout=DEADLINE,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert rb".\u265b" in done.stdout


def test_a_reader_that_leaves_early_is_no_traceback(tmp_path: Path) -> None:
    for number in range(2_000):
        (tmp_path / str(number)).write_bytes(b"")
    with started(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait(DEADLINE) == 1


# -- Ctrl-C --------------------------------------------------------------------------------------------------


def sparse(path: Path, size: int) -> None:
    """A file that takes long to hash and no room on the disk."""
    path.write_bytes(b"")
    os.truncate(path, size)


def test_ctrl_c_finishes_what_runs_and_says_what_is_left(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out.json"
    tree.mkdir()
    for number in range(100):
        (tree / f"{number}.small").write_bytes(b"%d\n" % number)
    for number in range(40):
        sparse(tree / f"{number}.big", 256 * 2**20)
    with started(
        tree, "--workers", "1", "--json", out, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert next(line for line in process.stderr if " 0/140 files" not in line)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    document = json.loads(out.read_text())
    records = by_path(document, tree)
    statuses = Counter(record["status"] for record in records.values())
    assert len(records) == document["jobs"] == 140
    assert statuses == Counter(done=document["done"], left=document["left"])
    assert min(document["done"], document["left"]) > 0
    assert document["interrupted"]
    for name, record in records.items():
        if record["status"] == "done" and name.endswith(".small"):
            assert record["sha256"] == hashlib.sha256((tree / name).read_bytes()).hexdigest()
    done, left = document["done"], document["left"]
    assert f"140 jobs = {done} done + 0 dead letters + {left} left" in stdout
    assert f"stopped by Ctrl-C: {left} left, {left} of them ready, 0 delayed" in stdout


def test_a_second_ctrl_c_gives_up_the_file_being_read(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out.json"
    tree.mkdir()
    sparse(tree / "endless", 2**40)
    with started(
        tree, "--workers", "1", "--json", out, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        # The first line comes before the work begins, the second when the file has been read for a second.
        for number, line in enumerate(process.stderr):
            if number == 1 or line.startswith("stopping; files being read are finished first"):
                process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=DEADLINE)
    assert (process.returncode, "Traceback" in stderr) == (130, False)
    assert "1 jobs = 0 done + 0 dead letters + 1 left" in stdout
    (record,) = json.loads(out.read_text())["files"]
    assert (record["status"], record["attempts"]) == ("left", 1)
    assert record["error"] is None, "given up is not failed: nothing is charged"


def test_ctrl_c_lets_a_worker_finish_its_file_and_release_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        (tmp_path / str(number)).write_bytes(b"")
    read = Hasher._read

    def read_during_ctrl_c(self: Hasher, path: bytes) -> Digest:
        self._interrupt.halt()
        return read(self, path)

    monkeypatch.setattr(Hasher, "_read", read_during_ctrl_c)
    with jobq.open() as svc:
        drained(svc, filled(svc, tmp_path), workers=1)
        stats = svc.stats()
        assert (stats.completions, stats.ready, stats.reserved, stats.retries) == (1, 99, 0, 0)
        assert (stats.reservations, stats.releases) == (BATCH, BATCH - 1)


def test_ctrl_c_while_files_are_being_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with jobq.open() as svc:
        interrupt = Interrupt(svc)
        interrupt.halt()
        survey = fill(svc, os.fsencode(tmp_path), interrupt)
        assert survey.cut_short
        outcome = report.Outcome.gather(svc, survey, [], 0.0, interrupted=True)
        assert outcome.faults() == []
        text = io.StringIO()
        report.show(outcome, text)
    assert "the search for files was cut short" in text.getvalue()


def test_each_ctrl_c_asks_for_more_and_the_third_is_pythons_own() -> None:
    before = signal.getsignal(signal.SIGINT)
    with jobq.open() as svc, Interrupt(svc) as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert (interrupt.halted, interrupt.abandoned) == (True, False)
        with pytest.raises(jobq.ServiceClosed):
            svc.reserve("topic", 1, timeout=0)
        signal.raise_signal(signal.SIGINT)
        assert (interrupt.halted, interrupt.abandoned) == (True, True)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


# -- a store on disk -----------------------------------------------------------------------------------------


def kill_when(seen: str | None, seconds: float, *arguments: str | os.PathLike[str]) -> int:
    """Start the demo and kill it so many seconds after a line with `seen`; return its exit status."""
    with started(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        if seen is not None:
            for line in process.stdout:
                if seen in line:
                    break
        reader = threading.Thread(target=process.stdout.read)
        reader.start()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        reader.join(DEADLINE)
        return process.wait(DEADLINE)


def test_killed_at_any_moment_it_goes_on_and_accounts_for_every_file(tmp_path: Path) -> None:
    """The promise of the store, on real work: no file is forgotten, none is counted twice."""
    tree, store, out = tmp_path / "tree", tmp_path / "store", tmp_path / "out.json"
    files = make_tree(tree)
    for number in range(3_000):
        name, content = f"more/{number}.{number % 5}", b"%d\n" % number
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(content)
        files[name] = content
    command = (tree, "--db", store, "--workers", "3", "--json", out)
    # While the interpreter starts, the store is opened and files are enqueued; then while they are hashed.
    moments = [(None, 0.01 * 2**power) for power in range(6)]
    moments += [("jobs in", seconds) for seconds in (0.0, 0.05, 0.1, 0.2, 0.3)]
    killed = sum(kill_when(seen, seconds, *command) == -signal.SIGKILL for seen, seconds in moments)
    assert killed >= 8, "the runs ended before they were killed: make the tree larger"
    done = run_demo(*command)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert f"{len(files):,} jobs = {len(files):,} done + 0 dead letters + 0 left" in done.stdout
    document = json.loads(out.read_text())
    records = by_path(document, tree)
    assert records.keys() == files.keys()
    for name, content in files.items():
        record = records[name]
        assert (record["sha256"], record["status"]) == (hashlib.sha256(content).hexdigest(), "done"), name
    total = sum(map(len, files.values()))
    assert (document["bytes"], document["done"]) == (total, len(files))


def test_a_run_that_was_stopped_goes_on_and_a_finished_one_says_the_same_again(tmp_path: Path) -> None:
    tree, store = tmp_path / "tree", tmp_path / "store"
    files = make_tree(tree)
    (tree / "gone.txt").write_bytes(b"x\n")
    with jobq.open(store, defaults=jobq.JobOptions(max_retries=0)) as svc:
        filled(svc, tree)
        with Interrupt(svc) as interrupt:
            hasher = Hasher(svc, [svc.topic(".txt")], 0, 1, interrupt, keep=False, record=True)
            (tree / "gone.txt").unlink()
            hasher._batch(svc.reserve(".txt", BATCH))
    (tree / "late.txt").write_bytes(b"late\n")  # a file that came between the runs
    count = len(files) + 2
    for _ in range(2):
        done = run_demo(tree, "--db", store)
        assert f"{count} jobs = {count - 1} done + 1 dead letters + 0 left" in done.stdout, done.stderr
        assert done.returncode == 0, done.stderr
    assert f"going on: {count:,} of {count:,} jobs of the store are finished" in done.stdout
    assert "enqueued 0 jobs" in done.stdout


def test_a_store_under_the_directory_is_left_out(tmp_path: Path) -> None:
    # Its files change while they are hashed.
    (tmp_path / "file").write_bytes(b"x\n")
    for _ in range(2):
        done = run_demo(tmp_path, "--db", tmp_path / "store")
        assert "1 jobs = 1 done + 0 dead letters + 0 left" in done.stdout
        assert done.returncode == 0


def test_a_store_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    tree, store = tmp_path / "tree", tmp_path / "store"
    make_tree(tree)
    with jobq.open(store) as svc:
        id = svc.enqueue("mail", b"ada@example.org")
    done = run_demo(tree, "--db", store)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"job {id} of the store is not the demo's for this directory" in done.stderr
    with jobq.open(store) as svc:
        assert [info.id for info in svc.find()] == [id]


def test_a_store_that_is_open_elsewhere_is_one_line_and_status_3(tmp_path: Path) -> None:
    with jobq.open(tmp_path / "store"):
        done = run_demo(tmp_path, "--db", tmp_path / "store")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert str(os.getpid()) in done.stderr


# -- progress ------------------------------------------------------------------------------------------------


def test_a_terminal_shows_a_bar_that_is_redrawn_in_place(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    make_tree(tree)
    sparse(tree / "slow", 512 * 2**20)
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
    shown = b""
    with started(tree, "--workers", "2", stdout=slave, stderr=slave, stdin=slave, env=environment) as process:
        os.close(slave)
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if not select.select([master], [], [], 1)[0]:
                continue
            try:
                part = os.read(master, 65_536)
            except OSError:  # how Linux says that the other side of a terminal was closed
                break
            if not part:
                break
            shown += part
        assert process.wait(DEADLINE) == 0
    os.close(master)
    text = shown.decode()
    frames = re.findall(
        r"\r(\[[#.]+\] +\d+%  [\d,]+/113 files  [\d,]+/s  [\d.]+ \w*B/s  ETA [\d:-]+)\x1b\[K", text
    )
    assert len(frames) >= 2, text
    assert all(len(frame) < 100 for frame in frames)
    assert re.match(r"\[#+\] +100%  113/113 files", frames[-1])
    assert "113 jobs = 113 done + 0 dead letters + 0 left" in text


def test_plain_lines_come_at_most_once_a_second_and_escape_nothing() -> None:
    now, stream = 0.0, io.StringIO()
    progress = Progress(100, 1_000, stream=stream, now=lambda: now)
    for tenth in range(50):
        now = tenth / 10
        progress.show(tenth, tenth * 10, tenth * 5)
    progress.close(100, 1_000, 500)
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["0/100", "10/100", "20/100", "30/100", "40/100"]
    assert lines[2] == " 20%  20/100 files  10/s  50 B/s  ETA 0:08"
    assert not re.search(r"[\r\x1b]", stream.getvalue())


def test_the_end_is_announced_only_at_the_end() -> None:
    # A file that grew after it was found makes more work than was counted.
    now, stream = 10.0, io.StringIO()
    progress = Progress(2, 100, stream=stream, now=lambda: now)
    progress.show(1, 5_000, 5_000)
    now = 20.0
    progress.show(2, 5_000, 5_000)
    assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["99%", "100%"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (0.2, "0:01"), (59.1, "1:00"), (754, "12:34"), (3_599.5, "1:00:00"), (10_805, "3:00:05")],
)
def test_a_time_to_go_is_rounded_up(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_an_amount_of_bytes_for_people(count: float, text: str) -> None:
    assert amount(count) == text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0], (1.0, 1.0, 1.0)),
        ([1.0, 2.0], (1.0, 2.0, 2.0)),
        (list(map(float, range(1, 101))), (50.0, 95.0, 99.0)),
    ],
)
def test_percentiles_are_values_that_occurred(values: list[float], expected: tuple[float, ...]) -> None:
    assert tuple(report.percentile(values, percent) for percent in (50, 95, 99)) == expected
