"""A genetic search: parents from the best trials, crossed and mutated. For long sweeps, where a model would be slow.

There are no generations to wait for: each proposal is bred from the history as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dstui.search.encoding import Encoding, Floats
from dstui.search.evidence import gather
from dstui.search.parameters import Choice
from dstui.search.samplers.base import seen_points
from dstui.search.samplers.sobol import sobol_suggestion
from dstui.search.samplers.unseen import unseen_point
from dstui.search.streams import stream
from dstui.search.sweep import Suggestion, Sweep

if TYPE_CHECKING:
    from dstui.search.history import History

PARENTS = 40
"""Parents come from so many of the best trials."""
TOURNAMENT = 3
"""The best of so many drawn is a parent."""
SPREAD = 0.1
"""Deviation of a mutation, in the unit cube."""
TRIES = 32
"""Children bred for one proposal before a random point takes its place."""


class GeneticSampler:
    """Breeds each point from two good ones."""

    name = "genetic"

    def suggest(self, sweep: Sweep, history: History, n: int) -> list[Suggestion]:
        """See `Sampler.suggest`."""
        encoding, seen = Encoding(sweep.space), seen_points(sweep, history)
        evidence = gather(sweep, history)
        ranked = sorted(range(len(evidence.rows)), key=lambda row: evidence.losses[row])[:PARENTS]
        best = [evidence.rows[row] for row in ranked]
        rows = encoding.locate([trial.point for trial in best])
        first = history.next_number(sweep.lane)
        suggestions: list[Suggestion] = []
        for number in range(first, first + n):
            suggestion: Suggestion | None = None
            if len(history) + len(suggestions) < sweep.design_size or len(rows) < 2 or not encoding.width:
                suggestion = sobol_suggestion(sweep, encoding, seen, number)
            else:
                rng = stream(sweep.seed, sweep.lane, number, "genetic")
                for _ in range(TRIES):
                    mother, father = _parents(len(rows), rng)
                    point = encoding.point(encoding.snap(_child(encoding, rows[mother], rows[father], rng))[0])
                    if sweep.space.key(point) not in seen:
                        names = f"{best[mother].key.number} and {best[father].key.number}"
                        suggestion = Suggestion(point, "genetic", f"bred from trials {names}")
                        break
                else:
                    unseen = unseen_point(encoding, seen, rng)
                    if unseen is not None:
                        suggestion = Suggestion(unseen, "random", "a random draw, as all children were tried before")
            if suggestion is None:
                break
            seen.add(sweep.space.key(suggestion.point))
            suggestions.append(suggestion)
        return suggestions


def _parents(number: int, rng: np.random.Generator) -> tuple[int, int]:
    """Two different places of a list sorted best first; each is the best of a few drawn."""
    mother = int(rng.integers(number, size=TOURNAMENT).min())
    father = int(rng.integers(number - 1, size=TOURNAMENT).min())
    return mother, father + (father >= mother)


def _child(encoding: Encoding, mother: Floats, father: Floats, rng: np.random.Generator) -> Floats:
    """U of shape (1, d): each parameter from one parent, about one of them changed."""
    child = np.where(rng.random(encoding.width) < 0.5, mother, father)
    mutated = rng.random(encoding.width) < 1.0 / encoding.width
    mutated[rng.integers(encoding.width)] |= bool(np.array_equal(mother, father))
    for column, parameter in enumerate(encoding.parameters):
        if not mutated[column]:
            continue
        if isinstance(parameter, Choice) and not parameter.ordered:
            child[column] = rng.random()
        else:
            child[column] = 1.0 - abs(1.0 - abs(child[column] + SPREAD * rng.standard_normal()))
    return np.clip(child, 0.0, 1.0)[None, :]
