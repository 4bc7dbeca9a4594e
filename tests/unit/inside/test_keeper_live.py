"""The files of a live directory: the lock, the exit record and the errors survive what happens to the disk."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstui.inside.live import RESERVED_BYTES, LiveDirectory


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveDirectory]:
    """A live directory with its space reserved."""
    path = tmp_path / "live"
    path.mkdir()
    (path / "launch.json").write_text(json.dumps({"run": "0123456789abcdef"}))
    directory = LiveDirectory(str(path))
    directory.reserve()
    yield directory
    os.close(directory.descriptor)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond what is reserved, and no new one takes a byte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (RESERVED_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_reserved_space_is_taken_from_the_disk(live: LiveDirectory) -> None:
    for name in ("exit.reserve", "errors.reserve"):
        assert os.stat(name, dir_fd=live.descriptor).st_blocks * 512 >= RESERVED_BYTES


def test_the_exit_record_takes_the_place_of_its_reserve(live: LiveDirectory) -> None:
    live.write_exit({"state": "finished"})
    assert json.loads(Path(live.path, "exit.json").read_text()) == {"state": "finished"}
    assert not Path(live.path, "exit.reserve").exists()


def test_errors_are_one_line_each_in_order(live: LiveDirectory) -> None:
    live.complain("first\nwith a break")
    live.complain("second")
    lines = Path(live.path, "errors").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["first with a break", "second"]


def test_an_error_that_cannot_be_written_is_written_later(live: LiveDirectory, full_disk: None) -> None:
    live.complain("first")
    live.complain("x" * RESERVED_BYTES)
    assert Path(live.path, "errors").read_text().count("\n") == 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * RESERVED_BYTES, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    live.complain_again()
    live.complain_again()
    assert [len(line) > RESERVED_BYTES for line in Path(live.path, "errors").read_text().splitlines()] == [False, True]


def test_the_lock_can_be_handed_over_without_a_gap(live: LiveDirectory) -> None:
    mine = os.open(Path(live.path, "alive"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(mine, fcntl.LOCK_EX)
    live.claim(os.dup(mine))
    os.close(mine)
    with Path(live.path, "alive").open("rb+") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        live.release()
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("umask", [0, 0o777])
def test_files_are_ours_alone_whatever_the_umask(live: LiveDirectory, umask: int) -> None:
    before = os.umask(umask)
    try:
        live.write_state({"v": 1})
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(live.path, "state.json").stat().st_mode) == 0o600


def test_a_launch_record_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "launch.json").write_text("[]")
    with pytest.raises(ValueError, match=r"launch\.json"):
        LiveDirectory(str(tmp_path))
