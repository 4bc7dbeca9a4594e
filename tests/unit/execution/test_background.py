"""What is found out beside a command: complete when there is time, and honest when there is none."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dstui.execution import inputs
from dstui.execution.background import Background
from dstui.execution.hashing import HashCache, hash_path
from dstui.execution.interpreter import Interpreter
from dstui_store import Store

LONG_AGO = 1_700_000_000


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    """The store of a project."""
    with Store.open(project, create=True) as found:
        yield found


def background(store: Store, tmp_path: Path, *named: str, python: Path | None = None) -> Background:
    """One that has begun in a folder which stands for a live one."""
    found = None if python is None else Interpreter(python, "script")
    made = Background(store.layout, os.environ, found, store.layout.project, 1 << 20)
    (tmp_path / "live").mkdir()
    data = inputs.given([(path, "option") for path in named], store.layout.project, store.layout.project)
    made.begin(tmp_path / "live", "r" * 16, data, time.time())
    return made


def written(tmp_path: Path, name: str) -> dict[str, Any]:
    found = json.loads((tmp_path / "live" / name).read_bytes())
    assert isinstance(found, dict)
    return found


def sparse(path: Path, size: int) -> Path:
    """A file of zeros that takes no room, not changed a moment ago."""
    with path.open("wb") as file:
        file.truncate(size)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def test_everything_is_known_at_the_end_of_a_run_that_gives_time(store: Store, tmp_path: Path) -> None:
    made = background(store, tmp_path, "README.md", python=Path(sys.executable))
    assert written(tmp_path, "data.json")["inputs"][0]["reason"] == inputs.NOT_YET
    made.start()
    made.finish(30, 30)
    content = (store.layout.project / "README.md").read_bytes()
    assert written(tmp_path, "data.json")["inputs"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert written(tmp_path, "env.json")["packages"]["pytest"]
    assert made.problem is None


def test_what_the_end_does_not_wait_for_is_known_to_the_next_run(
    store: Store, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    big = sparse(store.layout.project / "big.bin", 600 << 20)
    made = background(store, tmp_path, "big.bin")
    made.start()
    began = time.monotonic()
    made.finish(0)
    assert time.monotonic() - began < 30
    (item,) = written(tmp_path, "data.json")["inputs"]
    assert (item["sha256"], item["reason"], item["size"]) == (None, inputs.NOT_YET, 600 << 20)

    def is_known() -> bool:
        return (store.layout.cache / "hashes").exists()

    wait_until(is_known, 60)
    assert hash_path(big, HashCache(store.layout.cache), lambda: False).size == 600 << 20


def test_a_live_folder_that_is_gone_is_no_fault(store: Store, tmp_path: Path) -> None:
    made = background(store, tmp_path, "README.md", python=Path(sys.executable))
    made.start()
    (tmp_path / "live").rename(tmp_path / "gone")
    made.finish(30, 30)
    assert made.problem is None


def test_an_interpreter_that_does_not_answer_is_named(store: Store, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho '{}'\n")
    broken.chmod(0o755)
    made = background(store, tmp_path, python=broken)
    made.start()
    made.finish(30, 30)
    found = written(tmp_path, "env.json")
    assert found["packages"] is None
    assert str(broken) in found["problems"][0]
    assert found["host"]["cpus"] >= 1
