"""What the demo came to: gathered, checked against itself, printed as a table, written as JSON."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import IO, Self, TextIO

import jobq
from jobq.cli.demo.hasher import Hasher, Sums
from jobq.cli.demo.past import Past
from jobq.cli.demo.survey import Survey
from jobq.cli.progress import amount
from jobq.cli.text import printable, shortened

MOST_TOPICS = 20
MOST_NAMES = 10


@dataclass
class Outcome:
    """Everything known at the end; the service is still open, no worker runs."""

    svc: jobq.JobService
    survey: Survey
    hashers: Sequence[Hasher]
    seconds: float
    interrupted: bool
    stats: jobq.ServiceStats
    topics: list[jobq.TopicStats]
    sums: dict[str, Sums]
    past: Past

    @classmethod
    def gather(
        cls,
        svc: jobq.JobService,
        survey: Survey,
        hashers: Sequence[Hasher],
        seconds: float,
        *,
        interrupted: bool,
        past: Past | None = None,
    ) -> Self:
        """Add up what the workers counted, in earlier runs too, beside what the service counted."""
        past = past or Past()
        sums = {name: Sums() for name in survey.topics}
        for name, part in past.sums.items():
            sums[name].add(part)
        for hasher in hashers:
            for name, part in hasher.sums.items():
                sums[name].add(part)
        topics = [topic.stats() for topic in survey.topics.values()]
        return cls(svc, survey, hashers, seconds, interrupted, svc.stats(), topics, sums, past)

    @property
    def total(self) -> Sums:
        """Of all done jobs."""
        total = Sums()
        for part in self.sums.values():
            total.add(part)
        return total

    def faults(self) -> list[str]:
        """Where the accounts disagree: every file is done, a dead letter or left, and both sides say so."""
        stats, ended = self.stats, self.stats.completions + self.stats.dead
        checks = (
            ("files found, jobs enqueued", self.survey.jobs, stats.enqueued),
            ("files hashed, jobs done", self.total.jobs, stats.completions),
            ("jobs, done + dead letters + left", stats.enqueued, ended + stats.live),
            ("jobs still reserved, 0", stats.reserved, 0),
            ("jobs left, 0 unless stopped", 0 if self.interrupted else stats.live, 0),
        )
        return [f"{what}: {one} is not {other}" for what, one, other in checks if one != other]

    def dead(self) -> Iterator[tuple[jobq.JobInfo, bytes]]:
        """Dead letters and their paths, in the order they were enqueued."""
        for info in self.svc.find(jobq.Status.CANCELED):
            yield info, self.svc.payload(info.id)

    def left(self) -> Iterator[tuple[jobq.JobInfo, bytes]]:
        """Jobs that are neither done nor dead, and their paths."""
        for info in chain(self.svc.find(jobq.Status.READY), self.svc.find(jobq.Status.DELAYED)):
            yield info, self.svc.payload(info.id)


def show(outcome: Outcome, out: TextIO) -> None:
    """Print the summary."""
    stats, survey = outcome.stats, outcome.survey
    lines = ["", *_table(outcome), "", *_figures(outcome), *_dead_letters(outcome), "", *_skipped(survey)]
    ended = f"{stats.completions:,} done + {stats.dead:,} dead letters"
    lines.append(f"{stats.enqueued:,} jobs = {ended} + {stats.live:,} left")
    if outcome.interrupted:
        search = "; the search for files was cut short" if survey.cut_short else ""
        left = f"{stats.live:,} left, {stats.ready:,} of them ready, {stats.delayed:,} delayed"
        lines.append(f"stopped by Ctrl-C: {left}{search}")
    print("\n".join(lines), file=out, flush=True)


def _skipped(survey: Survey) -> list[str]:
    unread = len(survey.unlisted)
    lines = [f"not read: {printable(os.fsencode(line))}" for line in survey.unlisted[:MOST_NAMES]]
    if survey.links or survey.others or unread:
        kinds = f"symbolic links {survey.links:,}; pipes, sockets and devices {survey.others:,}"
        lines.append(f"skipped: {kinds}; directories that could not be read {unread:,}")
    return lines


def _table(outcome: Outcome) -> list[str]:
    """A row per topic, the most jobs first, and their total."""
    order = sorted(outcome.topics, key=lambda topic: (-topic.enqueued, topic.topic))
    rows: list[tuple[str, ...]] = [("topic", "jobs", "bytes", "lines", "retries", "dead letters")]
    rows += [_row(topic.topic, topic, outcome.sums[topic.topic]) for topic in order[:MOST_TOPICS]]
    if len(order) > MOST_TOPICS:
        rows.append((f"({len(order) - MOST_TOPICS:,} more)", "", "", "", "", ""))
    rows.append(_row(f"total: {len(order):,} topics", outcome.stats, outcome.total))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines: list[str] = []
    for name, *figures in rows:
        cells = [cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]).rstrip())
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _row(name: str, stats: jobq.Stats, sums: Sums) -> tuple[str, ...]:
    counts = (f"{sums.lines:,}", f"{_reruns(stats):,}", f"{stats.dead:,}")
    return (shortened(name), f"{stats.enqueued:,}", amount(sums.size), *counts)


def _reruns(stats: jobq.Stats) -> int:
    """Retries that ran the job again: the one retry too many counts as well, and makes the dead letter."""
    return stats.retries - stats.dead


def _figures(outcome: Outcome) -> list[str]:
    total, seconds = outcome.total, max(outcome.seconds, 1e-9)
    waits = sorted(chain.from_iterable(hasher.waits for hasher in outcome.hashers))
    runs = sorted(chain.from_iterable(hasher.runs for hasher in outcome.hashers))
    ended = outcome.stats.completions + outcome.stats.dead - outcome.past.finished
    size = total.size - outcome.past.total.size
    speed = f"{ended / seconds:,.0f} jobs/s, {amount(size / seconds)}/s"
    return [
        f"wait  {_percentiles(waits)}  from enqueue to the first reserve",
        f"run   {_percentiles(runs)}  one attempt: open, read, SHA-256, lines",
        f"{ended:,} jobs in {seconds:.2f} s: {speed}, {len(outcome.hashers)} workers",
    ]


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of sorted values: the least of them that `percent` % do not exceed."""
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def _percentiles(ordered: Sequence[float]) -> str:
    if not ordered:
        return "  ".join(f"p{percent} {'-':>9}" for percent in (50, 95, 99))
    return "  ".join(f"p{percent} {_short_time(percentile(ordered, percent)):>9}" for percent in (50, 95, 99))


def _short_time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


def _dead_letters(outcome: Outcome) -> list[str]:
    if not outcome.stats.dead:
        return []
    lines = ["", f"dead letters: {outcome.stats.dead:,}"]
    for number, (info, path) in enumerate(outcome.dead()):
        if number == MOST_NAMES:
            lines.append(f"  and {outcome.stats.dead - MOST_NAMES:,} more")
            break
        # Errors of the system end with the path; it stands before them already.
        error = (info.error or "").removesuffix(f": {path!r}")
        lines.append(f"  {printable(path)}: {printable(os.fsencode(error))} (after {info.attempts} attempts)")
    return lines


def write_json(outcome: Outcome, directory: str, out: IO[str]) -> None:
    """Write the totals and every file, in the order they were enqueued.

    Bytes of a path that are no UTF-8 stand as lone surrogates; os.fsencode turns them back.
    """
    stats, total, survey = outcome.stats, outcome.total, outcome.survey
    document = {
        "directory": directory,
        "interrupted": outcome.interrupted,
        "jobs": stats.enqueued,
        "done": stats.completions,
        "dead": stats.dead,
        "left": stats.live,
        "bytes": total.size,
        "lines": total.lines,
        "retries": _reruns(stats),
        "links": survey.links,
        "others": survey.others,
        "unlisted": survey.unlisted,
        "seconds": outcome.seconds,
        "files": [record for _, record in sorted(_records(outcome), key=lambda pair: pair[0])],
    }
    json.dump(document, out, indent=1)
    out.write("\n")


def _records(outcome: Outcome) -> Iterator[tuple[jobq.JobId, dict[str, str | int | None]]]:
    """Each file's id and what became of it."""
    kept = (hasher.results or () for hasher in outcome.hashers)
    for result in chain(outcome.past.results, chain.from_iterable(kept)):
        record = _record(result.path, result.topic, "done", result.attempts)
        yield result.id, record | asdict(result.digest)
    for status, rest in (("dead", outcome.dead()), ("left", outcome.left())):
        for info, path in rest:
            yield info.id, _record(path, info.topic, status, info.attempts) | {"error": info.error}


def _record(path: bytes, topic: str, status: str, attempts: int) -> dict[str, str | int | None]:
    return {"path": os.fsdecode(path), "topic": topic, "status": status, "attempts": attempts}
