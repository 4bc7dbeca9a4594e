"""Once a second what has grown is synced and the state is renewed; a failed sync is told and not repeated."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dstui.inside.live import LiveDirectory
from dstui.inside.upkeep import Upkeep


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveDirectory]:
    """A live directory with a log and a journal."""
    path = tmp_path / "live"
    (path / "journal").mkdir(parents=True)
    (path / "launch.json").write_text("{}")
    (path / "log").write_bytes(b"output")
    (path / "journal" / "0-1.dsj").write_bytes(b"points")
    directory = LiveDirectory(str(path))
    directory.reserve()
    yield directory
    os.close(directory.descriptor)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were synced; those in `broken` refuse."""
    names: list[str] = []

    def fdatasync(descriptor: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        if names[-1] in BROKEN:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return names


BROKEN = {"log.tail.1"}


def test_only_what_has_grown_is_synced(live: LiveDirectory, synced: list[str]) -> None:
    upkeep = Upkeep(live, dict)
    upkeep.sync()
    assert sorted(synced) == ["0-1.dsj", "log"]
    upkeep.sync()
    assert len(synced) == 2
    with Path(live.path, "journal", "0-1.dsj").open("ab") as file:
        file.write(b"more")
    upkeep.sync()
    assert synced[2:] == ["0-1.dsj"]


def test_a_failed_sync_is_told_once_and_never_repeated(live: LiveDirectory, synced: list[str]) -> None:
    upkeep = Upkeep(live, dict)
    for text in (b"a", b"b"):
        with Path(live.path, "log.tail.1").open("ab") as file:
            file.write(text)
        upkeep.sync()
    assert synced.count("log.tail.1") == 1
    assert Path(live.path, "errors").read_text().count("log.tail.1") == 1


@pytest.mark.slow
def test_the_thread_syncs_and_renews_the_state_until_it_is_ended(
    live: LiveDirectory, synced: list[str], wait_until: Callable[..., None]
) -> None:
    state: dict[str, Any] = {"log_bytes": 0}
    upkeep = Upkeep(live, lambda: dict(state))
    upkeep.start()

    def written() -> dict[str, Any]:
        content = json.loads(Path(live.path, "state.json").read_text())
        assert isinstance(content, dict)
        return content

    first = written()
    assert first["log_bytes"] == 0
    state["log_bytes"] = 6
    wait_until(lambda: written()["log_bytes"] == 6)
    assert written()["heartbeat_at"] > first["heartbeat_at"]
    wait_until(lambda: "0-1.dsj" in synced)
    Path(live.path, "log").write_bytes(b"the last words")
    upkeep.finish()
    assert synced[-1] == "log"


def test_a_state_that_cannot_be_written_leaves_the_old_one(
    live: LiveDirectory, monkeypatch: pytest.MonkeyPatch, synced: list[str]
) -> None:
    state = {"log_bytes": 0}
    upkeep = Upkeep(live, lambda: dict(state))
    upkeep.write_state()
    state["log_bytes"] = 1
    with monkeypatch.context() as patch:
        patch.setattr(live, "write_state", full)
        upkeep.write_state()
    assert json.loads(Path(live.path, "state.json").read_text())["log_bytes"] == 0
    upkeep.write_state()
    assert json.loads(Path(live.path, "state.json").read_text())["log_bytes"] == 1


def full(state: dict[str, Any]) -> None:
    """A full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")
