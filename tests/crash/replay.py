"""What a power cut may leave of the files that a recorded process wrote: the model, and its images.

The model is stricter than any one file system. At the moment of the cut
  contents   what a completed fsync or fdatasync of a file covered is there. Of what was written since,
             each sector (512 bytes or 4 KiB, one size per image) holds its synced bytes, its newest ones, or
             any in between, alone; what never had bytes reads as zeros. One image in four keeps instead each
             file's writes up to some point, and none after it.
  sizes      the synced one, or any between two that the file went through since.
  names      what was done to a folder since its last completed fsync (create, mkdir, rename, unlink, rmdir)
             happened up to some point, and not after it. Only its folder's fsync makes a name durable, never
             the file's own. A rename is never half done; between two folders the new name comes first.
  a sync     covers what came before it began, once it has returned without error. sync_file_range covers
             nothing.
The drive is taken at its word: what it said it had written is there.
"""

import bisect
import random
from dataclasses import dataclass, field
from pathlib import Path

from .stream import Event, Kind

CHUNK = 1 << 20
ZEROS = bytes(CHUNK)
SECTORS = (512, 4096)


@dataclass(slots=True)
class Change:
    """Of a file: bytes at an offset, or (data None) a new size in `place`. `at` is the event's number."""

    at: int
    place: int
    data: bytes | None


@dataclass(slots=True, eq=False)
class File:
    """A file: its synced contents, what was done since, and its newest size."""

    synced: bytearray = field(default_factory=bytearray)
    since: list[Change] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class Step:
    """Of a folder: a name that now means this node, or none. `after` is a step elsewhere that comes first."""

    at: int
    name: str
    node: "Node | None"
    after: "tuple[Folder, int] | None" = None


@dataclass(slots=True, eq=False)
class Folder:
    """A folder: its synced names, and the steps since."""

    synced: "dict[str, Node]" = field(default_factory=dict)
    since: list[Step] = field(default_factory=list)
    now: "dict[str, Node]" = field(default_factory=dict)


Node = File | Folder


class Disk:
    """The folder's files as the kernel and the drive hold them, while events happen one by one."""

    def __init__(self, base: Path | None = None) -> None:
        """Begin with the tree at `base`, all of it durable; without one, with an empty folder."""
        self.root = Folder()
        self._nodes: dict[int, Node] = {}
        self._syncs: dict[int, tuple[Node, int]] = {}
        self._count = 0
        if base is not None:
            _read_folder(self.root, base)

    def happen(self, event: Event) -> None:
        """Let one event happen."""
        self._count += 1
        match event.kind:
            case Kind.NOTE | Kind.RANGE_SYNCED:
                pass
            case Kind.SYNC_BEGAN:
                self._syncs[event.serial] = (self._nodes[event.inode], self._count)
            case Kind.SYNC_ENDED:
                node, began = self._syncs.pop(event.serial)
                if not event.failed:
                    _sync(node, began)
            case Kind.WROTE | Kind.RESIZED:
                self._change(self._file(event), event)
            case _:
                self._name(event)

    def _name(self, event: Event) -> None:
        match event.kind:
            case Kind.OPENED:
                self._nodes[event.inode] = self._at(event.path)
            case Kind.CREATED:
                self._nodes[event.inode] = self._link(event.path, File())
            case Kind.MADE_FOLDER:
                self._nodes[event.inode] = self._link(event.path, Folder())
            case Kind.RENAMED:
                self._rename(event.path, event.second)
            case Kind.UNLINKED | Kind.REMOVED_FOLDER:
                self._unlink(event.path)
            case _:
                raise NotImplementedError(f"the model has no word for what was done to {event.path!r}")

    def newest(self, folder: Path) -> None:
        """Write the tree as the process saw it."""
        _Image(None).write(self.root, folder)

    def cut(self, folder: Path, chance: random.Random) -> None:
        """Write one tree that a power cut at this moment may leave."""
        _Image(chance).write(self.root, folder)

    def _file(self, event: Event) -> File:
        node = self._nodes[event.inode]
        assert isinstance(node, File), f"{event.path!r} is no file"
        return node

    def _change(self, file: File, event: Event) -> None:
        if event.kind is Kind.RESIZED:
            if event.place == file.size:
                return
            file.since.append(Change(self._count, event.place, None))
            file.size = event.place
            return
        file.since.append(Change(self._count, event.place, event.data))
        file.size = max(file.size, event.place + len(event.data))

    def _at(self, path: str) -> Node:
        node: Node = self.root
        for part in filter(None, path.split("/")):
            assert isinstance(node, Folder), f"{path!r} leads through a file"
            node = node.now[part]
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        node = self._at(parent)
        assert isinstance(node, Folder)
        return node, name

    def _link(self, path: str, node: Node) -> Node:
        folder, name = self._parent(path)
        folder.now[name] = node
        folder.since.append(Step(self._count, name, node))
        return node

    def _unlink(self, path: str) -> None:
        folder, name = self._parent(path)
        del folder.now[name]
        folder.since.append(Step(self._count, name, None))

    def _rename(self, old: str, new: str) -> None:
        node = self._at(old)
        target, _ = self._parent(new)
        source, name = self._parent(old)
        del source.now[name]
        self._link(new, node)
        if source is target:
            # One step of one folder: the name moved, whatever the prefix.
            source.since[-1:] = [
                Step(self._count, new.rpartition("/")[2], node),
                Step(self._count, name, None),
            ]
        else:
            source.since.append(Step(self._count, name, None, after=(target, self._count)))


def _read_folder(folder: Folder, path: Path) -> None:
    for entry in sorted(path.iterdir()):
        node: Node
        if entry.is_dir():
            node = inner = Folder()
            _read_folder(inner, entry)
        else:
            content = bytearray(entry.read_bytes())
            node = File(content, [], len(content))
        folder.now[entry.name] = folder.synced[entry.name] = node


def _sync(node: Node, began: int) -> None:
    if isinstance(node, File):
        covered = bisect.bisect_right(node.since, began, key=lambda change: change.at)
        for change in node.since[:covered]:
            _apply(node.synced, change)
        del node.since[:covered]
    else:
        covered = bisect.bisect_right(node.since, began, key=lambda step: step.at)
        _take(node.synced, node.since[:covered])
        del node.since[:covered]


def _apply(content: bytearray, change: Change) -> None:
    end = change.place + (0 if change.data is None else len(change.data))
    if change.data is None:
        del content[end:]
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if change.data is not None:
        content[change.place : end] = change.data


def _take(names: dict[str, Node], steps: list[Step]) -> None:
    for step in steps:
        if step.node is None:
            names.pop(step.name, None)
        else:
            names[step.name] = step.node


class _Image:
    """One choice of everything that was left open, written as a tree. Without chance: all of it happened."""

    def __init__(self, chance: random.Random | None) -> None:
        self._chance = chance
        self._sector = 4096 if chance is None else chance.choice(SECTORS)
        # How lossy this cut is: from "all but a sector was written" to "hardly any was".
        self._lost = 0.0 if chance is None else chance.choice((0.0, 0.02, 0.2, 0.5, 0.8, 0.98, 1.0))
        self._in_order = chance is not None and chance.random() < 0.25
        self._kept: dict[Folder, int] = {}
        """The last event whose step each folder keeps."""

    def write(self, root: Folder, path: Path) -> None:
        """Write the tree below `root` into the empty or missing folder `path`."""
        self._choose(root)
        path.mkdir(parents=True, exist_ok=True)
        self._write_folder(root, path)

    def _choose(self, root: Folder) -> None:
        folders = _folders(root)
        for folder in folders:
            moments = [step.at for step in folder.since]
            last = moments[-1] if moments else 0
            if self._chance is not None and moments and self._chance.random() < 0.9:
                last = self._chance.choice([0, *moments])
            self._kept[folder] = last
        # A rename between folders: its old name may be gone only where its new name is there.
        for folder in folders:
            for step in folder.since:
                if step.after is not None and step.at <= self._kept[folder]:
                    target, at = step.after
                    self._kept[target] = max(self._kept.get(target, 0), at)

    def _write_folder(self, folder: Folder, path: Path) -> None:
        names = dict(folder.synced)
        _take(names, [step for step in folder.since if step.at <= self._kept[folder]])
        for name, node in names.items():
            if isinstance(node, File):
                self._write_file(node, path / name)
            else:
                (path / name).mkdir(mode=0o700)
                self._write_folder(node, path / name)

    def _write_file(self, file: File, path: Path) -> None:
        size, sectors = self._sectors(file)
        with path.open("wb", buffering=0) as out:
            path.chmod(0o600)
            for at in range(0, min(size, len(file.synced)), CHUNK):
                piece = file.synced[at : min(at + CHUNK, size)]
                if piece != ZEROS[: len(piece)]:  # a hole costs nothing
                    out.seek(at)
                    out.write(piece)
            for sector, content in sectors.items():
                at = sector * self._sector
                if at < size:
                    out.seek(at)
                    out.write(content[: size - at])
            out.truncate(size)

    def _sectors(self, file: File) -> tuple[int, dict[int, bytes]]:
        """The size, and what each sector holds that does not hold its synced bytes."""
        width = self._sector
        size = len(file.synced)
        sizes = [size]
        versions: dict[int, list[bytes]] = {}

        def newest(sector: int) -> bytes:
            known = versions.get(sector)
            if known:
                return known[-1]
            old = bytes(file.synced[sector * width : (sector + 1) * width])
            return old + bytes(width - len(old))

        since = file.since
        if self._chance is not None and self._in_order:
            since = since[: self._chance.randint(0, len(since))]
        for change in since:
            if change.data is None:
                for sector in range(change.place // width, -(-size // width)):
                    kept = newest(sector)[: max(0, change.place - sector * width)]
                    versions.setdefault(sector, []).append(kept + bytes(width - len(kept)))
                size = change.place
            elif change.data:
                end = change.place + len(change.data)
                for sector in range(change.place // width, -(-end // width)):
                    begin = sector * width
                    low, high = max(change.place, begin), min(end, begin + width)
                    old = newest(sector) if high - low < width else b""
                    new = old[: low - begin] + change.data[low - change.place : high - change.place]
                    versions.setdefault(sector, []).append(new + old[high - begin :])
                size = max(size, end)
            sizes.append(size)
        if self._chance is None or self._in_order:
            return size, {sector: known[-1] for sector, known in versions.items()}
        return self._size(sizes), self._survivors(versions)

    def _size(self, sizes: list[int]) -> int:
        assert self._chance is not None
        if len(sizes) == 1 or self._chance.random() < 1 - self._lost:
            return sizes[-1]
        before = self._chance.randrange(len(sizes) - 1)
        low, high = sorted(sizes[before : before + 2])
        return self._chance.choice((sizes[before], sizes[0], self._chance.randint(low, high)))

    def _survivors(self, versions: dict[int, list[bytes]]) -> dict[int, bytes]:
        assert self._chance is not None
        chosen: dict[int, bytes] = {}
        for sector, known in versions.items():
            if self._chance.random() < self._lost:
                if len(known) > 1 and self._chance.random() < 0.3:
                    chosen[sector] = self._chance.choice(known[:-1])
            else:
                chosen[sector] = known[-1]
        return chosen


def _folders(folder: Folder) -> list[Folder]:
    """This folder and all that are, were or may be below it."""
    found: dict[Folder, None] = {}
    todo = [folder]
    while todo:
        one = todo.pop()
        if one not in found:
            found[one] = None
            nodes = [*one.synced.values(), *(step.node for step in one.since)]
            todo.extend(node for node in nodes if isinstance(node, Folder))
    return list(found)
