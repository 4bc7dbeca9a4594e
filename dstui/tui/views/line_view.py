"""The line base: a model that gives lines, and the one widget that shows a window of them in a frame.

A model knows nothing of an app, so `--once` and unit tests use it alone. The widget asks for the lines that are on
screen only, keeps what it drew by (key, width), and after a change repaints just the lines whose keys changed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from dstui.tui.views.cells import Part, cut, line, width_of
from dstui.tui.views.panes import NO_EDGES

if TYPE_CHECKING:
    from rich.style import Style
    from textual import events

    from dstui.tui.theme import Look
    from dstui.tui.views.panes import Edges

MAX_CACHED_STRIPS = 2_000
"""Drawn lines kept per view; a strip also keeps its own escape sequences."""

WHEEL_LINES = 3
"""Lines that one notch of a mouse wheel moves."""


class LineModel(Protocol):
    """Lines to show. Only the event loop's thread uses one; its owner may change it between two calls.

    Attributes:
        fixed: how many lines at the top stay there while the rest scrolls.
        selectable: whether the lines below those have a cursor.
    """

    @property
    def fixed(self) -> int:
        """Number of leading lines that do not scroll."""

    @property
    def selectable(self) -> bool:
        """Whether a cursor moves over the other lines."""

    def height(self, width: int) -> int:
        """Number of lines at this width, the fixed ones included."""

    def key(self, number: int, *, cursor: bool, focused: bool) -> Hashable:
        """What the look of a line depends on: changes when, and only when, it must be drawn anew."""

    def strip(self, number: int, width: int, *, cursor: bool, focused: bool) -> Strip:
        """The line, exactly `width` cells wide."""


@dataclass(frozen=True)
class Frame:
    """The edges of a pane and what its upper one says; `title` stands left, `note` right."""

    edges: Edges = NO_EDGES
    title: tuple[Part, ...] = ()
    note: tuple[Part, ...] = ()

    @property
    def inset(self) -> tuple[int, int, int, int]:
        """Cells taken on top, right, bottom, left."""
        edges = self.edges
        return int(bool(edges.upper)), int(edges.right), int(bool(edges.lower)), int(edges.left)


class LineView(Widget, can_focus=True):
    """Shows a window of a model's lines inside a frame.

    Attributes:
        top: first line below the fixed ones that is on screen.
        cursor: the line the cursor is on, counted below the fixed ones.
    """

    DEFAULT_CSS = "LineView { width: 1fr; height: 1fr; }"

    class Moved(Message):
        """The cursor or the window moved, by keys or mouse."""

        def __init__(self, view: LineView) -> None:
            super().__init__()
            self.view = view

    class Chosen(Message):
        """A line was chosen with the mouse: a click on the line that has the cursor."""

        def __init__(self, view: LineView) -> None:
            super().__init__()
            self.view = view

    def __init__(self, model: LineModel, look: Look, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.model = model
        self.look = look
        self.frame = Frame()
        self.top = 0
        self.cursor = 0
        self._strips: dict[tuple[Hashable, int], Strip] = {}
        self._shown: list[tuple[str, Hashable]] = []

    # What is where

    @property
    def inner_width(self) -> int:
        """Columns of a line."""
        _, right, _, left = self.frame.inset
        return max(0, self.size.width - left - right)

    @property
    def inner_height(self) -> int:
        """Lines on screen, the fixed ones included."""
        upper, _, lower, _ = self.frame.inset
        return max(0, self.size.height - upper - lower)

    @property
    def page_height(self) -> int:
        """Lines on screen that scroll."""
        return max(1, self.inner_height - self.model.fixed)

    @property
    def count(self) -> int:
        """Lines of the model that scroll."""
        return max(0, self.model.height(self.inner_width) - self.model.fixed)

    @property
    def window(self) -> range:
        """The scrolling lines that are on screen."""
        return range(self.top, min(self.count, self.top + self.page_height))

    # Change

    def set_model(self, model: LineModel) -> None:
        """Shows another model, or the same one after it changed; repaints only lines that look different."""
        self.model = model
        self._clamp()
        self.repaint()

    def set_look(self, look: Look) -> None:
        """Draws with other colours or characters."""
        self.look = look
        self._strips.clear()
        self._shown = []
        self.refresh()

    def set_frame(self, frame: Frame) -> None:
        """Draws other edges; repaints those alone when the lines stay where they are."""
        if frame == self.frame:
            return
        moved = frame.inset != self.frame.inset
        self.frame = frame
        if moved:
            self._clamp()
            self.refresh()
        elif self.size.height:
            self._refresh_rows([0, self.size.height - 1])

    def set_title(self, title: Sequence[Part], note: Sequence[Part] = ()) -> None:
        """Changes what the upper edge says."""
        self.set_frame(replace(self.frame, title=tuple(title), note=tuple(note)))

    def move_to(self, cursor: int) -> None:
        """Puts the cursor on a line and scrolls it into view; without a cursor, scrolls to the line."""
        if not self.model.selectable:
            self.scroll_lines(cursor - self.top)
            return
        old_cursor, old_top = self.cursor, self.top
        self.cursor = max(0, min(self.count - 1, cursor))
        self.top = max(min(self.top, self.cursor), self.cursor - self.page_height + 1)
        if (self.cursor, self.top) != (old_cursor, old_top):
            self.repaint()
            self.post_message(self.Moved(self))

    def move_by(self, lines: int) -> None:
        """Moves the cursor, or the window where there is none."""
        self.move_to(self.cursor + lines if self.model.selectable else self.top + lines)

    def scroll_lines(self, lines: int) -> None:
        """Moves the window; the cursor stays inside it."""
        old = self.top
        self.top = max(0, min(self.top + lines, self.count - self.page_height))
        if self.top == old:
            return
        if self.model.selectable:
            self.cursor = max(self.top, min(self.cursor, self.top + self.page_height - 1))
        self.repaint()
        self.post_message(self.Moved(self))

    def repaint(self) -> None:
        """Compares the keys of the lines on screen with what was drawn and refreshes where they differ."""
        keys = [self._key(row) for row in range(self.inner_height)]
        old = self._shown
        self._shown = keys
        if len(keys) != len(old):
            self.refresh()
            return
        upper = self.frame.inset[0]
        changed = [row for row, key in enumerate(keys) if key != old[row]]
        # The right edge is left out where its piece stays: it would be sent as well.
        narrow = bool(self.frame.edges.right) and all(_edge_of(keys[row]) == _edge_of(old[row]) for row in changed)
        self._refresh_rows([row + upper for row in changed], without_edge=narrow)

    # Drawing

    def render_line(self, y: int) -> Strip:
        """One row of the widget: an edge, or a line between its edges."""
        width, height = self.size
        upper, _, lower, _ = self.frame.inset
        if upper and y == 0:
            return self._upper_edge(width)
        if lower and y == height - 1:
            return self._lower_edge(width)
        return self._edged(y - upper)

    def _edged(self, row: int) -> Strip:
        """A row of lines with the edges at its sides."""
        strip = self._line(row)
        left = self._side(self.look.glyphs.corners[1]) if self.frame.edges.left else None
        right = self._side(self._right_side(row)) if self.frame.edges.right else None
        return strip if left is right is None else Strip.join([left, strip, right])

    def _line(self, row: int) -> Strip:
        number = self._number(row)
        width = self.inner_width
        if number is None:
            return Strip.blank(width, self.look.ground)
        cursor, focused = self._has_cursor(number), self.has_focus
        key = (self.model.key(number, cursor=cursor, focused=focused), width)
        strip = self._strips.get(key)
        if strip is None:
            if len(self._strips) >= MAX_CACHED_STRIPS:
                self._strips.clear()
            strip = self._strips[key] = self.model.strip(number, width, cursor=cursor, focused=focused)
        return strip

    def _number(self, row: int) -> int | None:
        """Which line of the model is on this row, or None below the last."""
        fixed = self.model.fixed
        number = row if row < fixed else row + self.top
        return number if 0 <= number < self.model.height(self.inner_width) else None

    def _has_cursor(self, number: int) -> bool:
        return self.model.selectable and number == self.cursor + self.model.fixed

    def _key(self, row: int) -> tuple[str, Hashable]:
        """What the look of a row depends on: its line, and the piece of the right edge beside it."""
        number = self._number(row)
        edge = self._right_side(row) if self.frame.edges.right else ""
        if number is None:
            return edge, None
        return edge, self.model.key(number, cursor=self._has_cursor(number), focused=self.has_focus)

    def _side(self, character: str) -> Strip:
        return line([(character, self.look.border)], 1, self.look.ground)

    def _right_side(self, row: int) -> str:
        """The right edge, with a thumb where the window lies within all lines."""
        corners = self.look.glyphs.corners
        count, page = self.count, self.page_height
        row -= self.model.fixed
        if count <= page or row < 0:
            return corners[1]
        size = max(1, page * page // count)
        start = round((page - size) * self.top / (count - page))
        return self.look.glyphs.thumb if start <= row < start + size else corners[1]

    def _upper_edge(self, width: int) -> Strip:
        style = self.look.focus if self.has_focus else self.look.border
        return _edge(self.frame.edges.upper, self.frame.title, self.frame.note, width, style, self.look)

    def _lower_edge(self, width: int) -> Strip:
        return line([(self.frame.edges.lower, self.look.border)], width, self.look.ground)

    # Events

    def on_resize(self) -> None:
        """A new size may leave the window hanging over the end."""
        self._clamp()
        self._shown = [self._key(row) for row in range(self.inner_height)]

    def on_focus(self) -> None:
        """Focus changes the edges and the cursor's line."""
        self._refresh_edges()

    def on_blur(self) -> None:
        """As `on_focus`."""
        self._refresh_edges()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves the window."""
        event.stop()
        self.scroll_lines(WHEEL_LINES)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel moves the window."""
        event.stop()
        self.scroll_lines(-WHEEL_LINES)

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; a click on the cursor chooses its line."""
        event.stop()
        number = self._number(event.y - self.frame.inset[0])
        if not self.model.selectable or number is None or number < self.model.fixed:
            return
        if number - self.model.fixed == self.cursor:
            self.post_message(self.Chosen(self))
        else:
            self.move_to(number - self.model.fixed)

    def _clamp(self) -> None:
        self.top = max(0, min(self.top, self.count - self.page_height))
        self.cursor = max(0, min(self.cursor, self.count - 1))
        if self.model.selectable:
            self.top = max(min(self.top, self.cursor), self.cursor - self.page_height + 1)

    def _refresh_edges(self) -> None:
        """The upper edge and the cursor's line look different with and without focus."""
        if self.size.height:
            self._refresh_rows([0])
            self.repaint()

    def _refresh_rows(self, rows: Sequence[int], *, without_edge: bool = False) -> None:
        if rows:
            width = self.size.width - int(without_edge)
            self.refresh(*(Region(0, row, width, 1) for row in rows))


def _edge_of(key: tuple[str, Hashable]) -> str:
    return key[0]


def _edge(row: str, title: Sequence[Part], note: Sequence[Part], width: int, style: Style, look: Look) -> Strip:
    """An upper edge with its title at the left and, where there is room, its note at the right."""
    room = width - 4
    shown = _limit(title, room, look.glyphs.more)
    taken = sum(width_of(text) for text, _ in shown)
    noted = sum(width_of(text) for text, _ in note)
    parts: list[Part] = [(row[:1], style)]
    position = 1
    if shown:
        parts += [(" ", style), *shown, (" ", style)]
        position += taken + 2
    if noted and taken + noted + 4 <= room:
        end = width - noted - 3
        parts += [(row[position:end], style), (" ", style), *note, (" ", style)]
        position = end + noted + 2
    parts.append((row[position:], style))
    return line(parts, width, look.ground)


def _limit(parts: Sequence[Part], room: int, more: str) -> list[Part]:
    """The parts that fit, the last of them cut."""
    kept: list[Part] = []
    for text, style in parts:
        if room <= 0:
            break
        text = cut(text, room, more)
        kept.append((text, style))
        room -= width_of(text)
    return kept
