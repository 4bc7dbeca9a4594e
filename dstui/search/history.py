"""What has happened in a sweep so far, as samplers and stoppers see it: trials by key, never by arrival.

A history is a fold over events. The same events in any order give the same history, twice the same event counts once,
and an event that makes no sense is counted and left out: what one broken writer stored must not stop a sweep.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dstui.search.space import Point, Space

PENDING = "pending"
COMPLETE = "complete"
FAILED = "failed"
STOPPED = "stopped"
PAUSED = "paused"
CANCELLED = "cancelled"
ABANDONED = "abandoned"

OUTCOMES = (COMPLETE, STOPPED, FAILED, PAUSED, CANCELLED, ABANDONED)
"""How a trial can have ended, or paused. Where writers disagree on a trial, the first of these that was told holds."""

FAILURES = frozenset({"no-metric", "non-finite", "failed", "oom", "timeout", "killed"})
"""Why a trial failed."""

Curve = tuple[tuple[float, float], ...]
"""(step, value) of the objective, steps rising, values finite."""


@dataclass(frozen=True, order=True)
class TrialKey:
    """Names a trial of a sweep: who proposed it and the how-manieth of theirs it is, from 0. Written `0:17`."""

    lane: str
    number: int

    def __str__(self) -> str:
        return f"{self.lane}:{self.number}"


@dataclass(frozen=True)
class Trial:
    """One trial as far as it is known.

    Attributes:
        key: which one.
        point: its place in the space.
        origin: what made its params: `design model random grid genetic history user retry fallback`.
        reason: one sentence on why these params.
        model: what the model stored with the proposal, or None.
        outcome: `pending`, or one of `OUTCOMES`.
        value: the objective, finite; None unless it is complete, or stopped with a value.
        failure: one of `FAILURES` for a failed trial, else empty.
        curve: the objective by step, as far as it was logged.
    """

    key: TrialKey
    point: Point
    origin: str = "user"
    reason: str = ""
    model: Mapping[str, Any] | None = None
    outcome: str = PENDING
    value: float | None = None
    failure: str = ""
    curve: Curve = ()

    def value_at(self, step: float) -> float | None:
        """The objective at the first logged step that is not below `step`, or None when it was not reached."""
        return next((value for at, value in self.curve if at >= step), None)

    def logged(self, step: float, value: float) -> Trial:
        """The same trial with one more point; one that is not finite changes nothing."""
        if not (math.isfinite(step) and math.isfinite(value)):
            return self
        return replace(self, curve=tuple(sorted({**dict(self.curve), step: value}.items())))


@dataclass(frozen=True)
class Proposed:
    """A trial was given these params."""

    key: TrialKey
    params: Mapping[str, Any]
    origin: str = "user"
    reason: str = ""
    model: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Logged:
    """A trial logged the objective at a step."""

    key: TrialKey
    step: float
    value: float


@dataclass(frozen=True)
class Told:
    """A trial ended or paused: one of `OUTCOMES`, with its value where it has one."""

    key: TrialKey
    outcome: str = COMPLETE
    value: float | None = None
    failure: str = ""


Event = Proposed | Logged | Told


@dataclass(frozen=True)
class History:
    """All trials of a sweep, sorted by key; immutable.

    Attributes:
        trials: at most one per key.
        ignored: how many events made no sense: params outside of the space, unknown outcomes, trials never proposed.
    """

    trials: tuple[Trial, ...] = ()
    ignored: int = 0
    _places: Mapping[TrialKey, int] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.trials, key=lambda trial: trial.key))
        object.__setattr__(self, "trials", ordered)
        object.__setattr__(self, "_places", {trial.key: place for place, trial in enumerate(ordered)})

    @classmethod
    def fold(cls, space: Space, events: Iterable[object]) -> History:
        """The history that these events mean, whatever their order."""
        proposed: dict[TrialKey, Proposed] = {}
        told: dict[TrialKey, Told] = {}
        points: dict[TrialKey, dict[float, float]] = {}
        seen: set[object] = set()
        ignored = 0
        for event in events:
            try:
                mark = repr(event)
                if mark in seen:
                    continue
                seen.add(mark)
                if isinstance(event, Proposed) and _usable(event, space):
                    # Where two differ, the one that sorts first holds, so that the order of arrival does not matter.
                    known = proposed.get(event.key)
                    proposed[event.key] = event if known is None else min(known, event, key=_sort_text)
                elif isinstance(event, Told) and event.outcome in OUTCOMES:
                    event = _cleaned(event)
                    known_end = told.get(event.key)
                    told[event.key] = event if known_end is None else min(known_end, event, key=_rank)
                elif isinstance(event, Logged) and math.isfinite(event.step) and math.isfinite(event.value):
                    curve = points.setdefault(event.key, {})
                    curve[event.step] = min(event.value, curve.get(event.step, math.inf))
                else:
                    ignored += 1
            except (TypeError, ValueError, AttributeError, OverflowError, RecursionError):
                ignored += 1
        ignored += sum(key not in proposed for key in {*told, *points})
        trials = []
        for key, event in proposed.items():
            end = told.get(key, Told(key, PENDING))
            trials.append(
                Trial(
                    key=key,
                    point=space.point(event.params),
                    origin=event.origin,
                    reason=event.reason,
                    model=event.model,
                    outcome=end.outcome,
                    value=end.value,
                    failure=end.failure,
                    curve=tuple(sorted(points.get(key, {}).items())),
                )
            )
        return cls(tuple(trials), ignored)

    def __len__(self) -> int:
        return len(self.trials)

    def find(self, key: TrialKey) -> Trial | None:
        """The trial of that key, or None."""
        place = self._places.get(key)
        return None if place is None else self.trials[place]

    def put(self, trial: Trial) -> History:
        """The same history with this trial, in the place of one with its key."""
        return History((*(other for other in self.trials if other.key != trial.key), trial), self.ignored)

    def next_number(self, lane: str) -> int:
        """The number that the next trial of a lane gets."""
        return max((trial.key.number + 1 for trial in self.trials if trial.key.lane == lane), default=0)

    def having(self, *outcomes: str) -> list[Trial]:
        """The trials with one of these outcomes, by key."""
        return [trial for trial in self.trials if trial.outcome in outcomes]

    def best(self, *, maximize: bool) -> Trial | None:
        """The complete trial with the best value, the first of equals; None when there is none."""
        complete = [trial for trial in self.having(COMPLETE) if trial.value is not None]
        return min(complete, key=lambda trial: loss(trial.value, maximize=maximize), default=None)


def loss(value: float | None, *, maximize: bool) -> float:
    """The value as something to be minimised; infinity for None."""
    if value is None:
        return math.inf
    return -value if maximize else value


def finite(value: object) -> float | None:
    """A plain finite float, or None for all else: NaN, infinities, huge integers, texts."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return float(value) if isinstance(value, bool) else None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    # Beyond this, sums of squares overflow; such a value says no more than infinity does.
    return number if abs(number) < 1e150 else None


def _usable(event: Proposed, space: Space) -> bool:
    number = event.key.number
    return isinstance(number, int) and 0 <= number < 2**31 and space.try_point(event.params) is not None


def _cleaned(told: Told) -> Told:
    """A complete trial without a finite value is a failed one."""
    value = finite(told.value)
    if told.outcome == COMPLETE and value is None:
        return Told(told.key, FAILED, None, "no-metric" if told.value is None else "non-finite")
    if told.outcome == FAILED:
        return Told(told.key, FAILED, None, told.failure if told.failure in FAILURES else "failed")
    return replace(told, value=value, failure="")


def _sort_text(event: Proposed) -> str:
    return json.dumps([dict(event.params), event.origin, event.reason, event.model], sort_keys=True, default=str)


def _rank(told: Told) -> tuple[int, bool, float, str]:
    return OUTCOMES.index(told.outcome), told.value is None, told.value or 0.0, told.failure
