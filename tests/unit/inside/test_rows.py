"""Tables that scripts write give their numbers at their steps, once, however they are written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.inside.rows import (
    BAD_IN_A_ROW,
    LINE_BYTES,
    CsvReader,
    JsonLinesReader,
    RewrittenError,
    TableError,
    TrainerHistory,
)

DATA = Path(__file__).parents[2] / "data"

Row = tuple[int, dict[str, float]]
Reader = CsvReader | JsonLinesReader


class Rows(list[Row]):
    """What a reader has handed on, and the times that rows gave for themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float | None] = []

    def add(self, step: int, values: dict[str, float], time: float | None) -> None:
        self.append((step, values))
        self.times.append(time)


def csv(text: str) -> Rows:
    rows = Rows()
    CsvReader(rows.add).take(text.encode(), 0)
    return rows


def lines(*entries: object) -> Rows:
    rows = Rows()
    text = "".join((entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in entries)
    JsonLinesReader(rows.add).take(text.encode(), 0)
    return rows


def history(step: int, *entries: dict[str, float]) -> bytes:
    return json.dumps({"global_step": step, "log_history": list(entries), "best_metric": None}).encode()


# CSV.


def test_the_epochs_of_keras_are_read() -> None:
    rows = csv((DATA / "keras.csv").read_text())
    assert [step for step, _ in rows] == [0, 1, 2, 3, 4]
    assert set(rows[0][1]) == {"loss", "val_loss"}


def test_empty_cells_are_no_points() -> None:
    text = "epoch,step,train_loss,val_loss\n0,49,0.5,\n0,99,,0.25\n"
    assert csv(text) == [(49, {"epoch": 0, "train_loss": 0.5}), (99, {"epoch": 0, "val_loss": 0.25})]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("              epoch,      train/box_loss\n                  3,      1.5\n", (3, {"train/box_loss": 1.5})),
        ("Step;Value\n7;0.5\n", (7, {"Value": 0.5})),
        ("iter\tloss\r\n7\t0.5\r\n", (7, {"loss": 0.5})),
        ('"step","a, b"\n"7","0.5"\n', (7, {"a, b": 0.5})),
        ("\ufeffstep,loss\n7.0,1e-3\n", (7, {"loss": 0.001})),
        ("rollout/reward,time/total_timesteps\n1.5,2048\n", (2048, {"rollout/reward": 1.5})),
        ("epoch,step,loss\n0.5,3,1\n", (3, {"epoch": 0.5, "loss": 1.0})),
        ("step,epoch,loss\n,3,1\n", (3, {"loss": 1.0})),
        ("step,phase,loss\n3,val,1\n", (3, {"val/loss": 1.0})),
    ],
)
def test_headers_and_cells_as_programs_write_them(text: str, row: Row) -> None:
    assert csv(text) == [row]


@pytest.mark.parametrize(
    "header", ["name,value", "step", "a;b;c", "step_size,loss", ",".join(["step", *map(str, range(1_000))])]
)
def test_a_table_without_steps_or_of_data_is_left(header: str) -> None:
    with pytest.raises(TableError):
        csv(header + "\n")


def test_columns_of_words_are_no_metrics() -> None:
    assert csv("step,model,loss,day\n1,resnet,0.5,2026_01\n2,resnet,0.4,2026_02\n") == [
        (1, {"loss": 0.5}),
        (2, {"loss": 0.4}),
    ]


def test_a_column_of_dates_is_the_time_of_its_row() -> None:
    rows = csv("step,timestamp,loss\n1,1790000000.5,0.5\n")
    assert (rows, rows.times) == ([(1, {"loss": 0.5})], [1790000000.5])
    rows = csv("epoch,time,loss\n1,12.5,0.5\n")
    assert (rows, rows.times) == ([(1, {"time": 12.5, "loss": 0.5})], [None])


def test_nan_is_a_value() -> None:
    ((_, values),) = csv("step,loss\n1,nan\n")
    assert math.isnan(values["loss"])


def test_a_header_in_the_middle_begins_a_new_table() -> None:
    assert csv("step,a\n1,2\nstep,b,c\n3,4,5\n") == [(1, {"a": 2.0}), (3, {"b": 4.0, "c": 5.0})]


def test_bad_lines_are_counted_and_a_hundred_in_a_row_end_the_reading() -> None:
    rows = Rows()
    reader = CsvReader(rows.add)
    reader.take(b"step,loss\n1,0.5\n" + b"2\n" * (BAD_IN_A_ROW - 1) + b"3,0.25\n", 0)
    assert (rows, reader.bad) == ([(1, {"loss": 0.5}), (3, {"loss": 0.25})], BAD_IN_A_ROW - 1)
    with pytest.raises(TableError):
        reader.take(b"4\n" * BAD_IN_A_ROW, 1_000)


def test_a_line_without_end_is_given_up_piece_by_piece() -> None:
    reader = CsvReader(Rows().add)
    place = reader.take(b"step,loss\n", 0)
    for _ in range(BAD_IN_A_ROW - 1):
        assert reader.take(bytes(LINE_BYTES), place) == LINE_BYTES
    with pytest.raises(TableError):
        reader.take(bytes(LINE_BYTES), place)


def test_a_torn_row_waits_for_its_rest() -> None:
    rows = Rows()
    reader = CsvReader(rows.add)
    place = reader.take(b"step,loss\n1,0.12", 0, last=True)
    assert (rows, place) == ([], 10)
    reader.take(b"1,0.125\n", place)
    assert rows == [(1, {"loss": 0.125})]


@pytest.mark.parametrize("old", ["step,loss\n1,0.5\n", "step,loss\n1,0.5", "step,loss\n"])
def test_what_was_there_before_is_passed_over(old: str) -> None:
    rows = Rows()
    reader = CsvReader(rows.add, start=len(old))
    data, place = (old + "0\n2,0.25\n" if not old.endswith("\n") else old + "2,0.25\n").encode(), 0
    while done := reader.take(data[place:], place):
        place += done
    assert rows == [(2, {"loss": 0.25})]


# Written anew.


def again(reader: CsvReader, data: str) -> None:
    """Read a file from its start, as its follower does when what it had read is no longer there."""
    reader.restart()
    try:
        reader.take(data.encode(), 0)
    except RewrittenError:
        reader.forget()
        reader.take(data.encode(), 0)


def test_a_table_written_anew_with_one_more_column_gives_no_point_twice() -> None:
    rows = Rows()
    reader = CsvReader(rows.add)
    reader.take(b"step,loss\n1,0.5\n2,0.25\n", 0)
    again(reader, "step,loss,val_loss\n1,0.5,\n2,0.25,\n2,,0.75\n")
    assert rows == [(1, {"loss": 0.5}), (2, {"loss": 0.25}), (2, {"val_loss": 0.75})]


def test_another_training_in_the_same_table_is_read_whole() -> None:
    rows = Rows()
    reader = CsvReader(rows.add)
    reader.take(b"step,loss\n0,1.0\n1,0.5\n", 0)
    # Its first row is the same: the seed was.
    again(reader, "step,loss\n0,1.0\n1,0.75\n")
    assert [(step, values["loss"]) for step, values in rows] == [(0, 1.0), (1, 0.5), (0, 1.0), (1, 0.75)]


def test_a_table_seen_while_it_is_written_anew_waits() -> None:
    rows = Rows()
    reader = CsvReader(rows.add)
    reader.take(b"step,loss\n1,0.5\n2,0.25\n", 0)
    reader.restart()
    place = reader.take(b"step,loss\n1,0.5\n", 0)
    assert len(rows) == 2
    reader.take(b"2,0.25\n3,0.125\n", place)
    assert rows[2:] == [(3, {"loss": 0.125})]


# JSON lines.


def test_numbers_of_flat_objects_are_read() -> None:
    assert lines(
        {"step": 1, "loss": 0.5, "ok": True, "note": "fine", "nested": {"a": 1}, "list": [1], "none": None},
        {"epoch": 2, "iter": 50, "mode": "val", "acc": 1},
        {"global_step": 9, "step": 3, "loss": 0.25},
    ) == [(1, {"loss": 0.5}), (50, {"val/epoch": 2.0, "val/acc": 1.0}), (9, {"loss": 0.25})]


@pytest.mark.parametrize(
    "line",
    [
        '{"loss": 0.5}',
        '{"step": 1}',
        '{"step": 1.5, "loss": 2}',
        '{"step": "1", "loss": 2}',
        '{"step": 1, "loss": 0.5, "prompt": "' + "x" * 300 + '"}',
        '{"step": 9223372036854775808, "loss": 1}',
        "[1]",
        "[" * 20_000,
        '{"step": 1, "loss": ' + "9" * 5_000 + "}",
        "text",
    ],
)
def test_lines_that_are_no_metrics_are_bad(line: str) -> None:
    rows = Rows()
    reader = JsonLinesReader(rows.add)
    reader.take(line.encode() + b"\n", 0)
    assert (rows, reader.bad) == ([], 1)


def test_an_object_at_the_end_needs_no_newline() -> None:
    rows = Rows()
    data = b'{"step": 1, "loss": 0.5}'
    reader = JsonLinesReader(rows.add)
    assert reader.take(data, 0) == 0
    assert reader.take(data, 0, last=True) == len(data)
    assert rows == [(1, {"loss": 0.5})]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"step,loss\n"]))
def test_any_bytes_are_read_or_refused(data: bytes, header: bytes) -> None:
    for reader in (CsvReader(Rows().add), JsonLinesReader(Rows().add)):
        try:
            reader.take(header + data, 0, last=True)
        except TableError:
            pass


# Hugging Face.


def test_the_history_of_several_checkpoints_is_one_curve() -> None:
    rows = Rows()
    states = TrainerHistory(rows.add)
    one, two = {"step": 5, "epoch": 0.5, "loss": 1.0}, {"step": 10, "epoch": 1.0, "eval_loss": 0.5}
    states.take(history(5, one))
    states.take(history(10, one, two))
    states.take(history(5, one))
    assert rows == [(5, {"epoch": 0.5, "loss": 1.0}), (10, {"epoch": 1.0, "eval_loss": 0.5})]


def test_a_training_that_goes_on_gives_what_is_new_in_this_run() -> None:
    one, two = {"step": 5, "loss": 1.0}, {"step": 10, "loss": 0.5}
    rows = Rows()
    states = TrainerHistory(rows.add)
    # It went on to 15 in another run; this one goes on from 5.
    states.remember(history(5, one))
    states.remember(history(15, one, {"step": 10, "loss": 0.75}, {"step": 15, "loss": 0.7}))
    states.take(history(10, one, two))
    assert rows == [(10, {"loss": 0.5})]


def test_a_training_that_starts_over_is_read_whole() -> None:
    one, two = {"step": 5, "loss": 1.0}, {"step": 10, "loss": 0.5}
    rows = Rows()
    states = TrainerHistory(rows.add)
    states.remember(history(10, one, two))
    states.take(history(5, one))
    states.take(history(10, one, two))
    assert rows == [(5, {"loss": 1.0}), (10, {"loss": 0.5})]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"log_history": 3}', b'{"log_history": [1, "a", null]}'])
def test_half_a_state_is_refused_and_odd_entries_are_passed_over(data: bytes) -> None:
    rows = Rows()
    try:
        TrainerHistory(rows.add).take(data)
    except TableError:
        pass
    assert rows == []
