"""What tests of the dashboard share: looks, a store with runs, a desk without an app, the app in a test terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dstui.sdk.views import Reader
from dstui.tui.app import Dashboard
from dstui.tui.state import Kept, Layout
from dstui.tui.theme import ASCII, DARK, PLAIN, UNICODE, Look
from dstui_store import Store
from tests.store.ended_runs import committed_run

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from dstui.sdk.views.data import Request
    from dstui.tui.views.prompt import Question

LOG = b"first line\n\x1b[32mgreen\x1b[0m words\nloading 1%\rloading 50%\rloading 100%\nlast line\n"
"""Output with a colour and a line that starts again."""

SECONDS = 20.0
"""Longest wait for something that must happen."""


@pytest.fixture
def look() -> Look:
    return Look(DARK, UNICODE)


@pytest.fixture
def plain_look() -> Look:
    return Look(PLAIN, ASCII)


@pytest.fixture(scope="session")
def made_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose store has four ended runs: two good ones, one that failed, one with a tag."""
    folder = tmp_path_factory.mktemp("made") / "project"
    git_folder(folder)
    with Store.open(folder, create=True) as made:
        for number, rate in enumerate((0.1, 0.2), 1):
            curve = [2.0 / (step + 1) + rate for step in range(60)]
            committed_run(
                made,
                name=f"train lr={rate}",
                experiment="search",
                config={"lr": rate, "depth": 18 * number, "data": "cifar"},
                metrics={"train/loss": curve, "val/loss": [value * 1.1 for value in curve], "acc": curve[::-1]},
                log=LOG,
            )
        failed = {"state": "failed", "exit_code": 3, "stop_reason": "exit code 3"}
        committed_run(made, name="broken", end=failed, log=b"boom\n")
        committed_run(made, name="kept", tags=["paper"], config={"lr": 0.3}, metrics={"loss": [3.0, 2.0, 1.0]})
        made.index.sync()
    return folder


@pytest.fixture
def store(made_project: Path, tmp_path: Path) -> Iterator[Store]:
    """A store of one's own with those four runs: a copy, since making them takes a second."""
    folder = tmp_path / "project"
    shutil.copytree(made_project, folder, symlinks=True)
    with Store.open(folder) as opened:
        # A copied store takes another writer's name, and its runs would be somebody else's.
        writer = json.loads(opened.layout.writer_file.read_bytes())
        writer["inode"] = opened.layout.store_git.stat().st_ino
        opened.layout.writer_file.write_text(json.dumps(writer))
        yield opened


def git_folder(folder: Path) -> None:
    """A folder under git, with no commit."""
    folder.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(folder)], check=True, stdin=subprocess.DEVNULL)


@dataclass
class FakeDesk:
    """What a page asks of the app, written down instead of done."""

    look: Look
    kept: Layout = field(default_factory=Layout)
    read_only: bool = False
    requests: list[Request] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    def request(self, request: Request) -> None:
        self.requests.append(request)

    def forget(self, *kinds: str) -> None:
        pass

    def question(self, question: Question) -> None:
        pass

    def say(self, text: str, tone: str = "") -> None:
        self.said.append(text)

    def open_run(self, run: str) -> None:
        self.opened.append(run)

    def show_lines(self, title: str, lines: Any) -> None:
        pass

    def page_changed(self) -> None:
        pass

    def now(self) -> float:
        return time.time()


@pytest.fixture
def desk(look: Look) -> FakeDesk:
    return FakeDesk(look)


@dataclass
class Session:
    """A dashboard in a test terminal."""

    app: Dashboard
    pilot: Pilot[int]

    async def press(self, *keys: str) -> None:
        """Presses keys, and lets the app deal with them."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Types a text."""
        await self.press(*("space" if character == " " else character for character in text))

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits for something to become true."""
        end = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"still not so after {SECONDS} s; the screen:\n{self.screen}")
            await self.pilot.pause()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.005)

    @property
    def rows(self) -> list[str]:
        """What is on screen, row by row."""
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    @property
    def screen(self) -> str:
        """What is on screen."""
        return "\n".join(self.rows)

    async def shows(self, text: str) -> None:
        """Waits until a text is on screen."""
        await self.until(lambda: text in self.screen)


Opened = Callable[..., AbstractAsyncContextManager[Session]]


@pytest.fixture
def opened(look: Look) -> Opened:
    """`async with opened(project) as session`: the dashboard over a real reader."""

    @asynccontextmanager
    async def open_dashboard(
        project: Path,
        *,
        size: tuple[int, int] = (120, 36),
        read_only: bool = False,
        started: bool = True,
        **options: Any,
    ) -> AsyncIterator[Session]:
        readers: list[Reader] = []

        def reader(notify: Callable[[str], None]) -> Reader:
            readers.append(Reader(project, notify, read_only=read_only))
            readers[0].interval = 0.05
            if started:
                readers[0].start()
            return readers[0]

        options = {"last_screen": (), "look": look, "kept": Kept(None), **options}
        app = Dashboard(reader, read_only=read_only, **options)
        try:
            async with app.run_test(size=size) as pilot:
                yield Session(app, pilot)
        finally:
            for made in readers:
                made.stop()
        assert app.failure is None, app.failure
        assert app._exception is None

    return open_dashboard
