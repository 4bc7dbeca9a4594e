"""The model behind `bayes`: its parts are right, it finds minima, and it says what it thought."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from dstui.search.acquisition import log_expected_improvement
from dstui.search.encoding import Encoding
from dstui.search.history import COMPLETE, FAILED, PENDING, History, Trial, TrialKey
from dstui.search.reasons import LONGEST, number, with_deviation
from dstui.search.samplers.bayes import BayesSampler
from dstui.search.space_table import space_of
from dstui.search.surrogate import Posterior, Warp, fit
from dstui.search.sweep import Start, Sweep

BOWL = space_of({"x": (-5.0, 10.0), "y": (0.0, 15.0)})


def branin(point: dict[str, object]) -> float:
    x, y = point["x"], point["y"]
    assert isinstance(x, float)
    assert isinstance(y, float)
    valley = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def searched(trials: int, *, seed: int = 0, maximize: bool = False) -> tuple[Sweep, History]:
    sweep, history = Sweep(BOWL, maximize=maximize, seed=seed), History()
    for count in range(trials):
        suggestion = BayesSampler().suggest(sweep, history, 1)[0]
        value = branin(dict(suggestion.point)) * (-1 if maximize else 1)
        history = history.put(
            Trial(
                TrialKey("0", count),
                suggestion.point,
                suggestion.origin,
                suggestion.reason,
                suggestion.model,
                COMPLETE,
                value,
            )
        )
    return sweep, history


@pytest.fixture(scope="module")
def searched_before() -> tuple[Sweep, History]:
    return searched(24)


def test_it_finds_a_minimum_that_random_search_would_need_hundreds_for(searched_before: tuple[Sweep, History]) -> None:
    best = searched_before[1].best(maximize=False)
    assert best is not None
    assert best.value is not None
    assert best.value < 0.45


def test_looking_for_the_largest_is_the_same_search_turned_over() -> None:
    down, up = searched(9)[1], searched(9, maximize=True)[1]
    assert [trial.point for trial in down.trials] == [trial.point for trial in up.trials]


def test_each_reason_gives_the_figures_of_its_record(searched_before: tuple[Sweep, History]) -> None:
    sweep, history = searched_before
    modelled = [trial for trial in history.trials if trial.origin == "model"]
    assert len(modelled) == 24 - sweep.design_size
    for trial in modelled:
        assert trial.model is not None
        assert len(trial.reason) <= LONGEST
        assert f"expects {with_deviation(trial.model['mean'], trial.model['sd'])} " in trial.reason
        before = [other.value for other in history.trials if other.key.number < trial.key.number]
        best = min(value for value in before if value is not None)
        assert f"(best so far {number(best)}, {len(before)} results)" in trial.reason
        assert trial.reason.endswith(trial.model["acq"])
        assert trial.model["n"] == len(before)


def test_what_it_expects_is_near_what_comes(searched_before: tuple[Sweep, History]) -> None:
    away = []
    for trial in searched_before[1].trials[12:]:
        assert trial.model is not None
        assert trial.value is not None
        away.append(abs(trial.value - trial.model["mean"]) / max(trial.model["sd"], 1e-3))
    assert np.median(away) < 3


def test_a_pending_trial_sends_the_next_one_elsewhere(searched_before: tuple[Sweep, History]) -> None:
    sweep, history = searched_before
    first = BayesSampler().suggest(sweep, history, 1)[0]
    pending = history.put(Trial(TrialKey("0", 24), first.point, "model", "", first.model, PENDING))
    second = BayesSampler().suggest(sweep, pending, 1)[0]
    encoding = Encoding(BOWL)
    rows = encoding.locate([first.point, second.point])
    assert np.linalg.norm(rows[0] - rows[1]) > 1e-3


def test_a_batch_is_what_asking_one_by_one_would_give_after_the_same_fit(
    searched_before: tuple[Sweep, History],
) -> None:
    batch = BayesSampler().suggest(*searched_before, 4)
    assert len({BOWL.key(one.point) for one in batch}) == 4
    assert batch[0] == BayesSampler().suggest(*searched_before, 1)[0]
    thetas = {tuple(one.model["theta"]) for one in batch if one.model}
    assert len(thetas) == 1


def test_a_crash_region_is_left_alone() -> None:
    sweep, history = Sweep(BOWL, seed=1), History()
    for count in range(20):
        point = BayesSampler().suggest(sweep, history, 1)[0].point
        crashed = isinstance(point["x"], float) and point["x"] < 0
        outcome, value = (FAILED, None) if crashed else (COMPLETE, branin(dict(point)))
        history = history.put(Trial(TrialKey("0", count), point, outcome=outcome, value=value))
    late = history.trials[10:]
    assert sum(trial.outcome == FAILED for trial in late) <= 4


def test_points_of_an_earlier_sweep_take_the_last_places_of_the_design() -> None:
    start = Start({"x": 3.14, "y": 2.27}, "1st of 50 in sweep old (0.398)")
    sweep, history = Sweep(BOWL, starts=(start,)), History()
    suggestions = BayesSampler().suggest(sweep, history, sweep.design_size)
    assert [one.origin for one in suggestions] == ["design"] * (sweep.design_size - 1) + ["history"]
    assert suggestions[-1].point == start.point
    assert suggestions[-1].reason == start.evidence


def test_expected_improvement_stays_a_number_where_its_own_size_underflows() -> None:
    from scipy.integrate import quad
    from scipy.stats import norm

    for t in (-3.0, -1.0, 0.0, 2.0):
        exact = math.log(quad(lambda u, t=t: (t - u) * norm.pdf(u), -np.inf, t)[0])
        got = log_expected_improvement(np.array([-t * 0.5]), np.array([0.5]), 0.0)[0]
        assert got == pytest.approx(exact + math.log(0.5), rel=1e-5)
    far = log_expected_improvement(np.array([10.0, 20.0, 400.0]), np.ones(3), 0.0)
    assert np.isfinite(far).all()
    assert far[0] > far[1] > far[2]
    both = log_expected_improvement(np.array([4.9999, 5.0001]), np.ones(2), 0.0)
    assert abs(both[0] - both[1]) < 0.15


def test_a_warp_is_undone_and_cuts_what_is_far_above() -> None:
    rng = np.random.default_rng(3)
    losses = np.exp(rng.standard_normal(40))
    losses[7] = 1e9
    warp = Warp.of(losses)
    z = warp.apply(losses)
    assert np.isfinite(z).all()
    assert z[7] == z.max()
    inside = losses < warp.ceiling
    assert warp.undo(z)[inside] == pytest.approx(losses[inside], rel=1e-6)
    assert (np.argsort(z[inside]) == np.argsort(losses[inside])).all()


@pytest.mark.parametrize("losses", [[1.0, 1.0, 1.0], [0.0] * 9 + [1.0], [1e149, -1e149, 0.0], [1e-300] * 8, [5.0]])
def test_values_without_a_spread_make_no_trouble(losses: list[float]) -> None:
    z = Warp.of(np.array(losses)).apply(np.array(losses))
    assert np.isfinite(z).all()


def test_the_posterior_meets_its_data_and_widens_away_from_them() -> None:
    rows = np.linspace(0.0, 1.0, 8)[:, None]
    z = np.sin(6 * rows[:, 0])
    posterior = fit(rows, z)
    mean, deviation = posterior.predict(rows)
    assert mean == pytest.approx(z, abs=0.05)
    between = posterior.predict(np.array([[0.07], [3.0]]))[1]
    assert between[1] > between[0] > deviation.max() * 0.5
    assert posterior.mean(rows) == pytest.approx(mean)


def test_the_left_out_means_are_those_of_fits_without_the_point() -> None:
    rng = np.random.default_rng(0)
    rows, z = rng.random((12, 2)), rng.standard_normal(12)
    posterior = fit(rows, z)
    for place in range(12):
        kept = np.arange(12) != place
        without: Posterior = posterior.of_rows(np.flatnonzero(kept))
        assert posterior.left_out()[place] == pytest.approx(float(without.mean(rows[place : place + 1])[0]), abs=1e-6)


def test_without_scikit_optimize_its_base_library_does_the_same() -> None:
    code = (
        "import sys; sys.modules['skopt'] = None\n"
        "import numpy as np\n"
        "from dstui.search.surrogate import fit, _parts\n"
        "rows = np.random.default_rng(0).random((9, 2))\n"
        "mean = fit(rows, rows.sum(axis=1) ** 2).mean(rows[:3] * 0.9)\n"
        "print(_parts()[0].__module__.split('.')[0], *mean)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=110)
    library, *mean = done.stdout.split()
    rows = np.random.default_rng(0).random((9, 2))
    assert library == "sklearn"
    assert [float(value) for value in mean] == pytest.approx(fit(rows, rows.sum(axis=1) ** 2).mean(rows[:3] * 0.9))
