"""The event loop's thread opens no file, asks no database and starts no process once the first frame is drawn."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dstui_store import Store
    from tests.tui.conftest import Opened

WATCHED = (
    "open",
    "sqlite3.connect",
    "subprocess.Popen",
    "os.posix_spawn",
    "os.exec",
    "os.listdir",
    "os.scandir",
    "socket.connect",
)

_watching: list[tuple[int, list[str]]] = []
_installed: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in WATCHED and threading.get_ident() == _watching[0][0]:
        text = f"{event} {arguments!r}"[:200]
        # Python reads the source of a module that it imports late; that is not ours to forbid here.
        if not (event == "open" and str(arguments[0]).endswith((".py", ".pyc", ".so"))):
            _watching[0][1].append(text)


@pytest.fixture
def calls() -> Any:
    """Calls of the present thread that reach the outside, from now on."""
    if not _installed:
        # A hook can never be taken away, so it is installed once and looks at nothing between tests.
        sys.addaudithook(_hook)
        _installed.append(True)
    found: list[str] = []
    _watching.append((threading.get_ident(), found))
    yield found
    _watching.clear()


async def test_the_hook_sees_what_it_is_there_for(calls: list[str], tmp_path: Any) -> None:
    (tmp_path / "file").write_text("x")
    assert [call for call in calls if "file" in call]


async def test_the_loop_s_thread_touches_nothing_outside(opened: Opened, store: Store, calls: list[str]) -> None:
    async with opened(store.layout.project) as session:
        await session.shows("kept")
        # Modules of the other pages are loaded at their first visit: that is the only reading there is.
        await session.press("2", "enter")
        await session.until(lambda: session.app.page_name == "run")
        calls.clear()
        await session.press("escape", "slash")
        await session.type("lr<0.3 has:depth")
        await session.press("enter", "s", "n", "space", "*", "p", "p")
        await session.press("enter")
        await session.shows("━ val")
        for key in (
            *"mLoba+-0F",
            "escape",
            ">",
            ">",
            "slash",
            *"line",
            "enter",
            "n",
            ">",
            ">",
            "1",
            "?",
            "escape",
            ":",
            "escape",
        ):
            await session.press({"?": "question_mark", ":": "colon"}.get(key, key))
        await session.press("y", "Y", "t")
        await session.type(" more")
        await session.press("enter")
        await session.until(lambda: "tagged: more" in session.screen)
        assert calls == []
