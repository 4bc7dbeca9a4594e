"""Our samplers keep the promises of all samplers, and each does what it is for."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from dstui.errors import UsageError
from dstui.search.history import FAILED, History, Trial, TrialKey
from dstui.search.samplers import sampler_named, sampler_names
from dstui.search.samplers.auto import choose_sampler
from dstui.search.samplers.grid import grid_size
from dstui.search.space_table import space_of
from dstui.search.sweep import Sweep
from tests.search.sampler_contract import FINITE, MIXED, SamplerContract, told

if TYPE_CHECKING:
    from dstui.search.samplers.base import Sampler

HAS_OPTUNA = importlib.util.find_spec("optuna") is not None
needs_optuna = pytest.mark.skipif(not HAS_OPTUNA, reason="Optuna is an optional extra")


class TestBayes(SamplerContract):
    def make(self) -> Sampler:
        return sampler_named("bayes")


class TestRandom(SamplerContract):
    def make(self) -> Sampler:
        return sampler_named("random")


class TestSobol(SamplerContract):
    def make(self) -> Sampler:
        return sampler_named("sobol")


class TestGenetic(SamplerContract):
    def make(self) -> Sampler:
        return sampler_named("genetic")


class TestBohb(SamplerContract):
    def make(self) -> Sampler:
        return sampler_named("bohb")


class TestGrid(SamplerContract):
    endless = False

    def make(self) -> Sampler:
        return sampler_named("grid")


@needs_optuna
class TestTpe(SamplerContract):
    def make(self) -> Sampler:
        return sampler_named("tpe")


@needs_optuna
class TestGp(SamplerContract):
    def make(self) -> Sampler:
        return sampler_named("gp")


@pytest.mark.skipif(HAS_OPTUNA, reason="Optuna is installed here")
@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_optunas_samplers_say_how_to_install_it(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        sampler_named(name).suggest(Sweep(space_of(MIXED)), History(), 1)
    assert caught.value.hint == "pip install dstui[optuna]"


def test_an_unknown_sampler_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UsageError) as caught:
        sampler_named("bayse")
    assert "`bayse`" in caught.value.message
    assert caught.value.hint is not None
    assert "bayes" in caught.value.hint
    assert "genetic" in caught.value.hint


def test_a_grid_refuses_a_real_range_and_says_how_to_mend_it() -> None:
    with pytest.raises(UsageError) as caught:
        grid_size(space_of({"lr": (0.0, 1.0), "act": ["a", "b"]}))
    assert "`lr`" in caught.value.message
    assert "lr=LOW..HIGH/STEP" in str(caught.value.hint)


def test_a_grid_knows_its_size_and_has_a_largest() -> None:
    assert grid_size(space_of(FINITE)) == 12
    with pytest.raises(UsageError, match="more than 100000"):
        grid_size(space_of({"a": (1, 1000), "b": (1, 1000)}))


def test_a_grid_cut_short_is_a_fair_sample() -> None:
    space = space_of({"a": (0, 9), "b": (0, 9)})
    points = [one.point for one in sampler_named("grid").suggest(Sweep(space), History(), 25)]
    # In the order of two nested loops the first 25 points would know three values of `a` only.
    assert len({point["a"] for point in points}) >= 8


@pytest.mark.parametrize(
    ("table", "trials", "chosen", "word"),
    [
        (FINITE, 12, "grid", "12 points"),
        (FINITE, 11, "bayes", "Gaussian"),
        (MIXED, 9, "sobol", "too few"),
        (MIXED, 50, "bayes", "Gaussian"),
    ],
)
def test_auto_says_which_sampler_and_why(table: dict[str, object], trials: int, chosen: str, word: str) -> None:
    name, why = choose_sampler(Sweep(space_of(table), trials=trials))
    assert name == chosen
    assert word in why


def test_auto_names_the_case_that_tpe_is_for() -> None:
    table = {"kind": ["a", "b"], "x": {"low": 0.0, "high": 1.0, "when": {"kind": "a"}}}
    name, why = choose_sampler(Sweep(space_of(table)))
    assert name == ("tpe" if HAS_OPTUNA else "bayes")
    assert "count only now and then" in why


def test_the_genetic_search_closes_in_on_the_best_trials() -> None:
    space, sampler = space_of({"x": (0.0, 1.0), "y": (0.0, 1.0)}), sampler_named("genetic")
    history = History()
    for number in range(80):
        point = sampler.suggest(Sweep(space), history, 1)[0].point
        x, y = point["x"], point["y"]
        assert isinstance(x, float)
        assert isinstance(y, float)
        value = (x - 0.3) ** 2 + (y - 0.8) ** 2
        history = history.put(Trial(TrialKey("0", number), point, outcome="complete", value=value))
    late = [trial.value or 0.0 for trial in history.trials[60:]]
    early = [trial.value or 0.0 for trial in history.trials[:10]]
    assert sorted(late)[10] < 0.2 * sorted(early)[5]


def test_names_of_ours_all_lead_to_a_sampler() -> None:
    for name in ("bayes", "random", "sobol", "grid", "genetic", "bohb", "tpe", "gp"):
        assert name in sampler_names()
        assert sampler_named(name).name == name


def test_all_failures_and_a_used_up_space_end_together() -> None:
    space, sampler, history = space_of({"a": [1, 2], "b": [True, False]}), sampler_named("bayes"), History()
    while suggestions := sampler.suggest(Sweep(space), history, 3):
        history = told(history, suggestions, outcome=FAILED)
    assert len(history) == 4
