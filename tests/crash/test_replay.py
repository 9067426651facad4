"""The recorder sees all that a program does to its files, and the model leaves exactly what a power cut may.

Every verdict of the power-cut tests rests on these two: a recorder that misses a call, or a model that keeps
what was never synced, would call any store safe.
"""

import random
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from . import build
from .recording import Recording, record, tree
from .replay import Disk
from .stream import Kind, syncs

SEEDS = range(300)


def of(code: str, tmp_path: Path) -> Recording:
    """Record Python code that works in the folder it is started in."""
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    program = f"import os\nos.chdir({str(root)!r})\n" + textwrap.dedent(code)
    return record([sys.executable, "-c", program], root, tmp_path / "scratch")


def images(recording: Recording, tmp_path: Path, after: int | None = None) -> list[dict[str, bytes | None]]:
    """The trees that a cut after so many events may leave, one per seed."""
    disk = Disk(recording.base)
    for event in recording.events[:after]:
        disk.happen(event)
    found = []
    for seed in SEEDS:
        image = tmp_path / f"image-{after}-{seed}"
        disk.cut(image, random.Random(seed))
        found.append(tree(image))
    return found


def kinds(recording: Recording) -> Counter[Kind]:
    return Counter(event.kind for event in recording.events)


def test_every_way_to_change_a_file_is_recorded(tmp_path: Path) -> None:
    """`record` itself compares the tree that the stream gives with the one that is there, byte for byte."""
    recording = of(
        """
        os.mkdir("sub")
        fd = os.open("a", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"first"); os.writev(fd, [b"se", b"cond"])
        os.pwrite(fd, b"third", 1000); os.pwritev(fd, [b"x" * 600, b"y" * 600], 100)
        twin = os.dup(fd); os.write(twin, b"by the twin"); os.ftruncate(twin, 900)
        more = os.open("a", os.O_WRONLY | os.O_APPEND)
        os.write(more, b"at the end"); os.pwrite(more, b"at the end too", 3)
        folder = os.open("sub", os.O_RDONLY)
        os.close(os.open("b", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
        os.rename("b", "c", src_dir_fd=folder, dst_dir_fd=folder)
        os.mkdir("d", dir_fd=folder); os.rmdir("sub/d")
        os.truncate("sub/../a", 1600)
        os.rename("./a", "sub/e"); os.write(fd, b"under its new name")
        open("sub/f", "w").write("gone"); os.unlink("f", dir_fd=folder)
        open("g", "w").write("emptied"); open("g", "w").close()
        """,
        tmp_path,
    )
    assert kinds(recording) == {
        Kind.MADE_FOLDER: 2,
        Kind.CREATED: 4,
        Kind.OPENED: 4,
        Kind.WROTE: 10,
        Kind.RESIZED: 3,
        Kind.RENAMED: 2,
        Kind.REMOVED_FOLDER: 1,
        Kind.UNLINKED: 1,
    }


def test_a_change_behind_the_recorders_back_fails_the_recording(tmp_path: Path) -> None:
    """A store that writes through a mapping is nothing that can be judged here, and must not seem to be."""
    with pytest.raises(AssertionError, match=r"passed by: \['mapped'\]"):
        of(
            """
            import mmap
            fd = os.open("mapped", os.O_RDWR | os.O_CREAT)
            os.ftruncate(fd, 4096)
            with mmap.mmap(fd, 4096) as view:
                view[:5] = b"quiet"
            """,
            tmp_path,
        )


def test_one_order_holds_over_all_threads(tmp_path: Path) -> None:
    """Eight threads append to one file: only the true order gives the file that is there."""
    recording = of(
        """
        import threading
        def work(number):
            fd = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for turn in range(200):
                os.write(fd, f"{number} {turn}\\n".encode())
                os.pwrite(shared, bytes([number]) * 700, turn * 40)
        shared = os.open("shared", os.O_RDWR | os.O_CREAT)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        """,
        tmp_path,
    )
    assert kinds(recording)[Kind.WROTE] == 3_200


def test_what_is_synced_stays_and_what_is_not_may_go_sector_by_sector(tmp_path: Path) -> None:
    recording = of(
        """
        fd = os.open("f", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"a" * 8192); os.fdatasync(fd)
        here = os.open(".", os.O_RDONLY); os.fsync(here)
        os.pwrite(fd, b"b" * 8192, 0)
        """,
        tmp_path,
    )
    seen = set()
    for image in images(recording, tmp_path):
        content = image["f"]
        assert content is not None and len(content) == 8192
        sectors = [content[at : at + 512] for at in range(0, 8192, 512)]
        assert all(sector in {b"a" * 512, b"b" * 512} for sector in sectors)
        seen.add("".join(chr(sector[0]) for sector in sectors))
    assert {"a" * 16, "b" * 16, "a" * 8 + "b" * 8, "b" * 8 + "a" * 8} <= seen
    assert len(seen) > 50, "sectors of 512 bytes survive alone"


def test_a_range_sync_a_failed_sync_and_one_that_has_not_returned_keep_nothing(tmp_path: Path) -> None:
    recording = of(
        """
        import ctypes
        libc = ctypes.CDLL(None)
        here = os.open(".", os.O_RDONLY)
        fd = os.open("f", os.O_RDWR | os.O_CREAT); os.fsync(here)
        os.write(fd, b"a" * 512)
        libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(512), 7)
        os.fdatasync(fd)
        """,
        tmp_path,
    )
    assert kinds(recording)[Kind.RANGE_SYNCED] == 1
    began = next(i for i, e in enumerate(recording.events) if e.kind is Kind.SYNC_BEGAN and e.path == "f")
    lost = {b"", bytes(512)}
    assert any(image["f"] in lost for image in images(recording, tmp_path, began + 1))
    assert all(image["f"] == b"a" * 512 for image in images(recording, tmp_path, began + 2))


def test_a_write_during_a_sync_is_not_covered_by_it(tmp_path: Path) -> None:
    """Else a store that acknowledges on another caller's sync, begun before its own write, would pass."""
    recording = of(
        """
        fd = os.open("f", os.O_RDWR | os.O_CREAT)
        os.fsync(os.open(".", os.O_RDONLY))
        os.write(fd, b"a" * 512); os.fdatasync(fd); os.write(fd, b"b" * 512)
        """,
        tmp_path,
    )
    events = recording.events
    assert [event.kind for event in events[-3:]] == [Kind.SYNC_BEGAN, Kind.SYNC_ENDED, Kind.WROTE]
    events[-2:] = [events[-1], events[-2]]
    found = {image["f"] for image in images(recording, tmp_path)}
    assert b"a" * 512 in found and b"a" * 512 + b"b" * 512 in found


def test_sizes_lie_between_the_synced_and_the_newest(tmp_path: Path) -> None:
    recording = of(
        """
        fd = os.open("f", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"a" * 1000); os.fsync(fd); os.fsync(os.open(".", os.O_RDONLY))
        os.write(fd, b"b" * 3000); os.ftruncate(fd, 500)
        """,
        tmp_path,
    )
    sizes = {len(image["f"] or b"") for image in images(recording, tmp_path)}
    assert {500, 1000, 4000} <= sizes and len(sizes) > 20
    assert all(500 <= size <= 4000 for size in sizes)


def test_names_survive_as_a_prefix_and_only_their_folders_sync_keeps_them(tmp_path: Path) -> None:
    recording = of(
        """
        for name in "abc":
            fd = os.open(name, os.O_RDWR | os.O_CREAT); os.write(fd, name.encode()); os.fsync(fd)
        os.rename("a", "z"); os.unlink("b")
        """,
        tmp_path,
    )
    found = {"".join(sorted(image)) for image in images(recording, tmp_path)}
    assert found == {"", "a", "ab", "abc", "bcz", "cz"}


def test_a_move_between_folders_never_loses_the_file(tmp_path: Path) -> None:
    recording = of(
        """
        os.mkdir("x"); os.mkdir("y"); open("x/f", "w").close()
        for name in (".", "x", "y"):
            os.fsync(os.open(name, os.O_RDONLY))
        os.rename("x/f", "y/f")
        """,
        tmp_path,
    )
    found = {
        tuple(sorted(name for name in image if name.endswith("f"))) for image in images(recording, tmp_path)
    }
    assert found == {("x/f",), ("y/f",), ("x/f", "y/f")}


def test_a_link_is_refused_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="link"):
        of("open('f', 'w').close(); os.link('f', 'link')", tmp_path)


def test_a_stream_ends_where_the_process_was_killed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write = f"open({str(root)!r} + '/f', 'w').write('a')"
    program = f"import os, signal\n{write}\nos.kill(os.getpid(), signal.SIGKILL)"
    recording = record([sys.executable, "-c", program], root, tmp_path / "scratch", code=-9)
    assert kinds(recording) == {Kind.CREATED: 1, Kind.WROTE: 1}


def test_the_recorder_changes_nothing_for_files_elsewhere(tmp_path: Path) -> None:
    """It sits in front of libc for the whole process: what is not in the folder must work as ever."""
    code = (
        "import os, sys; fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); os.write(fd, b'x'); os.fsync(fd)"
    )
    environment = {
        "LD_PRELOAD": str(build.shim("record")),
        "JOBQ_RECORD_ROOT": str(tmp_path / "root"),
        "JOBQ_RECORD_STREAM": str(tmp_path / "stream"),
    }
    command = [sys.executable, "-I", "-c", code, str(tmp_path / "rootless")]
    subprocess.run(command, env=environment, check=True, timeout=60)
    assert (tmp_path / "rootless").read_bytes() == b"x"
    assert (tmp_path / "stream").read_bytes() == b""


def test_the_syncs_of_one_file_are_found_in_a_stream(tmp_path: Path) -> None:
    """What `never` may lose is counted from them: a sync of another file saves nothing."""
    recording = of(
        """
        log = os.open("db", os.O_RDWR | os.O_CREAT)
        mark = os.open("mark", os.O_RDWR | os.O_CREAT)
        os.write(log, b"first"); os.fdatasync(log)
        os.write(mark, b"first"); os.fdatasync(mark)
        os.write(log, b"second"); os.fsync(log)
        """,
        tmp_path,
    )
    found = syncs(recording.events, "db")
    ends = [recording.events[at - 1] for at, _ in found]
    assert [(event.kind, event.path) for event in ends] == [(Kind.SYNC_ENDED, "db")] * 2
    assert [began for _, began in found] == sorted(began for _, began in found)
    assert all(began <= end.seconds for (_, began), end in zip(found, ends, strict=True))


def test_a_process_that_ends_beside_a_write_has_recorded_it(tmp_path: Path) -> None:
    """A victim that ends has a writer at work; a write without a record would look like damage."""
    code = """
        import threading
        file = os.open("db", os.O_RDWR | os.O_CREAT)
        began = threading.Event()

        def write():
            for number in range(10_000):
                os.pwrite(file, bytes([number % 256]) * 1_000_000, number % 3 * 1_000_000)
                if number == 3:
                    began.set()

        threading.Thread(target=write, daemon=True).start()
        began.wait()
        os._exit(0)
        """
    for turn in range(10):
        (tmp_path / str(turn)).mkdir()
        assert kinds(of(code, tmp_path / str(turn)))[Kind.WROTE] > 3
