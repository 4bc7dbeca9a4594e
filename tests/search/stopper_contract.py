"""The promises of a stopper, as tests: a plugin's author subclasses `StopperContract` and gives `make`."""

from __future__ import annotations

import math
import random

from dstui.search.history import COMPLETE, PAUSED, History, Trial, TrialKey
from dstui.search.reasons import LONGEST
from dstui.search.space_table import space_of
from dstui.search.stoppers import Stopper
from dstui.search.sweep import Sweep

SPACE = space_of({"x": (0.0, 1.0)})


def curve_of(chance: random.Random, steps: int) -> tuple[tuple[float, float], ...]:
    level, speed = chance.random(), 0.5 + chance.random()
    return tuple(
        (float(step), level + math.exp(-speed * step / 5) + 0.02 * chance.random()) for step in range(1, steps + 1)
    )


def some_history(seed: int, trials: int = 20, steps: int = 27) -> History:
    chance = random.Random(seed)
    made = []
    for count in range(trials):
        outcome = chance.choice((COMPLETE, COMPLETE, PAUSED))
        curve = curve_of(chance, steps if outcome == COMPLETE else chance.choice((3, 9)))
        value = curve[-1][1] if outcome == COMPLETE else None
        made.append(Trial(TrialKey("0", count), {"x": count / 100}, outcome=outcome, value=value, curve=curve))
    return History(tuple(made))


class StopperContract:
    """Subclass it and give `make`."""

    def make(self) -> Stopper:
        """A new stopper."""
        raise NotImplementedError

    def test_it_has_a_name_and_rising_rungs(self) -> None:
        stopper = self.make()
        assert isinstance(stopper, Stopper)
        assert stopper.name
        assert list(stopper.rungs) == sorted(set(stopper.rungs))

    def test_a_decision_is_pure_and_says_why(self) -> None:
        chance = random.Random(1)
        for seed in range(10):
            history = some_history(seed)
            trial = Trial(TrialKey("0", 20 + seed), {"x": 0.5})
            for step, value in curve_of(chance, 27):
                sweep = Sweep(SPACE)
                decision = self.make().decide(sweep, history, trial, step, value)
                shuffled = History(history.trials[::-1])
                assert self.make().decide(sweep, shuffled, trial, step, value) == decision
                assert len(decision.reason) <= LONGEST
                assert decision.reason or decision.action == "continue"
                trial = trial.logged(step, value)

    def test_turning_the_direction_over_changes_nothing(self) -> None:
        chance = random.Random(2)
        history = some_history(3)
        turned = History(
            tuple(
                Trial(
                    one.key,
                    one.point,
                    outcome=one.outcome,
                    value=None if one.value is None else -one.value,
                    curve=tuple((step, -value) for step, value in one.curve),
                )
                for one in history.trials
            )
        )
        trial = mirrored = Trial(TrialKey("0", 25), {"x": 0.5})
        for step, value in curve_of(chance, 27):
            down = self.make().decide(Sweep(SPACE), history, trial, step, value)
            up = self.make().decide(Sweep(SPACE, maximize=True), turned, mirrored, step, -value)
            assert down.action == up.action
            trial, mirrored = trial.logged(step, value), mirrored.logged(step, -value)

    def test_a_value_that_is_not_finite_decides_nothing(self) -> None:
        for value in (math.nan, math.inf):
            trial = Trial(TrialKey("0", 30), {"x": 0.5}, curve=((1.0, 0.5),))
            assert self.make().decide(Sweep(SPACE), some_history(0), trial, 2.0, value).action == "continue"

    def test_the_best_trial_of_all_is_never_ended_while_it_improves(self) -> None:
        trial = Trial(TrialKey("0", 40), {"x": 0.5})
        for step in range(1, 28):
            value = -float(step)
            decision = self.make().decide(Sweep(SPACE), some_history(4), trial, float(step), value)
            assert not decision.ends
            trial = trial.logged(float(step), value)
