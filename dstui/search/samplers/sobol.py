"""Scrambled Sobol points: they fill a space more evenly than random ones, and stand in where a model cannot act."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

from dstui.search.encoding import Encoding, Floats
from dstui.search.reasons import sentence
from dstui.search.samplers.base import seen_points
from dstui.search.samplers.unseen import unseen_point
from dstui.search.streams import seed_of, stream
from dstui.search.sweep import Suggestion, Sweep

if TYPE_CHECKING:
    from collections.abc import Collection

    from dstui.search.history import History
    from dstui.search.space import Point, PointKey

BLOCK = 64
"""Points are made in blocks of this size and kept; a power of 2, as the sequence wants it."""


class SobolSampler:
    """Trial number n gets the n-th point of one scrambled Sobol sequence."""

    name = "sobol"

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        """See `Sampler.suggest`."""
        encoding, seen = Encoding(sweep.space), seen_points(sweep, history)
        first = history.next_number(sweep.lane)
        suggestions: list[Suggestion] = []
        for number in range(first, first + n):
            suggestion = sobol_suggestion(sweep, encoding, seen, number)
            if suggestion is None:
                break
            seen.add(sweep.space.key(suggestion.point))
            suggestions.append(suggestion)
        return suggestions


def sobol_suggestion(
    sweep: Sweep, encoding: Encoding, seen: Collection[PointKey], number: int, *, origin: str = "design", why: str = ""
) -> Suggestion | None:
    """The Sobol point of a trial number, or a random one where that was seen; None when all points were."""
    point = sobol_point(sweep, encoding, number)
    reason = f"point {number + 1} of an even spread over the space"
    if sweep.space.key(point) in seen:
        unseen = unseen_point(encoding, seen, stream(sweep.seed, sweep.lane, number, "sobol"))
        if unseen is None:
            return None
        point, reason = unseen, "a random draw, since the spread's own point was tried"
    return Suggestion(point, origin, sentence(f"{why}; {reason}" if why else reason))


def sobol_point(sweep: Sweep, encoding: Encoding, number: int) -> Point:
    """The point with that place in the sweep's sequence, whether seen or not."""
    if not encoding.width:
        return next(sweep.space.points())
    row = _block(sweep.seed, sweep.lane, encoding.width, number // BLOCK)[number % BLOCK]
    return encoding.point(encoding.snap(row[None, :])[0])


@lru_cache(maxsize=16)
def _block(seed: int, lane: str, width: int, place: int) -> Floats:
    import numpy as np
    from scipy.stats import qmc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generator = np.random.Generator(np.random.PCG64(seed_of(seed, lane, 0, "design")))
        sequence = qmc.Sobol(width, scramble=True, seed=generator)
        if place:
            sequence.fast_forward(place * BLOCK)
        block: Floats = sequence.random(BLOCK)
    return block
