"""Event files of real writers give the values that were logged, whole or torn, and damage gives no wrong number."""

from __future__ import annotations

import math
import random
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.inside.events import BAD_IN_A_ROW, PAGE_BYTES, RECORD_BYTES, EventError, EventReader, masked_crc
from tests.unit.inside.event_files import field, record, scalar, text, varint, version

FILES = Path(__file__).parents[2] / "data" / "event_files"
NAME = "events.out.tfevents.1"

Point = tuple[str, float, int, float]


class Read:
    """What a reader has handed on."""

    def __init__(self, start: int = 0, since: float = 0.0) -> None:
        self.points: list[Point] = []
        self.settings: dict[str, Any] = {}
        self.reader = EventReader(lambda *point: self.points.append(point), self.settings.update, start, since)

    def all(self, data: bytes) -> Read:
        self.reader.take(data, 0)
        return self

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        curves = defaultdict(list)
        for name, value, step, _ in self.points:
            curves[name].append((step, value))
        return dict(curves)


def float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def sample(*parts: str) -> bytes:
    return FILES.joinpath(*parts, NAME).read_bytes()


# What real writers write; `tests/data/README.md` says what was logged.


def test_every_scalar_of_pytorch_is_read() -> None:
    curves = Read().all(sample("torch")).curves()
    assert curves == {
        "loss": [(step, float32(1 / (step + 1))) for step in range(20)],
        "new": [(step, step / 2) for step in range(20)],
        "dp": [(step, 1 / 3) for step in range(20)],
        "big": [(2**40, 1.0)],
        "negative": [(-3, 1.0)],
    }
    assert Read().all(sample("torch", "both_b")).curves() == {"both": [(step, -float(step)) for step in range(20)]}


def test_scalars_of_tensorboardx_are_read_and_its_histograms_and_texts_are_not() -> None:
    assert Read().all(sample("tensorboardx")).curves() == {
        "train/loss": [(step, float32(1 / (step + 1))) for step in range(20)],
        "lr": [(step, float32(step / 1000)) for step in range(20)],
    }


def test_tensors_of_every_kind_of_number_are_read() -> None:
    assert Read().all(sample("tensorflow")).curves() == {
        "loss": [(step, float32(1 / (step + 1))) for step in range(20)],
        "half": [(step, step / 4) for step in range(20)],
        "double": [(5, 1 / 3)],
        "bf16": [(5, 1.5)],
        "int": [(5, -7.0)],
        "int64": [(5, 2.0**40)],
    }


def test_epochs_of_keras_are_read_with_their_times() -> None:
    read = Read().all(sample("keras", "validation"))
    curves = read.curves()
    assert [step for step, _ in curves["epoch_loss"]] == [0, 1, 2, 3, 4]
    assert curves["epoch_loss"][-1] == (4, 6.20874547958374)
    assert len(curves["evaluation_loss_vs_iterations"]) == 5
    assert all(1.79e9 < time < 1.8e9 for _, _, _, time in read.points)


@pytest.mark.parametrize(
    ("folder", "settings"),
    [
        ("keras", {"units": 16, "optimizer": "adam", "dropout": 0.1, "bias": True}),
        ("tensorboardx/1795546130.7166986", {"lr": 0.1, "layers": 3, "act": "relu", "bias": True}),
        ("torch/1795546182.236766", {"lr": 0.1, "layers": 3, "act": "relu", "bias": 1}),
    ],
)
def test_settings_of_the_hparams_plugin_are_read(folder: str, settings: dict[str, Any]) -> None:
    assert Read().all(sample(folder)).settings == settings


# Torn, grown, damaged.


@pytest.mark.parametrize("parts", [("torch",), ("tensorboardx",), ("tensorflow",), ("keras", "train")])
def test_a_file_cut_anywhere_gives_the_same(parts: tuple[str, ...]) -> None:
    data = sample(*parts)
    whole = Read().all(data).points
    read, place = Read(), 0
    for end in range(len(data) + 1):
        place += read.reader.take(data[place:end], place)
    assert read.points == whole
    assert place == len(data)
    assert read.reader.bad == 0


def test_a_record_half_of_zeros_waits_to_be_written() -> None:
    data = version(1e9) + scalar("loss", 0.5, 1, 1e9)
    tail = scalar("loss", 0.25, 2, 1e9)
    read = Read()
    place = read.reader.take(data + bytes(len(tail)), 0)
    assert (place, read.reader.bad) == (len(data), 1)
    read.reader.take(tail, place)
    assert read.curves() == {"loss": [(1, 0.5), (2, 0.25)]}


def test_a_value_whose_page_is_not_there_yet_is_no_zero() -> None:
    filler = version(1e9)
    last = scalar("loss", 0.5, 1, 1e9)
    room = PAGE_BYTES - len(filler) - len(last) // 2
    filler += text(room - len(text(0, 1e9)) - 1, 1e9)
    half = PAGE_BYTES - len(filler)
    assert 0 < half < len(last)
    read = Read()
    read.reader.take(filler + last[:half] + bytes(len(last) - half), 0)
    assert read.points == []
    assert read.reader.bad == 1


def test_lengths_that_make_no_sense_end_the_reading() -> None:
    read = Read().all(version(1e9))
    for _ in range(BAD_IN_A_ROW - 1):
        assert read.reader.take(b"\xff" * 64, 100) == 0
    with pytest.raises(EventError):
        read.reader.take(b"\xff" * 64, 100)


def test_a_bad_body_costs_one_record() -> None:
    data = scalar("a", 1, 1, 1e9) + record(b"\xff" * 30) + scalar("a", 2, 2, 1e9)
    read = Read().all(data)
    assert read.curves() == {"a": [(1, 1.0), (2, 2.0)]}
    assert read.reader.bad == 1


def test_an_image_is_passed_over_without_being_held() -> None:
    data = scalar("a", 1, 1, 1e9) + text(2 * RECORD_BYTES, 1e9) + scalar("a", 2, 2, 1e9)
    read, place = Read(), 0
    while place < len(data):
        done = read.reader.take(data[place : place + 65_536], place)
        assert done > 0
        place += done
    assert read.curves() == {"a": [(1, 1.0), (2, 2.0)]}


def test_what_was_there_before_is_passed_over() -> None:
    old, new = version(1e9) + scalar("a", 1, 1, 1e9), scalar("a", 2, 2, 1e9)
    assert Read(start=len(old)).all(old + new).curves() == {"a": [(2, 2.0)]}
    # A file begun before the run that nobody has noted: its events have times.
    assert Read(since=1.5e9).all(old + scalar("a", 2, 2, 1.6e9)).curves() == {"a": [(2, 2.0)]}


def test_a_file_read_again_says_nothing_twice() -> None:
    first, more = scalar("a", 1, 1, 1e9), scalar("a", 2, 2, 2e9)
    read = Read().all(first)
    read.reader.restart()
    read.all(first + more)
    assert read.curves() == {"a": [(1, 1.0), (2, 2.0)]}


def test_values_that_are_no_finite_numbers_are_kept() -> None:
    data = b"".join(scalar("a", value, step, 1e9) for step, value in enumerate([math.nan, math.inf, -math.inf, 0.0]))
    values = [value for _, value, _, _ in Read().all(data).points]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, 0.0]


def test_names_come_through_as_they_are() -> None:
    tags = ["a\nb\x1b[31m", "näme", "\x00", "x" * 119, "y" * 512]
    data = (
        b"".join(scalar(tag, 1, 1, 1e9) for tag in tags) + scalar(b"\xff\xfe", 1, 1, 1e9) + scalar("z" * 513, 1, 1, 1e9)
    )
    read = Read().all(data)
    assert [point[0] for point in read.points] == [*tags, "\ufffd\ufffd"]
    assert read.reader.bad == 1


def test_a_tensor_of_many_elements_stored_as_one_is_no_scalar() -> None:
    """TensorFlow stores a tensor of equal elements once."""

    def tensor(shape: bytes) -> bytes:
        content = b"\x08\x01" + field(2, shape) + field(5, struct.pack("<f", 3.0))
        return record(b"\x09" + struct.pack("<d", 1e9) + field(5, field(1, field(1, b"t") + field(8, content))))

    ten = field(2, b"\x08" + varint(10))
    assert Read().all(tensor(ten)).points == []
    assert Read().all(tensor(b"")).curves() == {"t": [(0, 3.0)]}


def test_the_check_is_that_of_tfrecords() -> None:
    # The known value of CRC-32C, masked by hand.
    check = 0xE3069283
    assert masked_crc(b"123456789") == ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["torch", "tensorboardx", "tensorflow", "keras"]))
def test_damage_never_stops_more_than_the_reader(seed: int, folder: str) -> None:
    chance = random.Random(seed)
    data = bytearray(sample(folder))
    for _ in range(chance.randint(1, 20)):
        start = chance.randrange(len(data))
        data[start : start + chance.choice([0, 1, 4])] = chance.randbytes(chance.choice([0, 1, 3, 8]))
    try:
        assert 0 <= EventReader(lambda *point: None, lambda settings: None).take(bytes(data), 0) <= len(data)
    except EventError:
        pass


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    reader = EventReader(lambda *point: None, lambda settings: None)
    data = record(b"\x09" + bytes(8) + field(5, field(1, body)))
    assert reader.take(data, 0) == len(data)
