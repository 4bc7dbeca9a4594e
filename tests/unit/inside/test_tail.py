"""The thread that reads files: what goes wrong in it is told once and holds up nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstui.inside import files, rows, tail
from dstui.inside.live import LiveDirectory
from dstui.inside.tail import Tail
from dstui_store import journal


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveDirectory]:
    path = tmp_path / "live" / "run"
    path.mkdir(parents=True)
    (tmp_path / "project").mkdir()
    (path / "launch.json").write_text("{}")
    directory = LiveDirectory(str(path))
    directory.reserve()
    yield directory
    os.close(directory.descriptor)


def errors(live: LiveDirectory) -> list[str]:
    path = Path(live.path, "errors")
    return path.read_text().splitlines() if path.exists() else []


def start(live: LiveDirectory, tmp_path: Path) -> Tail:
    thread = Tail(live, str(tmp_path / "project"), time.time())
    thread.start()
    return thread


def test_what_is_written_before_the_end_is_read(live: LiveDirectory, tmp_path: Path) -> None:
    thread = start(live, tmp_path)
    (tmp_path / "project" / "a.csv").write_text("step,loss\n1,0.5\n")
    thread.finish()
    assert list(journal.read(Path(live.path, "journal")).series()) == ["loss"]
    assert errors(live) == []


def test_without_files_nothing_is_started(live: LiveDirectory, tmp_path: Path) -> None:
    live.launch["capture"] = {"files": False}
    threads = threading.active_count()
    thread = start(live, tmp_path)
    (tmp_path / "project" / "a.csv").write_text("step,loss\n1,0.5\n")
    thread.finish()
    assert threading.active_count() == threads
    assert not Path(live.path, "journal").exists()


@pytest.mark.parametrize("capture", [None, "off", {"stdout": False}, {"files": True}, []])
def test_other_settings_leave_it_on(live: LiveDirectory, tmp_path: Path, capture: object) -> None:
    live.launch["capture"] = capture
    thread = start(live, tmp_path)
    (tmp_path / "project" / "a.csv").write_text("step,loss\n1,0.5\n")
    thread.finish()
    assert Path(live.path, "journal").exists()


def test_a_fault_is_told_once_and_ends_it(live: LiveDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(files.Files):
        def walk(self) -> None:
            raise RuntimeError("planted")

    monkeypatch.setattr(files, "Files", Broken)
    thread = start(live, tmp_path)
    thread.finish()
    (line,) = errors(live)
    assert "metrics are no longer read from files: RuntimeError: planted in line" in line


def test_a_fault_with_one_file_costs_that_file(
    live: LiveDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(rows.JsonLinesReader):
        def take(self, data: bytes, place: int, *, last: bool = False) -> int:
            super().take(data, place, last=last)
            raise RuntimeError("planted")

    monkeypatch.setattr(files, "JsonLinesReader", Broken)
    thread = start(live, tmp_path)
    (tmp_path / "project" / "a.jsonl").write_text('{"step": 1, "lr": 0.5}\n')
    (tmp_path / "project" / "b.csv").write_text("step,loss\n1,0.5\n")
    thread.finish()
    assert set(journal.read(Path(live.path, "journal")).series()) == {"lr", "loss"}
    (line,) = errors(live)
    assert line.endswith("`a.jsonl` is no longer read: RuntimeError: planted")


def test_a_look_that_hangs_is_left_behind_and_writes_nothing_later(
    live: LiveDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, is_over = threading.Event(), threading.Event()

    class Hanging(files.Files):
        def walk(self) -> None:
            answers.wait()
            super().walk()

        def close(self) -> None:
            super().close()
            is_over.set()

    monkeypatch.setattr(files, "Files", Hanging)
    monkeypatch.setattr(tail, "END_SECONDS", 0.1)
    thread = start(live, tmp_path)
    (tmp_path / "project" / "a.csv").write_text("step,loss\n1,0.5\n")
    started = time.monotonic()
    thread.finish()
    assert time.monotonic() - started < 5
    (line,) = errors(live)
    assert "a disk does not answer" in line
    answers.set()
    assert is_over.wait(10)
    assert not Path(live.path, "journal").exists()
    assert len(errors(live)) == 1
