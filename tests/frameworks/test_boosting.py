"""XGBoost and scikit-learn, which only print, against the history they keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.frameworks.conftest import Run


def test_xgboost(run: Run, tmp_path: Path) -> None:
    tracked = run("xgboost_train.py", tmp_path / "history.json", "--rounds", "15", "--eta", "0.2")
    wrote = json.loads((tmp_path / "history.json").read_text())
    expected = {f"{part}-{name}": values for part, curves in wrote.items() for name, values in curves.items()}
    assert sorted(tracked.metrics) == sorted(expected)
    for name, values in expected.items():
        assert [step for step, _ in tracked.metrics[name]] == list(range(15))
        assert [value for _, value in tracked.metrics[name]] == pytest.approx(values, abs=6e-6)
    assert tracked.sources() == {"stdout"}
    history = str(tmp_path / "history.json")
    assert tracked.config == {"rounds": 15, "eta": 0.2, "history": history, "max_depth": 3}


def test_a_perceptron_of_scikit_learn(run: Run, tmp_path: Path) -> None:
    tracked = run("sklearn_fit.py", tmp_path / "curve.json", "mlp")
    expected = json.loads((tmp_path / "curve.json").read_text())
    assert set(tracked.metrics) == {"loss", "accuracy"}
    assert tracked.metrics["loss"] == [
        (step + 1, pytest.approx(value, abs=6e-9)) for step, value in enumerate(expected)
    ]


def test_boosted_trees_of_scikit_learn(run: Run, tmp_path: Path) -> None:
    tracked = run("sklearn_fit.py", tmp_path / "curve.json", "trees")
    expected = json.loads((tmp_path / "curve.json").read_text())
    # A table without a name of its steps is not taken for metrics, unless all of it is right.
    losses = tracked.metrics.get("train_loss", tracked.metrics.get("loss", []))
    assert [value for _, value in losses] in ([], [pytest.approx(value, abs=6e-5) for value in expected])
