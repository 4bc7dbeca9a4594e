"""Line charts in braille: envelopes in, strips out, with numpy and without a plot library.

Notation: a chart of `cells` columns and `rows` rows has W = 2 * cells dot columns and H = 4 * rows dot rows; dot row 0
is on top. `owner` of shape (rows * cells,) says whose colour a cell has: the last line drawn in it, or k + index for
the faint band of series `index` of k, or -1.
Order of work: limits of y, bands of all series, lines of all series (a line takes its cells over from any band), text.
Without braille the same cells show one letter per series.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from dstui.tui.views.cells import Part, cut, line, width_of
from dstui.tui.views.formats import axis_time, compact, ticks, time_ticks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dstui.sdk.views.data import Envelope
    from dstui.tui.theme import Look

    Floats = NDArray[np.float64]

BITS = np.array([[1, 8], [2, 16], [4, 32], [64, 128]], np.uint8)
"""Bit of a braille cell for each dot, shape (4, 2)."""

MARKS = "*o+x#%@&"
"""One letter per series where braille cannot be shown."""

OUTLIER_FACTOR = 10.0
"""A full range this many times wider than that of nearly all columns is cut down to the latter."""

SMOOTHING = (0.0, 0.6, 0.9, 0.99)
"""The weights of the past that the key `o` goes through."""

MIN_WIDTH, MIN_HEIGHT = 16, 3
"""Below this there is no room for axis and curve."""


@dataclass(frozen=True)
class Series:
    """One line of a chart: its name, its envelope, and which of the series colours it has."""

    label: str
    envelope: Envelope
    colour: int = 0


@dataclass(frozen=True)
class PlotOptions:
    """How a chart is drawn.

    Attributes:
        axis: "step" or "time", for the numbers below the chart.
        log: logarithmic y; the envelopes must hold positive values only.
        band: draw the band between least and greatest value of a column.
        smoothing: weight of the past in the lines, 0 to below 1.
        full: never cut the y range.
        cursor: x to mark with a column, or None.
    """

    axis: str = "step"
    log: bool = False
    band: bool = True
    smoothing: float = 0.0
    full: bool = False
    cursor: float | None = None


@dataclass(frozen=True)
class _Canvas:
    """What a chart is drawn into, and how y becomes a dot row."""

    rows: int
    cells: int
    lowest: float
    highest: float
    bits: NDArray[np.uint8]
    owner: NDArray[np.int16]

    def dot_rows(self, values: Floats) -> NDArray[np.int64]:
        last = self.rows * 4 - 1
        scale = last / (self.highest - self.lowest)
        return np.clip(np.rint((self.highest - values) * scale), 0, last).astype(np.int64)


def draw(series: Sequence[Series], width: int, height: int, look: Look, options: PlotOptions) -> list[Strip]:
    """`height` strips of `width` cells: the chart, its y numbers at the left and its x axis in the last row."""
    shown = [item for item in series if item.envelope.points]
    if not shown or width < MIN_WIDTH or height < MIN_HEIGHT:
        return _note("no points yet" if width >= MIN_WIDTH else "", width, height, look)
    curves = [_Curve.of(item, options) for item in shown]
    lowest, highest = _limits(curves, full=options.full)
    rows = height - 1
    labels = _y_labels(lowest, highest, rows, log=options.log)
    margin = max(map(width_of, labels.values()), default=1) + 1
    letters = _end_letters(shown)
    cells = width - margin - (2 if letters else 1)
    canvas = _Canvas(
        rows,
        cells,
        lowest,
        highest,
        np.zeros(rows * cells, np.uint8),
        np.full(rows * cells, -1, np.int16),
    )
    _paint(canvas, curves, band=options.band)
    clipped = _clipped(canvas, curves)
    ends = _end_rows(canvas, curves, letters)
    x0, x1 = shown[0].envelope.x0, shown[0].envelope.x1
    cursor = _cursor_cell(options.cursor, x0, x1, cells)
    text = _characters(canvas, len(shown), clipped, look)
    body = _body(canvas, text, [item.colour for item in shown], labels, margin, ends, cursor, look, width)
    bad = _bad_cells(curves, cells)
    return [*body, _x_axis(x0, x1, cells, margin, bad, options.axis, look, width)]


def plot_cells(width: int) -> int:
    """An upper bound of the columns a chart of this width draws into: what to ask an envelope for, in cells."""
    return max(1, width - 4)


@dataclass(frozen=True)
class _Curve:
    """A series ready to draw: values as they go on the axis, at the dot columns of the chart."""

    lo: Floats
    hi: Floats
    mean: Floats
    bad: NDArray[np.bool_]

    @classmethod
    def of(cls, series: Series, options: PlotOptions) -> _Curve:
        source = series.envelope
        mean = smooth(source.mean, options.smoothing) if options.smoothing else source.mean
        if options.log:
            return cls(np.log10(source.lo), np.log10(source.hi), np.log10(mean), source.bad)
        return cls(source.lo, source.hi, mean, source.bad)

    def at(self, columns: int) -> _Curve:
        """The same with another number of columns: neighbours are merged or repeated."""
        width = len(self.mean)
        if width == columns:
            return self
        if columns < width:
            first = np.arange(columns) * width // columns
            with np.errstate(all="ignore"):
                return _Curve(
                    np.fmin.reduceat(self.lo, first),
                    np.fmax.reduceat(self.hi, first),
                    _group_mean(self.mean, first),
                    np.logical_or.reduceat(self.bad, first),
                )
        nearest = np.arange(columns) * width // columns
        return _Curve(self.lo[nearest], self.hi[nearest], self.mean[nearest], self.bad[nearest])


def smooth(mean: Floats, weight: float) -> Floats:
    """Exponential moving mean without the bias of its start; gaps stay gaps and are passed over."""
    total = norm = 0.0
    values = mean.tolist()
    for index, value in enumerate(values):
        if value == value:
            total = weight * total + (1.0 - weight) * value
            norm = weight * norm + (1.0 - weight)
            values[index] = total / norm
    return np.array(values, np.float64)


def _group_mean(mean: Floats, first: NDArray[np.int64]) -> Floats:
    good = ~np.isnan(mean)
    total = np.add.reduceat(np.where(good, mean, 0.0), first)
    number = np.add.reduceat(good.astype(np.float64), first)
    result: Floats = np.where(number > 0, total / np.maximum(number, 1.0), np.nan)
    return result


def _limits(curves: Sequence[_Curve], *, full: bool) -> tuple[float, float]:
    """The y range: all of it, or that of nearly all columns when a few values would flatten everything else."""
    lo = np.concatenate([curve.lo for curve in curves])
    hi = np.concatenate([curve.hi for curve in curves])
    lowest, highest = float(np.nanmin(lo)), float(np.nanmax(hi))
    if not full:
        low, high = _trimmed(lo)[0], _trimmed(hi)[1]
        if high > low and highest - lowest > OUTLIER_FACTOR * (high - low):
            room = 0.05 * (high - low)
            lowest, highest = max(lowest, low - room), min(highest, high + room)
    if not highest - lowest > 1e-12 * max(abs(lowest), abs(highest)):
        room = abs(highest) * 0.01 or 1.0
        lowest, highest = lowest - room, highest + room
    return lowest, highest


def _trimmed(values: Floats) -> tuple[float, float]:
    """Least and greatest value without the outermost 0.5 % at either side, at least one column each."""
    ordered = np.sort(values[~np.isnan(values)])
    apart = max(1, len(ordered) // 200) if len(ordered) >= 20 else 0
    return float(ordered[apart]), float(ordered[len(ordered) - 1 - apart])


def _paint(canvas: _Canvas, curves: Sequence[_Curve], *, band: bool) -> None:
    fitted = [curve.at(canvas.cells * 2) for curve in curves]
    count = len(fitted)
    if band:
        for index, curve in enumerate(fitted):
            wide = np.flatnonzero(curve.hi > curve.lo)
            _stroke(canvas, curve.lo, curve.hi, wide, count + index, over=None)
    for index, curve in enumerate(fitted):
        there = np.flatnonzero(~np.isnan(curve.mean))
        _stroke(canvas, curve.mean, curve.mean, there, index, over=count)


def _stroke(
    canvas: _Canvas, lo: Floats, hi: Floats, columns: NDArray[np.int64], owner: int, *, over: int | None
) -> None:
    """Sets the dots of one band or line; with `over`, cells of owners from that number on are cleared first."""
    if not len(columns):
        return
    top, bottom = canvas.dot_rows(hi[columns]), canvas.dot_rows(lo[columns])
    top, bottom = _joined(top, bottom, columns)
    length = bottom - top + 1
    x = np.repeat(columns, length)
    y = np.repeat(top, length) + np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    cell = (y >> 2) * canvas.cells + (x >> 1)
    if over is not None:
        banded = canvas.owner[cell] >= over
        canvas.bits[cell[banded]] = 0
    np.bitwise_or.at(canvas.bits, cell, BITS[y & 3, x & 1])
    canvas.owner[cell] = owner


def _joined(
    top: NDArray[np.int64], bottom: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stretches each column towards its left neighbour, so that a step leaves no hole."""
    left = np.flatnonzero(np.diff(columns) == 1)
    right = left + 1
    upper, lower = top.copy(), bottom.copy()
    upper[right] = np.minimum(top[right], np.minimum(bottom[left] + 1, bottom[right]))
    lower[right] = np.maximum(bottom[right], np.maximum(top[left] - 1, top[right]))
    return upper, lower


def _y_labels(lowest: float, highest: float, rows: int, *, log: bool) -> dict[int, str]:
    """Numbers for the rows that carry a round value, at least two rows apart."""
    scale = (rows * 4 - 1) / (highest - lowest)
    labels: dict[int, str] = {}
    values = ticks(lowest, highest, max(2, rows // 2))
    if log:
        whole = [value for value in values if abs(value - round(value)) < 1e-9]
        values = whole if len(whole) > 1 else values
    for value in values:
        row = min(rows - 1, round((highest - value) * scale) // 4)
        if row >= 0 and not {row - 1, row, row + 1} & labels.keys():
            labels[row] = compact(10**value if log else _snap(value, highest - lowest))
    return labels


def _snap(value: float, span: float) -> float:
    """Zero instead of the 1e-17 that adding up steps leaves."""
    return 0.0 if abs(value) < span * 1e-9 else value


def _end_letters(series: Sequence[Series]) -> list[str]:
    """One letter per line where there are several: the first of its name, or a running letter when two share it."""
    if len(series) < 2:
        return []
    firsts = [item.label[:1] or "?" for item in series]
    if len(set(firsts)) == len(firsts):
        return firsts
    return [chr(ord("A") + index % 26) for index in range(len(series))]


def _end_rows(canvas: _Canvas, curves: Sequence[_Curve], letters: Sequence[str]) -> dict[int, tuple[str, int]]:
    """Which row carries which letter of which series, none over another."""
    taken: dict[int, tuple[str, int]] = {}
    for index, letter in enumerate(letters):
        there = np.flatnonzero(~np.isnan(curves[index].mean))
        if not len(there):
            continue
        row = int(canvas.dot_rows(curves[index].mean[there[-1:]])[0]) >> 2
        free = sorted((candidate for candidate in range(canvas.rows) if candidate not in taken), key=_near(row))
        if free:
            taken[free[0]] = (letter, index)
    return taken


def _near(row: int) -> Callable[[int], int]:
    return lambda candidate: abs(candidate - row)


def _cursor_cell(cursor: float | None, x0: float, x1: float, cells: int) -> int | None:
    if cursor is None or not x0 <= cursor <= x1:
        return None
    return min(cells - 1, int((cursor - x0) / ((x1 - x0) or 1.0) * cells))


def _bad_cells(curves: Sequence[_Curve], cells: int) -> set[int]:
    found: set[int] = set()
    for curve in curves:
        found.update((np.flatnonzero(curve.at(cells * 2).bad) >> 1).tolist())
    return found


def _body(
    canvas: _Canvas,
    text: Sequence[str],
    colours: Sequence[int],
    labels: dict[int, str],
    margin: int,
    ends: dict[int, tuple[str, int]],
    cursor: int | None,
    look: Look,
    width: int,
) -> list[Strip]:
    owners = canvas.owner.reshape(canvas.rows, canvas.cells)
    styles = [look.series[colour % len(look.series)] for colour in colours]
    styles += [look.bands[colour % len(look.bands)] for colour in colours]
    strips = []
    for row in range(canvas.rows):
        label = labels.get(row, "")
        parts: list[Part] = [(label.rjust(margin - 1) + " ", look.quiet)]
        parts += _runs(text[row], owners[row], styles, cursor, look)
        if row in ends:
            letter, index = ends[row]
            parts.append((letter, styles[index]))
        strips.append(line(parts, width, look.ground))
    return strips


def _clipped(canvas: _Canvas, curves: Sequence[_Curve]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells of the first and of the last row where a curve goes on beyond the chart."""
    above, below = np.zeros(canvas.cells, bool), np.zeros(canvas.cells, bool)
    for curve in curves:
        fitted = curve.at(canvas.cells * 2)
        above |= (fitted.hi > canvas.highest).reshape(-1, 2).any(axis=1)
        below |= (fitted.lo < canvas.lowest).reshape(-1, 2).any(axis=1)
    return np.flatnonzero(above), np.flatnonzero(below) + (canvas.rows - 1) * canvas.cells


def _characters(
    canvas: _Canvas, count: int, clipped: tuple[NDArray[np.int64], NDArray[np.int64]], look: Look
) -> list[str]:
    """The text of each row."""
    arrows = "▴▾" if look.glyphs.braille else "^v"
    if look.glyphs.braille:
        codes = canvas.bits.astype(np.uint32) + 0x2800
        codes[canvas.bits == 0] = 0x20
    else:
        marks = np.array([ord(MARKS[index % len(MARKS)]) for index in range(count)] + [ord(".")] * count + [0x20])
        codes = marks[canvas.owner].astype(np.uint32)
    for cells, arrow in zip(clipped, arrows, strict=True):
        codes[cells] = ord(arrow)
    joined = codes.tobytes().decode("utf-32-le")
    return [joined[start : start + canvas.cells] for start in range(0, len(joined), canvas.cells)]


def _runs(text: str, owners: NDArray[np.int16], styles: Sequence[Style], cursor: int | None, look: Look) -> list[Part]:
    """Pieces of one row, each of one colour; the cursor's column has another ground."""
    cuts = set((np.flatnonzero(np.diff(owners)) + 1).tolist())
    if cursor is not None:
        cuts |= {cursor, cursor + 1}
    borders = sorted(cuts & set(range(1, len(text)))) if cuts else []
    parts: list[Part] = []
    for start, end in zip([0, *borders], [*borders, len(text)], strict=True):
        owner = int(owners[start])
        style = styles[owner] if owner >= 0 else look.ground
        if start == cursor:
            style = style + Style(bgcolor=look.theme.cursor or None, reverse=not look.theme.cursor)
        parts.append((text[start:end], style))
    return parts


def _x_axis(x0: float, x1: float, cells: int, margin: int, bad: set[int], axis: str, look: Look, width: int) -> Strip:
    """Round numbers below the chart, and a cross wherever a value was not finite."""
    most = max(1, cells // 12)
    values = [x0 + value for value in time_ticks(x1 - x0, most)] if axis == "time" else ticks(x0, x1, most)
    row = [" "] * width
    free_from = 0
    for value in values:
        label = axis_time(value) if axis == "time" else compact(_snap(value, x1 - x0))
        cell = round((value - x0) / ((x1 - x0) or 1.0) * (cells - 1))
        start = min(margin + cell, width - len(label))
        # A cross in the middle of a number would make another number of it.
        crossed = any(start - margin <= column < start - margin + len(label) for column in bad)
        if start >= free_from and not crossed:
            row[start : start + len(label)] = label
            free_from = start + len(label) + 1
    strip: list[Segment] = []
    cross = "✗" if look.glyphs.braille else "!"
    for index, character in enumerate(row):
        is_bad = index - margin in bad
        strip.append(Segment(cross if is_bad else character, look.bad if is_bad else look.quiet))
    return Strip(strip, width).simplify()


def _note(text: str, width: int, height: int, look: Look) -> list[Strip]:
    middle = height // 2
    shown = cut(text, max(0, width - 2), look.glyphs.more)
    note = " " * max(0, (width - width_of(shown)) // 2) + shown
    return [line([(note, look.quiet)] if row == middle else [], width, look.ground) for row in range(height)]


def nearest_index(width: int, x0: float, x1: float, x: float) -> int:
    """Which column of an envelope of `width` columns holds x."""
    share = (x - x0) / (x1 - x0) if x1 > x0 else 0.0
    return max(0, min(width - 1, math.floor(share * width)))
