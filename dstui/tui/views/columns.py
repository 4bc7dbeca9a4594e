"""Columns of run tables: what each shows of a run, how wide it is, and which come first when room is short.

Widths are chosen from the runs at hand, so a table of short names wastes no room. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dstui.tui.views.cells import width_of
from dstui.tui.views.formats import NumberFormat, exact_format, number_format, running_time, table_age
from dstui.tui.views.spark import sparkline
from dstui.units import UNKNOWN, format_duration

if TYPE_CHECKING:
    from rich.style import Style

    from dstui.sdk.query import Sort
    from dstui.sdk.views.data import OverviewSnapshot, RunLine, ValueColumn
    from dstui.tui.theme import Look

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


# Whole tables


def runs_columns(
    first: Sequence[RunLine], columns: Sequence[ValueColumn], objective: str, sort: Sort
) -> list[TableColumn]:
    """The table's columns: built-in ones, the objective, then params and metrics by how telling they are."""
    titles = short_titles(columns)
    sorted_by = {key.key for key in sort.keys}
    values = []
    for index, (column, title) in enumerate(zip(columns, titles, strict=True)):
        chosen = column.key in sorted_by
        main = chosen or column.key == f"metric.{objective}"
        values.append(value_column(column, title, 3 if main else 10 + index, movable=not main, sorted_by=chosen))
    tags = [tags_column(first, 15)] if any(line.tags for line in first) else []
    return [
        state_column(),
        label_column(first),
        id_column(first, 6),
        name_column(first),
        *([experiment_column(first, 14)] if any(line.experiment for line in first) else []),
        *values,
        time_column(5),
        age_column(4),
        user_column(first, 18),
        *tags,
    ]


def overview_columns(name: str, lines: Sequence[RunLine], snapshot: OverviewSnapshot) -> list[TableColumn]:
    """The columns of one of the page's tables."""
    first = [state_column(), label_column(lines), id_column(lines), name_column(lines)]
    if name == "since":
        return [*first, reason_column(), time_column(), age_column()]
    titles = short_titles(snapshot.columns)
    metrics = [
        value_column(column, title, 3 + index)
        for index, (column, title) in enumerate(zip(snapshot.columns, titles, strict=True))
        if column.key.startswith("metric.")
    ][:2]
    params = [
        value_column(column, title, 9 + index)
        for index, (column, title) in enumerate(zip(snapshot.columns, titles, strict=True))
        if column.key.startswith("param.") and column.differs
    ][:4]
    if name == "running":
        return [
            *first,
            step_column(5),
            *metrics,
            trend_column(6),
            *params,
            time_column(7),
            user_column(lines, 11),
        ]
    return [
        *first,
        experiment_column(lines, 12),
        *metrics,
        *params,
        time_column(8),
        age_column(7),
        user_column(lines, 11),
    ]


# Single columns


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


def moving_texts(run: RunLine, now: float) -> tuple[str, str]:
    """The cells that change by themselves."""
    return _age(run, now), _time(run, now)
