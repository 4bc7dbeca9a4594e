"""Pieces of the reader: running runs, output by line, and the facts of one run."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dstui.inside.journal import JournalWriter
from dstui.sdk.views.detail import chart_groups, code, code_text, config_lines, detail, file_diffs
from dstui.sdk.views.lines import LineMaker
from dstui.sdk.views.live import MAX_POINTS, Curve, LiveRuns
from dstui.sdk.views.log import LogFiles, LogText
from dstui.sdk.views.runs import RunTable
from dstui_store import Series, Store
from tests.store.ended_runs import begun_run, exit_record, write_state

if TYPE_CHECKING:
    from dstui.sdk.views.data import RunLine


def live_runs(store: Store) -> LiveRuns:
    return LiveRuns(store, LineMaker(store.writer()), lambda run: 5)


# Running runs


def test_a_running_run_has_a_line_that_grows_with_its_journal(store: Store) -> None:
    new = begun_run(store, name="live one")
    lives = live_runs(store)
    assert lives.poll(finish=False)
    (line,) = lives.lines().values()
    assert (line.name, line.state, line.live, line.step) == ("live one", "running", True, None)
    journal = JournalWriter(str(new.folder / "journal"), 0, "1")
    for step in range(50):
        journal.log({"loss": 1.0 / (step + 1)}, step)
    assert lives.poll(finish=False)
    (grown,) = lives.lines().values()
    assert grown.version > line.version
    assert (grown.row, grown.step) == (line.row, 49)
    assert grown.values["metric.loss"] == 0.02
    assert len(grown.trend) == 20
    assert grown.trend[0] > grown.trend[-1]
    curve = lives.envelopes(new.id, ["loss", "nothing"], 10, "step")
    assert set(curve) == {"loss"}
    assert curve["loss"].points == 50
    assert not lives.poll(finish=False), "nothing happened since"
    journal.close()
    os.close(new.alive)


def test_a_run_that_ended_is_committed_and_leaves_the_running_ones(store: Store) -> None:
    new = begun_run(store)
    lives = live_runs(store)
    lives.poll(finish=True)
    assert len(lives.lines()) == 1
    (new.folder / "exit.json").write_text(json.dumps(exit_record(new.id)))
    write_state(new.folder)
    os.close(new.alive)
    assert lives.poll(finish=True)
    assert lives.lines() == {}
    assert store.record(new.id).state == "finished"


def test_a_long_curve_is_thinned_and_keeps_its_spikes() -> None:
    curve = Curve()
    value = np.zeros(MAX_POINTS + 8)
    value[1234], value[5678], value[9999] = 7.0, -7.0, math.nan
    steps = np.arange(len(value))
    curve.add(Series("loss", steps, steps.astype(float), value))
    step, _, kept = curve.arrays()
    assert len(kept) <= MAX_POINTS
    assert (np.nanmax(kept), np.nanmin(kept)) == (7.0, -7.0)
    assert (np.diff(step) > 0).all()


# Output


def test_lines_and_windows_of_an_output() -> None:
    text = LogText(b"one\ntwo\r2nd\nthree")
    assert text.count == 3
    assert [line.text for line in text.window(0, 9)] == ["one", "2nd", "three"]
    assert [line.text for line in text.window(1, 1)] == ["2nd"]
    assert text.window(7, 3) == ()
    assert LogText(b"").count == 0
    assert LogText(b"\n\n").count == 2


def test_a_search_names_each_line_once_ignoring_case() -> None:
    assert LogText(b"Loss loss\nx\nLOSS\n").search("loss") == [0, 2]
    assert LogText(b"abc").search("x") == []


def test_a_very_long_line_is_shown_by_its_end_when_it_restarts_and_by_its_beginning_else() -> None:
    bar = b"".join(b"\r%d%%" % percent for percent in range(40_000))
    (shown,) = LogText(bar).window(0, 1)
    assert shown.text == "39999%"
    (plain,) = LogText(b"start" + b"x" * 200_000).window(0, 1)
    assert plain.text.startswith("start")


def test_a_growing_output_is_followed_through_its_segments(tmp_path: Path) -> None:
    log = LogFiles(tmp_path)
    assert (log.count, log.poll()) == (0, False)
    (tmp_path / "log").write_bytes(b"a\nb")
    assert log.poll()
    assert log.count == 2
    with (tmp_path / "log").open("ab") as more:
        more.write(b"c\n")
    assert log.poll()
    (tmp_path / "log.tail.1").write_bytes(b"d\n")
    (tmp_path / "log.tail.2").write_bytes(b"e\n")
    assert log.poll()
    assert [line.text for line in log.window(0, 9)] == ["a", "bc", "d", "e"]
    log.close()


def test_an_output_that_was_cut_or_lost_a_segment_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"long enough\nto be cut\n")
    log = LogFiles(tmp_path)
    (tmp_path / "log").write_bytes(b"x\n")
    assert log.poll()
    assert [line.text for line in log.window(0, 9)] == ["x"]
    (tmp_path / "log.tail.1").write_bytes(b"1\n")
    log.poll()
    (tmp_path / "log.tail.1").unlink()
    (tmp_path / "log.tail.2").write_bytes(b"2\n")
    log.poll()
    assert [line.text for line in log.window(0, 9)] == ["x", "2"]
    log.close()


# One run


def table_of(store: Store) -> RunTable:
    store.index.sync()
    return RunTable(store.index.query, LineMaker(store.writer()), lambda: 0.0)


def line_named(store: Store, name: str) -> RunLine:
    return next(line for line in table_of(store).newest(9) if line.name == name)


def test_the_facts_of_a_run(store: Store) -> None:
    found = detail(store, line_named(store, "broken"), None, None)
    facts = {str(fact.label): fact.text for fact in found.facts}
    assert facts["state"] == "failed: exit code 3"
    assert facts["by"] == "tester on testhost"
    assert facts["command"] == "python train.py --lr 0.1"
    assert found.problem == ""
    good = detail(store, line_named(store, "train lr=0.1"), None, None)
    assert [metric.name for metric in good.metrics] == ["val/loss", "train/loss", "acc"]
    assert [(group.title, [label for label, _ in group.members]) for group in good.groups] == [
        ("loss", ["train", "val"]),
        ("acc", ["acc"]),
    ]


def test_a_config_shows_what_differs_first(store: Store) -> None:
    found = detail(store, line_named(store, "train lr=0.2"), line_named(store, "train lr=0.1"), None)
    assert [(item.key, item.other, item.value, item.differs) for item in found.config] == [
        ("depth", "18", "36", True),
        ("lr", "0.1", "0.2", True),
        ("data", "cifar", "cifar", False),
    ]


def test_config_values_are_exact_and_missing_ones_are_told_apart() -> None:
    lines = {str(item.key): (item.value, item.other) for item in config_lines({"a": 1e-5, "b": None}, {"c": [1, "x"]})}
    assert lines == {"a": ("1e-5", None), "b": ("null", None), "c": (None, '[1, "x"]')}


def test_metrics_of_train_and_val_share_a_chart() -> None:
    groups = chart_groups(["val_loss", "train/loss", "loss_scale", "acc.test", "acc"])
    assert {str(group.title): [str(name) for _, name in group.members] for group in groups} == {
        "loss": ["train/loss", "val_loss"],
        "acc": ["acc", "acc.test"],
        "loss_scale": ["loss_scale"],
    }


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({}, ""),
        ({"commit": "a" * 40, "branch": "main"}, "aaaaaaa on main"),
        ({"commit": "a" * 40, "edited": ["x"], "added": ["y", "z"]}, "aaaaaaa + 1 edited, 2 new"),
        ({"refused": "the project is your home folder"}, "not stored: the project is your home folder"),
    ],
)
def test_code_in_words(stored: dict[str, object], words: str) -> None:
    assert code_text(stored) == words


PATCH = b"""diff --git a/train.py b/train.py
index 1..2 100644
--- a/train.py
+++ b/train.py
@@ -1,2 +1,2 @@
 kept
-old
+new\x1b[2J
diff --git a/w.bin b/w.bin
new file mode 100644
Binary files /dev/null and b/w.bin differ
"""


def test_files_of_a_patch() -> None:
    text, binary = file_diffs(PATCH)
    assert (text.path, text.added, text.removed, text.note) == ("train.py", 1, 1, "")
    assert [(kind, str(line)) for kind, line in text.lines] == [
        ("@", "@@ -1,2 +1,2 @@"),
        (" ", "kept"),
        ("-", "old"),
        ("+", "new␛[2J"),
    ]
    assert binary.path.startswith("w.bin")
    assert (binary.added, binary.lines, binary.note) == (None, (), "new not text")


def test_code_that_cannot_be_compared_says_why(store: Store) -> None:
    found = code(store, str(line_named(store, "broken").id), None)
    assert found.files == ()
    assert found.problem
