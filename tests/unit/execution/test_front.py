"""How the end of a run becomes the end of a front."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from dstui.errors import LaunchError
from dstui.execution.front import FrontResult, connect, request_stop


@pytest.mark.parametrize(
    ("result", "code", "signal"),
    [
        (FrontResult("exited", {"exit_code": 0, "signal": None}), 0, None),
        (FrontResult("exited", {"exit_code": 77, "signal": None}), 77, None),
        (FrontResult("exited", {"exit_code": None, "signal": 15}), 143, 15),
        (FrontResult("exited", {"exit_code": None, "signal": None}), 1, None),
        (FrontResult("detached"), 0, None),
        (FrontResult("lost"), 1, None),
    ],
)
def test_the_code_is_the_one_a_shell_would_give(result: FrontResult, code: int, signal: int | None) -> None:
    assert (result.code, result.signal) == (code, signal)


@pytest.mark.parametrize("make", [lambda live: None, lambda live: live.mkdir(), lambda live: left_behind(live)])
def test_a_run_without_a_keeper_is_named(tmp_path: Path, make: Any) -> None:
    live = tmp_path / "live"
    make(live)
    with pytest.raises(LaunchError, match="no keeper"):
        connect(live)
    with pytest.raises(LaunchError, match="no keeper"):
        request_stop(live, "enough")


def left_behind(live: Path) -> None:
    """A live directory whose keeper was killed: its socket is there, nobody listens."""
    live.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(live / "control"))


def test_a_keeper_is_reached_however_long_the_path_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = tmp_path / ("x" * 200)
    live.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        monkeypatch.chdir(live)
        listener.bind("control")
        listener.listen()
        connect(live).close()
