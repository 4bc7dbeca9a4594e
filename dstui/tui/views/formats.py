"""Numbers of columns and axes. What stands alone is written by `dstui.units`. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from dstui.units import DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS, format_age, format_duration

SIGNIFICANT = 4
"""Digits of the largest number of a column with decimals."""


@dataclass(frozen=True)
class NumberFormat:
    """How all numbers of one column are written, so that their digits stand under each other.

    Attributes:
        kind: "d" integers, "f" fixed decimals, "e" powers of ten.
        decimals: digits after the point.
    """

    kind: str = "f"
    decimals: int = 4

    def text(self, value: float) -> str:
        """The number, "nan" and "inf" included."""
        if not math.isfinite(value):
            return f"{value:.0f}"
        if self.kind == "e":
            return short_exponent(value, self.decimals)
        if self.kind == "d" and value.is_integer():
            return f"{int(value)}"
        return f"{value:.{self.decimals}f}"


def number_format(values: Iterable[float]) -> NumberFormat:
    """The format that shows these values best: whole numbers plainly, wide ranges as powers of ten."""
    sizes = [abs(value) for value in values if math.isfinite(value)]
    largest = max(sizes, default=0.0)
    if all(size.is_integer() for size in sizes) and largest < 1e9:
        return NumberFormat("d", 4)
    smallest = min((size for size in sizes if size), default=1.0)
    if smallest < 1e-3 or largest >= 1e6:
        return NumberFormat("e", 1)
    whole = max(0, math.floor(math.log10(largest))) if largest else 0
    return NumberFormat("f", max(1, SIGNIFICANT - whole))


def exact_format(values: Iterable[float]) -> NumberFormat:
    """The format that shows these values as they were written, in at most four decimals; for params."""
    chosen = list(values)
    rough = number_format(chosen)
    if rough.kind != "f":
        return rough
    for decimals in range(1, rough.decimals):
        if all(not math.isfinite(value) or abs(round(value, decimals) - value) < 1e-9 for value in chosen):
            return NumberFormat("f", decimals)
    return rough


def short_exponent(value: float, decimals: int) -> str:
    """A power of ten without the padding of C: `3.0e-4`."""
    mantissa, _, exponent = f"{value:.{decimals}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def compact(value: float) -> str:
    """A number for the axis of a chart: `0`, `0.25`, `10k`, `1.5M`, `1e-5`."""
    size = abs(value)
    if size >= 1e15 or (0 < size < 1e-4):
        whole = abs(size / 10.0 ** math.floor(math.log10(size)) % 1) < 1e-6
        return short_exponent(value, 0 if whole else 1)
    for limit, scale, letter in ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= limit:
            return f"{value / scale:.4g}{letter}"
    return f"{value:.4g}"


def axis_time(seconds: float) -> str:
    """A length of time for an axis: `0`, `30s`, `10m`, `2h`, `1d`."""
    for size, letter in ((DAY_SECONDS, "d"), (HOUR_SECONDS, "h"), (MINUTE_SECONDS, "m")):
        if seconds >= size:
            return f"{seconds / size:.4g}{letter}"
    return f"{seconds:.4g}s" if seconds else "0"


def table_age(seconds: float | None) -> str:
    """An age in whole minutes at least: what changes each second would keep an idle screen busy."""
    return format_age(0.0 if seconds is not None and 0 <= seconds < MINUTE_SECONDS else seconds)


def running_time(seconds: float) -> str:
    """How long something has gone on, in whole minutes for the same reason: `0m`, `41m`, `2h11m`, `3d04h`."""
    if seconds < HOUR_SECONDS:
        return f"{max(0, int(seconds)) // MINUTE_SECONDS}m"
    return format_duration(int(seconds) // MINUTE_SECONDS * MINUTE_SECONDS)


def ticks(lowest: float, highest: float, most: int) -> list[float]:
    """Round values 1, 2 or 5 times a power of ten within the range, at most about `most` of them."""
    span = highest - lowest
    if not (span > 0 and math.isfinite(span)) or most < 1:
        return [lowest]
    rough = span / most
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))
    first = math.ceil(lowest / step - 1e-9)
    last = math.floor(highest / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def time_ticks(highest: float, most: int) -> list[float]:
    """Round lengths of time from 0 on: seconds, minutes, hours or days."""
    steps = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800)
    rough = highest / max(1, most)
    step = next((step for step in steps if step >= rough), 604_800 * max(1, math.ceil(rough / 604_800)))
    return [float(index * step) for index in range(int(highest // step) + 1)]
