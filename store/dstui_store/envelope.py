"""A curve of any length as a fixed number of columns: all that a chart needs, and all that leaves the worker.

Notation: x, y of shape (n,), x ascending; W the number of columns; lo, hi, mean, bad of shape (W,). A column holds the
points between two of W + 1 equal edges of [x0, x1]. Pure: arrays in, arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np  # noqa: TID253  arrays are all it is about, and it is imported late itself

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAX_WIDTH = 4_096
"""Most columns of one envelope; twice as wide as any terminal is."""


@dataclass(frozen=True)
class Envelope:
    """One curve in W columns between `x0` and `x1`.

    Attributes:
        lo, hi, mean: least, greatest and mean finite value per column; NaN where there is none. `mean` (and with it
            `lo`, `hi`) is bridged by a straight line over empty columns, except where `bad` lies between.
        bad: columns with a value that is not finite.
        points: finite values in the range.
        dropped: values left out because the axis is logarithmic and they are not positive.
        last_x, last_y: the last finite point, NaN without one.
    """

    x0: float
    x1: float
    lo: Floats
    hi: Floats
    mean: Floats
    bad: NDArray[np.bool_]
    points: int
    dropped: int
    last_x: float
    last_y: float

    @classmethod
    def of(
        cls,
        x: Floats,
        y: Floats,
        width: int,
        x0: float | None = None,
        x1: float | None = None,
        *,
        positive: bool = False,
    ) -> Self:
        """The curve in `width` columns between `x0` and `x1` (default: all of it); `positive` drops y <= 0.

        Raises:
            ValueError: `width` is not within 1 to `MAX_WIDTH`.
        """
        if not 1 <= width <= MAX_WIDTH:
            raise ValueError(f"An envelope has 1 to {MAX_WIDTH} columns, not {width}")
        start = float(x[0]) if x0 is None and len(x) else float(x0 or 0.0)
        end = float(x[-1]) if x1 is None and len(x) else float(x1 or 0.0)
        borders = np.linspace(start, end, width + 1)
        finite = np.isfinite(y)
        dropped = 0
        if positive:
            below = finite & (y <= 0)
            dropped = int(below.sum())
            kept = finite & ~below
        else:
            kept = finite
        bad = _columns_of(x[~finite], borders, width)
        if not kept.all():
            x, y = x[kept], y[kept]
        lo, hi, mean, points = _reduce(x, y, borders, width)
        _bridge(lo, hi, mean, bad)
        last_x, last_y = (float(x[-1]), float(y[-1])) if len(x) else (float("nan"), float("nan"))
        return cls(start, end, lo, hi, mean, bad, points, dropped, last_x, last_y)


def order(step: Any, time: Any, value: Floats, axis: str) -> tuple[Floats, Floats]:
    """(x, y) with x ascending.

    On the axis `step` the last record of equal steps wins, since a resumed run repeats steps; on `time` every point
    stays, and x counts seconds from the first one.
    """
    if axis == "time":
        x = np.asarray(time, np.float64)
        x = x - x.min() if len(x) else x
        if _ascending(x):
            return x, value
        by_time = np.argsort(x, kind="stable")
        return x[by_time], value[by_time]
    x = np.asarray(step, np.float64)
    if not _ascending(x):
        by_step = np.argsort(x, kind="stable")
        x, value = x[by_step], value[by_step]
    kept = np.append(np.diff(x) > 0, True) if len(x) else np.zeros(0, bool)
    return (x, value) if kept.all() else (x[kept], value[kept])


def _ascending(x: Floats) -> bool:
    return bool((x[1:] >= x[:-1]).all())


def _edges_of(x: Floats, borders: Floats) -> NDArray[np.int64]:
    """Where each column starts in x; the last border takes its own points in."""
    edge = np.searchsorted(x, borders)
    edge[-1] = np.searchsorted(x, borders[-1], side="right")
    return edge


def _columns_of(x: Floats, borders: Floats, width: int) -> NDArray[np.bool_]:
    """Which columns hold at least one of these points."""
    return np.diff(_edges_of(x, borders)) > 0 if len(x) else np.zeros(width, bool)


def _reduce(x: Floats, y: Floats, borders: Floats, width: int) -> tuple[Floats, Floats, Floats, int]:
    lo, hi, mean = (np.full(width, np.nan) for _ in range(3))
    edge = _edges_of(x, borders)
    count = np.diff(edge)
    full = np.flatnonzero(count > 0)
    if len(full):
        inside = y[edge[0] : edge[-1]]
        # Empty columns between two full ones own no points, so each segment ends where the next full column starts.
        starts = edge[full] - edge[0]
        lo[full] = np.minimum.reduceat(inside, starts)
        hi[full] = np.maximum.reduceat(inside, starts)
        mean[full] = np.add.reduceat(inside, starts) / count[full]
    return lo, hi, mean, int(count.sum())


def _bridge(lo: Floats, hi: Floats, mean: Floats, bad: NDArray[np.bool_]) -> None:
    """Fills empty columns between full ones from the means, but never across a bad one."""
    full = np.flatnonzero(~np.isnan(mean))
    if len(full) < 2:
        return
    inside = np.arange(full[0], full[-1] + 1)
    empty = inside[np.isnan(mean[inside])]
    if not len(empty):
        return
    wrong = np.flatnonzero(bad & np.isnan(mean))
    if len(wrong):
        before = full[np.searchsorted(full, empty) - 1]
        after = full[np.searchsorted(full, empty)]
        between = np.searchsorted(wrong, after) - np.searchsorted(wrong, before)
        empty = empty[between == 0]
    mean[empty] = np.interp(empty, full, mean[full])
    lo[empty] = hi[empty] = mean[empty]
