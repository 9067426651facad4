"""A repository of one's own: jobs that survive the process, in an SQLite file.

A repository is an atomic, ordered store of bytes and nothing more, so this is all of it. Run as a program it
leaves work unfinished, opens the file again and finishes it.
"""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import jobq


class SQLite:
    """The `jobq.Repository` protocol on one table. One service at a time may have a file open."""

    durable = True

    def __init__(self, path: Path) -> None:
        # Calls come one at a time but from any thread, which sqlite3 would refuse.
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # WAL alone would lose the last commits in a power cut
        self._db.execute("CREATE TABLE IF NOT EXISTS store (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def load(self, prefix: bytes, /) -> Iterator[tuple[bytes, bytes]]:
        # The least key that no longer begins with the prefix; blobs are compared byte by byte.
        head = prefix.rstrip(b"\xff")
        if not head:
            return self._db.execute("SELECT key, value FROM store WHERE key >= ? ORDER BY key", (prefix,))
        end = head[:-1] + bytes([head[-1] + 1])
        query = "SELECT key, value FROM store WHERE key >= ? AND key < ? ORDER BY key"
        return self._db.execute(query, (prefix, end))

    def commit(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], /) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:  # commits, or rolls back after an error
            self._db.executemany("DELETE FROM store WHERE key = ?", [(key,) for key in deletes])
            self._db.executemany("INSERT OR REPLACE INTO store VALUES (?, ?)", puts)

    def get(self, key: bytes, /) -> bytes | None:
        row = self._db.execute("SELECT value FROM store WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def compact(self) -> None:
        self._db.execute("VACUUM")

    def close(self) -> None:
        self._db.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "jobs.db")

        store = SQLite(path)
        # One object for both roles: jobs and statistics are kept in one commit.
        with jobq.JobService(store, store) as svc:
            ids = svc.enqueue_many("mail", [b"ada@example.org", b"grace@example.org", b"alan@example.org"])
            with svc.reserve_one("mail") as job:
                print(f"first run: job {job.id} done, {len(ids) - 1} left in {path.name}")

        store = SQLite(path)
        with jobq.JobService(store, store) as svc:
            print(f"second run: {svc.recovery.ready} ready, {svc.recovery.done} done")
            for job in svc.consume("mail", idle=0):
                with job:
                    print(f"second run: job {job.id} done, token {job.token}")
            print(f"enqueued {svc.topic_stats('mail').enqueued}, done {svc.topic_stats('mail').completions}")


if __name__ == "__main__":
    main()
