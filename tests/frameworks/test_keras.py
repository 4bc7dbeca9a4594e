"""Keras 3 on PyTorch and on TensorFlow: what it prints, its table, its event files, against the History it returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.frameworks.conftest import assert_same

if TYPE_CHECKING:
    from tests.frameworks.conftest import Run, Truth

BACKENDS = ["torch", "tensorflow"]


def history_of(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """The History of a fit by epoch."""
    return {name: list(enumerate(values)) for name, values in json.loads(path.read_text()).items()}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["bar", "lines"])
def test_what_it_prints(how: str, backend: str, run: Run, tmp_path: Path) -> None:
    tracked = run("keras_fit.py", tmp_path / "history.json", how, env={"KERAS_BACKEND": backend})
    expected = history_of(tmp_path / "history.json")
    found = tracked.metrics
    assert sorted(found) == sorted(expected)
    ends = [step for step, _ in found["val_loss"]]
    assert len(set(ends)) == 4
    for name, points in expected.items():
        # The bar also shows what it has so far; it prints four digits.
        at_end = [value for step, value in found[name] if step in ends]
        assert at_end == pytest.approx([value for _, value in points], abs=6e-4), name
        assert how == "bar" or len(found[name]) == 4
    assert tracked.sources() == {"stdout"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_its_table(backend: str, run: Run, tmp_path: Path) -> None:
    tracked = run("keras_fit.py", tmp_path / "history.json", "csv", env={"KERAS_BACKEND": backend})
    expected = history_of(tmp_path / "history.json")
    # It is called after a part of the data; what is printed under the bare names is the same and left out.
    assert_same(tracked.metrics, {f"training/{name}": points for name, points in expected.items()})
    assert tracked.sources() == {"file:training.csv"}


def test_event_files_of_tensorflow(run: Run, truth: Truth, tmp_path: Path) -> None:
    tracked = run(
        "keras_fit.py", tmp_path / "history.json", "tensorboard", "quiet", env={"KERAS_BACKEND": "tensorflow"}
    )
    wrote = truth("events", tracked.folder / "logs/fit")
    expected = {f"{folder}/{tag}": points for folder, curves in wrote.items() for tag, points in curves.items()}
    assert len(expected) >= 4
    assert_same(tracked.metrics, expected)
    assert all(source.startswith("file:logs/fit/") for source in tracked.sources())
