"""The printed metrics of real programs: precision before recall, on labelled logs under `tests/data/logs`."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dstui.inside.parse import OutputMetrics

LOGS = Path(__file__).parents[2] / "data" / "logs"
PRECISION = 0.98
RECALL = 0.9

Point = tuple[str, int | None, float]
Labels = dict[str, list[tuple[int | None, Any]]]


class Recorder:
    """Stands in for the journal, to see points as they are written."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def log(self, values: dict[str, float], step: int | None, time: float) -> None:
        self.points.extend((name, step, value) for name, value in values.items())

    def close(self) -> None:
        pass


def read(data: bytes) -> Counter[Point]:
    """The points in some output, whose lines come a tenth of a second after each other."""
    output = OutputMetrics("/nowhere")
    recorder: Any = Recorder()
    output._journal = recorder
    for number, line in enumerate(data.split(b"\n")):
        output.feed(line + b"\n", 1e9 + number * 0.1)
    output.close()
    # A NaN equals nothing, itself included.
    return Counter((name, step, 1e308 if math.isnan(value) else value) for name, step, value in recorder.points)


def counted(labels: Labels) -> Counter[Point]:
    return Counter(
        (name, step, 1e308 if value == "nan" else value) for name, points in labels.items() for step, value in points
    )


class Score:
    """Counts right, found and labelled points, and keeps what was wrong to show it."""

    def __init__(self) -> None:
        self.right = self.found = self.labelled = 0
        self.wrong: list[str] = []

    def add(self, name: str, got: Counter[Point], want: Counter[Point], also: Counter[Point]) -> None:
        got = got - ((got - want) & also)
        self.right += (got & want).total()
        self.found += got.total()
        self.labelled += want.total()
        self.wrong += [f"{name}: found, not labelled: {point}" for point in list(got - want)[:5]]
        self.wrong += [f"{name}: labelled, not found: {point}" for point in list(want - got)[:5]]

    def check(self) -> None:
        told = "\n".join(self.wrong[:60])
        assert self.right / self.found >= PRECISION, told
        assert self.right / self.labelled >= RECALL, told


@pytest.mark.parametrize(("half", "least"), [("development", 1_200), ("held_out", 600)])
def test_logs_of_real_programs_reach_precision_and_recall(half: str, least: int) -> None:
    score = Score()
    for name, label in json.loads((LOGS / "labels.json").read_text()).items():
        if label["half"] == half:
            data = (LOGS / half / f"{name}.log").read_bytes()
            score.add(name, read(data), counted(label["points"]), counted(label["also"]))
    assert score.labelled > least
    score.check()


def test_every_log_has_labels_and_a_source() -> None:
    labels = json.loads((LOGS / "labels.json").read_text())
    assert {f"{label['half']}/{name}" for name, label in labels.items()} == {
        f"{path.parent.name}/{path.stem}"
        for half in ("development", "held_out")
        for path in (LOGS / half).glob("*.log")
    }
    assert all(label["source"] for label in labels.values())


def forms(kind: str) -> list[tuple[str, dict[str, str]]]:
    lines = json.loads((LOGS / "forms.json").read_text(encoding="utf-8"))[kind]
    return [(line, {}) if kind == "nothing" else (line[0], line[1]) for line in lines]


def written(form: str, names: dict[str, str], kind: str, seed: int) -> tuple[str, Labels]:
    """A line twenty times with other numbers in it, and its labels."""
    numbers = random.Random(seed)
    text = ""
    labels: Labels = {name: [] for name in names}
    for number in range(1, 21):
        epoch, place = (number - 1) // 5, (number - 1) % 5 * 40
        values = {
            "a": f"{2.3 * math.exp(-number / 10) * numbers.uniform(0.9, 1.1):.4f}",
            "b": f"{0.98 - 0.5 * math.exp(-number / 7) + numbers.random() / 100:.4f}",
            "c": f"{2.6 * math.exp(-number / 10) * numbers.uniform(0.9, 1.1):.6f}",
            "t": f"{0.5 + numbers.random():.2f}",
        }
        text += form.format(n=number, e=epoch, p=place, **values) + "\n"
        for name, letter in names.items():
            labels[name].append((number if kind == "epoch" else epoch * 200 + place, float(values[letter])))
    return text, labels


@pytest.mark.parametrize("kind", ["epoch", "batch"])
def test_lines_as_people_write_them_are_read(kind: str) -> None:
    score = Score()
    for seed, (form, names) in enumerate(forms(kind)):
        text, labels = written(form, names, kind, seed)
        score.add(form, read(text.encode()), counted(labels), Counter())
    assert score.labelled > 400
    score.check()


def test_lines_that_say_nothing_of_a_training_give_nothing() -> None:
    texts = {form: written(form, {}, "nothing", seed)[0].encode() for seed, (form, _) in enumerate(forms("nothing"))}
    texts |= {path.name: path.read_bytes() for path in (LOGS / "nothing").glob("*.log")}
    assert sum(text.count(b"\n") for text in texts.values()) > 400
    assert not {name: list(points)[:5] for name, text in texts.items() if (points := read(text))}
