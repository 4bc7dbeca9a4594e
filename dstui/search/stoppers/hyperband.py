"""Hyperband: successive halving in several brackets, from many short trials to a few that are never stopped early.

Source: Li et al., 2018, "Hyperband"; within a bracket trials are judged as they come, as ASHA does. BOHB is the same
with params from a model (samplers/bohb.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dstui.search.history import PAUSED, History, Trial
from dstui.search.reasons import number as figure
from dstui.search.stoppers.rungs import judge, promotable, rungs_from

if TYPE_CHECKING:
    from dstui.search.stoppers.base import Decision
    from dstui.search.sweep import Sweep


@dataclass(frozen=True)
class HyperbandStopper:
    """Brackets s = floor(log_eta(most / least)) .. 0; the first rung of bracket s is `most * eta^-s`.

    Attributes:
        most: the step at which a full trial ends.
        least: the earliest step at which a trial may be judged.
        eta: one in so many goes on.
        pausing: pause instead of stop, for commands that can go on from a checkpoint.
    """

    most: float
    least: float = 1.0
    eta: float = 3.0
    pausing: bool = False
    name: str = "hyperband"

    def __post_init__(self) -> None:
        rungs_from(self.least, self.most, self.eta)

    @property
    def brackets(self) -> list[int]:
        """Their numbers s, the one with the shortest trials first."""
        highest = math.floor(math.log(self.most / self.least) / math.log(self.eta) + 1e-9)
        return list(range(highest, -1, -1))

    @property
    def rungs(self) -> tuple[float, ...]:
        """All rungs of all brackets."""
        return self._rungs_of(self.brackets[0])

    def bracket_of(self, number: int) -> int:
        """The bracket of the trial with that number: each has its share of every round."""
        highest = self.brackets[0]
        shares = [math.ceil((highest + 1) / (s + 1) * self.eta**s - 1e-9) for s in self.brackets]
        place = number % sum(shares)
        for s, share in zip(self.brackets, shares, strict=True):
            if place < share:
                return s
            place -= share
        raise AssertionError("the shares add up")

    def decide(self, sweep: Sweep, history: History, trial: Trial, step: float, value: float) -> Decision:
        """See `Stopper.decide`."""
        bracket = self.bracket_of(trial.key.number)
        return judge(
            sweep,
            trial,
            self._of_bracket(history, bracket),
            step,
            value,
            self._rungs_of(bracket),
            self.eta,
            action="pause" if self.pausing else "stop",
            rule=self._rule(bracket),
        )

    def promotions(self, sweep: Sweep, history: History) -> list[tuple[Trial, Decision]]:
        """See `Stopper.promotions`."""
        found = []
        for bracket in self.brackets:
            trials = self._of_bracket(history, bracket)
            paused = [trial for trial in trials if trial.outcome == PAUSED]
            found += promotable(sweep, paused, trials, self._rungs_of(bracket), self.eta, rule=self._rule(bracket))
        return found

    def first_budget(self, number: int) -> float | None:
        """The first rung of the trial's bracket; the full length in the bracket that is never judged."""
        return (*self._rungs_of(self.bracket_of(number)), self.most)[0]

    def _rungs_of(self, bracket: int) -> tuple[float, ...]:
        return tuple(self.most * self.eta**-s for s in range(bracket, 0, -1))

    def _of_bracket(self, history: History, bracket: int) -> list[Trial]:
        return [trial for trial in history.trials if self.bracket_of(trial.key.number) == bracket]

    def _rule(self, bracket: int) -> str:
        return f"{self.name}, bracket {bracket}, eta {figure(self.eta)}"
