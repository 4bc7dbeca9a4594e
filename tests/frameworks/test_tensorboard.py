"""TensorBoard's writers: those of PyTorch, of tensorboardX, and Accelerate's tracker over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.frameworks.conftest import assert_same

if TYPE_CHECKING:
    from tests.frameworks.conftest import Run, Truth


@pytest.mark.parametrize("library", ["torch", "tensorboardX"])
def test_every_scalar_of_a_summary_writer_once(library: str, run: Run, truth: Truth) -> None:
    tracked = run("tensorboard_train.py", library)
    wrote = truth("events", tracked.folder / "runs")
    expected = {}
    for folder, curves in wrote.items():
        for tag, points in curves.items():
            # `add_scalars` writes each of its curves into a folder of its own: `parts_a` or `parts/a`.
            place, _, part = folder.replace("/parts/", "/parts_").partition("/parts_")
            if part:
                expected[f"train/parts/{part}"] = points
            elif place.startswith("exp/"):
                expected[f"{place.removeprefix('exp/')}/{tag}"] = points
            else:
                expected[tag] = points
    expected["train/no_step"] = [[step, value] for step, (_, value) in enumerate(expected["train/no_step"])]
    assert_same(tracked.metrics, expected)
    assert len(expected) >= 8
    assert tracked.sources() == {"hook:tensorboard"}
    assert tracked.config == {"lr": 0.1, "batch": 32, "name": "x"}


def test_accelerate_with_its_tracker(run: Run, truth: Truth) -> None:
    tracked = run("accelerate_train.py", "--lr", "0.1")
    assert_same(tracked.metrics, truth("events", tracked.folder / "logs")["demo"])
    assert len(tracked.metrics["loss"]) == 20
    assert tracked.sources() == {"hook:tensorboard"}
    assert tracked.config == {"lr": 0.1, "batch": 8}


def test_accelerate_launch_is_one_run_with_the_settings_of_the_script(run: Run, truth: Truth) -> None:
    launch = ("accelerate", "launch", "--cpu", "--num_processes", "1", "accelerate_train.py")
    tracked = run("accelerate_train.py", "--lr", "0.1", command=launch)
    assert_same(tracked.metrics, truth("events", tracked.folder / "logs")["demo"])
    assert tracked.config == {"lr": 0.1, "batch": 8}
