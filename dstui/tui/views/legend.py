"""The names of a chart's lines with their values: the last ones, or those under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dstui.tui.views.cells import Part, width_of
from dstui.tui.views.plot import MARKS, Series, nearest_index
from dstui.units import format_number

if TYPE_CHECKING:
    from dstui.tui.theme import Look


def legend(series: Sequence[Series], width: int, look: Look, cursor: float | None) -> list[Part]:
    """`━ train 0.241  ━ val 0.2333`, as many as fit; of a single line the value alone."""
    parts: list[Part] = []
    left = width
    for index, item in enumerate(series):
        value = format_number(value_at(item, cursor), keep_zeros=True)
        sign = "━" if look.glyphs.braille else MARKS[index % len(MARKS)]
        text = f" {item.label} {value}" if len(series) > 1 else f" {value}"
        if width_of(text) + 3 > left:
            break
        parts += [(f" {sign}", look.series[item.colour % len(look.series)]), (text + " ", look.text)]
        left -= width_of(text) + 3
    return parts


def value_at(series: Series, cursor: float | None) -> float | None:
    """The mean of the column under the cursor, or the last value."""
    envelope = series.envelope
    if cursor is None:
        return envelope.last_y
    value = float(envelope.mean[nearest_index(len(envelope.mean), envelope.x0, envelope.x1, cursor)])
    return None if value != value else value
