"""What a sampler needs to know of a sweep, and what it gives back: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dstui.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dstui.search.space import Point, Space

DEFAULT_TRIALS = 50
"""How many trials a sweep has where no limit is given."""

MAX_TRIALS = 100_000
"""More than this in one sweep is refused."""


@dataclass(frozen=True)
class Start:
    """A point that an earlier sweep recommends, with the sentence that says why."""

    point: Point
    evidence: str


@dataclass(frozen=True)
class Sweep:
    """One search: the space, the direction, and what proposals may depend on.

    Attributes:
        space: where to search.
        maximize: whether a larger objective is better.
        seed: any whole number; all random draws come from it.
        trials: how many are planned.
        parallel: how many run at once.
        lane: who proposes: `0` for the creator of the sweep, another writer's name elsewhere.
        rungs: steps at which a stopper compares trials, rising; empty without such a stopper.
        starts: points of earlier sweeps that take the place of the design's last ones.
    """

    space: Space
    maximize: bool = False
    seed: int = 0
    trials: int = DEFAULT_TRIALS
    parallel: int = 1
    lane: str = "0"
    rungs: tuple[float, ...] = ()
    starts: tuple[Start, ...] = ()

    def __post_init__(self) -> None:
        for name, most in (("trials", MAX_TRIALS), ("parallel", 10_000)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise UsageError(f"`{name}` is {value}", hint=f"give a whole number from 1 to {most}")

    @property
    def design_size(self) -> int:
        """How many trials come before the first that a model proposes."""
        return max(min(len(self.space.searched) + 3, 10), min(self.parallel, 8))


@dataclass(frozen=True)
class Suggestion:
    """What the next trial should try.

    Attributes:
        point: all parameters, None where one does not count.
        origin: `design model random grid genetic history fallback`.
        reason: one sentence of at most 160 characters, from the numbers that decided.
        model: what a model thought and what it needs to start from next time; JSON-able; None without a model.
        budget: steps after which the trial is first judged; None when it may run to its end.
    """

    point: Point
    origin: str
    reason: str
    model: Mapping[str, Any] | None = None
    budget: float | None = None
