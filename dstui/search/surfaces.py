"""What the results of a sweep say about the objective everywhere: the model behind importance and slices, and its gate.

Two kinds of model are fitted and the one that predicts left-out trials better is asked: the Gaussian process sees
interactions in few trials, the forest copes with jumps. Below the gate there is no answer at all: a model of noise
"finds" shares of up to one half.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dstui.search.encoding import Encoding, Floats
from dstui.search.history import COMPLETE, History, loss
from dstui.search.reasons import plural
from dstui.search.streams import seed_of
from dstui.search.surrogate import Posterior, Warp, extra_trees, fit, one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dstui.search.sweep import Sweep

LEAST_R2 = 0.5
TRIALS_PER_PARAMETER = 4
"""The gate: a model must explain half of the variance of left-out trials, from so many trials per parameter."""

Surface = Callable[[Floats], Floats]
"""Losses at rows of the unit cube U."""


@dataclass(frozen=True)
class Fitted:
    """A model that passed the gate, or why none did.

    Attributes:
        encoding: of the space.
        refusal: `not enough evidence (..)`, or empty.
        r2: share of the variance of left-out trials that the better model explains; None when none was fitted.
        trials: complete trials behind it.
        model: `gp` or `trees`.
        surface: the model's mean.
        part: the same kind of model from some of the rows only.
    """

    encoding: Encoding
    refusal: str
    r2: float | None
    trials: int
    model: str = ""
    surface: Surface | None = None
    part: Callable[[NDArray[np.intp]], Surface] | None = None


def fit_surface(sweep: Sweep, history: History) -> Fitted:
    """The better of both models over the complete trials; failed ones stay out."""
    encoding = Encoding(sweep.space)
    complete = [trial for trial in history.having(COMPLETE) if trial.value is not None]
    number, needed = len(complete), TRIALS_PER_PARAMETER * encoding.width
    if not encoding.width:
        return Fitted(encoding, "no parameter varies", None, number)
    if number < max(needed, 3):
        refusal = f"not enough evidence ({plural(number, 'trial')}, {max(needed, 3)} are needed)"
        return Fitted(encoding, refusal, None, number)
    losses = np.array([loss(trial.value, maximize=sweep.maximize) for trial in complete])
    rows = encoding.encode(encoding.snap(encoding.locate([trial.point for trial in complete])))
    warp = Warp.of(losses)
    cut = np.minimum(losses, warp.ceiling)
    z = warp.apply(losses)
    posterior = fit(rows, z)
    kept = (z.min() - 1.0, z.max() + 1.0)

    def of_process(posterior: Posterior) -> Surface:
        return lambda cube: warp.undo(np.clip(posterior.mean(encoding.encode(encoding.snap(cube))), *kept))

    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_process = _r2(cut, warp.undo(np.clip(posterior.left_out(), *kept)))
        seed = seed_of(sweep.seed, sweep.lane, number, "trees") % 2**32
        trees = extra_trees(rows, cut, seed)
        by_trees = _r2(cut, trees.oob_prediction_)
        r2 = max(by_process, by_trees)
        if not r2 >= LEAST_R2:
            refusal = f"not enough evidence (R2 {max(r2, 0.0):.2f}, {plural(number, 'trial')})"
            return Fitted(encoding, refusal, r2, number)
    if by_process >= by_trees:
        return Fitted(
            encoding,
            "",
            by_process,
            number,
            "gp",
            of_process(posterior),
            lambda chosen: of_process(posterior.of_rows(chosen)),
        )

    def of_trees(forest: object) -> Surface:
        predict: Surface = forest.predict  # type: ignore[attr-defined]  # sklearn has no types
        return lambda cube: predict(encoding.encode(encoding.snap(cube)))

    return Fitted(
        encoding,
        "",
        by_trees,
        number,
        "trees",
        of_trees(trees),
        lambda chosen: of_trees(extra_trees(rows[chosen], cut[chosen], seed)),
    )


def _r2(losses: Floats, predicted: Floats) -> float:
    spread = float(((losses - losses.mean()) ** 2).sum())
    known = np.isfinite(predicted)
    if spread <= 0 or not known.all():
        return 0.0
    return 1.0 - float(((losses - predicted) ** 2).sum()) / spread
