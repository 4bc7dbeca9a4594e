"""BOHB: the params of a Hyperband sweep from the model of the highest rung that says enough, each third one spread.

The brackets and their budgets are the stopper's (stoppers/hyperband.py); this is where their trials go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dstui.search.encoding import Encoding
from dstui.search.samplers.base import seen_points
from dstui.search.samplers.bayes import BayesSampler
from dstui.search.samplers.sobol import sobol_suggestion

if TYPE_CHECKING:
    from dstui.search.history import History
    from dstui.search.sweep import Suggestion, Sweep

SPREAD_EVERY = 3
"""Each so-manieth trial is a Sobol point, so that a misleading low rung cannot lead the whole sweep astray."""


class BohbSampler:
    """Bayes with a share of spread points; the rung rule is in evidence.py."""

    name = "bohb"

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        """See `Sampler.suggest`."""
        suggestions: list[Suggestion] = []
        encoding, seen = Encoding(sweep.space), seen_points(sweep, history)
        first = history.next_number(sweep.lane)
        modelled = iter(BayesSampler().suggest(sweep, history, n))
        for number in range(first, first + n):
            suggestion = None
            if number % SPREAD_EVERY == SPREAD_EVERY - 1:
                suggestion = sobol_suggestion(
                    sweep, encoding, seen, number, why=f"each {SPREAD_EVERY}rd trial is not the model's"
                )
            if suggestion is None:
                suggestion = next((one for one in modelled if sweep.space.key(one.point) not in seen), None)
            if suggestion is None:
                suggestion = sobol_suggestion(sweep, encoding, seen, number)
            if suggestion is None:
                break
            seen.add(sweep.space.key(suggestion.point))
            suggestions.append(suggestion)
        return suggestions
