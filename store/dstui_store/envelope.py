"""A curve of any length as a fixed number of columns: all that a chart needs, and all that leaves the worker.

Notation: x, y of shape (n,), x ascending; W the number of columns; lo, hi, mean, bad of shape (W,). A column holds the
points between two of W + 1 equal edges of [x0, x1]. Points may have been joined to buckets; a bucket stands at the x of
its last point. Pure: arrays in, arrays out.
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
class Buckets:
    """Consecutive points joined to n buckets; a point is a bucket of its own.

    Attributes:
        lo, hi, mean: least, greatest and mean finite value of each; NaN where there is none.
        last: value of its last point.
        count: how many points it has, None = one each.
    """

    lo: Floats
    hi: Floats
    mean: Floats
    last: Floats
    count: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, chosen: Any) -> Self:
        """Some of them, by index or mask."""
        count = None if self.count is None else self.count[chosen]
        return type(self)(self.lo[chosen], self.hi[chosen], self.mean[chosen], self.last[chosen], count)

    @property
    def points(self) -> int:
        """Points in all of them."""
        return len(self) if self.count is None else int(self.count.sum())

    def above_zero(self) -> Self:
        """Of buckets that reach above zero, what a logarithmic axis can show."""
        mean = np.where(self.mean > 0, self.mean, self.hi)
        return type(self)(np.where(self.lo > 0, self.lo, mean), self.hi, mean, self.last, self.count)


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
        y: Floats | Buckets,
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
        buckets = y if isinstance(y, Buckets) else Buckets(y, y, y, y)
        kept = np.isfinite(buckets.mean)
        bad = _columns_of(x[~kept], borders, width)
        dropped = 0
        if positive:
            below = kept & (buckets.hi <= 0)
            dropped = buckets[below].points
            kept &= ~below
        if not kept.all():
            x, buckets = x[kept], buckets[kept]
        if positive:
            buckets = buckets.above_zero()
        lo, hi, mean, points = _reduce(x, buckets, borders, width)
        _bridge(lo, hi, mean, bad)
        return cls(start, end, lo, hi, mean, bad, points, dropped, *_last(x, buckets))


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


def _reduce(x: Floats, buckets: Buckets, borders: Floats, width: int) -> tuple[Floats, Floats, Floats, int]:
    lo, hi, mean = (np.full(width, np.nan) for _ in range(3))
    edge = _edges_of(x, borders)
    number = np.diff(edge)
    full = np.flatnonzero(number > 0)
    if not len(full):
        return lo, hi, mean, 0
    inside = buckets[edge[0] : edge[-1]]
    # Empty columns between two full ones own no points, so each segment ends where the next full column starts.
    starts = edge[full] - edge[0]
    lo[full] = np.minimum.reduceat(inside.lo, starts)
    hi[full] = np.maximum.reduceat(inside.hi, starts)
    if inside.count is None:
        mean[full] = np.add.reduceat(inside.mean, starts) / number[full]
    else:
        mean[full] = np.add.reduceat(inside.mean * inside.count, starts) / np.add.reduceat(inside.count, starts)
    return lo, hi, mean, inside.points


def _last(x: Floats, buckets: Buckets) -> tuple[float, float]:
    """The last point; of a bucket whose last value is not finite its mean."""
    if not len(x):
        return float("nan"), float("nan")
    last = float(buckets.last[-1])
    return float(x[-1]), last if np.isfinite(last) else float(buckets.mean[-1])


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
