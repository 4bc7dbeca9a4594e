"""Every point of a finite space once, in a shuffled order, so that a grid cut short is a fair sample of it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from dstui.errors import UsageError
from dstui.search.samplers.base import seen_points
from dstui.search.space import Point, Space, names_of
from dstui.search.streams import stream
from dstui.search.sweep import Suggestion, Sweep

if TYPE_CHECKING:
    from dstui.search.history import History

LARGEST = 100_000
"""Points of the largest grid."""


class GridSampler:
    """Goes through the whole space."""

    name = "grid"

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        """See `Sampler.suggest`.

        Raises:
            UsageError: the space has no end or is larger than `LARGEST`.
        """
        seen = seen_points(sweep, history)
        points = _shuffled(sweep.space, sweep.seed)
        suggestions: list[Suggestion] = []
        for place, point in enumerate(points):
            if len(suggestions) == n:
                break
            if sweep.space.key(point) not in seen:
                reason = f"point {place + 1} of {len(points)} of the grid, in shuffled order"
                suggestions.append(Suggestion(dict(point), "grid", reason))
        return suggestions


def grid_size(space: Space) -> int:
    """How many points a grid over this space has.

    Raises:
        UsageError: a parameter is continuous, or there are more than `LARGEST` points.
    """
    endless = [parameter for parameter in space.searched if parameter.count is None]
    if endless:
        name = endless[0].name
        raise UsageError(
            f"A grid needs finite parameters, but {names_of(endless)} can be any number of a range",
            hint=f"give a step, `{name}=LOW..HIGH/STEP`, or a list of values, `{name}=a,b,c`",
        )
    size = space.size(LARGEST)
    if size is None:
        raise UsageError(
            f"The grid has more than {LARGEST} points", hint="use larger steps, or another sampler such as `bayes`"
        )
    return size


@lru_cache(maxsize=4)
def _shuffled(space: Space, seed: int) -> tuple[Point, ...]:
    grid_size(space)
    points = list(space.points())
    order = stream(seed, "", 0, "grid").permutation(len(points))
    return tuple(points[place] for place in order)
