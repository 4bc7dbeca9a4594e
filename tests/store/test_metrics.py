"""Compaction and reading of Parquet: the same points before and after, in few bytes, within the limits."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.inside.journal import JournalWriter
from dstui_store import DamagedError, FormatError, LimitError, StoreError, journal, limits, metrics

if TYPE_CHECKING:
    from dstui_store.journal import Series

Call = tuple[dict[str, float], int | None, float]


def write(folder: Path, calls: list[Call], name: str = "1", rank: int = 0) -> None:
    writer = JournalWriter(str(folder), rank, name)
    for values, step, time in calls:
        writer.log(values, step, time)
    writer.close()


def compact(folder: Path, out: Path | None = None) -> metrics.Compacted:
    out = out or folder.parent / f"{folder.name} parquet"
    out.mkdir()
    return metrics.compact(folder, out)


def same(left: dict[str, Series], right: dict[str, Series]) -> bool:
    """Bit for bit."""
    return left.keys() == right.keys() and all(
        getattr(left[name], column).tobytes() == getattr(right[name], column).tobytes()
        for name in left
        for column in ("step", "time", "value")
    )


VALUES = st.one_of(
    st.sampled_from([0.5, 1.0, float("nan"), float("inf"), -0.0, 1e300]),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]),
)
TIMES = st.one_of(st.sampled_from([5.0, 6.0, 7.0]), st.floats(0, 2e9))
CALLS = st.lists(
    st.tuples(
        st.sampled_from([("1", 0), ("2", 0), ("3", 1), ("4", 2), ("stdout", 0)]),
        st.dictionaries(st.sampled_from(["loss", "acc", "val/loss", "val_loss", "\ud800\x1b", ""]), VALUES, min_size=1),
        st.none() | st.integers(-3, 3) | st.integers(-(2**63) + 1, 2**63 - 1),
        TIMES,
    ),
    max_size=40,
)


@settings(max_examples=250, deadline=None)
@given(CALLS, st.integers(0, 4))
def test_parquet_reads_as_the_journals_did(
    tmp_path_factory: pytest.TempPathFactory, calls: list[Any], own_file_points: int
) -> None:
    """Mixed sets of metrics, several processes and ranks, steps given or not, equal times, each NaN payload."""
    folder = tmp_path_factory.mktemp("run")
    writers: dict[tuple[str, int], JournalWriter] = {}
    for (name, rank), values, step, time in calls:
        writer = writers.setdefault((name, rank), JournalWriter(str(folder), rank, name))
        writer.log(values, step, time)
    for writer in writers.values():
        writer.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "OWN_FILE_POINTS", own_file_points)
        compacted = compact(folder)
    before = journal.read(folder)
    assert same(metrics.read(compacted.files), before.series())
    others = {rank: before.series(rank) for rank in before.ranks() if rank != before.main_rank}
    after = metrics.read_ranks(compacted.files)
    assert after.keys() == others.keys()
    assert all(same(after[rank], others[rank]) for rank in others)
    assert repr(compacted.summary) == repr({name: compacted.summary[name] for name in compacted.summary})
    assert {name: repr(one) for name, one in compacted.summary.items()} == {
        name: repr(one) for name, one in journal.summary(folder).items()
    }
    assert compacted.points == len(before.value)


def test_sets_that_look_alike_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets are told apart by a sum of pseudo-random numbers; here all sums are equal."""
    monkeypatch.setattr(metrics, "_mix", lambda key: np.zeros(len(key), np.uint64))
    write(tmp_path / "run", [({"a" if step % 2 else "b": 1.0 * step, "c": 2.0}, step, step) for step in range(9)])
    assert same(metrics.read(compact(tmp_path / "run").files), journal.read(tmp_path / "run").series())


def test_rows_are_in_order_of_time(tmp_path: Path) -> None:
    write(tmp_path / "run", [({"a": 1.0}, step, 9.0 - step) for step in range(9)], "1")
    write(tmp_path / "run", [({"a": 1.0}, step, 9.5 - step) for step in range(9)], "2")
    times = pq.read_table(compact(tmp_path / "run").files["metrics.parquet"])["time"].to_pylist()
    assert times == sorted(times)


def test_reading_some_metrics_gives_those_only(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write(folder, [({"a": 1.0, "b": 2.0}, 1, 1.0), ({"c": 3.0}, 1, 2.0), ({"b": 4.0}, 2, 3.0)])
    files = compact(folder).files
    assert set(metrics.read(files, keys=["b"])) == {"b"}
    assert metrics.read(files, keys=["b"])["b"].value.tolist() == [2.0, 4.0]
    assert metrics.read(files, keys=["unknown"]) == {}
    assert metrics.read(files, keys=[]) == {}
    blobs = {name: path.read_bytes() for name, path in files.items()}
    assert same(metrics.read(blobs), metrics.read(files))


def test_run_without_points_has_no_files(tmp_path: Path) -> None:
    write(tmp_path / "run", [])
    compacted = compact(tmp_path / "run")
    assert (compacted.files, compacted.summary, compacted.points) == ({}, {}, 0)
    assert metrics.read({}) == {}


def test_sets_of_metrics_get_files_by_size(tmp_path: Path) -> None:
    calls: list[Call] = []
    for number in range(4_000):
        calls.append(({"loss": 1.0, "lr": 2.0}, number, 1e9 + number))
        if number % 2 == 0:
            calls.append(({"val": 1.0}, number, 1e9 + number + 0.5))
        if number % 100 == 0:
            calls.append(({"rare": 1.0}, number, 1e9 + number + 0.7))
    write(tmp_path / "run", calls)
    files = compact(tmp_path / "run").files
    assert set(files) == {"metrics.parquet", "metrics/1.parquet", "metrics/long.parquet"}
    names = {name: json.loads(pq.ParquetFile(path).metadata.metadata[b"ds.keys"]) for name, path in files.items()}
    assert names == {
        "metrics.parquet": ["loss", "lr"],
        "metrics/1.parquet": ["val"],
        "metrics/long.parquet": ["rare"],
    }


def test_columns_are_encoded_as_the_format_says(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((200_000, 2))
    rows[:, 0] = rows[:, 0].astype(np.float32)
    write(
        tmp_path / "run",
        [({"narrow": row[0], "wide": row[1]}, step, 1e9 + step) for step, row in enumerate(rows.tolist())],
    )
    file = pq.ParquetFile(compact(tmp_path / "run").files["metrics.parquet"])
    assert file.metadata.num_row_groups == 2
    assert file.metadata.row_group(0).num_rows == 131_072
    columns = {file.schema.column(index).path: file.metadata.row_group(0).column(index) for index in range(4)}
    assert {name: (column.physical_type, column.compression) for name, column in columns.items()} == {
        "step": ("INT64", "ZSTD"),
        "time": ("INT64", "ZSTD"),
        "0": ("FLOAT", "ZSTD"),
        "1": ("DOUBLE", "ZSTD"),
    }
    assert "BYTE_STREAM_SPLIT" in columns["0"].encodings
    assert "BYTE_STREAM_SPLIT" in columns["1"].encodings
    assert "DELTA_BINARY_PACKED" in columns["step"].encodings
    assert not any(column.has_dictionary_page or column.is_stats_set for column in columns.values())
    assert all(file.schema.column(index).max_definition_level == 0 for index in range(4))
    assert set(file.metadata.metadata) == {b"ds.schema", b"ds.keys"}


@pytest.mark.slow
def test_bytes_per_point(tmp_path: Path) -> None:
    """A twentieth of the size in `benchmarks/compact.py`, so a little above its bars of 4.0 and 7.5."""
    generator = np.random.default_rng(1)
    count = 131_072
    times = 1.7e9 + np.cumsum(0.01 * (1 + 0.05 * generator.standard_normal(count)))
    for kind, bar in ((np.float32, 4.0), (np.float64, 7.5)):
        rows = generator.standard_normal((count, 5)).astype(kind).astype(float).tolist()
        folder = tmp_path / np.dtype(kind).name
        calls: list[Call] = [
            (dict(zip("abcde", row, strict=True)), step, time)
            for step, (row, time) in enumerate(zip(rows, times.tolist(), strict=True))
        ]
        write(folder, calls)
        compacted = compact(folder)
        assert sum(path.stat().st_size for path in compacted.files.values()) / compacted.points <= bar


def test_same_journals_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "run", [({"a": 1.0, "b": 2.0}, step, step) for step in range(99)] + [({"c": 1.0}, 1, 1.0)])
    first, second = compact(tmp_path / "run", tmp_path / "x"), compact(tmp_path / "run", tmp_path / "y")
    assert {name: path.read_bytes() for name, path in first.files.items()} == {
        name: path.read_bytes() for name, path in second.files.items()
    }


def test_ten_thousand_metrics(tmp_path: Path) -> None:
    calls: list[Call] = [({f"metric {number}": float(number)}, number, 1e9 + number) for number in range(10_000)]
    calls += [({f"wide {number}": 1.0 for number in range(1_500)}, 0, 2e9)]
    write(tmp_path / "run", calls)
    compacted = compact(tmp_path / "run")
    assert same(metrics.read(compacted.files), journal.read(tmp_path / "run").series())
    assert len(compacted.summary) == 11_500
    assert set(compacted.files) == {"metrics.parquet", "metrics/long.parquet"}


def test_columns_of_all_files_stay_within_the_limit(tmp_path: Path) -> None:
    calls: list[Call] = [
        ({f"{group} {number}": 1.0 for number in range(1_000)}, step, 1e9 + step)
        for group in range(8)
        for step in range(3)
    ]
    write(tmp_path / "run", calls)
    compacted = compact(tmp_path / "run")
    widths = [pq.ParquetFile(path).metadata.num_columns for path in compacted.files.values()]
    assert sum(widths) <= limits.MAX_PARQUET_COLUMNS
    assert "metrics/long.parquet" in compacted.files
    assert same(metrics.read(compacted.files), journal.read(tmp_path / "run").series())


def test_printed_metrics_that_are_logged_too_stay_out(tmp_path: Path) -> None:
    write(tmp_path / "run", [({"train_loss": 0.51}, 1, 1.0)], "77")
    write(tmp_path / "run", [({"loss": 0.5, "lr": 0.1}, 1, 1.0)], "stdout")
    compacted = compact(tmp_path / "run")
    assert set(compacted.summary) == set(metrics.read(compacted.files)) == {"train_loss", "lr"}


# Envelopes


@pytest.fixture
def enveloped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[metrics.Compacted, journal.JournalData]:
    monkeypatch.setattr(metrics, "MAX_PARQUET_CELLS", 7_000)
    monkeypatch.setattr(metrics, "MAX_ENVELOPE_BUCKETS", 100)
    generator = np.random.default_rng(0)
    values = generator.standard_normal(2_050)
    values[10], values[700:741] = np.inf, np.nan
    calls: list[Call] = [({"a": value, "b": -value}, step, 1e9 + step) for step, value in enumerate(values.tolist())]
    write(tmp_path / "run", [*calls, ({"few": 0.1}, 7, 1.0), ({"few": 0.2}, 8, 2.0)])
    write(tmp_path / "run", [({"a": 5.0}, 1, 1.0)], "2", rank=1)
    return compact(tmp_path / "run"), journal.read(tmp_path / "run")


def test_a_large_run_commits_envelopes_and_keeps_its_points_beside(
    enveloped: tuple[metrics.Compacted, journal.JournalData], monkeypatch: pytest.MonkeyPatch
) -> None:
    compacted, data = enveloped
    assert set(compacted.files) == {"metrics.parquet", "metrics/ranks.parquet"}
    assert compacted.full.keys() >= {"metrics.parquet"}
    assert not compacted.full.keys() & {str(path) for path in compacted.files.values()}
    with pytest.raises(LimitError, match="cells of a run's metrics is"):
        metrics.read(compacted.full)
    # One metric at a time is within the limit.
    assert same(metrics.read(compacted.full, ["a"], full=True), {"a": data.series()["a"]})
    monkeypatch.setattr(metrics, "MAX_PARQUET_CELLS", 10**6)
    assert same(metrics.read(compacted.full, full=True), data.series())
    assert compacted.summary["a"].count == 2_050


def test_an_envelope_holds_extremes_mean_and_last_of_each_bucket(
    enveloped: tuple[metrics.Compacted, journal.JournalData],
) -> None:
    compacted, data = enveloped
    envelope, series = metrics.read_envelopes(compacted.files)["a"], data.series()["a"]
    assert len(envelope.step) == 100
    assert envelope.count.sum() == 2_050
    assert set(envelope.count.tolist()) <= {20, 21}
    start = 0
    for bucket, count in enumerate(envelope.count.tolist()):
        part = series.value[start : start + count]
        finite = part[np.isfinite(part)]
        start += count
        assert envelope.step[bucket] == series.step[start - 1]
        assert envelope.time[bucket] == series.time[start - 1]
        assert envelope.last[bucket : bucket + 1].tobytes() == series.value[start - 1 : start].tobytes()
        if len(finite):
            assert (envelope.minimum[bucket], envelope.maximum[bucket]) == (finite.min(), finite.max())
            assert envelope.mean[bucket] == pytest.approx(finite.mean(), rel=1e-6, abs=1e-7)
        else:
            assert np.isnan([envelope.minimum[bucket], envelope.maximum[bucket], envelope.mean[bucket]]).all()
    assert metrics.read_envelopes(compacted.files)["few"].last.tolist() == [0.1, 0.2]
    assert metrics.read(compacted.files)["a"].step.tolist() == envelope.step.tolist()
    assert metrics.read_ranks(compacted.files)[1]["a"].value.tolist() == [5.0]


def test_mean_of_huge_values_is_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_PARQUET_CELLS", 10)
    monkeypatch.setattr(metrics, "MAX_ENVELOPE_BUCKETS", 1)
    write(tmp_path / "run", [({"a": 3e38}, step, step) for step in range(9)])
    assert metrics.read_envelopes(compact(tmp_path / "run").files)["a"].mean[0] == pytest.approx(3e38)


def test_run_that_holds_its_points_has_no_envelopes(tmp_path: Path) -> None:
    write(tmp_path / "run", [({"a": 1.0}, 1, 1.0), ({"b": 1.0}, 1, 2.0)])
    assert metrics.read_envelopes(compact(tmp_path / "run").files) == {}


def test_reading_over_the_size_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "run", [({"a": 1.0}, 1, 1.0), ({"b": 1.0}, 1, 2.0)])
    files = compact(tmp_path / "run").files
    monkeypatch.setattr(metrics, "MAX_PARQUET_BYTES", 300)
    with pytest.raises(LimitError) as caught:
        metrics.read(files)
    assert caught.value.limit == 300
    assert caught.value.value > 300


# Damage and hostility


def test_what_does_not_read_back_is_never_called_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "run", [({"a": 1.0, "b": 2.0}, step, step) for step in range(9)])
    whole = metrics._Opened.columns

    def one_bit_wrong(opened: Any, names: list[str]) -> dict[str, Any]:
        columns = whole(opened, names)
        columns["1"] = columns["1"].copy()
        columns["1"].view(np.uint8)[3] ^= 1
        return columns

    monkeypatch.setattr(metrics._Opened, "columns", one_bit_wrong)
    with pytest.raises(DamagedError, match="does not read back"):
        compact(tmp_path / "run")


@pytest.mark.slow
def test_damaged_file_is_refused_or_read_and_nothing_else(tmp_path: Path) -> None:
    """Bits of a blob are proved by its id; here only that no other error and no crash comes of them."""
    write(tmp_path / "run", [({"a": float(step), "b": 2.0}, step, step) for step in range(300)])
    data = compact(tmp_path / "run").files["metrics.parquet"].read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(600):
        damaged = bytearray(data)
        place = int(generator.integers(len(data))) if generator.random() < 0.5 else -int(generator.integers(1, 500))
        damaged[place] ^= 1 << int(generator.integers(8))
        refused += is_refused(bytes(damaged))
    assert refused > 50


def is_refused(data: bytes) -> bool:
    """Any error but ours goes through."""
    try:
        metrics.read({"metrics.parquet": data})
    except StoreError as error:
        return "\n" not in error.message
    return False


@pytest.mark.parametrize("length", [0, 1, 7, 8, 11, 100, -1, -9])
def test_file_cut_short_is_refused_by_name(tmp_path: Path, length: int) -> None:
    write(tmp_path / "run", [({"a": 1.0}, 1, 1.0)])
    data = compact(tmp_path / "run").files["metrics.parquet"].read_bytes()
    with pytest.raises(DamagedError, match=r"`metrics\.parquet`"):
        metrics.read({"metrics.parquet": data[:length]})


def parquet(columns: dict[str, pa.Array], entries: dict[str, str] | None = None, *, nullable: bool = False) -> bytes:
    schema = pa.schema([pa.field(name, array.type, nullable=nullable) for name, array in columns.items()])
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, store_schema=False) as writer:
        writer.write_table(pa.Table.from_arrays(list(columns.values()), schema=schema))
        writer.add_key_value_metadata({"ds.schema": "1", "ds.keys": '["a"]'} if entries is None else entries)
    data: bytes = sink.getvalue().to_pybytes()
    return data


INTEGERS = pa.array([1, 2], pa.int64())
FLOATS = pa.array([1.0, 2.0], pa.float64())
GOOD = {"step": INTEGERS, "time": INTEGERS, "0": FLOATS}


def test_the_helper_makes_a_file_that_is_read() -> None:
    assert metrics.read({"metrics.parquet": parquet(GOOD)})["a"].value.tolist() == [1.0, 2.0]


HOSTILE: dict[str, Callable[[], bytes]] = {
    "text values": lambda: parquet({**GOOD, "0": pa.array(["x", "y"])}),
    "integer values": lambda: parquet({**GOOD, "0": INTEGERS}),
    "struct": lambda: parquet({**GOOD, "step": pa.array([{"a": 1}, {"a": 2}])}),
    "optional values": lambda: parquet(GOOD, nullable=True),
    "time stamps": lambda: parquet({**GOOD, "time": pa.array([1, 2], pa.timestamp("us"))}),
    "unsigned": lambda: parquet({**GOOD, "step": pa.array([1, 2], pa.uint64())}),
    "no time": lambda: parquet({"step": INTEGERS, "0": FLOATS}),
    "no step": lambda: parquet({"time": INTEGERS, "0": FLOATS}),
    "key without a name": lambda: parquet(
        {"key": pa.array([0, 5], pa.int32()), "step": INTEGERS, "time": INTEGERS, "value": FLOATS}
    ),
    "negative key": lambda: parquet(
        {"key": pa.array([0, -1], pa.int32()), "step": INTEGERS, "time": INTEGERS, "value": FLOATS}
    ),
    "key without values": lambda: parquet({"key": pa.array([0, 0], pa.int32()), "step": INTEGERS, "time": INTEGERS}),
    "half an envelope": lambda: parquet({"key": pa.array([0, 0]), "step": INTEGERS, "time": INTEGERS, "last": FLOATS}),
    "no names": lambda: parquet(GOOD, {"ds.schema": "1"}),
    "names are no list": lambda: parquet(GOOD, {"ds.schema": "1", "ds.keys": '{"a": 1}'}),
    "names are no texts": lambda: parquet(GOOD, {"ds.schema": "1", "ds.keys": "[1]"}),
    "names twice": lambda: parquet(GOOD, {"ds.schema": "1", "ds.keys": '["a", "a"]'}),
    "names are no JSON": lambda: parquet(GOOD, {"ds.schema": "1", "ds.keys": "["}),
    "names nested": lambda: parquet(GOOD, {"ds.schema": "1", "ds.keys": "[" * 100_000}),
    "no version": lambda: parquet(GOOD, {"ds.keys": '["a"]'}),
    "odd version": lambda: parquet(GOOD, {"ds.schema": "one", "ds.keys": '["a"]'}),
    "not Parquet": lambda: b"PAR1" + bytes(100) + b"PAR1",
    "pickle": lambda: b"\x80\x04\x95" + bytes(50),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_foreign_form_is_refused(kind: str) -> None:
    with pytest.raises(StoreError):
        metrics.read({"metrics.parquet": HOSTILE[kind]()})


def test_ranks_file_without_ranks_is_refused() -> None:
    with pytest.raises(DamagedError, match="rank"):
        metrics.read_ranks({"metrics/ranks.parquet": parquet(GOOD)})


@pytest.mark.parametrize("name", ["metrics/8.parquet", "metrics/../x.parquet", "x", "metrics/long.parquet/", "\x1b[2J"])
def test_foreign_name_is_refused(name: str) -> None:
    with pytest.raises(DamagedError):
        metrics.read({name: parquet(GOOD)})


def test_newer_version_asks_for_a_newer_dstui() -> None:
    with pytest.raises(FormatError, match="version 2") as caught:
        metrics.read({"metrics.parquet": parquet(GOOD, {"ds.schema": "2", "ds.keys": '["a"]'})})
    assert caught.value.hint is not None


def test_unknown_columns_and_entries_of_a_later_minor_version_are_left_alone() -> None:
    later = parquet({**GOOD, "colour": FLOATS}, {"ds.schema": "1.4", "ds.keys": '["a"]', "ds.more": "x"})
    assert set(metrics.read({"metrics.parquet": later})) == {"a"}


def test_nested_column_is_not_read() -> None:
    assert metrics.read({"metrics.parquet": parquet({**GOOD, "0": pa.array([[1.0], [2.0]])})}) == {}


def test_too_many_columns_are_refused_before_they_are_read() -> None:
    many = {**GOOD, **{f"x{number}": FLOATS for number in range(4_096)}}
    with pytest.raises(LimitError, match="columns"):
        metrics.read({"metrics.parquet": parquet(many)})


def test_too_many_cells_in_few_bytes_are_refused() -> None:
    rows = limits.MAX_PARQUET_CELLS // 3 + 1
    constant = pa.array(np.zeros(rows, np.int64))
    bomb = parquet({"step": constant, "time": constant, "0": pa.array(np.zeros(rows))})
    assert len(bomb) < 1_000_000
    with pytest.raises(LimitError, match="cells"):
        metrics.read({"metrics.parquet": bomb})


def test_large_footer_is_refused_before_it_is_decoded() -> None:
    data = parquet(GOOD, {"ds.schema": "1", "ds.keys": '["a"]', "padding": "x" * (3 << 20)})
    with pytest.raises(LimitError, match="footer"):
        metrics.read({"metrics.parquet": data})


def test_long_text_in_the_footer_is_refused() -> None:
    data = parquet(GOOD, {"ds.schema": "1", "ds.keys": '["a"]', "padding": "x" * (3 << 19)})
    with pytest.raises(StoreError):
        metrics.read({"metrics.parquet": data})


def test_too_many_names_are_refused() -> None:
    names = json.dumps([str(number) for number in range(limits.MAX_METRIC_KEYS + 1)])
    with pytest.raises(LimitError, match="number of metrics"):
        metrics.read({"metrics.parquet": parquet(GOOD, {"ds.schema": "1", "ds.keys": names})})


def test_what_we_write_every_reader_admits(tmp_path: Path) -> None:
    """The most names, as long as they may be, over two processes."""
    for name in "12":
        write(tmp_path / "run", [({f"{name}{number:05d}" + "n" * 70: 1.0}, 0, 1.0) for number in range(12_000)], name)
    compacted = compact(tmp_path / "run")
    assert compacted.left_out_keys > 0
    read = metrics.read(compacted.files)
    assert len(read) > 10_000
    assert len(read) + compacted.left_out_keys == 24_000
