"""A history is the same whatever the order of its events, and no event can break it."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from dstui.search.evidence import MOST_ROWS, gather
from dstui.search.history import (
    COMPLETE,
    FAILED,
    PAUSED,
    PENDING,
    STOPPED,
    History,
    Logged,
    Proposed,
    Told,
    Trial,
    TrialKey,
)
from dstui.search.limits import Limits, Usage, hold_reason, left_to_start, limit_reached
from dstui.search.space_table import space_of
from dstui.search.sweep import Sweep

SPACE = space_of({"x": (0.0, 1.0)})


def trial(number: int, value: float | None = None, outcome: str = COMPLETE, failure: str = "", **more: Any) -> Trial:
    return Trial(TrialKey("0", number), {"x": number / 1000}, outcome=outcome, value=value, failure=failure, **more)


def test_the_order_of_events_does_not_matter() -> None:
    key = [TrialKey("0", number) for number in range(4)]
    events: list[object] = [
        Proposed(key[0], {"x": 0.1}),
        Proposed(key[1], {"x": 0.2}, "model", "why"),
        Proposed(key[1], {"x": 0.3}),
        Logged(key[0], 1, 0.5),
        Logged(key[0], 1, 0.4),
        Logged(key[0], 2, 0.3),
        Told(key[0], COMPLETE, 0.3),
        Told(key[0], FAILED, None, "oom"),
        Told(key[1], COMPLETE, math.nan),
        Told(key[3], COMPLETE, 1.0),
    ]
    expected = History.fold(SPACE, events)
    for seed in range(20):
        shuffled = events * 2
        random.Random(seed).shuffle(shuffled)
        assert History.fold(SPACE, shuffled) == expected
    first, second = expected.trials
    assert (first.outcome, first.curve) == (COMPLETE, ((1, 0.4), (2, 0.3)))
    assert (second.outcome, second.failure) == (FAILED, "non-finite")
    assert expected.ignored == 1


@pytest.mark.parametrize(
    "event",
    [
        None,
        "text",
        Proposed(TrialKey("0", 0), {"y": 1}),
        Proposed(TrialKey("0", 0), {"x": 7.0}),
        Proposed(TrialKey("0", 0), "x"),  # type: ignore[arg-type]  # what a broken record could hold
        Proposed(TrialKey("0", -1), {"x": 0.5}),
        Logged(TrialKey("0", 0), math.nan, 1.0),
        Logged(TrialKey("0", 0), 1, "a"),  # type: ignore[arg-type]  # as above
        Told(TrialKey("0", 0), "won"),
    ],
)
def test_an_event_that_makes_no_sense_is_counted_and_left_out(event: object) -> None:
    history = History.fold(SPACE, [event, Proposed(TrialKey("0", 5), {"x": 0.5})])
    assert history.ignored == 1
    assert len(history) == 1


def test_values_that_are_no_finite_number_are_failures() -> None:
    for value in (math.nan, math.inf, -math.inf, 10**400, "x", None):
        history = History.fold(SPACE, [Proposed(TrialKey("0", 0), {"x": 0.5}), Told(TrialKey("0", 0), COMPLETE, value)])  # type: ignore[arg-type]
        assert history.trials[0].outcome == FAILED
        assert history.trials[0].failure == ("no-metric" if value is None else "non-finite")


def test_a_failed_trial_is_the_worst_value_once() -> None:
    history = History((trial(0, 1.0), trial(1, 3.0), trial(2, outcome=FAILED), trial(3, outcome=FAILED), trial(4, 2.0)))
    evidence = gather(Sweep(SPACE), history)
    assert evidence.losses == [1.0, 3.0, 3.0, 3.0, 2.0]
    assert evidence.results == 3
    upwards = gather(Sweep(SPACE, maximize=True), history)
    assert upwards.losses == [-1.0, -3.0, -1.0, -1.0, -2.0]


def test_a_half_trained_value_is_never_compared_with_a_finished_one() -> None:
    history = History((trial(0, 1.0), trial(1, 3.0), trial(2, 2.0), trial(3, 0.1, STOPPED), trial(4, 9.0, STOPPED)))
    assert gather(Sweep(SPACE), history).losses == [1.0, 3.0, 2.0, 2.0, 9.0]


def test_with_rungs_values_are_compared_at_one_rung() -> None:
    short = [trial(n, 0.9, STOPPED, curve=((1.0, 5.0 + n),)) for n in range(3)]
    long = [trial(n, None, PENDING, curve=((1.0, 1.0 + n), (3.0, 0.5))) for n in range(3, 5)]
    paused = [trial(5, None, PAUSED, curve=((1.0, 7.0),)), trial(6, None, PENDING)]
    evidence = gather(Sweep(SPACE, rungs=(1.0, 3.0)), History((*short, *long, *paused)))
    assert evidence.rung == 1.0
    assert evidence.losses == [5.0, 6.0, 7.0, 4.0, 5.0, 7.0]
    assert [one.key.number for one in evidence.pending] == [6]
    longer = [trial(n, None, PENDING, curve=((1.0, 1.0), (3.0, float(n)))) for n in range(3, 6)]
    assert gather(Sweep(SPACE, rungs=(1.0, 3.0)), History((*short, *longer))).rung == 3.0


def test_a_long_history_keeps_the_best_and_the_newest() -> None:
    values = np.random.default_rng(0).random(500)
    history = History(tuple(trial(n, float(value)) for n, value in enumerate(values)))
    evidence = gather(Sweep(SPACE), history)
    assert len(evidence.rows) == MOST_ROWS
    assert min(evidence.losses) == values.min()
    assert [one.key.number for one in evidence.rows[-100:]] == list(range(400, 500))
    assert evidence.results == 500


def test_three_failures_without_a_success_hold_a_sweep_with_the_reason() -> None:
    failed = [trial(0, outcome=FAILED, failure="no-metric"), trial(1, outcome=FAILED, failure="no-metric")]
    assert hold_reason(History(tuple(failed))) is None
    failed.append(trial(2, outcome=FAILED, failure="oom"))
    reason = hold_reason(History(tuple(failed)))
    assert reason == ("3 trials failed and none succeeded: the objective was never logged (2), out of memory (1)")
    assert hold_reason(History((*failed, trial(3, 1.0)))) is None


@pytest.mark.parametrize(
    ("limits", "usage", "words"),
    [
        (Limits(wall_seconds=3600), Usage(wall_seconds=3601), "time limit of 1h00m"),
        (Limits(gpu_hours=2.0), Usage(gpu_hours=2.5), "2 GPU hours is reached (2.5 used)"),
        (Limits(target=0.2), Usage(), "trial 1 reached 0.1, the target was 0.2"),
        (Limits(plateau=3), Usage(), "3 trials since trial 1 (0.1) brought nothing better"),
    ],
)
def test_a_limit_that_is_reached_is_named(limits: Limits, usage: Usage, words: str) -> None:
    history = History((trial(0, 0.5), trial(1, 0.1), trial(2, 0.4), trial(3, 0.3), trial(4, outcome=FAILED)))
    assert words in (limit_reached(Sweep(SPACE), limits, history, usage) or "")
    assert limit_reached(Sweep(SPACE), Limits(), history, usage) is None


def test_a_sweep_ends_after_its_trials_and_starts_no_more_than_are_left() -> None:
    history = History((trial(0, 0.5), trial(1, None, PENDING), trial(2, None, PENDING)))
    assert limit_reached(Sweep(SPACE, trials=3), Limits(), history, Usage()) == "all 3 trials were started"
    assert left_to_start(Sweep(SPACE, trials=10, parallel=4), history) == 2
    assert left_to_start(Sweep(SPACE, trials=4, parallel=4), history) == 1


def test_a_target_is_reached_from_the_right_side() -> None:
    history = History((trial(0, 0.5),))
    assert limit_reached(Sweep(SPACE, maximize=True), Limits(target=0.6), history, Usage()) is None
    assert limit_reached(Sweep(SPACE, maximize=True), Limits(target=0.4), history, Usage()) is not None
