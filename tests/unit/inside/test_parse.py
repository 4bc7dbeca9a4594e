"""What is read from printed lines: precision before recall, on a labelled corpus and by single rules."""

from __future__ import annotations

import importlib.util
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.inside import parse
from dstui.inside.parse import OutputMetrics
from dstui_store import journal

CORPUS = Path(__file__).parent / "corpus"
PRECISION = 0.98
RECALL = 0.9

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


def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("corpus_generate", CORPUS / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def labelled() -> Iterator[tuple[str, bytes, dict[str, Any], dict[str, Any]]]:
    """Name, output, labels, and points that may be missed, of every log."""
    for name, label in json.loads((CORPUS / "labels.json").read_text()).items():
        yield name, (CORPUS / f"{name}.log").read_bytes(), label["points"], label["also"]
    for name, log in generator().form_logs().items():
        yield name, log.text.encode(), log.points, {}


def counted(points: dict[str, list[tuple[int | None, float]]]) -> Counter[Point]:
    return Counter((name, step, value) for name, pairs in points.items() for step, value in pairs)


def test_corpus_reaches_precision_and_recall(tmp_path: Path) -> None:
    right = found = wanted = 0
    worst: list[str] = []
    for number, (name, data, points, also) in enumerate(labelled()):
        got, want = Counter(read(tmp_path / str(number), data)), counted(points)
        got -= (got - want) & counted(also)
        hits = (got & want).total()
        right, found, wanted = right + hits, found + got.total(), wanted + want.total()
        if hits < max(got.total(), want.total()):
            worst.append(f"{name}: right {hits}, found {got.total()}, labelled {want.total()}")
    assert wanted > 5_000
    assert right / found >= PRECISION, worst
    assert right / wanted >= RECALL, worst


def test_corpus_lines_without_metrics_give_none(tmp_path: Path) -> None:
    quiet = [entry for entry in labelled() if not entry[2]]
    assert sum(data.count(b"\n") for _, data, _, _ in quiet) > 400
    wrong = {name: points for name, data, _, _ in quiet if (points := read(tmp_path, data))}
    assert not wrong


def test_corpus_is_what_its_generator_writes() -> None:
    """Labels and logs belong together: one changed by hand would prove nothing."""
    module = generator()
    for seed, (name, write) in enumerate(module.script_logs().items()):
        log = module.Log(seed)
        write(log)
        assert (CORPUS / f"{name}.log").read_bytes() == log.text.encode(), name
    assert {path.stem for path in CORPUS.glob("*.log")} == set(module.script_logs())


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
    data = lines("Epoch 1/3", "Val Loss: 0.5", "gap: 3.0", "Epoch 2/3", "Val Loss: 0.4")
    assert read(tmp_path, data) == [("val_loss", 1, 0.5), ("val_loss", 2, 0.4)]


def test_result_without_position_counts_without_step(tmp_path: Path) -> None:
    assert read(tmp_path, lines("Accuracy: 9826/10000 (98%)", "threshold: 0.5")) == [("accuracy", None, 0.9826)]


def test_same_line_of_four_ranks_gives_one_point(tmp_path: Path) -> None:
    data = lines(*(f"step {n} loss {n / 3}" for n in range(5) for _ in range(4)), *["test accuracy: 0.91"] * 4)
    points = read(tmp_path, data)
    assert steps(points, "loss") == [0, 1, 2, 3, 4]
    assert steps(points, "test_accuracy") == [None]


def test_lines_of_other_ranks_are_not_read(tmp_path: Path) -> None:
    data = lines(*(f"[rank{rank}]: step {n} loss {rank}.{n}" for n in range(4) for rank in (1, 0, 2)))
    assert [value for _, _, value in read(tmp_path, data)] == [0.0, 0.1, 0.2, 0.3]


def test_warning_is_not_read(tmp_path: Path) -> None:
    assert read(tmp_path, lines(*(f"WARNING: loss: nan at step {n}" for n in range(5)))) == []


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
    assert steps(recorders[1].points, "loss") == [0, 99] or len(recorders[1].points) <= 3
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
    assert parse.LINES_PER_SECOND < looked_at < 1_500
    assert len(journal.read(tmp_path).value) == looked_at


NASTY = [
    "a" * 4096, "a " * 2048, "a=" * 2048, "1" * 4096, "1," * 2048, "[" * 4096, "(" * 4096, "[1" * 2048,
    "(((a)))" * 585, "step " * 819, "epoch 1 " * 512, "1/" * 2048, "{'a': 1, " * 450, "{'a': " * 682, "%|" * 2048,
    "1%|" * 1365, ": 1 " * 1024, "epoch" + " " * 4090, "epoch :" + "\t" * 4090, "step" + " " * 4000 + "[",
    "loss" + " " * 4000 + "=", "1" + " " * 4000 + "/", "\u2003" * 1365, "12:34:56 " * 455, "val " * 1024,
    " " * 4095 + "1:", "=1" * 2048, "\x1b[" * 2048, "━" * 1365, "step 1 of " * 409, "a.b:" * 1024, "INFO:" * 819,
]  # fmt: skip


@pytest.mark.slow
def test_no_line_takes_time_out_of_proportion(tmp_path: Path) -> None:
    """Four times the length may take about four times as long; a quadratic pattern would take sixteen."""

    def cost(text: str) -> float:
        best = float("inf")
        for _ in range(5):
            start = time.process_time()
            for _ in range(10):
                parse.parse(text)
            best = min(best, time.process_time() - start)
        return best

    floor = cost("step 10 | loss 0.3 | acc: 0.7") * 20
    slow = {text[:12]: ratio for text in NASTY if (ratio := cost(text) / max(cost(text[:1024]), floor)) > 8}
    assert not slow


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
