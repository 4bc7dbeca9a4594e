"""What a model is told: one row per trial that says something, each with a loss that can be compared with the others.

The rules keep half-trained values apart from finished ones. Failed trials count as the worst finite value seen, once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from dstui.search.history import COMPLETE, FAILED, PAUSED, PENDING, STOPPED, History, Trial, loss

if TYPE_CHECKING:
    from dstui.search.sweep import Sweep

MOST_ROWS = 200
"""A model gets at most this many rows: the best half of that and the newest half."""


@dataclass(frozen=True)
class Evidence:
    """What the trials of a sweep say, for something that minimises.

    Attributes:
        rows: trials with a loss, by number.
        losses: one finite loss per row; smaller is better.
        pending: trials that were proposed and have said nothing yet, by number.
        results: how many rows have a value of their own; the others failed.
        best: the row with the least loss of its own, or None.
        rung: the step at which values are compared; None for final values.
    """

    rows: list[Trial]
    losses: list[float]
    pending: list[Trial]
    results: int
    best: Trial | None
    rung: float | None = None


def gather(sweep: Sweep, history: History) -> Evidence:
    """The evidence of a history under the rules of its sweep."""
    rung = _rung_of(sweep, history)
    known: list[tuple[Trial, float]] = []
    failed: list[Trial] = []
    pending: list[Trial] = []
    complete = [loss(trial.value, maximize=sweep.maximize) for trial in history.having(COMPLETE)]
    middle = median(complete) if complete else -math.inf
    for trial in sorted(history.trials, key=_by_number):
        value = _loss_of(trial, rung, sweep.maximize)
        if trial.outcome == FAILED:
            failed.append(trial)
        elif value is not None and trial.outcome == STOPPED and rung is None:
            # Stopped early: it might have ended better, but it was stopped because most did better.
            known.append((trial, max(value, middle)))
        elif value is not None:
            known.append((trial, value))
        elif trial.outcome in (PENDING, PAUSED):
            pending.append(trial)
    best = min(known, key=lambda pair: pair[1], default=None)
    results = len(known)
    if known:
        worst = max(value for _, value in known)
        known = sorted([*known, *((trial, worst) for trial in failed)], key=lambda pair: _by_number(pair[0]))
    if len(known) > MOST_ROWS:
        known = _fewer(known)
    return Evidence(
        rows=[trial for trial, _ in known],
        losses=[value for _, value in known],
        pending=pending,
        results=results,
        best=best[0] if best else None,
        rung=rung,
    )


def _rung_of(sweep: Sweep, history: History) -> float | None:
    """The highest rung that enough trials have reached; None when final values are to be compared."""
    needed = len(sweep.space.searched) + 2
    if not sweep.rungs or len(history.having(COMPLETE)) >= needed:
        return None
    for rung in reversed(sweep.rungs):
        if sum(trial.value_at(rung) is not None for trial in history.trials) >= needed:
            return rung
    return sweep.rungs[0]


def _loss_of(trial: Trial, rung: float | None, maximize: bool) -> float | None:
    if trial.outcome not in (COMPLETE, STOPPED, PAUSED, PENDING):
        return None
    if rung is not None:
        value = trial.value_at(rung)
    elif trial.outcome == COMPLETE:
        value = trial.value
    elif trial.outcome == STOPPED:
        value = trial.value if trial.value is not None else _best_of(trial, maximize)
    else:
        value = None
    return None if value is None else loss(value, maximize=maximize)


def _best_of(trial: Trial, maximize: bool) -> float | None:
    values = [value for _, value in trial.curve]
    return (max if maximize else min)(values) if values else None


def _by_number(trial: Trial) -> tuple[int, str]:
    return trial.key.number, trial.key.lane


def _fewer(known: list[tuple[Trial, float]]) -> list[tuple[Trial, float]]:
    half = MOST_ROWS // 2
    kept = {id(pair) for pair in known[-half:]}
    for pair in sorted(known[:-half], key=lambda pair: (pair[1], _by_number(pair[0])))[:half]:
        kept.add(id(pair))
    return [pair for pair in known if id(pair) in kept]
