"""Rungs: steps at which trials are compared with each other. Shared by the rules of successive halving."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dstui.errors import UsageError
from dstui.search.history import COMPLETE, History, Trial, loss
from dstui.search.reasons import number, sentence
from dstui.search.stoppers.base import GO_ON, Action, Decision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dstui.search.sweep import Sweep

MOST_RUNGS = 64
ENOUGH_FOR_CORRELATION = 8
"""A rank correlation of fewer finished trials says nothing."""
WEAK_CORRELATION = 0.5


def rungs_from(least: float, most: float | None, eta: float) -> tuple[float, ...]:
    """`least`, `least * eta`, .. below `most`; without `most` as many as anyone could need.

    Raises:
        UsageError: a bound or the factor makes no sense.
    """
    if not (math.isfinite(eta) and eta > 1):
        raise UsageError(f"`eta` of the stopper is {number(eta)}", hint="give a factor above 1, usually 3")
    if not (math.isfinite(least) and least > 0):
        raise UsageError(f"`min` of the stopper is {number(least)}", hint="give a first step above 0")
    if most is not None and not (math.isfinite(most) and most > least):
        raise UsageError(
            f"`max` of the stopper is {number(most)}, not above `min`, {number(least)}",
            hint="give the step at which a full trial ends",
        )
    rungs = []
    for place in range(MOST_RUNGS):
        rung = least * eta**place
        # The last step is no rung: a trial that is there has finished.
        if rung > 1e15 or (most is not None and rung >= most * (1 - 1e-9)):
            break
        rungs.append(rung)
    return tuple(rungs)


def judge(
    sweep: Sweep,
    trial: Trial,
    others: Iterable[Trial],
    step: float,
    value: float,
    rungs: tuple[float, ...],
    eta: float,
    *,
    action: Action,
    rule: str,
) -> Decision:
    """Whether a trial goes on at a rung it has just reached: it must be among the best 1/eta of those seen there.

    Args:
        sweep: for the direction.
        trial: as it was before this value.
        others: those it is compared with; itself among them does no harm.
        step: where it is now.
        value: what it logged there.
        rungs: rising.
        eta: the factor.
        action: what happens to one that does not go on.
        rule: how the rule is called in the reason.
    """
    if not math.isfinite(value):
        return GO_ON
    reached = [rung for rung in rungs if rung <= step]
    if not reached or trial.value_at(reached[-1]) not in (None, value):
        return GO_ON
    rung = reached[-1]
    if any(at >= rung and at < step for at, _ in trial.curve):
        # It was judged at this rung when it got there.
        return GO_ON
    own = (loss(value, maximize=sweep.maximize), trial.key)
    seen = [own, *_standing(others, rung, sweep.maximize, without=trial)]
    if len(seen) < eta:
        return Decision("continue", sentence(f"step {number(step)}: only {len(seen)} seen at this rung ({rule})"))
    kept = math.floor(len(seen) / eta + 1e-9)
    rank = 1 + sum(one < own for one in seen)
    reason = sentence(
        f"step {number(step)}: {number(value)} is rank {rank} of {len(seen)} at this rung, best {kept} go on ({rule})"
    )
    return Decision("continue" if rank <= kept else action, reason)


def promotable(
    sweep: Sweep, paused: Iterable[Trial], others: list[Trial], rungs: tuple[float, ...], eta: float, *, rule: str
) -> list[tuple[Trial, Decision]]:
    """Paused trials that are among the best 1/eta of their rung by now, those on high rungs and good ones first."""
    found = []
    for trial in paused:
        reached = [rung for rung in rungs if trial.value_at(rung) is not None]
        if not reached:
            continue
        rung = reached[-1]
        value = trial.value_at(rung)
        own = (loss(value, maximize=sweep.maximize), trial.key)
        seen = [own, *_standing(others, rung, sweep.maximize, without=trial)]
        kept, rank = math.floor(len(seen) / eta + 1e-9), 1 + sum(one < own for one in seen)
        if rank <= kept:
            reason = sentence(
                f"{number(value)} at step {number(rung)} is rank {rank} of {len(seen)} now, best {kept} go on ({rule})"
            )
            found.append(((-rung, own), trial, Decision("promote", reason)))
    return [(trial, decision) for _, trial, decision in sorted(found, key=lambda entry: entry[0])]


def rung_correlations(sweep: Sweep, history: History, rungs: Iterable[float]) -> list[tuple[float, float]]:
    """(rung, Spearman's correlation of the values there with the final ones) where enough trials have both."""
    found = []
    for rung in rungs:
        pairs = [
            (there, trial.value)
            for trial in history.having(COMPLETE)
            if (there := trial.value_at(rung)) is not None and trial.value is not None
        ]
        if len(pairs) >= ENOUGH_FOR_CORRELATION:
            found.append((rung, _correlation(_ranks([a for a, _ in pairs]), _ranks([b for _, b in pairs]))))
    return found


def weak_rungs(correlations: Iterable[tuple[float, float]]) -> list[str]:
    """A warning for each rung whose values say little about the final ones."""
    return [
        f"values at step {number(rung)} rank trials unlike their final values (correlation {correlation:.2f}); "
        "stopping there loses good trials"
        for rung, correlation in correlations
        if correlation < WEAK_CORRELATION
    ]


def _standing(others: Iterable[Trial], rung: float, maximize: bool, *, without: Trial) -> list[tuple[float, object]]:
    return [
        (loss(value, maximize=maximize), other.key)
        for other in others
        if other.key != without.key and (value := other.value_at(rung)) is not None
    ]


def _ranks(values: list[float]) -> list[float]:
    """Ranks from 0; equal values share the middle one."""
    ordered = sorted(values)
    return [(2 * ordered.index(value) + ordered.count(value) - 1) / 2 for value in values]


def _correlation(first: list[float], second: list[float]) -> float:
    middle = (len(first) - 1) / 2
    a, b = [value - middle for value in first], [value - middle for value in second]
    size = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / size if size > 0 else 0.0
