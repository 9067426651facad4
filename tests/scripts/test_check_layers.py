"""The layer script has to see each kind of breach: one that is blind to it would be green for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

import check_layers

SOUND = {
    "lib.rs": "mod job; mod fsm; mod ready; mod sync; mod repository; mod engine;\npub use job::JobId;",
    "job.rs": "pub struct JobId(u64);",
    "fsm.rs": "use crate::job::JobId;\n#[cfg(test)]\nmod tests { use super::*; use crate::engine::Engine; }",
    "ready.rs": "use crate::job::{self, JobId};\nfn f<'a>(x: &'a str) -> char { '{' } // Mutex crate::engine",
    "sync.rs": "use std::sync::Mutex; fn f() { std::thread::park() }",
    "repository/mod.rs": "pub mod memory; pub mod committer;\nuse crate::job::JobId;\ntrait Repository {}",
    "repository/memory.rs": "use super::Repository;",
    "repository/committer.rs": "use super::Repository; use crate::sync::Lock;",
    "engine/mod.rs": "mod reserve;\nuse crate::{fsm, ready::Ready, repository::Repository, sync::Lock};",
    "engine/reserve.rs": (
        "use super::Engine;\nuse crate::sync::Mutex;\n"
        'fn f(m: Mutex<()>) { fsm("crate::repository::memory::Memory") }'
    ),
}


def tree(root: Path, **changed: str) -> Path:
    """A sound project under `root`; `changed` replaces files, `__` standing for `/`."""
    files = SOUND | {name.replace("__", "/") + ".rs": text for name, text in changed.items()}
    for name, text in files.items():
        path = root / check_layers.CORE / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / check_layers.CORE / "Cargo.toml").write_text('[dependencies]\nhashbrown = "1"', encoding="utf-8")
    for path, text in (
        (check_layers.BINDING / "src/lib.rs", "use jobq_core::JobId;"),
        (check_layers.PACKAGE / "a.py", "import os"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def test_a_sound_tree_is_green(tmp_path: Path) -> None:
    assert check_layers.main(tree(tmp_path)) == 0


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param("job", "use crate::fsm::step;", id="crate path"),
        pytest.param("fsm", "use super::engine::Engine;", id="super path"),
        pytest.param("ready", "use crate::{job::JobId, engine::{self, reserve}};", id="grouped use"),
        pytest.param("ready", "use crate::sync::Lock;", id="structure uses sync"),
        pytest.param("fsm", "fn f() { crate::ready::new() }", id="path without use"),
        pytest.param("fsm", "mod inner { use super::super::ready::Ready; }", id="super in an inline module"),
        pytest.param(
            "engine__reserve", "use super::super::repository::memory::Memory;", id="engine uses adapter"
        ),
        pytest.param(
            "engine__reserve", "use crate::repository as r;\nuse r::memory::Memory;", id="renamed module"
        ),
        pytest.param("engine__mod", "use crate::repository::*;", id="glob"),
        pytest.param(
            "repository__mod", "pub mod memory;\npub use memory::Memory;", id="trait re-exports adapter"
        ),
        pytest.param("repository__memory", "use super::committer::Committer;", id="adapter uses committer"),
        pytest.param("repository__committer", "use super::memory::Memory;", id="committer uses adapter"),
        pytest.param("ready", "fn f(now: std::time::Instant) {}", id="structure asks the clock"),
        pytest.param("misplaced", "", id="file without layer"),
        pytest.param("job", '#[path = "engine/mod.rs"] mod e;', id="path attribute"),
        pytest.param(
            "fsm", "#[cfg(test)] use crate::job::A;\nuse crate::engine::Engine;", id="after test code"
        ),
        pytest.param(
            "fsm", "enum E { #[cfg(test)] A }\nuse crate::engine::Engine;", id="after a test variant"
        ),
    ],
)
def test_a_breach_of_the_layers_is_red(tmp_path: Path, file: str, text: str) -> None:
    assert check_layers.main(tree(tmp_path, **{file: text})) == 1


def test_a_re_export_at_the_root_hides_nothing(tmp_path: Path) -> None:
    hidden = SOUND["lib.rs"] + "\npub use repository::memory::Memory;"
    assert check_layers.main(tree(tmp_path / "a", lib=hidden)) == 0
    assert check_layers.main(tree(tmp_path / "b", lib=hidden, engine__reserve="use crate::Memory;")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "use std::sync::Mutex;",
        "use std::sync::{Arc, RwLock};",
        "static A: AtomicU64 = AtomicU64::new(0);",
        "fn f(c: &std::sync::Condvar) {}",
        "use parking_lot as p;",
        "use rustix::thread::futex;",
        "fn f() { std::thread::park() }",
        "use std::thread::{self, sleep};",
        "use std::thread as t;\nfn f() { t::spawn(f) }",
        "use std::sync;\nfn f() { sync::Mutex::new(()) }",
        "fn f() { rustix::thread::futex::wait() }",
    ],
)
def test_a_lock_outside_sync_is_red(tmp_path: Path, text: str) -> None:
    assert check_layers.main(tree(tmp_path / "a", engine__reserve=text)) == 1
    assert check_layers.main(tree(tmp_path / "b", sync=text)) == 0
    assert (
        check_layers.main(tree(tmp_path / "c", engine__reserve=f"#[cfg(test)]\nmod tests {{ {text} }}")) == 0
    )


@pytest.mark.parametrize(
    "text", ["import numpy", "from attrs import define", "def f():\n    import typing_extensions"]
)
def test_a_foreign_import_of_the_package_is_red(tmp_path: Path, text: str) -> None:
    root = tree(tmp_path)
    (root / check_layers.PACKAGE / "late.py").write_text(text, encoding="utf-8")
    assert check_layers.main(root) == 1


def test_the_stub_name_for_types_alone_is_green(tmp_path: Path) -> None:
    root = tree(tmp_path)
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from typing_extensions import Buffer"
    (root / check_layers.PACKAGE / "a.py").write_text(text, encoding="utf-8")
    assert check_layers.main(root) == 0


@pytest.mark.parametrize("part", [check_layers.CORE, check_layers.BINDING])
def test_a_foreign_crate_is_red(tmp_path: Path, part: Path) -> None:
    root = tree(tmp_path)
    (root / part / "Cargo.toml").write_text('[dependencies]\npyo3 = "1"\ntokio = "1"', encoding="utf-8")
    assert check_layers.main(root) == 1


def test_an_empty_tree_is_red(tmp_path: Path) -> None:
    assert check_layers.main(tmp_path) == 1
