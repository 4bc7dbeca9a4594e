"""What is read from printed lines, rule by rule, and at what cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.inside import parse
from dstui.inside.parse import OutputMetrics
from dstui_store import journal

Point = tuple[str, int | None, float]


class Recorder:
    """Stands in for the journal, to see points as they are written, steps not yet counted."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.times: list[float] = []

    def log(self, values: dict[str, float], step: int | None, time: float) -> None:
        self.points.extend((name, step, value) for name, value in values.items())
        self.times.append(time)

    def close(self) -> None:
        pass


def read(tmp_path: Path, data: bytes, seconds_per_line: float = 0.01) -> list[Point]:
    output = OutputMetrics(str(tmp_path))
    recorder: Any = Recorder()
    output._journal = recorder
    now = 1e9
    for line in data.splitlines(keepends=True):
        now += seconds_per_line
        output.feed(line, now)
    output.close()
    points: list[Point] = recorder.points
    return points


def steps(points: list[Point], name: str) -> list[int | None]:
    return [step for found, step, _ in points if found == name]


def lines(*texts: str) -> bytes:
    return "".join(text + "\n" for text in texts).encode()


def test_a_name_counts_from_its_third_line_and_its_first_two_are_added(tmp_path: Path) -> None:
    two = lines("step 1 gap=0.5", "step 2 gap=0.4")
    assert read(tmp_path, two) == []
    assert read(tmp_path, two + lines("step 3 gap=0.3")) == [("gap", 1, 0.5), ("gap", 2, 0.4), ("gap", 3, 0.3)]


def test_a_result_seen_too_rarely_is_written_at_the_end(tmp_path: Path) -> None:
    data = lines("epoch 1: val_acc=0.5 gap=1.0", "epoch 2: val_acc=0.6 gap=2.5")
    assert read(tmp_path, data) == [("val_acc", 1, 0.5), ("val_acc", 2, 0.6)]


def test_position_that_does_not_grow_makes_no_metric(tmp_path: Path) -> None:
    assert read(tmp_path, lines(*["step 5 gap=0.5"] * 9, "step 4 gap=0.1", "step 3 gap=0.1")) == []


def test_number_that_counts_along_with_the_position_is_no_metric(tmp_path: Path) -> None:
    assert read(tmp_path, lines(*(f"step {number} shard={number + 7}" for number in range(9)))) == []


def test_epoch_and_place_make_steps_that_grow_over_epochs(tmp_path: Path) -> None:
    data = lines(*(f"Train Epoch: {e} [{p}/4000 ({p // 40}%)]\tLoss: 0.{e}{p}" for e in (5, 6) for p in (0, 640, 1280)))
    assert steps(read(tmp_path, data), "loss") == [0, 640, 1280, 4000, 4640, 5280]


def test_step_counted_anew_in_each_epoch_goes_on(tmp_path: Path) -> None:
    data = lines(*(f"epoch {e} step {s} loss={s / 7}" for e in (1, 2, 3) for s in (10, 20, 30)))
    assert steps(read(tmp_path, data), "loss") == [10, 20, 30, 40, 50, 60, 70, 80, 90]


def test_step_of_the_whole_training_stays_as_printed(tmp_path: Path) -> None:
    data = lines(*(f"epoch {s // 40} step {s} loss={s / 7}" for s in range(10, 100, 10)))
    assert steps(read(tmp_path, data), "loss") == list(range(10, 100, 10))


def test_place_without_epoch_that_starts_over_counts_as_the_next(tmp_path: Path) -> None:
    data = lines(*(f"[{p}/100] loss: 0.{p}" for _ in range(2) for p in (25, 50, 75)))
    assert steps(read(tmp_path, data), "loss") == [25, 50, 75, 125, 150, 175]


def test_epoch_with_decimals_is_a_metric_and_no_step(tmp_path: Path) -> None:
    points = read(tmp_path, lines(*(f"{{'loss': {1 / n}, 'epoch': {n / 2}}}" for n in range(1, 5))))
    assert [value for name, _, value in points if name == "epoch"] == [0.5, 1.0, 1.5, 2.0]
    assert set(steps(points, "loss")) == {None}


def test_dict_with_text_in_it_is_settings(tmp_path: Path) -> None:
    assert read(tmp_path, lines(*(f"{{'loss': 0.{n}, 'step': {n}, 'device': 'cpu'}}" for n in range(1, 9)))) == []


def test_header_line_gives_its_epoch_to_results_below(tmp_path: Path) -> None:
    data = lines("Epoch 1/3", "some words", "Val Loss: 0.5", "gap: 3.0", "Epoch 2/3", "some words", "Val Loss: 0.4")
    assert read(tmp_path, data) == [("val_loss", 1, 0.5), ("val_loss", 2, 0.4)]


def test_all_fields_right_below_a_header_are_told_there(tmp_path: Path) -> None:
    data = lines(*(text for n in range(1, 5) for text in (f"-- Epoch {n}", f"Norm: {n / 7:.3f}, Bias: {n / 9:.3f}")))
    assert steps(read(tmp_path, data), "norm") == [1, 2, 3, 4]


def test_values_after_an_epoch_lie_at_the_last_step_of_a_log_with_steps(tmp_path: Path) -> None:
    data = lines(
        *(
            text
            for e in (1, 2, 3)
            for text in (
                *(f"Epoch {e} [{p}/100] loss: {e}.{p}" for p in (0, 50)),
                f"Epoch {e}: val_gap=0.{e}",
                f"Test accuracy: 0.7{e}",
            )
        )
    )
    points = read(tmp_path, data)
    assert steps(points, "loss") == [0, 50, 100, 150, 200, 250]
    assert steps(points, "val_gap") == steps(points, "test_accuracy") == [50, 150, 250]


def test_a_curve_by_epochs_does_not_turn_to_steps_half_way(tmp_path: Path) -> None:
    epochs = [f"epoch {n}: gap=0.{n}" for n in range(1, 5)]
    points = read(tmp_path, lines(*epochs, *(f"step {n} loss {n / 3}" for n in range(100, 110)), "epoch 5: gap=0.5"))
    assert steps(points, "gap") == [1, 2, 3, 4, 5]


def test_an_evaluation_gives_its_last_line_at_the_step_of_the_training(tmp_path: Path) -> None:
    data = lines(
        *(
            text
            for e in range(3)
            for text in (
                *(f"Epoch: [{e}][{p}/100]\tLoss {e}.{p} (0.5)" for p in (0, 90)),
                *(f"Test: [{p}/20]\tLoss 1.{p} (2.{e}{p})\tAcc@1 {p}.0 ({p}.{e})" for p in (0, 10, 19)),
                f" *   Acc@1 7{e}.5",
            )
        )
    )
    points = read(tmp_path, data)
    assert [point for point in points if point[0] == "test_acc@1"] == [
        ("test_acc@1", 90, 70.5), ("test_acc@1", 190, 71.5), ("test_acc@1", 290, 72.5),
    ]  # fmt: skip
    assert [value for name, _, value in points if name == "test_loss_avg"] == [2.019, 2.119, 2.219]


def test_results_that_come_twice_at_one_place_say_nothing_of_the_training(tmp_path: Path) -> None:
    classes = [f"accuracy: 0.{n}" for n in (7, 8, 9)]
    data = lines(*(text for n in range(4) for text in (f"step {n} loss {n / 3}", *classes, f"test f1: 0.6{n}")))
    points = read(tmp_path, data)
    assert steps(points, "accuracy") == []
    assert steps(points, "test_f1") == [0, 1, 2, 3]


def test_a_note_that_names_an_epoch_is_no_header(tmp_path: Path) -> None:
    data = lines(
        "Epoch 1/9", "Epoch 00000: val_loss improved from inf to 1.2, saving model", "5s - loss: 0.4 - acc: 0.3"
    )
    assert read(tmp_path, data) == [("loss", 1, 0.4), ("acc", 1, 0.3)]


def test_result_without_position_counts_without_step(tmp_path: Path) -> None:
    assert read(tmp_path, lines("Accuracy: 9826/10000 (98%)", "threshold: 0.5")) == [("accuracy", None, 0.9826)]


def test_same_line_of_four_ranks_gives_one_point(tmp_path: Path) -> None:
    data = lines(*(f"step {n} loss {n / 3}" for n in range(5) for _ in range(4)), *["test accuracy: 0.91"] * 4)
    points = read(tmp_path, data)
    assert steps(points, "loss") == [0, 1, 2, 3, 4]
    assert steps(points, "test_accuracy") == [4]


def test_a_rank_that_lags_behind_gives_no_second_point(tmp_path: Path) -> None:
    order = [0, 0, 1, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 6]
    assert steps(read(tmp_path, lines(*(f"step {n} loss {n / 3}" for n in order))), "loss") == [0, 1, 2, 3, 4, 5, 6]


def test_a_training_that_starts_over_is_read_again(tmp_path: Path) -> None:
    data = lines(*(f"step {n} loss {n / 3}" for _ in range(2) for n in range(4)))
    assert steps(read(tmp_path, data), "loss") == [0, 1, 2, 3] * 2


@pytest.mark.parametrize("prefix", ["[1,mpirank:{}]<stdout>:", "[1,{}]<stderr>:", "[default{}]:", "[rank {}] "])
def test_lines_of_other_launchers_ranks_are_not_read(tmp_path: Path, prefix: str) -> None:
    data = lines(*(prefix.format(rank) + f"step {n} loss {rank}.{n}" for n in range(4) for rank in (1, 0, 2)))
    assert [value for _, _, value in read(tmp_path, data)] == [0.0, 0.1, 0.2, 0.3]


def test_lines_of_other_ranks_are_not_read(tmp_path: Path) -> None:
    data = lines(*(f"[rank{rank}]: step {n} loss {rank}.{n}" for n in range(4) for rank in (1, 0, 2)))
    assert [value for _, _, value in read(tmp_path, data)] == [0.0, 0.1, 0.2, 0.3]


def test_warning_is_not_read(tmp_path: Path) -> None:
    assert read(tmp_path, lines(*(f"WARNING: loss: nan at step {n}" for n in range(5)))) == []


def test_number_in_brackets_beside_a_number_is_its_average(tmp_path: Path) -> None:
    points = read(tmp_path, lines(*(f"step {n} loss 1.{n} (2.{n}) best: 0.5 ({n})" for n in range(3))))
    assert {name: value for name, step, value in points if step == 2} == {"loss": 1.2, "loss_avg": 2.2, "best": 0.5}


def test_a_time_keeps_its_first_unit(tmp_path: Path) -> None:
    texts = ["480ms", "990 ms", "1.5s", "2m", "2 min"]
    points = read(tmp_path, lines(*(f"step {n}: total {text}" for n, text in enumerate(texts))))
    assert points == [("total_ms", 0, 480), ("total_ms", 1, 990), ("total_ms", 2, 1500), ("total_ms", 4, 120_000)]


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ("Epoch {n} | Train/Valid Acc: 0.{n}/0.8", {"train_acc": 0.3, "valid_acc": 0.8}),
        ("discriminator loss at step {n}: 0.{n}", {"discriminator_loss": 0.3}),
        ("Loss step {n}:  0.{n}", {"loss": 0.3}),
        ("Ep 1 (Iter {n}): Train loss 0.{n}, Val loss 2.5", {"train_loss": 0.3, "val_loss": 2.5}),
        ("Step: {n}... Loss: 0.{n}... Val Loss: 1.5", {"loss": 0.3, "val_loss": 1.5}),
        ("Step {n}: eval      Accuracy |  0.{n}", {"eval_accuracy": 0.3}),
        ("[{n}]\ttrain-auc:0.{n}+0.01", {"train-auc": 0.3}),
        ("validation at step {n}: mse=0.{n}", {"val_mse": 0.3}),
        ("99it [00:10, 9.0it/s, avg_loss=-0.{n}, epoch={n}]", {"avg_loss": -0.3}),
        ("Epoch: {n} | Val. Loss: 0.{n} |  Val. Acc: 50.5%", {"val_loss": 0.3, "val_acc_percent": 50.5}),
        ("In epoch {n}, loss: 0.{n}, step_avg:nanms", {"loss": 0.3}),
        ("Training loss at epoch {n} is 0.{n}", {"training_loss": 0.3}),
        ("{n}/5, train_loss: 0.{n}", {"train_loss": 0.3}),
        ("valid: 30%|###   | {n}/101 [00:03<00:00, 3.5it/s, dice_loss - 0.{n}]", {"val_dice_loss": 0.3}),
    ],
)
def test_forms_that_people_write(tmp_path: Path, line: str, want: dict[str, float]) -> None:
    points = read(tmp_path, lines(*(line.format(n=n) for n in range(1, 4))))
    assert {name: value for name, step, value in points if step == 3 and value == value} == want


@pytest.mark.parametrize(
    "line",
    [
        "Total optimization steps = {n}00, loss scale 0.5",
        "  {n} | encoder | Linear | 12{n} K",
        "Step {n}: Ran {n} train steps in 5.2 secs",
        "Validation DataLoader 0:  11%|#     | {n}/9 [00:00<00:03,  2.44it/s]",
        "RMSE on validation when {n} objects are dropped: 0.2{n}",
        "[CV 1/3] END ...max_depth=2;, score=0.7{n} total time=   0.1s",
        "def loss(step={n}, gamma=0.{n}):",
    ],
)
def test_lines_that_only_look_like_it(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, lines(*(line.format(n=n) for n in range(1, 9)))) == []


def test_a_table_with_a_counting_column_is_read(tmp_path: Path) -> None:
    rows = [f"      {n}        \x1b[36m0.{n}5\x1b[0m        1.{n}  0.1" for n in range(1, 5)]
    data = lines("  epoch    train_loss    val acc     dur", "-------  ----------  ------  -----", *rows, "done 1 2 3")
    points = read(tmp_path, data)
    assert [point for point in points if point[0] == "train_loss"] == [
        ("train_loss", n, float(f"0.{n}5")) for n in range(1, 5)
    ]
    assert steps(points, "val_acc") == [1, 2, 3, 4]


def test_a_step_column_counts_before_an_epoch_column(tmp_path: Path) -> None:
    rows = [f"  {n}     {n * 10}          0.{n}  5{n}.0" for n in range(4)]
    points = read(tmp_path, lines("E    #       LOSS NER  SCORE ", "---  ------  --------  ------", *rows))
    assert steps(points, "loss_ner") == steps(points, "score") == [0, 10, 20, 30]


def box(n: int) -> list[str]:
    return [
        "-" * 30, "| rollout/         |         |", f"|    ep_rew_mean   | {n}.5    |", "| time/  |   |",
        f"|    iterations    | {n}       |", f"|    total_timesteps | {n}00 |", "-" * 30,
    ]  # fmt: skip


def test_a_box_is_one_place_and_its_sections_go_before_the_names(tmp_path: Path) -> None:
    points = read(tmp_path, lines(*(line for n in range(1, 5) for line in box(n))))
    assert points == [("rollout/ep_rew_mean", n * 100, n + 0.5) for n in range(1, 5)]


def test_units_go_into_the_name(tmp_path: Path) -> None:
    data = lines(*(f"iter {n}: time {n / 7:.2f}ms, mfu 1{n}.5%, mem: {n / 3:.1f} GB, lap 2.5 s" for n in range(5)))
    assert {name for name, _, _ in read(tmp_path, data)} == {"time_ms", "mfu_percent", "mem_gb", "lap_s"}


@pytest.mark.parametrize(
    ("text", "value"), [("nan", "nan"), ("-inf", "-inf"), ("1e-05", "1e-05"), ("1,234.5", "1234.5")]
)
def test_numbers_of_every_form(tmp_path: Path, text: str, value: str) -> None:
    points = read(tmp_path, lines(*(f"step {n} | gap {text}" for n in range(3))))
    assert [str(found) for _, _, found in points] == [value] * 3


@pytest.mark.parametrize(
    "text", ["1.2.3", "12:30:05", "0x1f", "3x4", "2024-01-05", "7/9", "v2", "1e5000x", "10.0.0.1:80"]
)
def test_texts_that_only_begin_like_a_number(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, lines(*(f"step {n} gap={text}" for n in range(5)))) == []


def test_colours_do_not_hide_a_metric(tmp_path: Path) -> None:
    link = "\x1b]8;;http://x\x07"
    data = lines(*(f"\x1b[1;32mstep\x1b[0m {n} {link}loss\x1b]8;;\x07=\x1b[33m{n / 3}\x1b[0m" for n in range(3)))
    assert steps(read(tmp_path, data), "loss") == [0, 1, 2]


def bar(place: int) -> str:
    return f"Epoch 1: {place}%|██  | {place}/100 [00:01<00:09, 9.8it/s, loss={100 / (place + 1):.3f}]"


def test_redrawn_bar_counts_once_in_a_tenth_of_a_second(tmp_path: Path) -> None:
    data = "".join("\r" + bar(place) for place in range(100)).encode() + b"\n"
    often, seldom = OutputMetrics(str(tmp_path / "a")), OutputMetrics(str(tmp_path / "b"))
    recorders: list[Any] = [Recorder(), Recorder()]
    often._journal, seldom._journal = recorders
    for place in range(100):
        often.feed(("\r" + bar(place)).encode(), 1e9 + place * 0.2)
        seldom.feed(("\r" + bar(place)).encode(), 1e9 + place * 0.001)
    often.close()
    seldom.close()
    assert steps(recorders[0].points, "loss") == list(range(100))
    assert steps(recorders[1].points, "loss") == [0, 98, 99]
    assert data.count(b"\r") == 100


def test_last_text_of_a_redrawn_line_counts(tmp_path: Path) -> None:
    data = b"".join(b"step %d loss 9.9\rstep %d loss 0.%d\r\n" % (n, n, n) for n in range(4))
    assert [value for _, _, value in read(tmp_path, data)] == [0.0, 0.1, 0.2, 0.3]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=30), st.sampled_from(["\n", "\r\n"]))
def test_where_the_output_is_cut_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], end: str
) -> None:
    data = "".join(f"step {n} | loss {n / 3:.4f} | acc: {n / 7:.3f}{end}" for n in range(6)).encode()
    output = OutputMetrics(str(tmp_path_factory.mktemp("cut")))
    recorder: Any = Recorder()
    output._journal = recorder
    start = 0
    for cut in [*cuts, len(data)]:
        output.feed(data[start : start + cut], 1e9)
        start += cut
    output.close()
    assert sorted(recorder.points) == sorted(read(tmp_path_factory.mktemp("whole"), data))
    assert recorder.times == sorted(set(recorder.times)), "times must differ, to keep the order"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    read(tmp_path_factory.mktemp("any"), data + b"\n" + data.replace(b"\n", b""))


def test_a_line_of_any_length_is_cut(tmp_path: Path) -> None:
    output = OutputMetrics(str(tmp_path))
    for _ in range(50):
        output.feed(b"step 1 " + b"x" * 100_000, 1e9)
        assert len(output._rest) <= parse.LINE_BYTES
    output.feed(b"\n" + lines(*(f"step {n} loss {n / 3}" for n in range(3))), 1e9)
    output.close()
    assert len(journal.read(tmp_path).value) == 3


def test_a_flood_of_lines_is_sampled_and_counted(tmp_path: Path) -> None:
    output = OutputMetrics(str(tmp_path))
    output.feed(lines(*(f"step {n} loss {n / 3}" for n in range(10_000))), 1e9)
    output.close()
    looked_at = 10_000 - output.sampled_lines
    assert parse.LINES_PER_SECOND < looked_at <= parse.MOST_PER_SECOND
    assert len(journal.read(tmp_path).value) == looked_at


NASTY = [
    "a" * 4096, "a " * 2048, "a=" * 2048, "1" * 4096, "1," * 2048, "[" * 4096, "(" * 4096, "[1" * 2048,
    "(((a)))" * 585, "step " * 819, "epoch 1 " * 512, "1/" * 2048, "{'a': 1, " * 450, "{'a': " * 682, "%|" * 2048,
    "1%|" * 1365, ": 1 " * 1024, "epoch" + " " * 4090, "epoch :" + "\t" * 4090, "step" + " " * 4000 + "[",
    "loss" + " " * 4000 + "=", "1" + " " * 4000 + "/", "\u2003" * 1365, "12:34:56 " * 455, "val " * 1024,
    " " * 4095 + "1:", "=1" * 2048, "\x1b[" * 2048, "━" * 1365, "step 1 of " * 409, "a.b:" * 1024, "INFO:" * 819,
]  # fmt: skip


NASTY += [
    "1s-" * 1365, "5%" * 2048, "a/b " * 1024, "a/b: 1/2 " * 450, "| a | 1 |" * 455, "|" + " " * 4000 + "|",
    "a  " * 1365, "epoch  " * 585, "# " * 2048, "1%|1/1 []x" * 409, "1%| 1/1 []a: 1 " * 273, "1it [" * 819,
    "1.5 (1.5) " * 409, "(step 1) " * 455, "loss at step 1: " * 256, "a - INFO " * 455, "INFO " * 819, "0.5+0.5" * 585,
    "nan" * 1365, "a.1|" * 1024, "epoch 1 " + "a  " * 1300, "Epoch(val) " * 372, "loss | 1.5 | " * 315, "nan(" * 1024,
    ". " * 2048, "- " * 2048,
]  # fmt: skip


@pytest.mark.slow
def test_no_line_takes_time_out_of_proportion(tmp_path: Path) -> None:
    """Four times the length may take about four times as long; a quadratic pattern would take sixteen."""

    def cost(text: str) -> float:
        best = float("inf")
        for _ in range(3):
            output = parse.OutputMetrics(str(tmp_path))
            output.feed(lines("  epoch    loss    acc"), 1e9)
            start = time.process_time()
            for number in range(4):
                output.feed(lines(text), 1e9 + number)
            best = min(best, time.process_time() - start)
        return best

    floor = cost("step 10 | loss 0.3 | acc: 0.7") * 20
    slow = {text[:12]: ratio for text in NASTY if (ratio := cost(text) / max(cost(text[:1024]), floor)) > 8}
    assert not slow


def test_a_line_of_a_megabyte_costs_no_more_than_its_bytes(tmp_path: Path) -> None:
    def cost(data: bytes) -> float:
        output = parse.OutputMetrics(str(tmp_path))
        start = time.process_time()
        for number in range(20):
            output.feed(data, 1e9 + number)
        return time.process_time() - start

    assert cost(b"a  " * 350_000 + b"\n") < 50 * cost(b"a  " * 1_365 + b"\n")


def test_lines_that_cannot_hold_a_metric_and_lines_of_a_flood_cost_little(tmp_path: Path) -> None:
    """Against reading each line: a fortieth at most."""
    line = b"step 100 | loss 0.345 | acc: 0.77\n"

    def cost(data: bytes, seconds: float) -> float:
        output = parse.OutputMetrics(str(tmp_path))
        recorder: Any = Recorder()
        output._journal = recorder
        start = time.process_time()
        for number in range(40):
            output.feed(data, 1e9 + number * seconds)
        return (time.process_time() - start) / (40 * data.count(b"\n"))

    one = cost(line * 200, 2)
    assert cost(line * 20_000, 0.02) < one / 40


def test_points_reach_the_journal_under_the_name_of_the_source(tmp_path: Path) -> None:
    output = OutputMetrics(str(tmp_path))
    output.feed(lines(*(f"step {n} loss {n / 3}" for n in range(5))), 1e9)
    output.close()
    assert (tmp_path / "0-stdout.dsj").exists()
    assert journal.read(tmp_path).series()["loss"].step.tolist() == [0, 1, 2, 3, 4]


def test_output_without_metrics_leaves_no_file(tmp_path: Path) -> None:
    assert read(tmp_path / "none", b"hello 1\n") == []
    output = OutputMetrics(str(tmp_path))
    output.feed(b"hello 1\n", 1e9)
    output.close()
    assert list(tmp_path.iterdir()) == []
