"""The promises of a sampler, as tests: a plugin's author subclasses `SamplerContract` and gives `make`.

```python
class TestMine(SamplerContract):
    def make(self) -> Sampler:
        return MySampler()
```
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from dstui.search.history import COMPLETE, FAILED, PENDING, History, Trial, TrialKey
from dstui.search.reasons import LONGEST
from dstui.search.samplers.base import Sampler
from dstui.search.space_table import space_of
from dstui.search.sweep import Suggestion, Sweep

if TYPE_CHECKING:
    from dstui.search.space import Space

ORIGINS = {"design", "model", "random", "grid", "genetic", "history", "fallback"}

FINITE = {"batch": [16, 32, 64], "act": ["relu", "tanh"], "layers": (1, 2)}
CONDITIONAL = {
    "optimizer": ["sgd", "adam"],
    "momentum": {"values": [0.0, 0.9], "when": {"optimizer": "sgd"}},
    "layers": (1, 2),
    "epochs": 10,
}
MIXED = {"lr": (1e-5, 1e-1), "depth": (1, 8), "act": ["relu", "tanh", "gelu"], "drop": (0.0, 0.5)}


def objective(point: dict[str, object]) -> float:
    """Some smooth number of any point."""
    total = 0.0
    for place, (name, value) in enumerate(sorted(point.items())):
        if isinstance(value, (int, float)):
            total += (math.log1p(abs(value)) - 0.3 * place) ** 2
        elif value is not None:
            total += 0.1 * (len(str(value)) + len(name))
    return total


def told(history: History, suggestions: list[Suggestion], *, outcome: str = COMPLETE) -> History:
    """The history after these suggestions became trials."""
    for suggestion in suggestions:
        key = TrialKey("0", history.next_number("0"))
        value = objective(dict(suggestion.point)) if outcome == COMPLETE else None
        failure = "failed" if outcome == FAILED else ""
        trial = Trial(
            key, suggestion.point, suggestion.origin, suggestion.reason, suggestion.model, outcome, value, failure
        )
        history = history.put(trial)
    return history


class SamplerContract:
    """Subclass it and give `make`; set `endless` to False for a sampler that needs a finite space."""

    endless = True

    def make(self) -> Sampler:
        """A new sampler."""
        raise NotImplementedError

    def spaces(self) -> list[Space]:
        tables = [FINITE, CONDITIONAL, *([MIXED] if self.endless else [])]
        return [space_of(table) for table in tables]

    def test_it_has_a_name(self) -> None:
        assert isinstance(self.make(), Sampler)
        assert self.make().name

    def test_points_are_of_the_space_with_plain_values(self) -> None:
        for space in self.spaces():
            sweep, history = Sweep(space, seed=3), History()
            for _ in range(3):
                suggestions = self.make().suggest(sweep, history, 4)
                for suggestion in suggestions:
                    assert space.point(suggestion.point) == suggestion.point
                    assert {type(value) for value in suggestion.point.values()} <= {bool, int, float, str, type(None)}
                    assert suggestion.origin in ORIGINS
                    assert 0 < len(suggestion.reason) <= LONGEST
                    assert "\n" not in suggestion.reason
                history = told(history, suggestions)

    def test_a_finite_space_is_gone_through_without_a_duplicate(self) -> None:
        for space in self.spaces():
            size = space.size(1000)
            if size is None:
                continue
            sweep, history = Sweep(space, seed=1, trials=size), History()
            while suggestions := self.make().suggest(sweep, history, 4):
                history = told(history, suggestions)
            keys = {space.key(trial.point) for trial in history.trials}
            assert len(keys) == len(history) == size

    def test_the_same_seed_and_history_give_the_same_answer(self) -> None:
        for space in self.spaces():
            sweep, history = Sweep(space, seed=5), History()
            for _ in range(4):
                suggestions = self.make().suggest(sweep, history, 3)
                shuffled = History(history.trials[::-1])
                assert self.make().suggest(sweep, shuffled, 3) == suggestions
                history = told(history, suggestions)

    def test_another_seed_gives_another_answer(self) -> None:
        space = self.spaces()[-1]
        answers = [self.make().suggest(Sweep(space, seed=seed), History(), 4) for seed in range(3)]
        assert answers[0] != answers[1] or answers[1] != answers[2]

    def test_pending_and_failed_points_are_not_proposed_again(self) -> None:
        for space in self.spaces():
            sweep, history = Sweep(space, seed=2, parallel=4), History()
            seen = set()
            for outcome in (COMPLETE, FAILED, PENDING, COMPLETE, PENDING, FAILED):
                suggestions = self.make().suggest(sweep, history, 2)
                for suggestion in suggestions:
                    key = space.key(suggestion.point)
                    assert key not in seen
                    seen.add(key)
                history = told(history, suggestions, outcome=outcome)

    def test_a_sweep_without_any_success_goes_on(self) -> None:
        for space in self.spaces():
            sweep, history = Sweep(space, seed=4), History()
            for _ in range(3):
                suggestions = self.make().suggest(sweep, history, 4)
                assert suggestions or space.size(20) is not None
                history = told(history, suggestions, outcome=FAILED)

    def test_neither_argument_is_changed(self) -> None:
        space = self.spaces()[0]
        sweep, history = Sweep(space), History()
        history = told(history, self.make().suggest(sweep, history, 6))
        before = (repr(sweep), repr(history))
        self.make().suggest(sweep, history, 2)
        assert (repr(sweep), repr(history)) == before

    def test_two_lanes_get_different_points(self) -> None:
        space = self.spaces()[-1]
        if space.size(10_000) is not None:
            pytest.skip("a grid has one order for all lanes; keys, not points, keep them apart")
        here = self.make().suggest(Sweep(space), History(), 3)
        there = self.make().suggest(Sweep(space, lane="bob"), History(), 3)
        assert all(one.point != other.point for one, other in zip(here, there, strict=True))
