"""Row 0 and the last row: where you are, and what the keys do here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.message import Message
from textual.widget import Widget

from dstui.tui.views.cells import Part, line, spread, width_of

if TYPE_CHECKING:
    from textual import events
    from textual.strip import Strip

    from dstui.tui.theme import Look


class BarBase(Widget):
    """One row that is drawn anew only when what it says changed."""

    DEFAULT_CSS = "BarBase { height: 1; width: 1fr; }"

    class Clicked(Message):
        """Something on a bar was clicked; `name` is its name."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, look: Look, *, id: str) -> None:
        super().__init__(id=id)
        self.look = look
        self._said: object = None
        self._spots: list[tuple[int, int, str]] = []

    def set_look(self, look: Look) -> None:
        """Draws with other colours."""
        self.look = look
        self.refresh()

    def _say(self, said: object) -> None:
        if said != self._said:
            self._said = said
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Tells which part was clicked."""
        event.stop()
        for start, end, name in self._spots:
            if start <= event.x < end:
                self.post_message(self.Clicked(name))


class Bar(BarBase):
    """Row 0: the pages, what the page says, and how fresh it all is."""

    def __init__(self, look: Look, *, id: str) -> None:
        super().__init__(look, id=id)
        self.pages: Sequence[tuple[str, str]] = ()
        self.active = ""
        self.left: Sequence[Part] = ()
        self.right: Sequence[Part] = ()

    def say(self, pages: Sequence[tuple[str, str]], active: str, left: Sequence[Part], right: Sequence[Part]) -> None:
        """What the row says: pages as (name, title), the page's own parts, and the right end."""
        self.pages, self.active, self.left, self.right = pages, active, left, right
        self._say((tuple(pages), active, tuple(left), tuple(right)))

    def render_line(self, y: int) -> Strip:
        """The row."""
        look, width = self.look, self.size.width
        parts: list[Part] = []
        self._spots = []
        position = 0
        for name, title in self.pages:
            text = f" {title} "
            style = look.tab_active if name == self.active else look.raised_quiet
            parts.append((text, style))
            self._spots.append((position, position + width_of(text), name))
            position += width_of(text)
        return spread([*parts, (" ", look.raised), *self.left], [*self.right, (" ", look.raised)], width, look.raised)


class Footer(BarBase):
    """The last row: keys and what they do here."""

    def __init__(self, look: Look, *, id: str) -> None:
        super().__init__(look, id=id)
        self.keys: Sequence[tuple[str, str, str]] = ()

    def say(self, keys: Sequence[tuple[str, str, str]]) -> None:
        """What the row says: (action, key, label) each."""
        self.keys = keys
        self._say(tuple(keys))

    def render_line(self, y: int) -> Strip:
        """The row; what does not fit whole is left out."""
        look, width = self.look, self.size.width
        parts: list[Part] = [(" ", look.raised)]
        self._spots = []
        position = 1
        for name, key, label in self.keys:
            size = width_of(key) + width_of(label) + 1
            if position + size > width:
                break
            parts += [(key, look.raised_accent), (f" {label}", look.raised_quiet), ("   ", look.raised)]
            self._spots.append((position, position + size, name))
            position += size + 3
        return line(parts, width, look.raised)
