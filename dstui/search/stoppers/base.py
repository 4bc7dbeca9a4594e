"""What every stopper promises: a pure decision on one trial after one logged value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from dstui.search.history import History, Trial
    from dstui.search.sweep import Sweep

Action = Literal["continue", "stop", "pause", "promote"]


@dataclass(frozen=True)
class Decision:
    """What should happen to a trial, and why.

    Attributes:
        action: `continue`; `stop` for good; `pause` until it is promoted; `promote` a paused one to go on.
        reason: one sentence of at most 160 characters, from the numbers that decided.
    """

    action: Action
    reason: str

    @property
    def ends(self) -> bool:
        """Whether the trial gives its device back."""
        return self.action in ("stop", "pause")


@runtime_checkable
class Stopper(Protocol):
    """Judges trials while they run.

    It keeps no state and changes nothing; the same arguments give the same decision in any process. It is called by one
    thread at a time.
    """

    @property
    def name(self) -> str:
        """As in `stop = "NAME"`."""

    @property
    def rungs(self) -> tuple[float, ...]:
        """Steps at which trials are compared, rising; empty where it compares at every step."""

    def decide(self, sweep: Sweep, history: History, trial: Trial, step: float, value: float) -> Decision:
        """What to do with a trial that has just logged `value` at `step`.

        Args:
            sweep: for the direction.
            history: all trials; this one may be in it, with or without the new value.
            trial: the one that logged.
            step: where it is; later than all it logged before.
            value: the objective there; one that is not finite decides nothing.
        """

    def promotions(self, sweep: Sweep, history: History) -> list[tuple[Trial, Decision]]:
        """Paused trials that should go on now, the most promising first."""

    def first_budget(self, number: int) -> float | None:
        """The step at which the trial of that number is first judged; None when that does not depend on it."""


GO_ON = Decision("continue", "")
"""Nothing to decide."""
