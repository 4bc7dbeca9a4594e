"""Compact the journals of a run to Parquet, and read them back, within the limits of `limits.py`.

Which points a run has, and their order, is said in `journal.py`; this page only decides where they lie.

**Wide files.** A row is one `log` call at one step. Rows with the same set of metrics go together: the largest sets
(by points) of at most 1,024 metrics get a file each, `metrics.parquet` the largest, then `metrics/1.parquet` to
`7.parquet`. Columns: `step` and `time` (int64, microseconds), then one per metric, named by its index in `ds.keys`.
A set after the largest with under `OWN_FILE_POINTS` points does not pay for a file of its own.

**`metrics/long.parquet`**: all other points of the main rank. Columns `key` (int32, index in `ds.keys`), `step`,
`time`, `value`; by key, then by time. Also here: every row whose time ties with that of another file in one metric,
since files hold no order between each other; so points of equal time keep theirs.

**`metrics/ranks.parquet`**: the points of all other ranks. Columns `rank` (int32), `key`, `step`, `time`, `value`; by
rank, key, time.

**Above `MAX_COMMIT_PARQUET_BYTES` or `MAX_PARQUET_CELLS`** the commit gets envelopes in the files `metrics.parquet`
and `metrics/ranks.parquet`, and the points stay beside it in the files above. An envelope cuts the points of a metric,
in order of time, into `min(MAX_ENVELOPE_BUCKETS, ENVELOPE_BUCKETS_SHARED // metrics)` buckets of equal count (to one
point; metrics of each rank counted apart). Columns: (`rank`,) `key`, `step` and `time` of the last point, `min`, `max`
and `mean` (float32) of the finite values or NaN, `last`, `count` (int32).

**Everywhere**: footer entries `ds.schema` = `1` and `ds.keys` = JSON list of names; no nulls; integers
DELTA_BINARY_PACKED, floats BYTE_STREAM_SPLIT, a column float32 where that keeps the bits of every value, else float64;
Zstandard 3, no dictionary, no statistics, row groups of 131,072 rows. Each file is read again and compared bit by bit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dstui_store import journal
from dstui_store.errors import DamagedError, FormatError, LimitError
from dstui_store.journal import MICROSECONDS, JournalData, Series
from dstui_store.limits import (
    ENVELOPE_BUCKETS_SHARED,
    MAX_COMMIT_PARQUET_BYTES,
    MAX_ENVELOPE_BUCKETS,
    MAX_METRIC_KEYS,
    MAX_METRIC_KEYS_BYTES,
    MAX_PARQUET_BYTES,
    MAX_PARQUET_CELLS,
    MAX_PARQUET_COLUMNS,
    MAX_PARQUET_FOOTER_BYTES,
    MAX_THRIFT_ITEMS,
    MAX_THRIFT_STRING_BYTES,
    MAX_WIDE_FILES,
    MAX_WIDE_KEYS,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from dstui_store.journal import Floats, Integers
    from dstui_store.schema import MetricSummary

    Column = NDArray[Any]

SCHEMA = "1"
"""Major version of the Parquet files."""

ROW_GROUP_ROWS = 131_072
"""Rows of a row group: a byte stream of one of its columns is then exactly one block of Zstandard."""

OWN_FILE_POINTS = 1_000
"""Sets of metrics below it share `metrics/long.parquet`: a footer of their own would outweigh them."""

LARGEST = "metrics.parquet"
LONG = "metrics/long.parquet"
RANKS = "metrics/ranks.parquet"

_FILE_NAME = re.compile(r"(?:metrics|system)\.parquet|metrics/(?:[1-7]|long|ranks)\.parquet")
_COLUMN = re.compile(r"0|[1-9][0-9]{0,4}")
_FLOATS = ("FLOAT", "DOUBLE")
_INTEGERS = ("INT32", "INT64")
_TYPES = {
    "rank": _INTEGERS,
    "key": _INTEGERS,
    "step": ("INT64",),
    "time": ("INT64",),
    "value": _FLOATS,
    "min": _FLOATS,
    "max": _FLOATS,
    "mean": _FLOATS,
    "last": _FLOATS,
    "count": _INTEGERS,
}


@dataclass(frozen=True)
class Compacted:
    """What a run's journals became.

    Attributes:
        files: Parquet files for the commit by entry name; none when there is no point.
        summary: the metrics of the main rank in five numbers each.
        points: how many there are, over all ranks.
        bad_records: journal records that failed their check, so are not among them.
        left_out_keys: names past the limits of a run, whose points are not among them.
        full: when `files` are envelopes: the Parquet files with every point, by the same names, to keep beside.
        sources: where each metric of the main rank comes from, as `JournalData.sources`.
    """

    files: dict[str, Path]
    summary: dict[str, MetricSummary]
    points: int
    bad_records: int
    left_out_keys: int
    full: dict[str, Path] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Envelope:
    """One metric in buckets of consecutive points; columns of shape (buckets,).

    Attributes:
        name: of the metric.
        step: of the last point of each bucket.
        time: likewise, seconds since the epoch.
        minimum, maximum, mean: of its finite values, NaN where there is none; `mean` to float32 precision.
        last: value of its last point.
        count: how many points it has.
    """

    name: str
    step: Integers
    time: Floats
    minimum: Floats
    maximum: Floats
    mean: Floats
    last: Floats
    count: Integers


def compact(journal_directory: str | Path, out_directory: str | Path) -> Compacted:
    """Write a run's journals as Parquet files into an own, existing folder, and prove them by reading them again.

    Raises:
        DamagedError: a file did not read back as it was written.
        OSError: the disk is full or failed.
    """
    return compact_points(journal.read(journal_directory), out_directory)


def compact_points(data: JournalData, out_directory: str | Path) -> Compacted:
    """The same for points read before."""
    out = Path(out_directory)
    tables = _tables(data)
    files = {table.name: _write(table, out) for table in tables}
    summary = _summary(tables)
    full: dict[str, Path] = {}
    size = sum(path.stat().st_size for path in files.values())
    if size > MAX_COMMIT_PARQUET_BYTES or sum(table.cells for table in tables) > MAX_PARQUET_CELLS:
        for name, path in files.items():
            full[name] = out / "full" / name
            full[name].parent.mkdir(parents=True, exist_ok=True)
            path.rename(full[name])
        files = {table.name: _write(table, out) for table in _envelopes(data)}
    return Compacted(files, summary, len(data.value), data.bad_records, data.left_out_keys, full, data.sources)


def read(files: Mapping[str, bytes | Path], keys: list[str] | None = None, *, full: bool = False) -> dict[str, Series]:
    """The metrics of the main rank, in order of time; of envelopes the last point of each bucket.

    Args:
        files: by entry name, as in a commit.
        keys: only these names; all when not given. Unknown ones are not in the answer.
        full: the files come from beside the commit, so their size may be any; cells are limited all the same.

    Raises:
        LimitError: more bytes, columns or cells than a run may have.
        FormatError: written by a newer dstui.
        DamagedError: not a Parquet file of ours.
    """
    parts: dict[str, list[Series]] = {}
    for opened in _open_all({name: data for name, data in files.items() if name != RANKS}, keys, full=full):
        for series in opened.series(keys):
            parts.setdefault(series.name, []).append(series)
    return {name: _merged(name, found) for name, found in parts.items()}


def read_ranks(
    files: Mapping[str, bytes | Path], keys: list[str] | None = None, *, full: bool = False
) -> dict[int, dict[str, Series]]:
    """The metrics of all ranks but the main one, as `read` gives them."""
    result: dict[int, dict[str, Series]] = {}
    for opened in _open_all({name: data for name, data in files.items() if name == RANKS}, keys, full=full):
        for rank, series in opened.rank_series(keys):
            result.setdefault(rank, {})[series.name] = series
    return result


def read_envelopes(files: Mapping[str, bytes | Path], keys: list[str] | None = None) -> dict[str, Envelope]:
    """The metrics of the main rank that a commit holds as envelopes; none for a run that holds its points."""
    result: dict[str, Envelope] = {}
    for opened in _open_all({name: data for name, data in files.items() if name != RANKS}, keys, full=False):
        if opened.is_envelope:
            result.update((envelope.name, envelope) for envelope in opened.envelopes(keys))
    return result


# Writing


def write_wide(
    name: str, step: Integers, time: Integers, values: Mapping[str, Floats], out_directory: str | Path
) -> Path:
    """One file with a column per metric, proved by reading it again.

    Args:
        name: its entry in a run's tree.
        step: shape (rows,).
        time: microseconds, shape (rows,).
        values: by metric, shape (rows,) each.
        out_directory: an own, existing folder.

    Raises:
        DamagedError: it did not read back as it was written.
    """
    columns: dict[str, Column] = {"step": step, "time": time}
    columns |= {str(place): _narrow(column) for place, column in enumerate(values.values())}
    return _write(_Table(name, columns, list(values)), Path(out_directory))


@dataclass(frozen=True)
class _Table:
    """One Parquet file to be written: columns of equal length, and the names that its indices mean."""

    name: str
    columns: dict[str, Column]
    keys: list[str]

    @property
    def cells(self) -> int:
        return len(self.columns) * len(self.columns["time"])


@dataclass(frozen=True)
class _Rows:
    """The points of the main rank as rows: one per call and step.

    Attributes:
        start: index of the first point of each row, shape (r,).
        count: points of each row.
        time: microseconds, of each row.
    """

    start: Integers
    count: Integers
    time: Integers


def _summary(tables: list[_Table]) -> dict[str, MetricSummary]:
    """The metrics of the main rank, from the very columns that were written."""
    parts: dict[str, list[Series]] = {}
    for table in tables:
        if table.name != RANKS:
            for series in _series(table.name, table.columns, table.keys, None):
                parts.setdefault(series.name, []).append(series)
    return journal.summarise({name: _merged(name, found) for name, found in parts.items()})


def _tables(data: JournalData) -> list[_Table]:
    if not len(data.value):
        return []
    main = data.rank == data.main_rank
    others = np.flatnonzero(~main)
    points = data if not len(others) else _select(data, np.flatnonzero(main))
    tables: list[_Table] = []
    if len(points.value):
        rows = _rows(points)
        groups = _groups(points, rows)
        place = np.full(len(rows.start), -1, np.int64)
        for number, group in enumerate(groups):
            place[group] = number
        _move_ties(points, rows, place)
        for number in range(len(groups)):
            group = np.flatnonzero(place == number)
            if len(group):
                tables.append(_wide(f"metrics/{number}.parquet" if number else LARGEST, points, rows, group))
        rest = np.flatnonzero(np.repeat(place == -1, rows.count))
        if len(rest):
            tables.append(_long(LONG, _select(points, rest)))
    if len(others):
        tables.append(_long(RANKS, _select(data, others)))
    return tables


def _select(data: JournalData, index: Integers) -> JournalData:
    return JournalData(
        data.keys,
        data.main_rank,
        data.rank[index],
        data.key[index],
        data.step[index],
        data.time[index],
        data.value[index],
        data.row[index],
        data.bad_records,
        data.left_out_keys,
        data.newer,
    )


def _rows(points: JournalData) -> _Rows:
    starts = np.flatnonzero(np.r_[True, points.row[1:] != points.row[:-1]])
    return _Rows(starts, np.diff(np.r_[starts, len(points.row)]), points.time[starts])


def _groups(points: JournalData, rows: _Rows) -> list[Integers]:
    """The rows of each wide file, the file with most points first; rows in none of them go to the long file."""
    # The sum of one pseudo-random number per metric tells sets apart, whatever the order in the row; `_is_regular`
    # catches the collision that will not happen.
    signature = np.add.reduceat(_mix(points.key), rows.start)
    if (signature == signature[0]).all():
        candidates = [np.arange(len(rows.start))]
    else:
        _, first, inverse = np.unique(signature, return_index=True, return_inverse=True)
        by_set = np.argsort(inverse, kind="stable")
        ends = np.cumsum(np.bincount(inverse))[:-1]
        candidates = np.split(by_set, ends)
        candidates = [candidates[position] for position in np.argsort(first, kind="stable")]
    sized = [(len(group) * int(rows.count[group[0]]), group) for group in candidates]
    sized.sort(key=lambda pair: -pair[0])
    chosen: list[Integers] = []
    columns = 2 * (4 + 5)  # The long files and the envelopes are counted too.
    for size, group in sized:
        width = int(rows.count[group[0]])
        if len(chosen) == MAX_WIDE_FILES or (chosen and size < OWN_FILE_POINTS):
            break
        if width > MAX_WIDE_KEYS or columns + width + 2 > MAX_PARQUET_COLUMNS:
            continue
        if _is_regular(points, rows, group):
            chosen.append(group)
            columns += width + 2
    return chosen


def _mix(key: Integers) -> NDArray[np.uint64]:
    """A number per metric that looks random (SplitMix64), shape of `key`."""
    table = np.arange(1, int(key.max()) + 2, dtype=np.uint64)
    with np.errstate(over="ignore"):
        table = table * np.uint64(0x9E3779B97F4A7C15)
        table = (table ^ (table >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        table = (table ^ (table >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = (table ^ (table >> np.uint64(31)))[key]
    return mixed


def _is_regular(points: JournalData, rows: _Rows, group: Integers) -> bool:
    """Whether all rows have the same metrics, each once."""
    width = int(rows.count[group[0]])
    if not (rows.count[group] == width).all():
        return False
    keys = _matrix(points.key, rows, group)
    expected = np.sort(keys[0])
    if (expected[1:] == expected[:-1]).any():
        return False
    return bool((keys == keys[0]).all() or (np.sort(keys, axis=1) == expected).all())


def _matrix(column: Column, rows: _Rows, group: Integers) -> Column:
    """A column of points as an array of shape (rows of the group, metrics)."""
    width = int(rows.count[group[0]])
    matrix: Column
    if len(group) * width == len(column) and (group[1:] > group[:-1]).all():
        matrix = column.reshape(len(group), width)
    else:
        matrix = column[rows.start[group][:, None] + np.arange(width)]
    return matrix


def _move_ties(points: JournalData, rows: _Rows, place: Integers) -> None:
    """Send rows to the long file (-1) whose time ties, in one metric, with that of a row in another file."""
    if (rows.time[1:] > rows.time[:-1]).all():
        return
    by_time = np.argsort(rows.time, kind="stable")
    times, places = rows.time[by_time], place[by_time]
    # A necessary sign first, for it costs little: rows of equal time in different files.
    differs = np.flatnonzero((times[1:] == times[:-1]) & (places[1:] != places[:-1]))
    if not len(differs):
        return
    suspected = np.flatnonzero(np.repeat(np.isin(rows.time, times[differs]), rows.count))
    key, time = points.key[suspected], points.time[suspected]
    file = np.repeat(place, rows.count)[suspected]
    order = np.lexsort((time, key))
    key, time, file = key[order], time[order], file[order]
    tied = (key[1:] == key[:-1]) & (time[1:] == time[:-1]) & (file[1:] != file[:-1])
    # All rows of such a time move, so that the move makes no new tie.
    place[np.isin(rows.time, time[1:][tied])] = -1


def _wide(name: str, points: JournalData, rows: _Rows, group: Integers) -> _Table:
    if (rows.time[group][1:] < rows.time[group][:-1]).any():
        group = group[np.argsort(rows.time[group], kind="stable")]
    keys, values = _matrix(points.key, rows, group), _matrix(points.value, rows, group)
    used = np.sort(keys[0])
    places = np.argsort(keys[0])
    if not (keys == keys[0]).all():
        values = np.take_along_axis(values, np.argsort(keys, axis=1), axis=1)
        places = np.arange(len(used))
    columns: dict[str, Column] = {"step": points.step[rows.start[group]], "time": rows.time[group]}
    for index, place in enumerate(places.tolist()):
        columns[str(index)] = _narrow(np.ascontiguousarray(values[:, place]))
    return _Table(name, columns, [points.keys[key] for key in used.tolist()])


def _long(name: str, points: JournalData) -> _Table:
    used, local = np.unique(points.key, return_inverse=True)
    order = _order(points)
    columns: dict[str, Column] = {}
    if name == RANKS:
        columns["rank"] = points.rank[order].astype(np.uint32).view(np.int32)
    columns["key"] = local[order].astype(np.int32)
    columns["step"] = points.step[order]
    columns["time"] = points.time[order]
    columns["value"] = _narrow(points.value[order])
    return _Table(name, columns, [points.keys[key] for key in used.tolist()])


def _order(points: JournalData) -> Integers:
    """By rank, key and time, stable, shape (n,)."""
    return np.lexsort((points.time, points.key, points.rank))


def _envelopes(data: JournalData) -> list[_Table]:
    """The points as envelopes: one table for the main rank, one for the others."""
    order = _order(data)
    data = _select(data, order)
    changes = (data.rank[1:] != data.rank[:-1]) | (data.key[1:] != data.key[:-1])
    starts = np.flatnonzero(np.r_[True, changes])
    ends = np.r_[starts[1:], len(data.key)]
    buckets = max(1, min(MAX_ENVELOPE_BUCKETS, ENVELOPE_BUCKETS_SHARED // len(starts)))
    firsts = np.concatenate(
        [
            start + np.arange(min(buckets, end - start)) * (end - start) // min(buckets, end - start)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
    )
    lasts = np.r_[firsts[1:], len(data.key)] - 1
    finite = np.isfinite(data.value)
    with np.errstate(all="ignore"):
        number = np.add.reduceat(finite.astype(np.int64), firsts)
        # In parts of the count, so that the sum of large values stays finite.
        shared = np.where(finite, data.value, 0.0) / np.repeat(np.maximum(number, 1), lasts - firsts + 1)
        mean = np.where(number > 0, np.add.reduceat(shared, firsts), np.nan).astype(np.float32)
    minimum = np.minimum.reduceat(np.where(finite, data.value, np.inf), firsts)
    maximum = np.maximum.reduceat(np.where(finite, data.value, -np.inf), firsts)
    columns = {
        "step": data.step[lasts],
        "time": data.time[lasts],
        "min": np.where(number > 0, minimum, np.nan),
        "max": np.where(number > 0, maximum, np.nan),
        "mean": mean,
        "last": data.value[lasts],
        "count": (lasts - firsts + 1).astype(np.int32),
    }
    rank, key = data.rank[firsts], data.key[firsts]
    tables: list[_Table] = []
    for name, chosen in ((LARGEST, rank == data.main_rank), (RANKS, rank != data.main_rank)):
        if not chosen.any():
            continue
        used, local = np.unique(key[chosen], return_inverse=True)
        head: dict[str, Column] = {"key": local.astype(np.int32)}
        if name == RANKS:
            head = {"rank": rank[chosen].astype(np.uint32).view(np.int32), **head}
        rest = {column: _narrow(values[chosen]) for column, values in columns.items()}
        tables.append(_Table(name, head | rest, [data.keys[index] for index in used.tolist()]))
    return tables


def _narrow(values: Column) -> Column:
    """Float64 as float32 where every bit survives the way there and back; other types as they are."""
    if values.dtype != np.float64:
        return values
    with np.errstate(all="ignore"):
        narrow = values.astype(np.float32)
        same = (narrow.astype(np.float64).view(np.int64) == values.view(np.int64)).all()
    return narrow if same else values


def _write(table: _Table, out: Path) -> Path:
    """One file, written and compared."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = out / table.name
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = [pa.array(column) for column in table.columns.values()]
    schema = pa.schema(
        [pa.field(name, array.type, nullable=False) for name, array in zip(table.columns, arrays, strict=True)]
    )
    encodings = {
        name: "BYTE_STREAM_SPLIT" if column.dtype.kind == "f" else "DELTA_BINARY_PACKED"
        for name, column in table.columns.items()
    }
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=False,
        column_encoding=encodings,
        write_statistics=False,
        store_schema=False,
    ) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ROW_GROUP_ROWS)
        writer.add_key_value_metadata({"ds.schema": SCHEMA, "ds.keys": json.dumps(table.keys, separators=(",", ":"))})
    again = _Opened(table.name, path).columns(list(table.columns))
    for name, column in table.columns.items():
        if again[name].dtype != column.dtype or not np.array_equal(_bits(again[name]), _bits(column)):
            raise DamagedError(
                f"Column `{name}` of `{table.name}` does not read back as it was written",
                hint="the run is kept as it is; check memory and disk of this machine",
            )
    return path


def _bits(column: Column) -> NDArray[np.integer]:
    return column.view(np.dtype(f"i{column.dtype.itemsize}"))


# Reading


class _Opened:
    """One Parquet file, its footer read and checked; no column yet."""

    def __init__(self, name: str, data: bytes | Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if _FILE_NAME.fullmatch(name) is None:
            raise DamagedError(f"`{name[:80]}` is not the name of a metrics file")
        self.name = name
        self.size = data.stat().st_size if isinstance(data, Path) else len(data)
        _check_footer(name, data, self.size)
        try:
            self._file: pq.ParquetFile = pq.ParquetFile(
                data if isinstance(data, Path) else pa.BufferReader(data),
                thrift_string_size_limit=MAX_THRIFT_STRING_BYTES,
                thrift_container_size_limit=MAX_THRIFT_ITEMS,
            )
            entries = self._file.metadata.metadata or {}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DamagedError(f"`{name}` is no Parquet file that can be read: {_first_line(error)}") from error
        self.rows = int(self._file.metadata.num_rows)
        self.width = int(self._file.metadata.num_columns)
        _check_version(name, entries.get(b"ds.schema"))
        self.keys = _keys(name, entries.get(b"ds.keys"))
        # A duplicate name would make a column ambiguous, a nested one has more values than rows.
        self._columns: dict[str, str] = {}
        if self.width <= MAX_PARQUET_COLUMNS:
            self._columns = self._known_columns()

    @property
    def is_envelope(self) -> bool:
        return "last" in self._columns

    def cells(self, keys: list[str] | None) -> int:
        """How many values the columns have that these metrics need."""
        return self.rows * len(self._needed(keys))

    def series(self, keys: list[str] | None) -> list[Series]:
        return _series(self.name, self.columns(self._needed(keys)), self.keys, keys)

    def rank_series(self, keys: list[str] | None) -> list[tuple[int, Series]]:
        columns = self.columns(self._needed(keys))
        values = columns["last"] if self.is_envelope else columns["value"]
        ranks = columns["rank"].astype(np.int64) & 0xFFFFFFFF
        result: list[tuple[int, Series]] = []
        for rank in np.unique(ranks).tolist():
            of_rank = np.flatnonzero(ranks == rank)
            for name, part in _parts(self.name, columns["key"][of_rank], self.keys, keys):
                index = of_rank[part]
                step, time = columns["step"][index], columns["time"][index] / MICROSECONDS
                result.append((rank, Series(name, step, time, values[index].astype(np.float64))))
        return result

    def envelopes(self, keys: list[str] | None) -> list[Envelope]:
        columns = self.columns(self._needed(keys))
        numbers = {name: columns[name].astype(np.float64) for name in ("min", "max", "mean", "last")}
        return [
            Envelope(
                name=name,
                step=columns["step"][part],
                time=columns["time"][part] / MICROSECONDS,
                minimum=numbers["min"][part],
                maximum=numbers["max"][part],
                mean=numbers["mean"][part],
                last=numbers["last"][part],
                count=columns["count"][part].astype(np.int64),
            )
            for name, part in _parts(self.name, columns["key"], self.keys, keys)
        ]

    def columns(self, names: list[str]) -> dict[str, Column]:
        """Columns of length `rows`, in the types that they are stored in."""
        import pyarrow as pa

        try:
            table = self._file.read(columns=names, use_threads=False)
            found = {name: _plain(table.column(name)) for name in names}
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise DamagedError(f"`{self.name}` is damaged: {_first_line(error)}") from error
        if any(len(column) != self.rows for column in found.values()):
            raise DamagedError(f"`{self.name}` has columns of other lengths than the {self.rows:,} rows it says")
        return found

    def _known_columns(self) -> dict[str, str]:
        """Name to physical type; unknown columns of a later minor version are left alone."""
        found: dict[str, str] = {}
        schema = self._file.schema
        for position in range(self.width):
            column = schema.column(position)
            name = column.path
            is_metric = _COLUMN.fullmatch(name) is not None and int(name) < len(self.keys)
            if name not in _TYPES and not is_metric:
                continue
            allowed = _TYPES.get(name, _FLOATS)
            if name in found or column.physical_type not in allowed or column.max_definition_level:
                raise DamagedError(f"Column `{name[:40]}` of `{self.name}` is not of the kind it must be")
            found[name] = column.physical_type
        needed = {"step", "time"}
        if "key" in found:
            needed |= {"min", "max", "mean", "last", "count"} if "last" in found else {"value"}
        if self.name == RANKS:
            needed |= {"rank", "key"}
        if missing := needed - found.keys():
            raise DamagedError(f"`{self.name}` has no column `{min(missing)}`")
        return found

    def _needed(self, keys: list[str] | None) -> list[str]:
        if "key" in self._columns:
            return [name for name in self._columns if name in _TYPES]
        wanted = None if keys is None else frozenset(keys)
        metrics = [
            name for name in self._columns if name not in _TYPES and (wanted is None or self.keys[int(name)] in wanted)
        ]
        return ["step", "time", *metrics] if metrics else ["step", "time"]


def _series(name: str, columns: Mapping[str, Column], names: list[str], keys: list[str] | None) -> list[Series]:
    """The metrics in the columns of one file; of an envelope the last point of each bucket."""
    step, time = columns["step"], columns["time"] / MICROSECONDS
    if "key" in columns:
        values = columns["last" if "last" in columns else "value"]
        return [
            Series(metric, step[part], time[part], values[part].astype(np.float64))
            for metric, part in _parts(name, columns["key"], names, keys)
        ]
    return [
        Series(names[int(column)], step, time, values.astype(np.float64))
        for column, values in columns.items()
        if column not in _TYPES
    ]


def _parts(name: str, key: Column, names: list[str], keys: list[str] | None) -> list[tuple[str, slice | Integers]]:
    """The place of each wanted metric in columns that are sorted by key, or should be."""
    if not len(key):
        return []
    if int(key.min()) < 0 or int(key.max()) >= len(names):
        raise DamagedError(f"`{name}` has a metric without a name")
    result: list[tuple[str, slice | Integers]] = []
    wanted = None if keys is None else frozenset(keys)
    order = None if (key[1:] >= key[:-1]).all() else np.argsort(key, kind="stable")
    in_order = key if order is None else key[order]
    starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(key)], strict=True):
        metric = names[int(in_order[start])]
        if wanted is None or metric in wanted:
            result.append((metric, slice(start, end) if order is None else order[start:end]))
    return result


def _open_all(files: Mapping[str, bytes | Path], keys: list[str] | None, *, full: bool) -> list[_Opened]:
    """The files of a run, checked together against the limits before any column is read."""
    opened: list[_Opened] = []
    size = columns = cells = 0
    for name in sorted(files, key=_place):
        data = files[name]
        size += data.stat().st_size if isinstance(data, Path) else len(data)
        if size > MAX_PARQUET_BYTES and not full:
            raise LimitError("The size in bytes of a run's metrics", size, MAX_PARQUET_BYTES)
        one = _Opened(name, data)
        columns += one.width
        if columns > MAX_PARQUET_COLUMNS:
            raise LimitError("The number of columns of a run's metrics", columns, MAX_PARQUET_COLUMNS)
        cells += one.cells(keys) if full else one.rows * one.width
        if cells > MAX_PARQUET_CELLS:
            raise LimitError("The number of cells of a run's metrics", cells, MAX_PARQUET_CELLS)
        opened.append(one)
    return opened


def _place(name: str) -> tuple[int, str]:
    return (0, "") if name == LARGEST else (2, name) if name == LONG else (1, name)


def _check_footer(name: str, data: bytes | Path, size: int) -> None:
    if isinstance(data, Path):
        with data.open("rb") as file:
            file.seek(max(0, size - 8))
            tail = file.read(8)
    else:
        tail = data[-8:]
    if len(tail) != 8 or tail[4:] != b"PAR1":
        raise DamagedError(f"`{name}` is no Parquet file, or cut short")
    footer = int.from_bytes(tail[:4], "little")
    if footer > MAX_PARQUET_FOOTER_BYTES:
        raise LimitError(f"The footer in bytes of `{name}`", footer, MAX_PARQUET_FOOTER_BYTES)


def _check_version(name: str, entry: bytes | None) -> None:
    if entry is None or not entry[:10].split(b".")[0].isdigit():
        raise DamagedError(f"`{name}` does not say which format it has")
    version = entry[:10].split(b".")[0].decode()
    if int(version) > int(SCHEMA):
        raise FormatError(
            f"`{name}` has format version {version}, this dstui reads up to {SCHEMA}",
            hint="update dstui to read this run",
        )


def _keys(name: str, entry: bytes | None) -> list[str]:
    """The names in a footer."""
    if entry is None:
        raise DamagedError(f"`{name}` names no metrics")
    if len(entry) > MAX_METRIC_KEYS_BYTES:
        raise LimitError(f"The names of metrics in bytes in `{name}`", len(entry), MAX_METRIC_KEYS_BYTES)
    try:
        keys = json.loads(entry)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"The names of metrics in `{name}` are no JSON: {_first_line(error)}") from error
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
        raise DamagedError(f"The names of metrics in `{name}` are no list of different texts")
    if len(keys) > MAX_METRIC_KEYS:
        raise LimitError(f"The number of metrics in `{name}`", len(keys), MAX_METRIC_KEYS)
    return keys


def _plain(column: pa.ChunkedArray) -> Column:
    values: Column = column.to_numpy()
    if values.dtype.kind not in "if":
        raise ValueError(f"a column of type {values.dtype}")
    return values


def _merged(name: str, parts: list[Series]) -> Series:
    """The points of one metric out of several files, in order of time; equal times lie in one file only."""
    series = parts[0]
    if len(parts) > 1:
        step, time, value = (
            np.concatenate([getattr(part, column) for part in parts]) for column in ("step", "time", "value")
        )
        series = Series(name, step, time, value)
    if (series.time[1:] < series.time[:-1]).any():
        order = np.argsort(series.time, kind="stable")
        series = Series(name, series.step[order], series.time[order], series.value[order])
    return series


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
