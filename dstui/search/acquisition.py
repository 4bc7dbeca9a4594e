"""How much a candidate promises, and which candidates are looked at.

Notation: m, s, z as in surrogate.py; U, S as in encoding.py. All is minimised; a larger score is a better candidate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_ndtr, ndtr

from dstui.search.parameters import Choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from dstui.search.encoding import Encoding, Floats

UNIFORM = 1000
LOCAL = 500
"""Candidates of the first look: everywhere, and round the best points known."""

LOCAL_CENTERS = 6
LOCAL_STEP = 0.2
CLOSER_LOOKS = ((0.1, 150), (0.02, 150))
"""Then, round the best candidates so far: step and number."""

CLOSER_CENTERS = 4
FLIP = 0.15
"""How often a local candidate takes another choice."""

NOISY = 1e-3
"""A fitted noise variance above this says that the least value seen was luck in part."""


def log_expected_improvement(mean: Floats, deviation: Floats, least: float) -> Floats:
    """Logarithms of the expected improvement, without the underflow that makes EI itself flat far from the optimum.

    Source: the asymptote is that of Ament et al., 2023, "Unexpected improvements to expected improvement".
    """
    t = (least - mean) / deviation
    near = np.maximum(t, -5.0)
    h = np.exp(-0.5 * near * near) / math.sqrt(2 * math.pi) + near * ndtr(near)
    far = np.minimum(t, -5.0)
    log_h = np.where(
        t > -5.0, np.log(np.maximum(h, 1e-300)), -0.5 * far * far - 0.5 * math.log(2 * math.pi) - 2 * np.log(-far)
    )
    result: Floats = np.log(deviation) + log_h
    return result


def confidence_bound(mean: Floats, deviation: Floats, kappa: float) -> Floats:
    """The lower confidence bound, as a score."""
    return -(mean - kappa * deviation)


def probability_of_improvement(mean: float, deviation: float, least: float) -> float:
    """The chance that a point is better than the best one."""
    return float(np.exp(log_ndtr((least - mean) / deviation)))


def candidates(
    encoding: Encoding, centers: Floats, rng: np.random.Generator, score: Callable[[Floats], Floats]
) -> tuple[Floats, Floats]:
    """Snapped candidates and their scores, best first.

    Args:
        encoding: of the space.
        centers: S of the points known, best first; may be empty.
        rng: where the draws come from.
        score: gives each row of S a score.
    """
    looks = [rng.random((UNIFORM, encoding.width))]
    if len(centers):
        steps = LOCAL_STEP * 10.0 ** -rng.random((LOCAL, 1))
        looks.append(_around(encoding, centers[:LOCAL_CENTERS], steps, rng))
    rows = encoding.snap(np.concatenate(looks))
    scores = score(rows)
    for step, number in CLOSER_LOOKS:
        best = rows[np.argsort(-scores, kind="stable")[:CLOSER_CENTERS]]
        more = encoding.snap(_around(encoding, best, np.full((number, 1), step), rng))
        rows, scores = np.concatenate([rows, more]), np.concatenate([scores, score(more)])
    order = np.argsort(-scores, kind="stable")
    return rows[order], scores[order]


def _around(encoding: Encoding, centers: Floats, steps: Floats, rng: np.random.Generator) -> Floats:
    """U near the centers, taken in turn, one row per step."""
    number, width = len(steps), encoding.width
    rows = centers[np.arange(number) % len(centers)]
    moved = rng.random((number, width)) < min(1.0, 2.0 / width + 0.2)
    # A row that moves nowhere would be its center again.
    moved[np.arange(number), rng.integers(width, size=number)] = True
    shifted = rows + steps * rng.standard_normal((number, width))
    # Reflected at the bounds: clipping would pile candidates up there.
    shifted = np.abs(shifted)
    shifted = 1.0 - np.abs(1.0 - shifted)
    rows = np.where(moved, np.clip(shifted, 0.0, 1.0), rows)
    fresh, flips = rng.random((number, width)), rng.random((number, width)) < FLIP
    for column, parameter in enumerate(encoding.parameters):
        if isinstance(parameter, Choice) and not parameter.ordered:
            rows[:, column] = np.where(
                flips[:, column], fresh[:, column], centers[np.arange(number) % len(centers), column]
            )
    return rows
