"""The child runs of a command with several trainings, cut short at each step of their making."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstui.inside.journal import JournalWriter
from dstui_store import Store, children, live
from tests.store.ended_runs import ended_run


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


@pytest.fixture
def parent(store: Store) -> str:
    """A run that has ended, in which two Pythons have logged."""
    run = ended_run(store)
    folder = store.layout.live / run
    with (folder / "hello.jsonl").open("w") as file:
        for pid in (11, 22):
            line = {"pid": pid, "top": pid, "time": 1.7e9 + pid, "rank": "", "argv": ["python", f"train{pid}.py"]}
            file.write(json.dumps(line) + "\n")
    for pid in (11, 22):
        writer = JournalWriter(str(folder / "journal"), 0, str(pid))
        for step in range(3):
            writer.log({"loss": float(pid)}, step)
        writer.close()
    return run


def numbers(store: Store) -> dict[str, tuple[str | None, float | None]]:
    return {
        record.name: (record.parent_run, record.summary["loss"].last if "loss" in record.summary else None)
        for record in store.records()
    }


@pytest.mark.parametrize("call", range(1, 11))
def test_a_crash_while_children_are_made_loses_and_doubles_nothing(
    store: Store, parent: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(Exception):
        pass

    calls = 0
    rename = Path.rename

    def crashing(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Crash
        return rename(self, target)

    found = live.read(store.layout, parent)
    assert found is not None
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crashing)
        try:
            children.split(store.layout, found, found.exit, lambda: 7)
        except Crash:
            pass
    store.recover()
    name = next(record.name for record in store.records() if record.id == parent)
    assert numbers(store) == {name: (None, None), "train11": (parent, 11.0), "train22": (parent, 22.0)}
    assert not [path for path in store.layout.live.iterdir() if not path.name.startswith(".")]
