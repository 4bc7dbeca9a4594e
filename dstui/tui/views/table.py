"""Tables of runs: which columns fit, how each cell is written, and the model that draws a row at a time.

A cell becomes text only when its row is on screen. The layout of columns is chosen once for a set of runs and a width,
so scrolling moves nothing sideways.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from dstui.tui.views.cells import Part, fit, line, width_of
from dstui.tui.views.formats import NumberFormat, exact_format, number_format, running_time, table_age
from dstui.tui.views.spark import sparkline
from dstui.units import UNKNOWN, format_duration

if TYPE_CHECKING:
    from rich.style import Style
    from textual.strip import Strip

    from dstui.sdk.query import Sort
    from dstui.sdk.views_data import RunLine, ValueColumn
    from dstui.tui.theme import Look

GAP = 2
"""Cells between two columns."""

MARGIN = 3
"""Cells left of the first column: mark, star, space."""

MAX_VALUE_WIDTH = 14
TREND_CELLS = 10

CellText = Callable[["RunLine", float, "Look"], str]
"""The text of a cell; the number is the present moment, seconds since the epoch."""

CellStyle = Callable[["RunLine", "Look"], "Style"]


@dataclass(frozen=True)
class TableColumn:
    """One column.

    Attributes:
        sort_key: what sorting by it means, "" = cannot be sorted by.
        title: its heading.
        width: cells it takes; a wider text is cut.
        priority: columns with a lower one are shown first when there is no room for all.
        grows: takes the room that is left, up to this width.
        right: numbers stand at its right side.
        movable: scrolls out sideways.
    """

    sort_key: str
    title: str
    width: int
    priority: int
    text: CellText
    style: CellStyle
    right: bool = False
    grows: int = 0
    movable: bool = False


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
        times = _moving_texts(run, state.now)
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


# Columns


def state_column(priority: int = 0) -> TableColumn:
    """Glyph and word of the state."""
    return TableColumn(
        "state",
        "state",
        11,
        priority,
        lambda run, _, look: look.state_words(run.state),
        lambda run, look: look.state(run.state),
    )


def label_column(lines: Sequence[RunLine], priority: int = 1) -> TableColumn:
    """`#142`, as wide as these runs need."""
    width = min(14, max([4, *(width_of(run.label) for run in lines)]))
    return TableColumn("number", "run", width, priority, lambda run, _, __: run.label, lambda _, look: look.quiet)


def id_column(lines: Sequence[RunLine], priority: int = 6) -> TableColumn:
    """The short id, as long as these runs need."""
    width = max([5, *(len(run.short) for run in lines)])
    return TableColumn("id", "id", width, priority, lambda run, _, __: run.short, lambda _, look: look.quiet)


def name_column(lines: Sequence[RunLine], priority: int = 2, most: int = 44) -> TableColumn:
    """The name; grows."""
    longest = max([6, *(width_of(run.name) for run in lines)])
    return TableColumn(
        *("name", "name", min(24, longest), priority, lambda run, _, __: run.name, lambda _, look: look.text),
        grows=min(most, longest),
    )


def experiment_column(lines: Sequence[RunLine], priority: int = 20) -> TableColumn:
    """The experiment."""
    width = min(16, max([10, *(width_of(run.experiment) for run in lines)]))
    return TableColumn(
        "experiment", "experiment", width, priority, lambda run, _, __: run.experiment, lambda _, look: look.quiet
    )


def age_column(priority: int = 10) -> TableColumn:
    """How long ago it started."""
    return TableColumn(
        "age", "when", 6, priority, lambda run, now, _: _age(run, now), lambda _, look: look.quiet, right=True
    )


def time_column(priority: int = 11) -> TableColumn:
    """How long it took, or has taken so far."""
    return TableColumn(
        "duration", "time", 6, priority, lambda run, now, _: _time(run, now), lambda _, look: look.text, right=True
    )


def user_column(lines: Sequence[RunLine], priority: int = 14) -> TableColumn:
    """Who ran it."""
    width = min(12, max([4, *(width_of(run.user) for run in lines)]))
    return TableColumn("by", "by", width, priority, lambda run, _, __: run.user, lambda _, look: look.quiet)


def tags_column(lines: Sequence[RunLine], priority: int = 16) -> TableColumn:
    """Its tags."""
    width = min(16, max([4, *(width_of(_tags(run)) for run in lines)]))
    return TableColumn("tag", "tags", width, priority, lambda run, _, __: _tags(run), lambda _, look: look.accent)


def step_column(priority: int = 13) -> TableColumn:
    """The last step of any metric."""
    return TableColumn(
        *("", "step", 9, priority, lambda run, _, __: UNKNOWN if run.step is None else f"{run.step:,}"),
        lambda _, look: look.text,
        right=True,
    )


def trend_column(priority: int = 15) -> TableColumn:
    """A small curve of the objective."""
    return TableColumn(
        *("", "trend", TREND_CELLS, priority, lambda run, _, look: sparkline(run.trend, TREND_CELLS, look)),
        lambda _, look: look.accent,
    )


def reason_column(priority: int = 9) -> TableColumn:
    """Why it ended as it did; grows."""
    return TableColumn(
        *("", "why", 12, priority, lambda run, _, __: run.reason, lambda _, look: look.quiet),
        grows=60,
    )


def value_column(
    column: ValueColumn, title: str, priority: int, *, movable: bool = False, sorted_by: bool = False
) -> TableColumn:
    """A param or the last value of a metric; numbers in one format, so that their digits stand under each other."""
    numbers = format_of(column)
    texts = [numbers.text(value) for value in column.numbers]
    width = min(MAX_VALUE_WIDTH, max([4, width_of(title) + 2 * sorted_by, *map(len, texts)]))
    return TableColumn(
        sort_key=column.key,
        title=title,
        width=width if texts else max(width, 8),
        priority=priority,
        text=_value_text(column.key, numbers),
        style=lambda _, look: look.text,
        right=bool(texts),
        movable=movable,
    )


def columns_key(columns: Sequence[ValueColumn]) -> Hashable:
    """What the look of value columns depends on: not each number, only how they are written."""
    return tuple((column.key, column.differs, format_of(column)) for column in columns)


def format_of(column: ValueColumn) -> NumberFormat:
    """How the numbers of a column are written: params exactly, metrics in four digits."""
    return (exact_format if column.key.startswith("param.") else number_format)(column.numbers)


def short_titles(columns: Sequence[ValueColumn]) -> list[str]:
    """Headings for value columns: the last part of a dotted name where that says enough."""
    names = [str(column.name) for column in columns]
    tails = [name.rpartition(".")[2] if width_of(name) > MAX_VALUE_WIDTH - 2 else name for name in names]
    return [tail if tails.count(tail) == 1 else name for name, tail in zip(names, tails, strict=True)]


def _value_text(key: str, numbers: NumberFormat) -> CellText:
    def text(run: RunLine, _: float, __: Look) -> str:
        value = run.values.get(key)
        if value is None:
            return UNKNOWN
        return numbers.text(value) if isinstance(value, float) else value

    return text


def _tags(run: RunLine) -> str:
    return " ".join(run.tags)


def _age(run: RunLine, now: float) -> str:
    if run.live:
        return "now"
    return table_age(None if run.started is None else now - run.started)


def _time(run: RunLine, now: float) -> str:
    if run.live and run.duration is None:
        return UNKNOWN if run.started is None else running_time(now - run.started)
    return format_duration(run.duration)


def _moving_texts(run: RunLine, now: float) -> tuple[str, str]:
    """The cells that change by themselves."""
    return _age(run, now), _time(run, now)
