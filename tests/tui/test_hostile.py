"""Text of an enemy in every field reaches no terminal: thirteen kinds, through every page and every printed one.

The proof is made on bytes: what the app writes to its terminal and what `--once` prints, parsed by a terminal emulator,
leaves no title, no clipboard, no sequence of the enemy's, and no character that hides or turns text.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyte
import pytest

from dstui.inside.journal import JournalWriter
from dstui.tui.start import run_dashboard
from dstui_store import Store
from tests.store.ended_runs import begun_run, committed_run
from tests.tui.conftest import git_folder

if TYPE_CHECKING:
    from tests.tui.conftest import Opened

KINDS = {
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "hyperlink": "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "title": "\x1b]0;evil\x07",
    "clear": "\x1b[2J\x1b[H",
    "query": "\x1b[6n\x1b[c",
    "dcs": "\x1bP+q544e\x1b\\",
    "apc": "\x1b_Gi=1\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\",
    "c1": "\x9b2J\x9d0;evil\x9c\x90q\x9c",
    "overwrite": "FAILED\rpassed\b\b\b",
    "screen": "\x1b[?1049h\x1b[?1000h\x1b[?2004h",
    "bidi": "\u202egnp.exe\u202c\u2066x\u2069",
    "hidden": "a\u200bb\ufeff\U000e0041\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "markup": "[bold red]x[/] [@click=app.bell]y[/]",
}
"""One text of each class of SAFETY."""

EVIL = "".join(KINDS.values())
SEQUENCES = ("]52;", "]8;;", "]0;evil", "[6n", "[2J", "P+q", "_Gi", "[?1049h\x1b[?1000h\x1b[?2004h")
PIECES = ("gnp.exe", "evil", "passed")
"""What shows that the text was drawn at all."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a hostile run that ended and one that goes on, every field of both hostile."""
    folder = tmp_path_factory.mktemp("hostile") / "project"
    git_folder(folder)
    fields: dict[str, Any] = {
        "name": EVIL,
        "experiment": EVIL,
        "command": [EVIL, EVIL],
        "cwd": f"/{EVIL}",
        "host": EVIL,
        "user": EVIL,
        "config": {f"key{number}{kind}": kind for number, kind in enumerate(KINDS.values())},
        "tags": [f"tag{kind}" for kind in KINDS.values()],
        "notes": EVIL,
        "parent_run": None,
        "skipped": [{"path": EVIL, "size": 1, "reason": EVIL}],
        "code": {"commit": "a" * 40, "branch": EVIL, "edited": [EVIL], "added": [EVIL], "refused": None},
    }
    end = {"state": "failed", "exit_code": 1, "stop_reason": EVIL}
    with Store.open(folder, create=True) as store:
        committed_run(
            store,
            **fields,
            end=end,
            metrics={kind: [1.0, float("nan"), 3.0] for kind in KINDS.values()},
            log="\n".join(KINDS.values()).encode("utf-8", "surrogatepass"),
        )
        live = begun_run(store, **fields)
        journal = JournalWriter(str(live.folder / "journal"), 0, "1")
        journal.log({f"m{kind}": 0.5 for kind in KINDS.values()}, 1)
        journal.close()
        (live.folder / "log").write_bytes(EVIL.encode("utf-8", "surrogatepass"))
        (live.folder / "errors").write_text(EVIL)
        yield folder
        os.close(live.alive)


def check(text: str, *, newlines: bool = False) -> None:
    """No control character and nothing invisible."""
    wrong = {
        f"U+{ord(character):04X}"
        for character in text
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
        and not (newlines and character == "\n")
    }
    assert wrong == set()


async def test_no_page_of_the_dashboard_holds_a_control_character(opened: Opened, hostile: Path) -> None:
    async with opened(hostile) as session:
        seen = ""

        async def look() -> None:
            nonlocal seen
            await session.pilot.pause()
            for row in session.rows:
                check(row)
            seen += session.screen

        await session.until(lambda: any(piece in session.screen for piece in PIECES))
        await look()
        await session.press("2")
        await session.until(lambda: "Preview" in session.screen)
        await look()
        for key in ("*", "j", "s", "escape", "space", "t", "escape", "i", "escape", "x", "escape", "y", "Y"):
            await session.press(key)
            await look()
        await session.press("slash")
        await session.type("name:evil")
        await look()
        await session.press("enter", "enter")
        for _ in range(5):
            await session.press("m", "F", "F", "tab", "enter")
            await look()
            await session.press("escape", ">")
        await session.press("1", "colon")
        await look()
    assert all(piece in seen for piece in PIECES)


async def test_what_is_copied_is_harmless(opened: Opened, hostile: Path) -> None:
    async with opened(hostile) as session:
        await session.until(lambda: any(piece in session.screen for piece in PIECES))
        await session.press("y")
        check(session.app.clipboard)
        await session.press("2", "slash")
        await session.type("x")
        await session.press("enter", "Y")
        check(session.app.clipboard)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["overview", "runs", "run:@~1", "run:@"])
def test_no_printed_page_holds_a_control_character(
    hostile: Path, page: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run_dashboard(once=page, start=hostile) == 0
    printed = capfdbinary.readouterr().out.decode()
    assert "␛" in printed
    check(printed, newlines=True)


@pytest.mark.slow
def test_what_a_terminal_gets_parses_with_nothing_left_over(hostile: Path) -> None:
    from benchmarks.ptybench import Terminal
    from tests.tui.test_pty import dashboard_command

    terminal = Terminal(dashboard_command(), rows=36, columns=120, cwd=str(hostile))
    try:
        for key in (b"", b"2", b"\r", b">", b">", b">", b">", b"1"):
            terminal.send(key)
            terminal.pump(0.7)
        output = b"".join(data for _, data in terminal.log).decode()
    finally:
        terminal.close()
    for sequence in SEQUENCES:
        assert f"\x1b{sequence}" not in output
    assert not re.search("[\x80-\x9f\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]", output)
    # 22 is the shape of the mouse pointer; nothing else of that family is ours.
    assert set(re.findall("\x1b\\](\\d+)", output)) <= {"22"}
    screen = pyte.Screen(120, 36)
    pyte.Stream(screen).feed(re.sub("\x1b\\[[<>=?][\\d;]*(?:\\$p|[A-Za-z])|\x1b\\]22;[a-z]*\x07", "", output))
    assert screen.title == ""
    assert "\x1b" not in "".join(screen.display)
