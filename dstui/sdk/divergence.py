"""When a metric stopped being a number, or a loss left its best value behind. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dstui.sdk.views.lines import lower_is_better
from dstui.units import format_number

DIVERGED_TIMES = 4.0
"""A loss that ends this many times above its best value has diverged, if it also ends above its first."""


@dataclass(frozen=True)
class Curve:
    """The points of one metric in order of time."""

    steps: Sequence[int]
    values: Sequence[float]


def broken(name: str, curve: Curve) -> str | None:
    """When a metric stopped being a number for good, in words; None when it did not."""
    place = len(curve.values)
    while place and not math.isfinite(curve.values[place - 1]):
        place -= 1
    if place == len(curve.values):
        return None
    word = "NaN" if math.isnan(curve.values[place]) else "infinite"
    since = f"{name} is {word} since step {curve.steps[place]:,}"
    if not place:
        return f"{since}, from its first value on"
    return f"{since}; the last number was {format_number(curve.values[place - 1])} at step {curve.steps[place - 1]:,}"


def diverged(name: str, curve: Curve) -> str | None:
    """That a value where less is better has risen far above its best, in words; None when it has not."""
    values = [(value, step) for value, step in zip(curve.values, curve.steps, strict=True) if math.isfinite(value)]
    if len(values) < 3 or not lower_is_better(name):
        return None
    best, best_step = min(values)
    last, last_step = values[-1]
    rise = last - best
    if best < 0 or last <= values[0][0] or rise <= 0 or last < DIVERGED_TIMES * best:
        return None
    return (
        f"{name} rose from its best {format_number(best)} at step {best_step:,} to {format_number(last)}"
        f" at step {last_step:,}"
    )
