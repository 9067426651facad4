"""Finds the regular files under a directory, enqueues a job for each: topic by suffix, weight by size."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import jobq
from jobq.cli.demo.past import Past
from jobq.cli.interrupt import Interrupt

NO_SUFFIX = "(no suffix)"
BATCH = 500  # jobs enqueued at a time, so that a store on disk syncs seldom
LONGEST_TOPIC = jobq.Limits().max_topic_name


@dataclass
class Survey:
    """What was found. Only regular files become jobs; the rest is counted, so nothing goes missing unsaid."""

    topics: dict[str, jobq.Topic] = field(default_factory=dict[str, jobq.Topic])
    jobs: int = 0
    size: int = 0  # bytes of what is to be done, as the directory entries said
    links: int = 0  # symbolic links, never followed
    others: int = 0  # pipes, sockets, devices
    unlisted: list[str] = field(default_factory=list[str])  # directories that could not be read, and why
    cut_short: bool = False
    seconds: float = 0.0


def fill(
    svc: jobq.JobService,
    directory: bytes,
    interrupt: Interrupt,
    past: Past | None = None,
    skip: bytes | None = None,
) -> Survey:
    """Enqueue a job for every regular file under the directory; the payload is its path, as bytes.

    A file that has a job from an earlier run gets no other. skip: a directory that is left out.
    """
    past = past or Past()
    survey = Survey({name: svc.topic(name) for name in sorted(past.topics)}, len(past.paths))
    start = time.perf_counter()
    pending: dict[str, list[tuple[bytes, int]]] = {}
    for number, entry in enumerate(_files(directory, survey, skip), 1):
        if interrupt.halted:
            survey.cut_short = True
            break
        try:
            size = entry.stat(follow_symlinks=False).st_size
        except OSError:
            size = 0  # gone or out of reach already: its worker will meet the same error and say so
        is_live = past.paths.get(entry.path)
        if is_live is None:
            pending.setdefault(topic_of(entry.name), []).append((entry.path, weight_of(size)))
        survey.size += 0 if is_live is False else size
        if number % BATCH == 0:
            _enqueue(svc, survey, pending)
    if not survey.cut_short:
        _enqueue(svc, survey, pending)
    survey.seconds = time.perf_counter() - start
    return survey


def _enqueue(svc: jobq.JobService, survey: Survey, pending: dict[str, list[tuple[bytes, int]]]) -> None:
    for name, jobs in pending.items():
        topic = survey.topics.get(name) or survey.topics.setdefault(name, svc.topic(name))
        survey.jobs += len(topic.enqueue_many(jobs))
    pending.clear()


def _files(directory: bytes, survey: Survey, skip: bytes | None) -> Iterator[os.DirEntry[bytes]]:
    """Every regular file, a directory's own before those of its subdirectories, by name."""
    todo = [directory]
    while todo:
        here = todo.pop()
        try:
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            survey.unlisted.append(f"{os.fsdecode(here)}: {error.strerror}")
            continue
        below: list[bytes] = []
        for entry in entries:
            match _kind(entry):
                case "file":
                    yield entry
                case "directory":
                    if entry.path != skip:
                        below.append(entry.path)
                case "link":
                    survey.links += 1
                case "other":
                    survey.others += 1
        todo.extend(reversed(below))


def _kind(entry: os.DirEntry[bytes]) -> Literal["file", "directory", "link", "other"]:
    try:
        if entry.is_symlink():
            return "link"
        if entry.is_dir(follow_symlinks=False):
            return "directory"
        return "file" if entry.is_file(follow_symlinks=False) else "other"
    except OSError:
        # Where the listing does not say, it takes a stat, and that may be refused: a worker will report it.
        return "file"


def topic_of(name: bytes) -> str:
    """A file's suffix as a topic; bytes that are no UTF-8 are escaped, for a topic is text."""
    stem, _, suffix = name.rpartition(b".")
    if not suffix or not stem.strip(b"."):  # "name.", "name" and ".name"
        return NO_SUFFIX
    topic = "." + suffix.decode("utf-8", "backslashreplace")
    return topic.encode()[:LONGEST_TOPIC].decode("utf-8", "ignore")


def weight_of(size: int) -> int:
    """A weight that grows with the size, 0 to 14335: exact below 512 bytes, then to within 1/256.

    It is the size as a small floating-point number, an exponent and eight bits: every doubling takes 256
    steps, and all sizes of 63 bits fit in a weight.
    """
    exponent = max(size.bit_length() - 9, 0)
    return exponent * 256 + (size >> exponent)
