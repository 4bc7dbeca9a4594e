"""The Hugging Face Trainer, with each of its loggers and with none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.frameworks.conftest import assert_same

if TYPE_CHECKING:
    from pathlib import Path

    from tests.frameworks.conftest import Run, Tracked, Truth

WORDS = (
    "--output_dir=out --num_train_epochs=2 --logging_steps=2 --eval_strategy=epoch --save_strategy=no --use_cpu=true "
    "--per_device_train_batch_size=16 --learning_rate=1e-3 --hidden_size=8 --seed=1"
).split()

TYPED: dict[str, Any] = {
    "output_dir": "out",
    "logging_steps": 2,
    "num_train_epochs": 2.0,
    "eval_strategy": "epoch",
    "save_strategy": "no",
    "use_cpu": True,
    "per_device_train_batch_size": 16,
    "learning_rate": 1e-3,
    "hidden_size": 8,
    "seed": 1,
}


def history_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What the Trainer says of itself, as metrics by step."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in json.loads((folder / "out/trainer_state.json").read_text())["log_history"]:
        step = row.pop("step")
        for name, value in row.items():
            found.setdefault(name, []).append((step, value))
    return found


def plain(name: str) -> str:
    """The Trainer's loggers put `train/` and `eval/` before what its own history calls `loss` and `eval_loss`."""
    return name.removeprefix("train/").replace("/", "_")


def check_config(tracked: Tracked) -> None:
    config = tracked.config
    assert {name: config.get(name) for name in TYPED} == TYPED
    assert config["layers"] == 1
    assert config["weight_decay"] == 0.0
    assert config["lr_scheduler_type"] == "linear"


def test_with_tensorboard(run: Run, truth: Truth) -> None:
    tracked = run("hf_trainer.py", *WORDS, "--report_to=tensorboard", env={"TENSORBOARD_LOGGING_DIR": "out/tb"})
    wrote = next(iter(truth("events", tracked.folder / "out").values()))
    assert len(wrote) > 8
    assert_same(tracked.metrics, wrote)
    assert tracked.sources() == {"hook:tensorboard"}
    check_config(tracked)
    assert tracked.show["origins"]["learning_rate"] == "argparse"
    assert tracked.show["origins"]["weight_decay"] == "argparse default"


def test_with_wandb(run: Run) -> None:
    tracked = run("hf_trainer.py", *WORDS, "--report_to=wandb")
    found = {plain(name): points for name, points in tracked.metrics.items() if not name.endswith("global_step")}
    assert_same(found, history_of(tracked.folder), 1e-9)
    assert tracked.sources() == {"hook:wandb"}
    assert not (tracked.folder / "wandb").exists()
    check_config(tracked)


def test_with_none(run: Run) -> None:
    tracked = run("hf_trainer.py", *WORDS, "--report_to=none")
    wrote = history_of(tracked.folder)
    assert_same(tracked.metrics, {name: points for name, points in wrote.items() if name in tracked.metrics})
    assert len(tracked.metrics["loss"]) == 8
    assert set(wrote) - set(tracked.metrics) <= {"epoch", "step"}
    assert tracked.sources() == {"file:out/trainer_state.json"}
    check_config(tracked)


def test_arguments_that_stand_in_the_script(run: Run) -> None:
    tracked = run("hf_plain.py")
    assert_same(
        tracked.metrics,
        {name: points for name, points in history_of(tracked.folder).items() if name in tracked.metrics},
    )
    assert len(tracked.metrics["loss"]) == 8
    assert tracked.config["learning_rate"] == 3e-4
    assert tracked.config["per_device_train_batch_size"] == 16


@pytest.mark.parametrize("level", ["progress", "lines"])
def test_what_it_prints_alone(level: str, run: Run) -> None:
    words = (*WORDS, "--report_to=none", *(["--disable_tqdm=true"] if level == "lines" else []))
    tracked = run("hf_trainer.py", *words, env={"DSTUI_CAPTURE_FILES": "off"})
    wrote = history_of(tracked.folder)
    assert len(tracked.metrics["loss"]) == 8
    for name, points in tracked.metrics.items():
        if name == "epoch":
            continue
        # It prints epochs, not steps, so what comes twice in one place (the last evaluation) is there once.
        expected = list({step: value for step, value in reversed(wrote[name])}.values())[::-1]
        assert [value for _, value in points] == pytest.approx(expected, rel=1e-3), name
