"""Which parameters matter: shares of the objective's variance over the space, with their uncertainty, or none at all.

A share is a total-order Sobol index of a model of the results: the part of the variance that goes away when the
parameter is held, alone (`first`) and together with others (the rest of `total`). Shares can add up to more than 1, as
an interaction counts for each of its parameters.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dstui.search.streams import seed_of, stream
from dstui.search.surfaces import Surface, fit_surface
from dstui.search.surrogate import one_thread

if TYPE_CHECKING:
    from dstui.search.encoding import Floats
    from dstui.search.history import History
    from dstui.search.sweep import Sweep

SAMPLES = 512
PART_SAMPLES = 256
"""Base samples of the indices; a power of 2."""

PARTS = 12
LEFT_OUT = 0.25
"""The uncertainty is a jackknife: so many models, each without this share of the trials."""


@dataclass(frozen=True)
class Share:
    """How much one parameter matters.

    Attributes:
        name: of the parameter.
        total: share of the variance with all its interactions, 0 to 1.
        first: the part of it that it has alone.
        deviation: standard error of `total`, from leaving trials out.
    """

    name: str
    total: float
    first: float
    deviation: float

    @property
    def interaction(self) -> float:
        """The part that it has only together with others."""
        return max(0.0, self.total - self.first)


@dataclass(frozen=True)
class Importance:
    """The shares of all parameters, the largest first; or a refusal, and then no number at all.

    Attributes:
        shares: empty when refused.
        refusal: `not enough evidence (R2 0.21, 18 trials)`, or empty.
        r2: of the model, on left-out trials.
        trials: complete ones behind it.
        model: `gp` or `trees`.
    """

    shares: tuple[Share, ...]
    refusal: str
    r2: float | None
    trials: int
    model: str = ""


def importance(sweep: Sweep, history: History) -> Importance:
    """How much each parameter that varies matters, as far as the trials can say."""
    fitted = fit_surface(sweep, history)
    if fitted.refusal or fitted.surface is None or fitted.part is None:
        return Importance((), fitted.refusal, fitted.r2, fitted.trials, fitted.model)
    encoding = fitted.encoding
    with one_thread():
        first, total = _indices(fitted.surface, encoding.width, SAMPLES, seed_of(sweep.seed, sweep.lane, 0, "indices"))
        rng = stream(sweep.seed, sweep.lane, fitted.trials, "jackknife")
        left_out = max(1, round(LEFT_OUT * fitted.trials))
        parts = []
        for _ in range(PARTS):
            chosen = np.sort(rng.permutation(fitted.trials)[left_out:])
            seed = seed_of(sweep.seed, sweep.lane, 0, "indices")
            parts.append(_indices(fitted.part(chosen), encoding.width, PART_SAMPLES, seed)[1])
    # The delete-d jackknife: parts that share most of their rows differ less than fresh samples would.
    grow = (fitted.trials - left_out) / left_out
    deviation = np.sqrt(grow * np.var(np.array(parts), axis=0))
    shares = [
        Share(
            parameter.name,
            total=round(float(total[column]), 4),
            first=round(min(float(first[column]), float(total[column])), 4),
            deviation=round(float(deviation[column]), 4),
        )
        for column, parameter in enumerate(encoding.parameters)
    ]
    shares.sort(key=lambda share: (-share.total, share.name))
    return Importance(tuple(shares), "", fitted.r2, fitted.trials, fitted.model)


def _indices(surface: Surface, width: int, samples: int, seed: int) -> tuple[Floats, Floats]:
    """First- and total-order Sobol indices of a surface over the unit cube, each in [0, 1]."""
    from scipy.stats import sobol_indices, uniform

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = sobol_indices(
            func=lambda columns: surface(columns.T)[None, :],
            n=samples,
            dists=[uniform(0, 1)] * width,
            random_state=np.random.Generator(np.random.PCG64(seed)),
        )
    # A surface that is flat everywhere has no variance to share.
    first, total = (np.clip(np.nan_to_num(np.ravel(index)), 0, 1) for index in (found.first_order, found.total_order))
    return first, total
