"""ASHA, asynchronous successive halving: at each rung the best 1/eta of those seen so far go on.

Source: Li et al., 2020, "A system for massively parallel hyperparameter tuning". Trials are judged as they come, so no
device waits for a rung to fill; the first ones at a rung go on since there is nothing to compare them with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dstui.search.history import PAUSED, History, Trial
from dstui.search.reasons import number
from dstui.search.stoppers.rungs import judge, promotable, rungs_from

if TYPE_CHECKING:
    from dstui.search.stoppers.base import Action, Decision
    from dstui.search.sweep import Sweep


@dataclass(frozen=True)
class AshaStopper:
    """Rungs at `least * eta^k`.

    Attributes:
        least: the first rung, in the unit of the logged steps.
        most: where a full trial ends; None when that is not known.
        eta: one in so many goes on.
        pausing: pause instead of stop, for commands that can go on from a checkpoint.
    """

    least: float = 1.0
    most: float | None = None
    eta: float = 3.0
    pausing: bool = False
    name: str = "asha"

    def __post_init__(self) -> None:
        rungs_from(self.least, self.most, self.eta)

    @property
    def rungs(self) -> tuple[float, ...]:
        """Where trials are compared."""
        return rungs_from(self.least, self.most, self.eta)

    def decide(self, sweep: Sweep, history: History, trial: Trial, step: float, value: float) -> Decision:
        """See `Stopper.decide`."""
        action: Action = "pause" if self.pausing else "stop"
        return judge(sweep, trial, history.trials, step, value, self.rungs, self.eta, action=action, rule=self._rule())

    def promotions(self, sweep: Sweep, history: History) -> list[tuple[Trial, Decision]]:
        """See `Stopper.promotions`."""
        paused = history.having(PAUSED)
        return promotable(sweep, paused, list(history.trials), self.rungs, self.eta, rule=self._rule())

    def first_budget(self, number: int) -> float | None:
        """None: the same for all."""
        return None

    def _rule(self) -> str:
        return f"{self.name}, eta {number(self.eta)}"
