"""What is kept between sessions: whole or not at all, for this user only, and harmless when it was edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dstui.tui import state
from dstui.tui.state import Kept, last_screen


def test_layout_and_last_screen_come_back(tmp_path: Path) -> None:
    kept = Kept.of(tmp_path, read_only=False)
    kept.layout.page, kept.layout.pinned, kept.layout.smoothing = "runs", "a" * 16, 0.9
    kept.save(["one", "two"], (120, 36))
    again = Kept.of(tmp_path, read_only=False)
    assert again.layout == kept.layout
    assert last_screen(tmp_path) == ["one", "two"]


def test_files_are_for_this_user_only(tmp_path: Path) -> None:
    kept = Kept.of(tmp_path, read_only=False)
    kept.save(["x"], (80, 24))
    assert kept.folder is not None
    assert kept.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in kept.folder.iterdir()} == {0o600}


def test_reading_only_writes_nothing(tmp_path: Path) -> None:
    kept = Kept.of(tmp_path, read_only=True)
    kept.save(["x"], (80, 24))
    assert last_screen(tmp_path) == []


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"page": 7, "band": "yes", "smoothing": null}', '{"lines": 3}', "[" * 5000]
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: str) -> None:
    folder = state._folder(tmp_path)
    folder.mkdir(parents=True)
    for name in ("layout.json", "last_screen.json"):
        (folder / name).write_text(content)
    assert Kept.of(tmp_path, read_only=False).layout == state.Layout()
    assert last_screen(tmp_path) == []


def test_a_screen_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    Kept.of(tmp_path, read_only=False).save(["x" * 1000] * 1000, (1000, 1000))
    assert last_screen(tmp_path) == []
    assert json.loads((state._folder(tmp_path) / "layout.json").read_text())["page"] == "overview"
