"""Reading journals: every whole record and no other, as they grow, with steps, names, ranks and sources in order."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.inside.journal import JournalWriter
from dstui_store import journal
from dstui_store.journal import CHUNK_RECORDS, RECORD_BYTES, Tail

FLOATS = st.one_of(
    st.floats(width=64),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]),
)
"""All float64 values, each NaN payload too."""

NAMES = st.text(st.characters(codec=None), max_size=12)
"""Any string, lone surrogates and control characters too."""

CALLS = st.lists(
    st.tuples(
        st.dictionaries(NAMES, FLOATS, min_size=1, max_size=5),
        st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
        st.floats(0, 2e9),
    ),
    max_size=25,
)


def write(
    folder: Path, calls: list[tuple[dict[str, float], int | None, float]], name: str = "1", rank: int = 0
) -> Path:
    writer = JournalWriter(str(folder), rank, name)
    for values, step, time in calls:
        writer.log(values, step, time)
    writer.close()
    return folder / f"{rank}-{name}.dsj"


def simple(folder: Path, count: int, name: str = "1") -> Path:
    return write(folder, [({"loss": float(number)}, number, 1e9 + number) for number in range(count)], name)


def bits(values: list[float]) -> list[int]:
    return [struct.unpack("<q", struct.pack("<d", value))[0] for value in values]


@settings(max_examples=150, deadline=None)
@given(CALLS)
def test_what_is_logged_is_read_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[dict[str, float], int | None, float]]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    write(folder, calls)
    data = journal.read(folder)
    assert data.bad_records == 0
    expected: dict[str, list[tuple[float, int, float]]] = {}
    for values, step, time in calls:
        for name, value in values.items():
            points = expected.setdefault(name, [])
            points.append((round(time * 1e6) / 1e6, len(points) if step is None else step, value))
    series = data.series()
    assert set(series) == set(expected)
    for name, points in expected.items():
        points.sort(key=lambda point: point[0])
        assert series[name].time.tolist() == pytest.approx([time for time, _, _ in points], abs=1e-6)
        assert series[name].step.tolist() == [step for _, step, _ in points]
        assert bits(series[name].value.tolist()) == bits([value for _, _, value in points])


def test_journal_cut_at_every_byte_keeps_every_whole_record(tmp_path: Path) -> None:
    path = simple(tmp_path, 12)
    data = path.read_bytes()
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        read = journal.read(tmp_path)
        whole = max(0, length // RECORD_BYTES - 1)
        assert read.value.tolist() == [float(number) for number in range(whole)]
        assert read.bad_records == 0
        assert sum(len(series.value) for series in Tail(tmp_path).poll().values()) == whole


@pytest.mark.parametrize("count", [40, 3 * CHUNK_RECORDS])
def test_every_flipped_bit_is_found_and_costs_its_record_only(tmp_path: Path, count: int) -> None:
    path = simple(tmp_path, count)
    data = path.read_bytes()
    number = count // 2 + 3
    for bit in range(RECORD_BYTES * 8):
        damaged = bytearray(data)
        damaged[number * RECORD_BYTES + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        read = journal.read(tmp_path)
        assert read.bad_records == 1
        assert len(read.value) == count - 1
        assert float(number - 1) not in read.value


@pytest.mark.parametrize("count", [1, 2, 127, 128, 129])
def test_zeroed_shifted_and_repeated_blocks_are_found(tmp_path: Path, count: int) -> None:
    path = simple(tmp_path, 3 * CHUNK_RECORDS)
    data = path.read_bytes()
    start, size = 700 * RECORD_BYTES, count * RECORD_BYTES
    block = data[start : start + size]
    damages = {
        "zeroed": data[:start] + bytes(size) + data[start + size :],
        "ones": data[:start] + b"\xff" * size + data[start + size :],
        "repeated from before": data[:start] + data[start - size : start] + data[start + size :],
        "swapped": data[:start] + data[start + size : start + 2 * size] + block + data[start + 2 * size :],
    }
    for name, damaged in damages.items():
        path.write_bytes(damaged)
        read = journal.read(tmp_path)
        bad = 2 * count if name == "swapped" else count
        assert read.bad_records == bad, name
        assert len(read.value) == 3 * CHUNK_RECORDS - bad, name


def test_lost_bytes_make_all_that_follow_bad_and_nothing_wrong(tmp_path: Path) -> None:
    path = simple(tmp_path, 2_000)
    data = path.read_bytes()
    for missing in (1, 31, 32, 33, 64):
        path.write_bytes(data[: 500 * 32] + data[500 * 32 + missing :])
        read = journal.read(tmp_path)
        assert read.value.tolist() == [float(number) for number in range(499)]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 3 * CHUNK_RECORDS), st.sets(st.integers(0, 3 * CHUNK_RECORDS - 1), max_size=8), st.integers(0, 2**32)
)
def test_check_of_many_records_agrees_with_one_by_one(first: int, damaged: set[int], seed: int) -> None:
    count = 3 * CHUNK_RECORDS
    bodies = np.random.default_rng(seed).integers(0, 256, (count, 28), np.uint8)
    data = bytearray()
    for number, body in enumerate(bodies):
        data += body.tobytes() + crc32(body.tobytes(), first + number).to_bytes(4, "little")
    for number in damaged:
        data[number * 32 + seed % 32] ^= 1 << seed % 8
    valid = journal.check(memoryview(data), first)
    assert set(np.flatnonzero(~valid).tolist()) == damaged


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 1000, 2**21 + 5])
def test_one_checksum_proves_a_thousand_records(chunk: int) -> None:
    """Else they are checked one by one, with the same result, forty times slower."""
    first = chunk * CHUNK_RECORDS
    data = b""
    for number in range(first, first + CHUNK_RECORDS):
        body = number.to_bytes(28, "little")
        data += body + crc32(body, number).to_bytes(4, "little")
    assert crc32(data, first) == journal._expected(first)


def test_unknown_names_read_by_number(tmp_path: Path) -> None:
    path = write(tmp_path, [({"a": 1.0}, 1, 1.0), ({"b": 2.0}, 1, 2.0)])
    path.with_suffix(".keys").write_text('"a"\n')
    assert set(journal.read(tmp_path).series()) == {"a", "key#1"}
    path.with_suffix(".keys").write_bytes(b"\xff\n[3]\n")
    assert set(journal.read(tmp_path).series()) == {"key#0", "key#1"}
    path.with_suffix(".keys").unlink()
    assert set(journal.read(tmp_path).series()) == {"key#0", "key#1"}


def test_steps_are_counted_per_metric_and_process(tmp_path: Path) -> None:
    write(tmp_path, [({"a": 1.0}, None, 1.0), ({"a": 2.0, "b": 3.0}, None, 2.0), ({"a": 4.0}, 90, 3.0)], "1")
    write(tmp_path, [({"a": 5.0}, None, 4.0), ({"a": 6.0}, None, 5.0)], "2")
    series = journal.read(tmp_path).series()
    assert series["a"].step.tolist() == [0, 1, 90, 0, 1]
    assert series["b"].step.tolist() == [0]


def test_points_are_in_order_of_time_and_steps_may_go_back(tmp_path: Path) -> None:
    write(tmp_path, [({"a": 1.0}, 50, 1.0), ({"a": 2.0}, 7, 2.0), ({"a": 3.0}, 8, 1.5)])
    series = journal.read(tmp_path).series()["a"]
    assert series.time.tolist() == [1.0, 1.5, 2.0]
    assert series.step.tolist() == [50, 8, 7]


def test_points_of_equal_time_keep_their_order(tmp_path: Path) -> None:
    write(tmp_path, [({"a": float(9 - number)}, 1, 5.0) for number in range(9)])
    assert journal.read(tmp_path).series()["a"].value.tolist() == [float(9 - number) for number in range(9)]


def test_ranks_are_apart_and_the_lowest_is_the_run(tmp_path: Path) -> None:
    write(tmp_path, [({"a": 3.0}, 1, 1.0)], "11", rank=3)
    assert journal.read(tmp_path).main_rank == 3
    assert journal.read(tmp_path).series()["a"].value.tolist() == [3.0]
    write(tmp_path, [({"a": 1.0}, 1, 1.0)], "10", rank=1)
    write(tmp_path, [({"printed": 9.0}, 1, 1.0)], "stdout")
    data = journal.read(tmp_path)
    assert data.main_rank == 1
    assert data.ranks() == [1, 3]
    assert data.series()["a"].value.tolist() == [1.0]
    assert data.series()["printed"].value.tolist() == [9.0]
    assert set(Tail(tmp_path).poll()) == {"a", "printed"}
    assert data.series(3)["a"].value.tolist() == [3.0]


def test_printed_metric_that_is_logged_too_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, [({"loss": 0.5, "val_loss": 0.4, "lr": 0.1}, 1, 1.0)], "stdout")
    assert set(journal.read(tmp_path).series()) == {"loss", "val_loss", "lr"}
    write(tmp_path, [({"train/Loss": 0.51, "val.loss": 0.41}, 1, 1.0)], "77")
    assert set(journal.read(tmp_path).series()) == {"train/Loss", "val.loss", "lr"}


def test_printed_metric_of_the_same_name_gives_way(tmp_path: Path) -> None:
    write(tmp_path, [({"loss": 0.5}, 1, 1.0)], "stdout")
    write(tmp_path, [({"loss": 0.51}, 1, 1.0)], "77")
    assert journal.read(tmp_path).series()["loss"].value.tolist() == [0.51]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Train/Loss", "loss"),
        ("train_loss", "loss"),
        ("eval-loss", "eval_loss"),
        ("eval/loss", "eval_loss"),
        ("train", "train"),
        ("train/train_runtime", "runtime"),
        ("training/val_loss", "val_loss"),
        ("train_", "train_"),
    ],
)
def test_plain_names(name: str, plain: str) -> None:
    assert journal.plain_name(name) == plain


def header(version: int) -> bytes:
    body = struct.pack("<I4sIIId", 0, b"DSJ1", version, 0, 1, 1e9)
    return body + struct.pack("<I", crc32(body, 0))


def test_journal_of_a_newer_version_is_skipped_by_name(tmp_path: Path) -> None:
    path = simple(tmp_path, 3)
    path.write_bytes(header(2) + path.read_bytes()[32:])
    data = journal.read(tmp_path)
    assert data.newer == ["0-1.dsj"]
    assert len(data.value) == 0


def test_bad_header_costs_itself_only(tmp_path: Path) -> None:
    path = simple(tmp_path, 3)
    path.write_bytes(bytes(32) + path.read_bytes()[32:])
    data = journal.read(tmp_path)
    assert data.bad_records == 1
    assert len(data.value) == 3


def test_records_of_other_kinds_are_skipped_without_a_count(tmp_path: Path) -> None:
    path = simple(tmp_path, 3)
    body = struct.pack("<Iqdd", 3 << 24 | 5, 1, 1e9, 0.0)
    path.write_bytes(path.read_bytes() + body + struct.pack("<I", crc32(body, 4)))
    data = journal.read(tmp_path)
    assert (data.bad_records, len(data.value)) == (0, 3)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -float("inf"), 1e300, -1e15])
def test_record_with_a_time_out_of_range_is_bad(tmp_path: Path, time: float) -> None:
    write(tmp_path, [({"a": 1.0}, 1, time), ({"a": 2.0}, 2, 5.0)])
    data = journal.read(tmp_path)
    assert (data.bad_records, data.value.tolist()) == (1, [2.0])


def test_missing_folder_and_foreign_files(tmp_path: Path) -> None:
    assert journal.read(tmp_path / "none").series() == {}
    assert Tail(tmp_path / "none").poll() == {}
    for name in ("a.dsj", "-1.dsj", "99999999999-1.dsj", "0-1.dsj.tmp", "0-1"):
        (tmp_path / name).write_bytes(b"x" * 100)
    assert len(journal.read(tmp_path).value) == 0
    assert journal.read(tmp_path).bad_records == 0


def test_keys_over_the_limit_of_a_run_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_METRIC_KEYS", 10)
    for name in "123":
        write(tmp_path, [({f"{name} {number}": 1.0}, 1, 1.0) for number in range(6)], name)
    data = journal.read(tmp_path)
    assert len(data.keys) == len(data.series()) == 10
    assert data.left_out_keys == 8


def test_summary_is_of_finite_values_and_the_last_in_time(tmp_path: Path) -> None:
    nan, infinity = float("nan"), float("inf")
    write(tmp_path, [({"a": value}, step, step) for step, value in enumerate([3.0, nan, -1.0, infinity, nan])])
    write(tmp_path, [({"none": nan}, 5, 1.0)], "2")
    summary = journal.summary(tmp_path)
    assert (summary["a"].min, summary["a"].max, summary["a"].step, summary["a"].count) == (-1.0, 3.0, 4, 5)
    assert np.isnan(summary["a"].last)
    assert (summary["none"].min, summary["none"].max) == (None, None)


# Following a run


def collect(total: dict[str, list[float]], tail: Tail) -> None:
    new = tail.poll()
    if tail.restarted:
        total.clear()
    for name, series in new.items():
        total.setdefault(name, []).extend(series.value.tolist())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from("abc"), st.integers(0, 3)), max_size=40))
def test_following_gives_what_reading_gives(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("tail")
    writers = {name: JournalWriter(str(folder), 0, name) for name in "123"}
    tail = Tail(folder)
    total: dict[str, list[float]] = {}
    for number, (writer, metric, polls) in enumerate(events):
        writers[writer].log({metric: float(number)}, None, 1e9 + number)
        for _ in range(polls):
            collect(total, tail)
    collect(total, tail)
    series = journal.read(folder).series()
    assert {name: sorted(values) for name, values in total.items()} == {
        name: sorted(one.value.tolist()) for name, one in series.items()
    }
    assert tail.summary() == journal.summary(folder)
    assert tail.poll() == {}


def test_following_counts_steps_over_polls(tmp_path: Path) -> None:
    writer = JournalWriter(str(tmp_path), 0, "1")
    tail = Tail(tmp_path)
    for number in range(5):
        writer.log({"a": 1.0})
        assert tail.poll()["a"].step.tolist() == [number]


def test_following_waits_for_a_torn_record(tmp_path: Path) -> None:
    path = simple(tmp_path, 5)
    data = path.read_bytes()
    tail = Tail(tmp_path)
    path.write_bytes(data[: 3 * 32 + 10])
    assert tail.poll()["loss"].value.tolist() == [0.0, 1.0]
    # As a network disk may show it: the length is there, the bytes are not yet.
    path.write_bytes(data[: 3 * 32] + bytes(2 * 32))
    assert tail.poll() == {}
    assert tail.bad_records == 0
    path.write_bytes(data)
    assert tail.poll()["loss"].value.tolist() == [2.0, 3.0, 4.0]
    assert tail.bad_records == 0


def test_following_starts_over_when_a_printed_metric_turns_out_to_be_logged(tmp_path: Path) -> None:
    tail = Tail(tmp_path)
    total: dict[str, list[float]] = {}
    write(tmp_path, [({"loss": 0.1, "lr": 9.0}, 1, 1.0)], "stdout")
    collect(total, tail)
    assert total == {"loss": [0.1], "lr": [9.0]}
    write(tmp_path, [({"train/loss": 0.11}, 1, 1.0)], "77")
    collect(total, tail)
    assert total == {"train/loss": [0.11], "lr": [9.0]}
    assert set(tail.summary()) == {"train/loss", "lr"}


def test_following_starts_over_when_the_main_rank_appears(tmp_path: Path) -> None:
    tail = Tail(tmp_path)
    total: dict[str, list[float]] = {}
    write(tmp_path, [({"loss": 1.0}, 1, 1.0)], "11", rank=1)
    collect(total, tail)
    assert total == {"loss": [1.0]}
    write(tmp_path, [({"loss": 2.0}, 1, 1.0)], "10", rank=0)
    collect(total, tail)
    assert total == {"loss": [2.0]}


def test_following_an_idle_run_reads_nothing(tmp_path: Path) -> None:
    path = simple(tmp_path, 5)
    tail = Tail(tmp_path)
    tail.poll()
    before = path.stat().st_atime_ns
    os.utime(path, ns=(before, path.stat().st_mtime_ns))
    assert tail.poll() == {}
    assert tail.restarted is False
