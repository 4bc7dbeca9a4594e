"""Lightning with its loggers, and LightningCLI."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from tests.frameworks.conftest import assert_same

if TYPE_CHECKING:
    from pathlib import Path

    from tests.frameworks.conftest import Run, Truth


def rows_of(path: Path) -> dict[str, list[tuple[int, float]]]:
    """A metrics.csv of Lightning: for each column, the steps where it has a value."""
    found: dict[str, list[tuple[int, float]]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            for name, value in row.items():
                if value:
                    found.setdefault(name, []).append((step, float(value)))
    return found


def test_two_loggers_give_each_metric_once(run: Run, truth: Truth) -> None:
    tracked = run("lightning_fit.py", "--epochs", "3")
    wrote = truth("events", tracked.folder / "logs")["lightning_logs/version_0"]
    assert len(wrote) >= 6
    assert_same(tracked.metrics, wrote)
    assert tracked.sources() == {"hook:tensorboard"}
    expected: dict[str, Any] = {"epochs": 3, "learning_rate": 0.05, "hidden": 8, "activation": "tanh"}
    assert expected.items() <= tracked.config.items()
    assert set(tracked.config) == {*expected, "loggers"}


def test_its_table_alone(run: Run) -> None:
    tracked = run("lightning_fit.py", "--loggers", "csv")
    wrote = rows_of(tracked.folder / "logs/lightning_logs/version_0/metrics.csv")
    assert_same(tracked.metrics, wrote, 1e-12)
    assert len(wrote["train_loss_step"]) == 12
    assert tracked.sources() == {"file:logs/lightning_logs/version_0/metrics.csv"}
    assert {"hidden": 8, "activation": "tanh", "learning_rate": 0.05}.items() <= tracked.config.items()


def test_without_a_logger_what_it_prints_at_the_end_invents_nothing(run: Run) -> None:
    tracked = run("lightning_fit.py", "--loggers")
    assert set(tracked.metrics) <= {"train_loss", "train_loss_step", "train_loss_epoch", "val_loss"}


def test_its_command_line_gives_every_setting(run: Run, truth: Truth) -> None:
    words = ("fit", "--trainer.max_epochs=2", "--model.hidden=4", "--trainer.accelerator=cpu")
    tracked = run("lightning_cli.py", *words, "--trainer.log_every_n_steps", "1")
    config = tracked.config
    prefix = "" if "model.hidden" in config else "fit."
    assert config[f"{prefix}model.hidden"] == 4
    assert config[f"{prefix}model.dropout"] == 0.1
    assert config[f"{prefix}data.batch_size"] == 16
    assert config[f"{prefix}trainer.max_epochs"] == 2
    assert f"{prefix}trainer.gradient_clip_val" in config
    wrote = next(iter(truth("events", tracked.folder / "lightning_logs").values()))
    assert_same(tracked.metrics, wrote)
    assert len(wrote["train/loss"]) == 16
