"""The dashboard's door: looks at the terminal, sets the environment, and only then imports the app.

Only the standard library is imported here, so that what Textual reads from the environment is set before it is.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from dstui.tui.terminal import ascii_wanted, plain_wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from dstui.tui.theme import Look

PAGES = ("overview", "runs", "run:RUN")
"""What `--once` can print."""

SSH_SETTINGS = {"TEXTUAL_FPS": "30", "TEXTUAL_ANIMATIONS": "none", "TEXTUAL_SMOOTH_SCROLL": "0"}
"""Set for a connection over SSH, where unset."""

SSH_TICK_SECONDS = 1.0

LEAVE_SCREEN = b"\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1004l\x1b[<u\x1b[0m"
"""Gives the terminal back: main screen, cursor, no mouse, no bracketed paste."""


def run_dashboard(
    *, once: str | None = None, read_only: bool = False, ascii_only: bool = False, start: Path | None = None
) -> int:
    """Opens the dashboard, or prints one page of it; returns the exit code.

    Args:
        once: the page to print, `overview`, `runs` or `run:RUN`; None opens the dashboard.
        read_only: change nothing.
        ascii_only: draw with ASCII only.
        start: a folder of the project, the current one by default.

    Raises:
        UsageError: no terminal, or no such page.
    """
    over_ssh = set_environment()
    if once is not None:
        from dstui.tui.once import print_page

        return print_page(once, read_only=read_only, ascii_only=ascii_only, start=start)
    _check_terminal()
    from dstui.sdk.views import TICK_SECONDS, Reader

    project = project_folder(start or Path.cwd())
    waiting: list[Callable[[str], None]] = []
    reader = Reader(start, lambda kind: waiting[0](kind) if waiting else None, read_only=read_only)
    reader.interval = SSH_TICK_SECONDS if over_ssh else TICK_SECONDS
    return _open(reader, waiting, project, read_only=read_only, ascii_only=ascii_only)


def set_environment() -> bool:
    """Sets what Textual and numpy read when they are imported; whether this is a connection over SSH."""
    over_ssh = bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))
    if over_ssh:
        for name, value in SSH_SETTINGS.items():
            os.environ.setdefault(name, value)
    # One thread: the arrays of a screen are small, and idle ones of a pool cost memory.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    return over_ssh


def choose_look(environment: dict[str, str], *, ascii_only: bool, theme: str = "") -> Look:
    """Theme and glyphs for this terminal; `theme` is what was chosen in an earlier session."""
    from dstui.tui.theme import ASCII, DARK, LIGHT, PLAIN, THEMES, UNICODE, Look

    glyphs = ASCII if ascii_only or ascii_wanted(environment) else UNICODE
    if plain_wanted(environment):
        return Look(PLAIN, glyphs)
    if theme in THEMES and theme != "plain":
        return Look(THEMES[theme], glyphs)
    # Some terminals say `foreground;background` as indices; 7 and 15 are white.
    ground = environment.get("COLORFGBG", "").rpartition(";")[2]
    return Look(LIGHT if ground in ("7", "15") else DARK, glyphs)


def project_folder(here: Path) -> Path:
    """The nearest folder above with `.git` or `dstui.toml`, else this one; only a name for what is kept."""
    here = here.resolve()
    marked = (
        folder for folder in (here, *here.parents) if (folder / ".git").exists() or (folder / "dstui.toml").exists()
    )
    return next(marked, here)


def _check_terminal() -> None:
    from dstui.errors import UsageError

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("The dashboard needs a terminal", hint="print one page with `dstui --once runs`")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("This terminal (`TERM=dumb`) cannot show it", hint="print one page with `dstui --once runs`")


def _open(
    reader: Any, waiting: list[Callable[[str], None]], project: Path, *, read_only: bool, ascii_only: bool
) -> int:
    from dstui.tui.state import Kept, last_screen

    kept = Kept.of(project, read_only=read_only)
    environment = dict(os.environ)
    reader.start()
    import gc

    # Importing Textual makes a million objects that stay; looking through them again and again is wasted.
    gc.disable()
    from dstui.tui.app import Dashboard

    look = choose_look(environment, ascii_only=ascii_only, theme=kept.layout.theme)

    def made(notify: Callable[[str], None]) -> Any:
        waiting.append(notify)
        return reader

    app = Dashboard(made, look, kept, last_screen=last_screen(project), read_only=read_only)
    gc.freeze()
    gc.enable()
    _end_at_signals()
    try:
        code = app.run() or 0
    finally:
        reader.stop()
    kept.save(list(app.screen_text), (app.size.width, app.size.height))
    if app.failure is not None:
        from dstui.errors import InternalError

        raise InternalError(f"The dashboard failed: {type(app.failure).__name__}") from app.failure
    return code


def _end_at_signals() -> None:
    """SIGHUP and SIGTERM end the process at once: the event loop may be blocked by a terminal that nobody reads.

    asyncio's own handlers would run in that loop, and never. Nothing here needs closing.
    """
    import termios

    before = None
    with contextlib.suppress(termios.error):
        before = termios.tcgetattr(0)

    def end(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTERM and before is not None:
            with contextlib.suppress(OSError, termios.error):
                if select.select([], [1], [], 0)[1]:
                    os.write(1, LEAVE_SCREEN)
                termios.tcsetattr(0, termios.TCSANOW, before)
        os._exit(128 + number)

    signal.signal(signal.SIGHUP, end)
    signal.signal(signal.SIGTERM, end)
