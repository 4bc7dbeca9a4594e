"""Patience: a trial that has not improved for some values in a row has nothing more to give."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dstui.search.history import History, Trial, loss
from dstui.search.reasons import number, sentence
from dstui.search.stoppers.base import GO_ON, Decision

if TYPE_CHECKING:
    from dstui.search.sweep import Sweep


@dataclass(frozen=True)
class PatienceStopper:
    """Stops a trial after `patience` logged values without an improvement of more than `min_delta`."""

    patience: int = 5
    min_delta: float = 0.0
    name: str = "patience"
    rungs: tuple[float, ...] = ()

    def decide(self, sweep: Sweep, history: History, trial: Trial, step: float, value: float) -> Decision:
        """See `Stopper.decide`."""
        curve = trial.logged(step, value).curve
        best, best_step, since = math.inf, step, 0
        for at, seen in curve:
            if loss(seen, maximize=sweep.maximize) < best - self.min_delta:
                best, best_step, since = loss(seen, maximize=sweep.maximize), at, 0
            else:
                since += 1
        if since < self.patience:
            return GO_ON
        shown = number(-best if sweep.maximize else best)
        return Decision(
            "stop",
            sentence(
                f"step {number(step)}: {since} values since the best, {shown} at step {number(best_step)} "
                f"(patience {self.patience})"
            ),
        )

    def promotions(self, sweep: Sweep, history: History) -> list[tuple[Trial, Decision]]:
        """None: it pauses nothing."""
        return []

    def first_budget(self, number: int) -> float | None:
        """None: it judges at every step."""
        return None
