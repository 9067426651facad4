"""Holds the source to the layers of ARCHITECTURE.md: each file may import only what stands above it.

Every path that begins with `crate`, `super`, `self`, a child module or an imported name is resolved,
through re-exports too, to the file that defines it. No file but sync.rs names a lock, an atomic or a
thread. Test code is exempt.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

CORE = Path("rust/jobq-core")
BINDING = Path("rust/jobq-python")
PACKAGE = Path("python/jobq")

LAYERS = {
    "root": ["lib"],
    "words": ["job", "error", "clock", "options", "stats"],
    "rules": ["fsm", "backoff"],
    "structures": ["slab", "list", "ready", "ids", "wheel", "delays", "leases"],
    "sync": ["sync"],
    "trait": ["repository", "repository::codec"],
    "committer": ["repository::committer", "repository::stores"],
    "adapters": ["repository::memory", "repository::sled"],
    "engine": ["topic", "engine"],
}
VALUES = {"words", "rules", "structures"}
MAY_IMPORT = {
    "root": set(LAYERS),
    "words": {"words"},
    "rules": {"words", "rules"},
    "structures": {"words", "structures"},
    "sync": set[str](),
    "trait": VALUES | {"trait"},
    "committer": VALUES | {"trait", "sync", "committer"},
    "adapters": VALUES | {"trait", "sync", "adapters"},
    "engine": VALUES | {"trait", "committer", "sync", "engine"},
}
CLOCK_MAY_WAIT = ("clock", "sync")  # a manual clock that moves has to wake those who wait on it

LOCK = re.compile(
    r"(Mutex\w*|RwLock\w*|Condvar|Once|OnceLock|LazyLock|Barrier|mpsc|Atomic[A-Z]\w*|parking_lot|futex)$"
    r"|thread::(park\w*|sleep\w*|spawn|scope|Builder|yield_now)$"
)
NOW = re.compile(r"Instant|SystemTime|Utc")
TAKEN_IN = "a file taken in by its path belongs to no layer"
BINDING_CRATES = {"jobq-core", "pyo3"}
AT_RUN_TIME = {*sys.stdlib_module_names, "jobq"}
FOR_TYPES = {"typing_extensions"}

NOISE = re.compile(
    r"//[^\n]*|/\*.*?\*/"  # comments
    r'|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"'  # strings
    r"|b?'(?:\\.[^']*|[^'\\])'",  # characters; a lifetime has no second quote
    re.DOTALL,
)
TOKEN = re.compile(r"\w+|::|[^\w\s]")


@dataclass
class Module:
    """One source file: the names it brings into scope, and the paths it names, from the root of the crate."""

    path: Path
    aliases: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    named: list[tuple[int, list[str]]] = field(default_factory=list[tuple[int, list[str]]])
    taken_in: list[int] = field(default_factory=list[int])


Tokens = list[tuple[str, int]]


def tokens_of(text: str) -> Tokens:
    """Words and signs with their line, without comments, strings and code under `#[cfg(test)]`."""
    plain = NOISE.sub(lambda found: '""' + "\n" * found.group().count("\n"), text)
    tokens: Tokens = []
    line, end = 1, 0
    for found in TOKEN.finditer(plain):
        line += plain.count("\n", end, found.start())
        end = found.start()
        tokens.append((found.group(), line))
    return without_tests(tokens)


def without_tests(tokens: Tokens) -> Tokens:
    kept: Tokens = []
    at = 0
    while at < len(tokens):
        if [word for word, _ in tokens[at : at + 7]] == ["#", "[", "cfg", "(", "test", ")", "]"]:
            at = end_of_item(tokens, at + 7)
        else:
            kept.append(tokens[at])
            at += 1
    return kept


def end_of_item(tokens: Tokens, at: int) -> int:
    """The place after the item that begins at `at`; in doubt too early, so that nothing escapes."""
    depth = 0
    is_use = False
    while at < len(tokens):
        word = tokens[at][0]
        is_use = is_use or word == "use"
        depth += (word in "{[(") - (word in "}])")
        if depth < 0:
            break
        at += 1
        if depth == 0 and (word in ";," or (word == "}" and not is_use)):
            break
    return at


def split_use(tokens: Tokens, prefix: list[str]) -> list[tuple[int, list[str], str]]:
    """The (line, path, local name) of each leaf of a use tree; the name of a glob is `*`."""
    leaves: list[tuple[int, list[str], str]] = []
    path = list(prefix)
    at = 0
    while at < len(tokens):
        word, line = tokens[at]
        if word == "{":
            end = end_of_item(tokens, at)
            leaves += split_use(tokens[at + 1 : end - 1], path)
            path = []
            at = end
            continue
        if word in {",", "as"}:
            name = tokens[at + 1][0] if word == "as" else path[-1] if path else ""
            if path:
                leaves.append((line, path, name))
            path = [] if word == "as" else list(prefix)
            at += 2 if word == "as" else 1
            continue
        if word == "self" and path:
            renamed = [name for name, _ in tokens[at + 1 : at + 3]]
            leaves.append((line, path, renamed[1] if renamed[:1] == ["as"] else path[-1]))
            path = []
        elif word != "::":
            path = [*(path or prefix), word]
        at += 1
    if path and path != prefix:
        leaves.append((tokens[-1][1], path, path[-1]))
    return leaves


def read_module(path: Path, name: list[str]) -> Module:
    """One file's names. `inner` follows inline modules, in which `super` means one level less."""
    module = Module(path)
    tokens = tokens_of(path.read_text(encoding="utf-8"))
    words = [word for word, _ in tokens]
    inner: list[int] = []
    depth = 0
    at = 0
    while at < len(tokens):
        word, line = tokens[at]
        if word == "mod" and words[at + 2 : at + 3] == ["{"]:
            inner.append(depth)
        depth += (word == "{") - (word == "}")
        if word == "}" and inner and depth == inner[-1]:
            inner.pop()
        if word == "use":
            end = end_of_item(tokens, at)
            for leaf_line, leaf, local in split_use(tokens[at + 1 : end - 1], []):
                full = absolute(leaf, name, len(inner))
                module.named.append((leaf_line, full))
                module.aliases.setdefault(local, full)
            at = end
            continue
        start = at
        while words[at + 1 : at + 2] == ["::"] and re.fullmatch(
            r"[A-Za-z_]\w*", "".join(words[at + 2 : at + 3])
        ):
            at += 2
        if at > start or LOCK.match(word):
            module.named.append((line, absolute(words[start : at + 1 : 2], name, len(inner))))
        if word == "include" or words[at : at + 3] == ["#", "[", "path"]:
            module.taken_in.append(line)
        at += 1
    return module


def absolute(parts: list[str], name: list[str], inner: int) -> list[str]:
    """`parts` from the root of the crate. A path without keyword begins at names of its own module."""
    if parts[0] == "crate":
        return parts[1:]
    supers = sum(1 for part in parts if part == "super")
    rest = [part for part in parts if part not in {"self", "super"}]
    return name[: len(name) - max(supers - inner, 0)] + rest


def resolve(parts: list[str], modules: dict[str, Module]) -> tuple[str, list[str]]:
    """The module that defines what `parts` name, through children, imports and re-exports, and the rest.

    A foreign path ends where it began: in the module that names it, with the whole path left.
    """
    found, rest = "lib", list(parts)
    followed: set[tuple[str, str]] = set()
    while rest:
        child = rest[0] if found == "lib" else f"{found}::{rest[0]}"
        if child in modules and child != "lib":
            found, rest = child, rest[1:]
        elif rest[0] in modules[found].aliases and (found, rest[0]) not in followed:
            followed.add((found, rest[0]))
            found, rest = "lib", modules[found].aliases[rest[0]] + rest[1:]
        else:
            break
    return found, rest


def layer_of(module: str) -> str | None:
    """As LAYERS says; a part of a module is of its layer, but each part of the repository is named."""
    parent = module.rpartition("::")[0]
    for layer, names in LAYERS.items():
        if module in names or (parent in names and parent != "repository"):
            return layer
    return None


def is_test_file(path: Path) -> bool:
    return path.stem == "tests" or "tests" in path.parts or path.stem.endswith("_tests")


def check_core(root: Path) -> tuple[int, list[str]]:
    """Every source file of the core against MAY_IMPORT and the rule of locks."""
    source = root / CORE / "src"
    modules: dict[str, Module] = {}
    for path in sorted(source.rglob("*.rs")):
        if is_test_file(path.relative_to(source)):
            continue
        parts = list(path.relative_to(source).with_suffix("").parts)
        parts = parts[:-1] if parts[-1] == "mod" else parts
        modules["::".join(parts)] = read_module(path, [] if parts == ["lib"] else parts)
    found: list[str] = []
    for name, module in modules.items():
        where = module.path.relative_to(root)
        layer = layer_of(name)
        if layer is None:
            found.append(f"{where}:1: belongs to no layer: add it to LAYERS")
            continue
        found += [f"{where}:{line}: {TAKEN_IN}" for line in module.taken_in]
        found += [f"{where}:{line}: {what}" for line, what in breaches_of(name, layer, modules)]
    if "pyo3" in crates(root / CORE):
        found.append(f"{CORE}/Cargo.toml: pyo3 is not of the core")
    return len(modules), found


def breaches_of(name: str, layer: str, modules: dict[str, Module]) -> list[tuple[int, str]]:
    """What one module names and may not."""
    found: list[tuple[int, str]] = []
    for line, parts in modules[name].named:
        target, rest = resolve(parts, modules)
        lock = next((word for word in [*rest, "::".join(rest[-2:])] if LOCK.match(word)), None)
        if lock and target != "sync":
            found.append((line, f"names {lock}; only sync.rs may"))
        if layer in VALUES and name != "clock" and any(NOW.fullmatch(part) for part in rest):
            found.append((line, f"{layer} take the time as an argument"))
        if target == name:
            continue
        if parts[-1] == "*" and layer != "root":
            found.append((line, f"what a glob of {target} brings cannot be checked"))
        other = layer_of(target)
        if other not in MAY_IMPORT[layer] and (name, target) != CLOCK_MAY_WAIT:
            found.append((line, f"{layer} may not import {target} ({other})"))
    return found


def crates(folder: Path) -> set[str]:
    manifest = folder / "Cargo.toml"
    return (
        set(tomllib.loads(manifest.read_text(encoding="utf-8")).get("dependencies", {}))
        if manifest.exists()
        else set()
    )


def check_binding(root: Path) -> tuple[int, list[str]]:
    """The binding sees the core's public API: Rust itself refuses more, unless a file is taken in."""
    files = sorted((root / BINDING / "src").rglob("*.rs"))
    found: list[str] = []
    for path in files:
        found += [f"{path.relative_to(root)}:{line}: {TAKEN_IN}" for line in read_module(path, []).taken_in]
    foreign = crates(root / BINDING) - BINDING_CRATES
    return len(files), found + [f"{BINDING}/Cargo.toml: {crate} is not of the binding" for crate in foreign]


def check_package(root: Path) -> tuple[int, list[str]]:
    """The Python package imports the standard library and itself."""
    files = sorted((root / PACKAGE).rglob("*.py"))
    found: list[str] = []
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = {
            id(inner) for node in ast.walk(tree) if is_type_checking(node) for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            allowed = AT_RUN_TIME | FOR_TYPES if id(node) in for_types else AT_RUN_TIME
            where = f"{path.relative_to(root)}:{node.lineno}"
            found += [f"{where}: imports {name}" for name in names if name.split(".")[0] not in allowed]
    return len(files), found


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def main(root: Path = Path()) -> int:
    """Print every breach; 1 when there is one, or when there was nothing to check."""
    failed = False
    for part, check in (("core", check_core), ("binding", check_binding), ("package", check_package)):
        count, found = check(root)
        print(*found, sep="\n", end="\n" if found else "")
        print(f"layers: {part}: {count} files, {len(found)} breaches")
        failed = failed or bool(found) or count == 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
