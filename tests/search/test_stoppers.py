"""Our stoppers keep the promises of all stoppers, and each stops what it should."""

from __future__ import annotations

from typing import Any

import pytest

from dstui.errors import UsageError
from dstui.search.history import COMPLETE, PAUSED, STOPPED, History, Trial, TrialKey
from dstui.search.samplers import sampler_named
from dstui.search.space_table import space_of
from dstui.search.stoppers import Stopper, stopper_names, stopper_of
from dstui.search.stoppers.hyperband import HyperbandStopper
from dstui.search.stoppers.rungs import rung_correlations, weak_rungs
from dstui.search.sweep import Sweep
from tests.search.stopper_contract import SPACE, StopperContract

SETTINGS: list[dict[str, Any]] = [
    {"rule": "patience"},
    {"rule": "median"},
    {"rule": "asha", "max": 27},
    {"rule": "hyperband", "max": 27},
    {"rule": "bohb", "max": 27},
]


class TestPatience(StopperContract):
    def make(self) -> Stopper:
        return stopper_of({"rule": "patience", "patience": 4, "min_delta": 0.001})


class TestMedian(StopperContract):
    def make(self) -> Stopper:
        return stopper_of({"rule": "median", "max": 27})


class TestAsha(StopperContract):
    def make(self) -> Stopper:
        return stopper_of({"rule": "asha", "min": 1, "max": 27})


class TestPausingAsha(StopperContract):
    def make(self) -> Stopper:
        return stopper_of({"rule": "asha"}, pausing=True)


class TestHyperband(StopperContract):
    def make(self) -> Stopper:
        return stopper_of({"rule": "hyperband", "max": 27})


class TestBohb(StopperContract):
    def make(self) -> Stopper:
        return stopper_of({"rule": "bohb", "max": 81, "min": 3})


def at_rung(number: int, value: float, outcome: str = STOPPED, step: float = 1.0) -> Trial:
    return Trial(TrialKey("0", number), {"x": number / 1000}, outcome=outcome, curve=((step, value),))


def test_one_bad_value_does_not_end_a_patient_trial() -> None:
    stopper = stopper_of({"rule": "patience", "patience": 3})
    trial, values = Trial(TrialKey("0", 0), {"x": 0.1}), [1.0, 0.9, 5.0, 0.8, 0.85, 0.84, 0.83]
    decisions = []
    for step, value in enumerate(values):
        decisions.append(stopper.decide(Sweep(SPACE), History(), trial, step, value))
        trial = trial.logged(step, value)
    assert [decision.action for decision in decisions] == ["continue"] * 6 + ["stop"]
    assert decisions[-1].reason == "step 6: 3 values since the best, 0.8 at step 3 (patience 3)"


def test_an_improvement_below_the_least_difference_is_none() -> None:
    stopper = stopper_of({"rule": "patience", "patience": 2, "min_delta": 0.1})
    trial = Trial(TrialKey("0", 0), {"x": 0.1}, curve=((0, 1.0), (1, 0.95)))
    assert stopper.decide(Sweep(SPACE), History(), trial, 2, 0.92).action == "stop"


def test_the_median_rule_needs_five_finished_trials() -> None:
    stopper = stopper_of({"rule": "median", "grace": 2})
    trial = Trial(TrialKey("0", 50), {"x": 0.5}, curve=((1, 9.0),))
    for count, action in ((4, "continue"), (5, "stop")):
        done = [at_rung(number, 1.0 + number, COMPLETE) for number in range(count)]
        decision = stopper.decide(Sweep(SPACE), History(tuple(done)), trial, 2, 8.0)
        assert decision.action == action
    assert decision.reason == "step 2: best so far 8 is worse than 3, the median of 5 finished trials there"


def test_asha_lets_the_best_third_go_on_and_gives_rank_and_count() -> None:
    stopper = stopper_of({"rule": "asha", "min": 1, "max": 81, "eta": 3})
    history = History(tuple(at_rung(number, float(number)) for number in range(10)))
    new = Trial(TrialKey("0", 99), {"x": 0.5})
    good, bad = (stopper.decide(Sweep(SPACE), history, new, 1, value) for value in (1.5, 6.5))
    assert good.action == "continue"
    assert good.reason == "step 1: 1.5 is rank 3 of 11 at this rung, best 3 go on (asha, eta 3)"
    assert bad.action == "stop"
    assert bad.reason == "step 1: 6.5 is rank 8 of 11 at this rung, best 3 go on (asha, eta 3)"


def test_asha_lets_the_first_ones_go_on() -> None:
    stopper = stopper_of({"rule": "asha", "eta": 3})
    history = History((at_rung(0, 0.1),))
    assert stopper.decide(Sweep(SPACE), history, Trial(TrialKey("0", 1), {"x": 0.1}), 1, 9.0).action == "continue"


def test_asha_judges_once_at_each_rung_also_when_steps_jump_over_it() -> None:
    stopper = stopper_of({"rule": "asha", "min": 3, "eta": 3})
    history = History(tuple(at_rung(number, float(number), step=5.0) for number in range(9)))
    trial = Trial(TrialKey("0", 99), {"x": 0.5}).logged(2, 9.0)
    first = stopper.decide(Sweep(SPACE), history, trial, 4, 9.0)
    assert first.action == "stop"
    assert stopper.decide(Sweep(SPACE), history, trial.logged(4, 0.0), 6, 99.0).action == "continue"


def test_a_paused_trial_is_promoted_when_it_comes_to_be_among_the_best() -> None:
    stopper = stopper_of({"rule": "asha", "eta": 3}, pausing=True)
    new = Trial(TrialKey("0", 2), {"x": 0.5})
    history = History((at_rung(0, 0.1, COMPLETE), at_rung(1, 0.2, COMPLETE)))
    assert stopper.decide(Sweep(SPACE), history, new, 1, 0.15).action == "pause"
    waiting = history.put(at_rung(2, 0.15, PAUSED))
    assert stopper.promotions(Sweep(SPACE), waiting) == []
    for number in range(3, 7):
        waiting = waiting.put(at_rung(number, 5.0))
    promoted = stopper.promotions(Sweep(SPACE), waiting)
    assert [(trial.key.number, decision.action) for trial, decision in promoted] == [(2, "promote")]
    assert promoted[0][1].reason == "0.15 at step 1 is rank 2 of 7 now, best 2 go on (asha, eta 3)"


def test_hyperband_deals_trials_out_to_brackets_by_their_shares() -> None:
    stopper = HyperbandStopper(most=81)
    assert stopper.brackets == [4, 3, 2, 1, 0]
    dealt = [stopper.bracket_of(number) for number in range(143)]
    assert [dealt.count(bracket) for bracket in stopper.brackets] == [81, 34, 15, 8, 5]
    assert [stopper.bracket_of(number) for number in range(143, 286)] == dealt
    budgets = [stopper.first_budget(dealt.index(bracket)) for bracket in stopper.brackets]
    assert budgets == pytest.approx([1.0, 3.0, 9.0, 27.0, 81.0])
    assert stopper.rungs == pytest.approx((1.0, 3.0, 9.0, 27.0))


def test_hyperband_compares_within_a_bracket_only() -> None:
    stopper = HyperbandStopper(most=9)
    assert [stopper.bracket_of(number) for number in range(17)] == [2] * 9 + [1] * 5 + [0] * 3
    # Trials of another bracket are much better at this step, and are none of its business.
    history = History(tuple(at_rung(number, 0.0 if number < 9 else 5.0 + number, step=3.0) for number in range(13)))
    decision = stopper.decide(Sweep(SPACE), history, Trial(TrialKey("0", 13), {"x": 0.5}), 3, 1.0)
    assert decision.action == "continue"
    assert "rank 1 of 5" in decision.reason


def test_bohb_spreads_each_third_trial_and_models_the_others_on_a_rung() -> None:
    sweep = Sweep(space_of({"x": (0.0, 1.0), "y": (0.0, 1.0)}), rungs=(1.0, 3.0))
    history = History()
    for number in range(20):
        point = {"x": (number * 0.37) % 1, "y": (number * 0.61) % 1}
        history = history.put(
            Trial(TrialKey("0", number), dict(point), outcome=STOPPED, curve=((1.0, point["x"] ** 2 + point["y"]),))
        )
    suggestions = sampler_named("bohb").suggest(sweep, history, 4)
    assert [one.origin for one in suggestions] == ["design", "model", "model", "design"]
    assert suggestions[1].model is not None
    assert suggestions[1].model["rung"] == 1.0


def test_a_rung_that_says_little_of_the_end_is_warned_of() -> None:
    trials = [
        Trial(
            TrialKey("0", number),
            {"x": 0.1},
            outcome=COMPLETE,
            value=float(number),
            curve=((1.0, -float(number)), (3.0, float(number))),
        )
        for number in range(10)
    ]
    correlations = rung_correlations(Sweep(SPACE), History(tuple(trials)), (1.0, 3.0))
    assert [rung for rung, _ in correlations] == [1.0, 3.0]
    assert [correlation for _, correlation in correlations] == pytest.approx([-1.0, 1.0])
    warnings = weak_rungs(correlations)
    assert len(warnings) == 1
    assert "step 1" in warnings[0]
    assert rung_correlations(Sweep(SPACE), History(tuple(trials[:7])), (1.0,)) == []


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"rule": "ashа"}, "no stopper"),
        ({"rule": "asha", "eta": 1}, "`eta`"),
        ({"rule": "asha", "min": 0}, "`min`"),
        ({"rule": "asha", "min": 9, "max": 3}, "`max`"),
        ({"rule": "asha", "patience": 3}, "cannot be told `patience`"),
        ({"rule": "hyperband"}, "needs `max`"),
        ({"rule": "patience", "patience": 0}, "Patience 0"),
        ({"rule": "patience", "patience": "x"}, "`patience` of the stopper is `x`"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        stopper_of(settings)
    assert what in caught.value.message
    assert caught.value.hint


def test_every_rule_has_a_name_and_none_is_used_unasked() -> None:
    assert [stopper_of(settings).name for settings in SETTINGS] == stopper_names()[:5]
