"""MLflow keeps its own store; what its clients log is heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.frameworks.conftest import assert_same

if TYPE_CHECKING:
    from tests.frameworks.conftest import Run, Truth


def test_two_runs_with_params_and_metrics(run: Run, truth: Truth) -> None:
    tracked = run("mlflow_train.py", "--lr", "0.3", env={"MLFLOW_TRACKING_URI": "file:./mlruns"})
    first, inner = truth("mlflow", tracked.folder / "mlruns")
    named = {name.partition("/")[2] or name: points for name, points in tracked.metrics.items() if "/" in name}
    assert_same({name: points for name, points in tracked.metrics.items() if "/" not in name}, first["curves"], 0)
    assert_same(named, inner["curves"], 0)
    assert tracked.sources() == {"hook:mlflow"}
    config = {"lr": 0.3, "epochs": 5, "optimizer": "adam", "depth": 3, "inner": True}
    assert {name: value for name, value in tracked.config.items() if "/" not in name} == config
    assert first["params"] == {name: str(value) for name, value in config.items() if name != "inner"}
    assert [value for name, value in tracked.config.items() if name.endswith("/lr")] == [0.6]
    assert inner["params"] == {"lr": "0.6", "inner": "True"}
