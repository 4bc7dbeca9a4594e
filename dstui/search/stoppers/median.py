"""Median stopping: a trial that is worse than most finished ones were at the same step is ended."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from dstui.search.history import COMPLETE, Curve, History, Trial, loss
from dstui.search.reasons import number, sentence
from dstui.search.stoppers.base import GO_ON, Decision

if TYPE_CHECKING:
    from dstui.search.sweep import Sweep

FINISHED = 5
"""Below this many finished trials the median is noise."""
GRACE_SHARE = 0.1
GRACE_VALUES = 5
"""A trial is judged after this share of its longest run, or, where that is not known, after so many values."""


@dataclass(frozen=True)
class MedianStopper:
    """Compares the best so far, so that one bad step does not end a good trial."""

    grace: float | None = None
    longest: float | None = None
    name: str = "median"
    rungs: tuple[float, ...] = ()

    def decide(self, sweep: Sweep, history: History, trial: Trial, step: float, value: float) -> Decision:
        """See `Stopper.decide`."""
        curve = trial.logged(step, value).curve
        grace = self.grace
        if grace is None and self.longest is not None:
            grace = GRACE_SHARE * self.longest
        if step < grace if grace is not None else len(curve) < GRACE_VALUES:
            return GO_ON
        others = [
            best
            for other in history.having(COMPLETE)
            if other.key != trial.key and (best := _best_until(other.curve, step, sweep.maximize)) is not None
        ]
        own = _best_until(curve, step, sweep.maximize)
        if own is None or len(others) < FINISHED or own <= median(others):
            return GO_ON
        sign = -1.0 if sweep.maximize else 1.0
        return Decision(
            "stop",
            sentence(
                f"step {number(step)}: best so far {number(sign * own)} is worse than {number(sign * median(others))}, "
                f"the median of {len(others)} finished trials there"
            ),
        )

    def promotions(self, sweep: Sweep, history: History) -> list[tuple[Trial, Decision]]:
        """None: it pauses nothing."""
        return []

    def first_budget(self, number: int) -> float | None:
        """None: it judges at every step."""
        return None


def _best_until(curve: Curve, step: float, maximize: bool) -> float | None:
    """The least loss of a curve up to a step, or None when it has none there."""
    return min((loss(value, maximize=maximize) for at, value in curve if at <= step), default=None)
