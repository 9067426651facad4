"""Each verdict can be given, and is not without its cause: the table of verdicts.py, row by row, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from .history import History
from .journal import Call
from .verdicts import Death, Promise, judge
from .verifier import Observation, Seen

RUN, LOOK = 1, 2


class Book:
    """A journal written by hand: each call takes the next second, unless told when."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def add(self, op: str, outcome: str | None = "ok", reply: Any = None, **args: Any) -> None:
        began = args.pop("began", float(len(self.calls) + 1))
        ended = args.pop("ended", None if outcome is None else began + 0.5)
        run = args.pop("run", RUN)
        seq = len(self.calls) + 1
        self.calls.append(
            Call(
                run=run,
                thread="t",
                seq=seq,
                op=op,
                args=args,
                began=began,
                ended=ended,
                outcome=outcome,
                reply=reply,
            )
        )

    def enqueue(self, key: str, id: int, outcome: str | None = "ok", **args: Any) -> None:
        self.add("enqueue", outcome, [id], keys=[key], topic="a", weight=0, delay=None, **args)

    def reserve(self, *granted: tuple[int, int, str], **args: Any) -> None:
        reply = [[id, token, 1, key] for id, token, key in granted]
        self.add("reserve", "ok", reply, topic="a", limit=3, **args)

    def kinds(self, seen: Observation, promise: Promise | None = None, died: float = 100.0) -> set[str]:
        found = judge(History(self.calls), [Death(RUN, died)], seen, promise)
        return {verdict.kind for verdict in found}


def shown(key: str | None, id: int, status: str = "ready", **more: Any) -> Seen:
    label = None if key is None else {"key": key, "topic": "a", "weight": 0, "delayed": False, "size": 40}
    fields: dict[str, Any] = {"reason": None, "topic": "a", "weight": 0, "retries": 0, "crashes": 0, **more}
    return Seen(id=id, status=status, label=label, **fields)


def seen(*jobs: Seen, **more: Any) -> Observation:
    return Observation(run=LOOK, jobs=list(jobs), **more)


def test_what_was_acknowledged_and_is_there_is_fine() -> None:
    """A judge that always condemns would catch every planted fault too."""
    book = Book()
    book.enqueue("x", 1)
    book.enqueue("y", 2)
    book.enqueue("z", 3, None)
    book.reserve((1, 7, "x"))
    book.add("done", id=1, token=7)
    assert book.kinds(seen(shown("x", 1, "done"), shown("y", 2))) == set()
    assert book.kinds(seen(shown("x", 1, "done"), shown("y", 2), shown("z", 3))) == set()


def test_an_acknowledged_enqueue_that_is_absent_is_lost() -> None:
    """The promise that all others stand on."""
    book = Book()
    book.enqueue("x", 1)
    assert book.kinds(seen()) == {"LOST"}


def test_an_ending_that_did_not_last_is_undone() -> None:
    """Work that was done would be done again."""
    book = Book()
    book.enqueue("x", 1)
    book.reserve((1, 7, "x"))
    book.add("done", id=1, token=7)
    assert book.kinds(seen(shown("x", 1))) == {"UNDONE"}
    book.reserve((1, 8, "x"))
    assert book.kinds(seen(shown("x", 1, "done"))) == {"UNDONE"}


def test_an_ending_without_a_result_may_be_either() -> None:
    """What nobody was told is not promised."""
    book = Book()
    book.enqueue("x", 1)
    book.reserve((1, 7, "x"))
    book.add("done", None, id=1, token=7)
    assert book.kinds(seen(shown("x", 1))) == set()
    assert book.kinds(seen(shown("x", 1, "done"))) == set()


def test_a_deletion_pause_or_retry_that_did_not_last_is_undone() -> None:
    """They are acknowledged as well."""
    book = Book()
    book.enqueue("x", 1)
    book.add("delete", id=1)
    book.add("pause", topic="a")
    assert book.kinds(seen(shown("x", 1), paused=["a"])) == {"UNDONE"}
    assert book.kinds(seen()) == {"UNDONE"}
    book = Book()
    book.enqueue("x", 1)
    book.reserve((1, 7, "x"))
    book.add("retry", "ok", "delayed", id=1, token=7, delay=9)
    assert book.kinds(seen(shown("x", 1, "delayed"))) == {"UNDONE"}
    assert book.kinds(seen(shown("x", 1, "delayed", retries=1))) == set()


def test_what_nobody_asked_for_is_forged_or_a_ghost() -> None:
    """A store must not make things up either."""
    book = Book()
    book.enqueue("x", 1)
    assert book.kinds(seen(shown("x", 1, "done"))) == {"FORGED"}
    assert book.kinds(seen(shown("x", 1, "canceled", reason="poison"))) == {"FORGED"}
    assert book.kinds(seen(shown("x", 1), shown("g", 2))) == {"GHOST"}


def test_a_refused_enqueue_that_is_there_is_told() -> None:
    """An error that promises to change nothing must not."""
    book = Book()
    book.enqueue("x", 1, "QueueFull")
    assert book.kinds(seen(shown("x", 1))) == {"REFUSED"}
    assert book.kinds(seen()) == set()


def test_two_jobs_that_changed_places_are_swapped() -> None:
    """Counts would not notice."""
    book = Book()
    book.enqueue("x", 1)
    book.enqueue("y", 2)
    assert "SWAPPED" in book.kinds(seen(shown("y", 1), shown("x", 2)))
    assert "SWAPPED" in book.kinds(seen(shown("x", 1), shown("y", 2), shown("y", 3)))


def test_a_damaged_payload_or_record_is_told() -> None:
    """It must be named, not served."""
    book = Book()
    book.enqueue("x", 1)
    assert book.kinds(seen(shown(None, 1))) == {"DAMAGED"}
    assert book.kinds(seen(shown("x", 1, weight=5))) == {"DAMAGED"}
    assert book.kinds(seen(shown("x", 1), faults=["an index"])) == {"FAULT"}


def test_a_store_that_does_not_open_in_time_is_told() -> None:
    """The commonest way to lose everything."""
    assert Book().kinds(seen(error="RepositoryCorrupt: ...")) == {"OPEN"}
    assert Book().kinds(seen(seconds=11.0)) == {"OPEN"}


@pytest.mark.parametrize("second", [7, 6])
def test_a_token_that_does_not_rise_is_told(second: int) -> None:
    """It fences other people's databases."""
    book = Book()
    book.enqueue("x", 1)
    book.enqueue("y", 2)
    book.reserve((1, 7, "x"))
    book.reserve((2, second, "y"))
    assert book.kinds(seen(shown("x", 1), shown("y", 2))) == {"TOKEN"}


def test_an_id_that_does_not_rise_is_told() -> None:
    """Ids are never used again."""
    book = Book()
    book.enqueue("x", 2)
    book.enqueue("y", 1)
    assert book.kinds(seen(shown("x", 2), shown("y", 1))) == {"ID"}


def test_two_holders_and_an_old_token_are_told() -> None:
    """At most one valid lease, at most one completion."""
    book = Book()
    book.enqueue("x", 1)
    book.reserve((1, 7, "x"))
    book.reserve((1, 8, "x"))
    assert book.kinds(seen(shown("x", 1))) == {"OVERLAP"}
    book.add("done", id=1, token=7)
    assert book.kinds(seen(shown("x", 1, "done"))) == {"OVERLAP", "FENCE"}


def test_a_holder_who_died_unnoticed_is_told() -> None:
    """A job that kills its process at once would be tried for ever."""
    book = Book()
    book.enqueue("x", 1)
    book.reserve((1, 7, "x"))
    assert book.kinds(seen(shown("x", 1, crashes=0)), Promise(leases=True)) == {"FORGOTTEN"}
    assert book.kinds(seen(shown("x", 1, crashes=1)), Promise(leases=True)) == set()
    book.add("release", None, id=1, token=7, delay=0)
    assert book.kinds(seen(shown("x", 1, crashes=0)), Promise(leases=True)) == set()
    book = Book()
    book.enqueue("x", 1)
    book.add("cancel", None, id=1)  # still under way when the job was granted, and when all died
    book.reserve((1, 7, "x"))
    assert book.kinds(seen(shown("x", 1, crashes=0)), Promise(leases=True)) == set()


def test_a_drain_out_of_order_or_short_is_told() -> None:
    """Strict order holds over a crash too, and what is ready must come."""
    book = Book()
    book.enqueue("x", 1)
    book.enqueue("y", 2)
    jobs = (shown("x", 1), shown("y", 2))
    assert book.kinds(seen(*jobs, drained=[1, 2])) == set()
    assert book.kinds(seen(*jobs, drained=[2, 1])) == {"ORDER"}
    assert book.kinds(seen(*jobs, drained=[1])) == {"STUCK"}


def test_a_weak_level_forgives_a_suffix_alone() -> None:
    """At `never` a kill may take the last 0.1 s, never something older and never from the middle."""
    book = Book()
    for number, key in enumerate("xyz", start=1):
        book.enqueue(key, number, began=float(number), ended=number + 0.5)
    window, died = Promise(window=1.0), 4.0
    assert book.kinds(seen(shown("x", 1), shown("y", 2)), window, died) == set()
    assert book.kinds(seen(shown("x", 1), shown("y", 2)), None, died) == {"LOST"}
    assert book.kinds(seen(shown("x", 1)), window, died) == {"LOST"}
    book.enqueue("w", 4, began=3.6, ended=3.7)
    assert book.kinds(seen(shown("x", 1), shown("y", 2), shown("w", 4)), window, died) == {"HOLE"}


@pytest.mark.parametrize(("op", "status"), [("done", "done"), ("reject", "canceled"), ("cancel", "canceled")])
def test_an_ending_that_was_kept_behind_a_lost_call_is_a_hole(op: str, status: str) -> None:
    """An enqueue is not the only call that a store shows; one that may have come earlier proves nothing."""
    book = Book()
    book.enqueue("x", 1, began=1.0, ended=1.5)
    book.reserve((1, 7, "x"), began=2.0)
    book.enqueue("y", 2, began=3.0, ended=3.5)
    book.add(op, id=1, token=7, began=3.6, ended=3.7)
    window = Promise(window=1.0)
    assert book.kinds(seen(shown("x", 1, status)), window, 4.0) == {"HOLE"}
    assert book.kinds(seen(shown("x", 1)), window, 4.0) == set()
    book = Book()
    book.enqueue("x", 1, began=1.0, ended=1.5)
    book.reserve((1, 7, "x"), began=2.0)
    book.enqueue("y", 2, began=3.0, ended=3.5)
    book.add(op, id=1, token=7, began=3.4, ended=3.7)
    assert book.kinds(seen(shown("x", 1, status)), window, 4.0) == set()


def test_calls_that_overlapped_may_have_come_in_any_order() -> None:
    """A journal tells when a call began and returned, not when it took effect."""
    book = Book()
    book.enqueue("x", 1)
    book.add("reset", id=1, began=2.0, ended=9.0)
    book.reserve((1, 7, "x"), began=3.0, ended=3.1)
    book.add("release", id=1, token=7, delay=0, began=4.0, ended=4.1)
    book.reserve((1, 8, "x"), began=5.0, ended=5.1)
    book.add("done", id=1, token=8, began=6.0, ended=6.1)
    book.reserve((1, 9, "x"), began=10.0, ended=10.1)
    assert book.kinds(seen(shown("x", 1))) == set()
    book = Book()
    book.enqueue("x", 1)
    book.add("reset", id=1, began=2.0, ended=3.0)
    book.reserve((1, 8, "x"), began=5.0, ended=5.1)
    book.add("done", id=1, token=8, began=6.0, ended=6.1)
    book.reserve((1, 9, "x"), began=10.0, ended=10.1)
    assert book.kinds(seen(shown("x", 1))) == {"UNDONE"}


def test_a_retry_lost_at_an_earlier_crash_is_not_held_against_a_later_run() -> None:
    """What a weak level took once stays away, and the retries after it count on."""
    book = Book()
    book.enqueue("x", 1)
    book.reserve((1, 7, "x"))
    book.add("retry", "ok", "ready", id=1, token=7, delay=0, began=9.8, ended=9.9)
    book.enqueue("y", 2, began=11.0, run=3)
    book.reserve((1, 8, "x"), began=12.0, run=3)
    book.add("retry", "ok", "ready", id=1, token=8, delay=0, began=13.0, ended=13.1, run=3)
    deaths = [Death(RUN, 10.0), Death(3, 20.0)]
    look = Observation(run=4, jobs=[shown("x", 1, retries=1), shown("y", 2)])
    assert judge(History(book.calls), deaths, look, Promise(window=0.5)) == []
    look = Observation(run=4, jobs=[shown("x", 1, retries=0), shown("y", 2)])
    assert {v.kind for v in judge(History(book.calls), deaths, look, Promise(window=0.5))} == {"UNDONE"}
