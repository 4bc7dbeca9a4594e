"""Uniform random points: the yardstick of all other samplers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dstui.search.encoding import Encoding
from dstui.search.samplers.base import seen_points
from dstui.search.samplers.unseen import unseen_point
from dstui.search.streams import stream
from dstui.search.sweep import Suggestion, Sweep

if TYPE_CHECKING:
    from dstui.search.history import History


class RandomSampler:
    """Draws each point uniformly from the unit cube, so on the scale of each parameter."""

    name = "random"

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        """See `Sampler.suggest`."""
        encoding, seen = Encoding(sweep.space), seen_points(sweep, history)
        first = history.next_number(sweep.lane)
        suggestions = []
        for number in range(first, first + n):
            point = unseen_point(encoding, seen, stream(sweep.seed, sweep.lane, number, "random"))
            if point is None:
                break
            seen.add(sweep.space.key(point))
            suggestions.append(Suggestion(point, "random", "a random draw"))
        return suggestions
