"""The dashboard's app: pages in one screen, keys through one registry, snapshots from one reader.

The event loop opens no file, starts no process and asks no database: it draws from snapshots. What changes the store is
done by the reader's second thread and comes back as a message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App
from textual.widget import Widget

from dstui.sdk.views.data import KINDS, ActDone, StatusSnapshot
from dstui.tui import actions
from dstui.tui.acting import Acts
from dstui.tui.menus import Menus
from dstui.tui.messages import SnapshotReady
from dstui.tui.pages.base import WIDE, Page, tones
from dstui.tui.pages.overview import OverviewPage
from dstui.tui.theme import THEMES, Look
from dstui.tui.views.bars import Bar, Footer
from dstui.tui.views.lines import PartsModel
from dstui.tui.views.overlay import Overlay
from dstui.tui.views.prompt import Note, PromptLine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dstui.sdk.views import Reader
    from dstui.sdk.views.data import Request
    from dstui.tui.actions import Action
    from dstui.tui.state import Kept
    from dstui.tui.views.cells import Part
    from dstui.tui.views.prompt import Question

PAGES: Mapping[str, str] = {"overview": "1 Overview", "runs": "2 Runs"}
"""The pages that tabs lead to, as row 0 names them."""

LATE_SECONDS = 3.0
"""Without a look at the store for this long, what is shown is called late."""

UNFOCUSED_INTERVAL = 5.0
"""Seconds between looks while the terminal's window is not the one in use."""

QUIT_AGAIN_SECONDS = 2.0

PALETTE_MOVES = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}
"""Keys that choose in the palette while something is typed into it."""

LEAST_WIDTH, LEAST_HEIGHT = 60, 16
"""A smaller terminal is told that it shows less."""


class Dashboard(App[int]):
    """`dstui` without a command."""

    CSS_PATH = "dstui.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[Any]] = []

    def __init__(
        self,
        reader: Callable[[Callable[[str], None]], Reader],
        look: Look,
        kept: Kept,
        *,
        last_screen: Sequence[str] = (),
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare.

        Args:
            reader: makes the reader, given whom to notify.
            look: theme and glyphs.
            kept: what the last session left; changed while this one runs.
            last_screen: lines of the last session's screen, shown until there is something newer.
            read_only: actions that change runs are not there.
            clock: seconds since the epoch.
        """
        super().__init__(ansi_color=True)
        # Both would be widgets of their own, and draw what they are given through markup.
        self._disable_tooltips = self._disable_notifications = True
        self.look = look
        self.store_kept = kept
        self.kept = kept.layout
        self.read_only = read_only
        self._clock = clock
        self._last_screen = last_screen
        self.pages: dict[str, Page] = {}
        self.page_name = ""
        self._status: StatusSnapshot | None = None
        self._mounted = False
        self._came_from: list[str] = []
        self._quit_asked = 0.0
        self._late = False
        self.acts = Acts(self)
        self.menus = Menus(self)
        # Last, for it may have news before this is done.
        self.reader = reader(self._notify_ready)

    # Making

    def compose(self) -> Iterable[Widget]:
        """Row 0, the pages, the prompt, the keys, and what lies over them."""
        look = self.look
        yield Bar(look, id="bar")
        name = self.kept.page if self.kept.page in PAGES else "overview"
        self.page_name = name
        self.pages[name] = self._make_page(name)
        with Pages(id="pages"):
            yield self.pages[name]
        with Widget(id="line"):
            yield PromptLine(look, id="prompt")
            yield Note(look, id="note")
        yield Footer(look, id="footer")
        yield Overlay(look, id="overlay")

    def on_mount(self) -> None:
        """Shows the last screen, and begins to read."""
        self._paint_ground()
        self.bar, self.prompt, self.note, self.footer, self.overlay = (
            self.query_one("#bar", Bar),
            self.query_one("#prompt", PromptLine),
            self.query_one("#note", Note),
            self.query_one("#footer", Footer),
            self.query_one("#overlay", Overlay),
        )
        self._mounted = True
        self._enter_page(self.pages[self.page_name])
        if self._last_screen:
            self._show_last_screen()
        # What came before there was anyone to notify.
        for kind in KINDS.values():
            self._take(kind)
        self.set_interval(60.0, self._minute)
        self.set_interval(LATE_SECONDS, self._check_late)

    # Snapshots

    def _notify_ready(self, kind: str) -> None:
        """Called by the reader's threads."""
        if self._mounted:
            self.post_message(SnapshotReady(kind))

    def on_snapshot_ready(self, message: SnapshotReady) -> None:
        """Takes a snapshot from the mailbox to the page that shows it."""
        self._take(message.kind)

    def _take(self, kind: str) -> None:
        if self.reader.failure is not None:
            self.failure = self.reader.failure
            self.exit(70)
            return
        snapshot = self.reader.take(kind)
        if snapshot is None:
            return
        if isinstance(snapshot, StatusSnapshot):
            self._status = snapshot
            self.page_changed()
        elif isinstance(snapshot, ActDone):
            self.say(snapshot.text, "good" if snapshot.ok else "bad")
        elif self.page is not None:
            self.page.receive(snapshot)

    # What pages ask for (see `pages.base.Desk`)

    def request(self, request: Request) -> None:
        """Asks the reader."""
        self.reader.ask(request)

    def forget(self, *kinds: str) -> None:
        """Takes requests back."""
        self.reader.forget(*kinds)

    def question(self, question: Question) -> None:
        """Lets the user type."""
        self.prompt.ask(question)
        self.page_changed()

    def say(self, text: str, tone: str = "") -> None:
        """Shows a message."""
        self.prompt.say([(text, tones(self.look)[tone])])

    def open_run(self, run: str) -> None:
        """Shows the page of a run."""
        self._came_from.append(self.page_name)
        self.run_worker(self._open_run(run))

    def show_lines(self, title: str, lines: Sequence[str]) -> None:
        """Shows some lines over the page."""
        look = self.look
        parts = [[(line, look.text)] for line in lines]
        self.menus.show("lines", [(title, look.strong)], parts)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def page_changed(self) -> None:
        """Draws bar, status line and footer anew where they changed."""
        page = self.page
        if page is None:
            return
        width = self.size.width
        self.bar.say(self._tabs(), self._active_tab(), page.bar(width), self._freshness(width))
        status, note = self._page_status(page, width)
        self.prompt.set_status(status)
        self.prompt.refresh_hint()
        self.note.say(note)
        self.note.display = bool(note) and self.prompt.question is None
        keys = actions.footer(page.places(), 9 if width >= WIDE else 6, read_only=self.read_only)
        self.footer.say([(action.name, action.shown, action.label) for action in keys])

    def _page_status(self, page: Page, width: int) -> tuple[Sequence[Part], Sequence[Part]]:
        left, right = page.status(width)
        if width < LEAST_WIDTH or self.size.height < LEAST_HEIGHT:
            return left, [(f"{LEAST_WIDTH}x{LEAST_HEIGHT} shows more", self.look.quiet)]
        return left, right

    # Pages

    @property
    def page(self) -> Page | None:
        """The page on screen."""
        return self.pages.get(self.page_name)

    async def _show_page(self, name: str) -> None:
        old = self.page
        if old is not None and self.page_name != name:
            old.leave_page()
            old.display = False
        page = self.pages.get(name)
        if page is None:
            page = self.pages[name] = self._make_page(name)
            await self.query_one("#pages").mount(page)
        self.page_name = name
        if not page.display:
            page.display = True
        if name in PAGES:
            self.kept.page = name
        self.prompt.say([])
        self._enter_page(page)

    def _enter_page(self, page: Page) -> None:
        page.enter_page()
        page.focus_first()
        self.page_changed()

    def _make_page(self, name: str) -> Page:
        if name == "overview":
            return OverviewPage(self, id=name)
        if name == "runs":
            from dstui.tui.pages.runs import RunsPage

            return RunsPage(self, id=name)
        from dstui.tui.pages.run import RunPage

        return RunPage(self, id=name)

    async def _open_run(self, run: str) -> None:
        from dstui.tui.pages.run import RunPage

        page = self.pages.get("run")
        if page is None:
            page = self.pages["run"] = self._make_page("run")
            page.display = False
            await self.query_one("#pages").mount(page)
        assert isinstance(page, RunPage)
        page.show_run(run)
        await self._show_page("run")

    def _tabs(self) -> list[tuple[str, str]]:
        return [tab for tab in PAGES.items() if self.page_name in PAGES or tab[0] == self._active_tab()]

    def _active_tab(self) -> str:
        return self.page_name if self.page_name in PAGES else (self._came_from or ["runs"])[-1]

    def _freshness(self, width: int) -> list[Part]:
        """The right end of row 0: project, what runs, and whether it is live."""
        look, status = self.look, self._status
        if status is None:
            return [("reading", look.raised_quiet)]
        parts: list[Part] = []
        if width >= WIDE and self.page_name in PAGES:
            parts += [(status.project, look.raised_quiet), ("   ", look.raised)]
        if status.running and self.page_name in PAGES:
            parts += [(f"{status.running} running", look.raised_accent), ("   ", look.raised)]
        if self.read_only:
            parts += [("read-only", look.raised_quiet), ("   ", look.raised)]
        if status.trouble:
            return [*parts, (f"{look.glyphs.stale} stale: {status.trouble}", look.raised_warn)]
        if self._late:
            return [*parts, (f"{look.glyphs.late} late", look.raised_warn)]
        return [*parts, (f"{look.glyphs.live} live", look.raised_good)]

    def _show_last_screen(self) -> None:
        """The last session's screen, quiet, until the first snapshot comes."""
        page = self.page
        if page is not None and page.views:
            look = self.look
            view = next(iter(page.views.values())) if "recent" not in page.views else page.views["recent"]
            view.set_model(PartsModel([[(line, look.quiet)] for line in self._last_screen], look, margin=0))

    # Clocks

    def _minute(self) -> None:
        if self.page is not None:
            self.page.minute()

    def _check_late(self) -> None:
        late = time.monotonic() - self.reader.last_tick > self.reader.interval + LATE_SECONDS
        if late != self._late:
            self._late = late
            self.page_changed()

    def on_app_blur(self) -> None:
        """Another window is in use: looking less often is enough."""
        self._usual_interval = self.reader.interval
        self.reader.interval = UNFOCUSED_INTERVAL

    def on_app_focus(self) -> None:
        """This window is in use again."""
        self.reader.interval = self._usual_interval

    # Keys

    async def on_event(self, event: events.Event) -> None:
        """Keys go through the registry, all else where Textual sends it."""
        if isinstance(event, events.Key) and not event.is_forwarded and self._mounted:
            character = event.character if event.is_printable else None
            self.handle_key(event.key, character)
            return
        if isinstance(event, events.Paste) and not event.is_forwarded:
            self.prompt.paste(event.text)
            return
        await super().on_event(event)

    def handle_key(self, key: str, character: str | None) -> None:
        """Does what a key means now: to a typed line, an overlay, a page's own wait, or by the registry."""
        typed = character if character is not None else key
        if key == "ctrl+c":
            self._quit_key()
        elif self.prompt.question is not None:
            self._prompt_key(key, character)
        elif self.overlay.is_open:
            self.menus.key(typed)
        elif self.page is not None and not self.page.takes_key(typed):
            action = actions.find(typed, self.page.places(), read_only=self.read_only)
            if action is not None:
                self.do(action)

    def do(self, action: Action) -> None:
        """Carries out an action by the method `do_NAME` of the page, the app, its acts or its menus."""
        self.prompt.say([])
        owners = self.page.key_owners() if self.page is not None else ()
        for owner in (*owners, self, self.acts, self.menus):
            method = getattr(owner, f"do_{action.name}", None)
            if method is not None:
                method()
                break
        self.page_changed()

    def on_bar_base_clicked(self, message: Bar.Clicked) -> None:
        """A page's name or a key of the footer was clicked."""
        action = actions.BY_NAME.get(message.name)
        if action is not None and not self.overlay.is_open:
            self.do(action)

    def do_overview(self) -> None:
        """Goes to the page Overview."""
        self._go("overview")

    def do_runs(self) -> None:
        """Goes to the page Runs."""
        self._go("runs")

    def do_back(self) -> None:
        """One step back."""
        page = self.page
        if page is None or page.go_back():
            return
        if self.page_name not in PAGES:
            self._go((self._came_from or ["runs"])[-1])

    def do_quit(self) -> None:
        """Leaves."""
        going_on = self._status.running if self._status is not None else 0
        message = (
            f"{going_on} {'run goes' if going_on == 1 else 'runs go'} on; `ds status` shows them" if going_on else None
        )
        self.screen_text = self.screen_lines()
        self.exit(0, message=message)

    def _quit_key(self) -> None:
        now = time.monotonic()
        if now - self._quit_asked < QUIT_AGAIN_SECONDS:
            self.do_quit()
        self._quit_asked = now
        self.say("ctrl+c again leaves; running runs go on")

    def _go(self, page: str) -> None:
        self._came_from.clear()
        if page != self.page_name:
            self.run_worker(self._show_page(page))

    def use_theme(self, name: str) -> None:
        """Draws with other colours, now and in the next session."""
        self.look = Look(THEMES[name], self.look.glyphs)
        self.kept.theme = name
        self._paint_ground()
        for part in (self.bar, self.prompt, self.note, self.footer, self.overlay):
            part.set_look(self.look)
        for page in self.pages.values():
            page.set_look()
        self.page_changed()

    def _prompt_key(self, key: str, character: str | None) -> None:
        if self.overlay.kind == "palette" and key in PALETTE_MOVES:
            self.overlay.move_by(PALETTE_MOVES[key])
            return
        self.prompt.type_key(key, character)
        if self.prompt.question is None:
            self.page_changed()

    # Beginning and end

    def _paint_ground(self) -> None:
        """Gives the screen the theme's ground, or the terminal's own."""
        ground = self.look.ground.bgcolor
        self.screen.styles.background = ground.get_truecolor().hex if ground is not None else "ansi_default"

    def screen_lines(self) -> list[str]:
        """What is on screen, row by row, for the next session's first frame."""
        page = self.pages.get(self.page_name)
        if page is None:
            return []
        return [strip.text.rstrip() for strip in self.screen._compositor.render_strips()][1:-2]

    def _fatal_error(self) -> None:
        """A bug of ours: told after the end, without the values of variables that Textual would print."""
        self.failure = self._exception
        self._close_messages_no_wait()

    screen_text: Sequence[str] = ()
    """What was on screen when the user left."""

    failure: Exception | None = None
    """The bug that ended the app, None without one."""

    _usual_interval = 0.5


class Pages(Widget):
    """Holds the pages, of which one is on screen."""

    DEFAULT_CSS = "Pages { width: 1fr; height: 1fr; }"
