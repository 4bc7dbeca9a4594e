"""Sweeps, histories and suggestions as plain JSON tables, and back: how they reach the model's process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dstui.search.history import History, Trial, TrialKey
from dstui.search.space_table import space_of
from dstui.search.sweep import Start, Suggestion, Sweep

if TYPE_CHECKING:
    from collections.abc import Mapping


def sweep_to_table(sweep: Sweep) -> dict[str, Any]:
    """All that a sampler knows of a sweep."""
    return {
        "space": sweep.space.table(),
        "maximize": sweep.maximize,
        "seed": sweep.seed,
        "trials": sweep.trials,
        "parallel": sweep.parallel,
        "lane": sweep.lane,
        "rungs": list(sweep.rungs),
        "starts": [{"point": start.point, "evidence": start.evidence} for start in sweep.starts],
    }


def sweep_from_table(table: Mapping[str, Any]) -> Sweep:
    """The sweep that `sweep_to_table` wrote."""
    return Sweep(
        space=space_of(table["space"]),
        maximize=table["maximize"],
        seed=table["seed"],
        trials=table["trials"],
        parallel=table["parallel"],
        lane=table["lane"],
        rungs=tuple(table["rungs"]),
        starts=tuple(Start(**start) for start in table["starts"]),
    )


def history_to_table(history: History) -> dict[str, Any]:
    """All trials, one list each."""
    return {
        "ignored": history.ignored,
        "trials": [
            [
                trial.key.lane,
                trial.key.number,
                trial.point,
                trial.origin,
                trial.reason,
                dict(trial.model) if trial.model else None,
                trial.outcome,
                trial.value,
                trial.failure,
                [list(point) for point in trial.curve],
            ]
            for trial in history.trials
        ],
    }


def history_from_table(table: Mapping[str, Any]) -> History:
    """The history that `history_to_table` wrote."""
    trials = []
    for lane, number, point, origin, reason, model, outcome, value, failure, curve in table["trials"]:
        pairs = tuple((step, seen) for step, seen in curve)
        trials.append(Trial(TrialKey(lane, number), point, origin, reason, model, outcome, value, failure, pairs))
    return History(tuple(trials), table["ignored"])


def suggestion_to_table(suggestion: Suggestion) -> dict[str, Any]:
    """All fields of a suggestion."""
    return {
        "point": suggestion.point,
        "origin": suggestion.origin,
        "reason": suggestion.reason,
        "model": dict(suggestion.model) if suggestion.model else None,
        "budget": suggestion.budget,
    }
