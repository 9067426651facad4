"""Judges what a verifier saw by what the journal says: never by counts, always job by job.

| journal | store | verdict |
|---|---|---|
| enqueue acknowledged | absent | LOST |
| enqueue without a result | present or absent | fine |
| enqueue refused | present | REFUSED |
| done, cancel, delete, ... acknowledged | as if it had not been | UNDONE |
| no such call | done or canceled | FORGED; POISON is accounted for |
| no such enqueue | present or delivered | GHOST |
| one payload under two ids, two under one | | SWAPPED |
| two holders at once; an old token accepted | | OVERLAP, FENCE |
| a token or id not above all told before | | TOKEN, ID |
| earlier and as urgent, delivered later | | ORDER |
| live, and not delivered by a whole drain | | STUCK |
| granted, and nothing since | without a crash charged | FORGOTTEN, if leases survive |
| a payload, record, index or counter that is wrong | | DAMAGED, FAULT |
| does not open, or takes too long | | OPEN |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from .history import ABSENT, CANCELED, DONE, LIVE, History, Story
from .journal import Call
from .laws import laws
from .verifier import Observation, Seen

OPENING = 10.0
"""Seconds that opening may take."""
MAX_CRASHES = 3
"""The default of JobService: more, and a job is poison."""


@dataclass(frozen=True)
class Verdict:
    """One thing that must not be. `call` is the acknowledged call that was not kept, where it is that."""

    kind: str
    text: str
    call: Call | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True)
class Promise:
    """What a level promises after this kind of crash."""

    window: float = 0.0
    """Seconds before the crash whose acknowledged calls may be lost, as a suffix."""
    leases: bool = False
    """Who was reserved at the crash is known at open, whatever else is lost."""


@dataclass(frozen=True)
class Death:
    """The end of a run by a crash: `at` is when, on the journal's clock."""

    run: int
    at: float


def judge(
    history: History, deaths: list[Death], seen: Observation, promise: Promise | None = None
) -> list[Verdict]:
    """All that is wrong, [] if nothing. `history` ends before the verifier's own run, which is `seen.run`."""
    if seen.error is not None:
        return [Verdict("OPEN", seen.error)]
    verdicts = [Verdict("FAULT", fault) for fault in seen.faults]
    if seen.seconds > OPENING:
        verdicts.append(Verdict("OPEN", f"took {seen.seconds:.1f} s"))
    promise = promise or Promise()
    past = History([call for call in history.calls if call.run < seen.run])
    verdicts += _identities(past, seen)
    present = {job.label["key"]: job for job in seen.jobs if job.label is not None}
    damaged = {job.id for job in seen.jobs if job.label is None}
    for story in past.stories.values():
        if story.id not in damaged:
            verdicts += _one(story, present.get(story.key), past, deaths)
            if promise.leases:
                verdicts += _forgotten(story, present.get(story.key), deaths)
    verdicts += _pauses(past, seen)
    verdicts += _drain(past, seen)
    verdicts += [Verdict(*breach) for breach in laws(history)]
    return _forgive(verdicts, past, present, deaths, promise)


def oldest_loss(verdicts: list[Verdict], deaths: list[Death]) -> float:
    """How many seconds before its crash the oldest call was acknowledged that was lost; 0 if none was."""
    ends = {death.run: death.at for death in deaths}
    return max(
        (ends[v.call.run] - (v.call.ended or 0) for v in verdicts if v.call and v.call.run in ends),
        default=0.0,
    )


def _identities(past: History, seen: Observation) -> Iterator[Verdict]:
    """Payloads sound, known, and each under its own id, topic and weight."""
    keys: set[str] = set()
    for job in seen.jobs:
        if job.label is None:
            yield Verdict("DAMAGED", f"the payload of job {job.id}")
            continue
        key = job.label["key"]
        if key not in past.stories:
            yield Verdict("GHOST", f"job {job.id} is {key}, which nobody enqueued")
            continue
        if key in keys:
            yield Verdict("SWAPPED", f"{key} is there twice, once as job {job.id}")
        keys.add(key)
        past.name(key, job.id)
        if (job.topic, job.weight) != (job.label["topic"], job.label["weight"]):
            yield Verdict(
                "DAMAGED", f"job {job.id} stands in {job.topic!r} at {job.weight}, not as {job.label}"
            )
    yield from (Verdict("SWAPPED", clash) for clash in past.clashes)
    yield from (Verdict("DAMAGED", f"job {id} was set aside") for id in seen.quarantined)


def _one(story: Story, job: Seen | None, past: History, deaths: list[Death]) -> Iterator[Verdict]:
    """One enqueued payload, by the table above."""
    expected = story.expected()
    state = ABSENT if job is None else {"done": DONE, "canceled": CANCELED}.get(job.status, LIVE)
    if job is not None and job.reason == "poison":
        if _crashes(story, past, deaths) <= MAX_CRASHES:
            yield Verdict("FORGED", f"{story.key} (job {job.id}) is poison without the crashes")
        return
    if state in expected.states:
        if job is not None and state == LIVE:
            yield from _retries(story, job, deaths)
        return
    what = f"{story.key} (job {story.id}) is {state}, not {' or '.join(sorted(expected.states))}"
    if story.enqueue.refused:
        yield Verdict("REFUSED", what)
    elif expected.decided is story.enqueue:
        yield Verdict("LOST" if state == ABSENT else "FORGED", what, expected.decided)
    else:
        yield Verdict("LOST" if state == ABSENT else "UNDONE", what, expected.decided)


def _forgotten(story: Story, job: Seen | None, deaths: list[Death]) -> Iterator[Verdict]:
    """A job that was surely held when a run died has been charged for it."""
    if job is None or not story.grants or job.status not in {"ready", "delayed", "reserved"}:
        return
    last = max(story.grants, key=lambda grant: grant.token)
    touched = any(call.ended is None or call.ended > last.call.began for call in story.calls)
    if not touched and job.crashes == 0 and any(death.run == last.call.run for death in deaths):
        yield Verdict(
            "FORGOTTEN", f"job {job.id} was held under {last.token} at the crash, and is not charged"
        )


def _crashes(story: Story, past: History, deaths: list[Death]) -> int:
    """At how many crashes it may have been held: granted in that run, or perhaps granted unseen."""
    count = 0
    for death in deaths:
        granted = any(grant.call.run == death.run for grant in story.grants)
        topic = story.enqueue.args["topic"]
        unseen = any(
            call.run == death.run
            and call.op == "reserve"
            and call.outcome is None
            and call.args["topic"] == topic
            for call in past.calls
        )
        count += granted or unseen
    return count


def _retries(story: Story, job: Seen, deaths: list[Death]) -> Iterator[Verdict]:
    """Charged retries are acknowledged too. Nothing expires in these workloads."""
    ends = {death.run: death.at for death in deaths}
    since = max((n + 1 for n, call in enumerate(story.calls) if call.op == "reset"), default=0)
    calls = [call for call in story.calls[since:] if call.op == "retry" and not call.refused]
    sure = [call for call in calls if call.ok]
    doubtful_reset = since and not story.calls[since - 1].ok
    if not doubtful_reset and job.retries < len(sure):
        # Which are missing is not told: those nearest to a crash, of which the farthest is to be judged.
        nearest = sorted(sure, key=lambda call: ends.get(call.run, 1e99) - (call.ended or 0.0))
        lost = nearest[len(sure) - job.retries - 1]
        yield Verdict("UNDONE", f"job {job.id} has {job.retries} retries, not {len(sure)}", lost)
    most = sum(call.op == "retry" and not call.refused for call in story.calls)
    if job.retries > most:
        yield Verdict("FORGED", f"job {job.id} has {job.retries} retries, not {most}")


def _pauses(past: History, seen: Observation) -> Iterator[Verdict]:
    """The last acknowledged pause or resume of each topic holds, unless another may have come later."""
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in past.calls:
        if call.op in {"pause", "resume"} and not call.refused:
            calls[call.args["topic"]].append(call)
    for topic, asked in calls.items():
        sure = [call for call in asked if call.ok and call.ended is not None]
        if not sure:
            continue
        last = max(sure, key=lambda call: call.ended or 0.0)
        rivals = {call.op for call in asked if call is not last and (call.ended or 1e99) > last.began}
        if (last.op == "pause") != (topic in seen.paused) and not rivals - {last.op}:
            yield Verdict("UNDONE", f"{topic!r} is {'' if topic in seen.paused else 'not '}paused", last)


def _drain(past: History, seen: Observation) -> Iterator[Verdict]:
    """All that is live is delivered, once, and what kept its place in its order."""
    if seen.drained is None:
        return
    delivered = [*seen.drained, *seen.late]
    for job in seen.jobs:
        if job.status in {"ready", "delayed", "reserved"} and job.id not in delivered:
            yield Verdict("STUCK", f"job {job.id} was {job.status} and never delivered")
    if len(set(delivered)) < len(delivered):
        yield Verdict("UNDONE", f"delivered twice by one drain: {sorted(delivered)}")
    jobs = {job.id: job for job in seen.jobs}
    latest: dict[tuple[str, int], tuple[float, int]] = {}
    weights: dict[str, int] = {}
    for id in seen.drained:
        story, shown = past.by_id.get(id), jobs.get(id)
        if story is None or shown is None or story.enqueue.args["delay"] is not None or any(story.movers()):
            continue
        if shown.weight < weights.get(shown.topic, shown.weight):
            yield Verdict(
                "ORDER", f"job {id} of weight {shown.weight} came after one of {weights[shown.topic]}"
            )
        weights[shown.topic] = shown.weight
        began, before = latest.get((shown.topic, shown.weight), (0.0, 0))
        if story.enqueue.ended is not None and story.enqueue.ended < began:
            yield Verdict("ORDER", f"job {id} was enqueued before job {before} and came after it")
        latest[shown.topic, shown.weight] = max((began, before), (story.enqueue.began, id))


def _forgive(
    verdicts: list[Verdict], past: History, present: dict[str, Seen], deaths: list[Death], promise: Promise
) -> list[Verdict]:
    """Drop what the level does not promise: the last moment's calls, if none after them was kept."""
    if not promise.window:
        return verdicts
    ends = {death.run: death.at for death in deaths}
    kept: dict[int, float] = defaultdict(float)
    for call in _kept(past, present):
        kept[call.run] = max(kept[call.run], call.began)
    left: list[Verdict] = []
    for verdict in verdicts:
        call = verdict.call
        if call is None or call.ended is None or call.run not in ends:
            left.append(verdict)
        elif call.ended < ends[call.run] - promise.window:
            left.append(Verdict(verdict.kind, f"{verdict} {ends[call.run] - call.ended:.3f} s before", call))
        elif call.ended < kept[call.run]:
            left.append(Verdict("HOLE", f"{verdict}, and a later call was kept", call))
    return left


_LED_TO = {"done": {"done", "done_many"}, "canceled": {"reject", "cancel", "retry"}}


def _kept(past: History, present: dict[str, Seen]) -> Iterator[Call]:
    """Calls that the store shows: each job's enqueue, and of those that may have ended it the first.

    Where calls of several runs may have, each of them may be one that was lost.
    """
    for key, job in present.items():
        story = past.stories.get(key)
        if story is None:
            continue
        yield story.enqueue
        if job.reason == "poison":
            continue
        led = [call for call in story.calls if call.op in _LED_TO.get(job.status, ()) and not call.refused]
        if len({call.run for call in led}) == 1:
            yield min(led, key=lambda call: call.began)
