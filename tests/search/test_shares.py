"""Importance and slices: right on functions whose shares are known, silent where the trials say too little."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dstui.errors import UsageError
from dstui.search.encoding import Encoding
from dstui.search.history import COMPLETE, FAILED, History, Trial, TrialKey
from dstui.search.samplers.sobol import sobol_point
from dstui.search.shares import importance
from dstui.search.slices import slice_along
from dstui.search.space_table import space_of
from dstui.search.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from dstui.search.space import Space

CUBE = space_of({"a": (0.0, 1.0), "b": (0.0, 1.0), "c": (0.0, 1.0)})


def sampled(space: Space, function: Callable[..., float], trials: int = 50, seed: int = 0) -> tuple[Sweep, History]:
    sweep, encoding, made = Sweep(space, seed=seed), Encoding(space), []
    for number in range(trials):
        point = sobol_point(sweep, encoding, number)
        value = float(function(**space.active(point)))
        made.append(Trial(TrialKey("0", number), point, outcome=COMPLETE, value=value))
    return sweep, History(tuple(made))


def additive(a: float, b: float, c: float) -> float:
    return 3 * a + 2 * b + 0 * c


def with_interaction(a: float, b: float, c: float) -> float:
    return 4 * (a - 0.5) * (b - 0.5) + 0.3 * c


def test_the_shares_of_an_additive_function_are_those_of_its_squares() -> None:
    found = importance(*sampled(CUBE, additive))
    shares = {share.name: share for share in found.shares}
    assert found.refusal == ""
    assert [share.name for share in found.shares[:2]] == ["a", "b"]
    assert shares["a"].total == pytest.approx(9 / 13, abs=0.1)
    assert shares["b"].total == pytest.approx(4 / 13, abs=0.1)
    assert shares["c"].total == pytest.approx(0.0, abs=0.1)
    assert all(share.interaction < 0.1 for share in found.shares)


def test_an_interaction_counts_for_both_of_its_parameters() -> None:
    found = importance(*sampled(CUBE, with_interaction))
    shares = {share.name: share for share in found.shares}
    whole = 16 / 144 + 0.09 / 12
    for name in ("a", "b"):
        assert shares[name].total == pytest.approx(16 / 144 / whole, abs=0.1)
        assert shares[name].first < 0.1
        assert shares[name].interaction > 0.8
    assert shares["c"].total == pytest.approx(0.09 / 12 / whole, abs=0.1)


def test_the_uncertainty_shrinks_with_more_trials() -> None:
    def noisy(a: float, b: float, c: float) -> float:
        return a + b + 0.2 * math.sin(997 * (a + 2 * b + 3 * c))

    few, many = (importance(*sampled(CUBE, noisy, trials)) for trials in (16, 48))
    assert few.shares
    assert many.shares
    assert sum(share.deviation for share in many.shares) < sum(share.deviation for share in few.shares)
    assert all(share.deviation > 0 for share in many.shares[:2])


def refusals_of_noise(seeds: range) -> int:
    refused = 0
    for seed in seeds:
        noise = np.random.default_rng(seed)
        found = importance(*sampled(CUBE, lambda noise=noise, **_: noise.standard_normal(), 50, seed))
        refused += found.refusal.startswith("not enough evidence (R2 0.")
        assert bool(found.refusal) != bool(found.shares)
    return refused


def test_pure_noise_is_refused() -> None:
    assert refusals_of_noise(range(4)) == 4


@pytest.mark.soak
def test_pure_noise_is_refused_in_19_of_20_cases() -> None:
    assert refusals_of_noise(range(100, 200)) >= 95


def test_few_trials_are_refused_with_what_is_needed() -> None:
    found = importance(*sampled(CUBE, additive, 11))
    assert found.refusal == "not enough evidence (11 trials, 12 are needed)"
    assert found.shares == ()


def test_failed_trials_stay_out() -> None:
    sweep, history = sampled(CUBE, additive)
    for number in range(50, 90):
        history = history.put(Trial(TrialKey("0", number), {"a": 0.99, "b": 0.0, "c": 0.9}, outcome=FAILED))
    assert importance(sweep, history) == importance(sweep, History(history.trials[:50]))


def test_a_choice_and_a_conditional_parameter_get_shares() -> None:
    space = space_of({"kind": ["a", "b", "c"], "x": (0.0, 1.0), "y": {"low": 0.0, "high": 1.0, "when": {"kind": "a"}}})

    def function(kind: str, x: float, y: float = 0.0) -> float:
        return {"a": 0.0, "b": 1.0, "c": 3.0}[kind] + 0.5 * x + 0.1 * y

    found = importance(*sampled(space, function, 60))
    assert [share.name for share in found.shares][:2] == ["kind", "x"]
    assert found.shares[0].total > 0.8


def test_a_slice_follows_the_function_along_one_parameter() -> None:
    sweep, history = sampled(CUBE, additive)
    found = slice_along(sweep, history, ["a"])
    assert [cell.values[0] for cell in found.cells] == pytest.approx(np.linspace(0, 1, 21), abs=1e-6)
    assert [cell.mean for cell in found.cells] == pytest.approx([3 * a + 1 for a in np.linspace(0, 1, 21)], abs=0.2)
    assert all(cell.deviation == pytest.approx(2 / math.sqrt(12), abs=0.15) for cell in found.cells)
    assert len(found.trials) == 50


def test_a_slice_over_two_parameters_is_a_heat_map_in_the_objective_s_own_direction() -> None:
    space = space_of({"a": (0.0, 1.0), "act": ["relu", "tanh"], "n": (1, 3)})
    down, history = sampled(space, lambda a, act, n: a + (act == "tanh") + 0.1 * n, 40)
    found = slice_along(Sweep(down.space, maximize=True), history, ["act", "n"])
    assert [cell.values for cell in found.cells] == [(act, n) for act in ("relu", "tanh") for n in (1, 2, 3)]
    means = [cell.mean for cell in found.cells]
    assert means[0] == pytest.approx(0.6, abs=0.2)
    assert means[5] == pytest.approx(1.8, abs=0.2)


def test_a_slice_is_behind_the_same_gate_and_names_what_does_not_vary() -> None:
    sweep, history = sampled(CUBE, additive, 8)
    found = slice_along(sweep, history, ["a"])
    assert found.cells == ()
    assert "not enough evidence" in found.refusal
    assert len(found.trials) == 8
    with pytest.raises(UsageError, match="`z` does not vary"):
        slice_along(sweep, history, ["z"])
    with pytest.raises(UsageError, match="one or two"):
        slice_along(sweep, history, ["a", "b", "c"])
