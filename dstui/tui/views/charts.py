"""Several charts in a grid: what a run page shows of its metrics, with one cursor x for all of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textual.strip import Strip

from dstui.sdk.views.data import ChartGroup
from dstui.tui.views.cells import Part, cut, line, width_of
from dstui.tui.views.legend import legend
from dstui.tui.views.plot import PlotOptions, Series, draw

if TYPE_CHECKING:
    from dstui.sdk.text import SafeText
    from dstui.sdk.views.data import Envelope
    from dstui.tui.theme import Look

CHART_WIDTH, CHART_HEIGHT = 43, 9
"""The least a chart of a grid gets, its title included, before there are fewer beside or over each other."""


@dataclass(frozen=True)
class Grid:
    """How charts are placed: columns of these widths, rows of these heights, titles included."""

    widths: tuple[int, ...]
    heights: tuple[int, ...]

    @property
    def columns(self) -> int:
        """Charts beside each other."""
        return len(self.widths)

    def rows_of(self, index: int) -> range:
        """The lines that a chart takes."""
        row = index // self.columns
        start = sum(self.heights[:row])
        return range(start, start + self.heights[row])


def grid(count: int, width: int, height: int) -> Grid:
    """The grid for `count` charts, 1 or more: as few columns as show all of them, else as many as fit."""
    most = max(1, min(count, (width + 1) // (CHART_WIDTH + 1), 3))
    over = max(1, height // CHART_HEIGHT)
    columns = next((columns for columns in range(1, most + 1) if columns * over >= count), most)
    rows = math.ceil(count / columns)
    on_screen = min(over, rows)
    heights = _shares(height, on_screen)
    # Rows that are scrolled to are as high as the last one on screen.
    return Grid(_shares(width - (columns - 1), columns), heights + heights[-1:] * (rows - on_screen))


def _shares(total: int, parts: int) -> tuple[int, ...]:
    """Whole numbers that add up to the total, as equal as can be."""
    return tuple(total * (index + 1) // parts - total * index // parts for index in range(parts))


class ChartsModel:
    """Charts of one run; `selected` is the one that keys act on, alone when `alone`."""

    selectable = False
    fixed = 0

    def __init__(self, look: Look) -> None:
        self.look = look
        self.groups: Sequence[ChartGroup] = ()
        self.envelopes: Mapping[str, Envelope] = {}
        self.options = PlotOptions()
        self.hidden: frozenset[str] = frozenset()
        self.selected = 0
        self.alone = False
        self.pane_height = 0
        self.version = 0
        self._drawn: tuple[Hashable, list[Strip]] = ((), [])

    def height(self, width: int) -> int:
        """See `LineModel`."""
        groups = self._groups()
        if not groups:
            return max(1, self.pane_height)
        return sum(grid(len(groups), width, max(1, self.pane_height)).heights)

    def key(self, number: int, *, cursor: bool, focused: bool) -> Hashable:
        """See `LineModel`."""
        return (number, self._state())

    def strip(self, number: int, width: int, *, cursor: bool, focused: bool) -> Strip:
        """See `LineModel`."""
        wanted = (self._state(), width)
        if self._drawn[0] != wanted:
            self._drawn = (wanted, self._draw(width))
        strips = self._drawn[1]
        return strips[number] if number < len(strips) else Strip.blank(width, self.look.ground)

    def place_of(self, index: int, width: int) -> range:
        """The lines that a chart takes."""
        return grid(max(1, len(self._groups())), width, max(1, self.pane_height)).rows_of(index)

    def show_one(self, title: SafeText, envelope: Envelope | None, height: int) -> None:
        """Shows a single curve."""
        self.groups = [ChartGroup(title, ((title, title),))] if envelope is not None else []
        self.envelopes = {title: envelope} if envelope is not None else {}
        self.selected, self.alone, self.pane_height = 0, True, height
        self.touch()

    def touch(self) -> None:
        """Says that something else is to be drawn."""
        self.version += 1

    def _groups(self) -> Sequence[ChartGroup]:
        return self.groups[self.selected : self.selected + 1] if self.alone else self.groups

    def _state(self) -> Hashable:
        return (self.version, self.pane_height, id(self.look))

    def _draw(self, width: int) -> list[Strip]:
        groups = self._groups()
        if not groups:
            return draw([], width, max(1, self.pane_height), self.look, self.options)
        placed = grid(len(groups), width, max(1, self.pane_height))
        strips: list[Strip] = []
        for start, height in zip(range(0, len(groups), placed.columns), placed.heights, strict=True):
            row = [
                self._chart(start + column, cells, height) if start + column < len(groups) else None
                for column, cells in enumerate(placed.widths)
            ]
            strips += [self._join([chart[y] if chart else None for chart in row], placed, y) for y in range(height)]
        return strips

    def _join(self, pieces: Sequence[Strip | None], placed: Grid, y: int) -> Strip:
        """One line of charts that stand beside each other."""
        corners = self.look.glyphs.corners
        edge = line([(corners[0] if y == 0 else corners[1], self.look.border)], 1, self.look.ground)
        joined: list[Strip] = []
        for index, piece in enumerate(pieces):
            if index:
                joined.append(edge)
            joined.append(piece or Strip.blank(placed.widths[index], self.look.ground))
        return Strip.join(joined)

    def _chart(self, index: int, width: int, height: int) -> list[Strip]:
        group = self._groups()[index]
        series = [
            Series(str(label), self.envelopes[name], colour)
            for colour, (label, name) in enumerate(group.members)
            if name in self.envelopes and name not in self.hidden
        ]
        chosen = self.alone or index == self.selected
        title = self._title(group, series, width, chosen=chosen)
        return [title, *draw(series, width, height - 1, self.look, self.options)]

    def _title(self, group: ChartGroup, series: Sequence[Series], width: int, *, chosen: bool) -> Strip:
        look = self.look
        rule = look.glyphs.corners[0]
        name = cut(group.title, max(4, width // 2), look.glyphs.more)
        parts: list[Part] = [
            (f"{rule} ", look.border),
            (name, look.accent if chosen else look.strong),
            (" ", look.border),
        ]
        parts += legend(series, width - width_of(name) - 6, look, self.options.cursor)
        dropped = sum(item.envelope.dropped for item in series)
        if dropped:
            parts.append((f" {dropped} not positive ", look.warn))
        used = sum(width_of(text) for text, _ in parts)
        parts.append((rule * max(0, width - used), look.border))
        return line(parts, width, look.ground)


def with_cursor(options: PlotOptions, cursor: float | None) -> PlotOptions:
    """The options with another cursor."""
    return replace(options, cursor=cursor)
