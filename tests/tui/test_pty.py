"""The dashboard in a real terminal: how it starts and ends, what it takes from the environment."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from benchmarks.ptybench import Replay, Terminal
from dstui.errors import UsageError
from dstui.tui import start
from dstui.tui.start import LEAVE_SCREEN, choose_look, run_dashboard, set_environment
from dstui.tui.theme import ASCII, DARK, LIGHT, PLAIN, UNICODE

if TYPE_CHECKING:
    from dstui_store import Store

UTF8 = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}


def dashboard_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "dstui", *options]


@contextmanager
def terminal_of(store: Store, *, env: Mapping[str, str] | None = None, shows: str = "kept") -> Iterator[Terminal]:
    """The dashboard over a store, once its screen shows a text."""
    terminal = Terminal(dashboard_command(), rows=24, columns=80, cwd=str(store.layout.project), env=env or {})
    try:
        wait_for(terminal, lambda: shows in screen_of(terminal))
        yield terminal
    finally:
        terminal.close()


def screen_of(terminal: Terminal) -> str:
    replay = Replay(terminal.rows, terminal.columns)
    replay.feed(terminal.output())
    return replay.text


def wait_for(terminal: Terminal, condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"not so within 30 s; the screen:\n{screen_of(terminal)}"
        terminal.pump(0.05)


def wait_for_end(terminal: Terminal) -> None:
    """Waits for the program's end, and reads its last words."""
    wait_for(terminal, lambda: terminal.process.poll() is not None)
    terminal.pump(0.2)


@pytest.mark.slow
def test_q_leaves_with_0_and_gives_the_terminal_back(store: Store) -> None:
    with terminal_of(store) as terminal:
        terminal.send(b"q")
        wait_for_end(terminal)
        assert terminal.process.returncode == 0
        assert b"\x1b[?1049l" in terminal.output()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_ends_it_at_once_also_when_nobody_reads_the_terminal(store: Store, number: signal.Signals) -> None:
    with terminal_of(store) as terminal:
        # Keys whose repaints nobody takes: the writer fills the terminal's buffer and stops.
        terminal.send(b"2" + b"jk" * 200 + b"12" * 200)
        os.kill(terminal.process.pid, number)
        # Not read from until it is gone.
        assert terminal.process.wait(timeout=20) == 128 + number


@pytest.mark.slow
def test_sigterm_gives_the_terminal_back(store: Store) -> None:
    with terminal_of(store) as terminal:
        terminal.pump(0.3)
        terminal.process.send_signal(signal.SIGTERM)
        wait_for_end(terminal)
        assert LEAVE_SCREEN in terminal.output()


@pytest.mark.slow
def test_without_colour_no_colour_and_nothing_but_ascii_is_written(store: Store) -> None:
    with terminal_of(store, env={"NO_COLOR": "1"}) as terminal:
        terminal.send(b"2")
        wait_for(terminal, lambda: "Runs" in screen_of(terminal) and "val/loss" in screen_of(terminal))
        parameters = {
            number for found in re.findall(rb"\x1b\[([\d;]*)m", terminal.output()) for number in found.split(b";")
        }
        colours = {b"38", b"48", *(b"%d" % number for number in (*range(30, 38), *range(40, 48), *range(90, 98)))}
        assert parameters & colours == set()
        assert screen_of(terminal).isascii()


@pytest.mark.slow
def test_what_was_on_screen_is_there_at_the_next_start(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal_of(store) as terminal:
        terminal.send(b"2")
        wait_for(terminal, lambda: "newest first" in screen_of(terminal))
        terminal.send(b"q")
        wait_for_end(terminal)
    with terminal_of(store, shows="newest first"):
        pass


def test_over_ssh_it_draws_less_often_and_moves_nothing_smoothly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in start.SSH_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert not set_environment()
    assert not [name for name in start.SSH_SETTINGS if name in os.environ]
    monkeypatch.setenv("SSH_CONNECTION", "1.2.3.4 5 6.7.8.9 22")
    monkeypatch.setenv("TEXTUAL_FPS", "10")
    assert set_environment()
    assert os.environ["TEXTUAL_FPS"] == "10", "what the user set stays"
    assert os.environ["TEXTUAL_ANIMATIONS"] == "none"
    for name in start.SSH_SETTINGS:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environment", "options", "theme", "glyphs"),
    [
        (UTF8, {}, DARK, UNICODE),
        ({**UTF8, "COLORFGBG": "0;15"}, {}, LIGHT, UNICODE),
        ({**UTF8, "NO_COLOR": "1"}, {}, PLAIN, ASCII),
        ({**UTF8, "NO_COLOR": ""}, {}, DARK, UNICODE),
        ({**UTF8, "TERM": "linux"}, {}, DARK, ASCII),
        ({"TERM": "xterm", "LANG": "C"}, {}, DARK, ASCII),
        ({**UTF8, "LC_ALL": "POSIX"}, {}, DARK, ASCII),
        (UTF8, {"ascii_only": True}, DARK, ASCII),
        (UTF8, {"theme": "light"}, LIGHT, UNICODE),
        ({**UTF8, "NO_COLOR": "1"}, {"theme": "light"}, PLAIN, ASCII),
        (UTF8, {"theme": "nonsense"}, DARK, UNICODE),
    ],
)
def test_the_look_fits_the_terminal(
    environment: dict[str, str], options: dict[str, object], theme: object, glyphs: object
) -> None:
    look = choose_look(environment, **{"ascii_only": False, **options})  # type: ignore[arg-type]
    assert (look.theme, look.glyphs) == (theme, glyphs)


def test_without_a_terminal_the_way_out_is_named(store: Store) -> None:
    with pytest.raises(UsageError) as error:
        run_dashboard(start=store.layout.project)
    assert error.value.hint is not None
    assert "dstui --once runs" in error.value.hint
