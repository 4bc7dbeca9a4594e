"""Starts from earlier sweeps: the best points of those that fit, with evidence, and little lost where they mislead."""

from __future__ import annotations

import pytest

from dstui.search.earlier import Earlier, did_not_help, recommend, starts_allowed, unfit
from dstui.search.encoding import Encoding
from dstui.search.history import COMPLETE, History, Trial, TrialKey
from dstui.search.optimizer import BayesianOptimizer
from dstui.search.samplers.sobol import sobol_point
from dstui.search.space_table import space_of
from dstui.search.sweep import Sweep

TABLE = {"lr": ("log", 1e-5, 1e-1), "bs": [16, 32, 64]}


def earlier(name: str = "old", trials: int = 20, table: object = None, **more: object) -> Earlier:
    sweep = Sweep(space_of(table or TABLE), seed=sum(map(ord, name)))
    encoding, made = Encoding(sweep.space), []
    for number in range(trials):
        point = sobol_point(sweep, encoding, number)
        made.append(Trial(TrialKey("0", number), point, outcome=COMPLETE, value=abs(number - 7.0)))
    settings = {"name": name, "objective": "loss", "sweep": sweep, "history": History(tuple(made)), **more}
    return Earlier(**settings)  # type: ignore[arg-type]  # each test names what it changes


def test_the_best_points_come_with_the_evidence_for_them() -> None:
    found = recommend(Sweep(space_of(TABLE)), "loss", [earlier(runs={"0:7": "#87 4m1rz"})], most=3)
    assert [one.rank for one in found] == sorted(one.rank for one in found)
    assert found[0].start.point == earlier().history.trials[7].point
    assert found[0].start.evidence.startswith("1st of 20 in sweep old (0, run #87 4m1rz): lr=")
    assert len(found) == 3


def test_recommended_points_are_apart_from_each_other() -> None:
    source = earlier()
    first = source.history.trials[7]
    near = Trial(TrialKey("0", 90), {"lr": float(f"{first.point['lr']}") * 1.01, "bs": first.point["bs"]}, value=0.0)
    crowded = source.history.put(Trial(near.key, near.point, outcome=COMPLETE, value=0.0))
    found = recommend(Sweep(space_of(TABLE)), "loss", [earlier(history=crowded)], most=2)
    assert near.point not in [one.start.point for one in found]


def test_sources_take_turns_the_largest_first() -> None:
    found = recommend(Sweep(space_of(TABLE)), "loss", [earlier("small", 12), earlier("large", 30)], most=2)
    assert [one.source for one in found] == ["large", "small"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"objective": "acc"}, "its objective is `acc`"),
        ({"trials": 9}, "9 complete trials, 10 are needed"),
        ({"table": {"lr": ("lin", 1e-5, 1e-1), "bs": [16, 32, 64]}}, "`lr` is"),
        ({"table": {"lr": ("log", 1e-5, 1e-1), "bs": ["a", "b"]}}, "`bs` is"),
        ({"table": {"x": (0.0, 1.0)}}, "shares 0 parameters"),
        ({"sweep": Sweep(space_of(TABLE), maximize=True)}, "it maximises"),
    ],
)
def test_a_sweep_that_means_something_else_is_no_source(changed: dict[str, object], why: str) -> None:
    new, old = Sweep(space_of(TABLE)), earlier(**changed)  # type: ignore[arg-type]  # as above
    assert why in (unfit(new, "loss", old) or "")
    assert recommend(new, "loss", [old]) == []


def test_of_an_overlapping_space_only_points_inside_come_and_the_rest_is_filled() -> None:
    new = Sweep(space_of({"lr": ("log", 1e-3, 1e-1), "bs": [32, 64, 128], "drop": (0.0, 0.5), "opt": "adam"}))
    found = recommend(new, "loss", [earlier(trials=60)], most=5)
    assert found
    for one in found:
        assert new.space.point(one.start.point) == one.start.point
        assert one.start.point["drop"] == 0.25


def test_a_third_of_the_design_at_most_is_given_away() -> None:
    new = Sweep(space_of(TABLE))
    assert len(recommend(new, "loss", [earlier(trials=60)])) <= starts_allowed(new) == 1
    wide = Sweep(space_of({f"x{place}": (0.0, 1.0) for place in range(8)}))
    assert starts_allowed(wide) == 3


def bowl(params: dict[str, object]) -> float:
    x, y = params["x"], params["y"]
    assert isinstance(x, float)
    assert isinstance(y, float)
    return (x - 0.8) ** 2 + (y - 0.15) ** 2


def after_a_search(center: float) -> Earlier:
    table = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
    sweep = Sweep(space_of(table), seed=77)
    encoding, made = Encoding(sweep.space), []
    for number in range(40):
        point = sobol_point(sweep, encoding, number)
        x, y = point["x"], point["y"]
        assert isinstance(x, float)
        assert isinstance(y, float)
        made.append(
            Trial(TrialKey("0", number), point, outcome=COMPLETE, value=(x - center) ** 2 + (y - 0.95 + center) ** 2)
        )
    return Earlier("old", "loss", sweep, History(tuple(made)))


def first_below(starts: list[object], seed: int, level: float) -> int:
    table = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
    optimizer = BayesianOptimizer(table, seed=seed, starts=starts)  # type: ignore[arg-type]
    found = optimizer.minimize(bowl, 16)
    return next((place for place, one in enumerate(found.trials) if (one.value or 0.0) <= level), 16)


def test_a_misleading_history_costs_a_few_trials_and_is_named() -> None:
    table = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
    new = Sweep(space_of(table))
    misleading = [one.start for one in recommend(new, "loss", [after_a_search(0.05)])]
    assert misleading
    for seed in range(1):
        assert first_below(list(misleading), seed, 1e-3) <= first_below([], seed, 1e-3) + 3
    optimizer = BayesianOptimizer(table, starts=misleading)
    optimizer.minimize(bowl, new.design_size)
    assert did_not_help(new, optimizer.history)


def test_a_good_history_is_not_called_misleading() -> None:
    new = Sweep(space_of({"x": (0.0, 1.0), "y": (0.0, 1.0)}))
    good = [one.start for one in recommend(new, "loss", [after_a_search(0.8)])]
    optimizer = BayesianOptimizer(new.space, starts=good)
    optimizer.minimize(bowl, new.design_size)
    assert not did_not_help(new, optimizer.history)
    assert [trial.origin for trial in optimizer.history.trials].count("history") == len(good)
