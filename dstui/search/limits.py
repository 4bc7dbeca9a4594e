"""What ends a sweep: the first limit that is reached, or three failures without a success. Pure decisions."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from dstui.errors import UsageError
from dstui.search.history import ABANDONED, CANCELLED, COMPLETE, FAILED, PENDING, STOPPED, History, loss
from dstui.search.reasons import number, plural, sentence
from dstui.units import format_duration

if TYPE_CHECKING:
    from dstui.search.sweep import Sweep

FAILURES_TO_HOLD = 3
"""So many failures with no success hold a sweep: the command is wrong, not the params."""


@dataclass(frozen=True)
class Limits:
    """When a sweep starts no more trials; None is no limit. Nothing is limited by default but the number of trials.

    Attributes:
        wall_seconds: since the start of the sweep.
        gpu_hours: of all its trials together.
        target: the objective has come so far.
        plateau: so many trials in a row brought nothing better.
    """

    wall_seconds: float | None = None
    gpu_hours: float | None = None
    target: float | None = None
    plateau: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
                raise UsageError(f"Limit `{field.name}` is `{value}`", hint="give it a number")
            if field.name != "target" and value <= 0:
                raise UsageError(f"Limit `{field.name}` is {value}", hint="give it a number above 0, or leave it out")
        if self.plateau is not None and not isinstance(self.plateau, int):
            raise UsageError(f"Limit `plateau` is {self.plateau}", hint="give a whole number of trials")


@dataclass(frozen=True)
class Usage:
    """What a sweep has used so far; the caller measures it."""

    wall_seconds: float = 0.0
    gpu_hours: float = 0.0


def limit_reached(sweep: Sweep, limits: Limits, history: History, usage: Usage) -> str | None:
    """Why no more trials start, in one sentence; None while they may."""
    counted = [trial for trial in history.trials if trial.outcome not in (ABANDONED, CANCELLED)]
    if len(counted) >= sweep.trials:
        return f"all {plural(sweep.trials, 'trial')} were started"
    if limits.wall_seconds is not None and usage.wall_seconds >= limits.wall_seconds:
        return (
            f"the time limit of {format_duration(limits.wall_seconds)} is reached "
            f"({format_duration(usage.wall_seconds)} used, {plural(len(counted), 'trial')})"
        )
    if limits.gpu_hours is not None and usage.gpu_hours >= limits.gpu_hours:
        return f"the limit of {number(limits.gpu_hours)} GPU hours is reached ({number(usage.gpu_hours)} used)"
    best = history.best(maximize=sweep.maximize)
    value = best.value if best else None
    if best and limits.target is not None and _as_good(value, limits.target, sweep):
        return f"trial {best.key.number} reached {number(value)}, the target was {number(limits.target)}"
    if limits.plateau is not None and best is not None:
        since = sum(
            trial.key.number > best.key.number and trial.outcome in (COMPLETE, FAILED, STOPPED)
            for trial in history.trials
        )
        if since >= limits.plateau:
            return (
                f"{plural(since, 'trial')} since trial {best.key.number} ({number(best.value)}) brought nothing better"
            )
    return None


def hold_reason(history: History) -> str | None:
    """Why a sweep should wait for a person: its first trials failed and none succeeded; None while it need not."""
    failed = history.having(FAILED)
    if len(failed) < FAILURES_TO_HOLD or history.having(COMPLETE, STOPPED):
        return None
    causes: dict[str, int] = {}
    for trial in failed:
        causes[trial.failure or "failed"] = causes.get(trial.failure or "failed", 0) + 1
    shown = ", ".join(f"{_CAUSES.get(cause, cause)} ({count})" for cause, count in causes.items())
    return sentence(f"{len(failed)} trials failed and none succeeded: {shown}")


def left_to_start(sweep: Sweep, history: History) -> int:
    """How many trials may start now: devices that are free and trials that are left, whichever is less."""
    running = len(history.having(PENDING))
    counted = sum(trial.outcome not in (ABANDONED, CANCELLED) for trial in history.trials)
    return max(0, min(sweep.parallel - running, sweep.trials - counted))


def _as_good(value: float | None, target: float, sweep: Sweep) -> bool:
    return loss(value, maximize=sweep.maximize) <= loss(target, maximize=sweep.maximize)


_CAUSES = {
    "no-metric": "the objective was never logged",
    "non-finite": "the objective was NaN or infinite",
    "failed": "the command failed",
    "oom": "out of memory",
    "timeout": "over the time limit",
    "killed": "killed by a signal",
}
