"""Read the journals of a run: all points, only new ones (`Tail`), or the summary.

The layout of a journal, and who writes it: `dstui/inside/journal.py`, `FORMAT.md`. Rules of reading, which the Parquet
files follow too, so that a run reads the same before and after its commit:

- **Records.** Record n lies at byte 32 n; it counts when its check word is right. A bad one is skipped and counted; a
  torn one at the end is not there yet. Records of other kinds than scalars are skipped without a count, a journal with
  a higher version is skipped whole.
- **Time** is rounded to microseconds; a time that is not finite or past int64 microseconds makes a record bad.
- **Step.** What the call gave; else the number of earlier points of the same metric in the same journal.
- **Names.** The line of `.keys` with the number of the key id, from 0; a missing or broken line reads `key#7`. A run
  has at most `MAX_METRIC_KEYS` names in `MAX_METRIC_KEYS_BYTES`; points of further ones are left out and counted.
- **Sources.** `.source` beside a journal says where its points come from and their order: 0 `dstui.log` (also where
  there is no `.source`), 1 a logger that the hook saw, 2 event files, 3 other files, 4 printed lines. The last needs no
  `.source`: its journals are `<rank>-stdout*`. From 2 on a keeper wrote the journal, so its points count as the main
  rank's.
- **One value, one source.** A metric of one source is left out when a source before it in that order has one of the
  same plain name: lower case, `/ . - space` as `_`, leading `train_`, `training_` dropped. Loggers (order 1): by name.
- **Ranks.** Journals are `<rank>-<name>.dsj`. The run's own metrics are those of its main rank: the lowest rank that
  has a journal of order 0 or 1. (A command that itself is task 3 of a Slurm job has no rank 0.)
- **Order.** Points of a metric are in order of time; equal times keep the order (journals: by source, rank and name;
  record number). Time of one process may go back when its clock does; its step may go back at will.
- **Values** are float64, bit for bit, NaN payloads too.

Notation: n points, k names; arrays `key step time value` are of shape (n,).
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

from dstui_store.limits import MAX_METRIC_KEYS, MAX_METRIC_KEYS_BYTES
from dstui_store.schema import MetricSummary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Number = TypeVar("Number", np.int64, np.float64)

RECORD_BYTES = 32
"""Size of a record."""

MAGIC = b"DSJ1"
"""Bytes 4 to 8 of a header record."""

VERSION = 1
"""The highest version of the record layout that is read here."""

KIND_SCALAR = 1
"""Kind of a record that holds a number of a metric."""

NO_STEP = -(1 << 63)
"""Step field of a point logged without a step."""

MAX_RANK = (1 << 32) - 1
"""The header holds a rank in 32 bits."""

CHUNK_RECORDS = 1_024
"""Records whose check words are proved by one CRC over all of them."""

MICROSECONDS = 1_000_000
"""Per second."""

LOGGER = 1
"""Order of points that the hook took from another logger of the script."""

READ_BY_KEEPER = 2
"""From this order on a keeper read the points, from files or printed lines."""

PRINTED = 4
"""Order of points read from printed lines."""

MAX_SOURCE_BYTES = 64 << 10
"""Of a `.source` file."""

Level = tuple[int, str]
"""Order of a source, and for loggers its name: which of several sources of one metric counts."""

_BODY_BYTES = 28
_MAX_MICROSECONDS = float(1 << 62)
_WHOLE_CRC = 0x2144DF1C
_FILE_NAME = re.compile(r"(\d{1,10})-(.{1,200})\.dsj", re.DOTALL)
_SEPARATORS = str.maketrans("/.- ", "____")
_TRAINING = re.compile(r"^(?:train(?:ing)?_)+(?=.)", re.DOTALL)


@dataclass(frozen=True)
class Series:
    """The points of one metric, in order of time.

    Attributes:
        name: exactly as it was logged.
        step: int64, shape (n,).
        time: float64, seconds since the epoch, whole microseconds.
        value: float64.
    """

    name: str
    step: Integers
    time: Floats
    value: Floats


@dataclass(frozen=True)
class JournalData:
    """All points of a run's journals, as columns in order of journals and records.

    Attributes:
        keys: names, length k; the arrays hold indices into it.
        main_rank: the rank whose points are the run's own metrics.
        rank: int64, the rank of the process; for printed numbers the main one.
        key: int64, index into `keys`.
        step: int64, counted where the call gave none.
        time: int64, microseconds since the epoch.
        value: float64.
        row: int64, ascending; points logged by one call with one step share it.
        bad_records: records whose check failed.
        left_out_keys: names past the limits of a run; their points are not here.
        newer: file names of journals with a version not known here.
        sources: where each metric of the main rank comes from: `log`, `hook:wandb`, `file:metrics.csv`, `stdout`.
    """

    keys: list[str]
    main_rank: int
    rank: Integers
    key: Integers
    step: Integers
    time: Integers
    value: Floats
    row: Integers
    bad_records: int
    left_out_keys: int
    newer: list[str]
    sources: dict[str, str] = field(default_factory=dict)

    def series(self, rank: int | None = None) -> dict[str, Series]:
        """The metrics of one rank, of the main one when not said, in order of first appearance."""
        wanted = self.rank == (self.main_rank if rank is None else rank)
        if wanted.all():
            return split(self.keys, self.key, self.step, self.time, self.value)
        return split(self.keys, self.key[wanted], self.step[wanted], self.time[wanted], self.value[wanted])

    def ranks(self) -> list[int]:
        """All ranks that have points, ascending."""
        import numpy as np

        return [int(rank) for rank in np.unique(self.rank)]


def read(directory: str | os.PathLike[str]) -> JournalData:
    """All points of the journals in a folder; a missing folder has none."""
    import numpy as np

    reader = _Reader(Path(directory))
    reader.find()
    chunks = [chunk for source in reader.sources if (chunk := source.read(reader.names, wait=False)) is not None]
    superseded, main_rank = reader.superseded(), reader.main_rank()
    parts = [chunk.without(superseded.get(chunk.level)) for chunk in chunks]
    row_counts = [int(part.row[-1]) + 1 if len(part.row) else 0 for part in parts]
    row_starts = [0, *np.cumsum(row_counts).tolist()]
    return JournalData(
        keys=list(reader.names.names),
        main_rank=main_rank,
        rank=_joined(
            [np.full(len(part.key), main_rank if part.read else part.rank, np.int64) for part in parts], np.int64
        ),
        key=_joined([part.key for part in parts], np.int64),
        step=_joined([part.step for part in parts], np.int64),
        time=_joined([part.time for part in parts], np.int64),
        value=_joined([part.value for part in parts], np.float64),
        row=_joined([part.row + start for part, start in zip(parts, row_starts, strict=False)], np.int64),
        bad_records=sum(source.bad_records for source in reader.sources),
        left_out_keys=reader.names.left_out,
        newer=[source.path.name for source in reader.sources if source.newer],
        sources=_origins(reader.names.names, main_rank, parts),
    )


def _origins(names: list[str], main_rank: int, parts: list[_Chunk]) -> dict[str, str]:
    """The first source of each metric of the main rank."""
    import numpy as np

    found: dict[str, str] = {}
    for part in parts:
        if part.read or part.rank == main_rank:
            for index in np.unique(part.key).tolist():
                found.setdefault(names[index], part.source)
    return found


def summary(directory: str | os.PathLike[str]) -> dict[str, MetricSummary]:
    """The metrics of the main rank in five numbers each; a view that asks again and again keeps a `Tail`."""
    return summarise(read(directory).series())


def summarise(series: dict[str, Series]) -> dict[str, MetricSummary]:
    """Last value with its step, finite minimum and maximum, and the count, of each metric that has points."""
    return {name: _summary_of(one) for name, one in series.items() if len(one.value)}


class Tail:
    """Follows the journals of a running run: each `poll` gives the points that are new.

    Not thread-safe; one owner. Which points belong to a run may change while it starts (a lower rank appears; a printed
    metric turns out to be logged as well). Then `restarted` is True after that `poll`, which gives all points anew.

    Attributes:
        restarted: forget what earlier polls gave; the last one began from the start.
        bad_records: records whose check failed, with good ones after them.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.restarted = False
        self.bad_records = 0
        self._directory = Path(directory)
        self._reader = _Reader(self._directory)
        self._belongs: tuple[int, dict[Level, frozenset[str]]] | None = None
        self._summary: dict[str, MetricSummary] = {}
        self._last_time: dict[str, float] = {}

    def poll(self) -> dict[str, Series]:
        """New points since the last call by metric, only those that have some; each in order of time."""
        self._reader.find()
        self._reader.read_new_keys()
        belongs = (self._reader.main_rank(), self._reader.superseded_names())
        self.restarted = self._belongs is not None and belongs != self._belongs
        self._belongs = belongs
        if self.restarted:
            self._reader = _Reader(self._directory)
            self._reader.find()
            self._summary = {}
            self._last_time = {}
        new = self._read()
        for name, series in new.items():
            self._add_to_summary(name, series)
        self.bad_records = sum(source.bad_records for source in self._reader.sources)
        return new

    def summary(self) -> dict[str, MetricSummary]:
        """Of all points given since the start, without reading anything."""
        return dict(self._summary)

    def _read(self) -> dict[str, Series]:
        import numpy as np

        reader = self._reader
        main_rank = reader.main_rank()
        chunks = [
            chunk
            for source in reader.sources
            if (source.rank == main_rank or source.read_by_keeper)
            and (chunk := source.read(reader.names, wait=True)) is not None
        ]
        superseded = reader.superseded()
        parts = [chunk.without(superseded.get(chunk.level)) for chunk in chunks]
        return split(
            reader.names.names,
            _joined([part.key for part in parts], np.int64),
            _joined([part.step for part in parts], np.int64),
            _joined([part.time for part in parts], np.int64),
            _joined([part.value for part in parts], np.float64),
        )

    def _add_to_summary(self, name: str, series: Series) -> None:
        new, old = _summary_of(series), self._summary.get(name)
        later = float(series.time[-1])
        if old is None:
            self._summary[name] = new
            self._last_time[name] = later
            return
        latest = new if later >= self._last_time[name] else old
        self._summary[name] = MetricSummary(
            last=latest.last,
            min=min((part for part in (old.min, new.min) if part is not None), default=None),
            max=max((part for part in (old.max, new.max) if part is not None), default=None),
            step=latest.step,
            count=old.count + new.count,
        )
        self._last_time[name] = max(later, self._last_time[name])


def plain_name(name: str) -> str:
    """The form in which metrics of different sources are compared."""
    return _TRAINING.sub("", name.lower().translate(_SEPARATORS))


def split(keys: list[str], key: Integers, step: Integers, time: Integers, value: Floats) -> dict[str, Series]:
    """Columns of points as one series per metric, in order of time; equal times keep their order.

    Args:
        keys: names, length k.
        key: indices into `keys`, shape (n,), any order.
        step: shape (n,).
        time: microseconds, shape (n,).
        value: shape (n,).
    """
    import numpy as np

    if not len(key):
        return {}
    order = np.argsort(_small(key, len(keys)), kind="stable")
    sorted_key, step, time, value = key[order], step[order], time[order], value[order]
    starts = np.flatnonzero(np.r_[True, sorted_key[1:] != sorted_key[:-1]])
    result: dict[str, Series] = {}
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(key)], strict=True):
        part = slice(start, end)
        steps, times, values = step[part], time[part], value[part]
        if (times[1:] < times[:-1]).any():
            in_time = np.argsort(times, kind="stable")
            steps, times, values = steps[in_time], times[in_time], values[in_time]
        name = keys[int(sorted_key[start])]
        result[name] = Series(name, steps, times / MICROSECONDS, values)
    return result


@dataclass
class _Names:
    """The names of a run by index, in order of first appearance, up to the limits of a run."""

    names: list[str] = field(default_factory=list)
    left_out: int = 0
    _index: dict[str, int] = field(default_factory=dict)
    _bytes: int = 2

    def index(self, name: str) -> int:
        """The index of a name, or -1 when the run has too many."""
        known = self._index.get(name)
        if known is None:
            size = len(json.dumps(name)) + 1
            if len(self.names) >= MAX_METRIC_KEYS or self._bytes + size > MAX_METRIC_KEYS_BYTES:
                self.left_out += 1
                known = -1
            else:
                self._bytes += size
                known = len(self.names)
                self.names.append(name)
            self._index[name] = known
        return known


@dataclass(frozen=True)
class _Chunk:
    """Points of one journal, in order of records; the columns are those of `JournalData`."""

    rank: int
    level: Level
    source: str
    key: Integers
    step: Integers
    time: Integers
    value: Floats
    row: Integers

    @property
    def read(self) -> bool:
        """Whether a keeper read these points from files or output, so that no rank has them."""
        return self.level[0] >= READ_BY_KEEPER

    def without(self, superseded: Integers | None) -> _Chunk:
        """The points that count: those of names within the limits that no source before this one has."""
        import numpy as np

        kept = self.key >= 0
        if superseded is not None:
            kept &= ~np.isin(self.key, superseded)
        if kept.all():
            return self
        key, step, time, row = (column[kept] for column in (self.key, self.step, self.time, self.row))
        return _Chunk(self.rank, self.level, self.source, key, step, time, self.value[kept], row)


class _Source:
    """One journal file, read from where the last reading ended."""

    def __init__(self, path: Path, rank: int, name: str) -> None:
        self.path = path
        self.rank = rank
        self.level, self.source = _level(path, printed=name == "stdout" or name.startswith("stdout-"))
        self.keys: list[str] = []
        self.bad_records = 0
        self.newer = False
        self._next = 0
        self._key_bytes = 0
        self._counts: Integers | None = None

    @property
    def read_by_keeper(self) -> bool:
        """Whether a keeper read these points from files or output, so that no rank has them."""
        return self.level[0] >= READ_BY_KEEPER

    def read(self, names: _Names, *, wait: bool) -> _Chunk | None:
        """The points past those read before, or None.

        Args:
            names: gets the names of this journal.
            wait: bad records at the end may still be on their way (network disks), so they are read again next time.
        """
        import numpy as np

        if self.newer:
            return None
        with self.path.open("rb") as file:
            file.seek(self._next * RECORD_BYTES)
            data = file.read()
        count = len(data) // RECORD_BYTES
        if not count:
            return None
        valid = check(memoryview(data)[: count * RECORD_BYTES], self._next)
        if wait:
            good = np.flatnonzero(valid)
            count = int(good[-1]) + 1 if len(good) else 0
            valid = valid[:count]
            if not count:
                return None
        records = np.frombuffer(data, dtype=_record_type(), count=count)
        if self._next == 0 and valid[0] and self._is_newer(data):
            self.newer = True
            return None
        # The header is left out here, since picking the other records by kind would copy them all.
        skipped = 1 if self._next == 0 else 0
        self.bad_records += skipped - int(np.count_nonzero(valid[:skipped]))
        records, valid = records[skipped:], valid[skipped:]
        self._next += count
        self.bad_records += len(valid) - int(np.count_nonzero(valid))
        if not valid.all():
            records = records[valid]
        head = np.ascontiguousarray(records["head"])
        scalar = (head >> 24) == KIND_SCALAR
        if not scalar.all():
            records, head = records[scalar], head[scalar]
        time = np.ascontiguousarray(records["time"])
        with np.errstate(all="ignore"):
            microseconds = np.rint(time * MICROSECONDS)
        in_range = np.abs(microseconds) < _MAX_MICROSECONDS
        if not in_range.all():
            self.bad_records += int(np.count_nonzero(~in_range))
            records, head, time, microseconds = (part[in_range] for part in (records, head, time, microseconds))
        if not len(records):
            return None
        return self._points(records, head, time, microseconds.astype(np.int64), names)

    def read_keys(self) -> None:
        """Names that came since the last reading."""
        path = self.path.with_suffix(".keys")
        if path.is_fifo():
            return
        try:
            with path.open("rb") as file:
                file.seek(self._key_bytes)
                text = file.read(MAX_METRIC_KEYS_BYTES - self._key_bytes)
        except FileNotFoundError:
            return
        text = text[: text.rfind(b"\n") + 1]
        self._key_bytes += len(text)
        for line in text.split(b"\n")[:-1]:
            if len(self.keys) >= MAX_METRIC_KEYS:
                return
            try:
                name = json.loads(line)
            except ValueError:
                name = None
            self.keys.append(name if isinstance(name, str) else f"key#{len(self.keys)}")

    def _is_newer(self, data: bytes) -> bool:
        return data[4:8] == MAGIC and int.from_bytes(data[8:12], "little") > VERSION

    def _points(
        self, records: NDArray[np.void], head: NDArray[np.uint32], time: Floats, microseconds: Integers, names: _Names
    ) -> _Chunk:
        import numpy as np

        local = (head & 0xFFFFFF).astype(np.int64)
        raw_step = step = np.ascontiguousarray(records["step"], np.int64)
        raw_time = time.view(np.int64)
        used = np.unique(local) if len(local) < 1 << 16 else np.flatnonzero(np.bincount(local))
        if int(used[-1]) >= len(self.keys):
            self.read_keys()
        size = int(used[-1]) + 1
        if self._counts is None or len(self._counts) < size:
            grown = np.zeros(size, np.int64)
            if self._counts is not None:
                grown[: len(self._counts)] = self._counts
            self._counts = grown
        without = step == NO_STEP
        if without.any():
            step = np.where(without, self._counts[local] + _earlier(local, size), step)
        self._counts[:size] += np.bincount(local, minlength=size)
        index = np.full(size, -1, np.int64)
        for key_id in used.tolist():
            index[key_id] = names.index(self.keys[key_id] if key_id < len(self.keys) else f"key#{key_id}")
        # A call has one step and one time; where readers count the steps, they may differ within it.
        starts = np.empty(len(local), np.bool_)
        starts[0] = False
        starts[1:] = (raw_step[1:] != raw_step[:-1]) | (raw_time[1:] != raw_time[:-1])
        if step is not raw_step:
            starts[1:] |= step[1:] != step[:-1]
        value = np.ascontiguousarray(records["value"])
        return _Chunk(self.rank, self.level, self.source, index[local], step, microseconds, value, np.cumsum(starts))


class _Reader:
    """The journals of one folder, in the order that decides between equal times."""

    def __init__(self, directory: Path) -> None:
        self.names = _Names()
        self.sources: list[_Source] = []
        self._directory = directory
        self._known: set[str] = set()

    def find(self) -> None:
        """Take in journals that are new."""
        try:
            # A pipe would be waited for, and a link may lead anywhere.
            files = {item.name for item in os.scandir(self._directory) if item.is_file(follow_symlinks=False)}
        except FileNotFoundError:
            return
        for name in files - self._known:
            match = _FILE_NAME.fullmatch(name)
            if match is None or int(match[1]) > MAX_RANK:
                continue
            self._known.add(name)
            source = _Source(self._directory / name, int(match[1]), match[2])
            source.read_keys()
            self.sources.append(source)
        self.sources.sort(key=lambda source: (source.level, source.rank, source.path.name))

    def read_new_keys(self) -> None:
        """Take in names that are new."""
        for source in self.sources:
            source.read_keys()

    def main_rank(self) -> int:
        """The lowest rank that logs, 0 when none does."""
        return min((source.rank for source in self.sources if not source.read_by_keeper), default=0)

    def superseded_names(self) -> dict[Level, frozenset[str]]:
        """Per level the metrics that a level before it has."""
        rank = self.main_rank()
        own = [source for source in self.sources if source.read_by_keeper or source.rank == rank]
        found: dict[Level, frozenset[str]] = {}
        had: set[str] = set()
        for level, group in groupby(own, key=lambda source: source.level):
            names = {name for source in group for name in source.keys}
            if doubled := frozenset(name for name in names if plain_name(name) in had):
                found[level] = doubled
            had.update(map(plain_name, names))
        return found

    def superseded(self) -> dict[Level, Integers]:
        """Those as indices, as far as they have one."""
        import numpy as np

        return {
            level: np.array([self.names.index(name) for name in sorted(names)], np.int64)
            for level, names in self.superseded_names().items()
        }


def _level(path: Path, *, printed: bool) -> tuple[Level, str]:
    """The order of a journal among the sources of a run, and what its source is called."""
    if printed:
        return (PRINTED, ""), "stdout"
    about = path.with_suffix(".source")
    try:
        if not about.is_file() or about.is_symlink():
            return (0, ""), "log"
        with about.open("rb") as file:
            said = json.loads(file.read(MAX_SOURCE_BYTES))
        order, source = said["order"], said["source"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return (0, ""), "log"
    if type(order) is not int or not 0 <= order <= PRINTED or not isinstance(source, str):
        return (0, ""), "log"
    return (order, source if order == LOGGER else ""), source


def check(data: memoryview, first: int) -> Bools:
    """Which records are whole, shape (n,).

    Args:
        data: n records of 32 bytes.
        first: number of the first of them.
    """
    import numpy as np

    count = len(data) // RECORD_BYTES
    valid = np.zeros(count, np.bool_)
    position = 0
    while position < count:
        number = first + position
        size = min(CHUNK_RECORDS - number % CHUNK_RECORDS, count - position)
        chunk = data[position * RECORD_BYTES : (position + size) * RECORD_BYTES]
        if size == CHUNK_RECORDS and crc32(chunk, number) == _expected(number):
            valid[position : position + size] = True
        else:
            # Start value and check word of a whole record cancel: its 32 bytes always give the same CRC.
            valid[position : position + size] = [
                crc32(chunk[start : start + RECORD_BYTES], number + start // RECORD_BYTES) == _WHOLE_CRC
                for start in range(0, len(chunk), RECORD_BYTES)
            ]
        position += size
    return valid


def _expected(number: int) -> int:
    """The CRC, started from `number`, of a chunk of whole records of which the first has that number.

    Let c be the running CRC and L the linear map that 32 bytes apply to a difference of start values. A whole record k
    takes c to W ^ L(c ^ k), W the constant of a whole record. Over a chunk that starts at a multiple of its size m,
    record numbers are `number ^ i`, so the result is a constant plus a linear map of `number`: L^1 + .. + L^(m-1).
    """
    constant, columns = _chunk_map()
    result = constant
    for bit, column in enumerate(columns):
        if number >> bit & 1:
            result ^= column
    return result


@cache
def _chunk_map() -> tuple[int, tuple[int, ...]]:
    zeros = bytes(RECORD_BYTES)
    offset = crc32(zeros, 0)
    power = [crc32(zeros, 1 << bit) ^ offset for bit in range(32)]
    total = list(power)
    size = 1
    while size < CHUNK_RECORDS:
        total = [total[bit] ^ _apply(power, total[bit]) for bit in range(32)]
        power = [_apply(power, power[bit]) for bit in range(32)]
        size *= 2
    constant = 0
    for number in range(CHUNK_RECORDS):
        constant = _WHOLE_CRC ^ crc32(zeros, constant ^ number) ^ offset
    return constant, tuple(total[bit] ^ power[bit] for bit in range(32))


def _apply(columns: list[int], vector: int) -> int:
    result = 0
    for bit, column in enumerate(columns):
        if vector >> bit & 1:
            result ^= column
    return result


@cache
def _record_type() -> np.dtype[np.void]:
    import numpy as np

    return np.dtype([("head", "<u4"), ("step", "<i8"), ("time", "<f8"), ("value", "<f8"), ("crc", "<u4")])


def _small(key: Integers, size: int) -> NDArray[np.integer]:
    """Indices in the narrowest type: the stable sort of 16-bit numbers is a radix sort, ten times faster."""
    import numpy as np

    return key.astype(np.uint16) if size <= 1 << 16 else key


def _earlier(key: Integers, size: int) -> Integers:
    """For each entry how many equal ones come before it, shape (n,)."""
    import numpy as np

    order = np.argsort(_small(key, size), kind="stable")
    starts = np.cumsum(np.bincount(key, minlength=size)) - np.bincount(key, minlength=size)
    result = np.empty(len(key), np.int64)
    result[order] = np.arange(len(key)) - starts[key[order]]
    return result


def _joined(parts: list[NDArray[Number]], kind: type[Number]) -> NDArray[Number]:
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _summary_of(series: Series) -> MetricSummary:
    import numpy as np

    finite = series.value
    bounded = np.isfinite(finite)
    if not bounded.all():
        finite = finite[bounded]
    return MetricSummary(
        last=float(series.value[-1]),
        min=float(finite.min()) if len(finite) else None,
        max=float(finite.max()) if len(finite) else None,
        step=int(series.step[-1]),
        count=len(series.value),
    )
