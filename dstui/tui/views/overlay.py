"""What lies over a page for a while: help, the palette's list, a question, lines in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dstui.tui.views.line_view import Frame, LineView
from dstui.tui.views.lines import PartsModel
from dstui.tui.views.panes import Pane, edges

if TYPE_CHECKING:
    from dstui.tui.theme import Look
    from dstui.tui.views.cells import Part

MOST_LIST_LINES = 12
"""Lines of a palette that are shown at once."""


@dataclass(frozen=True)
class Choice:
    """One answer to a question: its key, what it says, and what it does."""

    key: str
    label: str
    act: Callable[[], None]


class Overlay(LineView):
    """A framed list at the lower end of the page, or over all of it."""

    DEFAULT_CSS = "Overlay { dock: bottom; display: none; }"

    def __init__(self, look: Look, *, id: str) -> None:
        super().__init__(PartsModel([], look), look, id=id)
        self.kind = ""
        self.choices: Sequence[Choice] = ()
        self.chosen = 0
        self._lines: Sequence[Sequence[Part]] = ()

    @property
    def is_open(self) -> bool:
        """Whether it is on screen."""
        return bool(self.kind)

    def open(
        self,
        kind: str,
        title: Sequence[Part],
        lines: Sequence[Sequence[Part]],
        *,
        selectable: bool = False,
        height: int,
        note: Sequence[Part] = (),
    ) -> None:
        """Comes on screen with these lines, `height` rows high with its frame."""
        self.kind = kind
        self.choices, self.chosen = (), 0
        self.cursor = self.top = 0
        width = self.app.size.width
        found = edges([Pane("overlay", 0, 0, width, height)], width, height, self.look.glyphs, outer=True)["overlay"]
        self.set_frame(Frame(found, tuple(title), tuple(note)))
        self.styles.height = height
        self.display = True
        self.show_lines(lines, selectable=selectable)

    def ask(self, title: Sequence[Part], lines: Sequence[Sequence[Part]], choices: Sequence[Choice]) -> None:
        """Asks a question; the first choice is the one that enter takes."""
        height = min(len(lines), MOST_LIST_LINES) + 4
        self.open("question", title, lines, height=height)
        self.choices, self._lines = choices, lines
        self._show_choices()

    def show_lines(self, lines: Sequence[Sequence[Part]], *, selectable: bool = False) -> None:
        """Other lines in the same place."""
        self.set_model(PartsModel(lines, self.look, selectable=selectable))

    def close(self) -> None:
        """Leaves the screen."""
        self.kind = ""
        self.display = False

    def question_key(self, key: str) -> Choice | None:
        """The choice that a key takes; arrows only move between them."""
        if key in ("left", "right", "tab", "h", "l"):
            step = -1 if key in ("left", "h") else 1
            self.chosen = (self.chosen + step) % len(self.choices)
            self._show_choices()
            return None
        if key == "enter":
            return self.choices[self.chosen]
        if key == "escape":
            return self.choices[0]
        return next((choice for choice in self.choices if choice.key == key), None)

    def _show_choices(self) -> None:
        look = self.look
        buttons: list[Part] = []
        for index, choice in enumerate(self.choices):
            text = f" {choice.label} ({choice.key}) "
            buttons += [(text, look.cursor if index == self.chosen else look.quiet), ("  ", look.text)]
        shown = self._lines[:MOST_LIST_LINES]
        self.set_model(PartsModel([*shown, [], buttons], look))
