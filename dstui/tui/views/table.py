"""Tables of runs: which columns fit, how each cell is written, and the model that draws a row at a time.

A cell becomes text only when its row is on screen. The layout of columns is chosen once for a set of runs and a width,
so scrolling moves nothing sideways.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from dstui.tui.views.cells import Part, fit, line
from dstui.tui.views.columns import TableColumn, moving_texts
from dstui.units import UNKNOWN

if TYPE_CHECKING:
    from rich.style import Style
    from textual.strip import Strip

    from dstui.sdk.query import Sort
    from dstui.sdk.views.data import RunLine
    from dstui.tui.theme import Look

GAP = 2
"""Cells between two columns."""

MARGIN = 3
"""Cells left of the first column: mark, star, space."""


class Rows(Protocol):
    """The runs of a table by position; `at` gives None for a row that is not read yet."""

    def __len__(self) -> int:
        """Number of rows."""

    def at(self, position: int) -> RunLine | None:
        """The run of a row."""


@dataclass(frozen=True)
class ListedRows:
    """Rows that are all at hand."""

    lines: Sequence[RunLine]

    def __len__(self) -> int:
        return len(self.lines)

    def at(self, position: int) -> RunLine | None:
        """See `Rows`."""
        return self.lines[position] if 0 <= position < len(self.lines) else None


@dataclass
class TableState:
    """What a table shows beside its rows.

    Attributes:
        marks: ids of marked runs.
        pinned: the baseline, shown in a row of its own above the others.
        sort: for the arrows in the headings.
        letters: while a column is being chosen, its letter by sort key.
        now: seconds since the epoch, for ages.
        offset: value columns that are scrolled out at the left.
    """

    marks: set[str] = field(default_factory=set)
    pinned: RunLine | None = None
    sort: Sort | None = None
    letters: Mapping[str, str] = field(default_factory=dict)
    now: float = 0.0
    offset: int = 0


class TableModel:
    """A heading, the pinned run, and one line per run."""

    selectable = True

    def __init__(
        self, rows: Rows, columns: Sequence[TableColumn], look: Look, state: TableState, *, headed: bool = True
    ) -> None:
        self.headed = headed
        self.rows = rows
        self.columns = columns
        self.look = look
        self.state = state
        self._layouts: dict[int, list[tuple[TableColumn, int]]] = {}

    @property
    def fixed(self) -> int:
        """The heading and the pinned run stay on top."""
        return int(self.headed) + int(self.state.pinned is not None)

    def height(self, width: int) -> int:
        """See `LineModel`."""
        return self.fixed + len(self.rows)

    def run(self, number: int) -> RunLine | None:
        """The run of a line."""
        return self.state.pinned if number < self.fixed else self.rows.at(number - self.fixed)

    def key(self, number: int, *, cursor: bool, focused: bool) -> Hashable:
        """See `LineModel`."""
        if number == 0 and self.headed:
            return ("heading", self.state.sort, tuple(self.state.letters.items()), id(self.columns), self.state.offset)
        run = self.run(number)
        if run is None:
            return ("unread", cursor, focused)
        state = self.state
        times = moving_texts(run, state.now)
        marked = run.id in state.marks
        starred = state.pinned is not None and state.pinned.id == run.id
        return (
            *(run.id, run.row, run.version, marked, starred, number < self.fixed),
            *(cursor, cursor and focused, times, id(self.columns), state.offset, id(self.look)),
        )

    def strip(self, number: int, width: int, *, cursor: bool, focused: bool) -> Strip:
        """See `LineModel`."""
        if number == 0 and self.headed:
            return line(self._heading(width), width, self.look.ground)
        run = self.run(number)
        if run is None:
            ground = self._cursor_style(focused=focused) if cursor else self.look.ground
            return line([(" " * MARGIN + self.look.glyphs.more, ground)], width, ground)
        parts = self._cells(run, width)
        ground = self.look.ground
        if cursor:
            ground = self._cursor_style(focused=focused)
            parts = [(text, ground if focused else style + self.look.rest_ground) for text, style in parts]
        return line(parts, width, ground)

    def layout(self, width: int) -> list[tuple[TableColumn, int]]:
        """The columns that are shown at this width, each with its cells."""
        found = self._layouts.get(width)
        if found is None:
            found = self._layouts[width] = fit_columns(self.columns, width - MARGIN, self.state.offset)
        return found

    def _cursor_style(self, *, focused: bool) -> Style:
        return self.look.cursor if focused else self.look.rest

    def _heading(self, width: int) -> list[Part]:
        parts: list[Part] = [(" " * MARGIN, self.look.head)]
        for column, cells in self.layout(width):
            parts += self._title(column, cells)
            parts.append((" " * GAP, self.look.head))
        return parts

    def _title(self, column: TableColumn, cells: int) -> list[Part]:
        look, state = self.look, self.state
        arrow = ""
        for key in state.sort.keys if state.sort is not None else ():
            if key.key == column.sort_key:
                arrow = " " + (look.glyphs.down if key.descending else look.glyphs.up)
        room = max(1, cells - len(arrow))
        title = fit(column.title, room, more=look.glyphs.more).rstrip()
        text = fit(title + arrow, cells, right=column.right, more=look.glyphs.more)
        style = look.strong if arrow else look.head
        place = text.lower().find(state.letters.get(column.sort_key, " ")) if state.letters else -1
        if place < 0:
            return [(text, style)]
        return [(text[:place], style), (text[place], look.letter), (text[place + 1 :], style)]

    def _cells(self, run: RunLine, width: int) -> list[Part]:
        look, state = self.look, self.state
        mark = look.glyphs.mark if run.id in state.marks else " "
        star = look.glyphs.star if state.pinned is not None and state.pinned.id == run.id else " "
        marked = mark + star != "  "
        parts: list[Part] = [(mark, look.accent), (star + " ", look.warn)] if marked else []
        blank = "" if marked else " " * MARGIN
        for column, cells in self.layout(width):
            text = column.text(run, state.now, look)
            text = look.glyphs.dash if text == UNKNOWN else text
            text = fit(text, cells, right=column.right, more=look.glyphs.more)
            parts.append((blank + text + " " * GAP, column.style(run, look)))
            blank = ""
        return parts


def fit_columns(columns: Sequence[TableColumn], room: int, offset: int = 0) -> list[tuple[TableColumn, int]]:
    """The columns that fit into `room` cells by priority, in their own order; one that grows takes what is left.

    Args:
        columns: all of them, in the order they would stand.
        room: cells for columns and the gaps between them.
        offset: how many of the movable columns are passed over, for scrolling sideways.
    """
    movable = [column for column in columns if column.movable]
    passed = {id(column) for column in movable[: min(offset, max(0, len(movable) - 1))]}
    chosen: set[int] = set()
    left = room
    for column in sorted(columns, key=lambda column: column.priority):
        if id(column) not in passed and column.width <= left:
            chosen.add(id(column))
            left -= column.width + GAP
    left += GAP
    shown = []
    for column in columns:
        if id(column) in chosen:
            extra = max(0, min(left, column.grows - column.width))
            left -= extra
            shown.append((column, column.width + extra))
    return shown
