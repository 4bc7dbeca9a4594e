"""Curves of different files stay apart, and those of one stay together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dstui.inside.curves import Curves, FullError, Names
from dstui.inside.journal import JournalWriter
from dstui_store import journal


class Project:
    """Curves of one run, written to a real journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = Names()
        self.budget = [1_000]
        self.writers: list[Curves] = []

    def curves(self, place: str, *, is_table: bool = False) -> Curves:
        number = len(self.writers) + 1
        writer = JournalWriter(str(self.folder), 0, f"file{number}", source=f"file:{place}", order=2)
        curves = Curves(f"/project/{place}", self.names, writer, self.budget, is_table=is_table)
        self.writers.append(curves)
        return curves

    def metrics(self) -> dict[str, list[float]]:
        for writer in self.writers:
            writer.close()
        return {name: series.value.tolist() for name, series in journal.read(self.folder).series().items()}

    def settings(self) -> list[dict[str, object]]:
        lines = [line for path in sorted(self.folder.glob("*.config")) for line in path.read_text().splitlines()]
        return [json.loads(line)["values"] for line in lines]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "journal")


def test_folders_named_after_a_part_of_the_data_are_prefixes(project: Project) -> None:
    for number, place in enumerate(["logs/train", "logs/validation"]):
        project.curves(place).point("epoch_loss", number, 0, None)
    assert project.metrics() == {"train/epoch_loss": [0.0], "validation/epoch_loss": [1.0]}


def test_a_folder_below_another_writer_is_called_by_its_path_from_there(project: Project) -> None:
    for number, place in enumerate(["runs/a", "runs/a/loss_train", "runs/a/1795546130.71"]):
        project.curves(place).point("loss" if number < 2 else "accuracy", number, 0, None)
    assert project.metrics() == {"loss": [0.0], "loss_train/loss": [1.0], "accuracy": [2.0]}


def test_one_run_has_no_prefix_and_the_second_beside_it_has(project: Project) -> None:
    first, second = project.curves("runs/a"), project.curves("runs/b")
    first.point("loss", 1, 0, None)
    second.point("only_here", 2, 0, None)
    second.point("loss", 3, 0, None)
    second.point("only_here", 4, 1, None)
    first.point("loss", 5, 1, None)
    assert project.metrics() == {"loss": [1.0, 5.0], "only_here": [2.0, 4.0], "b/loss": [3.0]}


def test_trials_with_parts_stay_apart(project: Project) -> None:
    places = [f"tuner/trial_{trial}/{part}" for trial in (0, 1) for part in ("train", "validation")]
    for number, place in enumerate(places):
        project.curves(place).point("loss", number, 0, None)
    assert project.metrics() == {
        "train/loss": [0.0],
        "validation/loss": [1.0],
        "trial_1/train/loss": [2.0],
        "trial_1/validation/loss": [3.0],
    }


def test_tables_are_told_apart_by_folder_or_name(project: Project) -> None:
    for number, place in enumerate(["fold1/metrics", "fold2/metrics", "fold2/other", "val"]):
        project.curves(place, is_table=True).row(0, {"loss": number}, None)
    assert project.metrics() == {"loss": [0.0], "fold2/loss": [1.0], "fold2/other/loss": [2.0], "val/loss": [3.0]}


def test_a_prefix_that_others_have_as_a_name_is_numbered(project: Project) -> None:
    project.curves("a").point("loss", 0, 0, None)
    project.curves("c").point("b/loss", 1, 0, None)
    project.curves("b").point("loss", 2, 0, None)
    assert project.metrics() == {"loss": [0.0], "b/loss": [1.0], "b-2/loss": [2.0]}


def test_settings_that_differ_stay_apart_and_secrets_are_masked(project: Project) -> None:
    first, second = project.curves("runs/a"), project.curves("runs/b")
    first.config({"lr": 0.1, "width": 4, "api_key": "not-for-others"})
    second.config({"lr": 0.2, "width": 4})
    second.config({"lr": 0.2, "width": 4})
    assert project.settings() == [{"lr": 0.1, "width": 4, "api_key": "<secret>"}, {"b/lr": 0.2, "width": 4}]


def test_names_with_any_characters_can_be_stored(project: Project) -> None:
    names = ["a\nb", "\x1b[31mred", "half \udcff pair", "n" * 2_000]
    curves = project.curves("a")
    for name in names:
        curves.point(name, 1, 0, None)
    assert list(project.metrics()) == ["a\nb", "\x1b[31mred", "half ? pair", "n" * 600]


def test_a_run_takes_so_many_points_and_no_more(project: Project) -> None:
    curves = project.curves("a")
    for step in range(1_000):
        curves.point("loss", 1, step, None)
    with pytest.raises(FullError):
        curves.point("loss", 1, 1_000, None)
    assert len(project.metrics()["loss"]) == 1_000


def test_a_step_or_time_that_cannot_be_is_no_reason_to_fail(project: Project) -> None:
    curves = project.curves("a")
    curves.point("loss", 1, -(1 << 63), 1e9)
    curves.point("loss", 2, 1, float("nan"))
    curves.point("loss", 3, 2, 1e300)
    assert project.metrics() == {"loss": [2.0, 3.0]}
