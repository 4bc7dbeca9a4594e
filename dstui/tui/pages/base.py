"""What every page is: panes that tile its rectangle, requests for the reader, and methods for the keys.

A page is a widget that only places its panes. `arrange` gives their rectangles for a size; frames follow from those.
All of a page runs in the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from textual.geometry import NULL_OFFSET, NULL_SPACING, Region
from textual.layout import Layout, WidgetPlacement
from textual.widget import Widget

from dstui.tui.views.line_view import LineView
from dstui.tui.views.panes import Pane, edges

if TYPE_CHECKING:
    from textual.geometry import Size

    from dstui.sdk.views.data import Request, RunLine, Snapshot
    from dstui.tui.state import Layout as KeptLayout
    from dstui.tui.theme import Look
    from dstui.tui.views.cells import Part
    from dstui.tui.views.prompt import Question

WIDE = 110
"""From this width on pages have several panes and a frame around all."""

SMALL_WIDTH, SMALL_HEIGHT = 80, 24
"""Below either there is one pane without preview or detail."""


class Desk(Protocol):
    """What a page may ask of the app."""

    look: Look
    kept: KeptLayout
    read_only: bool

    def request(self, request: Request) -> None:
        """Asks the reader."""

    def forget(self, *kinds: str) -> None:
        """Takes requests back."""

    def question(self, question: Question) -> None:
        """Lets the user type."""

    def say(self, text: str, tone: str = "") -> None:
        """Shows a message."""

    def open_run(self, run: str) -> None:
        """Shows the page of a run."""

    def show_lines(self, title: str, lines: Sequence[str]) -> None:
        """Shows some lines over the page."""

    def page_changed(self) -> None:
        """Says that bar, status line or footer may have to be drawn anew."""

    def now(self) -> float:
        """Seconds since the epoch."""


class _PanesLayout(Layout):
    """Places each pane where its page says; panes without a place are not shown."""

    name: ClassVar[str] = "panes"

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> list[WidgetPlacement]:
        assert isinstance(parent, Page)
        places = parent.place(size.width, size.height)
        return [
            WidgetPlacement(places[child.id], NULL_OFFSET, NULL_SPACING, child)
            for child in children
            if child.id is not None and child.id in places
        ]


_LAYOUT = _PanesLayout()


class Page(Widget):
    """One page.

    Attributes:
        place_names: places of `actions.PLACES` that all panes of the page belong to.
    """

    DEFAULT_CSS = "Page { width: 1fr; height: 1fr; }"
    title: ClassVar[str] = ""
    place_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, desk: Desk, *, id: str) -> None:
        super().__init__(id=id)
        self.desk = desk
        self._placed: tuple[int, int, tuple[Pane, ...]] = (0, 0, ())

    # For subclasses

    def make_views(self) -> Iterable[LineView]:
        """The panes, each with the id that `arrange` calls it by."""
        raise NotImplementedError

    def arrange_panes(self, width: int, height: int) -> Sequence[Pane]:
        """Rectangles that tile the page; panes left out are not shown. The first is the one to focus."""
        raise NotImplementedError

    def receive(self, snapshot: Snapshot) -> None:
        """Takes a snapshot of a kind that the page asked for."""
        raise NotImplementedError

    def enter_page(self) -> None:
        """Asks for what the page shows; called each time it comes on screen."""

    def leave_page(self) -> None:
        """Takes the requests back; called when another page comes."""

    def bar(self, width: int) -> Sequence[Part]:
        """What row 0 says after the page's name."""
        return ()

    def status(self, width: int) -> tuple[Sequence[Part], Sequence[Part]]:
        """What the line above the footer says, left and right, when nobody types."""
        return (), ()

    def command(self) -> Sequence[str]:
        """The `ds` command that shows the same."""
        raise NotImplementedError

    def targets(self) -> Sequence[RunLine]:
        """The runs that an action is about: the marked ones that are read, else the one under the cursor."""
        return ()

    def target_ids(self) -> Sequence[str]:
        """Their whole ids, those of marked runs that are not read at the moment too."""
        return [str(line.id) for line in self.targets()]

    def go_back(self) -> bool:
        """Undoes one step of the page's own; False = there was none, leave the page."""
        return False

    def takes_key(self, key: str) -> bool:
        """Whether the page waits for a key of its own and this was it."""
        return False

    def key_owners(self) -> Sequence[object]:
        """Whose methods `do_NAME` carry out the page's keys, the part that has the focus first."""
        return (self,)

    def minute(self) -> None:
        """A minute passed, so ages may be written anew."""

    def set_look(self) -> None:
        """Colours or characters changed."""
        for view in self.views.values():
            view.set_look(self.desk.look)
        self.refresh_layout()

    # For the app

    @property
    def layout(self) -> Layout:
        """The panes' places."""
        return _LAYOUT

    @cached_property
    def views(self) -> dict[str, LineView]:
        """The panes by name."""
        return {view.id or "": view for view in self.make_views()}

    def compose(self) -> Iterable[Widget]:
        """The panes."""
        return self.views.values()

    @property
    def focused_view(self) -> LineView | None:
        """The pane that has the keys."""
        focused = self.app.focused
        return focused if isinstance(focused, LineView) and focused.id in self.views else None

    @property
    def wide(self) -> bool:
        """Whether there is room for several panes."""
        return self.size.width >= WIDE

    @property
    def shown_panes(self) -> list[str]:
        """Panes on screen, in order."""
        return [pane.name for pane in self._placed[2]]

    def places(self) -> tuple[str, ...]:
        """Places of the focused pane, for the registry."""
        view = self.focused_view
        return (*self.pane_places(view.id or "" if view is not None else ""), *self.place_names)

    def pane_places(self, pane: str) -> tuple[str, ...]:
        """Places of one pane."""
        return ("list",)

    def place(self, width: int, height: int) -> dict[str, Region]:
        """Where each pane goes; gives them their frames on the way."""
        if width <= 0 or height <= 0:
            return {}
        panes = tuple(self.arrange_panes(width, height))
        if (width, height, panes) != self._placed:
            self._placed = (width, height, panes)
            outer = width >= WIDE
            for name, found in edges(panes, width, height, self.desk.look.glyphs, outer=outer).items():
                view = self.views[name]
                view.set_frame(replace(view.frame, edges=found))
        return {pane.name: Region(pane.x, pane.y, pane.width, pane.height) for pane in panes}

    def refresh_layout(self) -> None:
        """Places the panes anew, for their number or sizes changed."""
        self._placed = (0, 0, ())
        # Asked of a child: Textual keeps a widget's own arrangement until one of its children wants another.
        for view in self.views.values():
            view.refresh(layout=True)

    def focus_pane(self, name: str) -> None:
        """Gives a pane the keys."""
        self.screen.set_focus(self.views[name])
        self.desk.page_changed()

    def focus_first(self) -> None:
        """Gives the keys to the pane that had them, or the first one."""
        panes = self.focusable_panes()
        if panes and (self.focused_view is None or self.focused_view.id not in panes):
            self.focus_pane(panes[0])

    def focusable_panes(self) -> list[str]:
        """Panes that the keys can go to, in order."""
        panes = self.arrange_panes(*(self.size or self.app.size))
        return [pane.name for pane in panes if self.views[pane.name].can_focus]

    # Keys that mean the same on every page

    def do_next_pane(self, step: int = 1) -> None:
        """The next pane of the page."""
        panes = self.focusable_panes()
        view = self.focused_view
        here = panes.index(view.id) if view is not None and view.id in panes else -step
        if panes:
            self.focus_pane(panes[(here + step) % len(panes)])

    def do_previous_pane(self) -> None:
        """The pane before."""
        self.do_next_pane(-1)

    def do_down(self) -> None:
        """One line down."""
        self._move(1)

    def do_up(self) -> None:
        """One line up."""
        self._move(-1)

    def do_page_down(self) -> None:
        """One page down."""
        view = self.focused_view
        if view is not None:
            self._move(max(1, view.page_height - 1))

    def do_page_up(self) -> None:
        """One page up."""
        view = self.focused_view
        if view is not None:
            self._move(-max(1, view.page_height - 1))

    def do_first(self) -> None:
        """The first line."""
        view = self.focused_view
        if view is not None:
            view.move_to(0)

    def do_last(self) -> None:
        """The last line."""
        view = self.focused_view
        if view is not None:
            view.move_to(view.count - 1 if view.model.selectable else view.count)

    def _move(self, lines: int) -> None:
        view = self.focused_view
        if view is not None:
            view.move_by(lines)


def tones(look: Look) -> dict[str, Any]:
    """Style of a message by its tone."""
    return {"": look.text, "good": look.good, "bad": look.bad, "warn": look.warn, "quiet": look.quiet}
