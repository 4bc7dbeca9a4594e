"""The Python face: minimise a function, alone or in parallel, or run a loop of one's own."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

import dstui
import dstui.search
from dstui.errors import UsageError
from dstui.search import BayesianOptimizer, Limits, SearchFailed
from dstui.search.history import COMPLETE, FAILED, PENDING

BOUNDS = {"x": (0.0, 1.0), "n": (1, 4)}


def bowl(params: dict[str, Any]) -> float:
    return float((params["x"] - 0.3) ** 2 + params["n"])


def by_keywords(x: float, n: int) -> float:
    return (x - 0.3) ** 2 + n


def dying(params: dict[str, Any]) -> float:
    """Each kind of end, by `n`."""
    if params["n"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if params["n"] == 3:
        raise ValueError("n is 3")
    if params["n"] == 4:
        threading.Event().wait()
    return bowl(params)


def unpicklable(params: dict[str, Any]) -> Any:
    return (lambda: 1) if params["n"] == 4 else bowl(params)


def where(params: dict[str, Any]) -> float:
    return float(os.environ["CUDA_VISIBLE_DEVICES"])


def test_it_minimises_and_says_what_it_did() -> None:
    best = BayesianOptimizer(domain_bounds=BOUNDS).minimize(bowl, max_evals=14)
    assert best["n"] == 1
    assert best["x"] == pytest.approx(0.3, abs=0.1)
    assert best.value == bowl(dict(best))
    assert json.loads(json.dumps(best)) == best
    assert len(best.trials) == len(best.reasons) == 14
    assert all(best.reasons)
    assert best.why_stopped == "all 14 trials were started"


def test_both_ways_to_the_class_lead_to_the_same_one() -> None:
    assert dstui.BayesianOptimizer is dstui.search.BayesianOptimizer is BayesianOptimizer


def test_a_function_of_keywords_is_called_with_keywords() -> None:
    first = BayesianOptimizer(BOUNDS).minimize(by_keywords, 8)
    second = BayesianOptimizer(BOUNDS).minimize(bowl, 8)
    assert first == second


def test_the_same_seed_finds_the_same_and_another_does_not() -> None:
    found = [BayesianOptimizer(BOUNDS, seed=seed, sampler="sobol").minimize(bowl, 6) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert [trial.point for trial in found[1].trials] != [trial.point for trial in found[2].trials]


def test_it_goes_on_from_what_it_knows() -> None:
    optimizer = BayesianOptimizer(BOUNDS, sampler="random")
    optimizer.minimize(bowl, 5)
    assert len(optimizer.minimize(bowl, 5).trials) == 10


def test_a_finite_space_ends_when_all_was_tried() -> None:
    best = BayesianOptimizer({"n": (1, 3), "act": ["relu", "tanh"]}, sampler="random").minimize(
        lambda params: params["n"], 50
    )
    assert len(best.trials) == 6
    assert best.why_stopped == "all 6 points of the space were tried"


def test_limits_end_it_earlier() -> None:
    best = BayesianOptimizer(BOUNDS, sampler="random").minimize(bowl, 200, limits=Limits(target=1.5))
    assert len(best.trials) < 200
    assert "the target was 1.5" in best.why_stopped


def test_failed_trials_are_told_and_the_search_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def sometimes(params: dict[str, Any]) -> float:
        if params["n"] == 4:
            raise RuntimeError("four")
        return math.nan if params["n"] == 3 else bowl(params)

    best = BayesianOptimizer(BOUNDS, sampler="sobol").minimize(sometimes, 16)
    causes = {trial.point["n"]: (trial.outcome, trial.failure) for trial in best.trials}
    assert causes == {1: (COMPLETE, ""), 2: (COMPLETE, ""), 3: (FAILED, "non-finite"), 4: (FAILED, "failed")}
    assert "failed: four" in caplog.text


def test_three_failures_without_a_success_end_it_with_the_last_error() -> None:
    with pytest.raises(SearchFailed) as caught:
        BayesianOptimizer(BOUNDS).minimize(lambda params: params["missing"], 50)
    assert len(caught.value.trials) == 3
    assert "3 trials failed and none succeeded: the command failed (3)" in caught.value.message
    assert isinstance(caught.value.__cause__, KeyError)
    assert "x=" in str(caught.value.hint)


@pytest.mark.slow
def test_in_parallel_each_way_to_die_is_one_failed_trial() -> None:
    optimizer = BayesianOptimizer(BOUNDS, sampler="sobol", seed=2)
    best = optimizer.minimize(dying, 12, parallel=4, timeout_seconds=3)
    causes = {trial.point["n"]: trial.failure for trial in best.trials}
    assert causes == {1: "", 2: "oom", 3: "failed", 4: "timeout"}
    assert best["n"] == 1
    assert not optimizer.history.having(PENDING)


@pytest.mark.slow
def test_what_cannot_come_back_from_a_worker_is_a_failed_trial_and_devices_are_dealt_out() -> None:
    best = BayesianOptimizer(BOUNDS, sampler="sobol").minimize(unpicklable, 6, parallel=2)
    assert {trial.failure for trial in best.trials if trial.point["n"] == 4} == {"failed"}
    spread = BayesianOptimizer(BOUNDS, sampler="sobol").minimize(where, 6, parallel=2, devices=["5", "7"])
    assert {trial.value for trial in spread.trials} == {5.0, 7.0}


def test_a_lambda_cannot_go_to_another_process_and_the_error_says_so() -> None:
    with pytest.raises(UsageError) as caught:
        BayesianOptimizer(BOUNDS).minimize(lambda params: 1.0, parallel=2)
    assert "cannot be sent to other processes" in caught.value.message
    assert "`def`" in str(caught.value.hint)


def test_a_loop_of_one_s_own() -> None:
    optimizer = BayesianOptimizer(BOUNDS, maximize=True, seed=3)
    for _ in range(12):
        params = optimizer.ask()
        assert params.reason
        optimizer.tell(params, -bowl(params))
    last = optimizer.ask()
    assert last.origin == "model"
    assert last.predicted is not None
    assert optimizer.best is not None
    assert optimizer.best.value == max(trial.value for trial in optimizer.history.trials if trial.value is not None)


def test_several_are_asked_and_told_in_any_order() -> None:
    optimizer = BayesianOptimizer(BOUNDS)
    asked = optimizer.ask(3)
    assert len({tuple(one.items()) for one in asked}) == 3
    optimizer.tell(asked[2], 1.0)
    optimizer.tell(dict(asked[0]), 2.0)
    optimizer.tell(asked[1], None)
    assert [trial.outcome for trial in optimizer.history.trials] == [COMPLETE, FAILED, COMPLETE]
    assert optimizer.history.trials[1].failure == "no-metric"


def test_what_is_known_from_elsewhere_can_be_told() -> None:
    optimizer = BayesianOptimizer(BOUNDS)
    trial = optimizer.tell({"x": 0.5, "n": 2}, 0.7)
    assert (trial.origin, trial.value) == ("user", 0.7)
    assert optimizer.ask() != {"x": 0.5, "n": 2}


def test_telling_twice_or_nonsense_is_refused() -> None:
    optimizer = BayesianOptimizer(BOUNDS)
    asked = optimizer.ask()
    optimizer.tell(asked, 1.0)
    with pytest.raises(UsageError, match="told before"):
        optimizer.tell(asked, 1.0)
    with pytest.raises(UsageError, match="`x` is 3, outside"):
        optimizer.tell({"x": 3.0, "n": 1}, 1.0)
    with pytest.raises(UsageError, match="`y` is not a parameter"):
        optimizer.tell({"x": 0.3, "n": 1, "y": 1}, 1.0)
    other = optimizer.ask()
    other["x"] = 0.123
    with pytest.raises(UsageError, match="has other params"):
        optimizer.tell(other, 1.0)


def test_a_trial_can_be_taken_back() -> None:
    optimizer = BayesianOptimizer({"n": (1, 2)})
    asked = optimizer.ask(2)
    with pytest.raises(UsageError, match="All 2 points"):
        optimizer.ask()
    optimizer.forget(asked[0])
    assert optimizer.ask() == asked[0]


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: BayesianOptimizer({}), "no parameter"),
        (lambda: BayesianOptimizer(BOUNDS, sampler="bayse"), "no sampler `bayse`"),
        (lambda: BayesianOptimizer(BOUNDS, seed=1.5), "`seed` is 1.5"),  # type: ignore[arg-type]
        (lambda: BayesianOptimizer(BOUNDS, parallel=0), "`parallel` is 0"),
        (lambda: BayesianOptimizer(BOUNDS).ask(0), "Asked for 0"),
        (lambda: BayesianOptimizer(BOUNDS).minimize(bowl, 0), "`max_evals` is 0"),
        (lambda: BayesianOptimizer(BOUNDS).minimize(3), "not a function"),  # type: ignore[arg-type]
        (lambda: BayesianOptimizer(BOUNDS, maximize=True).minimize(bowl), "maximize=True"),
        (lambda: BayesianOptimizer(BOUNDS).minimize(bowl, timeout_seconds=1), "`timeout_seconds`"),
        (lambda: Limits(plateau=0), "`plateau` is 0"),
    ],
)
def test_a_wrong_argument_is_refused_with_a_mend(call: Any, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert what in caught.value.message
    assert caught.value.hint


def test_reading_a_space_and_judging_a_trial_load_no_numpy() -> None:
    code = (
        "import sys, dstui, dstui.search\n"
        "dstui.search.parse_space(['lr=1e-5..1e-1']), dstui.search.read_sweep_file, dstui.search.Limits\n"
        "from dstui.search.stoppers import stopper_of\n"
        "stopper_of({'rule': 'hyperband', 'max': 9})\n"
        "print(sorted({'numpy', 'scipy', 'skopt', 'sklearn', 'torch', 'optuna'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
